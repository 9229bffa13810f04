//! How a connection ended: exactly one [`Outcome`] each, for the log, the metrics and the tests.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stale::StaleCause;
use crate::tls::lane::{Choice, Lane};
use crate::tls::trust::CertificateProblem;

/// Everything worth saying about a connection that has ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Index of the listener in the configuration the connection was admitted under.
    pub listener: usize,
    /// Peer address, `None` for unix sockets.
    pub peer: Option<(IpAddr, u16)>,
    /// Where it really is from, if a trusted peer has said so (PROXY protocol).
    pub source: Option<SocketAddr>,
    /// By which its component knows it (PROXY protocol 2), or a trusted peer does.
    pub unique_id: Option<Arc<str>>,
    /// How far it had come.
    pub stage: Stage,
    pub reason: Reason,
    /// Who caused the end.
    pub cause: Cause,
    /// Why it would not have been admitted any more, where that was found.
    pub stale: Option<StaleCause>,
    /// More about `reason`: an errno, an alert, what rustls said.
    pub detail: Option<Arc<str>>,
    /// Present once the handshake is done, where TLS ends here.
    pub tls: Option<TlsFacts>,
    /// What the peer has shown, where it was asked for a certificate.
    pub client: Option<Box<Client>>,
    /// How far the peer and we know each other, once that was clear.
    pub downstream_security: Option<Security>,
    /// Present once the handshake with the upstream is done, where its TLS ends here.
    pub upstream_tls: Option<UpstreamTls>,
    /// How far the upstream and we know each other, once there was one.
    pub upstream_security: Option<Security>,
    /// SNI as the peer sent it, present once the ClientHello was read.
    pub sni: Option<Arc<str>>,
    /// The lane of the peer and why it is that one; present once the ClientHello was read, where TLS
    /// ends here and a lane was open to it.
    pub lane: Option<Choice>,
    /// Fatal alert that we sent, by its RFC 8446 §6 number.
    pub alert_sent: Option<u8>,
    /// Fatal alert that we received.
    pub alert_received: Option<u8>,
    /// The same, between the upstream and us.
    pub upstream_alert_sent: Option<u8>,
    pub upstream_alert_received: Option<u8>,
    /// Index of the upstream endpoint in the route's list, once one was chosen.
    pub upstream: Option<usize>,
    pub bytes: ByteCounts,
    pub phases: PhaseTimes,
}

/// What the handshake agreed on.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// `"TLSv1.3"`, `"TLSv1.2"`, `"TLSv1.1"`, `"TLSv1"`.
    pub version: &'static str,
    /// IANA name, as in `TLS_AES_128_GCM_SHA256`.
    pub cipher_suite: &'static str,
    /// Key exchange group, as in `X25519`; none in a resumed TLS 1.2 handshake.
    pub group: Option<&'static str>,
    pub alpn: Option<Arc<str>>,
    pub resumed: bool,
}

/// A peer that was asked for a certificate.
#[derive(Clone, Debug)]
pub struct Client {
    pub shown: Shown,
    /// Of its certificate.
    pub subject: Option<Arc<str>>,
    pub serial: Option<Arc<str>>,
}

/// What it has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shown {
    Nothing,
    Verified,
    /// Let in because `client_cert` is `"report"`, or refused.
    Bad(CertificateProblem),
}

/// What the handshake with the upstream agreed on.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    pub facts: TlsFacts,
    pub lane: Lane,
    /// Of the server's certificate.
    pub subject: Option<Arc<str>>,
    pub serial: Option<Arc<str>>,
}

/// How far the two ends of one side know each other. Encryption alone is not security: who it is
/// encrypted to matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// No TLS.
    Plaintext,
    /// TLS in which nobody has verified anybody.
    Unauthenticated,
    /// TLS in which the server's certificate says who it is. Downstream, that is ours, and whether
    /// it is looked at is the peer's business.
    ServerAuthenticated,
    /// TLS in which both certificates do.
    Mutual,
    /// TLS between the peer and the component, which is relayed unread.
    Unread,
}

