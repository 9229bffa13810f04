//! Peers that connect: what is asked of them in the handshake, and what is known of them after it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::authority::Authority;
use super::crls::SharedCrls;
use super::path::Path;
use super::peer::{Peer, PeerIdentity};
use super::problem::Rejection;
use super::{ClientCert, diagnosis, handshake};
use crate::tls::resumption::CrlEpoch;

/// Longest list of CAs that is sent to peers, in bytes. It may have 64 KiB; some stacks take
/// no message longer than this.
pub(in crate::tls) const MAX_HINTS: usize = 16 << 10;

/// Who peers that connect must be; shared by the connections of a policy.
#[derive(Clone, Debug)]
pub struct ClientTrust {
    mode: ClientCert,
    /// `None` where no certificate is asked for.
    authority: Option<Arc<Authority>>,
}

/// What a connection knows of its peer after the handshake.
#[derive(Clone, Debug)]
pub struct ClientVerification {
    /// What the peer has shown, for logs; `None` if that was nothing that can be read.
    pub peer: Option<Arc<Peer>>,
    pub verdict: ClientVerdict,
    authorizes: bool,
}

/// Whether a peer is who it says.
#[derive(Clone, Debug)]
pub enum ClientVerdict {
    /// It has shown no certificate.
    Anonymous,
    Verified,
    /// See [`ClientVerification::refusal`].
    Failed(Rejection),
}

impl ClientVerification {
    /// Why the connection must not go on, if so: a peer that came back with a session whose
    /// certificate is not good any more. After a full handshake, and with [`ClientCert::Report`],
    /// there is no reason.
    pub fn refusal(&self) -> Option<&Rejection> {
        match &self.verdict {
            ClientVerdict::Failed(rejection) if self.authorizes => Some(rejection),
            _ => None,
        }
    }

    /// Who the peer says it is: for people, not for decisions.
    pub fn shown(&self) -> Option<&PeerIdentity> {
        self.peer.as_deref().map(|peer| &peer.identity)
    }

    /// Who the peer is, for rules. `None` unless its certificate was asked for in earnest and is
    /// good.
    pub fn authorized(&self) -> Option<&PeerIdentity> {
        self.shown().filter(|_| self.authorizes && matches!(self.verdict, ClientVerdict::Verified))
    }
}

impl ClientCert {
    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Required => "required",
            Self::Report => "report",
        }
    }
}

impl ClientTrust {
    pub(super) fn new(mode: ClientCert, authority: Option<Arc<Authority>>) -> Self {
        Self { mode, authority }
    }

    /// What is asked of peers.
    pub fn mode(&self) -> ClientCert {
        self.mode
    }

    /// The CAs that are trusted; empty where no certificate is asked for.
    pub fn trusted(&self) -> &[CertificateDer<'static>] {
        self.authority.as_ref().map_or(&[], |authority| &authority.roots.certificates)
    }

    /// The CRLs that are looked at, if any.
    pub fn crls(&self) -> Option<&Arc<SharedCrls>> {
        self.authority.as_ref()?.crls.as_ref()
    }

    /// What sessions are bound to besides mode and CAs; see
    /// [`DomainParts`](crate::tls::resumption::DomainParts).
    pub fn options(&self) -> BTreeSet<&'static str> {
        self.authority.as_ref().map(|authority| authority.options()).unwrap_or_default()
    }

    /// The CRLs that sessions are bound to.
    pub fn crl_epoch(&self) -> Arc<CrlEpoch> {
        self.authority.as_ref().map_or_else(Arc::default, |authority| authority.crl_epoch())
    }

    #[cfg(test)]
    pub(super) fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("certificates are asked for")
    }

    /// What rustls asks in a handshake.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let Some(authority) = &self.authority else {
            return WebPkiClientVerifier::no_client_auth();
        };
        let authority = Arc::clone(authority);
        let hints = hints(&authority.roots.store);
        let algorithms = authority.algorithms;
        Arc::new(Verifier { mode: self.mode, authority, hints, algorithms })
    }

    /// Judges what rustls says the peer has shown, its own certificate first; empty if that was
    /// nothing. To be asked after every handshake, whether full or resumed.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> ClientVerification {
        let authorizes = self.mode != ClientCert::Report;
        let (Some(authority), Some((leaf, others))) = (&self.authority, chain.split_first()) else {
            let verdict = match self.mode {
                ClientCert::Required => ClientVerdict::Failed(diagnosis::missing()),
                _ => ClientVerdict::Anonymous,
            };
            return ClientVerification { peer: None, verdict, authorizes };
        };
        match authority.verify(leaf, others, now) {
            Ok(peer) => {
                let verdict = ClientVerdict::Verified;
                ClientVerification { peer: Some(peer), verdict, authorizes }
            }
            Err(rejection) => ClientVerification {
                peer: Peer::new(chain, None).map(Arc::new),
                verdict: ClientVerdict::Failed(rejection),
                authorizes,
            },
        }
    }

    /// Whether a peer that is connected would be accepted now: with these CAs and CRLs, whichever
    /// it came in with. `chain` is what it has shown, and `path` what is known of that; where another
    /// one is found, it is left there.
    ///
    /// Look-ups only as long as the answer is yes and the path the same, a few microseconds.
    ///
    /// # Errors
    /// Why a new handshake of the peer would fail.
    pub fn recheck(
        &self,
        chain: &[CertificateDer<'_>],
        path: &mut Option<Arc<Path>>,
        now: UnixTime,
    ) -> Result<(), Rejection> {
        let Some(authority) = &self.authority else { return Ok(()) };
        match (self.mode, chain.is_empty()) {
            (ClientCert::None | ClientCert::Report, _) | (ClientCert::Optional, true) => Ok(()),
            (ClientCert::Required, true) => Err(diagnosis::missing()),
            (ClientCert::Required | ClientCert::Optional, false) => {
                authority.recheck(chain, path, now)
            }
        }
    }
}

/// The names of CAs that peers choose a certificate by. None if they would not fit a handshake
/// message, which means the same as any (RFC 5246 §7.4.4, RFC 8446 §4.2.4).
fn hints(roots: &RootCertStore) -> Vec<DistinguishedName> {
    let names = roots.subjects();
    let length: usize = names.iter().map(|name| name.as_ref().len() + 2).sum();
    if length <= MAX_HINTS { names } else { Vec::new() }
}

/// `optional`, `required` and `report`.
#[derive(Debug)]
struct Verifier {
    mode: ClientCert,
    authority: Arc<Authority>,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mode == ClientCert::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.mode != ClientCert::Report {
            let _for_judge = self.authority.verify(leaf, others, now).map_err(Rejection::noted)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        handshake::check_tls12(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        handshake::check_tls13(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
