//! The child's loop over real sockets, on both engines, with TLS that is a toy.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::engine::EngineLimits;
use crate::engine::epoll::EpollEngine;
use crate::engine::uring::UringEngine;
use crate::lane::channel::Door;
use crate::lane::frame::{Frame, FrameReader, Part};
use crate::lane::toy::{CLOSE, GREETING, Toys};
use crate::lane::{Profile, Unpassed};
use crate::sys::packets;

/// A child that runs, and the gateway's end of its channel.
struct Running {
    door: Door,
    profile: Arc<Profile>,
    channel: Option<Arc<OwnedFd>>,
    thread: JoinHandle<io::Result<()>>,
}

/// A connection in the child: the peer's end, and the shard's.
struct Connection {
    peer: TcpStream,
    shard: UnixStream,
}

fn read_toys(description: &[u8]) -> io::Result<Arc<dyn Sessions>> {
    if description == b"toys" { Ok(Arc::new(Toys)) } else { Err(invalid_data("no toys")) }
}

impl Running {
    fn start(uring: bool, links: u32, handshakes: u32) -> Self {
        let (ours, theirs) = packets::pair(4).expect("a socket pair");
        let (sender, orders) = sync_channel(QUEUE);
        let reader = Reader { channel: theirs, orders: sender, read: read_toys };
        let limits = Limits { links, handshakes, buffer_memory: 16 << 20 };
        let child = Child { limits, orders, reader: Some(reader) };
        let size = EngineLimits { connections: links, buffer_memory: 16 << 20 };
        let thread = thread::spawn(move || match uring {
            true => child.run(UringEngine::new(size).expect("probed")),
            false => child.run(EpollEngine::new(size).expect("descriptors")),
        });
        assert_eq!(receive(&ours).expect("a message").0, Message::Ready);
        let door = Door::default();
        let profile = door.profile(Zeroizing::new(b"toys".to_vec()));
        let channel = Arc::new(ours);
        door.open(&channel).expect("there is room");
        Self { door, profile, channel: Some(channel), thread }
    }

    /// A connection that is passed, with the shard's first frame.
    fn pass(&self, first: &Frame) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (socket, _) = listener.accept().expect("it is there");
        let (ours, theirs) = self.door.pair().expect("descriptors");
        self.door.pass(&self.profile, &socket.into(), &theirs).expect("there is room");
        let mut shard = UnixStream::from(ours);
        peer.set_read_timeout(Some(PATIENCE)).expect("a limit");
        shard.set_read_timeout(Some(PATIENCE)).expect("a limit");
        shard.write_all(&first.encode()).expect("sent");
        Connection { peer, shard }
    }

    fn end(mut self) {
        self.door.close();
        self.channel = None;
        self.thread.join().expect("no panic").expect("the engine works");
    }
}

impl Connection {
    /// The next frame that is not of data.
    fn frame(&mut self, reader: &mut FrameReader) -> Frame {
        loop {
            let mut byte = [0; 1];
            self.shard.read_exact(&mut byte).expect("a frame");
            if let Some(Part::Frame(frame)) = reader.next(&mut &byte[..]).expect("frames") {
                return frame;
            }
        }
    }

    fn establish(&mut self) -> FrameReader {
        let mut reader = FrameReader::default();
        self.peer.write_all(&[GREETING]).expect("sent");
        assert!(matches!(self.frame(&mut reader), Frame::Established(_)));
        reader
    }
}

fn hello() -> Frame {
    Frame::Hello { hello: b"hello".to_vec(), rest: Vec::new() }
}

/// Both engines, as far as this machine has them.
fn engines() -> Vec<bool> {
    let size = EngineLimits { connections: 1, buffer_memory: 16 << 20 };
    if UringEngine::new(size).is_ok() { vec![false, true] } else { vec![false] }
}

