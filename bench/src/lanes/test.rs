//! The measurements: version, suite and what one sample does.

use clap::ValueEnum;
use serde::Serialize;
use tlsgate_bench::client::{TlsPlan, TlsVersion, Workload};

use crate::measure::load::{Unit, download, handshakes, tls, upload};
use crate::measure::rounds::Measurement;

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
    /// As the client of TLS 1.0: full handshake, a 100-byte echo, close.
    Client10,
    /// As the client of TLS 1.0, bulk from backend to client.
    ClientDown10,
    /// As the client of TLS 1.0, bulk from client to backend.
    ClientUp10,
    /// As the client of TLS 1.2 with CBC: full handshake, a 100-byte echo, close.
    Client12,
    /// As the client of TLS 1.2 with CBC, bulk from backend to client.
    ClientDown12,
    /// As the client of TLS 1.2 with CBC, bulk from client to backend.
    ClientUp12,
}

/// On which side the server that is measured has TLS, and thus where the load goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client10,
    Client12,
}

impl Test {
    pub(crate) const ALL: [Self; 16] = [
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
        Self::Client10,
        Self::ClientDown10,
        Self::ClientUp10,
        Self::Client12,
        Self::ClientDown12,
        Self::ClientUp12,
    ];

    pub(crate) fn role(self) -> Role {
        match self {
            Self::Client10 | Self::ClientDown10 | Self::ClientUp10 => Role::Client10,
            Self::Client12 | Self::ClientDown12 | Self::ClientUp12 => Role::Client12,
            _ => Role::Server,
        }
    }

    /// What the client offers; nothing where the server under test is TLS's client.
    pub(crate) fn tls(self, ca_pem: &str) -> Option<TlsPlan> {
        let version = match self {
            Self::Full10 | Self::Rsa10 | Self::Resumed10 | Self::Down10 | Self::Up10 => {
                TlsVersion::V10
            }
            _ => TlsVersion::V12,
        };
        let [suite, _] = match self {
            Self::Rsa10 | Self::Rsa12 => STATIC_RSA,
            _ => ECDHE,
        };
        let (suites, groups) = (vec![suite.to_owned()], vec![GROUP.to_owned()]);
        (self.role() == Role::Server).then(|| TlsPlan { suites, groups, ..tls(version, ca_pem) })
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
            Self::Client10 => "as client: TLS 1.0 full handshake, ECDHE",
            Self::ClientDown10 => "as client: TLS 1.0 bulk, backend to client",
            Self::ClientUp10 => "as client: TLS 1.0 bulk, client to backend",
            Self::Client12 => "as client: TLS 1.2 full handshake, ECDHE and CBC",
            Self::ClientDown12 => "as client: TLS 1.2 bulk with CBC, backend to client",
            Self::ClientUp12 => "as client: TLS 1.2 bulk with CBC, client to backend",
        }
    }

    fn unit(self) -> Unit {
        Unit::of(self.load().0)
    }

    fn load(self) -> (Workload, usize) {
        match self {
            Self::Full10 | Self::Rsa10 | Self::Client10 => handshakes(false),
            Self::Full12 | Self::Rsa12 | Self::Client12 => handshakes(false),
            Self::Resumed10 | Self::Resumed12 => handshakes(true),
            Self::Down10 | Self::Down12 | Self::ClientDown10 | Self::ClientDown12 => download(),
            Self::Up10 | Self::Up12 | Self::ClientUp10 | Self::ClientUp12 => upload(),
        }
    }
}
