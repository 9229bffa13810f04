//! What is said in records once a session is up: data, alerts, key updates, tickets.

use std::ops::{Deref, Range};

use super::cipher::{Cipher, Version};
use super::error::{Exhausted, RecordError};
use super::keys::Keys;
use super::messages::{MAX_MESSAGE, Messages};
use super::{HEADER, MAX_CONTENT, content};

/// Both directions of a session that is up.
pub struct Records {
    role: Role,
    read: Keys,
    write: Keys,
    messages: Messages,
    allowed: Allowed,
    owed: Owed,
    max_content: usize,
}

/// Which end we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// What was in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Data, in this part of it.
    Data(Range<usize>),
    /// Nothing for whoever the data is for.
    Nothing,
    /// close_notify: no more comes.
    Closed,
}

/// A record with a few bytes, such as an alert.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    bytes: [u8; MAX_SHORT],
    length: usize,
}

impl Records {
    /// Whatever is read from now on is protected by `read`, whatever is written by `write`.
    pub fn new(role: Role, read: Keys, write: Keys) -> Self {
        Self {
            role,
            read,
            write,
            messages: Messages::default(),
            allowed: Allowed::new(),
            owed: Owed::default(),
            max_content: MAX_CONTENT,
        }
    }

    pub fn cipher(&self) -> Cipher {
        self.write.cipher()
    }

    /// Most content of a record that is sent: 1 to [`MAX_CONTENT`] bytes.
    pub fn max_content(&self) -> usize {
        self.max_content
    }

    /// Makes records smaller, because the peer wants so.
    pub fn limit_content(&mut self, most: usize) {
        self.max_content = most.clamp(1, MAX_CONTENT);
    }

    /// Gives back the memory that an idle session can do without; the next record takes 0.2 µs more.
    pub fn rest(&mut self) {
        self.read.rest();
        self.write.rest();
    }

    /// True while nothing of what the peer sent waits for the rest of it.
    pub fn is_aligned(&self) -> bool {
        !self.messages.is_partial()
    }

    /// Length of the record that `data` starts with, once its header is there.
    ///
    /// # Errors
    /// When no record of the peer's can begin so: nobody waits for the rest of it.
    pub fn length(&self, data: &[u8]) -> Result<Option<usize>, RecordError> {
        match data.first() {
            Some(&content::APPLICATION_DATA) | None => {}
            // RFC 8446 §5: change_cipher_spec has its place in handshakes alone.
            Some(_) if self.is_tls13() => {
                return Err(RecordError::Unexpected("a record without protection"));
            }
            Some(&(content::CHANGE_CIPHER_SPEC..=content::HANDSHAKE)) => {}
            Some(_) => {
                return Err(RecordError::Unexpected("a record of a type that has no place here"));
            }
        }
        let &[content_type, major, _, high, low, ..] = data else { return Ok(None) };
        let body = usize::from(u16::from_be_bytes([high, low]));
        if major != 3 {
            return Err(RecordError::Malformed("record: its version is unknown"));
        }
        if body == 0 && content_type != content::APPLICATION_DATA {
            return Err(RecordError::Malformed("record: it is empty"));
        }
        if body > self.cipher().max_body() {
            return Err(RecordError::Overflow);
        }
        Ok(Some(HEADER + body))
    }

    /// Opens a whole record, header included. `ticket` gets the body of each NewSessionTicket.
    ///
    /// # Errors
    /// The session is over; [`Records::fatal`] tells the peer, if [`RecordError::alert`] says so.
    pub fn open(
        &mut self,
        record: &mut [u8],
        ticket: &mut dyn FnMut(&[u8]) -> Result<(), RecordError>,
    ) -> Result<Opened, RecordError> {
        self.length(record)?;
        let (content_type, range) = self.read.open(record)?;
        if self.is_tls13() && self.read.remaining() == ASK_BEFORE {
            self.owed.update.get_or_insert(Request::Requested);
        }
        match content_type {
            content::APPLICATION_DATA if self.messages.is_partial() => {
                Err(RecordError::Unexpected("data inside of a handshake message"))
            }
            content::APPLICATION_DATA if range.is_empty() => {
                spend(&mut self.allowed.empty, "too many empty records")?;
                Ok(Opened::Nothing)
            }
            content::APPLICATION_DATA => {
                self.allowed.renew();
                Ok(Opened::Data(range))
            }
            content::HANDSHAKE => {
                self.handshake(&record[range], ticket)?;
                Ok(Opened::Nothing)
            }
            content::ALERT => self.alert(&record[range]),
            _ => Err(RecordError::Unexpected("a record of a type that has no place here")),
        }
    }

