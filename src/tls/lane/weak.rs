//! What the weak lanes can serve.

use std::ops::RangeInclusive;

use rustls::SignatureAlgorithm;
use rustls::crypto::CryptoProvider;

use super::Lane;
use crate::config::model::{KeyExchange, TlsVersion, WeakSuite};
use crate::tls::hello::Hello;

/// Which kinds of keys a lane has certificates for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub rsa: bool,
    pub ecdsa: bool,
}

/// What OpenSSL can serve in a lane.
#[derive(Clone, Debug)]
pub(super) struct Weak {
    lane: Lane,
    versions: RangeInclusive<TlsVersion>,
    suites: Vec<Suite>,
    keys: Keys,
}

#[derive(Clone, Copy, Debug)]
struct Suite {
    code: u16,
    ecdsa: bool,
    only_tls12: bool,
}

impl Keys {
    pub fn with(mut self, algorithm: SignatureAlgorithm) -> Self {
        self.rsa |= algorithm == SignatureAlgorithm::RSA;
        self.ecdsa |= algorithm == SignatureAlgorithm::ECDSA;
        self
    }

    fn sign(self, ecdsa: bool) -> bool {
        if ecdsa { self.ecdsa } else { self.rsa }
    }
}

impl Weak {
    /// A lane with the suites of TLS 1.2 in `provider`, and these.
    pub(super) fn new(
        lane: Lane,
        versions: RangeInclusive<TlsVersion>,
        provider: &CryptoProvider,
        weak: &[&'static WeakSuite],
        keys: Keys,
    ) -> Self {
        let modern = provider.cipher_suites.iter().filter(|suite| suite.tls13().is_none());
        let modern = modern.map(|suite| Suite {
            code: suite.suite().into(),
            ecdsa: suite.usable_for_signature_algorithm(SignatureAlgorithm::ECDSA),
            only_tls12: true,
        });
        let weak = weak.iter().map(|suite| Suite {
            code: suite.code,
            ecdsa: suite.key_exchange == KeyExchange::EcdheEcdsa,
            only_tls12: suite.only_tls12,
        });
        Self { lane, versions, suites: modern.chain(weak).collect(), keys }
    }

    /// Whether a peer could be served that says `hello`.
    pub(super) fn serves(&self, hello: &Hello<'_>) -> bool {
        let Some(version) = self.version(hello) else { return false };
        let is_tls12 = version == TlsVersion::V1_2;
        // OpenSSL reads the other format for TLS 1.0 to 1.2 alike; it has no extensions.
        if self.lane == Lane::Compat12 && hello.is_sslv2_format {
            return false;
        }
        self.suites.iter().any(|suite| {
            (is_tls12 || !suite.only_tls12)
                && hello.cipher_suites.contains(suite.code)
                && self.keys.sign(suite.ecdsa)
                && (self.lane == Lane::Legacy || signs_with_sha2(hello, suite.ecdsa))
        })
    }

    /// The newest version that both speak.
    fn version(&self, hello: &Hello<'_>) -> Option<TlsVersion> {
        let offers = |version: &TlsVersion| match version {
            TlsVersion::V1_0 => hello.offers(0x0301),
            TlsVersion::V1_1 => hello.offers(0x0302),
            TlsVersion::V1_2 => hello.offers_tls12(),
            TlsVersion::V1_3 => hello.offers_tls13(),
        };
        let all = [TlsVersion::V1_3, TlsVersion::V1_2, TlsVersion::V1_1, TlsVersion::V1_0];
        all.into_iter().find(|version| self.versions.contains(version) && offers(version))
    }
}

/// Whether a signature is offered that OpenSSL makes at its default level of security, with a key of
/// this kind; it asks for one with static RSA, too.
fn signs_with_sha2(hello: &Hello<'_>, ecdsa: bool) -> bool {
    let schemes: &[u16] = if ecdsa {
        &[0x0403, 0x0503, 0x0603]
    } else {
        &[0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806]
    };
    schemes.iter().any(|scheme| hello.signature_schemes.contains(*scheme))
}
