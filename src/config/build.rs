//! From checked sections to the model. `None` only where a problem was reported before.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::date::Date;
use super::lanes;
use super::levels;
use super::model::{
    AccessLog, Admin, Balance, BalanceSettings, CertificateFiles, ClientCert, Config, ConnectWhen,
    CrlDepth, CrlExpired, CrlPolicy, CrlRules, CrlUnknown, DownstreamTls, EngineChoice, Exception,
    Facility, Gateway, HandshakeLimits, HealthSettings, Keepalive, LineLimit, Listener, Log,
    LogFormat, LogLevel, Mode, NameMatch, ProxyIn, ProxyOut, ProxyVersions, RecordLayer,
    Resumption, ResumptionMode, Revalidate, Rule, Sni, SourceSettings, Timeouts, TlsVersion,
    TrustFile, UpstreamTls, Verify,
};
use super::read::Section;
use super::value::{FromValue, Value};
use crate::policy::rules::RuleSpec;

/// The whole file, with what there is to tell about it.
pub(super) fn config(root: &Section, notes: Vec<String>) -> Option<Config> {
    Some(Config {
        notes,
        gateway: gateway(root.child("gateway")?, root.child("handshakes")?)?,
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
        let tls = tls(side(listener, "tls")?)?;
        let has_cas = tls.client_cert == ClientCert::None || !tls.trusted_ca.is_empty();
        has_cas.then(|| (listener.get("name").unwrap_or_default(), tls))
    };
    root.children("listener").iter().filter_map(section).collect()
}

fn gateway(section: &Section, limits: &Section) -> Option<Gateway> {
    let hello_memory = section.get("hello_memory")?;
    let per_source: usize = section.get("hello_memory_per_source")?;
    Some(Gateway {
        workers: section.get("workers")?,
        engine: section.get("engine")?,
        max_connections: section.get("max_connections")?,
        drain_timeout: section.get("drain_timeout")?,
        certificate_watch: section.get("certificate_watch")?,
        crl_watch: section.get("crl_watch")?,
        restart_timeout: section.get("restart_timeout")?,
        buffer_memory: section.get("buffer_memory")?,
        record_layer: section.get("record_layer")?,
        sandbox: section.get::<&str>("sandbox")? == "on",
        hello_memory,
        // Bites where the default meets a small hello_memory: the file cannot ask for more.
        hello_memory_per_source: per_source.min(hello_memory),
        handshakes: handshakes(limits)?,
    })
}

fn handshakes(section: &Section) -> Option<HandshakeLimits> {
    Some(HandshakeLimits {
        in_progress: section.get("in_progress")?,
        queue_timeout: section.get("queue_timeout")?,
        source_failures: section.get("source_failures")?,
        legacy_in_progress: section.get("legacy_in_progress")?,
        legacy_rate: section.get("legacy_rate")?,
    })
}

fn admin(section: &Section) -> Option<Admin> {
    Some(Admin {
        listen: section.get("listen")?,
        control: section.get("control")?,
        control_group: section.get("control_group"),
        control_operators: section.get("control_operators")?,
        control_admins: section.get("control_admins")?,
    })
}

fn log(section: &Section) -> Option<Log> {
    Some(Log {
        level: section.get("level")?,
        format: section.get("format")?,
        access: access_log(section)?,
    })
}

fn access_log(section: &Section) -> Option<AccessLog> {
    let rate: Option<u32> = section.get("access_rate")?;
    let burst: Option<u32> = section.get("access_burst");
    let limit = |per_second| LineLimit { per_second, burst: burst.unwrap_or(per_second) };
    Some(AccessLog {
        to: section.get("access")?,
        line: line_of(section, "access"),
        facility: Facility::named(section.get("access_facility")?)?,
        name: section.get("access_name")?,
        sample: section.get("access_sample")?,
        limit: rate.map(limit),
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
    let mode = section.get("mode")?;
    let mut tls = match side(section, "tls") {
        Some(tls) => Some(self::tls(tls)?),
        None => None,
    };
    let mut upstream_tls = match side(section, "upstream_tls") {
        Some(tls) => Some(self::upstream_tls(tls)?),
        None => None,
    };
    if matches!(mode, Mode::PairEntry | Mode::PairExit) {
        // Both ends are gateways.
        tls.iter_mut().for_each(|tls| tls.min_version = TlsVersion::V1_3);
        upstream_tls.iter_mut().for_each(|tls| tls.min_version = TlsVersion::V1_3);
    }
    let says_when = section.place_of("connect").is_some();
    let rules: Vec<Rule> = section
        .children("rule")
        .iter()
        .enumerate()
        .map(|one| rule(one, section, says_when))
        .collect::<Option<_>>()?;
    let asks_who = rules.iter().any(|rule| !rule.spec.client.is_empty());
    let connect = match section.get("connect")? {
        // Nobody without a certificate reaches the component, unless the file asks for it.
        _ if (insists(tls.as_ref()) || asks_who) && !says_when => ConnectWhen::AfterHandshake,
        connect => connect,
    };
    let source = SourceSettings::of(&section.get::<Vec<_>>("upstream_source")?);
    Some(Listener {
        name: section.get("name")?,
        mode,
        listen: section.get("listen")?,
        listen_line: line_of(section, "listen"),
        backlog: section.get("backlog")?,
        proxy_in: proxy_in(section),
        upstreams: section.get("upstream")?,
        upstream_line: line_of(section, "upstream"),
        backups: section.get("backup").unwrap_or_default(),
        source_line: if source == SourceSettings::Any {
            0
        } else {
            line_of(section, "upstream_source")
        },
        source,
        balance: balance(section.child("balance")?)?,
        checks: checks(section.child("checks")?)?,
        resolve_interval: section.get("resolve_interval")?,
        connect,
        proxy_out: proxy_out(section.get("proxy_out"), section)?,
        tls,
        upstream_tls,
        exceptions: exceptions(section),
        rules,
        timeouts: timeouts(section.child("timeouts")?)?,
        keepalive: keepalive(section.child("keepalive")?)?,
    })
}

/// The header that connections begin with.
fn proxy_in(section: &Section) -> Option<ProxyIn> {
    let trusted = section.get("proxy_trusted")?;
    Some(ProxyIn { versions: section.get("proxy_in")?, trusted })
}

/// The header that components are sent: the word says which one, the listener what is in it. The inner
/// `None` is no header.
fn proxy_out(word: Option<&str>, listener: &Section) -> Option<Option<ProxyOut>> {
    let client_cert = listener.get("proxy_out_client_cert")?;
    let checksum = listener.get("proxy_out_checksum")?;
    Some(match word? {
        "v1" => Some(ProxyOut::One),
        "v2" => Some(ProxyOut::Two { client_cert, checksum }),
        _ => None,
    })
}

/// The section of a side that speaks TLS.
fn side<'a>(listener: &'a Section, key: &str) -> Option<&'a Section> {
    let speaks = levels::sides(listener).into_iter().any(|side| side == key);
    listener.child(key).filter(|_| speaks)
}

/// Whether peers without a certificate are nobody.
fn insists(tls: Option<&DownstreamTls>) -> bool {
    tls.is_some_and(|tls| tls.client_cert == ClientCert::Required)
}

/// The rule at a position of its listener, which `says_when` it dials or leaves that to us.
fn rule(
    (position, section): (usize, &Section),
    listener: &Section,
    says_when: bool,
) -> Option<Rule> {
    let own = |key| section.child(key).filter(|side: &&Section| side.is_written);
    let tls = match own("tls") {
        Some(side) => Some(tls(side)?),
        None => None,
    };
    let upstream_tls = match own("upstream_tls") {
        Some(side) => Some(upstream_tls(side)?),
        None => None,
    };
    let alpn: Vec<String> = section.get("alpn").unwrap_or_default();
    Some(Rule {
        spec: RuleSpec {
            name: section.get("name")?,
            line: u32::try_from(line_of(section, "name")).unwrap_or(u32::MAX),
            source: section.get("source").unwrap_or_default(),
            sni: section.get("sni").unwrap_or_default(),
            alpn: alpn.into_iter().map(String::into_bytes).collect(),
            versions: section.get("offers").unwrap_or_default(),
            client: section.get("client").unwrap_or_default(),
            outcome: u32::try_from(position).ok()?,
        },
        denies: section.get::<&str>("action") == Some("deny"),
        waits: !says_when && insists(tls.as_ref()),
        upstreams: section.get("upstream"),
        upstream_line: line_of(section, "upstream"),
        proxy_out: proxy_out(section.get("proxy_out"), listener),
        source: section.get::<Vec<_>>("upstream_source").map(|words| SourceSettings::of(&words)),
        source_line: line_of(section, "upstream_source"),
        tls,
        upstream_tls,
    })
}

/// Everything about a listener that has a last day.
fn exceptions(listener: &Section) -> Vec<Exception> {
    let exception = |section: &Section, key, until: Option<Date>| {
        until.map(|until| Exception {
            key: section.path_of(key),
            until,
            line: line_of(section, key),
        })
    };
    let own = exception(listener, "autodetect_until", listener.get("autodetect_until"));
    let mut all: Vec<Exception> = own.into_iter().collect();
    let rules = listener.children("rule").iter();
    let sections = [(side(listener, "tls"), side(listener, "upstream_tls"))].into_iter();
    let of_rules = rules.map(|rule| (rule.child("tls"), rule.child("upstream_tls")));
    // One that a lower level has done away with ends nothing.
    let is_weak = |side: &&Section, key, words: &[&str]| {
        side.get::<&str>(key).is_some_and(|word| words.contains(&word))
    };
    for (tls, upstream_tls) in sections.chain(of_rules) {
        let legacy = [tls, upstream_tls].into_iter().flatten();
        let legacy = legacy.filter(|side| is_weak(side, "lane", &["legacy"]));
        all.extend(
            legacy.filter_map(|tls| exception(tls, "legacy_until", tls.get("legacy_until"))),
        );
        let tls = tls.filter(|side| is_weak(side, "client_cert", &["report", "optional"]));
        let upstream_tls = upstream_tls.filter(|side| is_weak(side, "verify", &["none", "chain"]));
        all.extend(
            tls.and_then(|tls| exception(tls, "client_cert_until", tls.get("client_cert_until"))),
        );
        all.extend(
            upstream_tls.and_then(|tls| exception(tls, "verify_until", tls.get("verify_until"))),
        );
    }
    // What a rule has from its listener is told once.
    let mut told = BTreeSet::new();
    all.retain(|one| told.insert((one.line, one.key.clone())));
    all
}

fn upstream_tls(section: &Section) -> Option<UpstreamTls> {
    let certificate = match section.sets("certificate") {
        true => Some(certificate_files(section)?),
        false => None,
    };
    let sni: Option<Option<String>> = section.get("sni");
    Some(UpstreamTls {
        trusted_ca: files(section, "trusted_ca", section.get("trusted_ca")),
        crls: crls(section)?,
        verify: section.get("verify")?,
        pins: section.get("pins").unwrap_or_default(),
        server_name: section.get("server_name"),
        server_name_line: line_of(section, "server_name"),
        sni: match sni {
            None => Sni::Checked,
            Some(None) => Sni::Off,
            Some(Some(name)) => Sni::Name(name),
        },
        sni_line: line_of(section, "sni"),
        name_match: section.get("name_match")?,
        certificate,
        key_group: section.get("key_group"),
        key_group_line: line_of(section, "key_group"),
        alpn: section.get("alpn")?,
        min_version: section.get("min_version")?,
        max_version: section.get("max_version")?,
        ciphers: section.get("ciphers")?,
        revalidate: section.get("revalidate")?,
        resumption: section.get("resumption")?,
        compat12: lanes::compat12(section),
        legacy: lanes::legacy(section),
    })
}

fn tls(section: &Section) -> Option<DownstreamTls> {
    let several = section.children("certificates");
    let own = if section.sets("certificate") { std::slice::from_ref(section) } else { &[] };
    let certificates = if several.is_empty() { own } else { several };
    if certificates.is_empty() && !lanes::is_without_modern(section) {
        return None;
    }
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
        ciphers: section.get("ciphers")?,
        client_cert: section.get("client_cert")?,
        trusted_ca: files(section, "trusted_ca", section.get("trusted_ca")),
        crls: crls(section)?,
        revalidate: section.get("revalidate")?,
        resumption,
        tls13_tickets: if resumption == ResumptionMode::Off { 0 } else { tickets },
        compat12: lanes::compat12(section),
        legacy: lanes::legacy(section),
    })
}

