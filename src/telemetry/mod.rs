//! What the gateway measures about itself, and how it is told.
//!
//! One direction: shards write plain numbers that only they own ([`ShardTelemetry`]), the one
//! [`Aggregator`] collects and merges them, and every reader (metrics, status, terminal) gets the
//! same immutable [`Snapshot`]. The access log is the other way out: one line per connection.

pub mod access_log;
pub mod aggregator;
pub mod counters;
pub mod headroom;
pub mod histograms;
mod merge;
pub mod names;
pub mod past;
pub mod process;
pub mod prometheus;
pub mod shard;
pub mod shared;
pub mod snapshot;

pub use access_log::{AccessLog, AccessRecord, AccessSender};
pub use aggregator::{Aggregator, AggregatorHandle, AnswerSender, ReadError, ShardPort};
pub use counters::{
    AcceptError, EngineCounters, ListenerCounters, ProxyHeader, Refusal, ShardCounters,
    Unterminated,
};
pub use headroom::Headroom;
pub use histograms::{HistogramSet, Kind, Phase};
pub use process::ProcessFigures;
pub use shard::{ListenerNames, ShardGauges, ShardSnapshot, ShardTelemetry};
pub use shared::SharedCounters;
pub use snapshot::{
    CertificateFacts, ConfigFacts, CrlSwaps, Facts, ListenerFacts, Snapshot, UpstreamFacts,
};
