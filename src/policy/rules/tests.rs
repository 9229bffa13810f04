//! The table agrees with the naive matcher, and ambiguity with a comparison of all pairs.

use std::collections::HashSet;
use std::net::IpAddr;

use proptest::collection::{hash_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::tls::hello::AlpnProtocols;

/// A connection with everything that it owns.
#[derive(Clone, Debug)]
struct Connection {
    source: Option<IpAddr>,
    sni: Option<&'static str>,
    alpn: Vec<u8>,
    version: Option<Version>,
    client: Option<Client>,
}

#[derive(Clone, Debug)]
struct Client {
    digests: [[u8; 32]; 2],
    texts: [&'static str; 3],
    dns: Vec<String>,
    uris: Vec<String>,
    ips: Vec<IpAddr>,
}

impl Connection {
    fn facts(&self) -> Facts<'_> {
        let alpn = AlpnProtocols::parse(&self.alpn).unwrap_or_default();
        let client = self.client.as_ref().map(|client| ClientFacts {
            fingerprint: &client.digests[0],
            spki: &client.digests[1],
            subject: client.texts[0],
            issuer: client.texts[1],
            common_name: Some(client.texts[2]),
            dns: &client.dns,
            uris: &client.uris,
            ips: &client.ips,
        });
        Facts { source: self.source, sni: self.sni, alpn, version: self.version, client }
    }
}

// Few of each, so that rules meet.
const CIDRS: [&str; 13] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/9",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.128/25",
    "10.1.2.3/32",
    "255.255.255.255/32",
    "::/0",
    "fd00::/8",
    "fd00:1::/32",
    "fd00:1::1/128",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
];
const SOURCES: [&str; 10] = [
    "10.1.2.3",
    "10.1.2.130",
    "10.1.9.9",
    "10.200.0.1",
    "192.0.2.1",
    "255.255.255.255",
    "::ffff:10.1.2.3",
    "fd00:1::1",
    "fd00:2::",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];
const PATTERNS: [&str; 5] = ["a.example.com", "*.example.com", "*.a.example.com", "b.org", "*.org"];
const NAMES: [&str; 8] = [
    "a.example.com",
    "A.Example.COM.",
    "x.example.com",
    "x.a.example.com",
    "b.org",
    "org",
    ".org",
    "example.com",
];
const PROTOCOLS: [&str; 3] = ["h2", "http/1.1", "sip"];
const CLIENTS: [&str; 17] = [
    "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    "sha256:0101010101010101010101010101010101010101010101010101010101010101",
    "spki:0000000000000000000000000000000000000000000000000000000000000000",
    "uri:spiffe://td/a/b",
    "uri:spiffe://td/a",
    "uri:spiffe://td/*",
    "uri:spiffe://td/a/*",
    "uri:spiffe://*",
    "dns:a.example.com",
    "dns:*.example.com",
    "dns:*.org",
    "ip:10.1.2.3",
    "ip:fd00:1::1",
    "subject:one",
    "cn:one",
    "cn:two",
    "issuer:one",
];
const URIS: [&str; 4] = ["spiffe://td/a/b", "spiffe://td/a", "spiffe://td/", "spiffe://other/a"];
const TEXTS: [&str; 3] = ["one", "two", ""];
const VERSIONS: [Version; 4] = [Version::Tls10, Version::Tls11, Version::Tls12, Version::Tls13];

fn list<T: std::str::FromStr<Err: std::fmt::Debug> + Clone + std::fmt::Debug + 'static>(
    texts: &'static [&'static str],
    most: usize,
) -> BoxedStrategy<Vec<T>> {
    let parsed: Vec<T> = texts.iter().map(|text| text.parse().expect("good text")).collect();
    // Most rules have one entry or none.
    prop_oneof![
        3 => Just(Vec::new()),
        3 => vec(select(parsed.clone()), 1),
        1 => vec(select(parsed), 1..=most),
    ]
    .boxed()
}

fn spec(outcomes: u32) -> impl Strategy<Value = RuleSpec> {
    let alpn = prop_oneof![2 => Just(vec![]), 1 => vec(select(&PROTOCOLS[..]), 1..=2)];
    let versions = prop_oneof![2 => Just(vec![]), 1 => vec(select(&VERSIONS[..]), 1..=2)];
    let client = prop_oneof![1 => Just(vec![]), 1 => list(&CLIENTS, 3)];
    (list(&CIDRS, 4), list(&PATTERNS, 3), alpn, versions, client, 0..outcomes).prop_map(
        |(source, sni, alpn, versions, client, outcome)| RuleSpec {
            source,
            sni,
            alpn: alpn.into_iter().map(|name| name.as_bytes().to_vec()).collect(),
            versions,
            client,
            outcome,
            ..RuleSpec::default()
        },
    )
}

