//! A connection on a kernel made of byte queues: every completion is asked for, in any order.
//!
//! It holds the connection to the engine's contract: one receive and one send at a time, on sockets
//! that are open, nothing after the last action, exactly one outcome, and nothing kept.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tlsgate::admission::hello_budget::HelloBudget;
use tlsgate::buf::{Buf, BufClass, Layout, Pool};
use tlsgate::conn::outcome::Outcome;
use tlsgate::conn::{Action, Connection, Context, Input};
use tlsgate::engine::{Operation, Side};
use tlsgate::policy::Policy;
use tlsgate::telemetry::ShardTelemetry;
use tlsgate::time::Time;
use tlsgate::upstream::Upstreams;

/// Actions that one input may lead to; the most seen are far fewer.
const MAX_ACTIONS: usize = 100;

/// Buffers that one connection may hold: for each side 256 KiB that wait, what one receive makes
/// of them on top, what is being sent, and the rounding up to whole buffers.
const MAX_HELD: usize = 1024 * 1024;

/// The kernel's idea of one socket.
#[derive(Default)]
pub struct Socket {
    open: bool,
    dialling: bool,
    closing: bool,
    receiving: Option<(BufClass, Layout)>,
    sending: Option<Buf>,
    /// FIN went out.
    shut: bool,
    /// From the peer, not yet received.
    pub inbound: Vec<u8>,
    /// The peer's FIN is behind `inbound`.
    pub inbound_fin: bool,
    /// What the peer got and has not looked at.
    pub outbound: Vec<u8>,
}

/// See the module.
pub struct Kernel {
    connection: Connection,
    now: Time,
    pool: Pool,
    hellos: HelloBudget,
    upstreams: Upstreams,
    telemetry: ShardTelemetry,
    downstream: Socket,
    upstream: Socket,
    finished: Option<Box<Outcome>>,
}

impl Kernel {
    /// A connection accepted by the listener of `world` at this position, with `memory` bytes of buffers.
    pub fn new(world: &Policy, listener: usize, memory: usize) -> Self {
        let policy = Arc::clone(&world.listeners[listener]);
        let now = Time::from_nanos(1_000_000_000);
        let peer = Some(([198, 51, 100, 7], 40_000).into());
        let names = world.listeners.iter().map(|policy| Arc::clone(&policy.name)).collect();
        let mut kernel = Self {
            connection: Connection::new(policy, peer, now),
            now,
            pool: Pool::new(memory, 4),
            hellos: HelloBudget::new(1 << 20, 1 << 18),
            upstreams: Upstreams::new(world.groups(), 0),
            telemetry: ShardTelemetry::new(0, names),
            downstream: Socket { open: true, ..Socket::default() },
            upstream: Socket::default(),
            finished: None,
        };
        kernel.input(Input::Accepted);
        kernel
    }

    pub fn socket(&mut self, side: Side) -> &mut Socket {
        match side {
            Side::Downstream => &mut self.downstream,
            Side::Upstream => &mut self.upstream,
        }
    }

    pub fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// One input and all the actions it leads to. Nothing after the end.
    pub fn input(&mut self, input: Input) {
        if self.is_finished() {
            return;
        }
        let mut context = Context {
            now: self.now,
            pool: &self.pool,
            upstreams: &mut self.upstreams,
            hellos: &mut self.hellos,
            telemetry: &mut self.telemetry,
        };
        self.connection.handle(input, &mut context);
        while self.connection.waits_for_turn().is_some() {
            self.connection.handle(Input::Step, &mut context);
        }
        let mut actions = Vec::new();
        while let Some(action) = self.connection.poll_action(&mut context) {
            actions.push(action);
            assert!(actions.len() < MAX_ACTIONS, "actions without end: {:?}", actions.last());
        }
        for action in actions {
            self.act(action);
        }
        let held = self.pool.bytes_in_use();
        assert!(held <= MAX_HELD, "{held} bytes of buffers");
    }

