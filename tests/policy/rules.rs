//! Rules with uniformly random keys, and connections that fall under them.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;

use tlsgate::policy::rules::{Cidr, Facts, RuleSpec, SniPattern, Version};
use tlsgate::tls::hello::AlpnProtocols;
use tlsgate_corpus::rng::Rng;

/// What a connection brings.
#[derive(Debug)]
pub(crate) struct Connection {
    source: IpAddr,
    sni: Option<String>,
}

impl Connection {
    pub(crate) fn facts(&self) -> Facts<'_> {
        let alpn = AlpnProtocols::parse(b"\x02h2\x08http/1.1").expect("two protocols");
        let (source, sni) = (Some(self.source), self.sni.as_deref());
        Facts { source, sni, alpn, version: Some(Version::Tls13), client: None }
    }
}

/// 60 % with SNI, 20 % with a source, 20 % with both; one name in ten is a wildcard, one rule in ten
/// names a protocol, and one in ten a version. No two have the same keys.
pub(crate) fn specs(count: usize, rng: &mut Rng) -> Vec<RuleSpec> {
    let mut seen_names = HashSet::new();
    let mut seen_sources = HashSet::new();
    let mut specs = Vec::with_capacity(count);
    for outcome in (0..).take(count) {
        let mut spec = RuleSpec {
            name: format!("rule-{outcome}"),
            line: outcome,
            outcome,
            ..RuleSpec::default()
        };
        let kind = rng.below(10);
        if kind < 8 {
            spec.sni.push(fresh(&mut seen_names, rng, pattern));
        }
        if kind >= 6 {
            spec.source.push(fresh(&mut seen_sources, rng, cidr));
        }
        match rng.below(10) {
            0 => spec.alpn.push(b"h2".to_vec()),
            1 => spec.versions.push(Version::Tls13),
            _ => {}
        }
        specs.push(spec);
    }
    specs
}

fn fresh<T: Clone + Eq + Hash>(seen: &mut HashSet<T>, rng: &mut Rng, make: fn(&mut Rng) -> T) -> T {
    loop {
        let made = make(rng);
        if seen.insert(made.clone()) {
            return made;
        }
    }
}

/// Nine in ten fall under a rule, the others under none that has a name.
pub(crate) fn connections(specs: &[RuleSpec], count: usize, rng: &mut Rng) -> Vec<Connection> {
    let connections = (0..count).map(|_| {
        if rng.below(10) == 0 {
            return stranger(rng);
        }
        let spec = &specs[rng.below(specs.len())];
        let sni = spec.sni.first().map(|pattern| match pattern {
            SniPattern::Exact(name) => name.to_string(),
            SniPattern::Wildcard(parent) => format!("h{}.{parent}", rng.below(1000)),
        });
        let source = match spec.source.first() {
            Some(cidr) => inside(*cidr, rng),
            None => address(rng),
        };
        // With a rule that names only a source, clients send names all the same.
        Connection { source, sni: sni.or_else(|| Some(name(rng))) }
    });
    connections.collect()
}

/// Somebody with a name that no rule has.
pub(crate) fn stranger(rng: &mut Rng) -> Connection {
    Connection { source: address(rng), sni: Some(name(rng)) }
}

/// 24 to 29 bytes.
pub(crate) fn name(rng: &mut Rng) -> String {
    const DOMAINS: [&str; 4] = ["example.com", "corp.example", "apps.example.net", "example.org"];
    format!("s{:012x}.{}", rng.next() >> 16, DOMAINS[rng.below(4)])
}

fn pattern(rng: &mut Rng) -> SniPattern {
    let name = name(rng).into();
    if rng.below(10) == 0 { SniPattern::Wildcard(name) } else { SniPattern::Exact(name) }
}

/// Half IPv4.
fn address(rng: &mut Rng) -> IpAddr {
    if rng.below(2) == 0 {
        IpAddr::V4(u32::try_from(rng.next() >> 32).expect("32 bits").into())
    } else {
        // 2000::/3 are the global addresses.
        let bits = u128::from(rng.next()) << 64 | u128::from(rng.next());
        IpAddr::V6((bits >> 3 | 1 << 125).into())
    }
}

/// IPv4 with 16 to 32 bits, IPv6 with 32 to 64.
fn cidr(rng: &mut Rng) -> Cidr {
    let (address, length) = match address(rng) {
        IpAddr::V4(v4) => {
            let length = 16 + rng.below(17);
            (IpAddr::V4((v4.to_bits() >> (32 - length) << (32 - length)).into()), length)
        }
        IpAddr::V6(v6) => {
            let length = 32 + rng.below(33);
            (IpAddr::V6((v6.to_bits() >> (128 - length) << (128 - length)).into()), length)
        }
    };
    Cidr::new(address, u8::try_from(length).expect("up to 64")).expect("masked, and global")
}

fn inside(cidr: Cidr, rng: &mut Rng) -> IpAddr {
    let random = u128::from(rng.next()) << 64 | u128::from(rng.next());
    match cidr.address() {
        IpAddr::V4(v4) => {
            let noise = (random >> 96).checked_shr(cidr.length().into()).unwrap_or(0);
            IpAddr::V4((v4.to_bits() | u32::try_from(noise).expect("32 bits")).into())
        }
        IpAddr::V6(v6) => {
            let noise = random.checked_shr(cidr.length().into()).unwrap_or(0);
            IpAddr::V6((v6.to_bits() | noise).into())
        }
    }
}
