//! What a run found out. Reports of threads, and of runs, can be merged.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::failure::{ErrorKind, Failure};

/// Result of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Operations that succeeded.
    pub done: u64,
    /// Errors by kind.
    pub errors: BTreeMap<ErrorKind, Errors>,
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

    /// Adds another report of the same time, such as another thread's: the longer `elapsed` holds.
    pub fn merge(&mut self, other: &Self) {
        self.done += other.done;
        for (kind, errors) in &other.errors {
            self.add_errors(*kind, errors.count, &errors.example);
        }
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
    }

    pub(super) fn fail(&mut self, failure: &Failure) {
        self.add_errors(failure.kind, 1, &failure.detail);
    }

    pub(super) fn add_errors(&mut self, kind: ErrorKind, count: u64, example: &str) {
        if count > 0 {
            let new = || Errors { count: 0, example: example.to_owned() };
            self.errors.entry(kind).or_insert_with(new).count += count;
        }
    }
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

/// Distribution of a duration: 1 µs to 60 s, three significant digits. Longer ones count as 60 s.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(Histogram<u64>);

const SHORTEST_NANOS: u64 = 1_000;
const LONGEST_NANOS: u64 = 60_000_000_000;

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(SHORTEST_NANOS, LONGEST_NANOS, 3);
        Self(histogram.expect("constant bounds that the library accepts"))
    }
}

impl Latency {
    pub(super) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(LONGEST_NANOS);
        self.0.saturating_record(nanos.min(LONGEST_NANOS));
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that the share `quantile` (0 to 1) of all values does not exceed; zero when there
    /// are none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// The longest value, to three digits.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// The mean value.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.0.mean() / 1e9)
    }

    /// Adds the values of another distribution.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }
}

/// A distribution as text: the usual quantiles to read, and the buckets to compute with.
#[derive(Serialize, Deserialize)]
struct LatencyText {
    count: u64,
    mean_ns: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    p9999_ns: u64,
    max_ns: u64,
    /// Pairs of a value in nanoseconds and how often it occurred.
    buckets: Vec<(u64, u64)>,
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let at = |quantile| nanos(self.quantile(quantile));
        let bucket = |step: hdrhistogram::iterators::IterationValue<u64>| {
            (step.value_iterated_to(), step.count_at_value())
        };
        LatencyText {
            count: self.count(),
            mean_ns: nanos(self.mean()),
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            p9999_ns: at(0.9999),
            max_ns: nanos(self.max()),
            buckets: self.0.iter_recorded().map(bucket).collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = LatencyText::deserialize(deserializer)?;
        let mut latency = Self::default();
        for (value, count) in text.buckets {
            latency.0.saturating_record_n(value, count);
        }
        Ok(latency)
    }
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
        assert!((59.9..60.1).contains(&longest), "{longest}");
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
