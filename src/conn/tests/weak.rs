//! The weak lane that is in process, on both sides of a connection.

use std::collections::VecDeque;

use rcgen::PKCS_ECDSA_P256_SHA256;
use zeroize::Zeroizing;

use super::component::dialler;
use super::judged::upstream_tls;
use super::relay::pattern;
use super::rig::*;
use crate::buf::Pool;
use crate::config::date::Date;
use crate::config::model::{
    Compat12, DownstreamTls, Legacy, Revalidate, TlsVersion, UpstreamTls, WeakSuite,
};
use crate::conn::outcome::{Cause, Outcome, Reason, Security};
use crate::lane::Door;
use crate::lane::frame::{Established, Frame, queue_data};
use crate::policy::{Downstream, ListenerPolicy, Route};
use crate::tls::identity::{load, load_weak};
use crate::tls::lane::Lane;
use crate::tls::openssl::spec::{Identity, suites};
use crate::tls::openssl::tests::{End, client, client_spec, server, server_spec};
use crate::tls::provider::provider;
use crate::tls::resumption::{Domain, DomainId, DomainParts, PolicyId};
use crate::tls::server_config::server_config;
use crate::tls::testing::{self, Ca, Files, Issued, NAME};
use crate::tls::trust::{Loader, ServerTrustSettings};
use crate::tls::weak::{self, WeakClient, WeakServer, WeakServers};
use crate::tls::{ClientProfile, ServerProfile};

const SUITE: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256";

fn lane() -> Option<Compat12> {
    let suites = vec![WeakSuite::named(SUITE).expect("a weak suite")];
    Some(Compat12 { suites, certificate: None })
}

/// A listener whose peers may take it.
fn in_front() -> ServerProfile {
    let files = Files::new();
    let issued = files.issued("server", &ca().issue(&PKCS_ECDSA_P256_SHA256));
    let tls = DownstreamTls { compat12: lane(), ..testing::tls(vec![issued.clone()]) };
    let identities = load(&tls, &provider()).expect("files of our own");
    let config = server_config(&tls, &identities, &Domain::Off, &provider()).expect("versions");
    let keys = ("certificate", "certificate_key");
    let (identity, _) = load_weak(&issued, keys, (None, 0)).expect("files of our own");
    let domain = DomainId::new(&DomainParts {
        policy: PolicyId { listener: "test", rule: "" },
        names: &identities.names(),
        client_cert: tls.client_cert,
        trusted: &[],
        options: &identities.trust.options(),
    });
    let kept = (&domain, std::time::Duration::from_secs(600));
    let trust = identities.trust.clone();
    let spec = weak::server_spec(Lane::Compat12, &tls, vec![identity], &trust, kept);
    let (known, door) = (WeakServers::default(), Door::default());
    let places = (&known, &door);
    let lane = WeakServer::new(spec, &tls, trust, places).expect("usable");
    ServerProfile::new(config, &identities, &tls).with_lanes(Some(lane), None)
}

/// Components that are connected to in it, and must be issued by `ca_now`.
fn behind(ca_now: &Ca) -> ClientProfile {
    let files = Files::new();
    let tls = upstream_tls(&files, ca_now, Revalidate::Close);
    let tls = UpstreamTls { compat12: lane(), ..tls };
    let trust = Loader::new(provider()).server(&ServerTrustSettings::of(&tls)).expect("a CA");
    let name = || NAME.try_into().expect("a DNS name");
    let spec = weak::client_spec(&tls, None, trust.trusted(), Some(NAME.to_owned()));
    let weak = WeakClient::new(vec![spec], &tls, &Door::default()).expect("usable");
    ClientProfile::new(vec![(dialler(ca().roots(), |_| ()), name())])
        .judged_by(trust, vec![name()], &tls)
        .in_lane(Some(weak))
}

fn bridge(ca_now: &Ca) -> ListenerPolicy {
    with(Route { tls: Some(in_front()), upstream_tls: Some(behind(ca_now)), ..route() })
}