#[test]
fn connections_are_served_and_the_child_ends_with_its_channel() {
    for uring in engines() {
        let child = Running::start(uring, 4, 4);
        let mut connection = child.pass(&hello());
        let mut reader = connection.establish();
        let much: Vec<u8> = (0..300_000_u32).map(|at| at.to_be_bytes()[3] % 0xf0).collect();
        let writer = thread::spawn({
            let (mut peer, much) = (connection.peer.try_clone().expect("a handle"), much.clone());
            move || peer.write_all(&[much, vec![CLOSE]].concat()).map(|()| peer)
        });
        let mut heard = Vec::new();
        let mut buf = [0; 5000];
        'all: loop {
            let count = match connection.shard.read(&mut buf) {
                // Another test's signal, or work of its ring.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                count => count.expect("frames"),
            };
            let mut bytes = &buf[..count];
            while let Some(part) = reader.next(&mut bytes).expect("frames") {
                match part {
                    Part::Data(data) => heard.extend_from_slice(data),
                    Part::Frame(Frame::CloseNotify) => break 'all,
                    Part::Frame(other) => panic!("{other:?}"),
                }
            }
        }
        assert!(heard == much);
        writer.join().expect("no panic").expect("sent");
        let end = [Frame::CloseNotify.encode(), Frame::Fin.encode()].concat();
        connection.shard.write_all(&end).expect("sent");
        drop(connection.shard);
        let mut rest = Vec::new();
        connection.peer.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(rest, [b"hello".to_vec(), vec![CLOSE]].concat());
        drop(connection.peer);
        child.end();
    }
}

#[test]
fn what_is_too_much_is_refused_and_counted_out_again() {
    for uring in engines() {
        let child = Running::start(uring, 3, 2);
        let mut reader = FrameReader::default();
        let busy = |connection: &mut Connection| {
            let frame = connection.frame(&mut FrameReader::default());
            assert!(matches!(frame, Frame::Failed(failed) if failed.reason == "legacy_busy"));
            let mut alert = Vec::new();
            connection.peer.read_to_end(&mut alert).expect("an orderly end");
            assert_eq!(alert[0], 21, "an alert");
        };
        // Handshakes.
        let mut first = child.pass(&hello());
        let mut second = child.pass(&hello());
        busy(&mut child.pass(&hello()));
        // Connections.
        first.establish();
        second.establish();
        let mut third = child.pass(&hello());
        third.establish();
        busy(&mut child.pass(&hello()));
        // One that ends makes room.
        drop(first.shard);
        let gone = first.peer.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert_eq!(gone.map(|_| ()), Err(ErrorKind::ConnectionReset));
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let mut again = child.pass(&hello());
            again.peer.write_all(&[GREETING]).expect("sent");
            match again.frame(&mut reader) {
                Frame::Established(_) => break,
                _ => assert!(std::time::Instant::now() < end, "no room again"),
            }
        }
        drop((second, third));
        child.end();
    }
}

#[test]
fn a_profile_that_was_retired_takes_nobody() {
    for uring in engines() {
        let child = Running::start(uring, 2, 2);
        let channel = child.channel.as_ref().expect("it runs");
        send(channel, &Message::Retire(child.profile.id())).expect("there is room");
        let mut connection = child.pass(&hello());
        // Which one depends on whether the hello was there already.
        let ended = connection.shard.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert!(matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)), "{ended:?}");
        child.end();
    }
}

#[test]
fn a_profile_that_makes_no_sense_ends_the_child_with_a_reason() {
    let child = Running::start(false, 2, 2);
    let wrong = child.door.profile(Zeroizing::new(b"no".to_vec()));
    child.door.update().expect("there is room");
    let channel = child.channel.as_ref().expect("it runs");
    let said = receive(channel).expect("a message").0;
    assert_eq!(said, Message::Failed("no toys".to_owned()));
    drop(wrong);
    let Running { door, profile, channel, thread } = child;
    thread.join().expect("no panic").expect("the engine works");
    drop(channel);
    let pair = door.pair().expect("nobody has noticed yet");
    let socket = OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let end = std::time::Instant::now() + PATIENCE;
    // The thread that reads the channel lets go of it a moment later.
    while door.pass(&profile, &socket, &pair.1) != Err(Unpassed::Down) {
        assert!(std::time::Instant::now() < end, "somebody still listens");
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
