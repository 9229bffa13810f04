//! Where the log is written: a stream that takes lines, or a socket that takes each as a message.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketAddrUnix, sendto};

use super::line::{self, Fields};
use super::message::{Framing, host_name};
use crate::config::model::{self, Destination, LogFormat};

/// Bytes collected before they are written: more than the longest line, so that a line is either
/// taken as a whole or not at all.
const BUFFER: usize = 64 * 1_024;
/// How long a receiver that does not read is waited for: once, until it reads again. Less than the
/// end of the program waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// An open target, and how to open it again.
pub struct Target {
    pub(super) open: Open,
    pub(super) output: Output,
    /// Nothing is written there.
    pub(super) is_off: bool,
}

/// Opens the target; called again for each reopening.
pub(super) type Open = Box<dyn FnMut() -> io::Result<Output> + Send>;

/// What takes entries.
pub(super) enum Output {
    Lines(BufWriter<Box<dyn Write + Send>>, LogFormat),
    Messages(Messages),
}

impl Target {
    /// Opens a target.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(log: &model::AccessLog, format: LogFormat) -> io::Result<Self> {
        let is_off = log.to == Destination::Off;
        Ok(Self { is_off, ..Self::open_with(opener(log, format))? })
    }

    pub(super) fn open_with(mut open: Open) -> io::Result<Self> {
        let output = open()?;
        Ok(Self { open, output, is_off: false })
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Target")
    }
}

/// How to open the target.
fn opener(log: &model::AccessLog, format: LogFormat) -> Open {
    let model::AccessLog { to, facility, name, .. } = log.clone();
    let lines = move |stream| Ok(Output::lines(stream, format));
    match to {
        Destination::Off => Box::new(move || lines(Box::new(io::sink()))),
        Destination::Stdout => Box::new(move || lines(Box::new(io::stdout()))),
        Destination::Stderr => Box::new(move || lines(Box::new(io::stderr()))),
        Destination::File(path) => Box::new(move || {
            // Peer addresses are personal data: not for everybody on the machine.
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(0o640);
            lines(Box::new(options.open(&path)?))
        }),
        Destination::Journald(socket) => Box::new(move || {
            Messages::open(&socket, Framing::Journald { facility, name: name.clone() })
        }),
        Destination::Syslog(socket) => Box::new(move || {
            let host = host_name(rustix::system::uname().nodename().to_bytes());
            Messages::open(&socket, Framing::Syslog { facility, name: name.clone(), host, format })
        }),
    }
}

impl Output {
    pub(super) fn lines(stream: Box<dyn Write + Send>, format: LogFormat) -> Self {
        Self::Lines(BufWriter::with_capacity(BUFFER, stream), format)
    }

    /// Takes an entry as a whole, or not at all. `scratch` is memory for it.
    pub(super) fn take(&mut self, fields: &Fields<'_>, scratch: &mut Vec<u8>) -> io::Result<()> {
        scratch.clear();
        match self {
            Self::Lines(stream, format) => {
                line::write(scratch, fields, *format);
                // One that does not fit behind a buffer that cannot be written is lost as a whole.
                stream.write_all(scratch)
            }
            Self::Messages(messages) => {
                messages.framing.write(scratch, fields);
                messages.send(scratch)
            }
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(stream, _) => stream.flush(),
            Self::Messages(_) => Ok(()),
        }
    }

    /// Lines that were taken and are not written.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Lines(stream, _) => stream.buffer().iter().filter(|byte| **byte == b'\n').count(),
            Self::Messages(_) => 0,
        }
    }
}

/// A socket for datagrams to a path. It is not connected: a receiver that was started anew has
/// another socket there.
pub(super) struct Messages {
    socket: UnixDatagram,
    to: SocketAddrUnix,
    framing: Framing,
    /// The receiver did not read, and was waited for.
    is_blocked: bool,
}

impl Messages {
    /// Whether somebody is there shows when there is something to send.
    fn open(path: &Path, framing: Framing) -> io::Result<Output> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let to = SocketAddrUnix::new(path)?;
        Ok(Output::Messages(Self { socket, to, framing, is_blocked: false }))
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let flags = if self.is_blocked { SendFlags::DONTWAIT } else { SendFlags::empty() };
        let sent = loop {
            match sendto(&self.socket, message, flags, &self.to) {
                Err(Errno::INTR) => {}
                sent => break sent,
            }
        };
        self.is_blocked = sent == Err(Errno::AGAIN);
        sent?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