/// Rules with names and lines.
fn specs(most: usize, outcomes: u32) -> impl Strategy<Value = Vec<RuleSpec>> {
    vec(spec(outcomes), 0..most).prop_map(|mut specs| {
        for (spec, at) in specs.iter_mut().zip(1..) {
            spec.name = format!("rule {at}");
            spec.line = 10 * at;
        }
        specs
    })
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn client() -> impl Strategy<Value = Client> {
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let digest = select(vec![[0; 32], [1; 32], [2; 32]]);
    (
        [digest.clone(), digest],
        [select(&TEXTS[..]), select(&TEXTS[..]), select(&TEXTS[..])],
        vec(select(strings(&NAMES)), 0..3),
        vec(select(strings(&URIS)), 0..3),
        vec(select(addresses(&SOURCES)), 0..3),
    )
        .prop_map(|(digests, texts, dns, uris, ips)| Client { digests, texts, dns, uris, ips })
}

fn connection() -> impl Strategy<Value = Connection> {
    let offered: Vec<&str> = PROTOCOLS.into_iter().chain(["unknown"]).collect();
    (
        proptest::option::weighted(0.9, select(addresses(&SOURCES))),
        proptest::option::weighted(0.9, select(&NAMES[..])),
        vec(select(offered), 0..4),
        proptest::option::weighted(0.9, select(&VERSIONS[..])),
        proptest::option::of(client()),
    )
        .prop_map(|(source, sni, alpn, version, client)| {
            let alpn = alpn.iter().flat_map(|name| {
                let length = u8::try_from(name.len()).expect("short");
                std::iter::once(length).chain(name.bytes())
            });
            Connection { source, sni, alpn: alpn.collect(), version, client }
        })
}

/// Whether two rules have an entry in common, of every kind of conditions.
fn overlap(one: &RuleSpec, other: &RuleSpec) -> bool {
    fn meet<T: PartialEq>(one: &[T], other: &[T]) -> bool {
        (one.is_empty() && other.is_empty()) || one.iter().any(|entry| other.contains(entry))
    }
    meet(&one.client, &other.client)
        && meet(&one.sni, &other.sni)
        && meet(&one.source, &other.source)
        && meet(&one.alpn, &other.alpn)
        && meet(&one.versions, &other.versions)
}

/// Without the rules that are ambiguous with one before.
fn unambiguous(specs: Vec<RuleSpec>) -> Vec<RuleSpec> {
    let mut kept: Vec<RuleSpec> = Vec::new();
    for spec in specs {
        let clashes = |before: &RuleSpec| before.outcome != spec.outcome && overlap(before, &spec);
        if !kept.iter().any(clashes) {
            kept.push(spec);
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn agrees_with_the_naive_matcher(
        specs in specs(40, 3).prop_map(unambiguous),
        connections in vec(connection(), 1..40),
    ) {
        let table = RuleTable::compile(&specs).expect("no ambiguity is left");
        for connection in &connections {
            let facts = connection.facts();
            let found = table.lookup(&facts);
            prop_assert_eq!(found, naive::lookup(&specs, &facts));
            if let Some(rule) = found {
                let spec = &specs[rule.0 as usize];
                prop_assert_eq!(table.outcome(rule), spec.outcome);
                prop_assert_eq!(table.label(rule), (spec.name.as_str(), spec.line));
            }
        }
    }

    /// One that wins is at least as specific as all that match, and every rule is accounted for.
    #[test]
    fn explanations_name_every_rule_once(
        specs in specs(20, 3).prop_map(unambiguous),
        connection in connection(),
    ) {
        let facts = connection.facts();
        let told = naive::explain(&specs, &facts);
        prop_assert_eq!(told.matched, naive::lookup(&specs, &facts));
        let rules = told.matched.into_iter()
            .chain(told.beaten.iter().map(|(rule, _)| *rule))
            .chain(told.unmatched.iter().map(|(rule, _)| *rule));
        let mut rules: Vec<u32> = rules.map(|rule| rule.0).collect();
        rules.sort_unstable();
        prop_assert_eq!(rules, (0..).take(specs.len()).collect::<Vec<u32>>());
        for (rule, _) in &told.unmatched {
            let alone = std::slice::from_ref(&specs[rule.0 as usize]);
            prop_assert_eq!(naive::lookup(alone, &facts), None);
        }
        for (rule, same) in &told.beaten {
            let alone = std::slice::from_ref(&specs[rule.0 as usize]);
            prop_assert_eq!(naive::lookup(alone, &facts), Some(RuleId(0)));
            let winner = &specs[told.matched.expect("somebody won").0 as usize];
            prop_assert!(same.is_some() || winner.outcome == alone[0].outcome);
        }
    }

    #[test]
    fn ambiguity_is_what_all_pairs_say(specs in specs(12, 2)) {
        let mut pairs = HashSet::new();
        for (at, one) in specs.iter().enumerate() {
            for (before, other) in specs[..at].iter().enumerate() {
                if one.outcome != other.outcome && overlap(one, other) {
                    pairs.insert((before, at));
                }
            }
        }
        match RuleTable::compile(&specs) {
            Ok(_) => prop_assert!(pairs.is_empty(), "{:?}", pairs),
            Err(CompileError::Ambiguous { told, pairs: count }) => {
                prop_assert_eq!(told.len(), count);
                let told: HashSet<_> =
                    told.iter().map(|told| (told.first.position, told.second.position)).collect();
                prop_assert!(told.is_subset(&pairs), "{:?} of {:?}", told, pairs);
                // Of several that are the same, the first is told with each that differs from it.
                for (one, other) in pairs {
                    let is_told = |rule| told.iter().any(|told| told.0 == rule || told.1 == rule);
                    prop_assert!(is_told(one) || is_told(other));
                }
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    /// Many prefixes, over all addresses and crowded in a few.
    #[test]
    fn prefixes_agree_with_the_naive_matcher(
        v4 in hash_set((any::<u32>(), 0u8..=32), 1..80),
        v6 in hash_set((any::<u128>(), 0u8..=128), 1..80),
        crowded in any::<bool>(),
        picks in vec((any::<Index>(), any::<u128>(), 0u32..=127), 1..100),
    ) {
        let v4 = v4.into_iter().map(|(bits, length)| {
            let bits = if crowded { bits & 0xff | 0x0a01_0200 } else { bits };
            cidr(IpAddr::V4(bits.into()), length)
        });
        let v6 = v6.into_iter().map(|(bits, length)| {
            let bits = if crowded { bits & 0xffff | 0xfd << 120 } else { bits };
            cidr(IpAddr::V6(bits.into()), length)
        });
        let cidrs: HashSet<Cidr> = v4.chain(v6).collect();
        let specs: Vec<RuleSpec> = cidrs.iter().zip(0..).map(|(cidr, outcome)| RuleSpec {
            source: vec![*cidr], outcome, ..RuleSpec::default()
        }).collect();
        let table = RuleTable::compile(&specs).expect("all are different");
        for (pick, noise, shift) in picks {
            // In a prefix, at its edges, and near it.
            let near = noise.checked_shr(shift).unwrap_or(0);
            let source = match specs[pick.index(specs.len())].source[0].address() {
                IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() ^ low(near)).wrapping_sub(1).into()),
                IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() ^ near).wrapping_sub(1).into()),
            };
            let facts = Facts { source: Some(source), ..Facts::default() };
            prop_assert_eq!(table.lookup(&facts), naive::lookup(&specs, &facts), "{}", source);
        }
    }
}

fn low(number: u128) -> u32 {
    u32::try_from(number & 0xffff_ffff).expect("masked")
}

/// The prefix of this length that an address is in.
fn cidr(address: IpAddr, length: u8) -> Cidr {
    let bits = |width: u8| u32::from(width - length);
    let masked = match address {
        IpAddr::V4(v4) => {
            IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(bits(32)).unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(bits(128)).unwrap_or(0)).into())
        }
    };
    // ::ffff:0:0/96 and what is in it is IPv4.
    Cidr::new(masked, length).unwrap_or_else(|| "fd00::/8".parse().expect("a range"))
}

