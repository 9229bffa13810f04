//! Bytes, ends and failures.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use tlsgate::buf::{BufClass, HEADROOM, Layout, MAX_RANGES, RECORD_PLAINTEXT, TAILROOM};
use tlsgate::config::model::Keepalive;
use tlsgate::engine::{Address, Engine, Event, Operation, Source};

use crate::rig::{Kernel, Peer, Rig, down, pattern, reset, up};

const KINDS: [bool; 2] = [false, true];

pub(crate) fn receives_what_was_there_before_and_comes_after<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        for _ in 0..3 {
            peer.write_all(b"before").unwrap();
            rig.quiet();
            rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
            assert_eq!(rig.received(down(0)), b"before");
            rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
            rig.quiet();
            peer.write_all(b"after").unwrap();
            assert_eq!(rig.received(down(0)), b"after");
        }
    }
}

pub(crate) fn receives_up_to_what_the_class_holds<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        let data = pattern(100_000);
        for class in BufClass::ALL {
            let max = class.receive_max(Layout::Contiguous);
            // From a thread, because the socket may hold less.
            let sender = thread::spawn({
                let data = data.clone();
                move || {
                    peer.write_all(&data).unwrap();
                    peer
                }
            });
            let mut all = Vec::new();
            while all.len() < data.len() {
                rig.engine.receive(down(0), class, Layout::Contiguous);
                let buf = rig.received_buf(down(0));
                assert_eq!(buf.class(), class);
                assert!(buf.len() <= max);
                all.extend(buf.to_vec());
            }
            assert!(all == data);
            peer = sender.join().unwrap();
        }
    }
}

/// Each part is a record with room around it, however the bytes come.
pub(crate) fn plaintext_is_received_in_parts_with_room<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        for len in [1, 4096, 16_384, 16_385, 131_072, 3_000_000] {
            let data = pattern(len);
            let sender = thread::spawn({
                let data = data.clone();
                move || {
                    peer.write_all(&data).unwrap();
                    peer
                }
            });
            let mut all = Vec::new();
            let mut most = 0;
            while all.len() < len {
                let class = if all.len() < 4096 { BufClass::Message } else { BufClass::Bulk };
                rig.engine.receive(down(0), class, Layout::Spaced);
                let buf = rig.received_buf(down(0));
                assert!(buf.parts().all(|part| part.len() <= RECORD_PLAINTEXT));
                for index in 0..buf.count() {
                    let (before, after) = buf.room(index);
                    assert!(before >= HEADROOM && after >= TAILROOM);
                }
                most = most.max(buf.count());
                all.extend(buf.to_vec());
            }
            assert!(all == data);
            peer = sender.join().unwrap();
            if !unix && len == 3_000_000 {
                assert!(most > 1, "bulk comes in several parts");
            }
        }
        // Nothing is there now, and what comes later is not lost.
        rig.engine.receive(down(0), BufClass::Bulk, Layout::Spaced);
        rig.quiet();
        peer.write_all(b"late").unwrap();
        assert_eq!(rig.received(down(0)), b"late");
        rig.engine.receive(down(0), BufClass::Bulk, Layout::Spaced);
        peer.fin();
        rig.end(down(0));
    }
}

/// What a socket says of itself while a receive in parts may be under way.
pub(crate) fn ends_come_through_in_every_layout<E: Kernel>() {
    for (len, is_reset) in [(131_072, false), (131_073, false), (200_000, true)] {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.tcp(down(0));
        peer.write_all(&pattern(len)).unwrap();
        rig.quiet();
        rig.engine.receive(down(0), BufClass::Message, Layout::Spaced);
        let mut all = rig.received(down(0));
        if is_reset {
            rig.engine.receive(down(0), BufClass::Bulk, Layout::Spaced);
            rig.received(down(0));
            reset(peer);
            rig.quiet();
            // What came before may still be there.
            let error = loop {
                rig.engine.receive(down(0), BufClass::Bulk, Layout::Spaced);
                match rig.next() {
                    Event::Received { .. } => {}
                    Event::Failed { operation: Operation::Receive, error, .. } => break error,
                    event => panic!("{event:?} instead of Failed"),
                }
            };
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        } else {
            drop(peer);
            while all.len() < len {
                rig.engine.receive(down(0), BufClass::Bulk, Layout::Spaced);
                all.extend(rig.received(down(0)));
            }
            assert!(all == pattern(len));
            rig.engine.receive(down(0), BufClass::Bulk, Layout::Spaced);
            rig.end(down(0));
        }
    }
}

