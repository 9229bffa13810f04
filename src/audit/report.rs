//! What shards have seen, put together: rows for people and scripts.
//!
//! Times are Unix time in seconds; days are whole days, rounded down.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::autodetect::{self, Sources, Verdict, Watch};
use super::lanes::{self, Opening, OpeningRow};
use super::query::DAY;
use super::{Counts, Pair, PeerCertificate, Query, Section, ShardCensus, Spoken, Whose};
use crate::conn::outcome::{Security, Shown};
use crate::time::Time;
use crate::tls::lane::Lane;

/// The answer to a [`Query`]. Sections that were not asked for are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub taken_unix: i64,
    /// Of the configuration that runs.
    pub generation: u64,
    pub workers: usize,
    /// Workers that did not answer in time: what they have seen is not in here.
    pub workers_missing: usize,
    /// Seen, and not in any row.
    pub others: OthersRow,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<List<PairRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<List<CertificateRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crls: Option<List<CrlRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autodetect: Option<Vec<Watch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<List<ConnectionRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<Vec<OpeningRow>>,
}

/// Rows up to a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    pub rows: Vec<T>,
    /// Rows beyond the limit.
    pub left_out: usize,
}

/// What found no place in the workers' tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OthersRow {
    /// Connections that were counted without a row, and those of them that are open.
    pub connections: u64,
    pub open: u64,
    /// Rows that were forgotten to make room, and their connections.
    pub evicted_rows: u64,
    pub evicted_connections: u64,
}

/// Connections of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub connections: u64,
    pub open: u64,
    pub first: i64,
    /// When one of them came or went last.
    pub last: i64,
}

/// Who spoke with whom by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairRow {
    pub listener: String,
    pub route: String,
    pub source: Option<IpAddr>,
    pub endpoint: Option<String>,
    pub address: Option<String>,
    #[serde(flatten)]
    pub seen: Seen,
    pub downstream: SideRow,
    /// None for those that never got so far.
    pub upstream: Option<SideRow>,
}

/// What is spoken on one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideRow {
    /// As in the access log.
    pub security: String,
    pub version: Option<String>,
    pub suite: Option<String>,
    /// What speaks it, where that is not the modern lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// `client_cert` or `verify`, as it holds.
    pub checks: Option<String>,
    /// What a peer that was asked has shown.
    pub shown: Option<String>,
    pub unauthenticated: bool,
    pub subject: Option<String>,
    pub serial: Option<String>,
    /// Connections whose handshake was an abbreviated one.
    pub resumed: u64,
}

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    Ours,
    Theirs,
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRow {
    pub not_after: i64,
    pub days_left: i64,
    pub owner: Owner,
    pub side: Whose,
    pub listener: String,
    pub subject: String,
    pub serial: String,
    /// Of theirs.
    pub issuer: Option<String>,
    /// Of theirs: the connections in which it was shown.
    pub seen: Option<Seen>,
    /// Of ours: of the OCSP response that is sent along.
    pub staple_this_update: Option<i64>,
    pub staple_next_update: Option<i64>,
    pub staple_days_left: Option<i64>,
}

/// A list of revoked certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlRow {
    pub next_update: i64,
    pub days_left: i64,
    pub this_update: i64,
    pub issuer: String,
    pub file: String,
    pub revoked: usize,
}

/// An open connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRow {
    /// Worker and number, as `--connection` takes it: `shard` and `connection` of the access log.
    pub id: String,
    /// Of the configuration that it was admitted under.
    pub generation: u64,
    pub listener: String,
    pub route: String,
    pub peer: Option<String>,
    pub stage: String,
    pub age_seconds: u64,
    pub sni: Option<String>,
    pub endpoint: Option<String>,
    pub address: Option<String>,
    pub downstream: Option<SideRow>,
    pub upstream: Option<SideRow>,
}

/// What of all this metrics and status tell.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    pub others: OthersRow,
    pub autodetect: Vec<Watch>,
    /// The certificate of peers that expires first, by listener and side: see
    /// [`ShardCensus::soonest`].
    pub soonest: BTreeMap<(Arc<str>, Whose), Arc<PeerCertificate>>,
}

