//! Who believes whom: C2 in both directions, C3, C4, C5.

use std::fs;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::sign::CertifiedKey;
use rustls::server::{ClientHello, ResolvesServerCert};
use tlsgate::catalogue::Mode;

use super::super::case::Case;
use super::super::component::Component;
use super::super::estate::{Bench, Route, Served, component_of};
use super::super::pki::{Fault, Leaf, pki};
use super::super::report::Part;
use super::super::stream::{VERSIONS, client, server, trusting};
use super::{Tried, set, usual_client, variant};
use crate::support::Engine;

/// What a server's certificate must not have, and the alerts that say so (RFC 8446 section 6.2).
const SERVERS: [(Fault, &str); 6] = [
    (Fault::UnknownCa, "unknown_ca"),
    (Fault::Expired, "certificate_expired"),
    (Fault::NotYetValid, "bad_certificate"),
    (Fault::WrongName, "bad_certificate"),
    (Fault::Revoked, "certificate_revoked"),
    (Fault::MissingIntermediate, "unknown_ca"),
];

/// The same of a client's.
const CLIENTS: [(Fault, &str); 6] = [
    (Fault::UnknownCa, "unknown_ca"),
    (Fault::Expired, "certificate_expired"),
    (Fault::NotYetValid, "bad_certificate"),
    (Fault::Revoked, "certificate_revoked"),
    (Fault::MissingIntermediate, "unknown_ca"),
    (Fault::WrongUsage, "unsupported_certificate"),
];

/// Certificates with each fault, and the list by which some of them are revoked.
struct Faulty {
    leaves: Vec<(Fault, Leaf)>,
    crl: String,
}

impl Faulty {
    fn new() -> Self {
        let faults = SERVERS.iter().chain(&CLIENTS).map(|(fault, _)| *fault);
        let mut leaves: Vec<(Fault, Leaf)> = Vec::new();
        for fault in faults {
            if leaves.iter().all(|(known, _)| *known != fault) {
                let subject = format!("{fault:?}").to_lowercase();
                leaves.push((fault, pki().faulty(&subject, Some(fault))));
            }
        }
        let revoked: Vec<&Leaf> = leaves
            .iter()
            .filter_map(|(fault, leaf)| (*fault == Fault::Revoked).then_some(leaf))
            .collect();
        let crl = pki().crl(&revoked, 2099);
        Self { leaves, crl }
    }

    fn leaf(&self, fault: Fault) -> &Leaf {
        let mut leaves = self.leaves.iter();
        let found = leaves.find_map(|(known, leaf)| (*known == fault).then_some(leaf));
        found.expect("there is one of each")
    }

    /// Puts them where the gateway finds them.
    fn write(&self, bench: &Bench) {
        let directory = bench.certificates();
        for (fault, leaf) in &self.leaves {
            leaf.write(&directory, &format!("{fault:?}"));
        }
        fs::write(directory.join("ca.crl"), &self.crl).expect("a writable directory");
    }
}

/// C2: a gateway's certificate with a fault is refused by the client, which the gateway logs; a
/// component's, and that of a pair's other gateway, by the gateway.
pub(crate) fn chains(engine: Engine, report: &mut Part) {
    let faulty = Faulty::new();
    let identity = pki().leaf("battery client");
    let mut bench = Bench::new(engine);
    faulty.write(&bench);
    let cases = Case::representatives();
    let good: Vec<Component> = cases.iter().map(component_of).collect();
    let bad = bad_components(&faulty);
    let mut shown = Vec::new();
    let mut dialled = Vec::new();
    for (case, component) in cases.iter().zip(&good) {
        for (fault, alert) in SERVERS {
            let name = format!("{fault:?}").to_lowercase();
            if case.combination.has_downstream_tls() {
                let route = bench.add(case, &variant(case, &format!("shows-{name}")), component.address(), |one| {
                    let stem = format!("certificates/{fault:?}");
                    set(one, "tls", "certificate", format!("{stem}.pem"));
                    set(one, "tls", "certificate_key", format!("{stem}.key"));
                });
                shown.push((case, route, alert));
            }
            let upstream = bad.iter().find(|(known, _)| *known == fault).expect("one of each");
            let dials = |bench: &mut Bench, word: &str, component: &Component, is_bad: bool| {
                bench.add(case, &variant(case, word), component.address(), |one| {
                    set(one, "upstream_tls", "crl_files", "certificates/ca.crl");
                    if is_bad && one["mode"].as_str() == Some("pair_exit") {
                        let stem = format!("certificates/{fault:?}");
                        set(one, "tls", "certificate", format!("{stem}.pem"));
                        set(one, "tls", "certificate_key", format!("{stem}.key"));
                    }
                })
            };
            if case.combination.has_upstream_tls() {
                let route = dials(&mut bench, &format!("dials-{name}"), &upstream.1, true);
                let control = dials(&mut bench, &format!("dials-not-{name}"), component, false);
                dialled.push((case, route, control, alert));
            } else if case.combination.mode == Mode::Pair {
                let route = dials(&mut bench, &format!("dials-{name}"), component, true);
                let control = dials(&mut bench, &format!("dials-not-{name}"), component, false);
                dialled.push((case, route, control, alert));
            }
        }
    }
    let served = bench.start();
    let wary = |roots| client(roots, Some(&identity), &VERSIONS, Some(&faulty.crl));
    for (case, route, alert) in &shown {
        assert_refused_by_client(&served, case, route, &wary(pki().roots()), alert);
    }
    for (case, route, control, alert) in &dialled {
        assert_refused_by_gateway(&served, case, route, &identity, alert);
        let tried = Tried::at(control.entrance, usual_client(&case.combination, &identity).as_ref());
        tried.succeeds(&format!("{case}: without the fault {alert}"));
    }
    for case in &cases {
        report.ran_on_combination(&case.combination, &["C2"]);
    }
}

/// Components that differ from good ones in one thing.
fn bad_components(faulty: &Faulty) -> Vec<(Fault, Component)> {
    let all = SERVERS.iter().map(|(fault, _)| *fault);
    all.map(|fault| {
        let tls = server(faulty.leaf(fault), false, &VERSIONS);
        (fault, Component::start(Some(tls)))
    })
    .collect()
}

fn assert_refused_by_client(
    served: &Served,
    case: &Case,
    route: &Route,
    tls: &Arc<ClientConfig>,
    alert: &str,
) {
    let place = format!("{case}: {}", route.listener);
    let (peer, told) = Tried::at(route.entrance, Some(tls)).fails(&place);
    let line = served.line(&route.listener, peer);
    println!("{place}: client says {told}; log: {line:?} (expected {alert})");
}

fn assert_refused_by_gateway(
    served: &Served,
    case: &Case,
    route: &Route,
    identity: &Leaf,
    alert: &str,
) {
    let place = format!("{case}: {}", route.listener);
    let tls = usual_client(&case.combination, identity);
    let (peer, told) = Tried::at(route.entrance, tls.as_ref()).fails(&place);
    let line = served.line(&route.listener, peer);
    println!("{place}: client says {told}; log: {line:?} (expected {alert})");
}
