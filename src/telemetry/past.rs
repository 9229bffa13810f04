//! The last minutes, second by second: what sparklines and heat maps are drawn from.
//!
//! Everything has its place from the first value on, so that memory at rest stays what it is.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::histograms::{Phase, PhaseHistogram};
use super::shard::ShardSnapshot;
use super::snapshot::bounds;
use crate::time::Time;

/// Moments that are kept: about a second each.
pub const MOMENTS: usize = 300;
/// Moments that a column of a heat map stands for.
pub const COLUMN: u64 = 5;
/// Columns that are kept: as long as moments are.
pub const COLUMNS: usize = MOMENTS / 5;
/// Bands of a column: one up to each of [`bounds`], and one for what lies above all of them.
pub const BANDS: usize = 18;

/// What happened in all shards since the moment before, and how things stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Counts up from 0.
    pub number: u64,
    /// When it ended, in milliseconds since 1970.
    pub unix_ms: u64,
    /// How long it was; what follows is not per second.
    pub seconds: f64,
    pub accepted: u64,
    pub handshakes_full: u64,
    pub handshakes_resumed: u64,
    /// Connections that ended before their handshake was done.
    pub handshake_failures: u64,
    pub shed: u64,
    /// Pieces of data that were relayed, in both directions.
    pub messages: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// Open connections when it ended, as the next two.
    pub open: u64,
    pub handshakes_in_flight: u64,
    pub handshakes_waiting: u64,
}

/// How many values of a phase fell into which band, for the columns that are kept.
#[derive(Clone, Debug)]
pub(super) struct Heat(Box<[[u32; BANDS]; COLUMNS]>);

/// The moments, and which column is growing.
#[derive(Debug)]
pub(super) struct Past {
    moments: VecDeque<Moment>,
    next: u64,
    /// When the last moment ended, and what had been counted by then.
    ended: Time,
    before: Moment,
}

impl Heat {
    pub(super) fn new() -> Self {
        Self(Box::new([[0; BANDS]; COLUMNS]))
    }

    /// Adds the values of an interval of this phase to a column.
    pub(super) fn add(&mut self, column: u64, phase: Phase, values: &PhaseHistogram<u32>) {
        let mut below = 0;
        let up_to = values.counts_up_to(bounds(phase));
        let above = values.count();
        for (band, count) in self.column(column).iter_mut().zip(up_to.into_iter().chain([above])) {
            *band = band.saturating_add(u32::try_from(count - below).unwrap_or(u32::MAX));
            below = count;
        }
    }

    /// A column begins: its place is that of the oldest one.
    pub(super) fn begin(&mut self, column: u64) {
        *self.column(column) = [0; BANDS];
    }

    /// The columns up to the one that is growing, the oldest first.
    pub(super) fn columns(&self, growing: u64) -> Vec<[u32; BANDS]> {
        let first = growing.saturating_sub(COLUMNS as u64 - 1);
        (first..=growing).map(|column| self.0[place(column)]).collect()
    }

    fn column(&mut self, column: u64) -> &mut [u32; BANDS] {
        &mut self.0[place(column)]
    }
}

fn place(column: u64) -> usize {
    usize::try_from(column % COLUMNS as u64).expect("less than COLUMNS")
}

impl Past {
    pub(super) fn new(now: Time) -> Self {
        let moments = VecDeque::with_capacity(MOMENTS);
        Self { moments, next: 0, ended: now, before: Moment::default() }
    }

    /// The column that values belong to now.
    pub(super) fn growing(&self) -> u64 {
        self.next / COLUMN
    }

    /// Ends a moment with what shards have handed over, the last of them at `answered`. Where none
    /// has since the last moment, it goes on. Whether a column has begun.
    pub(super) fn end_moment<'a>(
        &mut self,
        shards: impl Iterator<Item = &'a ShardSnapshot>,
        answered: Time,
        unix_ms: u64,
    ) -> bool {
        let lasted = answered - self.ended;
        if lasted == Duration::ZERO {
            return false;
        }
        let mut sums = Moment::default();
        shards.for_each(|shard| sums.add(shard));
        if self.moments.len() == MOMENTS {
            self.moments.pop_front();
        }
        let since = sums.since(&self.before);
        let seconds = lasted.as_secs_f64();
        self.moments.push_back(Moment { number: self.next, unix_ms, seconds, ..since });
        (self.before, self.ended) = (sums, answered);
        self.next += 1;
        self.next.is_multiple_of(COLUMN)
    }

    /// The moments that are kept, the oldest first.
    pub(super) fn moments(&self) -> Vec<Moment> {
        self.moments.iter().copied().collect()
    }
}