/// What [`put_together`] is told besides.
pub struct Surroundings {
    /// Unix time.
    pub now: i64,
    pub generation: u64,
    pub workers: usize,
    /// Autodetect listeners of the configuration that runs, with their last day in words and the
    /// days up to it.
    pub autodetect: Vec<(Arc<str>, Option<String>, Option<i64>)>,
    /// Weak lanes that it opens.
    pub lanes: Vec<Opening>,
}

impl<T> List<T> {
    /// Up to `limit` of `rows`.
    pub fn cut(mut rows: Vec<T>, limit: usize) -> Self {
        let left_out = rows.len().saturating_sub(limit);
        rows.truncate(limit);
        Self { rows, left_out }
    }

    /// With those that are left out.
    pub fn len(&self) -> usize {
        self.rows.len() + self.left_out
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Pairs, certificates of others, and autodetect listeners, as far as `query` asks for them. What is
/// ours is for the caller to add ([`Report::add_ours`]).
pub fn put_together(query: &Query, shards: &[ShardCensus], around: &Surroundings) -> Report {
    let merged = merge(shards, around.now);
    let mut report = Report {
        taken_unix: around.now,
        generation: around.generation,
        workers: around.workers,
        workers_missing: around.workers - shards.len(),
        others: others(shards),
        pairs: None,
        certificates: None,
        crls: None,
        autodetect: None,
        connections: None,
        lanes: None,
    };
    if query.wants(Section::Pairs) {
        let asked_for = merged.iter().filter(|(pair, _)| query.takes(pair));
        let mut rows: Vec<PairRow> =
            asked_for.map(|(pair, merged)| PairRow::of(pair, merged)).collect();
        rows.sort_by(|a, b| a.place().cmp(&b.place()));
        report.pairs = Some(List::cut(rows, query.limit));
    }
    if query.wants(Section::Certificates) {
        let rows = theirs(query, &merged, around.now);
        report.certificates = Some(List { rows, left_out: 0 });
    }
    if query.wants(Section::Autodetect) {
        report.autodetect = Some(watches(query, shards, &merged, around));
    }
    if query.wants(Section::Lanes) {
        let pairs = merged.iter().map(|(pair, merged)| (&**pair, merged.seen)).collect();
        report.lanes = Some(lanes::Facts::of(query, pairs, &report, &around.lanes).rows());
    }
    report
}

/// For metrics and status; up to `limit` sources of each kind.
pub fn traffic(shards: &[ShardCensus], around: &Surroundings, limit: usize) -> Traffic {
    let merged = merge(shards, around.now);
    let query = Query { limit, ..Query::of(Section::Autodetect) };
    let mut soonest: BTreeMap<_, Arc<PeerCertificate>> = BTreeMap::new();
    for (listener, side, certificate) in shards.iter().flat_map(|shard| &shard.soonest) {
        let first = soonest.entry((Arc::clone(listener), *side));
        let first = first.or_insert_with(|| Arc::clone(certificate));
        if certificate.not_after < first.not_after {
            *first = Arc::clone(certificate);
        }
    }
    let autodetect = watches(&query, shards, &merged, around);
    Traffic { others: others(shards), autodetect, soonest }
}

impl Report {
    /// Whether nothing that was asked for is missing.
    pub fn is_complete(&self) -> bool {
        let is_about_rows = self.pairs.is_some() || self.certificates.is_some();
        self.workers_missing == 0 && (self.others == OthersRow::default() || !is_about_rows)
    }

    /// Adds certificates of ours and CRLs, sorts by expiry, and cuts to the limit.
    pub fn add_ours(&mut self, query: &Query, ours: Vec<CertificateRow>, crls: Vec<CrlRow>) {
        let now = self.taken_unix;
        if let Some(List { mut rows, .. }) = self.certificates.take() {
            rows.extend(ours.into_iter().filter(|row| {
                let ends =
                    row.staple_next_update.map_or(row.not_after, |ends| ends.min(row.not_after));
                query.takes_listener(&row.listener) && query.takes_end(ends, now)
            }));
            rows.sort_by(|a, b| a.place().cmp(&b.place()));
            self.certificates = Some(List::cut(rows, query.limit));
        }
        if query.wants(Section::Crls) {
            let mut rows = crls;
            rows.retain(|row| query.takes_end(row.next_update, now));
            rows.sort_by(|a, b| (a.next_update, &a.file).cmp(&(b.next_update, &b.file)));
            self.crls = Some(List::cut(rows, query.limit));
        }
    }
}

impl SideRow {
    pub fn of(spoken: &Spoken, resumed: u64) -> Self {
        let certificate = spoken.certificate.as_ref();
        Self {
            security: spoken.security.as_str().to_owned(),
            version: spoken.tls.map(|(version, _)| version.to_owned()),
            suite: spoken.tls.map(|(_, suite)| suite.to_owned()),
            lane: spoken.lane.filter(|lane| *lane != Lane::Modern).map(|lane| lane.as_str().into()),
            checks: (!spoken.checks.is_empty()).then(|| spoken.checks.to_owned()),
            shown: spoken.shown.map(Shown::as_str).map(str::to_owned),
            unauthenticated: spoken.is_unauthenticated(),
            subject: certificate.map(|one| one.subject.clone()),
            serial: certificate.map(|one| one.serial.clone()),
            resumed,
        }
    }
}

impl PairRow {
    fn of(pair: &Pair, merged: &Merged) -> Self {
        let upstream = pair.upstream.as_ref();
        Self {
            listener: pair.listener.to_string(),
            route: pair.route.to_string(),
            source: pair.source,
            endpoint: pair.endpoint.as_ref().map(ToString::to_string),
            address: pair.address.map(|address| address.to_string()),
            seen: merged.seen,
            downstream: SideRow::of(&pair.downstream, merged.resumed),
            upstream: upstream.map(|spoken| SideRow::of(spoken, merged.upstream_resumed)),
        }
    }

    fn place(&self) -> impl Ord + '_ {
        let Self { listener, route, source, endpoint, address, seen, .. } = self;
        (listener, route, source, endpoint, address, std::cmp::Reverse(seen.last))
    }
}

impl CertificateRow {
    fn of(place: (&str, Whose), certificate: &PeerCertificate, seen: Seen, now: i64) -> Self {
        let (listener, side) = place;
        Self {
            not_after: certificate.not_after,
            days_left: days_left(certificate.not_after, now),
            owner: Owner::Theirs,
            side,
            listener: listener.to_owned(),
            subject: certificate.subject.clone(),
            serial: certificate.serial.clone(),
            issuer: Some(certificate.issuer.clone()),
            seen: Some(seen),
            staple_this_update: None,
            staple_next_update: None,
            staple_days_left: None,
        }
    }

