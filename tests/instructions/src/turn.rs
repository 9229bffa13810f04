//! A shard of the product on an engine whose kernel is a few byte queues: what a turn of the event loop
//! costs, from the events to the operations that they lead to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tlsgate::admission::hello_budget::HelloBudget;
use tlsgate::buf::{Buf, BufClass, Layout, Pool};
use tlsgate::config::model::HandshakeLimits;
use tlsgate::config::model::Keepalive;
use tlsgate::engine::{
    Address, CloseMode, Engine, EngineStats, Event, ListenerId, Side, SocketId, Source, Wake,
};
use tlsgate::lane::Door;
use tlsgate::policy::Policy;
use tlsgate::shard::mailbox::{BoundId, mailbox};
use tlsgate::shard::{Parts, Shard};
use tlsgate::telemetry::ShardTelemetry;
use tlsgate::telemetry::aggregator::answer_channel;
use tlsgate::time::Time;

/// What peer and component see of the one connection.
#[derive(Default)]
pub(crate) struct Wire {
    /// To the gateway, not yet received.
    inbound: Vec<u8>,
    /// From the gateway, not yet looked at.
    outbound: Vec<u8>,
    receiving: Option<(BufClass, Layout)>,
    /// What the kernel has yet to say is sent.
    sending: Option<Buf>,
}

type Wires = Rc<RefCell<[Wire; 2]>>;

/// Sends at once, as a socket with room does, and tells of it in the next [`Engine::wait`].
pub(crate) struct Memory {
    wires: Wires,
    pool: Pool,
    events: VecDeque<Event<()>>,
    now: Cell<u64>,
}

/// A shard with one connection, and both ends of that.
pub(crate) struct Loop {
    shard: Shard<Memory>,
    wires: Wires,
}

impl Loop {
    /// A connection that was just accepted by the first listener of `policy`.
    pub(crate) fn new(policy: Arc<Policy>, memory: usize) -> Self {
        let wires = Wires::default();
        let engine = Memory {
            wires: Rc::clone(&wires),
            pool: Pool::new(memory, RETAINED),
            events: VecDeque::new(),
            now: Cell::new(0),
        };
        let names = policy.listeners.iter().map(|policy| Arc::clone(&policy.name)).collect();
        let (mailbox, _nobody_writes) = mailbox();
        let (answers, _nobody_asks) = answer_channel(1);
        let mut shard = Shard::new(Parts {
            id: 0,
            process: 0,
            engine,
            policy,
            capacity: 1,
            admitted: Arc::new(AtomicU32::new(0)),
            max_connections: 1,
            hellos: HelloBudget::new(1 << 20, 1 << 18),
            handshakes: HandshakeLimits {
                in_progress: 1,
                queue_timeout: Duration::from_secs(60),
                source_failures: None,
                legacy_in_progress: 1,
                legacy_rate: None,
            },
            telemetry: ShardTelemetry::new(0, names),
            answers,
            mailbox,
            door: Door::default(),
            on_finish: Box::new(|_| {}),
        });
        shard.listen(BoundId(0), (), 0).expect("there is room for one");
        Self { shard, wires }
    }

    pub(crate) fn turn(&mut self) {
        self.shard.turn().expect("this engine does not break");
    }

    pub(crate) fn says(&mut self, side: Side, bytes: &[u8]) {
        self.wires.borrow_mut()[side as usize].inbound.extend_from_slice(bytes);
    }

    pub(crate) fn hears(&mut self, side: Side) -> Vec<u8> {
        let outbound = &mut self.wires.borrow_mut()[side as usize].outbound;
        let heard = outbound.clone();
        // Its memory stays: a kernel's does not grow with each message.
        outbound.clear();
        heard
    }
}

impl Engine for Memory {
    type Listener = ();
    type Stream = ();

    fn now(&self) -> Time {
        self.now.set(self.now.get() + 1_000);
        Time::from_nanos(self.now.get())
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn listen(&mut self, listener: ListenerId, (): ()) -> io::Result<()> {
        let peer = Some(SocketAddr::from(([198, 51, 100, 7], 40_000)));
        self.events.push_back(Event::Accepted { listener, stream: (), peer });
        Ok(())
    }

    fn pause_accept(&mut self, _: ListenerId) {}

    fn resume_accept(&mut self, _: ListenerId) {}

    fn close_listener(&mut self, listener: ListenerId) {
        self.events.push_back(Event::ListenerClosed { listener });
    }

    fn adopt(&mut self, _: SocketId, (): ()) -> io::Result<()> {
        Ok(())
    }

    fn local_address(&self, _: SocketId) -> Option<SocketAddr> {
        None
    }

    fn connect(&mut self, socket: SocketId, _: &Address, _: Source) {
        self.events.push_back(Event::Connected { socket });
    }

    fn keep_alive(&mut self, _: SocketId, _: &Keepalive) {}

    fn receive(&mut self, socket: SocketId, class: BufClass, layout: Layout) {
        self.wires.borrow_mut()[socket.side as usize].receiving = Some((class, layout));
    }

    fn send(&mut self, socket: SocketId, buf: Buf) {
        let wire = &mut self.wires.borrow_mut()[socket.side as usize];
        buf.parts().for_each(|part| wire.outbound.extend_from_slice(part));
        wire.sending = Some(buf);
    }

    fn shutdown_write(&mut self, _: SocketId) {}

    fn close(&mut self, socket: SocketId, _: CloseMode) {
        self.events.push_back(Event::Closed { socket });
    }

    fn wait(&mut self, _: Option<Time>) -> io::Result<()> {
        let mut wires = self.wires.borrow_mut();
        for (side, wire) in Side::ALL.into_iter().zip(&mut *wires) {
            let socket = SocketId { slot: 0, side };
            if wire.sending.take().is_some() {
                self.events.push_back(Event::Sent { socket });
            }
            if let Some((class, layout)) = wire.receiving
                && !wire.inbound.is_empty()
            {
                wire.receiving = None;
                let length = wire.inbound.len().min(class.receive_max(layout));
                let mut buf = self.pool.take(class);
                buf.fill(layout, &wire.inbound[..length]);
                wire.inbound.drain(..length);
                self.events.push_back(Event::Received { socket, buf });
            }
        }
        Ok(())
    }

    fn next_event(&mut self) -> Option<Event<()>> {
        self.events.pop_front()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(Nobody)
    }

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}

/// Free buffers that are kept: more than are in use at once, as a shard's engine has them.
const RETAINED: usize = 64;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}
