//! Listeners.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use tlsgate::engine::epoll::EpollEngine;
use tlsgate::engine::socket::Listener;
use tlsgate::engine::uring::UringEngine;
use tlsgate::engine::{Engine, Event, ListenerId};

use crate::rig::{Kernel, Rig, down, uring_works};

pub(crate) fn accepts_and_names_the_peer<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let address = rig.listen(0);
    for slot in 0..5 {
        let peer = TcpStream::connect(address).unwrap();
        let (listener, stream, name) = rig.accepted();
        assert_eq!(listener, ListenerId(0));
        assert_eq!(name, Some(peer.local_addr().unwrap()));
        rig.engine.adopt(down(slot), stream).unwrap();
    }
}

pub(crate) fn accepts_on_unix_sockets<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    rig.engine.listen(ListenerId(3), Listener { socket: listener.into(), shared: false }).unwrap();
    let _peer = UnixStream::connect(&path).unwrap();
    let (listener, _stream, name) = rig.accepted();
    assert_eq!((listener, name), (ListenerId(3), None));
}

pub(crate) fn pauses_and_resumes<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let address = rig.listen(0);
    for _ in 0..3 {
        rig.engine.pause_accept(ListenerId(0));
        rig.quiet();
        let _waiting = TcpStream::connect(address).unwrap();
        let _waiting_too = TcpStream::connect(address).unwrap();
        rig.quiet();
        rig.engine.resume_accept(ListenerId(0));
        rig.accepted();
        rig.accepted();
        // To and fro without a turn between.
        rig.engine.pause_accept(ListenerId(0));
        rig.engine.resume_accept(ListenerId(0));
        let _third = TcpStream::connect(address).unwrap();
        rig.accepted();
        rig.quiet();
    }
}

fn serves_its_queue<E: Kernel>(paused: bool) {
    let mut rig = Rig::<E>::new();
    let address = rig.listen(0);
    if paused {
        rig.engine.pause_accept(ListenerId(0));
        rig.quiet();
    }
    let peers: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    rig.engine.close_listener(ListenerId(0));
    let mut names = Vec::new();
    let mut streams = Vec::new();
    loop {
        match rig.next() {
            Event::Accepted { stream, peer, .. } => {
                names.push(peer.unwrap());
                streams.push(stream);
            }
            Event::ListenerClosed { listener: ListenerId(0) } => break,
            event => panic!("unexpected {event:?}"),
        }
    }
    names.sort();
    let mut expected: Vec<_> = peers.iter().map(|peer| peer.local_addr().unwrap()).collect();
    expected.sort();
    assert_eq!(names, expected);
    rig.quiet();
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).expect_err("is closed");
}

pub(crate) fn a_closing_listener_serves_its_queue<E: Kernel>() {
    serves_its_queue::<E>(false);
}

pub(crate) fn a_paused_listener_that_closes_serves_its_queue<E: Kernel>() {
    serves_its_queue::<E>(true);
}

/// A parent process that keeps an inherited socket gives it to the next process.
pub(crate) fn a_listener_that_others_share_keeps_working_for_them<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    rig.engine
        .listen(ListenerId(0), Listener { socket: kept.try_clone().unwrap().into(), shared: true })
        .unwrap();
    rig.quiet();
    rig.engine.close_listener(ListenerId(0));
    let event = rig.next();
    assert!(matches!(event, Event::ListenerClosed { .. }), "{event:?}");
    let address = kept.local_addr().unwrap();
    let mut peer = TcpStream::connect_timeout(&address, Duration::from_secs(2)).unwrap();
    kept.set_nonblocking(false).unwrap();
    let (served, _) = kept.accept().unwrap();
    drop(served);
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
}

/// Two processes have the same socket, and one leaves it to the other.
pub(crate) fn a_listener_that_is_left_goes_on_elsewhere<E: Kernel>() {
    leaves_to::<E, EpollEngine>();
    if uring_works() {
        leaves_to::<E, UringEngine>();
    }
}

fn leaves_to<Old: Kernel, New: Kernel>() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = |socket: &TcpListener| {
        let socket = socket.try_clone().unwrap().into();
        Listener { socket, shared: false }
    };
    let (mut old, mut new) = (Rig::<Old>::new(), Rig::<New>::new());
    old.engine.listen(ListenerId(0), listener(&socket)).unwrap();
    new.engine.listen(ListenerId(0), listener(&socket)).unwrap();
    old.quiet();
    new.quiet();
    // Both are told of it, or one of them. Neither may wait for another connection.
    let _peer = TcpStream::connect(address).unwrap();
    let short = Duration::from_millis(100);
    let both = [old.next_within(short), new.next_within(short)];
    assert!(matches!(both, [Some(Event::Accepted { .. }), None] | [None, Some(_)]), "{both:?}");
    // In the queue when the old one leaves.
    let peers: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    old.engine.leave_listener(ListenerId(0));
    let mut by_old = 0;
    loop {
        match old.next() {
            Event::Accepted { .. } => by_old += 1,
            Event::ListenerClosed { listener: ListenerId(0) } => break,
            event => panic!("unexpected {event:?}"),
        }
    }
    for _ in by_old..peers.len() {
        new.accepted();
    }
    for _ in 0..20 {
        let _peer = TcpStream::connect(address).unwrap();
        new.accepted();
    }
    old.quiet();
}

pub(crate) fn many_listeners_at_once<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let addresses: Vec<_> = (0..4).map(|id| rig.listen(id)).collect();
    let peers: Vec<_> = (0..40).map(|n| TcpStream::connect(addresses[n % 4]).unwrap()).collect();
    let mut counts = [0; 4];
    for _ in &peers {
        let (listener, _, _) = rig.accepted();
        counts[usize::try_from(listener.0).unwrap()] += 1;
    }
    assert_eq!(counts, [10; 4]);
    rig.quiet();
}

/// Only where connections are accepted one by one can the order be chosen.
pub(crate) fn a_storm_on_one_listener_leaves_room_for_another<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let storm = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&storm).listen(1024).unwrap();
    let address = storm.local_addr().unwrap();
    let _storm: Vec<_> = (0..500).map(|_| TcpStream::connect(address).unwrap()).collect();
    rig.engine.listen(ListenerId(0), Listener { socket: storm.into(), shared: false }).unwrap();
    let _calm = TcpStream::connect(rig.listen(1)).unwrap();
    let accepted = (0..500).map(|_| rig.accepted().0);
    let before = accepted.take_while(|listener| *listener == ListenerId(0)).count();
    assert!(before <= 200, "{before} connections came first");
}
