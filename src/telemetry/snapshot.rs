//! What readers get: one immutable picture of the whole process.
//!
//! Histograms appear as digests (counts, sums, quantiles, buckets): a snapshot stays small however
//! many listeners there are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counters::{AcceptError, EngineCounters, ListenerCounters, Refusal};
use super::headroom::Headroom;
use super::histograms::{Kind, Phase, PhaseHistogram};
use super::past::{BANDS, Moment};
use super::process::ProcessFigures;
use super::shard::ShardGauges;
use super::shared::SharedValues;
use crate::admission::Shed;
use crate::audit::Whose;
use crate::tls::resumption::{Refusals, TicketStats, UpstreamStats};
use crate::tls::trust::{CrlFacts, OcspFacts};
use crate::upstream::{Figures, Role};

/// The quantiles that digests hold, with their names.
pub const QUANTILES: [(f64, &str); 5] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// A shard that has not answered for this long is stuck: reason enough to restart the process.
pub const STUCK: Duration = Duration::from_secs(5);

/// Which samples a digest is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Since the process started.
    Total,
    /// At least the last 10 seconds; [`Snapshot::covers`] has the exact length.
    Last10s,
    /// At least the last 60 seconds; [`Snapshot::covers`] has the exact length.
    Last60s,
}

impl Span {
    pub const ALL: [Self; 3] = [Self::Total, Self::Last10s, Self::Last60s];

    /// Word in the status and on the terminal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Last10s => "last_10s",
            Self::Last60s => "last_60s",
        }
    }
}

/// What the process knows about itself besides what it measures.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub version: &'static str,
    /// Name of the engine that runs.
    pub engine: &'static str,
    /// Why it was chosen.
    pub engine_reason: Arc<str>,
    /// What keeps the process where it is, and what does not: a sentence.
    pub sandbox: Arc<str>,
    /// Start of the process, in milliseconds since 1970.
    pub started_unix_ms: u64,
    pub config: ConfigFacts,
    pub listeners: Vec<ListenerFacts>,
    pub certificates: Vec<CertificateFacts>,
    /// Lists of revoked certificates, each file's once.
    pub crls: Vec<CrlFacts>,
    pub crl_swaps: CrlSwaps,
    pub upstreams: Vec<UpstreamFacts>,
    pub tickets: TicketStats,
    /// By the session store.
    pub sessions_rejected: Refusals,
    pub upstream_sessions: UpstreamStats,
    pub process: ProcessFigures,
}

/// The configuration that runs, and how loading others went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFacts {
    /// Counts the configurations that this process has run, from 1.
    pub generation: u64,
    /// When it was loaded, in milliseconds since 1970.
    pub loaded_unix_ms: u64,
    /// Configurations that took the place of another.
    pub reloads: u64,
    /// Configurations that were refused.
    pub reload_failures: u64,
    /// Why the last one was refused; none once one was taken again.
    pub last_failure: Option<String>,
}

/// What became of lists of revoked certificates whose files changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CrlSwaps {
    /// Sets of lists that took the place of another.
    pub taken: u64,
    /// Files that could not be used; what they had said before counts on.
    pub refused: u64,
}

/// A listener and the address it really got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerFacts {
    pub name: Arc<str>,
    /// `"0.0.0.0:5061"`, `"unix:/run/tlsgate.sock"`.
    pub address: String,
}

/// A certificate that a listener presents, to peers or to components.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateFacts {
    pub listener: Arc<str>,
    pub side: Whose,
    pub subject: String,
    /// Hexadecimal.
    pub serial: String,
    /// End of validity, in seconds since 1970; negative before.
    pub not_after_unix: i64,
    /// What the OCSP response says that is sent along, if one is.
    pub staple: Option<OcspFacts>,
}

/// An endpoint of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamFacts {
    pub route: Arc<str>,
    /// As configured; unique in its route.
    pub endpoint: Arc<str>,
    pub role: Role,
    pub figures: Figures,
    /// An estimate of how many more connections there can be to each of its addresses.
    pub ports_left: Vec<(SocketAddr, u64)>,
}

/// One immutable picture of the process.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was made, in milliseconds since 1970.
    pub taken_unix_ms: u64,
    pub facts: Facts,
    /// By shard number.
    pub shards: Vec<ShardView>,
    /// Sums over shards; see [`Snapshot::listener`].
    pub listeners: Vec<ListenerView>,
    pub totals: Totals,
    /// Open connections by the generation of the configuration they were admitted under, in
    /// order: those that have connections, and the newest.
    pub generations: Vec<(u64, u64)>,
    /// Every listener (or group of listeners that shares a set), kind and phase, in this order.
    pub latencies: Vec<Latency>,
    /// How much time each [`Span`] covers, by position in [`Span::ALL`].
    pub covers: [Duration; Span::ALL.len()],
    /// The last [`super::past::MOMENTS`], the oldest first.
    pub moments: Vec<Moment>,
    /// The column of [`HeatMap::columns`] that is last and still growing, counted from 0 at start.
    pub growing: u64,
    /// Every listener and phase that has had values.
    pub heat: Vec<HeatMap>,
    pub shared: SharedValues,
}

