//! Bytes both ways, half-close, backpressure.

use std::time::Duration;

use proptest::prelude::*;

use super::rig::*;
use crate::buf::{BufClass, Pool};
use crate::config::model::Timeouts;
use crate::conn::Input;
use crate::conn::outcome::{Cause, Reason, Stage};
use crate::engine::{CloseMode, Operation};
use crate::policy::ListenerPolicy;

pub(super) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let numbers = 0..u32::try_from(len).expect("a few megabytes");
    numbers.map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed).collect()
}

/// What waits for a side is bounded in memory, not only in bytes: small messages share buffers.
#[test]
fn small_messages_to_a_peer_that_does_not_read_take_little_memory() {
    const MESSAGES: usize = 2_000;
    let (mut rig, mut client) = established(policy(), Client::new());
    let mut most = 0;
    for number in 0..MESSAGES {
        rig.up.inbound = vec![u8::try_from(number % 251).expect("below 251")];
        assert!(rig.deliver(UP, 1), "message {number} is taken");
        most = most.max(rig.pool.bytes_in_use());
    }
    // Each is a record of some 23 bytes.
    assert!(most < 100 * 1024, "{most} bytes of buffers");
    client.run(&mut rig);
    let sent: Vec<u8> = (0..MESSAGES).map(|number| (number % 251).to_le_bytes()[0]).collect();
    assert_eq!(client.received, sent);
    rig.input(Input::Stop(Reason::Stopped));
    rig.outcome();
}

#[test]
fn close_notify_first_then_the_upstream_goes_on_then_fin() {
    let (mut rig, mut client) = established(policy(), Client::new());
    client.write(b"last words");
    client.close();
    client.run(&mut rig);
    assert_eq!(rig.up.outbound, b"last words");
    assert!(rig.up.shut, "close_notify becomes FIN");
    rig.up.inbound = pattern(300_000, 1);
    client.run(&mut rig);
    assert_eq!(client.received, pattern(300_000, 1));
    rig.up.inbound_fin = true;
    client.run(&mut rig);
    assert!(client.peer_closed, "FIN becomes close_notify");
    assert_eq!(rig.down.closed, Some(CloseMode::Fin));
    assert_eq!(rig.up.closed, Some(CloseMode::Fin));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Finished, Cause::Downstream));
    assert_eq!((outcome.bytes.received, outcome.bytes.sent), (10, 300_000));
}

#[test]
fn fin_first_then_the_client_goes_on_then_close_notify() {
    for version in rustls::ALL_VERSIONS {
        let (mut rig, mut client) = established(policy(), Client::version(version));
        rig.up.inbound = b"goodbye".to_vec();
        rig.up.inbound_fin = true;
        client.run(&mut rig);
        assert_eq!(client.received, b"goodbye");
        assert!(client.peer_closed && rig.down.shut);
        client.write(&pattern(200_000, 2));
        client.run(&mut rig);
        assert_eq!(rig.up.outbound, pattern(200_000, 2));
        client.close();
        client.run(&mut rig);
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::Finished, Cause::Upstream));
        assert_eq!(outcome.stage, Stage::Relay);
    }
}

#[test]
fn fin_without_close_notify_is_told_as_truncated() {
    let (mut rig, mut client) = established(policy(), Client::new());
    client.write(b"cut o");
    client.exchange(&mut rig);
    rig.down.inbound_fin = true;
    rig.settle();
    assert_eq!(rig.up.outbound, b"cut o", "what came is delivered");
    assert!(rig.up.shut);
    rig.up.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Truncated, Cause::Downstream));
}

#[test]
fn a_stream_that_ends_inside_a_record_is_truncated_too() {
    let (mut rig, mut client) = established(policy(), Client::new());
    client.write(b"whole");
    let records = client.records();
    rig.down.inbound = records[..records.len() - 1].to_vec();
    rig.down.inbound_fin = true;
    rig.up.inbound_fin = true;
    rig.settle();
    assert!(rig.up.outbound.is_empty(), "nothing that is not authenticated");
    assert_eq!(rig.outcome().reason, Reason::Truncated);
}

