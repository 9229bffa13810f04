//! The child's loop: links on an engine, as connections on a shard's.
//!
//! One thread moves bytes. Another one reads the channel: descriptors come with packets, which no
//! engine receives.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use zeroize::Zeroizing;

use super::ProfileId;
use super::channel::{receive, send};
use super::link::{Action, Input, Link, Sessions};
use super::sandbox;
use super::wire::{Begin, Limits, Message};
use crate::buf::Layout;
use crate::conn::outcome::Reason;
use crate::engine::{Engine, Event, Side, SocketId, Wake};
use crate::shard::slots::{SlotId, Slots};
use crate::shard::wheel::{self, Wheel};
use crate::sys::inherited;
use crate::sys::packets::invalid_data;
use crate::sys::program::leave_signals;
use crate::time::Time;
use crate::tls::alert;

/// What comes over the channel.
pub(super) enum Order {
    Profile(ProfileId, Arc<dyn Sessions>),
    Retire(ProfileId),
    Connection {
        profile: ProfileId,
        socket: OwnedFd,
        pair: OwnedFd,
    },
    /// The gateway has gone, or wants the child to.
    End,
}

/// The word of the command line that the child is started by; nobody else is told of it.
pub const VERB: &str = "legacy-child";

/// Makes sessions from the description of a profile.
pub type Read = fn(&[u8]) -> io::Result<Arc<dyn Sessions>>;

/// Where the engine is made: by whoever may name engines.
pub trait Host {
    /// Runs the loop on an engine of the kind that `begin` asks for, or on the other one where that
    /// does not work.
    ///
    /// # Errors
    /// When there is no engine, or it is broken.
    fn run(&self, begin: &Begin, child: Child) -> io::Result<()>;
}

/// The links of the child, before there is an engine for them.
pub struct Child {
    limits: Limits,
    orders: Receiver<Order>,
    reader: Option<Reader>,
}

/// The thread that reads the channel, before it runs.
struct Reader {
    channel: OwnedFd,
    orders: SyncSender<Order>,
    read: Read,
}

/// Serves the gateway on the other end of standard input until that has gone. The program ends then.
///
/// # Errors
/// When it cannot work, which the gateway is told, too.
pub fn serve(host: &dyn Host, read: Read) -> io::Result<()> {
    inherited::close_all()?;
    leave_signals()?;
    std::env::set_current_dir("/")?;
    let channel = io::stdin().as_fd().try_clone_to_owned()?;
    let result = sandbox::enter().and_then(|()| {
        let (Message::Begin(begin), _) = receive(&channel)? else {
            return Err(invalid_data("the gateway did not introduce itself"));
        };
        let (sender, orders) = sync_channel(QUEUE);
        let reader = Reader { channel: channel.try_clone()?, orders: sender, read };
        host.run(&begin, Child { limits: begin.limits, orders, reader: Some(reader) })
    });
    if let Err(error) = &result {
        // Nobody is there to be told where the channel is what broke.
        let _untold = send(&channel, &Message::Failed(error.to_string()));
    }
    result
}

impl Child {
    /// Serves on `engine`, from here on; says so to the gateway.
    ///
    /// # Errors
    /// When the engine is broken.
    pub fn run<E: Engine>(mut self, engine: E) -> io::Result<()> {
        if let Some(reader) = self.reader.take() {
            let waker = engine.waker();
            send(&reader.channel, &Message::Ready)?;
            thread::Builder::new()
                .name("channel".to_owned())
                .spawn(move || reader.run(waker.as_ref()))?;
        }
        let mut links = Links::new(engine, self.limits);
        while links.turn(&self.orders)? {}
        Ok(())
    }
}

