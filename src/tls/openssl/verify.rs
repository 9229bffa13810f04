//! Peers' certificates, judged in OpenSSL's handshakes by `tls/trust`, as in rustls': CAs, CRLs that
//! are swapped while they are in use, names and pins mean the same in all lanes, and what was verified
//! is remembered for the questions of later. OpenSSL checks that whoever shows a certificate has its
//! key, and builds the chain; its own verdict on that only chooses the alert.

use std::sync::{Arc, Mutex, PoisonError};

use openssl::error::ErrorStack;
use openssl::ssl::{SslRef, SslVerifyMode};
use openssl::stack::StackRef;
use openssl::x509::{X509, X509StoreContextRef, X509VerifyResult};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::tls::trust::{ClientCert, ClientTrust, Rejection, ServerTrust};

/// Who the other end of a session must be.
#[derive(Clone, Debug)]
pub enum Verifier {
    Client(ClientTrust),
    /// With the name that must be on the certificate, where that counts.
    Server(ServerTrust, ServerName<'static>),
}

/// Why a peer was refused, for the error that follows.
pub(super) type Refused = Arc<Mutex<Option<Rejection>>>;

impl Verifier {
    /// Why whoever has shown this chain, its own certificate first, is not let in.
    fn refusal(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<Rejection> {
        match self {
            Self::Client(trust) => trust.judge(chain, now).refusal().cloned(),
            Self::Server(trust, name) => trust.judge(chain, name, now).err(),
        }
    }
}

/// How OpenSSL asks clients.
pub(super) fn mode_of(client_cert: ClientCert) -> SslVerifyMode {
    match client_cert {
        ClientCert::None => SslVerifyMode::NONE,
        ClientCert::Optional | ClientCert::Report => SslVerifyMode::PEER,
        ClientCert::Required => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
    }
}

/// Has `verifier` asked in the handshake of `ssl`, as of `now`; without one, nobody is refused.
pub(super) fn install(
    ssl: &mut SslRef,
    mode: SslVerifyMode,
    verifier: Option<(Verifier, UnixTime)>,
) -> Refused {
    let refused = Refused::default();
    let noted = Arc::clone(&refused);
    ssl.set_verify_callback(mode, move |good, context| {
        // OpenSSL goes on after each of its own findings, and says at last that it is done with the
        // peer's own certificate: only then the chain is whole.
        if !good || context.error_depth() > 0 {
            return true;
        }
        let refusal = verifier.as_ref().and_then(|(verifier, now)| {
            verifier.refusal(&context.chain().map(ders).unwrap_or_default(), *now)
        });
        let is_good = refusal.is_none();
        choose_alert(context, is_good);
        *noted.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        is_good
    });
    refused
}

/// What OpenSSL has found decides the alert. Where that is nothing, handshake_failure it is.
fn choose_alert(context: &mut X509StoreContextRef, is_good: bool) {
    if is_good {
        context.set_error(X509VerifyResult::OK);
        // It would be taken for why the handshake does not go on.
        drop(ErrorStack::get());
    } else if context.error() == X509VerifyResult::OK {
        context.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
    }
}

/// A chain as rustls has it. One that cannot be encoded again was not decoded.
pub(super) fn ders(chain: &StackRef<X509>) -> Vec<CertificateDer<'static>> {
    chain.iter().filter_map(|one| one.to_der().ok()).map(CertificateDer::from).collect()
}
