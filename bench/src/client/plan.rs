//! What to measure, checked before anything is opened.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::Error;
use super::rates::{Arrivals, MAX_RATE};
use crate::mix::pair;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Where to connect.
    pub target: SocketAddr,
    /// How to do TLS; none for plaintext.
    pub tls: Option<TlsPlan>,
    /// What each connection does.
    pub workload: Workload,
    /// What decides when the next operation starts.
    pub pace: Pace,
    /// When no further operation starts.
    pub stop: Stop,
    /// Longest time for each step of an operation: connect, handshake, exchange. A bulk transfer
    /// may take longer as a whole as long as bytes keep coming within it. Also the time that
    /// operations in flight get after [`Stop`].
    pub timeout: Duration,
    /// Threads; connections are spread over them evenly.
    pub threads: usize,
    /// CPUs that the threads are pinned to, in turn; not pinned when empty.
    pub cpus: Vec<usize>,
}

/// What a connection does; one *operation* is the unit that is counted and timed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Workload {
    /// Operation: connect, handshake, one 100-byte echo, close. Needs an echo backend.
    Handshakes {
        /// The share of operations that resume sessions, 0 to 1, held exactly at any time. Unless it
        /// is 0, every connection slot first makes one full handshake, which is not counted as an
        /// operation, and from then on resumes its own sessions; an operation that should and did
        /// not resume is an error. After an operation that failed, the next one may lack a session
        /// and be such an error, too.
        resumed: f64,
    },
    /// Operation: one echo over a connection that is kept open. Needs an echo backend.
    Messages {
        /// Bytes of a message, at least 1.
        size: u64,
        /// Messages per second of each connection, started on time whether or not others are
        /// late; none for as fast as answers come. Only with [`Pace::Closed`].
        per_connection_rate: Option<f64>,
    },
    /// Operation: `GET /bytes/N` over a kept connection, content checked. Needs an HTTP backend.
    BulkDown {
        /// Bytes of the body.
        bytes: u64,
    },
    /// Operation: `POST /sink` over a kept connection; the backend's checksum is compared with
    /// that of what was sent. Needs an HTTP backend.
    BulkUp {
        /// Bytes of the body.
        bytes: u64,
    },
    /// Operation: connect anew in place of a connection that is up, handshake, one 100-byte echo; the
    /// connection stays. All are opened before; how long that took is not in the report.
    Reconnect {
        /// The share of operations that offer to resume; what does not come of it is no error.
        resumed: f64,
        /// A connection that is lost comes back within this time, at random; without one, that is an
        /// error.
        within: Option<Duration>,
    },
    /// Opens all connections, holds them, then proves each alive by one 100-byte echo, which is
    /// the operation. [`Stop`] does not apply. Needs an echo backend.
    Idle {
        /// How long they are held, from when the last one was opened.
        hold: Duration,
    },
}

impl Workload {
    /// Whether operations share a connection that stays open.
    pub(super) fn keeps_connections(&self) -> bool {
        !matches!(self, Self::Handshakes { .. })
    }

    /// Whether a slot has something to do before operations are counted.
    pub(super) fn needs_preparation(&self) -> bool {
        self.keeps_connections() || self.resumed() > 0.0
    }

    /// When a connection that was lost is to come back: at random, but the same for the same slot.
    pub(super) fn returns_after(&self, desk: usize, slot: usize) -> Duration {
        let Self::Reconnect { within: Some(within), .. } = self else { return Duration::ZERO };
        let place = pair(desk as u64, slot as u64) >> 32;
        #[expect(clippy::cast_precision_loss, reason = "32 bits fit exactly")]
        within.mul_f64(place as f64 / (1_u64 << 32) as f64)
    }

    /// The share of operations that resume sessions.
    pub(crate) fn resumed(&self) -> f64 {
        match *self {
            Self::Handshakes { resumed } | Self::Reconnect { resumed, .. } => resumed,
            _ => 0.0,
        }
    }
}

/// What decides when an operation starts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Pace {
    /// Each of `concurrency` connections starts its next operation when its last one is done.
    Closed {
        /// Connections at a time.
        concurrency: usize,
    },
    /// Operations start at times that were fixed before, whatever became of earlier ones.
    ///
    /// Latency counts from the intended start, also when all connections were busy then and the
    /// operation had to wait; what never started before the end is an error.
    Open {
        /// The times.
        arrivals: Arrivals,
        /// Most connections at a time.
        concurrency: usize,
    },
}