    /// The next record that is owed before `records` of data, if there is one.
    ///
    /// # Errors
    /// When the keys will not do for as many, and there are no others: in TLS 1.2.
    pub fn before(&mut self, records: u64) -> Result<Option<Short>, Exhausted> {
        if self.write.remaining() <= records {
            if self.is_tls13() {
                // The peer's keys have nothing to do with it.
                self.owed.update.get_or_insert(Request::NotRequested);
            } else if self.write.remaining() < records {
                return Err(Exhausted);
            }
        }
        self.owed()
    }

    /// Whether a renegotiation is to be declined: once in a session.
    pub fn declines(&self) -> bool {
        self.owed.no_renegotiation
    }

    /// The next record that the peer waits for, if there is one: of each kind one at most, however
    /// often it was asked for.
    ///
    /// # Errors
    /// When there is no sequence number for it.
    pub fn owed(&mut self) -> Result<Option<Short>, Exhausted> {
        if std::mem::take(&mut self.owed.no_renegotiation) {
            return self.short(content::ALERT, &[WARNING, NO_RENEGOTIATION]).map(Some);
        }
        let Some(request) = self.owed.update.take() else { return Ok(None) };
        // RFC 8446 §4.6.3: it is the last thing under the keys that it ends.
        let record = self.short(content::HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, request as u8])?;
        self.write.update();
        Ok(Some(record))
    }

    /// Makes a record of data, as [`Keys::seal`] does.
    ///
    /// # Errors
    /// When the keys are used up: [`Records::before`] says so earlier.
    pub fn seal(&mut self, record: &mut [u8]) -> Result<(), Exhausted> {
        if self.write.remaining() == 0 {
            return Err(Exhausted);
        }
        // Whoever is sent data may change keys for it.
        self.allowed.key_updates = IDLE_UPDATES;
        self.write.seal(content::APPLICATION_DATA, record)
    }

    /// Nothing follows (RFC 8446 §6.1).
    ///
    /// # Errors
    /// As [`Records::owed`].
    pub fn close_notify(&mut self) -> Result<Short, Exhausted> {
        self.short(content::ALERT, &[WARNING, CLOSE_NOTIFY])
    }

    /// A fatal alert: the last record.
    ///
    /// # Errors
    /// As [`Records::owed`].
    pub fn fatal(&mut self, description: u8) -> Result<Short, Exhausted> {
        self.short(content::ALERT, &[FATAL, description])
    }

    fn is_tls13(&self) -> bool {
        self.cipher().version == Version::Tls13
    }

    fn short(&mut self, content_type: u8, content: &[u8]) -> Result<Short, Exhausted> {
        let (head, tail) = (self.cipher().head(), self.cipher().tail());
        let mut short = Short { bytes: [0; MAX_SHORT], length: head + content.len() + tail };
        short.bytes[head..head + content.len()].copy_from_slice(content);
        self.write.seal(content_type, &mut short.bytes[..short.length])?;
        Ok(short)
    }

    fn alert(&mut self, content: &[u8]) -> Result<Opened, RecordError> {
        let &[level, description] = content else { return Err(RecordError::Malformed("alert")) };
        if description == CLOSE_NOTIFY {
            return Ok(Opened::Closed);
        }
        // RFC 8446 §6: what an alert is follows from its description, in TLS 1.3.
        let is_warning = match (self.is_tls13(), level) {
            (true, _) => description == USER_CANCELED,
            (false, WARNING) => true,
            (false, FATAL) => false,
            _ => return Err(RecordError::Illegal("level of alerts")),
        };
        if !is_warning {
            return Err(RecordError::Alert(description));
        }
        spend(&mut self.allowed.warnings, "too many warnings")?;
        Ok(Opened::Nothing)
    }

    fn handshake(
        &mut self,
        content: &[u8],
        ticket: &mut dyn FnMut(&[u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let longest = match (self.is_tls13(), self.role) {
            (true, Role::Server) => |kind| (kind == KEY_UPDATE).then_some(1),
            (true, Role::Client) => |kind| match kind {
                KEY_UPDATE => Some(1),
                NEW_SESSION_TICKET => Some(MAX_MESSAGE),
                _ => None,
            },
            (false, Role::Server) => |kind| (kind == CLIENT_HELLO).then_some(MAX_MESSAGE),
            (false, Role::Client) => |kind| (kind == HELLO_REQUEST).then_some(0),
        };
        let mut messages = std::mem::take(&mut self.messages);
        messages.feed(content, longest, |kind, body, is_last| match kind {
            KEY_UPDATE => self.key_update(body, is_last),
            NEW_SESSION_TICKET => ticket(body),
            // One is declined, as in rustls; whoever insists is gone.
            _ => {
                spend(&mut self.allowed.renegotiations, "too many renegotiation requests")?;
                self.owed.no_renegotiation = true;
                Ok(())
            }
        })?;
        self.messages = messages;
        Ok(())
    }

    fn key_update(&mut self, body: &[u8], is_last: bool) -> Result<(), RecordError> {
        // RFC 8446 §5.1: what follows has other keys.
        if !is_last {
            return Err(RecordError::Unexpected("a message behind a key update in its record"));
        }
        let request = match body {
            [0] => None,
            [1] => Some(Request::NotRequested),
            [_] => return Err(RecordError::Illegal("request in a key update")),
            _ => return Err(RecordError::Malformed("key update")),
        };
        spend(&mut self.allowed.key_updates, "too many key updates")?;
        self.read.update();
        self.owed.update = self.owed.update.or(request);
        Ok(())
    }
}

impl Deref for Short {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// How often a peer may still do what is legal and useless.
struct Allowed {
    warnings: u8,
    renegotiations: u8,
    /// Without data in between, in either direction.
    key_updates: u8,
    /// Without data in between.
    empty: u8,
}

impl Allowed {
    fn new() -> Self {
        Self { warnings: 4, renegotiations: 1, key_updates: IDLE_UPDATES, empty: IDLE_RECORDS }
    }

    fn renew(&mut self) {
        self.key_updates = IDLE_UPDATES;
        self.empty = IDLE_RECORDS;
    }
}

fn spend(allowed: &mut u8, excess: &'static str) -> Result<(), RecordError> {
    *allowed = allowed.checked_sub(1).ok_or(RecordError::Unexpected(excess))?;
    Ok(())
}

/// What the peer waits for.
#[derive(Default)]
struct Owed {
    /// A key update, and what it asks for.
    update: Option<Request>,
    no_renegotiation: bool,
}

/// Whether a key update asks for one (RFC 8446 §4.6.3).
#[derive(Clone, Copy)]
enum Request {
    NotRequested = 0,
    Requested = 1,
}

/// Bytes of the longest [`Short`]: a key update with its header, and an alert of TLS 1.2 with GCM.
const MAX_SHORT: usize = 32;
/// How many records before the end of its keys a peer is asked for others: some have no limit of
/// their own.
const ASK_BEFORE: u64 = 1 << 20;
/// As many as BoringSSL and rustls take.
const IDLE_UPDATES: u8 = 32;
/// As many as OpenSSL takes.
const IDLE_RECORDS: u8 = 32;

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const NO_RENEGOTIATION: u8 = 100;
const WARNING: u8 = 1;
const FATAL: u8 = 2;