#[test]
fn ambiguous_rules_are_named_with_their_lines() {
    let rule = |name: &str, line, sni: &[&str], outcome| RuleSpec {
        name: name.into(),
        line,
        source: vec!["10.0.0.0/8".parse().expect("a range")],
        sni: sni.iter().map(|text| text.parse().expect("a name")).collect(),
        outcome,
        ..RuleSpec::default()
    };
    let error = RuleTable::compile(&[
        rule("a", 3, &["a.example.com", "b.example.com"], 1),
        rule("b", 9, &["c.example.com", "b.example.com"], 2),
        rule("same outcome", 12, &["a.example.com"], 1),
    ]);
    let Err(CompileError::Ambiguous { told, pairs: 1 }) = error else { panic!("{error:?}") };
    assert_eq!(
        told[0].to_string(),
        "rule \"a\" (line 3) and rule \"b\" (line 9) match the same connections \
         (SNI b.example.com, source 10.0.0.0/8)"
    );
}

#[test]
fn a_hundred_ambiguities_are_told_and_all_are_counted() {
    let specs: Vec<RuleSpec> =
        (0..150).map(|outcome| RuleSpec { outcome, ..RuleSpec::default() }).collect();
    let error = RuleTable::compile(&specs);
    let Err(CompileError::Ambiguous { told, pairs: 149 }) = error else { panic!("{error:?}") };
    assert_eq!(told.len(), 100);
    assert_eq!(told[0].shared, "all of them");
}

