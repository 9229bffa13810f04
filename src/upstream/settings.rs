//! What a configuration can say about how an endpoint is chosen and watched.

use std::time::Duration;

pub use crate::config::model::{
    Balance, BalanceSettings, HealthSettings, MAX_WEIGHT, SourceSettings,
};

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

/// Sources of one group: what a set of 64 bits holds.
pub const MAX_SOURCES: usize = 64;
/// Endpoints of one group: what a set of 64 bits holds.
pub const MAX_ENDPOINTS: usize = 64;
/// Addresses of one name; those beyond are left out, and their number exported.
pub const MAX_ADDRESSES: usize = 16;
/// Time between two look-ups of a name, where nothing else is said. The resolver of the C library
/// does not say how long its answers are good for.
pub const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
