//! What holds for a connection: looked up once it is known where it came in and what it asked for.
//!
//! A [`Policy`] is compiled from the configuration, immutable, and shared by all shards. A
//! connection keeps the part it was admitted under for its whole life.

mod decide;
pub mod explain;
pub mod rules;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::model::{ConnectWhen, Keepalive, ProxyIn, ProxyOut, Timeouts};
use crate::tls::hello::Hello;
use crate::tls::lane::{Choice, NoLane};
use crate::tls::{ClientProfile, ServerProfile};
use crate::upstream::Group;
pub use decide::{Outcome, Rules};
pub use explain::Heard;
use rules::{Facts, Version};

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
    /// The header that connections begin with, before all that `downstream` says.
    pub proxy_in: Option<ProxyIn>,
    /// Whether any route has a `proxy_out`.
    pub introduces: bool,
    pub timeouts: Timeouts,
    /// For the upstream's socket; the downstream's has it from its listener.
    pub keepalive: Keepalive,
    /// Where connections can go; the first is for those that no rule says anything else of.
    pub routes: Vec<Arc<Route>>,
    pub rules: Arc<Rules>,
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
    /// Present where the component is spoken to in TLS of ours.
    pub upstream_tls: Option<ClientProfile>,
    pub connect: ConnectWhen,
    /// What the component is sent before anything else.
    pub proxy_out: Option<ProxyOut>,
    pub upstreams: Arc<Group>,
}

/// Where a connection goes, as far as that is known.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'a> {
    Follow(&'a Arc<Route>),
    /// A rule turns it away.
    Deny,
}

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In this lane.
    Admit(Choice),
    /// No lane is open to it.
    NoLane(NoLane),
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
        // Rules without upstreams of their own share those of their listener.
        groups.dedup_by_key(|(position, _)| *position);
        debug_assert!((0..).zip(&groups).all(|(at, (position, _))| at == *position));
        groups.into_iter().map(|(_, group)| group).collect()
    }
}

impl ListenerPolicy {
    /// Whether peers may take the legacy lane, whatever their route.
    pub fn has_legacy_lane(&self) -> bool {
        self.routes
            .iter()
            .any(|route| route.tls.as_ref().is_some_and(ServerProfile::has_legacy_lane))
    }

    /// Whether a peer may say where its connections are from; `None` came by a unix socket.
    pub fn believes(&self, peer: Option<IpAddr>) -> bool {
        let trusted = self.proxy_in.iter().flat_map(|proxy| &proxy.trusted);
        trusted.into_iter().any(|one| match (one, peer) {
            (Some(range), Some(peer)) => range.contains(peer),
            (None, None) => true,
            _ => false,
        })
    }
}

/// What rules may ask of a peer that says `hello`.
pub fn facts<'a>(source: Option<IpAddr>, hello: &Hello<'a>) -> Facts<'a> {
    let version = match (hello.offers_tls13(), hello.offers_tls12()) {
        (true, _) => Some(Version::Tls13),
        (_, true) => Some(Version::Tls12),
        _ if hello.versions.contains(0x0302) => Some(Version::Tls11),
        _ if hello.versions.contains(0x0301) => Some(Version::Tls10),
        _ => None,
    };
    let sni = hello.sni.and_then(|sni| sni.dns_name());
    Facts { source, sni, alpn: hello.alpn, version, client: None }
}

impl Route {
    /// The verdict over one connection whose TLS would end here.
    pub fn admit(&self, hello: &Hello<'_>, source: Option<IpAddr>) -> Verdict {
        let Some(tls) = &self.tls else { return Verdict::Admit(Choice::default()) };
        let choice = match tls.choose(hello, source) {
            Ok(choice) => choice,
            Err(why) => return Verdict::NoLane(why),
        };
        if !self.recognizes(hello.sni.and_then(|sni| sni.dns_name())) {
            return Verdict::UnrecognizedName;
        }
        match self.allows_upstream(source) {
            Ok(()) => Verdict::Admit(choice),
            Err(why) => Verdict::NoLane(why),
        }
    }

    /// Whether the component may be spoken to for a client from there.
    ///
    /// # Errors
    /// Why the lane that it takes is not open.
    pub fn allows_upstream(&self, source: Option<IpAddr>) -> Result<(), NoLane> {
        self.upstream_tls.as_ref().map_or(Ok(()), |tls| tls.allows(source))
    }

    /// Whether a peer may ask for this name, or for none.
    pub fn recognizes(&self, name: Option<&str>) -> bool {
        let Some(tls) = self.tls.as_ref().filter(|tls| tls.strict_sni()) else { return true };
        name.is_some_and(|name| tls.covers(name))
    }
}