/// A buffer goes out range by range, also when the socket takes a part of one.
pub(crate) fn sends_a_buffer_in_many_ranges<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        let data = pattern(BufClass::Bulk.plaintext_max());
        let ranges =
            || (0..MAX_RANGES).map(|number| number * 1000..number * 1000 + 1 + number * 11);
        const TIMES: usize = 400;
        let reader = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        });
        for _ in 0..TIMES {
            let mut buf = rig.engine.pool().take(BufClass::Bulk);
            buf.memory_mut()[..data.len()].copy_from_slice(&data);
            ranges().for_each(|range| buf.push_range(range));
            assert_eq!(buf.count(), MAX_RANGES);
            rig.engine.send(down(0), buf);
            rig.sent(down(0));
        }
        rig.engine.shutdown_write(down(0));
        let expected: Vec<u8> = ranges().flat_map(|range| data[range].to_vec()).collect();
        let all = reader.join().unwrap();
        assert_eq!(all.len(), TIMES * expected.len());
        assert!(all.chunks(expected.len()).all(|one| one == expected));
    }
}

pub(crate) fn end_behind_data<E: Kernel>() {
    for unix in KINDS {
        for len in [1, 4095, 4096, 4097, 10_000] {
            let mut rig = Rig::<E>::new();
            let mut peer = rig.any(down(0), unix);
            peer.write_all(&pattern(len)).unwrap();
            peer.fin();
            assert_eq!(rig.receive_all(down(0), BufClass::Message, len), pattern(len));
            rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
            rig.end(down(0));
            // The other way is still open.
            let buf = rig.buf(b"answer");
            rig.engine.send(down(0), buf);
            rig.sent(down(0));
            let mut answer = [0; 6];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"answer");
        }
    }
}

pub(crate) fn end_after_a_receive_was_armed<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        peer.write_all(b"short").unwrap();
        rig.engine.receive(down(0), BufClass::Bulk, Layout::Contiguous);
        assert_eq!(rig.received(down(0)), b"short");
        rig.engine.receive(down(0), BufClass::Bulk, Layout::Contiguous);
        rig.quiet();
        drop(peer);
        rig.end(down(0));
    }
}

pub(crate) fn reset_fails_the_receive<E: Kernel>() {
    for armed in [false, true] {
        let mut rig = Rig::<E>::new();
        let peer = rig.tcp(down(0));
        if armed {
            rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
            rig.quiet();
        }
        reset(peer);
        if !armed {
            rig.quiet();
            rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
        }
        match rig.next() {
            Event::Failed { socket, operation: Operation::Receive, error } if socket == down(0) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            }
            event => panic!("{event:?} instead of Failed"),
        }
    }
}

pub(crate) fn reset_fails_the_send<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        if unix {
            drop(rig.unix(down(0)));
        } else {
            reset(rig.tcp(down(0)));
            rig.quiet();
        }
        let buf = rig.buf(b"to nobody");
        rig.engine.send(down(0), buf);
        match rig.next() {
            Event::Failed { socket, operation: Operation::Send, error } if socket == down(0) => {
                let expected = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                assert!(expected.contains(&error.kind()), "{error}");
            }
            event => panic!("{event:?} instead of Failed"),
        }
        rig.quiet();
    }
}

pub(crate) fn no_receive_is_backpressure<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        let (done, is_done) = std::sync::mpsc::channel();
        const LEN: usize = 32 << 20;
        let sender = thread::spawn(move || {
            peer.write_all(&vec![5; LEN]).unwrap();
            done.send(()).unwrap();
            peer
        });
        rig.quiet();
        is_done.recv_timeout(Duration::from_millis(200)).expect_err("the kernel holds it all");
        assert!(rig.receive_all(down(0), BufClass::Bulk, LEN).iter().all(|byte| *byte == 5));
        sender.join().unwrap();
    }
}

pub(crate) fn sends_more_than_the_socket_holds<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        let part = pattern(BufClass::Bulk.plaintext_max());
        const PARTS: usize = 160;
        let reader = thread::spawn(move || {
            // Nothing for a while, so that every buffer on the way fills.
            thread::sleep(Duration::from_millis(200));
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        });
        for _ in 0..PARTS {
            let buf = rig.buf(&part);
            rig.engine.send(down(0), buf);
            rig.sent(down(0));
        }
        rig.quiet();
        rig.engine.shutdown_write(down(0));
        let all = reader.join().unwrap();
        assert_eq!(all.len(), PARTS * part.len());
        assert!(all.chunks(part.len()).all(|chunk| chunk == part));
    }
}

pub(crate) fn both_ways_at_once<E: Kernel>() {
    let data = pattern(20 << 20);
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        // The peer sends back what it gets, some of it at a time.
        let echo = thread::spawn(move || {
            let mut buffer = vec![0; 100_000];
            loop {
                match peer.read(&mut buffer).unwrap() {
                    0 => return,
                    len => peer.write_all(&buffer[..len]).unwrap(),
                }
            }
        });
        let mut parts = data.chunks(BufClass::Bulk.plaintext_max());
        let mut back = Vec::new();
        let first = rig.buf(parts.next().unwrap());
        rig.engine.send(down(0), first);
        rig.engine.receive(down(0), BufClass::Bulk, Layout::Contiguous);
        while back.len() < data.len() {
            match rig.next() {
                Event::Sent { .. } => {
                    if let Some(part) = parts.next() {
                        let buf = rig.buf(part);
                        rig.engine.send(down(0), buf);
                    }
                }
                Event::Received { buf, .. } => {
                    back.extend(buf.to_vec());
                    drop(buf);
                    rig.engine.receive(down(0), BufClass::Bulk, Layout::Contiguous);
                }
                event => panic!("unexpected {event:?}"),
            }
        }
        assert!(back == data);
        rig.engine.shutdown_write(down(0));
        rig.end(down(0));
        echo.join().unwrap();
    }
}