    fn act(&mut self, action: Action) {
        assert!(self.finished.is_none(), "{action:?} after the end");
        match action {
            Action::Connect { .. } => {
                let socket = &self.upstream;
                assert!(!socket.open && !socket.closing && !socket.dialling, "dials twice");
                // What the component sends is there as soon as it is connected.
                let (inbound, inbound_fin) =
                    (std::mem::take(&mut self.upstream.inbound), self.upstream.inbound_fin);
                self.upstream =
                    Socket { dialling: true, inbound, inbound_fin, ..Socket::default() };
            }
            Action::Receive(side, class, layout) => {
                let socket = self.socket(side);
                assert!(socket.open && !socket.closing, "receives on a socket that is not open");
                assert!(socket.receiving.replace((class, layout)).is_none(), "two receives");
            }
            Action::Send(side, buf) => {
                let socket = self.socket(side);
                assert!(socket.open && !socket.closing, "sends on a socket that is not open");
                assert!(!socket.shut, "sends after FIN");
                assert!(!buf.is_empty(), "sends nothing");
                assert!(socket.sending.replace(buf).is_none(), "two sends");
            }
            Action::ShutdownWrite(side) => {
                let socket = self.socket(side);
                assert!(socket.open && !socket.closing, "FIN on a socket that is not open");
                assert!(socket.sending.is_none(), "FIN before the last send is done");
                assert!(!std::mem::replace(&mut socket.shut, true), "FIN twice");
            }
            Action::Close(side, _mode) => {
                let socket = self.socket(side);
                assert!(socket.open || socket.dialling, "closes what is not open");
                assert!(!std::mem::replace(&mut socket.closing, true), "closes twice");
                (socket.receiving, socket.sending) = (None, None);
            }
            Action::HandOver(..) => panic!("no route here has the legacy lane"),
            Action::Finish(outcome) => {
                let open = [&self.downstream, &self.upstream].map(|one| one.open || one.dialling);
                assert_eq!(open, [false, false], "ends with an open socket");
                self.finished = Some(outcome);
            }
        }
    }

    /// Completes the receive of `side` with up to `max` bytes, or FIN. False when it cannot.
    pub fn deliver(&mut self, side: Side, max: usize) -> bool {
        let pool = self.pool.clone();
        let socket = self.socket(side);
        let Some((class, layout)) = socket.receiving else { return false };
        let length = socket.inbound.len().min(max.max(1)).min(class.receive_max(layout));
        if length == 0 {
            if !socket.inbound_fin {
                return false;
            }
            socket.receiving = None;
            self.input(Input::ReceiveClosed(side));
            return true;
        }
        socket.receiving = None;
        let mut buf = pool.take(class);
        buf.fill(layout, &socket.inbound[..length]);
        socket.inbound.drain(..length);
        self.input(Input::Received(side, buf));
        true
    }

    /// Completes the send of `side`. False when there is none.
    pub fn sent(&mut self, side: Side) -> bool {
        let socket = self.socket(side);
        let Some(buf) = socket.sending.take() else { return false };
        buf.parts().for_each(|part| socket.outbound.extend_from_slice(part));
        drop(buf);
        self.input(Input::Sent(side));
        true
    }

    /// Lets the dialling succeed. False when none is under way.
    pub fn connected(&mut self) -> bool {
        let socket = &mut self.upstream;
        if !socket.dialling || socket.closing {
            return false;
        }
        (socket.dialling, socket.open) = (false, true);
        self.input(Input::Connected);
        true
    }

    /// Fails an operation that is under way. False when it is not.
    pub fn fail(&mut self, side: Side, operation: Operation, errno: i32) -> bool {
        let socket = self.socket(side);
        let under_way = match operation {
            Operation::Receive => socket.receiving.take().is_some(),
            Operation::Send => socket.sending.take().is_some(),
            Operation::Connect => socket.dialling && !socket.closing,
        };
        if under_way {
            let error = io::Error::from_raw_os_error(errno);
            self.input(Input::Failed(side, operation, error));
        }
        under_way
    }

    /// Completes the closing of `side`. False when it is not being closed.
    pub fn closed(&mut self, side: Side) -> bool {
        let socket = self.socket(side);
        if !socket.closing {
            return false;
        }
        (socket.closing, socket.open, socket.dialling) = (false, false, false);
        self.input(Input::Closed(side));
        true
    }

    /// Passes time and, when it is due, the deadline.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let mut due = 0;
        while !self.is_finished()
            && self.connection.next_deadline().is_some_and(|deadline| deadline <= self.now)
        {
            self.input(Input::Deadline);
            due += 1;
            assert!(due < 4, "a deadline that stays due spins");
        }
    }

    /// Everything but dialling completes until nothing more can.
    pub fn settle(&mut self) {
        let mut progress = true;
        while progress {
            progress = false;
            for side in [Side::Downstream, Side::Upstream] {
                progress |= self.deliver(side, usize::MAX);
                progress |= self.sent(side);
                progress |= self.closed(side);
            }
        }
    }

    /// How it ended, and what peer and component got that they have not looked at. Completions and
    /// time alone must bring it there, and nothing may be left.
    pub fn finish(mut self) -> (Outcome, [Vec<u8>; 2]) {
        for _ in 0..100 {
            self.settle();
            if self.is_finished() {
                break;
            }
            self.pass(Duration::from_secs(100));
        }
        let outcome = self.finished.take().expect("time alone ends every connection");
        assert_eq!(self.connection.next_deadline(), None, "waits for nothing");
        drop(self.connection);
        let unread = [self.downstream, self.upstream].map(|socket| socket.outbound);
        assert_eq!(self.pool.bytes_in_use(), 0, "a buffer was kept");
        assert_eq!(self.hellos.total(), 0, "budget for hellos was kept");
        (*outcome, unread)
    }
}
