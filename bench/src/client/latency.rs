//! Distributions of durations.

use std::time::Duration;

use data_encoding::BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as Unpacker, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Distribution of a duration: 1 µs to [`Latency::LONGEST`], three significant digits. Longer ones count
/// as that.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(Histogram<u64>);

const SHORTEST_NANOS: u64 = 1_000;
// Each doubling takes 8 KiB of a distribution: an hour takes a third more than a minute.
const LONGEST_NANOS: u64 = 3_600_000_000_000;

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(SHORTEST_NANOS, LONGEST_NANOS, 3);
        Self(histogram.expect("constant bounds that the library accepts"))
    }
}

impl Latency {
    /// An hour. What took as long may have taken longer.
    pub const LONGEST: Duration = Duration::from_nanos(LONGEST_NANOS);

    /// Counts one more value.
    pub fn record(&mut self, duration: Duration) {
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

    /// How many values are above `duration`, to three digits.
    pub fn count_above(&self, duration: Duration) -> u64 {
        let bound = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let above = self.0.iter_recorded().filter(|step| step.value_iterated_to() > bound);
        above.map(|step| step.count_at_value()).sum()
    }

    /// What the standard tools call it.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
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

/// A distribution in as few bytes as it can be kept in: the compressed form 2 of HdrHistogram, which
/// its libraries for other languages read. In JSON it is base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(Vec<u8>);

impl Packed {
    pub(super) fn new(latency: &Latency) -> Self {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&latency.0, &mut bytes)
            .expect("memory takes it, and no count is above 2^63");
        Self(bytes)
    }

    /// The distribution.
    ///
    /// # Errors
    /// What is wrong, when the bytes came from a file that is.
    pub fn unpack(&self) -> Result<Latency, String> {
        let histogram: Histogram<u64> = Unpacker::new()
            .deserialize(&mut self.0.as_slice())
            .map_err(|error| format!("this is no histogram: {error}"))?;
        let mut latency = Latency::default();
        latency.0.add(histogram).map_err(|error| format!("a strange histogram: {error}"))?;
        Ok(latency)
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let packed = Self(BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?);
        packed.unpack().map_err(D::Error::custom)?;
        Ok(packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_loses_nothing() {
        let mut latency = Latency::default();
        for micros in 1..5_000 {
            latency.record(Duration::from_micros(micros * micros));
        }
        let packed = Packed::new(&latency);
        assert!(packed.0.len() < 4_000, "{}", packed.0.len());
        assert_eq!(packed.unpack().expect("its own bytes"), latency);
        let text = serde_json::to_string(&packed).expect("JSON");
        assert_eq!(serde_json::from_str::<Packed>(&text).expect("the same"), packed);
        assert!(serde_json::from_str::<Packed>("\"AAAA\"").is_err());
    }

    #[test]
    fn minutes_are_told_apart_and_hours_are_not() {
        let longest = |seconds| {
            let mut latency = Latency::default();
            latency.record(Duration::from_secs(seconds));
            latency.max().as_secs_f64()
        };
        assert!((179.8..180.2).contains(&longest(180)), "{}", longest(180));
        assert!((3_596.0..3_604.0).contains(&longest(7_200)), "{}", longest(7_200));
    }

    #[test]
    fn values_above_a_bound_are_counted() {
        let mut latency = Latency::default();
        for millis in [1, 999, 1_100, 5_000] {
            latency.record(Duration::from_millis(millis));
        }
        assert_eq!(latency.count_above(Duration::from_secs(1)), 2);
        assert_eq!(latency.count_above(Duration::ZERO), 4);
    }
}
