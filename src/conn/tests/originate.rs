//! Plaintext peers and a component that speaks TLS.

use std::time::Duration;

use rustls::AlertDescription;

use super::component::*;
use super::relay::pattern;
use super::rig::*;
use crate::buf::Layout;
use crate::config::model::{TlsVersion, Verify};
use crate::conn::Input;
use crate::conn::outcome::{Cause, Outcome, Reason, Security, Stage};
use crate::engine::{CloseMode, Operation};
use crate::policy::ListenerPolicy;

/// Up to where both sides can talk.
fn open(policy: ListenerPolicy, component: Component) -> (Rig, Component) {
    let (mut rig, mut component) = (Rig::new(policy), component);
    assert!(rig.connected(), "dialled at accept");
    component.run(&mut rig);
    assert_eq!(component.error, None);
    assert!(!component.tls.is_handshaking() && rig.finished.is_none());
    (rig, component)
}

/// How an attempt ends that was the only one.
fn failed(mut rig: Rig) -> Outcome {
    rig.settle();
    assert_eq!(rig.down.closed, Some(CloseMode::Reset), "the peer must not take it for an end");
    let outcome = rig.outcome();
    assert_eq!((outcome.stage, outcome.cause), (Stage::Connecting, Cause::Upstream));
    assert_eq!((outcome.bytes.received, outcome.bytes.sent), (0, 0));
    assert!(outcome.upstream_tls.is_none() && outcome.upstream_security.is_none());
    assert_eq!(outcome.downstream_security, Some(Security::Plaintext));
    outcome
}

#[test]
fn both_versions_and_orderly_ends_of_both_sides() {
    for (version, name) in
        [(&rustls::version::TLS13, "TLSv1.3"), (&rustls::version::TLS12, "TLSv1.2")]
    {
        for peer_first in [false, true] {
            let (mut rig, mut component) = open(originate(), Component::version(version));
            rig.down.inbound = b"ping".to_vec();
            rig.settle();
            component.run(&mut rig);
            assert_eq!(component.received, b"ping");
            component.write(b"pong");
            component.run(&mut rig);
            assert_eq!(rig.down.outbound, b"pong");
            if peer_first {
                rig.down.inbound_fin = true;
                rig.settle();
                component.run(&mut rig);
                assert!(component.peer_closed && rig.up.shut, "FIN becomes close_notify and FIN");
                component.write(&pattern(200_000, 1));
            }
            component.tls.send_close_notify();
            component.run(&mut rig);
            let ended = rig.down.shut || rig.down.closed == Some(CloseMode::Fin);
            assert!(ended, "close_notify becomes FIN");
            rig.down.inbound_fin = true;
            rig.settle();
            component.run(&mut rig);
            assert_eq!(rig.down.outbound.len(), if peer_first { 200_004 } else { 4 });
            let outcome = rig.outcome();
            let cause = if peer_first { Cause::Downstream } else { Cause::Upstream };
            assert_eq!((outcome.reason, outcome.cause), (Reason::Finished, cause));
            assert!(outcome.tls.is_none());
            let upstream = outcome.upstream_tls.expect("the handshake is done");
            assert_eq!((upstream.facts.version, upstream.facts.resumed), (name, false));
            assert_eq!(upstream.subject.as_deref(), Some("CN=rcgen self signed cert"));
            assert_eq!(outcome.downstream_security, Some(Security::Plaintext));
            assert_eq!(outcome.upstream_security, Some(Security::ServerAuthenticated));
            assert!(outcome.phases.upstream_handshake.is_some());
        }
    }
}

#[test]
fn the_peer_is_not_read_before_the_component_is_ready() {
    let mut rig = Rig::new(originate());
    assert_eq!(rig.dialled, [0]);
    rig.down.inbound = b"early".to_vec();
    assert!(rig.down.receiving.is_none());
    rig.connected();
    rig.settle();
    assert!(rig.down.receiving.is_none(), "connected is not enough");
    let mut component = Component::new();
    component.run(&mut rig);
    assert_eq!(component.received, b"early");
    rig.input(Input::Stop(Reason::Stopped));
    assert_eq!(rig.outcome().reason, Reason::Stopped);
}

#[test]
fn a_component_may_speak_first() {
    let mut component = Component::version(&rustls::version::TLS13);
    // In its first flight, before we have said Finished.
    component.write(b"220 ready\r\n");
    let (mut rig, _component) = open(originate(), component);
    assert_eq!(rig.down.outbound, b"220 ready\r\n");
    rig.input(Input::Stop(Reason::Stopped));
    assert_eq!(rig.outcome().bytes.sent, 11);
}

