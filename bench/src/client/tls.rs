//! From a TLS plan to what makes the sessions of its connections: rustls, or OpenSSL for versions and
//! suites that rustls does not have.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedCipherSuite,
};

use super::Error;
use super::careless::{self, with_one_key};
use super::failure::Failure;
use super::flow::Identity;
use super::openssl::Openssl;
use super::plan::{Shown, TlsPlan, TlsVersion, Trust};
use super::session::{Rustls, Session};

/// Sessions that one connection slot remembers.
const SESSIONS_PER_SLOT: usize = 8;

/// What all connections of a flow share.
#[derive(Clone, Debug)]
pub(super) struct TlsSetup(Arc<[Connector]>);

/// Makes sessions, and keeps those to resume if it has any of its own.
#[derive(Clone, Debug)]
pub(super) enum Connector {
    Rustls(Arc<ClientConfig>, ServerName<'static>),
    Openssl(Openssl),
}

impl TlsSetup {
    /// For clients that take `identities` in turn, or have that of the plan where there are none.
    pub(super) fn new(plan: &TlsPlan, identities: &[Identity]) -> Result<Self, Error> {
        let each = |make: &dyn Fn(Option<&Identity>) -> Result<Connector, Error>| {
            let shown = identities.iter().map(|identity| make(Some(identity)));
            let all: Result<Vec<Connector>, Error> = if identities.is_empty() {
                vec![make(None)].into_iter().collect()
            } else {
                shown.collect()
            };
            all.map(|all| Self(all.into()))
        };
        if is_for_openssl(plan) {
            return each(&|shown| Openssl::new(plan, shown).map(Connector::Openssl));
        }
        let server_name = ServerName::try_from(plan.server_name.clone())
            .map_err(|error| Error::Tls(format!("server name '{}': {error}", plan.server_name)))?;
        let (provider, roots) = (Arc::new(provider(plan)?), roots(&plan.trust)?);
        each(&|shown| {
            let config = config(plan, &provider, roots.as_ref(), shown)?;
            Ok(Connector::Rustls(Arc::new(config), server_name.clone()))
        })
    }

    /// For connections of a client that never resume.
    pub(super) fn without_resumption(&self, client: usize) -> &Connector {
        &self.0[client % self.0.len()]
    }

    /// One with sessions of its own.
    pub(super) fn with_own_sessions(&self, client: usize) -> Connector {
        match self.without_resumption(client) {
            Connector::Rustls(config, name) => {
                let mut config = ClientConfig::clone(config);
                config.resumption = Resumption::in_memory_sessions(SESSIONS_PER_SLOT);
                Connector::Rustls(Arc::new(config), name.clone())
            }
            Connector::Openssl(openssl) => Connector::Openssl(openssl.with_own_session()),
        }
    }
}

impl Connector {
    /// The client's side of a connection that has not begun.
    pub(super) fn session(&self) -> Result<Box<dyn Session>, Failure> {
        Ok(match self {
            Self::Rustls(config, name) => Box::new(Rustls::new(Arc::clone(config), name.clone())?),
            Self::Openssl(openssl) => openssl.session()?,
        })
    }
}

impl TlsPlan {
    /// Whether its name, suites and groups are known and go together; looks at no file.
    ///
    /// # Errors
    /// [`Error::Tls`] with what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let plan = Self { trust: Trust::Insecure, shown: None, ..self.clone() };
        TlsSetup::new(&plan, &[]).map(drop)
    }
}

/// Whether rustls lacks the version, or a suite that OpenSSL has.
fn is_for_openssl(plan: &TlsPlan) -> bool {
    let is_unknown = |name: &String| {
        let mut known = aws_lc_rs::ALL_CIPHER_SUITES.iter().map(suite_name);
        !known.any(|known| known.eq_ignore_ascii_case(name)) && Openssl::knows(name)
    };
    match plan.version {
        TlsVersion::V10 | TlsVersion::V11 => true,
        TlsVersion::V12 => plan.suites.iter().any(is_unknown),
        TlsVersion::V13 => false,
    }
}

/// Trusts `roots`, or anyone where there are none.
fn config(
    plan: &TlsPlan,
    provider: &Arc<CryptoProvider>,
    roots: Option<&Arc<RootCertStore>>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, Error> {
    let version = match plan.version {
        TlsVersion::V13 => &rustls::version::TLS13,
        _ => &rustls::version::TLS12,
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[version])
        .map_err(|error| Error::Tls(format!("these are none of {:?}: {error}", version.version)))?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(Arc::clone(roots)),
        None => {
            let anyone = match plan.trust {
                Trust::Careless => Anyone::Whoever,
                _ => Anyone::WithItsKey(Arc::clone(provider)),
            };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(anyone))
        }
    };
    let mut config = match (identity, &plan.shown) {
        (None, None) => builder.with_no_client_auth(),
        (Some(Identity { certificate, key }), _) => {
            let name = "a client's certificate";
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
            let (chain, key) = shown(name, chain, name, key)?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| Error::Tls(format!("{name}: {error}")))?
        }
        (None, Some(Shown { certificate, key })) => {
            let name = certificate.display().to_string();
            let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
            let (chain, key) =
                shown(&name, chain, &key.display().to_string(), PrivateKeyDer::from_pem_file(key))?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| Error::Tls(format!("{name}: {error}")))?
        }
    };
    config.alpn_protocols = plan.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    config.resumption = Resumption::disabled();
    Ok(config)
}

type Pem<T> = Result<T, rustls::pki_types::pem::Error>;

