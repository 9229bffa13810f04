//! What the threads of a run share: how far each one is. Measuring starts when all are prepared.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::Stage;

const PREPARING: u8 = 0;
const PREPARED: u8 = 1;
const HOLDING: u8 = 2;
const MEASURING: u8 = 3;
const DRAINING: u8 = 4;
const GONE: u8 = 5;

/// One [`Desk`] per thread; each is written by its thread only.
#[derive(Debug)]
pub(super) struct Gate {
    desks: Vec<Desk>,
    aborted: AtomicBool,
}

/// The state of one thread; the alignment keeps threads off each other's cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Desk {
    stage: AtomicU8,
    pub(super) done: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) open: AtomicU64,
}

impl Desk {
    pub(super) fn enter(&self, stage: Stage) {
        let stage = match stage {
            Stage::Prepare => PREPARING,
            Stage::Hold => HOLDING,
            Stage::Measure => MEASURING,
            Stage::Drain => DRAINING,
        };
        self.stage.store(stage, Ordering::Release);
    }

    /// The thread has nothing left to prepare.
    pub(super) fn prepared(&self) {
        self.stage.store(PREPARED, Ordering::Release);
    }
}

impl Gate {
    pub(super) fn new(threads: usize) -> Self {
        let desks = (0..threads).map(|_| Desk::default()).collect();
        Self { desks, aborted: AtomicBool::new(false) }
    }

    pub(super) fn desk(&self, thread: usize) -> &Desk {
        &self.desks[thread]
    }

    /// One thread could not go on: there will be no report, and the others need not finish.
    pub(super) fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Makes the thread leave when the value goes.
    pub(super) fn leave_on_drop(&self, thread: usize) -> impl Drop + '_ {
        Leave { gate: self, thread }
    }

    /// Whether every thread is prepared, or will never be.
    pub(super) fn is_open(&self) -> bool {
        self.desks.iter().all(|desk| desk.stage.load(Ordering::Acquire) != PREPARING)
    }

    /// The stage of the slowest thread.
    pub(super) fn stage(&self) -> Stage {
        let stages = self.desks.iter().map(|desk| desk.stage.load(Ordering::Acquire));
        match stages.min() {
            Some(PREPARING | PREPARED) => Stage::Prepare,
            Some(HOLDING) => Stage::Hold,
            Some(MEASURING) => Stage::Measure,
            _ => Stage::Drain,
        }
    }

    pub(super) fn done(&self) -> u64 {
        self.sum(|desk| &desk.done)
    }

    pub(super) fn errors(&self) -> u64 {
        self.sum(|desk| &desk.errors)
    }

    pub(super) fn open(&self) -> u64 {
        self.sum(|desk| &desk.open)
    }

    fn sum(&self, counter: impl Fn(&Desk) -> &AtomicU64) -> u64 {
        self.desks.iter().map(|desk| counter(desk).load(Ordering::Relaxed)).sum()
    }
}

struct Leave<'gate> {
    gate: &'gate Gate,
    thread: usize,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.gate.desk(self.thread).stage.store(GONE, Ordering::Release);
    }
}
