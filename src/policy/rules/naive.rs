//! Rules one by one: which match, how specifically, and why the others do not.
//!
//! The definition of the order in code. It takes time for every rule: for `explain`, and as the
//! measure for the table.

use std::cmp::Reverse;

use super::facts::{ClientFacts, Facts};
use super::spec::{ClientMatch, RuleSpec, SniPattern};
use super::table::RuleId;
use super::{MAX_NAME, MAX_SLASHES, parent_name, plain_name};

/// Kinds of conditions, in the order in which they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    Client,
    Sni,
    Source,
    Alpn,
    Version,
}

/// What became of every rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The rule that wins.
    pub matched: Option<RuleId>,
    /// Rules that match and are less specific, most specific first: where they first differ from the
    /// one that wins. `None`: they are the same, with the same outcome, and stand behind it.
    pub beaten: Vec<(RuleId, Option<Condition>)>,
    /// Rules that do not match, in their order: the first condition that does not hold.
    pub unmatched: Vec<(RuleId, Condition)>,
}

impl Condition {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Sni => "SNI",
            Self::Source => "source",
            Self::Alpn => "ALPN",
            Self::Version => "version",
        }
    }
}

/// The rule that a connection falls under.
pub fn lookup(specs: &[RuleSpec], facts: &Facts<'_>) -> Option<RuleId> {
    let ranked = specs.iter().zip(0..).filter_map(|(spec, id)| {
        let rank = Rank::of(spec, facts).ok()?;
        Some((rank, Reverse(id)))
    });
    ranked.max().map(|(_, Reverse(id))| RuleId(id))
}

/// The same, and why the other rules are not it.
pub fn explain(specs: &[RuleSpec], facts: &Facts<'_>) -> Explanation {
    let mut matching = Vec::new();
    let mut unmatched = Vec::new();
    for (spec, id) in specs.iter().zip(0..) {
        match Rank::of(spec, facts) {
            Ok(rank) => matching.push((Reverse(rank), RuleId(id))),
            Err(condition) => unmatched.push((RuleId(id), condition)),
        }
    }
    matching.sort_unstable();
    let Some(((Reverse(best), matched), others)) = matching.split_first() else {
        return Explanation { matched: None, beaten: Vec::new(), unmatched };
    };
    let beaten = others.iter().map(|(Reverse(rank), id)| (*id, best.first_difference(rank)));
    Explanation { matched: Some(*matched), beaten: beaten.collect(), unmatched }
}

/// How specifically a rule matches a connection; more is more specific. A condition that the rule
/// does not have is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    client: ClientRank,
    sni: Option<SniRank>,
    /// Length of the prefix.
    source: Option<u8>,
    /// Position among what the client offers.
    alpn: Option<Reverse<usize>>,
    version: bool,
}

/// Kind from 0 for the last one, position on the certificate, length of what was matched.
type ClientRank = Option<(u8, Reverse<usize>, usize)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SniRank {
    Wildcard,
    Exact,
}

impl Rank {
    /// # Errors
    /// The first condition that does not hold.
    fn of(spec: &RuleSpec, facts: &Facts<'_>) -> Result<Self, Condition> {
        let client = |named: &ClientMatch| client_rank(named, facts.client.as_ref()?);
        let mut space = [0; MAX_NAME];
        let name = facts.sni.and_then(|name| plain_name(name, &mut space));
        let sni = |pattern: &SniPattern| match pattern {
            SniPattern::Exact(exact) => (name? == exact.as_bytes()).then_some(SniRank::Exact),
            SniPattern::Wildcard(parent) => {
                (parent_name(name?)? == parent.as_bytes()).then_some(SniRank::Wildcard)
            }
        };
        let alpn = |named: &Vec<u8>| facts.alpn.iter().position(|offered| offered == named);
        let version = |named| (facts.version == Some(named)).then_some(());
        Ok(Self {
            client: best(&spec.client, client).ok_or(Condition::Client)?,
            sni: best(&spec.sni, sni).ok_or(Condition::Sni)?,
            source: best(&spec.source, |cidr| {
                facts.source.filter(|source| cidr.contains(*source)).map(|_| cidr.length())
            })
            .ok_or(Condition::Source)?,
            alpn: best(&spec.alpn, |named| alpn(named).map(Reverse)).ok_or(Condition::Alpn)?,
            version: best(&spec.versions, |named| version(*named))
                .ok_or(Condition::Version)?
                .is_some(),
        })
    }

    fn first_difference(&self, other: &Self) -> Option<Condition> {
        let same = [
            (Condition::Client, self.client == other.client),
            (Condition::Sni, self.sni == other.sni),
            (Condition::Source, self.source == other.source),
            (Condition::Alpn, self.alpn == other.alpn),
            (Condition::Version, self.version == other.version),
        ];
        same.into_iter().find(|(_, same)| !same).map(|(condition, _)| condition)
    }
}

/// The most specific of a list's entries that match: `Some(None)` if the list is empty, which is no
/// condition, `None` if there are entries and none matches.
fn best<T, R: Ord>(list: &[T], rank: impl Fn(&T) -> Option<R>) -> Option<Option<R>> {
    if list.is_empty() { Some(None) } else { list.iter().filter_map(rank).max().map(Some) }
}

fn client_rank(named: &ClientMatch, client: &ClientFacts<'_>) -> ClientRank {
    let single = |kind: u8, same: bool| same.then_some((kind, Reverse(0), 0));
    let uris = client.uris.iter();
    let dns = |test: &dyn Fn(&[u8]) -> bool| {
        client.dns.iter().position(|name| {
            let mut space = [0; MAX_NAME];
            plain_name(name, &mut space).is_some_and(test)
        })
    };
    let at = |kind: u8, position: Option<usize>| position.map(|at| (kind, Reverse(at), 0));
    match named {
        ClientMatch::Fingerprint(digest) => single(9, digest == client.fingerprint),
        ClientMatch::Spki(digest) => single(8, digest == client.spki),
        ClientMatch::Uri(named) => at(7, uris.clone().position(|uri| uri.as_str() == &**named)),
        ClientMatch::Dns(named) => at(6, dns(&|name| name == named.as_bytes())),
        ClientMatch::Ip(named) => {
            at(5, client.ips.iter().position(|ip| ip.to_canonical() == *named))
        }
        ClientMatch::Subject(named) => single(4, client.subject == &**named),
        ClientMatch::CommonName(named) => single(3, client.common_name == Some(&**named)),
        ClientMatch::UriUnder(beginning) => {
            let position = uris.clone().position(|uri| is_under(uri, beginning))?;
            Some((2, Reverse(position), beginning.len()))
        }
        ClientMatch::DnsWildcard(parent) => {
            at(1, dns(&|name| parent_name(name) == Some(parent.as_bytes())))
        }
        ClientMatch::Issuer(named) => single(0, client.issuer == &**named),
    }
}

fn is_under(uri: &str, beginning: &str) -> bool {
    let is_beginning = beginning.ends_with('/') && beginning.matches('/').count() <= MAX_SLASHES;
    is_beginning && uri.len() > beginning.len() && uri.starts_with(beginning)
}