#[test]
fn data_and_close_notify_in_the_buffer_that_ends_the_handshake() {
    for policy in [policy(), after_handshake()] {
        let (mut rig, mut client) = (Rig::new(policy), Client::new());
        client.write(b"all at once");
        client.run(&mut rig);
        rig.connected();
        client.exchange(&mut rig);
        rig.settle();
        client.exchange(&mut rig);
        client.close();
        client.run(&mut rig);
        rig.connected();
        client.run(&mut rig);
        assert_eq!(rig.up.outbound, b"all at once");
        assert!(rig.up.shut);
        rig.up.inbound_fin = true;
        client.run(&mut rig);
        assert_eq!(rig.outcome().reason, Reason::Finished);
    }
}

#[test]
fn a_bad_record_is_answered_by_an_alert() {
    for version in rustls::ALL_VERSIONS {
        let (mut rig, mut client) = established(policy(), Client::version(version));
        client.write(b"good");
        let mut records = client.records();
        client.write(b"bad");
        let mut bad = client.records();
        *bad.last_mut().expect("not empty") ^= 1;
        records.extend(bad);
        rig.down.inbound = records;
        rig.settle();
        client.exchange(&mut rig);
        let alert = rustls::AlertDescription::BadRecordMac;
        assert_eq!(client.error, Some(rustls::Error::AlertReceived(alert)));
        assert_eq!(rig.up.closed, Some(CloseMode::Reset), "the upstream must not see an end");
        rig.down.inbound_fin = true;
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::BadRecord, Cause::Downstream));
    }
}

/// There is no saying what is wrong behind a close_notify and a FIN.
#[test]
fn garbage_after_our_close_notify_ends_in_silence() {
    for version in rustls::ALL_VERSIONS {
        let (mut rig, mut client) = established(policy(), Client::version(version));
        rig.up.inbound_fin = true;
        client.run(&mut rig);
        assert!(client.peer_closed && rig.down.shut);
        rig.down.inbound = vec![25; 100];
        rig.settle();
        assert!(rig.down.outbound.is_empty());
        rig.down.inbound_fin = true;
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::ProtocolViolation, Cause::Downstream));
    }
}

#[test]
fn resets_of_either_side() {
    for operation in [Operation::Receive, Operation::Send] {
        let (mut rig, _client) = established(policy(), Client::new());
        rig.fail(DOWN, operation, libc::ECONNRESET);
        assert_eq!(rig.up.closed, Some(CloseMode::Reset));
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::Reset, Cause::Downstream));

        let (mut rig, _client) = established(policy(), Client::new());
        rig.fail(UP, operation, libc::ETIMEDOUT);
        assert_eq!(rig.down.closed, Some(CloseMode::Reset));
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::Vanished, Cause::Upstream));
    }
}

#[test]
fn a_reset_after_close_notify_is_the_peers_right() {
    let (mut rig, mut client) = established(policy(), Client::new());
    client.close();
    client.run(&mut rig);
    rig.up.inbound = b"too late".to_vec();
    rig.deliver(UP, 100);
    rig.fail(DOWN, Operation::Send, libc::EPIPE);
    assert_eq!(rig.up.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Finished, Cause::Downstream));
}

#[test]
fn a_reset_of_the_upstream_after_its_fin_still_delivers() {
    let (mut rig, mut client) = established(policy(), Client::new());
    rig.up.inbound = pattern(100_000, 3);
    rig.up.inbound_fin = true;
    while rig.deliver(UP, usize::MAX) {}
    while rig.down.shut || rig.deliver(UP, usize::MAX) || rig.sent(DOWN) {
        if rig.down.shut {
            break;
        }
    }
    client.write(b"never read");
    client.exchange(&mut rig);
    rig.deliver(DOWN, usize::MAX);
    rig.fail(UP, Operation::Send, libc::ECONNRESET);
    client.run(&mut rig);
    assert_eq!(client.received, pattern(100_000, 3));
    assert!(client.peer_closed);
    rig.down.inbound_fin = true;
    assert_eq!(rig.outcome().cause, Cause::Upstream);
}

