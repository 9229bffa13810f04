//! CPU time that the engine may spend to answer sooner.

use std::time::Duration;

/// None of it by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polling {
    pub submitter: Option<Submitter>,
    /// How long to look for completions before the thread sleeps.
    pub busy: Duration,
}

/// A thread of the kernel that submits what the engine starts (IORING_SETUP_SQPOLL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitter {
    /// Where it stays; `None` is wherever the scheduler puts it.
    pub cpu: Option<u32>,
    /// After so long without work it sleeps, and waking it takes a system call. Whole milliseconds.
    pub idle: Duration,
}
