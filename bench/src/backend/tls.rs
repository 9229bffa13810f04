//! TLS over an accepted socket, non-blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

#[derive(Debug)]
pub(super) struct TlsStream {
    pub(super) stream: TcpStream,
    session: ServerConnection,
}

impl TlsStream {
    pub(super) fn new(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self { stream, session })
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.session.read_tls(&mut self.stream)?;
            let processed = self.session.process_new_packets();
            // An alert for the peer, too, where that failed.
            self.flush()?;
            processed.map_err(io::Error::other)?;
        }
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.flush()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = self.session.writer().write(data)?;
        self.flush()?;
        Ok(taken)
    }

    /// Sends records that are ready; returns whether none is left.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Ends this direction; [`Self::flush`] must have said that nothing is left.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        self.flush()?;
        self.stream.shutdown(Shutdown::Write)
    }
}