impl Reader {
    fn run(self, waker: &dyn Wake) {
        let mut coming = None;
        loop {
            let order = match self.next(&mut coming) {
                Ok(None) => continue,
                Ok(Some(order)) => order,
                Err(error) => {
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        // Nobody is there to be told where the channel is what broke.
                        let _untold = send(&self.channel, &Message::Failed(error.to_string()));
                    }
                    Order::End
                }
            };
            let ends = matches!(order, Order::End);
            let taken = self.orders.send(order).is_ok();
            waker.wake();
            if ends || !taken {
                return;
            }
        }
    }

    /// Takes a message; `coming` is a profile of which chunks are missing.
    fn next(&self, coming: &mut Option<Coming>) -> io::Result<Option<Order>> {
        let (message, descriptors) = receive(&self.channel)?;
        match (message, coming.take()) {
            (Message::Profile { id, length }, None) => {
                let length = usize::try_from(length).map_err(invalid_data)?;
                *coming = Some(Coming { id, length, bytes: Zeroizing::default() });
                Ok(None)
            }
            (Message::Chunk(chunk), Some(mut profile)) => {
                profile.add(chunk.as_bytes());
                if profile.bytes.len() < profile.length {
                    *coming = Some(profile);
                    return Ok(None);
                }
                (self.read)(&profile.bytes).map(|read| Some(Order::Profile(profile.id, read)))
            }
            (Message::Retire(id), None) => Ok(Some(Order::Retire(id))),
            (Message::Connection(profile), waiting) => {
                // A shard's, which may come between chunks.
                *coming = waiting;
                let [socket, pair] = <[OwnedFd; 2]>::try_from(descriptors)
                    .map_err(|_| invalid_data("a connection without its sockets"))?;
                Ok(Some(Order::Connection { profile, socket, pair }))
            }
            (other, _) => Err(invalid_data(format!("out of turn: {other:?}"))),
        }
    }
}

/// A profile that comes in chunks.
struct Coming {
    id: ProfileId,
    length: usize,
    bytes: Zeroizing<Vec<u8>>,
}

impl Coming {
    fn add(&mut self, chunk: &[u8]) {
        // Moved by hand, because what a Vec leaves behind when it moves is not wiped.
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.bytes.len() + chunk.len()));
        bytes.extend_from_slice(&self.bytes);
        bytes.extend_from_slice(chunk);
        self.bytes = bytes;
    }
}

/// The links and what they run on.
pub(super) struct Links<E: Engine> {
    engine: E,
    limits: Limits,
    links: Slots<Entry>,
    wheel: Wheel,
    profiles: HashMap<ProfileId, Arc<dyn Sessions>>,
    handshakes: u32,
    ends: bool,
    now: Time,
}

struct Entry {
    link: Link,
    /// Counted among the handshakes.
    counted: bool,
    scheduled: Option<Time>,
}

impl<E: Engine> Links<E> {
    pub(super) fn new(engine: E, limits: Limits) -> Self {
        let now = engine.now();
        // As many again for those that are told that there is no room.
        let capacity = limits.links.saturating_mul(2);
        let mut wheel = Wheel::new(now, wheel::TICK);
        if let Some(last) = capacity.checked_sub(1) {
            wheel.ensure(last);
        }
        Self {
            engine,
            limits,
            links: Slots::new(capacity),
            wheel,
            profiles: HashMap::new(),
            handshakes: 0,
            ends: false,
            now,
        }
    }

    /// One wait and everything that it brought; false when it was the last.
    ///
    /// # Errors
    /// When the engine is broken.
    pub(super) fn turn(&mut self, orders: &Receiver<Order>) -> io::Result<bool> {
        self.engine.wait(self.wheel.next_deadline())?;
        self.now = self.engine.now();
        while let Some(event) = self.engine.next_event() {
            self.on_event(event, orders);
            self.now = self.engine.now();
        }
        while let Some(index) = self.wheel.pop_expired(self.now) {
            if let Some(slot) = self.links.id_at(index)
                && let Some(entry) = self.links.get_mut(slot)
            {
                entry.scheduled = None;
                self.drive(slot, Input::Deadline);
            }
        }
        Ok(!self.ends || !self.links.is_empty())
    }

