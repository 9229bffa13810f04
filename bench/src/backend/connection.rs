//! One connection of a backend: moves bytes between its socket and its service.

use std::io::{self, ErrorKind};

use super::Mode;
use super::output::Output;
use super::service::Service;
use super::socket::Socket;

/// Reads and writes that one connection may do before the others get their turn.
const STEPS_PER_TURN: usize = 16;

/// What a connection needs after it was driven.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The socket's next event.
    Event,
    /// Another turn: it could go on at once.
    Turn,
    /// Nothing: both directions are finished.
    Close,
}

#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    service: Service,
    output: Output,
    input_ended: bool,
    finished: bool,
}

impl Connection {
    pub(super) fn new(socket: Socket, mode: &Mode) -> Self {
        let mut output = Output::default();
        let service = Service::start(mode, &mut output);
        Self { socket, service, output, input_ended: false, finished: false }
    }

    /// Goes on until the socket would block in every direction that has something to do.
    ///
    /// # Errors
    /// Those of the socket; the connection is of no more use then.
    pub(super) fn drive(&mut self, mode: &Mode, scratch: &mut [u8]) -> io::Result<Next> {
        for _ in 0..STEPS_PER_TURN {
            let wrote = self.write()?;
            self.finish_if_due(mode)?;
            if self.input_ended && self.finished {
                return Ok(Next::Close);
            }
            if !(self.read(scratch)? || wrote) {
                return Ok(Next::Event);
            }
        }
        Ok(Next::Turn)
    }

    /// Sends once; returns whether anything went.
    fn write(&mut self) -> io::Result<bool> {
        if self.output.is_empty() {
            return Ok(false);
        }
        match self.socket.write(self.output.next()) {
            Ok(count) => {
                self.output.advance(count);
                if self.output.has_room() {
                    self.service.resume(&mut self.output);
                }
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Receives once; returns whether anything came.
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        if self.input_ended || !self.service.wants_input(&self.output) {
            return Ok(false);
        }
        match self.socket.read(scratch) {
            Ok(0) => {
                self.input_ended = true;
                self.service.end_of_input(&mut self.output);
                Ok(true)
            }
            Ok(count) => {
                self.service.input(&scratch[..count], &mut self.output);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn finish_if_due(&mut self, mode: &Mode) -> io::Result<()> {
        let due = self.input_ended || self.service.finishes_first(mode);
        if due && self.output.is_empty() && !self.finished && self.socket.is_flushed()? {
            self.finished = true;
            self.socket.finish()?;
        }
        Ok(())
    }

    /// The socket, to register it.
    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }
}
