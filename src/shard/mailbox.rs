//! How other threads talk to a shard: a bounded queue and a wake-up.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::census::Question;
use super::dismiss::Part;
use crate::engine::Wake;
use crate::policy::Policy;
use crate::telemetry::aggregator::ShardPort;
use crate::telemetry::{ListenerNames, ShardSnapshot};

/// What a shard can be told. `L` is the engine's listening socket.
#[derive(Debug)]
pub enum Command<L> {
    /// Fill in the report and send it to the aggregator.
    Collect(Box<ShardSnapshot>),
    /// Serve new connections under another policy.
    Reload(Box<Reload<L>>),
    /// Judge all connections again: what trust rests on has changed.
    Revalidate,
    /// Accept what has come, nothing more, and end when all connections have, or after `patience`.
    /// The sockets that are `left` have another process to accept what comes from now on.
    Drain { patience: Duration, left: Arc<[BoundId]> },
    /// End some connections, one after the other.
    Dismiss(Part),
    /// End all connections now.
    Stop,
    /// Tell what was seen. As long as the question waits, the other half of its mark is held.
    Ask(Question, Arc<()>),
}

/// A new policy, and what listens for it.
#[derive(Debug)]
pub struct Reload<L> {
    pub policy: Arc<Policy>,
    /// The names by which telemetry goes; a longer list than before, or the same.
    pub names: ListenerNames,
    /// Sockets to listen on from now on.
    pub open: Vec<(BoundId, L)>,
    /// Every socket that serves the policy, and the position of its listener there. Those that
    /// are not named accept what is in their queue, under the policy they had, and close.
    pub serves: Arc<[(BoundId, usize)]>,
    /// Gets the sockets that could not be listened on, once all the rest is done.
    pub done: SyncSender<Vec<BoundId>>,
}

/// Names a listening socket of one shard for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BoundId(pub u64);

/// The shard's end.
pub struct Mailbox<L>(Receiver<Command<L>>);

/// Everybody else's end.
pub struct Address<L> {
    commands: SyncSender<Command<L>>,
    waker: Arc<dyn Wake>,
}

/// A mailbox, and what makes its address once the shard's waker is known.
pub fn mailbox<L>() -> (Mailbox<L>, SyncSender<Command<L>>) {
    let (sender, receiver) = sync_channel(CAPACITY);
    (Mailbox(receiver), sender)
}

impl<L> Mailbox<L> {
    /// The next command, if there is one.
    pub fn take(&mut self) -> Option<Command<L>> {
        self.0.try_recv().ok()
    }
}

impl<L> Clone for Address<L> {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone(), waker: Arc::clone(&self.waker) }
    }
}

impl<L> Address<L> {
    pub fn new(commands: SyncSender<Command<L>>, waker: Arc<dyn Wake>) -> Self {
        Self { commands, waker }
    }

    /// Delivers a command, and returns whether the shard will see it: not when it has ended, and
    /// not when it has let its mailbox fill up, which takes a shard that is stuck.
    #[must_use]
    pub fn send(&self, command: Command<L>) -> bool {
        let taken = self.commands.try_send(command).is_ok();
        if taken {
            self.waker.wake();
        }
        taken
    }
}

impl<L: Send> ShardPort for Address<L> {
    fn request(&self, report: Box<ShardSnapshot>) -> Result<(), Box<ShardSnapshot>> {
        match self.commands.try_send(Command::Collect(report)) {
            Ok(()) => {
                self.waker.wake();
                Ok(())
            }
            Err(
                TrySendError::Full(Command::Collect(report))
                | TrySendError::Disconnected(Command::Collect(report)),
            ) => Err(report),
            Err(_other) => unreachable!("sent a Collect"),
        }
    }
}

/// Commands that may wait: one collection, one reload, a drain or a stop for each signal, a few
/// questions, and what trust that changes again and again asks for.
const CAPACITY: usize = 16;
