//! The endpoints of a route, as its configuration has them.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::hash;
use super::presence::Presence;
use super::resolver::Name;
use super::settings::{BalanceSettings, HealthSettings, Role, SourceSettings};
use crate::engine::Address;

/// Where the connections of a route may go.
#[derive(Clone, Debug)]
pub struct Group {
    /// The route's: names its endpoints in telemetry, and over configurations.
    pub name: Arc<str>,
    /// At least one, at most [`super::settings::MAX_ENDPOINTS`].
    pub endpoints: Vec<Endpoint>,
    pub balance: BalanceSettings,
    /// Where its endpoints are dialled from.
    pub source: SourceSettings,
    /// `None` is not to check.
    pub checks: Option<HealthSettings>,
    /// Time between two look-ups of a name, 1 s to 1 d; `None` is to look up when a configuration
    /// is loaded only.
    pub resolve_interval: Option<Duration>,
}

/// Where a component listens.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// As configured: `"sip.example.com:5060"`. Unique in its group.
    pub name: Arc<str>,
    /// What a check of it is.
    pub probe: Probe,
    /// What a check says before anything else: that it is no client's connection.
    pub greeting: Arc<[u8]>,
    pub role: Role,
    /// As configured, 1 to [`super::settings::MAX_WEIGHT`]; see [`Endpoint::weight`].
    pub weight: u8,
    /// Where its addresses come from, when that is a name.
    pub look_up: Option<Name>,
    pub presence: Arc<Presence>,
    /// F of its name: see [`super::hash`].
    pub(super) key: u64,
}

/// What an endpoint must do to pass.
#[derive(Clone, Debug, Default)]
pub enum Probe {
    /// Accept a connection.
    #[default]
    Tcp,
    /// Finish a handshake as this says, with this name for the server.
    Tls(Arc<rustls::ClientConfig>, ServerName<'static>),
}

impl Group {
    /// Every address an endpoint by itself, in turn, never checked.
    pub fn plain(name: &str, addresses: &[Address]) -> Arc<Self> {
        let endpoint = |address: &Address| {
            Endpoint::new(&address.to_string(), Presence::new(std::slice::from_ref(address)))
        };
        Arc::new(Self {
            name: name.into(),
            endpoints: addresses.iter().map(endpoint).collect(),
            balance: BalanceSettings::default(),
            source: SourceSettings::Any,
            checks: None,
            resolve_interval: None,
        })
    }
}

impl Endpoint {
    /// The one that counts.
    pub fn weight(&self) -> u8 {
        self.presence.weight().unwrap_or(self.weight)
    }

    /// A primary with the weight of one, which is to accept when it is checked.
    pub fn new(name: &str, presence: Arc<Presence>) -> Self {
        Self {
            name: name.into(),
            probe: Probe::Tcp,
            greeting: Arc::default(),
            role: Role::Primary,
            weight: 1,
            look_up: None,
            presence,
            key: hash::fnv(name.as_bytes()),
        }
    }
}
