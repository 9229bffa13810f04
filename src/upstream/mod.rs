//! Which endpoint to dial, at which of its addresses, and how long to wait for it.
//!
//! Each shard keeps its own picture, learnt from its own connections ([`ejection`]); what checks
//! found out ([`health`]) and how many connections an endpoint has ([`presence`]) is shared. An
//! endpoint is up when neither says that all its addresses are down. Backups are for when no primary
//! is up; when nothing is, everything is tried, and given less time to answer. Where a connection to
//! it comes from is chosen with it ([`sources`]).

mod balance;
mod ejection;
pub mod group;
pub mod hash;
pub mod health;
pub mod local_ports;
pub mod lookout;
pub mod presence;
mod probe;
pub mod resolver;
pub mod settings;
pub mod sources;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::Source;
use crate::time::Time;
use balance::{Balancer, Set};
use ejection::Ejection;
pub use group::{Endpoint, Group, Probe};
pub use lookout::Lookout;
pub use presence::{Destination, Destinations, Figures, Occupied, Presence, Presences};
pub use resolver::{Name, Resolver};
use settings::MAX_ENDPOINTS;
pub use settings::{Balance, BalanceSettings, HealthSettings, Role, SourceSettings};
use sources::{Reach, Sources, Tried};

/// The endpoints of every route of one policy, as this shard sees them.
#[derive(Debug)]
pub struct Upstreams {
    groups: Vec<GroupState>,
    seed: u64,
}

#[derive(Debug)]
struct GroupState {
    group: Arc<Group>,
    /// By position in the group.
    seen: Vec<Rc<RefCell<Seen>>>,
    balancer: Balancer,
    sources: Sources,
}

/// What this shard knows about an endpoint; generations share it.
#[derive(Debug)]
struct Seen {
    /// Of the endpoint, when its destinations were read.
    epoch: u32,
    destinations: Destinations,
    /// Of each destination.
    ejections: Vec<Ejection>,
    /// Where to go on among them.
    next: usize,
}

/// What a connection asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whom it is for; `None` for one that came by a unix socket.
    pub client: Option<SocketAddr>,
    /// How long an endpoint that is not known to be down may take to answer.
    pub patience: Duration,
    /// What it has tried already.
    pub tried: &'a Attempts,
}

/// An endpoint to dial.
#[derive(Debug)]
pub struct Choice {
    /// Position in the group.
    pub endpoint: usize,
    pub destination: Arc<Destination>,
    /// How long to wait until it is connected.
    pub timeout: Duration,
    /// Where to dial from.
    pub source: Source,
    /// The sources that were tried for it, this one included.
    sources: Tried,
    /// To be kept for as long as the connection to it lasts.
    pub occupied: Occupied,
}

/// What a connection has tried in vain.
#[derive(Debug, Default)]
pub struct Attempts {
    failed: Vec<Arc<Destination>>,
    /// The endpoint that was tried last.
    endpoint: usize,
    count: usize,
    /// The last attempt, if only its source failed.
    stranded: Option<Stranded>,
}

/// A destination that another source may lead to.
#[derive(Debug)]
struct Stranded {
    endpoint: usize,
    destination: Arc<Destination>,
    sources: Tried,
    /// What is left of its time.
    patience: Duration,
}

impl Upstreams {
    /// Nothing known yet about any endpoint of these groups; a group's position is its index. The
    /// seed decides what is drawn, and where to begin: shards have different ones.
    pub fn new(groups: Vec<Arc<Group>>, seed: u64) -> Self {
        Self::with(groups, seed, &HashMap::new())
    }

    /// The groups of the next policy. What is known about endpoints that stay goes along.
    pub fn next(&self, groups: Vec<Arc<Group>>) -> Self {
        let endpoints = self.groups.iter().flat_map(|state| {
            let presences = state.group.endpoints.iter().map(|endpoint| &endpoint.presence);
            presences.map(Arc::as_ptr).zip(&state.seen)
        });
        Self::with(groups, self.seed, &endpoints.collect())
    }

    fn with(
        groups: Vec<Arc<Group>>,
        seed: u64,
        known: &HashMap<*const Presence, &Rc<RefCell<Seen>>>,
    ) -> Self {
        let seen = |endpoint: &Endpoint| match known.get(&Arc::as_ptr(&endpoint.presence)) {
            Some(seen) => Rc::clone(seen),
            None => Rc::new(RefCell::new(Seen::new(&endpoint.presence))),
        };
        let state = |(index, group): (u64, Arc<Group>)| {
            let count = group.endpoints.len();
            assert!(
                (1..=MAX_ENDPOINTS).contains(&count),
                "a list of upstreams is neither empty nor long"
            );
            let seen = group.endpoints.iter().map(seen).collect();
            let balancer = Balancer::new(count, seed.wrapping_add(index << 32));
            let sources = Sources::new(group.source.clone());
            GroupState { group, seen, balancer, sources }
        };
        Self { groups: (0..).zip(groups).map(state).collect(), seed }
    }

