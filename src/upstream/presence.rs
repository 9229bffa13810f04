//! What outlives configurations about an endpoint: its addresses with their health, its open
//! connections, and what is counted about it.
//!
//! A [`Presence`] is shared by every shard, the lookout, and every generation that has the endpoint,
//! so that a reload forgets no connection and no verdict.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use serde::Serialize;

use super::hash;
use super::health::Health;
use super::settings::{MAX_ADDRESSES, MAX_WEIGHT};
use crate::engine::Address;

/// See the module.
#[derive(Debug)]
pub struct Presence {
    /// Changes with the destinations, and is set after them.
    epoch: AtomicU32,
    destinations: RwLock<Destinations>,
    /// Addresses beyond the limit, when they were set last.
    left_out: AtomicUsize,
    connections: AtomicU32,
    /// An operator wants no new connection to go there.
    disabled: AtomicBool,
    /// That an operator has given it; 0 is as configured.
    weight: AtomicU8,
    pub(super) connect_failures: AtomicU64,
    pub(super) ejections: AtomicU64,
    checks_passed: AtomicU64,
    checks_failed: AtomicU64,
    look_up_failures: AtomicU64,
}

/// The addresses of an endpoint, at least one.
pub type Destinations = Arc<[Arc<Destination>]>;

/// An address of an endpoint.
#[derive(Debug)]
pub struct Destination {
    pub address: Address,
    pub health: Health,
    /// Of the endpoint, open or being dialled.
    connections: AtomicU32,
    /// F of its text: see [`super::hash`].
    pub(super) key: u64,
}

/// What is counted about an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Connections that are open or being dialled.
    pub connections: u32,
    /// An operator wants no new connection to go there.
    pub disabled: bool,
    /// That an operator has given it.
    pub weight: Option<u8>,
    pub addresses: usize,
    /// Those that checks have found down.
    pub addresses_down: usize,
    /// Those of its name that are more than [`MAX_ADDRESSES`].
    pub addresses_left_out: usize,
    pub connect_failures: u64,
    /// Over all shards: each makes its own experience.
    pub ejections: u64,
    pub checks_passed: u64,
    pub checks_failed: u64,
    pub look_up_failures: u64,
}

impl Presence {
    /// Of an endpoint at these addresses, of which there is at least one.
    pub fn new(addresses: &[Address]) -> Arc<Self> {
        assert!(!addresses.is_empty(), "an endpoint without an address is a mistake found before");
        let destinations = addresses.iter().take(MAX_ADDRESSES).map(Destination::new).collect();
        Arc::new(Self {
            epoch: AtomicU32::new(0),
            destinations: RwLock::new(destinations),
            left_out: AtomicUsize::new(addresses.len().saturating_sub(MAX_ADDRESSES)),
            connections: AtomicU32::new(0),
            disabled: AtomicBool::new(false),
            weight: AtomicU8::new(0),
            connect_failures: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            checks_passed: AtomicU64::new(0),
            checks_failed: AtomicU64::new(0),
            look_up_failures: AtomicU64::new(0),
        })
    }

