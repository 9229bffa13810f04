//! The modern lane: a session over rustls, as the server or as the client. Only `session` names
//! rustls' connection types, so that the record layer below it can be replaced.
//!
//! rustls' unbuffered API decrypts in the receive buffer and keeps no buffers of its own. What is
//! left of an incomplete record waits in `carry`, memory that exists only while it is needed.

mod last_alert;
mod session;

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig};

use super::error::TlsError;
use super::lane::Lane;
use super::resumption::Refusal;
use super::tls_conn::{Output, TlsConn, suite_name};
use crate::buf::{Buf, BufClass, Pool};
use crate::config::model::TlsVersion;
use crate::conn::outcome::TlsFacts;
use session::{Session, Write};

/// A session of rustls'.
pub struct ModernConn {
    session: Session,
    carry: Carry,
    peer_closed: bool,
    /// close_notify was sent: nothing may follow it, not even an alert.
    closed: bool,
}

/// The start of an incomplete record, behind whole records that hold the start of an incomplete
/// handshake message; empty most of the time.
///
/// Not a buffer of the pool: if all of that waited for the rest of records, nothing would be left
/// to receive the rest with. It grows with what arrives, up to [`MAX_CARRY`].
#[derive(Default)]
struct Carry {
    bytes: Vec<u8>,
    /// Length of the whole records. rustls has seen them and moves the parts of the message in them
    /// together, so their headers are not there to be read again.
    whole: usize,
}

impl ModernConn {
    /// The server's session, which has seen nothing yet.
    ///
    /// # Errors
    /// When the configuration itself is unusable.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Session::server(config).map(Self::of)
    }

    /// The client's session, whose ClientHello goes into `records`. `name` is what the SNI says.
    ///
    /// # Errors
    /// When the configuration itself is unusable.
    pub fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<Self, TlsError> {
        let mut tls = Self::of(Session::client(config, name)?);
        let mut output = Output { pool, plaintext: &mut VecDeque::new(), records };
        tls.process(&mut [], &mut output)?;
        Ok(tls)
    }

    fn of(session: Session) -> Self {
        let carry = Carry::default();
        Self { session, carry, peer_closed: false, closed: false }
    }

    /// Completes what is carried, record by record, from the front of `input`.
    fn fill_carry(&mut self, input: &mut Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        while !self.carry.bytes.is_empty() && !input.is_empty() && !self.peer_closed {
            let mut carry = std::mem::take(&mut self.carry);
            let part = missing_bytes(&carry.bytes[carry.whole..]).min(input.len());
            if carry.bytes.len() + part > MAX_CARRY {
                return Err(TlsError::oversized_handshake());
            }
            carry.bytes.extend_from_slice(&input.contiguous()[..part]);
            input.advance(part);
            // The header may only now be complete, and say how much is missing.
            if missing_bytes(&carry.bytes[carry.whole..]) == 0 {
                let whole = carry.bytes.len();
                let consumed = self.process(&mut carry.bytes, output)?;
                // A handshake message goes on in the next record: rustls wants to see it whole.
                carry.whole = whole.saturating_sub(consumed);
                carry.bytes.drain(..consumed);
                if carry.bytes.is_empty() {
                    // An idle connection keeps no memory for it.
                    carry.bytes = Vec::new();
                }
            }
            self.carry = carry;
        }
        Ok(())
    }

    /// Runs rustls over `incoming`; returns how many bytes are done with.
    fn process(&mut self, incoming: &mut [u8], output: &mut Output<'_>) -> Result<usize, TlsError> {
        let done = self.session.process(incoming, output, self.closed)?;
        self.peer_closed |= done.peer_closed;
        Ok(done.consumed)
    }

    fn write(
        &mut self,
        what: Write<'_>,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        self.peer_closed |= self.session.write(&mut self.carry.bytes, what, pool, records)?;
        Ok(())
    }
}

