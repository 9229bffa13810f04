//! Judging connections again that are up, when trust or policy has changed or a certificate ends.
//!
//! All of them are looked at, a few in each turn, so that nobody waits for it.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::slots::SlotId;
use super::{Shard, census};
use crate::config::model::Revalidate;
use crate::conn::Input;
use crate::engine::Engine;
use crate::policy::Policy;
use crate::time::Time;

/// What is still to be looked at, and who is still to go.
pub(super) struct Revalidation {
    /// Position of each listener in the current policy, by its index in telemetry.
    positions: HashMap<usize, usize>,
    /// The slot to go on with, and how many are left. An order that comes meanwhile begins there
    /// anew, so that none is passed over by many orders.
    next: u32,
    left: u32,
    /// When a certificate ends that a connection rests on.
    due: Option<Time>,
    /// Connections that are to end in order; each is there once ([`super::Entry::leaving`]).
    leaving: VecDeque<SlotId>,
    /// When the next of them may.
    leave_at: Time,
}

impl Revalidation {
    pub(super) fn new(policy: &Policy, now: Time) -> Self {
        Self {
            positions: positions(policy),
            next: 0,
            left: 0,
            due: None,
            leaving: VecDeque::new(),
            leave_at: now,
        }
    }

    /// Connections are judged under this policy from now on.
    pub(super) fn follow(&mut self, policy: &Policy) {
        self.positions = positions(policy);
    }

    /// When there is something to do.
    pub(super) fn next_deadline(&self, now: Time) -> Option<Time> {
        if self.left > 0 {
            return Some(now);
        }
        let leave = (!self.leaving.is_empty()).then_some(self.leave_at);
        [self.due, leave].into_iter().flatten().min()
    }

    /// A connection rests on certificates that are good for so long.
    fn expect_end(&mut self, now: Time, good_for: Duration) {
        // The wall clock may be set meanwhile.
        let due = now + good_for.min(LONGEST);
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }
}

impl<E: Engine> Shard<E> {
    /// Begins to judge all connections.
    pub(super) fn revalidate_all(&mut self) {
        self.revalidation.left = self.slots.used();
        self.revalidation.due = None;
    }

    /// The part of it that is done in one turn.
    pub(super) fn revalidate_some(&mut self) {
        if self.revalidation.due.is_some_and(|due| due <= self.now) {
            self.revalidate_all();
        }
        for _ in 0..BATCH.min(self.revalidation.left) {
            let index = self.revalidation.next % self.slots.used();
            self.revalidation.next = index + 1;
            self.revalidation.left -= 1;
            if let Some(slot) = self.slots.id_at(index) {
                self.review(slot);
            }
        }
        while self.revalidation.leave_at <= self.now
            && let Some(slot) = self.revalidation.leaving.pop_front()
        {
            self.leave(slot);
        }
    }

    /// A connection has shaken hands, with its peer or its component.
    pub(super) fn settle(&mut self, slot: SlotId) {
        let Some(entry) = self.slots.get(slot) else { return };
        let is_current = Rc::ptr_eq(&entry.generation, self.generations.current());
        if !is_current || entry.connection.is_overdue() {
            // Another policy has come while it did, or a CRL, or a certificate has ended.
            self.review(slot);
        } else if let Some(good_for) = entry.connection.good_for() {
            self.revalidation.expect_end(self.now, good_for);
        }
    }

    fn review(&mut self, slot: SlotId) {
        let policy = Rc::clone(self.generations.current());
        let Some(entry) = self.slots.get_mut(slot) else { return };
        let position = self.revalidation.positions.get(&entry.connection.policy().index);
        let listener = position.map(|position| &*policy.policy.listeners[*position]);
        match entry.connection.revalidate(listener, &mut self.telemetry) {
            Revalidate::Keep => {
                if let Some(good_for) = entry.connection.good_for() {
                    self.revalidation.expect_end(self.now, good_for);
                }
            }
            Revalidate::Drain if entry.leaving => {}
            Revalidate::Drain => {
                entry.leaving = true;
                self.revalidation.leaving.push_back(slot);
            }
            Revalidate::Close => self.expel(slot, Revalidate::Close),
        }
    }

    /// Ends a connection in order whose turn has come, unless it has become good again.
    fn leave(&mut self, slot: SlotId) {
        let Some(entry) = self.slots.get_mut(slot) else { return };
        entry.leaving = false;
        if entry.connection.stale().is_some_and(|stale| stale.fate == Revalidate::Drain) {
            self.revalidation.leave_at = self.now + PACE;
            self.expel(slot, Revalidate::Drain);
        }
    }

    fn expel(&mut self, slot: SlotId, how: Revalidate) {
        // The alert takes the session along, of which the audit would know nothing then.
        if let Some(entry) = self.slots.get_mut(slot)
            && entry.audited.is_none()
        {
            entry.audited = census::enter(&entry.connection, &mut self.census, self.now);
        }
        self.drive(slot, Input::Expelled(how));
    }
}

fn positions(policy: &Policy) -> HashMap<usize, usize> {
    policy.listeners.iter().map(|listener| listener.index).zip(0..).collect()
}

/// Connections that are judged in one turn. By the figures in `tls/trust/crl`, they take 0.04 ms
/// where CAs and paths are the same, and 4 ms where every chain has to be verified anew.
const BATCH: u32 = 64;
/// Time between two connections that end in order: their peers come back, with full handshakes.
const PACE: Duration = Duration::from_millis(10);
/// The longest time without a look at certificates that end.
const LONGEST: Duration = Duration::from_secs(3600);
