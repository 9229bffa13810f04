//! Who still needs a lane weaker than the modern one, and where nobody has needed one that is open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::autodetect::in_words;
use super::query::DAY;
use super::report::{List, OthersRow, Seen};
use super::{Pair, Query, Report, Spoken, Whose};
use crate::telemetry::access_log::rfc3339::to_the_minute;
use crate::tls::lane::Lane;

/// A weak lane that a listener or a rule of it opens on a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub listener: Arc<str>,
    /// The rule's name, or the listener's.
    pub route: Arc<str>,
    pub side: Whose,
    pub lane: Lane,
    /// Its last day, and the first second after it, Unix time.
    pub until: Option<(String, i64)>,
    /// Whose it is; empty is everybody's.
    pub allow_from: Vec<String>,
    /// When this process began to have it, Unix time.
    pub since: i64,
}

/// What is known of one. Times are Unix time in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpeningRow {
    pub listener: String,
    pub route: String,
    pub side: Whose,
    pub lane: String,
    /// `legacy_until`, and whole days up to it; none once it is over.
    pub until: Option<String>,
    pub days_left: Option<i64>,
    pub allow_from: Vec<String>,
    pub since: i64,
    /// Who has taken it, the last one first.
    pub users: List<UserRow>,
    pub need: Need,
    /// The same in words.
    pub why: String,
}

/// Connections that took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// None for those that come by a unix socket.
    pub source: Option<IpAddr>,
    pub endpoint: Option<String>,
    pub version: Option<String>,
    pub suite: Option<String>,
    /// Whether the modern lane has this version and suite: a component that was offered both lanes
    /// may do without the weak one.
    pub modern: bool,
    #[serde(flatten)]
    pub seen: Seen,
}

/// Whether it can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    Needed,
    /// By nobody, for long enough.
    Unneeded,
    /// Too little was seen.
    Unknown,
}

/// What rows are made of.
pub(super) struct Facts<'a> {
    query: &'a Query,
    pairs: Vec<(&'a Pair, Seen)>,
    openings: &'a [Opening],
    /// Workers that did not answer.
    missing: usize,
    /// Connections that have no row.
    unknown: u64,
    now: i64,
}

impl<'a> Facts<'a> {
    /// Of all pairs; what `report` says is missing is missing here.
    pub(super) fn of(
        query: &'a Query,
        pairs: Vec<(&'a Pair, Seen)>,
        report: &Report,
        openings: &'a [Opening],
    ) -> Self {
        let OthersRow { connections, evicted_connections, .. } = report.others;
        Self {
            query,
            pairs,
            openings,
            missing: report.workers_missing,
            unknown: connections + evicted_connections,
            now: report.taken_unix,
        }
    }

    /// One for each opening.
    pub(super) fn rows(&self) -> Vec<OpeningRow> {
        let asked_for = self.openings.iter().filter(|one| self.query.takes_listener(&one.listener));
        asked_for.map(|opening| row(self, opening)).collect()
    }
}

fn row(facts: &Facts<'_>, opening: &Opening) -> OpeningRow {
    let taken = facts.pairs.iter().filter_map(|(pair, seen)| {
        let spoken = opening.taken_by(pair, facts.openings)?;
        Some(((pair.source, &pair.endpoint, spoken.tls), seen))
    });
    // Whatever is spoken on the other side.
    let mut kinds: BTreeMap<_, Seen> = BTreeMap::new();
    for (kind, seen) in taken {
        kinds.entry(kind).or_default().add(seen);
    }
    let mut users: Vec<UserRow> = kinds
        .into_iter()
        .map(|((source, endpoint, tls), seen)| UserRow {
            source,
            endpoint: endpoint.as_ref().map(ToString::to_string),
            version: tls.map(|(version, _)| version.to_owned()),
            suite: tls.map(|(_, suite)| suite.to_owned()),
            modern: tls.is_some_and(|(version, suite)| is_modern(version, suite)),
            seen,
        })
        .collect();
    users.sort_by_key(|row| std::cmp::Reverse((row.seen.last, row.source)));
    let (need, why) = judge(facts, opening, &users);
    users.retain(|row| facts.query.source.is_none_or(|wanted| row.source == Some(wanted)));
    let days_left = |ends: i64| (ends > facts.now).then(|| (ends - 1 - facts.now) / DAY);
    OpeningRow {
        listener: opening.listener.to_string(),
        route: opening.route.to_string(),
        side: opening.side,
        lane: opening.lane.as_str().to_owned(),
        until: opening.until.as_ref().map(|(day, _)| day.clone()),
        days_left: opening.until.as_ref().and_then(|(_, ends)| days_left(*ends)),
        allow_from: opening.allow_from.clone(),
        since: opening.since,
        users: List::cut(users, facts.query.limit),
        need,
        why,
    }
}

impl Opening {
    /// Whether it is the same one, from an earlier configuration.
    pub fn is_same(&self, other: &Self) -> bool {
        let place = |one: &Self| (one.listener.clone(), one.route.clone(), one.side, one.lane);
        place(self) == place(other)
    }

