//! What the choice of lanes rests on, measured on the OpenSSL that is built in: other versions do
//! other things (version 4 does not take hellos in SSLv2 format).

use openssl::error::ErrorStack;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVersion,
};

use super::*;
use crate::tls::hello::Hello;
use crate::tls::openssl::memory::Memory;

/// A context as OpenSSL makes it, and what `change` makes of that.
fn context(
    method: SslMethod,
    change: impl FnOnce(&mut SslContextBuilder) -> Result<(), ErrorStack>,
) -> SslContext {
    let mut builder = SslContextBuilder::new(method).expect("memory");
    change(&mut builder).expect("a good setting");
    builder.build()
}

fn server_at(
    level: u32,
    versions: (SslVersion, SslVersion),
    suites: &str,
) -> impl FnOnce(&mut SslContextBuilder) -> Result<(), ErrorStack> {
    let identity = Ca::usual().issue(NAME);
    move |builder| {
        at(level, versions, suites)(builder)?;
        builder.set_certificate(&*X509::from_der(&identity.chain[0])?)?;
        builder.set_private_key(&*PKey::private_key_from_der(&identity.key)?)
    }
}

fn at(
    level: u32,
    (min, max): (SslVersion, SslVersion),
    suites: &str,
) -> impl FnOnce(&mut SslContextBuilder) -> Result<(), ErrorStack> {
    move |builder| {
        builder.set_security_level(level);
        builder.set_min_proto_version(Some(min))?;
        builder.set_max_proto_version(Some(max))?;
        builder.set_cipher_list(suites)
    }
}

/// One end, of a plain context.
struct Plain(SslStream<Memory>);

impl Plain {
    fn new(context: &SslContext, is_server: bool) -> Self {
        let mut ssl = Ssl::new(context).expect("memory");
        if is_server {
            ssl.set_accept_state()
        } else {
            ssl.set_connect_state()
        }
        Self(SslStream::new(ssl, Memory::default()).expect("memory"))
    }

    /// Takes what has come; says whether the handshake goes on, is done, or has failed and why.
    fn step(&mut self, heard: &[u8]) -> (Vec<u8>, Result<bool, String>) {
        let (pool, mut records) = (Pool::new(1 << 20, 0), VecDeque::new());
        drop(ErrorStack::get());
        self.0.get_mut().feed_hello(heard);
        self.0.get_mut().lend(&mut records, &pool, BufClass::Bulk);
        let done = match self.0.do_handshake() {
            Ok(()) => Ok(true),
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(false),
            Err(error) => Err(error.to_string()),
        };
        self.0.get_mut().give_back(&mut records);
        (records.iter().flat_map(|buf| buf.to_vec()).collect(), done)
    }
}

/// What two contexts agree on, or what the server says.
fn agree(client: &SslContext, server: &SslContext) -> Result<String, String> {
    let (mut client, mut server) = (Plain::new(client, false), Plain::new(server, true));
    let mut down = Vec::new();
    for _ in 0..6 {
        let (up, at_client) = client.step(&down);
        let at_client = at_client?;
        let (answer, at_server) = server.step(&up);
        down = answer;
        if at_server? && at_client {
            return Ok(server.0.ssl().version_str().to_owned());
        }
    }
    Err("no end".to_owned())
}

const OLD: (SslVersion, SslVersion) = (SslVersion::TLS1, SslVersion::TLS1);
const TLS12: (SslVersion, SslVersion) = (SslVersion::TLS1_2, SslVersion::TLS1_2);
const AES: &str = "ECDHE+AES:AES128-SHA:AES256-SHA";

#[test]
fn it_is_openssl_3() {
    let version = openssl::version::version();
    assert!(version.starts_with("OpenSSL 3."), "{version}");
}

#[test]
fn tls10_takes_level_0_on_both_sides() {
    let server = |level| context(SslMethod::tls_server(), server_at(level, OLD, AES));
    let client = |level| context(SslMethod::tls_client(), at(level, OLD, AES));
    assert_eq!(agree(&client(0), &server(0)), Ok("TLSv1".to_owned()));
    // OpenSSL 3.0 had a client at level 1 speak it.
    for (client, server) in [(client(0), server(1)), (client(1), server(0))] {
        let error = agree(&client, &server).expect_err("level 1");
        assert!(error.contains("no protocols available"), "{error}");
    }
}

#[test]
fn tls12_with_cbc_and_static_rsa_takes_no_lower_level() {
    for suite in ["AES128-SHA", "AES128-SHA256", "ECDHE-RSA-AES128-SHA"] {
        let server = context(SslMethod::tls_server(), server_at(2, TLS12, suite));
        let client = context(SslMethod::tls_client(), at(2, TLS12, suite));
        assert_eq!(agree(&client, &server), Ok("TLSv1.2".to_owned()), "{suite}");
    }
}

#[test]
fn rc4_and_3des_are_not_built_in_and_all_would_have_null_and_anonymous_ones() {
    for gone in ["RC4-SHA", "DES-CBC3-SHA", "EXP-RC4-MD5"] {
        let mut builder = SslContextBuilder::new(SslMethod::tls()).expect("memory");
        builder.set_security_level(0);
        assert!(builder.set_cipher_list(gone).is_err(), "{gone}");
    }
    let names = |list: &str| {
        let context = context(SslMethod::tls_client(), at(0, TLS12, list));
        let (mut client, mut names) = (Plain::new(&context, false), Vec::new());
        let (hello, _) = client.step(&[]);
        let hello = Hello::parse(&hello[5..]).expect("a good hello");
        names.extend(hello.cipher_suites.iter());
        names
    };
    // NULL-SHA256 and ADH-AES128-SHA.
    let dangerous = [0x003b, 0x0034];
    let all = names("ALL:COMPLEMENTOFALL");
    assert!(dangerous.iter().all(|suite| all.contains(suite)), "{all:x?}");
    let ours = names(&suites(SUITES).0);
    assert!(!dangerous.iter().any(|suite| ours.contains(suite)), "{ours:x?}");
}

