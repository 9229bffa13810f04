//! From rules to the table.
//!
//! Every rule becomes one entry for each combination of its conditions' entries. Sorted, those that
//! belong together are neighbours: what shares a client is a group, in it what shares an SNI is a
//! node, in it what shares a source is a leaf; and two that are the same are an ambiguity.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;

use super::labels::Labels;
use super::names::{NameTable, Value};
use super::ranges::{Bits, Halves, Range, RangeTable};
use super::spec::{Cidr, ClientMatch, RuleSpec, SniPattern, Version};
use super::table::{
    ClientKind, FEW, Group, Leaf, LeafRule, MAX_PROTOCOLS, Many, Node, Prefix, RuleTable, Sources,
};

/// Entries of all rules together: eight times the million rules that the design is for. Compiling
/// takes 48 bytes for each.
const MAX_ENTRIES: usize = 8 << 20;
/// Ambiguities that are told; further ones are the same mistake, as a rule.
const MAX_TOLD: usize = 100;

/// Why rules are no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Pairs of rules of which neither is more specific than the other; at most 100 of `pairs`.
    #[error("{} pairs of rules are ambiguous, the first: {}", pairs, told.first().map(ToString::to_string).unwrap_or_default())]
    Ambiguous { told: Vec<Ambiguity>, pairs: usize },
    /// This rule names a protocol too many.
    #[error("{rule} brings the ALPN protocols that rules name to more than {MAX_PROTOCOLS}")]
    TooManyProtocols { rule: RuleRef },
    /// A rule counts once for each combination of its clients, names, sources, protocols, versions.
    #[error(
        "the rules have {entries} combinations of conditions, {most} is the most; {largest} has {of_largest}"
    )]
    TooManyEntries { entries: usize, most: usize, largest: RuleRef, of_largest: usize },
    /// All names of one kind together, or the names of rules.
    #[error("the names in the rules have more than 4 GiB")]
    TooLarge,
}

/// Two rules that match the same connections, with different outcomes, and are equally specific.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambiguity {
    pub first: RuleRef,
    pub second: RuleRef,
    /// The conditions that they share, in words; the first that was found, if there are more.
    pub shared: String,
}

/// A rule, for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// Position among the rules, from 0.
    pub position: usize,
    pub name: String,
    pub line: u32,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {:?} (line {})", self.name, self.line)
    }
}

impl fmt::Display for Ambiguity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second, shared } = self;
        write!(f, "{first} and {second} match the same connections ({shared})")
    }
}

impl RuleTable {
    /// Makes a table of rules, which has a rule's position as its id. Takes about a second for a
    /// million; not for a shard's thread.
    ///
    /// # Errors
    /// When rules are ambiguous, or more than the table can hold.
    pub fn compile(specs: &[RuleSpec]) -> Result<Self, CompileError> {
        if specs.is_empty() {
            return Ok(Self::default());
        }
        check_size(specs)?;
        let protocols = protocols(specs)?;
        let mut clients = Interned::new(specs.iter().map(|spec| spec.client.len()).sum());
        let mut names = Interned::new(specs.iter().map(|spec| spec.sni.len()).sum());
        let mut entries = Vec::with_capacity(specs.iter().map(combinations).sum());
        let mut parts = Parts::default();
        for (spec, rule) in specs.iter().zip(0..) {
            parts.read(spec, &protocols, &mut clients, &mut names);
            parts.combine(rule, &mut entries);
        }
        entries.sort_unstable();
        let mut builder = Builder::new(specs, &names.all);
        builder.groups(&entries);
        builder.check_ambiguities(&protocols, &clients)?;
        let table = builder.finish(&clients, protocols);
        table.ok_or(CompileError::TooLarge)
    }
}

/// One combination of a rule's conditions. Its order puts together what belongs together; longer
/// prefixes come first, and the rule last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// From 1; 0 names no client.
    group: u32,
    /// From 1; 0 names no SNI.
    name: u32,
    source: Source,
    /// [`ANY`], or a position among the protocols.
    protocol: u8,
    /// [`ANY`], or the number of a version.
    version: u8,
    rule: u32,
}

/// A prefix, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    /// 128 less its length; [`ANY`] if there is none.
    shortness: u8,
    is_v4: bool,
    bits: u128,
}

const ANY: u8 = u8::MAX;

impl Source {
    const ANY: Self = Self { shortness: ANY, is_v4: false, bits: 0 };

    fn of(cidr: &Cidr) -> Self {
        let (is_v4, bits) = match cidr.address() {
            IpAddr::V4(v4) => (true, v4.to_bits().into()),
            IpAddr::V6(v6) => (false, v6.to_bits()),
        };
        Self { shortness: 128 - cidr.length(), is_v4, bits }
    }

