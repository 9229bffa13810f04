//! Counters of what shards share by need, and therefore the only atomic ones.
//!
//! All operations are relaxed: each value is a number of its own, and no other memory is read on
//! the strength of it.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A counter or gauge with many writers.
#[derive(Debug, Default)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Replaces the value: for gauges that their owner knows.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of the session store, the access log, the legacy lane's child and the control socket.
#[derive(Debug, Default)]
pub struct SharedCounters {
    pub session_hits: SharedCounter,
    pub session_misses: SharedCounter,
    pub session_evictions: SharedCounter,
    /// Gauge.
    pub session_entries: SharedCounter,
    /// Gauge, in bytes.
    pub session_bytes: SharedCounter,
    /// Lines of the access log that were lost: because the queue was full, because the target did
    /// not take them in time, and because it failed.
    pub access_log_dropped_queue: SharedCounter,
    pub access_log_dropped_blocked: SharedCounter,
    pub access_log_dropped_failed: SharedCounter,
    /// Lines that were not to be: connections that others stand for, and those beyond the limit.
    pub access_log_suppressed_sample: SharedCounter,
    pub access_log_suppressed_rate: SharedCounter,
    /// Gauge: 1 while the legacy lane's child takes connections.
    pub legacy_up: SharedCounter,
    /// Children of the legacy lane that were ready, and that have ended without having been told.
    pub legacy_starts: SharedCounter,
    pub legacy_deaths: SharedCounter,
    /// Requests at the control socket for which there was no room, or which were not for who asked.
    pub control_refused: SharedCounter,
}

/// The values of [`SharedCounters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SharedValues {
    pub session_hits: u64,
    pub session_misses: u64,
    pub session_evictions: u64,
    pub session_entries: u64,
    pub session_bytes: u64,
    pub access_log_dropped_queue: u64,
    pub access_log_dropped_blocked: u64,
    pub access_log_dropped_failed: u64,
    pub access_log_suppressed_sample: u64,
    pub access_log_suppressed_rate: u64,
    pub legacy_up: u64,
    pub legacy_starts: u64,
    pub legacy_deaths: u64,
    pub control_refused: u64,
}

impl SharedCounters {
    pub fn read(&self) -> SharedValues {
        SharedValues {
            session_hits: self.session_hits.get(),
            session_misses: self.session_misses.get(),
            session_evictions: self.session_evictions.get(),
            session_entries: self.session_entries.get(),
            session_bytes: self.session_bytes.get(),
            access_log_dropped_queue: self.access_log_dropped_queue.get(),
            access_log_dropped_blocked: self.access_log_dropped_blocked.get(),
            access_log_dropped_failed: self.access_log_dropped_failed.get(),
            access_log_suppressed_sample: self.access_log_suppressed_sample.get(),
            access_log_suppressed_rate: self.access_log_suppressed_rate.get(),
            legacy_up: self.legacy_up.get(),
            legacy_starts: self.legacy_starts.get(),
            legacy_deaths: self.legacy_deaths.get(),
            control_refused: self.control_refused.get(),
        }
    }
}
