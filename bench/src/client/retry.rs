//! Operations that failed and are tried again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::slots::Task;

/// When and how often an operation that failed is tried again. Its latency counts from its first
/// intended start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Retry {
    /// Wait before the second attempt.
    pub after: Duration,
    /// What each further wait is multiplied by, at least 1.
    pub factor: f64,
    /// No wait is longer.
    pub most: Duration,
    /// Attempts, the first one included.
    pub attempts: u32,
}

impl Retry {
    /// The wait behind an attempt, of which the first is 1; none behind the last.
    pub(super) fn wait(&self, attempt: u32) -> Option<Duration> {
        let times = i32::try_from(attempt).unwrap_or(i32::MAX) - 1;
        let wait = self.after.as_secs_f64() * self.factor.powi(times);
        let wait = Duration::from_secs_f64(wait.min(self.most.as_secs_f64()));
        (attempt < self.attempts).then_some(wait)
    }
}

/// Slots that wait for their next attempt.
#[derive(Debug, Default)]
pub(super) struct Retries {
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    /// By slot.
    tasks: Vec<Option<Task>>,
}

impl Retries {
    /// The slot is to have the task at an instant.
    pub(super) fn add(&mut self, at: Instant, slot: usize, task: Task) {
        if self.tasks.len() <= slot {
            self.tasks.resize(slot + 1, None);
        }
        self.tasks[slot] = Some(task);
        self.waiting.push(Reverse((at, slot)));
    }

    pub(super) fn is_waiting(&self, slot: usize) -> bool {
        self.tasks.get(slot).is_some_and(Option::is_some)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the next one is to be tried.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((at, _))| *at)
    }

    /// One whose time has come.
    pub(super) fn take(&mut self, now: Instant) -> Option<(usize, Task)> {
        self.due().filter(|at| *at <= now)?;
        let Reverse((_, slot)) = self.waiting.pop()?;
        let task = self.tasks[slot].take().expect("a slot that waits has a task");
        Some((slot, task))
    }

    /// Forgets all; returns how many there were.
    pub(super) fn give_up(&mut self) -> u64 {
        let count = self.waiting.len() as u64;
        *self = Self::default();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_end() {
        let seconds = Duration::from_secs;
        let retry = Retry { after: seconds(1), factor: 2.0, most: seconds(5), attempts: 5 };
        let waits: Vec<_> = (1..=5).map(|attempt| retry.wait(attempt)).collect();
        let wanted = [Some(1), Some(2), Some(4), Some(5), None];
        assert_eq!(waits, wanted.map(|wait| wait.map(seconds)));
    }
}
