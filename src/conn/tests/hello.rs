//! Until the ClientHello is complete.

use std::time::Duration;

use super::rig::*;
use crate::conn::Input;
use crate::conn::outcome::{Cause, Reason, Stage};
use crate::engine::{CloseMode, Operation};
use crate::tls::alert;

#[test]
fn a_hello_in_single_bytes_is_charged_and_given_back() {
    let (mut rig, mut client) = (Rig::new(policy()), Client::new());
    rig.down.inbound = client.records();
    let mut charged = 0;
    while rig.dialled.is_empty() {
        assert!(rig.deliver(DOWN, 1), "the hello does not complete");
        charged = charged.max(rig.hellos.total());
    }
    assert!(charged > 0);
    assert_eq!(rig.hellos.total(), 0);
    rig.connected();
    client.run(&mut rig);
    assert!(!client.tls.is_handshaking());
}

#[test]
fn a_hello_over_the_budget_of_its_source_is_cut() {
    let mut rig = Rig::new(policy());
    // A handshake record that begins a ClientHello of 16,000 bytes.
    rig.down.inbound = vec![22, 3, 1, 0x3f, 0, 1, 0, 0x3e, 0x80];
    rig.down.inbound.extend([0; 4000]);
    while rig.finished.is_none() && rig.deliver(DOWN, 100) {
        rig.closed(DOWN);
    }
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::HelloMemory, Cause::Policy));
    assert_eq!(outcome.stage, Stage::Hello);
}

#[test]
fn a_peer_that_leaves_before_its_hello_is_no_error() {
    let mut rig = Rig::new(policy());
    rig.down.inbound = Client::new().records()[..20].to_vec();
    rig.down.inbound_fin = true;
    rig.settle();
    assert_eq!(rig.down.closed, Some(CloseMode::Fin));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::HelloEof, Cause::Downstream));
    assert_eq!(outcome.upstream, None);
}

#[test]
fn a_reset_before_the_hello() {
    let mut rig = Rig::new(policy());
    rig.fail(DOWN, Operation::Receive, libc::ECONNRESET);
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Reset, Cause::Downstream));
    assert_eq!(outcome.stage, Stage::Hello);
}

#[test]
fn silence_ends_at_the_deadline_and_not_before() {
    let mut rig = Rig::new(policy());
    rig.pass(HANDSHAKE - Duration::from_nanos(1));
    assert_eq!(rig.down.closed, None);
    rig.pass(Duration::from_nanos(1));
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::HandshakeTimeout, Cause::Downstream));
}

#[test]
fn a_name_that_is_not_ours_is_refused_when_strict() {
    let config = ca().client((*crate::tls::provider::provider()).clone());
    let mut client = Client::named(&config, "stranger.example");
    let mut rig = Rig::new(strict());
    client.run(&mut rig);
    assert_eq!(rig.down.outbound.as_slice(), &[] as &[u8], "the client has taken the alert");
    let alert = rustls::AlertDescription::UnrecognisedName;
    assert_eq!(client.error, Some(rustls::Error::AlertReceived(alert)));
    assert!(rig.down.shut, "FIN goes out behind the alert");
    // Held open for the peer to read the alert, until it leaves.
    assert_eq!(rig.down.closed, None);
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::UnrecognizedName, Cause::Policy));
    assert_eq!(outcome.alert_sent, Some(alert::UNRECOGNIZED_NAME));
    assert_eq!(outcome.sni.as_deref(), Some("stranger.example"));
}

#[test]
fn no_name_is_refused_when_strict() {
    let config = ca().client((*crate::tls::provider::provider()).clone());
    let mut client = Client::named(&config, "192.0.2.9");
    let mut rig = Rig::new(strict());
    client.run(&mut rig);
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.sni), (Reason::UnrecognizedName, None));
}

#[test]
fn a_name_that_is_ours_is_admitted_when_strict() {
    established(strict(), Client::new());
}

#[test]
fn who_ignores_the_alert_is_closed_after_the_linger() {
    let mut rig = Rig::new(policy());
    // A record header that no hello has, then garbage without end.
    rig.down.inbound = vec![22, 3, 1, 0xff, 0xff];
    rig.settle();
    assert_eq!(rig.down.outbound, alert::plaintext_alert(alert::RECORD_OVERFLOW));
    rig.pass(Duration::from_millis(999));
    rig.down.inbound = vec![0; 10_000];
    rig.settle();
    assert_eq!(rig.down.closed, None);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.down.closed, Some(CloseMode::Fin));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::HelloMalformed, Cause::Downstream));
}

#[test]
fn an_alert_that_cannot_be_sent_ends_in_a_reset() {
    let mut rig = Rig::new(policy());
    rig.down.inbound = vec![22, 3, 1, 0xff, 0xff];
    rig.deliver(DOWN, 100);
    assert!(rig.down.sending.is_some());
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    assert_eq!(rig.outcome().reason, Reason::HelloMalformed);
}

#[test]
fn plaintext_gets_no_alert() {
    let mut rig = Rig::new(policy());
    rig.down.inbound = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    rig.settle();
    assert!(rig.down.outbound.is_empty());
    assert!(rig.down.shut);
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.alert_sent), (Reason::HelloMalformed, None));
}

#[test]
fn stop_gives_the_budget_back() {
    let mut rig = Rig::new(policy());
    rig.down.inbound = Client::new().records()[..50].to_vec();
    rig.settle();
    assert!(rig.hellos.total() > 0);
    rig.input(Input::Stop(Reason::Stopped));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Stopped, Cause::Local));
}
