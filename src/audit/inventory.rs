//! Who talks to whom, as a map, and what expires: everything at a glance, for whoever watches.
//!
//! A link stands for all pairs of a route and an endpoint that are spoken with alike, from however
//! many sources. What should not be comes first.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::query::Query;
use super::report::{CertificateRow, CrlRow, OthersRow, Pairs, Seen, Surroundings, merge, theirs};
use super::{Pair, Section, ShardCensus, Spoken};
use crate::conn::outcome::Security;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Workers that did not answer in time: what they have seen is not in here.
    pub workers_missing: usize,
    /// Seen, and in no link.
    pub others: OthersRow,
    pub links: Vec<Link>,
    /// Ours and theirs, what expires first first.
    pub certificates: Vec<CertificateRow>,
    pub crls: Vec<CrlRow>,
}

/// Pairs that are alike but for their source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub listener: Arc<str>,
    /// The rule's name, or the listener's.
    pub route: Arc<str>,
    /// `None` for those that never got so far.
    pub endpoint: Option<Arc<str>>,
    /// How many sources there are, and one of them.
    pub sources: usize,
    pub source: Option<IpAddr>,
    pub downstream: Speech,
    pub upstream: Option<Speech>,
    pub concern: Concern,
    pub seen: Seen,
}

/// How one side of a link is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Speech {
    pub security: Security,
    /// Where TLS ends here.
    pub version: Option<&'static str>,
    /// See [`Spoken::is_unauthenticated`].
    pub is_unauthenticated: bool,
    /// Plaintext that does not leave this machine.
    pub is_local: bool,
}

/// What is to be told about a link, or one of its sides; the worst is last.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Concern {
    #[default]
    None,
    /// Plaintext on this machine, which is as it should be.
    Local,
    /// Somebody who was to prove who it is has not.
    Unauthenticated,
    /// TLS before 1.2.
    Legacy,
    Plaintext,
}

impl Inventory {
    /// What the workers have seen. What is ours is for the caller to add ([`Inventory::add_ours`]).
    pub fn of(shards: &[ShardCensus], around: &Surroundings) -> Self {
        let merged = merge(shards, around.now);
        Self {
            workers_missing: around.workers - shards.len(),
            others: super::report::others(shards),
            links: links(&merged),
            certificates: theirs(&Query::of(Section::Certificates), &merged, around.now),
            crls: Vec::new(),
        }
    }

    /// Adds certificates of ours and CRLs, and sorts by expiry.
    pub fn add_ours(&mut self, certificates: Vec<CertificateRow>, crls: Vec<CrlRow>) {
        self.certificates.extend(certificates);
        self.certificates.sort_by(|a, b| a.place().cmp(&b.place()));
        self.crls = crls;
        self.crls.sort_by(|a, b| (a.next_update, &a.file).cmp(&(b.next_update, &b.file)));
    }
}

impl Speech {
    /// `other` is the address of who speaks there; `None` for unix sockets.
    fn of(spoken: &Spoken, other: Option<IpAddr>) -> Self {
        let stays = other.is_none_or(|address| address.to_canonical().is_loopback());
        Self {
            security: spoken.security,
            version: spoken.version(),
            is_unauthenticated: spoken.is_unauthenticated(),
            is_local: stays && spoken.security == Security::Plaintext,
        }
    }

    pub fn concern(self) -> Concern {
        match self.security {
            Security::Plaintext if self.is_local => Concern::Local,
            Security::Plaintext => Concern::Plaintext,
            // TLSv1 and TLSv1.1 come before TLSv1.2.
            _ if self.version.is_some_and(|version| version < "TLSv1.2") => Concern::Legacy,
            _ if self.is_unauthenticated => Concern::Unauthenticated,
            _ => Concern::None,
        }
    }
}

/// What makes a link.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    listener: &'a Arc<str>,
    route: &'a Arc<str>,
    endpoint: Option<&'a Arc<str>>,
    downstream: Speech,
    upstream: Option<Speech>,
}

#[derive(Default)]
struct Gathered {
    sources: HashSet<Option<IpAddr>>,
    seen: Seen,
}

/// The worst first, then those with most connections open.
fn links(merged: &Pairs) -> Vec<Link> {
    let mut gathered: HashMap<Key<'_>, Gathered> = HashMap::new();
    for (pair, merged) in merged {
        let Pair { listener, route, source, endpoint, address, downstream, upstream } = &**pair;
        let address = address.map(|address| address.ip());
        let key = Key {
            listener,
            route,
            endpoint: endpoint.as_ref(),
            downstream: Speech::of(downstream, *source),
            upstream: upstream.as_ref().map(|spoken| Speech::of(spoken, address)),
        };
        let of_link = gathered.entry(key).or_default();
        of_link.sources.insert(*source);
        of_link.seen.add(&merged.seen);
    }
    let mut links: Vec<Link> = gathered.iter().map(|(key, found)| Link::of(key, found)).collect();
    links.sort_by(|a, b| a.place().cmp(&b.place()));
    links
}

impl Link {
    /// Of both sides, as far as it got.
    pub fn concerns(&self) -> impl Iterator<Item = Concern> {
        [self.downstream].into_iter().chain(self.upstream).map(Speech::concern)
    }

    fn of(key: &Key<'_>, found: &Gathered) -> Self {
        let Key { downstream, upstream, .. } = *key;
        let upstream_concern = upstream.map_or(Concern::None, Speech::concern);
        Self {
            listener: Arc::clone(key.listener),
            route: Arc::clone(key.route),
            endpoint: key.endpoint.map(Arc::clone),
            sources: found.sources.len(),
            source: found.sources.iter().flatten().min().copied(),
            downstream,
            upstream,
            concern: downstream.concern().max(upstream_concern),
            seen: found.seen,
        }
    }

    fn place(&self) -> impl Ord + '_ {
        let Self { concern, seen, listener, route, endpoint, downstream, .. } = self;
        let most = (Reverse(*concern), Reverse(seen.open), Reverse(seen.connections));
        (most, listener, route, endpoint, downstream.version)
    }
}
