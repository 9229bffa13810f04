//! Lanes: what speaks TLS with a peer. The modern one with all who can, weaker ones where a
//! configuration lets them, chosen by what the ClientHello says ([`Lanes::choose`]).
//!
//! Pure: a hello, a source and a time in, a choice with its reason out. Whether the modern lane can
//! is what rustls would say of the same hello, which a property test asks it.

#[cfg(test)]
mod tests;
mod weak;

use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ProtocolVersion, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite};

use super::hello::{Hello, SniForm};
use super::identity::SniResolver;
use crate::config::model::{DownstreamTls, Legacy, TlsVersion};
use crate::conn::outcome::Reason;

pub use weak::Keys;
use weak::Weak;

/// What speaks TLS with a peer; the weakest is last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// rustls: TLS 1.2 with AEAD suites, and TLS 1.3.
    #[default]
    Modern,
    /// OpenSSL, in process: TLS 1.2 with CBC, static RSA and DHE as well.
    Compat12,
    /// OpenSSL, in a process of its own: TLS 1.0 and 1.1 as well, SHA-1 and short keys.
    Legacy,
}

/// Why a peer takes the lane that it takes: what the modern one lacks for it. Closed set: every value
/// is a metric label and a word in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Why {
    /// Nothing: it is the modern lane's.
    #[default]
    Able,
    /// A ClientHello in the format of SSL 2 (RFC 5246 appendix E.2).
    Format,
    /// A version that is offered and spoken there.
    Version,
    /// A name in SNI that it takes.
    Sni,
    /// A group for key exchange.
    Group,
    /// A signature algorithm that fits one of our certificates, or any at all.
    Signature,
    /// A cipher suite that fits.
    Suite,
}

/// The lane of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    pub lane: Lane,
    pub why: Why,
}

/// Why a peer has no lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoLane {
    /// SSL 3 at most, which no lane speaks (RFC 7568).
    #[error("SSL 3 is spoken in no lane")]
    Ssl3,
    /// A ClientHello in the format of SSL 2, which only the legacy lane takes.
    #[error("only the legacy lane takes a ClientHello in the format of SSL 2")]
    Format,
    /// No version that a lane of this listener speaks.
    #[error("no lane that is open here has a version and a suite for it")]
    Version,
    /// Only the legacy lane would do, and is not for this source.
    #[error("only the legacy lane would do, and the source is not in allow_from")]
    Source,
    /// Only the legacy lane would do, and its last day is over.
    #[error("only the legacy lane would do, and legacy_until has passed")]
    Over,
}

/// The lanes of a route and what each can serve, as the server.
#[derive(Clone, Debug)]
pub struct Lanes {
    /// `None` where no version of it is spoken.
    modern: Option<Modern>,
    compat12: Option<Weak>,
    legacy: Option<(Weak, Arc<Legacy>)>,
}

/// What rustls can serve.
#[derive(Clone, Debug)]
struct Modern {
    tls12: bool,
    tls13: bool,
    provider: Arc<CryptoProvider>,
    resolver: Arc<SniResolver>,
}

impl Lane {
    pub const ALL: [Self; 3] = [Self::Modern, Self::Compat12, Self::Legacy];

    /// Label value in metrics, and word in the log and the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Compat12 => "compat12",
            Self::Legacy => "legacy",
        }
    }
}

impl Why {
    pub const ALL: [Self; 7] = [
        Self::Able,
        Self::Format,
        Self::Version,
        Self::Sni,
        Self::Group,
        Self::Signature,
        Self::Suite,
    ];

    /// Label value in metrics, and word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Able => "able",
            Self::Format => "format",
            Self::Version => "version",
            Self::Sni => "sni",
            Self::Group => "group",
            Self::Signature => "signature",
            Self::Suite => "suite",
        }
    }
}

impl NoLane {
    /// Under which it is counted and logged.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Ssl3 => Reason::Ssl3,
            Self::Format => Reason::Sslv2Format,
            Self::Version => Reason::VersionMismatch,
            Self::Source => Reason::LegacySource,
            Self::Over => Reason::LegacyOver,
        }
    }
}

impl Lanes {
    /// Those of a listener or rule that says `tls`, with the keys of each weak lane.
    pub fn new(
        tls: &DownstreamTls,
        provider: Arc<CryptoProvider>,
        resolver: Arc<SniResolver>,
        (of_compat12, of_legacy): (Keys, Keys),
    ) -> Self {
        let versions = tls.min_version..=tls.max_version;
        let (tls12, tls13) =
            (versions.contains(&TlsVersion::V1_2), versions.contains(&TlsVersion::V1_3));
        let compat12 = tls.compat12.as_ref().map(|lane| {
            let only = TlsVersion::V1_2..=TlsVersion::V1_2;
            Weak::new(Lane::Compat12, only, &provider, &lane.suites, of_compat12)
        });
        let legacy = tls.legacy.as_ref().map(|lane| {
            // TLS 1.3 is never needed there.
            let versions = tls.min_version..=tls.max_version.min(TlsVersion::V1_2);
            let others = tls.compat12.iter().flat_map(|lane| &lane.suites);
            let suites: Vec<_> = lane.suites.iter().chain(others).copied().collect();
            let weak = Weak::new(Lane::Legacy, versions, &provider, &suites, of_legacy);
            (weak, Arc::new(lane.clone()))
        });
        let modern = (tls12 || tls13).then_some(Modern { tls12, tls13, provider, resolver });
        Self { modern, compat12, legacy }
    }

