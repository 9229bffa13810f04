//! The measurements: what one sample of each does, and its unit.

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tlsgate_bench::client::{Pace, Plan, Stop, TlsPlan, TlsVersion, Trust, Workload};

use super::identity::SERVER_NAME;
use super::rounds::Measurement;

/// Connections at a time of handshake and bulk measurements.
pub(crate) const HANDSHAKES_AT_A_TIME: usize = 32;
pub(crate) const BULK_CONNECTIONS: usize = 4;
pub(crate) const BODY: u64 = 16 << 20;
pub(crate) const MESSAGE: u64 = 100;
const TIMEOUT: Duration = Duration::from_secs(10);

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
    /// Bulk from backend to client.
    Down,
    /// Bulk from client to backend.
    Up,
    /// 100-byte round trips over 50 connections.
    #[value(name = "round-trips-50")]
    #[serde(rename = "round-trips-50")]
    RoundTrips50,
    /// 100-byte round trips over 1,000 connections.
    #[value(name = "round-trips-1000")]
    #[serde(rename = "round-trips-1000")]
    RoundTrips1000,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Handshake,
    Gigabyte,
    RoundTrip,
}

impl Unit {
    /// How the cost of one is quoted.
    pub(crate) fn cost(self) -> &'static str {
        match self {
            Self::Handshake => "CPU µs per handshake",
            Self::Gigabyte => "CPU ms per GB",
            Self::RoundTrip => "CPU µs per round trip",
        }
    }

    /// CPU time per unit in the unit of [`Self::cost`].
    pub(crate) fn quote(self, cpu: Duration, units: f64) -> f64 {
        let scale = if self == Self::Gigabyte { 1e3 } else { 1e6 };
        cpu.as_secs_f64() * scale / units
    }
}

impl Test {
    pub(crate) const ALL: [Self; 8] = [
        Self::Full13,
        Self::Resumed13,
        Self::Full12,
        Self::Resumed12,
        Self::Down,
        Self::Up,
        Self::RoundTrips50,
        Self::RoundTrips1000,
    ];

    pub(crate) fn version(self) -> TlsVersion {
        match self {
            Self::Full12 | Self::Resumed12 => TlsVersion::V12,
            _ => TlsVersion::V13,
        }
    }

    /// Whether the client can do the same without TLS; resuming it cannot, and full handshakes of
    /// one version are enough.
    pub(crate) fn has_plaintext_form(self) -> bool {
        !matches!(self, Self::Resumed13 | Self::Full12 | Self::Resumed12)
    }
}

impl Measurement for Test {
    fn name(self) -> &'static str {
        match self {
            Self::Full13 => "TLS 1.3 full handshake",
            Self::Resumed13 => "TLS 1.3 resumed handshake",
            Self::Full12 => "TLS 1.2 full handshake",
            Self::Resumed12 => "TLS 1.2 resumed handshake",
            Self::Down => "bulk, backend to client",
            Self::Up => "bulk, client to backend",
            Self::RoundTrips50 => "round trips, 50 connections",
            Self::RoundTrips1000 => "round trips, 1,000 connections",
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::Full13 | Self::Resumed13 | Self::Full12 | Self::Resumed12 => Unit::Handshake,
            Self::Down | Self::Up => Unit::Gigabyte,
            Self::RoundTrips50 | Self::RoundTrips1000 => Unit::RoundTrip,
        }
    }

    fn load(self) -> (Workload, usize) {
        let handshakes = |resumed| (Workload::Handshakes { resumed }, HANDSHAKES_AT_A_TIME);
        let messages = Workload::Messages { size: MESSAGE, per_connection_rate: None };
        match self {
            Self::Full13 | Self::Full12 => handshakes(false),
            Self::Resumed13 | Self::Resumed12 => handshakes(true),
            Self::Down => (Workload::BulkDown { bytes: BODY }, BULK_CONNECTIONS),
            Self::Up => (Workload::BulkUp { bytes: BODY }, BULK_CONNECTIONS),
            Self::RoundTrips50 => (messages, 50),
            Self::RoundTrips1000 => (messages, 1000),
        }
    }
}

/// A plan for one thread on `cpu`.
pub(crate) fn plan(
    target: SocketAddr,
    tls: Option<TlsPlan>,
    (workload, concurrency): (Workload, usize),
    stop: Stop,
    cpu: usize,
) -> Plan {
    Plan {
        target,
        tls,
        workload,
        pace: Pace::Closed { concurrency },
        stop,
        timeout: TIMEOUT,
        threads: 1,
        cpus: vec![cpu],
    }
}

/// The one suite and key exchange that every target is measured with.
pub(crate) fn tls(version: TlsVersion, ca_pem: &str) -> TlsPlan {
    let suite = match version {
        TlsVersion::V13 => "TLS_AES_128_GCM_SHA256",
        _ => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    };
    TlsPlan {
        version,
        server_name: SERVER_NAME.to_owned(),
        trust: Trust::CaPem(ca_pem.to_owned()),
        alpn: Vec::new(),
        suites: vec![suite.to_owned()],
        // A TLS 1.2 server with a P-256 certificate also looks for that curve here (RFC 8422 5.1).
        groups: vec!["X25519".to_owned(), "P-256".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_in_the_unit_that_is_quoted() {
        let cpu = Duration::from_millis(500);
        assert!((Unit::Gigabyte.quote(cpu, 2.0) - 250.0).abs() < 1e-9);
        assert!((Unit::RoundTrip.quote(cpu, 50_000.0) - 10.0).abs() < 1e-9);
    }
}
