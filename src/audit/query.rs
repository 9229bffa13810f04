//! What can be asked of the audit.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Pair, Whose};

/// Part of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Who spoke with whom by what.
    Pairs,
    /// Ours and theirs, on both sides.
    Certificates,
    Crls,
    /// Listeners where plaintext or TLS may come.
    Autodetect,
    /// Connections that are open.
    Connections,
    /// Lanes weaker than the modern one that are open, and who takes them.
    Lanes,
}

/// What is to be told, and of whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    pub sections: Vec<Section>,
    /// Of this listener alone.
    pub listener: Option<String>,
    /// Of this source alone.
    pub source: Option<IpAddr>,
    /// Of those alone that any of the next three is true of, if any of them is asked for.
    pub plaintext: bool,
    pub unauthenticated: bool,
    /// TLS older than this on one side, as in `TLSv1.3`.
    pub below: Option<String>,
    /// Certificates, staples and CRLs that end within so many days.
    pub expiring_days: Option<i64>,
    /// How long nobody must have spoken plaintext before TLS can be enforced, in seconds.
    pub quiet_seconds: u64,
    /// Most rows of each section; those beyond are counted.
    pub limit: usize,
}

/// How long is quiet enough if nobody says: peers that come once a week do.
pub const QUIET_SECONDS: u64 = 7 * 24 * 3600;
/// Most rows of a section that anybody gets at once.
pub const MAX_ROWS: usize = 50_000;

impl Query {
    /// For one section, of everybody.
    pub fn of(section: Section) -> Self {
        Self {
            sections: vec![section],
            listener: None,
            source: None,
            plaintext: false,
            unauthenticated: false,
            below: None,
            expiring_days: None,
            quiet_seconds: QUIET_SECONDS,
            limit: 1000,
        }
    }

    pub fn wants(&self, section: Section) -> bool {
        self.sections.contains(&section)
    }

    /// Whether it looks for what should not be.
    pub fn looks_for_faults(&self) -> bool {
        self.plaintext || self.unauthenticated || self.below.is_some()
    }

    pub(super) fn takes_listener(&self, name: &str) -> bool {
        self.listener.as_ref().is_none_or(|wanted| wanted == name)
    }

    /// Whether it asks for these connections.
    pub fn takes(&self, pair: &Pair) -> bool {
        let is_asked_for = self.takes_listener(&pair.listener)
            && self.source.is_none_or(|wanted| pair.source == Some(wanted));
        is_asked_for && (!self.looks_for_faults() || self.finds_fault(pair))
    }

    /// Whether something ends so soon; everything does if nobody asks.
    pub(super) fn takes_end(&self, ends: i64, now: i64) -> bool {
        self.expiring_days.is_none_or(|days| ends <= now.saturating_add(days.saturating_mul(DAY)))
    }

    fn finds_fault(&self, pair: &Pair) -> bool {
        let is_below = |(_, spoken): (Whose, &super::Spoken)| match (&self.below, spoken.version())
        {
            // TLSv1.2 comes before TLSv1.3.
            (Some(wanted), Some(version)) => version < wanted.as_str(),
            _ => false,
        };
        self.plaintext && pair.is_plaintext()
            || self.unauthenticated && pair.is_unauthenticated()
            || pair.sides().any(is_below)
    }
}

/// Seconds.
pub(super) const DAY: i64 = 24 * 3600;
