//! `explain` says what a shard does.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rcgen::{CertificateParams, DnType};
use rustls::pki_types::CertificateDer;

use super::explain::{Asked, AskedLane, Explanation, UpstreamLane};
use super::rules::{Facts, RuleSpec, Version, naive};
use super::*;
use crate::config::model::{Date, DownstreamTls, Legacy, TlsVersion, WEAK_SUITES};
use crate::conn::tests::rig;
use crate::conn::tests::weak::behind_the_child;
use crate::tls::ServerProfile;
use crate::tls::hello::{AlpnProtocols, usual_suites};
use crate::tls::identity::load;
use crate::tls::lane::{Choice, Lane, Why};
use crate::tls::provider::provider;
use crate::tls::resumption::Domain;
use crate::tls::server_config::server_config;
use crate::tls::testing::{self, Ca, Files};
use crate::tls::trust::PeerIdentity;
use crate::tls::weak::suite_named;

const TUPLES: u32 = 100_000;

/// What a connection may be like; small sets, so that rules meet.
#[derive(Clone, Debug)]
struct Tuple {
    source: u8,
    name: usize,
    alpn: usize,
    tls13: bool,
    client: usize,
}

const NAMES: [Option<&str>; 4] = [None, Some("a.example"), Some("b.a.example"), Some("c.example")];
const PROTOCOLS: [Option<&str>; 3] = [None, Some("sip"), Some("h2")];

fn tuple() -> impl Strategy<Value = Tuple> {
    (0..8_u8, 0..NAMES.len(), 0..PROTOCOLS.len(), any::<bool>(), 0..4_usize)
        .prop_map(|(source, name, alpn, tls13, client)| Tuple { source, name, alpn, tls13, client })
}

/// Rules out of the same small sets; two that are ambiguous are left out.
fn rules() -> impl Strategy<Value = Vec<RuleSpec>> {
    let some = |texts: &[&str]| {
        prop::option::of(prop::sample::select(
            texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(),
        ))
    };
    let rule = (
        some(&["192.0.2.0/29", "192.0.2.4/30", "192.0.2.6"]),
        some(&["a.example", "*.a.example", "c.example"]),
        some(&["sip", "h2"]),
        some(&["1.2", "1.3"]),
        some(&["cn:one", "cn:two", "dns:one.test", "issuer:nobody"]),
    );
    prop::collection::vec(rule, 0..8).prop_map(|rules| {
        type Texts = [Option<String>; 5];
        let spec = |(position, [source, sni, alpn, offers, client]): (usize, Texts)| {
            let position = u32::try_from(position).expect("a few");
            RuleSpec {
                name: format!("rule-{position}"),
                line: position,
                source: parsed(source),
                sni: parsed(sni),
                alpn: alpn.into_iter().map(String::into_bytes).collect(),
                versions: parsed(offers),
                client: parsed(client),
                outcome: position,
            }
        };
        let texts = rules.into_iter().map(|(a, b, c, d, e)| [a, b, c, d, e]);
        texts.enumerate().map(spec).collect()
    })
}

fn parsed<T: std::str::FromStr<Err = String>>(text: Option<String>) -> Vec<T> {
    text.iter().map(|text| text.parse().expect("a condition")).collect()
}

/// A listener with these rules: every other one denies. `None` where two are ambiguous.
fn listener(specs: &[RuleSpec]) -> Option<ListenerPolicy> {
    let outcome = |spec: &RuleSpec| match spec.outcome % 2 {
        0 => Outcome::Deny,
        _ => Outcome::Follow(Arc::new(Route { name: spec.name.as_str().into(), ..rig::route() })),
    };
    let outcomes = specs.iter().map(outcome).collect();
    let rules = Rules::compile(specs.to_vec(), outcomes).ok()?;
    Some(ListenerPolicy { rules: Arc::new(rules), ..rig::policy() })
}

fn clients() -> Vec<Option<CertificateDer<'static>>> {
    let ca = Ca::new();
    let named = |name: &str| {
        let mut params = CertificateParams::new(vec![format!("{name}.test")]).expect("a DNS name");
        params.distinguished_name.push(DnType::CommonName, name);
        let issued = ca.issue_with(&params, &rcgen::PKCS_ED25519);
        Some(issued.certificate.der().clone())
    };
    vec![None, named("one"), named("two"), named("three")]
}

