//! What holds for a connection: looked up once it is known where it came in and what it asked for.
//!
//! A [`Policy`] is compiled from the configuration, immutable, and shared by all shards. A
//! connection keeps the part it was admitted under for its whole life.

pub mod rules;

use std::sync::Arc;

use crate::config::model::{ConnectWhen, Keepalive, Timeouts};
use crate::engine::Address;
use crate::tls::ServerProfile;

/// Every listener's policy, by its position in the configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Counts the configurations that this process has run, from 1.
    pub generation: u64,
    pub listeners: Vec<Arc<ListenerPolicy>>,
}

/// What a listener does with its connections.
#[derive(Debug)]
pub struct ListenerPolicy {
    /// Generation of the policy it belongs to.
    pub generation: u64,
    /// Position in [`Policy::listeners`].
    pub position: usize,
    /// Names the listener in telemetry: the same for the same name, for the life of the process.
    pub index: usize,
    pub name: Arc<str>,
    pub tls: ServerProfile,
    pub connect: ConnectWhen,
    pub timeouts: Timeouts,
    /// For the upstream's socket; the downstream's has it from its listener.
    pub keepalive: Keepalive,
    /// At least one.
    pub upstreams: Vec<Address>,
    /// The same as text, for the log.
    pub upstream_names: Vec<Arc<str>>,
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

impl ListenerPolicy {
    /// The verdict over one connection.
    pub fn lookup(&self, facts: &Facts<'_>) -> Verdict {
        if !self.tls.speaks(facts.tls12, facts.tls13) {
            return Verdict::VersionMismatch;
        }
        match facts.server_name {
            Some(name) if self.tls.strict_sni() && !self.tls.covers(name) => {
                Verdict::UnrecognizedName
            }
            None if self.tls.strict_sni() => Verdict::UnrecognizedName,
            _ => Verdict::Admit,
        }
    }
}
