//! `tlsgate catalogue` and `tlsgate new`: known connections, and a route for one of them.

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use serde_json::{Value, json};

use super::import::date;
use super::{Exit, print, uccx};
use crate::catalogue::{Catalogue, Entry, Mode, Request, scaffold};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Options {
    #[command(subcommand)]
    estate: Option<Estate>,
    /// Only groups with this in their names
    #[arg(long)]
    group: Option<String>,
    /// Only connections of components with this in their names
    #[arg(long)]
    component: Option<String>,
    /// Print everything about each as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Estate {
    /// Which versions of TLS releases of Unified CCX speak, and what a route needs for them
    Uccx(uccx::Options),
}

#[derive(Args, Debug)]
pub(super) struct NewOptions {
    /// The component that connects
    #[arg(long, value_name = "COMPONENT")]
    from: String,
    /// The component that it connects to
    #[arg(long, value_name = "COMPONENT")]
    to: String,
    /// Where the gateway listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The component behind the gateway
    #[arg(long, value_name = "ADDRESS:PORT")]
    upstream: Option<String>,
    /// Which of several things they speak, as `tlsgate catalogue` calls it
    #[arg(long)]
    kind: Option<String>,
    /// Another mode than the catalogue's
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// Last day of autodetect
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    until: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    Terminate,
    Originate,
    Bridge,
    Passthrough,
    Autodetect,
    Pair,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Terminate => Self::Terminate,
            ModeName::Originate => Self::Originate,
            ModeName::Bridge => Self::Bridge,
            ModeName::Passthrough => Self::Passthrough,
            ModeName::Autodetect => Self::Autodetect,
            ModeName::Pair => Self::Pair,
        }
    }
}

/// Prints the catalogue, or a part of it.
pub(super) fn catalogue(options: &Options) -> Exit {
    if let Some(Estate::Uccx(options)) = &options.estate {
        return uccx::uccx(options);
    }
    let catalogue = Catalogue::shipped();
    let found: Vec<Entry<'_>> =
        catalogue.search(options.group.as_deref(), options.component.as_deref()).collect();
    if options.json {
        let all: Vec<Value> = found.iter().map(as_json).collect();
        return print(&format!("{}\n", Value::from(all)));
    }
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["group", "from", "to", "kind", "mode", "first", "mutual", "port", "source"]);
    for entry in &found {
        let connection = entry.connection;
        table.add_row([
            connection.group.clone(),
            connection.from.clone(),
            connection.to.join(", "),
            connection.kind.clone(),
            word(json!(entry.mode())),
            word(json!(entry.kind.first_speaker)),
            word(json!(entry.mutual())),
            connection.port.clone().unwrap_or_default(),
            connection.seed.clone(),
        ]);
    }
    print(&format!("{table}\n{} connection(s)\n", found.len()))
}

/// Prints a route.
pub(super) fn new(options: &NewOptions) -> Exit {
    let catalogue = Catalogue::shipped();
    let mut found = catalogue.between(&options.from, &options.to);
    if let Some(kind) = &options.kind {
        found.retain(|entry| entry.connection.kind == *kind);
    }
    let Some(first) = found.first() else {
        return fail(&not_found(&catalogue, options));
    };
    let differs =
        |entry: &&Entry<'_>| entry.kind.name != first.kind.name || entry.mode() != first.mode();
    if found.iter().any(|entry| differs(&entry)) && options.kind.is_none() {
        let mut kinds: Vec<&str> = found.iter().map(|entry| entry.kind.name.as_str()).collect();
        kinds.dedup();
        return fail(&format!(
            "they speak several things: choose with --kind \"{}\"",
            kinds.join("\" or --kind \"")
        ));
    }
    let request = Request {
        from: options.from.clone(),
        to: options.to.clone(),
        listen: options.listen.clone(),
        upstream: options.upstream.clone(),
        mode: options.mode.map(Mode::from),
        until: options.until.clone(),
        ..Request::default()
    };
    match scaffold(first, &request) {
        Ok(text) => print(&text),
        Err(message) => fail(&message),
    }
}

fn as_json(entry: &Entry<'_>) -> Value {
    let (connection, kind, profile) = (entry.connection, entry.kind, entry.profile);
    json!({
        "group": connection.group,
        "from": connection.from,
        "role": connection.role,
        "to": connection.to,
        "kind": connection.kind,
        "protocol": kind.protocol,
        "first_speaker": kind.first_speaker,
        "framing": kind.framing,
        "mode": entry.mode(),
        "why": kind.why,
        "mutual": entry.mutual(),
        "port": connection.port,
        "port_required": connection.port_required,
        "profile": profile.name,
        "must_succeed": profile.must_succeed,
        "must_fail": profile.must_fail,
        "seed": connection.seed,
        "note": connection.note,
    })
}

/// A variant's name, as in the files.
pub(super) fn word(value: Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What there is instead.
fn not_found(catalogue: &Catalogue, options: &NewOptions) -> String {
    for word in [&options.from, &options.to] {
        if !catalogue.is_component(word) {
            return format!(
                "the catalogue has no component \"{word}\". It has: {}",
                catalogue.components().join(", ")
            );
        }
    }
    let from = catalogue.search(None, Some(&options.from));
    let peers = from.filter(|entry| entry.connection.from.eq_ignore_ascii_case(&options.from));
    let peers: Vec<String> = peers.map(|entry| entry.connection.to.join(" or ")).collect();
    format!(
        "the catalogue has no connection from \"{}\" to \"{}\". From there it has: {}",
        options.from,
        options.to,
        if peers.is_empty() { "none".to_owned() } else { peers.join(", ") }
    )
}

pub(super) fn fail(message: &str) -> Exit {
    eprintln!("{message}");
    Exit::Failure
}
