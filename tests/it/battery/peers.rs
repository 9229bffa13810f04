//! Servers and clients from packages at the ends of the rows whose protocol they speak, and some that
//! stand in where the protocol is not public: bytes are bytes to the gateway.

mod clients;
pub(crate) mod servers;

use std::collections::BTreeSet;
use std::process::Command;

use tempfile::TempDir;

use self::clients::Client;
use self::servers::{Server, Servers, Talk};
use super::case::Case;
use super::common::variant;
use super::estate::{Bench, Route};
use super::pki::pki;
use super::report::{Part, Peer};
use crate::support::process::run as run_program;
use crate::support::{Engine, SOON, has_tool, skip_impossible};

/// Programs that must be there.
const TOOLS: [&str; 25] = [
    "slapd",
    "ldapsearch",
    "nginx",
    "apache2",
    "lighttpd",
    "kamailio",
    "sipsak",
    "postgres",
    "psql",
    "mariadbd",
    "mariadb",
    "dovecot",
    "exim4",
    "swaks",
    "redis-server",
    "redis-cli",
    "memcached",
    "mosquitto",
    "mosquitto_pub",
    "curl",
    "wget",
    "python3",
    "node",
    "gnutls-cli",
    "socat",
];

/// A row's route to one of the servers.
struct Way {
    case: Case,
    server: usize,
    client: Client,
    stands_in: bool,
    route: Route,
}

/// Returns whether everything is there that it takes.
pub(super) fn run(engines: &[Engine], report: &mut Part) -> bool {
    if !rustix::process::getuid().is_root() {
        skip_impossible("mail and database servers are started as users of their own");
        return false;
    }
    if !TOOLS.iter().all(|tool| servers::is_there(tool) || has_tool(tool)) {
        return false;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let servers = Servers::start(directory.path());
    for &engine in engines {
        let mut bench = Bench::new(engine);
        let ways = ways(&servers, &mut bench);
        let _served = bench.start();
        // Ends before the gateway does: its proxy keeps connections.
        let clients = clients::Clients::start(directory.path());
        for way in &ways {
            let place = format!("{}: {:?}", way.case, way.client);
            clients.run(way.client, way.route.entrance.port(), &place);
        }
        for Way { case, server, client, stands_in, .. } in &ways {
            let note = if *stands_in { " (stands in)" } else { "" };
            let server = format!("{}{note}", servers.all[*server].program);
            report.met(Peer { row: case.number, is_server: true, program: server });
            for program in clients.programs(*client) {
                let program = format!("{program}{note}");
                report.met(Peer { row: case.number, is_server: false, program });
            }
        }
    }
    true
}

/// Which row goes where.
fn ways(servers: &Servers, bench: &mut Bench) -> Vec<Way> {
    let mut ways = Vec::new();
    // Those that can do the same take turns.
    let mut turn = 0;
    for case in Case::all() {
        for (talk, stands_in) in talks(&case) {
            turn += 1;
            let fitting: Vec<usize> =
                (0..servers.all.len()).filter(|at| servers.all[*at].fits(talk, &case)).collect();
            let server = fitting[turn % fitting.len()];
            let Server { address, speaks, .. } = &servers.all[server];
            let name = variant(&case, &format!("{talk:?}"));
            let route = bench.add(&case, &name, *address, |_| ());
            let client = Client::of(*speaks, turn);
            ways.push(Way { case: case.clone(), server, client, stands_in, route });
        }
    }
    ways
}

/// What real programs say on a row; and whether they only stand in.
fn talks(case: &Case) -> Vec<(Talk, bool)> {
    use tlsgate::catalogue::Mutual;
    let asks = case.combination.mutual == Mutual::Required;
    match case.kind.as_str() {
        "ldaps" => vec![(Talk::Ldap, false)],
        "http" | "https" => vec![(Talk::Http, false)],
        "sip" => vec![(Talk::Sip, false)],
        "jdbc" => vec![(Talk::Database, false)],
        "imap|smtp|https(ews)" => {
            vec![(Talk::Imap, false), (Talk::Smtp, false), (Talk::Http, false)]
        }
        "genesys-tcp(statserver)" if !asks => vec![(Talk::Redis, true)],
        "genesys-tcp(message)" if !asks => vec![(Talk::Mqtt, true)],
        "genesys-tcp(interaction)" if !asks => vec![(Talk::Memcached, true)],
        _ => Vec::new(),
    }
}

/// A program's name, and its version as it says it.
pub(super) fn version(name: &str, command: &mut Command) -> String {
    let ended = run_program(command, SOON);
    let text = format!("{} {}", ended.stdout, ended.stderr);
    let is_version =
        |word: &&str| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
    let separators = |letter: char| letter.is_whitespace() || "/=v()$,".contains(letter);
    let mut words = text.split(separators).filter(is_version);
    let version = words.next().unwrap_or_else(|| panic!("{name} does not say: {text}"));
    format!("{name} {version}")
}

/// Writes what servers and clients need: the CA, and a certificate of each end.
pub(super) fn certificates(directory: &std::path::Path) {
    std::fs::write(directory.join("ca.pem"), pki().root.pem()).expect("a writable directory");
    for stem in ["component", "client"] {
        pki().leaf(stem).write(directory, stem);
    }
}

/// Programs that were met, without their rows.
pub(super) fn distinct(programs: &BTreeSet<&str>) -> usize {
    let names = programs.iter().filter_map(|program| program.split(' ').next());
    names.collect::<BTreeSet<_>>().len()
}