impl TlsConn for ModernConn {
    fn lane(&self) -> Lane {
        Lane::Modern
    }

    fn start(&mut self, hello: &mut [u8], output: &mut Output<'_>) -> Result<(), TlsError> {
        let consumed = self.process(hello, output)?;
        debug_assert!(consumed == hello.len(), "a complete ClientHello is consumed whole");
        Ok(())
    }

    fn receive(&mut self, mut input: Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        self.fill_carry(&mut input, output)?;
        if input.is_empty() || self.peer_closed {
            return Ok(());
        }
        let input = input.contiguous();
        let whole = whole_records(input);
        let consumed = self.process(input, output)?;
        if !self.peer_closed {
            self.carry =
                Carry { bytes: input[consumed..].to_vec(), whole: whole.saturating_sub(consumed) };
        }
        Ok(())
    }

    fn seal(
        &mut self,
        plaintext: Buf,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        for part in plaintext.parts() {
            for part in part.chunks(BufClass::Bulk.plaintext_max()) {
                self.write(Write::Data(part), pool, records)?;
            }
        }
        Ok(())
    }

    fn close_notify(&mut self, pool: &Pool, records: &mut VecDeque<Buf>) -> Result<(), TlsError> {
        self.closed = true;
        self.write(Write::CloseNotify, pool, records)
    }

    fn last_alert(self: Box<Self>, description: u8) -> Option<Vec<u8>> {
        if self.closed { None } else { self.session.last_alert(description) }
    }

    fn version(&self) -> Option<TlsVersion> {
        match self.session.state().protocol_version()? {
            ProtocolVersion::TLSv1_3 => Some(TlsVersion::V1_3),
            ProtocolVersion::TLSv1_2 => Some(TlsVersion::V1_2),
            _ => None,
        }
    }

    fn suite(&self) -> Option<CipherSuite> {
        self.session.state().negotiated_cipher_suite().map(|suite| suite.suite())
    }

    fn is_handshaking(&self) -> bool {
        self.session.state().is_handshaking()
    }

    fn has_closed(&self) -> bool {
        self.closed
    }

    fn peer_has_closed(&self) -> bool {
        self.peer_closed
    }

    fn is_resumed(&self) -> bool {
        self.session.state().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn resumption_refused(&self) -> Option<Refusal> {
        self.session.resumption_refused()
    }

    fn facts(&self) -> TlsFacts {
        let session = self.session.state();
        TlsFacts {
            version: self.version().map_or("unknown", TlsVersion::as_str),
            cipher_suite: session
                .negotiated_cipher_suite()
                .map_or("unknown", |suite| suite_name(suite.suite())),
            group: session.negotiated_key_exchange_group().and_then(|group| group.name().as_str()),
            alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into()),
            resumed: self.is_resumed(),
        }
    }

    fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.session.state().peer_certificates().unwrap_or_default()
    }

    fn has_shown_certificate(&self) -> bool {
        self.session.has_shown_certificate()
    }
}

/// Bytes until the record that `data` starts with is complete; at least what the header lacks.
fn missing_bytes(data: &[u8]) -> usize {
    let [_, _, _, high, low, body @ ..] = data else { return HEADER - data.len() };
    usize::from(u16::from_be_bytes([*high, *low])).saturating_sub(body.len())
}

/// Length of the whole records at the front of `data`.
fn whole_records(data: &[u8]) -> usize {
    let mut rest = data;
    while let [_, _, _, high, low, body @ ..] = rest
        && let Some(after) = body.get(usize::from(u16::from_be_bytes([*high, *low]))..)
    {
        rest = after;
    }
    data.len() - rest.len()
}

/// Bytes of a record header (RFC 8446 §5.1).
const HEADER: usize = 5;
/// Room for the longest handshake message rustls takes, 64 KiB, in records of which half is
/// overhead.
const MAX_CARRY: usize = 128 * 1024;

#[cfg(test)]
mod tests;
