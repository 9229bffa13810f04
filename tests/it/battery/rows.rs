//! What each row is tested with itself: its traffic, in every version and with every certificate
//! that its route takes, what the log says of it, and who set its options.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use tlsgate::catalogue::{Mode, Mutual};

use super::case::Case;
use super::common::Tried;
use super::component::Manner;
use super::estate::{Estate, Row};
use super::pki::{Leaf, pki};
use super::report::Part;
use super::script::{End, Speech};
use super::stream::{Stream, VERSIONS, client};
use crate::support::log::Line;
use crate::support::process::{gateway_program, run as run_program};
use crate::support::{Engine, SOON, is_full, wait_for};

/// Subject of the clients' certificates.
const CLIENT: &str = "battery client";

/// A connection that went well, and how the log must tell it.
struct Carried {
    peer: SocketAddr,
    /// Where TLS ends at the gateway.
    version: Option<&'static str>,
    has_certificate: bool,
}

pub(super) fn run(engine: Engine, report: &mut Part) {
    let cases = Case::all();
    assert_eq!(cases.len(), 197, "the rows of the catalogue");
    let estate = Estate::start(engine, &cases);
    let identity = pki().leaf(CLIENT);
    let carried: Vec<(&Row, Vec<Carried>)> =
        estate.rows.iter().map(|row| (row, carry(row, &identity))).collect();
    for (row, connections) in &carried {
        for connection in connections {
            let line = estate.served.line(&row.route.listener, connection.peer);
            assert_recorded(row, connection, &line);
        }
    }
    assert_exits(&estate);
    for row in &estate.rows {
        report.ran_on_row(&row.case, &["traffic", "C12"]);
        if row.case.combination.has_downstream_tls() {
            assert_distrusted(&estate, row);
            report.ran_on_row(&row.case, &["C2 on the row"]);
        }
    }
    levels(&estate, report);
    routes_by_command(&estate);
}

/// All that a row carries.
fn carry(row: &Row, identity: &Leaf) -> Vec<Carried> {
    let combination = &row.case.combination;
    let mut carried = Vec::new();
    for speech in row.case.speeches() {
        row.component.be(Manner::Speak(speech));
        for (version, shown) in ways(row, identity) {
            let stream = connect(row, version, shown);
            carried.push(converse(row, speech, stream, version, shown.is_some()));
        }
        if matches!(combination.mode, Mode::Autodetect) {
            let stream = Stream::connect(row.route.entrance, None).expect("plaintext");
            carried.push(converse(row, speech, stream, None, false));
        }
    }
    carried
}

/// With which versions, and what is shown.
fn ways<'a>(row: &Row, identity: &'a Leaf) -> Vec<(Option<usize>, Option<&'a Leaf>)> {
    if !row.case.combination.has_downstream_tls() {
        return vec![(None, None)];
    }
    match row.case.combination.mutual {
        Mutual::None => vec![(Some(0), None), (Some(1), None)],
        Mutual::Optional => vec![(Some(0), None), (Some(1), Some(identity))],
        Mutual::Required => vec![(Some(0), Some(identity)), (Some(1), Some(identity))],
    }
}

fn connect(row: &Row, version: Option<usize>, shown: Option<&Leaf>) -> Stream {
    let tls = version.map(|at| client(pki().roots(), shown, &VERSIONS[at..=at], None));
    Stream::connect(row.route.entrance, tls.as_ref())
        .unwrap_or_else(|error| panic!("{}: {error}", row.case))
}

fn converse(
    row: &Row,
    speech: Speech,
    mut stream: Stream,
    version: Option<usize>,
    has_certificate: bool,
) -> Carried {
    let place = format!("{}: {speech:?}", row.case);
    let peer = stream.local();
    speech.speak(&mut stream, End::Client).unwrap_or_else(|error| panic!("{place}: {error}"));
    stream.end().unwrap_or_else(|error| panic!("{place}: {error}"));
    let rest = stream.read(&mut [0; 1]).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(rest, 0, "{place}: more than there is to say");
    let version = version.map(|at| ["TLSv1.2", "TLSv1.3"][at]);
    Carried { peer, version, has_certificate }
}

