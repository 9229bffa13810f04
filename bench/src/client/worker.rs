//! One thread of a run: its event loop, and which slot starts what when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::alarm::Alarm;
use super::effort::Look;
use super::exchange::Template;
use super::failure::ErrorKind;
use super::flow::{Flow, Period};
use super::gate::{Desk, Gate};
use super::plan::{Pace, Workload};
use super::rates::Arrivals;
use super::resumption::Resumption;
use super::retry::Retries;
use super::schedule::{Lot, Schedule};
use super::share::Share;
use super::slots::{Ended, Slots, Task};
use super::timeline::Piece;
use super::tls::TlsSetup;
use super::{Error, Stage, pin};

const ALARM: Token = Token(usize::MAX - 1);

/// How often deadlines are looked at, and thus how late a timeout may be.
const TICK: Duration = Duration::from_millis(50);

/// How often a prepared thread looks whether the others are.
const GATE_TICK: Duration = Duration::from_millis(1);

/// Connections that one thread opens at a time while it prepares: a target's accept queue is not
/// what a preparation is to test.
const PREPARE_WINDOW: usize = 64;

/// Rest of a slot after an error, so that a dead target does not make a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct Worker<'run> {
    flow: &'run Flow,
    share: Share,
    poll: Poll,
    slots: Slots<'run>,
    alarm: Alarm,
    gate: &'run Gate,
    stage: Inner,
    /// Slots that may start an operation, and since when; who has waited longest comes first.
    free: VecDeque<(usize, Instant)>,
    /// Slots that become free at an instant.
    resting: BinaryHeap<Reverse<(Instant, usize)>>,
    /// The schedule of the thread (open loop), or one per slot (a rate per connection), or none.
    schedules: Vec<Schedule>,
    /// Operations that may still be started.
    left: u64,
    last_end: Option<Instant>,
    resumption: Resumption,
    /// What is to be tried again, and connections that are to come back.
    retries: Retries,
    /// When all flows were prepared.
    opened: Instant,
    /// Number and times of the period that is, or comes next.
    period: (usize, Period),
    /// When measuring began, and how.
    began: Option<(Instant, Option<Look>)>,
}

/// The stage, with what belongs to it.
#[derive(Clone, Copy, Debug)]
enum Inner {
    Preparing {
        next: usize,
    },
    AtGate,
    /// Until the next period, or until connections have been held long enough.
    Holding {
        until: Instant,
    },
    Measuring {
        end: Option<Instant>,
    },
    Draining {
        end: Instant,
    },
    Finished,
}

impl<'run> Worker<'run> {
    /// Must be called on the thread that will run it.
    pub(super) fn new(
        flow: &'run Flow,
        share: Share,
        tls: Option<TlsSetup>,
        template: Template,
        gate: &'run Gate,
    ) -> Result<Self, Error> {
        if let Some(cpu) = share.cpu {
            pin::to(cpu)?;
        }
        let poll = Poll::new().map_err(Error::io("create an epoll instance"))?;
        let registry =
            poll.registry().try_clone().map_err(Error::io("share the epoll instance"))?;
        let alarm = Alarm::new(poll.registry(), ALARM).map_err(Error::io("create a timer"))?;
        let desk = gate.desk(share.desk);
        let slots = Slots::new(flow, share, tls, template, registry, desk);
        let period = flow.period(0).expect("a flow has a first period");
        Ok(Self {
            flow,
            share,
            poll,
            slots,
            alarm,
            gate,
            stage: Inner::Preparing { next: 0 },
            free: VecDeque::new(),
            resting: BinaryHeap::new(),
            schedules: Vec::new(),
            left: share.count.unwrap_or(u64::MAX),
            last_end: None,
            resumption: Resumption::new(&flow.plan.workload),
            retries: Retries::default(),
            opened: Instant::now(),
            period: (0, period),
            began: None,
        })
    }

    /// Runs to the end, and tells what is found, the last of it before it returns.
    pub(super) fn run(mut self, mut tell: impl FnMut(Piece)) -> Result<(), Error> {
        let mut events = Events::with_capacity(1024);
        let mut next_tick = Instant::now() + TICK;
        loop {
            let now = Instant::now();
            self.slots.recorder.roll(now).map(&mut tell);
            if now >= next_tick {
                self.slots.expire(now);
                next_tick = now + TICK;
            }
            self.collect();
            // Read after collecting: what that found due is due now.
            self.step(Instant::now());
            if self.gate.is_aborted() {
                return Ok(());
            }
            if let Inner::Finished = self.stage {
                let end = self.last_end.unwrap_or_else(Instant::now);
                let since = self.began.map_or(end, |(since, _)| since);
                let report = &mut self.slots.recorder.current;
                report.elapsed = end.saturating_duration_since(since);
                tell(self.slots.recorder.take());
                return Ok(());
            }
            self.wait(&mut events)?;
            for event in &events {
                match event.token() {
                    ALARM => self.alarm.rang(),
                    Token(slot) => {
                        let readable = event.is_readable() || event.is_error();
                        self.slots.event(slot, readable, event.is_read_closed());
                    }
                }
            }
            self.slots.drive_ready();
        }
    }

