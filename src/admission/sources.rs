//! Sources whose handshakes fail again and again stay away for a while, and for longer each time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Time;

/// What is known of sources. Each has one place in the table, by its hash; who comes later takes it
/// over. So memory is bounded, and who is forgotten is at worst let in.
#[derive(Debug)]
pub(super) struct Sources {
    /// Failures in a row after which a source stays away; `None` is never.
    most: Option<u32>,
    places: Vec<Option<Source>>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    address: IpAddr,
    failures: u32,
    /// Of the last failure.
    at: Time,
    /// It stays away up to then.
    until: Time,
}

impl Sources {
    pub(super) fn new(most: Option<u32>) -> Self {
        // Made at once, so that memory at rest is the same from then on.
        Self { most, places: vec![None; if most.is_some() { PLACES } else { 0 }] }
    }

    pub(super) fn is_away(&self, source: IpAddr, now: Time) -> bool {
        self.known(source).is_some_and(|known| now < known.until)
    }

    /// A handshake of this source has come to nothing, by its own doing.
    pub(super) fn failed(&mut self, source: IpAddr, now: Time) {
        let Some(most) = self.most else { return };
        let before = self.known(source).filter(|known| now - known.at < FORGOTTEN);
        if before.is_some_and(|known| now < known.until) {
            // Of a connection that was there before: it does not know better yet.
            return;
        }
        let failures = before.map_or(0, |known| known.failures).saturating_add(1);
        let until = match failures.checked_sub(most) {
            None => now,
            // Who comes back and fails is away again at once, for twice as long.
            Some(times) => now + FIRST * (1 << times.min(DOUBLINGS)),
        };
        let known = Source { address: network(source), failures, at: now, until };
        self.places[place(source)] = Some(known);
    }

    /// A handshake of this source is done.
    pub(super) fn succeeded(&mut self, source: IpAddr) {
        if self.known(source).is_some() {
            self.places[place(source)] = None;
        }
    }

    fn known(&self, source: IpAddr) -> Option<&Source> {
        let known = self.places.get(place(source))?.as_ref()?;
        (known.address == network(source)).then_some(known)
    }
}

/// An IPv6 host has a network of 64 bits to choose its addresses from.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn place(source: IpAddr) -> usize {
    let mut hasher = DefaultHasher::new();
    network(source).hash(&mut hasher);
    #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is one")]
    let hash = hasher.finish() as usize;
    hash % PLACES
}

const PLACES: usize = 4_096;
/// How long a source stays away for the first time.
const FIRST: Duration = Duration::from_secs(1);
/// And how often that doubles: to 64 s.
const DOUBLINGS: u32 = 6;
/// Failures so long ago are no row any more; longer than anybody stays away.
const FORGOTTEN: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn away_for_longer_each_time_and_back_after_a_success() {
        let mut sources = Sources::new(Some(3));
        let a = source(1);
        (0..2).for_each(|_| sources.failed(a, at(0)));
        assert!(!sources.is_away(a, at(0)));
        sources.failed(a, at(0));
        assert!(sources.is_away(a, at(999)) && !sources.is_away(a, at(1_000)));
        assert!(!sources.is_away(source(2), at(0)));
        sources.failed(a, at(1_000));
        assert!(sources.is_away(a, at(2_999)) && !sources.is_away(a, at(3_000)));
        (0..100).for_each(|_| sources.failed(a, at(3_000)));
        assert!(!sources.is_away(a, at(7_000)), "connections that were there before do not count");
        let mut now = 7_000;
        for seconds in [8, 16, 32, 64, 64, 64] {
            sources.failed(a, at(now));
            now += seconds * 1_000;
            assert!(sources.is_away(a, at(now - 1)) && !sources.is_away(a, at(now)), "{seconds}");
        }
        sources.succeeded(a);
        sources.failed(a, at(now));
        assert!(!sources.is_away(a, at(now)));
    }

    #[test]
    fn failures_long_ago_are_forgotten() {
        let mut sources = Sources::new(Some(2));
        sources.failed(source(1), at(0));
        sources.failed(source(1), at(300_000));
        assert!(!sources.is_away(source(1), at(300_000)));
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_an_ipv4_address_one_however_written() {
        let mut sources = Sources::new(Some(1));
        sources.failed("2001:db8::1".parse().expect("an address"), at(0));
        assert!(sources.is_away("2001:db8::ffff".parse().expect("an address"), at(0)));
        assert!(!sources.is_away("2001:db8:0:1::1".parse().expect("an address"), at(0)));
        sources.failed("::ffff:192.0.2.1".parse().expect("an address"), at(0));
        assert!(sources.is_away(source(1), at(0)));
    }

    #[test]
    fn many_sources_take_no_more_memory_and_off_takes_none() {
        let mut sources = Sources::new(Some(1));
        (0..100_000_u32)
            .for_each(|number| sources.failed(IpAddr::from(number.to_be_bytes()), at(0)));
        assert_eq!((sources.places.len(), sources.places.capacity()), (PLACES, PLACES));
        let mut off = Sources::new(None);
        (0..1000).for_each(|_| off.failed(source(1), at(0)));
        assert!(!off.is_away(source(1), at(0)) && off.places.is_empty());
    }
}