impl Moment {
    /// Adds all that a shard has counted, and how things stand there.
    fn add(&mut self, shard: &ShardSnapshot) {
        for counters in &shard.counters.listeners {
            self.accepted += counters.accepted;
            self.handshakes_full += counters.handshakes_full;
            self.handshakes_resumed += counters.handshakes_resumed;
            self.handshake_failures += counters.handshakes_failed();
            self.messages += counters.messages_received + counters.messages_sent;
            self.bytes_received += counters.bytes_received;
            self.bytes_sent += counters.bytes_sent;
        }
        self.shed += shard.counters.shed.iter().sum::<u64>();
        self.open += shard.gauges.open_connections;
        self.handshakes_in_flight += shard.gauges.handshakes_in_flight;
        self.handshakes_waiting += shard.gauges.handshakes_waiting;
    }

    /// What was counted after `before`; what stands stays.
    fn since(&self, before: &Self) -> Self {
        Self {
            accepted: self.accepted - before.accepted,
            handshakes_full: self.handshakes_full - before.handshakes_full,
            handshakes_resumed: self.handshakes_resumed - before.handshakes_resumed,
            handshake_failures: self.handshake_failures - before.handshake_failures,
            shed: self.shed - before.shed,
            messages: self.messages - before.messages,
            bytes_received: self.bytes_received - before.bytes_received,
            bytes_sent: self.bytes_sent - before.bytes_sent,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::outcome::{Cause, Reason, Stage};
    use crate::telemetry::shard::ShardTelemetry;
    use crate::telemetry::shard::tests::{names, outcome};

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn report(shard: &mut ShardTelemetry) -> ShardSnapshot {
        let mut report = ShardSnapshot::default();
        shard.hand_over(&mut report);
        report
    }

    #[test]
    fn a_moment_has_what_came_since_the_last_one() {
        let mut past = Past::new(at(0));
        let mut shard = ShardTelemetry::new(0, names(&["a", "b"]));
        for second in 1..=4 {
            shard.on_accept(0);
            shard.on_accept(1);
            shard.on_received(0, 10);
            shard.on_received(0, 0);
            shard.on_sent(1, 100);
            shard.on_close(&outcome(1, Stage::Hello, Reason::HelloEof, Cause::Downstream));
            past.end_moment([report(&mut shard)].iter(), at(second * 2), second);
            // Nobody has answered since.
            assert!(!past.end_moment([report(&mut shard)].iter(), at(second * 2), second));
        }
        let moments = past.moments();
        assert_eq!(moments.len(), 4);
        for (moment, number) in moments.iter().zip(0..) {
            let Moment { accepted, messages, bytes_received, bytes_sent, open, .. } = *moment;
            assert_eq!((moment.number, moment.unix_ms), (number, number + 1));
            assert_eq!((accepted, messages, bytes_received, bytes_sent), (2, 2, 10, 100));
            assert_eq!((moment.handshake_failures, open), (1, number + 1));
            assert!((moment.seconds - 2.0).abs() < 1e-9);
        }
    }

    #[test]
    fn no_more_moments_and_columns_are_kept_than_there_is_room_for() {
        let mut past = Past::new(at(0));
        let mut heat = Heat::new();
        let mut values = PhaseHistogram::<u32>::new(Phase::Connect);
        for micros in [50, 51, 20_000_000] {
            values.record(Duration::from_micros(micros));
        }
        let mut seconds = 0;
        for _ in 0..COLUMNS + 7 {
            heat.add(past.growing(), Phase::Connect, &values);
            for _ in 0..COLUMN {
                seconds += 1;
                if past.end_moment(std::iter::empty(), at(seconds), 0) {
                    heat.begin(past.growing());
                }
            }
        }
        let moments = past.moments();
        assert_eq!((moments.len(), moments[MOMENTS - 1].number), (MOMENTS, seconds - 1));
        let columns = heat.columns(past.growing());
        assert_eq!((past.growing(), columns.len()), (COLUMNS as u64 + 7, COLUMNS));
        let full = &columns[0];
        assert_eq!((full[0], full[1], full[BANDS - 1]), (1, 1, 1));
        assert_eq!(full.iter().sum::<u32>(), 3);
        assert!(columns[..COLUMNS - 1].iter().all(|column| column == full));
        assert_eq!(columns[COLUMNS - 1], [0; BANDS], "it has just begun");
        assert_eq!(Heat::new().columns(2).len(), 3, "no column is older than the process");
    }

    #[test]
    fn every_bound_has_its_band() {
        for phase in Phase::ALL {
            assert!(bounds(phase).len() < BANDS, "{phase:?}");
        }
    }
}
