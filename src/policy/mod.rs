//! What holds for a connection: looked up once it is known where it came in and what it asked for.
//!
//! A [`Policy`] is compiled from the configuration, immutable, and shared by all shards. A
//! connection keeps the part it was admitted under for its whole life.

pub mod rules;

use std::sync::Arc;

use crate::config::model::{ConnectWhen, Keepalive, Timeouts};
use crate::tls::ServerProfile;
use crate::upstream::Group;

/// Every listener's policy, by its position in the configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Counts the configurations that this process has run, from 1.
    pub generation: u64,
    pub listeners: Vec<Arc<ListenerPolicy>>,
}

/// What a listener does with its connections.
#[derive(Clone, Debug)]
pub struct ListenerPolicy {
    /// Generation of the policy it belongs to.
    pub generation: u64,
    /// Position in [`Policy::listeners`].
    pub position: usize,
    /// Names the listener in telemetry: the same for the same name, for the life of the process.
    pub index: usize,
    pub name: Arc<str>,
    pub downstream: Downstream,
    pub timeouts: Timeouts,
    /// For the upstream's socket; the downstream's has it from its listener.
    pub keepalive: Keepalive,
    /// Where connections can go; the first is for those that no rule says anything else of.
    pub routes: Vec<Arc<Route>>,
}

/// What the peers of a listener speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downstream {
    /// TLS that ends here.
    Tls,
    /// Bytes that are relayed as they come.
    Plaintext,
    /// Either of them: the first byte tells which.
    Detect,
    /// TLS that is relayed unread, to where its SNI belongs.
    Passthrough,
}

/// What happens to the connections of one route: its two sides.
#[derive(Clone, Debug)]
pub struct Route {
    /// The rule's, or the listener's own.
    pub name: Arc<str>,
    /// Position among all routes of the policy: what is learnt about its upstreams goes by it.
    pub group: usize,
    /// Present where TLS may end here.
    pub tls: Option<ServerProfile>,
    pub connect: ConnectWhen,
    pub upstreams: Arc<Group>,
}

/// What is known about a connection once its ClientHello was read.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// SNI, when it is a DNS name.
    pub server_name: Option<&'a str>,
    /// Versions that the peer offers.
    pub tls12: bool,
    pub tls13: bool,
}

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admit,
    /// None of the offered versions is enabled here.
    VersionMismatch,
    /// The name is none of ours and `strict_sni` is on.
    UnrecognizedName,
}

impl Policy {
    /// The upstreams of every route, by [`Route::group`].
    pub fn groups(&self) -> Vec<Arc<Group>> {
        let routes = self.listeners.iter().flat_map(|listener| &listener.routes);
        let mut groups: Vec<_> =
            routes.map(|route| (route.group, Arc::clone(&route.upstreams))).collect();
        groups.sort_by_key(|(position, _)| *position);
        debug_assert!((0..).zip(&groups).all(|(at, (position, _))| at == *position));
        groups.into_iter().map(|(_, group)| group).collect()
    }
}

impl ListenerPolicy {
    /// The route of connections of which nothing is known yet.
    pub fn route(&self) -> &Arc<Route> {
        self.routes.first().expect("a listener has a route of its own")
    }
}

impl Route {
    /// The verdict over one connection whose TLS would end here.
    pub fn admit(&self, facts: &Facts<'_>) -> Verdict {
        let Some(tls) = &self.tls else { return Verdict::Admit };
        if !tls.speaks(facts.tls12, facts.tls13) {
            return Verdict::VersionMismatch;
        }
        match facts.server_name {
            Some(name) if tls.strict_sni() && !tls.covers(name) => Verdict::UnrecognizedName,
            None if tls.strict_sni() => Verdict::UnrecognizedName,
            _ => Verdict::Admit,
        }
    }
}
