//! Sockets that are settled: an engine may receive ahead, and nobody may notice.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use tlsgate::buf::{BufClass, Layout};
use tlsgate::engine::{CloseMode, Engine, Event, Operation};

use crate::rig::{Kernel, Peer, Rig, down, pattern, reset, up};

const KINDS: [bool; 2] = [false, true];

pub(crate) fn messages_come_in_order<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        rig.engine.settle(down(0));
        for number in 0..200_u32 {
            rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
            if number % 3 == 0 {
                // The receive waits before the bytes come.
                rig.engine.wait(Some(rig.engine.now())).unwrap();
            }
            peer.write_all(&number.to_be_bytes()).unwrap();
            assert_eq!(rig.received(down(0)), number.to_be_bytes());
            if number % 7 == 0 {
                let buf = rig.buf(b"answer");
                rig.engine.send(down(0), buf);
                rig.sent(down(0));
                let mut answer = [0; 6];
                peer.read_exact(&mut answer).unwrap();
            }
        }
        // Many at a time, of which one is asked for after the other.
        for number in 0..100_u8 {
            peer.write_all(&[number]).unwrap();
            rig.engine.wait(Some(rig.engine.now())).unwrap();
        }
        let all = rig.receive_all(down(0), BufClass::Message, 100);
        assert_eq!(all, (0..100).collect::<Vec<u8>>());
    }
}

pub(crate) fn nothing_is_handed_out_that_was_not_asked_for<E: Kernel>() {
    const LEN: usize = 8 << 20;
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        rig.engine.settle(down(0));
        peer.write_all(b"first").unwrap();
        assert_eq!(rig.receive_all(down(0), BufClass::Message, 5), b"first");
        let before = rig.engine.pool().bytes_in_use();
        let sender = thread::spawn(move || {
            peer.write_all(&pattern(LEN)).unwrap();
            peer
        });
        rig.quiet();
        rig.quiet();
        let held = rig.engine.pool().bytes_in_use() - before;
        assert!(held < LEN / 8, "{held} bytes of buffers for what nobody asked for");
        assert!(!sender.is_finished(), "not asking is backpressure");
        assert!(rig.receive_all(down(0), BufClass::Message, LEN) == pattern(LEN));
        sender.join().unwrap();
    }
}

pub(crate) fn classes_change_in_the_middle<E: Kernel>() {
    const LEN: usize = 6 << 20;
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        rig.engine.settle(down(0));
        let sender = thread::spawn(move || {
            let mut rest = &pattern(LEN)[..];
            for len in [1, 100, 5_000, 60_000, 200_000].into_iter().cycle() {
                let (part, after) = rest.split_at(len.min(rest.len()));
                peer.write_all(part).unwrap();
                rest = after;
                if rest.is_empty() {
                    return peer;
                }
                if len == 100 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            unreachable!("a cycle has no end")
        });
        let mut all = Vec::new();
        for number in 0_usize.. {
            let class = BufClass::ALL[usize::from(number % 11 > 5)];
            let layout = [Layout::Contiguous, Layout::Spaced][usize::from(number % 3 == 0)];
            rig.engine.receive(down(0), class, layout);
            all.extend(rig.received(down(0)));
            if all.len() == LEN {
                break;
            }
        }
        assert!(all == pattern(LEN));
        let peer = sender.join().unwrap();
        rig.engine.receive(down(0), BufClass::Bulk, Layout::Spaced);
        rig.quiet();
        peer.fin();
        rig.end(down(0));
    }
}

pub(crate) fn ends_wait_until_they_are_asked_for<E: Kernel>() {
    for is_reset in [false, true] {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.tcp(down(0));
        rig.engine.settle(down(0));
        for _ in 0..2 {
            peer.write_all(b"words").unwrap();
            assert_eq!(rig.receive_all(down(0), BufClass::Message, 5), b"words");
        }
        if is_reset {
            reset(peer);
        } else {
            peer.write_all(b"last").unwrap();
            peer.fin();
        }
        rig.quiet();
        rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
        match rig.next() {
            Event::Failed { operation: Operation::Receive, .. } if is_reset => {}
            Event::Received { buf, .. } if !is_reset => {
                assert_eq!(buf.to_vec(), b"last");
                rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
                rig.end(down(0));
            }
            event => panic!("{event:?}, reset {is_reset}"),
        }
    }
}

pub(crate) fn a_settled_socket_can_close<E: Kernel>() {
    for (asks, early) in [(true, false), (false, false), (false, true)] {
        let mut rig = Rig::<E>::new();
        for slot in 0..3 {
            let mut peer = rig.tcp(down(slot));
            let other = rig.tcp(up(slot));
            rig.engine.settle(down(slot));
            rig.engine.settle(up(slot));
            for _ in 0..2 {
                peer.write_all(b"words").unwrap();
                assert_eq!(rig.receive_all(down(slot), BufClass::Message, 5), b"words");
            }
            if early {
                peer.write_all(b"more").unwrap();
                rig.quiet();
            }
            if asks {
                rig.engine.receive(down(slot), BufClass::Message, Layout::Contiguous);
            }
            rig.engine.close(down(slot), CloseMode::Reset);
            rig.closed(down(slot));
            rig.engine.close(up(slot), CloseMode::Fin);
            rig.closed(up(slot));
            rig.quiet();
            drop((peer, other));
        }
        // The same socket id has nothing of what was before.
        let mut peer = rig.tcp(down(0));
        rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
        rig.quiet();
        peer.write_all(b"new").unwrap();
        assert_eq!(rig.received(down(0)), b"new");
    }
}

pub(crate) fn settled_sockets_starve_and_go_on<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    // Some of it is left to the engine.
    let pool = rig.engine.pool().clone();
    let mut held: Vec<_> = std::iter::from_fn(|| pool.try_take(BufClass::Message)).collect();
    const SOCKETS: u32 = 12;
    let mut peers: Vec<_> = (0..SOCKETS)
        .map(|slot| {
            let peer = rig.tcp(down(slot));
            rig.engine.settle(down(slot));
            rig.engine.receive(down(slot), BufClass::Message, Layout::Contiguous);
            peer
        })
        .collect();
    let mut expected = Vec::new();
    for round in 0..400_u32 {
        if round == 200 {
            held.clear();
        }
        for peer in &mut peers {
            peer.write_all(&round.to_be_bytes()).unwrap();
        }
        expected.extend(round.to_be_bytes());
    }
    let mut got: Vec<Vec<u8>> = vec![Vec::new(); peers.len()];
    while got.iter().any(|got| got.len() < expected.len()) {
        match rig.next() {
            Event::Received { socket, buf } => {
                got[socket.slot as usize].extend(buf.to_vec());
                rig.engine.receive(socket, BufClass::Message, Layout::Contiguous);
            }
            event => panic!("{event:?} instead of Received"),
        }
    }
    assert!(got.iter().all(|got| *got == expected));
}
