//! Operations on simulated sockets: each ends once, in pieces, late, and in any order.

use std::collections::VecDeque;
use std::io;

use super::agenda::Task;
use super::network::{Wire, WireId};
use super::trace::{Standing, What};
use super::{Dial, Event, Outside, SimEngine, Stream};
use crate::buf::{Buf, BufClass, Layout};
use crate::engine::{Address, CloseMode, Operation, Side, SocketId, Source};

/// One entry of the engine's table.
#[derive(Default)]
pub(super) struct SocketEntry {
    /// From its opening to [`Event::Closed`].
    open: bool,
    /// Counts its uses, so that tasks of an earlier one are known.
    generation: u32,
    /// `None` for a socket that could not be made.
    wire: Option<WireId>,
    dial: Option<Dialling>,
    receive: Option<Receive>,
    send: Option<Send>,
    /// FIN was sent.
    shut: bool,
    closing: Option<CloseMode>,
}

/// Operations are there until the shard has been told of their end.
struct Dialling {
    result: Result<(), i32>,
    ended: bool,
}

struct Receive {
    class: BufClass,
    layout: Layout,
    starved: bool,
    ended: bool,
}

struct Send {
    /// `None` when it has ended.
    buf: Option<Buf>,
}

impl SocketEntry {
    /// What a socket that should not be there any more still has.
    pub(super) fn left(&self) -> Option<String> {
        let in_flight = self.in_flight();
        (self.open || in_flight > 0)
            .then(|| format!("{in_flight} in flight, closing {:?}", self.closing))
    }

    pub(super) fn starved_class(&self) -> Option<BufClass> {
        let receive = self.receive.as_ref()?;
        (receive.starved && self.closing.is_none()).then_some(receive.class)
    }

    pub(super) fn feed(&mut self) {
        if let Some(receive) = &mut self.receive {
            receive.starved = false;
        }
    }

    fn in_flight(&self) -> usize {
        let operations = [self.dial.is_some(), self.receive.is_some(), self.send.is_some()];
        operations.into_iter().filter(|outstanding| *outstanding).count()
    }

    fn is_connected(&self) -> bool {
        self.open && self.wire.is_some() && self.dial.is_none() && self.closing.is_none()
    }
}

