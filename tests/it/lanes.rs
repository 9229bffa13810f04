//! Who takes which lane: by the vendor's word for versions, by source, and up to a day.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::legacy_child::{legacy, legacy_for};
use crate::support::backend::Backend;
use crate::support::client::{Version, assert_echo, config, connect};
use crate::support::gateway::{Gateway, free_port};
use crate::support::log::Line;
use crate::support::old_peers::OldClient;
use crate::support::peers::Program;
use crate::support::process::{gateway_program, run};
use crate::support::{SOON, engines, has_tool, sized};
use crate::ticket_keys::clock_library;

/// Versions that a client is restricted to: its option, what the log calls it, and its place.
const VERSIONS: [(&str, &str, usize); 4] = [
    ("-tls1", "TLSv1", 0),
    ("-tls1_1", "TLSv1.1", 1),
    ("-tls1_2", "TLSv1.2", 2),
    ("-tls1_3", "TLSv1.3", 3),
];

/// `sec-protocol` with the legacy lane open: from which version to which, under "floor" and "exact".
const MEANINGS: [(&str, [usize; 2], [usize; 2]); 7] = [
    ("SSLv23", [0, 3], [0, 3]),
    ("TLSv1", [0, 3], [0, 0]),
    ("TLSv1.1", [1, 3], [1, 1]),
    ("TLSv11", [1, 3], [1, 1]),
    ("TLSv12", [2, 3], [2, 2]),
    ("TLSv13", [3, 3], [3, 3]),
    ("", [2, 3], [2, 3]),
];

fn s_client(address: SocketAddr, version: &str) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), version]);
    // How it ended, the gateway's log says.
    drop(run(command.args(["-cipher", "DEFAULT@SECLEVEL=0"]), SOON));
}

/// What became of a client: its version and lane, or why there was none.
fn cell(line: &Line) -> String {
    if line.keys().contains(&"tls_version") {
        format!("{} {}", line.text("tls_version"), line.text("lane"))
    } else {
        line.text("reason").to_owned()
    }
}

#[test]
#[ignore = "run by tests/run"]
fn lanes_by_sec_protocol() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    // Which engine it is makes no difference to what is chosen.
    let engines = engines();
    let engines = &engines[..sized(engines.len(), 1)];
    for engine in engines {
        println!("{:<8} {:<6} with openssl s_client -tls1, -tls1_1, -tls1_2, -tls1_3", "value", "");
        for (value, floor, exact) in MEANINGS {
            for (semantics, [least, most]) in [("floor", floor), ("exact", exact)] {
                let (setup, _files) = legacy(*engine, backend.address());
                let mut gateway = setup
                    .tls(&format!("sec-protocol = \"{value}\""))
                    .tls(&format!("sec_protocol_semantics = \"{semantics}\""))
                    .start();
                let mut row = Vec::new();
                for (option, name, at) in VERSIONS {
                    s_client(gateway.address(), option);
                    let line = gateway.next_line();
                    let cell = cell(&line);
                    if (least..=most).contains(&at) {
                        let lane = if at < 2 { "legacy" } else { "modern" };
                        assert_eq!(cell, format!("{name} {lane}"), "{value:?} {semantics}");
                    } else {
                        // To one that offers more, the legacy lane answers with what it has.
                        let may = ["version_mismatch", "alert_received"];
                        assert!(may.contains(&&*cell), "{value:?} {semantics} {name}: {cell}");
                    }
                    row.push(cell);
                }
                println!("{value:<8} {semantics:<6} {}", row.join(" | "));
            }
        }
    }
    for value in ["SSLv2", "SSLv3"] {
        for semantics in ["floor", "exact"] {
            let (setup, _files) = legacy(engines[0], backend.address());
            let mut setup = setup
                .tls(&format!("sec-protocol = \"{value}\""))
                .tls(&format!("sec_protocol_semantics = \"{semantics}\""));
            let mut check = Command::new(gateway_program());
            let said = run(check.args(["check", "--config"]).arg(setup.write().file), SOON);
            assert_ne!(said.code(), 0);
            assert!(said.stderr.contains("never spoken here"), "{}", said.stderr);
            println!("{value:<8} {semantics:<6} refused when the file is read");
        }
    }
}

/// Who may take the lane, one of them, and who may not.
const ALLOWED: &str = "127.0.0.8/29";
const INSIDE: &str = "127.0.0.9";
const OUTSIDE: &str = "127.0.0.16";