/// As [`crate::conn`] asks: where the connection ends up, or that it is turned away.
fn live(
    policy: &ListenerPolicy,
    facts: &Facts<'_>,
    shown: Option<&PeerIdentity>,
) -> Option<Arc<str>> {
    let Decision::Follow(_) = policy.at_accept(facts.source) else { return None };
    let Decision::Follow(route) = policy.after_hello(facts) else { return None };
    if !policy.asks_for_identity() {
        return Some(Arc::clone(&route.name));
    }
    match policy.after_handshake(facts, shown) {
        Decision::Follow(route) => Some(Arc::clone(&route.name)),
        Decision::Deny => None,
    }
}

#[test]
fn explain_says_what_a_shard_does() {
    let clients = clients();
    // Some sets of rules are ambiguous.
    let config = Config { cases: TUPLES / 90, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let decided = Cell::new([0_u32; 3]);
    let strategy = (rules(), prop::collection::vec(tuple(), 100));
    let ran = runner.run(&strategy, |(specs, tuples)| {
        let Some(policy) = listener(&specs) else { return Ok(()) };
        for tuple in tuples {
            let source = IpAddr::from([192, 0, 2, tuple.source]);
            let protocols: Vec<String> =
                PROTOCOLS[tuple.alpn].into_iter().map(str::to_owned).collect();
            let list: Vec<u8> = protocols
                .iter()
                .flat_map(|name| {
                    [&[u8::try_from(name.len()).expect("short")], name.as_bytes()].concat()
                })
                .collect();
            let certificate = clients[tuple.client].as_ref();
            let facts = Facts {
                source: Some(source),
                sni: NAMES[tuple.name],
                alpn: if list.is_empty() {
                    AlpnProtocols::default()
                } else {
                    AlpnProtocols::parse(&list).expect("a list")
                },
                version: Some(if tuple.tls13 { Version::Tls13 } else { Version::Tls12 }),
                client: None,
            };
            let version = if tuple.tls13 { Version::Tls13 } else { Version::Tls12 };
            let suites = usual_suites(version.number());
            let explanation = policy.explain(&Asked {
                source: Some(source),
                server_name: NAMES[tuple.name],
                alpn: &protocols,
                version: Some(version),
                lane: AskedLane::Offering(&suites),
                plaintext: false,
                certificate,
            });
            let explanation = explanation.expect("a ClientHello that can be");
            let peer = certificate.and_then(PeerIdentity::of);
            let live = live(&policy, &facts, peer.as_ref());
            prop_assert_eq!(explanation.route.as_deref(), live.as_deref());
            prop_assert_eq!(explanation.verdict, if live.is_some() { "admit" } else { "deny" });
            // The rule that is named is the one that the definition of the order names.
            let known = Facts { client: peer.as_ref().map(super::decide::client_facts), ..facts };
            let wins =
                naive::lookup(&specs, &known).map(|rule| specs[rule.0 as usize].name.clone());
            prop_assert_eq!(&explanation.rule, &wins);
            let kind = usize::from(live.is_some()) + usize::from(live.is_some() && wins.is_some());
            decided.update(|mut counts| {
                counts[kind] += 1;
                counts
            });
        }
        Ok(())
    });
    ran.expect("explain and the shard agree");
    let decided = decided.get();
    println!("{decided:?}: denied, admitted without a rule, admitted by one");
    assert!(decided.iter().sum::<u32>() >= TUPLES, "{decided:?}");
    assert!(decided.iter().all(|count| *count > TUPLES / 50), "{decided:?}");
}

/// A route whose peers may take the legacy lane from 192.0.2.0/29 up to a day.
fn with_legacy(last_day: &str) -> Route {
    let files = Files::new();
    let tls = testing::tls(vec![files.issued("server", &Ca::new().issue_rsa())]);
    let identities = load(&tls, &provider()).expect("files of our own");
    let config = server_config(&tls, &identities, &Domain::Off, &provider()).expect("versions");
    let legacy = Legacy {
        until: Date::parse(last_day).expect("a day"),
        allow_from: vec!["192.0.2.0/29".parse().expect("a range")],
        suites: WEAK_SUITES.iter().filter(|suite| !suite.only_tls12).collect(),
        certificate: None,
    };
    let tls = DownstreamTls { min_version: TlsVersion::V1_0, legacy: Some(legacy), ..tls };
    Route { tls: Some(ServerProfile::new(config, &identities, &tls)), ..rig::route() }
}

/// What is said of a client that offers this version and these suites, or the usual ones.
fn asked(route: &Route, source: &str, version: Version, suites: &[&str]) -> Explanation {
    let named = suites.iter().map(|name| suite_named(name).expect(name).into());
    let suites = match suites {
        [] => usual_suites(version.number()),
        _ => named.collect(),
    };
    let asked = Asked {
        source: Some(source.parse().expect("an address")),
        server_name: None,
        alpn: &[],
        version: Some(version),
        lane: AskedLane::Offering(&suites),
        plaintext: false,
        certificate: None,
    };
    rig::with(route.clone()).explain(&asked).expect("a ClientHello that can be")
}

fn lane_of(explanation: &Explanation) -> (&str, &str, &str) {
    let verdict: &str = &explanation.verdict;
    match (&explanation.lane, &explanation.refused) {
        (Some(taken), None) => (verdict, &taken.lane, &taken.reason),
        (None, Some(refusal)) => (verdict, "", &refusal.reason),
        both => panic!("{both:?}"),
    }
}

#[test]
fn the_lane_is_told_with_its_reason_or_why_there_is_none() {
    let (open, over) = (with_legacy("2999-12-31"), with_legacy("2020-01-01"));
    let [inside, outside] = ["192.0.2.7", "192.0.2.8"];
    let cbc = ["TLS_RSA_WITH_AES_128_CBC_SHA"];
    for (route, source, version, suites, expected) in [
        (&open, outside, Version::Tls13, &[][..], ("admit", "modern", "able")),
        (&open, outside, Version::Tls12, &[], ("admit", "modern", "able")),
        (&open, inside, Version::Tls12, &cbc, ("admit", "legacy", "suite")),
        (&open, outside, Version::Tls12, &cbc, ("refuse", "", "legacy_source")),
        (&open, inside, Version::Tls11, &[], ("admit", "legacy", "version")),
        (&open, inside, Version::Tls10, &[], ("admit", "legacy", "version")),
        (&open, outside, Version::Tls10, &[], ("refuse", "", "legacy_source")),
        (&over, inside, Version::Tls10, &[], ("refuse", "", "legacy_over")),
        (&over, inside, Version::Tls13, &[], ("admit", "modern", "able")),
        (&rig::route(), inside, Version::Tls10, &[], ("refuse", "", "version_mismatch")),
        // The modern lane tells it.
        (&rig::route(), inside, Version::Tls12, &cbc, ("admit", "modern", "suite")),
    ] {
        let explanation = asked(route, source, version, suites);
        assert_eq!(lane_of(&explanation), expected, "{source} {version} {suites:?}");
        assert_eq!(explanation.route.is_some(), expected.0 == "admit");
        assert_eq!(explanation.upstream_lane, None);
    }
}

#[test]
fn a_name_that_nobody_has_is_refused_where_names_are_strict() {
    let explanation = |policy: &ListenerPolicy| {
        let suites = usual_suites(Version::Tls13.number());
        let asked = Asked {
            source: None,
            server_name: Some("nobody.example"),
            alpn: &[],
            version: Some(Version::Tls13),
            lane: AskedLane::Offering(&suites),
            plaintext: false,
            certificate: None,
        };
        policy.explain(&asked).expect("a ClientHello that can be")
    };
    assert_eq!(lane_of(&explanation(&rig::policy())), ("admit", "modern", "able"));
    assert_eq!(lane_of(&explanation(&rig::strict())), ("refuse", "", "unrecognized_name"));
}

#[test]
fn the_lane_of_the_component_is_told_and_may_be_closed_to_the_source() {
    let route = Route { upstream_tls: Some(behind_the_child()), ..rig::route() };
    let [open, closed] =
        ["198.51.100.1", "192.0.2.1"].map(|source| asked(&route, source, Version::Tls13, &[]));
    let lane = UpstreamLane { lane: "legacy".into(), last_day: Some("2999-12-31".to_owned()) };
    assert_eq!(lane_of(&open), ("admit", "modern", "able"));
    assert_eq!(lane_of(&closed), ("refuse", "", "legacy_source"));
    for explanation in [open, closed] {
        assert_eq!(explanation.upstream_lane.as_ref(), Some(&lane));
    }
}

#[test]
fn a_connection_that_is_open_has_the_lane_that_it_took() {
    let choice = Choice { lane: Lane::Legacy, why: Why::Format };
    let asked = Asked {
        source: None,
        server_name: None,
        alpn: &[],
        version: None,
        lane: AskedLane::Taken(Some(choice)),
        plaintext: false,
        certificate: None,
    };
    // Its day is over for others.
    let policy = rig::with(with_legacy("2020-01-01"));
    let explanation = policy.explain(&asked).expect("a ClientHello that can be");
    assert_eq!(lane_of(&explanation), ("admit", "legacy", "format"));
}
