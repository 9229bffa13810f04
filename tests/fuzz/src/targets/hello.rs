//! The hello peek: bytes that a peer sends first.
//!
//! However the stream is cut, the verdict is the same. What the peek takes and rustls takes, both
//! understand in the same way.

use std::sync::{Arc, LazyLock};

use rustls::crypto::ring;
use rustls::server::{Accepted, Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, PeerIncompatible, ServerConfig, SupportedProtocolVersion};
use tlsgate::tls::hello::{Hello, HelloError, HelloReader, MAX_MESSAGE, Progress, SniForm};
use tlsgate_corpus::mutate;
use tlsgate_corpus::rng::Rng;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "hello",
    about: "HelloReader and Hello::parse on a peer's first bytes, compared with rustls",
    seeds,
    generate: mutate::hello,
    run,
    bounded: 4_000,
};

fn seeds() -> Vec<Vec<u8>> {
    tlsgate_corpus::corpus().into_iter().map(|case| case.stream).collect()
}

fn run(stream: &[u8]) {
    let whole = Verdict::of(std::iter::once(stream));
    assert_eq!(whole, Verdict::of(stream.chunks(1)), "byte by byte");
    // Cuts that the input decides, so that it finds the same again.
    let sum = stream.iter().fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(*byte));
    let mut rng = Rng::new(sum);
    for longest in [3, 40, 2000] {
        assert_eq!(whole, Verdict::of(pieces(stream, &mut rng, longest)), "in other pieces");
    }
    let Ok(Progress::Complete { consumed }) = whole.result else { return };
    assert!(consumed <= stream.len());
    assert_reframed(&whole);
    match Hello::parse(&whole.message) {
        // rustls does not read the format of SSL 2.
        Ok(_) if whole.is_sslv2_format => {}
        Ok(hello) => compare(&hello, &whole.reframed),
        // The stream cannot be complete and wrong in a way that only streams can be.
        Err(HelloError::Malformed(_) | HelloError::Illegal(_)) => {}
        Err(error) => panic!("a complete message is {error}"),
    }
}

/// What the reader says about a stream.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// `consumed` counts from the start of the stream.
    result: Result<Progress, HelloError>,
    message: Vec<u8>,
    reframed: Vec<u8>,
    is_sslv2_format: bool,
}

impl Verdict {
    fn of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut reader = HelloReader::new();
        let mut fed = 0;
        let mut result = Ok(Progress::NeedMore);
        for piece in pieces {
            result = reader.feed(piece);
            fed += piece.len();
            let held = reader.buffered();
            // A message in the format of SSL 2 is held as it came and as it is looked into.
            let known = reader.message().len().max(fed);
            assert!(held <= (2 * known).clamp(512, MAX_MESSAGE), "{held} held");
            match &mut result {
                Ok(Progress::NeedMore) => {}
                Ok(Progress::Complete { consumed }) => {
                    *consumed += fed - piece.len();
                    assert_eq!(reader.feed(b"x"), Ok(Progress::Complete { consumed: 0 }));
                    break;
                }
                Err(error) => {
                    assert_eq!(reader.feed(b"x"), Err(*error), "the same again");
                    assert_eq!(held, 0, "memory held after an error");
                    break;
                }
            }
        }
        let is_sslv2_format = reader.hello().is_ok_and(|hello| hello.is_sslv2_format);
        Self {
            result,
            message: reader.message().to_vec(),
            reframed: reader.reframed(),
            is_sslv2_format,
        }
    }
}

fn pieces<'a>(
    mut stream: &'a [u8],
    rng: &mut Rng,
    longest: usize,
) -> impl Iterator<Item = &'a [u8]> {
    std::iter::from_fn(move || {
        let length = (1 + rng.below(longest)).min(stream.len());
        let (piece, rest) = stream.split_at(length);
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Fresh records hold the same message, and are whole.
fn assert_reframed(whole: &Verdict) {
    let again = Verdict::of(std::iter::once(whole.reframed.as_slice()));
    let consumed = whole.reframed.len();
    assert_eq!(again.result, Ok(Progress::Complete { consumed }));
    assert_eq!(again.message, whole.message);
}

/// Asks rustls about the same hello.
fn compare(hello: &Hello<'_>, records: &[u8]) {
    let ours = [
        hello.alpn.iter().count(),
        hello.cipher_suites.iter().count(),
        hello.versions.iter().count(),
    ];
    assert_eq!(ours[1..], [hello.cipher_suites.len(), hello.versions.len()]);
    let mut acceptor = Acceptor::default();
    let mut unread = records;
    while !unread.is_empty() {
        if acceptor.read_tls(&mut unread).is_err() {
            // Its buffer is full with a hello of 64 KiB, which the gateway gives it in one piece.
            return;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                assert!(unread.is_empty(), "rustls needs less than we do");
                return agree(hello, &accepted, records);
            }
            // It may be stricter: the peer gets its alert.
            Err(_) => return,
        }
    }
    panic!("rustls wants more than we do");
}

fn agree(hello: &Hello<'_>, accepted: &Accepted, records: &[u8]) {
    let theirs = accepted.client_hello();
    // rustls has it in small letters and without the dot at the end, as the lookup of names does.
    let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let our_name = hello.sni.and_then(|sni| sni.dns_name()).map(plain);
    assert_eq!(our_name, theirs.server_name().map(plain), "server name");
    if let Some(sni) = hello.sni {
        let form = sni.form;
        let taken = matches!(form, SniForm::DnsName | SniForm::IpAddress);
        assert!(taken, "rustls takes a name of the form {form:?}");
    }
    let suites = theirs.cipher_suites().iter().map(|suite| u16::from(*suite));
    assert!(suites.eq(hello.cipher_suites.iter()), "cipher suites");
    let schemes = theirs.signature_schemes().iter().map(|scheme| u16::from(*scheme));
    assert!(schemes.eq(hello.signature_schemes.iter()), "signature schemes");
    let groups = theirs.named_groups().into_iter().flatten().map(|group| u16::from(*group));
    assert!(groups.eq(hello.groups.iter()), "groups");
    let protocols = theirs.alpn().into_iter().flatten();
    assert!(protocols.eq(hello.alpn.iter()), "ALPN");
    for (version, offered) in [
        (&rustls::version::TLS12, hello.offers_tls12()),
        (&rustls::version::TLS13, hello.offers_tls13()),
    ] {
        assert_eq!(takes_version(version, records), offered, "{version:?}");
    }
}

/// Whether rustls finds this version in the hello; true also when something else is wrong then.
fn takes_version(version: &'static SupportedProtocolVersion, records: &[u8]) -> bool {
    let mut acceptor = Acceptor::default();
    let mut unread = records;
    let mut accepted = None;
    while !unread.is_empty() && accepted.is_none() {
        acceptor.read_tls(&mut unread).expect("in memory");
        accepted = acceptor.accept().ok().flatten();
    }
    let config =
        if version.version == rustls::ProtocolVersion::TLSv1_2 { &NOBODY[0] } else { &NOBODY[1] };
    let accepted = accepted.expect("was taken before");
    match accepted.into_connection(Arc::clone(config)) {
        Err((Error::PeerIncompatible(why), _)) => !matches!(
            why,
            PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
        ),
        _ => true,
    }
}

/// Servers for TLS 1.2 and for 1.3 that have no certificate: the version is checked before.
static NOBODY: LazyLock<[Arc<ServerConfig>; 2]> = LazyLock::new(|| {
    [&rustls::version::TLS12, &rustls::version::TLS13].map(|version| {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version of the provider")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nobody));
        Arc::new(config)
    })
});

#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