#[test]
#[ignore = "run by tests/run"]
fn lanes_source_outside_allow_from() {
    if !["openssl", "haproxy"].into_iter().all(has_tool) {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let (setup, _files) = legacy_for(engine, backend.address(), ALLOWED, "2099-12-31");
        let mut gateway = setup.start();
        by_source(&mut gateway, None);
        // The sender of headers is inside, and it does not matter: the client that it tells of does.
        let (setup, _files) = legacy_for(engine, backend.address(), ALLOWED, "2099-12-31");
        let setup = setup.listener("proxy_in = \"v2\"");
        let mut gateway = setup.listener(&format!("proxy_trusted = [{INSIDE:?}]")).start();
        let port = free_port();
        let config = format!(
            "listen relay\n    bind 127.0.0.1:{port}\n    source {INSIDE}\n    \
             server to {} send-proxy-v2\n",
            gateway.address(),
        );
        let _balancer = Program::Haproxy.start(&config, &[port]);
        by_source(&mut gateway, Some(SocketAddr::from(([127, 0, 0, 1], port))));
    }
}

/// Clients of TLS 1.0 from both sides of the range, and one of TLS 1.3, for which it is not there.
fn by_source(gateway: &mut Gateway, through: Option<SocketAddr>) {
    let to = through.unwrap_or_else(|| gateway.address());
    let who = if through.is_some() { "source" } else { "peer" };
    let [inside, outside] = [INSIDE, OUTSIDE].map(|source| format!("{source}:0"));
    let mut allowed = OldClient::start(to, &["-quiet", "-no_ign_eof", "-bind", &inside]);
    allowed.echo();
    let _printed = allowed.end();
    let line = line_from(gateway, who, INSIDE);
    assert_eq!((line.text("lane"), line.text("reason")), ("legacy", "finished"), "{line:?}");
    let refused = OldClient::start(to, &["-bind", &outside]).ended();
    assert!(refused.contains("alert access denied"), "{refused}");
    let line = line_from(gateway, who, OUTSIDE);
    assert_eq!(line.text("reason"), "legacy_source", "{line:?}");
    println!("{}", line.text("detail"));
    let mut modern = OldClient::at("-tls1_3", to, &["-quiet", "-no_ign_eof", "-bind", &outside]);
    modern.echo();
    let _printed = modern.end();
    assert_eq!(line_from(gateway, who, OUTSIDE).text("lane"), "modern");
    let labels = [("listener", "main"), ("reason", "legacy_source")];
    assert_eq!(gateway.metrics().count("tlsgate_handshake_failures_total", &labels), 1);
}

/// The next line of a client with this address; others only look whether somebody listens.
fn line_from(gateway: &mut Gateway, who: &str, address: &str) -> Line {
    loop {
        let line = gateway.next_line();
        if line.text(who).starts_with(&format!("{address}:")) {
            return line;
        }
    }
}

/// Seconds that its clock is before the end of the lane's last day.
const BEFORE_MIDNIGHT: u64 = 15;

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn lanes_last_day_passes_while_running() {
    if !has_tool("openssl") {
        return;
    }
    let Some(library) = clock_library() else { return };
    let backend = Backend::echo();
    let started = engines().into_iter().map(|engine| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        // The day after tomorrow is the last one.
        let end = (now / 86_400 + 3) * 86_400;
        let day =
            run(Command::new("date").args(["-u", "+%F", "-d", &format!("@{}", end - 1)]), SOON);
        let (setup, _files) =
            legacy_for(engine, backend.address(), "127.0.0.0/8", day.stdout.trim());
        let gateway = setup
            .tls("revalidate = \"close\"")
            .environment("LD_PRELOAD", &library)
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .environment("FAKETIME", &format!("+{}s", end - BEFORE_MIDNIGHT - now))
            .start();
        let mut old = OldClient::quiet(gateway.address());
        old.echo();
        let mut modern = connect(gateway.address(), &config(Version::V13));
        assert_echo(&mut modern, b"before midnight");
        (engine, gateway, old, modern)
    });
    for (engine, mut gateway, old, mut modern) in started.collect::<Vec<_>>() {
        let _printed = old.ended();
        let line = gateway.next_line();
        assert_eq!((line.text("reason"), line.text("lane")), ("no_longer_admitted", "legacy"));
        assert_eq!(line.text("stale"), "lane");
        s_client(gateway.address(), "-tls1");
        let line = gateway.next_line();
        assert_eq!(line.text("reason"), "legacy_over");
        assert_eq!(line.text("alert_sent"), "access_denied");
        assert_echo(&mut modern, b"after midnight");
        let metrics = gateway.metrics();
        let labels = [("listener", "main"), ("reason", "legacy_over")];
        assert_eq!(metrics.count("tlsgate_handshake_failures_total", &labels), 1);
        for (lane, version, reason) in
            [("legacy", "TLSv1", "version"), ("modern", "TLSv1.3", "able")]
        {
            let labels = [("lane", lane), ("version", version), ("reason", reason)];
            assert_eq!(metrics.count("tlsgate_lane_handshakes_total", &labels), 1, "{lane}");
        }
        println!("{}: refused from midnight on, and one that was up is closed", engine.name());
    }
}
