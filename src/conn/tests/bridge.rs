//! TLS on both sides: other versions, and one handshake that waits for the other.

use std::time::Duration;

use rustls::AlertDescription;

use super::component::*;
use super::relay::pattern;
use super::rig::*;
use crate::conn::Input;
use crate::conn::outcome::{Cause, Reason, Security, Stage};
use crate::engine::CloseMode;
use crate::policy::ListenerPolicy;
use crate::tls::alert;

fn open(policy: ListenerPolicy, client: Client, component: Component) -> (Rig, Client, Component) {
    let (mut rig, mut client, mut component) = (Rig::new(policy), client, component);
    client.run(&mut rig);
    if !rig.connected() {
        run_both(&mut rig, &mut client, &mut component);
        assert!(rig.connected(), "dialled after the handshake");
    }
    run_both(&mut rig, &mut client, &mut component);
    assert_eq!((&client.error, &component.error), (&None, &None));
    assert!(!client.tls.is_handshaking() && !component.tls.is_handshaking());
    assert!(rig.finished.is_none());
    (rig, client, component)
}

#[test]
fn each_side_has_its_own_version() {
    for inner in rustls::ALL_VERSIONS {
        for outer in rustls::ALL_VERSIONS {
            for policy in [bridge, bridge_late] {
                let (mut rig, mut client, mut component) =
                    open(policy(), Client::version(outer), Component::version(inner));
                client.write(&pattern(300_000, 1));
                component.write(&pattern(400_000, 2));
                run_both(&mut rig, &mut client, &mut component);
                assert_eq!(component.received, pattern(300_000, 1));
                assert_eq!(client.received, pattern(400_000, 2));
                client.close();
                run_both(&mut rig, &mut client, &mut component);
                assert!(component.peer_closed && rig.up.shut && !client.peer_closed);
                component.write(b"last words");
                component.tls.send_close_notify();
                run_both(&mut rig, &mut client, &mut component);
                assert!(client.peer_closed && client.received.ends_with(b"last words"));
                let outcome = rig.outcome();
                assert_eq!((outcome.reason, outcome.cause), (Reason::Finished, Cause::Downstream));
                assert_eq!((outcome.bytes.received, outcome.bytes.sent), (300_000, 400_010));
                let [down, up] = [outcome.tls, outcome.upstream_tls.map(|tls| tls.facts)];
                let name = |version: Version| format!("{:?}", version.version).replace('_', ".");
                let told = |tls: Option<crate::conn::outcome::TlsFacts>| {
                    tls.expect("the handshake is done").version
                };
                assert_eq!(told(down), name(outer));
                assert_eq!(told(up), name(inner));
                assert_eq!(outcome.downstream_security, Some(Security::ServerAuthenticated));
                assert_eq!(outcome.upstream_security, Some(Security::ServerAuthenticated));
            }
        }
    }
}

#[test]
fn the_flight_waits_until_the_components_handshake_is_done() {
    let (mut rig, mut client) = (Rig::new(bridge()), Client::new());
    client.run(&mut rig);
    rig.connected();
    client.run(&mut rig);
    assert!(rig.down.outbound.is_empty() && rig.down.sending.is_none(), "connected is not enough");
    let mut component = Component::new();
    component.run(&mut rig);
    client.run(&mut rig);
    assert!(!client.tls.is_handshaking());
    rig.input(Input::Stop(Reason::Stopped));
    rig.outcome();
}

#[test]
fn a_component_that_is_not_trusted_looks_down() {
    let (mut rig, mut client) = (Rig::new(bridge_with(profile(&[&stranger()]))), Client::new());
    let mut component = Component::new();
    client.run(&mut rig);
    rig.connected();
    component.run(&mut rig);
    component.exchange(&mut rig);
    let unknown = AlertDescription::UnknownCA;
    assert_eq!(component.error, Some(rustls::Error::AlertReceived(unknown)));
    client.run(&mut rig);
    let internal = AlertDescription::InternalError;
    assert_eq!(client.error, Some(rustls::Error::AlertReceived(internal)));
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!(outcome.reason, Reason::UpstreamCertificateInvalid);
    assert_eq!((outcome.stage, outcome.cause), (Stage::Handshake, Cause::Upstream));
    assert_eq!(outcome.alert_sent, Some(alert::INTERNAL_ERROR));
    assert_eq!(outcome.upstream_alert_sent, Some(48));
}

#[test]
fn a_component_that_connects_and_is_silent_looks_down() {
    let (mut rig, mut client) = (Rig::new(bridge()), Client::new());
    client.run(&mut rig);
    rig.connected();
    rig.settle();
    rig.pass(CONNECT);
    client.run(&mut rig);
    let internal = AlertDescription::InternalError;
    assert_eq!(client.error, Some(rustls::Error::AlertReceived(internal)));
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!(
        (outcome.reason, outcome.stage),
        (Reason::UpstreamHandshakeTimeout, Stage::Handshake)
    );
}

/// Time that runs out for both at once is the upstream's doing.
#[test]
fn the_peers_deadline_while_the_component_shakes_hands() {
    let mut patient = bridge();
    patient.timeouts.connect = HANDSHAKE * 2;
    let (mut rig, mut client) = (Rig::new(patient), Client::new());
    client.run(&mut rig);
    rig.connected();
    rig.settle();
    rig.pass(HANDSHAKE);
    client.run(&mut rig);
    assert!(matches!(client.error, Some(rustls::Error::AlertReceived(_))), "{:?}", client.error);
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!(
        (outcome.reason, outcome.cause),
        (Reason::UpstreamHandshakeTimeout, Cause::Upstream)
    );
}

