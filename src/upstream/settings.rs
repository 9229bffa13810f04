//! What a configuration can say about how an endpoint is chosen and watched.

use std::time::Duration;

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
    /// The one that the source address belongs to: see [`super::hash`].
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

/// When an endpoint gets connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Always.
    #[default]
    Primary,
    /// While every primary is down.
    Backup,
}

impl Role {
    /// Word in the configuration and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
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
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), timeout: Duration::from_secs(2), rise: 2, fall: 3 }
    }
}

/// Endpoints of one group: what a set of 64 bits holds.
pub const MAX_ENDPOINTS: usize = 64;
/// Addresses of one name; those beyond are left out, and their number exported.
pub const MAX_ADDRESSES: usize = 16;
/// How often one may come up for each time that the lightest does.
pub const MAX_WEIGHT: u8 = 100;
/// Time between two look-ups of a name, where nothing else is said. The resolver of the C library
/// does not say how long its answers are good for.
pub const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
