//! Chains made for the purpose, and real handshakes in memory, in both versions of TLS.

mod client;
mod crl;
mod figures;
mod openssl;
mod peer;
mod property;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber,
    SigningKey as _,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, Error, ServerConfig, SupportedProtocolVersion};

use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::tls::file::FileProblem;
use crate::tls::provider::provider;
use crate::tls::testing::{self, Files, Issued, NAME};

/// The first second of 2030, when all of this happens.
const NOW: i64 = 1_893_456_000;
const DAY: i64 = 24 * 3600;

/// A CA, root or intermediate.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    serial: SerialNumber,
}

impl Ca {
    fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (ca_params(name), new_key());
        change(&mut params);
        let certificate = params.self_signed(&key).expect("signed");
        let serial = params.serial_number.clone().expect("has one");
        Self { issuer: Issuer::new(params, key), certificate, serial }
    }

    fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(name, |_| {})
    }

    fn intermediate_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (ca_params(name), new_key());
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let serial = params.serial_number.clone().expect("has one");
        Self { issuer: Issuer::new(params, key), certificate, serial }
    }

    /// A certificate with the usual name, and what `change` makes of it.
    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let (params, key) = (leaf_params(change), new_key());
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Issued { certificate, key }
    }

    /// A list of these serial numbers that is good until tomorrow.
    fn crl(&self, revoked: &[u64]) -> rcgen::CertificateRevocationList {
        self.crl_until(NOW + DAY, revoked.iter().map(|serial| (*serial).into()))
    }

    fn crl_until(
        &self,
        next_update: i64,
        revoked: impl IntoIterator<Item = SerialNumber>,
    ) -> rcgen::CertificateRevocationList {
        crl_params(next_update, revoked).signed_by(&self.issuer).expect("signed")
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }
}

fn crl_params(
    next_update: i64,
    revoked: impl IntoIterator<Item = SerialNumber>,
) -> CertificateRevocationListParams {
    let at =
        |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at(seconds).as_secs());
    let revoked = revoked.into_iter().map(|serial_number| RevokedCertParams {
        serial_number,
        revocation_time: at(NOW - 9 * DAY),
        reason_code: None,
        invalidity_date: None,
    });
    CertificateRevocationListParams {
        this_update: at(NOW - 8 * DAY),
        next_update: at(next_update),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&new_serial()));
    params
}

fn leaf_params(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a DNS name");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "peer");
    change(&mut params);
    params
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key")
}

/// Of the key's own making, so that none occurs twice.
fn new_serial() -> [u8; 8] {
    let mut serial = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut serial).expect("random");
    serial[0] = 0x40 | serial[0] & 0x3f;
    serial
}

fn serial(number: u64) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.serial_number = Some(number.into())
}

fn now() -> UnixTime {
    at(NOW)
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().expect("after 1970")))
}

#[derive(Debug)]
struct Clock(UnixTime);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// Who shows what: a leaf, what it sends besides, and its key.
fn identity(leaf: &Issued, others: &[&Ca]) -> Arc<CertifiedKey> {
    identity_with_key(leaf, others, leaf)
}

/// The certificates of one and the key of another.
fn identity_with_key(leaf: &Issued, others: &[&Ca], key: &Issued) -> Arc<CertifiedKey> {
    let mut chain = vec![leaf.certificate.der().clone()];
    chain.extend(others.iter().map(|ca| ca.certificate.der().clone()));
    let key: Arc<dyn SigningKey> =
        provider().key_provider.load_private_key(key.private_key()).expect("a good key");
    Arc::new(CertifiedKey::new(chain, key))
}

struct Store {
    files: Files,
    written: std::cell::Cell<usize>,
}

impl Store {
    fn new() -> Self {
        Self { files: Files::new(), written: std::cell::Cell::new(0) }
    }

    fn put(&self, content: &str) -> TrustFile {
        let number = self.written.get();
        self.written.set(number + 1);
        let path = self.files.write(&format!("{number}.pem"), content, 0o644);
        TrustFile { path, line: number + 1 }
    }

    fn cas(&self, cas: &[&Ca]) -> Vec<TrustFile> {
        cas.iter().map(|ca| self.put(&ca.pem())).collect()
    }
}

fn ask(client_cert: ClientCert, trusted_ca: Vec<TrustFile>) -> ClientTrustSettings {
    ClientTrustSettings { client_cert, trusted_ca, crls: CrlPolicy::default() }
}

fn load(settings: &ClientTrustSettings) -> Result<ClientTrust, Vec<FileProblem>> {
    Loader::new(provider()).client(settings)
}

/// Trust that requires a certificate of one of these CAs.
fn require(store: &Store, cas: &[&Ca], crls: CrlPolicy) -> ClientTrust {
    let trusted_ca = store.cas(cas);
    load(&ClientTrustSettings { client_cert: ClientCert::Required, trusted_ca, crls })
        .expect("good files")
}

