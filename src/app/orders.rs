//! What a running gateway is told, one thing after the other: by signals, by the control socket,
//! and by its own workers when they have ended.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::Ended;
use super::control::Asked;
use crate::handover::Successor;

/// What to do next.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration file again.
    Reload,
    /// Do what somebody wants who may ask for it.
    Asked(Box<Asked>),
    /// Start a new process and hand over to it.
    Restart,
    /// The new process serves, or does not and why.
    HandedOver(Result<Successor, String>),
    /// Open the log files again.
    ReopenLogs,
    /// Stop accepting and let connections end; the second time, end them.
    Drain,
    /// End all connections now.
    Stop,
    /// Nothing more: every worker has ended.
    Ended(Ended),
}

/// A bounded queue of orders. Whoever gives one waits while it is full, which lasts as long as one
/// order takes.
pub fn queue() -> (SyncSender<Order>, Receiver<Order>) {
    sync_channel(CAPACITY)
}

/// Orders that may wait: more than a person gives at once.
const CAPACITY: usize = 16;
