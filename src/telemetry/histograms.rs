//! Histograms of phase times: fixed size, never failing, never growing.
//!
//! Values are whole microseconds (rounded down), kept with two significant digits: a value read
//! back is at most 1/128 (0.8 %) above the one recorded. Bounds are 1 µs to 1 hour, and to 1 day
//! for the lifetime of a connection; what lies outside is recorded as the bound. Lifetimes above a
//! day still add their true length to the sum.
//!
//! Memory: two significant digits up to an hour take 3,328 cells, up to a day 3,968. A listener's
//! set has, for full and for resumed handshakes, four phases of the first kind and one of the
//! second: 34,560 cells. A shard's interval counts in 32 bits (138,240 bytes per listener), the
//! cumulative copy of the aggregator in 64 (276,480 bytes). A shard owns two sets per listener: the
//! one it writes and the one under way to or from the aggregator. [`MAX_SETS`] bounds the number of
//! sets; listeners beyond it share one more.

use std::time::Duration;

use hdrhistogram::{Counter, Histogram};

/// Listeners with a set of their own; those beyond share one.
pub const MAX_SETS: usize = 64;
/// Memory of one listener's interval set, in bytes of cells.
pub const INTERVAL_SET_BYTES: usize = SET_CELLS * size_of::<u32>();
/// Memory of one listener's cumulative set, in bytes of cells.
pub const CUMULATIVE_SET_BYTES: usize = SET_CELLS * size_of::<u64>();

const SET_CELLS: usize = Kind::ALL.len() * (4 * 3_328 + 3_968);
const SIGNIFICANT_DIGITS: u8 = 2;
const HOUR_MICROS: u64 = 3_600_000_000;
const DAY_MICROS: u64 = 24 * HOUR_MICROS;

/// What a time was measured of. See [`crate::conn::outcome::PhaseTimes`] for the exact ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Hello,
    Handshake,
    Connect,
    FirstByte,
    Lifetime,
}

impl Phase {
    pub const ALL: [Self; 5] =
        [Self::Hello, Self::Handshake, Self::Connect, Self::FirstByte, Self::Lifetime];

    /// Word in the status and on the terminal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Handshake => "handshake",
            Self::Connect => "connect",
            Self::FirstByte => "first_byte",
            Self::Lifetime => "lifetime",
        }
    }

    /// Longest time that is kept apart, in microseconds.
    const fn high(self) -> u64 {
        match self {
            Self::Lifetime => DAY_MICROS,
            _ => HOUR_MICROS,
        }
    }
}

/// Which handshake a connection began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Full,
    Resumed,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Full, Self::Resumed];

    pub const fn of(resumed: bool) -> Self {
        if resumed { Self::Resumed } else { Self::Full }
    }

    /// Label value in metrics and word in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
        }
    }
}

/// One histogram with the exact sum of what went into it.
#[derive(Clone, Debug)]
pub struct PhaseHistogram<C: Counter> {
    cells: Histogram<C>,
    sum_micros: u64,
}

impl<C: Counter> PhaseHistogram<C> {
    pub fn new(phase: Phase) -> Self {
        let cells = Histogram::new_with_bounds(1, phase.high(), SIGNIFICANT_DIGITS)
            .expect("constant bounds are valid: low is 1, high at least 2, digits at most 5");
        Self { cells, sum_micros: 0 }
    }

    /// Adds one value. Cells and sum saturate.
    pub fn record(&mut self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros = self.sum_micros.saturating_add(micros);
        self.cells.saturating_record(micros);
    }

    /// Adds the values of an interval of the same phase. Cells and sum saturate.
    pub fn add(&mut self, other: &PhaseHistogram<u32>)
    where
        C: From<u32>,
    {
        if other.cells.is_empty() {
            return;
        }
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
        for cell in other.cells.iter_recorded() {
            // The largest value of a cell falls into the same cell again.
            let count = C::from(cell.count_at_value());
            self.cells.saturating_record_n(cell.value_iterated_to(), count);
        }
    }

    /// Forgets all values and keeps the memory.
    pub fn clear(&mut self) {
        if !self.cells.is_empty() {
            self.cells.reset();
        }
        self.sum_micros = 0;
    }

    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.cells.len()
    }

    /// Sum of the values as recorded, before they were put into cells.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }

    /// Largest value, to two significant digits; zero when empty.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.cells.max())
    }

    /// Smallest value that a share `quantile` (0.0 to 1.0) of all values does not exceed, to two
    /// significant digits; zero when empty.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.cells.value_at_quantile(quantile))
    }

    /// For each of the rising `bounds`, how many values lie at or below it.
    ///
    /// A bound counts with its whole cell, so values up to 0.8 % above it may be included.
    pub fn counts_up_to(&self, bounds: &[Duration]) -> Vec<u64> {
        let mut counts = vec![0; bounds.len()];
        let edges: Vec<u64> = bounds
            .iter()
            .map(|bound| u64::try_from(bound.as_micros()).unwrap_or(u64::MAX))
            .map(|micros| self.cells.highest_equivalent(micros))
            .collect();
        for cell in self.cells.iter_recorded() {
            let bucket = edges.partition_point(|edge| *edge < cell.value_iterated_to());
            if let Some(count) = counts.get_mut(bucket) {
                *count += cell.count_at_value().as_u64();
            }
        }
        let mut sum = 0;
        for count in &mut counts {
            sum += *count;
            *count = sum;
        }
        counts
    }
}

