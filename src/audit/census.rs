//! What one shard has seen.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::table::{Counts, Others, Table, Tally};
use super::{Pair, PeerCertificate, Whose};
use crate::conn::outcome::Security;
use crate::time::Time;
use crate::tls::trust::{PeerIdentity, fingerprint};

/// Most rows of one shard: 10,000 desktops and some. A row takes about 500 bytes, and copying all
/// of them for whoever asks takes less than a millisecond.
pub const MAX_PAIRS: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Census {
    pairs: Table<Pair>,
    /// By fingerprint: a certificate is read when it is seen for the first time.
    certificates: HashMap<[u8; 32], Arc<PeerCertificate>>,
    limit: usize,
    /// Listeners with `mode = "autodetect"`, by name.
    watched: HashMap<Arc<str>, Watched>,
}

/// An autodetect listener: exact whatever happens to the rows of its sources.
#[derive(Clone, Debug)]
struct Watched {
    since: Time,
    plaintext: Tally,
    tls: Tally,
}

/// What a connection holds until its end.
#[derive(Debug)]
pub struct Kept {
    pair: Tally,
    watched: Option<Tally>,
}

/// Which part of a census is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All rows.
    All,
    /// Sums, and what expires first: little, however many rows there are.
    Summary,
}

/// A copy for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct ShardCensus {
    /// The shard's time when it answered.
    pub now: Time,
    pub pairs: Vec<(Arc<Pair>, Counts)>,
    pub others: Others,
    pub watched: Vec<(Arc<str>, WatchedCounts)>,
    /// The certificate that expires first among those that are in use or were seen within
    /// [`IN_USE`], for each listener and side.
    pub soonest: Vec<(Arc<str>, Whose, Arc<PeerCertificate>)>,
}

/// Connections of an autodetect listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchedCounts {
    pub since: Time,
    pub plaintext: Counts,
    pub tls: Counts,
}

impl Default for Census {
    fn default() -> Self {
        Self::with_limit(MAX_PAIRS)
    }
}

impl Census {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self {
            pairs: Table::new(limit),
            certificates: HashMap::new(),
            limit,
            watched: HashMap::new(),
        }
    }

    /// Watches these autodetect listeners from now on, if it does not already, and no others.
    pub fn watch<'a>(&mut self, listeners: impl Iterator<Item = &'a Arc<str>>, now: Time) {
        let mut before = std::mem::take(&mut self.watched);
        for name in listeners {
            let watched = before.remove(name).unwrap_or_else(|| Watched {
                since: now,
                plaintext: Tally::new(now),
                tls: Tally::new(now),
            });
            self.watched.insert(Arc::clone(name), watched);
        }
    }

    /// A connection is settled, or ends without having come that far. Whether its handshakes were
    /// abbreviated, downstream and upstream.
    pub fn enter(&mut self, pair: Pair, resumed: [bool; 2], now: Time) -> Kept {
        let watched = self.watched.get(&pair.listener).map(|watched| {
            let is_plaintext = pair.downstream.security == Security::Plaintext;
            if is_plaintext { watched.plaintext.clone() } else { watched.tls.clone() }
        });
        let pair = self.pairs.row(pair, now);
        let kept = Kept { pair, watched };
        for tally in kept.tallies() {
            tally.enter(resumed, now);
        }
        kept
    }

    /// It has ended.
    pub fn leave(kept: &Kept, now: Time) {
        for tally in kept.tallies() {
            tally.leave(now);
        }
    }

    /// What is kept of a certificate; `None` if it cannot be read.
    pub fn certificate(&mut self, der: &CertificateDer<'_>) -> Option<Arc<PeerCertificate>> {
        let fingerprint = fingerprint(der);
        if let Some(known) = self.certificates.get(&fingerprint) {
            return Some(Arc::clone(known));
        }
        let certificate = Arc::new(PeerCertificate::from(PeerIdentity::of(der)?));
        if self.certificates.len() >= self.limit {
            self.certificates.retain(|_, certificate| Arc::strong_count(certificate) > 1);
        }
        // Where even those that rows have are too many, the next one is read again.
        if self.certificates.len() < self.limit {
            self.certificates.insert(fingerprint, Arc::clone(&certificate));
        }
        Some(certificate)
    }

    pub fn report(&self, part: Part, now: Time) -> ShardCensus {
        let pairs = match part {
            Part::All => self.pairs.rows().map(|(key, counts)| (Arc::clone(key), counts)).collect(),
            Part::Summary => Vec::new(),
        };
        let watched = self.watched.iter().map(|(name, watched)| {
            let Watched { since, plaintext, tls } = watched;
            let (plaintext, tls) = (plaintext.counts(), tls.counts());
            (Arc::clone(name), WatchedCounts { since: *since, plaintext, tls })
        });
        ShardCensus {
            now,
            pairs,
            others: self.pairs.others(),
            watched: watched.collect(),
            soonest: self.soonest(now),
        }
    }

    fn soonest(&self, now: Time) -> Vec<(Arc<str>, Whose, Arc<PeerCertificate>)> {
        let mut soonest: HashMap<(&Arc<str>, Whose), &Arc<PeerCertificate>> = HashMap::new();
        for (pair, counts) in self.pairs.rows() {
            if counts.open == 0 && now - counts.last > IN_USE {
                continue;
            }
            for (whose, spoken) in pair.sides() {
                let Some(certificate) = &spoken.certificate else { continue };
                let first = soonest.entry((&pair.listener, whose)).or_insert(certificate);
                if certificate.not_after < first.not_after {
                    *first = certificate;
                }
            }
        }
        let soonest = soonest.into_iter();
        soonest
            .map(|((listener, whose), first)| (Arc::clone(listener), whose, Arc::clone(first)))
            .collect()
    }
}

