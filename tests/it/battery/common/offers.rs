//! What clients offer: C6, versions, and C11, names.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use rustls::SupportedProtocolVersion;
use tlsgate::catalogue::Mode;
use tlsgate_corpus::hello::{self, Hello};

use super::super::case::Case;
use super::super::component::Component;
use super::super::estate::{Bench, Route, Served, component_of};
use super::super::pki::{Leaf, pki};
use super::super::report::Part;
use super::super::stream::{VERSIONS, client, server};
use super::{Tried, set, usual_client, variant};
use crate::support::Engine;
use crate::support::client::connect_plain;

/// A floor, an exact version, and what is there when nothing is said.
const POLICIES: [(&str, [&str; 2]); 3] =
    [("default", ["1.2", "1.3"]), ("floor13", ["1.3", "1.3"]), ("exact12", ["1.2", "1.2"])];

/// TLS handshake record; the type of ServerHello in it; alert record.
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const ALERT: u8 = 21;
/// `protocol_version`, fatal.
pub(crate) const PROTOCOL_VERSION: [u8; 2] = [2, 70];
/// What SSL 3 has instead of it.
const HANDSHAKE_FAILURE: [u8; 2] = [2, 40];

/// C6: each version of a client with each policy of a listener, and what is older than TLS.
pub(crate) fn versions(engine: Engine, report: &mut Part) {
    let identity = pki().leaf("battery client");
    let cases = Case::representatives();
    let components: Vec<Component> = cases.iter().map(component_of).collect();
    let old = Component::start(Some(server(&pki().leaf("old"), false, &VERSIONS[..1])));
    let mut bench = Bench::new(engine);
    let (mut listeners, mut dialled) = (Vec::new(), Vec::new());
    for (case, component) in cases.iter().zip(&components) {
        let is_pair = case.combination.mode == Mode::Pair;
        for (word, [min, max]) in POLICIES {
            if is_pair && min != "1.3" {
                continue;
            }
            let route = bench.add(case, &variant(case, word), component.address(), |one| {
                set(one, "tls", "min_version", min);
                set(one, "tls", "max_version", max);
            });
            let Route { listener, entrance, exit } = route;
            listeners.push((case, exit.unwrap_or((listener, entrance)), [min, max]));
        }
        if case.combination.has_upstream_tls() {
            let routes = ["1.2", "1.3"].map(|min| {
                bench.add(case, &variant(case, &format!("old.{min}")), old.address(), |one| {
                    set(one, "upstream_tls", "min_version", min);
                })
            });
            dialled.push((case, routes));
        }
    }
    let served = bench.start();
    for (case, (listener, address), range) in &listeners {
        let offered = Offered { served: &served, case, listener, address: *address };
        offered.old();
        for (name, version) in [("1.2", VERSIONS[0]), ("1.3", VERSIONS[1])] {
            offered.spoken(&identity, version, range.contains(&name));
        }
        report.ran_on_combination(&case.combination, &["C6"]);
    }
    for (case, [taken, refused]) in &dialled {
        let tls = usual_client(&case.combination, &identity);
        let peer = Tried::at(taken.entrance, tls.as_ref()).succeeds(&format!("{case}: 1.2"));
        let line = served.line(&taken.listener, peer);
        assert_eq!(line.text("upstream_tls_version"), "TLSv1.2", "{line:?}");
        let tried = Tried::at(refused.entrance, tls.as_ref());
        let (peer, _) = tried.fails(&format!("{case}: a component of TLS 1.2"));
        let line = served.line(&refused.listener, peer);
        // The component is the one that says so: what it was offered is too new for it.
        assert_eq!(line.text("reason"), "upstream_alert", "{line:?}");
        assert_eq!(line.text("upstream_alert_received"), "protocol_version", "{line:?}");
    }
}

/// A listener to which things are offered.
struct Offered<'a> {
    served: &'a Served,
    case: &'a Case,
    listener: &'a str,
    address: SocketAddr,
}

impl Offered<'_> {
    fn spoken(&self, identity: &Leaf, version: &'static SupportedProtocolVersion, is_taken: bool) {
        let place = format!("{}: {version:?}", self.listener);
        let tls = client(pki().roots(), Some(identity), &[version], None);
        let tried = Tried::at(self.address, Some(&tls));
        if is_taken {
            let line = self.served.line(self.listener, tried.succeeds(&place));
            let said = if std::ptr::eq(version, VERSIONS[0]) { "TLSv1.2" } else { "TLSv1.3" };
            assert_eq!(line.text("tls_version"), said, "{line:?}");
            return;
        }
        let (peer, error) = tried.fails(&place);
        assert!(error.to_string().contains("ProtocolVersion"), "{place}: {error}");
        let line = self.served.line(self.listener, peer);
        line.assert_ended("version_mismatch", "downstream", "handshake");
        assert_eq!(line.text("alert_sent"), "protocol_version", "{line:?}");
    }

    /// SSL 2, SSL 3, TLS 1.0 and 1.1, in records and in the form of SSL 2.
    fn old(&self) {
        let refusals = [
            ([3, 0], HANDSHAKE_FAILURE, "ssl3"),
            ([3, 1], PROTOCOL_VERSION, "version_mismatch"),
            ([3, 2], PROTOCOL_VERSION, "version_mismatch"),
        ];
        for (version, alert, reason) in refusals {
            let (peer, answer) = says(self.address, &old_hello(version).stream());
            let is_alert = answer.first() == Some(&ALERT) && answer.ends_with(&alert);
            assert!(is_alert, "{}: {version:?}: {answer:?}", self.listener);
            let line = self.served.line(self.listener, peer);
            line.assert_ended(reason, "downstream", "handshake");
        }
        // Autodetect takes what is no TLS for plaintext, as it should.
        if self.case.combination.mode == Mode::Autodetect {
            return;
        }
        // SSL 2 has no alerts.
        let refusals = [
            ([0, 2], &[][..], "ssl2", "hello"),
            ([3, 1], &PROTOCOL_VERSION, "sslv2_format", "handshake"),
        ];
        for (version, alert, reason, stage) in refusals {
            let (peer, answer) = says(self.address, &sslv2_hello(version));
            let is_refused = answer.ends_with(alert) && answer.is_empty() == alert.is_empty();
            assert!(is_refused, "{}: {version:?}: {answer:?}", self.listener);
            let line = self.served.line(self.listener, peer);
            line.assert_ended(reason, "downstream", stage);
        }
    }
}

