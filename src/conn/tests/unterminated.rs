//! Peers whose TLS does not end here: passed through unread, or plaintext where either may come.

use std::time::Duration;

use super::component::*;
use super::relay::pattern;
use super::rig::*;
use crate::admission::hello_budget::HelloBudget;
use crate::conn::Input;
use crate::conn::outcome::{Cause, Reason, Security, Stage};
use crate::engine::{CloseMode, Operation};
use crate::policy::ListenerPolicy;
use crate::tls::hello::MAX_MESSAGE;

#[test]
fn tls_is_passed_through_from_the_peer_to_the_component() {
    for version in rustls::ALL_VERSIONS {
        let (mut rig, mut client) = (Rig::new(passthrough()), Client::version(version));
        let mut component = Component::new();
        client.run(&mut rig);
        assert_eq!(rig.dialled, [0]);
        rig.connected();
        run_both(&mut rig, &mut client, &mut component);
        assert!(!client.tls.is_handshaking() && client.error.is_none());
        assert_eq!(component.tls.server_name(), Some("component.example"));
        client.write(&pattern(300_000, 1));
        component.write(&pattern(300_000, 2));
        run_both(&mut rig, &mut client, &mut component);
        assert_eq!(component.received, pattern(300_000, 1));
        assert_eq!(client.received, pattern(300_000, 2));
        (rig.down.inbound_fin, rig.up.inbound_fin) = (true, true);
        rig.settle();
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::Finished, Cause::Downstream));
        assert_eq!(outcome.sni.as_deref(), Some("component.example"));
        assert!(outcome.tls.is_none() && outcome.upstream_tls.is_none());
        assert_eq!(outcome.downstream_security, Some(Security::Unread));
        assert_eq!(outcome.upstream_security, Some(Security::Unread));
    }
}

/// The bytes, not only the message: a hello in records of one byte arrives in records of one byte.
#[test]
fn the_same_bytes_arrive_however_they_came() {
    for piece in [1, 7, 1000] {
        let mut rig = Rig::new(passthrough());
        rig.hellos = HelloBudget::new(64 * 1024, 64 * 1024);
        let records = Client::new().records();
        let message = records[5..].iter();
        let mut sent: Vec<u8> = message.flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
        sent.extend(b"and whatever follows");
        rig.down.inbound.clone_from(&sent);
        while rig.deliver(DOWN, piece) {}
        assert_eq!(rig.hellos.total(), 0, "the budget is given back");
        rig.connected();
        rig.settle();
        assert!(rig.up.outbound == sent, "in pieces of {piece}");
        rig.input(Input::Stop(Reason::Stopped));
        assert_eq!(rig.outcome().bytes.received, sent.len() as u64);
    }
}

#[test]
fn what_is_kept_of_an_unread_hello_counts_and_is_bounded() {
    // Half of the budget of a source in hello, the other half in records.
    let mut rig = Rig::new(passthrough());
    rig.down.inbound = [&[22, 3, 1, 0x10, 0, 1, 0, 0x0f, 0xfc][..], &[0; 3000]].concat();
    rig.settle();
    assert_eq!(rig.outcome().reason, Reason::HelloMemory);
    let mut rig = Rig::new(passthrough());
    rig.hellos = HelloBudget::new(1 << 20, 1 << 20);
    let message = [&[1, 0, 0xff, 0xff][..], &[0; 60_000]].concat();
    rig.down.inbound = message.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    let before = rig.down.inbound.len();
    while rig.deliver(DOWN, 1000) {}
    assert!(before - rig.down.inbound.len() <= 2 * MAX_MESSAGE + 2000);
    rig.down.inbound.clear();
    rig.down.inbound_fin = true;
    assert_eq!(rig.outcome().reason, Reason::HelloTooLarge);
}

#[test]
fn a_dead_component_resets_an_unread_peer() {
    let (mut rig, mut client) = (Rig::new(passthrough()), Client::new());
    client.run(&mut rig);
    rig.refused();
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.stage), (Reason::UpstreamRefused, Stage::Connecting));
}

#[test]
fn what_is_not_tls_is_not_passed_through() {
    let mut rig = Rig::new(passthrough());
    rig.down.inbound = b"GET / HTTP/1.1\r\n".to_vec();
    rig.down.inbound_fin = true;
    rig.settle();
    assert_eq!(rig.dialled, [0; 0]);
    assert_eq!(rig.outcome().reason, Reason::HelloMalformed);
}