    pub(super) fn place(&self) -> impl Ord + '_ {
        (self.not_after, self.owner, self.side, &self.listener, &self.subject, &self.serial)
    }
}

/// Whole days until `ends`, rounded down; negative once it is over.
pub fn days_left(ends: i64, now: i64) -> i64 {
    ends.saturating_sub(now).div_euclid(DAY)
}

/// One pair over all shards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Merged {
    pub(super) seen: Seen,
    resumed: u64,
    upstream_resumed: u64,
}

impl Merged {
    fn add(&mut self, counts: &Counts, unix: impl Fn(Time) -> i64) {
        let seen = Seen {
            connections: counts.connections,
            open: counts.open,
            first: unix(counts.first),
            last: unix(counts.last),
        };
        self.seen.add(&seen);
        self.resumed += counts.resumed;
        self.upstream_resumed += counts.upstream_resumed;
    }
}

impl Seen {
    /// Those of another place, too.
    pub(super) fn add(&mut self, other: &Self) {
        if self.connections == 0 {
            *self = *other;
            return;
        }
        self.connections += other.connections;
        self.open += other.open;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

pub(super) type Pairs = HashMap<Arc<Pair>, Merged>;

/// How a shard's times are told.
fn clock(shard: &ShardCensus, now: i64) -> impl Fn(Time) -> i64 {
    let shard_now = shard.now;
    move |time| now - i64::try_from((shard_now - time).as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn merge(shards: &[ShardCensus], now: i64) -> Pairs {
    let mut pairs = Pairs::new();
    for shard in shards {
        let unix = clock(shard, now);
        for (pair, counts) in &shard.pairs {
            pairs.entry(Arc::clone(pair)).or_default().add(counts, &unix);
        }
    }
    pairs
}

pub(super) fn others(shards: &[ShardCensus]) -> OthersRow {
    let mut sum = OthersRow::default();
    for shard in shards {
        sum.connections += shard.others.lumped.connections;
        sum.open += shard.others.lumped.open;
        sum.evicted_rows += shard.others.evicted_rows;
        sum.evicted_connections += shard.others.evicted_connections;
    }
    sum
}

pub(super) fn theirs(query: &Query, merged: &Pairs, now: i64) -> Vec<CertificateRow> {
    let mut certificates: HashMap<(&str, Whose, &PeerCertificate), Seen> = HashMap::new();
    for (pair, merged) in merged.iter().filter(|(pair, _)| query.takes(pair)) {
        for (side, spoken) in pair.sides() {
            if let Some(certificate) = &spoken.certificate {
                let key = (&*pair.listener, side, &**certificate);
                certificates.entry(key).or_default().add(&merged.seen);
            }
        }
    }
    let rows = certificates
        .into_iter()
        .filter(|((.., certificate), _)| query.takes_end(certificate.not_after, now));
    rows.map(|((listener, side, certificate), seen)| {
        CertificateRow::of((listener, side), certificate, seen, now)
    })
    .collect()
}

fn watches(
    query: &Query,
    shards: &[ShardCensus],
    merged: &Pairs,
    around: &Surroundings,
) -> Vec<Watch> {
    let mut sources: BTreeMap<&str, Sources> = BTreeMap::new();
    for (pair, merged) in merged {
        let of_listener = sources.entry(&*pair.listener).or_default();
        let is_plaintext = pair.downstream.security == Security::Plaintext;
        let side = if is_plaintext { &mut of_listener.plaintext } else { &mut of_listener.tls };
        side.entry(pair.source).or_default().add(&merged.seen);
    }
    let listeners = around.autodetect.iter().filter(|(name, ..)| query.takes_listener(name));
    let watches = listeners.map(|(name, until, days_till_end)| {
        let (mut plaintext, mut tls) = (Seen::default(), Seen::default());
        let mut watched_since = None;
        for shard in shards {
            let unix = clock(shard, around.now);
            for (_, counts) in shard.watched.iter().filter(|(other, _)| other == name) {
                // All of them have watched only since the last one has.
                watched_since = watched_since.max(Some(unix(counts.since)));
                for (sum, part) in [(&mut plaintext, &counts.plaintext), (&mut tls, &counts.tls)] {
                    let mut of_shard = Merged::default();
                    of_shard.add(part, &unix);
                    if part.connections > 0 {
                        sum.add(&of_shard.seen);
                    }
                }
            }
        }
        let (plaintext_sources, tls_sources) =
            sources.remove(&**name).unwrap_or_default().lists(query.limit);
        let mut watch = Watch {
            listener: name.to_string(),
            until: until.clone(),
            days_till_end: *days_till_end,
            watched_since: watched_since.unwrap_or(around.now),
            plaintext_connections: plaintext.connections,
            plaintext_open: plaintext.open,
            plaintext_last: (plaintext.connections > 0).then_some(plaintext.last),
            tls_connections: tls.connections,
            plaintext_sources,
            tls_sources,
            verdict: Verdict::Unknown,
            why: String::new(),
        };
        let facts = autodetect::Facts {
            watch: &watch,
            missing: around.workers - shards.len(),
            quiet: i64::try_from(query.quiet_seconds).unwrap_or(i64::MAX),
            now: around.now,
        };
        (watch.verdict, watch.why) = autodetect::judge(&facts);
        watch
    });
    watches.collect()
}