#[test]
fn half_open_without_traffic_times_out() {
    for upstream_first in [false, true] {
        let (mut rig, mut client) = established(policy(), Client::new());
        if upstream_first {
            rig.up.inbound_fin = true;
        } else {
            client.close();
        }
        client.run(&mut rig);
        rig.pass(HALF_CLOSE - Duration::from_nanos(1));
        assert_eq!(rig.down.closed, None);
        rig.pass(Duration::from_nanos(1));
        let expected = if upstream_first { Cause::Downstream } else { Cause::Upstream };
        assert_eq!(rig.down.closed, Some(CloseMode::Reset));
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::HalfCloseTimeout, expected));
    }
}

/// The simulator found this to be called a half-close timeout, of which the time had not come.
#[test]
fn idle_while_half_closed_is_idle_and_no_orderly_end() {
    let policy = policy();
    let idle = HALF_CLOSE / 2;
    let timeouts = Timeouts { idle: Some(idle), ..policy.timeouts };
    let (mut rig, mut client) = established(ListenerPolicy { timeouts, ..policy }, Client::new());
    rig.up.inbound_fin = true;
    client.run(&mut rig);
    rig.pass(idle);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    assert_eq!(rig.up.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::IdleTimeout, Cause::Policy));
}

#[test]
fn idle_ends_in_order_and_traffic_moves_the_deadline() {
    let (mut rig, mut client) = established(policy(), Client::new());
    rig.pass(IDLE - Duration::from_secs(1));
    client.write(b"alive");
    client.run(&mut rig);
    rig.pass(IDLE - Duration::from_nanos(1));
    assert!(!rig.down.shut);
    rig.pass(Duration::from_nanos(1));
    client.run(&mut rig);
    assert!(client.peer_closed, "told by close_notify");
    assert_eq!(rig.up.closed, Some(CloseMode::Fin));
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::IdleTimeout, Cause::Policy));
}

#[test]
fn idle_while_the_upstream_is_still_dialled_is_told_as_that() {
    let mut policy = after_handshake();
    policy.timeouts.connect = IDLE * 2;
    let (mut rig, mut client) = (Rig::new(policy), Client::new());
    client.run(&mut rig);
    assert_eq!(rig.dialled, [0]);
    rig.pass(IDLE);
    client.run(&mut rig);
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.stage), (Reason::IdleTimeout, Stage::Connecting));
}

#[test]
fn a_stalled_send_stops_the_other_side_at_the_high_water_mark() {
    let (mut rig, mut client) = established(policy(), Client::new());
    rig.up.inbound = pattern(4 << 20, 4);
    while rig.deliver(UP, usize::MAX) {}
    let taken = (4 << 20) - rig.up.inbound.len();
    assert!((256 << 10..=512 << 10).contains(&taken), "{taken} bytes buffered");
    assert!(rig.up.receiving.is_none());
    // Below low water it goes on.
    rig.sent(DOWN);
    while rig.up.receiving.is_none() {
        assert!(rig.sent(DOWN), "never resumed");
    }
    client.run(&mut rig);
    assert_eq!(client.received, pattern(4 << 20, 4));

    client.write(&pattern(4 << 20, 5));
    client.exchange(&mut rig);
    let before = rig.down.inbound.len();
    while rig.deliver(DOWN, usize::MAX) {}
    let taken = before - rig.down.inbound.len();
    assert!((256 << 10..=512 << 10).contains(&taken), "{taken} bytes buffered");
    client.run(&mut rig);
    assert_eq!(rig.up.outbound, pattern(4 << 20, 5));
}

#[test]
fn short_memory_lowers_the_water_and_does_not_stop_the_flow() {
    let (mut rig, mut client) = established(policy(), Client::new());
    let pool = Pool::new(BufClass::Bulk.capacity() * 4, 0);
    let held: Vec<_> = (0..3).map(|_| pool.take(BufClass::Bulk)).collect();
    rig.pool = pool;
    assert!(rig.pool.is_tight());
    rig.up.inbound = pattern(1 << 20, 6);
    while rig.deliver(UP, usize::MAX) {}
    assert!(rig.up.inbound.len() > 850 << 10, "reads ahead of a stalled send");
    client.run(&mut rig);
    assert_eq!(client.received, pattern(1 << 20, 6));
    drop(held);
}

