//! How other threads talk to a shard: a bounded queue and a wake-up.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::engine::Wake;
use crate::telemetry::ShardSnapshot;
use crate::telemetry::aggregator::ShardPort;

/// What a shard can be told.
#[derive(Debug)]
pub enum Command {
    /// Fill in the report and send it to the aggregator.
    Collect(Box<ShardSnapshot>),
    /// Accept what has come, nothing more, and end when all connections have, or after `patience`.
    Drain { patience: Duration },
    /// End all connections now.
    Stop,
}

/// The shard's end.
pub struct Mailbox(Receiver<Command>);

/// Everybody else's end.
#[derive(Clone)]
pub struct Address {
    commands: SyncSender<Command>,
    waker: Arc<dyn Wake>,
}

/// A mailbox, and what makes its address once the shard's waker is known.
pub fn mailbox() -> (Mailbox, SyncSender<Command>) {
    let (sender, receiver) = sync_channel(CAPACITY);
    (Mailbox(receiver), sender)
}

impl Mailbox {
    /// The next command, if there is one.
    pub fn take(&mut self) -> Option<Command> {
        self.0.try_recv().ok()
    }
}

impl Address {
    pub fn new(commands: SyncSender<Command>, waker: Arc<dyn Wake>) -> Self {
        Self { commands, waker }
    }

    /// Delivers a command. Waits when the mailbox is full, which lasts one turn of the shard.
    /// A shard that has ended takes no commands, and needs none.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }
}

impl ShardPort for Address {
    fn request(&self, report: Box<ShardSnapshot>) -> Result<(), Box<ShardSnapshot>> {
        match self.commands.try_send(Command::Collect(report)) {
            Ok(()) => {
                self.waker.wake();
                Ok(())
            }
            Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) => match command
            {
                Command::Collect(report) => Err(report),
                Command::Drain { .. } | Command::Stop => unreachable!("sent a Collect"),
            },
        }
    }
}

/// Commands that may wait: one collection, and a drain or a stop for each signal.
const CAPACITY: usize = 16;