impl<O: Outside> SimEngine<O> {
    pub(super) fn open_accepted(&mut self, id: SocketId, mut stream: Stream) -> io::Result<()> {
        let fails = self.network.rng.chance(self.network.hostility.exhaustion);
        let wire = stream.wire;
        self.did(What::DoAdopt { socket: id, wire, ok: !fails });
        self.open(id, (!fails).then_some(wire));
        if fails {
            // The stream goes with the error, and is reset.
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        stream.dropped = None;
        Ok(())
    }

    pub(super) fn dial(&mut self, id: SocketId, to: &Address, source: Source) {
        let from = self.sockets[id.index() ^ 1].wire;
        let fails = from.is_none() || self.network.rng.chance(self.network.hostility.exhaustion);
        let has_no_port = source != Source::Any && self.network.rng.chance(PORTLESS);
        let errno = if has_no_port { libc::EADDRNOTAVAIL } else { libc::EMFILE };
        let wire = (!fails).then_some(WireId(self.network.wires.len()));
        self.did(What::DoConnect { socket: id, wire });
        self.open(id, wire);
        let index = id.index();
        let (Some(wire), Some(from)) = (wire, from) else {
            self.sockets[index].dial = Some(Dialling { result: Err(errno), ended: true });
            self.fail(id, Operation::Connect, errno);
            return;
        };
        self.network.wires.push(Wire::dialled(index));
        self.network.descriptors += 1;
        let answer = self.outside.on_dial(wire, from, to, &mut self.network);
        let (result, after) = match answer {
            Dial::Accepted { after } => (Ok(()), Some(after)),
            Dial::Failed { errno, after } => (Err(errno), Some(after)),
            Dial::Never => (Err(libc::ETIMEDOUT), None),
        };
        self.sockets[index].dial = Some(Dialling { result, ended: false });
        if let Some(after) = after {
            let task = Task::Dialled(index, self.sockets[index].generation);
            self.network.agenda.add(self.network.now() + after, task);
        }
    }

    pub(super) fn start_receive(&mut self, id: SocketId, class: BufClass, layout: Layout) {
        self.did(What::DoReceive { socket: id, class });
        let socket = &mut self.sockets[id.index()];
        if !socket.is_connected() || socket.receive.is_some() {
            return self.network.find(format!("{id:?} must not receive now"));
        }
        socket.receive = Some(Receive { class, layout, starved: false, ended: false });
        if self.network.rng.chance(self.network.hostility.prompt) {
            self.try_receive(id.index());
        } else {
            self.network.schedule(Task::Receive(id.index()));
        }
    }

    pub(super) fn start_send(&mut self, id: SocketId, buf: Buf) {
        self.did(What::DoSend { socket: id, len: buf.len() });
        let socket = &mut self.sockets[id.index()];
        if !socket.is_connected() || socket.send.is_some() || socket.shut || buf.is_empty() {
            return self.network.find(format!("{id:?} must not send {} bytes now", buf.len()));
        }
        socket.send = Some(Send { buf: Some(buf) });
        if self.network.rng.chance(self.network.hostility.prompt) {
            self.try_send(id.index());
        } else {
            self.network.schedule(Task::Send(id.index()));
        }
    }

    pub(super) fn send_fin(&mut self, id: SocketId) {
        self.did(What::DoShutdown { socket: id });
        let socket = &mut self.sockets[id.index()];
        if !socket.is_connected() || socket.send.is_some() || socket.shut {
            return self.network.find(format!("{id:?} must not send FIN now"));
        }
        socket.shut = true;
        if let Some(wire) = socket.wire {
            self.network.wires[wire.0].outbound.fin = true;
            self.network.touch_far(wire);
        }
    }

    pub(super) fn start_close(&mut self, id: SocketId, how: CloseMode) {
        let index = id.index();
        let standing = [index & !1, index | 1].map(|index| self.standing(index));
        self.did(What::DoClose { socket: id, how, standing });
        let prompt = self.network.rng.chance(self.network.hostility.prompt);
        let socket = &mut self.sockets[index];
        if !socket.open || socket.closing.is_some() {
            return self.network.find(format!("{id:?} must not be closed now"));
        }
        socket.closing = Some(how);
        let generation = socket.generation;
        if prompt {
            // Nothing is in the kernel's hands; what has ended already is not told any more.
            (socket.dial, socket.receive, socket.send) = (None, None, None);
            self.completions.retain(|event| socket_of(event) != Some(id));
            self.end_close(index, generation);
        } else if socket.in_flight() > 0 {
            self.network.schedule(Task::Cancelled(index, generation));
        } else {
            self.network.schedule(Task::Close(index, generation));
        }
    }

    /// What the shard gets of a completion; `None` for a socket that it has asked to close.
    pub(super) fn hand_out(&mut self, event: Event<Stream>) -> Option<Event<Stream>> {
        if let Some(id) = socket_of(&event) {
            let socket = &mut self.sockets[id.index()];
            match &event {
                Event::Received { .. }
                | Event::ReceiveClosed { .. }
                | Event::Failed { operation: Operation::Receive, .. } => socket.receive = None,
                Event::Sent { .. } | Event::Failed { operation: Operation::Send, .. } => {
                    socket.send = None;
                }
                Event::Closed { .. } => {
                    let generation = socket.generation + 1;
                    *socket = SocketEntry { generation, ..SocketEntry::default() };
                }
                _ => socket.dial = None,
            }
            if socket.closing.is_some() {
                if socket.in_flight() == 0 {
                    let task = Task::Close(id.index(), socket.generation);
                    self.network.schedule(task);
                }
                return None;
            }
        }
        self.did(got(&event));
        Some(event)
    }

    pub(super) fn try_receive(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        let (Some(wire), None, Some(receive)) = (socket.wire, &socket.dial, &socket.receive) else {
            return;
        };
        if receive.ended || receive.starved {
            return;
        }
        let id = SocketId::from_index(index);
        let (class, layout) = (receive.class, receive.layout);
        let state = &self.network.wires[wire.0];
        let available = state.inbound.bytes.len().min(class.receive_max(layout));
        let (broken, fin) = (state.near_broken, state.inbound.fin);
        if state.vanished && !broken {
            return;
        }
        if available > 0 {
            return self.receive_bytes(id, wire, (class, layout), available);
        }
        if !broken && !fin {
            return;
        }
        if let Some(receive) = &mut self.sockets[index].receive {
            receive.ended = true;
        }
        match self.network.wires[wire.0].near_error.take() {
            Some(errno) => self.fail(id, Operation::Receive, errno),
            None => self.completions.push(Event::ReceiveClosed { socket: id }),
        }
    }

    fn receive_bytes(
        &mut self,
        id: SocketId,
        wire: WireId,
        (class, layout): (BufClass, Layout),
        available: usize,
    ) {
        let buf = self.take_buf(class);
        let Some(receive) = &mut self.sockets[id.index()].receive else { return };
        let Some(mut buf) = buf else {
            receive.starved = true;
            self.stats.starvations += 1;
            self.starved.push_back(id.index());
            return;
        };
        receive.ended = true;
        let len = self.part_of(available);
        let bytes = self.network.wires[wire.0].inbound.take(len);
        buf.fill(layout, &bytes);
        // There is room at the far end again.
        self.network.touch_far(wire);
        self.completions.push(Event::Received { socket: id, buf });
    }

    pub(super) fn try_send(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        let (Some(wire), None, Some(Send { buf: Some(buf) })) =
            (socket.wire, &socket.dial, &mut socket.send)
        else {
            return;
        };
        let left = buf.len();
        let id = SocketId::from_index(index);
        let state = &mut self.network.wires[wire.0];
        if state.near_broken {
            let errno = state.near_error.take().unwrap_or(libc::EPIPE);
            socket.send = Some(Send { buf: None });
            return self.fail(id, Operation::Send, errno);
        }
        let room = self.network.hostility.capacity.saturating_sub(state.outbound.bytes.len());
        if room == 0 {
            return;
        }
        let len = self.part_of(left.min(room));
        let Some(Send { buf: Some(buf) }) = &mut self.sockets[index].send else { return };
        let mut rest = len;
        while rest > 0 {
            let part = buf.first().len().min(rest);
            self.network.push_outbound(wire, &buf.first()[..part]);
            buf.advance(part);
            rest -= part;
        }
        if buf.is_empty() {
            self.sockets[index].send = Some(Send { buf: None });
            self.completions.push(Event::Sent { socket: id });
        } else {
            self.network.schedule(Task::Send(index));
        }
    }

    pub(super) fn end_dialling(&mut self, index: usize, generation: u32) {
        let socket = &mut self.sockets[index];
        let (Some(wire), Some(dial)) = (socket.wire, &mut socket.dial) else { return };
        if socket.generation != generation || dial.ended {
            return;
        }
        dial.ended = true;
        let socket = SocketId::from_index(index);
        match dial.result {
            Ok(()) => {
                self.network.establish(wire);
                self.completions.push(Event::Connected { socket });
            }
            Err(errno) => self.fail(socket, Operation::Connect, errno),
        }
    }

    /// What had not ended before its socket was asked to close does so now.
    pub(super) fn end_cancelled(&mut self, index: usize, generation: u32) {
        let socket = &mut self.sockets[index];
        if socket.generation != generation {
            return;
        }
        socket.dial.take_if(|dial| !dial.ended);
        socket.receive.take_if(|receive| !receive.ended);
        socket.send.take_if(|send| send.buf.is_some());
        if socket.in_flight() == 0 {
            self.network.schedule(Task::Close(index, generation));
        }
    }

    pub(super) fn end_close(&mut self, index: usize, generation: u32) {
        let socket = &mut self.sockets[index];
        let Some(how) = socket.closing.filter(|_| socket.generation == generation) else { return };
        // The shard must be told once, so this comes once.
        socket.generation += 1;
        if let Some(wire) = socket.wire.take() {
            self.network.close_near(wire, how == CloseMode::Reset);
        }
        self.completions.push(Event::Closed { socket: SocketId::from_index(index) });
    }

    fn standing(&self, index: usize) -> Standing {
        let socket = &self.sockets[index];
        let inbound = socket.wire.map(|wire| &self.network.wires[wire.0].inbound.bytes);
        Standing {
            unread: inbound.map_or(0, VecDeque::len),
            receiving: socket.receive.is_some(),
            sending: socket.send.is_some(),
        }
    }

    fn open(&mut self, id: SocketId, wire: Option<WireId>) {
        let index = id.index();
        if self.sockets.len() <= index {
            self.sockets.resize_with((index | 1) + 1, SocketEntry::default);
        }
        let socket = &mut self.sockets[index];
        let generation = socket.generation;
        if socket.open {
            return self.network.find(format!("{id:?} is in use"));
        }
        *socket = SocketEntry { open: true, generation, wire, ..SocketEntry::default() };
        if id.side == Side::Downstream
            && let Some(wire) = wire
        {
            self.network.wires[wire.0].socket = Some(index);
        }
    }

    /// A length up to `most`, at least one.
    fn part_of(&mut self, most: usize) -> usize {
        if !self.network.rng.chance(self.network.hostility.short) {
            return most;
        }
        let few = most.min(*self.network.rng.pick(&[1, 7, 1000, usize::MAX]));
        self.network.rng.between(1, few)
    }

    fn fail(&mut self, socket: SocketId, operation: Operation, errno: i32) {
        let error = io::Error::from_raw_os_error(errno);
        self.completions.push(Event::Failed { socket, operation, error });
    }
}

fn socket_of(event: &Event<Stream>) -> Option<SocketId> {
    match event {
        Event::Connected { socket }
        | Event::Received { socket, .. }
        | Event::ReceiveClosed { socket }
        | Event::Sent { socket }
        | Event::Failed { socket, .. }
        | Event::Closed { socket } => Some(*socket),
        _ => None,
    }
}

fn got(event: &Event<Stream>) -> What {
    let errno = |error: &io::Error| error.raw_os_error().unwrap_or(0);
    match event {
        Event::Accepted { listener, stream, .. } => {
            What::GotAccepted { listener: *listener, wire: stream.wire }
        }
        Event::AcceptFailed { listener, error } => {
            What::GotAcceptFailed { listener: *listener, errno: errno(error) }
        }
        Event::ListenerClosed { listener } => What::GotListenerClosed { listener: *listener },
        Event::Connected { socket } => What::GotConnected { socket: *socket },
        Event::Received { socket, buf } => What::GotReceived { socket: *socket, len: buf.len() },
        Event::ReceiveClosed { socket } => What::GotReceiveClosed { socket: *socket },
        Event::Sent { socket } => What::GotSent { socket: *socket },
        Event::Failed { socket, operation, error } => {
            What::GotFailed { socket: *socket, operation: *operation, errno: errno(error) }
        }
        Event::Closed { socket } => What::GotClosed { socket: *socket },
        Event::Woken => What::GotWoken,
    }
}

/// Of the dials that fail for want of something, those of a chosen source to which a port is missing.
const PORTLESS: u32 = 60;
