//! One session of OpenSSL's: bytes in, bytes out.

use std::collections::VecDeque;
use std::sync::PoisonError;

use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{HasParams, Id, PKeyRef};
use openssl::ssl::{
    Error, ErrorCode, ShutdownState, Ssl, SslContext, SslRef, SslStream, SslVersion,
};
use rustls::CipherSuite;
use rustls::pki_types::CertificateDer;

use super::error;
use super::memory::{Memory, Said};
use super::verify::{Refused, ders};
use crate::buf::{Buf, BufClass, Pool};
use crate::config::model::TlsVersion;
use crate::tls::error::TlsError;
use crate::tls::lane::Lane;
use crate::tls::resumption::Refusal;
use crate::tls::tls_conn::{Agreed, Output, TlsConn};

/// A session of a weak lane.
pub struct WeakConn {
    stream: SslStream<Memory>,
    lane: Lane,
    refused: Refused,
    /// As the server, while OpenSSL knows it: until the client has sent its share.
    group: Option<&'static str>,
    /// Once the handshake is done.
    agreed: Option<Box<Agreed>>,
    peer_closed: bool,
    /// close_notify was sent: nothing may follow it, not even an alert.
    closed: bool,
    failed: bool,
}

impl WeakConn {
    /// A session that has said and heard nothing.
    pub(super) fn new(
        context: &SslContext,
        lane: Lane,
        prepare: impl FnOnce(&mut Ssl) -> Result<Refused, ErrorStack>,
    ) -> Result<Self, TlsError> {
        let open = || {
            let mut ssl = Ssl::new(context)?;
            let refused = prepare(&mut ssl)?;
            Ok((SslStream::new(ssl, Memory::default())?, refused))
        };
        let (stream, refused) = open().map_err(|stack: ErrorStack| TlsError::local(stack))?;
        Ok(Self {
            stream,
            lane,
            refused,
            group: None,
            agreed: None,
            peer_closed: false,
            closed: false,
            failed: false,
        })
    }

    /// As the client: says hello.
    pub(super) fn begin(
        &mut self,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        self.stream.get_mut().said = Some(Said::default());
        let mut output = Output { pool, plaintext: &mut VecDeque::new(), records };
        self.advance(&mut output)
    }

    /// Has OpenSSL work through what has come.
    fn advance(&mut self, output: &mut Output<'_>) -> Result<(), TlsError> {
        let Output { pool, plaintext, records } = output;
        self.write_into(BufClass::Message, pool, records, |conn| {
            if conn.agreed.is_none() {
                match conn.stream.do_handshake() {
                    Ok(()) => conn.agreed = Some(Box::new(conn.what_was_agreed()?)),
                    Err(error) if error.code() == ErrorCode::WANT_READ => {
                        conn.group = conn.group.or_else(|| group(conn.stream.ssl()));
                        return Ok(());
                    }
                    Err(error) => return Err(conn.failure(&error)),
                }
                conn.stream.get_mut().said = None;
            }
            conn.read(pool, plaintext)
        })
    }

    /// Decrypts all that is there.
    fn read(&mut self, pool: &Pool, plaintext: &mut VecDeque<Buf>) -> Result<(), TlsError> {
        loop {
            if plaintext.back_mut().is_none_or(|last| last.tail_mut().is_empty()) {
                let unread = self.stream.get_ref().unread();
                // What is pending of a record, or comes of what is unread, is not longer than both.
                let expected = unread.max(self.stream.ssl().pending()).max(1);
                plaintext
                    .push_back(pool.take(BufClass::holding(expected).unwrap_or(BufClass::Bulk)));
            }
            let last = plaintext.back_mut().expect("pushed above");
            let read = self.stream.ssl_read(last.tail_mut());
            if let Ok(read) = &read {
                last.extend(*read);
                continue;
            }
            if last.is_empty() {
                plaintext.pop_back();
            }
            match read {
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(()),
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => {
                    self.peer_closed = true;
                    // What is behind it is nobody's.
                    self.stream.get_mut().discard();
                    return Ok(());
                }
                Err(error) => return Err(self.failure(&error)),
                Ok(_) => {}
            }
        }
    }

    /// Runs `work`, in which OpenSSL may write.
    fn write_into(
        &mut self,
        class: BufClass,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
        work: impl FnOnce(&mut Self) -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        let silent = self.closed;
        let mut after_the_end = VecDeque::new();
        let records = if silent { &mut after_the_end } else { records };
        // What was not fetched would be taken for this work's.
        drop(ErrorStack::get());
        self.stream.get_mut().lend(records, pool, class);
        let done = work(self);
        self.stream.get_mut().give_back(records);
        done.map_err(|mut error| {
            self.failed = true;
            let last = records.back().filter(|_| !silent);
            let alert = last.and_then(|record| error::plaintext_alert(record.last()));
            let implied = || error::implied_alert(&error).filter(|_| !silent);
            error.alert_sent = alert.or_else(implied);
            error
        })
    }

    fn failure(&self, error: &Error) -> TlsError {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        error::of(error, refused)
    }

