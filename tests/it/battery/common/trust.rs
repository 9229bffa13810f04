//! Who believes whom: C2 in both directions, C3, C4, C5.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tlsgate::catalogue::{Mode, Mutual};
use toml::Table;

use super::super::case::Case;
use super::super::component::Component;
use super::super::estate::{Bench, Route, Served, component_of};
use super::super::pki::{Fault, Leaf, pki};
use super::super::report::Part;
use super::super::stream::{VERSIONS, client, server};
use super::{Tried, set, usual_client, variant};
use crate::support::Engine;

/// What a server's certificate must not have: the word for it in the log, and the alert that whoever
/// refuses it sends (RFC 8446 section 6.2).
const SERVERS: [(Fault, &str, &str); 6] = [
    (Fault::UnknownCa, "unknown_ca", "unknown_ca"),
    (Fault::Expired, "expired", "certificate_expired"),
    // There is no other alert about time.
    (Fault::NotYetValid, "not_yet_valid", "certificate_expired"),
    (Fault::WrongName, "wrong_name", "bad_certificate"),
    (Fault::Revoked, "revoked", "certificate_revoked"),
    (Fault::MissingIntermediate, "unknown_ca", "unknown_ca"),
];

/// The same of a client's.
const CLIENTS: [(Fault, &str, &str); 6] = [
    (Fault::UnknownCa, "unknown_ca", "unknown_ca"),
    (Fault::Expired, "expired", "certificate_expired"),
    (Fault::NotYetValid, "not_yet_valid", "certificate_expired"),
    (Fault::Revoked, "revoked", "certificate_revoked"),
    (Fault::MissingIntermediate, "unknown_ca", "unknown_ca"),
    (Fault::WrongUsage, "wrong_usage", "unsupported_certificate"),
];

/// Certificates with each fault, and the list by which some of them are revoked.
struct Faulty {
    leaves: Vec<(Fault, Leaf)>,
    crl: String,
}