    /// The lane of a peer from `source` that says `hello` at `now`, Unix time in seconds. One that no
    /// lane could serve and that offers a modern version has the modern lane, which tells it why.
    ///
    /// # Errors
    /// Why there is none.
    pub fn choose(
        &self,
        hello: &Hello<'_>,
        source: Option<IpAddr>,
        now: i64,
    ) -> Result<Choice, NoLane> {
        let lacks = match &self.modern {
            Some(modern) => modern.lacks(hello),
            None => Some(Why::Version),
        };
        let lacks = if hello.is_sslv2_format { Some(Why::Format) } else { lacks };
        let Some(why) = lacks else { return Ok(Choice::default()) };
        if hello.newest_version() == Some(SSL_3) {
            return Err(NoLane::Ssl3);
        }
        if self.compat12.as_ref().is_some_and(|lane| lane.serves(hello)) {
            return Ok(Choice { lane: Lane::Compat12, why });
        }
        if let Some((lane, terms)) = &self.legacy
            && lane.serves(hello)
        {
            allow(terms, source, now)?;
            return Ok(Choice { lane: Lane::Legacy, why });
        }
        match why {
            Why::Format => Err(NoLane::Format),
            Why::Version => Err(NoLane::Version),
            _ => Ok(Choice { lane: Lane::Modern, why }),
        }
    }

    /// The terms of the legacy lane, if there is one.
    pub fn terms(&self) -> Option<&Arc<Legacy>> {
        self.legacy.as_ref().map(|(_, terms)| terms)
    }
}

/// Whether a connection from `source` may take the legacy lane at `now`, Unix time in seconds.
///
/// # Errors
/// Why not.
pub fn allow(terms: &Legacy, source: Option<IpAddr>, now: i64) -> Result<(), NoLane> {
    if !terms.is_for(source) {
        return Err(NoLane::Source);
    }
    if terms.is_over(now) { Err(NoLane::Over) } else { Ok(()) }
}

const SSL_3: u16 = 0x0300;

impl Modern {
    /// What keeps rustls from serving the peer, in the order in which it looks.
    fn lacks(&self, hello: &Hello<'_>) -> Option<Why> {
        // rustls takes the newest of its versions, and no older one if that comes to nothing.
        let version = if self.tls13 && hello.offers_tls13() {
            ProtocolVersion::TLSv1_3
        } else if self.tls12 && hello.offers_tls12() {
            ProtocolVersion::TLSv1_2
        } else {
            return Some(Why::Version);
        };
        if hello.sni.is_some_and(|sni| matches!(sni.form, SniForm::BadName | SniForm::BadList)) {
            return Some(Why::Sni);
        }
        let is_new = version == ProtocolVersion::TLSv1_3;
        let ours = &self.provider.kx_groups;
        let has_group = ours.iter().any(|group| {
            group.usable_for_version(version) && hello.groups.contains(group.name().into())
        });
        if !has_group {
            return Some(Why::Group);
        }
        let offers =
            |suite: &&SupportedCipherSuite| hello.cipher_suites.contains(suite.suite().into());
        let suites = || self.provider.cipher_suites.iter().filter(offers);
        // Schemes without a suite to go with are no offer.
        let is_offered = |scheme: SignatureScheme| {
            hello.signature_schemes.contains(scheme.into())
                && algorithm_of(scheme).is_some_and(|key| {
                    suites().any(|suite| suite.usable_for_signature_algorithm(key))
                })
        };
        let name = hello.sni.and_then(|sni| sni.dns_name());
        let signs = |scheme| !is_new || is_of_tls13(scheme);
        let mut suites_of_version = suites().filter(|suite| suite.version().version == version);
        match self.resolver.algorithm_for(name, is_offered, signs) {
            Some(key) => {
                let fits = suites_of_version.any(|suite| suite.usable_for_signature_algorithm(key));
                (!fits).then_some(Why::Suite)
            }
            None if suites_of_version.next().is_none() => Some(Why::Suite),
            None => Some(Why::Signature),
        }
    }
}

/// The kind of key that makes such signatures, of those that we have.
fn algorithm_of(scheme: SignatureScheme) -> Option<SignatureAlgorithm> {
    use SignatureScheme as Scheme;
    match scheme {
        Scheme::ED25519 => Some(SignatureAlgorithm::ED25519),
        Scheme::ECDSA_NISTP256_SHA256
        | Scheme::ECDSA_NISTP384_SHA384
        | Scheme::ECDSA_NISTP521_SHA512 => Some(SignatureAlgorithm::ECDSA),
        Scheme::RSA_PKCS1_SHA256
        | Scheme::RSA_PKCS1_SHA384
        | Scheme::RSA_PKCS1_SHA512
        | Scheme::RSA_PSS_SHA256
        | Scheme::RSA_PSS_SHA384
        | Scheme::RSA_PSS_SHA512 => Some(SignatureAlgorithm::RSA),
        _ => None,
    }
}

/// Not PKCS #1 1.5, nor SHA-1 (RFC 8446 §4.2.3).
fn is_of_tls13(scheme: SignatureScheme) -> bool {
    use SignatureScheme as Scheme;
    matches!(
        scheme,
        Scheme::ECDSA_NISTP256_SHA256
            | Scheme::ECDSA_NISTP384_SHA384
            | Scheme::ECDSA_NISTP521_SHA512
            | Scheme::ED25519
            | Scheme::RSA_PSS_SHA256
            | Scheme::RSA_PSS_SHA384
            | Scheme::RSA_PSS_SHA512
    )
}