#[test]
fn resets_are_passed_through() {
    let (mut rig, mut client) = (Rig::new(passthrough()), Client::new());
    client.run(&mut rig);
    rig.connected();
    rig.settle();
    rig.fail(UP, Operation::Receive, libc::ECONNRESET);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    assert_eq!(rig.outcome().cause, Cause::Upstream);
}

/// A plaintext peer on a port that takes both.
fn plaintext(policy: ListenerPolicy) -> Rig {
    let mut rig = Rig::new(policy);
    rig.down.inbound = b"GET / HTTP/1.1\r\n".to_vec();
    rig.settle();
    assert_eq!(rig.dialled, [0]);
    assert!(rig.down.receiving.is_none(), "the next byte waits for the component");
    rig
}

#[test]
fn plaintext_is_relayed_in_plaintext() {
    let mut rig = plaintext(detect());
    rig.connected();
    rig.settle();
    assert_eq!(rig.up.outbound, b"GET / HTTP/1.1\r\n");
    rig.up.inbound = pattern(100_000, 1);
    rig.down.inbound = pattern(100_000, 2);
    (rig.down.inbound_fin, rig.up.inbound_fin) = (true, true);
    rig.settle();
    assert_eq!(rig.down.outbound, pattern(100_000, 1));
    assert_eq!(rig.up.outbound[16..], pattern(100_000, 2));
    let outcome = rig.outcome();
    assert_eq!(outcome.reason, Reason::Finished);
    assert_eq!((outcome.bytes.received, outcome.bytes.sent), (100_016, 100_000));
    assert_eq!(outcome.downstream_security, Some(Security::Plaintext));
    assert_eq!(outcome.upstream_security, Some(Security::Plaintext));
}

#[test]
fn plaintext_is_relayed_to_a_component_that_speaks_tls() {
    let mut rig = plaintext(detect_bridge());
    let mut component = Component::new();
    rig.connected();
    component.run(&mut rig);
    assert_eq!(component.received, b"GET / HTTP/1.1\r\n");
    rig.input(Input::Stop(Reason::Stopped));
    assert_eq!(rig.outcome().upstream_security, Some(Security::ServerAuthenticated));
}

#[test]
fn tls_is_terminated_on_the_same_port() {
    let (mut rig, mut client) = established(detect(), Client::new());
    client.write(b"secret");
    client.run(&mut rig);
    assert_eq!(rig.up.outbound, b"secret");
    rig.input(Input::Stop(Reason::Stopped));
    let outcome = rig.outcome();
    assert_eq!(outcome.downstream_security, Some(Security::ServerAuthenticated));
    // Its first byte is enough to hold it to TLS.
    let mut rig = Rig::new(detect());
    rig.down.inbound = vec![22];
    rig.settle();
    rig.down.inbound = b"GET".to_vec();
    rig.down.inbound_fin = true;
    rig.settle();
    assert_eq!(rig.outcome().reason, Reason::HelloMalformed);
}

#[test]
fn a_peer_that_says_nothing_where_either_may_come() {
    let mut rig = Rig::new(detect());
    rig.pass(HANDSHAKE);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.stage), (Reason::DetectTimeout, Stage::Hello));
    assert_eq!(outcome.downstream_security, None);
    // One that has begun is late with its handshake.
    let mut rig = Rig::new(detect());
    rig.down.inbound = vec![22];
    rig.settle();
    rig.pass(HANDSHAKE);
    assert_eq!(rig.outcome().reason, Reason::HandshakeTimeout);
    let mut rig = Rig::new(detect());
    rig.down.inbound_fin = true;
    rig.settle();
    assert_eq!(rig.outcome().reason, Reason::HelloEof);
}

#[test]
fn a_plaintext_peer_waits_no_longer_than_dialling_takes() {
    let mut rig = plaintext(detect());
    rig.pass(CONNECT - Duration::from_nanos(1));
    assert_eq!(rig.down.closed, None);
    rig.pass(Duration::from_nanos(1));
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    assert_eq!(rig.outcome().reason, Reason::UpstreamTimeout);
}
