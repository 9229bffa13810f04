//! What became of tickets, counted, and why sessions were refused.

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

/// Why a session or a ticket was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was stored or sealed too long ago.
    Expired,
    /// It was renewed, but the full handshake before all renewals was too long ago.
    AbsoluteLifetime,
    /// Made under another policy of this process.
    OtherDomain,
    /// Certificates were checked by other CRLs than those of now.
    CrlEpoch,
    /// A certificate of the component has expired since its full handshake.
    CertificateExpired,
    /// It has a client where none may have one, or none where each must.
    Identity,
    /// Made with a key that is not, or no longer, ours: of another secret, time or configuration.
    UnknownKey,
    /// In the format of another version of tlsgate.
    OtherFormat,
    /// In no format of ours, or changed on the way.
    Malformed,
}

/// How often something was refused, by [`Refusal`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; Refusal::ALL.len()]);

/// Counters of tickets since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TicketStats {
    pub issued: u64,
    /// Decrypted and good, by [`Epoch`] and [`Rank`]. rustls may still prefer a full handshake,
    /// because of another server name or cipher suite.
    pub accepted: [[u64; Rank::ALL.len()]; Epoch::ALL.len()],
    pub refused: Refusals,
    /// [`Refusal::Expired`] of `refused`, by [`Epoch`].
    pub expired: [u64; Epoch::ALL.len()],
}

/// The counters of [`TicketStats`], while they count. All operations are relaxed: each is a
/// number of its own.
#[derive(Debug, Default)]
pub(super) struct Counters {
    issued: AtomicU64,
    accepted: [[AtomicU64; Rank::ALL.len()]; Epoch::ALL.len()],
    refused: RefusalCounters,
    expired: [AtomicU64; Epoch::ALL.len()],
}

/// The counters of [`Refusals`].
#[derive(Debug, Default)]
pub(super) struct RefusalCounters([AtomicU64; Refusal::ALL.len()]);

impl TicketStats {
    /// Those refused: cause, epoch of the key where it is counted, and how many.
    pub fn rejected(&self) -> impl Iterator<Item = (&'static str, Option<Epoch>, u64)> + use<> {
        let (expired, refused) = (self.expired, self.refused);
        let others = Refusal::ALL.into_iter().filter(|&cause| cause != Refusal::Expired);
        Epoch::ALL
            .into_iter()
            .map(move |epoch| (Refusal::Expired.as_str(), Some(epoch), expired[epoch as usize]))
            .chain(others.map(move |cause| (cause.as_str(), None, refused.of(cause))))
    }
}

impl Refusals {
    pub fn of(&self, cause: Refusal) -> u64 {
        self.0[cause as usize]
    }

    /// All causes, with those that never came.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + use<> {
        Refusal::ALL.into_iter().zip(self.0)
    }
}

impl FromIterator<(Refusal, u64)> for Refusals {
    fn from_iter<I: IntoIterator<Item = (Refusal, u64)>>(counts: I) -> Self {
        let mut refusals = Self::default();
        counts.into_iter().for_each(|(cause, count)| refusals.0[cause as usize] += count);
        refusals
    }
}

impl RefusalCounters {
    pub(super) fn count(&self, cause: Refusal) {
        count(&self.0[cause as usize]);
    }

    pub(super) fn read(&self) -> Refusals {
        Refusals(self.0.each_ref().map(|counter| counter.load(Ordering::Relaxed)))
    }
}

impl Refusal {
    pub const ALL: [Self; 9] = [
        Self::Expired,
        Self::AbsoluteLifetime,
        Self::OtherDomain,
        Self::CrlEpoch,
        Self::CertificateExpired,
        Self::Identity,
        Self::UnknownKey,
        Self::OtherFormat,
        Self::Malformed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::AbsoluteLifetime => "absolute_lifetime",
            Self::OtherDomain => "other_domain",
            Self::CrlEpoch => "crl_epoch",
            Self::CertificateExpired => "certificate_expired",
            Self::Identity => "identity",
            Self::UnknownKey => "unknown_key",
            Self::OtherFormat => "other_format",
            Self::Malformed => "malformed",
        }
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

    /// `epoch` is that of the ticket's key, where it was found.
    pub(super) fn refused(&self, cause: Refusal, epoch: Option<Epoch>) {
        self.refused.count(cause);
        if let (Refusal::Expired, Some(epoch)) = (cause, epoch) {
            count(&self.expired[epoch as usize]);
        }
    }

    /// The counters now; not one moment for all of them.
    pub(super) fn read(&self) -> TicketStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TicketStats {
            issued: read(&self.issued),
            accepted: self.accepted.each_ref().map(|epoch| epoch.each_ref().map(read)),
            refused: self.refused.read(),
            expired: self.expired.each_ref().map(read),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
