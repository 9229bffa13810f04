//! `tlsgate explain`: what would hold for a connection, and who says so.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::Table;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::json;

use super::whom::{self, ANOTHER_ANSWER};
use super::{Exit, audit_tables, print};
use crate::app::control::{Request, Response};
use crate::app::{self, Explained, Loaded};
use crate::config::origins::{Origin, Shadowed};
use crate::policy::explain::{Asked, AskedLane, Explanation, Refusal, TakenLane, UpstreamLane};
use crate::policy::rules::Version;
use crate::policy::{Downstream, ListenerPolicy};
use crate::tls::hello::usual_suites;
use crate::tls::lane::{Lane, Why};
use crate::tls::tls_conn::suite_name;
use crate::tls::weak::suite_named;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE", required_unless_present = "socket")]
    config: Option<PathBuf>,
    /// Listener that the connection comes to
    #[arg(long, value_name = "LISTENER", required_unless_present = "connection")]
    route: Option<String>,
    /// Connection that is open: shard/connection of the access log, as in 0/57
    #[arg(long, value_name = "ID", conflicts_with_all = ["route", "from", "sni", "alpn", "suite", "client_cert", "plaintext"])]
    connection: Option<String>,
    /// Control socket of the gateway that has it, instead of the one that the file names
    #[arg(long, value_name = "PATH", requires = "connection")]
    socket: Option<PathBuf>,
    /// Address that it comes from: with proxy_in, the one in the header
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,
    /// Name that it asks for
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// Protocol that it offers; may be repeated, most preferred first
    #[arg(long, value_name = "PROTOCOL")]
    alpn: Vec<String>,
    /// Newest version of TLS that it offers; without it, 1.3
    #[arg(long, value_name = "VERSION", default_value = "1.3")]
    offers: Version,
    /// Cipher suite that it offers, by IANA's name; may be repeated. Without it, those that clients
    /// of that version usually have
    #[arg(long, value_name = "SUITE", value_parser = known_suite)]
    suite: Vec<u16>,
    /// Certificate that it shows, as a PEM file
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// It speaks plaintext, where mode is "autodetect"
    #[arg(long)]
    plaintext: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Asks the policy as a shard does, and tells where each option comes from.
pub(super) fn explain(options: &Options) -> Exit {
    match (&options.connection, &options.config, &options.route) {
        (Some(connection), ..) => explain_live(options, connection),
        (None, Some(config), Some(route)) => explain_facts(options, config, route),
        // The command line demands them.
        _ => Exit::Failure,
    }
}

/// Asks the gateway about a connection that is open.
fn explain_live(options: &Options, connection: &str) -> Exit {
    let request = Request::Explain { connection: connection.to_owned() };
    let answer = whom::ask(options.socket.as_deref(), options.config.as_deref(), (&request, &[]));
    let (error, exit) = match answer {
        Ok(Response::Explained { explained }) if options.json => {
            return print(&format!("{:#}\n", json!(explained)));
        }
        Ok(Response::Explained { explained }) => return print(&live_text(&explained)),
        Ok(Response::Refused { error }) => (error, Exit::Failure),
        Ok(_) => (ANOTHER_ANSWER.to_owned(), Exit::Failure),
        Err(failed) => failed,
    };
    eprintln!("{error}");
    exit
}

fn live_text(explained: &Explained) -> String {
    let Explained { connection, decision, options, file, notes } = explained;
    let connection = audit_tables::one_connection(connection);
    let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    format!("{connection}\n{notes}{}", text_of(file, decision, options.as_deref()))
}

fn explain_facts(options: &Options, config: &Path, route: &str) -> Exit {
    let Loaded { compiled, text, .. } = match app::load(config) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return Exit::from(&error);
        }
    };
    let listeners = &compiled.policy.listeners;
    let Some(listener) = listeners.iter().find(|one| *one.name == *route) else {
        let names: Vec<&str> = listeners.iter().map(|one| &*one.name).collect();
        eprintln!("no listener is called \"{route}\": there are {}", names.join(", "));
        return Exit::Failure;
    };
    match answer(options, listener) {
        Ok(explanation) => {
            let origins = text.options(route, explanation.rule.as_deref());
            let client = Client::of(options, listener);
            print(&match options.json {
                true => {
                    let all = json!({
                        "client": client, "decision": explanation, "options": origins,
                    });
                    format!("{all:#}\n")
                }
                false => {
                    let client = client.map_or_else(String::new, |client| client.text());
                    client + &text_of(&text.name, &explanation, origins.as_deref())
                }
            })
        }
        Err(problem) => {
            eprintln!("{problem}");
            Exit::Failure
        }
    }
}