#[test]
fn a_refused_upstream_resets_the_peer() {
    let mut rig = Rig::new(originate());
    rig.refused();
    assert_eq!(failed(rig).reason, Reason::UpstreamRefused);
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_to_both_sides() {
    for version in rustls::ALL_VERSIONS {
        let mut rig = Rig::new(originate_with(profile(&[&stranger()])));
        let mut component = Component::version(version);
        rig.connected();
        component.run(&mut rig);
        component.exchange(&mut rig);
        let alert = AlertDescription::UnknownCA;
        assert_eq!(component.error, Some(rustls::Error::AlertReceived(alert)));
        assert_eq!(rig.up.closed, Some(CloseMode::Fin), "behind the alert");
        let outcome = failed(rig);
        assert_eq!(outcome.reason, Reason::UpstreamCertificateInvalid);
        assert_eq!((outcome.upstream_alert_sent, outcome.alert_sent), (Some(48), None));
        let detail = outcome.detail.expect("what rustls says");
        assert!(detail.contains("UnknownIssuer"), "{detail}");
    }
}

#[test]
fn the_second_endpoint_is_dialled_when_the_first_is_not_trusted() {
    let mut rig = Rig::new(originate_second());
    let mut first = Component::new();
    rig.down.inbound = b"question".to_vec();
    rig.connected();
    loop {
        first.exchange(&mut rig);
        if !(rig.deliver(UP, usize::MAX) || rig.sent(UP)) {
            break;
        }
    }
    assert!(matches!(first.error, Some(rustls::Error::AlertReceived(_))), "{:?}", first.error);
    assert_eq!(rig.up.closed, Some(CloseMode::Fin));
    rig.closed(UP);
    assert_eq!(rig.dialled, [0, 1]);
    let mut second = Component::new();
    rig.connected();
    second.run(&mut rig);
    assert_eq!(second.received, b"question");
    rig.input(Input::Stop(Reason::Stopped));
    assert_eq!(rig.outcome().upstream, Some(1));
}

/// An alert that cannot be sent holds nothing up.
#[test]
fn an_alert_that_is_not_taken_is_given_up() {
    let mut rig = Rig::new(originate_second());
    let mut first = Component::new();
    rig.connected();
    rig.sent(UP);
    first.exchange(&mut rig);
    rig.deliver(UP, usize::MAX);
    assert!(rig.up.sending.is_some() && rig.up.closed.is_none());
    // What still comes of it is nothing to us.
    if rig.up.receiving.is_some() {
        rig.fail(UP, Operation::Receive, libc::ECONNRESET);
    }
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.up.closed, Some(CloseMode::Reset));
    rig.closed(UP);
    assert_eq!(rig.dialled, [0, 1]);
    rig.refused();
    assert_eq!(failed(rig).reason, Reason::UpstreamRefused);
}

#[test]
fn a_component_that_connects_and_is_silent_is_down() {
    let mut rig = Rig::new(originate());
    rig.pass(CONNECT / 2);
    rig.connected();
    rig.settle();
    rig.pass(CONNECT / 2 - Duration::from_nanos(1));
    assert_eq!(rig.down.closed, None);
    rig.pass(Duration::from_nanos(1));
    assert_eq!(failed(rig).reason, Reason::UpstreamHandshakeTimeout);
}

#[test]
fn a_component_that_leaves_in_its_handshake() {
    let mut rig = Rig::new(originate());
    rig.connected();
    rig.up.inbound_fin = true;
    assert_eq!(failed(rig).reason, Reason::UpstreamHandshakeEof);
    let mut rig = Rig::new(originate());
    rig.connected();
    rig.fail(UP, Operation::Receive, libc::ECONNRESET);
    let outcome = failed(rig);
    assert_eq!(outcome.reason, Reason::UpstreamHandshakeEof);
    assert!(outcome.detail.is_some());
}

#[test]
fn a_component_that_does_not_speak_tls() {
    let mut rig = Rig::new(originate());
    rig.connected();
    rig.up.inbound = b"220 ready\r\n".to_vec();
    rig.settle();
    assert_eq!(failed(rig).reason, Reason::UpstreamProtocol);
}

