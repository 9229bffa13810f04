//! A shard on its own thread, with each engine, between real clients and a real component.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::*;
use crate::conn::tests::judged::{self, Clock, TOO_EARLY, TOO_LATE};
use crate::conn::tests::rig::{Client, route, with};
use crate::engine::epoll::EpollEngine;
use crate::engine::socket::{Listener, Stream};
use crate::engine::uring::UringEngine;
use crate::engine::{Address, EngineLimits, Side};
use crate::telemetry::aggregator::answer_channel;
use crate::upstream::Group;

const PATIENCE: Duration = Duration::from_secs(20);
/// Well below any timeout of the policy.
const PROMPT: Duration = Duration::from_secs(5);
const LIMITS: EngineLimits = EngineLimits { connections: 500, buffer_memory: 16 << 20 };

/// A shard that runs.
struct Running {
    address: SocketAddr,
    mailbox: mailbox::Address<Listener>,
    finished: Receiver<Outcome>,
    /// Ends with the number of connections cut.
    thread: JoinHandle<u32>,
}

trait Kernel: Engine<Listener = Listener, Stream = Stream> + 'static + Sized {
    fn make() -> io::Result<Self>;
}

impl Kernel for EpollEngine {
    fn make() -> io::Result<Self> {
        Self::new(LIMITS)
    }
}

impl Kernel for UringEngine {
    fn make() -> io::Result<Self> {
        Self::new(LIMITS)
    }
}

/// Starts a shard that takes `max` connections on `listener`. `first` is in its mailbox before its
/// first turn.
fn start<E: Kernel>(listener: TcpListener, max: u32, first: Option<Command<Listener>>) -> Running {
    let address = listener.local_addr().expect("bound");
    let (mailbox, commands) = mailbox::mailbox();
    if let Some(first) = first {
        commands.try_send(first).expect("an empty mailbox");
    }
    let (ready, waker) = channel();
    let (report, finished) = channel();
    let upstream = component();
    let thread = thread::spawn(move || {
        let engine = E::make().expect("an engine");
        let waker = engine.waker();
        waker.wake();
        let on_finish = move |finished: Finished| {
            // The test may have seen enough.
            let _gone = report.send(*finished.outcome);
        };
        let mut shard = shard(engine, max, route(), upstream, mailbox, Box::new(on_finish));
        shard
            .listen(BoundId(0), Listener { socket: listener.into(), shared: false }, 0)
            .expect("can be watched");
        ready.send(waker).expect("the test waits");
        shard.run().expect("the engine works");
        shard.connections_cut()
    });
    let waker = waker.recv().expect("the shard starts");
    Running { address, mailbox: mailbox::Address::new(commands, waker), finished, thread }
}

fn shard<E: Kernel>(
    engine: E,
    max: u32,
    route: Route,
    upstream: SocketAddr,
    mailbox: Mailbox<Listener>,
    on_finish: OnFinish,
) -> Shard<E> {
    let upstreams = Group::plain("test", &[Address::Tcp(upstream)]);
    let policy = with(Route { upstreams, ..route });
    let name = Arc::clone(&policy.name);
    let (answers, _inbox) = answer_channel(1);
    Shard::new(Parts {
        id: 0,
        process: 0,
        engine,
        policy: Arc::new(Policy { generation: 1, listeners: vec![Arc::new(policy)] }),
        capacity: max,
        admitted: Arc::new(AtomicU32::new(0)),
        max_connections: max,
        hellos: HelloBudget::new(1 << 20, 1 << 20),
        handshakes: crate::config::model::HandshakeLimits {
            in_progress: 4096,
            queue_timeout: Duration::from_secs(2),
            source_failures: Some(100),
            legacy_in_progress: 256,
            legacy_rate: Some(200),
        },
        telemetry: ShardTelemetry::new(0, Arc::from([name])),
        answers,
        mailbox,
        door: crate::lane::Door::default(),
        on_finish,
    })
}

/// Sends back what it gets.
fn component() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepted");
            thread::spawn(move || {
                let mut back = stream.try_clone().expect("a descriptor");
                // Ends when either side is gone.
                let _end = io::copy(&mut stream, &mut back);
            });
        }
    });
    address
}

fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket2::SockRef::from(&listener).listen(1024).expect("a longer queue");
    listener
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn client(address: SocketAddr) -> Tls {
    let stream = TcpStream::connect(address).expect("queued at least");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    StreamOwned::new(Client::new().tls, stream)
}

fn echo(client: &mut Tls) -> io::Result<()> {
    client.write_all(b"ping")?;
    let mut answer = [0; 4];
    client.read_exact(&mut answer)?;
    assert_eq!(&answer, b"ping");
    Ok(())
}

impl Running {
    fn outcome(&self) -> Outcome {
        self.finished.recv_timeout(PATIENCE).expect("a connection ends")
    }