    fn on_event(&mut self, event: Event<E::Stream>, orders: &Receiver<Order>) {
        let (socket, input) = match event {
            Event::Woken => return self.follow(orders),
            Event::Received { socket, buf } => (socket, Input::Received(socket.side, buf)),
            Event::ReceiveClosed { socket } => (socket, Input::ReceiveClosed(socket.side)),
            Event::Sent { socket } => (socket, Input::Sent(socket.side)),
            Event::Failed { socket, operation, error } => {
                (socket, Input::Failed(socket.side, operation, error))
            }
            Event::Closed { socket } => (socket, Input::Closed(socket.side)),
            // Nothing listens or dials here.
            Event::Accepted { .. }
            | Event::AcceptFailed { .. }
            | Event::ListenerClosed { .. }
            | Event::Connected { .. } => return,
        };
        if let Some(slot) = self.links.id_at(socket.slot) {
            self.drive(slot, input);
        }
    }

    fn follow(&mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.try_recv() {
            match order {
                Order::Profile(id, profile) => {
                    self.profiles.insert(id, profile);
                }
                Order::Retire(id) => {
                    self.profiles.remove(&id);
                }
                Order::Connection { profile, socket, pair } => self.add(profile, socket, pair),
                Order::End => self.ends = true,
            }
        }
    }

    fn add(&mut self, profile: ProfileId, socket: OwnedFd, pair: OwnedFd) {
        // Told before, and retired when no connection can come any more. Without it, and when even
        // those who are refused are too many, closing the pair says enough.
        let Some(profile) = self.profiles.get(&profile) else { return };
        let has_room = self.handshakes < self.limits.handshakes
            && self.links.len() < self.limits.links as usize;
        let link = if has_room {
            Link::new(Arc::clone(profile), self.now)
        } else {
            let busy = (Reason::LegacyBusy, alert::INTERNAL_ERROR);
            Link::refused(Arc::clone(profile), busy, (self.now, self.engine.pool()))
        };
        let entry = Entry { link, counted: false, scheduled: None };
        let Some(slot) = self.links.insert(entry) else { return };
        let id = |side| SocketId { slot: slot.index, side };
        let taken = self.engine.take_over(id(Side::Downstream), socket);
        let taken = taken.and_then(|()| self.engine.take_over(id(Side::Upstream), pair));
        if taken.is_err()
            && let Some(entry) = self.links.get_mut(slot)
        {
            // Closing tells the shard enough.
            entry.link.abort();
        }
        self.settle(slot);
    }

    fn drive(&mut self, slot: SlotId, input: Input) {
        let pool = self.engine.pool().clone();
        if let Some(entry) = self.links.get_mut(slot) {
            entry.link.handle(input, self.now, &pool);
        }
        self.settle(slot);
    }

    /// Does what a link asks for, and counts it.
    fn settle(&mut self, slot: SlotId) {
        let Some(entry) = self.links.get_mut(slot) else { return };
        let socket = |side| SocketId { slot: slot.index, side };
        while let Some(action) = entry.link.poll_action(self.engine.pool()) {
            match action {
                Action::Receive(side, class) => {
                    self.engine.receive(socket(side), class, Layout::Contiguous);
                }
                Action::Send(side, buf) => self.engine.send(socket(side), buf),
                Action::ShutdownWrite(side) => self.engine.shutdown_write(socket(side)),
                Action::Close(side, how) => self.engine.close(socket(side), how),
                Action::Finish => {
                    self.handshakes -= u32::from(entry.counted);
                    self.wheel.cancel(slot.index);
                    self.links.remove(slot);
                    return;
                }
            }
        }
        let counts = entry.link.is_handshaking();
        self.handshakes += u32::from(counts);
        self.handshakes -= u32::from(entry.counted);
        entry.counted = counts;
        if let Some(deadline) = entry.link.next_deadline()
            && entry.scheduled.is_none_or(|scheduled| deadline < scheduled)
        {
            entry.scheduled = Some(deadline);
            self.wheel.set(slot.index, deadline);
        }
    }
}

/// Orders that may wait: what comes faster fills the channel, and then is refused by the shards.
const QUEUE: usize = 64;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these tests watch a thread on the real clock")]
#[path = "child_tests.rs"]
mod tests;
