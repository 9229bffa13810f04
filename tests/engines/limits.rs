//! Short memory, time, other threads, many sockets.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tlsgate::buf::{Buf, BufClass, Layout};
use tlsgate::engine::{CloseMode, Engine, EngineLimits, Event};

use crate::rig::{Kernel, Rig, down};

/// The smallest `buffer_memory` that the configuration takes.
const TIGHT: EngineLimits = EngineLimits { connections: 400, buffer_memory: 1 << 20 };

/// As many sockets as memory holds no buffers for, all with bytes to receive. Returns the buffers
/// of those that got one.
fn starve<E: Kernel>(
    rig: &mut Rig<E>,
    class: BufClass,
    count: u32,
) -> (Vec<std::net::TcpStream>, Vec<Buf>) {
    let mut peers: Vec<_> = (0..count).map(|slot| rig.tcp(down(slot))).collect();
    for (slot, peer) in (0..).zip(&mut peers) {
        rig.engine.receive(down(slot), class, Layout::Contiguous);
        peer.write_all(&[1; 100]).unwrap();
    }
    let mut held = Vec::new();
    while let Some(event) = rig.next_within(Duration::from_millis(200)) {
        match event {
            Event::Received { buf, .. } => held.push(buf),
            event => panic!("unexpected {event:?}"),
        }
    }
    assert!(!held.is_empty() && held.len() < peers.len(), "{} of {}", held.len(), peers.len());
    assert!(rig.engine.stats().starvations > 0);
    // More bytes for who is starved must not make it spin, either.
    let turns = rig.engine.stats().turns;
    peers.iter_mut().for_each(|peer| peer.write_all(&[2; 10]).unwrap());
    let rest = rig.next_within(Duration::from_millis(300));
    assert!(rest.is_none(), "{rest:?}");
    let turns = rig.engine.stats().turns - turns;
    assert!(turns < u64::from(count), "{turns} turns without memory");
    (peers, held)
}

pub(crate) fn starved_receives_complete_when_buffers_come_back<E: Kernel>() {
    let mut rig = Rig::<E>::with(TIGHT);
    let (peers, mut held) = starve(&mut rig, BufClass::Message, 300);
    let mut received = held.len();
    // One buffer back is one receive that can complete.
    drop(held.pop());
    held.push(match rig.next() {
        Event::Received { buf, .. } => buf,
        event => panic!("unexpected {event:?}"),
    });
    received += 1;
    drop(held);
    while received < peers.len() {
        assert!(matches!(rig.next(), Event::Received { .. }));
        received += 1;
    }
    rig.quiet();
}

pub(crate) fn bulk_is_not_starved_by_messages<E: Kernel>() {
    let mut rig = Rig::<E>::with(TIGHT);
    let (peers, held) = starve(&mut rig, BufClass::Bulk, 40);
    let mut received = held.len();
    drop(held);
    while received < peers.len() {
        assert!(matches!(rig.next(), Event::Received { .. }));
        received += 1;
    }
    rig.quiet();
}

pub(crate) fn a_starved_socket_can_close<E: Kernel>() {
    let mut rig = Rig::<E>::with(TIGHT);
    let (peers, held) = starve(&mut rig, BufClass::Bulk, 40);
    for slot in (0..).take(peers.len()) {
        rig.engine.close(down(slot), CloseMode::Reset);
    }
    for _ in &peers {
        assert!(matches!(rig.next(), Event::Closed { .. }));
    }
    drop(held);
    rig.quiet();
}

pub(crate) fn a_waker_ends_a_wait<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    for _ in 0..3 {
        let waker = rig.engine.waker();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            waker.wake();
        });
        rig.engine.wait(None).unwrap();
        assert!(matches!(rig.engine.next_event(), Some(Event::Woken)));
        thread.join().unwrap();
    }
    // Before the wait, from the same thread, and more than once.
    rig.engine.waker().wake();
    rig.engine.waker().wake();
    rig.engine.wait(None).unwrap();
    assert!(matches!(rig.engine.next_event(), Some(Event::Woken)));
    while rig.next_within(Duration::from_millis(50)).is_some() {}
    rig.quiet();
}

pub(crate) fn a_deadline_ends_a_wait<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let _peer = rig.tcp(down(0));
    rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
    for millis in [0, 1, 20, 150] {
        let (start, time) = (Instant::now(), Duration::from_millis(millis));
        let deadline = rig.engine.now() + time;
        while rig.engine.now() < deadline {
            rig.engine.wait(Some(deadline)).unwrap();
            assert!(rig.engine.next_event().is_none());
        }
        let took = start.elapsed();
        assert!(took >= time && took < time + Duration::from_secs(2), "{took:?} for {time:?}");
    }
    // A deadline that has passed does not wait.
    let start = Instant::now();
    rig.engine.wait(Some(tlsgate::time::Time::ZERO)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
}

pub(crate) fn thousands_of_sockets<E: Kernel>() {
    const COUNT: u32 = 3000;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(20_000, |maximum| maximum.min(20_000));
    assert!(wanted > 3 * u64::from(COUNT), "needs {COUNT} pairs of descriptors");
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).unwrap();
    let limits = EngineLimits { connections: COUNT, buffer_memory: 16 << 20 };
    let mut rig = Rig::<E>::with(limits);
    let mut peers: Vec<_> = (0..COUNT).map(|slot| rig.tcp(down(slot))).collect();
    for (slot, peer) in (0..COUNT).zip(&mut peers) {
        rig.engine.receive(down(slot), BufClass::Message, Layout::Contiguous);
        peer.write_all(&slot.to_be_bytes()).unwrap();
    }
    let (mut echoed, mut closed) = (0, 0);
    while closed < COUNT {
        match rig.next() {
            Event::Received { socket, buf } => {
                assert_eq!(buf.first(), socket.slot.to_be_bytes());
                rig.engine.send(socket, buf);
            }
            Event::Sent { socket } => {
                echoed += 1;
                rig.engine.close(socket, CloseMode::Fin);
            }
            Event::Closed { .. } => closed += 1,
            event => panic!("unexpected {event:?}"),
        }
    }
    assert_eq!(echoed, COUNT);
    for (slot, peer) in (0..COUNT).zip(&mut peers) {
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, slot.to_be_bytes());
    }
}
