//! Sessions in memory: of ours with each other, and with rustls on either side.

mod measured;
mod relayed;
mod resumed;
mod spoken;
mod trusted;

use std::collections::VecDeque;
use std::io::{Read, Write};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};
use rustls::pki_types::UnixTime;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use zeroize::Zeroizing;

use super::spec::{ClientSpec, Identity, Parameters, ServerSpec, Sessions, suites};
use super::{Client, Server, Verifier};
use crate::buf::{Buf, BufClass, Pool};
use crate::config::model::TlsVersion;
use crate::conn::outcome::Reason;
use crate::tls::error::TlsError;
use crate::tls::lane::Lane;
use crate::tls::testing::NAME;
use crate::tls::tls_conn::{Output, TlsConn};
use crate::tls::trust::ClientCert;

/// What weak lanes are told to speak: all key exchanges, in this order.
pub(super) const SUITES: [&str; 12] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_DHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
];

/// A CA whose key has this many bits, and which signs with this digest.
pub(crate) struct Ca {
    pub(super) certificate: X509,
    key: PKey<Private>,
    bits: u32,
    digest: MessageDigest,
}

impl Ca {
    pub(super) fn new(bits: u32, digest: MessageDigest) -> Self {
        let key = rsa(bits);
        let certificate = certificate("Old Root", &key, None, digest, |_| {});
        Self { certificate, key, bits, digest }
    }

    pub(super) fn usual() -> Self {
        Self::new(2048, MessageDigest::sha256())
    }

    /// What SHA-1 and 1,024 bits make of it.
    pub(crate) fn old() -> Self {
        Self::new(1024, MessageDigest::sha1())
    }

    pub(crate) fn issue(&self, name: &str) -> Identity {
        let key = rsa(self.bits);
        let by = Some((&self.certificate, &self.key));
        let leaf = certificate(name, &key, by, self.digest, |builder| {
            let context = builder.x509v3_context(Some(&self.certificate), None);
            let names = SubjectAlternativeName::new().dns(name).build(&context).expect("a name");
            builder.append_extension(names).expect("room");
        });
        Identity {
            names: vec![name.to_owned()],
            chain: vec![leaf.to_der().expect("DER")],
            key: Zeroizing::new(key.private_key_to_der().expect("DER")),
        }
    }

    pub(super) fn der(&self) -> Vec<u8> {
        self.certificate.to_der().expect("DER")
    }

    pub(super) fn pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().expect("PEM")).expect("PEM is text")
    }
}

fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).expect("a key")).expect("a key")
}

fn certificate(
    name: &str,
    key: &PKey<Private>,
    issuer: Option<(&X509, &PKey<Private>)>,
    digest: MessageDigest,
    extend: impl FnOnce(&mut openssl::x509::X509Builder),
) -> X509 {
    let mut builder = X509::builder().expect("memory");
    let mut subject = X509Name::builder().expect("memory");
    subject.append_entry_by_text("CN", name).expect("a name");
    let subject = subject.build();
    builder.set_version(2).expect("version 3");
    let mut serial = BigNum::new().expect("memory");
    serial.rand(100, openssl::bn::MsbOption::ONE, false).expect("random");
    let serial = serial.to_asn1_integer().expect("memory");
    builder.set_serial_number(&serial).expect("set");
    builder.set_subject_name(&subject).expect("set");
    let issued_by = issuer.map_or(&*subject, |(ca, _)| ca.subject_name());
    builder.set_issuer_name(issued_by).expect("set");
    builder.set_pubkey(key).expect("set");
    let (since, until) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(9));
    builder.set_not_before(&since.expect("a time")).expect("set");
    builder.set_not_after(&until.expect("a time")).expect("set");
    if issuer.is_none() {
        let constraints = BasicConstraints::new().critical().ca().build().expect("built");
        builder.append_extension(constraints).expect("room");
    }
    extend(&mut builder);
    builder.sign(issuer.map_or(key, |(_, key)| key), digest).expect("signed");
    builder.build()
}

pub(crate) fn parameters(lane: Lane) -> Parameters {
    let (suites, suites13) = suites(SUITES);
    let min_version = match lane {
        Lane::Legacy => TlsVersion::V1_0,
        _ => TlsVersion::V1_2,
    };
    Parameters {
        lane,
        min_version,
        max_version: TlsVersion::V1_2,
        suites,
        suites13,
        alpn: Vec::new(),
    }
}

pub(crate) fn server_spec(lane: Lane, identity: Identity) -> ServerSpec {
    ServerSpec {
        parameters: parameters(lane),
        identities: vec![identity],
        client_cert: ClientCert::None,
        trusted: Vec::new(),
        sessions: Sessions::Off,
        lifetime: 600,
        domain: [7; 16],
    }
}

pub(crate) fn client_spec(lane: Lane) -> ClientSpec {
    ClientSpec {
        parameters: parameters(lane),
        sni: Some(NAME.to_owned()),
        identity: None,
        trusted: Vec::new(),
    }
}

/// The same with this version alone.
pub(crate) fn only(version: TlsVersion, mut parameters: Parameters) -> Parameters {
    (parameters.min_version, parameters.max_version) = (version, version);
    parameters
}

/// Certificates are made for now.
pub(super) fn now() -> UnixTime {
    DefaultTimeProvider.current_time().expect("a clock")
}

