//! Handshakes have a part of each turn, behind everything else that the turn has brought.

use std::time::Duration;

use super::slots::SlotId;
use super::{Entry, Shard};
use crate::admission::{Next, Over, Shed};
use crate::conn::Input;
use crate::engine::Engine;
use crate::time::Time;

impl<E: Engine> Shard<E> {
    /// Does what waits until its part of the turn is used up, which `began` then: one step at least,
    /// so that a shard that is busy with traffic takes peers in, however slowly.
    pub(super) fn shake_hands(&mut self, began: Time) {
        if self.handshakes.is_idle(self.now) {
            return;
        }
        let since = self.now;
        let part = LEAST.max((since - began) / SHARE);
        while let Some(next) = self.handshakes.next(self.now) {
            match next {
                Next::Do(slot, class) => {
                    if !self.waits(slot) {
                        continue;
                    }
                    let before = self.now;
                    self.drive(slot, Input::Step);
                    self.now = self.engine.now();
                    self.handshakes.took(class, self.now - before, self.now);
                }
                Next::Late(slot) => {
                    if !self.waits(slot) {
                        continue;
                    }
                    self.shed(slot, Shed::Late);
                    self.now = self.engine.now();
                }
            }
            if self.now - since >= part {
                break;
            }
        }
        self.handshakes.turned(self.now - began, self.now - since, self.now);
    }

    /// Follows what has become of a connection's handshake, after whatever it was driven by.
    pub(super) fn follow_handshake(&mut self, slot: SlotId) {
        let Some(Entry { connection, waits, shaking, .. }) = self.slots.get_mut(slot) else {
            return;
        };
        let (waits_now, shakes_now) = (connection.waits_for_turn(), connection.is_shaking());
        let source = connection.source();
        if let (Some(class), true) = (*waits, waits_now.is_none()) {
            self.handshakes.waits_no_more(class);
            *waits = None;
        }
        match (*shaking, shakes_now) {
            (Some(was), Some(is)) if was != is => {
                self.handshakes.becomes(was, is);
                *shaking = Some(is);
            }
            (Some(over), None) => {
                self.handshakes.over(over);
                *shaking = None;
                if connection.has_failed() {
                    self.handshakes.failed(source, self.now);
                } else if !connection.is_ending() {
                    self.handshakes.succeeded(source);
                }
            }
            _ => {}
        }
        let Some(class) = waits_now.filter(|_| waits.is_none()) else { return };
        *waits = Some(class);
        if shaking.is_some() || shakes_now.is_none() {
            return self.handshakes.go_on(slot, self.now);
        }
        match self.handshakes.begin(slot, class, source, self.now) {
            Ok(begun) => *shaking = Some(begun),
            Err(why) => {
                *waits = None;
                self.shed(slot, why);
            }
        }
    }

    /// The connection is no more.
    pub(super) fn handshake_is_gone(&mut self, entry: &Entry) {
        if let Some(class) = entry.waits {
            self.handshakes.waits_no_more(class);
        }
        if let Some(shaking) = entry.shaking {
            self.handshakes.over(shaking);
            if entry.connection.has_failed() {
                self.handshakes.failed(entry.connection.source(), self.now);
            }
        }
    }

    pub(super) fn shed(&mut self, slot: SlotId, why: Shed) {
        self.note_shed(why);
        self.drive(slot, Input::Shed(why));
    }

    /// Says in the log where it is news that one is refused or dropped.
    pub(super) fn note_shed(&mut self, why: Shed) {
        if self.handshakes.shed(self.now) {
            let (waiting, in_progress) = (self.handshakes.waiting(), self.handshakes.in_progress());
            let age_ms =
                u64::try_from(self.handshakes.age(self.now).as_millis()).unwrap_or(u64::MAX);
            let (shard, cause) = (self.id, why.as_str());
            tracing::warn!(shard, cause, waiting, age_ms, in_progress, "handshakes are shed");
        }
    }

    /// Says when a storm is over.
    pub(super) fn note_calm(&mut self) {
        if let Some(Over { lasted, shed }) = self.handshakes.storm_is_over(self.now) {
            let (shard, lasted) = (self.id, lasted.as_secs_f32());
            tracing::info!(shard, shed, lasted, "handshakes are not shed any more");
        }
    }

    fn waits(&self, slot: SlotId) -> bool {
        self.slots.get(slot).is_some_and(|entry| entry.waits.is_some())
    }
}

/// What handshakes have of a turn at least.
const LEAST: Duration = Duration::from_micros(250);
/// And as a share of what the rest of it has taken: a fourth.
const SHARE: u32 = 4;
