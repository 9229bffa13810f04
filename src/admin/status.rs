//! `/status`: the snapshot as JSON, for people and scripts.
//!
//! Times have their unit in their name. Counters that are zero in a table (reasons, causes, kinds)
//! are left out, as are percentiles of phases without values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::Lifecycle;
use crate::admission::Shed;
use crate::audit::autodetect::Watch;
use crate::audit::report::{OthersRow, Traffic, days_left};
use crate::audit::{self, Whose};
use crate::conn::outcome::{Cause, Reason};
use crate::telemetry::counters::{AcceptError, Refusal};
use crate::telemetry::shared::SharedValues;
use crate::telemetry::snapshot::{ListenerView, PercentileRow, QUANTILES, Span};
use crate::telemetry::{
    CertificateFacts, ConfigFacts, CrlSwaps, EngineCounters, Headroom, ListenerCounters,
    ProcessFigures, ShardGauges, Snapshot, UpstreamFacts,
};
use crate::tls::resumption::{Epoch, Rank, Refusals, TicketStats, UpstreamStats};
use crate::tls::trust::CrlFacts;
use crate::upstream::Figures;

type Table = BTreeMap<&'static str, u64>;

pub(super) fn render(snapshot: &Snapshot, traffic: &Traffic, lifecycle: Lifecycle) -> String {
    let status = Status::of(snapshot, traffic, lifecycle);
    let mut text = serde_json::to_string_pretty(&status)
        .expect("keys are strings and writing to a String cannot fail");
    text.push('\n');
    text
}

/// The same, to take parts of.
pub(super) fn value(snapshot: &Snapshot, traffic: &Traffic, lifecycle: Lifecycle) -> Value {
    serde_json::to_value(Status::of(snapshot, traffic, lifecycle))
        .expect("keys are strings or numbers")
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    state: &'static str,
    engine: &'static str,
    engine_reason: &'a str,
    sandbox: &'a str,
    started_unix_ms: u64,
    uptime_seconds: u64,
    workers: usize,
    /// Of the shard that has the least.
    headroom: Option<Headroom>,
    process: ProcessFigures,
    config: &'a ConfigFacts,
    /// Open connections by generation of the configuration.
    generations: BTreeMap<u64, u64>,
    connections: Connections,
    listeners: Vec<Listener<'a>>,
    percentiles: Vec<Percentiles>,
    certificates: Vec<Certificate<'a>>,
    crls: &'a [CrlFacts],
    crl_swaps: CrlSwaps,
    /// Those of peers that expire first.
    peer_certificates: Vec<PeerCertificate<'a>>,
    autodetect: &'a [Watch],
    audit_others: OthersRow,
    upstreams: Vec<Upstream<'a>>,
    tickets: Tickets,
    sessions_rejected: Table,
    upstream_sessions: UpstreamSessions,
    shared: SharedValues,
    shards: Vec<Shard>,
}

#[derive(Serialize)]
struct Connections {
    #[serde(flatten)]
    gauges: ShardGauges,
    refused: Table,
    /// Handshakes that were not done.
    shed: Table,
    accept_errors: Table,
    hello_memory_refusals: u64,
    unattributed: u64,
}

#[derive(Serialize)]
struct Listener<'a> {
    name: &'a str,
    /// None for a listener of an earlier configuration.
    address: Option<&'a str>,
    open: u64,
    /// Of those, would not be admitted any more.
    stale: u64,
    accepted: u64,
    handshakes_full: u64,
    handshakes_resumed: u64,
    handshake_failures: Table,
    closed: BTreeMap<&'static str, Table>,
    bytes_received: u64,
    bytes_sent: u64,
}

#[derive(Serialize)]
struct Percentiles {
    listener: String,
    kind: &'static str,
    phase: &'static str,
    span: &'static str,
    /// Time that the span really covers.
    covers_seconds: f64,
    count: u64,
    percentiles_us: Table,
    max_us: u64,
}

/// By listener and side.
#[derive(Serialize)]
struct PeerCertificate<'a> {
    listener: &'a str,
    side: Whose,
    subject: &'a str,
    serial: &'a str,
    not_after_unix: i64,
    days_left: i64,
}

#[derive(Serialize)]
struct Certificate<'a> {
    listener: &'a str,
    side: Whose,
    subject: &'a str,
    serial: &'a str,
    not_after_unix: i64,
    /// Rounded down; negative once it has expired.
    days_left: i64,
    /// Of the OCSP response that is sent along.
    staple_this_update_unix: Option<i64>,
    staple_next_update_unix: Option<i64>,
    staple_days_left: Option<i64>,
}

