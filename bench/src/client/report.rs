//! What a run found out. Reports of threads, and of runs, can be merged.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::{ErrorKind, Failure};
use super::latency::Latency;
use super::timeline::Interval;

/// Result of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Operations that succeeded.
    pub done: u64,
    /// Errors by kind.
    pub errors: BTreeMap<ErrorKind, Errors>,
    /// Errors by kind of attempts behind which there was another one; [`Self::errors`] has none of them.
    #[serde(default)]
    pub retried: BTreeMap<ErrorKind, Errors>,
    /// Connections that were lost while nothing was asked of them, where that was to be expected.
    #[serde(default)]
    pub lost: u64,
    /// Handshakes without resumption, those of preparations included.
    pub handshakes_full: u64,
    /// Handshakes that resumed a session.
    pub handshakes_resumed: u64,
    /// Connections that got established.
    pub connections: u64,
    /// Application bytes sent by operations that succeeded.
    pub bytes_sent: u64,
    /// Application bytes received by operations that succeeded.
    pub bytes_received: u64,
    /// From the start of the first operation to the end of the last; preparations are before it.
    pub elapsed: Duration,
    /// Connection request until connected.
    pub connect: Latency,
    /// Connected until handshake over, full handshakes.
    pub handshake_full: Latency,
    /// Connected until handshake over, resumed handshakes.
    pub handshake_resumed: Latency,
    /// Request sent until the first byte of the answer.
    pub first_byte: Latency,
    /// Intended start until the operation was complete.
    pub total: Latency,
    /// Operations among [`Self::done`] whose handshake resumed a session.
    pub resumed: u64,
    /// Starts that had their times, until the run ended; those that were not made are errors.
    pub due: u64,
    /// How late starts of an open loop were though a connection was free: the client's own doing.
    pub late: Latency,
    /// What the client's threads did with their time.
    pub effort: Option<Effort>,
    /// What happened in each second of the clock, by seconds since 1970.
    pub timeline: BTreeMap<u64, Interval>,
}

/// What the busiest thread of a client did with its time while it measured, as shares of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effort {
    /// It ran.
    pub busy: f64,
    /// It could have run, but its CPU was taken.
    pub waiting: f64,
}

/// A step of an operation that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// See [`Report::connect`].
    Connect,
    /// See [`Report::handshake_full`].
    HsFull,
    /// See [`Report::handshake_resumed`].
    HsResumed,
    /// See [`Report::first_byte`].
    FirstByte,
    /// See [`Report::total`].
    Total,
}

impl Phase {
    /// All there are, in the order in which they happen.
    pub const ALL: [Self; 5] =
        [Self::Connect, Self::HsFull, Self::HsResumed, Self::FirstByte, Self::Total];

    /// Its name in JSON, in logs and in objectives.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::HsFull => "hs_full",
            Self::HsResumed => "hs_resumed",
            Self::FirstByte => "first_byte",
            Self::Total => "total",
        }
    }
}

/// Errors of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// How many.
    pub count: u64,
    /// What the first one said.
    pub example: String,
}

impl Report {
    /// Number of errors of all kinds.
    pub fn error_count(&self) -> u64 {
        self.errors.values().map(|errors| errors.count).sum()
    }

    /// Number of errors of `kind`.
    pub fn errors_of(&self, kind: ErrorKind) -> u64 {
        self.errors.get(&kind).map_or(0, |errors| errors.count)
    }

    /// Operations done per second.
    pub fn rate(&self) -> f64 {
        per_second(self.done, self.elapsed)
    }

    /// Operations done per second while they started, which was for `length`: in the whole seconds of it,
    /// behind the one that it began in. One straggler makes [`Self::rate`] wrong; where there is no such
    /// second, it is all there is.
    pub fn steady_rate(&self, length: Duration) -> f64 {
        let whole = length.as_secs().saturating_sub(1);
        let Some([first, _]) = self.span().filter(|_| whole > 0) else { return self.rate() };
        let seconds = self.timeline.range(first + 1..=first + whole);
        let done = seconds.map(|(_, interval)| interval.done).sum();
        per_second(done, Duration::from_secs(whole))
    }

    /// Operations begun per second where they started for `length`, however they ended.
    pub fn begun_rate(&self, length: Duration) -> f64 {
        let ended = self.done + self.error_count();
        per_second(ended.saturating_sub(self.errors_of(ErrorKind::NotStarted)), length)
    }

    /// How long `phase` took.
    pub fn phase(&self, phase: Phase) -> &Latency {
        match phase {
            Phase::Connect => &self.connect,
            Phase::HsFull => &self.handshake_full,
            Phase::HsResumed => &self.handshake_resumed,
            Phase::FirstByte => &self.first_byte,
            Phase::Total => &self.total,
        }
    }

    /// The share of operations done whose handshake resumed a session; none when none was done.
    pub fn resumed_share(&self) -> Option<f64> {
        share(self.resumed, self.done)
    }

