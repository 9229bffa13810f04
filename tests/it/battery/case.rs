//! What a row of the catalogue says about its test.

use std::collections::BTreeSet;
use std::fmt;

use tlsgate::catalogue::scaffold;
use tlsgate::catalogue::{Catalogue, Entry, FirstSpeaker, Framing, Mode, Mutual, Request, Role};

use super::script::Speech;

/// A row, with all that its test follows from.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// Position in the catalogue, from 1 on.
    pub(super) number: usize,
    pub(super) group: String,
    /// Who connects, and to whom.
    pub(super) from: String,
    pub(super) to: String,
    /// Document and line.
    pub(super) seed: String,
    pub(super) kind: String,
    pub(super) port: Option<String>,
    /// It may have no other name.
    pub(super) is_port_fixed: bool,
    pub(super) must_succeed: Vec<String>,
    pub(super) must_fail: Vec<String>,
    pub(super) combination: Combination,
}

/// Rows of one combination take the same paths through the gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Combination {
    pub(super) mode: Mode,
    pub(super) first: FirstSpeaker,
    pub(super) framing: Framing,
    pub(super) mutual: Mutual,
    pub(super) level: Level,
}

/// Where a row's options of TLS stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Agents read a file of their host.
    Host,
    /// A component's own options hold for what it connects to.
    Application,
    /// A server's port has its own, and one that has a name is meant by it.
    Listener,
}

impl Level {
    /// As the configuration and `explain` call it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Application => "application",
            Self::Listener => "listener",
        }
    }
}

impl Case {
    /// One for each row.
    pub(super) fn all() -> Vec<Self> {
        let catalogue = Catalogue::shipped();
        let numbered = (1..).zip(catalogue.entries());
        numbered.map(|(number, entry)| Self::new(number, &entry)).collect()
    }

    /// The first row of each combination.
    pub(super) fn representatives() -> Vec<Self> {
        let mut seen = BTreeSet::new();
        let mut cases = Self::all();
        cases.retain(|case| seen.insert(case.combination.clone()));
        cases
    }

    fn new(number: usize, entry: &Entry<'_>) -> Self {
        let connection = entry.connection;
        let first_name = |names: &str| names.split('|').next().unwrap_or(names).to_owned();
        let (one, other) = (first_name(&connection.from), first_name(&connection.to[0]));
        let (from, to) = if connection.role == Role::Server { (other, one) } else { (one, other) };
        let words = |cases: &[tlsgate::catalogue::Case]| {
            cases.iter().map(|case| case.case.clone()).collect()
        };
        Self {
            number,
            group: connection.group.clone(),
            from,
            to,
            seed: connection.seed.clone(),
            kind: connection.kind.clone(),
            port: connection.port.clone(),
            is_port_fixed: connection.port_required,
            must_succeed: words(&entry.profile.must_succeed),
            must_fail: words(&entry.profile.must_fail),
            combination: Combination {
                mode: entry.mode(),
                first: entry.kind.first_speaker,
                framing: entry.kind.framing,
                mutual: entry.mutual(),
                level: level(entry),
            },
        }
    }

    /// The route that the catalogue makes of the row.
    pub(super) fn route(&self, listen: &str, upstream: &str) -> String {
        let catalogue = Catalogue::shipped();
        let entry = catalogue.entries().nth(self.number - 1).expect("numbered from 1 on");
        scaffold(&entry, &self.request(listen, upstream))
            .unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    pub(super) fn request(&self, listen: &str, upstream: &str) -> Request {
        let is_autodetect = self.combination.mode == Mode::Autodetect;
        Request {
            from: self.from.clone(),
            to: self.to.clone(),
            listen: Some(listen.to_owned()),
            upstream: Some(upstream.to_owned()),
            mode: Some(self.combination.mode),
            until: is_autodetect.then(|| "2099-12-31".to_owned()),
            ..Request::default()
        }
    }

    /// Name of its listener.
    pub(super) fn name(&self) -> String {
        format!("row{}", self.number)
    }

    /// What its two ends say to each other, one connection each.
    pub(super) fn speeches(&self) -> Vec<Speech> {
        let lines = [Speech::Imap, Speech::Smtp, Speech::Http];
        match (self.kind.as_str(), self.combination.framing) {
            ("jdbc", _) => vec![Speech::PostgresTls],
            ("jdbc(oracle-net)", _) => vec![Speech::Tns],
            // HTTP or something of its own.
            ("http(soap)|tcp" | "http|tcp(siebel)", _) => {
                vec![Speech::Http, Speech::OpaqueServerFirst]
            }
            (_, Framing::Http) => vec![Speech::Http],
            (_, Framing::Sip) => vec![Speech::Sip],
            (_, Framing::Mrcp) => vec![Speech::Mrcp],
            (_, Framing::Ldap) => vec![Speech::Ldap],
            (_, Framing::Tds) => vec![Speech::TdsTls],
            (_, Framing::Lines) => Vec::from(lines),
            (_, Framing::Opaque) => match self.combination.first {
                FirstSpeaker::Client => vec![Speech::OpaqueClientFirst],
                FirstSpeaker::Server => vec![Speech::OpaqueServerFirst],
                // Nobody knows: both.
                FirstSpeaker::Unknown => {
                    vec![Speech::OpaqueClientFirst, Speech::OpaqueServerFirst]
                }
            },
        }
    }
}

/// See [`Level`].
fn level(entry: &Entry<'_>) -> Level {
    let connection = entry.connection;
    match connection.kind.as_str() {
        "genesys-tcp(lca)" | "genesys-tcp(gda)" => Level::Host,
        _ if connection.port.is_some() || connection.role == Role::Server => Level::Listener,
        _ => Level::Application,
    }
}

impl Combination {
    /// Whether peers speak TLS that ends at the gateway.
    pub(super) fn has_downstream_tls(&self) -> bool {
        matches!(self.mode, Mode::Terminate | Mode::Bridge | Mode::Autodetect)
    }

    /// Whether the component speaks TLS with the gateway.
    pub(super) fn has_upstream_tls(&self) -> bool {
        matches!(self.mode, Mode::Originate | Mode::Bridge)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {} {} to {} ({})", self.number, self.from, self.to, self.seed)
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, first, framing, mutual, level } = self;
        let text = format!("{mode:?} {first:?}-first {framing:?} mutual-{mutual:?} {level:?}");
        f.write_str(&text.to_lowercase())
    }
}
