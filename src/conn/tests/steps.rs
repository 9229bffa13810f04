//! What happens while a step of a handshake waits for its turn, and when it gets none.

use super::component::*;
use super::rig::*;
use crate::admission::{Class, Shaking, Shed};
use crate::conn::Input;
use crate::conn::outcome::{Cause, Reason, Stage};
use crate::engine::{CloseMode, Operation};
use crate::policy::ListenerPolicy;

/// With a ClientHello that waits.
fn waiting(policy: ListenerPolicy) -> (Rig, Client) {
    let (mut rig, mut client) = (Rig::new(policy), Client::new());
    rig.has_turns = false;
    client.run(&mut rig);
    (rig, client)
}

#[test]
fn nothing_is_done_for_a_hello_before_its_turn() {
    let (mut rig, mut client) = waiting(policy());
    assert_eq!(rig.connection.waits_for_turn(), Some(Class::Full));
    assert_eq!(rig.connection.is_shaking(), Some(Shaking::Here));
    assert!(rig.dialled.is_empty() && rig.hellos.total() > 0);
    assert!(rig.down.receiving.is_some(), "it is seen when the peer leaves");
    rig.input(Input::Step);
    assert_eq!((rig.dialled.len(), rig.hellos.total()), (1, 0));
    assert_eq!(rig.connection.waits_for_turn(), None);
    rig.connected();
    client.run(&mut rig);
    assert_eq!(rig.connection.waits_for_turn(), Some(Class::Begun), "the peer's Finished waits");
    assert!(rig.down.receiving.is_none());
    rig.input(Input::Step);
    assert_eq!((rig.connection.waits_for_turn(), rig.connection.is_shaking()), (None, None));
    client.write(b"as ever");
    client.run(&mut rig);
    assert_eq!(rig.up.outbound, b"as ever", "traffic waits for nothing");
    rig.input(Input::Stop(Reason::Stopped));
    assert_eq!(rig.outcome().stage, Stage::Relay);
}

#[test]
fn who_is_asked_for_a_certificate_comes_after_others() {
    let (rig, _) = waiting(mutual());
    assert_eq!(rig.connection.waits_for_turn(), Some(Class::Mutual));
}

#[test]
fn who_is_shed_is_reset_and_hears_nothing() {
    let (mut rig, _) = waiting(policy());
    rig.input(Input::Shed(Shed::Queue));
    rig.settle();
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    assert!(rig.down.outbound.is_empty() && rig.dialled.is_empty());
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Overloaded, Cause::Local));
    assert_eq!((outcome.stage, outcome.detail.as_deref()), (Stage::Handshake, Some("queue")));
}

#[test]
fn who_leaves_while_waiting_costs_no_key_operation() {
    let (mut rig, _) = waiting(policy());
    rig.down.inbound_fin = true;
    rig.settle();
    assert_eq!(rig.connection.waits_for_turn(), None);
    rig.input(Input::Step);
    assert!(rig.dialled.is_empty());
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.stage), (Reason::HandshakeEof, Stage::Handshake));
    let (mut rig, _) = waiting(policy());
    rig.fail(DOWN, Operation::Receive, libc::ECONNRESET);
    assert_eq!(rig.outcome().reason, Reason::Reset);
}

#[test]
fn a_turn_that_does_not_come_ends_with_the_time_for_handshakes() {
    let (mut rig, _) = waiting(policy());
    rig.pass(HANDSHAKE);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let shed = &rig.telemetry.counters().shed;
    assert_eq!((shed[Shed::Late as usize], shed.iter().sum::<u64>()), (1, 1), "counted once");
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.detail.as_deref()), (Reason::Overloaded, Some("late")));
}

#[test]
fn what_comes_behind_the_hello_waits_with_it_and_is_bounded() {
    let (mut rig, _) = waiting(policy());
    rig.down.inbound = vec![0; 100_000];
    rig.settle();
    assert!(rig.down.receiving.is_none() && rig.down.inbound.len() > 90_000, "not read on");
    rig.input(Input::Step);
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!(outcome.cause, Cause::Downstream, "what it said is not TLS: {:?}", outcome.reason);
}

#[test]
fn the_components_handshake_waits_for_its_turn_too() {
    let (mut rig, mut client) = waiting(bridge());
    let mut component = Component::new();
    rig.input(Input::Step);
    assert_eq!(rig.connection.is_shaking(), Some(Shaking::Held), "the flight waits for it");
    rig.connected();
    component.run(&mut rig);
    assert_eq!(rig.connection.waits_for_turn(), Some(Class::Begun));
    assert_eq!(rig.connection.is_shaking(), Some(Shaking::Here));
    assert!(component.tls.is_handshaking() && rig.up.receiving.is_none());
    rig.has_turns = true;
    rig.input(Input::Step);
    run_both(&mut rig, &mut client, &mut component);
    assert!(!client.tls.is_handshaking() && !component.tls.is_handshaking());
    rig.input(Input::Stop(Reason::Stopped));
    rig.outcome();
}

#[test]
fn what_a_component_said_is_forgotten_when_it_is_given_up() {
    let (mut rig, _) = waiting(bridge());
    let mut component = Component::new();
    rig.input(Input::Step);
    rig.connected();
    component.run(&mut rig);
    rig.pass(CONNECT);
    assert_eq!(rig.connection.waits_for_turn(), None);
    rig.down.inbound_fin = true;
    assert_eq!(rig.outcome().reason, Reason::UpstreamHandshakeTimeout);
}

#[test]
fn hellos_that_wait_have_a_budget() {
    let mut rig = Rig::new(policy());
    rig.has_turns = false;
    rig.hellos = crate::admission::hello_budget::HelloBudget::new(16, 16);
    let mut client = Client::new();
    client.run(&mut rig);
    assert_eq!(rig.connection.waits_for_turn(), None);
    assert_eq!(rig.outcome().reason, Reason::HelloMemory);
}

#[test]
fn who_leaves_is_to_blame_only_if_nobody_kept_it_waiting() {
    let leave = |rig: &mut Rig| {
        rig.down.inbound_fin = true;
        rig.settle();
        rig.connection.has_failed()
    };
    let (mut rig, _) = waiting(policy());
    assert!(!leave(&mut rig), "it waited for its turn");
    let (mut rig, _) = waiting(policy());
    rig.input(Input::Step);
    assert!(!leave(&mut rig), "it waited for the component");
    let (mut rig, _) = waiting(policy());
    rig.input(Input::Step);
    rig.connected();
    assert!(leave(&mut rig), "it was to say more");
    let (mut rig, _) = waiting(policy());
    rig.input(Input::Shed(Shed::Queue));
    assert!(!rig.connection.has_failed(), "it was turned away");
}
