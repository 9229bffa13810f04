//! Which endpoint a source address belongs to: highest random weight ("rendezvous") hashing.
//!
//! Each endpoint has a score for each source, and the highest wins. So an endpoint that goes takes
//! along its own sources only, and each of them goes where its second-highest score is. Scores
//! depend on the endpoint's name as configured, its weight and the source alone: nodes and restarts
//! agree, whatever the order of the list.
//!
//! The score: F is FNV-1a of 64 bits. A source is the 16 octets of its IPv6 address, or of the
//! IPv4-mapped one (RFC 4291 §2.5.5.2). Of an endpoint of weight w it is the highest of
//! mix(F(name) XOR mix(F(source) + i)) for i from 0 to w − 1, where mix is the finalizer of
//! SplitMix64. Sums wrap.

use std::net::IpAddr;

/// F of any bytes.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// F of a source.
pub(super) fn source(address: IpAddr) -> u64 {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    fnv(&address.octets())
}

/// The score of an endpoint whose name has this F, for a source with that F.
pub(super) fn score(name: u64, weight: u8, source: u64) -> u64 {
    let replicas = 0..u64::from(weight.max(1));
    let scores = replicas.map(|replica| mix(name ^ mix(source.wrapping_add(replica))));
    scores.max().unwrap_or_default()
}

/// Spreads every bit over all.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// SplitMix64: the same numbers from the same seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let high = mix(self.0) >> 32;
        let scaled = (high * u64::from(bound)) >> 32;
        u32::try_from(scaled).expect("below a number of 32 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published values of FNV-1a, and what follows from them: a change moves every source.
    #[test]
    fn scores_stay_what_they_are() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
        let source = source([192, 0, 2, 1].into());
        assert_eq!(source, super::source("::ffff:192.0.2.1".parse().expect("an address")));
        let name = fnv(b"sip-1.example.com:5060");
        assert_eq!(score(name, 1, source), SCORE);
        assert!(score(name, 9, source) >= SCORE);
    }

    /// Computed by another program, from the description above.
    const SCORE: u64 = 0x6aab_5b61_13bb_3cae;

    #[test]
    fn numbers_are_below_their_bound_and_reach_it() {
        let mut random = Random::new(7);
        let mut seen = [0; 5];
        for _ in 0..1_000 {
            seen[random.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (150..250).contains(count)), "{seen:?}");
    }
}
