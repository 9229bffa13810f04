//! Components of our own making, for protocols of which there is no program to be had.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;

use super::script::{End, Speech, noise};
use super::stream::Stream;
use crate::support::backend::Backend;

/// What a component does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Speak(Speech),
    /// Sends everything back; ends after its peer.
    Echo,
    /// Says a word, ends, and then reads to its peer's end.
    EndFirst,
    /// Reads a byte and resets.
    Reset,
    /// Reads a line and says that many bytes, [`BLOCK`] by [`BLOCK`] of noise.
    Tell(usize),
}

/// What [`Manner::Tell`] says again and again.
pub(super) const BLOCK: usize = 64 * 1024;

/// What [`Manner::EndFirst`] says.
pub(super) const WORD: &[u8] = b"that is all";

/// Serves until dropped; what it does, and its TLS, may change from connection to connection.
pub(super) struct Component {
    backend: Backend,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    manner: Manner,
    tls: Option<Arc<ServerConfig>>,
    /// Bytes of the last connection that came to its end.
    heard: Option<u64>,
    /// Where connections came from.
    sources: Vec<SocketAddr>,
}

impl Component {
    pub(super) fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::start_at("127.0.0.1", tls)
    }

    /// At another address of this machine.
    pub(super) fn start_at(address: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let shared = Arc::new(Mutex::new(Shared {
            manner: Manner::Echo,
            tls,
            heard: None,
            sources: Vec::new(),
        }));
        let of_threads = Arc::clone(&shared);
        let backend = Backend::serve(listener, move |socket| {
            let (manner, tls) = {
                let mut shared = lock(&of_threads);
                shared.sources.extend(socket.peer_addr());
                (shared.manner, shared.tls.clone())
            };
            // What goes wrong, the client's end sees too: it gets less than it waits for.
            if let Ok(heard) = serve(socket, manner, tls.as_ref()) {
                lock(&of_threads).heard = Some(heard);
            }
        });
        Self { backend, shared }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.backend.address()
    }

    /// It is down from now on, and refuses connections.
    pub(super) fn stop(&self) {
        self.backend.stop();
    }

    /// What it does with the connections that follow.
    pub(super) fn be(&self, manner: Manner) {
        let mut shared = lock(&self.shared);
        shared.manner = manner;
        shared.heard = None;
    }

    /// Where connections came from so far.
    pub(super) fn sources(&self) -> Vec<SocketAddr> {
        lock(&self.shared).sources.clone()
    }

    /// Bytes that came, once a connection has ended in order.
    pub(super) fn heard(&self) -> Option<u64> {
        lock(&self.shared).heard
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(socket: TcpStream, manner: Manner, tls: Option<&Arc<ServerConfig>>) -> io::Result<u64> {
    socket.set_nodelay(true)?;
    // Silence is what one check is about.
    socket.set_read_timeout(None)?;
    let mut stream = Stream::accept(socket, tls)?;
    match manner {
        Manner::Speak(speech) => speech.speak(&mut stream, End::Server)?,
        Manner::Echo => {
            let heard = echo(&mut stream)?;
            stream.end()?;
            return Ok(heard);
        }
        Manner::EndFirst => {
            stream.write_all(WORD)?;
            stream.end()?;
            return io::copy(&mut stream, &mut io::sink());
        }
        Manner::Reset => {
            stream.read_exact(&mut [0])?;
            stream.reset();
            // No orderly end, for this side either.
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Manner::Tell(size) => {
            stream.read_exact(&mut [0; 10])?;
            let block = noise(BLOCK, 3);
            let mut left = size;
            while left > 0 {
                let part = left.min(BLOCK);
                stream.write_all(&block[..part])?;
                left -= part;
            }
            stream.flush()?;
        }
    }
    let rest = io::copy(&mut stream, &mut io::sink())?;
    stream.end()?;
    Ok(rest)
}

fn echo(stream: &mut Stream) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut heard = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(heard),
            length => {
                stream.write_all(&buffer[..length])?;
                heard += u64::try_from(length).expect("a buffer's");
            }
        }
        stream.flush()?;
    }
}
