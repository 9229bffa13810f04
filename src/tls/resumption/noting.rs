//! A verifier of clients that notes down whom it let in.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::attempt::current;
use super::binding::Origin;
use super::{Clock, CrlEpoch};
use crate::tls::trust::fingerprint;

/// Decides as another verifier does, and leaves with the connection what its sessions must carry.
#[derive(Debug)]
pub(super) struct Noting {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) crl_epoch: Arc<CrlEpoch>,
    pub(super) clock: Clock,
}

impl ClientCertVerifier for Noting {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Before the check: if CRLs are swapped during it, the session is one of the old ones.
        let (authenticated, crl_epoch) = (self.clock.now(), self.crl_epoch.get());
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        let origin = Origin { authenticated, crl_epoch, client: Some(fingerprint(end_entity)) };
        let noted = current(|connection| connection.establish(origin));
        // Whoever cannot be noted down would later be taken for nobody.
        noted.map(|()| verified).ok_or_else(|| Error::General("no current connection".to_owned()))
    }

    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.verifier.requires_raw_public_keys()
    }
}
