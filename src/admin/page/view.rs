//! What the page and `tlsgate top` show, as they get it: a bounded picture of a snapshot.
//!
//! Times have their unit in their name. Rates are per second, since the look before.

use std::cmp::Reverse;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::Lifecycle;
use crate::admission::Shed;
use crate::audit::report::List;
use crate::conn::outcome::{Cause, Reason};
use crate::telemetry::counters::Refusal;
use crate::telemetry::past::{COLUMN, Moment};
use crate::telemetry::snapshot::{ListenerView, QUANTILES, ShardView, Span, bounds};
use crate::telemetry::{
    ConfigFacts, Kind, ListenerCounters, Phase, ProcessFigures, ShardGauges, Snapshot,
};

use super::inventory::Known;

/// Most listeners, shards and generations that are shown.
const MOST_LISTENERS: usize = 100;
const MOST_SHARDS: usize = 128;
const MOST_GENERATIONS: usize = 20;

/// An answer. What it is made of is borrowed where it is written, and owned where it is read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Data<L = Live, K = Known> {
    pub live: L,
    /// Those after the one that the reader has.
    pub moments: Vec<Moment>,
    /// The listener that was asked for, or the busiest.
    pub listener: Option<Detail>,
    /// None where the reader has it already.
    pub inventory: Option<K>,
}

