//! One TLS session over rustls: bytes in, bytes out. The only file that names rustls' connection
//! types, so that the record layer below it can be replaced.
//!
//! rustls' unbuffered API decrypts in the receive buffer and keeps no buffers of its own. What is
//! left of an incomplete record waits in `carry`, memory that exists only while it is needed.

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CipherSuite, ContentType, HandshakeKind, ProtocolVersion, ServerConfig};

use super::error::TlsError;
use super::resumption::{Attempt, Refusal};
use crate::buf::{Buf, BufClass, Pool};
use crate::conn::outcome::TlsFacts;

/// A server-side TLS session.
pub struct TlsConn {
    session: UnbufferedServerConnection,
    attempt: Attempt,
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

/// Where [`TlsConn::receive`] puts what comes out of it.
pub struct Output<'a> {
    pub pool: &'a Pool,
    /// For the other side.
    pub plaintext: &'a mut VecDeque<Buf>,
    /// For the peer: handshake flights, tickets, key updates, alerts.
    pub records: &'a mut VecDeque<Buf>,
}

impl TlsConn {
    /// A session that has seen nothing yet.
    ///
    /// # Errors
    /// When the configuration itself is unusable.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        let session = UnbufferedServerConnection::new(config).map_err(TlsError::local)?;
        let attempt = Attempt::new();
        Ok(Self { session, attempt, carry: Carry::default(), peer_closed: false, closed: false })
    }

    /// Takes the (re-framed) ClientHello.
    ///
    /// # Errors
    /// As [`TlsConn::receive`].
    pub fn start(&mut self, hello: &mut [u8], output: &mut Output<'_>) -> Result<(), TlsError> {
        let consumed = self.process(hello, output)?;
        debug_assert!(consumed == hello.len(), "a complete ClientHello is consumed whole");
        Ok(())
    }

    /// Takes bytes from the peer.
    ///
    /// # Errors
    /// The session is over. A fatal alert is in `output.records`, for as long as the peer can
    /// still be told.
    pub fn receive(&mut self, mut input: Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        self.fill_carry(&mut input, output)?;
        if input.is_empty() || self.peer_closed {
            return Ok(());
        }
        let whole = whole_records(&input);
        let consumed = self.process(&mut input, output)?;
        if !self.peer_closed {
            self.carry =
                Carry { bytes: input[consumed..].to_vec(), whole: whole.saturating_sub(consumed) };
        }
        Ok(())
    }

    /// Encrypts `plaintext` into `records`.
    ///
    /// # Errors
    /// When the keys are used up (2^24 records of AES-GCM, RFC 8446 §5.5) in TLS 1.2, which has no
    /// key update.
    pub fn seal(
        &mut self,
        plaintext: &[u8],
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        for part in plaintext.chunks(BufClass::Bulk.plaintext_max()) {
            self.write(part.len(), pool, records, |traffic, out| traffic.encrypt(part, out))?;
        }
        Ok(())
    }

    /// Appends close_notify: no more data follows (RFC 8446 §6.1).
    ///
    /// # Errors
    /// As [`TlsConn::seal`].
    pub fn close_notify(
        &mut self,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        self.closed = true;
        self.write(0, pool, records, |traffic, out| traffic.queue_close_notify(out))
    }

    /// True until both sides have verified the other's Finished.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// True once the peer's close_notify was read: it sends no more.
    pub fn peer_has_closed(&self) -> bool {
        self.peer_closed
    }

    /// What the handshake agreed on; meaningful once it is done.
    pub fn facts(&self) -> TlsFacts {
        let session = &self.session;
        TlsFacts {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "unknown",
            },
            cipher_suite: session
                .negotiated_cipher_suite()
                .map_or("unknown", |suite| suite_name(suite.suite())),
            group: session.negotiated_key_exchange_group().and_then(|group| group.name().as_str()),
            alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into()),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Why the session that the peer wanted to resume was refused, if it was.
    pub fn resumption_refused(&self) -> Option<Refusal> {
        self.attempt.refused()
    }

    /// Completes what is carried, record by record, from the front of `input`.
    fn fill_carry(&mut self, input: &mut Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        while !self.carry.bytes.is_empty() && !input.is_empty() && !self.peer_closed {
            let mut carry = std::mem::take(&mut self.carry);
            let part = missing_bytes(&carry.bytes[carry.whole..]).min(input.len());
            if carry.bytes.len() + part > MAX_CARRY {
                return Err(TlsError::oversized_handshake());
            }
            carry.bytes.extend_from_slice(&input[..part]);
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
        let mut consumed = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                step(&mut self.session, &mut self.attempt, &mut incoming[consumed..]);
            let mut blocked = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(TlsError::from_peer)?;
                        append(record.payload, output.pool, output.plaintext);
                        discard += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(|out| data.encode(out), output.pool, output.records)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(_) => blocked = true,
                Err(error) => {
                    consumed += discard;
                    let error = TlsError::from_peer(error);
                    return Err(self.flush_alert(error, &mut incoming[consumed..], output));
                }
            }
            consumed += discard;
            if blocked {
                if !self.session.is_handshaking() {
                    self.attempt.end();
                }
                return Ok(consumed);
            }
        }
    }

    /// Collects the alert that rustls queued with an error.
    fn flush_alert(
        &mut self,
        mut error: TlsError,
        rest: &mut [u8],
        output: &mut Output<'_>,
    ) -> TlsError {
        if self.closed {
            error.alert_sent = None;
            return error;
        }
        // Only as long as something is queued: a call more would look at the bad record again.
        while self.session.wants_write()
            && let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
                step(&mut self.session, &mut self.attempt, rest)
        {
            if encode(|out| data.encode(out), output.pool, output.records).is_err() {
                break;
            }
        }
        let last = output.records.back();
        error.alert_sent = last.and_then(|record| plaintext_alert(record)).or(error.alert_sent);
        error
    }

    /// One write in rustls' traffic state, with whatever it has queued before it.
    fn write(
        &mut self,
        payload: usize,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
        mut write: impl FnMut(
            &mut rustls::unbuffered::WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> Result<(), TlsError> {
        loop {
            let UnbufferedStatus { discard, state } =
                step(&mut self.session, &mut self.attempt, &mut self.carry.bytes);
            debug_assert!(discard == 0, "an incomplete record yields nothing");
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    // Behind what waits, if it fits: a peer that does not read must not hold a
                    // buffer for every small message.
                    if let Some(last) = records.back_mut()
                        && last.tail_mut().len() > payload
                        && let Ok(written) = write(&mut traffic, last.tail_mut())
                    {
                        last.extend(written);
                        return Ok(());
                    }
                    let class = BufClass::ALL
                        .into_iter()
                        .find(|class| class.plaintext_max() >= payload)
                        .unwrap_or(BufClass::Bulk);
                    let mut buf = pool.take(class);
                    let written = match write(&mut traffic, buf.tail_mut()) {
                        Err(EncryptError::InsufficientSize(_)) if class != BufClass::Bulk => {
                            buf = pool.take(BufClass::Bulk);
                            write(&mut traffic, buf.tail_mut())
                        }
                        written => written,
                    };
                    buf.extend(written.map_err(|error| TlsError::local(error.to_string()))?);
                    records.push_back(buf);
                    return Ok(());
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(|out| data.encode(out), pool, records)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                // Both sides have said close_notify.
                Ok(ConnectionState::Closed) => return Ok(()),
                Ok(other) => return Err(TlsError::local(format!("cannot write in {other:?}"))),
                Err(error) => return Err(TlsError::from_peer(error)),
            }
        }
    }
}

