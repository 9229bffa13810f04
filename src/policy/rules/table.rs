//! The table: from facts to the rule that wins, without an allocation.
//!
//! Names on certificates lead to a **group** of rules; group 0 has those that name no client. In a
//! group, SNI leads to a **node**; every group has one for rules without SNI. In a node, the source
//! leads to a **leaf**; every node has one for rules without source. A leaf is a list of rules that
//! differ in ALPN and version alone: 65 times 5 at most, with those that name none.

use std::fmt;
use std::net::IpAddr;

use super::facts::{ClientFacts, Facts};
use super::labels::Labels;
use super::names::NameTable;
use super::ranges::{Bits as _, Halves, RangeTable};
use super::spec::Version;
use super::{MAX_NAME, MAX_SLASHES, parent_name, plain_name};

/// Different protocols that the rules of a listener may name, so that those which a client offers
/// are looked up once per connection.
pub(super) const MAX_PROTOCOLS: usize = 64;
/// Prefixes of a node that are searched one by one: two cache lines and a half.
pub(super) const FEW: usize = 8;

/// A rule, by its position among those that were compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// Compiled rules; see the module.
#[derive(Default)]
pub struct RuleTable {
    /// Names of clients, by kind; each stands for a group.
    pub(super) clients: NameTable,
    pub(super) groups: Box<[Group]>,
    /// SNI by group, and what follows the star of wildcards; each stands for a node. Apart, since
    /// wildcards are few as a rule, and then their table stays in the caches.
    pub(super) exact: NameTable,
    pub(super) wildcards: NameTable,
    pub(super) few: Box<[Prefix]>,
    pub(super) many: Box<[Many]>,
    pub(super) leaves: Box<[LeafRule]>,
    /// In the order of their bytes.
    pub(super) protocols: Box<[Box<[u8]>]>,
    /// By rule.
    pub(super) outcomes: Box<[u32]>,
    pub(super) labels: Labels,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) any_name: Node,
    pub(super) has_exact: bool,
    pub(super) has_wildcard: bool,
}

/// Rules that agree on client and SNI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) sources: Sources,
    pub(super) any_source: Leaf,
}

/// Where the prefixes of a node are: nowhere, from a place in [`RuleTable::few`] on, or in one of
/// [`RuleTable::many`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sources(pub(super) u32);

/// No rule, a rule that asks for nothing else, or a place in [`RuleTable::leaves`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf(pub(super) u32);

const NONE: u32 = u32::MAX;
/// The other meaning of a number.
const MARK: u32 = 1 << 31;

/// One of few prefixes; the longest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    pub(super) bits: Halves,
    pub(super) leaf: Leaf,
    pub(super) length: u8,
    pub(super) is_v4: bool,
    /// No other follows.
    pub(super) is_last: bool,
}

#[derive(Debug)]
pub(super) struct Many {
    pub(super) v4: RangeTable<u32>,
    pub(super) v6: RangeTable<Halves>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LeafRule {
    pub(super) rule: u32,
    /// Position in [`RuleTable::protocols`].
    pub(super) protocol: Option<u8>,
    pub(super) version: Option<Version>,
    /// No other follows.
    pub(super) is_last: bool,
}

impl RuleTable {
    /// The rule that a connection falls under. Allocates nothing.
    pub fn lookup(&self, facts: &Facts<'_>) -> Option<RuleId> {
        let any_client = self.groups.first()?;
        let mut space = [0; MAX_NAME];
        let name = facts.sni.and_then(|name| plain_name(name, &mut space));
        let protocols = self.positions(facts);
        let query = Query {
            name,
            source: facts.source.map(|source| source.to_canonical()),
            protocols: protocols.as_ref(),
            version: facts.version,
        };
        if let Some(client) = &facts.client
            && !self.clients.is_empty()
            && let Some(rule) = self.by_client(client, &query)
        {
            return Some(rule);
        }
        self.in_group(0, any_client, &query)
    }

    /// What the rule says to do.
    ///
    /// # Panics
    /// If the rule is of another table.
    pub fn outcome(&self, rule: RuleId) -> u32 {
        self.outcomes[rule.0 as usize]
    }

