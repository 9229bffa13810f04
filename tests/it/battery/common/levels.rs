//! Who decides: C7. An option at host, application and listener, and at every combination of them,
//! with defaults and without; the certificate as a whole; a bundle that is split.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;

use super::super::case::{Case, Level};
use super::super::component::Component;
use super::super::estate::component_of;
use super::super::pki::pki;
use super::super::report::Part;
use super::super::stream::{Stream, trusting};
use crate::support::Engine;
use crate::support::backend::Backend;
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::process::{gateway_program, run};
use crate::support::{SOON, sized};

/// From the highest to the lowest, which wins.
const LEVELS: [Level; 3] = [Level::Host, Level::Application, Level::Listener];
/// The levels' names, the one above them first.
const WORDS: [&str; 4] = ["defaults", "host", "application", "listener"];

/// One route whose option or certificate is said by these levels.
struct Said {
    name: String,
    port: u16,
    /// In the order of [`WORDS`].
    by: [bool; 4],
    is_certificate: bool,
}

pub(crate) fn precedence(engine: Engine, report: &mut Part) {
    let cases = Case::all();
    let of_levels: Vec<&Case> = LEVELS
        .iter()
        .filter_map(|level| cases.iter().find(|case| case.combination.level == *level))
        .collect();
    assert_eq!(of_levels.len(), LEVELS.len(), "the catalogue has every level");
    let components: Vec<Component> = of_levels.iter().map(|case| component_of(case)).collect();
    for with_defaults in [false, true] {
        let unused = Backend::echo();
        let setup = Setup::new(engine, unused.address());
        for word in WORDS {
            pki().leaf(word).write(setup.directory(), word);
        }
        let mut text = String::new();
        if with_defaults {
            text += &format!("[defaults.tls]\n{}", option("defaults"));
        }
        let mut said = Vec::new();
        for (case, component) in of_levels.iter().zip(&components) {
            for subset in 0..8_u8 {
                for is_certificate in [false, true] {
                    let by = [
                        with_defaults && !is_certificate,
                        subset & 4 != 0,
                        subset & 2 != 0,
                        subset & 1 != 0,
                    ];
                    if is_certificate && subset == 0 {
                        continue;
                    }
                    let name = format!("{}.{subset}.{is_certificate}", case.name());
                    let one = Said { name, port: free_port(), by, is_certificate };
                    text += &tables(&one, &component.address().to_string());
                    said.push(one);
                }
            }
        }
        let gateway = setup.keepalive(&text).start();
        for one in &said {
            assert_live(one);
        }
        // Each asks the program once: all of them in full, one row's otherwise.
        for one in said.iter().take(sized(said.len(), 15)) {
            assert_explained(&gateway, one);
        }
        split(&gateway);
    }
    for case in &cases {
        report.ran_on_combination(&case.combination, &["C7"]);
    }
}

/// The option as a level says it.
fn option(word: &str) -> String {
    format!("alpn = [\"{word}\"]\n")
}

fn certificate(word: &str) -> String {
    format!("certificate = \"{word}.pem\"\ncertificate_key = \"{word}.key\"\n")
}

/// A host, an application on it, and a listener of that; each says its part or nothing.
fn tables(said: &Said, upstream: &str) -> String {
    let Said { name, port, by, is_certificate } = said;
    let part = |at: usize| match (by[at], is_certificate) {
        (false, _) => String::new(),
        (true, true) => certificate(WORDS[at]),
        (true, false) => option(WORDS[at]),
    };
    // What is not looked at has to be somewhere.
    let rest = if *is_certificate { String::new() } else { certificate("listener") };
    format!(
        "[[host]]\nname = \"{name}\"\n[host.tls]\n{}\
         [[application]]\nname = \"{name}\"\nhost = \"{name}\"\n[application.tls]\n{}\
         [[listener]]\nname = \"{name}\"\napplication = \"{name}\"\n\
         listen = \"127.0.0.1:{port}\"\nupstream = \"{upstream}\"\n[listener.tls]\n{rest}{}",
        part(1),
        part(2),
        part(3)
    )
}