impl Faulty {
    fn new() -> Self {
        let faults = SERVERS.iter().chain(&CLIENTS).map(|(fault, ..)| *fault);
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

/// A variant of a row's route, and what is expected of it.
struct Variant<'a> {
    case: &'a Case,
    route: Route,
    word: &'static str,
    alert: &'static str,
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
    let bad: Vec<Component> = SERVERS
        .iter()
        .map(|(fault, ..)| Component::start(Some(server(faulty.leaf(*fault), false, &VERSIONS))))
        .collect();
    let (mut shown, mut dialled, mut controls) = (Vec::new(), Vec::new(), Vec::new());
    for (case, component) in cases.iter().zip(&good) {
        let add = |bench: &mut Bench, word: &str, upstream, change: &dyn Fn(&mut Table)| {
            bench.add(case, &variant(case, word), upstream, change)
        };
        let is_pair = case.combination.mode == Mode::Pair;
        let listed = |one: &mut Table| {
            set(one, "upstream_tls", "crl_files", "certificates/ca.crl");
        };
        controls.push((case, add(&mut bench, "control", component.address(), &listed)));
        for ((fault, word, alert), bad) in SERVERS.into_iter().zip(&bad) {
            let faulted = |one: &mut Table| {
                listed(one);
                set(one, "tls", "certificate", format!("certificates/{fault:?}.pem"));
                set(one, "tls", "certificate_key", format!("certificates/{fault:?}.key"));
            };
            if case.combination.has_downstream_tls() {
                let name = format!("shows.{fault:?}");
                let route = add(&mut bench, &name, component.address(), &faulted);
                shown.push(Variant { case, route, word, alert });
            }
            let name = format!("dials.{fault:?}");
            let route = match case.combination.mode {
                _ if is_pair => add(&mut bench, &name, component.address(), &faulted),
                Mode::Bridge => add(&mut bench, &name, bad.address(), &listed),
                _ => continue,
            };
            dialled.push(Variant { case, route, word, alert });
        }
    }
    let served = bench.start();
    for (case, route) in &controls {
        let tls = usual_client(&case.combination, &identity);
        Tried::at(route.entrance, tls.as_ref()).succeeds(&format!("{case}: without a fault"));
        report.ran_on_combination(&case.combination, &["C2"]);
    }
    let wary = client(pki().roots(), Some(&identity), &VERSIONS, Some(&faulty.crl));
    for Variant { case, route, alert, .. } in &shown {
        let place = format!("{case}: {}", route.listener);
        let (peer, _) = Tried::at(route.entrance, Some(&wary)).fails(&place);
        let line = served.line(&route.listener, peer);
        line.assert_ended("alert_received", "downstream", "handshake");
        assert_eq!(line.text("alert_received"), *alert, "{place}");
    }
    for variant in &dialled {
        assert_component_refused(&served, variant, &identity);
    }
}

/// The gateway has refused what it dialled, and its own client sees no working connection.
fn assert_component_refused(served: &Served, variant: &Variant<'_>, identity: &Leaf) {
    let Variant { case, route, word, alert } = variant;
    let place = format!("{case}: {}", route.listener);
    let tls = usual_client(&case.combination, identity);
    let tried = Tried::at(route.entrance, tls.as_ref());
    // With plaintext peers, and where a client's certificate comes first, the handshake is over.
    let is_late =
        !case.combination.has_downstream_tls() || case.combination.mutual == Mutual::Required;
    let (peer, stage) = if is_late {
        (tried.is_reset(&place), "connecting")
    } else {
        let (peer, error) = tried.fails(&place);
        assert!(error.to_string().contains("InternalError"), "{place}: {error}");
        (peer, "handshake")
    };
    let line = served.line(&route.listener, peer);
    line.assert_ended("upstream_certificate_invalid", "upstream", stage);
    let detail = line.text("detail");
    assert!(detail.starts_with(&format!("{word}: ")), "{place}: {detail}");
    assert_eq!(line.text("upstream_alert_sent"), *alert, "{place}");
}

/// C3 and C4: certificates of clients, where one is required and where one is optional.
pub(crate) fn clients(engine: Engine, report: &mut Part) {
    let faulty = Faulty::new();
    let identity = pki().leaf("battery client");
    let mut bench = Bench::new(engine);
    faulty.write(&bench);
    let cases = Case::representatives();
    let components: Vec<Component> = cases.iter().map(component_of).collect();
    let mut variants = Vec::new();
    for (case, component) in cases.iter().zip(&components) {
        for demand in ["required", "optional"] {
            // Plaintext shows no certificate, and gateways of a pair always do: the configuration
            // is refused otherwise, which `battery_groups` shows.
            let can = match case.combination.mode {
                Mode::Autodetect => demand == "optional",
                Mode::Pair => demand == "required",
                _ => true,
            };
            if !can {
                continue;
            }
            let route = bench.add(case, &variant(case, demand), component.address(), |one| {
                set(one, "tls", "client_cert", demand);
                set(one, "tls", "trusted_ca", "certificates/ca.pem");
                set(one, "tls", "crl_files", "certificates/ca.crl");
            });
            let place = route.exit.clone().unwrap_or((route.listener, route.entrance));
            variants.push((case, demand, place));
        }
    }
    let served = bench.start();
    for (case, demand, (listener, address)) in &variants {
        let judged = Judged { served: &served, case, listener, address: *address };
        judged.known(&identity);
        judged.nobody(*demand == "optional");
        for (fault, word, alert) in CLIENTS {
            judged.refused(faulty.leaf(fault), word, alert);
        }
        let item = if *demand == "required" { "C3" } else { "C4" };
        report.ran_on_combination(&case.combination, &[item]);
    }
}

/// A listener that looks at its clients.
struct Judged<'a> {
    served: &'a Served,
    case: &'a Case,
    listener: &'a str,
    address: SocketAddr,
}

