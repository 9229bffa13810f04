//! A component that speaks TLS, and may turn bad and good again while it goes on accepting.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::backend::Backend;
use super::ca::Files;

/// Echoes.
pub(crate) struct TlsComponent {
    manners: Arc<Mutex<Manners>>,
    backend: Backend,
}

/// How it treats the next connection.
#[derive(Clone)]
pub(crate) enum Manners {
    /// Shakes hands, with this certificate.
    Shows(Arc<ServerConfig>),
    /// Speaks, but no TLS.
    Mumbles,
}

impl Manners {
    pub(crate) fn shows(files: &Files) -> Self {
        let certificate = CertificateDer::from(files.der.clone());
        let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key of ours");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of the provider")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        Self::Shows(Arc::new(config.expect("they match")))
    }
}

impl TlsComponent {
    /// Listens on a port of its own of this address.
    pub(crate) fn start(ip: &str, manners: Manners) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        let manners = Arc::new(Mutex::new(manners));
        let current = Arc::clone(&manners);
        let backend = Backend::serve(listener, move |stream| {
            let manners = current.lock().expect("no panics").clone();
            // The gateway's errors are what some checks are about.
            let _ended = match manners {
                Manners::Shows(config) => echo(stream, config),
                Manners::Mumbles => mumble(stream),
            };
        });
        Self { manners, backend }
    }

    pub(crate) fn set(&self, manners: Manners) {
        *self.manners.lock().expect("no panics") = manners;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.backend.address()
    }
}

fn echo(stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            stream.conn.send_close_notify();
            return stream.flush();
        }
        stream.write_all(&buffer[..length])?;
        stream.flush()?;
    }
}

fn mumble(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"220 mumble\r\n")?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}