    /// The number of connections cut, and the outcomes that nobody has looked at.
    fn end(self, within: Duration) -> (u32, Vec<Outcome>) {
        let deadline = Instant::now() + within;
        while !self.thread.is_finished() {
            assert!(Instant::now() < deadline, "the shard does not end");
            thread::sleep(Duration::from_millis(5));
        }
        let cut = self.thread.join().expect("no panic");
        (cut, self.finished.try_iter().collect())
    }
}

fn a_full_shard_lets_peers_wait<E: Kernel>() {
    let running = start::<E>(listener(), 1, None);
    let mut first = client(running.address);
    echo(&mut first).expect("served");
    let mut waiting: Vec<_> = (0..5).map(|_| client(running.address)).collect();
    while !waiting.is_empty() {
        // Longer than a shard waits before it looks again whether there is room.
        for client in &mut waiting {
            assert_waits(client, Duration::from_millis(60));
        }
        echo(&mut first).expect("still served");
        drop(first);
        assert_eq!(running.outcome().reason, Reason::Truncated);
        // The queue is in order.
        first = waiting.remove(0);
        first.sock.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        echo(&mut first).expect("served when there is room");
    }
    assert!(running.mailbox.send(Command::Stop));
    running.end(PROMPT);
}

fn newcomers_go_in_a_few_a_turn<E: Kernel>() {
    const CLIENTS: usize = 3 * accept::NEWCOMERS + 1;
    let listener = listener();
    let address = listener.local_addr().expect("bound");
    let clients: Vec<_> = (0..CLIENTS).map(|_| client(address)).collect();
    let (mailbox, _commands) = mailbox::mailbox();
    let engine = E::make().expect("an engine");
    let mut shard = shard(engine, 100, route(), component(), mailbox, Box::new(|_| {}));
    let socket = Listener { socket: listener.into(), shared: false };
    shard.listen(BoundId(0), socket, 0).expect("can be watched");
    let mut inside = 0;
    while inside < CLIENTS {
        shard.turn().expect("the engine works");
        let came = shard.slots.len() - inside;
        assert!(came <= accept::NEWCOMERS, "{came} in one turn");
        inside += came;
    }
    drop(clients);
}

/// Neither served nor turned away.
fn assert_waits(client: &mut Tls, time: Duration) {
    client.sock.set_read_timeout(Some(time)).expect("a timeout");
    let error = echo(client).expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
}

/// A drain of a process that no other follows.
fn drain(patience: Duration) -> Command<Listener> {
    Command::Drain { patience, left: [].into() }
}

fn a_drain_waits_for_what_is_open<E: Kernel>() {
    let running = start::<E>(listener(), 10, None);
    let mut open = client(running.address);
    echo(&mut open).expect("served");
    assert!(running.mailbox.send(drain(PATIENCE)));
    let deadline = Instant::now() + PROMPT;
    while TcpStream::connect_timeout(&running.address, Duration::from_millis(100)).is_ok() {
        assert!(Instant::now() < deadline, "still listens");
    }
    echo(&mut open).expect("still served");
    assert!(!running.thread.is_finished());
    open.conn.send_close_notify();
    open.flush().expect("sent");
    assert_eq!(open.read(&mut [0; 8]).expect("in order"), 0);
    let (cut, outcomes) = running.end(PROMPT);
    assert_eq!(cut, 0);
    assert!(outcomes.iter().any(|outcome| outcome.reason == Reason::Finished), "{outcomes:?}");
}

fn a_drain_leaves_a_socket_to_whoever_has_it_too<E: Kernel>() {
    let socket = listener();
    let old = start::<E>(socket.try_clone().expect("a descriptor"), 10, None);
    let new = start::<E>(socket, 100, None);
    let mut open = client(old.address);
    echo(&mut open).expect("served by either");
    assert!(old.mailbox.send(Command::Drain { patience: PATIENCE, left: [BoundId(0)].into() }));
    for number in 0..20 {
        let mut client = client(new.address);
        echo(&mut client).unwrap_or_else(|error| panic!("number {number}: {error}"));
    }
    open.conn.send_close_notify();
    open.flush().expect("sent");
    old.end(PROMPT);
    echo(&mut client(new.address)).expect("served by the new one");
    assert!(new.mailbox.send(drain(PATIENCE)));
    new.end(PROMPT);
}

fn a_drain_cuts_what_stays<E: Kernel>() {
    let running = start::<E>(listener(), 10, None);
    let mut open: Vec<_> = (0..3).map(|_| client(running.address)).collect();
    open.iter_mut().for_each(|client| echo(client).expect("served"));
    assert!(running.mailbox.send(drain(Duration::from_millis(100))));
    let (cut, outcomes) = running.end(PROMPT);
    assert_eq!(cut, 3);
    let reasons: Vec<_> = outcomes.iter().map(|outcome| outcome.reason).collect();
    assert_eq!(reasons, [Reason::Drained; 3]);
    for client in &mut open {
        let error = client.read(&mut [0; 8]).expect_err("no close_notify");
        assert!([ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()));
    }
}