    /// Where a connection goes, in the group of this index. `None` when there is no source for it,
    /// when it has tried everything, or [`MAX_ATTEMPTS`] times.
    pub fn choose(&mut self, group: usize, request: &Request<'_>, now: Time) -> Option<Choice> {
        self.groups[group].choose(request, now)
    }

    /// The source of an attempt had no port left.
    pub fn report_used_up(&mut self, group: usize, choice: &Choice, now: Time) {
        let sources = &mut self.groups[group].sources;
        sources.report_used_up(choice.source, &choice.destination.address, now);
    }

    /// Learns from an attempt.
    pub fn report(
        &mut self,
        group: usize,
        endpoint: usize,
        destination: &Arc<Destination>,
        up: bool,
        now: Time,
    ) {
        let GroupState { group, seen, .. } = &self.groups[group];
        let presence = &group.endpoints[endpoint].presence;
        if !up {
            presence.connect_failures.fetch_add(1, Ordering::Relaxed);
        }
        let seen = &mut *seen[endpoint].borrow_mut();
        let mut known = seen.destinations.iter().zip(&mut seen.ejections);
        // The name may have other addresses by now.
        let Some((_, ejection)) = known.find(|(known, _)| Arc::ptr_eq(known, destination)) else {
            return;
        };
        if up {
            ejection.succeed();
        } else if ejection.fail(&group.balance, destination.health.proofs(), now) {
            presence.ejections.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Attempts {
    /// An address did not connect.
    pub fn add(&mut self, endpoint: usize, destination: Arc<Destination>) {
        self.failed.push(destination);
        self.endpoint = endpoint;
        self.count += 1;
        self.stranded = None;
    }

    /// A source did not lead to an address, which another one may do within `patience`.
    pub fn add_source(&mut self, failed: &Choice, patience: Duration) {
        let Choice { endpoint, destination, sources, .. } = failed;
        self.add(*endpoint, Arc::clone(destination));
        let destination = Arc::clone(destination);
        let (endpoint, sources) = (*endpoint, *sources);
        self.stranded = Some(Stranded { endpoint, destination, sources, patience });
    }

    fn has(&self, destination: &Arc<Destination>) -> bool {
        self.failed.iter().any(|failed| Arc::ptr_eq(failed, destination))
    }

    /// The endpoint that was tried last, if there was one.
    fn last(&self) -> Option<usize> {
        (!self.failed.is_empty()).then_some(self.endpoint)
    }
}

impl GroupState {
    fn choose(&mut self, request: &Request<'_>, now: Time) -> Option<Choice> {
        if request.tried.count >= MAX_ATTEMPTS {
            return None;
        }
        if let Some(choice) = self.with_another_source(request, now) {
            return Some(choice);
        }
        let reach = self.sources.reach(request.client);
        let (candidates, are_up) = self.candidates(request.tried, reach, now)?;
        let from = request.client.map(|client| client.ip());
        let endpoints = &self.group.endpoints;
        // The other addresses of an endpoint come before other endpoints.
        let position = match request.tried.last().filter(|last| candidates.has(*last)) {
            Some(last) => last,
            None => {
                let policy = self.group.balance.policy;
                self.balancer.pick(policy, endpoints, candidates, from)
            }
        };
        let is_hashed = self.group.balance.policy == Balance::SourceHash;
        let from = from.filter(|_| is_hashed);
        let mut seen = self.seen[position].borrow_mut();
        let at = seen.pick(request.tried, reach, are_up, from, now)?;
        let destination = Arc::clone(&seen.destinations[at]);
        let is_known_down = seen.ejections[at].is_known_down(destination.health.proofs());
        let is_short = !are_up || is_known_down;
        let timeout = request.patience;
        let timeout = if is_short { timeout.min(TIMEOUT_WHEN_DOWN) } else { timeout };
        if are_up && is_known_down {
            seen.ejections[at].try_once(timeout, now);
        }
        drop(seen);
        self.choice(position, destination, (Tried::default(), timeout), request, now)
    }

    /// The destination of the last attempt, if only its source failed and there are others.
    fn with_another_source(&mut self, request: &Request<'_>, now: Time) -> Option<Choice> {
        let Stranded { endpoint, destination, sources, patience } =
            request.tried.stranded.as_ref()?;
        let destination = Arc::clone(destination);
        self.choice(*endpoint, destination, (*sources, *patience), request, now)
    }

    /// `None` when there is no source that was not tried.
    fn choice(
        &mut self,
        endpoint: usize,
        destination: Arc<Destination>,
        (mut tried, timeout): (Tried, Duration),
        request: &Request<'_>,
        now: Time,
    ) -> Option<Choice> {
        let address = &destination.address;
        let source = self.sources.choose(address, request.client, &mut tried, now)?;
        let occupied = Occupied::new(&self.group.endpoints[endpoint].presence, &destination);
        Some(Choice { endpoint, destination, timeout, source, sources: tried, occupied })
    }

    /// The endpoints to choose from, and whether they are up: primaries that are, else backups that
    /// are, else primaries, else backups. `None` when all that are within reach were tried.
    fn candidates(&self, tried: &Attempts, reach: Reach, now: Time) -> Option<(Set, bool)> {
        let [mut up, mut untried] = [[Set::default(); 2]; 2];
        let enabled = |(_, endpoint): &(usize, &Endpoint)| endpoint.presence.is_enabled();
        for (position, endpoint) in self.group.endpoints.iter().enumerate().filter(enabled) {
            let seen = &mut *self.seen[position].borrow_mut();
            seen.refresh(&endpoint.presence);
            let role = usize::from(endpoint.role == Role::Backup);
            if seen.has(tried, reach, true, now) {
                up[role].add(position);
            }
            if seen.has(tried, reach, false, now) {
                untried[role].add(position);
            }
        }
        let [primaries, backups] = up;
        let order = [(primaries, true), (backups, true), (untried[0], false), (untried[1], false)];
        order.into_iter().find(|(set, _)| !set.is_empty())
    }
}

impl Seen {
    fn new(presence: &Presence) -> Self {
        let epoch = presence.epoch();
        let destinations = presence.destinations();
        let ejections = vec![Ejection::default(); destinations.len()];
        Self { epoch, destinations, ejections, next: 0 }
    }

    /// Follows the endpoint when its name has other addresses.
    fn refresh(&mut self, presence: &Presence) {
        if self.epoch == presence.epoch() {
            return;
        }
        let mut seen = Self::new(presence);
        for (destination, ejection) in seen.destinations.iter().zip(&mut seen.ejections) {
            let mut known = self.destinations.iter().zip(&self.ejections);
            let known = known.find(|(known, _)| Arc::ptr_eq(known, destination));
            *ejection = known.map(|(_, ejection)| ejection.clone()).unwrap_or_default();
        }
        *self = seen;
    }

    /// Whether a connection may go there, or only if it `must_be_up`.
    fn may(&self, at: usize, tried: &Attempts, reach: Reach, must_be_up: bool, now: Time) -> bool {
        let destination = &self.destinations[at];
        let health = &destination.health;
        let is_up = !health.is_down() && !self.ejections[at].stands(health.proofs(), now);
        (is_up || !must_be_up) && !tried.has(destination) && reach.has(&destination.address)
    }

    fn has(&self, tried: &Attempts, reach: Reach, must_be_up: bool, now: Time) -> bool {
        (0..self.destinations.len()).any(|at| self.may(at, tried, reach, must_be_up, now))
    }

    /// The next address in turn, or the one that a source belongs to.
    fn pick(
        &mut self,
        tried: &Attempts,
        reach: Reach,
        must_be_up: bool,
        source: Option<IpAddr>,
        now: Time,
    ) -> Option<usize> {
        let count = self.destinations.len();
        let in_turn = (0..count).map(|step| (self.next + step) % count);
        let mut possible = in_turn.filter(|at| self.may(*at, tried, reach, must_be_up, now));
        let chosen = match source.map(hash::source) {
            Some(source) => {
                possible.max_by_key(|at| hash::score(self.destinations[*at].key, 1, source))
            }
            None => possible.next(),
        }?;
        self.next = (chosen + 1) % count;
        Some(chosen)
    }
}

/// Attempts of one connection, at as many addresses or from other sources.
pub const MAX_ATTEMPTS: usize = 64;
/// Known to be down, an upstream must look down within a second.
const TIMEOUT_WHEN_DOWN: Duration = Duration::from_millis(900);
