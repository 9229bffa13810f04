use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::ServerConfig;
use rustls::server::Acceptor;

use super::*;
use crate::config::model::{Compat12, Date, DownstreamTls, Legacy, WEAK_SUITES, WeakSuite};
use crate::tls::hello::{Hello, HelloReader, Progress};
use crate::tls::identity::{self, Identities};
use crate::tls::provider::provider;
use crate::tls::resumption::Attempt;
use crate::tls::testing::{self, Ca, Files, Issued, NAME};

/// A day before and after the last one of the legacy lane here, 2027-12-31.
const BEFORE: i64 = 1_800_000_000;
const AFTER: i64 = 1_830_297_600;

const SUITES: [u16; 12] = [
    0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xcca8, 0xc009, 0xc013, 0x0039, 0x002f, 0x009c, 0x0005,
];
const GROUPS: [u16; 5] = [0x001d, 0x0017, 0x0018, 0x0019, 0x0100];
const SCHEMES: [u16; 9] = [0x0403, 0x0503, 0x0401, 0x0601, 0x0804, 0x0806, 0x0807, 0x0201, 0x0203];

/// What a client says that is asked about here.
#[derive(Clone, Debug, Default)]
struct Said {
    legacy_version: u16,
    /// Without the extension where there are none.
    versions: Vec<u16>,
    suites: Vec<u16>,
    groups: Vec<u16>,
    schemes: Vec<u16>,
    name: Option<&'static [u8]>,
}

impl Said {
    /// A modern client.
    fn modern() -> Self {
        Self {
            legacy_version: 0x0303,
            versions: vec![0x0304, 0x0303],
            suites: vec![0x1301, 0xc02b, 0xc02f],
            groups: vec![0x001d, 0x0017],
            schemes: vec![0x0403, 0x0804],
            name: Some(NAME.as_bytes()),
        }
    }

    /// One of the last century.
    fn old() -> Self {
        Self { legacy_version: 0x0301, suites: vec![0x0035, 0x002f, 0x0005], ..Self::default() }
    }

    fn message(&self) -> Vec<u8> {
        let pairs =
            |list: &[u16]| list.iter().flat_map(|one| one.to_be_bytes()).collect::<Vec<_>>();
        let list16 = |bytes: &[u8]| {
            [&u16::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat()
        };
        let list8 = |bytes: &[u8]| [&[u8::try_from(bytes.len()).expect("short")], bytes].concat();
        let mut extensions: Vec<(u16, Vec<u8>)> = Vec::new();
        if let Some(name) = self.name {
            extensions.push((0, list16(&[&[0], &*list16(name)].concat())));
        }
        if !self.groups.is_empty() {
            extensions.push((10, list16(&pairs(&self.groups))));
        }
        if !self.schemes.is_empty() {
            extensions.push((13, list16(&pairs(&self.schemes))));
        }
        if !self.versions.is_empty() {
            extensions.push((43, list8(&pairs(&self.versions))));
            // TLS 1.3 wants it; without a share the server asks for one. Nine is X25519's base point.
            let share = [&0x001d_u16.to_be_bytes(), &*list16(&[9; 32])].concat();
            let has_share = self.groups.contains(&0x001d);
            extensions.push((51, list16(if has_share { &share } else { &[] })));
        }
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&list8(&[]));
        body.extend_from_slice(&list16(&pairs(&self.suites)));
        body.extend_from_slice(&[1, 0]);
        if !extensions.is_empty() {
            let all = extensions
                .iter()
                .map(|(kind, body)| [&kind.to_be_bytes(), &*list16(body)].concat());
            body.extend_from_slice(&list16(&all.collect::<Vec<_>>().concat()));
        }
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }
}

/// A listener's TLS, and what its lanes are.
struct World {
    identities: Identities,
    config: Arc<ServerConfig>,
    tls: DownstreamTls,
}

impl World {
    fn new(certificates: &[&Issued], versions: [TlsVersion; 2]) -> Self {
        let files = Files::new();
        let named = certificates.iter().enumerate();
        let named = named.map(|(at, issued)| files.issued(&at.to_string(), issued)).collect();
        let [min_version, max_version] = versions;
        let tls = DownstreamTls { min_version, max_version, ..testing::tls(named) };
        let identities = identity::load(&tls, &provider()).expect("files of our own");
        let versions = crate::tls::provider::protocol_versions(min_version..=max_version);
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions)
            .expect("versions of the provider")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identities.resolver) as Arc<_>);
        Self { identities, config: Arc::new(config), tls }
    }

    fn lanes(&self) -> Lanes {
        let both = Keys { rsa: true, ecdsa: true };
        Lanes::new(&self.tls, provider(), Arc::clone(&self.identities.resolver), (both, both))
    }

    fn with_compat12(mut self, suites: &[&str]) -> Self {
        let suites = suites.iter().map(|name| WeakSuite::named(name).expect(name)).collect();
        self.tls.compat12 = Some(Compat12 { suites, certificate: None });
        self
    }

    fn with_legacy(mut self) -> Self {
        self.tls.min_version = TlsVersion::V1_0;
        self.tls.legacy = Some(Legacy {
            until: Date::parse("2027-12-31").expect("a day"),
            allow_from: vec!["10.1.2.0/28".parse().expect("a range")],
            suites: WEAK_SUITES.iter().filter(|suite| !suite.only_tls12).collect(),
            certificate: None,
        });
        self
    }
}