impl Said {
    /// The lowest level that says it.
    fn winner(&self) -> Option<&'static str> {
        self.by.iter().rposition(|says| *says).map(|at| WORDS[at])
    }
}

/// What a client is shown, or may speak, is what the lowest level says.
fn assert_live(said: &Said) {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], said.port));
    let tls = offering();
    let stream = Stream::connect(address, Some(&tls));
    let Ok(Stream::Client(tls)) = stream else { panic!("{}: no TLS", said.name) };
    if said.is_certificate {
        let shown = tls.conn.peer_certificates().expect("a server's certificate")[0].clone();
        let (_, shown) = x509_parser::parse_x509_certificate(&shown).expect("a certificate");
        let winner = format!("CN={}", said.winner().expect("one of them"));
        assert_eq!(shown.subject().to_string(), winner, "{}", said.name);
    } else {
        let chosen = tls.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name));
        assert_eq!(chosen.as_deref(), said.winner(), "{}", said.name);
    }
}

/// Every level's protocol, so that what is chosen tells whose option it is.
fn offering() -> Arc<ClientConfig> {
    let mut tls = (*trusting(None)).clone();
    tls.alpn_protocols = WORDS.iter().map(|word| word.as_bytes().to_vec()).collect();
    Arc::new(tls)
}

/// `explain` names the level that won, and those that it won over.
fn assert_explained(gateway: &Gateway, said: &Said) {
    let mut command = Command::new(gateway_program());
    command.args(["explain", "--json", "--route", &said.name, "-c"]);
    let ended = run(command.arg(gateway.config_file()), SOON);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let told: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let name = if said.is_certificate { "tls.certificate" } else { "tls.alpn" };
    let options = told["options"].as_array().expect("a list");
    let option = options.iter().find(|option| option["option"] == name);
    let option = option.unwrap_or_else(|| panic!("{}: no {name} in {told}", said.name));
    let by = option["said_by"]["path"].as_str();
    let Some(winner) = said.winner() else {
        return assert_eq!(by, None, "{}: nobody says it", said.name);
    };
    assert!(by.is_some_and(|by| by.starts_with(winner)), "{}: {by:?}, not {winner}", said.name);
    let shadowed = option["shadowed"].as_array().expect("a list").len();
    let others = said.by.iter().filter(|says| **says).count() - 1;
    assert_eq!(shadowed, others, "{}: {option}", said.name);
}

/// A certificate at one level and a version at another are refused, with both places.
fn split(gateway: &Gateway) {
    let text = fs::read_to_string(gateway.config_file()).expect("written at the start");
    let file = gateway.directory().join("split.toml");
    for (upper, lower) in
        [("host", "application"), ("host", "listener"), ("application", "listener")]
    {
        let table = |word: &str| {
            let extra = match word {
                _ if word == upper => certificate(upper),
                _ if word == lower => "min_version = \"1.3\"\n".to_owned(),
                _ => String::new(),
            };
            format!("[{word}.tls]\n{extra}")
        };
        let split = format!(
            "{text}[[host]]\nname = \"split\"\n{}[[application]]\nname = \"split\"\n\
             host = \"split\"\n{}[[listener]]\nname = \"split\"\napplication = \"split\"\n\
             listen = \"127.0.0.1:{}\"\nupstream = \"127.0.0.1:9\"\n{}",
            table("host"),
            table("application"),
            free_port(),
            table("listener")
        );
        // Without the lower one it is a good configuration.
        let whole = split.replace("min_version = \"1.3\"\n", "");
        for (text, is_good) in [(whole, true), (split, false)] {
            fs::write(&file, text).expect("a writable directory");
            let mut command = Command::new(gateway_program());
            let ended = run(command.args(["check", "-c"]).arg(&file), SOON);
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert_eq!(ended.code() == 0, is_good, "{upper} and {lower}: {said}");
            if !is_good {
                assert!(said.contains("splits a bundle over two levels"), "{said}");
                assert!(said.contains(upper) && said.contains(lower), "{said}");
            }
        }
    }
}
