//! The measurements: version, suite and what one sample does.

use clap::ValueEnum;
use serde::Serialize;
use tlsgate_bench::client::{TlsPlan, TlsVersion, Workload};

use crate::engines::rounds::Measurement;
use crate::engines::test::{BODY, BULK_CONNECTIONS, HANDSHAKES_AT_A_TIME, Unit, tls};

/// Suites by their names at IANA and in OpenSSL.
const ECDHE: [&str; 2] = ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"];
const STATIC_RSA: [&str; 2] = ["TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"];
/// All that are measured.
pub(crate) const SUITES: [[&str; 2]; 2] = [ECDHE, STATIC_RSA];
/// The only group.
pub(crate) const GROUP: &str = "P-256";

/// Those with 1.0 run in the lane `legacy`, those with 1.2 in `compat12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Test {
    /// TLS 1.0, ECDHE: full handshake, a 100-byte echo, close.
    Full10,
    /// TLS 1.0, static RSA: the same.
    Rsa10,
    /// TLS 1.0, the same with a resumed handshake.
    Resumed10,
    /// TLS 1.0, bulk from backend to client.
    Down10,
    /// TLS 1.0, bulk from client to backend.
    Up10,
    /// TLS 1.2, ECDHE and CBC: full handshake, a 100-byte echo, close.
    Full12,
    /// TLS 1.2, static RSA: the same.
    Rsa12,
    /// TLS 1.2, the same with a resumed handshake.
    Resumed12,
    /// TLS 1.2 with CBC, bulk from backend to client.
    Down12,
    /// TLS 1.2 with CBC, bulk from client to backend.
    Up12,
}

impl Test {
    pub(crate) const ALL: [Self; 10] = [
        Self::Full10,
        Self::Rsa10,
        Self::Resumed10,
        Self::Down10,
        Self::Up10,
        Self::Full12,
        Self::Rsa12,
        Self::Resumed12,
        Self::Down12,
        Self::Up12,
    ];

    /// What the client offers.
    pub(crate) fn tls(self, ca_pem: &str) -> TlsPlan {
        let version = match self {
            Self::Full10 | Self::Rsa10 | Self::Resumed10 | Self::Down10 | Self::Up10 => {
                TlsVersion::V10
            }
            Self::Full12 | Self::Rsa12 | Self::Resumed12 | Self::Down12 | Self::Up12 => {
                TlsVersion::V12
            }
        };
        let [suite, _] = match self {
            Self::Rsa10 | Self::Rsa12 => STATIC_RSA,
            _ => ECDHE,
        };
        let (suites, groups) = (vec![suite.to_owned()], vec![GROUP.to_owned()]);
        TlsPlan { suites, groups, ..tls(version, ca_pem) }
    }
}

impl Measurement for Test {
    fn name(self) -> &'static str {
        match self {
            Self::Full10 => "TLS 1.0 full handshake, ECDHE",
            Self::Rsa10 => "TLS 1.0 full handshake, static RSA",
            Self::Resumed10 => "TLS 1.0 resumed handshake",
            Self::Down10 => "TLS 1.0 bulk, backend to client",
            Self::Up10 => "TLS 1.0 bulk, client to backend",
            Self::Full12 => "TLS 1.2 full handshake, ECDHE and CBC",
            Self::Rsa12 => "TLS 1.2 full handshake, static RSA",
            Self::Resumed12 => "TLS 1.2 resumed handshake, CBC",
            Self::Down12 => "TLS 1.2 bulk with CBC, backend to client",
            Self::Up12 => "TLS 1.2 bulk with CBC, client to backend",
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::Down10 | Self::Up10 | Self::Down12 | Self::Up12 => Unit::Gigabyte,
            _ => Unit::Handshake,
        }
    }

    fn load(self) -> (Workload, usize) {
        let handshakes = |resumed| (Workload::Handshakes { resumed }, HANDSHAKES_AT_A_TIME);
        match self {
            Self::Full10 | Self::Rsa10 | Self::Full12 | Self::Rsa12 => handshakes(false),
            Self::Resumed10 | Self::Resumed12 => handshakes(true),
            Self::Down10 | Self::Down12 => (Workload::BulkDown { bytes: BODY }, BULK_CONNECTIONS),
            Self::Up10 | Self::Up12 => (Workload::BulkUp { bytes: BODY }, BULK_CONNECTIONS),
        }
    }
}