pub(crate) fn shutdown_leaves_receiving<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
        rig.quiet();
        rig.engine.shutdown_write(down(0));
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        peer.write_all(b"still here").unwrap();
        assert_eq!(rig.received(down(0)), b"still here");
    }
}

pub(crate) fn connects_and_relays<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Address::Tcp(listener.local_addr().unwrap());
    rig.engine.connect(up(0), &to, Source::Any);
    rig.connected(up(0));
    let (mut peer, _) = listener.accept().unwrap();
    let buf = rig.buf(b"question");
    rig.engine.send(up(0), buf);
    rig.sent(up(0));
    let mut question = [0; 8];
    peer.read_exact(&mut question).unwrap();
    rig.engine.receive(up(0), BufClass::Message, Layout::Contiguous);
    rig.quiet();
    peer.write_all(b"answer").unwrap();
    assert_eq!(rig.received(up(0)), b"answer");
}

pub(crate) fn data_and_end_right_after_connecting<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Address::Tcp(listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"busy").unwrap();
    });
    rig.engine.connect(up(0), &to, Source::Any);
    rig.engine.wait(Some(rig.engine.now())).unwrap();
    server.join().unwrap();
    rig.connected(up(0));
    rig.engine.receive(up(0), BufClass::Message, Layout::Contiguous);
    assert_eq!(rig.received(up(0)), b"busy");
    rig.engine.receive(up(0), BufClass::Message, Layout::Contiguous);
    rig.end(up(0));
}

pub(crate) fn a_dialled_socket_that_lasts_is_kept_alive<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    rig.engine.connect(up(0), &Address::Tcp(to), Source::Any);
    rig.connected(up(0));
    let (_peer, from) = listener.accept().unwrap();
    assert_eq!(timer(from, to), "00", "none");
    let keepalive = Keepalive {
        idle: Some(Duration::from_secs(60)),
        interval: Duration::from_secs(10),
        probes: 6,
        user_timeout: Duration::from_secs(90),
    };
    rig.engine.keep_alive(up(0), &keepalive);
    assert_eq!(timer(from, to), "02", "that of keepalive");
}

/// Which timer the kernel has for a connection over IPv4 (proc_net_tcp in its documentation).
fn timer(from: SocketAddr, to: SocketAddr) -> String {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = [from, to].map(|end| format!(":{:04X}", end.port()));
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut of_both = fields.filter(|f| f[1].ends_with(&ends[0]) && f[2].ends_with(&ends[1]));
    of_both.next().expect("it is connected")[5][..2].to_owned()
}

fn refused<E: Kernel>(to: &Address) -> ErrorKind {
    let mut rig = Rig::<E>::new();
    rig.engine.connect(up(0), to, Source::Any);
    let kind = match rig.next() {
        Event::Failed { socket, operation: Operation::Connect, error } if socket == up(0) => {
            error.kind()
        }
        event => panic!("{event:?} instead of Failed"),
    };
    rig.engine.close(up(0), tlsgate::engine::CloseMode::Reset);
    rig.closed(up(0));
    rig.quiet();
    kind
}

pub(crate) fn connect_refused<E: Kernel>() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Address::Tcp(listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(refused::<E>(&to), ErrorKind::ConnectionRefused);
}

pub(crate) fn connect_to_unix_sockets<E: Kernel>() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    assert_eq!(refused::<E>(&Address::Unix(path.clone())), ErrorKind::NotFound);
    let listener = UnixListener::bind(&path).unwrap();
    let mut rig = Rig::<E>::new();
    rig.engine.connect(up(0), &Address::Unix(path.clone()), Source::Any);
    rig.connected(up(0));
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"hello").unwrap();
    peer.fin();
    rig.engine.receive(up(0), BufClass::Message, Layout::Contiguous);
    assert_eq!(rig.received(up(0)), b"hello");
    rig.engine.receive(up(0), BufClass::Message, Layout::Contiguous);
    rig.end(up(0));
    drop((rig, listener));
    assert_eq!(refused::<E>(&Address::Unix(path)), ErrorKind::ConnectionRefused);
    let long = Address::Unix("/".repeat(200).into());
    assert_eq!(refused::<E>(&long), ErrorKind::InvalidInput);
}

/// A receive stops at the mark of urgent data, though more is there.
pub(crate) fn urgent_data_does_not_hold_up_the_rest<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let mut peer = rig.tcp(down(0));
    peer.write_all(b"before").unwrap();
    socket2::SockRef::from(&peer).send_out_of_band(b"!").unwrap();
    peer.write_all(b"after").unwrap();
    rig.quiet();
    assert_eq!(rig.receive_all(down(0), BufClass::Message, 11), b"beforeafter");
}
