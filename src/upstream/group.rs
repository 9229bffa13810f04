//! The endpoints of a route, as its configuration has them.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::hash;
use super::presence::Presence;
use super::resolver::Name;
use super::settings::{BalanceSettings, HealthSettings, Role};
use crate::engine::Address;

/// Where the connections of a route may go.
#[derive(Clone, Debug)]
pub struct Group {
    /// The route's: names its endpoints in telemetry, and over configurations.
    pub name: Arc<str>,
    /// At least one, at most [`super::settings::MAX_ENDPOINTS`].
    pub endpoints: Vec<Endpoint>,
    pub balance: BalanceSettings,
    /// `None` is not to check.
    pub checks: Option<Checks>,
    /// Time between two look-ups of a name, 1 s to 1 d; `None` is to look up when a configuration
    /// is loaded only.
    pub resolve_interval: Option<Duration>,
}

/// Where a component listens.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// As configured: `"sip.example.com:5060"`. Unique in its group.
    pub name: Arc<str>,
    /// What its certificate must be for, where it has one.
    pub server_name: Option<ServerName<'static>>,
    pub role: Role,
    /// 1 to [`super::settings::MAX_WEIGHT`].
    pub weight: u8,
    /// Where its addresses come from, when that is a name.
    pub look_up: Option<Name>,
    pub presence: Arc<Presence>,
    /// F of its name: see [`super::hash`].
    pub(super) key: u64,
}

/// How the endpoints of a group are checked.
#[derive(Clone, Debug)]
pub struct Checks {
    pub settings: HealthSettings,
    pub probe: Probe,
    /// Said before anything else: that this is no client's connection.
    pub greeting: Arc<[u8]>,
}

/// What an endpoint must do to pass.
#[derive(Clone, Debug)]
pub enum Probe {
    /// Accept a connection.
    Tcp,
    /// Finish a handshake, with a certificate that this verifies for the endpoint's name.
    Tls(Arc<rustls::ClientConfig>),
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
            checks: None,
            resolve_interval: None,
        })
    }
}

impl Endpoint {
    /// A primary with the weight of one, and no name to check.
    pub fn new(name: &str, presence: Arc<Presence>) -> Self {
        Self {
            name: name.into(),
            server_name: None,
            role: Role::Primary,
            weight: 1,
            look_up: None,
            presence,
            key: hash::fnv(name.as_bytes()),
        }
    }
}