/// Bytes relayed; plaintext where TLS ends here.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByteCounts {
    /// Downstream to upstream.
    pub received: u64,
    /// Upstream to downstream.
    pub sent: u64,
}

/// How long each phase took; `None` for a phase that was not reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct PhaseTimes {
    /// Accept to the last byte of the ClientHello.
    pub hello: Option<Duration>,
    /// Last byte of the ClientHello to the end of the handshake.
    pub handshake: Option<Duration>,
    /// Dialling to connected.
    pub connect: Option<Duration>,
    /// Connected to the end of the handshake with the upstream.
    pub upstream_handshake: Option<Duration>,
    /// End of the handshake to the first byte from the upstream; from accept or from the ClientHello
    /// on where there is no handshake.
    pub first_byte: Option<Duration>,
    /// Accept to the end.
    pub lifetime: Duration,
}

/// Whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    Downstream,
    Upstream,
    /// A rule of the configuration: strict SNI, a limit.
    Policy,
    /// The gateway itself: drain, resource shortage.
    Local,
}

/// How far a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before the whole header of the PROXY protocol was there, where there has to be one.
    Proxy,
    /// Before the whole ClientHello was there.
    Hello,
    /// In the handshake, which includes waiting for the upstream to connect.
    Handshake,
    /// Handshake done or not needed, waiting for the upstream.
    Connecting,
    Relay,
}

/// Why a connection ended. Closed set: every value is a metric label and a word in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Both directions ended in order.
    Finished,
    /// The peer's TCP stream ended without close_notify (RFC 8446 §6.1).
    Truncated,
    /// RST, or another socket error, from the side that `cause` names.
    Reset,
    /// Neither side acknowledged or answered: keepalive or TCP_USER_TIMEOUT ran out.
    Vanished,
    IdleTimeout,
    HalfCloseTimeout,
    /// Not one of those that may say where connections are from.
    ProxyUntrusted,
    /// No header of the PROXY protocol, or none of a version that is read.
    ProxyMissing,
    ProxyMalformed,
    /// The peer left before its header was complete.
    ProxyEof,
    ProxyTimeout,
    /// The peer left before its ClientHello was complete.
    HelloEof,
    /// Not TLS, or a ClientHello that breaks RFC 8446 §4.1.2.
    HelloMalformed,
    /// ClientHello over 64 KiB.
    HelloTooLarge,
    /// Memory for unfinished ClientHellos was used up by the worker or by this source.
    HelloMemory,
    /// A ClientHello of SSL 2.
    Ssl2,
    /// SSL 3 at most.
    Ssl3,
    /// A ClientHello in the format of SSL 2, where no lane takes it.
    Sslv2Format,
    /// No version that both sides speak.
    VersionMismatch,
    /// Only the legacy lane would do, and is not for this source.
    LegacySource,
    /// Only the legacy lane would do, and its last day is over.
    LegacyOver,
    /// No cipher suite, group or signature scheme that both sides speak.
    NoSharedParameters,
    /// SNI that no certificate names, with `strict_sni`.
    UnrecognizedName,
    /// ALPN without a protocol in common.
    NoSharedAlpn,
    ClientCertificateMissing,
    ClientCertificateInvalid,
    /// The peer ended the handshake with a fatal alert.
    AlertReceived,
    /// The peer broke the protocol.
    ProtocolViolation,
    /// A record did not authenticate.
    BadRecord,
    /// The peer left in the middle of the handshake.
    HandshakeEof,
    HandshakeTimeout,
    /// Where plaintext and TLS are told apart by the first byte, none came.
    DetectTimeout,
    /// A rule of the listener turns this peer away.
    PolicyDenied,
    UpstreamRefused,
    UpstreamUnreachable,
    UpstreamTimeout,
    /// No descriptor or memory to dial the upstream with.
    UpstreamResources,
    /// No source address that has a port left towards the upstream, or none of this machine's.
    SourceExhausted,
    /// The client's port, which is to be kept, is in use towards the upstream.
    SourceCollision,
    /// The upstream left in the middle of its handshake.
    UpstreamHandshakeEof,
    /// Connected, and its handshake took longer than `timeouts.connect` leaves.
    UpstreamHandshakeTimeout,
    /// Its certificate is not one that `verify` takes.
    UpstreamCertificateInvalid,
    /// No version or parameters that the upstream and we both speak.
    UpstreamIncompatible,
    /// The upstream ended its TLS with a fatal alert.
    UpstreamAlert,
    /// The upstream broke the protocol, or a record of it did not authenticate.
    UpstreamProtocol,
    /// It would not be admitted any more (`revalidate`).
    NoLongerAdmitted,
    /// Its component would not be accepted any more (`revalidate`).
    UpstreamNoLongerTrusted,
    /// The child of the legacy lane is not there, or cannot be passed a socket.
    LegacyDown,
    /// The child of the legacy lane has as much as it may.
    LegacyBusy,
    /// The child of the legacy lane ended, and its connections with it.
    LegacyDied,
    /// There was more to do than could be done in time: `detail` says what gave way.
    Overloaded,
    /// `max_connections` was reached.
    ConnectionLimit,
    /// The drain deadline passed.
    Drained,
    /// Stopped at once (second TERM, or INT).
    Stopped,
    /// An operator had it end, by the control socket.
    Dismissed,
    /// A bug or a failing dependency of ours; `detail` says more.
    Internal,
}

