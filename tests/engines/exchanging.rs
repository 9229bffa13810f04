//! Sockets that go to another process, and that come from one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use tlsgate::buf::{BufClass, Layout};
use tlsgate::engine::{CloseMode, Engine};

use crate::rig::{Kernel, Rig, down, pattern};

/// Two ends; the first is for the engine.
fn pair() -> (OwnedFd, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (near.into(), far)
}

/// What another process does with a socket that it was passed.
fn elsewhere(socket: OwnedFd) -> TcpStream {
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false).unwrap();
    stream
}

pub(crate) fn another_socket_takes_the_place_of_one<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let mut peer = rig.tcp(down(0));
    peer.write_all(b"first").unwrap();
    rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
    assert_eq!(rig.received(down(0)), b"first");
    peer.write_all(b"not received here").unwrap();
    rig.quiet();

    let (near, mut far) = pair();
    far.write_all(b"was there").unwrap();
    let mut old = elsewhere(rig.engine.exchange(down(0), near).unwrap());
    let mut rest = [0; 17];
    old.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"not received here");
    // Nothing of the old socket is seen under the id any more.
    peer.write_all(b"still not received here").unwrap();
    drop(peer);
    rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
    assert_eq!(rig.received(down(0)), b"was there");
    rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
    rig.quiet();
    far.write_all(b"came later").unwrap();
    assert_eq!(rig.received(down(0)), b"came later");
    let buf = rig.buf(b"answer");
    rig.engine.send(down(0), buf);
    rig.sent(down(0));
    let mut answer = [0; 6];
    far.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
    far.shutdown(std::net::Shutdown::Write).unwrap();
    rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
    rig.end(down(0));
    rig.engine.close(down(0), CloseMode::Fin);
    rig.closed(down(0));
    assert_eq!(far.read(&mut answer).unwrap(), 0);
    let mut rest = Vec::new();
    old.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"still not received here");
}

pub(crate) fn an_exchange_can_be_undone<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let mut peer = rig.tcp(down(0));
    let (near, mut far) = pair();
    peer.write_all(b"before").unwrap();
    rig.quiet();
    let old = rig.engine.exchange(down(0), near).unwrap();
    let near = rig.engine.exchange(down(0), old).unwrap();
    drop(near);
    assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
    rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
    assert_eq!(rig.received(down(0)), b"before");
    let buf = rig.buf(b"after");
    rig.engine.send(down(0), buf);
    rig.sent(down(0));
    let mut after = [0; 5];
    peer.read_exact(&mut after).unwrap();
    assert_eq!(&after, b"after");
    rig.engine.close(down(0), CloseMode::Reset);
    rig.closed(down(0));
}

/// Whatever mode it comes in: another engine may have left it non-blocking or not.
pub(crate) fn a_socket_from_elsewhere_is_taken_over<E: Kernel>() {
    for nonblocking in [false, true] {
        let mut rig = Rig::<E>::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (passed, _) = listener.accept().unwrap();
        passed.set_nonblocking(nonblocking).unwrap();
        peer.write_all(b"was there").unwrap();
        rig.engine.take_over(down(0), passed.into()).unwrap();
        rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
        assert_eq!(rig.received(down(0)), b"was there");
        rig.engine.receive(down(0), BufClass::Message, Layout::Contiguous);
        rig.quiet();
        // More than both sockets hold, so that the engine has to wait for the peer.
        let data = pattern(BufClass::Bulk.plaintext_max());
        let reader = std::thread::spawn({
            let mut peer = peer.try_clone().unwrap();
            move || {
                let mut all = vec![0; 200 * BufClass::Bulk.plaintext_max()];
                std::thread::sleep(std::time::Duration::from_millis(50));
                peer.read_exact(&mut all).unwrap();
                all
            }
        });
        for _ in 0..200 {
            let buf = rig.buf(&data);
            rig.engine.send(down(0), buf);
            rig.sent(down(0));
        }
        let all = reader.join().unwrap();
        assert!(all.chunks(data.len()).all(|chunk| chunk == data));
        peer.write_all(b"came later").unwrap();
        assert_eq!(rig.received(down(0)), b"came later");
        rig.engine.close(down(0), CloseMode::Reset);
        rig.closed(down(0));
    }
}
