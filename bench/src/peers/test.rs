//! The measurements: what one sample of each does, and at which listener.

use clap::ValueEnum;
use serde::Serialize;
use tlsgate_bench::client::{Shown, TlsPlan, TlsVersion, Trust, Workload};

use super::target::Identities;
use crate::measure::load::{Unit, download, handshakes, round_trips, tls, upload};
use crate::measure::rounds::Measurement;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Test {
    /// TLS 1.3, full handshake, a 100-byte echo, close.
    Full13,
    /// TLS 1.3, the same with a resumed handshake.
    Resumed13,
    /// TLS 1.2, full handshake.
    Full12,
    /// TLS 1.2, resumed handshake.
    Resumed12,
    /// TLS 1.3, full handshake with an RSA certificate of 2,048 bits.
    Rsa13,
    /// TLS 1.2, full handshake with an RSA certificate of 2,048 bits.
    Rsa12,
    /// TLS 1.3, full handshake with certificates on both sides.
    Mutual13,
    /// TLS 1.3, resumed handshake of a session with certificates on both sides.
    MutualResumed13,
    /// TLS 1.3, full handshake with X25519MLKEM768.
    Mlkem13,
    /// 100-byte round trips over 1 connection.
    #[value(name = "round-trips-1")]
    #[serde(rename = "round-trips-1")]
    RoundTrips1,
    /// 100-byte round trips over 50 connections.
    #[value(name = "round-trips-50")]
    #[serde(rename = "round-trips-50")]
    RoundTrips50,
    /// 100-byte round trips over 1,000 connections.
    #[value(name = "round-trips-1000")]
    #[serde(rename = "round-trips-1000")]
    RoundTrips1000,
    /// Bulk from backend to client.
    Down,
    /// Bulk from client to backend.
    Up,
    /// As TLS's client: connection in plaintext, full handshake with the component, echo, close.
    OriginateFull,
    /// As TLS's client: 100-byte round trips over 50 connections.
    OriginateRoundTrips,
    /// As TLS's client: bulk from component to client.
    OriginateDown,
    /// As TLS's client: bulk from client to component.
    OriginateUp,
    /// Through both ends of a pair: plaintext, mutual TLS 1.3, plaintext; a full handshake.
    PairFull,
    /// Through both ends of a pair: 100-byte round trips over 50 connections.
    PairRoundTrips,
    /// Through both ends of a pair: bulk from backend to client.
    PairDown,
    /// Through both ends of a pair: bulk from client to backend.
    PairUp,
}

/// A listener of every server, and what it does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Ends TLS, with an ECDSA certificate.
    Server,
    /// Ends TLS, with an RSA certificate.
    Rsa,
    /// Ends TLS, and wants a certificate of the client.
    Mutual,
    /// Begins TLS.
    Originate,
    /// Begins mutual TLS towards [`Role::PairExit`] of the same server.
    PairEntry,
    PairExit,
}

impl Role {
    pub(crate) const ALL: [Self; 6] =
        [Self::Server, Self::Rsa, Self::Mutual, Self::Originate, Self::PairEntry, Self::PairExit];
}

impl Test {
    pub(crate) const ALL: [Self; 22] = [
        Self::Full13,
        Self::Resumed13,
        Self::Full12,
        Self::Resumed12,
        Self::Rsa13,
        Self::Rsa12,
        Self::Mutual13,
        Self::MutualResumed13,
        Self::Mlkem13,
        Self::RoundTrips1,
        Self::RoundTrips50,
        Self::RoundTrips1000,
        Self::Down,
        Self::Up,
        Self::OriginateFull,
        Self::OriginateRoundTrips,
        Self::OriginateDown,
        Self::OriginateUp,
        Self::PairFull,
        Self::PairRoundTrips,
        Self::PairDown,
        Self::PairUp,
    ];

    pub(crate) fn role(self) -> Role {
        match self {
            Self::Rsa13 | Self::Rsa12 => Role::Rsa,
            Self::Mutual13 | Self::MutualResumed13 => Role::Mutual,
            Self::OriginateFull
            | Self::OriginateRoundTrips
            | Self::OriginateDown
            | Self::OriginateUp => Role::Originate,
            Self::PairFull | Self::PairRoundTrips | Self::PairDown | Self::PairUp => {
                Role::PairEntry
            }
            _ => Role::Server,
        }
    }

    pub(crate) fn version(self) -> TlsVersion {
        match self {
            Self::Full12 | Self::Resumed12 | Self::Rsa12 => TlsVersion::V12,
            _ => TlsVersion::V13,
        }
    }