fn certificate_files(section: &Section) -> Option<CertificateFiles> {
    Some(CertificateFiles {
        certificate: section.get("certificate")?,
        certificate_key: section.get("certificate_key")?,
        certificate_line: line_of(section, "certificate"),
        certificate_key_line: line_of(section, "certificate_key"),
        ocsp_file: section.get("ocsp_file"),
        ocsp_file_line: line_of(section, "ocsp_file"),
    })
}

/// The CRLs of either side.
fn crls(section: &Section) -> Option<CrlPolicy> {
    Some(CrlPolicy {
        files: files(section, "crl_files", section.get("crl_files")),
        rules: CrlRules {
            unknown: section.get("crl_unknown")?,
            expired: section.get("crl_expired")?,
            depth: section.get("crl_depth")?,
        },
    })
}

/// Files that the value of `key` names.
fn files(section: &Section, key: &str, paths: Option<Vec<PathBuf>>) -> Vec<TrustFile> {
    let line = line_of(section, key);
    paths.into_iter().flatten().map(|path| TrustFile { path, line }).collect()
}

/// Where the file says `key`, for errors found when the value is used; 0 where it does not.
pub(super) fn line_of(section: &Section, key: &str) -> usize {
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

fn balance(section: &Section) -> Option<BalanceSettings> {
    let eject_time: Duration = section.get("eject_time")?;
    let eject_max: Duration = section.get("eject_max")?;
    Some(BalanceSettings {
        policy: section.get("policy")?,
        eject_after: section.get("eject_after")?,
        eject_time,
        // Bites where the default meets a long eject_time.
        eject_max: eject_max.max(eject_time),
    })
}

/// The inner `None` is not to check.
fn checks(section: &Section) -> Option<Option<HealthSettings>> {
    let interval: Option<Duration> = section.get("interval")?;
    let (timeout, rise, fall) =
        (section.get("timeout")?, section.get("rise")?, section.get("fall")?);
    let tls = section.get::<&str>("probe")? == "tls";
    Some(interval.map(|interval| HealthSettings { interval, timeout, rise, fall, tls }))
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
    RecordLayer { "own" => Own, "rustls" => Rustls }
    LogLevel { "error" => Error, "warn" => Warn, "info" => Info, "debug" => Debug }
    LogFormat { "text" => Text, "json" => Json }
    ConnectWhen { "after_hello" => AfterHello, "after_handshake" => AfterHandshake }
    Balance {
        "round_robin" => RoundRobin,
        "least_connections" => LeastConnections,
        "power_of_two" => PowerOfTwo,
        "source_hash" => SourceHash,
    }
    Mode {
        "terminate" => Terminate,
        "originate" => Originate,
        "bridge" => Bridge,
        "passthrough" => Passthrough,
        "autodetect" => Autodetect,
        "pair_entry" => PairEntry,
        "pair_exit" => PairExit,
    }
    ClientCert {
        "none" => None,
        "optional" => Optional,
        "required" => Required,
        "report" => Report,
    }
    Verify { "full" => Full, "chain" => Chain, "pin" => Pin, "none" => None }
    ProxyVersions { "v1" => One, "v2" => Two, "any" => Any }
    CrlUnknown { "deny" => Deny, "allow" => Allow }
    CrlExpired { "reject" => Reject, "accept" => Accept }
    CrlDepth { "chain" => Chain, "leaf" => Leaf }
    Revalidate { "keep" => Keep, "drain" => Drain, "close" => Close }
    NameMatch { "san" => San, "san_or_cn" => SanOrCn }
    ResumptionMode { "tickets" => Tickets, "store" => Store, "off" => Off }
}