/// [`UpstreamStats`], of the sessions that components gave us.
#[derive(Serialize)]
struct UpstreamSessions {
    servers: u64,
    stored: u64,
    offered: u64,
    evicted: u64,
    rejected: Table,
}

#[derive(Serialize)]
struct Upstream<'a> {
    route: &'a str,
    endpoint: &'a str,
    role: &'static str,
    #[serde(flatten)]
    figures: Figures,
    /// By address: connections that there are still local ports for, as estimated.
    ports_left: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Tickets {
    issued: u64,
    /// By the epoch of the key, and by the secret that it was derived from.
    accepted: BTreeMap<&'static str, Table>,
    rejected: Table,
}

#[derive(Serialize)]
struct Shard {
    answered_ms_ago: u64,
    missed_collections: u64,
    /// After a drain.
    ended: bool,
    #[serde(flatten)]
    gauges: ShardGauges,
    headroom: Option<Headroom>,
    engine: EngineCounters,
}

impl<'a> Status<'a> {
    fn of(snapshot: &'a Snapshot, traffic: &'a Traffic, lifecycle: Lifecycle) -> Self {
        let facts = &snapshot.facts;
        let now = unix_seconds(snapshot.taken_unix_ms);
        let percentiles = snapshot.rows().into_iter();
        Self {
            version: facts.version,
            state: lifecycle.as_str(),
            engine: facts.engine,
            engine_reason: &facts.engine_reason,
            sandbox: &facts.sandbox,
            started_unix_ms: facts.started_unix_ms,
            uptime_seconds: snapshot.uptime().as_secs(),
            workers: snapshot.shards.len(),
            headroom: snapshot.totals.headroom,
            process: facts.process,
            config: &facts.config,
            generations: snapshot.generations.iter().copied().collect(),
            connections: Connections::of(snapshot),
            listeners: snapshot.listeners.iter().map(|view| Listener::of(view, snapshot)).collect(),
            percentiles: percentiles.map(|row| Percentiles::of(row, &snapshot.covers)).collect(),
            certificates: facts
                .certificates
                .iter()
                .map(|certificate| Certificate::of(certificate, now))
                .collect(),
            crls: &facts.crls,
            crl_swaps: facts.crl_swaps,
            peer_certificates: PeerCertificate::all(traffic, now),
            autodetect: &traffic.autodetect,
            audit_others: traffic.others,
            upstreams: facts.upstreams.iter().map(Upstream::of).collect(),
            tickets: Tickets::of(&facts.tickets),
            sessions_rejected: refused(&facts.sessions_rejected),
            upstream_sessions: UpstreamSessions::of(&facts.upstream_sessions),
            shared: snapshot.shared,
            shards: snapshot
                .shards
                .iter()
                .map(|view| Shard {
                    answered_ms_ago: millis(view.answered_ago),
                    missed_collections: view.missed,
                    ended: view.ended,
                    gauges: view.gauges,
                    headroom: view.headroom,
                    engine: view.engine,
                })
                .collect(),
        }
    }
}

impl Connections {
    fn of(snapshot: &Snapshot) -> Self {
        let totals = &snapshot.totals;
        let refused = Refusal::ALL.map(|kind| (kind.as_str(), totals.refused[kind as usize]));
        let shed = Shed::ALL.map(|why| (why.as_str(), totals.shed[why as usize]));
        let errors =
            AcceptError::ALL.map(|kind| (kind.as_str(), totals.accept_errors[kind as usize]));
        Self {
            gauges: totals.gauges,
            refused: without_zeros(refused),
            shed: without_zeros(shed),
            accept_errors: without_zeros(errors),
            hello_memory_refusals: totals.hello_memory_refusals,
            unattributed: totals.unattributed,
        }
    }
}

impl<'a> Listener<'a> {
    fn of(view: &'a ListenerView, snapshot: &'a Snapshot) -> Self {
        let counters = &view.counters;
        let facts = snapshot.facts.listeners.iter().find(|facts| facts.name == view.name);
        let failures =
            Reason::ALL.map(|reason| (reason.as_str(), counters.handshake_failures(reason)));
        Self {
            name: &view.name,
            address: facts.map(|facts| facts.address.as_str()),
            open: counters.open(),
            stale: counters.stale_open,
            accepted: counters.accepted,
            handshakes_full: counters.handshakes_full,
            handshakes_resumed: counters.handshakes_resumed,
            handshake_failures: without_zeros(failures),
            closed: closed(counters),
            bytes_received: counters.bytes_received,
            bytes_sent: counters.bytes_sent,
        }
    }
}

