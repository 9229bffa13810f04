//! `tlsgate explain`: what would hold for a connection, and who says so.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use comfy_table::Table;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::Exit;
use crate::app::{self, Loaded};
use crate::config;
use crate::config::origins::{Origin, Origins, Shadowed};
use crate::policy::ListenerPolicy;
use crate::policy::explain::{Asked, Explanation};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: PathBuf,
    /// Listener that the connection comes to
    #[arg(long, value_name = "LISTENER")]
    route: String,
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
    #[arg(long, value_name = "VERSION", value_parser = ["1.2", "1.3"], default_value = "1.3")]
    offers: String,
    /// Certificate that it shows, as a PEM file
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Asks the policy as a shard does, and tells where each option comes from.
pub(super) fn explain(options: &Options) -> Exit {
    let Loaded { compiled, .. } = match app::load(&options.config) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return Exit::from(&error);
        }
    };
    let file = options.config.display().to_string();
    let listeners = &compiled.policy.listeners;
    let Some(listener) = listeners.iter().find(|one| *one.name == *options.route) else {
        let names: Vec<&str> = listeners.iter().map(|one| &*one.name).collect();
        eprintln!("no listener is called \"{}\": there are {}", options.route, names.join(", "));
        return Exit::Failure;
    };
    match answer(options, listener) {
        Ok(explanation) => {
            // It was read and good a moment ago.
            let text = fs::read_to_string(&options.config).unwrap_or_default();
            let origins = config::origins(&file, &text).unwrap_or_default();
            let origins = origins.iter().find(|one| one.listener == options.route);
            if options.json {
                println!("{:#}", as_json(&explanation, origins));
            } else {
                print(&file, &explanation, origins);
            }
            Exit::Success
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
        tls13: options.offers == "1.3",
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

/// What holds, rule by rule and option by option.
fn print(file: &str, explanation: &Explanation, origins: Option<&Origins>) {
    let Explanation { verdict, rule, route, dials, rules } = explanation;
    let why = match rule {
        Some(rule) => format!("by rule {rule}"),
        None => "no rule matches".to_owned(),
    };
    println!("{verdict}, {why}");
    if let (Some(route), Some(dials)) = (route, dials) {
        println!("route: {route}, dialled {dials}");
    }
    for rule in rules {
        println!("rule {} ({file}:{}): {}", rule.name, rule.line, rule.fate);
    }
    let Some(origins) = origins else { return };
    let mut table = Table::new();
    table.set_header(["option", "value", "said by", "instead of"]);
    for origin in origins.under(explanation.rule.as_deref()) {
        table.add_row([
            origin.option.clone(),
            origin.value.clone(),
            said_by(file, origin),
            shadowed(file, origin),
        ]);
    }
    println!("\n{table}");
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

fn as_json(explanation: &Explanation, origins: Option<&Origins>) -> Value {
    let options = origins.map(|origins| origins.under(explanation.rule.as_deref()));
    json!({ "decision": explanation, "options": options })
}
