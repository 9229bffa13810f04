//! Where connections to components come from, and what happens when that cannot be.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::rig::*;
use crate::conn::outcome::{Cause, Outcome, Reason};
use crate::engine::{Operation, Source};
use crate::policy::{Downstream, ListenerPolicy, Route};
use crate::upstream::{Group, SourceSettings};

/// Plaintext on both sides, two components, and this source.
fn policy(source: SourceSettings) -> ListenerPolicy {
    let upstreams = Arc::new(Group { source, ..(*endpoints(&[1, 2])).clone() });
    let route = Route { tls: None, upstreams, ..route() };
    ListenerPolicy { downstream: Downstream::Plaintext, ..with(route) }
}

fn from(lasts: &[u8]) -> ListenerPolicy {
    policy(SourceSettings::From(lasts.iter().map(|last| ip(*last)).collect()))
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// Dialling fails, and the socket is closed.
fn fail(rig: &mut Rig, errno: i32) {
    rig.fail(UP, Operation::Connect, errno);
    rig.closed(UP);
}

/// Attempts that failed for this reason, as counted.
fn failures(rig: &mut Rig, reason: Reason) -> u64 {
    rig.telemetry.counters().listeners[0].upstream_failures(reason)
}

fn assert_local(outcome: &Outcome, reason: Reason) {
    assert_eq!((outcome.reason, outcome.cause), (reason, Cause::Local));
    assert!(outcome.detail.is_some());
}

#[test]
fn a_source_without_ports_gives_way_to_the_next_one_and_is_counted() {
    let mut rig = Rig::new(from(&[1, 2]));
    let deadline = rig.connection.next_deadline();
    rig.pass(CONNECT / 2);
    fail(&mut rig, libc::EADDRNOTAVAIL);
    assert_eq!(rig.dialled, [0, 0], "the same component");
    assert_eq!(rig.sources, [Source::From(ip(1)), Source::From(ip(2))]);
    assert_eq!(rig.connection.next_deadline(), deadline, "within the time of the first");
    assert_eq!(failures(&mut rig, Reason::SourceExhausted), 1);
    rig.connected();
    rig.down.inbound = b"hello".to_vec();
    rig.settle();
    assert_eq!(rig.up.outbound, b"hello");
}

#[test]
fn without_a_source_that_has_ports_the_next_component_is_tried_and_then_nothing() {
    let mut rig = Rig::new(from(&[1, 2]));
    for _ in 0..4 {
        fail(&mut rig, libc::EADDRNOTAVAIL);
    }
    assert_eq!(rig.dialled, [0, 0, 1, 1]);
    assert_eq!(failures(&mut rig, Reason::SourceExhausted), 4);
    assert_local(&rig.outcome(), Reason::SourceExhausted);
}

/// A component that does not answer leaves nothing to other sources.
#[test]
fn what_is_not_the_sources_fault_is_not_tried_from_another_one() {
    let mut rig = Rig::new(from(&[1, 2]));
    fail(&mut rig, libc::EADDRNOTAVAIL);
    fail(&mut rig, libc::ECONNREFUSED);
    assert_eq!(rig.dialled, [0, 0, 1]);
    rig.pass(CONNECT);
    rig.closed(UP);
    assert_eq!(rig.outcome().reason, Reason::UpstreamTimeout);
}

#[test]
fn a_clients_port_that_is_taken_is_a_collision() {
    for errno in [libc::EADDRNOTAVAIL, libc::EADDRINUSE] {
        let mut rig = Rig::new(policy(SourceSettings::Client { keep_port: true }));
        fail(&mut rig, errno);
        let client = Source::Client(([198, 51, 100, 7], 40_000).into());
        assert_eq!((&*rig.dialled, &*rig.sources), (&[0, 1][..], &[client; 2][..]));
        fail(&mut rig, errno);
        assert_eq!(failures(&mut rig, Reason::SourceCollision), 2);
        assert_local(&rig.outcome(), Reason::SourceCollision);
    }
    let mut rig = Rig::new(policy(SourceSettings::Client { keep_port: false }));
    assert_eq!(rig.sources, [Source::Client(([198, 51, 100, 7], 0).into())]);
    fail(&mut rig, libc::EADDRNOTAVAIL);
    fail(&mut rig, libc::EADDRNOTAVAIL);
    assert_local(&rig.outcome(), Reason::SourceExhausted);
}

#[test]
fn a_connection_that_nothing_can_be_dialled_for_ends_at_once() {
    let rig = Rig::new(policy(SourceSettings::From(vec![[0u8; 16].into()])));
    assert!(rig.dialled.is_empty());
    let outcome = rig.outcome();
    assert_local(&outcome, Reason::SourceExhausted);
    assert_eq!(outcome.upstream, None);
    assert_eq!(outcome.phases.lifetime, Duration::ZERO);
}