impl Percentiles {
    fn of(row: PercentileRow, covers: &[Duration; Span::ALL.len()]) -> Self {
        let quantiles = QUANTILES.into_iter().zip(row.digest.quantiles);
        Self {
            listener: row.listener.to_string(),
            kind: row.kind.as_str(),
            phase: row.phase.as_str(),
            span: row.span.as_str(),
            covers_seconds: covers[row.span as usize].as_secs_f64(),
            count: row.digest.count,
            percentiles_us: quantiles.map(|((_, name), value)| (name, micros(value))).collect(),
            max_us: micros(row.digest.max),
        }
    }
}

impl<'a> Certificate<'a> {
    fn of(facts: &'a CertificateFacts, now: i64) -> Self {
        let next_update = facts.staple.and_then(|staple| staple.next_update);
        Self {
            listener: &facts.listener,
            side: facts.side,
            subject: &facts.subject,
            serial: &facts.serial,
            not_after_unix: facts.not_after_unix,
            days_left: days_left(facts.not_after_unix, now),
            staple_this_update_unix: facts.staple.map(|staple| staple.this_update),
            staple_next_update_unix: next_update,
            staple_days_left: next_update.map(|ends| days_left(ends, now)),
        }
    }
}

impl<'a> PeerCertificate<'a> {
    fn all(traffic: &'a Traffic, now: i64) -> Vec<Self> {
        let soonest = traffic.soonest.iter();
        let of = |((listener, side), certificate): (&'a (Arc<str>, Whose), &'a Arc<_>)| {
            let audit::PeerCertificate { subject, serial, not_after, .. } = &**certificate;
            let (not_after_unix, days_left) = (*not_after, days_left(*not_after, now));
            Self { listener, side: *side, subject, serial, not_after_unix, days_left }
        };
        soonest.map(of).collect()
    }
}

impl<'a> Upstream<'a> {
    fn of(facts: &'a UpstreamFacts) -> Self {
        Self {
            route: &facts.route,
            endpoint: &facts.endpoint,
            role: facts.role.as_str(),
            figures: facts.figures,
            ports_left: facts.ports_left.iter().map(|(to, left)| (to.to_string(), *left)).collect(),
        }
    }
}

impl Tickets {
    fn of(stats: &TicketStats) -> Self {
        let of_epoch = |epoch: Epoch| {
            let by_rank = stats.accepted[epoch as usize];
            without_zeros(Rank::ALL.map(|rank| (rank.as_str(), by_rank[rank as usize])))
        };
        let accepted = Epoch::ALL.map(|epoch| (epoch.as_str(), of_epoch(epoch)));
        let mut rejected = Table::new();
        for (cause, _, value) in stats.rejected().filter(|(_, _, value)| *value > 0) {
            *rejected.entry(cause).or_default() += value;
        }
        Self {
            issued: stats.issued,
            accepted: accepted.into_iter().filter(|(_, ranks)| !ranks.is_empty()).collect(),
            rejected,
        }
    }
}

impl UpstreamSessions {
    fn of(stats: &UpstreamStats) -> Self {
        Self {
            servers: stats.servers,
            stored: stats.stored,
            offered: stats.offered,
            evicted: stats.evicted,
            rejected: refused(&stats.rejected),
        }
    }
}

fn refused(refusals: &Refusals) -> Table {
    let counts = refusals.iter().filter(|(_, count)| *count > 0);
    counts.map(|(cause, count)| (cause.as_str(), count)).collect()
}

fn closed(counters: &ListenerCounters) -> BTreeMap<&'static str, Table> {
    let of_reason = |reason| {
        without_zeros(Cause::ALL.map(|cause| (cause.as_str(), counters.closed(reason, cause))))
    };
    let reasons = Reason::ALL.into_iter().map(|reason| (reason.as_str(), of_reason(reason)));
    reasons.filter(|(_, causes)| !causes.is_empty()).collect()
}

fn without_zeros<const N: usize>(entries: [(&'static str, u64); N]) -> Table {
    entries.into_iter().filter(|(_, value)| *value > 0).collect()
}

fn unix_seconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
