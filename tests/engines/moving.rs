//! Bytes, ends and failures.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use tlsgate::buf::{BufClass, Layout};
use tlsgate::engine::{Address, Event, Operation};

use crate::rig::{Kernel, OPTIONS, Peer, Rig, down, pattern, reset, up};

const KINDS: [bool; 2] = [false, true];

pub(crate) fn receives_what_was_there_before_and_comes_after<E: Kernel>() {
    for unix in KINDS {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.any(down(0), unix);
        for _ in 0..3 {
            peer.write_all(b"before").unwrap();
            rig.quiet();
            rig.engine.receive(down(0), BufClass::Message);
            assert_eq!(rig.received(down(0)), b"before");
            rig.engine.receive(down(0), BufClass::Message);
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
                rig.engine.receive(down(0), class);
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

pub(crate) fn end_behind_data<E: Kernel>() {
    for unix in KINDS {
        for len in [1, 4095, 4096, 4097, 10_000] {
            let mut rig = Rig::<E>::new();
            let mut peer = rig.any(down(0), unix);
            peer.write_all(&pattern(len)).unwrap();
            peer.fin();
            assert_eq!(rig.receive_all(down(0), BufClass::Message, len), pattern(len));
            rig.engine.receive(down(0), BufClass::Message);
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
        rig.engine.receive(down(0), BufClass::Bulk);
        assert_eq!(rig.received(down(0)), b"short");
        rig.engine.receive(down(0), BufClass::Bulk);
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
            rig.engine.receive(down(0), BufClass::Message);
            rig.quiet();
        }
        reset(peer);
        if !armed {
            rig.quiet();
            rig.engine.receive(down(0), BufClass::Message);
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
        rig.engine.receive(down(0), BufClass::Bulk);
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
                    rig.engine.receive(down(0), BufClass::Bulk);
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
        rig.engine.receive(down(0), BufClass::Message);
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
    rig.engine.connect(up(0), &to, &OPTIONS);
    rig.connected(up(0));
    let (mut peer, _) = listener.accept().unwrap();
    let buf = rig.buf(b"question");
    rig.engine.send(up(0), buf);
    rig.sent(up(0));
    let mut question = [0; 8];
    peer.read_exact(&mut question).unwrap();
    rig.engine.receive(up(0), BufClass::Message);
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
    rig.engine.connect(up(0), &to, &OPTIONS);
    rig.engine.wait(Some(rig.engine.now())).unwrap();
    server.join().unwrap();
    rig.connected(up(0));
    rig.engine.receive(up(0), BufClass::Message);
    assert_eq!(rig.received(up(0)), b"busy");
    rig.engine.receive(up(0), BufClass::Message);
    rig.end(up(0));
}

fn refused<E: Kernel>(to: &Address) -> ErrorKind {
    let mut rig = Rig::<E>::new();
    rig.engine.connect(up(0), to, &OPTIONS);
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
    rig.engine.connect(up(0), &Address::Unix(path.clone()), &OPTIONS);
    rig.connected(up(0));
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"hello").unwrap();
    peer.fin();
    rig.engine.receive(up(0), BufClass::Message);
    assert_eq!(rig.received(up(0)), b"hello");
    rig.engine.receive(up(0), BufClass::Message);
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