/// C11: no name, a wrong one, an address, one with an underscore, and what is no name.
pub(crate) fn names(engine: Engine, report: &mut Part) {
    let cases: Vec<Case> = Case::representatives()
        .into_iter()
        .filter(|case| case.combination.has_downstream_tls())
        .collect();
    let components: Vec<Component> = cases.iter().map(component_of).collect();
    let mut bench = Bench::new(engine);
    let mut routes = Vec::new();
    for (case, component) in cases.iter().zip(&components) {
        let lax = bench.add(case, &variant(case, "lax"), component.address(), |_| ());
        let strict = bench.add(case, &variant(case, "strict"), component.address(), |one| {
            set(one, "tls", "strict_sni", true);
        });
        routes.push((case, lax, strict));
    }
    let served = bench.start();
    for (case, lax, strict) in &routes {
        for (name, is_known) in [
            // Strict is also about those who ask for nobody; an address is no name.
            (None, false),
            (Some("127.0.0.1"), false),
            (Some("localhost"), true),
            (Some("elsewhere.test"), false),
            (Some("under_score.test"), false),
        ] {
            let hello = named(name);
            let (peer, answer) = says(lax.entrance, &hello);
            assert!(is_server_hello(&answer), "{case}: {name:?}: {answer:?}");
            let line = served.line(&lax.listener, peer);
            assert_eq!(line.value("sni").as_str(), name, "{line:?}");
            let (peer, answer) = says(strict.entrance, &hello);
            assert_eq!(is_server_hello(&answer), is_known, "{case}: {name:?}: {answer:?}");
            if !is_known {
                let line = served.line(&strict.listener, peer);
                line.assert_ended("unrecognized_name", "policy", "handshake");
            }
        }
        for name in ["a..b", "bad name"] {
            let (peer, answer) = says(lax.entrance, &named(Some(name)));
            assert_eq!(answer.first(), Some(&ALERT), "{case}: {name:?}: {answer:?}");
            let line = served.line(&lax.listener, peer);
            assert_eq!(line.text("alert_sent"), "illegal_parameter", "{line:?}");
        }
        report.ran_on_combination(&case.combination, &["C11"]);
    }
}

/// A client of this version, with suites of its time.
pub(crate) fn old_hello(version: [u8; 2]) -> Hello {
    let mut hello = Hello::tls12();
    hello.version = version;
    hello.suites = vec![0xc0, 0x09, 0xc0, 0x13, 0, 0x2f, 0, 0x35];
    hello.remove(hello::SIGNATURE_ALGORITHMS);
    hello
}

/// The form that came before records (RFC 5246 appendix E.2).
fn sslv2_hello(version: [u8; 2]) -> Vec<u8> {
    let body = [&[1], &version[..], &[0, 3, 0, 0, 0, 16, 0, 0, 0x2f], &[9; 16]].concat();
    [&[0x80, u8::try_from(body.len()).expect("short")], &body[..]].concat()
}

fn named(name: Option<&str>) -> Vec<u8> {
    let mut hello = Hello::tls13();
    match name {
        Some(name) => hello.set(hello::SERVER_NAME, &hello::server_name(name.as_bytes())),
        None => hello.remove(hello::SERVER_NAME),
    }
    hello.stream()
}

/// Sends first bytes and returns who did, with the first record that comes back, or nothing.
pub(crate) fn says(address: SocketAddr, bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    let mut stream = connect_plain(address);
    let peer = stream.local_addr().expect("connected");
    stream.write_all(bytes).expect("sent");
    let mut answer = vec![0; 5];
    let mut read = || -> io::Result<()> {
        stream.read_exact(&mut answer)?;
        let length = usize::from(u16::from_be_bytes([answer[3], answer[4]]));
        answer.resize(5 + length, 0);
        stream.read_exact(&mut answer[5..])
    };
    match read() {
        Ok(()) => (peer, answer),
        Err(_) => (peer, Vec::new()),
    }
}

fn is_server_hello(answer: &[u8]) -> bool {
    answer.first() == Some(&HANDSHAKE) && answer.get(5) == Some(&SERVER_HELLO)
}