    fn desk(&self) -> &'run Desk {
        self.gate.desk(self.share.desk)
    }

    /// Waits for events, the next start, or the next look at the deadlines.
    fn wait(&mut self, events: &mut Events) -> Result<(), Error> {
        let timeout = match self.stage {
            _ if self.slots.has_ready() => Duration::ZERO,
            Inner::AtGate => GATE_TICK,
            _ => TICK,
        };
        if let Some(instant) = self.next_start() {
            self.alarm.set(instant).map_err(Error::io("set a timer"))?;
        }
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result.map_err(Error::io("wait for events")),
        }
    }

    /// When something is to be started next that no event will tell of.
    fn next_start(&self) -> Option<Instant> {
        let again = self.retries.due().into_iter();
        match self.stage {
            Inner::Measuring { .. } => {}
            Inner::Holding { until } => return again.chain([until]).min(),
            Inner::Draining { .. } => return again.min(),
            _ => return None,
        }
        let rested = self.resting.peek().map(|Reverse((instant, _))| *instant);
        let due = match self.period.1.pace {
            Pace::Open { .. } if !self.free.is_empty() => self.schedules.first().map(Schedule::due),
            _ => None,
        };
        again.chain(rested).chain(due).min()
    }

    /// Takes note of tasks that ended.
    fn collect(&mut self) {
        let (ended, lost) = (self.slots.take_ended(), self.slots.take_lost());
        if ended.is_empty() && lost.is_empty() {
            return;
        }
        let now = Instant::now();
        for slot in lost {
            let at = now + self.flow.plan.workload.returns_after(self.share.desk, slot);
            let resumes = self.resumption.next();
            self.retries.add(at, slot, Task::Operation { intended: at, resumes, attempt: 1 });
        }
        for Ended { slot, task, failed } in ended {
            if let Task::Operation { intended, resumes, attempt } = task {
                self.last_end = Some(now);
                if let Some(wait) = self.flow.wait_behind(task).filter(|_| failed) {
                    let attempt = attempt + 1;
                    let task = Task::Operation { intended, resumes, attempt };
                    self.retries.add(now + wait, slot, task);
                    continue;
                }
            }
            let per_slot = self.per_slot_schedules();
            let rest = match self.schedules.get(slot) {
                Some(schedule) if per_slot => Some(schedule.due()),
                _ => None,
            };
            let rest = if failed { rest.max(Some(now + ERROR_PAUSE)) } else { rest };
            match rest {
                Some(until) if until > now => self.resting.push(Reverse((until, slot))),
                _ => self.free.push_back((slot, now)),
            }
        }
    }

    /// Whether each slot has a schedule of its own.
    fn per_slot_schedules(&self) -> bool {
        matches!(self.flow.plan.workload, Workload::Messages { per_connection_rate: Some(_), .. })
    }

    /// Starts what is to be started in this stage, and enters the next one when it is time.
    fn step(&mut self, now: Instant) {
        while let Some((slot, task)) = self.retries.take(now) {
            self.slots.start(slot, task);
        }
        match self.stage {
            Inner::Preparing { next } => self.prepare(next),
            Inner::AtGate if self.gate.is_open() => self.pass_gate(),
            Inner::Holding { until } if now >= until => self.measure(until),
            Inner::AtGate | Inner::Holding { .. } | Inner::Finished => {}
            Inner::Measuring { end } => {
                // Also of a turn that comes late: what was due before the end has its start.
                self.start_due(now, end);
                if end.is_some_and(|end| now >= end) || self.left == 0 {
                    self.end_period(end.map_or(now, |end| end.min(now)));
                }
            }
            Inner::Draining { end } => {
                if now >= end + self.flow.plan.timeout {
                    self.slots.abandon();
                    self.collect();
                    let detail = "it was still to be tried again when the run had to end";
                    let given_up = self.retries.give_up();
                    self.slots.recorder.current.add_errors(ErrorKind::GaveUp, given_up, detail);
                }
                if self.slots.busy() == 0 && self.retries.is_empty() {
                    self.stage = Inner::Finished;
                }
            }
        }
    }

    fn prepare(&mut self, next: usize) {
        let mut next = next;
        if !self.flow.plan.workload.needs_preparation() {
            let now = Instant::now();
            self.free.extend((0..self.slots.len()).map(|slot| (slot, now)));
            next = self.slots.len();
        }
        while next < self.slots.len() && self.slots.busy() < PREPARE_WINDOW {
            self.slots.start(next, Task::Prepare);
            next += 1;
        }
        self.stage = Inner::Preparing { next };
        if next == self.slots.len() && self.slots.busy() == 0 && !self.slots.has_ready() {
            self.desk().prepared();
            self.stage = Inner::AtGate;
            self.step(Instant::now());
        }
    }

    fn pass_gate(&mut self) {
        self.opened = Instant::now();
        let (_, Period { start, .. }) = self.period;
        if let Workload::Idle { hold } = self.flow.plan.workload {
            self.desk().enter(Stage::Hold);
            self.stage = Inner::Holding { until: self.opened + start + hold };
        } else {
            self.await_period();
        }
    }

    fn await_period(&mut self) {
        self.desk().enter(Stage::Measure);
        let (now, until) = (Instant::now(), self.opened + self.period.1.start);
        if until <= now {
            self.measure(until);
        } else {
            self.stage = Inner::Holding { until };
        }
    }

    /// Begins a period, as of `since`.
    fn measure(&mut self, since: Instant) {
        self.desk().enter(Stage::Measure);
        let end = match self.flow.plan.workload {
            Workload::Idle { .. } => {
                // A connection that was lost has been counted as an error already.
                self.free.extend(self.resting.drain().map(|Reverse((_, slot))| (slot, since)));
                self.free.retain(|(slot, _)| self.slots.is_connected(*slot));
                self.left = self.free.len() as u64;
                None
            }
            _ => Some(since + self.period.1.length),
        };
        self.schedules = self.new_schedules(since);
        if self.per_slot_schedules() {
            self.free.clear();
            self.resting.clear();
            let due = self.schedules.iter().map(Schedule::due).enumerate();
            // One that is busy since an earlier period rests when it is done.
            let idle = due.filter(|(slot, _)| !self.slots.is_busy(*slot));
            self.resting.extend(idle.map(|(slot, due)| Reverse((due, slot))));
        }
        self.began.get_or_insert_with(|| (since, Look::now()));
        self.stage = Inner::Measuring { end };
        self.step(Instant::now());
    }

    fn new_schedules(&self, since: Instant) -> Vec<Schedule> {
        let Share { number, threads, .. } = self.share;
        match (self.period.1.pace, self.flow.plan.workload) {
            (Pace::Open { arrivals, .. }, _) => {
                vec![Schedule::new(since, &arrivals, Lot { of: threads, number })]
            }
            (pace, Workload::Messages { per_connection_rate: Some(rate), .. }) => {
                // Spread over the interval, so that they do not all send at the same time.
                let of = pace.concurrency();
                #[expect(clippy::cast_precision_loss, reason = "a number of connections is small")]
                let arrivals = Arrivals::even(rate * of as f64);
                let lot = |slot| Lot { of, number: slot * threads + number };
                (0..self.slots.len())
                    .map(|slot| Schedule::new(since, &arrivals, lot(slot)))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Starts every operation whose time has come, before `end`, and that has a slot.
    fn start_due(&mut self, now: Instant, end: Option<Instant>) {
        while let Some(Reverse((instant, slot))) = self.resting.peek().copied()
            && instant <= now
        {
            self.resting.pop();
            // It rested until it was due, so it has been free since then.
            self.free.push_back((slot, instant));
        }
        // Each slot at most once, or slots that fail at once would never end this turn.
        for _ in 0..self.free.len() {
            if self.left == 0 {
                return;
            }
            let Some((slot, free_since)) = self.free.front().copied() else { return };
            if self.slots.is_busy(slot) || self.retries.is_waiting(slot) {
                // It lost its connection: it is free again when that is back.
                self.free.pop_front();
                continue;
            }
            let per_slot = self.per_slot_schedules();
            let schedule = self.schedules.get_mut(if per_slot { slot } else { 0 });
            let intended = match schedule {
                // Without a schedule the time is now.
                None if end.is_some_and(|end| now >= end) => return,
                None => Instant::now(),
                Some(schedule)
                    if schedule.due() <= now && end.is_none_or(|end| schedule.is_before(end)) =>
                {
                    let due = schedule.due();
                    schedule.advance();
                    let late = due.max(free_since).elapsed();
                    self.slots.recorder.current.late.record(late);
                    self.slots.recorder.current.due += 1;
                    due
                }
                Some(_) if per_slot => {
                    self.free.rotate_left(1);
                    continue;
                }
                Some(_) => return,
            };
            self.free.pop_front();
            self.left -= 1;
            let resumes = self.resumption.next();
            self.slots.start(slot, Task::Operation { intended, resumes, attempt: 1 });
        }
    }

    /// Counts the starts that should have been, and waits for the next period, or for the end of what
    /// has started.
    fn end_period(&mut self, end: Instant) {
        let missed: u64 = self.schedules.iter().map(|schedule| schedule.missed(end)).sum();
        let detail = "no connection was free before the run ended";
        let missed = missed.min(self.left);
        let report = &mut self.slots.recorder.current;
        report.add_errors(ErrorKind::NotStarted, missed, detail);
        report.due += missed;
        let next = self.period.0 + 1;
        match self.flow.period(next).filter(|_| self.left > 0) {
            Some(period) => {
                self.period = (next, period);
                self.await_period();
            }
            None => self.drain(end),
        }
    }

    /// Starts no more operations.
    fn drain(&mut self, end: Instant) {
        self.desk().enter(Stage::Drain);
        let looks = Look::now().zip(self.began.and_then(|(_, look)| look));
        self.slots.recorder.current.effort = looks.and_then(|(now, began)| now.since(&began));
        self.stage = Inner::Draining { end };
    }
}

#[cfg(test)]
mod tests;
