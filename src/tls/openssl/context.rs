//! Specifications → OpenSSL's contexts: what may be spoken, who we are, how peers may come back.

use openssl::bn::BigNum;
use openssl::dh::Dh;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    AlpnError, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode,
    SslVersion,
};
use openssl::stack::Stack;
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

use super::spec::{ClientSpec, Identity, Parameters, ServerSpec, Sessions};
use crate::config::model::TlsVersion;
use crate::tls::lane::Lane;
use crate::tls::trust::{ClientCert, MAX_HINTS};

/// Groups of ECDHE, most preferred first: what old peers have, and what is fast.
const GROUPS: &str = "X25519:P-256:P-384:P-521";
/// Sessions that a context remembers; the oldest go.
const MAX_SESSIONS: i32 = 4096;
/// `SSL_OP_LEGACY_SERVER_CONNECT`: a server that does not know RFC 5746 may be connected to. We never
/// renegotiate, and cannot see whether a server would with somebody else.
const LEGACY_SERVER_CONNECT: SslOptions = SslOptions::from_bits_retain(0x4);

/// The context of a server that shows this identity.
pub(super) fn server(spec: &ServerSpec, identity: &Identity) -> Result<SslContext, ErrorStack> {
    let mut builder = common(SslMethod::tls_server(), &spec.parameters)?;
    builder.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
    let dh = dh()?;
    builder.set_tmp_dh(&dh)?;
    show(&mut builder, identity)?;
    trust(&mut builder, &spec.trusted)?;
    hint(&mut builder, &spec.trusted)?;
    resume(&mut builder, spec)?;
    if !spec.parameters.alpn.is_empty() {
        let ours = wire(&spec.parameters.alpn);
        builder.set_alpn_select_callback(move |_, theirs| {
            choose(&ours, theirs).ok_or(AlpnError::ALERT_FATAL)
        });
    }
    Ok(builder.build())
}

/// The context of a client.
pub(super) fn client(spec: &ClientSpec) -> Result<SslContext, ErrorStack> {
    let mut builder = common(SslMethod::tls_client(), &spec.parameters)?;
    // To take up a session again would need unsafe code: each handshake is a full one.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_options(SslOptions::NO_TICKET);
    if spec.parameters.lane == Lane::Legacy {
        builder.set_options(LEGACY_SERVER_CONNECT);
    }
    trust(&mut builder, &spec.trusted)?;
    if let Some(identity) = &spec.identity {
        show(&mut builder, identity)?;
    }
    if !spec.parameters.alpn.is_empty() {
        builder.set_alpn_protos(&wire(&spec.parameters.alpn))?;
    }
    Ok(builder.build())
}

fn common(method: SslMethod, parameters: &Parameters) -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContextBuilder::new(method)?;
    // SHA-1 in handshakes, and TLS 1.0 and 1.1 altogether, take level 0.
    builder.set_security_level(if parameters.lane == Lane::Legacy { 0 } else { 2 });
    builder.set_min_proto_version(Some(version(parameters.min_version)))?;
    builder.set_max_proto_version(Some(version(parameters.max_version)))?;
    builder.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
    // An idle session keeps no buffers.
    builder.set_mode(SslMode::RELEASE_BUFFERS | SslMode::ACCEPT_MOVING_WRITE_BUFFER);
    builder.set_read_ahead(true);
    builder.set_cipher_list(&parameters.suites)?;
    builder.set_ciphersuites(&parameters.suites13)?;
    builder.set_groups_list(GROUPS)?;
    Ok(builder)
}

fn show(builder: &mut SslContextBuilder, identity: &Identity) -> Result<(), ErrorStack> {
    let mut chain = identity.chain.iter();
    if let Some(leaf) = chain.next() {
        builder.set_certificate(&*X509::from_der(leaf)?)?;
    }
    for other in chain {
        builder.add_extra_chain_cert(X509::from_der(other)?)?;
    }
    builder.set_private_key(&*PKey::private_key_from_der(&identity.key)?)?;
    builder.check_private_key()
}

/// The CAs by which OpenSSL builds chains, and chooses an alert where they lead nowhere.
fn trust(builder: &mut SslContextBuilder, trusted: &[Vec<u8>]) -> Result<(), ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for ca in trusted {
        store.add_cert(X509::from_der(ca)?)?;
    }
    builder.set_cert_store(store.build());
    Ok(())
}

/// Tells clients which CAs to choose a certificate by, as `tls/trust` does in the modern lane.
fn hint(builder: &mut SslContextBuilder, trusted: &[Vec<u8>]) -> Result<(), ErrorStack> {
    let (mut names, mut length) = (Stack::new()?, 0);
    for ca in trusted {
        let ca = X509::from_der(ca)?;
        length += ca.subject_name().to_der()?.len() + 2;
        names.push(ca.subject_name().to_owned()?)?;
    }
    if length <= MAX_HINTS {
        builder.set_client_ca_list(names);
    }
    Ok(())
}

/// Sessions of a context are its own: no other one has its ticket keys or its memory.
fn resume(builder: &mut SslContextBuilder, spec: &ServerSpec) -> Result<(), ErrorStack> {
    builder.set_session_id_context(&spec.domain)?;
    builder.set_session_cache_size(MAX_SESSIONS);
    builder.set_session_cache_mode(match spec.sessions {
        Sessions::Off => SslSessionCacheMode::OFF,
        Sessions::Ids | Sessions::Tickets => SslSessionCacheMode::SERVER,
    });
    // A ticket has the client's own certificate alone, and what vouches for it is asked for after a
    // resumed handshake, too.
    if spec.sessions != Sessions::Tickets || spec.client_cert != ClientCert::None {
        builder.set_options(SslOptions::NO_TICKET);
    }
    Ok(())
}

/// 2,048 bits (RFC 3526 §3): what has 1,024 is in reach of those who can pay.
fn dh() -> Result<Dh<openssl::pkey::Params>, ErrorStack> {
    Dh::from_pqg(BigNum::get_rfc3526_prime_2048()?, None, BigNum::from_u32(2)?)
}

fn version(version: TlsVersion) -> SslVersion {
    match version {
        TlsVersion::V1_0 => SslVersion::TLS1,
        TlsVersion::V1_1 => SslVersion::TLS1_1,
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    }
}

/// Names of ALPN as a hello has them (RFC 7301 §3.1).
fn wire(protocols: &[Vec<u8>]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in protocols {
        // The configuration takes no longer ones.
        list.push(u8::try_from(name.len()).expect("a name of ALPN has 255 bytes at most"));
        list.extend_from_slice(name);
    }
    list
}

/// The first of `ours` that is among `theirs`.
fn choose<'a>(ours: &[u8], theirs: &'a [u8]) -> Option<&'a [u8]> {
    let mut own = names(ours);
    own.find_map(|name| names(theirs).find(|other| *other == name))
}

fn names(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = list.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        list = rest;
        Some(name)
    })
}
