//! A certificate and a list of revoked ones are put in the place of others, and how long it takes until
//! everybody sees the new certificate.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use serde::Serialize;
use tlsgate_bench::client;

use super::setups::Setup;
use crate::measure::identity::{Identity, SERVER_NAME};

/// From then on everybody is to see the new certificate.
pub(crate) const SEEN_AFTER: Duration = Duration::from_secs(1);
/// For how long handshakes look, and how often.
const WATCH: Duration = Duration::from_millis(1_500);
const TICK: Duration = Duration::from_millis(50);
/// How long such a handshake may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What was seen after one rotation.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Rotation {
    /// From when the server was told until the last handshake began that saw the old certificate; none
    /// when none did.
    pub(crate) old_until: Option<Duration>,
    /// Handshakes that saw the new one.
    pub(crate) new: u32,
    /// Handshakes that failed.
    pub(crate) failed: u32,
}

impl Rotation {
    /// Whether it was as it should be.
    pub(crate) fn is_good(&self) -> bool {
        self.new > 0 && self.failed == 0 && self.old_until.is_none_or(|until| until < SEEN_AFTER)
    }
}

/// Puts other files into the place of those that the server has.
///
/// # Errors
/// What failed, for the user to read.
pub(super) fn replace(setup: &Setup<'_>, number: u64) -> Result<(), String> {
    let scratch = setup.stage.scratch;
    setup.authority.issue(scratch, number)?;
    let next = Identity::ecdsa(scratch, "next-")?;
    let put = |from: &Path, to: &Path| {
        fs::rename(from, to).map_err(|error| format!("{}: {error}", to.display()))
    };
    put(&next.key, &setup.shown.key)?;
    put(&next.certificate, &setup.shown.certificate)?;
    put(&next.combined, &setup.shown.combined)
}

/// Shakes hands again and again, and looks who sees which certificate.
pub(super) struct Watch {
    connector: SslConnector,
    address: SocketAddr,
}

impl Watch {
    /// As a client of this identity.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn new(address: SocketAddr, own: Option<&client::Identity>) -> Result<Self, String> {
        let connector = connector(own).map_err(|error| error.to_string())?;
        Ok(Self { connector, address })
    }

    /// Looks for the certificate of this file, from now on, for `at_most` or a little more than a second.
    ///
    /// # Errors
    /// When the file has none.
    pub(super) fn look_for(&self, file: &Path, at_most: Duration) -> Result<Rotation, String> {
        let said = |error: ErrorStack| format!("{}: {error}", file.display());
        let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let wanted = X509::from_pem(&bytes).and_then(|wanted| wanted.to_der()).map_err(said)?;
        let (begin, length) = (Instant::now(), WATCH.min(at_most));
        let mut rotation = Rotation { old_until: None, new: 0, failed: 0 };
        while begin.elapsed() < length {
            let since = begin.elapsed();
            match self.shown() {
                Ok(shown) if shown == wanted => rotation.new += 1,
                Ok(_) => rotation.old_until = Some(since),
                // It is enough that there was one.
                Err(_reason) => rotation.failed += 1,
            }
            std::thread::sleep(TICK);
        }
        Ok(rotation)
    }

    /// What the server shows now.
    fn shown(&self) -> Result<Vec<u8>, String> {
        let stream = TcpStream::connect_timeout(&self.address, TIMEOUT)
            .and_then(|stream| {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Ok(stream)
            })
            .map_err(|error| error.to_string())?;
        let configured = self.connector.configure().map_err(|error| error.to_string())?;
        let stream = configured.connect(SERVER_NAME, stream).map_err(|error| error.to_string())?;
        let certificate = stream.ssl().peer_certificate().ok_or("the server shows nothing")?;
        certificate.to_der().map_err(|error| error.to_string())
    }
}

fn connector(own: Option<&client::Identity>) -> Result<SslConnector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_verify(SslVerifyMode::NONE);
    if let Some(own) = own {
        let certificate = X509::from_pem(own.certificate.as_bytes())?;
        builder.set_certificate(&certificate)?;
        let key = PKey::private_key_from_pem(own.key.as_bytes())?;
        builder.set_private_key(&key)?;
    }
    Ok(builder.build())
}
