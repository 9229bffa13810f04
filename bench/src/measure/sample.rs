//! One sample: a short load on one target, and the CPU time that the target spent on it.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use tlsgate_bench::client::{Report, Stage, Stop, TlsPlan, run};
use tlsgate_bench::procstat::{self, Usage};

use super::load::{Unit, plan};
use super::rounds::Measurement;

/// A shorter window says nothing: times are read about every 100 ms.
const SHORTEST_WINDOW: Duration = Duration::from_millis(50);

/// What one sample found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Handshakes, round trips, or gigabytes (10^9 bytes) in the window.
    pub(crate) units: f64,
    /// CPU time of the target in the window: user and kernel, all threads.
    pub(crate) cpu: Duration,
    /// Length of the window.
    pub(crate) wall: Duration,
    /// Part of the CPU time that was in user mode; exact to a clock tick.
    pub(crate) user_share: f64,
    /// Part of the window in which the target's CPU was busy with something else.
    pub(crate) foreign_share: f64,
    /// CPU time per unit, in the unit of [`Unit::cost`].
    pub(crate) cost: f64,
}

impl Sample {
    /// Part of the target's CPU that the target used.
    pub(crate) fn saturation(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// Units per second.
    pub(crate) fn rate(&self) -> f64 {
        self.units / self.wall.as_secs_f64()
    }
}

/// What is loaded, and where its time is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'run> {
    pub(crate) address: SocketAddr,
    pub(crate) pids: &'run [u32],
    /// The CPU it is pinned to; none when it shares CPUs with the load, so that what others use
    /// says nothing.
    pub(crate) cpu: Option<usize>,
    /// The CPUs of the client, which has a thread for each.
    pub(crate) client_cpus: &'run [usize],
    pub(crate) clock: Clock,
}

/// How a target's CPU time is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// To the nanosecond, of threads that live: for servers whose threads stay.
    Threads,
    /// To a clock tick, also of threads that have ended: for servers with a thread for each
    /// connection.
    Ticks,
}

/// Loads the subject for `length` and reads its CPU time; none when it did no work.
///
/// # Errors
/// When the load had errors, or a reading failed.
pub(crate) fn take(
    test: impl Measurement,
    subject: Subject<'_>,
    tls: Option<TlsPlan>,
    length: Duration,
) -> Result<Option<Sample>, String> {
    let stop = Stop { after: length, count: None };
    let plan = plan(subject.address, tls, test.load(), stop, subject.client_cpus);
    let before = Reading::take(subject, 0)?;
    let mut window: Option<(Reading, Reading)> = None;
    let mut broken = None;
    let report = run(&plan, |progress| {
        if progress.stage == Stage::Measure {
            match Reading::take(subject, progress.done) {
                Ok(now) => window = Some((window.map_or(now, |(first, _)| first), now)),
                Err(error) => broken = Some(error),
            }
        }
    })
    .map_err(|error| error.to_string())?;
    let after = Reading::take(subject, report.done)?;
    clean(&report)?;
    if let Some(error) = broken {
        return Err(error);
    }
    Ok(match test.unit() {
        // A body is too large a unit for a window; four handshakes are nothing beside it.
        Unit::Gigabyte => between(test.unit(), before, after, gigabytes(&report)),
        Unit::Handshake | Unit::RoundTrip => window.and_then(|(first, last)| {
            between(test.unit(), first, last, float(last.done - first.done))
        }),
    })
}

/// # Errors
/// What went wrong with operations.
pub(crate) fn clean(report: &Report) -> Result<(), String> {
    let errors: Vec<String> = report
        .errors
        .iter()
        .map(|(kind, errors)| format!("{} × {kind} ({})", errors.count, errors.example))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join(", ")) }
}

fn between(unit: Unit, first: Reading, last: Reading, units: f64) -> Option<Sample> {
    let wall = last.at - first.at;
    let used = last.usage.since(&first.usage);
    let cpu = match first.clock {
        Clock::Threads => used.on_cpu,
        Clock::Ticks => used.user + used.system,
    };
    if wall < SHORTEST_WINDOW || units <= 0.0 || cpu.is_zero() {
        return None;
    }
    let split = (used.user + used.system).as_secs_f64();
    let busy = last.busy.saturating_sub(first.busy).saturating_sub(cpu);
    Some(Sample {
        units,
        cpu,
        wall,
        user_share: if split > 0.0 { used.user.as_secs_f64() / split } else { 0.0 },
        foreign_share: busy.as_secs_f64() / wall.as_secs_f64(),
        cost: unit.quote(cpu, units),
    })
}