    /// What a pair speaks in it. A rule that says nothing about the side has the listener's.
    fn taken_by<'a>(&self, pair: &'a Pair, all: &[Self]) -> Option<&'a Spoken> {
        let (_, spoken) = pair.sides().find(|(side, _)| *side == self.side)?;
        let is_its_own = all.iter().any(|other| {
            other.listener == pair.listener
                && other.route == pair.route
                && (other.side, other.lane) == (self.side, self.lane)
        });
        let route = if is_its_own { &pair.route } else { &pair.listener };
        let is_here = pair.listener == self.listener && *route == self.route;
        (is_here && spoken.lane == Some(self.lane)).then_some(spoken)
    }
}

/// Of TLS 1.2, the modern lane has ECDHE with AEAD.
fn is_modern(version: &str, suite: &str) -> bool {
    let is_aead = suite.contains("_GCM_") || suite.contains("_CHACHA20_");
    version == "TLSv1.3" || version == "TLSv1.2" && suite.starts_with("TLS_ECDHE_") && is_aead
}

fn judge(facts: &Facts<'_>, opening: &Opening, users: &[UserRow]) -> (Need, String) {
    let quiet = i64::try_from(facts.query.quiet_seconds).unwrap_or(i64::MAX);
    // A peer that takes it could not do better. A component is offered all at once.
    let needs = |row: &&UserRow| opening.side == Whose::Downstream || !row.modern;
    let needing = || users.iter().filter(needs);
    let open: u64 = needing().map(|row| row.seen.open).sum();
    let last = needing().map(|row| row.seen.last).max();
    let quiet_for = facts.now - last.unwrap_or(opening.since).max(opening.since);
    if open > 0 {
        return (Need::Needed, format!("needed: open connections: {open}"));
    }
    if last.is_some() && quiet_for < quiet {
        let ago = in_words(quiet_for);
        let sources: BTreeSet<Option<IpAddr>> = needing().map(|row| row.source).collect();
        return (Need::Needed, format!("needed: {ago} ago, sources: {}", sources.len()));
    }
    if facts.missing > 0 {
        return (Need::Unknown, format!("not known: {} workers did not answer", facts.missing));
    }
    if facts.unknown > 0 {
        let why = format!("not known: connections without a row: {}", facts.unknown);
        return (Need::Unknown, why);
    }
    if quiet_for < quiet {
        let (watched, wanted) = (in_words(quiet_for), in_words(quiet));
        let why = format!("not known yet: nobody, but watched for {watched} of {wanted}");
        return (Need::Unknown, why);
    }
    let since = to_the_minute(facts.now - quiet_for);
    let why = match users.len() - needing().count() {
        0 => format!("nobody has needed it since {since}"),
        _ => format!("nobody has needed it since {since}: all took what the modern lane has"),
    };
    (Need::Unneeded, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::outcome::Security;

    const NOW: i64 = 1_800_000_000;
    const HOUR: i64 = 3600;

    fn opening(route: &str, side: Whose, lane: Lane) -> Opening {
        let until = (lane == Lane::Legacy).then(|| ("2027-06-30".to_owned(), NOW + 10 * DAY));
        Opening {
            listener: "uccx".into(),
            route: route.into(),
            side,
            lane,
            until,
            allow_from: vec!["192.0.2.0/24".to_owned()],
            since: NOW - 30 * DAY,
        }
    }

    fn spoken(lane: Lane, version: &'static str, suite: &'static str) -> Spoken {
        let (tls, lane) = (Some((version, suite)), Some(lane));
        Spoken { tls, lane, security: Security::ServerAuthenticated, ..Spoken::unknown() }
    }

    fn old() -> Spoken {
        spoken(Lane::Legacy, "TLSv1", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA")
    }

    fn modern(lane: Lane) -> Spoken {
        spoken(lane, "TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")
    }

    fn pair(route: &str, source: u8, downstream: Spoken, upstream: Spoken) -> Pair {
        Pair {
            listener: "uccx".into(),
            route: route.into(),
            source: Some([192, 0, 2, source].into()),
            endpoint: Some("salesforce".into()),
            address: None,
            downstream,
            upstream: Some(upstream),
        }
    }

    /// Rows of these openings after connections that ended so many hours ago.
    fn told(openings: &[Opening], pairs: &[(Pair, i64)], unknown: u64) -> Vec<OpeningRow> {
        let seen = |hours: i64| {
            let last = NOW - hours * HOUR;
            Seen { connections: 2, open: 0, first: last - HOUR, last }
        };
        let query = Query::of(super::super::Section::Lanes);
        let facts = Facts {
            query: &query,
            pairs: pairs.iter().map(|(pair, hours)| (pair, seen(*hours))).collect(),
            openings,
            missing: 0,
            unknown,
            now: NOW,
        };
        facts.rows()
    }

    #[test]
    fn whoever_came_within_a_week_needs_it() {
        let openings = [opening("uccx", Whose::Downstream, Lane::Legacy)];
        let with = |source, hours| (pair("uccx", source, old(), modern(Lane::Modern)), hours);
        let rows = told(&openings, &[with(1, 48), with(2, 3)], 0);
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.need, row.days_left), (Need::Needed, Some(9)));
        assert!(row.why.contains("3 h ago, sources: 2"), "{}", row.why);
        let sources: Vec<_> = row.users.rows.iter().filter_map(|user| user.source).collect();
        assert_eq!(sources, [IpAddr::from([192, 0, 2, 2]), IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(row.users.rows[0].version.as_deref(), Some("TLSv1"));
        let rows = told(&openings, &[with(1, 8 * 24)], 0);
        assert_eq!(rows[0].need, Need::Unneeded, "{}", rows[0].why);
        assert_eq!(rows[0].users.len(), 1, "it is still told who it was");
    }

    #[test]
    fn nothing_is_called_unneeded_too_soon() {
        let mut openings = [opening("uccx", Whose::Downstream, Lane::Legacy)];
        assert_eq!(told(&openings, &[], 0)[0].need, Need::Unneeded);
        let forgotten = told(&openings, &[], 1);
        assert_eq!(forgotten[0].need, Need::Unknown, "{}", forgotten[0].why);
        openings[0].since = NOW - HOUR;
        let young = told(&openings, &[], 0);
        assert_eq!(young[0].need, Need::Unknown, "{}", young[0].why);
        assert!(young[0].why.contains("watched for"), "{}", young[0].why);
    }

    /// A component is offered every lane at once: what it took says whether it could do better.
    #[test]
    fn a_component_that_speaks_what_is_modern_needs_no_lane() {
        let openings = [opening("uccx", Whose::Upstream, Lane::Legacy)];
        let with = |upstream| [(pair("uccx", 1, modern(Lane::Modern), upstream), 1)];
        assert_eq!(told(&openings, &with(old()), 0)[0].need, Need::Needed);
        let cbc = spoken(Lane::Legacy, "TLSv1.2", "TLS_RSA_WITH_AES_128_CBC_SHA256");
        assert_eq!(told(&openings, &with(cbc), 0)[0].need, Need::Needed);
        let rows = told(&openings, &with(modern(Lane::Legacy)), 0);
        assert_eq!(rows[0].need, Need::Unneeded, "{}", rows[0].why);
        assert!(rows[0].users.rows[0].modern);
    }

    #[test]
    fn a_rule_has_the_listeners_lane_or_its_own() {
        let listener = opening("uccx", Whose::Downstream, Lane::Legacy);
        let pairs = [(pair("old-phones", 1, old(), modern(Lane::Modern)), 1)];
        let rows = told(std::slice::from_ref(&listener), &pairs, 0);
        assert_eq!(rows[0].users.len(), 1, "by the listener's");
        let its_own = opening("old-phones", Whose::Downstream, Lane::Legacy);
        let rows = told(&[listener.clone(), its_own], &pairs, 0);
        assert_eq!(rows.iter().map(|row| row.users.len()).collect::<Vec<_>>(), [0, 1]);
        let other_lane = opening("uccx", Whose::Downstream, Lane::Compat12);
        let rows = told(&[listener, other_lane], &pairs, 0);
        assert_eq!(rows.iter().map(|row| row.users.len()).collect::<Vec<_>>(), [1, 0]);
    }
}