impl Reason {
    /// Label value in metrics and word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Truncated => "truncated",
            Self::Reset => "reset",
            Self::Vanished => "vanished",
            Self::IdleTimeout => "idle_timeout",
            Self::HalfCloseTimeout => "half_close_timeout",
            Self::ProxyUntrusted => "proxy_untrusted",
            Self::ProxyMissing => "proxy_missing",
            Self::ProxyMalformed => "proxy_malformed",
            Self::ProxyEof => "proxy_eof",
            Self::ProxyTimeout => "proxy_timeout",
            Self::HelloEof => "hello_eof",
            Self::HelloMalformed => "hello_malformed",
            Self::HelloTooLarge => "hello_too_large",
            Self::HelloMemory => "hello_memory",
            Self::Ssl2 => "ssl2",
            Self::Ssl3 => "ssl3",
            Self::Sslv2Format => "sslv2_format",
            Self::VersionMismatch => "version_mismatch",
            Self::LegacySource => "legacy_source",
            Self::LegacyOver => "legacy_over",
            Self::NoSharedParameters => "no_shared_parameters",
            Self::UnrecognizedName => "unrecognized_name",
            Self::NoSharedAlpn => "no_shared_alpn",
            Self::ClientCertificateMissing => "client_certificate_missing",
            Self::ClientCertificateInvalid => "client_certificate_invalid",
            Self::AlertReceived => "alert_received",
            Self::ProtocolViolation => "protocol_violation",
            Self::BadRecord => "bad_record",
            Self::HandshakeEof => "handshake_eof",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::DetectTimeout => "detect_timeout",
            Self::PolicyDenied => "policy_denied",
            Self::UpstreamRefused => "upstream_refused",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamResources => "upstream_resources",
            Self::SourceExhausted => "source_exhausted",
            Self::SourceCollision => "source_collision",
            Self::UpstreamHandshakeEof => "upstream_handshake_eof",
            Self::UpstreamHandshakeTimeout => "upstream_handshake_timeout",
            Self::UpstreamCertificateInvalid => "upstream_certificate_invalid",
            Self::UpstreamIncompatible => "upstream_incompatible",
            Self::UpstreamAlert => "upstream_alert",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::NoLongerAdmitted => "no_longer_admitted",
            Self::UpstreamNoLongerTrusted => "upstream_no_longer_trusted",
            Self::LegacyDown => "legacy_down",
            Self::LegacyBusy => "legacy_busy",
            Self::LegacyDied => "legacy_died",
            Self::Overloaded => "overloaded",
            Self::ConnectionLimit => "connection_limit",
            Self::Drained => "drained",
            Self::Stopped => "stopped",
            Self::Dismissed => "dismissed",
            Self::Internal => "internal",
        }
    }

    /// Every reason, for tables and for showing counters that are still zero.
    pub const ALL: [Self; 56] = [
        Self::Finished,
        Self::Truncated,
        Self::Reset,
        Self::Vanished,
        Self::IdleTimeout,
        Self::HalfCloseTimeout,
        Self::ProxyUntrusted,
        Self::ProxyMissing,
        Self::ProxyMalformed,
        Self::ProxyEof,
        Self::ProxyTimeout,
        Self::HelloEof,
        Self::HelloMalformed,
        Self::HelloTooLarge,
        Self::HelloMemory,
        Self::Ssl2,
        Self::Ssl3,
        Self::Sslv2Format,
        Self::VersionMismatch,
        Self::LegacySource,
        Self::LegacyOver,
        Self::NoSharedParameters,
        Self::UnrecognizedName,
        Self::NoSharedAlpn,
        Self::ClientCertificateMissing,
        Self::ClientCertificateInvalid,
        Self::AlertReceived,
        Self::ProtocolViolation,
        Self::BadRecord,
        Self::HandshakeEof,
        Self::HandshakeTimeout,
        Self::DetectTimeout,
        Self::PolicyDenied,
        Self::UpstreamRefused,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamResources,
        Self::SourceExhausted,
        Self::SourceCollision,
        Self::UpstreamHandshakeEof,
        Self::UpstreamHandshakeTimeout,
        Self::UpstreamCertificateInvalid,
        Self::UpstreamIncompatible,
        Self::UpstreamAlert,
        Self::UpstreamProtocol,
        Self::NoLongerAdmitted,
        Self::UpstreamNoLongerTrusted,
        Self::LegacyDown,
        Self::LegacyBusy,
        Self::LegacyDied,
        Self::Overloaded,
        Self::ConnectionLimit,
        Self::Drained,
        Self::Stopped,
        Self::Dismissed,
        Self::Internal,
    ];

    /// The reason of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Which word the failure of a connected socket deserves.
    pub fn of_socket_error(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH) => Self::Vanished,
            _ => Self::Reset,
        }
    }

    /// Position in [`Reason::ALL`], for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Cause {
    pub const ALL: [Self; 4] = [Self::Downstream, Self::Upstream, Self::Policy, Self::Local];

    /// Label value in metrics and word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Policy => "policy",
            Self::Local => "local",
        }
    }
}

impl Shown {
    pub const COUNT: usize = 2 + CertificateProblem::ALL.len();

    /// All of them, each at its index.
    pub fn all() -> impl Iterator<Item = Self> {
        let bad = CertificateProblem::ALL.into_iter().map(Self::Bad);
        [Self::Nothing, Self::Verified].into_iter().chain(bad)
    }

    /// Position among [`Shown::all`].
    pub const fn index(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Verified => 1,
            Self::Bad(problem) => 2 + problem as usize,
        }
    }

    /// Label value in metrics and word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Verified => "verified",
            Self::Bad(problem) => problem.as_str(),
        }
    }
}

impl Security {
    /// Word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Unauthenticated => "unauthenticated",
            Self::ServerAuthenticated => "server",
            Self::Mutual => "mutual",
            Self::Unread => "unread",
        }
    }
}

impl Stage {
    /// Word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Hello => "hello",
            Self::Handshake => "handshake",
            Self::Connecting => "connecting",
            Self::Relay => "relay",
        }
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
