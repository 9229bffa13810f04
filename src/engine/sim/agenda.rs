//! What is going to happen, and when.

use std::collections::BTreeMap;

use super::network::WireId;
use crate::time::Time;

/// Something that happens by itself. Sockets and listeners by position. Every task looks at what
/// is so when it comes, so one too many does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// The receive of a socket may be able to go on.
    Receive(usize),
    /// The send of a socket may be able to go on.
    Send(usize),
    /// The dialling of a socket ends, in this attempt.
    Dialled(usize, u32),
    /// What is cancelled on a socket has ended.
    Cancelled(usize, u32),
    /// The descriptor of a socket is closed.
    Close(usize, u32),
    /// A listener may have something to accept.
    Accept(usize),
    /// A listener that closes takes what is left.
    EndListener(usize),
    /// The kernel has waited long enough for a peer that vanished.
    TimedOut(WireId),
    /// The far end of a wire looks at it.
    Far(WireId),
    Alarm(usize),
}

/// Tasks in the order of their time; at one time in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    tasks: BTreeMap<(Time, u64), Task>,
    added: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Time, task: Task) {
        self.added += 1;
        self.tasks.insert((at, self.added), task);
    }

    pub(super) fn next_time(&self) -> Option<Time> {
        self.tasks.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first task if its time has come.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Task> {
        let entry = self.tasks.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
