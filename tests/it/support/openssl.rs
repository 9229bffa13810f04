//! OpenSSL in this process, with one version and one suite: as client, and as server in front of a
//! component without TLS. Unlike the command, it is read and written as any other connection.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslMode, SslSession, SslStream,
    SslVerifyMode, SslVersion,
};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use rustix::event::PollFlags;
use socket2::SockRef;

use super::backend::Backend;
use super::ca::{Files, NAME, ca};
use super::session::{Session, wait};

/// What a peer speaks that rustls does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// TLS 1.2 with CBC, for the lane `compat12`.
    Cbc12,
    /// TLS 1.1, for the lane `legacy`.
    Tls11,
    /// TLS 1.0, for the lane `legacy`.
    Tls10,
}

/// The suite of all of them, by its names at IANA and in OpenSSL.
pub(crate) const SUITE: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA";
const OPENSSL_SUITE: &str = "ECDHE-ECDSA-AES128-SHA";

impl Old {
    pub(crate) const ALL: [Self; 3] = [Self::Cbc12, Self::Tls11, Self::Tls10];

    fn version(self) -> SslVersion {
        match self {
            Self::Cbc12 => SslVersion::TLS1_2,
            Self::Tls11 => SslVersion::TLS1_1,
            Self::Tls10 => SslVersion::TLS1,
        }
    }

    /// OpenSSL has TLS before 1.2 at security level 0 only.
    fn context(self, method: SslMethod) -> SslContextBuilder {
        let mut builder = SslContext::builder(method).expect("a context");
        builder.set_security_level(0);
        builder.set_min_proto_version(Some(self.version())).expect("a version");
        builder.set_max_proto_version(Some(self.version())).expect("a version");
        builder.set_cipher_list(OPENSSL_SUITE).expect("a suite");
        builder.set_mode(SslMode::ACCEPT_MOVING_WRITE_BUFFER | SslMode::ENABLE_PARTIAL_WRITE);
        builder
    }
}

/// A client that trusts the checks' authority, and resumes what it has from its last connection.
pub(crate) struct OpensslClient {
    context: SslContext,
    session: Option<SslSession>,
}

impl OpensslClient {
    pub(crate) fn new(old: Old) -> Self {
        let mut builder = old.context(SslMethod::tls_client());
        let mut store = X509StoreBuilder::new().expect("a store");
        let root = X509::from_pem(ca().pem().as_bytes()).expect("a certificate of ours");
        store.add_cert(root).expect("a new one");
        builder.set_cert_store(store.build());
        builder.set_verify(SslVerifyMode::PEER);
        Self { context: builder.build(), session: None }
    }

    /// Shakes hands with the usual name.
    ///
    /// # Errors
    /// What ended the handshake.
    pub(crate) fn connect(&mut self, socket: TcpStream) -> io::Result<SslStream<TcpStream>> {
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_hostname(NAME)?;
        ssl.param_mut().set_host(NAME)?;
        if let Some(session) = &self.session {
            // SAFETY: it is of the same context, the only one that this client has.
            unsafe { ssl.set_session(session) }?;
        }
        let mut stream = SslStream::new(ssl, socket)?;
        stream.connect().map_err(io::Error::other)?;
        self.session = stream.ssl().session().map(ToOwned::to_owned);
        Ok(stream)
    }
}

/// A server that relays to a component without TLS.
pub(crate) struct Front(Backend);

impl Front {
    /// Listens on a port of its own, shows this certificate, and connects to `component`.
    pub(crate) fn start(old: Old, files: &Files, component: SocketAddr) -> Self {
        let mut builder = old.context(SslMethod::tls_server());
        builder.set_certificate_file(&files.certificate, SslFiletype::PEM).expect("of ours");
        builder.set_private_key_file(&files.key, SslFiletype::PEM).expect("of ours");
        let context = builder.build();
        Self(Backend::start(move |socket| {
            // A gateway that turns away is what some checks are about.
            let Ok(mut stream) = accept(&context, socket) else { return };
            let mut behind = TcpStream::connect(component).expect("the component accepts");
            if relay(&mut stream, &mut behind).is_err() {
                // What broke on one side is broken on the other.
                for socket in [stream.get_ref(), &behind] {
                    SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("open");
                }
            }
        }))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

fn accept(context: &SslContext, socket: TcpStream) -> io::Result<SslStream<TcpStream>> {
    let mut stream = SslStream::new(Ssl::new(context)?, socket)?;
    stream.accept().map_err(io::Error::other)?;
    Ok(stream)
}

/// Relays until both directions have ended.
fn relay(one: &mut dyn Session, other: &mut dyn Session) -> io::Result<()> {
    one.socket().set_nonblocking(true)?;
    other.socket().set_nonblocking(true)?;
    let (mut forth, mut back) = (Direction::default(), Direction::default());
    while !(forth.has_ended && back.has_ended) {
        let moved = forth.step(one, other)? | back.step(other, one)?;
        if !moved {
            let interests = (forth.interest(&back), back.interest(&forth));
            wait(&[(one.socket(), interests.0), (other.socket(), interests.1)])?;
        }
    }
    Ok(())
}

/// What goes one way.
#[derive(Default)]
struct Direction {
    waiting: Vec<u8>,
    /// No more comes.
    is_over: bool,
    /// That was passed on.
    has_ended: bool,
}

impl Direction {
    /// Returns whether anything happened.
    fn step(&mut self, from: &mut dyn Session, to: &mut dyn Session) -> io::Result<bool> {
        let mut moved = false;
        if self.waiting.is_empty() && !self.is_over {
            let mut buffer = vec![0; 64 * 1024];
            if let Some(length) = from.pull(&mut buffer)? {
                self.is_over = length == 0;
                buffer.truncate(length);
                self.waiting = buffer;
                moved = true;
            }
        }
        if !self.waiting.is_empty() {
            let sent = to.push(&self.waiting)?;
            self.waiting.drain(..sent);
            moved |= sent > 0;
        } else if self.is_over && !self.has_ended {
            self.has_ended = to.end()?;
            moved |= self.has_ended;
        }
        Ok(moved)
    }

    /// What is waited for at the socket that this direction reads, and `back` writes.
    fn interest(&self, back: &Self) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, self.waiting.is_empty() && !self.is_over);
        interest.set(PollFlags::OUT, !back.waiting.is_empty() || back.is_over && !back.has_ended);
        interest
    }
}
