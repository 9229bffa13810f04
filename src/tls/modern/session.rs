//! What rustls' two kinds of connection have in common, behind one type. The only file that names
//! them.

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{
    CipherSuite, ClientConfig, CommonState, ContentType, HandshakeKind, ProtocolVersion,
    ServerConfig,
};

use super::seen::{Seen, watch};
use super::traffic::{Tickets, append};
use crate::buf::{Buf, BufClass, Pool};
use crate::config::model::TlsVersion;
use crate::tls::error::TlsError;
use crate::tls::record::{Records, Role};
use crate::tls::resumption::{Attempt, Refusal};
use crate::tls::tls_conn::{Agreed, Output};

pub(super) enum Session {
    Server(Known<UnbufferedServerConnection>),
    Client(Known<UnbufferedClientConnection>),
}

/// A connection of rustls', with what makes it known to resumption while rustls works for it, and what
/// is seen of its keys meanwhile.
pub(super) struct Known<C> {
    connection: C,
    attempt: Attempt,
    seen: Seen,
}

/// What goes on after rustls: the records, and as the client what takes tickets.
pub(super) type Extracted = (Records, Option<Tickets>);

/// What has become of a piece of the peer's stream.
#[derive(Default)]
pub(super) struct Processed {
    pub(super) consumed: usize,
    /// close_notify was in it.
    pub(super) peer_closed: bool,
}

/// What is written once there are keys.
#[derive(Clone, Copy)]
pub(super) enum Write<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

impl Session {
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        let mut attempt = Attempt::new();
        let connection = attempt.run(None, || UnbufferedServerConnection::new(config));
        let connection = connection.map_err(TlsError::local)?;
        Ok(Self::Server(Known { connection, attempt, seen: Seen::default() }))
    }

    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, TlsError> {
        let mut attempt = Attempt::new();
        let connection = attempt.run(None, || UnbufferedClientConnection::new(config, name));
        let connection = connection.map_err(TlsError::local)?;
        Ok(Self::Client(Known { connection, attempt, seen: Seen::default() }))
    }

    fn state(&self) -> &CommonState {
        match self {
            Self::Server(session) => &session.connection,
            Self::Client(session) => &session.connection,
        }
    }

    /// What the handshake came to; `None` before its end.
    pub(super) fn agreed(&self) -> Option<Agreed> {
        let state = self.state();
        if state.is_handshaking() {
            return None;
        }
        let alpn = state.alpn_protocol().map(|name| String::from_utf8_lossy(name).into());
        Some(Agreed {
            version: self.version()?,
            suite: self.suite()?,
            group: state.negotiated_key_exchange_group().and_then(|group| group.name().as_str()),
            alpn,
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            shown: self.has_shown_certificate(),
            certificates: state.peer_certificates().unwrap_or_default().to_vec(),
        })
    }

    /// The version, once it is known.
    pub(super) fn version(&self) -> Option<TlsVersion> {
        match self.state().protocol_version()? {
            ProtocolVersion::TLSv1_3 => Some(TlsVersion::V1_3),
            ProtocolVersion::TLSv1_2 => Some(TlsVersion::V1_2),
            _ => None,
        }
    }

    /// The cipher suite, once it is known.
    pub(super) fn suite(&self) -> Option<CipherSuite> {
        self.state().negotiated_cipher_suite().map(|suite| suite.suite())
    }

    /// Whether [`Session::extract`] may be called: the handshake is done and all of it was written, and
    /// all keys were seen.
    pub(super) fn can_be_left(&self) -> bool {
        let state = self.state();
        !state.is_handshaking() && !state.wants_write() && self.seen().is_complete()
    }

    fn seen(&self) -> &Seen {
        match self {
            Self::Server(session) => &session.seen,
            Self::Client(session) => &session.seen,
        }
    }

    /// The session without rustls.
    ///
    /// # Errors
    /// Where keys were not seen: see [`Session::can_be_left`].
    pub(super) fn extract(self) -> Result<Extracted, TlsError> {
        let role = match self {
            Self::Server(_) => Role::Server,
            Self::Client(_) => Role::Client,
        };
        let records = self.seen().records(role);
        let records = records.ok_or_else(|| TlsError::local("its keys were not seen"))?;
        Ok((records, self.into_tickets()?))
    }

    /// What takes the tickets that come after the handshake: to a client of TLS 1.3.
    fn into_tickets(self) -> Result<Option<Tickets>, TlsError> {
        let Self::Client(Known { connection, attempt, .. }) = self else { return Ok(None) };
        if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Ok(None);
        }
        let kind = connection.handshake_kind();
        let (_secrets, kernel): (_, KernelConnection<ClientConnectionData>) =
            connection.dangerous_into_kernel_connection().map_err(TlsError::local)?;
        Ok(Some(Tickets::new(kernel, attempt, kind)))
    }

    /// Why a session was not resumed, though there was one.
    pub(super) fn resumption_refused(&self) -> Option<Refusal> {
        match self {
            Self::Server(session) => session.attempt.refused(),
            Self::Client(session) => session.attempt.refused(),
        }
    }

    fn has_shown_certificate(&self) -> bool {
        match self {
            Self::Server(_) => false,
            Self::Client(Known { connection, attempt, .. }) => {
                attempt.has_shown_certificate(connection.handshake_kind())
            }
        }
    }

    /// Takes bytes from the peer. After close_notify (`closed`) it says nothing more.
    pub(super) fn process(
        &mut self,
        incoming: &mut [u8],
        output: &mut Output<'_>,
        closed: bool,
    ) -> Result<Processed, TlsError> {
        match self {
            Self::Server(session) => {
                let done = process(session, incoming, output, closed);
                if !session.connection.is_handshaking() {
                    session.attempt.end();
                }
                done
            }
            Self::Client(session) => process(session, incoming, output, closed),
        }
    }

    /// Writes, with whatever rustls has queued before it. `carry` is an incomplete record of the
    /// peer's. Returns whether its close_notify was come upon.
    pub(super) fn write(
        &mut self,
        carry: &mut [u8],
        what: Write<'_>,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<bool, TlsError> {
        match self {
            Self::Server(session) => write(session, carry, what, pool, records),
            Self::Client(session) => write(session, carry, what, pool, records),
        }
    }
}