#[test]
fn after_the_handshake_a_component_that_is_not_trusted_resets() {
    let policy = crate::policy::Route {
        upstream_tls: Some(profile(&[&stranger()])),
        connect: crate::config::model::ConnectWhen::AfterHandshake,
        ..route()
    };
    let (mut rig, mut client) = (Rig::new(with(policy)), Client::new());
    client.write(b"early bird");
    client.run(&mut rig);
    assert!(!client.tls.is_handshaking());
    rig.connected();
    Component::new().run(&mut rig);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!(outcome.stage, Stage::Connecting);
    assert_eq!(outcome.reason, Reason::UpstreamCertificateInvalid);
}

#[test]
fn what_the_client_said_waits_for_the_components_handshake() {
    let (mut rig, mut client) = (Rig::new(bridge_late()), Client::new());
    client.run(&mut rig);
    assert!(!client.tls.is_handshaking());
    client.write(b"early bird");
    client.close();
    client.run(&mut rig);
    let mut component = Component::new();
    rig.connected();
    run_both(&mut rig, &mut client, &mut component);
    assert_eq!(component.received, b"early bird");
    assert!(component.peer_closed && rig.up.shut, "close_notify has not gone ahead of it");
    component.tls.send_close_notify();
    run_both(&mut rig, &mut client, &mut component);
    assert_eq!(rig.outcome().reason, Reason::Finished);
}

/// A component may speak, and be done, in its first flight: before the peer has keys.
#[test]
fn a_component_that_speaks_first_waits_for_the_peers_handshake() {
    let (mut rig, mut client) = (Rig::new(bridge()), Client::new());
    let mut component = Component::version(&rustls::version::TLS13);
    client.run(&mut rig);
    rig.connected();
    rig.settle();
    component.exchange(&mut rig);
    component.write(b"that is all");
    component.tls.send_close_notify();
    component.run(&mut rig);
    assert!(client.received.is_empty());
    run_both(&mut rig, &mut client, &mut component);
    assert_eq!(client.received, b"that is all");
    assert!(client.peer_closed);
    client.close();
    run_both(&mut rig, &mut client, &mut component);
    assert!(component.peer_closed);
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Finished, Cause::Upstream));
    assert!(outcome.phases.first_byte.is_some());
}

#[test]
fn truncation_goes_on_as_truncation() {
    let (mut rig, mut client, mut component) = open(bridge(), Client::new(), Component::new());
    component.write(b"cut o");
    component.exchange(&mut rig);
    rig.up.inbound_fin = true;
    client.run(&mut rig);
    assert_eq!(client.received, b"cut o");
    assert!(rig.down.shut && !client.peer_closed, "FIN without close_notify");
    client.close();
    client.run(&mut rig);
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Truncated, Cause::Upstream));

    let (mut rig, mut client, mut component) = open(bridge(), Client::new(), Component::new());
    client.write(b"cut o");
    client.exchange(&mut rig);
    rig.down.inbound_fin = true;
    rig.settle();
    component.run(&mut rig);
    assert_eq!(component.received, b"cut o");
    assert!(rig.up.shut && !component.peer_closed, "FIN without close_notify");
    component.tls.send_close_notify();
    component.run(&mut rig);
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Truncated, Cause::Downstream));
}

#[test]
fn a_bad_record_of_the_peer_does_not_look_like_an_end_to_the_component() {
    let (mut rig, mut client, mut component) = open(bridge(), Client::new(), Component::new());
    client.write(b"bad");
    let mut bad = client.records();
    *bad.last_mut().expect("not empty") ^= 1;
    rig.down.inbound = bad;
    rig.settle();
    client.exchange(&mut rig);
    component.exchange(&mut rig);
    assert_eq!(rig.up.closed, Some(CloseMode::Reset));
    assert!(!component.peer_closed);
    rig.down.inbound_fin = true;
    assert_eq!(rig.outcome().reason, Reason::BadRecord);
}

#[test]
fn idle_ends_in_order_on_both_sides() {
    let (mut rig, mut client, mut component) = open(bridge(), Client::new(), Component::new());
    rig.pass(IDLE);
    run_both(&mut rig, &mut client, &mut component);
    assert!(client.peer_closed && component.peer_closed);
    assert_eq!(rig.up.closed, Some(CloseMode::Fin));
    rig.down.inbound_fin = true;
    assert_eq!(rig.outcome().reason, Reason::IdleTimeout);
}

#[test]
fn a_stalled_send_stops_the_other_side_at_the_high_water_mark() {
    let (mut rig, mut client, mut component) = open(bridge(), Client::new(), Component::new());
    component.write(&pattern(4 << 20, 4));
    component.exchange(&mut rig);
    let before = rig.up.inbound.len();
    while rig.deliver(UP, usize::MAX) {}
    let taken = before - rig.up.inbound.len();
    assert!((256 << 10..=512 << 10).contains(&taken), "{taken} bytes buffered");
    client.write(&pattern(4 << 20, 5));
    client.exchange(&mut rig);
    let before = rig.down.inbound.len();
    while rig.deliver(DOWN, usize::MAX) {}
    let taken = before - rig.down.inbound.len();
    assert!((256 << 10..=512 << 10).contains(&taken), "{taken} bytes buffered");
    run_both(&mut rig, &mut client, &mut component);
    assert_eq!(client.received, pattern(4 << 20, 4));
    assert_eq!(component.received, pattern(4 << 20, 5));
    rig.pass(Duration::from_secs(1));
    rig.input(Input::Stop(Reason::Stopped));
    rig.outcome();
}