/// What a client shows, or which of the two is wrong.
fn shown(
    chain_name: &str,
    chain: Pem<Vec<CertificateDer<'static>>>,
    key_name: &str,
    key: Pem<PrivateKeyDer<'static>>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain = chain.map_err(|error| Error::Tls(format!("{chain_name}: {error}")))?;
    let key = key.map_err(|error| Error::Tls(format!("{key_name}: {error}")))?;
    Ok((chain, key))
}

/// What is trusted; none when anything goes.
fn roots(trust: &Trust) -> Result<Option<Arc<RootCertStore>>, Error> {
    let (name, certificates): (String, Pem<Vec<CertificateDer<'static>>>) = match trust {
        Trust::Insecure | Trust::Careless => return Ok(None),
        Trust::CaFile(path) => (
            path.display().to_string(),
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect),
        ),
        Trust::CaPem(text) => (
            "the given PEM text".to_owned(),
            CertificateDer::pem_slice_iter(text.as_bytes()).collect(),
        ),
    };
    let certificates = certificates.map_err(|error| Error::Tls(format!("{name}: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| Error::Tls(format!("{name}: {error}")))?;
    }
    if roots.is_empty() {
        return Err(Error::Tls(format!("{name} holds no certificate")));
    }
    Ok(Some(Arc::new(roots)))
}

/// aws-lc-rs, the fastest that rustls has, narrowed to what the plan names.
fn provider(plan: &TlsPlan) -> Result<CryptoProvider, Error> {
    let mut provider = aws_lc_rs::default_provider();
    if !plan.suites.is_empty() {
        provider.cipher_suites =
            pick("cipher suite", &plan.suites, aws_lc_rs::ALL_CIPHER_SUITES, suite_name)?;
    }
    if !plan.groups.is_empty() {
        let names: Vec<String> = plan.groups.iter().map(|name| group_name(name)).collect();
        let name = |group: &&'static dyn SupportedKxGroup| format!("{:?}", group.name());
        provider.kx_groups = pick("group", &names, aws_lc_rs::ALL_KX_GROUPS, name)?;
    }
    Ok(match plan.trust {
        Trust::Careless => with_one_key(provider),
        _ => provider,
    })
}

/// rustls marks the suites of TLS 1.3 in their names, IANA does not.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

fn group_name(name: &str) -> String {
    match name.to_ascii_uppercase().as_str() {
        "P-256" => "secp256r1".to_owned(),
        "P-384" => "secp384r1".to_owned(),
        _ => name.to_owned(),
    }
}

/// The items that `wanted` names, in that order.
fn pick<T: Copy>(
    what: &str,
    wanted: &[String],
    items: &[T],
    name: impl Fn(&T) -> String,
) -> Result<Vec<T>, Error> {
    wanted
        .iter()
        .map(|wanted| {
            let found = items.iter().find(|item| name(item).eq_ignore_ascii_case(wanted));
            found.copied().ok_or_else(|| {
                let known: Vec<String> = items.iter().map(&name).collect();
                Error::Tls(format!("unknown {what} '{wanted}'; there are {}", known.join(", ")))
            })
        })
        .collect()
}

/// Accepts every certificate.
#[derive(Debug)]
enum Anyone {
    /// But not a peer without its key.
    WithItsKey(Arc<CryptoProvider>),
    /// No signature is verified.
    Whoever,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let Self::WithItsKey(provider) = self else {
            return Ok(HandshakeSignatureValid::assertion());
        };
        let algorithms = &provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let Self::WithItsKey(provider) = self else {
            return Ok(HandshakeSignatureValid::assertion());
        };
        let algorithms = &provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match self {
            Self::WithItsKey(provider) => {
                provider.signature_verification_algorithms.supported_schemes()
            }
            Self::Whoever => careless::SCHEMES.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> TlsPlan {
        TlsPlan {
            version: TlsVersion::V13,
            server_name: "localhost".to_owned(),
            trust: Trust::Insecure,
            shown: None,
            alpn: Vec::new(),
            suites: Vec::new(),
            groups: Vec::new(),
        }
    }

    #[test]
    fn suites_and_groups_are_found_by_their_iana_names() {
        let plan = TlsPlan {
            suites: vec!["TLS_AES_128_GCM_SHA256".to_owned()],
            groups: vec!["p-256".to_owned(), "x25519".to_owned()],
            ..plan()
        };
        let provider = provider(&plan).expect("known names");
        assert_eq!(provider.cipher_suites.len(), 1);
        let groups: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups, [rustls::NamedGroup::secp256r1, rustls::NamedGroup::X25519]);
    }

    #[test]
    fn mistakes_are_told_apart() {
        let message = |plan: TlsPlan| TlsSetup::new(&plan, &[]).expect_err("wrong").to_string();
        let suites = vec!["TLS_UNHEARD_OF".to_owned()];
        assert!(message(TlsPlan { suites, ..plan() }).contains("TLS_AES_128_GCM_SHA256"));
        let trust = Trust::CaPem("nothing".to_owned());
        assert!(message(TlsPlan { trust, ..plan() }).contains("no certificate"));
        let trust = Trust::CaFile("/does/not/exist".into());
        assert!(message(TlsPlan { trust, ..plan() }).contains("/does/not/exist"));
        let nothing = Shown { certificate: "/no/certificate".into(), key: "/no/key".into() };
        let shown = Some(nothing);
        assert!(message(TlsPlan { shown, ..plan() }).contains("/no/certificate"));
        let server_name = "not a name".to_owned();
        assert!(message(TlsPlan { server_name, ..plan() }).contains("server name"));
        // A TLS 1.2 suite alone cannot make a TLS 1.3 configuration.
        let suites = vec!["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".to_owned()];
        assert!(TlsSetup::new(&TlsPlan { suites, ..plan() }, &[]).is_err());
    }
}
