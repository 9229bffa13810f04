//! One TLS session, as the server or as the client: bytes in, bytes out, whoever speaks it. Each lane
//! has an implementation: `modern` over rustls, `openssl`, and `remote`, whose session is held by
//! another process.

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::CipherSuite;
use rustls::pki_types::CertificateDer;

use super::alert::plaintext_alert;
use super::error::TlsError;
use super::lane::Lane;
use super::resumption::Refusal;
use crate::buf::{Buf, Pool};
use crate::config::model::TlsVersion;
use crate::conn::outcome::TlsFacts;
use crate::lane;

/// Where [`TlsConn::receive`] puts what comes out of it.
pub struct Output<'a> {
    pub pool: &'a Pool,
    /// For the other side.
    pub plaintext: &'a mut VecDeque<Buf>,
    /// For the peer: handshake flights, tickets, key updates, alerts.
    pub records: &'a mut VecDeque<Buf>,
}

/// What a handshake came to, where the library that did it is not asked again.
pub struct Agreed {
    pub version: TlsVersion,
    pub suite: CipherSuite,
    pub group: Option<&'static str>,
    pub alpn: Option<Arc<str>>,
    pub resumed: bool,
    /// As the client: our certificate.
    pub shown: bool,
    /// The peer's, its own first.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// A TLS session, as the server or as the client.
pub trait TlsConn {
    /// Whose session this is.
    fn lane(&self) -> Lane;

    /// By which profile the child is to speak it. Then nothing goes out, and nothing more is to be
    /// received, before the child has been passed the socket.
    fn remote(&self) -> Option<&Arc<lane::Profile>> {
        None
    }

    /// The child has been passed the socket: from now on, what comes in and goes out are frames. The
    /// first goes into `records`.
    fn passed(&mut self, pool: &Pool, records: &mut VecDeque<Buf>) {
        let _for_the_child = (pool, records);
    }

    /// Takes the (re-framed) ClientHello, as the server.
    ///
    /// # Errors
    /// As [`TlsConn::receive`].
    fn start(&mut self, hello: &mut [u8], output: &mut Output<'_>) -> Result<(), TlsError>;

    /// Takes bytes from the peer.
    ///
    /// # Errors
    /// The session is over. A fatal alert is in `output.records`, for as long as the peer can
    /// still be told.
    fn receive(&mut self, input: Buf, output: &mut Output<'_>) -> Result<(), TlsError>;

    /// The peer's stream has ended without close_notify.
    ///
    /// # Errors
    /// When that is no end of the peer's.
    fn end_of_stream(&mut self) -> Result<(), TlsError> {
        Ok(())
    }

    /// Whether these bytes say no more than that whoever holds the session is there.
    fn is_sign_of_life(&self, _input: &[u8]) -> bool {
        false
    }

    /// Encrypts `plaintext` into `records`: in its own memory where that has room for what is added,
    /// else by a copy.
    ///
    /// # Errors
    /// When the keys are used up (2^24 records of AES-GCM, RFC 8446 §5.5) in TLS 1.2, which has no
    /// key update.
    fn seal(
        &mut self,
        plaintext: Buf,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError>;

    /// Appends close_notify: no more data follows (RFC 8446 §6.1).
    ///
    /// # Errors
    /// As [`TlsConn::seal`].
    fn close_notify(&mut self, pool: &Pool, records: &mut VecDeque<Buf>) -> Result<(), TlsError>;

    /// A fatal alert instead of our flight, of which nothing was sent: the peer has no keys yet.
    /// Short enough for the smallest buffer, as is [`TlsConn::last_alert`].
    fn first_alert(&self, description: u8) -> Vec<u8> {
        plaintext_alert(description).to_vec()
    }

    /// Ends the session with a fatal alert, in a record behind all that was sealed; `None` if it
    /// cannot be told.
    fn last_alert(self: Box<Self>, description: u8) -> Option<Vec<u8>>;

    /// Gives back memory that is quickly made again: nothing has come or gone for a while.
    fn rest(&mut self) {}

    /// What the handshake came to, once it is done; `None` from who answers all that follows itself.
    fn agreed(&self) -> Option<&Agreed> {
        None
    }

    /// The version that was agreed on, once it is known.
    fn version(&self) -> Option<TlsVersion> {
        self.agreed().map(|agreed| agreed.version)
    }

    /// The cipher suite that was agreed on, once it is known.
    fn suite(&self) -> Option<CipherSuite> {
        self.agreed().map(|agreed| agreed.suite)
    }

    /// True until both sides have verified the other's Finished.
    fn is_handshaking(&self) -> bool {
        self.agreed().is_none()
    }

    /// True once close_notify was sent.
    fn has_closed(&self) -> bool;

    /// True once the peer's close_notify was read: it sends no more.
    fn peer_has_closed(&self) -> bool;

    /// Whether the handshake was an abbreviated one; meaningful once it is done.
    fn is_resumed(&self) -> bool {
        self.agreed().is_some_and(|agreed| agreed.resumed)
    }

    /// Why the session that the client wanted to resume was refused, if it was. As the client: why
    /// one that there was is not offered.
    fn resumption_refused(&self) -> Option<Refusal>;

    /// What the handshake agreed on; meaningful once it is done.
    fn facts(&self) -> TlsFacts {
        let agreed = self.agreed();
        TlsFacts {
            version: self.version().map_or("unknown", TlsVersion::as_str),
            cipher_suite: self.suite().map_or("unknown", suite_name),
            group: agreed.and_then(|agreed| agreed.group),
            alpn: agreed.and_then(|agreed| agreed.alpn.clone()),
            resumed: self.is_resumed(),
        }
    }

    /// The certificates that the peer has shown, its own first; in a resumed session, those of the
    /// first handshake.
    fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.agreed().map_or(&[], |agreed| &agreed.certificates)
    }

    /// As the client: whether the server has asked for our certificate and was shown it, in this
    /// handshake or in the one that a resumed session comes from.
    fn has_shown_certificate(&self) -> bool {
        self.agreed().is_some_and(|agreed| agreed.shown)
    }
}

/// IANA name: rustls says TLS13 where IANA says TLS.
pub fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}
