//! What the client does in a measurement: units, sizes, and the plans that all of them share.

use std::net::SocketAddr;
use std::time::Duration;

use tlsgate_bench::client::{Pace, Plan, Stop, TlsPlan, TlsVersion, Trust, Workload};

use super::identity::SERVER_NAME;

/// Connections at a time of handshake and bulk measurements.
pub(crate) const HANDSHAKES_AT_A_TIME: usize = 32;
pub(crate) const BULK_CONNECTIONS: usize = 4;
pub(crate) const BODY: u64 = 16 << 20;
pub(crate) const MESSAGE: u64 = 100;
const TIMEOUT: Duration = Duration::from_secs(10);

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

    /// What is counted in a load.
    pub(crate) fn of(workload: Workload) -> Self {
        match workload {
            Workload::Handshakes { .. } | Workload::Reconnect { .. } => Self::Handshake,
            Workload::BulkDown { .. } | Workload::BulkUp { .. } => Self::Gigabyte,
            Workload::Messages { .. } | Workload::Idle { .. } => Self::RoundTrip,
        }
    }
}

/// Loads with the number of their connections.
pub(crate) fn handshakes(resumed: bool) -> (Workload, usize) {
    (Workload::Handshakes { resumed: if resumed { 1.0 } else { 0.0 } }, HANDSHAKES_AT_A_TIME)
}

pub(crate) fn round_trips(connections: usize) -> (Workload, usize) {
    (Workload::Messages { size: MESSAGE, per_connection_rate: None }, connections)
}

pub(crate) fn download() -> (Workload, usize) {
    (Workload::BulkDown { bytes: BODY }, BULK_CONNECTIONS)
}

pub(crate) fn upload() -> (Workload, usize) {
    (Workload::BulkUp { bytes: BODY }, BULK_CONNECTIONS)
}

/// A plan for one thread on each of `cpus`.
pub(crate) fn plan(
    target: SocketAddr,
    tls: Option<TlsPlan>,
    (workload, concurrency): (Workload, usize),
    stop: Stop,
    cpus: &[usize],
) -> Plan {
    Plan {
        target,
        tls,
        workload,
        pace: Pace::Closed { concurrency },
        stop,
        timeout: TIMEOUT,
        threads: cpus.len(),
        cpus: cpus.to_vec(),
    }
}

/// The one suite and key exchange that servers with an ECDSA certificate are measured with.
pub(crate) fn tls(version: TlsVersion, ca_pem: &str) -> TlsPlan {
    let suite = match version {
        TlsVersion::V13 => "TLS_AES_128_GCM_SHA256",
        _ => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    };
    TlsPlan {
        version,
        server_name: SERVER_NAME.to_owned(),
        trust: Trust::CaPem(ca_pem.to_owned()),
        shown: None,
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