    fn range(self, value: u32) -> Range {
        let beyond = if self.is_v4 { self.shortness - 96 } else { self.shortness };
        let others = 1u128.checked_shl(beyond.into()).map_or(u128::MAX, |size| size - 1);
        Range { first: self.bits, last: self.bits | others, value }
    }
}

impl Entry {
    /// All but the rule.
    fn key(&self) -> (u32, u32, Source, u8, u8) {
        (self.group, self.name, self.source, self.protocol, self.version)
    }
}

/// Things with numbers, from 1 on in the order of their first use.
struct Interned<'a, T> {
    numbers: HashMap<&'a T, u32>,
    all: Vec<&'a T>,
}

impl<'a, T: Eq + Hash> Interned<'a, T> {
    fn new(most: usize) -> Self {
        Self { numbers: HashMap::with_capacity(most), all: Vec::new() }
    }

    fn number(&mut self, thing: &'a T) -> u32 {
        *self.numbers.entry(thing).or_insert_with(|| {
            self.all.push(thing);
            u32::try_from(self.all.len()).expect("at most MAX_ENTRIES")
        })
    }
}

/// Entries that a rule becomes.
fn combinations(spec: &RuleSpec) -> usize {
    [spec.client.len(), spec.sni.len(), spec.source.len(), spec.alpn.len(), spec.versions.len()]
        .into_iter()
        .fold(1, |product: usize, count| product.saturating_mul(count.max(1)))
}

fn check_size(specs: &[RuleSpec]) -> Result<(), CompileError> {
    let entries = specs.iter().map(combinations).fold(0, usize::saturating_add);
    let largest = specs.iter().enumerate().max_by_key(|(_, spec)| combinations(spec));
    match largest {
        Some((position, spec)) if entries > MAX_ENTRIES => Err(CompileError::TooManyEntries {
            entries,
            most: MAX_ENTRIES,
            largest: rule_ref(specs, position),
            of_largest: combinations(spec),
        }),
        _ => Ok(()),
    }
}

/// The protocols that rules name, in the order of their bytes.
fn protocols(specs: &[RuleSpec]) -> Result<Vec<&[u8]>, CompileError> {
    let mut protocols = HashSet::new();
    for (position, spec) in specs.iter().enumerate() {
        protocols.extend(spec.alpn.iter().map(Vec::as_slice));
        if protocols.len() > MAX_PROTOCOLS {
            return Err(CompileError::TooManyProtocols { rule: rule_ref(specs, position) });
        }
    }
    let mut protocols: Vec<&[u8]> = protocols.into_iter().collect();
    protocols.sort_unstable();
    Ok(protocols)
}

fn position(protocols: &[&[u8]], name: &[u8]) -> u8 {
    let position = protocols.binary_search(&name).expect("all that rules name are there");
    u8::try_from(position).expect("fewer than MAX_PROTOCOLS")
}

/// The entries of one rule's conditions, of each kind at least one. Used again for every rule.
#[derive(Default)]
struct Parts {
    groups: Vec<u32>,
    names: Vec<u32>,
    sources: Vec<Source>,
    protocols: Vec<u8>,
    versions: Vec<u8>,
}

impl Parts {
    fn read<'a>(
        &mut self,
        spec: &'a RuleSpec,
        protocols: &[&[u8]],
        clients: &mut Interned<'a, ClientMatch>,
        names: &mut Interned<'a, SniPattern>,
    ) {
        fill(&mut self.groups, spec.client.iter().map(|client| clients.number(client)), 0);
        fill(&mut self.names, spec.sni.iter().map(|pattern| names.number(pattern)), 0);
        fill(&mut self.sources, spec.source.iter().map(Source::of), Source::ANY);
        let positions = spec.alpn.iter().map(|name| position(protocols, name));
        fill(&mut self.protocols, positions, ANY);
        fill(&mut self.versions, spec.versions.iter().map(|version| *version as u8), ANY);
    }

    fn combine(&self, rule: u32, entries: &mut Vec<Entry>) {
        for &group in &self.groups {
            for &name in &self.names {
                for &source in &self.sources {
                    for &protocol in &self.protocols {
                        let entry =
                            |&version| Entry { group, name, source, protocol, version, rule };
                        entries.extend(self.versions.iter().map(entry));
                    }
                }
            }
        }
    }
}

fn fill<T>(list: &mut Vec<T>, items: impl Iterator<Item = T>, if_none: T) {
    list.clear();
    list.extend(items);
    if list.is_empty() {
        list.push(if_none);
    }
}