    /// What the client offers; nothing where it speaks plaintext. Where handshakes are counted, the server
    /// is to be their limit, and not the client that shares a CPU with the backend.
    pub(crate) fn tls(self, identities: &Identities) -> Option<TlsPlan> {
        let plan = self.offer(identities)?;
        Some(match self.unit() {
            Unit::Handshake => TlsPlan { trust: Trust::Careless, ..plan },
            Unit::Gigabyte | Unit::RoundTrip => plan,
        })
    }

    fn offer(self, identities: &Identities) -> Option<TlsPlan> {
        let Identities { ecdsa, rsa, client } = identities;
        let plan = tls(self.version(), &ecdsa.ca_pem);
        match self.role() {
            Role::Originate | Role::PairEntry | Role::PairExit => None,
            Role::Rsa => {
                let suites = plan.suites.iter().map(|name| name.replace("ECDSA", "RSA")).collect();
                Some(TlsPlan { suites, ..tls(self.version(), &rsa.ca_pem) })
            }
            Role::Mutual => {
                let (certificate, key) = (client.certificate.clone(), client.key.clone());
                Some(TlsPlan { shown: Some(Shown { certificate, key }), ..plan })
            }
            Role::Server if self == Self::Mlkem13 => {
                Some(TlsPlan { groups: vec!["X25519MLKEM768".to_owned()], ..plan })
            }
            Role::Server => Some(plan),
        }
    }

    /// Whether a figure without TLS says something about it: a relay, or the client alone, does the
    /// same in plaintext.
    pub(crate) fn has_plaintext_form(self) -> bool {
        !matches!(self.role(), Role::Originate | Role::PairEntry | Role::PairExit)
    }

    /// The test that shares its plaintext form, so that it is measured once.
    pub(crate) fn plaintext(self) -> Self {
        match self.unit() {
            Unit::Handshake => Self::Full13,
            _ => self,
        }
    }
}

impl Measurement for Test {
    fn name(self) -> &'static str {
        match self {
            Self::Full13 => "TLS 1.3 full handshake",
            Self::Resumed13 => "TLS 1.3 resumed handshake",
            Self::Full12 => "TLS 1.2 full handshake",
            Self::Resumed12 => "TLS 1.2 resumed handshake",
            Self::Rsa13 => "TLS 1.3 full handshake, RSA-2048",
            Self::Rsa12 => "TLS 1.2 full handshake, RSA-2048",
            Self::Mutual13 => "TLS 1.3 full handshake, mutual",
            Self::MutualResumed13 => "TLS 1.3 resumed handshake, mutual",
            Self::Mlkem13 => "TLS 1.3 full handshake, X25519MLKEM768",
            Self::RoundTrips1 => "round trips, 1 connection",
            Self::RoundTrips50 => "round trips, 50 connections",
            Self::RoundTrips1000 => "round trips, 1,000 connections",
            Self::Down => "bulk, backend to client",
            Self::Up => "bulk, client to backend",
            Self::OriginateFull => "originate: full handshake",
            Self::OriginateRoundTrips => "originate: round trips, 50 connections",
            Self::OriginateDown => "originate: bulk, component to client",
            Self::OriginateUp => "originate: bulk, client to component",
            Self::PairFull => "pair: full handshake",
            Self::PairRoundTrips => "pair: round trips, 50 connections",
            Self::PairDown => "pair: bulk, backend to client",
            Self::PairUp => "pair: bulk, client to backend",
        }
    }

    fn unit(self) -> Unit {
        Unit::of(self.load().0)
    }

    fn load(self) -> (Workload, usize) {
        match self {
            Self::Full13 | Self::Full12 | Self::Rsa13 | Self::Rsa12 => handshakes(false),
            Self::Mutual13 | Self::Mlkem13 => handshakes(false),
            // Who begins TLS may resume: both ends are told not to.
            Self::OriginateFull | Self::PairFull => handshakes(false),
            Self::Resumed13 | Self::Resumed12 | Self::MutualResumed13 => handshakes(true),
            Self::RoundTrips1 => round_trips(1),
            Self::RoundTrips50 | Self::OriginateRoundTrips | Self::PairRoundTrips => {
                round_trips(50)
            }
            Self::RoundTrips1000 => round_trips(1000),
            Self::Down | Self::OriginateDown | Self::PairDown => download(),
            Self::Up | Self::OriginateUp | Self::PairUp => upload(),
        }
    }
}