/// The one call into rustls in which sessions are made and resumed.
fn step<'c, 'i>(
    session: &'c mut UnbufferedServerConnection,
    attempt: &mut Attempt,
    incoming: &'i mut [u8],
) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
    let kind = session.handshake_kind();
    attempt.run(kind, || session.process_tls_records(incoming))
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

/// Appends `payload` to the last of `queue` or to a new buffer.
fn append(payload: &[u8], pool: &Pool, queue: &mut VecDeque<Buf>) {
    if payload.is_empty() {
        return;
    }
    let fits = queue.back_mut().is_some_and(|last| last.tail_mut().len() >= payload.len());
    if !fits {
        let class = BufClass::holding(payload.len()).unwrap_or(BufClass::Bulk);
        queue.push_back(pool.take(class));
    }
    let last = queue.back_mut().expect("pushed above");
    // A record's payload is at most 16 KiB (RFC 8446 §5.1), a bulk buffer holds 64.
    last.tail_mut()[..payload.len()].copy_from_slice(payload);
    last.extend(payload.len());
}

/// Appends one encoded handshake record or alert.
fn encode(
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    pool: &Pool,
    records: &mut VecDeque<Buf>,
) -> Result<(), TlsError> {
    if let Some(last) = records.back_mut()
        && let Ok(written) = encode(last.tail_mut())
    {
        last.extend(written);
        return Ok(());
    }
    for class in BufClass::ALL {
        let mut buf = pool.take(class);
        match encode(buf.tail_mut()) {
            Ok(written) => {
                buf.extend(written);
                records.push_back(buf);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(_)) => {}
            Err(error) => return Err(TlsError::local(error.to_string())),
        }
    }
    Err(TlsError::local("a record larger than a bulk buffer"))
}

/// The description of an alert at the end of `records`, if it is readable.
fn plaintext_alert(records: &[u8]) -> Option<u8> {
    let [.., content_type, _, _, 0, 2, _level, description] = *records else { return None };
    (content_type == u8::from(ContentType::Alert)).then_some(description)
}

/// Bytes of a record header (RFC 8446 §5.1).
const HEADER: usize = 5;
/// Room for the longest handshake message rustls takes, 64 KiB, in records of which half is
/// overhead.
const MAX_CARRY: usize = 128 * 1024;

#[cfg(test)]
#[path = "tls_conn_tests.rs"]
mod tests;
