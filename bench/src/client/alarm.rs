//! Wakes the event loop at an instant, to the microsecond.
//!
//! epoll_wait takes milliseconds. A start that comes up to a millisecond late would be most of the
//! latency that an open loop is there to measure; a timer descriptor (timerfd_create(2)) is exact.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

#[derive(Debug)]
pub(super) struct Alarm {
    timer: OwnedFd,
    set_for: Option<Instant>,
}

impl Alarm {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set_for: None })
    }

    /// Rings at `instant`; at once when that is over. Replaces an earlier setting.
    pub(super) fn set(&mut self, instant: Instant) -> io::Result<()> {
        if self.set_for == Some(instant) {
            return Ok(());
        }
        self.set_for = Some(instant);
        // Zero would disarm the timer.
        let delay = instant.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: delay.subsec_nanos().into(),
        };
        let setting = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)?;
        Ok(())
    }

    /// It rang: the next [`Self::set`] sets it anew, whatever the instant.
    pub(super) fn rang(&mut self) {
        self.set_for = None;
    }
}