/// What rustls says of a hello.
fn rustls_takes(config: &Arc<ServerConfig>, message: &[u8]) -> bool {
    let length = u16::try_from(message.len()).expect("one record").to_be_bytes();
    let record = [&[22, 3, 1], &length[..], message].concat();
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut record.as_slice()).expect("in memory");
    let Ok(Some(accepted)) = acceptor.accept() else { return false };
    let into = || accepted.into_connection(Arc::clone(config)).is_ok();
    Attempt::new().run(None, into)
}

fn choose(lanes: &Lanes, said: &Said, source: &str, now: i64) -> Result<Choice, NoLane> {
    let message = said.message();
    let hello = Hello::parse(&message).expect("well-formed");
    lanes.choose(&hello, Some(source.parse().expect("an address")), now)
}

fn in_lane(lane: Lane, why: Why) -> Result<Choice, NoLane> {
    Ok(Choice { lane, why })
}

static ECDSA: LazyLock<Issued> = LazyLock::new(|| Ca::new().issue(&PKCS_ECDSA_P256_SHA256));
static RSA: LazyLock<Issued> = LazyLock::new(|| Ca::new().issue_rsa());
static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| {
    let both = [TlsVersion::V1_2, TlsVersion::V1_3];
    vec![
        World::new(&[&ECDSA], both),
        World::new(&[&RSA], both),
        World::new(&[&RSA, &ECDSA], both),
        World::new(&[&RSA], [TlsVersion::V1_2; 2]),
        World::new(&[&RSA], [TlsVersion::V1_3; 2]),
    ]
});

fn subset(of: &'static [u16], least: usize) -> impl Strategy<Value = Vec<u16>> {
    proptest::sample::subsequence(of, least..=of.len())
}

prop_compose! {
    fn said()(
        legacy_version in proptest::sample::select(vec![0x0300, 0x0301, 0x0302, 0x0303]),
        versions in subset(&[0x0304, 0x0303, 0x0302, 0x0301], 0),
        suites in subset(&SUITES, 1),
        groups in subset(&GROUPS, 0),
        schemes in subset(&SCHEMES, 0),
        name in proptest::sample::select(vec![
            None,
            Some(NAME.as_bytes()),
            Some(b"other.example".as_slice()),
            Some(b"a..b".as_slice()),
            Some(b"bad name".as_slice()),
            Some(b"10.0.0.1".as_slice()),
        ]),
    ) -> Said {
        Said { legacy_version, versions, suites, groups, schemes, name }
    }
}

proptest! {
    /// Modern exactly where rustls takes the hello: nobody who could have more gets less, and nobody
    /// is sent there to fail while a weaker lane is open.
    #[test]
    fn the_modern_lane_is_for_whom_rustls_takes(said in said()) {
        let message = said.message();
        let hello = Hello::parse(&message).expect("well-formed");
        for world in WORLDS.iter() {
            let modern = world.lanes().modern.expect("versions that rustls has");
            let lacks = modern.lacks(&hello);
            let is_taken = rustls_takes(&world.config, &message);
            // Without a share, rustls asks for one before it looks for a signature.
            if lacks == Some(Why::Signature) && !said.groups.contains(&0x001d) {
                continue;
            }
            prop_assert_eq!(lacks.is_none(), is_taken, "{:?}", lacks);
        }
    }

    /// No lane is weaker than what its terms allow, whatever is said.
    #[test]
    fn a_weak_lane_is_only_for_those_it_is_open_to(said in said(), inside: bool, late: bool) {
        let world = World::new(&[&ECDSA], [TlsVersion::V1_2, TlsVersion::V1_3]).with_legacy();
        let source = if inside { "10.1.2.3" } else { "10.1.3.3" };
        let now = if late { AFTER } else { BEFORE };
        match choose(&world.lanes(), &said, source, now) {
            Ok(Choice { lane: Lane::Legacy, why }) => prop_assert!(inside && !late && why != Why::Able),
            Ok(Choice { lane, .. }) => prop_assert_eq!(lane, Lane::Modern),
            Err(NoLane::Source) => prop_assert!(!inside),
            Err(NoLane::Over) => prop_assert!(inside && late),
            Err(NoLane::Ssl3) => prop_assert!(said.versions.is_empty()),
            Err(why) => prop_assert_eq!(why, NoLane::Version),
        }
    }
}

