//! What the shard notes for the audit, and tells whoever asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::filter::Filter;
use super::{Entry, Shard};
use crate::audit::{Census, Kept, Pair, Part, Query, ShardCensus, Spoken};
use crate::conn::Connection;
use crate::conn::outcome::Stage;
use crate::conn::security::SideFacts;
use crate::engine::{Address, Engine, Side};
use crate::policy::{Downstream, Heard, ListenerPolicy, Policy, Route};
use crate::time::Time;
use crate::tls::lane::Choice;

/// What is asked, and where the answer goes. Whoever asks waits for so long only: the answer of a
/// shard that is late is dropped.
#[derive(Debug)]
pub enum Question {
    Census(Part, SyncSender<ShardCensus>),
    /// Connections that are open.
    Connections(Which, SyncSender<Vec<Live>>),
}

/// Which connections.
#[derive(Clone, Debug)]
pub enum Which {
    /// By its number.
    One(u64),
    /// That the query asks for; up to its limit and one more.
    Of(Box<Query>),
    /// That somebody means; up to this limit and one more.
    Matching(Box<Filter>, usize),
}

/// A connection that is open, as it was when somebody asked.
#[derive(Clone, Debug)]
pub struct Live {
    pub shard: usize,
    pub connection: u64,
    pub policy: Arc<ListenerPolicy>,
    pub route: Arc<Route>,
    /// Where it is from: what a trusted sender says, else its peer.
    pub peer: Option<SocketAddr>,
    pub stage: Stage,
    pub age: Duration,
    pub sni: Option<Arc<str>>,
    /// What it said in its ClientHello, as far as that is kept.
    pub heard: Heard,
    pub endpoint: Option<Arc<str>>,
    pub address: Option<Address>,
    /// What was agreed on with each side, if that is settled, and whether by resumption.
    pub downstream: Option<(Spoken, bool)>,
    pub upstream: Option<(Spoken, bool)>,
    /// That the peer has taken, and why.
    pub lane: Option<Choice>,
    /// That the peer has proved to be its own; for [`Which::One`] alone.
    pub certificate: Option<CertificateDer<'static>>,
}

impl<E: Engine> Shard<E> {
    /// Answers at once. Looking through all connections takes one digest for each certificate of
    /// theirs: some milliseconds for ten thousand.
    pub(super) fn answer(&mut self, question: Question) {
        match question {
            Question::Census(part, reply) => {
                // Who asked may have lost patience.
                let _gone = reply.try_send(self.census.report(part, self.now));
            }
            Question::Connections(which, reply) => {
                let found = self.live(&which);
                let _gone = reply.try_send(found);
            }
        }
    }

    fn live(&mut self, which: &Which) -> Vec<Live> {
        let limit = match which {
            Which::One(_) => 1,
            Which::Of(query) => query.limit.saturating_add(1),
            Which::Matching(_, limit) => limit.saturating_add(1),
        };
        let current = self.generations.current().policy.generation;
        let (shard, now, census) = (self.id, self.now, &mut self.census);
        let entries = self.slots.iter().map(|(_, entry)| entry);
        let wanted = entries.filter_map(|entry| match which {
            Which::One(number) => (entry.id == *number).then(|| {
                let certificate = entry.connection.proved_certificate().cloned();
                let agreed = Agreed::of(&entry.connection, census);
                Live { certificate, ..live(shard, entry, agreed, now) }
            }),
            Which::Of(query) => {
                let agreed = Agreed::of(&entry.connection, census);
                let pair = pair(&entry.connection, &agreed);
                let pair = pair.map_or_else(|| unsettled(&entry.connection), |(pair, _)| pair);
                query.takes(&pair).then(|| live(shard, entry, agreed, now))
            }
            Which::Matching(filter, _) => filter
                .takes(&entry.connection, current)
                .then(|| live(shard, entry, Agreed::of(&entry.connection, census), now)),
        });
        wanted.take(limit).collect()
    }
}

/// Watches the autodetect listeners of a policy that takes effect.
pub(super) fn follow(census: &mut Census, policy: &Policy, now: Time) {
    let listeners = policy.listeners.iter();
    let watched = listeners.filter(|listener| listener.downstream == Downstream::Detect);
    census.watch(watched.map(|listener| &listener.name), now);
}

/// Enters a connection that has just been settled, or has ended before; `None` for one whose peer
/// never got through its handshake, or was told to go before its component was there.
pub(super) fn enter(connection: &Connection, census: &mut Census, now: Time) -> Option<Kept> {
    let (pair, resumed) = pair(connection, &Agreed::of(connection, census))?;
    Some(census.enter(pair, resumed, now))
}

/// What was agreed on with each side, if that is settled, and whether by resumption.
struct Agreed {
    downstream: Option<(Spoken, bool)>,
    upstream: Option<(Spoken, bool)>,
}

impl Agreed {
    fn of(connection: &Connection, census: &mut Census) -> Self {
        let mut side = |side| connection.side_facts(side).map(|facts| spoken(&facts, census));
        Self { downstream: side(Side::Downstream), upstream: side(Side::Upstream) }
    }
}

fn pair(connection: &Connection, agreed: &Agreed) -> Option<(Pair, [bool; 2])> {
    let (downstream, resumed) = agreed.downstream.clone()?;
    let (upstream, upstream_resumed) = agreed.upstream.clone().unzip();
    let pair = Pair { downstream, upstream, ..unsettled(connection) };
    Some((pair, [resumed, upstream_resumed.unwrap_or_default()]))
}

/// Where it comes from and goes to; nothing is known of its sides.
fn unsettled(connection: &Connection) -> Pair {
    let (policy, route) = (connection.policy(), connection.route());
    let (endpoint, address) = dialled(connection);
    Pair {
        listener: Arc::clone(&policy.name),
        route: Arc::clone(&route.name),
        source: connection.source_address().map(|source| source.ip()),
        endpoint,
        address: match address {
            Some(Address::Tcp(address)) => Some(address),
            _ => None,
        },
        downstream: Spoken::unknown(),
        upstream: None,
    }
}

fn dialled(connection: &Connection) -> (Option<Arc<str>>, Option<Address>) {
    let Some((endpoint, destination)) = connection.dialled() else { return (None, None) };
    let endpoint = &connection.route().upstreams.endpoints[endpoint];
    (Some(Arc::clone(&endpoint.name)), Some(destination.address.clone()))
}

fn spoken(facts: &SideFacts<'_>, census: &mut Census) -> (Spoken, bool) {
    let SideFacts { security, tls, lane, checks, shown, certificate } = facts;
    let spoken = Spoken {
        security: *security,
        tls: tls.as_ref().map(|tls| (tls.version, tls.cipher_suite)),
        lane: *lane,
        checks,
        shown: *shown,
        certificate: certificate.and_then(|der| census.certificate(der)),
    };
    (spoken, tls.as_ref().is_some_and(|tls| tls.resumed))
}

fn live(shard: usize, entry: &Entry, agreed: Agreed, now: Time) -> Live {
    let connection = &entry.connection;
    let (endpoint, address) = dialled(connection);
    Live {
        shard,
        connection: entry.id,
        policy: Arc::clone(connection.policy()),
        route: Arc::clone(connection.route()),
        peer: connection.source_address(),
        stage: connection.progress(),
        age: now - connection.accepted_at(),
        sni: connection.sni().cloned(),
        heard: Heard::of(&connection.facts()),
        endpoint,
        address,
        downstream: agreed.downstream,
        upstream: agreed.upstream,
        lane: connection.lane(false),
        certificate: None,
    }
}
