//! OpenSSL as the client, for what rustls does not speak: TLS before 1.2, CBC, static RSA.

use std::io::{self, ErrorKind as IoKind, Read, Write};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, fs};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslMode, SslSession,
    SslStream, SslVerifyMode, SslVersion, cipher_name,
};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

use super::Error;
use super::failure::{ErrorKind, Failure};
use super::flow::Identity;
use super::plan::{Shown, TlsPlan, TlsVersion, Trust};
use super::session::{Handshake, Session, Sink};

/// Longest plaintext of a record (RFC 5246 §6.2.1).
const RECORD: usize = 16 * 1024;
/// What [`cipher_name`] says of a name that it does not know.
const NO_SUITE: &str = "(NONE)";

/// Reasons of errors that say which alert came (SSL_AD_REASON_OFFSET of ssl.h, and its number).
const ALERTS: RangeInclusive<i32> = 1_000..=1_255;

/// Makes sessions.
#[derive(Clone)]
pub(super) struct Openssl {
    context: SslContext,
    server_name: String,
    own: Option<Own>,
}

/// The session to resume, if there is one yet.
type Own = Arc<Mutex<Option<SslSession>>>;

impl Openssl {
    /// # Errors
    /// What of the plan OpenSSL does not take.
    pub(super) fn new(plan: &TlsPlan, identity: Option<&Identity>) -> Result<Self, Error> {
        let (context, server_name) = (context(plan, identity)?, plan.server_name.clone());
        Ok(Self { context, server_name, own: None })
    }

    /// Whether it has a suite of this IANA name.
    pub(super) fn knows(suite: &str) -> bool {
        cipher_name(suite) != NO_SUITE
    }

    /// The same, with a session of its own to resume.
    pub(super) fn with_own_session(&self) -> Self {
        Self { own: Some(Own::default()), ..self.clone() }
    }

    pub(super) fn session(&self) -> Result<Box<dyn Session>, Failure> {
        let mut ssl = Ssl::new(&self.context)?;
        match self.server_name.parse::<IpAddr>() {
            Ok(address) => ssl.param_mut().set_ip(address)?,
            Err(_) => {
                ssl.set_hostname(&self.server_name)?;
                ssl.param_mut().set_host(&self.server_name)?;
            }
        }
        if let Some(session) = self.own.as_ref().and_then(|own| lock(own).clone()) {
            // SAFETY: the session must be of the same context: `own` takes sessions only from
            // streams that this function made, of `self.context` or of one that it was cloned from.
            unsafe { ssl.set_session(&session) }?;
        }
        ssl.set_connect_state();
        let stream = SslStream::new(ssl, Pipe::default())?;
        let mut session = OpensslSession { stream, own: self.own.clone() };
        // Writes the hello.
        session.shake_hands()?;
        Ok(Box::new(session))
    }
}

impl fmt::Debug for Openssl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Openssl").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

fn lock(own: &Own) -> MutexGuard<'_, Option<SslSession>> {
    own.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One version and some suites. At security level 0: OpenSSL 3 has SHA-1 signatures, and with them
/// TLS before 1.2, at no other.
fn context(plan: &TlsPlan, identity: Option<&Identity>) -> Result<SslContext, Error> {
    let version = match plan.version {
        TlsVersion::V10 => SslVersion::TLS1,
        TlsVersion::V11 => SslVersion::TLS1_1,
        TlsVersion::V12 => SslVersion::TLS1_2,
        TlsVersion::V13 => SslVersion::TLS1_3,
    };
    let mut builder = SslContext::builder(SslMethod::tls_client())?;
    builder.set_security_level(0);
    builder.set_min_proto_version(Some(version))?;
    builder.set_max_proto_version(Some(version))?;
    builder.set_mode(SslMode::ACCEPT_MOVING_WRITE_BUFFER);
    if !plan.suites.is_empty() {
        let mut names = Vec::new();
        for suite in &plan.suites {
            match cipher_name(suite) {
                NO_SUITE => return Err(Error::Tls(format!("unknown cipher suite '{suite}'"))),
                name => names.push(name),
            }
        }
        builder.set_cipher_list(&names.join(":"))?;
    }
    if !plan.groups.is_empty() {
        builder.set_groups_list(&plan.groups.join(":"))?;
    }
    if !plan.alpn.is_empty() {
        let mut names = Vec::new();
        for name in &plan.alpn {
            let length = u8::try_from(name.len());
            names.push(length.map_err(|_| Error::Tls(format!("ALPN '{name}' is too long")))?);
            names.extend_from_slice(name.as_bytes());
        }
        builder.set_alpn_protos(&names)?;
    }
    if let Some(Identity { certificate, key }) = identity {
        let chain = X509::stack_from_pem(certificate.as_bytes())?;
        let [leaf, between @ ..] = &chain[..] else {
            return Err(Error::Tls("a client's certificate is empty".to_owned()));
        };
        builder.set_certificate(leaf)?;
        for certificate in between {
            builder.add_extra_chain_cert(certificate.clone())?;
        }
        builder.set_private_key(&*PKey::private_key_from_pem(key.as_bytes())?)?;
    } else if let Some(Shown { certificate, key }) = &plan.shown {
        builder.set_certificate_chain_file(certificate)?;
        builder.set_private_key_file(key, SslFiletype::PEM)?;
    }
    trust(&mut builder, &plan.trust)?;
    Ok(builder.build())
}