/// Somebody who only speaks this suite, in front and behind.
fn peers() -> (End, End) {
    let issued = ca().issue(&PKCS_ECDSA_P256_SHA256);
    let identity = Identity {
        names: Vec::new(),
        chain: vec![issued.certificate.der().to_vec()],
        key: Zeroizing::new(issued.key.serialize_der()),
    };
    let mut dials = client_spec(Lane::Compat12);
    let mut accepts = server_spec(Lane::Compat12, identity);
    for parameters in [&mut dials.parameters, &mut accepts.parameters] {
        (parameters.suites, _) = suites([SUITE]);
    }
    (End::client(&client(&dials), None), End::server(&server(&accepts), None))
}

/// Moves bytes until nothing moves.
fn run(rig: &mut Rig, peer: &mut End, component: &mut End) {
    for _ in 0..20 {
        rig.connected();
        rig.down.inbound.extend(peer.said());
        rig.up.inbound.extend(component.said());
        rig.settle();
        // What fails on their side shows in what comes of the connection.
        let _told = peer.hear(&std::mem::take(&mut rig.down.outbound), usize::MAX);
        let _told = component.hear(&std::mem::take(&mut rig.up.outbound), usize::MAX);
    }
}

fn told(outcome: &Outcome) -> [&'static str; 2] {
    let up = outcome.upstream_tls.as_ref().expect("the handshake is done");
    [outcome.tls.as_ref().expect("the handshake is done").cipher_suite, up.facts.cipher_suite]
}

#[test]
fn both_sides_relay_and_end_in_order() {
    let (mut rig, (mut peer, mut component)) = (Rig::new(bridge(ca())), peers());
    run(&mut rig, &mut peer, &mut component);
    assert!(!peer.tls.is_handshaking() && !component.tls.is_handshaking());
    peer.seal(&pattern(300_000, 1));
    component.seal(&pattern(400_000, 2));
    run(&mut rig, &mut peer, &mut component);
    run(&mut rig, &mut peer, &mut component);
    assert!(component.heard() == pattern(300_000, 1));
    assert!(peer.heard() == pattern(400_000, 2));
    peer.close();
    run(&mut rig, &mut peer, &mut component);
    assert!(component.tls.peer_has_closed() && rig.up.shut && !peer.tls.peer_has_closed());
    component.seal(b"last words");
    component.close();
    run(&mut rig, &mut peer, &mut component);
    assert_eq!(peer.heard(), b"last words");
    assert!(peer.tls.peer_has_closed());
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Finished, Cause::Downstream));
    assert_eq!((outcome.bytes.received, outcome.bytes.sent), (300_000, 400_010));
    assert_eq!(told(&outcome), [SUITE; 2]);
    assert_eq!(outcome.downstream_security, Some(Security::ServerAuthenticated));
    assert_eq!(outcome.upstream_security, Some(Security::ServerAuthenticated));
}

#[test]
fn the_flight_waits_for_a_component_and_is_replaced_by_an_alert() {
    let (mut rig, (mut peer, mut component)) = (Rig::new(bridge(&Ca::new())), peers());
    rig.down.inbound.extend(peer.said());
    rig.settle();
    assert!(rig.down.outbound.is_empty() && rig.down.sending.is_none());
    rig.connected();
    rig.settle();
    component.hear(&std::mem::take(&mut rig.up.outbound), usize::MAX).expect("a good hello");
    rig.up.inbound.extend(component.said());
    rig.settle();
    let error = peer.hear(&std::mem::take(&mut rig.down.outbound), usize::MAX);
    assert_eq!(error.expect_err("told so").alert_received, Some(80));
    let error = component.hear(&std::mem::take(&mut rig.up.outbound), usize::MAX);
    assert!(error.expect_err("told so").alert_received.is_some());
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!(outcome.reason, Reason::UpstreamCertificateInvalid);
    assert_eq!(outcome.cause, Cause::Upstream);
    assert!(outcome.upstream_alert_sent.is_some());
}

