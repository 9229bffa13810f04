//! Components that we connect to: who they must prove to be.
//!
//! rustls gives a verifier the name that goes into the SNI. What is checked may be another name,
//! an address, or nothing, so the verifier holds it. The connection's own name is for the SNI
//! alone; `enable_sni` in rustls' `ClientConfig` switches that off.

use std::collections::BTreeSet;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use webpki::EndEntityCert;

use super::authority::Authority;
use super::crls::SharedCrls;
use super::names::common_name_covers;
use super::path::Path;
use super::peer::{Peer, PeerIdentity};
use super::problem::Rejection;
use super::{NameMatch, Verify, diagnosis, handshake};
use crate::tls::resumption::{Attempt, CrlEpoch, DomainId, PolicyId, UpstreamParts};

/// Who components must be; shared by the connections of a policy.
#[derive(Clone, Debug)]
pub struct ServerTrust {
    verify: Verify,
    name_match: NameMatch,
    /// With `Full` and `Chain`.
    authority: Option<Arc<Authority>>,
    pins: Arc<[[u8; 32]]>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What a connection knows of its component after the handshake.
#[derive(Clone, Debug)]
pub struct ServerVerification {
    /// `None` if the certificate cannot be read.
    pub peer: Option<Arc<Peer>>,
    /// What the component has proved; with [`Verify::None`] it is nobody.
    pub verified: Verify,
}

impl ServerVerification {
    /// Whether somebody vouches for the component. Audit and metrics count those that are not.
    pub fn is_authenticated(&self) -> bool {
        self.verified != Verify::None
    }

    /// Who the component says it is.
    pub fn shown(&self) -> Option<&PeerIdentity> {
        self.peer.as_deref().map(|peer| &peer.identity)
    }
}

impl Verify {
    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Chain => "chain",
            Self::Pin => "pin",
            Self::None => "none",
        }
    }
}

impl ServerTrust {
    pub(super) fn new(
        verify: Verify,
        name_match: NameMatch,
        authority: Option<Arc<Authority>>,
        pins: &[[u8; 32]],
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { verify, name_match, authority, pins: pins.into(), algorithms }
    }

    /// What is checked: [`Verify::Chain`] also where `Full` was asked for with the name check off.
    pub fn verify(&self) -> Verify {
        self.verify
    }

    /// Whether components are authenticated at all.
    pub fn is_authenticated(&self) -> bool {
        self.verify != Verify::None
    }

    /// The CAs that are trusted; empty with `Pin` and `None`.
    pub fn trusted(&self) -> &[CertificateDer<'static>] {
        self.authority.as_ref().map_or(&[], |authority| &authority.roots.certificates)
    }

    /// The CRLs that are looked at, if any.
    pub fn crls(&self) -> Option<&Arc<SharedCrls>> {
        self.authority.as_ref()?.crls.as_ref()
    }

    /// The domain of our sessions with one endpoint, whose certificate must have `name`, and the
    /// CRLs that they are bound to. `identity` is the certificate that we show.
    pub fn resumption_domain(
        &self,
        policy: PolicyId<'_>,
        endpoint: &str,
        name: &ServerName<'_>,
        identity: Option<&CertificateDer<'_>>,
    ) -> (DomainId, Arc<CrlEpoch>) {
        let mut options = BTreeSet::new();
        let mut crl_epoch = Arc::default();
        if let Some(authority) = &self.authority {
            options.extend(authority.options());
            crl_epoch = authority.crl_epoch();
        }
        if self.verify == Verify::Full {
            options.insert(match self.name_match {
                NameMatch::San => "name_match=san",
                NameMatch::SanOrCn => "name_match=san_or_cn",
            });
        }
        let pins: Vec<String> =
            self.pins.iter().map(|pin| format!("pin={}", HEXLOWER.encode(pin))).collect();
        options.extend(pins.iter().map(String::as_str));
        let id = DomainId::upstream(&UpstreamParts {
            policy,
            endpoint,
            name: (self.verify == Verify::Full).then(|| name.to_str()).as_deref(),
            verify: self.verify.as_str(),
            trusted: self.trusted(),
            options: &options,
            identity,
        });
        (id, crl_epoch)
    }