/// One end: a session, and what it has to say and has heard.
pub(crate) struct End {
    pub(crate) tls: Box<dyn TlsConn>,
    pub(crate) pool: Pool,
    pub(crate) records: VecDeque<Buf>,
    pub(crate) plaintext: VecDeque<Buf>,
}

impl End {
    pub(crate) fn server(server: &Server, verifier: Option<Verifier>) -> Self {
        Self::of(server.accept(Some(NAME), verifier, now()).expect("memory"))
    }

    pub(crate) fn client(client: &Client, verifier: Option<Verifier>) -> Self {
        let (pool, mut records) = (Pool::new(64 << 20, 4), VecDeque::new());
        let tls = client.connect(verifier, now(), &pool, &mut records).expect("something to offer");
        Self { records, pool, ..Self::of(tls) }
    }

    pub(crate) fn of(tls: impl TlsConn + 'static) -> Self {
        let pool = Pool::new(64 << 20, 4);
        Self { tls: Box::new(tls), pool, records: VecDeque::new(), plaintext: VecDeque::new() }
    }

    /// What it says.
    pub(crate) fn said(&mut self) -> Vec<u8> {
        self.records.drain(..).flat_map(|buf| buf.to_vec()).collect()
    }

    /// What it has decrypted.
    pub(crate) fn heard(&mut self) -> Vec<u8> {
        self.plaintext.drain(..).flat_map(|buf| buf.to_vec()).collect()
    }

    /// Takes bytes of the peer's in pieces of this length.
    pub(crate) fn hear(&mut self, bytes: &[u8], piece: usize) -> Result<(), TlsError> {
        for part in bytes.chunks(piece.min(BufClass::Bulk.plaintext_max())) {
            let mut buf = self.pool.take(BufClass::Bulk);
            buf.append(part);
            let Self { tls, pool, records, plaintext } = self;
            tls.receive(buf, &mut Output { pool, plaintext, records })?;
        }
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        self.tls.close_notify(&self.pool, &mut self.records).expect("keys");
    }

    pub(crate) fn seal(&mut self, plaintext: &[u8]) {
        for part in plaintext.chunks(BufClass::Bulk.plaintext_max()) {
            let part = self.pool.copy_of(part);
            self.tls.seal(part, &self.pool, &mut self.records).expect("keys");
        }
    }
}

/// Carries records to and fro until nobody has anything to say.
///
/// # Errors
/// Of the client, then of the server.
pub(crate) fn converse(
    client: &mut End,
    server: &mut End,
) -> (Result<(), TlsError>, Result<(), TlsError>) {
    let (mut at_client, mut at_server) = (Ok(()), Ok(()));
    loop {
        let (up, down) = (client.said(), server.said());
        if up.is_empty() && down.is_empty() {
            return (at_client, at_server);
        }
        if at_server.is_ok() {
            at_server = server.hear(&up, usize::MAX);
        }
        if at_client.is_ok() {
            at_client = client.hear(&down, usize::MAX);
        }
    }
}

/// Both, after a handshake that must succeed.
pub(super) fn pair(client: &Client, server: &Server) -> (End, End) {
    let (mut client, mut server) = (End::client(client, None), End::server(server, None));
    let (at_client, at_server) = converse(&mut client, &mut server);
    at_client.expect("a good server");
    at_server.expect("a good client");
    assert!(!client.tls.is_handshaking() && !server.tls.is_handshaking());
    (client, server)
}

pub(crate) fn server(spec: &ServerSpec) -> Server {
    Server::new(spec.clone()).expect("a good specification")
}

pub(crate) fn client(spec: &ClientSpec) -> Client {
    Client::new(spec).expect("a good specification")
}

/// Lets a rustls connection and one of ours talk until nobody has anything to say.
///
/// # Errors
/// Ours; rustls' by its text.
pub(super) fn converse_with_rustls<D>(
    theirs: &mut rustls::ConnectionCommon<D>,
    ours: &mut End,
) -> (Result<Vec<u8>, String>, Result<(), TlsError>)
where
    D: rustls::SideData,
{
    let (mut heard, mut at_ours) = (Vec::new(), Ok(()));
    loop {
        let mut up = Vec::new();
        while theirs.wants_write() {
            theirs.write_tls(&mut up).expect("in memory");
        }
        let down = ours.said();
        if up.is_empty() && down.is_empty() {
            return (Ok(heard), at_ours);
        }
        if at_ours.is_ok() {
            at_ours = ours.hear(&up, usize::MAX);
        }
        let mut unread = &down[..];
        while !unread.is_empty() {
            theirs.read_tls(&mut unread).expect("in memory");
            let state = match theirs.process_new_packets() {
                Ok(state) => state,
                Err(error) => return (Err(error.to_string()), at_ours),
            };
            let start = heard.len();
            heard.resize(start + state.plaintext_bytes_to_read(), 0);
            theirs.reader().read_exact(&mut heard[start..]).expect("as announced");
        }
    }
}

/// Says something on a rustls connection.
pub(super) fn say<D>(theirs: &mut rustls::ConnectionCommon<D>, bytes: &[u8])
where
    D: rustls::SideData,
{
    theirs.set_buffer_limit(None);
    theirs.writer().write_all(bytes).expect("without a limit");
}