/// Sums over shards of what belongs to no listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    pub refused: [u64; Refusal::ALL.len()],
    pub shed: [u64; Shed::ALL.len()],
    pub accept_errors: [u64; AcceptError::ALL.len()],
    pub hello_memory_refusals: u64,
    pub unattributed: u64,
    pub engine: EngineCounters,
    pub gauges: ShardGauges,
    /// Of the shard that has the least.
    pub headroom: Option<Headroom>,
}

/// One shard, as it was when it last answered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShardView {
    /// Time since it last answered; since start where it never did. Zero once it has ended.
    pub answered_ago: Duration,
    /// It has nothing left to do, which is how a drain ends: no answer is missed.
    pub ended: bool,
    /// Times it did not answer by the deadline of a reader or by the next tick.
    pub missed: u64,
    pub engine: EngineCounters,
    pub gauges: ShardGauges,
    /// None until it is known, and where the kernel does not tell.
    pub headroom: Option<Headroom>,
}

/// One listener, summed over shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerView {
    pub name: Arc<str>,
    pub counters: ListenerCounters,
}

/// Times of one phase of one kind of connection.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Name of the listener, or [`super::names::OTHER_LISTENERS`].
    pub listener: Arc<str>,
    pub kind: Kind,
    pub phase: Phase,
    /// By position in [`Span::ALL`].
    pub spans: [Digest; Span::ALL.len()],
    /// Values since start at or below each of [`bounds`]; rising.
    pub buckets: Vec<u64>,
}

/// Times of one phase over the last minutes, full and resumed together.
#[derive(Clone, Debug)]
pub struct HeatMap {
    pub listener: Arc<str>,
    pub phase: Phase,
    /// Values by band, in columns of [`super::past::COLUMN`] moments; the oldest first.
    pub columns: Vec<[u32; BANDS]>,
}

/// A histogram in a few numbers. All zero when there are no values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    pub count: u64,
    pub sum: Duration,
    pub max: Duration,
    /// By position in [`QUANTILES`]; two significant digits.
    pub quantiles: [Duration; QUANTILES.len()],
}

/// One line of the percentile table.
#[derive(Clone, Debug)]
pub struct PercentileRow {
    pub listener: Arc<str>,
    pub kind: Kind,
    pub phase: Phase,
    pub span: Span,
    pub digest: Digest,
}

impl Digest {
    pub(super) fn of<C: hdrhistogram::Counter>(histogram: &PhaseHistogram<C>) -> Self {
        Self {
            count: histogram.count(),
            sum: histogram.sum(),
            max: histogram.max(),
            quantiles: QUANTILES.map(|(quantile, _)| histogram.quantile(quantile)),
        }
    }
}

impl Snapshot {
    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&ListenerView> {
        self.listeners.iter().find(|view| &*view.name == name)
    }

    /// Shards that have not answered for `limit` or longer.
    pub fn stuck(&self, limit: Duration) -> Vec<usize> {
        let shards = self.shards.iter().enumerate();
        shards.filter(|(_, view)| view.answered_ago >= limit).map(|(shard, _)| shard).collect()
    }

    /// Time since the process started.
    pub fn uptime(&self) -> Duration {
        Duration::from_millis(self.taken_unix_ms.saturating_sub(self.facts.started_unix_ms))
    }

    /// The percentile table: a row for each digest that has values.
    pub fn rows(&self) -> Vec<PercentileRow> {
        let mut rows = Vec::new();
        for latency in &self.latencies {
            for (span, digest) in Span::ALL.into_iter().zip(latency.spans) {
                if digest.count > 0 {
                    rows.push(PercentileRow {
                        listener: Arc::clone(&latency.listener),
                        kind: latency.kind,
                        phase: latency.phase,
                        span,
                        digest,
                    });
                }
            }
        }
        rows
    }
}

const fn micros<const N: usize>(values: [u64; N]) -> [Duration; N] {
    let mut durations = [Duration::ZERO; N];
    let mut position = 0;
    while position < N {
        durations[position] = Duration::from_micros(values[position]);
        position += 1;
    }
    durations
}

/// 50 µs to 10 s: a resumed handshake takes a tenth of a millisecond, a handshake timeout is
/// seconds.
const LATENCY_BOUNDS: [Duration; 17] = micros([
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
]);

/// 1 ms to 1 day.
const LIFETIME_BOUNDS: [Duration; 10] = micros([
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
]);

/// Upper bounds of the buckets that a phase is exported with, rising.
pub const fn bounds(phase: Phase) -> &'static [Duration] {
    match phase {
        Phase::Lifetime => &LIFETIME_BOUNDS,
        _ => &LATENCY_BOUNDS,
    }
}
