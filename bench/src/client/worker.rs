//! One thread of a run: its event loop, and which slot starts what when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::alarm::Alarm;
use super::effort::Look;
use super::exchange::Template;
use super::failure::ErrorKind;
use super::gate::{Desk, Gate};
use super::plan::{Pace, Plan, Workload};
use super::rates::Arrivals;
use super::schedule::{Lot, Schedule};
use super::share::Share;
use super::slots::{Ended, Slots, Task};
use super::timeline::Piece;
use super::tls::TlsSetup;
use super::{Error, Stage};

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
    plan: &'run Plan,
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
    /// The share of operations that resume, and how many have been chosen for either.
    resumption: Resumption,
    /// How measuring began.
    began: Option<Look>,
}

/// Chooses operations so that the share of those that resume is exact at any time.
#[derive(Debug)]
struct Resumption {
    share: f64,
    chosen: u64,
    resumed: u64,
}

impl Resumption {
    fn new(workload: &Workload) -> Self {
        let share = match *workload {
            Workload::Handshakes { resumed } => resumed,
            _ => 0.0,
        };
        Self { share, chosen: 0, resumed: 0 }
    }

    /// Whether the next operation resumes.
    fn next(&mut self) -> bool {
        self.chosen += 1;
        #[expect(clippy::cast_precision_loss, reason = "2^53 operations take longer than any run")]
        let (wanted, resumed) = (self.chosen as f64 * self.share, self.resumed as f64);
        let resumes = wanted - resumed >= 0.5;
        self.resumed += u64::from(resumes);
        resumes
    }
}

/// The stage, with what belongs to it.
#[derive(Clone, Copy, Debug)]
enum Inner {
    Preparing { next: usize },
    AtGate,
    Holding { until: Instant },
    Measuring { since: Instant, end: Option<Instant> },
    Draining { since: Instant, end: Instant },
    Finished { since: Instant },
}

impl<'run> Worker<'run> {
    /// Must be called on the thread that will run it.
    pub(super) fn new(
        plan: &'run Plan,
        share: Share,
        tls: Option<TlsSetup>,
        template: Template,
        gate: &'run Gate,
    ) -> Result<Self, Error> {
        if let Some(cpu) = share.cpu {
            pin(cpu)?;
        }
        let poll = Poll::new().map_err(Error::io("create an epoll instance"))?;
        let registry =
            poll.registry().try_clone().map_err(Error::io("share the epoll instance"))?;
        let alarm = Alarm::new(poll.registry(), ALARM).map_err(Error::io("create a timer"))?;
        let desk = gate.desk(share.number);
        let slots = Slots::new(plan, share, tls, template, registry, desk);
        Ok(Self {
            plan,
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
            resumption: Resumption::new(&plan.workload),
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
            if let Inner::Finished { since } = self.stage {
                let end = self.last_end.unwrap_or_else(Instant::now);
                let report = &mut self.slots.recorder.current;
                report.elapsed = end.saturating_duration_since(since);
                tell(self.slots.recorder.take());
                return Ok(());
            }
            self.wait(&mut events)?;
            for event in &events {
                match event.token() {
                    ALARM => self.alarm.rang(),
                    Token(slot) => self.slots.event(slot, event.is_read_closed()),
                }
            }
            self.slots.drive_ready();
        }
    }

    fn desk(&self) -> &'run Desk {
        self.gate.desk(self.share.number)
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
        let Inner::Measuring { .. } = self.stage else { return None };
        let rested = self.resting.peek().map(|Reverse((instant, _))| *instant);
        let due = match self.plan.pace {
            Pace::Open { .. } if !self.free.is_empty() => self.schedules.first().map(Schedule::due),
            _ => None,
        };
        rested.into_iter().chain(due).min()
    }