/// The histograms of one listener (or of those that share the last set).
#[derive(Clone, Debug)]
pub struct ListenerHistograms {
    cells: [[PhaseHistogram<u32>; Phase::ALL.len()]; Kind::ALL.len()],
}

impl ListenerHistograms {
    fn new() -> Self {
        Self { cells: Kind::ALL.map(|_| Phase::ALL.map(PhaseHistogram::new)) }
    }

    pub fn of(&self, kind: Kind, phase: Phase) -> &PhaseHistogram<u32> {
        &self.cells[kind as usize][phase as usize]
    }
}

/// What one shard measured since it last handed over: a set per listener, by listener index.
#[derive(Clone, Debug, Default)]
pub struct HistogramSet {
    sets: Vec<ListenerHistograms>,
}

impl HistogramSet {
    /// Empty sets for this many listeners.
    pub fn new(listeners: usize) -> Self {
        let mut set = Self::default();
        set.grow(listeners);
        set
    }

    /// Makes room for this many listeners; never shrinks. Allocates only when there are more than
    /// before.
    pub fn grow(&mut self, listeners: usize) {
        let wanted = sets_for(listeners);
        if self.sets.len() < wanted {
            self.sets.resize_with(wanted, ListenerHistograms::new);
        }
    }

    /// Adds one value. A listener without a set is ignored: the caller checks the index.
    pub fn record(&mut self, listener: usize, kind: Kind, phase: Phase, value: Duration) {
        if let Some(set) = self.sets.get_mut(set_index(listener)) {
            set.cells[kind as usize][phase as usize].record(value);
        }
    }

    /// Forgets all values and keeps the memory.
    pub fn clear(&mut self) {
        for histogram in self.sets.iter_mut().flat_map(|set| set.cells.iter_mut().flatten()) {
            histogram.clear();
        }
    }

    /// The sets in order; the one at [`MAX_SETS`] is the shared one.
    pub fn sets(&self) -> &[ListenerHistograms] {
        &self.sets
    }
}

/// The set that a listener records into.
pub const fn set_index(listener: usize) -> usize {
    if listener < MAX_SETS { listener } else { MAX_SETS }
}

