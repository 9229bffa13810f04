//! The sessions that the child makes by a profile.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use rustls::pki_types::UnixTime;

use super::link::Sessions;
use crate::buf::{Buf, Pool};
use crate::sys::packets::invalid_data;
use crate::tls::error::TlsError;
use crate::tls::hello::{HelloReader, Progress};
use crate::tls::openssl::spec::Spec;
use crate::tls::openssl::{Client, Server};
use crate::tls::tls_conn::TlsConn;

/// Reads a profile's description.
///
/// # Errors
/// When it is none, or OpenSSL cannot use it.
pub fn read(description: &[u8]) -> io::Result<Arc<dyn Sessions>> {
    match Spec::decode(description).map_err(invalid_data)? {
        Spec::Server(spec) => Ok(Arc::new(Server::new(spec).map_err(invalid_data)?)),
        Spec::Client(spec) => Ok(Arc::new(Client::new(&spec).map_err(invalid_data)?)),
    }
}

/// Who may be trusted is for the shard to say, which is told what peers have shown: the child has no
/// verifiers, and no lists of those that are revoked.
impl Sessions for Server {
    fn accept(&self, hello: &[u8]) -> Result<Box<dyn TlsConn>, TlsError> {
        let sni = sni_of(hello);
        Ok(Box::new(Self::accept(self, sni.as_deref(), None, now())?))
    }

    fn connect(&self, _: &Pool, _: &mut VecDeque<Buf>) -> Result<Box<dyn TlsConn>, TlsError> {
        Err(TlsError::local("a profile to accept by"))
    }
}

impl Sessions for Client {
    fn accept(&self, _: &[u8]) -> Result<Box<dyn TlsConn>, TlsError> {
        Err(TlsError::local("a profile to connect by"))
    }

    fn connect(
        &self,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<Box<dyn TlsConn>, TlsError> {
        Ok(Box::new(Self::connect(self, None, now(), pool, records)?))
    }
}

#[expect(clippy::disallowed_methods, reason = "an edge: when the child's sessions begin")]
fn now() -> UnixTime {
    UnixTime::now()
}

/// The name that a ClientHello asks for.
fn sni_of(hello: &[u8]) -> Option<String> {
    let mut reader = HelloReader::default();
    let Ok(Progress::Complete { .. }) = reader.feed(hello) else { return None };
    let hello = reader.hello().ok()?;
    hello.sni.and_then(|sni| sni.dns_name()).map(str::to_owned)
}
