//! From checked sections to the model. `None` only where a problem was reported before.

use std::time::Duration;

use super::model::{
    Admin, CertificateFiles, ClientCert, Config, ConnectWhen, DownstreamTls, EngineChoice, Gateway,
    Keepalive, Listener, Log, LogFormat, LogLevel, Resumption, ResumptionMode, Timeouts,
};
use super::read::Section;
use super::value::{FromValue, Value};

/// The whole file.
pub(super) fn config(root: &Section) -> Option<Config> {
    Some(Config {
        gateway: gateway(root.child("gateway")?)?,
        admin: admin(root.child("admin")?)?,
        log: log(root.child("log")?)?,
        resumption: resumption(root.child("resumption")?)?,
        listeners: root.children("listener").iter().map(listener).collect::<Option<_>>()?,
    })
}

/// The resumption section, if it can be built.
pub(super) fn resumption_section(root: &Section) -> Option<Resumption> {
    resumption(root.child("resumption")?)
}

/// The TLS sections that can be built, with their listeners' names. One that asks for client
/// certificates and names no CAs was told so, and there is no file to look into.
pub(super) fn tls_sections(root: &Section) -> Vec<(String, DownstreamTls)> {
    let section = |listener: &Section| {
        let tls = tls(listener.child("tls")?)?;
        let has_cas = tls.client_cert == ClientCert::None || tls.trusted_ca.is_some();
        has_cas.then(|| (listener.get("name").unwrap_or_default(), tls))
    };
    root.children("listener").iter().filter_map(section).collect()
}

fn gateway(section: &Section) -> Option<Gateway> {
    let hello_memory = section.get("hello_memory")?;
    let per_source: usize = section.get("hello_memory_per_source")?;
    Some(Gateway {
        workers: section.get("workers")?,
        engine: section.get("engine")?,
        max_connections: section.get("max_connections")?,
        drain_timeout: section.get("drain_timeout")?,
        certificate_watch: section.get("certificate_watch")?,
        restart_timeout: section.get("restart_timeout")?,
        buffer_memory: section.get("buffer_memory")?,
        hello_memory,
        // Bites where the default meets a small hello_memory: the file cannot ask for more.
        hello_memory_per_source: per_source.min(hello_memory),
    })
}

fn admin(section: &Section) -> Option<Admin> {
    Some(Admin { listen: section.get("listen")?, control: section.get("control")? })
}

fn log(section: &Section) -> Option<Log> {
    Some(Log {
        level: section.get("level")?,
        format: section.get("format")?,
        access: section.get("access")?,
        access_line: line_of(section, "access"),
    })
}

fn resumption(section: &Section) -> Option<Resumption> {
    Some(Resumption {
        max_entries: section.get("max_entries")?,
        max_bytes: section.get("max_bytes")?,
        lifetime: section.get("lifetime")?,
        ticket_secret: section.get("ticket_secret"),
        ticket_secret_line: line_of(section, "ticket_secret"),
    })
}

fn listener(section: &Section) -> Option<Listener> {
    let tls = tls(section.child("tls")?)?;
    let says_when = section.place_of("connect").is_some();
    let connect = match tls.client_cert {
        // Nobody without a certificate reaches the component, unless the file asks for it.
        ClientCert::Required if !says_when => ConnectWhen::AfterHandshake,
        _ => section.get("connect")?,
    };
    Some(Listener {
        name: section.get("name")?,
        listen: section.get("listen")?,
        listen_line: line_of(section, "listen"),
        backlog: section.get("backlog")?,
        upstreams: section.get("upstream")?,
        upstream_line: line_of(section, "upstream"),
        connect,
        tls,
        timeouts: timeouts(section.child("timeouts")?)?,
        keepalive: keepalive(section.child("keepalive")?)?,
    })
}

fn tls(section: &Section) -> Option<DownstreamTls> {
    let several = section.children("certificates");
    let certificates = if several.is_empty() { std::slice::from_ref(section) } else { several };
    let resumption = section.get("resumption")?;
    let tickets = section.get("tls13_tickets")?;
    Some(DownstreamTls {
        certificates: certificates.iter().map(certificate_files).collect::<Option<_>>()?,
        key_group: section.get("key_group"),
        key_group_line: line_of(section, "key_group"),
        strict_sni: section.get("strict_sni")?,
        alpn: section.get("alpn")?,
        min_version: section.get("min_version")?,
        max_version: section.get("max_version")?,
        client_cert: section.get("client_cert")?,
        trusted_ca: section.get("trusted_ca"),
        trusted_ca_line: line_of(section, "trusted_ca"),
        resumption,
        tls13_tickets: if resumption == ResumptionMode::Off { 0 } else { tickets },
    })
}

fn certificate_files(section: &Section) -> Option<CertificateFiles> {
    Some(CertificateFiles {
        certificate: section.get("certificate")?,
        certificate_key: section.get("certificate_key")?,
        certificate_line: line_of(section, "certificate"),
        certificate_key_line: line_of(section, "certificate_key"),
        ocsp_file: None,
        ocsp_file_line: 0,
    })
}

/// Where the file says `key`, for errors found when the value is used; 0 where it does not.
fn line_of(section: &Section, key: &str) -> usize {
    section.place_of(key).map_or(0, |place| place.line)
}

fn timeouts(section: &Section) -> Option<Timeouts> {
    Some(Timeouts {
        handshake: section.get("handshake")?,
        connect: section.get("connect")?,
        half_close: section.get("half_close")?,
        idle: section.get("idle")?,
    })
}

fn keepalive(section: &Section) -> Option<Keepalive> {
    let user_timeout: Option<Duration> = section.get("user_timeout")?;
    Some(Keepalive {
        idle: section.get("idle")?,
        interval: section.get("interval")?,
        probes: section.get("probes")?,
        user_timeout: user_timeout.unwrap_or_default(),
    })
}

/// The model's variant for each word of an option.
macro_rules! words {
    ($($model:ident { $($word:literal => $variant:ident),* $(,)? })*) => {
        $(impl FromValue for $model {
            fn from_value(value: &Value) -> Option<Self> {
                match <&str>::from_value(value)? {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        })*
    };
}

words! {
    EngineChoice { "auto" => Auto, "io_uring" => Uring, "epoll" => Epoll }
    LogLevel { "error" => Error, "warn" => Warn, "info" => Info, "debug" => Debug }
    LogFormat { "text" => Text, "json" => Json }
    ConnectWhen { "after_hello" => AfterHello, "after_handshake" => AfterHandshake }
    ClientCert { "none" => None, "optional" => Optional, "required" => Required }
    ResumptionMode { "tickets" => Tickets, "store" => Store, "off" => Off }
}
