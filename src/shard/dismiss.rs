//! Connections that an operator has end: those that a filter means, at a pace that all shards keep
//! together.
//!
//! All slots are looked at, a few in each turn, three times: to count who is meant; for connections in
//! which nothing moves, which end between two messages; then for the others. Who came after the order stays, or a farm
//! that connects again would be sent away again.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Shard;
use super::filter::Filter;
use super::pace::Pace;
use super::slots::SlotId;
use crate::conn::{Farewell, Input};
use crate::engine::Engine;
use crate::time::Time;

/// What an operator has ordered, shared by all shards.
#[derive(Debug)]
pub struct Dismissal {
    filter: Filter,
    farewell: Farewell,
    /// Without one, all go as fast as they can be found.
    pace: Option<Pace>,
    meant: AtomicU64,
    ended: AtomicU64,
    /// Shards that are not through with it.
    busy: AtomicU32,
    is_called_off: AtomicBool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Connections that were open when it was ordered, as far as shards have counted.
    pub meant: u64,
    /// Those of them that were ended; others may have ended by themselves.
    pub ended: u64,
    /// Shards that are not through with it, nor have begun.
    pub busy: u32,
}

impl Dismissal {
    /// For as many shards.
    pub fn new(filter: Filter, farewell: Farewell, pace: Option<Pace>, shards: u32) -> Self {
        Self {
            filter,
            farewell,
            pace,
            meant: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            busy: AtomicU32::new(shards),
            is_called_off: AtomicBool::new(false),
        }
    }

    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    pub fn progress(&self) -> Progress {
        let (meant, ended) = (self.meant.load(Relaxed), self.ended.load(Relaxed));
        Progress { meant, ended, busy: self.busy.load(Relaxed) }
    }

    /// Nobody else goes.
    pub fn call_off(&self) {
        self.is_called_off.store(true, Relaxed);
    }

    /// What one of the shards has to do of it.
    pub fn part(self: &Arc<Self>) -> Part {
        Part(Arc::clone(self))
    }
}

/// A shard's part of a dismissal; it is through with it when this is dropped, whether it was told or not.
#[derive(Debug)]
pub struct Part(Arc<Dismissal>);

impl Deref for Part {
    type Target = Dismissal;

    fn deref(&self) -> &Dismissal {
        &self.0
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.busy.fetch_sub(1, Relaxed);
    }
}

/// What a shard has to do for one.
pub(super) struct Leaving {
    dismissal: Part,
    began: Time,
    /// The newest connection that is meant, and the generation that was the current one.
    newest: u64,
    current: u64,
    round: Round,
    /// The slot to go on with.
    next: u32,
    /// Who goes next, and when.
    candidate: Option<SlotId>,
    turn: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Counting,
    Quiet,
    Others,
}

impl Leaving {
    /// When there is something to do.
    fn next_deadline(&self, now: Time) -> Time {
        self.candidate.and(self.turn).unwrap_or(now)
    }
}

/// When one of them has something to do.
pub(super) fn next_deadline(all: &[Leaving], now: Time) -> Option<Time> {
    all.iter().map(|leaving| leaving.next_deadline(now)).min()
}

impl<E: Engine> Shard<E> {
    /// Begins with a dismissal.
    pub(super) fn dismiss(&mut self, dismissal: Part) {
        let current = self.generations.current().policy.generation;
        self.leaving.push(Leaving {
            dismissal,
            began: self.now,
            newest: self.connections_seen,
            current,
            round: Round::Counting,
            next: 0,
            candidate: None,
            turn: None,
        });
    }

    /// The part of all dismissals that is done in one turn.
    pub(super) fn dismiss_some(&mut self) {
        let mut all = std::mem::take(&mut self.leaving);
        all.retain_mut(|leaving| self.see_off(leaving));
        self.leaving = all;
    }

    /// False when there is nothing left to do.
    fn see_off(&mut self, leaving: &mut Leaving) -> bool {
        let mut looks = BATCH;
        while !leaving.dismissal.is_called_off.load(Relaxed) {
            let Some(candidate) = leaving.candidate else {
                if looks == 0 {
                    return true;
                }
                match self.look_at_next(leaving) {
                    Some(found) => leaving.candidate = found,
                    None => return false,
                }
                looks -= 1;
                continue;
            };
            let turn = *leaving.turn.get_or_insert_with(|| match &leaving.dismissal.pace {
                Some(pace) => leaving.began + pace.take(self.now - leaving.began),
                None => self.now,
            });
            if turn > self.now {
                return true;
            }
            leaving.candidate = None;
            // It may have gone by itself meanwhile: then another has its turn.
            if self.is_meant(candidate, leaving) {
                leaving.turn = None;
                leaving.dismissal.ended.fetch_add(1, Relaxed);
                self.drive(candidate, Input::Dismissed(leaving.dismissal.farewell));
            }
        }
        false
    }

    /// Who is in the next slot, if that is somebody who goes in this round; `None` behind the last.
    fn look_at_next(&self, leaving: &mut Leaving) -> Option<Option<SlotId>> {
        if leaving.next >= self.slots.used() {
            leaving.round = match leaving.round {
                Round::Counting => Round::Quiet,
                Round::Quiet => Round::Others,
                Round::Others => return None,
            };
            leaving.next = 0;
            return Some(None);
        }
        let slot = self.slots.id_at(leaving.next);
        leaving.next += 1;
        let Some(slot) = slot.filter(|slot| self.is_meant(*slot, leaving)) else {
            return Some(None);
        };
        let goes = match leaving.round {
            Round::Counting => {
                leaving.dismissal.meant.fetch_add(1, Relaxed);
                false
            }
            Round::Quiet => {
                self.slots.get(slot).is_some_and(|entry| entry.connection.is_quiet(QUIET, self.now))
            }
            Round::Others => true,
        };
        Some(goes.then_some(slot))
    }

    fn is_meant(&self, slot: SlotId, leaving: &Leaving) -> bool {
        self.slots.get(slot).is_some_and(|entry| {
            entry.id <= leaving.newest
                && !entry.connection.is_ending()
                && leaving.dismissal.filter.takes(&entry.connection, leaving.current)
        })
    }
}

/// Slots that are looked at for one dismissal in one turn.
const BATCH: u32 = 64;
/// How long nothing has moved in a connection that ends between two messages.
const QUIET: Duration = Duration::from_millis(100);