    /// The share of starts that an open loop had to make and did not; none for a closed loop.
    pub fn rate_error(&self) -> Option<f64> {
        share(self.errors_of(ErrorKind::NotStarted), self.due)
    }

    /// Adds another report of the same time, such as another thread's, or another machine's with the
    /// same clock: the longer `elapsed` holds.
    pub fn merge(&mut self, other: &Self) {
        self.done += other.done;
        for (kind, errors) in &other.errors {
            self.add_errors(*kind, errors.count, &errors.example);
        }
        for (kind, errors) in &other.retried {
            count_errors(&mut self.retried, *kind, errors.count, &errors.example);
        }
        self.lost += other.lost;
        self.handshakes_full += other.handshakes_full;
        self.handshakes_resumed += other.handshakes_resumed;
        self.connections += other.connections;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.connect.merge(&other.connect);
        self.handshake_full.merge(&other.handshake_full);
        self.handshake_resumed.merge(&other.handshake_resumed);
        self.first_byte.merge(&other.first_byte);
        self.total.merge(&other.total);
        self.resumed += other.resumed;
        self.due += other.due;
        self.late.merge(&other.late);
        self.effort = match (self.effort, other.effort) {
            (Some(one), Some(two)) if two.exertion() > one.exertion() => Some(two),
            (one, two) => one.or(two),
        };
        for (second, interval) in &other.timeline {
            self.timeline.entry(*second).or_default().merge(interval);
        }
    }

    pub(super) fn fail(&mut self, failure: &Failure) {
        self.add_errors(failure.kind, 1, &failure.detail);
    }

    /// The same of what is tried again.
    pub(super) fn fail_for_now(&mut self, failure: &Failure) {
        count_errors(&mut self.retried, failure.kind, 1, &failure.detail);
    }

    pub(super) fn add_errors(&mut self, kind: ErrorKind, count: u64, example: &str) {
        count_errors(&mut self.errors, kind, count, example);
    }
}

fn count_errors(
    errors: &mut BTreeMap<ErrorKind, Errors>,
    kind: ErrorKind,
    count: u64,
    example: &str,
) {
    if count > 0 {
        let new = || Errors { count: 0, example: example.to_owned() };
        errors.entry(kind).or_insert_with(new).count += count;
    }
}

impl Effort {
    /// The share of time in which nothing more could have been asked of the thread.
    pub fn exertion(self) -> f64 {
        self.busy + self.waiting
    }
}

#[expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a share")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// `count` per second of `elapsed`; 0 when no time passed.
pub(super) fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people, 53 bits are plenty")]
    let count = count as f64;
    count / elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        let mut report = Report { done: 3, elapsed: Duration::from_secs(2), ..Report::default() };
        for millis in [1, 10, 100_000] {
            report.total.record(Duration::from_millis(millis));
        }
        report.fail(&Failure::new(ErrorKind::Reset, "first"));
        report
    }

    #[test]
    fn merging_adds_up_and_keeps_the_first_example() {
        let mut report = sample();
        let mut other = sample();
        other.fail(&Failure::new(ErrorKind::Reset, "second"));
        report.merge(&other);
        assert_eq!((report.done, report.total.count()), (6, 6));
        assert_eq!((report.error_count(), report.errors_of(ErrorKind::Reset)), (3, 3));
        assert_eq!(report.errors[&ErrorKind::Reset].example, "first");
        assert!((report.rate() - 3.0).abs() < 1e-9);
        let longest = report.total.max().as_secs_f64();
        assert!((99.9..100.1).contains(&longest), "{longest}");
    }

    #[test]
    fn stragglers_are_not_part_of_a_steady_rate() {
        let second = |done| Interval { done, ..Interval::default() };
        let mut report = Report { done: 45, elapsed: Duration::from_secs(9), ..Report::default() };
        report.timeline = [(7, 2), (8, 10), (9, 20), (10, 12), (11, 0), (16, 1)]
            .into_iter()
            .map(|(at, done)| (at, second(done)))
            .collect();
        let seconds = Duration::from_secs;
        assert!((report.steady_rate(seconds(4)) - 14.0).abs() < 1e-9, "of three whole seconds");
        assert!((report.steady_rate(seconds(1)) - 5.0).abs() < 1e-9, "there is none");
        report.fail(&Failure::new(ErrorKind::Reset, "begun"));
        report.fail(&Failure::new(ErrorKind::NotStarted, "not begun"));
        assert!((report.begun_rate(seconds(4)) - 11.5).abs() < 1e-9);
    }

    #[test]
    fn a_report_survives_json() {
        let report = sample();
        let text = serde_json::to_string(&report).expect("to JSON");
        assert!(text.contains("\"reset\":{\"count\":1"), "{text}");
        let back: Report = serde_json::from_str(&text).expect("from JSON");
        assert_eq!(back.errors, report.errors);
        for quantile in [0.1, 0.5, 0.99] {
            assert_eq!(back.total.quantile(quantile), report.total.quantile(quantile));
        }
    }
}