const fn sets_for(listeners: usize) -> usize {
    if listeners <= MAX_SETS { listeners } else { MAX_SETS + 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(value: u64) -> Duration {
        Duration::from_micros(value)
    }

    #[test]
    fn memory_of_a_set_is_the_budget() {
        let set = ListenerHistograms::new();
        let cells: usize =
            set.cells.iter().flatten().map(|histogram| histogram.cells.distinct_values()).sum();
        assert_eq!(cells * size_of::<u32>(), INTERVAL_SET_BYTES);
        assert_eq!(INTERVAL_SET_BYTES, 138_240);
        assert_eq!(CUMULATIVE_SET_BYTES, 276_480);
    }

    #[test]
    fn recording_saturates_at_both_ends_and_does_not_grow() {
        for phase in Phase::ALL {
            let mut histogram = PhaseHistogram::<u32>::new(phase);
            let cells = histogram.cells.distinct_values();
            histogram.record(Duration::ZERO);
            histogram.record(Duration::MAX);
            assert_eq!(histogram.cells.distinct_values(), cells);
            assert_eq!(histogram.count(), 2);
            assert!(histogram.max() >= micros(phase.high()), "{phase:?}");
            assert!(histogram.max() < micros(phase.high()) * 6 / 5, "{phase:?}");
            assert!(histogram.quantile(0.5) <= micros(1));
        }
    }

    #[test]
    fn values_keep_two_significant_digits() {
        let mut histogram = PhaseHistogram::<u32>::new(Phase::Lifetime);
        for exponent in 0..36 {
            let value = micros(1 << exponent) + micros(exponent);
            histogram.clear();
            histogram.record(value);
            let read = histogram.quantile(1.0);
            assert!(read >= value && read <= value + value / 128, "{value:?} became {read:?}");
            assert_eq!(histogram.sum(), value);
        }
    }

    #[test]
    fn listeners_beyond_the_limit_share_the_last_set() {
        let mut set = HistogramSet::new(MAX_SETS + 10);
        assert_eq!(set.sets().len(), MAX_SETS + 1);
        set.record(MAX_SETS - 1, Kind::Full, Phase::Hello, micros(5));
        set.record(MAX_SETS, Kind::Full, Phase::Hello, micros(5));
        set.record(MAX_SETS + 9, Kind::Full, Phase::Hello, micros(5));
        assert_eq!(set.sets()[MAX_SETS - 1].of(Kind::Full, Phase::Hello).count(), 1);
        assert_eq!(set.sets()[MAX_SETS].of(Kind::Full, Phase::Hello).count(), 2);
        assert_eq!(HistogramSet::new(MAX_SETS).sets().len(), MAX_SETS);
    }

    #[test]
    fn adding_narrow_to_wide_is_exact_and_wide_counts_do_not_saturate() {
        let mut interval = PhaseHistogram::<u32>::new(Phase::Hello);
        interval.cells.saturating_record_n(1_000, u32::MAX);
        interval.sum_micros = 1_000 * u64::from(u32::MAX);
        let mut total = PhaseHistogram::<u64>::new(Phase::Hello);
        total.add(&interval);
        total.add(&interval);
        assert_eq!(total.count(), 2 * u64::from(u32::MAX));
        assert_eq!(total.sum(), interval.sum() * 2);
        assert_eq!(total.quantile(0.5), interval.quantile(0.5));
        assert_eq!(total.counts_up_to(&[micros(1_000)]), [total.count()]);
    }

    #[test]
    fn counts_up_to_bounds() {
        let mut histogram = PhaseHistogram::<u32>::new(Phase::Connect);
        for value in [50, 100, 101, 250, 9_000, 2_000_000] {
            histogram.record(micros(value));
        }
        let bounds = [100, 250, 10_000, 1_000_000].map(micros);
        assert_eq!(histogram.counts_up_to(&bounds), [2, 4, 5, 5]);
    }

    /// Times of every magnitude, beyond the bounds at both ends too, in microseconds.
    fn times() -> impl Strategy<Value = Vec<u64>> {
        let time = (0..64_u32, any::<u64>()).prop_map(|(magnitude, value)| value >> magnitude);
        prop::collection::vec(time, 1..200)
    }

    /// Everything that a reader can see.
    fn seen(histogram: &PhaseHistogram<u64>) -> (u64, Duration, Duration, Vec<Duration>, Vec<u64>) {
        let quantiles = [0.0, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0];
        let bounds: Vec<Duration> = (0..40).map(|exponent| micros(1 << exponent)).collect();
        (
            histogram.count(),
            histogram.sum(),
            histogram.max(),
            quantiles.map(|quantile| histogram.quantile(quantile)).to_vec(),
            histogram.counts_up_to(&bounds),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn intervals_added_in_any_order_are_as_recorded_in_one(
            times in times(),
            places in prop::collection::vec(0..5_usize, 200),
            order in Just([0, 1, 2, 3, 4]).prop_shuffle(),
            phase in prop::sample::select(&Phase::ALL),
        ) {
            let mut one = PhaseHistogram::<u64>::new(phase);
            let mut intervals = [(); 5].map(|()| PhaseHistogram::<u32>::new(phase));
            for (time, place) in times.iter().zip(places) {
                one.record(micros(*time));
                intervals[place].record(micros(*time));
            }
            let mut sum = PhaseHistogram::<u64>::new(phase);
            for place in order {
                sum.add(&intervals[place]);
            }
            prop_assert_eq!(seen(&sum), seen(&one));
            // Emptied, an interval adds nothing more.
            intervals[0].clear();
            sum.add(&intervals[0]);
            prop_assert_eq!(seen(&sum), seen(&one));
        }

        #[test]
        fn a_quantile_is_the_value_of_its_rank_to_two_digits(
            times in times(),
            rank in any::<prop::sample::Index>(),
            phase in prop::sample::select(&Phase::ALL),
        ) {
            let mut histogram = PhaseHistogram::<u64>::new(phase);
            let mut kept: Vec<u64> = times.iter().map(|time| time % phase.high()).collect();
            kept.sort_unstable();
            kept.iter().for_each(|time| histogram.record(micros(*time)));
            let rank = rank.index(kept.len());
            let exact = micros(kept[rank]);
            // In the middle between two ranks, where rounding cannot matter.
            let read = histogram.quantile((rank as f64 + 0.5) / kept.len() as f64);
            prop_assert!(read >= exact && read <= exact + exact / 128, "{read:?} for {exact:?}");
            let up_to = histogram.counts_up_to(&[exact])[0];
            prop_assert!(up_to > rank as u64, "{up_to} values up to the one of rank {rank}");
        }
    }
}
