//! The modern lane: a session as the server or as the client, whose handshake rustls does. Then its
//! keys move into our own record layer, and rustls is gone; or it goes on, as a reference and for
//! when something is wrong with ours ([`RecordLayer`]). Only `session` names rustls' connection
//! types.
//!
//! rustls' unbuffered API decrypts in the receive buffer and keeps no buffers of its own. It is given
//! one record after the other, so that it sees none that comes after the handshake. What is left of
//! an incomplete record waits in `carry`, memory that exists only while it is needed.

mod carry;
mod seen;
mod session;
mod suites;
mod traffic;

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, ServerConfig};

use super::error::TlsError;
use super::lane::Lane;
use super::record::{HEADER, MAX_CONTENT};
use super::resumption::Refusal;
use super::tls_conn::{Agreed, Output, TlsConn};
use crate::buf::{Buf, BufClass, Pool};
use crate::config::model::{RecordLayer, TlsVersion};
use carry::{Carry, MAX_CARRY, whole_record};
pub(super) use seen::key_log;
use session::{Session, Write};
pub(super) use suites::watched;
use traffic::Traffic;

/// A session of the modern lane.
pub struct ModernConn {
    layer: Layer,
    /// Once the handshake is done.
    agreed: Option<Agreed>,
    refused: Option<Refusal>,
    carry: Carry,
    records: RecordLayer,
    /// Most content of a record of ours.
    max_content: u16,
    peer_closed: bool,
    /// close_notify or a fatal alert was said: nothing may follow.
    closed: bool,
}

#[expect(clippy::large_enum_variant, reason = "nearly all are of the largest, nearly always")]
enum Layer {
    Rustls(Box<Session>),
    Own(Traffic),
    /// rustls did not give the keys away.
    Lost,
}

impl ModernConn {
    /// The server's session, which has seen nothing yet. Its records have at most `max_content`
    /// bytes: what the peer takes, if it has said so.
    ///
    /// # Errors
    /// When the configuration itself is unusable.
    pub fn new(
        mut config: Arc<ServerConfig>,
        records: RecordLayer,
        max_content: Option<u16>,
    ) -> Result<Self, TlsError> {
        let most = max_content.map_or(MAX_CONTENT, |most| usize::from(most).min(MAX_CONTENT));
        if most < MAX_CONTENT {
            // The handshake's records, too. rustls counts the header, and takes no less than this.
            let most = Some((most + HEADER).max(32));
            Arc::make_mut(&mut config).max_fragment_size = most;
        }
        Ok(Self::of(Session::server(config)?, records, most))
    }

