//! The configuration as the gateway uses it: every value present, valid by type.

mod lanes;
mod log;
mod proxy;
mod timing;
mod trust;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use super::date::Date;
use crate::policy::rules::RuleSpec;
pub use lanes::{Compat12, KeyExchange, Legacy, WEAK_SUITES, WeakSuite};
pub use log::{AccessLog, Destination, Facility, LineLimit, Log, LogFormat, LogLevel};
pub use proxy::{ProxyIn, ProxyOut, ProxyVersions};
pub use timing::{Keepalive, Timeouts};
pub use trust::{CrlDepth, CrlExpired, CrlPolicy, CrlRules, CrlUnknown, Revalidate};
pub use upstream::{
    Balance, BalanceSettings, Endpoint, HealthSettings, MAX_WEIGHT, SourceSettings, SourceWord,
    Upstream,
};

/// Everything `tlsgate.toml` says, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub gateway: Gateway,
    pub admin: Admin,
    pub log: Log,
    pub resumption: Resumption,
    pub listeners: Vec<Listener>,
    /// What is to be known about it, with places: nothing that it does.
    pub notes: Vec<String>,
}

/// `[gateway]`: what holds for the whole process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Pinned worker threads; `None` is one per CPU that affinity mask and cgroup quota allow.
    pub workers: Option<u16>,
    pub engine: EngineChoice,
    /// Connections over all workers; `None` is derived from the descriptor limit.
    pub max_connections: Option<u32>,
    /// How long TERM waits for connections to end by themselves.
    pub drain_timeout: Duration,
    /// How often certificates' files are looked at; `None` is never.
    pub certificate_watch: Option<Duration>,
    /// How often CRL files are looked at; `None` is as often as those of certificates.
    pub crl_watch: Option<Duration>,
    /// How long a new process may take to be ready.
    pub restart_timeout: Duration,
    /// Bytes of receive and send buffers in use per worker; receiving pauses above it.
    pub buffer_memory: usize,
    pub record_layer: RecordLayer,
    /// Whether the process gives up what it does not need.
    pub sandbox: bool,
    /// Bytes of unfinished ClientHellos per worker.
    pub hello_memory: usize,
    /// Bytes of unfinished ClientHellos per source address and worker.
    pub hello_memory_per_source: usize,
    pub handshakes: HandshakeLimits,
}

/// `[handshakes]`: how many there may be, for each worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// From the complete ClientHello on.
    pub in_progress: u32,
    /// How long a ClientHello may wait for its turn.
    pub queue_timeout: Duration,
    /// Failures in a row after which a source stays away; `None` is never.
    pub source_failures: Option<u32>,
    /// Of `in_progress`, in the legacy lane.
    pub legacy_in_progress: u32,
    /// Of the legacy lane, those that begin in a second at most; `None` is as many as come.
    pub legacy_rate: Option<u32>,
}

/// Which I/O engine moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// io_uring where it works, else epoll; the reason is logged.
    Auto,
    Uring,
    Epoll,
}

/// What encrypts and decrypts records in the modern lane, once rustls has shaken hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordLayer {
    /// `tls::record`, in place.
    #[default]
    Own,
    Rustls,
}

/// `[admin]`: health, metrics and status over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `None` turns the admin port off (`listen = "off"`).
    pub listen: Option<SocketAddr>,
    /// Path of the control socket; `None` is none (`control = "off"`).
    pub control: Option<PathBuf>,
    /// Whose members may look there, by name or number; `None` is the group of the process.
    pub control_group: Option<String>,
    /// Who may do more: users by name or number, and groups as `group:NAME`.
    pub control_operators: Vec<String>,
    pub control_admins: Vec<String>,
}

/// `[resumption]`: the session store and the ticket keys, shared by all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    pub max_entries: usize,
    pub max_bytes: usize,
    /// How long a session may be resumed after it was made.
    pub lifetime: Duration,
    /// File of the secrets that ticket keys are derived from; `None` is random ones.
    pub ticket_secret: Option<PathBuf>,
    /// 1-based line that names it; 0 where there is none.
    pub ticket_secret_line: usize,
}