#[test]
fn an_end_without_close_notify_is_truncation() {
    let (mut rig, (mut peer, mut component)) = (Rig::new(bridge(ca())), peers());
    run(&mut rig, &mut peer, &mut component);
    peer.seal(b"in the middle of");
    rig.down.inbound.extend(peer.said());
    rig.down.inbound_fin = true;
    rig.settle();
    component.hear(&std::mem::take(&mut rig.up.outbound), usize::MAX).expect("good records");
    assert_eq!(component.heard(), b"in the middle of");
    assert!(rig.up.shut && !component.tls.peer_has_closed());
    component.close();
    rig.up.inbound.extend(component.said());
    rig.up.inbound_fin = true;
    assert_eq!(rig.outcome().reason, Reason::Truncated);
}

/// What the child says of a component that has this certificate and speaks at once.
fn says(certificate: &Issued, words: &[u8]) -> Vec<u8> {
    let established = Established {
        version: 0x0301,
        suite: 0x002f,
        certificates: vec![certificate.certificate.der().to_vec()],
        ..Established::default()
    };
    let (pool, mut data) = (Pool::new(1 << 20, 0), VecDeque::new());
    queue_data(&mut data, &pool, words);
    let mut said = Frame::Established(Box::new(established)).encode();
    said.extend(data.iter().flat_map(|buf| buf.to_vec()));
    said
}

/// Two components in the legacy lane, for clients from 198.51.100.0/24 up to 2999.
pub(crate) fn behind_the_child() -> ClientProfile {
    let files = Files::new();
    let legacy = Legacy {
        until: Date::parse("2999-12-31").expect("a date"),
        allow_from: vec!["198.51.100.0/24".parse().expect("a range")],
        suites: vec![WeakSuite::named("TLS_RSA_WITH_AES_128_CBC_SHA").expect("a weak suite")],
        certificate: None,
    };
    let tls = upstream_tls(&files, ca(), Revalidate::Close);
    let tls = UpstreamTls { min_version: TlsVersion::V1_0, legacy: Some(legacy), ..tls };
    let trust = Loader::new(provider()).server(&ServerTrustSettings::of(&tls)).expect("a CA");
    let name = || NAME.try_into().expect("a DNS name");
    let specs = vec![weak::client_spec(&tls, None, trust.trusted(), None); 2];
    let weak = WeakClient::new(specs, &tls, &Door::default()).expect("usable");
    let config = dialler(ca().roots(), |_| ());
    ClientProfile::new(vec![(config.clone(), name()), (config, name())])
        .judged_by(trust, vec![name(), name()], &tls)
        .in_lane(Some(weak))
}

/// The child verifies nobody: the connection does, before anything is passed on.
#[test]
fn what_a_stranger_says_behind_the_child_reaches_nobody() {
    let route = Route { tls: None, upstream_tls: Some(behind_the_child()), ..two_endpoints() };
    let policy = ListenerPolicy { downstream: Downstream::Plaintext, ..with(route) };
    let mut rig = Rig::new(policy);
    let stranger = Ca::new().issue(&PKCS_ECDSA_P256_SHA256);
    let component = ca().issue(&PKCS_ECDSA_P256_SHA256);
    for (issued, words) in [(&stranger, b"lies!"), (&component, b"truth")] {
        assert!(rig.connected());
        assert_eq!(rig.passed.pop(), Some(UP));
        rig.settle();
        rig.up.outbound.clear();
        rig.up.inbound.extend(says(issued, words));
        rig.settle();
    }
    assert_eq!(rig.down.outbound, b"truth");
    assert_eq!(rig.dialled.len(), 2);
    rig.input(crate::conn::Input::Stop(Reason::Stopped));
    let outcome = rig.outcome();
    assert_eq!(outcome.upstream_tls.expect("the handshake is done").facts.version, "TLSv1");
}