#[test]
fn too_many_protocols_and_combinations_are_refused() {
    let alpn = |count: u32| (0..count).map(|number| number.to_be_bytes().to_vec()).collect();
    let rule = |alpn| RuleSpec { name: "wide".into(), line: 7, alpn, ..RuleSpec::default() };
    assert!(RuleTable::compile(&[rule(alpn(64))]).is_ok());
    let error = RuleTable::compile(&[rule(alpn(1)), rule(alpn(65))]).expect_err("too many");
    assert_eq!(
        error.to_string(),
        "rule \"wide\" (line 7) brings the ALPN protocols that rules name to more than 64"
    );
    let wide = RuleSpec {
        source: vec!["10.0.0.1".parse().expect("an address"); 4000],
        sni: vec!["a.org".parse().expect("a name"); 4000],
        ..rule(Vec::new())
    };
    let error = RuleTable::compile(&[wide]).expect_err("too many");
    assert_eq!(
        error.to_string(),
        "the rules have 16000000 combinations of conditions, 8388608 is the most; \
         rule \"wide\" (line 7) has 16000000"
    );
}

#[test]
fn conditions_as_text() {
    for text in CIDRS {
        assert_eq!(text.parse::<Cidr>().expect("a range").to_string(), text);
    }
    for text in PATTERNS {
        assert_eq!(text.parse::<SniPattern>().expect("a name").to_string(), text);
    }
    for text in CLIENTS {
        assert_eq!(text.parse::<ClientMatch>().expect("a client").to_string(), text);
    }
    assert_eq!("192.0.2.1".parse::<Cidr>().expect("an address").to_string(), "192.0.2.1/32");
    assert_eq!("AB.Org".parse(), Ok(SniPattern::Exact("ab.org".into())));
    let hint = |text: &str| text.parse::<Cidr>().expect_err("no range");
    assert!(hint("10.1.2.3/8").ends_with("write \"10.0.0.0/8\"."), "{}", hint("10.1.2.3/8"));
    assert!(hint("10.0.0.0/33").contains("0 to 32 bits"), "{}", hint("10.0.0.0/33"));
    assert!(hint("::ffff:10.0.0.0/90").contains("IPv4"), "{}", hint("::ffff:10.0.0.0/90"));
    assert!(hint("ten/8").contains("such as"));
    for text in ["a.example.com.", "*.*.org", "a*.org", "*", "", "192.0.2.1"] {
        assert!(text.parse::<SniPattern>().is_err(), "{text}");
    }
    for text in ["uri:a*", "uri:", "sha256:00", "cn", "who:me", "ip:10.0.0.0/8", "dns:*"] {
        assert!(text.parse::<ClientMatch>().is_err(), "{text}");
    }
    let deep = format!("uri:{}*", "a/".repeat(MAX_SLASHES + 1));
    assert!(deep.parse::<ClientMatch>().expect_err("too deep").contains("16 slashes"));
    assert!("1.4".parse::<Version>().is_err());
    assert_eq!("1.2".parse(), Ok(Version::Tls12));
}

#[test]
fn digests_are_read_as_people_write_them() {
    let digest: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";
    let base64 = data_encoding::BASE64.encode(&digest);
    let hexadecimal = data_encoding::HEXUPPER.encode(&digest);
    let pairs: Vec<&str> = (0..64).step_by(2).map(|at| &hexadecimal[at..at + 2]).collect();
    let lower = hexadecimal.to_ascii_lowercase();
    for text in [&base64, &hexadecimal, &lower, &pairs.join(":")] {
        assert_eq!(parse_sha256(text), Some(digest), "{text}");
    }
    for text in ["", "x", &base64[1..], &hexadecimal[2..], &"g".repeat(64)] {
        assert_eq!(parse_sha256(text), None, "{text}");
    }
}