/// One `[[listener]]`: an address, what is spoken on either side, and where its connections go.
/// What higher levels say of it is in it already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Unique; names the listener in logs and metrics.
    pub name: String,
    pub mode: Mode,
    pub listen: ListenAddress,
    /// 1-based line that names it.
    pub listen_line: usize,
    /// Accept queue length per worker (the kernel caps it at net.core.somaxconn).
    pub backlog: u32,
    /// `None` is no header.
    pub proxy_in: Option<ProxyIn>,
    /// Tried in turn; at least one.
    pub upstreams: Vec<Upstream>,
    /// 1-based line that names them.
    pub upstream_line: usize,
    /// For when all of `upstreams` are down.
    pub backups: Vec<Upstream>,
    pub source: SourceSettings,
    /// 1-based line that says so; 0 where it is any.
    pub source_line: usize,
    pub balance: BalanceSettings,
    /// `None` is not to check.
    pub checks: Option<HealthSettings>,
    /// Time between two look-ups of a name; `None` is at load only.
    pub resolve_interval: Option<Duration>,
    pub connect: ConnectWhen,
    /// `None` is no header.
    pub proxy_out: Option<ProxyOut>,
    /// Present where TLS with peers may end here.
    pub tls: Option<DownstreamTls>,
    /// Present where the component is spoken to in TLS.
    pub upstream_tls: Option<UpstreamTls>,
    /// What holds up to a day only.
    pub exceptions: Vec<Exception>,
    pub rules: Vec<Rule>,
    pub timeouts: Timeouts,
    pub keepalive: Keepalive,
}

/// One `[[listener.rule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name, line and conditions; its outcome is the rule's position among those of its listener.
    pub spec: RuleSpec,
    pub denies: bool,
    /// Nothing is dialled before the handshake, which demands a certificate.
    pub waits: bool,
    /// Instead of the listener's.
    pub upstreams: Option<Vec<Upstream>>,
    /// 1-based line that names them; 0 without.
    pub upstream_line: usize,
    /// What its own upstreams are told, if not what the listener's are; the inner `None` is nothing.
    pub proxy_out: Option<Option<ProxyOut>>,
    /// Where its own upstreams are dialled from, if not from where the listener's are.
    pub source: Option<SourceSettings>,
    /// 1-based line that says so; 0 without.
    pub source_line: usize,
    /// Instead of the listener's, where the rule says anything about this side.
    pub tls: Option<DownstreamTls>,
    pub upstream_tls: Option<UpstreamTls>,
}

/// What is spoken on the two sides of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Terminate,
    Originate,
    Bridge,
    Passthrough,
    Autodetect,
    PairEntry,
    PairExit,
}

/// Something less than secure that holds up to a day, that day included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Path of the option, such as `listener[sip].upstream_tls.verify_until`.
    pub key: String,
    pub until: Date,
    /// 1-based line that says so.
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `"0.0.0.0:5061"`, `"[::]:5061"`.
    Tcp(SocketAddr),
    /// `"unix:/run/tlsgate.sock"`.
    Unix(PathBuf),
    /// `"fd:3"`: a listening socket inherited at start.
    Inherited(i32),
    /// `"systemd:name"`: every listening socket that systemd passed under that name.
    Activated(String),
}

/// When the upstream is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectWhen {
    /// While the handshake runs; the server flight is held until the upstream is connected.
    AfterHello,
    /// When the handshake is done (default where a client certificate is required).
    AfterHandshake,
}

/// `[listener.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownstreamTls {
    /// The first is the default for unknown or absent SNI. None only where `max_version` is below
    /// TLS 1.2, so that there is no modern lane.
    pub certificates: Vec<CertificateFiles>,
    /// Group that may read private keys besides their owner.
    pub key_group: Option<String>,
    /// 1-based line that names it; 0 without one.
    pub key_group_line: usize,
    /// Refuse SNI that no certificate names (alert unrecognized_name, RFC 6066 §3).
    pub strict_sni: bool,
    /// Protocols offered by ALPN, most preferred first; empty is no ALPN.
    pub alpn: Vec<String>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    /// IANA names, most preferred first; empty is all suites.
    pub ciphers: Vec<&'static str>,
    pub client_cert: ClientCert,
    /// CAs that client certificates must chain to; at least one unless `client_cert` is `None`.
    pub trusted_ca: Vec<TrustFile>,
    pub crls: CrlPolicy,
    pub revalidate: Revalidate,
    pub resumption: ResumptionMode,
    /// Tickets sent after a TLS 1.3 handshake, 0 to 4.
    pub tls13_tickets: u8,
    /// `None` is no such lane.
    pub compat12: Option<Compat12>,
    /// `None` is no such lane; `min_version` is 1.2 or newer without it.
    pub legacy: Option<Legacy>,
}