fn trust(builder: &mut SslContextBuilder, trust: &Trust) -> Result<(), Error> {
    let (name, pem) = match trust {
        Trust::Insecure | Trust::Careless => {
            builder.set_verify(SslVerifyMode::NONE);
            return Ok(());
        }
        Trust::CaPem(text) => ("the given PEM text".to_owned(), text.clone().into_bytes()),
        Trust::CaFile(path) => {
            let name = path.display().to_string();
            let pem = fs::read(path).map_err(|error| Error::Tls(format!("{name}: {error}")))?;
            (name, pem)
        }
    };
    let mut store = X509StoreBuilder::new()?;
    let certificates = X509::stack_from_pem(&pem)?;
    if certificates.is_empty() {
        return Err(Error::Tls(format!("{name} holds no certificate")));
    }
    for certificate in certificates {
        store.add_cert(certificate)?;
    }
    builder.set_cert_store(store.build());
    builder.set_verify(SslVerifyMode::PEER);
    Ok(())
}

struct OpensslSession {
    stream: SslStream<Pipe>,
    own: Option<Own>,
}

impl OpensslSession {
    fn shake_hands(&mut self) -> Result<(), Failure> {
        match self.stream.do_handshake() {
            Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(()),
            result => result?,
        }
        if let Some(own) = &self.own {
            *lock(own) = self.stream.ssl().session().map(ToOwned::to_owned);
        }
        Ok(())
    }
}

impl Session for OpensslSession {
    fn is_handshaking(&self) -> bool {
        !self.stream.ssl().is_init_finished()
    }

    fn kind(&self) -> Handshake {
        if self.stream.ssl().session_reused() { Handshake::Resumed } else { Handshake::Full }
    }

    fn alpn(&self) -> Option<&[u8]> {
        self.stream.ssl().selected_alpn_protocol()
    }

    fn seal(&mut self, data: &[u8]) -> Result<usize, Failure> {
        Ok(self.stream.ssl_write(data)?)
    }

    fn wants_write(&self) -> bool {
        !self.stream.get_ref().outgoing.is_empty()
    }

    fn write_to(&mut self, socket: &mut dyn Write) -> io::Result<usize> {
        self.stream.get_mut().outgoing.drain_to(socket)
    }

    fn open(&mut self, data: &[u8], sink: Sink<'_>) -> Result<bool, Failure> {
        self.stream.get_mut().incoming.fill(data);
        if self.is_handshaking() {
            self.shake_hands()?;
            if self.is_handshaking() {
                return Ok(false);
            }
        }
        let mut plain = [0; RECORD];
        loop {
            match self.stream.ssl_read(&mut plain) {
                Ok(length) => sink(&plain[..length])?,
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(false),
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn close_notify(&mut self) {
        // It goes into memory, which takes it. A session that has failed says none.
        let _said = self.stream.shutdown();
    }
}

impl fmt::Debug for OpensslSession {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.ssl().fmt(out)
    }
}

/// What OpenSSL takes for its socket.
#[derive(Debug, Default)]
struct Pipe {
    incoming: Bytes,
    outgoing: Bytes,
}

/// Bytes that wait, first in first out.
#[derive(Debug, Default)]
struct Bytes {
    bytes: Vec<u8>,
    /// Those before it have gone.
    start: usize,
}

impl Bytes {
    fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    fn fill(&mut self, data: &[u8]) {
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(data);
    }

    fn drain_to(&mut self, sink: &mut dyn Write) -> io::Result<usize> {
        let length = sink.write(&self.bytes[self.start..])?;
        self.start += length;
        Ok(length)
    }
}

impl Read for Pipe {
    fn read(&mut self, mut buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(IoKind::WouldBlock.into());
        }
        self.incoming.drain_to(&mut buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.outgoing.fill(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<ErrorStack> for Failure {
    fn from(error: ErrorStack) -> Self {
        if error.errors().iter().any(|error| ALERTS.contains(&error.reason_code())) {
            Self::alert(error.to_string())
        } else {
            Self::new(ErrorKind::Tls, error.to_string())
        }
    }
}

impl From<openssl::ssl::Error> for Failure {
    fn from(error: openssl::ssl::Error) -> Self {
        match error.ssl_error() {
            Some(stack) => stack.clone().into(),
            None => Self::new(ErrorKind::Tls, error.to_string()),
        }
    }
}

impl From<ErrorStack> for Error {
    fn from(error: ErrorStack) -> Self {
        Self::Tls(error.to_string())
    }
}