    /// What rustls asks in handshakes with the component whose name or address is `name`, which
    /// counts with [`Verify::Full`] alone. One per component: rustls resumes sessions under the
    /// verifier that they were made under, and no other.
    pub fn verifier(&self, name: ServerName<'static>) -> Arc<dyn ServerCertVerifier> {
        Arc::new(Verifier { trust: self.clone(), name })
    }

    /// What is known of the component called `name` after a handshake. `chain` is what rustls says
    /// it has shown, its own certificate first. To be asked after every handshake: in a resumed
    /// one rustls asks nobody.
    ///
    /// # Errors
    /// When the component has come back with a session whose certificate is not good any more;
    /// the connection must not go on.
    pub fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerVerification, Rejection> {
        let known = match (self.verify, chain.split_first()) {
            (Verify::None, _) => None,
            (_, Some((leaf, others))) => self.check(leaf, others, name, now)?,
            (_, None) => return Err(diagnosis::missing()),
        };
        let peer = known.or_else(|| Peer::new(chain, None).map(Arc::new));
        Ok(ServerVerification { peer, verified: self.verify })
    }

    /// Whether a component that we are connected to would be accepted now, under `name`. `chain` and
    /// `path` are as in [`ClientTrust::recheck`](super::ClientTrust::recheck).
    ///
    /// # Errors
    /// Why a new handshake with it would fail.
    pub fn recheck(
        &self,
        chain: &[CertificateDer<'_>],
        path: &mut Option<Arc<Path>>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Rejection> {
        if self.verify == Verify::None {
            return Ok(());
        }
        let leaf = chain.first().ok_or_else(diagnosis::unreadable)?;
        if let Some(authority) = &self.authority {
            authority.recheck(chain, path, now)?;
        }
        self.check_leaf(leaf, name)
    }

    /// Chain, CRLs, then name: a wrong name on a revoked certificate is a revoked certificate.
    /// `None` where there is no chain to be followed.
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<Option<Arc<Peer>>, Rejection> {
        let authority = self.authority.as_ref();
        let peer = authority.map(|authority| authority.verify(leaf, others, now)).transpose()?;
        self.check_leaf(leaf, name)?;
        Ok(peer)
    }

    fn check_leaf(
        &self,
        leaf: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), Rejection> {
        match self.verify {
            Verify::Full => self.check_name(leaf, name),
            Verify::Pin => {
                let identity = PeerIdentity::of(leaf).ok_or_else(diagnosis::unreadable)?;
                let is_pinned = self.pins.contains(&identity.spki);
                is_pinned.then_some(()).ok_or_else(|| diagnosis::wrong_pin(&identity.spki))
            }
            Verify::Chain | Verify::None => Ok(()),
        }
    }

    fn check_name(
        &self,
        leaf: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), Rejection> {
        let parsed = EndEntityCert::try_from(leaf).map_err(|_| diagnosis::unreadable())?;
        match parsed.verify_is_valid_for_subject_name(name) {
            Err(_) if self.name_match == NameMatch::SanOrCn && common_name_covers(leaf, name) => {
                Ok(())
            }
            other => other.map_err(|error| diagnosis::wrong_name(error, name)),
        }
    }
}

#[derive(Debug)]
struct Verifier {
    trust: ServerTrust,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Verifier {
    /// `_sni` is the name of the connection; an OCSP response is for clients that ask for one.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _sni: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let known = self.trust.check(leaf, others, &self.name, now).map_err(Rejection::noted)?;
        if let Some(path) = known.as_ref().and_then(|peer| peer.path.as_ref()) {
            Attempt::note_end(path.not_after());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        handshake::check_tls12(message, certificate, signed, &self.trust.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        handshake::check_tls13(message, certificate, signed, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}