/// What both kinds do, and rustls has twice.
trait Works {
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn has_output(&self) -> bool;
}

impl Works for Known<UnbufferedServerConnection> {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        let Self { connection, attempt, seen } = self;
        let kind = connection.handshake_kind();
        watch(seen, || attempt.run(kind, || connection.process_tls_records(incoming)))
    }

    fn has_output(&self) -> bool {
        self.connection.wants_write()
    }
}

impl Works for Known<UnbufferedClientConnection> {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        let Self { connection, attempt, seen } = self;
        let kind = connection.handshake_kind();
        watch(seen, || attempt.run(kind, || connection.process_tls_records(incoming)))
    }

    fn has_output(&self) -> bool {
        self.connection.wants_write()
    }
}

impl Write<'_> {
    fn payload(self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::CloseNotify => 0,
        }
    }

    fn into<Data>(
        self,
        traffic: &mut WriteTraffic<'_, Data>,
        out: &mut [u8],
    ) -> Result<usize, EncryptError> {
        match self {
            Self::Data(data) => traffic.encrypt(data, out),
            Self::CloseNotify => traffic.queue_close_notify(out),
        }
    }
}

fn process(
    session: &mut impl Works,
    incoming: &mut [u8],
    output: &mut Output<'_>,
    closed: bool,
) -> Result<Processed, TlsError> {
    let mut done = Processed::default();
    loop {
        let UnbufferedStatus { mut discard, state } =
            session.process(&mut incoming[done.consumed..]);
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
            Ok(ConnectionState::PeerClosed) => done.peer_closed = true,
            Ok(_) => blocked = true,
            Err(error) => {
                let rest = &mut incoming[done.consumed + discard..];
                let mut error = TlsError::from_peer(error);
                if closed {
                    error.alert_sent = None;
                    return Err(error);
                }
                return Err(flush_alert(session, error, rest, output));
            }
        }
        done.consumed += discard;
        if blocked {
            return Ok(done);
        }
    }
}

/// Collects the alert that rustls queued with an error.
fn flush_alert(
    session: &mut impl Works,
    mut error: TlsError,
    rest: &mut [u8],
    output: &mut Output<'_>,
) -> TlsError {
    // Only as long as something is queued: a call more would look at the bad record again.
    while session.has_output()
        && let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
            session.process(rest)
    {
        if encode(|out| data.encode(out), output.pool, output.records).is_err() {
            break;
        }
    }
    let last = output.records.back();
    error.alert_sent = last.and_then(|record| plaintext_alert(record.last())).or(error.alert_sent);
    error
}

fn write(
    session: &mut impl Works,
    carry: &mut [u8],
    what: Write<'_>,
    pool: &Pool,
    records: &mut VecDeque<Buf>,
) -> Result<bool, TlsError> {
    let mut peer_closed = false;
    loop {
        let UnbufferedStatus { discard, state } = session.process(carry);
        debug_assert!(discard == 0, "an incomplete record yields nothing");
        match state {
            Ok(ConnectionState::WriteTraffic(traffic)) => {
                write_record(traffic, what, pool, records)?;
                return Ok(peer_closed);
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(|out| data.encode(out), pool, records)?;
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => peer_closed = true,
            // Both sides have said close_notify.
            Ok(ConnectionState::Closed) => return Ok(peer_closed),
            Ok(other) => return Err(TlsError::local(format!("cannot write in {other:?}"))),
            Err(error) => return Err(TlsError::from_peer(error)),
        }
    }
}

fn write_record<Data>(
    mut traffic: WriteTraffic<'_, Data>,
    what: Write<'_>,
    pool: &Pool,
    records: &mut VecDeque<Buf>,
) -> Result<(), TlsError> {
    let payload = what.payload();
    // Behind what waits, if it fits: a peer that does not read must not hold a buffer for every
    // small message.
    if let Some(last) = records.back_mut()
        && last.tail_mut().len() > payload
        && let Ok(written) = what.into(&mut traffic, last.tail_mut())
    {
        last.extend(written);
        return Ok(());
    }
    let fitting = BufClass::ALL.into_iter().find(|class| class.plaintext_max() >= payload);
    let class = fitting.unwrap_or(BufClass::Bulk);
    let mut buf = pool.take(class);
    let written = match what.into(&mut traffic, buf.tail_mut()) {
        Err(EncryptError::InsufficientSize(_)) if class != BufClass::Bulk => {
            buf = pool.take(BufClass::Bulk);
            what.into(&mut traffic, buf.tail_mut())
        }
        written => written,
    };
    buf.extend(written.map_err(|error| TlsError::local(error.to_string()))?);
    records.push_back(buf);
    Ok(())
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