impl Pace {
    /// Most connections at a time.
    pub fn concurrency(&self) -> usize {
        match *self {
            Self::Closed { concurrency } | Self::Open { concurrency, .. } => concurrency,
        }
    }
}

/// When to stop starting operations: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// Time from the first operation; preparations come before it.
    pub after: Duration,
    /// Number of operations, failed ones included.
    pub count: Option<u64>,
}

/// How to do TLS.
#[derive(Clone, Debug, Serialize)]
pub struct TlsPlan {
    /// The only version offered.
    pub version: TlsVersion,
    /// Name or IP address to expect in the certificate; a name is also sent as SNI.
    pub server_name: String,
    /// What makes the server's certificate acceptable.
    pub trust: Trust,
    /// What to show to a server that asks for a certificate; nothing when none.
    pub shown: Option<Shown>,
    /// ALPN protocols to offer, most wanted first. When the server chooses none, that is an error.
    pub alpn: Vec<String>,
    /// IANA names of the cipher suites to offer; all that there are for the version when empty. For
    /// versions before 1.2, and with a suite that rustls does not have, OpenSSL is the client.
    pub suites: Vec<String>,
    /// Names of the key exchange groups to offer, the first with a key share; the provider's
    /// defaults when empty. `X25519`, `secp256r1` (`P-256`), `secp384r1` (`P-384`),
    /// `X25519MLKEM768`.
    pub groups: Vec<String>,
}

/// A TLS protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TlsVersion {
    /// TLS 1.0, RFC 2246.
    V10,
    /// TLS 1.1, RFC 4346.
    V11,
    /// TLS 1.2, RFC 5246.
    V12,
    /// TLS 1.3, RFC 8446.
    V13,
}

/// A certificate of the client.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// PEM file with the certificate, and behind it those between it and its CA.
    pub certificate: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
}

/// What makes the server's certificate acceptable.
#[derive(Clone, Debug, Serialize)]
pub enum Trust {
    /// It chains to a certificate of this PEM file.
    CaFile(PathBuf),
    /// It chains to a certificate of this PEM text.
    CaPem(String),
    /// Anything goes; only the handshake signature is checked.
    Insecure,
    /// Nothing is checked, and with rustls all clients have one key share: for storms, whose clients are
    /// to cost less than the server.
    Careless,
}

/// Most connections that one plan may ask for.
const MAX_CONCURRENCY: usize = 1_000_000;
/// Most threads that one plan may ask for.
const MAX_THREADS: usize = 1024;

impl Plan {
    /// # Errors
    /// [`Error::Plan`] with what is wrong.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let concurrency = self.pace.concurrency();
        let rate_is_good = |rate: f64| rate > 0.0 && rate <= MAX_RATE;
        let problem = if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
            format!("concurrency must be 1 to {MAX_CONCURRENCY}")
        } else if !(1..=MAX_THREADS).contains(&self.threads) || self.threads > concurrency {
            format!("threads must be 1 to {MAX_THREADS} and no more than connections")
        } else if self.timeout.is_zero() {
            "the timeout must be longer than nothing".to_owned()
        } else if let Pace::Open { arrivals, .. } = self.pace
            && let Err(problem) = arrivals.check()
        {
            problem
        } else {
            match (self.workload, self.pace) {
                (workload, _) if !(0.0..=1.0).contains(&workload.resumed()) => {
                    "the share of resumed handshakes must be 0 to 1".to_owned()
                }
                (workload, _) if workload.resumed() > 0.0 && self.tls.is_none() => {
                    "only TLS sessions can be resumed".to_owned()
                }
                (Workload::Messages { size: 0, .. }, _) => {
                    "a message needs at least 1 byte".to_owned()
                }
                (Workload::Messages { per_connection_rate: Some(_), .. }, Pace::Open { .. }) => {
                    "an open loop sets the rate: no rate per connection".to_owned()
                }
                (Workload::Messages { per_connection_rate: Some(rate), .. }, _)
                    if !rate_is_good(rate) =>
                {
                    format!("the rate per connection must be above 0 and at most {MAX_RATE}")
                }
                (Workload::Idle { .. }, Pace::Open { .. }) => {
                    "idle connections are opened once: no open loop".to_owned()
                }
                _ => return Ok(()),
            }
        };
        Err(Error::Plan(problem))
    }
}