/// `[listener.upstream_tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// CAs that the component's certificate must chain to; at least one where `verify` needs them.
    pub trusted_ca: Vec<TrustFile>,
    pub crls: CrlPolicy,
    pub verify: Verify,
    /// SHA-256 of public keys; not empty where `verify` is [`Verify::Pin`].
    pub pins: Vec<[u8; 32]>,
    /// The name or address to check instead of the endpoint's host.
    pub server_name: Option<String>,
    /// 1-based line that names it; 0 without one.
    pub server_name_line: usize,
    pub sni: Sni,
    /// 1-based line that names it; 0 without one.
    pub sni_line: usize,
    pub name_match: NameMatch,
    /// Shown to a component that asks for one.
    pub certificate: Option<CertificateFiles>,
    /// Group that may read the private key besides its owner.
    pub key_group: Option<String>,
    /// 1-based line that names it; 0 without one.
    pub key_group_line: usize,
    /// Protocols offered by ALPN, most preferred first; empty is no ALPN.
    pub alpn: Vec<String>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    /// IANA names, most preferred first; empty is all suites.
    pub ciphers: Vec<&'static str>,
    pub revalidate: Revalidate,
    pub resumption: bool,
    /// `None` is no such lane. With both weak lanes, connections take the legacy one.
    pub compat12: Option<Compat12>,
    /// `None` is no such lane; `min_version` is 1.2 or newer without it.
    pub legacy: Option<Legacy>,
}

/// Which SNI a component is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sni {
    /// The name that is checked.
    Checked,
    Off,
    Name(String),
}

/// Files of one certificate, with the line that named them (for errors found when reading them).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub certificate_key: PathBuf,
    /// 1-based line of each key in the configuration file.
    pub certificate_line: usize,
    pub certificate_key_line: usize,
    /// OCSP response in DER to send along.
    pub ocsp_file: Option<PathBuf>,
    /// 1-based line that names it; 0 without one.
    pub ocsp_file_line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    V1_0,
    V1_1,
    V1_2,
    V1_3,
}

impl TlsVersion {
    pub const ALL: [Self; 4] = [Self::V1_0, Self::V1_1, Self::V1_2, Self::V1_3];

    /// As in the protocol (RFC 8446 §4.2.1).
    pub const fn code(self) -> u16 {
        match self {
            Self::V1_0 => 0x0301,
            Self::V1_1 => 0x0302,
            Self::V1_2 => 0x0303,
            Self::V1_3 => 0x0304,
        }
    }

    /// Word in the log and in PROXY headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "TLSv1",
            Self::V1_1 => "TLSv1.1",
            Self::V1_2 => "TLSv1.2",
            Self::V1_3 => "TLSv1.3",
        }
    }
}

/// How a peer may come back without a full handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumptionMode {
    /// Tickets that carry the session, encrypted (RFC 5077, RFC 8446 §4.6.1); session ids besides.
    Tickets,
    /// Session ids and TLS 1.3 tickets that name an entry of the session store.
    Store,
    Off,
}

/// A file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustFile {
    pub path: PathBuf,
    /// 1-based line that names it; 0 where that is not known.
    pub line: usize,
}

/// `client_cert`: what is asked of peers that connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientCert {
    /// No certificate is asked for.
    None,
    /// None is good, a bad one is not.
    Optional,
    Required,
    /// Asked for, judged, recorded, and then accepted whatever it is. Authorizes nothing.
    Report,
}

/// `verify`: what a component must show. Handshake signatures are checked with each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verify {
    /// A chain to a trusted CA, and the right name.
    Full,
    /// A chain to a trusted CA; any of its certificates will do for any host.
    Chain,
    /// One of the pinned keys, with whatever certificate: neither chain nor name nor dates count.
    Pin,
    /// Nothing: encrypted, with somebody.
    None,
}

/// `name_match`: where a certificate's name may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameMatch {
    /// In the subject alternative names (RFC 9525).
    San,
    /// Or, in a certificate without DNS names there, in the common name (RFC 6125 §6.4.4).
    SanOrCn,
}