impl Kept {
    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        [&self.pair].into_iter().chain(&self.watched)
    }
}

/// How long a certificate counts as one that a peer uses after its last connection: peers that come
/// daily do, and one that was renewed is forgotten the day after.
pub const IN_USE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Spoken;

    fn at(hours: u64) -> Time {
        Time::from_nanos(hours * 3_600_000_000_000)
    }

    fn certificate(serial: &str, not_after: i64) -> Arc<PeerCertificate> {
        Arc::new(PeerCertificate {
            subject: "CN=phone".to_owned(),
            issuer: "CN=ca".to_owned(),
            serial: serial.to_owned(),
            not_after,
            fingerprint: [0; 32],
        })
    }

    fn pair(listener: &str, source: u8, certificate: Option<Arc<PeerCertificate>>) -> Pair {
        let security = match certificate {
            Some(_) => Security::Mutual,
            None => Security::Plaintext,
        };
        Pair {
            listener: listener.into(),
            route: listener.into(),
            source: Some([192, 0, 2, source].into()),
            endpoint: None,
            address: None,
            downstream: Spoken { security, certificate, ..Spoken::unknown() },
            upstream: None,
        }
    }

    #[test]
    fn what_was_renewed_is_forgotten_the_day_after() {
        let mut census = Census::default();
        let soonest = |census: &Census, hour| {
            let soonest = census.report(Part::Summary, at(hour)).soonest;
            soonest.into_iter().map(|(_, _, first)| first.serial.clone()).collect::<Vec<_>>()
        };
        let old = census.enter(pair("a", 1, Some(certificate("old", 5))), [false; 2], at(0));
        let new = census.enter(pair("a", 1, Some(certificate("new", 9))), [false; 2], at(1));
        assert_eq!(soonest(&census, 48), ["old"], "it is open");
        Census::leave(&old, at(49));
        assert_eq!(soonest(&census, 50), ["old"]);
        assert_eq!(soonest(&census, 74), ["new"]);
        Census::leave(&new, at(74));
        assert!(soonest(&census, 99).is_empty());
    }

    #[test]
    fn plaintext_is_counted_exactly_whatever_happens_to_rows() {
        let mut census = Census::with_limit(4);
        let names: [Arc<str>; 2] = ["a".into(), "b".into()];
        census.watch(names.iter(), at(1));
        for source in 0..100 {
            let kept = census.enter(pair("a", source, None), [false; 2], at(2));
            Census::leave(&kept, at(3));
        }
        // Reloads change nothing for a listener that stays as it is.
        census.watch(names[..1].iter(), at(4));
        let report = census.report(Part::All, at(5));
        assert_eq!(report.pairs.len(), 4);
        assert_eq!((report.others.evicted_rows, report.others.evicted_connections), (96, 96));
        let [(name, watched)] = report.watched.as_slice() else { panic!("one is watched") };
        assert_eq!(&**name, "a");
        assert_eq!(watched.since, at(1));
        let plaintext = watched.plaintext;
        assert_eq!((plaintext.connections, plaintext.open), (100, 0));
        assert_eq!((plaintext.last, watched.tls.connections), (at(3), 0));
    }

    #[test]
    fn certificates_are_read_once_and_not_kept_without_end() {
        let ca = crate::tls::testing::Ca::new();
        let issue = || ca.issue(&rcgen::PKCS_ECDSA_P256_SHA256).certificate;
        let mut census = Census::with_limit(3);
        let first = issue();
        let held = census.certificate(first.der()).expect("a certificate");
        let again = census.certificate(first.der()).expect("a certificate");
        assert!(Arc::ptr_eq(&held, &again));
        for _ in 0..10 {
            assert!(census.certificate(issue().der()).is_some());
            assert!(census.certificates.len() <= 3);
        }
        let again = census.certificate(first.der()).expect("a certificate");
        assert!(Arc::ptr_eq(&held, &again), "one that is in use stays");
        assert!(census.certificate(&CertificateDer::from(vec![1, 2, 3])).is_none());
    }
}
