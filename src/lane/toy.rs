//! TLS that a test can read: a session whose handshake is one byte from the peer, and whose records are
//! the plaintext.

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::CipherSuite;
use rustls::pki_types::CertificateDer;

use super::frame::queue_frame;
use super::link::Sessions;
use crate::buf::{Buf, Pool};
use crate::config::model::TlsVersion;
use crate::conn::outcome::{Reason, TlsFacts};
use crate::tls::error::TlsError;
use crate::tls::lane::Lane;
use crate::tls::resumption::Refusal;
use crate::tls::tls_conn::{Output, TlsConn};

/// What the peer says first.
pub(crate) const GREETING: u8 = b'h';
/// What stands for close_notify.
pub(crate) const CLOSE: u8 = 0xff;
/// What breaks the protocol, and the alert that it is answered with.
pub(crate) const WRONG: u8 = 0xfe;
pub(crate) const ALERT: u8 = 0xfd;

/// Its profile.
#[derive(Debug)]
pub(crate) struct Toys;

#[derive(Default)]
struct Toy {
    greeted: bool,
    closed: bool,
    peer_closed: bool,
    certificates: Vec<CertificateDer<'static>>,
}

impl Sessions for Toys {
    fn accept(&self, _hello: &[u8]) -> Result<Box<dyn TlsConn>, TlsError> {
        Ok(Box::new(Toy::default()))
    }

    fn connect(
        &self,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<Box<dyn TlsConn>, TlsError> {
        queue_frame(records, pool, b"hello");
        Ok(Box::new(Toy::default()))
    }
}

impl TlsConn for Toy {
    fn lane(&self) -> Lane {
        Lane::Legacy
    }

    fn start(&mut self, hello: &mut [u8], output: &mut Output<'_>) -> Result<(), TlsError> {
        queue_frame(output.records, output.pool, hello);
        Ok(())
    }

    fn receive(&mut self, input: Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        for byte in input.to_vec() {
            match byte {
                _ if self.peer_closed => {}
                GREETING if !self.greeted => {
                    self.greeted = true;
                    self.certificates = vec![vec![1, 2, 3].into()];
                }
                CLOSE => self.peer_closed = true,
                byte if byte == WRONG || !self.greeted => {
                    queue_frame(output.records, output.pool, &[ALERT]);
                    return Err(TlsError {
                        reason: Reason::ProtocolViolation,
                        alert_sent: Some(10),
                        ..TlsError::local("a byte that is wrong")
                    });
                }
                byte => queue_frame(output.plaintext, output.pool, &[byte]),
            }
        }
        Ok(())
    }

    fn seal(
        &mut self,
        plaintext: Buf,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        queue_frame(records, pool, &plaintext.to_vec());
        Ok(())
    }

    fn close_notify(&mut self, pool: &Pool, records: &mut VecDeque<Buf>) -> Result<(), TlsError> {
        self.closed = true;
        queue_frame(records, pool, &[CLOSE]);
        Ok(())
    }

    fn last_alert(self: Box<Self>, description: u8) -> Option<Vec<u8>> {
        Some(vec![ALERT, description])
    }

    fn version(&self) -> Option<TlsVersion> {
        self.greeted.then_some(TlsVersion::V1_0)
    }

    fn suite(&self) -> Option<CipherSuite> {
        self.greeted.then_some(CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA)
    }

    fn is_handshaking(&self) -> bool {
        !self.greeted
    }

    fn has_closed(&self) -> bool {
        self.closed
    }

    fn peer_has_closed(&self) -> bool {
        self.peer_closed
    }

    fn is_resumed(&self) -> bool {
        true
    }

    fn resumption_refused(&self) -> Option<Refusal> {
        None
    }

    fn facts(&self) -> TlsFacts {
        TlsFacts {
            version: "TLSv1",
            cipher_suite: "TLS_RSA_WITH_AES_128_CBC_SHA",
            group: Some("secp256r1"),
            alpn: Some(Arc::from("toy")),
            resumed: true,
        }
    }

    fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    fn has_shown_certificate(&self) -> bool {
        false
    }
}