    /// Takes note of tasks that ended.
    fn collect(&mut self) {
        let ended = self.slots.take_ended();
        if ended.is_empty() {
            return;
        }
        let now = Instant::now();
        for Ended { slot, task, failed } in ended {
            if matches!(task, Task::Operation { .. }) {
                self.last_end = Some(now);
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
        matches!(self.plan.workload, Workload::Messages { per_connection_rate: Some(_), .. })
    }

    /// Starts what is to be started in this stage, and enters the next one when it is time.
    fn step(&mut self, now: Instant) {
        match self.stage {
            Inner::Preparing { next } => self.prepare(next),
            Inner::AtGate if self.gate.is_open() => self.pass_gate(),
            Inner::Holding { until } if now >= until => self.measure(),
            Inner::AtGate | Inner::Holding { .. } | Inner::Finished { .. } => {}
            Inner::Measuring { since, end } => {
                // Also of a turn that comes late: what was due before the end has its start.
                self.start_due(now, end);
                if end.is_some_and(|end| now >= end) || self.left == 0 {
                    let end = end.map_or(now, |end| end.min(now));
                    self.drain(since, end);
                }
            }
            Inner::Draining { since, end } => {
                if now >= end + self.plan.timeout {
                    self.slots.abandon();
                    self.collect();
                }
                if self.slots.busy() == 0 {
                    self.stage = Inner::Finished { since };
                }
            }
        }
    }

    fn prepare(&mut self, next: usize) {
        let mut next = next;
        if !self.plan.workload.needs_preparation() {
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
        if let Workload::Idle { hold } = self.plan.workload {
            self.desk().enter(Stage::Hold);
            self.stage = Inner::Holding { until: Instant::now() + hold };
        } else {
            self.measure();
        }
    }

    fn measure(&mut self) {
        let now = Instant::now();
        self.desk().enter(Stage::Measure);
        let end = match self.plan.workload {
            Workload::Idle { .. } => {
                // A connection that was lost has been counted as an error already.
                self.free.extend(self.resting.drain().map(|Reverse((_, slot))| (slot, now)));
                self.free.retain(|(slot, _)| self.slots.is_connected(*slot));
                self.left = self.free.len() as u64;
                None
            }
            _ => Some(now + self.plan.stop.after),
        };
        self.schedules = self.new_schedules(now);
        if self.per_slot_schedules() {
            self.free.clear();
            self.resting.clear();
            let due = self.schedules.iter().map(Schedule::due);
            self.resting.extend(due.enumerate().map(|(slot, due)| Reverse((due, slot))));
        }
        self.began = Look::now();
        self.stage = Inner::Measuring { since: now, end };
        self.step(now);
    }

    fn new_schedules(&self, now: Instant) -> Vec<Schedule> {
        let Share { number, threads, .. } = self.share;
        match (self.plan.pace, self.plan.workload) {
            (Pace::Open { arrivals, .. }, _) => {
                vec![Schedule::new(now, &arrivals, Lot { of: threads, number })]
            }
            (pace, Workload::Messages { per_connection_rate: Some(rate), .. }) => {
                // Spread over the interval, so that they do not all send at the same time.
                let of = pace.concurrency();
                #[expect(clippy::cast_precision_loss, reason = "a number of connections is small")]
                let arrivals = Arrivals::even(rate * of as f64);
                let lot = |slot| Lot { of, number: slot * threads + number };
                (0..self.slots.len()).map(|slot| Schedule::new(now, &arrivals, lot(slot))).collect()
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
            self.slots.start(slot, Task::Operation { intended, resumes });
        }
    }

    /// Starts no more operations, and counts those that should have been.
    fn drain(&mut self, since: Instant, end: Instant) {
        self.desk().enter(Stage::Drain);
        let missed: u64 = self.schedules.iter().map(|schedule| schedule.missed(end)).sum();
        let detail = "no connection was free before the run ended";
        let missed = missed.min(self.left);
        let report = &mut self.slots.recorder.current;
        report.add_errors(ErrorKind::NotStarted, missed, detail);
        report.due += missed;
        report.effort = Look::now().zip(self.began).and_then(|(now, began)| now.since(&began));
        self.stage = Inner::Draining { since, end };
    }
}

fn pin(cpu: usize) -> Result<(), Error> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(Error::Plan(format!("there is no CPU {cpu}")));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|errno| Error::io("pin a thread to a CPU")(errno.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::client::Stop;

    /// A turn that comes only after the end: operations that started, and those missing.
    fn late(pace: Pace) -> (usize, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let plan = Plan {
            target: listener.local_addr().expect("an address"),
            tls: None,
            workload: Workload::Handshakes { resumed: 0.0 },
            pace,
            stop: Stop { after: Duration::from_secs(20), count: None },
            timeout: Duration::from_secs(10),
            threads: 1,
            cpus: Vec::new(),
        };
        let gate = Gate::new(1);
        let template = Template::new(&plan.workload);
        let share = Share::of(&plan, &[], 0);
        let mut worker = Worker::new(&plan, share, None, template, &gate).expect("a worker");
        worker.step(Instant::now());
        let Inner::Measuring { end: Some(end), .. } = worker.stage else {
            panic!("it has nothing to prepare: {:?}", worker.stage);
        };
        // All that has started is over, so every slot is free.
        worker.slots.abandon();
        worker.collect();
        worker.step(end + TICK);
        assert!(matches!(worker.stage, Inner::Draining { .. }), "{:?}", worker.stage);
        let missing = worker.slots.recorder.current.errors_of(ErrorKind::NotStarted);
        (worker.slots.busy(), missing)
    }

    #[test]
    fn what_was_due_before_the_end_starts_after_it_where_a_connection_is_free() {
        // Due at 0 s, 5 s, 10 s and 15 s; not at 20 s, which is the end.
        let arrivals = Arrivals::even(0.2);
        assert_eq!(late(Pace::Open { arrivals, concurrency: 8 }), (3, 0));
        assert_eq!(late(Pace::Open { arrivals, concurrency: 2 }), (2, 1));
        assert_eq!(late(Pace::Closed { concurrency: 2 }), (0, 0));
    }
}