#[test]
fn a_component_that_wants_a_certificate() {
    // In TLS 1.2 it says so in the handshake.
    let mut rig = Rig::new(originate());
    let mut component = Component::mutual(&rustls::version::TLS12);
    rig.connected();
    component.run(&mut rig);
    component.exchange(&mut rig);
    let outcome = failed(rig);
    assert_eq!(outcome.reason, Reason::UpstreamAlert);
    assert_eq!(outcome.upstream_alert_received, Some(116), "certificate_required");
    // In TLS 1.3 the handshake is over for us by then.
    let mut rig = Rig::new(originate());
    let mut component = Component::mutual(&rustls::version::TLS13);
    rig.connected();
    component.run(&mut rig);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.stage), (Reason::UpstreamAlert, Stage::Relay));
    assert_eq!(outcome.upstream_alert_received, Some(116), "certificate_required");
    // With one, it is mutual.
    for version in rustls::ALL_VERSIONS {
        let (mut rig, component) = open(originate_with(known()), Component::mutual(version));
        assert!(component.tls.peer_certificates().is_some());
        rig.input(Input::Stop(Reason::Stopped));
        assert_eq!(rig.outcome().upstream_security, Some(Security::Mutual));
    }
    // And if nobody asks for it, not.
    let (mut rig, _component) = open(originate_with(known()), Component::new());
    rig.input(Input::Stop(Reason::Stopped));
    assert_eq!(rig.outcome().upstream_security, Some(Security::ServerAuthenticated));
}

#[test]
fn a_verifier_that_takes_anybody_is_told_as_that() {
    let (mut rig, _component) =
        open(originate_with(trusting().verifying(Verify::None)), Component::new());
    rig.input(Input::Stop(Reason::Stopped));
    assert_eq!(rig.outcome().upstream_security, Some(Security::Unauthenticated));
}

#[test]
fn no_version_in_common() {
    let modern = dialler(ca().roots(), |settings| settings.min_version = TlsVersion::V1_3);
    let mut rig = Rig::new(originate_with(profile(&[&modern])));
    rig.connected();
    Component::version(&rustls::version::TLS12).run(&mut rig);
    let outcome = failed(rig);
    assert_eq!(outcome.reason, Reason::UpstreamAlert);
    assert_eq!(outcome.upstream_alert_received, Some(70), "protocol_version");
    // A component that goes on with its own version nevertheless.
    let mut rig = Rig::new(originate_with(profile(&[&modern])));
    rig.connected();
    let hello = [&[2, 0, 0, 38, 3, 3][..], &[7; 32], &[0, 0xc0, 0x2b, 0]].concat();
    rig.up.inbound = [&[22, 3, 3, 0, 42][..], &hello].concat();
    rig.settle();
    let outcome = failed(rig);
    assert_eq!(outcome.reason, Reason::UpstreamIncompatible);
    assert_eq!(outcome.upstream_alert_sent, Some(70));
}

#[test]
fn fin_without_close_notify_is_told_as_truncated_by_the_upstream() {
    let (mut rig, mut component) = open(originate(), Component::new());
    component.write(b"cut o");
    component.exchange(&mut rig);
    rig.up.inbound_fin = true;
    rig.settle();
    assert_eq!(rig.down.outbound, b"cut o", "what came is delivered");
    assert!(rig.down.shut);
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Truncated, Cause::Upstream));
}

#[test]
fn a_bad_record_of_the_component_is_answered_by_an_alert() {
    let (mut rig, mut component) = open(originate(), Component::new());
    component.write(b"good");
    let mut records = component.records();
    component.write(b"bad");
    let mut bad = component.records();
    *bad.last_mut().expect("not empty") ^= 1;
    records.extend(bad);
    rig.up.inbound = records;
    rig.settle();
    component.exchange(&mut rig);
    let alert = AlertDescription::BadRecordMac;
    assert_eq!(component.error, Some(rustls::Error::AlertReceived(alert)));
    assert_eq!(rig.down.outbound, b"good", "what came before is delivered");
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::UpstreamProtocol, Cause::Upstream));
    assert_eq!((outcome.stage, outcome.upstream_alert_sent), (Stage::Relay, Some(20)));
}

#[test]
fn resets_of_either_side() {
    let (mut rig, _component) = open(originate(), Component::new());
    rig.fail(DOWN, Operation::Receive, libc::ECONNRESET);
    assert_eq!(rig.up.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Reset, Cause::Downstream));
    let (mut rig, _component) = open(originate(), Component::new());
    rig.fail(UP, Operation::Receive, libc::ECONNRESET);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Reset, Cause::Upstream));
}

#[test]
fn idle_ends_in_order_on_both_sides() {
    let (mut rig, mut component) = open(originate(), Component::new());
    rig.pass(IDLE);
    rig.settle();
    component.run(&mut rig);
    assert!(component.peer_closed, "told by close_notify");
    assert!(rig.down.shut, "told by FIN");
    rig.down.inbound_fin = true;
    assert_eq!(rig.outcome().reason, Reason::IdleTimeout);
}

