//! Both ends of a connection, with TLS or without.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateRevocationListDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use super::pki::{Leaf, NAME, pki};
use crate::support::backend::reset;
use crate::support::client::{connect_plain, connection, handshake};

/// TLS 1.2 and 1.3, newest last.
pub(super) static VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// One end of a connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    /// Connects to a gateway, with TLS if there is a configuration for it.
    ///
    /// # Errors
    /// What ended the handshake.
    pub(super) fn connect(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        Self::over(connect_plain(address), tls)
    }

    /// As [`Stream::connect`], over a connection that there is.
    ///
    /// # Errors
    /// What ended the handshake.
    pub(super) fn over(socket: TcpStream, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        Ok(match tls {
            Some(config) => Self::Client(Box::new(handshake(socket, connection(config, NAME))?)),
            None => Self::Plain(socket),
        })
    }

    /// Serves a connection.
    ///
    /// # Errors
    /// What ended the handshake.
    pub(super) fn accept(
        mut socket: TcpStream,
        tls: Option<&Arc<ServerConfig>>,
    ) -> io::Result<Self> {
        let Some(config) = tls else { return Ok(Self::Plain(socket)) };
        let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            if tls.complete_io(&mut socket)? == (0, 0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self::Server(Box::new(StreamOwned::new(tls, socket))))
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Client(tls) => &tls.sock,
            Self::Server(tls) => &tls.sock,
        }
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.socket().local_addr().expect("connected")
    }

    /// Nothing more comes from here: close_notify where there is TLS, else FIN.
    ///
    /// # Errors
    /// The connection's.
    pub(super) fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => return socket.shutdown(Shutdown::Write),
            Self::Client(tls) => tls.conn.send_close_notify(),
            Self::Server(tls) => tls.conn.send_close_notify(),
        }
        self.flush()
    }

    /// Ends with RST.
    pub(super) fn reset(self) {
        reset(match self {
            Self::Plain(socket) => socket,
            Self::Client(tls) => tls.into_parts().1,
            Self::Server(tls) => tls.into_parts().1,
        });
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Client(tls) => tls.read(buffer),
            Self::Server(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(buffer),
            Self::Client(tls) => tls.write(buffer),
            Self::Server(tls) => tls.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Client(tls) => tls.flush(),
            Self::Server(tls) => tls.flush(),
        }
    }
}

/// A client's TLS: whom it trusts, what it shows, what it speaks.
pub(super) fn client(
    roots: RootCertStore,
    shown: Option<&Leaf>,
    versions: &[&'static SupportedProtocolVersion],
    crl: Option<&str>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions of the provider");
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(crl.map(lists).unwrap_or_default())
        .build()
        .expect("there is a root");
    let builder = builder.with_webpki_verifier(verifier);
    let mut config = match shown {
        Some(leaf) => builder
            .with_client_auth_cert(leaf.chain.clone(), leaf.key())
            .expect("a certificate and its key"),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The usual client.
pub(super) fn trusting(shown: Option<&Leaf>) -> Arc<ClientConfig> {
    client(pki().roots(), shown, &VERSIONS, None)
}

/// A component's TLS; `demands` a certificate of the gateway, or does not.
pub(super) fn server(
    leaf: &Leaf,
    demands: bool,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions of the provider");
    let builder = if demands {
        let roots = Arc::new(pki().roots());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        builder.with_client_cert_verifier(verifier.expect("there is a root"))
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(leaf.chain.clone(), leaf.key());
    Arc::new(config.expect("a certificate and its key"))
}

/// Any name: who it is was made sure of otherwise.
pub(super) fn inner_name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a DNS name")
}

fn lists(pem: &str) -> Vec<CertificateRevocationListDer<'static>> {
    CertificateRevocationListDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .expect("lists in PEM")
}