/// A ClientHello in one record, with these extensions as they are.
fn hello(version: [u8; 2], suites: &[u16], extensions: &[u8]) -> Vec<u8> {
    let u16s = |numbers: &[u16]| numbers.iter().flat_map(|one| one.to_be_bytes()).collect();
    let suites: Vec<u8> = u16s(suites);
    let with_length = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
        [&length[..], bytes].concat()
    };
    let extensions = if extensions.is_empty() { Vec::new() } else { with_length(extensions) };
    let body = [&version[..], &[7; 32], &[0], &with_length(&suites), &[1, 0], &extensions].concat();
    let message = [&[1, 0][..], &with_length(&body)].concat();
    [&[22, 3, 1][..], &with_length(&message)].concat()
}

/// The extension server_name with these bytes for a host.
fn sni(name: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("short");
    [&[0, 0, 0, length + 5, 0, length + 3, 0, 0, length][..], name].concat()
}

/// signature_algorithms: RSA with SHA-256.
const SIGNATURES: [u8; 8] = [0, 13, 0, 4, 0, 2, 4, 1];
const AES128_SHA: u16 = 0x002f;
const ECDHE_RSA_AES128_SHA: u16 = 0xc013;

/// The version that a lane answers a hello with, or why it does not.
fn answer(lane: Lane, hello: &[u8]) -> Result<[u8; 2], Reason> {
    thread_local! {
        static CA: Ca = Ca::usual();
    }
    let server = CA.with(|ca| server(&server_spec(lane, ca.issue(NAME))));
    let mut ours = End::server(&server, None);
    let End { tls, pool, records, plaintext } = &mut ours;
    let mut bytes = hello.to_vec();
    let started = tls.start(&mut bytes, &mut Output { pool, plaintext, records });
    started.map_err(|error| error.reason)?;
    let said = ours.said();
    let [22, _, _, _, _, 2, _, _, _, major, minor, ..] = said[..] else {
        panic!("no ServerHello: {said:x?}")
    };
    Ok([major, minor])
}

#[test]
fn hellos_in_the_format_of_sslv2_are_taken_by_the_legacy_lane() {
    let hello_of = |version: [u8; 2]| {
        let body = [&[1][..], &version, &[0, 3, 0, 0, 0, 16, 0, 0, 0x2f], &[7; 16]].concat();
        [&[0x80, u8::try_from(body.len()).expect("short")][..], &body].concat()
    };
    assert_eq!(answer(Lane::Legacy, &hello_of([3, 1])), Ok([3, 1]));
    // Without extensions there are no signature algorithms, which static RSA does not need.
    assert_eq!(answer(Lane::Legacy, &hello_of([3, 3])), Ok([3, 3]));
    assert_eq!(answer(Lane::Legacy, &hello_of([3, 0])), Err(Reason::VersionMismatch));
    assert_eq!(answer(Lane::Legacy, &hello_of([0, 2])), Err(Reason::VersionMismatch));
    assert_eq!(answer(Lane::Compat12, &hello_of([3, 1])), Err(Reason::VersionMismatch));
}

#[test]
fn sslv3_is_refused() {
    for lane in [Lane::Compat12, Lane::Legacy] {
        let found = answer(lane, &hello([3, 0], &[AES128_SHA], &[]));
        assert_eq!(found, Err(Reason::VersionMismatch));
    }
}

#[test]
fn names_that_rustls_aborts_on_are_taken() {
    for name in [&b"a..b"[..], b"bad name", b"x.", b"10.0.0.1", b"under_score", b"-"] {
        let extensions = [&sni(name)[..], &SIGNATURES].concat();
        let found = answer(Lane::Compat12, &hello([3, 3], &[AES128_SHA], &extensions));
        assert_eq!(found, Ok([3, 3]), "{}", name.escape_ascii());
    }
    let zero = [&sni(b"a\0b")[..], &SIGNATURES].concat();
    let found = answer(Lane::Compat12, &hello([3, 3], &[AES128_SHA], &zero));
    assert!(found.is_err(), "a name that ends early for C");
}

#[test]
fn tls12_without_signature_algorithms_takes_level_0() {
    // supported_groups: P-256. Without it, ECDHE is not agreed on, whatever the level.
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let without = hello([3, 3], &[ECDHE_RSA_AES128_SHA], &groups);
    assert_eq!(answer(Lane::Legacy, &without), Ok([3, 3]));
    assert_eq!(answer(Lane::Compat12, &without), Err(Reason::NoSharedParameters));
    let bare = hello([3, 3], &[ECDHE_RSA_AES128_SHA], &[]);
    assert_eq!(answer(Lane::Legacy, &bare), Err(Reason::NoSharedParameters));
    // Not even static RSA, for which nothing is signed.
    let bare = hello([3, 3], &[AES128_SHA], &[]);
    assert_eq!(answer(Lane::Legacy, &bare), Ok([3, 3]));
    assert_eq!(answer(Lane::Compat12, &bare), Err(Reason::NoSharedParameters));
}