/// How things stand.
#[derive(Debug, Serialize, Deserialize)]
pub struct Live {
    pub version: String,
    pub state: String,
    pub engine: String,
    pub engine_reason: String,
    pub taken_unix_ms: u64,
    pub started_unix_ms: u64,
    pub uptime_seconds: u64,
    pub process: ProcessFigures,
    pub config: ConfigFacts,
    /// Share of what can be done before answers become slow that is not asked for, of the shard that
    /// has the least.
    pub headroom: Option<f64>,
    /// Sums over shards, or the most of any.
    pub gauges: ShardGauges,
    pub listeners: List<ListenerRow>,
    pub shards: List<ShardRow>,
    /// The newest first.
    pub generations: List<GenerationRow>,
    pub shed: Vec<CountRow>,
    pub refused: Vec<CountRow>,
    /// What went wrong, most of late first.
    pub failures: Vec<FailureRow>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ListenerRow {
    pub name: String,
    /// None for a listener of an earlier configuration.
    pub address: Option<String>,
    pub open: u64,
    /// Of those, would not be admitted any more.
    pub stale: u64,
    pub accepted: u64,
    pub handshakes_full: u64,
    pub handshakes_resumed: u64,
    pub handshake_failures: u64,
    /// None at the first look.
    pub rates: Option<Rates>,
    /// Of handshakes of the last minute, full and resumed; none where there were none.
    pub full_p99_us: Option<u64>,
    pub resumed_p99_us: Option<u64>,
}

/// Per second.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rates {
    pub accepted: f64,
    pub handshakes_full: f64,
    pub handshakes_resumed: f64,
    pub handshake_failures: f64,
    pub messages: f64,
    pub bytes_received: f64,
    pub bytes_sent: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ShardRow {
    pub shard: usize,
    pub answered_ms_ago: u64,
    /// After a drain.
    pub ended: bool,
    pub headroom: Option<f64>,
    #[serde(flatten)]
    pub gauges: ShardGauges,
    /// Events handled, and system calls made; none at the first look.
    pub events_per_second: Option<f64>,
    pub system_calls_per_second: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct GenerationRow {
    pub generation: u64,
    pub open: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct CountRow {
    pub cause: String,
    pub count: u64,
    pub per_second: Option<f64>,
}

/// Connections, or attempts at upstreams, that ended as they should not.
#[derive(Debug, Serialize, Deserialize)]
pub struct FailureRow {
    pub what: Failed,
    pub reason: String,
    /// Whose doing it was; none for attempts at upstreams.
    pub cause: Option<String>,
    pub count: u64,
    pub per_second: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failed {
    Connection,
    /// Whether or not another endpoint took the connection.
    Upstream,
}

/// Times of one listener.
#[derive(Debug, Serialize, Deserialize)]
pub struct Detail {
    pub name: String,
    pub percentiles: Vec<PercentileRow>,
    pub heat: Vec<HeatRow>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct PercentileRow {
    pub kind: String,
    pub phase: String,
    pub span: String,
    pub count: u64,
    /// p50, p90, p99, p99.9, p99.99, and the longest.
    pub micros: [u64; QUANTILES.len() + 1],
}

/// A phase over time.
#[derive(Debug, Serialize, Deserialize)]
pub struct HeatRow {
    pub phase: String,
    /// Upper bounds of the bands but the last, which has none.
    pub bounds_us: Vec<u64>,
    /// Number of the first column; the last one is still growing.
    pub first: u64,
    pub columns: Vec<Vec<u32>>,
}

impl Live {
    /// The picture of `now`, with rates since `before`.
    pub(super) fn of(now: &Snapshot, before: Option<&Snapshot>, lifecycle: Lifecycle) -> Self {
        let facts = &now.facts;
        let since = Since::of(now, before);
        Self {
            version: facts.version.to_owned(),
            state: lifecycle.as_str().to_owned(),
            engine: facts.engine.to_owned(),
            engine_reason: facts.engine_reason.to_string(),
            taken_unix_ms: now.taken_unix_ms,
            started_unix_ms: facts.started_unix_ms,
            uptime_seconds: now.uptime().as_secs(),
            process: facts.process,
            config: facts.config.clone(),
            headroom: now.totals.headroom.map(|headroom| headroom.headroom),
            gauges: now.totals.gauges,
            listeners: listeners(now, since),
            shards: shards(now, since),
            generations: generations(now),
            shed: shed(now, since),
            refused: refused(now, since),
            failures: failures(now, since),
        }
    }
}

impl Detail {
    /// Of this listener, or of the busiest of the last minutes; columns from that of the moment
    /// `since` on.
    pub(super) fn of(snapshot: &Snapshot, name: Option<&str>, since: Option<u64>) -> Option<Self> {
        let asked = name.and_then(|name| snapshot.listener(name)).map(|view| &*view.name);
        let name = asked.or_else(|| busiest(snapshot))?;
        let rows = snapshot.rows().into_iter().filter(|row| &*row.listener == name);
        let percentiles = rows.map(|row| {
            let mut micros = [0; QUANTILES.len() + 1];
            let times = row.digest.quantiles.into_iter().chain([row.digest.max]);
            micros.iter_mut().zip(times).for_each(|(place, time)| *place = whole_micros(time));
            PercentileRow {
                kind: row.kind.as_str().to_owned(),
                phase: row.phase.as_str().to_owned(),
                span: row.span.as_str().to_owned(),
                count: row.digest.count,
                micros,
            }
        });
        let heat = snapshot.heat.iter().filter(|map| &*map.listener == name).map(|map| {
            let oldest = snapshot.growing + 1 - map.columns.len() as u64;
            let first =
                since.map_or(oldest, |moment| moment / COLUMN).clamp(oldest, snapshot.growing);
            let skipped = usize::try_from(first - oldest).expect("fewer than are kept");
            HeatRow {
                phase: map.phase.as_str().to_owned(),
                bounds_us: bounds(map.phase).iter().copied().map(whole_micros).collect(),
                first,
                columns: map.columns[skipped..]
                    .iter()
                    .map(|column| band_counts(map.phase, column))
                    .collect(),
            }
        });
        Some(Self {
            name: name.to_owned(),
            percentiles: percentiles.collect(),
            heat: heat.collect(),
        })
    }
}

/// Only the bands that the phase has.
fn band_counts(phase: Phase, column: &[u32]) -> Vec<u32> {
    column[..=bounds(phase).len()].to_vec()
}

fn busiest(snapshot: &Snapshot) -> Option<&str> {
    let handshakes = |view: &ListenerView| {
        let ListenerCounters { accepted, handshakes_full, handshakes_resumed, .. } = view.counters;
        (handshakes_full + handshakes_resumed, accepted)
    };
    // The first of those that are alike.
    let views = snapshot.listeners.iter().rev();
    views.max_by_key(|view| handshakes(view)).map(|view| &*view.name)
}

/// The snapshot before, and how long ago it was.
#[derive(Clone, Copy)]
struct Since<'a>(Option<(&'a Snapshot, f64)>);

impl<'a> Since<'a> {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds between two looks")]
    fn of(now: &Snapshot, before: Option<&'a Snapshot>) -> Self {
        let passed = |before: &Snapshot| now.taken_unix_ms.saturating_sub(before.taken_unix_ms);
        let before = before.filter(|before| passed(before) > 0);
        Self(before.map(|before| (before, passed(before) as f64 / 1e3)))
    }

    /// Per second, to a tenth; none at the first look.
    #[expect(clippy::cast_precision_loss, reason = "counts of some seconds")]
    fn rate(self, now: u64, before: impl FnOnce(&'a Snapshot) -> u64) -> Option<f64> {
        let (snapshot, seconds) = self.0?;
        let more = now.saturating_sub(before(snapshot));
        Some((more as f64 / seconds * 10.0).round() / 10.0)
    }
}

fn listeners(now: &Snapshot, since: Since<'_>) -> List<ListenerRow> {
    let mut rows: Vec<&ListenerView> = now.listeners.iter().collect();
    if rows.len() > MOST_LISTENERS {
        rows.sort_by_key(|view| Reverse(view.counters.open()));
    }
    let List { rows, left_out } = List::cut(rows, MOST_LISTENERS);
    let rows = rows.into_iter().map(|view| ListenerRow::of(view, now, since)).collect();
    List { rows, left_out }
}

impl ListenerRow {
    fn of(view: &ListenerView, now: &Snapshot, since: Since<'_>) -> Self {
        let counters = &view.counters;
        let facts = now.facts.listeners.iter().find(|facts| facts.name == view.name);
        let p99 = |kind: Kind| {
            let latency = now.latencies.iter().find(|latency| {
                let is_its = latency.listener == view.name;
                is_its && latency.kind == kind && latency.phase == Phase::Handshake
            });
            let digest = latency?.spans[Span::Last60s as usize];
            (digest.count > 0).then(|| whole_micros(digest.quantiles[2]))
        };
        Self {
            name: view.name.to_string(),
            address: facts.map(|facts| facts.address.clone()),
            open: counters.open(),
            stale: counters.stale_open,
            accepted: counters.accepted,
            handshakes_full: counters.handshakes_full,
            handshakes_resumed: counters.handshakes_resumed,
            handshake_failures: counters.handshakes_failed(),
            rates: Rates::of(view, since),
            full_p99_us: p99(Kind::Full),
            resumed_p99_us: p99(Kind::Resumed),
        }
    }
}

impl Rates {
    fn of(view: &ListenerView, since: Since<'_>) -> Option<Self> {
        let nothing = ListenerCounters::default();
        let before = since.0?.0.listener(&view.name).map_or(&nothing, |view| &view.counters);
        let rate = |value: fn(&ListenerCounters) -> u64| {
            since.rate(value(&view.counters), |_| value(before))
        };
        Some(Self {
            accepted: rate(|counters| counters.accepted)?,
            handshakes_full: rate(|counters| counters.handshakes_full)?,
            handshakes_resumed: rate(|counters| counters.handshakes_resumed)?,
            handshake_failures: rate(ListenerCounters::handshakes_failed)?,
            messages: rate(|counters| counters.messages_received + counters.messages_sent)?,
            bytes_received: rate(|counters| counters.bytes_received)?,
            bytes_sent: rate(|counters| counters.bytes_sent)?,
        })
    }
}

fn shards(now: &Snapshot, since: Since<'_>) -> List<ShardRow> {
    let row = |(shard, view): (usize, &ShardView)| {
        let rate = |value: fn(&ShardView) -> u64| {
            let before = |snapshot: &Snapshot| snapshot.shards.get(shard).map_or(0, value);
            since.rate(value(view), before)
        };
        ShardRow {
            shard,
            answered_ms_ago: u64::try_from(view.answered_ago.as_millis()).unwrap_or(u64::MAX),
            ended: view.ended,
            headroom: view.headroom.map(|headroom| headroom.headroom),
            gauges: view.gauges,
            events_per_second: rate(|view| view.engine.events),
            system_calls_per_second: rate(|view| view.engine.system_calls),
        }
    };
    let rows = now.shards.iter().take(MOST_SHARDS).enumerate().map(row).collect();
    List { rows, left_out: now.shards.len().saturating_sub(MOST_SHARDS) }
}

fn generations(now: &Snapshot) -> List<GenerationRow> {
    let newest = now.generations.iter().rev();
    let rows =
        newest.map(|(generation, open)| GenerationRow { generation: *generation, open: *open });
    List::cut(rows.collect(), MOST_GENERATIONS)
}

fn shed(now: &Snapshot, since: Since<'_>) -> Vec<CountRow> {
    let rows = Shed::ALL.into_iter().map(|why| {
        let count = |snapshot: &Snapshot| snapshot.totals.shed[why as usize];
        let per_second = since.rate(count(now), count);
        CountRow { cause: why.as_str().to_owned(), count: count(now), per_second }
    });
    rows.filter(|row| row.count > 0).collect()
}

fn refused(now: &Snapshot, since: Since<'_>) -> Vec<CountRow> {
    let rows = Refusal::ALL.into_iter().map(|why| {
        let count = |snapshot: &Snapshot| snapshot.totals.refused[why as usize];
        let per_second = since.rate(count(now), count);
        CountRow { cause: why.as_str().to_owned(), count: count(now), per_second }
    });
    rows.filter(|row| row.count > 0).collect()
}

/// All that are not how connections should end. Closed sets: there are never more than 300.
fn failures(now: &Snapshot, since: Since<'_>) -> Vec<FailureRow> {
    let sum = |snapshot: &Snapshot, value: &dyn Fn(&ListenerCounters) -> u64| -> u64 {
        snapshot.listeners.iter().map(|view| value(&view.counters)).sum()
    };
    let mut rows = Vec::new();
    let mut add =
        |what, reason: Reason, cause: Option<Cause>, value: &dyn Fn(&ListenerCounters) -> u64| {
            let count = sum(now, value);
            if count > 0 {
                rows.push(FailureRow {
                    what,
                    reason: reason.as_str().to_owned(),
                    cause: cause.map(|cause| cause.as_str().to_owned()),
                    count,
                    per_second: since.rate(count, |before| sum(before, value)),
                });
            }
        };
    for reason in Reason::ALL {
        add(Failed::Upstream, reason, None, &|counters| counters.upstream_failures(reason));
        if reason == Reason::Finished {
            continue;
        }
        for cause in Cause::ALL {
            add(Failed::Connection, reason, Some(cause), &|counters| {
                counters.closed(reason, cause)
            });
        }
    }
    rows.sort_by(|a, b| {
        let recent = |row: &FailureRow| row.per_second.unwrap_or_default();
        recent(b).total_cmp(&recent(a)).then(b.count.cmp(&a.count))
    });
    rows
}

fn whole_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