    /// Its name and its line.
    ///
    /// # Panics
    /// If the rule is of another table.
    pub fn label(&self, rule: RuleId) -> (&str, u32) {
        self.labels.of(rule.0 as usize)
    }

    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// By protocol of the rules: its position among those that the client offers, from 0.
    fn positions(&self, facts: &Facts<'_>) -> Option<[u16; MAX_PROTOCOLS]> {
        if self.protocols.is_empty() || facts.alpn.is_empty() {
            return None;
        }
        let mut positions = [NOT_OFFERED; MAX_PROTOCOLS];
        // An extension of 64 KiB holds fewer than 2¹⁵ names.
        for (offered, position) in facts.alpn.iter().zip(0..NOT_OFFERED) {
            let found = self.protocols.binary_search_by(|protocol| (**protocol).cmp(offered));
            if let Ok(protocol) = found
                && positions[protocol] == NOT_OFFERED
            {
                positions[protocol] = position;
            }
        }
        Some(positions)
    }

    /// The first rule by the names on a certificate, the most specific kind first.
    fn by_client(&self, client: &ClientFacts<'_>, query: &Query<'_>) -> Option<RuleId> {
        let ask = |kind: ClientKind, name: &[u8]| self.in_client(kind, name, query);
        let mut space = [0; MAX_NAME];
        if let Some(rule) = ask(ClientKind::Fingerprint, client.fingerprint)
            .or_else(|| ask(ClientKind::Spki, client.spki))
            .or_else(|| client.uris.iter().find_map(|uri| ask(ClientKind::Uri, uri.as_bytes())))
        {
            return Some(rule);
        }
        for name in client.dns {
            let name = plain_name(name, &mut space);
            if let Some(rule) = name.and_then(|name| ask(ClientKind::Dns, name)) {
                return Some(rule);
            }
        }
        let by_ip = |ip: &IpAddr| match ip.to_canonical() {
            IpAddr::V4(v4) => ask(ClientKind::Ip, &v4.octets()),
            IpAddr::V6(v6) => ask(ClientKind::Ip, &v6.octets()),
        };
        if let Some(rule) = client
            .ips
            .iter()
            .find_map(by_ip)
            .or_else(|| ask(ClientKind::Subject, client.subject.as_bytes()))
            .or_else(|| ask(ClientKind::CommonName, client.common_name?.as_bytes()))
            .or_else(|| client.uris.iter().find_map(|uri| self.under(uri.as_bytes(), query)))
        {
            return Some(rule);
        }
        for name in client.dns {
            let parent = plain_name(name, &mut space).and_then(parent_name);
            if let Some(rule) = parent.and_then(|name| ask(ClientKind::DnsWildcard, name)) {
                return Some(rule);
            }
        }
        ask(ClientKind::Issuer, client.issuer.as_bytes())
    }

    /// By what a URI is under, the longest first.
    fn under(&self, uri: &[u8], query: &Query<'_>) -> Option<RuleId> {
        let mut ends = [0; MAX_SLASHES];
        let slashes = (1..uri.len()).filter(|end| uri[end - 1] == b'/');
        let found = ends.iter_mut().zip(slashes).map(|(end, slash)| *end = slash).count();
        let longest_first = ends[..found].iter().rev();
        longest_first
            .map(|end| &uri[..*end])
            .find_map(|beginning| self.in_client(ClientKind::UriUnder, beginning, query))
    }

    fn in_client(&self, kind: ClientKind, name: &[u8], query: &Query<'_>) -> Option<RuleId> {
        let (group, _) = self.clients.find(kind as u32, name)?;
        self.in_group(group, &self.groups[group as usize], query)
    }

    fn in_group(&self, id: u32, group: &Group, query: &Query<'_>) -> Option<RuleId> {
        if let Some(name) = query.name {
            if group.has_exact
                && let Some((sources, leaf)) = self.exact.find(id, name)
                && let Some(rule) = self.in_node(Node::from_value(sources, leaf), query)
            {
                return Some(rule);
            }
            if group.has_wildcard
                && let Some(parent) = parent_name(name)
                && let Some((sources, leaf)) = self.wildcards.find(id, parent)
                && let Some(rule) = self.in_node(Node::from_value(sources, leaf), query)
            {
                return Some(rule);
            }
        }
        self.in_node(group.any_name, query)
    }