fn rule_ref(specs: &[RuleSpec], position: usize) -> RuleRef {
    let spec = &specs[position];
    RuleRef { position, name: spec.name.clone(), line: spec.line }
}

/// The parts of a table.
struct Builder<'a> {
    specs: &'a [RuleSpec],
    sni: &'a [&'a SniPattern],
    groups: Vec<Group>,
    exact: Vec<(u32, &'a [u8], Value)>,
    wildcards: Vec<(u32, &'a [u8], Value)>,
    few: Vec<Prefix>,
    many: Vec<Many>,
    leaves: Vec<LeafRule>,
    /// Those that are the same but for their outcomes; the first with each later one.
    ambiguous: Vec<(Entry, Entry)>,
}

impl<'a> Builder<'a> {
    fn new(specs: &'a [RuleSpec], sni: &'a [&'a SniPattern]) -> Self {
        Self {
            specs,
            sni,
            groups: Vec::new(),
            exact: Vec::new(),
            wildcards: Vec::new(),
            few: Vec::new(),
            many: Vec::new(),
            leaves: Vec::new(),
            ambiguous: Vec::new(),
        }
    }

    fn groups(&mut self, entries: &[Entry]) {
        let empty = Group { any_name: Node::default(), has_exact: false, has_wildcard: false };
        self.groups.push(empty);
        for same_client in entries.chunk_by(|one, other| one.group == other.group) {
            let id = same_client[0].group;
            let mut group = empty;
            for same_name in same_client.chunk_by(|one, other| one.name == other.name) {
                let node = self.node(same_name);
                let Some(name) = same_name[0].name.checked_sub(1) else {
                    group.any_name = node;
                    continue;
                };
                let (name, is_wildcard) = match self.sni[name as usize] {
                    SniPattern::Exact(name) => (name, false),
                    SniPattern::Wildcard(parent) => (parent, true),
                };
                group.has_exact |= !is_wildcard;
                group.has_wildcard |= is_wildcard;
                let names = if is_wildcard { &mut self.wildcards } else { &mut self.exact };
                names.push((id, name.as_bytes(), node.value()));
            }
            // Every group has entries, and they are in order; group 0 may have none.
            if id == 0 { self.groups[0] = group } else { self.groups.push(group) }
        }
    }

    fn node(&mut self, entries: &[Entry]) -> Node {
        let mut node = Node::default();
        let mut prefixes = Vec::new();
        for same_source in entries.chunk_by(|one, other| one.source == other.source) {
            let leaf = self.leaf(same_source);
            match same_source[0].source {
                Source::ANY => node.any_source = leaf,
                source => prefixes.push((source, leaf)),
            }
        }
        node.sources = match prefixes.len() {
            0 => Sources::NONE,
            1..=FEW => self.few(&prefixes),
            _ => self.many(&prefixes),
        };
        node
    }

    fn few(&mut self, prefixes: &[(Source, Leaf)]) -> Sources {
        let place = place(self.few.len());
        let of = |(at, (source, leaf)): (usize, &(Source, Leaf))| Prefix {
            bits: Halves::new(source.bits),
            leaf: *leaf,
            length: 128 - source.shortness,
            is_v4: source.is_v4,
            is_last: at + 1 == prefixes.len(),
        };
        self.few.extend(prefixes.iter().enumerate().map(of));
        Sources(place)
    }

    fn many(&mut self, prefixes: &[(Source, Leaf)]) -> Sources {
        let ranges = |is_v4| {
            let of_family = prefixes.iter().filter(|(source, _)| source.is_v4 == is_v4);
            of_family.map(|(source, leaf)| source.range(leaf.0)).collect()
        };
        let many = Many { v4: RangeTable::new(ranges(true)), v6: RangeTable::new(ranges(false)) };
        self.many.push(many);
        Sources::in_many(place(self.many.len() - 1))
    }

    /// Of entries that differ in protocol and version, or in nothing.
    fn leaf(&mut self, entries: &[Entry]) -> Leaf {
        let from = self.leaves.len();
        for same in entries.chunk_by(|one, other| one.key() == other.key()) {
            let (first, others) = (&same[0], &same[1..]);
            let outcome = |entry: &Entry| self.specs[entry.rule as usize].outcome;
            let differing = others.iter().filter(|other| outcome(other) != outcome(first));
            self.ambiguous.extend(differing.map(|other| (*first, *other)));
            if entries.len() == same.len() && first.protocol == ANY && first.version == ANY {
                return Leaf(first.rule);
            }
            self.leaves.push(LeafRule {
                rule: first.rule,
                protocol: (first.protocol != ANY).then_some(first.protocol),
                version: Version::ALL
                    .into_iter()
                    .map(|(version, _)| version)
                    .find(|version| *version as u8 == first.version),
                is_last: false,
            });
        }
        if let Some(last) = self.leaves.last_mut() {
            last.is_last = true;
        }
        Leaf::in_list(place(from))
    }

    fn check_ambiguities(
        &self,
        protocols: &[&[u8]],
        clients: &Interned<'_, ClientMatch>,
    ) -> Result<(), CompileError> {
        let mut pairs = HashSet::new();
        let mut first_of_pairs: Vec<_> = self.ambiguous.iter().collect();
        first_of_pairs.retain(|(first, second)| pairs.insert((first.rule, second.rule)));
        if first_of_pairs.is_empty() {
            return Ok(());
        }
        // In the order of the file.
        first_of_pairs.sort_unstable_by_key(|(first, second)| (second.rule, first.rule));
        let told = first_of_pairs.into_iter().take(MAX_TOLD).map(|(first, second)| Ambiguity {
            first: rule_ref(self.specs, first.rule as usize),
            second: rule_ref(self.specs, second.rule as usize),
            shared: self.shared(first, protocols, clients),
        });
        Err(CompileError::Ambiguous { told: told.collect(), pairs: pairs.len() })
    }

    /// The conditions of an entry in words.
    fn shared(
        &self,
        entry: &Entry,
        protocols: &[&[u8]],
        clients: &Interned<'_, ClientMatch>,
    ) -> String {
        let spec = &self.specs[entry.rule as usize];
        let named = |number: u32| number.checked_sub(1).map(|at| at as usize);
        let client = named(entry.group).map(|at| format!("client {}", clients.all[at]));
        let name = named(entry.name).map(|at| format!("SNI {}", self.sni[at]));
        let source = spec.source.iter().find(|cidr| Source::of(cidr) == entry.source);
        let protocol = protocols.get(usize::from(entry.protocol));
        let version = spec.versions.iter().find(|version| **version as u8 == entry.version);
        let parts = [
            client,
            name,
            source.map(|cidr| format!("source {cidr}")),
            protocol.map(|name| format!("ALPN {}", name.escape_ascii())),
            version.map(|version| format!("version {version}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "all of them".to_owned() } else { parts.join(", ") }
    }

    fn finish(
        self,
        clients: &Interned<'_, ClientMatch>,
        protocols: Vec<&[u8]>,
    ) -> Option<RuleTable> {
        let keys: Vec<_> = clients.all.iter().map(|client| client_key(client)).collect();
        let clients = keys.iter().zip(1..);
        let clients = clients.map(|((kind, name), group)| (*kind as u32, &name[..], (group, 0)));
        let clients: Vec<_> = clients.collect();
        Some(RuleTable {
            clients: NameTable::new(&clients)?,
            groups: self.groups.into(),
            exact: NameTable::new(&self.exact)?,
            wildcards: NameTable::new(&self.wildcards)?,
            few: self.few.into(),
            many: self.many.into(),
            leaves: self.leaves.into(),
            protocols: protocols.into_iter().map(Box::from).collect(),
            outcomes: self.specs.iter().map(|spec| spec.outcome).collect(),
            labels: Labels::new(self.specs)?,
        })
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("at most MAX_ENTRIES")
}

/// What a client is looked up by.
fn client_key(client: &ClientMatch) -> (ClientKind, Cow<'_, [u8]>) {
    let (kind, name) = match client {
        ClientMatch::Ip(IpAddr::V4(v4)) => return (ClientKind::Ip, v4.octets().to_vec().into()),
        ClientMatch::Ip(IpAddr::V6(v6)) => return (ClientKind::Ip, v6.octets().to_vec().into()),
        ClientMatch::Fingerprint(digest) => (ClientKind::Fingerprint, digest.as_slice()),
        ClientMatch::Spki(digest) => (ClientKind::Spki, digest.as_slice()),
        ClientMatch::Uri(uri) => (ClientKind::Uri, uri.as_bytes()),
        ClientMatch::Dns(name) => (ClientKind::Dns, name.as_bytes()),
        ClientMatch::Subject(name) => (ClientKind::Subject, name.as_bytes()),
        ClientMatch::CommonName(name) => (ClientKind::CommonName, name.as_bytes()),
        ClientMatch::UriUnder(beginning) => (ClientKind::UriUnder, beginning.as_bytes()),
        ClientMatch::DnsWildcard(parent) => (ClientKind::DnsWildcard, parent.as_bytes()),
        ClientMatch::Issuer(name) => (ClientKind::Issuer, name.as_bytes()),
    };
    (kind, Cow::Borrowed(name))
}