fn gigabytes(report: &Report) -> f64 {
    float(report.bytes_received.max(report.bytes_sent)) / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    done: u64,
    usage: Usage,
    /// Time that the target's CPU was not idle, whoever used it.
    busy: Duration,
    clock: Clock,
}

impl Reading {
    fn take(subject: Subject<'_>, done: u64) -> Result<Self, String> {
        let mut usage = Usage::default();
        for pid in subject.pids {
            let time = procstat::cpu_time(*pid);
            usage += time.map_err(|error| format!("process {pid} has gone: {error}"))?;
        }
        let at = Instant::now();
        let busy = subject.cpu.map_or(Ok(Duration::ZERO), busy_time)?;
        Ok(Self { at, done, usage, busy, clock: subject.clock })
    }
}

/// How long a CPU has been busy up to now, whoever used it.
///
/// # Errors
/// When the kernel does not say so.
pub(crate) fn busy_time(cpu: usize) -> Result<Duration, String> {
    let text = fs::read_to_string("/proc/stat").map_err(|error| error.to_string())?;
    busy(&text, cpu).ok_or_else(|| "cannot understand /proc/stat".to_owned())
}

/// Busy time of one CPU: all fields but idle and iowait, steal included (proc(5)).
fn busy(stat: &str, cpu: usize) -> Option<Duration> {
    let name = format!("cpu{cpu} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(name.as_str()))?;
    let fields: Vec<u64> =
        line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    let (&[user, nice, system, _idle, _iowait, irq, softirq, steal], _) =
        fields.split_first_chunk::<8>()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let ticks = user + nice + system + irq + softirq + steal;
    Some(Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / per_second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: Instant, millis: u64, cpu: u64) -> Reading {
        let on_cpu = Duration::from_millis(cpu);
        let usage = Usage { on_cpu, user: on_cpu / 4, system: on_cpu * 3 / 4, ..Usage::default() };
        let busy = Duration::from_millis(cpu * 5 / 4);
        let at = at + Duration::from_millis(millis);
        Reading { at, done: 0, usage, busy, clock: Clock::Threads }
    }

    #[test]
    fn a_sample_is_what_happened_between_two_readings() {
        let start = Instant::now();
        let (first, last) = (reading(start, 0, 1000), reading(start, 500, 1400));
        let sample = between(Unit::RoundTrip, first, last, 20_000.0).expect("work");
        assert!((sample.cost - 20.0).abs() < 1e-9, "{sample:?}");
        assert!((sample.saturation() - 0.8).abs() < 1e-9, "{sample:?}");
        assert!((sample.rate() - 40_000.0).abs() < 1e-6, "{sample:?}");
        assert!((sample.user_share - 0.25).abs() < 1e-9, "{sample:?}");
        assert!((sample.foreign_share - 0.2).abs() < 1e-9, "{sample:?}");
    }

    #[test]
    fn threads_that_have_ended_count_by_ticks() {
        let start = Instant::now();
        let mut readings = [reading(start, 0, 1000), reading(start, 500, 1400)];
        for reading in &mut readings {
            reading.clock = Clock::Ticks;
            // As if every thread were new.
            reading.usage.on_cpu = Duration::ZERO;
        }
        let [first, last] = readings;
        let sample = between(Unit::Handshake, first, last, 1000.0).expect("work");
        assert!((sample.cost - 400.0).abs() < 1e-9, "{sample:?}");
    }

    #[test]
    fn nothing_done_is_no_sample() {
        let start = Instant::now();
        let (first, last) = (reading(start, 0, 0), reading(start, 500, 400));
        assert!(between(Unit::Handshake, first, last, 0.0).is_none());
        assert!(between(Unit::Handshake, first, reading(start, 10, 400), 5.0).is_none());
        assert!(between(Unit::Handshake, first, reading(start, 500, 0), 5.0).is_none());
    }

    #[test]
    fn busy_is_all_but_idle() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu1 1 2 3 100 100 4 5 6 7 8\n";
        let tick = 1000 / rustix::param::clock_ticks_per_second();
        assert_eq!(busy(text, 1), Some(Duration::from_millis(21 * tick)));
        assert_eq!(busy(text, 0), None);
    }
}
