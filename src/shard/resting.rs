//! Connections on which nothing has moved for a while give back memory that is quickly made again.
//!
//! Who is there in a round has lasted, and gets what would be of no use to a short one.
//!
//! All of them are looked at, a few in each turn, so that nobody waits for it; and once a second at
//! most, as long as something moves anywhere.

use std::time::Duration;

use super::Shard;
use crate::engine::{Engine, Side, SocketId};
use crate::time::Time;

/// How far a round is, and when the next one is due.
#[derive(Debug, Default)]
pub(super) struct Resting {
    /// The slot to go on with, and how many are left.
    next: u32,
    left: u32,
    /// Some connection of this round is not idle yet.
    awake: bool,
    /// `None` while all rest.
    due: Option<Time>,
}

impl Resting {
    /// Something has happened: it will have been a while ago.
    pub(super) fn stir(&mut self, now: Time) {
        self.due.get_or_insert(now + IDLE);
    }

    /// When there is something to do.
    pub(super) fn next_deadline(&self, now: Time) -> Option<Time> {
        if self.left > 0 { Some(now) } else { self.due }
    }

    /// The slots of this turn.
    fn batch(&mut self, now: Time, used: u32) -> std::ops::Range<u32> {
        if self.left == 0 && self.due.is_some_and(|due| due <= now) {
            (self.next, self.left, self.awake, self.due) = (0, used, false, None);
        }
        let batch = self.next..self.next + self.left.min(BATCH);
        self.left -= batch.end - batch.start;
        self.next = batch.end;
        batch
    }

    fn end_batch(&mut self, now: Time, awake: bool) {
        self.awake |= awake;
        if self.left == 0 && self.awake {
            self.stir(now);
        }
    }
}

impl<E: Engine> Shard<E> {
    /// The part of a round that is done in one turn.
    pub(super) fn rest_some(&mut self) {
        let batch = self.resting.batch(self.now, self.slots.used());
        if batch.is_empty() {
            return;
        }
        let mut awake = false;
        for index in batch {
            if let Some(slot) = self.slots.id_at(index)
                && let Some(entry) = self.slots.get_mut(slot)
            {
                awake |= !entry.connection.rest_after(IDLE, self.now);
                if !entry.lasts && entry.connection.is_settled() {
                    entry.lasts = true;
                    let upstream = SocketId { slot: slot.index, side: Side::Upstream };
                    self.engine.keep_alive(upstream, &entry.connection.policy().keepalive);
                }
            }
        }
        self.resting.end_batch(self.now, awake);
    }
}

/// How long nothing moves before a connection counts as idle.
const IDLE: Duration = Duration::from_secs(1);
/// Connections that are looked at in one turn.
const BATCH: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_come_while_something_moves_and_then_no_more() {
        let second = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
        let mut resting = Resting::default();
        assert_eq!(resting.next_deadline(second(0)), None);
        assert!(resting.batch(second(9), 100).is_empty());
        resting.stir(second(1));
        resting.stir(second(1) + Duration::from_millis(500));
        assert_eq!(resting.next_deadline(second(1)), Some(second(2)));
        assert_eq!(resting.batch(second(2), 100), 0..64);
        resting.end_batch(second(2), true);
        assert_eq!(resting.next_deadline(second(2)), Some(second(2)));
        assert_eq!(resting.batch(second(2), 100), 64..100);
        resting.end_batch(second(2), false);
        assert_eq!(resting.next_deadline(second(2)), Some(second(3)), "one was awake");
        assert_eq!(resting.batch(second(3), 10), 0..10);
        resting.end_batch(second(3), false);
        assert_eq!(resting.next_deadline(second(3)), None);
        resting.stir(second(3));
        assert!(resting.batch(second(4), 0).is_empty());
        assert_eq!(resting.next_deadline(second(4)), None, "nobody is there");
    }
}