    /// The client's session, whose ClientHello goes into `output`. `name` is what the SNI says.
    ///
    /// # Errors
    /// When the configuration itself is unusable.
    pub fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        records: RecordLayer,
        (pool, queue): (&Pool, &mut VecDeque<Buf>),
    ) -> Result<Self, TlsError> {
        let gives_keys = config.enable_secret_extraction;
        let records = if gives_keys { records } else { RecordLayer::Rustls };
        let mut tls = Self::of(Session::client(config, name)?, records, MAX_CONTENT);
        let mut output = Output { pool, plaintext: &mut VecDeque::new(), records: queue };
        tls.process(&mut [], &mut output)?;
        Ok(tls)
    }

    fn of(session: Session, records: RecordLayer, max_content: usize) -> Self {
        Self {
            layer: Layer::Rustls(Box::new(session)),
            agreed: None,
            refused: None,
            carry: Carry::default(),
            records,
            max_content: u16::try_from(max_content).unwrap_or(u16::MAX),
            peer_closed: false,
            closed: false,
        }
    }

    fn rustls(&mut self) -> Result<&mut Session, TlsError> {
        match &mut self.layer {
            Layer::Rustls(session) => Ok(session),
            Layer::Own(_) | Layer::Lost => Err(TlsError::local("rustls is not asked any more")),
        }
    }

    /// Gives rustls one record after the other, as long as it is there.
    fn feed(&mut self, input: &mut Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        while matches!(self.layer, Layer::Rustls(_)) && !input.is_empty() && !self.peer_closed {
            if !self.carry.is_empty() {
                self.feed_carried(input, output)?;
                continue;
            }
            let data = input.contiguous();
            // Of a record that is not whole, rustls looks at the header.
            let (length, all) = (whole_record(data), data.len());
            let data = &mut data[..length.unwrap_or(all)];
            let consumed = self.process(data, output)?;
            // A handshake message goes on in the next record: rustls wants to see it whole.
            self.carry.bytes.extend_from_slice(&data[consumed..]);
            self.carry.whole = length.map_or(0, |length| length - consumed);
            let taken = data.len();
            input.advance(taken);
            self.settle()?;
        }
        Ok(())
    }

    /// The same with a record that is put together, behind others that rustls has seen.
    fn feed_carried(&mut self, input: &mut Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        let begins = self.carry.lacks_header();
        let whole = self.carry.fill(input);
        if self.carry.bytes.len() > MAX_CARRY {
            return Err(TlsError::oversized_handshake());
        }
        if !whole && (!begins || self.carry.lacks_header()) {
            return Ok(());
        }
        let mut carry = std::mem::take(&mut self.carry);
        let consumed = self.process(&mut carry.bytes, output)?;
        carry.bytes.drain(..consumed);
        let seen = if whole { carry.bytes.len() } else { carry.whole.saturating_sub(consumed) };
        carry.whole = seen;
        carry.rest();
        self.carry = carry;
        self.settle()
    }

    /// Runs rustls over `incoming`; returns how many bytes are done with.
    fn process(&mut self, incoming: &mut [u8], output: &mut Output<'_>) -> Result<usize, TlsError> {
        let closed = self.closed;
        let done = self.rustls()?.process(incoming, output, closed);
        if let Layer::Rustls(session) = &self.layer {
            self.refused = session.resumption_refused();
        }
        let done = done?;
        self.peer_closed |= done.peer_closed;
        Ok(done.consumed)
    }

    /// Once the handshake is done, keeps what it came to, and goes on without rustls.
    fn settle(&mut self) -> Result<(), TlsError> {
        let Layer::Rustls(session) = &self.layer else { return Ok(()) };
        if self.agreed.is_none() {
            self.agreed = session.agreed();
        }
        let leaves = self.agreed.is_some() && self.records == RecordLayer::Own;
        if !leaves || !self.carry.is_empty() || !session.can_be_left() {
            return Ok(());
        }
        if let Layer::Rustls(session) = std::mem::replace(&mut self.layer, Layer::Lost) {
            let (records, tickets) = session.extract()?;
            let most = usize::from(self.max_content);
            self.layer = Layer::Own(Traffic::new(records, tickets, most));
        }
        Ok(())
    }

    fn write(
        &mut self,
        what: Write<'_>,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        let mut carry = std::mem::take(&mut self.carry);
        let written = self.rustls()?.write(&mut carry.bytes, what, pool, records);
        self.carry = carry;
        self.peer_closed |= written?;
        Ok(())
    }

    fn take_in(&mut self, mut input: Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        self.feed(&mut input, output)?;
        if let Layer::Own(traffic) = &mut self.layer
            && !input.is_empty()
            && !self.peer_closed
        {
            self.peer_closed = traffic.receive(input, &mut self.carry, output, self.closed)?;
        }
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

    fn receive(&mut self, input: Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        let received = self.take_in(input, output);
        self.closed |= received.is_err();
        received
    }

    fn seal(
        &mut self,
        plaintext: Buf,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        if self.closed {
            return Ok(());
        }
        if let Layer::Own(traffic) = &mut self.layer {
            let sealed = traffic.seal(plaintext, pool, records);
            self.closed |= sealed.is_err();
            return sealed;
        }
        // Small records take more room: as much at once as fits a buffer, whatever they are.
        let most = usize::from(self.max_content) * (BufClass::Bulk.plaintext_max() / MAX_CONTENT);
        for part in plaintext.parts() {
            for part in part.chunks(most) {
                self.write(Write::Data(part), pool, records)?;
            }
        }
        Ok(())
    }

    fn close_notify(&mut self, pool: &Pool, records: &mut VecDeque<Buf>) -> Result<(), TlsError> {
        self.closed = true;
        match &mut self.layer {
            Layer::Own(traffic) => traffic.close_notify(pool, records).map_err(TlsError::local),
            _ => self.write(Write::CloseNotify, pool, records),
        }
    }

    fn last_alert(self: Box<Self>, description: u8) -> Option<Vec<u8>> {
        match self.layer {
            _ if self.closed => None,
            Layer::Rustls(session) => {
                let (records, _) = session.extract().ok()?;
                Traffic::new(records, None, MAX_CONTENT).last_alert(description)
            }
            Layer::Own(traffic) => traffic.last_alert(description),
            Layer::Lost => None,
        }
    }

    fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    fn version(&self) -> Option<TlsVersion> {
        match &self.layer {
            Layer::Rustls(session) => session.version(),
            _ => self.agreed.as_ref().map(|agreed| agreed.version),
        }
    }

    fn suite(&self) -> Option<CipherSuite> {
        match &self.layer {
            Layer::Rustls(session) => session.suite(),
            _ => self.agreed.as_ref().map(|agreed| agreed.suite),
        }
    }

    fn has_closed(&self) -> bool {
        self.closed
    }

    fn peer_has_closed(&self) -> bool {
        self.peer_closed
    }

    fn resumption_refused(&self) -> Option<Refusal> {
        self.refused
    }

    fn rest(&mut self) {
        self.carry.rest();
        if let Layer::Own(traffic) = &mut self.layer {
            traffic.rest();
        }
    }
}

#[cfg(test)]
mod tests;
