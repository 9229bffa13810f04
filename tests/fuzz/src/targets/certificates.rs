//! What a peer shows as its certificates: read before anything about it is believed.
//!
//! Keys are fixed and Ed25519, so that an input means the same in every run.

use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ED25519, SanType,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use tlsgate::tls::provider::provider;
use tlsgate::tls::trust::{
    ClientCert, ClientTrust, ClientTrustSettings, ClientVerdict, CrlPolicy, Loader, MAX_NAME,
    MAX_NAMES, TrustFile,
};
use tlsgate_corpus::mutate::mutate;
use tlsgate_corpus::rng::Rng;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "certificates",
    about: "chains of certificates, each behind a length of three bytes, to trust::judge",
    seeds,
    generate,
    run,
    bounded: 4_000,
};

/// The first second of 2030.
const NOW: Duration = Duration::from_secs(1_893_456_000);
/// Longest text that is told of a chain; a name in it has 200 characters of up to 4 bytes, twice.
const MAX_TEXT: usize = 2048;

struct World {
    trust: ClientTrust,
    leaf: CertificateDer<'static>,
    seeds: Vec<Vec<u8>>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

fn run(bytes: &[u8]) {
    let chain = read(bytes);
    let judged = WORLD.trust.judge(&chain, UnixTime::since_unix_epoch(NOW));
    match &judged.verdict {
        ClientVerdict::Anonymous => assert!(chain.is_empty()),
        // Nobody has a key to make another with.
        ClientVerdict::Verified => assert_eq!(chain[0], WORLD.leaf, "forged"),
        ClientVerdict::Failed(why) => {
            assert!(!why.text.is_empty() && why.text.len() <= MAX_TEXT, "{why}");
            let control = why.text.chars().find(|letter| letter.is_control());
            assert_eq!(control, None, "a terminal would obey: {why:?}");
        }
    }
    assert!(judged.authorized().is_none(), "it is a report");
    if let Some(who) = judged.shown() {
        let names = who.dns.iter().chain(&who.uris).chain([&who.subject, &who.issuer]);
        assert!(names.chain(&who.cn).all(|name| name.len() <= MAX_NAME));
        assert!([who.dns.len(), who.uris.len(), who.ips.len()].iter().all(|n| *n <= MAX_NAMES));
        let control = |name: &str| name.chars().any(char::is_control);
        assert!(!control(&who.subject) && !control(&who.issuer), "{who:?}");
    }
    let mut path = judged.peer.as_deref().and_then(|peer| peer.path().cloned());
    let again = WORLD.trust.recheck(&chain, &mut path, UnixTime::since_unix_epoch(NOW));
    assert!(again.is_ok(), "it is a report");
}

/// As many as there are whole, ten at most.
fn read(mut bytes: &[u8]) -> Vec<CertificateDer<'_>> {
    let mut chain = Vec::new();
    while let [high, middle, low, rest @ ..] = bytes
        && chain.len() < 10
    {
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        let (certificate, after) = rest.split_at(length.min(rest.len()));
        chain.push(certificate.into());
        bytes = after;
    }
    chain
}

fn seeds() -> Vec<Vec<u8>> {
    WORLD.seeds.clone()
}

fn generate(rng: &mut Rng) -> Vec<u8> {
    let seeds = &WORLD.seeds;
    let (one, other) = (rng.pick(seeds).clone(), rng.pick(seeds).clone());
    mutate(rng, &one, &other)
}

impl World {
    fn new() -> Self {
        let (root, root_der) = ca(1, None);
        let (issuing, issuing_der) = ca(2, Some(&root));
        let leaf = leaf(&issuing);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("ca.pem");
        fs::write(&path, root_der.1).expect("a writable directory");
        let settings = ClientTrustSettings {
            client_cert: ClientCert::Report,
            trusted_ca: vec![TrustFile { path, line: 0 }],
            crls: CrlPolicy::default(),
        };
        let trust = Loader::new(provider()).client(&settings).expect("a good file");
        let (leaf, issuing, root) = (leaf, issuing_der.0, root_der.0);
        let chains: [&[&CertificateDer<'_>]; 6] = [
            &[&leaf, &issuing],
            &[&leaf],
            &[&root],
            &[&issuing, &root],
            &[&leaf, &leaf, &issuing, &issuing, &root],
            &[&leaf, &root, &issuing],
        ];
        let written = chains.map(|chain| {
            let one = |certificate: &&CertificateDer<'_>| {
                let length = u32::try_from(certificate.len()).expect("short").to_be_bytes();
                [&length[1..], certificate.as_ref()].concat()
            };
            chain.iter().flat_map(one).collect()
        });
        Self { trust, leaf: leaf.clone(), seeds: written.to_vec() }
    }
}

/// The key that `number` stands for (RFC 8410 §7).
fn key(number: u8) -> KeyPair {
    const BEFORE: [u8; 16] =
        [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = PrivatePkcs8KeyDer::from([&BEFORE[..], &[number; 32]].concat());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).expect("a key")
}

type Made = (CertificateDer<'static>, String);

fn ca(number: u8, issuer: Option<&Issuer<'static, KeyPair>>) -> (Issuer<'static, KeyPair>, Made) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, format!("CA {number}"));
    params.serial_number = Some(u64::from(number).into());
    let key = key(number);
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    }
    .expect("signed");
    (Issuer::new(params, key), (certificate.der().clone(), certificate.pem()))
}

fn leaf(issuer: &Issuer<'static, KeyPair>) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a DNS name");
    params.serial_number = Some(9.into());
    params.distinguished_name.push(DnType::OrganizationName, "a, \"b\"");
    let uri = "spiffe://example/a".try_into().expect("a URI");
    params.subject_alt_names.push(SanType::URI(uri));
    params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()));
    params.signed_by(&key(9), issuer).expect("signed").der().clone()
}