    /// Where it can be dialled now.
    pub fn destinations(&self) -> Destinations {
        Arc::clone(&self.destinations.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Differs when [`Presence::destinations`] may.
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Gives it other addresses; connections that are open keep theirs. An address that stays keeps
    /// its health. With more than [`MAX_ADDRESSES`], those that stay come first. Returns whether
    /// anything changed, which the order of the addresses does not: resolvers rotate it.
    pub fn set_addresses(&self, addresses: &[Address]) -> bool {
        if addresses.is_empty() {
            return false;
        }
        self.left_out.store(addresses.len().saturating_sub(MAX_ADDRESSES), Ordering::Relaxed);
        let mut current = self.destinations.write().unwrap_or_else(PoisonError::into_inner);
        let known = |address: &Address| current.iter().find(|known| known.address == *address);
        let mut chosen: Vec<&Address> = addresses.iter().collect();
        if chosen.len() > MAX_ADDRESSES {
            chosen.sort_by_key(|address| known(address).is_none());
            chosen.truncate(MAX_ADDRESSES);
        }
        if chosen.len() == current.len() && chosen.iter().all(|address| known(address).is_some()) {
            return false;
        }
        let destination =
            |address| known(address).map_or_else(|| Destination::new(address), Arc::clone);
        let next = chosen.into_iter().map(destination).collect();
        *current = next;
        self.epoch.fetch_add(1, Ordering::Release);
        true
    }

    /// One of its addresses was checked.
    pub fn count_check(&self, passed: bool) {
        let counter = if passed { &self.checks_passed } else { &self.checks_failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A look-up of its name failed; it keeps the addresses it has.
    pub fn count_look_up_failure(&self) {
        self.look_up_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections of all generations and shards that are open or being dialled.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether new connections may go there, as far as operators say.
    pub fn is_enabled(&self) -> bool {
        !self.disabled.load(Ordering::Relaxed)
    }

    pub fn set_enabled(&self, enabled: bool) {
        self.disabled.store(!enabled, Ordering::Relaxed);
    }

    /// The weight that an operator has given it.
    pub fn weight(&self) -> Option<u8> {
        Some(self.weight.load(Ordering::Relaxed)).filter(|weight| *weight > 0)
    }

    /// Gives it another weight than its configuration does, or that again.
    ///
    /// # Errors
    /// When it is not 1 to [`MAX_WEIGHT`].
    pub fn set_weight(&self, weight: Option<u8>) -> Result<(), String> {
        if weight.is_some_and(|weight| !(1..=MAX_WEIGHT).contains(&weight)) {
            return Err(format!("a weight is 1 to {MAX_WEIGHT}"));
        }
        self.weight.store(weight.unwrap_or_default(), Ordering::Relaxed);
        Ok(())
    }

    /// Everything that is counted.
    pub fn figures(&self) -> Figures {
        let destinations = self.destinations();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            connections: self.connections(),
            disabled: !self.is_enabled(),
            weight: self.weight(),
            addresses: destinations.len(),
            addresses_down: destinations.iter().filter(|one| one.health.is_down()).count(),
            addresses_left_out: self.left_out.load(Ordering::Relaxed),
            connect_failures: read(&self.connect_failures),
            ejections: read(&self.ejections),
            checks_passed: read(&self.checks_passed),
            checks_failed: read(&self.checks_failed),
            look_up_failures: read(&self.look_up_failures),
        }
    }
}

impl Destination {
    fn new(address: &Address) -> Arc<Self> {
        let key = hash::fnv(address.to_string().as_bytes());
        let (address, connections) = (address.clone(), AtomicU32::new(0));
        Arc::new(Self { address, health: Health::default(), connections, key })
    }

    /// The endpoint's connections to it that are open or being dialled.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A connection to an endpoint, counted for as long as this lives.
#[derive(Debug)]
pub struct Occupied {
    presence: Arc<Presence>,
    destination: Arc<Destination>,
}

impl Occupied {
    /// Where the connection goes.
    pub fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    pub(super) fn new(presence: &Arc<Presence>, destination: &Arc<Destination>) -> Self {
        presence.connections.fetch_add(1, Ordering::Relaxed);
        destination.connections.fetch_add(1, Ordering::Relaxed);
        Self { presence: Arc::clone(presence), destination: Arc::clone(destination) }
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.presence.connections.fetch_sub(1, Ordering::Relaxed);
        self.destination.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every endpoint that some generation still has, by the names of its group and its own.
#[derive(Clone, Debug, Default)]
pub struct Presences(Arc<Mutex<Known>>);

type Known = HashMap<(Arc<str>, Arc<str>), Weak<Presence>>;

impl Presences {
    /// The endpoint of this name, if a generation has it.
    pub fn get(&self, group: &str, endpoint: &str) -> Option<Arc<Presence>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(group.into(), endpoint.into())).and_then(Weak::upgrade)
    }

    /// Remembers an endpoint for as long as somebody has it.
    pub fn add(&self, group: &str, endpoint: &str, presence: &Arc<Presence>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, presence| presence.strong_count() > 0);
        known.insert((group.into(), endpoint.into()), Arc::downgrade(presence));
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::HealthSettings;
    use super::*;

    fn address(last: u8) -> Address {
        Address::Tcp(([192, 0, 2, last], 5060).into())
    }

    fn last_octets(presence: &Presence) -> Vec<String> {
        presence.destinations().iter().map(|one| one.address.to_string()).collect()
    }

    #[test]
    fn an_address_that_stays_keeps_its_health() {
        let presence = Presence::new(&[address(1), address(2)]);
        let settings = HealthSettings { fall: 1, ..HealthSettings::default() };
        presence.destinations()[1].health.record(false, &settings);
        assert!(presence.set_addresses(&[address(3), address(2)]));
        assert_eq!(presence.epoch(), 1);
        assert_eq!(last_octets(&presence), ["192.0.2.3:5060", "192.0.2.2:5060"]);
        let down: Vec<_> = presence.destinations().iter().map(|one| one.health.is_down()).collect();
        assert_eq!(down, [false, true]);
    }

    #[test]
    fn another_order_and_nothing_at_all_change_nothing() {
        let presence = Presence::new(&[address(1), address(2)]);
        assert!(!presence.set_addresses(&[address(2), address(1)]));
        assert!(!presence.set_addresses(&[]));
        assert_eq!(presence.epoch(), 0);
        assert!(presence.set_addresses(&[address(1)]));
    }

    #[test]
    fn addresses_have_a_limit() {
        let presence = Presence::new(&[address(200)]);
        let many: Vec<Address> = (0..100).map(address).collect();
        presence.set_addresses(&many);
        assert_eq!(presence.figures().addresses, MAX_ADDRESSES);
        assert_eq!(presence.figures().addresses_left_out, many.len() - MAX_ADDRESSES);
        let rotated: Vec<Address> = many.iter().rev().cloned().collect();
        assert!(!presence.set_addresses(&rotated), "those that are there stay");
        assert_eq!(Presence::new(&many).figures(), presence.figures());
        presence.set_addresses(&[address(3)]);
        assert_eq!(presence.figures().addresses_left_out, 0);
    }

    #[test]
    fn connections_are_counted_while_they_last() {
        let presence = Presence::new(&[address(1), address(2)]);
        let destinations = presence.destinations();
        let counts = || {
            let [one, two] = [0, 1].map(|at: usize| destinations[at].connections());
            [presence.connections(), one, two]
        };
        let first = Occupied::new(&presence, &destinations[0]);
        let second = Occupied::new(&presence, &destinations[1]);
        assert_eq!(counts(), [2, 1, 1]);
        drop(first);
        assert_eq!(counts(), [1, 0, 1]);
        drop(second);
        assert_eq!(counts(), [0, 0, 0]);
    }

    #[test]
    fn an_endpoint_is_known_for_as_long_as_somebody_has_it() {
        let presences = Presences::default();
        let presence = Presence::new(&[address(1)]);
        presences.add("sip", "a", &presence);
        let known = presences.get("sip", "a").expect("it lives");
        assert!(Arc::ptr_eq(&known, &presence));
        assert!(presences.get("web", "a").is_none() && presences.get("sip", "b").is_none());
        drop((known, presence));
        assert!(presences.get("sip", "a").is_none());
        presences.add("sip", "b", &Presence::new(&[address(2)]));
        assert_eq!(presences.0.lock().expect("no panics").len(), 1, "what is gone is swept out");
    }
}