/// Component, side, version, suite, and who the two ends are (C12).
fn assert_recorded(row: &Row, carried: &Carried, line: &Line) {
    let combination = &row.case.combination;
    line.assert_ended("finished", "downstream", "relay");
    assert_eq!(line.value("tls_version").as_str(), carried.version, "{line:?}");
    assert_eq!(line.value("cipher_suite").is_string(), carried.version.is_some(), "{line:?}");
    let downstream = match (carried.version, carried.has_certificate) {
        (None, _) => "plaintext",
        (Some(_), false) => "server",
        (Some(_), true) => "mutual",
    };
    assert_eq!(line.text("downstream_security"), downstream, "{line:?}");
    let subject = carried.has_certificate.then(|| format!("CN={CLIENT}"));
    assert_eq!(line.value("client_subject").as_str(), subject.as_deref(), "{line:?}");
    let upstream = match (combination.mode, combination.mutual) {
        (Mode::Pair, _) | (Mode::Bridge, Mutual::Required) => "mutual",
        (Mode::Bridge, _) => "server",
        _ => "plaintext",
    };
    assert_eq!(line.text("upstream_security"), upstream, "{line:?}");
    if combination.mode == Mode::Bridge {
        assert_eq!(line.text("upstream_subject"), "CN=component", "{line:?}");
        assert!(!line.text("upstream_serial").is_empty(), "{line:?}");
    }
    if upstream != "plaintext" {
        assert_eq!(line.text("upstream_tls_version"), "TLSv1.3", "{line:?}");
    }
}

/// A client that knows another CA does not take the gateway's certificate, and the gateway tells so.
fn assert_distrusted(estate: &Estate, row: &Row) {
    let tls = client(pki().strange_roots(), None, &VERSIONS, None);
    let (peer, _) = Tried::at(row.route.entrance, Some(&tls)).fails(&row.case.to_string());
    let line = estate.served.line(&row.route.listener, peer);
    line.assert_ended("alert_received", "downstream", "handshake");
    assert_eq!(line.text("alert_received"), "unknown_ca", "{line:?}");
}

/// The other gateways of pairs have seen the ones in front of them, by mutual TLS 1.3.
fn assert_exits(estate: &Estate) {
    for row in estate.rows.iter().filter(|row| row.case.combination.mode == Mode::Pair) {
        let (name, _) = row.route.exit.as_ref().expect("a pair has one");
        let exits = wait_for(&format!("{}: what came out", row.case), SOON, || {
            let mut lines = estate.served.gateway.lines();
            lines.retain(|line| line.text("listener") == name);
            Some(lines).filter(|lines| !lines.is_empty())
        });
        for line in &exits {
            assert_eq!(line.text("tls_version"), "TLSv1.3", "{line:?}");
            assert_eq!(line.text("downstream_security"), "mutual", "{line:?}");
            assert_eq!(line.text("client_subject"), "CN=gateway", "{line:?}");
        }
    }
}

/// `explain` says of a row's options of TLS that its level set them (C7). It reads the file of all
/// rows each time.
fn levels(estate: &Estate, report: &mut Part) {
    let mut seen = BTreeSet::new();
    for Row { case, route, .. } in &estate.rows {
        if !seen.insert(&case.combination) && !is_full() {
            continue;
        }
        let mut command = Command::new(gateway_program());
        command.args(["explain", "--json", "--route", &route.listener, "-c"]);
        let ended = run_program(command.arg(estate.served.gateway.config_file()), SOON);
        assert_eq!(ended.code(), 0, "{case}: {}", ended.stderr);
        let told: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        let options = told["options"].as_array().expect("a list");
        let of_tls = options
            .iter()
            .filter(|option| option["option"].as_str().is_some_and(|name| name.contains("tls.")));
        let said: Vec<&str> =
            of_tls.filter_map(|option| option["said_by"]["path"].as_str()).collect();
        assert!(!said.is_empty(), "{case}: {told}");
        let level = format!("{}[{}]", case.combination.level.word(), route.listener);
        assert!(said.iter().all(|path| path.starts_with(&level)), "{case}: {level}: {said:?}");
        report.ran_on_row(case, &["C7 explain"]);
    }
}

/// `tlsgate new` writes the same route; where several rows have the same two ends, for one of them.
fn routes_by_command(estate: &Estate) {
    let mut seen = BTreeSet::new();
    let mut same = 0;
    for Row { case, .. } in &estate.rows {
        if !seen.insert(&case.combination) {
            continue;
        }
        let (listen, upstream) = ("127.0.0.1:7001", "127.0.0.1:7002");
        let mut command = Command::new(gateway_program());
        command.args(["new", "--from", &case.from, "--to", &case.to, "--kind", &case.kind]);
        command.args(["--listen", listen, "--upstream", upstream]);
        if let Some(until) = case.request(listen, upstream).until {
            command.args(["--until", &until]);
        }
        let ended = run_program(&mut command, SOON);
        assert_eq!(ended.code(), 0, "{case}: {}", ended.stderr);
        if ended.stdout.contains(&format!("({})", case.seed)) {
            let route = case.route(listen, upstream);
            assert_eq!(ended.stdout.trim_end(), route.trim_end(), "{case}");
            same += 1;
        }
    }
    assert!(same * 4 >= seen.len() * 3, "{same} of {}", seen.len());
}
