//! Sockets that go.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tlsgate::buf::{BufClass, Layout};
use tlsgate::engine::{Address, CloseMode, Engine, Event, Source};

use crate::rig::{Kernel, LIMITS, Rig, down, pattern, up};

/// Starts sends until one does not complete.
fn stall<E: Kernel>(rig: &mut Rig<E>) {
    loop {
        let buf = rig.buf(&pattern(BufClass::Bulk.plaintext_max()));
        rig.engine.send(down(0), buf);
        match rig.next_within(Duration::from_millis(100)) {
            Some(Event::Sent { .. }) => {}
            Some(event) => panic!("unexpected {event:?}"),
            None => return,
        }
    }
}

pub(crate) fn closed_is_the_last_event<E: Kernel>() {
    for mode in [CloseMode::Fin, CloseMode::Reset] {
        let mut rig = Rig::<E>::new();
        let mut peer = rig.tcp(down(0));
        rig.engine.receive(down(0), BufClass::Bulk, Layout::Contiguous);
        stall(&mut rig);
        // Completions that are on their way when the close comes.
        peer.write_all(b"too late").unwrap();
        let mut some = vec![0; 100_000];
        peer.read_exact(&mut some).unwrap();
        rig.engine.close(down(0), mode);
        rig.closed(down(0));
        rig.quiet();
        assert_eq!(rig.buffers_in_use(), 0, "a buffer was kept");
    }
}

impl<E: Kernel> Rig<E> {
    /// Bytes of buffers that the engine does not hold ready by itself.
    fn buffers_in_use(&mut self) -> usize {
        // A turn gives what is free to the kernel again, as in a fresh engine.
        let now = self.engine.now();
        self.engine.wait(Some(now)).unwrap();
        let fresh = E::make(LIMITS).unwrap();
        self.engine.pool().bytes_in_use() - fresh.pool().bytes_in_use()
    }
}

pub(crate) fn closing_while_connecting<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    // A full accept queue answers no SYN.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&listener).listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _first = TcpStream::connect(address).unwrap();
    rig.engine.connect(up(0), &Address::Tcp(address), Source::Any);
    rig.engine.connect(up(1), &Address::Tcp(address), Source::Any);
    while let Some(event) = rig.next_within(Duration::from_millis(100)) {
        assert!(matches!(event, Event::Connected { .. }), "{event:?}");
    }
    rig.engine.close(up(1), CloseMode::Reset);
    rig.closed(up(1));
    rig.engine.close(up(0), CloseMode::Reset);
    rig.closed(up(0));
    rig.quiet();
}

pub(crate) fn closing_right_after_a_failed_connect<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    for path in ["/".repeat(200), "/nonexistent/socket".to_owned()] {
        rig.engine.connect(up(0), &Address::Unix(path.into()), Source::Any);
        rig.engine.close(up(0), CloseMode::Reset);
        rig.closed(up(0));
        rig.quiet();
    }
}

pub(crate) fn reset_and_fin_look_different<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let mut peer = rig.tcp(down(0));
    let buf = rig.buf(b"bye");
    rig.engine.send(down(0), buf);
    rig.sent(down(0));
    rig.engine.close(down(0), CloseMode::Fin);
    rig.closed(down(0));
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");

    let mut peer = rig.tcp(down(0));
    rig.engine.close(down(0), CloseMode::Reset);
    rig.closed(down(0));
    assert_eq!(peer.read(&mut all).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

pub(crate) fn an_id_is_free_after_closed<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    for round in 0..100_u8 {
        let mut peer = rig.tcp(down(0));
        rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
        peer.write_all(&[round]).unwrap();
        if round % 3 != 0 {
            assert_eq!(rig.received(down(0)), [round]);
            rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
            peer.write_all(b"never received").unwrap();
        }
        let buf = rig.buf(&[round; 100]);
        rig.engine.send(down(0), buf);
        rig.engine.close(down(0), CloseMode::Fin);
        rig.closed(down(0));
    }
    rig.quiet();
}

pub(crate) fn streams_that_nobody_adopts_are_reset<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let address = rig.listen(0);
    let mut peer = TcpStream::connect(address).unwrap();
    drop(rig.accepted());
    assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

pub(crate) fn descriptors_come_back<E: Kernel>() {
    let before = descriptors();
    let mut rig = Rig::<E>::new();
    let empty = descriptors();
    for mode in [CloseMode::Fin, CloseMode::Reset] {
        let peer = rig.tcp(down(0));
        rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
        rig.engine.connect(up(0), &Address::Tcp(peer.local_addr().unwrap()), Source::Any);
        while !matches!(rig.next(), Event::Failed { .. }) {}
        stall(&mut rig);
        rig.engine.close(down(0), mode);
        rig.engine.close(up(0), mode);
        for _ in 0..2 {
            assert!(matches!(rig.next(), Event::Closed { .. }));
        }
        drop(peer);
        assert_eq!(descriptors(), empty);
    }
    // What is open or on its way when the engine goes.
    let address = rig.listen(0);
    let _peer = rig.tcp(down(0));
    rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
    let _waiting: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    let now = rig.engine.now();
    rig.engine.wait(Some(now)).unwrap();
    drop((rig, _peer, _waiting));
    assert_eq!(descriptors(), before);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