/// Records of every connection may be incomplete at once; the memory they wait in is not what
/// receiving waits for, or nothing would ever complete them.
#[test]
fn an_incomplete_record_does_not_hold_a_receive_buffer() {
    let (mut rig, mut client) = established(policy(), Client::new());
    client.write(&pattern(16_000, 7));
    let records = client.records();
    rig.down.inbound = records[..10].to_vec();
    rig.settle();
    assert_eq!(rig.pool.bytes_in_use(), 0);
    rig.down.inbound = records[10..].to_vec();
    rig.settle();
    assert_eq!(rig.up.outbound, pattern(16_000, 7));
}

#[test]
fn key_updates_of_the_client() {
    let (mut rig, mut client) = established(policy(), Client::version(&rustls::version::TLS13));
    for round in 0..5_u8 {
        client.tls.refresh_traffic_keys().expect("TLS 1.3");
        client.write(&[round; 10]);
        client.run(&mut rig);
        rig.up.inbound = vec![round; 20];
        client.run(&mut rig);
    }
    assert_eq!(client.error, None);
    assert_eq!(rig.up.outbound.len(), 50);
    assert_eq!(client.received.len(), 100);
}

#[test]
fn many_small_records_in_one_buffer() {
    let (mut rig, mut client) = established(policy(), Client::new());
    let mut expected = Vec::new();
    for number in 0..500_u16 {
        client.write(&number.to_be_bytes());
        rig.down.inbound.extend(client.records());
        expected.extend(number.to_be_bytes());
    }
    rig.settle();
    assert_eq!(rig.up.outbound, expected);
}

#[test]
fn empty_records_are_taken_up_to_a_limit() {
    let (mut rig, mut client) = established(policy(), Client::version(&rustls::version::TLS12));
    client.write(b"before");
    client.run(&mut rig);
    // Empty plaintext of a type that TLS 1.2 does not allow to be empty ends the session.
    rig.down.inbound = vec![22, 3, 3, 0, 0];
    rig.settle();
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::ProtocolViolation, Cause::Downstream));
}

#[test]
fn stop_cuts_without_close_notify() {
    let (mut rig, mut client) = established(policy(), Client::new());
    rig.up.inbound = pattern(10_000, 8);
    rig.deliver(UP, usize::MAX);
    rig.input(Input::Stop(Reason::Drained));
    client.exchange(&mut rig);
    assert!(!client.peer_closed);
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.stage), (Reason::Drained, Stage::Relay));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_byte_arrives_once_and_in_order(
        writes in prop::collection::vec((any::<bool>(), 1..40_000_usize), 1..12),
        pieces in prop::collection::vec((0..5_u8, 1..20_000_usize), 1..200),
        tls12 in any::<bool>(),
        notify in any::<bool>(),
    ) {
        let version = if tls12 { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
        let (mut rig, mut client) = established(policy(), Client::version(version));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (number, (upward, len)) in writes.into_iter().enumerate() {
            let data = pattern(len, u8::try_from(number).expect("few"));
            if upward {
                client.write(&data);
                up.extend(data);
            } else {
                rig.up.inbound.extend_from_slice(&data);
                down.extend(data);
            }
        }
        client.exchange(&mut rig);
        for (what, len) in pieces {
            match what {
                0 => { rig.deliver(DOWN, len); }
                1 => { rig.deliver(UP, len); }
                2 => { rig.sent(DOWN); }
                3 => { rig.sent(UP); }
                _ => client.exchange(&mut rig),
            }
        }
        if notify {
            client.close();
        }
        client.exchange(&mut rig);
        (rig.up.inbound_fin, rig.down.inbound_fin) = (true, true);
        client.run(&mut rig);
        prop_assert_eq!(&client.error, &None);
        prop_assert!(client.peer_closed);
        prop_assert!(client.received == down, "downstream differs");
        prop_assert!(rig.up.outbound == up, "upstream differs");
        let outcome = rig.outcome();
        let expected = if notify { Reason::Finished } else { Reason::Truncated };
        prop_assert_eq!(outcome.reason, expected);
        prop_assert_eq!(outcome.bytes.received, up.len() as u64);
        prop_assert_eq!(outcome.bytes.sent, down.len() as u64);
    }
}

/// There may be a million of them, and most are idle.
#[test]
fn a_connection_is_small() {
    let size = size_of::<crate::conn::Connection>();
    assert!(size <= 512, "{size} bytes");
}