#[test]
fn the_best_lane_that_is_open_is_taken() {
    let both = [TlsVersion::V1_2, TlsVersion::V1_3];
    let cbc = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
    let plain = World::new(&[&RSA], both).lanes();
    let compat = World::new(&[&RSA], both).with_compat12(&[cbc]).lanes();
    let legacy = World::new(&[&RSA], both).with_legacy().lanes();
    let all = World::new(&[&RSA], both).with_compat12(&[cbc]).with_legacy().lanes();
    let inside = "10.1.2.3";
    let modern = Said::modern();
    let of_cbc = Said { suites: vec![0xc013], versions: Vec::new(), ..Said::modern() };
    let odd = Said { name: Some(b"a..b"), ..Said::modern() };
    let unsigned = Said { schemes: Vec::new(), versions: Vec::new(), ..Said::modern() };
    let sha1 = Said { schemes: vec![0x0201], ..of_cbc.clone() };
    let groupless = Said { groups: vec![0x0019], versions: Vec::new(), ..Said::modern() };
    for lanes in [&plain, &compat, &legacy, &all] {
        assert_eq!(choose(lanes, &modern, inside, BEFORE), in_lane(Lane::Modern, Why::Able));
        let ssl3 = Said { legacy_version: 0x0300, ..Said::old() };
        assert_eq!(choose(lanes, &ssl3, inside, BEFORE), Err(NoLane::Ssl3));
    }
    for (said, why, lanes) in [
        (&of_cbc, Why::Suite, [Lane::Modern, Lane::Compat12, Lane::Legacy, Lane::Compat12]),
        (&odd, Why::Sni, [Lane::Modern, Lane::Compat12, Lane::Legacy, Lane::Compat12]),
        (&unsigned, Why::Signature, [Lane::Modern, Lane::Modern, Lane::Legacy, Lane::Legacy]),
        (&sha1, Why::Suite, [Lane::Modern, Lane::Modern, Lane::Legacy, Lane::Legacy]),
        (&groupless, Why::Group, [Lane::Modern, Lane::Compat12, Lane::Legacy, Lane::Compat12]),
    ] {
        for (of, lane) in [&plain, &compat, &legacy, &all].into_iter().zip(lanes) {
            assert_eq!(choose(of, said, inside, BEFORE), in_lane(lane, why), "{said:?}");
        }
    }
    let old = Said::old();
    assert_eq!(choose(&plain, &old, inside, BEFORE), Err(NoLane::Version));
    assert_eq!(choose(&compat, &old, inside, BEFORE), Err(NoLane::Version));
    for lanes in [&legacy, &all] {
        assert_eq!(choose(lanes, &old, inside, BEFORE), in_lane(Lane::Legacy, Why::Version));
        assert_eq!(choose(lanes, &old, "10.1.2.16", BEFORE), Err(NoLane::Source));
        assert_eq!(choose(lanes, &old, inside, AFTER), Err(NoLane::Over));
        assert_eq!(choose(lanes, &old, inside, AFTER - 1), in_lane(Lane::Legacy, Why::Version));
    }
    // Nothing that is spoken anywhere.
    let rc4 = Said { suites: vec![0x0005], ..Said::old() };
    assert_eq!(choose(&all, &rc4, inside, BEFORE), Err(NoLane::Version));
}

#[test]
fn the_other_format_is_for_the_legacy_lane_alone() {
    let both = [TlsVersion::V1_2, TlsVersion::V1_3];
    let bytes = [&[0x80, 0x2e, 1, 3, 1, 0, 3, 0, 0, 0, 32], &[0, 0, 0x2f][..], &[9; 32]].concat();
    let bytes = [&[0x80, 44], &bytes[2..]].concat();
    let mut reader = HelloReader::new();
    assert_eq!(reader.feed(&bytes), Ok(Progress::Complete { consumed: bytes.len() }));
    let hello = reader.hello().expect("well-formed");
    let source = Some("10.1.2.3".parse().expect("an address"));
    let with = World::new(&[&RSA], both).with_legacy().lanes();
    assert_eq!(with.choose(&hello, source, BEFORE), in_lane(Lane::Legacy, Why::Format));
    assert_eq!(with.choose(&hello, None, BEFORE), Err(NoLane::Source));
    let without = World::new(&[&RSA], both).with_compat12(&["TLS_RSA_WITH_AES_128_CBC_SHA"]);
    assert_eq!(without.lanes().choose(&hello, source, BEFORE), Err(NoLane::Format));
}

#[test]
fn without_tls_1_2_nobody_takes_the_modern_lane() {
    let world = World::new(&[&RSA], [TlsVersion::V1_2, TlsVersion::V1_3]).with_legacy();
    let tls = DownstreamTls { max_version: TlsVersion::V1_1, ..world.tls.clone() };
    let keys = Keys { rsa: true, ecdsa: false };
    let resolver = Arc::clone(&world.identities.resolver);
    let lanes = Lanes::new(&tls, provider(), resolver, (Keys::default(), keys));
    // It offers TLS 1.2 at most, and takes less.
    let newer = Said { versions: Vec::new(), suites: vec![0xc02f, 0x002f], ..Said::modern() };
    let choice = choose(&lanes, &newer, "10.1.2.3", BEFORE);
    assert_eq!(choice, in_lane(Lane::Legacy, Why::Version));
    let only = Said { versions: vec![0x0304, 0x0303], ..newer };
    assert_eq!(choose(&lanes, &only, "10.1.2.3", BEFORE), Err(NoLane::Version));
}