fn crls(files: Vec<TrustFile>) -> CrlPolicy {
    CrlPolicy { files, rules: CrlRules::default() }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A client that shows this to a server that has `trust`. Gives what the server knows then.
fn connect_with(
    trust: &ClientTrust,
    shown: Option<&Arc<CertifiedKey>>,
    version: &'static SupportedProtocolVersion,
    time: UnixTime,
) -> Result<ClientVerification, Error> {
    let server_ca = Ca::root("Server Root");
    let own = identity(&server_ca.leaf(|_| {}), &[]);
    let server_config = ServerConfig::builder_with_details(provider(), Arc::new(Clock(time)))
        .with_protocol_versions(&[version])
        .expect("a version of the provider")
        .with_client_cert_verifier(trust.verifier())
        .with_cert_resolver(Arc::new(SingleCertAndKey::from((*own).clone())));
    let store = Store::new();
    let anybody = server_settings(Verify::None, Vec::new());
    let server_trust = Loader::new(provider()).server(&anybody).expect("no files");
    let client_config = client_config(server_trust.verifier(name(NAME)), shown, &[version], time);
    drop(store);
    let mut client = testing::client(&Arc::new(client_config));
    let mut server = testing::server(&Arc::new(server_config));
    testing::handshake(&mut client, &mut server)?;
    Ok(trust.judge(server.peer_certificates().unwrap_or_default(), time))
}

/// As [`connect_with`], in both versions, which agree.
fn connect(
    trust: &ClientTrust,
    shown: Option<&Arc<CertifiedKey>>,
) -> Result<ClientVerification, Rejection> {
    let [one, two] = VERSIONS.map(|version| {
        connect_with(trust, shown, version, now())
            .map_err(|error| Rejection::take(&error).expect("about the certificate"))
    });
    assert_eq!(
        one.as_ref().map(|_| ()).map_err(|why| (why.problem, &why.text)),
        two.as_ref().map(|_| ()).map_err(|why| (why.problem, &why.text))
    );
    two
}

/// What a connection with `peer` does to be sure of it.
fn recheck(trust: &ClientTrust, peer: Option<&Peer>, time: UnixTime) -> Result<(), Rejection> {
    let chain = peer.map_or(&[][..], Peer::chain);
    trust.recheck(chain, &mut peer.and_then(Peer::path).cloned(), time)
}

/// The cause for which a client is refused.
fn refused(trust: &ClientTrust, shown: &Arc<CertifiedKey>) -> Rejection {
    let rejection = connect(trust, Some(shown)).expect_err("refused");
    let judged = trust.judge(&shown.cert, now());
    match &judged.verdict {
        ClientVerdict::Failed(again) => assert_eq!(again.problem, rejection.problem),
        other => panic!("{other:?}"),
    }
    assert!(judged.authorized().is_none());
    rejection
}

fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    shown: Option<&Arc<CertifiedKey>>,
    versions: &[&'static SupportedProtocolVersion],
    time: UnixTime,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Clock(time)))
        .with_protocol_versions(versions)
        .expect("versions of the provider")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match shown {
        Some(shown) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from((**shown).clone())))
        }
        None => builder.with_no_client_auth(),
    }
}

fn server_settings(verify: Verify, trusted_ca: Vec<TrustFile>) -> ServerTrustSettings {
    ServerTrustSettings {
        verify,
        name_match: NameMatch::San,
        trusted_ca,
        crls: CrlPolicy::default(),
        pins: Vec::new(),
    }
}

fn name(text: &str) -> rustls::pki_types::ServerName<'static> {
    text.to_owned().try_into().expect("a name or an address")
}

fn problem(found: &Result<ClientVerification, Rejection>) -> Option<CertificateProblem> {
    found.as_ref().err().map(|rejection| rejection.problem)
}

fn path(text: &str) -> PathBuf {
    PathBuf::from(text)
}

/// A certificate of X.509 version 1: no extensions, and so no word on what it is for.
fn version_1(ca: &Ca) -> Arc<CertifiedKey> {
    let key = new_key();
    let (_, issuer) = X509Certificate::from_der(ca.certificate.der()).expect("a certificate");
    let common_name = [tlv(6, &[0x55, 4, 3]), tlv(0x0c, b"old")].concat();
    let parts = [
        tlv(2, &[1]),
        ecdsa_with_sha256(),
        issuer.subject().as_raw().to_vec(),
        tlv(0x30, &[tlv(0x17, b"290101000000Z"), tlv(0x17, b"310101000000Z")].concat()),
        tlv(0x30, &tlv(0x31, &tlv(0x30, &common_name))),
        rcgen::PublicKeyData::subject_public_key_info(&key),
    ];
    let certificate = CertificateDer::from(signed(&parts.concat(), ca));
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let key = provider().key_provider.load_private_key(key).expect("a good key");
    Arc::new(CertifiedKey::new(vec![certificate], key))
}

/// What certificates and CRLs have in common (RFC 5280 §4.1.1): `content`, and its signature.
fn signed(content: &[u8], ca: &Ca) -> Vec<u8> {
    let content = tlv(0x30, content);
    let mut signature = vec![0];
    signature.extend(ca.issuer.key().sign(&content).expect("signed"));
    tlv(0x30, &[content, ecdsa_with_sha256(), tlv(3, &signature)].concat())
}

fn ecdsa_with_sha256() -> Vec<u8> {
    tlv(0x30, &tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short").to_be_bytes();
    let mut bytes = vec![tag];
    match length {
        [0, short @ 0..=0x7f] => bytes.push(short),
        [high, low] => bytes.extend([0x82, high, low]),
    }
    bytes.extend_from_slice(content);
    bytes
}
