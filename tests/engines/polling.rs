//! Latency for CPU time: what a submitting thread and busy polling do instead of system calls.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tlsgate::buf::{BufClass, Layout};
use tlsgate::engine::uring::{Polling, Submitter, UringEngine};
use tlsgate::engine::{CloseMode, Engine};

use crate::rig::{LIMITS, Rig, down, uring_works};

const ROUND_TRIPS: u64 = 100;
/// Longer than anything here takes, on a machine with other work.
const LONG: Duration = Duration::from_secs(10);

/// A peer that answers, and system calls for all its round trips.
fn system_calls(polling: Polling) -> u64 {
    let engine = UringEngine::polling(LIMITS, polling).unwrap();
    let mut rig = Rig::<UringEngine> { engine };
    let mut peer = rig.unix(down(0));
    rig.engine.settle(down(0));
    let before = rig.engine.stats().system_calls;
    std::thread::scope(|scope| {
        scope.spawn(|| answer(&mut peer));
        for number in 0..ROUND_TRIPS {
            let message = number.to_be_bytes();
            rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
            rig.engine.send(down(0), rig.buf(&message));
            rig.sent(down(0));
            assert_eq!(rig.received(down(0)), message);
        }
        let calls = rig.engine.stats().system_calls - before;
        rig.engine.close(down(0), CloseMode::Fin);
        rig.closed(down(0));
        calls
    })
}

fn answer(peer: &mut UnixStream) {
    let mut message = [0; 8];
    while peer.read_exact(&mut message).is_ok() {
        peer.write_all(&message).unwrap();
    }
}

#[test]
fn a_submitting_thread_takes_system_calls_away() {
    if !uring_works() {
        return;
    }
    let usual = system_calls(Polling::default());
    let busy = system_calls(Polling { submitter: None, busy: LONG });
    let submitter = Some(Submitter { cpu: None, idle: LONG });
    let waiting = system_calls(Polling { submitter, busy: Duration::ZERO });
    let both = system_calls(Polling { submitter, busy: LONG });
    println!(
        "{ROUND_TRIPS} round trips: {usual} calls, {busy} busy, {waiting} with a submitter, {both} with both"
    );
    assert!(usual >= ROUND_TRIPS, "{usual}");
    // The first submission may meet a thread that has not begun.
    assert!(both <= 5, "{both}");
    assert!(waiting <= 2 * ROUND_TRIPS + 5, "{waiting}");
}

#[test]
fn a_submitting_thread_that_sleeps_is_woken() {
    if !uring_works() {
        return;
    }
    let idle = Duration::from_millis(1);
    let submitter = Some(Submitter { cpu: None, idle });
    let engine = UringEngine::polling(LIMITS, Polling { submitter, busy: Duration::ZERO }).unwrap();
    let mut rig = Rig::<UringEngine> { engine };
    let mut peer = rig.unix(down(0));
    for pause in 0..30_u8 {
        // Around the moment at which it falls asleep, and later.
        std::thread::sleep(idle * u32::from(pause % 10) / 2);
        rig.engine.send(down(0), rig.buf(&[pause]));
        rig.sent(down(0));
        let mut got = [0];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got, [pause]);
    }
}

#[test]
fn looking_for_work_counts_as_no_work() {
    if !uring_works() {
        return;
    }
    let busy = Duration::from_millis(100);
    let engine = UringEngine::polling(LIMITS, Polling { submitter: None, busy }).unwrap();
    let mut rig = Rig::<UringEngine> { engine };
    let Some(before) = rig.engine.effort() else { return };
    let until = rig.engine.now() + 3 * busy;
    while rig.engine.now() < until {
        rig.engine.wait(Some(rig.engine.now() + busy)).unwrap();
    }
    let ran = rig.engine.effort().unwrap().ran.saturating_sub(before.ran);
    assert!(ran < busy, "{ran:?} of {:?}", 3 * busy);
}