#[test]
fn a_stalled_send_stops_the_other_side_at_the_high_water_mark() {
    let (mut rig, mut component) = open(originate(), Component::new());
    component.write(&pattern(4 << 20, 4));
    component.exchange(&mut rig);
    let before = rig.up.inbound.len();
    while rig.deliver(UP, usize::MAX) {}
    let taken = before - rig.up.inbound.len();
    assert!((256 << 10..=512 << 10).contains(&taken), "{taken} bytes buffered");
    component.run(&mut rig);
    assert_eq!(rig.down.outbound, pattern(4 << 20, 4));

    rig.down.inbound = pattern(4 << 20, 5);
    while rig.deliver(DOWN, usize::MAX) {}
    let taken = (4 << 20) - rig.down.inbound.len();
    assert!((256 << 10..=512 << 10).contains(&taken), "{taken} bytes buffered");
    component.run(&mut rig);
    assert_eq!(component.received, pattern(4 << 20, 5));
    rig.input(Input::Stop(Reason::Stopped));
    rig.outcome();
}

/// What is sealed, and that alone, is received with room for it.
#[test]
fn plaintext_that_is_sealed_is_received_in_parts() {
    let layout = |socket: &Socket| socket.receiving.expect("receives").1;
    let (rig, _component) = open(originate(), Component::new());
    assert_eq!(layout(&rig.down), Layout::Spaced);
    assert_eq!(layout(&rig.up), Layout::Contiguous);
    let (rig, _client) = established(policy(), Client::new());
    assert_eq!(layout(&rig.down), Layout::Contiguous);
    assert_eq!(layout(&rig.up), Layout::Spaced);
    let (mut rig, mut client) = (Rig::new(passthrough()), Client::new());
    client.run(&mut rig);
    rig.connected();
    assert_eq!(layout(&rig.down), Layout::Contiguous);
    assert_eq!(layout(&rig.up), Layout::Contiguous);
}

/// As towards a peer that speaks TLS.
#[test]
fn small_messages_to_a_peer_that_does_not_read_take_little_memory() {
    let (mut rig, mut component) = open(originate(), Component::new());
    let mut most = 0;
    for number in 0..2_000_u32 {
        component.write(&[number.to_le_bytes()[0]]);
        component.exchange(&mut rig);
        assert!(rig.deliver(UP, usize::MAX), "message {number} is taken");
        most = most.max(rig.pool.bytes_in_use());
    }
    assert!(most < 20 * 1024, "{most} bytes of buffers");
    component.run(&mut rig);
    let sent: Vec<u8> = (0..2_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    assert_eq!(rig.down.outbound, sent);
    rig.input(Input::Stop(Reason::Stopped));
    rig.outcome();
}

#[test]
fn key_updates_of_the_component() {
    let (mut rig, mut component) = open(originate(), Component::version(&rustls::version::TLS13));
    for round in 0..5_u8 {
        component.tls.refresh_traffic_keys().expect("TLS 1.3");
        component.write(&[round; 10]);
        component.run(&mut rig);
        rig.down.inbound = vec![round; 20];
        rig.settle();
        component.run(&mut rig);
    }
    assert_eq!(component.error, None);
    assert_eq!((component.received.len(), rig.down.outbound.len()), (100, 50));
}

#[test]
fn half_open_without_traffic_times_out() {
    let (mut rig, mut component) = open(originate(), Component::new());
    rig.down.inbound_fin = true;
    rig.settle();
    component.run(&mut rig);
    rig.pass(HALF_CLOSE);
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::HalfCloseTimeout, Cause::Upstream));
}

#[test]
fn stop_in_the_handshake_with_the_component() {
    let mut rig = Rig::new(originate());
    rig.connected();
    rig.input(Input::Stop(Reason::Drained));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.stage), (Reason::Drained, Stage::Connecting));
}

/// The simulator found this to be called an orderly end: behind RST, receiving tells of FIN.
#[test]
fn fin_and_then_a_reset_is_a_reset() {
    let (mut rig, mut component) = open(originate(), Component::new());
    rig.down.inbound_fin = true;
    rig.settle();
    component.write(b"too late");
    component.exchange(&mut rig);
    rig.deliver(UP, usize::MAX);
    rig.fail(DOWN, Operation::Send, libc::ECONNRESET);
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Reset, Cause::Downstream));
}
