//! A TLS client: rustls over a blocking socket that never waits for ever.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    SupportedCipherSuite,
};
use socket2::{Domain, Socket, Type};
use tlsgate::sys::socket::bind_address_no_port;

use super::ca::{Client, NAME, ca};

/// TLS over TCP.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Longest time to wait for the gateway.
const PATIENCE: Duration = Duration::from_secs(60);

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V12,
    V13,
}

impl Version {
    pub(crate) const BOTH: [Self; 2] = [Self::V12, Self::V13];

    /// As in the access log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V12 => "TLSv1.2",
            Self::V13 => "TLSv1.3",
        }
    }

    /// As in command lines.
    pub(crate) fn number(self) -> &'static str {
        &self.name()["TLSv".len()..]
    }

    fn rustls(self) -> &'static rustls::SupportedProtocolVersion {
        match self {
            Self::V12 => &rustls::version::TLS12,
            Self::V13 => &rustls::version::TLS13,
        }
    }
}

/// A client that trusts the checks' authority and offers one version. It does not resume.
pub(crate) fn config(version: Version) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version.rustls()])
        .expect("versions of the provider");
    let mut config = builder.with_root_certificates(ca().roots()).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// As [`config`], with one suite alone.
pub(crate) fn config_of(suite: SupportedCipherSuite) -> Arc<ClientConfig> {
    let provider = CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[suite.version()])
        .expect("the version of the suite");
    let mut config = builder.with_root_certificates(ca().roots()).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// As [`config`], for a client that shows a certificate.
pub(crate) fn showing(version: Version, who: &Client) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version.rustls()])
        .expect("versions of the provider");
    let builder = builder.with_root_certificates(ca().roots());
    let chain = vec![CertificateDer::from(who.der.clone())];
    let mut config = builder.with_client_auth_cert(chain, who.key()).expect("a pair");
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// As [`config`], with sessions that are resumed.
pub(crate) fn resuming_config(version: Version) -> Arc<ClientConfig> {
    let mut resuming = (*config(version)).clone();
    resuming.resumption = Resumption::in_memory_sessions(256);
    Arc::new(resuming)
}

/// A client that takes any certificate, to see which one it gets.
pub(crate) fn curious_config(version: Version) -> Arc<ClientConfig> {
    let mut curious = (*config(version)).clone();
    let provider = Arc::new(ring::default_provider());
    curious.dangerous().set_certificate_verifier(Arc::new(TakesAny(provider)));
    Arc::new(curious)
}

/// Connects without TLS.
pub(crate) fn connect_plain(address: SocketAddr) -> TcpStream {
    try_connect_plain(address).unwrap_or_else(|error| panic!("{address}: {error}"))
}

/// As [`connect_plain`]: a connection that is refused may be reset before connect(2) has returned.
fn try_connect_plain(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_nodelay(true).expect("an open socket");
    Ok(stream)
}

/// Connects from there. A port that is given may be in use towards other places; one that is not is
/// chosen when it is known where to, as the gateway does it: the kernel gives no port that a socket
/// was bound to before to any other.
///
/// # Errors
/// Those of bind and connect.
pub(crate) fn dial(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, None)?;
    match from.port() {
        0 => bind_address_no_port(socket.as_fd())?,
        _ => socket.set_reuse_address(true)?,
    }
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

/// Connects and completes the handshake.
///
/// # Errors
/// What ended the handshake.
pub(crate) fn try_connect(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<TlsStream> {
    handshake(try_connect_plain(address)?, connection(config, name))
}

/// As [`try_connect`], with the usual name.
///
/// # Panics
/// When the handshake fails.
pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> TlsStream {
    try_connect(address, config, NAME).unwrap_or_else(|error| panic!("handshake: {error}"))
}

/// A client's side of a connection that has not begun.
pub(crate) fn connection(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).expect("a DNS name");
    ClientConnection::new(Arc::clone(config), name).expect("a valid configuration")
}

/// Completes the handshake.
///
/// # Errors
/// What ended it.
pub(crate) fn handshake(
    mut stream: TcpStream,
    mut connection: ClientConnection,
) -> io::Result<TlsStream> {
    while connection.is_handshaking() {
        let (read, written) = connection.complete_io(&mut stream)?;
        if (read, written) == (0, 0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // TLS 1.3: the client's Finished may still wait.
    while connection.wants_write() {
        connection.write_tls(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// Sends `message` and reads as much back, which must be the same.
///
/// # Panics
/// When the connection fails, or the answer is another one.
pub(crate) fn assert_echo(stream: &mut TlsStream, message: &[u8]) {
    stream.write_all(message).and_then(|()| stream.flush()).expect("sent");
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert!(answer == message, "the echo is another one");
}

/// Says close_notify; more can still be read.
///
/// # Panics
/// When the connection fails.
pub(crate) fn close_notify(stream: &mut TlsStream) {
    stream.conn.send_close_notify();
    stream.flush().expect("sent");
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut stream.sock).expect("sent");
    }
}

/// Says close_notify and reads to the other side's.
///
/// # Panics
/// When it does not come.
pub(crate) fn close(mut stream: TlsStream) {
    close_notify(&mut stream);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("close_notify of the gateway");
    assert_eq!(rest.len(), 0, "nothing was left to read");
}

/// The local address of a connection, by which its line in the access log is found.
pub(crate) fn local(stream: &TlsStream) -> SocketAddr {
    stream.sock.local_addr().expect("a connected socket")
}

#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
