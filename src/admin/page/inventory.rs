//! Who talks to whom, routes and expiry, as the page and `tlsgate top` get them: of 10,000 routes, the
//! few that matter, or those that are searched for.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::audit::inventory::{Concern, Link, Speech};
use crate::audit::report::{CertificateRow, CrlRow, List, OthersRow, Owner, days_left};
use crate::audit::{Inventory, Whose};
use crate::telemetry::UpstreamFacts;

/// Most rows of each kind that are shown.
pub(super) const MOST_ROWS: usize = 50;
/// Longest text that is searched for, in characters.
pub(super) const LONGEST_SEARCH: usize = 100;

/// What the reader gets.
#[derive(Debug, Serialize, Deserialize)]
pub struct Known {
    /// Differs when anything else may.
    pub number: u64,
    pub taken_unix: i64,
    /// Workers that did not answer: what they have seen is missing.
    pub workers_missing: usize,
    /// Seen, and in no link.
    pub others: OthersRow,
    pub concerns: Concerns,
    /// The worst first, then those with most connections.
    pub links: List<LinkRow>,
    /// Those with most connections first.
    pub routes: List<RouteRow>,
    /// What ends first first.
    pub ends: List<EndRow>,
}

/// Links by what should not be about a side of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concerns {
    pub links: usize,
    pub plaintext: usize,
    pub legacy: usize,
    pub unauthenticated: usize,
}

/// Connections of a route and an endpoint that are alike but for their source.
#[derive(Debug, Serialize, Deserialize)]
pub struct LinkRow {
    pub listener: String,
    pub route: String,
    pub endpoint: Option<String>,
    pub sources: usize,
    /// One of them.
    pub source: Option<IpAddr>,
    pub open: u64,
    pub connections: u64,
    pub last_unix: i64,
    pub concern: Concern,
    pub downstream: SpeechRow,
    /// None for those that never got so far.
    pub upstream: Option<SpeechRow>,
}

/// How a side is spoken.
#[derive(Debug, Serialize, Deserialize)]
pub struct SpeechRow {
    /// As in the access log.
    pub security: String,
    pub version: Option<String>,
    pub concern: Concern,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteRow {
    /// `listener`, or `listener/rule`.
    pub route: String,
    pub open: u64,
    pub connections: u64,
    pub endpoints: usize,
    /// Of those, are enabled and have an address that checks have not found down.
    pub endpoints_up: usize,
    pub connect_failures: u64,
}

/// Something that ends some day.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndRow {
    pub what: Ending,
    pub ends_unix: i64,
    /// Whole days, rounded down; negative once it is over.
    pub days_left: i64,
    pub owner: Owner,
    pub side: Option<Whose>,
    /// A listener, or a file.
    pub place: String,
    pub name: String,
    pub serial: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Certificate,
    /// An OCSP response that is sent with a certificate.
    Staple,
    Crl,
}

/// All of it, as it is kept.
pub(super) struct Kept {
    pub(super) number: u64,
    taken_unix: i64,
    inventory: Inventory,
    concerns: Concerns,
    routes: Vec<RouteRow>,
    ends: Vec<EndRow>,
}

impl Kept {
    pub(super) fn new(
        number: u64,
        taken_unix: i64,
        mut inventory: Inventory,
        upstreams: &[UpstreamFacts],
    ) -> Self {
        let mut concerns = Concerns { links: inventory.links.len(), ..Concerns::default() };
        for link in &inventory.links {
            let has = |concern| usize::from(link.concerns().any(|one| one == concern));
            concerns.plaintext += has(Concern::Plaintext);
            concerns.legacy += has(Concern::Legacy);
            concerns.unauthenticated += has(Concern::Unauthenticated);
        }
        let routes = routes(&inventory.links, upstreams);
        let certificates = std::mem::take(&mut inventory.certificates);
        let crls = std::mem::take(&mut inventory.crls);
        let mut ends: Vec<EndRow> = crls.into_iter().map(EndRow::of_crl).collect();
        for certificate in certificates {
            ends.extend(EndRow::of_staple(&certificate, taken_unix));
            ends.push(EndRow::of_certificate(certificate));
        }
        ends.sort_by(|a, b| {
            (a.ends_unix, &a.place, &a.name).cmp(&(b.ends_unix, &b.place, &b.name))
        });
        Self { number, taken_unix, inventory, concerns, routes, ends }
    }