    fn in_node(&self, node: Node, query: &Query<'_>) -> Option<RuleId> {
        let Some(source) = query.source.filter(|_| node.sources != Sources::NONE) else {
            return self.in_leaf(node.any_source, query);
        };
        let found = match (node.sources.many(), source) {
            (None, _) => self.in_few(node.sources.0 as usize, source, query),
            (Some(many), IpAddr::V4(v4)) => {
                let mut leaves = self.many[many].v4.holding(v4.to_bits());
                leaves.find_map(|leaf| self.in_leaf(Leaf(leaf), query))
            }
            (Some(many), IpAddr::V6(v6)) => {
                let mut leaves = self.many[many].v6.holding(Halves::new(v6.to_bits()));
                leaves.find_map(|leaf| self.in_leaf(Leaf(leaf), query))
            }
        };
        found.or_else(|| self.in_leaf(node.any_source, query))
    }

    fn in_few(&self, from: usize, source: IpAddr, query: &Query<'_>) -> Option<RuleId> {
        let (address, width, is_v4) = match source {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), u32::BITS, true),
            IpAddr::V6(v6) => (v6.to_bits(), u128::BITS, false),
        };
        for prefix in &self.few[from..] {
            let beyond = width.saturating_sub(prefix.length.into());
            let differ = address ^ prefix.bits.number();
            if prefix.is_v4 == is_v4
                && differ.checked_shr(beyond).unwrap_or(0) == 0
                && let Some(rule) = self.in_leaf(prefix.leaf, query)
            {
                return Some(rule);
            }
            if prefix.is_last {
                break;
            }
        }
        None
    }

    fn in_leaf(&self, leaf: Leaf, query: &Query<'_>) -> Option<RuleId> {
        let Some(from) = leaf.list() else { return leaf.rule() };
        let mut best: Option<((u16, bool), u32)> = None;
        for entry in &self.leaves[from..] {
            if let Some(rank) = query.rank(entry)
                && best.is_none_or(|(least, _)| rank < least)
            {
                best = Some((rank, entry.rule));
            }
            if entry.is_last {
                break;
            }
        }
        best.map(|(_, rule)| RuleId(rule))
    }
}

/// Facts as the table asks for them.
struct Query<'a> {
    name: Option<&'a [u8]>,
    source: Option<IpAddr>,
    /// See [`RuleTable::positions`]; `None` if none is offered.
    protocols: Option<&'a [u16; MAX_PROTOCOLS]>,
    version: Option<Version>,
}

const NOT_OFFERED: u16 = u16::MAX;
const ANY_PROTOCOL: u16 = u16::MAX;

impl Query<'_> {
    /// `None` if the entry does not match; less is more specific.
    fn rank(&self, entry: &LeafRule) -> Option<(u16, bool)> {
        let by_protocol = match entry.protocol {
            None => ANY_PROTOCOL,
            Some(protocol) => {
                let position = self.protocols?[usize::from(protocol)];
                (position != NOT_OFFERED).then_some(position)?
            }
        };
        let matches = entry.version.is_none() || entry.version == self.version;
        matches.then_some((by_protocol, entry.version.is_none()))
    }
}

/// Kinds of names in [`RuleTable::clients`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ClientKind {
    Fingerprint,
    Spki,
    Uri,
    Dns,
    Ip,
    Subject,
    CommonName,
    UriUnder,
    DnsWildcard,
    Issuer,
}

impl Node {
    pub(super) fn value(self) -> (u32, u32) {
        (self.sources.0, self.any_source.0)
    }

    fn from_value(sources: u32, any_source: u32) -> Self {
        Self { sources: Sources(sources), any_source: Leaf(any_source) }
    }
}

impl Sources {
    pub(super) const NONE: Self = Self(NONE);

    /// `place` is less than 2³¹ - 1.
    pub(super) fn in_many(place: u32) -> Self {
        Self(MARK | place)
    }

    fn many(self) -> Option<usize> {
        (self.0 & MARK != 0).then_some((self.0 & !MARK) as usize)
    }
}

impl Leaf {
    pub(super) const NONE: Self = Self(NONE);

    /// `place` is less than 2³¹ - 1.
    pub(super) fn in_list(place: u32) -> Self {
        Self(MARK | place)
    }

    fn list(self) -> Option<usize> {
        (self.0 != NONE && self.0 & MARK != 0).then_some((self.0 & !MARK) as usize)
    }

    fn rule(self) -> Option<RuleId> {
        (self.0 != NONE).then_some(RuleId(self.0))
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self::NONE
    }
}

impl Default for Leaf {
    fn default() -> Self {
        Self::NONE
    }
}

/// A million rules are nothing to print.
impl fmt::Debug for RuleTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleTable").field("rules", &self.len()).finish_non_exhaustive()
    }
}
