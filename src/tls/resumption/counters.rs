//! What became of tickets, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Which epoch's key a ticket was made with, seen from the reader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    Previous,
    Current,
    /// The maker's clock is ahead.
    Next,
}

/// Which secret a ticket's key was derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The one that makes tickets.
    First,
    /// One that only reads them, because it is being rolled.
    Older,
}

/// Why a ticket was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Expired(Epoch),
    UnknownKey,
    Malformed,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TicketStats {
    pub issued: u64,
    /// Decrypted and young enough, by [`Epoch`] and [`Rank`]. rustls may still prefer a full
    /// handshake, because of another server name or cipher suite.
    pub accepted: [[u64; Rank::ALL.len()]; Epoch::ALL.len()],
    /// Decrypted and too old, by [`Epoch`].
    pub expired: [u64; Epoch::ALL.len()],
    /// Made with a key that is not, or no longer, ours: of another domain, secret or time.
    pub unknown_key: u64,
    /// Not in our format, or changed on the way.
    pub malformed: u64,
}

/// The counters of [`TicketStats`], while they count. All operations are relaxed: each is a
/// number of its own.
#[derive(Debug, Default)]
pub(super) struct Counters {
    issued: AtomicU64,
    accepted: [[AtomicU64; Rank::ALL.len()]; Epoch::ALL.len()],
    expired: [AtomicU64; Epoch::ALL.len()],
    unknown_key: AtomicU64,
    malformed: AtomicU64,
}

impl TicketStats {
    /// Those refused: cause, epoch of the key where it is known, and how many.
    pub fn rejected(&self) -> impl Iterator<Item = (&'static str, Option<Epoch>, u64)> + use<> {
        let [unknown_key, malformed] = [self.unknown_key, self.malformed];
        let expired = self.expired;
        Epoch::ALL
            .into_iter()
            .map(move |epoch| ("expired", Some(epoch), expired[epoch as usize]))
            .chain([("unknown_key", None, unknown_key), ("malformed", None, malformed)])
    }
}

impl Epoch {
    pub const ALL: [Self; 3] = [Self::Previous, Self::Current, Self::Next];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Previous => "previous",
            Self::Current => "current",
            Self::Next => "next",
        }
    }
}

impl Rank {
    pub const ALL: [Self; 2] = [Self::First, Self::Older];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Older => "older",
        }
    }
}

impl Counters {
    pub(super) fn issued(&self) {
        count(&self.issued);
    }

    pub(super) fn accepted(&self, epoch: Epoch, rank: Rank) {
        count(&self.accepted[epoch as usize][rank as usize]);
    }

    pub(super) fn refused(&self, why: Refused) {
        count(match why {
            Refused::Expired(epoch) => &self.expired[epoch as usize],
            Refused::UnknownKey => &self.unknown_key,
            Refused::Malformed => &self.malformed,
        });
    }

    /// The counters now; not one moment for all of them.
    pub(super) fn read(&self) -> TicketStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TicketStats {
            issued: read(&self.issued),
            accepted: self.accepted.each_ref().map(|epoch| epoch.each_ref().map(read)),
            expired: self.expired.each_ref().map(read),
            unknown_key: read(&self.unknown_key),
            malformed: read(&self.malformed),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
