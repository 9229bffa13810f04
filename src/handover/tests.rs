//! Both parts against each other, and the running process's part against programs that fail.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::channel::Channel;
use super::predecessor::{self, Ended};
use super::wire::{Message, PROTOCOL};
use super::*;
use crate::sandbox::Starter;

const LIMIT: Duration = Duration::from_secs(20);

fn listening() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn group(purpose: Purpose, address: &str, sockets: usize) -> (TcpListener, Group) {
    let listener = listening();
    let copy = |_| Arc::new(OwnedFd::from(listener.try_clone().expect("a descriptor")));
    let sockets = (0..sockets).map(copy).collect();
    (listener, Group { purpose, address: address.into(), sockets })
}

fn offer(groups: Vec<Group>, sessions: &[&[u8]]) -> Offer {
    let mut sessions: Vec<Opaque> = sessions.iter().rev().map(|piece| Opaque::new(piece)).collect();
    Offer {
        groups,
        ticket_keys: vec![Opaque::new(b"key 1"), Opaque::new(b"key 2")],
        sessions: Box::new(move || sessions.pop()),
    }
}

fn pair() -> (Channel, Channel) {
    let (ours, theirs) = Channel::pair().expect("a socket pair");
    (ours, Channel::new(theirs))
}

#[test]
fn everything_is_handed_over() {
    let (mut old, new) = pair();
    let (kept, many) = group(Purpose::Listener, "127.0.0.1:5061", 300);
    let (_, one) = group(Purpose::Admin, "127.0.0.1:9440", 1);
    let port = kept.local_addr().expect("bound");
    let offer = offer(vec![many, one], &[b"first", b"second"]);
    let successor = thread::spawn(move || {
        let mut predecessor = Predecessor::on(new);
        let given = predecessor.receive().expect("an offer");
        let mut sessions = Vec::new();
        predecessor.sessions(|piece| sessions.push(piece.to_vec())).expect("sessions");
        predecessor.ready(vec![0]).expect("it may serve");
        predecessor.serving();
        (given, sessions)
    });
    let taken = predecessor::converse(&mut old, offer).expect("it is ready");
    assert_eq!(taken, [0]);
    predecessor::let_serve(&mut old).expect("it serves");
    old.send(&Message::Released, &[]).expect("it waits for that");
    let (given, sessions) = successor.join().expect("no panic");
    assert_eq!(given.version, env!("CARGO_PKG_VERSION"));
    let facts: Vec<_> = given
        .groups
        .iter()
        .map(|group| (group.number, group.purpose, group.sockets.len(), group.address.as_slice()))
        .collect();
    let expected: [(_, _, _, &[u8]); 2] =
        [(0, Purpose::Listener, 300, b"127.0.0.1:5061"), (1, Purpose::Admin, 1, b"127.0.0.1:9440")];
    assert_eq!(facts, expected);
    for socket in &given.groups[0].sockets {
        let listener = TcpListener::from(socket.try_clone().expect("a descriptor"));
        assert_eq!(listener.local_addr().expect("bound"), port);
    }
    let keys: Vec<_> = given.ticket_keys.iter().map(Opaque::as_bytes).collect();
    assert_eq!(keys, [b"key 1", b"key 2"]);
    assert_eq!(sessions, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn the_reason_of_a_failure_arrives() {
    // Before it has read anything, and after.
    for reads in [false, true] {
        let (mut old, new) = pair();
        let (_, sockets) = group(Purpose::Listener, "127.0.0.1:5061", 1);
        let offer = offer(vec![sockets], &[]);
        let successor = thread::spawn(move || {
            let mut predecessor = Predecessor::on(new);
            if reads {
                predecessor.receive().expect("an offer");
            }
            assert!(predecessor.failed("line 3: no such key"));
        });
        let ended = predecessor::converse(&mut old, offer).expect_err("it failed");
        let Ended::Said(reason) = ended else { panic!("{ended:?}") };
        assert_eq!(reason, "line 3: no such key");
        successor.join().expect("no panic");
    }
}

#[test]
fn nobody_serves_without_leave() {
    let (mut old, new) = pair();
    let successor = thread::spawn(move || {
        let mut predecessor = Predecessor::on(new);
        predecessor.receive().expect("an offer");
        predecessor.sessions(|_| {}).expect("no sessions");
        predecessor.ready(Vec::new()).map_err(|error| error.kind())
    });
    predecessor::converse(&mut old, offer(Vec::new(), &[])).expect("it is ready");
    assert!(!successor.is_finished());
    drop(old);
    assert_eq!(successor.join().expect("no panic"), Err(ErrorKind::UnexpectedEof));
}

#[test]
fn another_protocol_is_refused_with_both_versions() {
    let (mut old, new) = pair();
    let hello = Message::Hello { protocol: PROTOCOL + 1, version: "9.9.9".to_owned() };
    old.send(&hello, &[]).expect("sent");
    let error = Predecessor::on(new).receive().expect_err("another protocol").to_string();
    assert!(error.contains("9.9.9") && error.contains("protocol 3, here 2"), "{error}");
}

#[test]
fn what_is_out_of_turn_or_too_much_is_refused() {
    let hello = || Message::Hello { protocol: PROTOCOL, version: String::new() };
    let keys = || Message::TicketKeys(Opaque::new(b"key"));
    let cases: [Vec<Message>; 4] = [
        vec![Message::Offered],
        vec![hello(), Message::Prepared],
        std::iter::once(hello()).chain((0..65).map(|_| keys())).collect(),
        vec![
            hello(),
            Message::Sockets {
                group: 0,
                purpose: Purpose::Listener,
                address: Vec::new(),
                count: 0,
            },
        ],
    ];
    for messages in cases {
        let (mut old, new) = pair();
        for message in &messages {
            old.send(message, &[]).expect("sent");
        }
        let error = Predecessor::on(new).receive().expect_err("out of turn");
        assert_eq!(error.kind(), ErrorKind::Other, "{messages:?}: {error}");
    }
}

#[test]
fn a_listener_has_a_limit_of_sockets() {
    let (mut old, new) = pair();
    let listener = listening();
    let reader =
        thread::spawn(move || Predecessor::on(new).receive().map_err(|error| error.kind()));
    let hello = Message::Hello { protocol: PROTOCOL, version: String::new() };
    old.send(&hello, &[]).expect("sent");
    let many = vec![listener.as_fd(); 253];
    let message = Message::Sockets {
        group: 0,
        purpose: Purpose::Listener,
        address: b"a".to_vec(),
        count: 253,
    };
    // It stops listening at the limit.
    while old.send(&message, &many).is_ok() {}
    assert_eq!(reader.join().expect("no panic").map(|_| ()), Err(ErrorKind::Other));
}

/// What becomes of a hand-over to `program`.
fn outcome(program: &str, arguments: &[&str], limit: Duration) -> Result<Successor, String> {
    let (sender, result) = channel();
    let (_, sockets) = group(Purpose::Listener, "127.0.0.1:5061", 1);
    let _hand_over = start(program, arguments, offer(vec![sockets], &[]), limit, sender);
    result.recv_timeout(LIMIT).expect("it is told")
}

fn start(
    program: &str,
    arguments: &[&str],
    offer: Offer,
    limit: Duration,
    done: std::sync::mpsc::Sender<Result<Successor, String>>,
) -> HandOver {
    let program = Program {
        path: PathBuf::from(program),
        arguments: arguments.iter().map(OsString::from).collect(),
    };
    let tell = move |result| done.send(result).expect("the test waits");
    let own = program.clone();
    let starter = Starter::on_a_thread(move |_kind, socket| spawn(&own, socket));
    HandOver::start((starter, program), offer, limit, tell).expect("a thread and a descriptor")
}

#[test]
fn programs_that_fail_are_told_apart() {
    let failure = |program, arguments: &[&str], limit| {
        outcome(program, arguments, limit).expect_err("it cannot take over")
    };
    let missing = failure("/nonexistent/tlsgate", &[], LIMIT);
    assert!(missing.contains("cannot start /nonexistent/tlsgate: No such file"), "{missing}");
    let forbidden = failure("/etc/passwd", &[], LIMIT);
    assert!(forbidden.contains("Permission denied"), "{forbidden}");
    let ends = failure("/bin/sh", &["-c", "exit 7"], LIMIT);
    assert_eq!(ends, "it ended (exit status: 7) before it was ready");
    let hangs = failure("/bin/sh", &["-c", "sleep 1000; true"], Duration::from_millis(300));
    assert_eq!(hangs, "it was not ready within 300ms");
}

#[test]
fn a_hand_over_can_be_given_up() {
    let (sender, result) = channel();
    let (_, sockets) = group(Purpose::Listener, "127.0.0.1:5061", 1);
    let offer = offer(vec![sockets], &[]);
    let hand_over = start("/bin/sh", &["-c", "sleep 1000; true"], offer, LIMIT, sender);
    assert!(hand_over.abort());
    drop(hand_over);
    let reason = result.try_recv().expect("it was told before that");
    assert_eq!(reason.map(|_| ()), Err("it was given up".to_owned()));
}
