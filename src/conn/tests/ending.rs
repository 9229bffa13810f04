//! The end, whatever comes while it is under way.

use std::time::Duration;

use super::rig::*;
use crate::conn::outcome::{Cause, Outcome, Reason};
use crate::conn::{Farewell, Input};
use crate::engine::{CloseMode, Operation};

/// Ending by an alert that is being sent.
fn flushing() -> Rig {
    let mut rig = Rig::new(policy());
    rig.down.inbound = vec![22, 3, 1, 0xff, 0xff];
    rig.deliver(DOWN, 100);
    assert!(rig.down.sending.is_some());
    rig
}

impl Rig {
    /// The outcome, once all is closed and given back.
    pub(super) fn outcome(mut self) -> Outcome {
        self.settle();
        let outcome = self.finished.take().expect("the connection has ended");
        assert_eq!(self.connection.next_deadline(), None, "waits for nothing");
        drop(self.connection);
        drop((self.down, self.up));
        assert_eq!(self.pool.bytes_in_use(), 0, "a buffer was kept");
        assert_eq!(self.hellos.total(), 0, "budget for hellos was kept");
        *outcome
    }
}

#[test]
fn progress_earns_more_time() {
    let mut rig = flushing();
    rig.pass(Duration::from_millis(900));
    rig.sent(DOWN);
    rig.pass(Duration::from_millis(900));
    assert_eq!(rig.down.closed, None);
    rig.pass(Duration::from_millis(100));
    assert_eq!(rig.down.closed, Some(CloseMode::Fin));
}

#[test]
fn a_failure_while_flushing_ends_at_once() {
    let mut rig = flushing();
    rig.fail(DOWN, Operation::Send, libc::EPIPE);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    assert_eq!(rig.outcome().reason, Reason::HelloMalformed, "the first reason stays");
}

#[test]
fn stop_while_flushing_ends_at_once() {
    let mut rig = flushing();
    rig.input(Input::Stop(Reason::Stopped));
    assert!(rig.down.closing);
    assert_eq!(rig.outcome().reason, Reason::HelloMalformed);
}

#[test]
fn a_connected_that_comes_too_late_changes_nothing() {
    let (mut rig, mut client) = (Rig::new(policy()), Client::new());
    client.run(&mut rig);
    rig.input(Input::Stop(Reason::Stopped));
    rig.input(Input::Connected);
    assert!(rig.up.closing);
    assert_eq!(rig.outcome().reason, Reason::Stopped);
}

#[test]
fn finish_waits_for_both_sockets() {
    let (mut rig, _client) = established(policy(), Client::new());
    rig.input(Input::Stop(Reason::Stopped));
    rig.closed(UP);
    assert!(rig.finished.is_none());
    rig.input(Input::Deadline);
    rig.input(Input::Stop(Reason::Stopped));
    assert!(rig.finished.is_none());
    rig.closed(DOWN);
    assert!(rig.finished.is_some());
    rig.input(Input::Deadline);
}

#[test]
fn dismissed_it_ends_in_order_or_at_once() {
    for farewell in [Farewell::InOrder, Farewell::AtOnce] {
        let (mut rig, mut client) = established(policy(), Client::new());
        client.write(b"last words");
        client.exchange(&mut rig);
        while rig.deliver(DOWN, 4096) {}
        rig.settle();
        assert!(!rig.connection.is_quiet(Duration::from_secs(1), rig.now));
        rig.pass(Duration::from_secs(1));
        assert!(rig.connection.is_quiet(Duration::from_secs(1), rig.now));
        rig.input(Input::Dismissed(farewell));
        client.run(&mut rig);
        assert_eq!(rig.up.outbound, b"last words");
        if farewell == Farewell::InOrder {
            assert!(client.peer_closed && client.error.is_none(), "close_notify");
            assert!(rig.down.shut && rig.up.shut, "FIN to both");
            (rig.down.inbound_fin, rig.up.inbound_fin) = (true, true);
        } else {
            assert_eq!(rig.down.closed, Some(CloseMode::Reset));
            assert_eq!(rig.up.closed, Some(CloseMode::Reset));
        }
        // Once is enough.
        rig.input(Input::Dismissed(farewell));
        rig.settle();
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::Dismissed, Cause::Local));
    }
}

#[test]
fn dismissed_before_it_relays_it_ends_as_when_the_gateway_stops() {
    let mut rig = Rig::new(policy());
    rig.input(Input::Dismissed(Farewell::InOrder));
    assert_eq!(rig.down.closed, Some(CloseMode::Fin));
    assert_eq!(rig.outcome().reason, Reason::Dismissed);
}
