//! The new process's part: take what the running one gives, and tell it how the start went.

use std::env;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::CHANNEL_VARIABLE;
use super::channel::Channel;
use super::wire::{Message, Opaque, PROTOCOL, Purpose};
use crate::sys::inherited;

/// The process that this one takes over from.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
}

/// What it gives.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Version of the predecessor's tlsgate.
    pub version: String,
    pub groups: Vec<InheritedGroup>,
    pub ticket_keys: Vec<Opaque>,
}

/// The listening sockets of one listener, or of the admin port.
#[derive(Debug)]
pub struct InheritedGroup {
    /// The predecessor's number for it.
    pub number: u32,
    pub purpose: Purpose,
    pub address: Vec<u8>,
    /// At least one.
    pub sockets: Vec<OwnedFd>,
}

impl Predecessor {
    /// The predecessor, if there is one. To be asked once, at start.
    ///
    /// # Errors
    /// When the environment names a descriptor that is not its channel.
    pub fn from_environment() -> io::Result<Option<Self>> {
        let Some(number) = env::var_os(CHANNEL_VARIABLE) else { return Ok(None) };
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not a descriptor's number");
        let number = number.to_str().and_then(|number| number.parse().ok()).ok_or_else(invalid)?;
        Ok(Some(Self::on(Channel::new(inherited::take_channel(number)?))))
    }

    pub(super) fn on(channel: Channel) -> Self {
        Self { channel }
    }

    /// Receives what is needed to start.
    ///
    /// # Errors
    /// When the predecessor is gone, speaks another protocol, or gives more than there may be.
    pub fn receive(&mut self) -> io::Result<Inheritance> {
        let Message::Hello { protocol, version } = self.next()? else {
            return Err(io::Error::other("the running process did not introduce itself"));
        };
        if protocol != PROTOCOL {
            return Err(io::Error::other(format!(
                "the running process is tlsgate {version}, which hands over in another way \
                 (protocol {protocol}, here {PROTOCOL}): stop it and start this one"
            )));
        }
        let mut given = Inheritance { version, ..Inheritance::default() };
        loop {
            match self.channel.receive()? {
                (Message::Sockets { group, purpose, address, .. }, sockets) => {
                    given.add(group, purpose, address, sockets)?;
                }
                (Message::TicketKeys(piece), _) if given.ticket_keys.len() < MAX_PIECES => {
                    given.ticket_keys.push(piece);
                }
                (Message::Offered, _) => return Ok(given),
                (other, _) => return Err(out_of_turn(&other)),
            }
        }
    }

    /// Says that all that can fail has succeeded, and hands `each` piece of the session store on.
    ///
    /// # Errors
    /// When the predecessor is gone.
    pub fn sessions(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.channel.send(&Message::Prepared, &[])?;
        loop {
            match self.next()? {
                Message::Sessions(piece) => each(piece.as_bytes()),
                Message::SessionsEnd => return Ok(()),
                other => return Err(out_of_turn(&other)),
            }
        }
    }

    /// Says that this process can serve, with the groups of these numbers; returns when it may.
    ///
    /// # Errors
    /// When it may not, because the predecessor is gone or is about to go.
    pub fn ready(&mut self, taken: Vec<u32>) -> io::Result<()> {
        self.channel.send(&Message::Ready { taken }, &[])?;
        match self.next()? {
            Message::Serve => Ok(()),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Says that this process serves; returns when the predecessor has stopped accepting, or is
    /// gone, or says nothing for ten seconds.
    pub fn serving(mut self) {
        self.channel.set_limit(Some(RELEASE));
        let said = self.channel.send(&Message::Serving, &[]).and_then(|()| self.next());
        match said {
            Ok(Message::Released) => {}
            Ok(other) => tracing::warn!(said = other.name(), "the old process is out of turn"),
            Err(error) => tracing::warn!(%error, "the old process does not make way"),
        }
    }

    /// Says why this process does not serve. Returns whether the predecessor was told.
    pub fn failed(mut self, reason: &str) -> bool {
        self.channel.send(&Message::failed(reason), &[]).is_ok()
    }

    fn next(&mut self) -> io::Result<Message> {
        Ok(self.channel.receive()?.0)
    }
}

impl Inheritance {
    fn add(
        &mut self,
        number: u32,
        purpose: Purpose,
        address: Vec<u8>,
        sockets: Vec<OwnedFd>,
    ) -> io::Result<()> {
        let groups = self.groups.len();
        match self.groups.last_mut().filter(|last| last.number == number) {
            Some(last) if last.sockets.len() < MAX_SOCKETS => last.sockets.extend(sockets),
            None if groups < MAX_GROUPS && !sockets.is_empty() => {
                self.groups.push(InheritedGroup { number, purpose, address, sockets });
            }
            _ => return Err(io::Error::other("the running process has too many sockets")),
        }
        Ok(())
    }
}

fn out_of_turn(message: &Message) -> io::Error {
    io::Error::other(format!("the running process said \"{}\" out of turn", message.name()))
}

/// How long the predecessor may take to stop accepting: it does so between two orders.
const RELEASE: Duration = Duration::from_secs(10);
/// Most listeners of a configuration, and the admin port.
const MAX_GROUPS: usize = 4096 + 1;
/// Of one listener; most workers of a configuration, and what a packet adds.
const MAX_SOCKETS: usize = 1024;
/// Pieces of the ticket keys: far more than there are.
const MAX_PIECES: usize = 64;