impl Judged<'_> {
    /// A good certificate, which is logged.
    fn known(&self, identity: &Leaf) {
        let tls = client(pki().roots(), Some(identity), &VERSIONS, None);
        let peer = Tried::at(self.address, Some(&tls)).succeeds(&self.place("with a certificate"));
        let line = self.served.line(self.listener, peer);
        let told = ["client_certificate", "client_subject", "client_serial", "downstream_security"];
        let told = told.map(|key| line.text(key));
        let serial = identity.serial_as_logged();
        assert_eq!(told, ["verified", "CN=battery client", &serial, "mutual"], "{line:?}");
    }

    fn nobody(&self, is_let_in: bool) {
        for version in 0..self.versions() {
            let versions = &VERSIONS[VERSIONS.len() - 1 - version..VERSIONS.len() - version];
            let tls = client(pki().roots(), None, versions, None);
            let tried = Tried::at(self.address, Some(&tls));
            let place = self.place("without a certificate");
            if is_let_in {
                let line = self.served.line(self.listener, tried.succeeds(&place));
                let told = ["client_certificate", "downstream_security"];
                assert_eq!(told.map(|key| line.text(key)), ["none", "server"], "{line:?}");
                assert!(line.value("client_subject").is_null(), "{line:?}");
                continue;
            }
            let line = self.served.line(self.listener, tried.fails(&place).0);
            line.assert_ended("client_certificate_missing", "downstream", "handshake");
            // rustls' word for it in TLS 1.2, too.
            assert_eq!(line.text("alert_sent"), "certificate_required", "{line:?}");
        }
    }

    fn refused(&self, leaf: &Leaf, word: &str, alert: &str) {
        for version in 0..self.versions() {
            let versions = &VERSIONS[VERSIONS.len() - 1 - version..VERSIONS.len() - version];
            let tls = client(pki().roots(), Some(leaf), versions, None);
            let (peer, _) = Tried::at(self.address, Some(&tls)).fails(&self.place(word));
            let line = self.served.line(self.listener, peer);
            line.assert_ended("client_certificate_invalid", "downstream", "handshake");
            let detail = line.text("detail");
            assert!(detail.contains(word), "{}: {detail}", self.place(word));
            assert_eq!(line.text("alert_sent"), alert, "{line:?}");
        }
    }

    /// Gateways of a pair speak TLS 1.3 alone.
    fn versions(&self) -> usize {
        if self.case.combination.mode == Mode::Pair { 1 } else { 2 }
    }

    fn place(&self, what: &str) -> String {
        format!("{}: {}: {what}", self.case, self.listener)
    }
}

/// C5: with `verify = "none"` a certificate of nobody's is taken, and told as such; a handshake that
/// is signed with another key is not.
pub(crate) fn encryption_only(engine: Engine, report: &mut Part) {
    let identity = pki().leaf("battery client");
    let stranger = pki().faulty("stranger", Some(Fault::UnknownCa));
    let cases: Vec<Case> = Case::representatives()
        .into_iter()
        .filter(|case| case.combination.has_upstream_tls())
        .collect();
    let honest = Component::start(Some(server(&stranger, false, &VERSIONS)));
    let forger: Vec<Component> =
        [0, 1].into_iter().map(|at| Component::start(Some(forged(&stranger, at)))).collect();
    let mut bench = Bench::new(engine);
    let blind = |one: &mut Table| {
        let Some(tls) = one.get_mut("upstream_tls").and_then(toml::Value::as_table_mut) else {
            return;
        };
        tls.remove("trusted_ca");
        tls.insert("verify".to_owned(), "none".into());
        tls.insert("verify_until".to_owned(), "2099-12-31".into());
    };
    let mut variants = Vec::new();
    for case in &cases {
        let mut add = |word: &str, component: &Component| {
            bench.add(case, &variant(case, word), component.address(), blind)
        };
        let routes =
            [add("honest", &honest), add("forged12", &forger[0]), add("forged13", &forger[1])];
        variants.push((case, routes));
    }
    let served = bench.start();
    for (case, [honest, forged @ ..]) in &variants {
        let tls = usual_client(&case.combination, &identity);
        let peer = Tried::at(honest.entrance, tls.as_ref()).succeeds(&format!("{case}: honest"));
        let line = served.line(&honest.listener, peer);
        assert_eq!(line.text("upstream_security"), "unauthenticated", "{line:?}");
        for route in forged {
            let place = format!("{case}: {}", route.listener);
            let (peer, _) = Tried::at(route.entrance, tls.as_ref()).fails(&place);
            let line = served.line(&route.listener, peer);
            assert_eq!(line.text("cause"), "upstream", "{line:?}");
            assert_eq!(line.text("upstream_alert_sent"), "decrypt_error", "{line:?}");
        }
        report.ran_on_combination(&case.combination, &["C5"]);
    }
}

/// A component that shows a certificate and signs with another one's key.
fn forged(shown: &Leaf, version: usize) -> Arc<ServerConfig> {
    #[derive(Debug)]
    struct Forged(Arc<CertifiedKey>);
    impl ResolvesServerCert for Forged {
        fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    let other = pki().leaf("another");
    let key = ring::sign::any_supported_type(&other.key()).expect("a key of a known kind");
    let forged = Forged(Arc::new(CertifiedKey::new(shown.chain.clone(), key)));
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&VERSIONS[version..=version])
        .expect("versions of the provider");
    Arc::new(builder.with_no_client_auth().with_cert_resolver(Arc::new(forged)))
}
