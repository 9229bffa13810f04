//! Upstreams: where components listen, how one is chosen, dialled and looked after.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A component, and its share of the connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub endpoint: Endpoint,
    /// 1 to [`MAX_WEIGHT`].
    pub weight: u8,
}

/// How often one may come up for each time that the lightest does.
pub const MAX_WEIGHT: u8 = 100;

/// Where a component listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `"127.0.0.1:5060"`, `"[::1]:5060"`.
    Tcp(SocketAddr),
    /// `"sip.example.com:5060"`: resolved when the configuration is loaded.
    Name(String, u16),
    /// `"unix:/run/component.sock"`.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Name(host, port) => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Where the connections to the upstreams of a route come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum SourceSettings {
    /// From where the kernel's routes say.
    #[default]
    Any,
    /// From these in turn: 1 to 64, each of this machine. Those of another family than the
    /// destination's are passed over.
    From(Vec<IpAddr>),
    /// From the client's own address, and from its port if that is kept.
    Client { keep_port: bool },
}

/// One entry of `upstream_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceWord {
    Any,
    Client,
    ClientPort,
    Address(IpAddr),
}

impl SourceSettings {
    /// What these entries mean together; a word stands by itself.
    pub fn of(words: &[SourceWord]) -> Self {
        let addresses = words.iter().filter_map(|word| match word {
            SourceWord::Address(ip) => Some(*ip),
            _ => None,
        });
        match words {
            [] | [SourceWord::Any, ..] => Self::Any,
            [SourceWord::Client, ..] => Self::Client { keep_port: false },
            [SourceWord::ClientPort, ..] => Self::Client { keep_port: true },
            [SourceWord::Address(_), ..] => Self::From(addresses.collect()),
        }
    }
}

/// How connections are spread over the endpoints of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalanceSettings {
    pub policy: Balance,
    /// Failures to connect in a row that eject an address; 1 to 100.
    pub eject_after: u32,
    /// How long the first ejection lasts; the next one lasts twice as long. 100 ms to 1 h.
    pub eject_time: Duration,
    /// The longest that an ejection lasts; `eject_time` to 24 h.
    pub eject_max: Duration,
}

impl Default for BalanceSettings {
    fn default() -> Self {
        Self {
            policy: Balance::RoundRobin,
            eject_after: 1,
            eject_time: Duration::from_secs(10),
            eject_max: Duration::from_secs(60),
        }
    }
}

/// Who is next, of the endpoints that can be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn, as often as their weights say.
    RoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// Of two that are drawn, the one with fewer connections for its weight.
    PowerOfTwo,
    /// The one that the source address belongs to: nodes that have the same
    /// endpoints agree.
    SourceHash,
}

impl Balance {
    pub const ALL: [Self; 4] =
        [Self::RoundRobin, Self::LeastConnections, Self::PowerOfTwo, Self::SourceHash];

    /// Word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::PowerOfTwo => "power_of_two",
            Self::SourceHash => "source_hash",
        }
    }
}

/// How often an endpoint is looked at without being asked for, and what that proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Time from one check to the next; 100 ms to 1 h.
    pub interval: Duration,
    /// How long a check may take; 10 ms to 1 min.
    pub timeout: Duration,
    /// Checks in a row that must pass until an address is up again; 1 to 100.
    pub rise: u32,
    /// Checks in a row that must fail until an address is down; 1 to 100.
    pub fall: u32,
    /// Whether a check is a TLS handshake, as connections do it, and not only that it accepts.
    pub tls: bool,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            tls: false,
        }
    }
}