    fn what_was_agreed(&self) -> Result<Agreed, TlsError> {
        let ssl = self.stream.ssl();
        let version = ssl.version2().and_then(version);
        let suite = ssl.current_cipher().map(|suite| u16::from_be_bytes(suite.protocol_id()));
        let (Some(version), Some(suite)) = (version, suite) else {
            return Err(TlsError::local("OpenSSL does not say what was agreed on"));
        };
        Ok(Agreed {
            version,
            suite: CipherSuite::from(suite),
            group: self.group.or_else(|| group(ssl)),
            alpn: ssl.selected_alpn_protocol().map(|name| String::from_utf8_lossy(name).into()),
            resumed: ssl.session_reused(),
            shown: self.has_shown(version),
            certificates: chain(ssl),
        })
    }

    /// As the client: whether our certificate went out. In TLS 1.3 nobody can see it, but what we
    /// said is longer than it.
    fn has_shown(&self, version: TlsVersion) -> bool {
        let Some(said) = self.stream.get_ref().said else { return false };
        let own = self.stream.ssl().certificate().and_then(|own| own.to_der().ok());
        own.is_some_and(|own| match version {
            TlsVersion::V1_3 => said.encrypted > own.len(),
            _ => said.certificate,
        })
    }
}

impl TlsConn for WeakConn {
    fn lane(&self) -> Lane {
        self.lane
    }

    fn start(&mut self, hello: &mut [u8], output: &mut Output<'_>) -> Result<(), TlsError> {
        self.stream.get_mut().feed_hello(hello);
        self.advance(output)
    }

    fn receive(&mut self, input: Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        if input.is_empty() || self.peer_closed {
            return Ok(());
        }
        self.stream.get_mut().feed(input);
        self.advance(output)
    }

    fn seal(
        &mut self,
        plaintext: Buf,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        let class = BufClass::holding(plaintext.len()).unwrap_or(BufClass::Bulk);
        self.write_into(class, pool, records, |conn| {
            for mut rest in plaintext.parts() {
                while !rest.is_empty() {
                    let written =
                        conn.stream.ssl_write(rest).map_err(|error| conn.failure(&error))?;
                    rest = &rest[written..];
                }
            }
            Ok(())
        })
    }

    fn close_notify(&mut self, pool: &Pool, records: &mut VecDeque<Buf>) -> Result<(), TlsError> {
        let said = self.write_into(BufClass::Message, pool, records, |conn| {
            conn.stream.shutdown().map(drop).map_err(|error| conn.failure(&error))
        });
        self.closed = true;
        said
    }

    /// OpenSSL sends no alert of our choice.
    fn last_alert(self: Box<Self>, _description: u8) -> Option<Vec<u8>> {
        None
    }

    fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_deref()
    }

    fn has_closed(&self) -> bool {
        self.closed
    }

    fn peer_has_closed(&self) -> bool {
        self.peer_closed
    }

    /// OpenSSL does not say.
    fn resumption_refused(&self) -> Option<Refusal> {
        None
    }
}

impl Drop for WeakConn {
    /// OpenSSL forgets the session of a connection that ends without close_notify (as RFC 2246 §7.2.1
    /// had it), and peers that do so come back all the same.
    fn drop(&mut self) {
        if self.agreed.is_some() && !self.failed {
            self.stream.set_shutdown(ShutdownState::SENT | ShutdownState::RECEIVED);
        }
    }
}

fn version(version: SslVersion) -> Option<TlsVersion> {
    match version {
        SslVersion::TLS1 => Some(TlsVersion::V1_0),
        SslVersion::TLS1_1 => Some(TlsVersion::V1_1),
        SslVersion::TLS1_2 => Some(TlsVersion::V1_2),
        SslVersion::TLS1_3 => Some(TlsVersion::V1_3),
        _ => None,
    }
}

/// The group of ECDHE in rustls' words; `None` with static RSA, DHE and in resumed handshakes.
fn group(ssl: &SslRef) -> Option<&'static str> {
    match ssl.is_server() {
        true => group_of(&*ssl.tmp_key().ok()?),
        false => group_of(&*ssl.peer_tmp_key().ok()?),
    }
}

fn group_of<T: HasParams>(key: &PKeyRef<T>) -> Option<&'static str> {
    match key.id() {
        Id::X25519 => Some("X25519"),
        Id::EC => match key.ec_key().ok()?.group().curve_name()? {
            Nid::X9_62_PRIME256V1 => Some("secp256r1"),
            Nid::SECP384R1 => Some("secp384r1"),
            Nid::SECP521R1 => Some("secp521r1"),
            _ => None,
        },
        _ => None,
    }
}

/// What the peer has shown, its own first: as the server, OpenSSL has that elsewhere.
fn chain(ssl: &SslRef) -> Vec<CertificateDer<'static>> {
    let mut all = Vec::new();
    if ssl.is_server() {
        let own = ssl.peer_certificate().and_then(|own| own.to_der().ok());
        all.extend(own.map(CertificateDer::from));
    }
    all.extend(ssl.peer_cert_chain().map(ders).unwrap_or_default());
    all
}