    /// What a reader gets who searches for `search`, or for nothing.
    pub(super) fn known(&self, search: &str) -> Known {
        let wanted = search.to_lowercase();
        let has = |text: &str| wanted.is_empty() || text.to_lowercase().contains(&wanted);
        let links = self.inventory.links.iter().filter(|link| {
            let source = || link.source.is_some_and(|source| has(&source.to_string()));
            has(&link.listener)
                || has(&link.route)
                || link.endpoint.as_deref().is_some_and(has)
                || source()
        });
        let ends = self.ends.iter().filter(|end| has(&end.place) || has(&end.name));
        Known {
            number: self.number,
            taken_unix: self.taken_unix,
            workers_missing: self.inventory.workers_missing,
            others: self.inventory.others,
            concerns: self.concerns,
            links: cut(links, LinkRow::of),
            routes: cut(self.routes.iter().filter(|row| has(&row.route)), RouteRow::clone),
            ends: cut(ends, EndRow::clone),
        }
    }
}

/// Rows of the first few; the others are only counted.
fn cut<'a, T, R>(all: impl Iterator<Item = &'a T>, row: impl Fn(&'a T) -> R) -> List<R>
where
    T: 'a,
{
    let (mut rows, mut left_out) = (Vec::new(), 0);
    for one in all {
        if rows.len() < MOST_ROWS {
            rows.push(row(one));
        } else {
            left_out += 1;
        }
    }
    List { rows, left_out }
}

/// Those that have endpoints, and those that were seen.
fn routes(links: &[Link], upstreams: &[UpstreamFacts]) -> Vec<RouteRow> {
    let mut routes: BTreeMap<Arc<str>, RouteRow> = BTreeMap::new();
    let row = |name: &Arc<str>| RouteRow {
        route: name.to_string(),
        open: 0,
        connections: 0,
        endpoints: 0,
        endpoints_up: 0,
        connect_failures: 0,
    };
    for facts in upstreams {
        let route = routes.entry(Arc::clone(&facts.route)).or_insert_with(|| row(&facts.route));
        route.endpoints += 1;
        let figures = &facts.figures;
        let is_up = !figures.disabled && figures.addresses_down < figures.addresses;
        route.endpoints_up += usize::from(is_up);
        route.connect_failures += facts.figures.connect_failures;
    }
    for link in links {
        let name = match link.route == link.listener {
            true => Arc::clone(&link.listener),
            false => format!("{}/{}", link.listener, link.route).into(),
        };
        let route = routes.entry(Arc::clone(&name)).or_insert_with(|| row(&name));
        route.open += link.seen.open;
        route.connections += link.seen.connections;
    }
    let mut routes: Vec<RouteRow> = routes.into_values().collect();
    routes.sort_by_key(|row| Reverse((row.open, row.connections)));
    routes
}

impl LinkRow {
    fn of(link: &Link) -> Self {
        Self {
            listener: link.listener.to_string(),
            route: link.route.to_string(),
            endpoint: link.endpoint.as_ref().map(ToString::to_string),
            sources: link.sources,
            source: link.source,
            open: link.seen.open,
            connections: link.seen.connections,
            last_unix: link.seen.last,
            concern: link.concern,
            downstream: SpeechRow::of(link.downstream),
            upstream: link.upstream.map(SpeechRow::of),
        }
    }
}

impl SpeechRow {
    fn of(speech: Speech) -> Self {
        Self {
            security: speech.security.as_str().to_owned(),
            version: speech.version.map(str::to_owned),
            concern: speech.concern(),
        }
    }
}

impl EndRow {
    fn of_certificate(row: CertificateRow) -> Self {
        Self {
            what: Ending::Certificate,
            ends_unix: row.not_after,
            days_left: row.days_left,
            owner: row.owner,
            side: Some(row.side),
            place: row.listener,
            name: row.subject,
            serial: Some(row.serial),
        }
    }

    fn of_staple(row: &CertificateRow, now: i64) -> Option<Self> {
        let ends_unix = row.staple_next_update?;
        Some(Self {
            what: Ending::Staple,
            ends_unix,
            days_left: days_left(ends_unix, now),
            owner: row.owner,
            side: Some(row.side),
            place: row.listener.clone(),
            name: row.subject.clone(),
            serial: Some(row.serial.clone()),
        })
    }

    fn of_crl(row: CrlRow) -> Self {
        Self {
            what: Ending::Crl,
            ends_unix: row.next_update,
            days_left: row.days_left,
            owner: Owner::Theirs,
            side: None,
            place: row.file,
            name: row.issuer,
            serial: None,
        }
    }
}
