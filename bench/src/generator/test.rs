//! The measurements: what both generators of a pair do.

use clap::ValueEnum;
use serde::Serialize;
use tlsgate_bench::client::Workload;

use crate::measure::load::Unit;
use crate::measure::rounds::Measurement;

/// Connections of requests, and clients that shake hands at a time: enough to keep the server busy.
const CONNECTIONS: usize = 50;
const AT_A_TIME: usize = 4;

/// What both do. Handshakes are of TLS 1.2, because s_time resumes no other version to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Test {
    /// HTTP/1.1 over 50 connections of TLS 1.3 that stay, as fast as answers come; beside wrk.
    Requests,
    /// Full handshakes of four clients at a time, nothing said; beside four s_time.
    Full,
    /// The same, resumed.
    Resumed,
    /// Full handshakes, one after the other; beside one s_time.
    FullAlone,
    /// The same, resumed.
    ResumedAlone,
}

impl Test {
    pub(crate) const ALL: [Self; 5] =
        [Self::Requests, Self::Full, Self::Resumed, Self::FullAlone, Self::ResumedAlone];

    /// Whether the server is the limit, so that the rate is a property of the server alone.
    pub(crate) fn saturates(self) -> bool {
        !matches!(self, Self::FullAlone | Self::ResumedAlone)
    }

    /// The number of connections, or of clients that shake hands, at a time.
    pub(crate) fn at_a_time(self) -> usize {
        self.load().1
    }

    pub(crate) fn resumes(self) -> bool {
        matches!(self, Self::Resumed | Self::ResumedAlone)
    }
}

impl Measurement for Test {
    fn name(self) -> &'static str {
        match self {
            Self::Requests => "HTTP/1.1 requests, 50 connections",
            Self::Full => "full handshakes, 4 at a time",
            Self::Resumed => "resumed handshakes, 4 at a time",
            Self::FullAlone => "full handshakes, one at a time",
            Self::ResumedAlone => "resumed handshakes, one at a time",
        }
    }

    fn unit(self) -> Unit {
        Unit::of(self.load().0)
    }

    fn load(self) -> (Workload, usize) {
        let share = if self.resumes() { 1.0 } else { 0.0 };
        let handshakes = Workload::Handshakes { resumed: share };
        match self {
            Self::Requests => {
                (Workload::Messages { size: 1, per_connection_rate: None }, CONNECTIONS)
            }
            Self::Full | Self::Resumed => (handshakes, AT_A_TIME),
            Self::FullAlone | Self::ResumedAlone => (handshakes, 1),
        }
    }
}