fn answer(options: &Options, listener: &ListenerPolicy) -> Result<Explanation, String> {
    let certificate = client_certificate(options)?;
    listener.explain(&Asked {
        source: options.from,
        server_name: options.sni.as_deref(),
        alpn: &options.alpn,
        version: Some(options.offers),
        lane: AskedLane::Offering(&suites(options)),
        plaintext: options.plaintext,
        certificate: certificate.as_ref(),
    })
}

fn client_certificate(options: &Options) -> Result<Option<CertificateDer<'static>>, String> {
    let Some(file) = &options.client_cert else { return Ok(None) };
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    CertificateDer::from_pem_slice(&bytes)
        .map(Some)
        .map_err(|_| format!("{}: no certificate in PEM", file.display()))
}

/// The client that is asked about, where it speaks TLS.
#[derive(Debug, Serialize)]
struct Client {
    /// Newest version that it offers.
    offers: String,
    suites: Vec<&'static str>,
    /// The suites are those that clients of this version usually have: none were named.
    usual: bool,
}

impl Client {
    fn of(options: &Options, listener: &ListenerPolicy) -> Option<Self> {
        let speaks_tls = listener.downstream != Downstream::Plaintext && !options.plaintext;
        let suites = suites(options);
        speaks_tls.then(|| Self {
            offers: options.offers.to_string(),
            suites: suites.iter().map(|suite| suite_name((*suite).into())).collect(),
            usual: options.suite.is_empty(),
        })
    }

    fn text(&self) -> String {
        let suites = match self.usual {
            true => "the suites that such clients usually have".to_owned(),
            false => self.suites.join(", "),
        };
        format!("of a client that offers TLS {} at most, with {suites}:\n", self.offers)
    }
}

/// What it offers, by their numbers.
fn suites(options: &Options) -> Vec<u16> {
    match options.suite.as_slice() {
        [] => usual_suites(options.offers.number()),
        named => named.to_vec(),
    }
}

fn known_suite(name: &str) -> Result<u16, String> {
    let suite = suite_named(name).map(u16::from);
    suite.ok_or_else(|| "no lane speaks a cipher suite of that name".to_owned())
}

/// What holds, rule by rule and option by option.
fn text_of(file: &str, explanation: &Explanation, origins: Option<&[Origin]>) -> String {
    let Explanation { verdict, refused, lane, upstream_lane, rule, route, dials, rules } =
        explanation;
    let why = match rule {
        Some(rule) => format!("by rule {rule}"),
        None => "no rule matches".to_owned(),
    };
    let mut text = format!("{verdict}, {why}\n");
    if let Some(Refusal { reason, detail }) = refused {
        text.push_str(&format!("refused: {reason}: {detail}\n"));
    }
    if let Some(TakenLane { lane, reason }) = lane {
        text.push_str(&format!("lane: {lane}{}\n", because(lane, reason)));
    }
    if let Some(UpstreamLane { lane, last_day }) = upstream_lane {
        let until = last_day.as_ref().map(|day| format!(", last day {day}")).unwrap_or_default();
        text.push_str(&format!("upstream lane: {lane}{until}\n"));
    }
    if let (Some(route), Some(dials)) = (route, dials) {
        text.push_str(&format!("route: {route}, dialled {dials}\n"));
    }
    for rule in rules {
        text.push_str(&format!("rule {} ({file}:{}): {}\n", rule.name, rule.line, rule.fate));
    }
    let Some(origins) = origins else { return text };
    let mut table = Table::new();
    table.set_header(["option", "value", "said by", "instead of"]);
    for origin in origins {
        table.add_row([
            origin.option.clone(),
            origin.value.clone(),
            said_by(file, origin),
            shadowed(file, origin),
        ]);
    }
    text.push_str(&format!("\n{table}\n"));
    text
}

/// Why it is that lane, by what the access log has for it.
fn because(lane: &str, reason: &str) -> String {
    match (lane == Lane::Modern.as_str(), reason == Why::Able.as_str()) {
        (_, true) => String::new(),
        (true, _) => format!(", whose handshake fails by its {reason}, as in every lane here"),
        (false, _) => format!(", since the modern lane cannot serve its {reason}"),
    }
}

fn said_by(file: &str, origin: &Origin) -> String {
    origin.said_by.as_ref().map_or_else(
        || "default".to_owned(),
        |said| format!("{} ({file}:{})", said.path, said.line),
    )
}

fn shadowed(file: &str, origin: &Origin) -> String {
    let one = |shadowed: &Shadowed| {
        let said = &shadowed.said_by;
        format!("{} of {} ({file}:{})", shadowed.value, said.path, said.line)
    };
    origin.shadowed.iter().map(one).collect::<Vec<_>>().join("; ")
}
