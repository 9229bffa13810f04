//! A run by seconds of the clock, which all threads, processes and machines have in common.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::latency::{Latency, Packed};
use super::report::{Phase, Report};

/// Most seconds that are kept apart, four hours; what comes later counts in the last one.
const MAX_SECONDS: usize = 4 * 3600;

/// What happened in a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Operations that succeeded.
    pub done: u64,
    /// Errors of all kinds.
    pub errors: u64,
    /// Connections that got established.
    pub connections: u64,
    /// Application bytes sent by operations that succeeded.
    pub bytes_sent: u64,
    /// Application bytes received by operations that succeeded.
    pub bytes_received: u64,
    /// How long what ended in it took, by phase; without those that did not happen.
    pub phases: BTreeMap<Phase, Packed>,
}

impl Interval {
    fn of(report: &Report) -> Self {
        let happened = |phase: &Phase| report.phase(*phase).count() > 0;
        let packed = |phase| (phase, Packed::new(report.phase(phase)));
        Self {
            done: report.done,
            errors: report.error_count(),
            connections: report.connections,
            bytes_sent: report.bytes_sent,
            bytes_received: report.bytes_received,
            phases: Phase::ALL.into_iter().filter(happened).map(packed).collect(),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.done += other.done;
        self.errors += other.errors;
        self.connections += other.connections;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        for (phase, packed) in &other.phases {
            let sum = match self.phases.get(phase) {
                None => packed.clone(),
                Some(own) => {
                    let mut latency = unpacked(own);
                    latency.merge(&unpacked(packed));
                    Packed::new(&latency)
                }
            };
            self.phases.insert(*phase, sum);
        }
    }
}

fn unpacked(packed: &Packed) -> Latency {
    packed.unpack().expect("it was packed here, or checked when it was read")
}

/// What one thread has found out in one second.
#[derive(Debug)]
pub(super) struct Piece {
    second: u64,
    report: Box<Report>,
}

impl Report {
    /// The first and the last second in which anything happened; none when nothing did.
    pub fn span(&self) -> Option<[u64; 2]> {
        let (first, last) = (self.timeline.keys().next(), self.timeline.keys().next_back());
        first.zip(last).map(|(first, last)| [*first, *last])
    }

    /// Adds what a thread has found out.
    pub(super) fn add(&mut self, piece: &Piece) {
        self.merge(&piece.report);
        let interval = Interval::of(&piece.report);
        if interval == Interval::default() {
            return;
        }
        let second = match self.timeline.last_key_value() {
            Some((last, _)) if self.timeline.len() >= MAX_SECONDS => *last,
            _ => piece.second,
        };
        self.timeline.entry(second).or_default().merge(&interval);
    }
}

/// Takes what one thread finds out, and passes it on second by second: what becomes of it would keep
/// the thread from being on time.
#[derive(Debug)]
pub(super) struct Recorder {
    /// What the current second has brought.
    pub(super) current: Box<Report>,
    second: u64,
    ends: Instant,
}

impl Recorder {
    /// Begins now.
    pub(super) fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A clock before 1970 is wrong anyway; the seconds of a run still follow each other.
        let since_1970 = since_1970.unwrap_or_default();
        let rest = Duration::from_secs(1) - Duration::from_nanos(since_1970.subsec_nanos().into());
        Self { current: Box::default(), second: since_1970.as_secs(), ends: Instant::now() + rest }
    }

    /// It is `now`: what has been recorded is of a second that is over, or there is nothing yet.
    pub(super) fn roll(&mut self, now: Instant) -> Option<Piece> {
        if now < self.ends {
            return None;
        }
        let piece = self.take();
        let passed = now.saturating_duration_since(self.ends).as_secs() + 1;
        self.second += passed;
        self.ends += Duration::from_secs(passed);
        Some(piece)
    }

    /// What has been recorded and not been taken yet.
    pub(super) fn take(&mut self) -> Piece {
        Piece { second: self.second, report: std::mem::take(&mut self.current) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_add_up_to_the_whole() {
        let mut recorder = Recorder::new();
        let (first, start) = (recorder.second, recorder.ends);
        let mut report = Report::default();
        for millis in [0, 10, 1_200, 3_999, 4_000] {
            if let Some(piece) = recorder.roll(start + Duration::from_millis(millis)) {
                report.add(&piece);
            }
            recorder.current.done += 1;
            recorder.current.total.record(Duration::from_millis(millis + 1));
        }
        report.add(&recorder.take());
        let by_second: Vec<(u64, u64)> = report
            .timeline
            .iter()
            .map(|(second, interval)| (second - first, interval.done))
            .collect();
        assert_eq!(by_second, [(1, 2), (2, 1), (4, 1), (5, 1)]);
        let mut sum = Latency::default();
        for interval in report.timeline.values() {
            sum.merge(&unpacked(&interval.phases[&Phase::Total]));
        }
        assert_eq!((sum, report.done), (report.total, 5));
    }

    #[test]
    fn the_same_second_of_two_threads_is_one() {
        let mut both = Report::default();
        for millis in [1, 2] {
            let mut report = Report { done: 1, ..Report::default() };
            report.total.record(Duration::from_millis(millis));
            report.timeline.insert(7, Interval::of(&report));
            both.merge(&report);
        }
        assert_eq!((both.timeline.len(), both.timeline[&7].done), (1, 2));
        assert_eq!(unpacked(&both.timeline[&7].phases[&Phase::Total]), both.total);
        assert_eq!(both.timeline[&7].phases.len(), 1, "only what happened");
    }
}
