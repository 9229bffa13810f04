//! Who may start a handshake now, and who may hold memory before having proved anything.
//!
//! A handshake is work in steps: the ClientHello, with the operation of our private key, and what
//! comes after it. No step is done when its bytes come. It waits in a queue ([`Handshakes`]) until
//! the events of the turn are done, so that connections that are up go first, and then has a part of
//! the turn. What cannot be done in time is refused before it costs anything.

pub mod estimates;
mod handshakes;
pub mod hello_budget;
mod queue;
mod rate;
mod sources;
mod storm;

use std::fmt;

pub use handshakes::{Handshakes, Next, Shaking};
pub use storm::Over;

/// What waits, in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What comes behind the ClientHello, and handshakes with components: it would be lost.
    Begun,
    /// The ClientHello of a peer that comes back with a session, as it says.
    Resumed,
    Full,
    /// In full, with a certificate of the peer to be verified.
    Mutual,
    /// In the legacy lane.
    Legacy,
}

/// Why a handshake is not done. Closed set: every value is a metric label and a word in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shed {
    /// More waits than can be done in time.
    Queue,
    /// It has waited for too long: the peer has given up, or soon will.
    Late,
    /// There are as many in progress as there may be.
    InProgress,
    /// Its source has failed too often, and has to stay away for a while.
    Source,
    /// There are as many of the legacy lane in progress as there may be.
    LegacyInProgress,
    /// More of the legacy lane wait than can begin in time.
    LegacyRate,
}

impl Class {
    pub const ALL: [Self; 5] = [Self::Begun, Self::Resumed, Self::Full, Self::Mutual, Self::Legacy];
}

impl Shed {
    pub const ALL: [Self; 6] = [
        Self::Queue,
        Self::Late,
        Self::InProgress,
        Self::Source,
        Self::LegacyInProgress,
        Self::LegacyRate,
    ];

    /// Label value in metrics and word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Late => "late",
            Self::InProgress => "in_progress",
            Self::Source => "source",
            Self::LegacyInProgress => "legacy_in_progress",
            Self::LegacyRate => "legacy_rate",
        }
    }
}

impl fmt::Display for Shed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