fn a_stop_ends_what_is_open<E: Kernel>() {
    let running = start::<E>(listener(), 10, None);
    let mut open = client(running.address);
    echo(&mut open).expect("served");
    let _in_handshake = TcpStream::connect(running.address).expect("queued");
    assert!(running.mailbox.send(drain(PATIENCE)));
    assert!(running.mailbox.send(Command::Stop));
    let (cut, outcomes) = running.end(PROMPT);
    assert_eq!((cut, outcomes.len()), (0, 2));
    assert!(outcomes.iter().all(|outcome| outcome.reason == Reason::Stopped), "{outcomes:?}");
}

/// Closing a listener accepts what waits there, and that is after everything open was stopped.
fn what_waits_when_the_stop_comes_ends_too<E: Kernel>(command: Command<Listener>, reason: Reason) {
    let listener = listener();
    let address = listener.local_addr().expect("bound");
    let peers: Vec<_> = (0..100).map(|_| TcpStream::connect(address).expect("queued")).collect();
    let running = start::<E>(listener, 200, Some(command));
    let (cut, outcomes) = running.end(PROMPT);
    assert_eq!(outcomes.len(), peers.len());
    assert!(outcomes.iter().all(|outcome| outcome.reason == reason));
    assert_eq!(cut as usize, if reason == Reason::Drained { peers.len() } else { 0 });
}

fn a_stop_with_a_full_queue<E: Kernel>() {
    what_waits_when_the_stop_comes_ends_too::<E>(Command::Stop, Reason::Stopped);
}

fn a_drain_without_patience_with_a_full_queue<E: Kernel>() {
    what_waits_when_the_stop_comes_ends_too::<E>(drain(Duration::ZERO), Reason::Drained);
}

/// The component is good when it has shaken hands, and is not when the client has: because all are
/// judged by something new meanwhile, or by the time alone.
fn what_goes_bad_during_a_handshake_is_found_after_it<E: Kernel>() {
    for (all_are_judged, time) in [(true, TOO_EARLY), (false, TOO_LATE)] {
        let (clock, listener) = (Clock::new(), listener());
        let (address, upstream) = (listener.local_addr().expect("bound"), tls_component());
        let (report, finished) = channel();
        let on_finish = move |finished: Finished| {
            report.send(finished.outcome.reason).expect("the test waits");
        };
        let (mailbox, _commands) = mailbox::mailbox();
        let engine = E::make().expect("an engine");
        let route = judged::bridge(&clock);
        let mut shard = shard(engine, 1, route, upstream, mailbox, Box::new(on_finish));
        shard
            .listen(BoundId(0), Listener { socket: listener.into(), shared: false }, 0)
            .expect("can be watched");
        let mut client = client(address);
        client.sock.set_read_timeout(Some(PROMPT)).expect("a timeout");
        client.conn.write_tls(&mut client.sock).expect("a ClientHello");
        let is_ready =
            |(_, entry): (_, &Entry)| entry.connection.side_facts(Side::Upstream).is_some();
        while !shard.slots.iter().any(is_ready) {
            shard.turn().expect("the engine works");
        }
        clock.set(time);
        if all_are_judged {
            shard.revalidate_all();
            shard.revalidate_some();
        }
        let client = thread::spawn(move || {
            while client.conn.is_handshaking() {
                client.conn.complete_io(&mut client.sock).expect("is let in");
            }
            client.read(&mut [0; 8]).expect_err("is closed");
        });
        let reason = loop {
            shard.turn().expect("the engine works");
            if let Ok(reason) = finished.try_recv() {
                break reason;
            }
        };
        assert_eq!(reason, Reason::UpstreamNoLongerTrusted, "{time}");
        client.join().expect("as it should");
    }
}

/// Shakes hands with one, and says nothing.
fn tls_component() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let tls = ServerConnection::new(judged::component()).expect("usable");
        let _gone = StreamOwned::new(tls, stream).read(&mut [0; 8]);
    });
    address
}

macro_rules! each_engine {
    ($($case:ident)*) => {
        mod epoll {
            $(#[test] fn $case() { super::$case::<super::EpollEngine>(); })*
        }
        mod uring {
            $(#[test] fn $case() {
                if let Err(error) = <super::UringEngine as super::Kernel>::make() {
                    eprintln!("NOT TESTED: io_uring cannot be used here: {error}");
                    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"));
                    return;
                }
                super::$case::<super::UringEngine>();
            })*
        }
    };
}

each_engine! {
    a_full_shard_lets_peers_wait
    newcomers_go_in_a_few_a_turn
    a_drain_waits_for_what_is_open
    a_drain_leaves_a_socket_to_whoever_has_it_too
    a_drain_cuts_what_stays
    a_stop_ends_what_is_open
    a_stop_with_a_full_queue
    a_drain_without_patience_with_a_full_queue
    what_goes_bad_during_a_handshake_is_found_after_it
}
