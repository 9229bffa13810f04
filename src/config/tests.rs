//! Whole files: what they mean. What the gateway says about mistakes is in `tests/mistakes`.

mod everything;

use std::sync::LazyLock;
use std::time::Duration;

use toml::de::DeValue;

use super::model::*;
use super::options::{Kind, TABLES, options};
use super::*;
use everything::{
    everything_admin, everything_gateway, everything_log, everything_tls, everything_upstream,
};

mod hostile;
mod lanes;
mod vendor;

const LISTENER: &str = "\
[[listener]]
name = \"sip\"
listen = \"0.0.0.0:5061\"
upstream = \"127.0.0.1:5060\"
[listener.tls]
certificate = \"sip.pem\"
certificate_key = \"sip.key\"
";

/// Every option set, none to its default.
const EVERYTHING: &str = r#"[gateway]
workers = 4
engine = "io_uring"
sqpoll = "20ms"
sqpoll_cpus = [2, 3]
busy_poll = 50
max_connections = 50_000
drain_timeout = "0s"
certificate_watch = "1m"
crl_watch = "off"
restart_timeout = "10s"
buffer_memory = 0x1000_0000
record_layer = "rustls"
sandbox = "off"
hello_memory = "128KiB"
hello_memory_per_source = "64KiB"
[admin]
listen = "off"
control = "control.sock"
control_group = "adm"
control_operators = "group:ops"
control_admins = ["alice", "1000"]
[log]
level = "debug"
format = "json"
access = "file:log/access.log"
access_facility = "local3"
access_name = "gate-1"
access_sample = 10
access_rate = 500
access_burst = 2000
[resumption]
max_entries = 10
max_bytes = "1MiB"
lifetime = "7d"
ticket_secret = "ticket.secret"
[[listener]]
name = "sip"
listen = "[::]:5061"
backlog = 1
upstream = ["127.0.0.1:5060", "component.example:5060", "unix:/run/component.sock"]
connect = "after_hello"
plaintext_reason = "a test"
[listener.tls]
certificates = [
    { certificate = "/etc/ecdsa.pem", certificate_key = "ecdsa.key" },
    { certificate = "rsa.pem", certificate_key = "../rsa.key" },
]
key_group = "tls-keys"
strict_sni = true
alpn = ["sip/2", "h2"]
min_version = "TLSv1.3"
max_version = "TLSv1.3"
client_cert = "required"
trusted_ca = "ca.pem"
resumption = "store"
tls13_tickets = 4
[listener.timeouts]
handshake = "1s"
connect = "500ms"
half_close = "1h"
idle = "5m"
[listener.keepalive]
idle = "off"
interval = "1s"
probes = 1
user_timeout = 0
[[listener]]
name = "second"
listen = "unix:second.sock"
upstream = "unix:component.sock"
tls = { certificate = "a.pem", certificate_key = "a.key", resumption = "off" }
[handshakes]
in_progress = 10
queue_timeout = "250ms"
source_failures = "off"
legacy_in_progress = 5
legacy_rate = "off"
"#;

fn valid(text: &str) -> Config {
    let config = parse("conf/tlsgate.toml", text);
    let config = config.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert_eq!(refused_by_the_schema(text), [""; 0], "{text}");
    config
}

/// What the JSON Schema says against a file; nothing, where the gateway accepts the file.
fn refused_by_the_schema(text: &str) -> Vec<String> {
    static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let schema = serde_json::from_str(&schema::file()).expect("JSON");
        jsonschema::draft7::new(&schema).expect("a schema of draft 7")
    });
    let table: toml::Table = text.parse().expect("TOML");
    let mut value = serde_json::to_value(table).expect("TOML is JSON with dates");
    dates_as_text(&mut value);
    let all = VALIDATOR.iter_errors(&value);
    all.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Editors show a date of TOML to the schema as text.
fn dates_as_text(value: &mut serde_json::Value) {
    if let Some(date) = value.get("$__toml_private_datetime") {
        *value = date.clone();
    }
    match value {
        serde_json::Value::Object(fields) => fields.values_mut().for_each(dates_as_text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(dates_as_text),
        _ => {}
    }
}

#[test]
fn every_option_reaches_the_model() {
    let config = valid(EVERYTHING);
    assert_eq!(config.gateway, everything_gateway());
    assert_eq!(config.admin, everything_admin());
    assert_eq!(config.log, everything_log());
    let resumption = Resumption {
        max_entries: 10,
        max_bytes: 1 << 20,
        lifetime: Duration::from_secs(604_800),
        ticket_secret: Some("conf/ticket.secret".into()),
        ticket_secret_line: 36,
    };
    assert_eq!(config.resumption, resumption);
    let listener = Listener {
        name: "sip".to_owned(),
        mode: Mode::Terminate,
        listen: ListenAddress::Tcp("[::]:5061".parse().expect("an address")),
        listen_line: 39,
        proxy_in: None,
        backlog: 1,
        upstreams: everything_upstream(),
        upstream_line: 41,
        backups: Vec::new(),
        source: SourceSettings::Any,
        source_line: 0,
        balance: BalanceSettings::default(),
        checks: None,
        resolve_interval: Some(Duration::from_secs(30)),
        connect: ConnectWhen::AfterHello,
        proxy_out: None,
        tls: Some(everything_tls()),
        upstream_tls: None,
        exceptions: Vec::new(),
        rules: Vec::new(),
        timeouts: Timeouts {
            handshake: Duration::from_secs(1),
            connect: Duration::from_millis(500),
            half_close: Duration::from_secs(3600),
            idle: Some(Duration::from_secs(300)),
        },
        keepalive: Keepalive {
            idle: None,
            interval: Duration::from_secs(1),
            probes: 1,
            user_timeout: Duration::ZERO,
        },
    };
    assert_eq!(config.listeners[0], listener);
    let second = &config.listeners[1];
    assert_eq!(second.listen, ListenAddress::Unix("conf/second.sock".into()));
    assert_eq!(second.upstreams[0].endpoint, Endpoint::Unix("conf/component.sock".into()));
}

#[test]
fn without_resumption_there_are_no_tickets() {
    let tls = valid(EVERYTHING).listeners[1].tls.clone().expect("TLS with peers");
    assert_eq!(tls.resumption, ResumptionMode::Off);
    assert_eq!(tls.tls13_tickets, 0, "nothing to resume, nothing to send");
}

#[test]
fn absent_options_have_their_defaults() {
    let config = valid(LISTENER);
    let handshakes = HandshakeLimits {
        in_progress: 4096,
        queue_timeout: Duration::from_secs(2),
        source_failures: Some(1000),
        legacy_in_progress: 256,
        legacy_rate: Some(200),
    };
    let gateway = Gateway {
        workers: None,
        engine: EngineChoice::Auto,
        polling: Polling::default(),
        max_connections: None,
        drain_timeout: Duration::from_secs(30),
        certificate_watch: None,
        crl_watch: Some(Duration::from_millis(250)),
        restart_timeout: Duration::from_secs(60),
        buffer_memory: 256 << 20,
        record_layer: RecordLayer::Own,
        sandbox: true,
        hello_memory: 16 << 20,
        hello_memory_per_source: 1 << 20,
        handshakes,
    };
    assert_eq!(config.gateway, gateway);
    assert_eq!(config.admin.listen, Some("127.0.0.1:9440".parse().expect("an address")));
    let access = AccessLog {
        to: Destination::Stdout,
        line: 0,
        facility: Facility::named("daemon").expect("one of the words"),
        name: "tlsgate".to_owned(),
        sample: 1,
        limit: None,
    };
    assert_eq!(config.log, Log { level: LogLevel::Info, format: LogFormat::Text, access });
    let lifetime = Duration::from_secs(6 * 3600);
    let resumption = Resumption {
        max_entries: 100_000,
        max_bytes: 64 << 20,
        lifetime,
        ticket_secret: None,
        ticket_secret_line: 0,
    };
    assert_eq!(config.resumption, resumption);
    let listener = &config.listeners[0];
    assert_eq!((listener.backlog, listener.connect), (4096, ConnectWhen::AfterHello));
    let tls = listener.tls.as_ref().expect("TLS with peers");
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::V1_2, TlsVersion::V1_3));
    assert_eq!((tls.client_cert, tls.resumption), (ClientCert::None, ResumptionMode::Tickets));
    assert_eq!((tls.tls13_tickets, tls.strict_sni), (1, false));
    assert_eq!((&tls.key_group, tls.trusted_ca.len(), tls.alpn.len()), (&None, 0, 0));
    let certificate = &tls.certificates[0];
    assert_eq!((certificate.certificate_line, certificate.certificate_key_line), (6, 7));
    let timeouts = Timeouts {
        handshake: Duration::from_secs(10),
        connect: Duration::from_secs(3),
        half_close: Duration::from_secs(60),
        idle: None,
    };
    assert_eq!(listener.timeouts, timeouts);
    let keepalive = Keepalive {
        idle: Some(Duration::from_secs(60)),
        interval: Duration::from_secs(10),
        probes: 6,
        user_timeout: Duration::from_secs(90),
    };
    assert_eq!(listener.keepalive, keepalive);
}

#[test]
fn tables_are_limited_in_number() {
    let listener = |index: usize| {
        let text = LISTENER.replace("sip\"", &format!("sip-{index}\""));
        text.replace("0.0.0.0:5061", &format!("unix:{index}"))
    };
    let listeners: String = (0..4096).map(listener).collect();
    assert_eq!(valid(&listeners).listeners.len(), 4096);
    only_mistake(&(listeners + &listener(4096)), "is there too often", "4097 tables");

    let several = |count| {
        let one = "{ certificate = \"a\", certificate_key = \"b\" },";
        let (listener, _) = LISTENER.split_once("certificate").expect("a certificate");
        format!("{listener}certificates = [{}]", one.repeat(count))
    };
    let listener = &valid(&several(1024)).listeners[0];
    assert_eq!(listener.tls.as_ref().expect("TLS with peers").certificates.len(), 1024);
    only_mistake(&several(1025), "is there too often", "1025 tables");
}

fn only_mistake(text: &str, message: &str, found: &str) {
    let diagnostics = parse("tlsgate.toml", text).expect_err("a mistake");
    let [one] = diagnostics.as_slice() else { panic!("{diagnostics}") };
    assert_eq!((&*one.message, &*one.found), (message, found));
}

#[test]
fn hostile_files_have_bounded_answers() {
    let keys: String = (0..MAX_DIAGNOSTICS + 7).map(|index| format!("k{index} = 1\n")).collect();
    let diagnostics = parse("tlsgate.toml", &keys).expect_err("unknown keys");
    // The missing listener is the one more.
    assert_eq!((diagnostics.as_slice().len(), diagnostics.omitted()), (MAX_DIAGNOSTICS, 8));

    let deep = format!("a = {}", "[".repeat(100_000));
    let diagnostics = parse("tlsgate.toml", &deep).expect_err("too deep");
    assert!(diagnostics.as_slice()[0].message.starts_with("is not TOML"), "{diagnostics}");

    let long = format!("[gateway]\n{} = 1\nengine = \"{0}\"\n{LISTENER}", "x".repeat(1 << 20));
    let diagnostics = parse("tlsgate.toml", &long).expect_err("an unknown key and word");
    assert_eq!(diagnostics.as_slice().len(), 2);
    assert!(diagnostics.to_string().len() < 1000);
}

#[test]
fn one_source_never_gets_more_than_all() {
    let config = valid(&format!("[gateway]\nhello_memory = \"512KiB\"\n{LISTENER}"));
    assert_eq!(config.gateway.hello_memory_per_source, 512 << 10);
}

#[test]
fn required_client_certificates_come_before_the_upstream() {
    let text = format!("{LISTENER}client_cert = \"required\"\ntrusted_ca = \"ca.pem\"\n");
    assert_eq!(valid(&text).listeners[0].connect, ConnectWhen::AfterHandshake);
    let optional = text.replace("required", "optional");
    assert_eq!(valid(&optional).listeners[0].connect, ConnectWhen::AfterHello);
    let text = text.replace("[listener.tls]", "connect = \"after_hello\"\n[listener.tls]");
    assert_eq!(valid(&text).listeners[0].connect, ConnectWhen::AfterHello);
}

/// Whatever the table of options allows, the model can hold: no word without a variant, no range
/// wider than its integer.
#[test]
fn every_extreme_of_every_option_is_understood() {
    for option in options() {
        for sample in extremes(&option.kind) {
            let table = TABLES.iter().find(|table| table.name == option.table).expect("a table");
            let line = format!("{} = {sample}\n", option.key);
            let text = match table.name {
                "listener"
                | "listener.tls"
                | "listener.tls.certificates"
                | "listener.upstream_tls" => {
                    continue;
                }
                "listener.timeouts" | "listener.keepalive" | "listener.balance"
                | "listener.checks" => {
                    format!("{LISTENER}{}\n{line}", table.header())
                }
                "listener.rule" => {
                    let own =
                        if option.key == "proxy_out" { "upstream = \"unix:/a\"\n" } else { "" };
                    format!("{LISTENER}[[listener.rule]]\nname = \"a\"\nsni = \"a\"\n{own}{line}")
                }
                _ => format!("{}\n{line}{LISTENER}", table.header()),
            };
            // Contradictions with a default, not wrong values.
            match parse("tlsgate.toml", &text) {
                Ok(_) => drop(valid(&text)),
                Err(found) => {
                    let may = [
                        "access_burst",
                        "hello_memory_per_source",
                        "eject_max",
                        "probe",
                        "upstream_source",
                    ];
                    assert!(may.contains(&option.key), "{line}{found}");
                }
            }
        }
    }
}

#[test]
fn every_extreme_of_the_listener_is_understood() {
    for option in options().filter(|option| option.table == "listener.tls") {
        for sample in extremes(&option.kind) {
            let text = match option.key {
                "client_cert" if sample == "\"required\"" => {
                    format!("{LISTENER}trusted_ca = \"a\"\n")
                }
                "client_cert" if sample != "\"none\"" => {
                    format!("{LISTENER}trusted_ca = \"a\"\nclient_cert_until = 2027-12-31\n")
                }
                "min_version" | "max_version" if sample.contains("1.2") => continue,
                "sec_protocol_semantics" => format!("{LISTENER}sec-protocol = \"TLSv12\"\n"),
                "lane" if sample == "\"compat12\"" => format!("{LISTENER}{}", lanes::COMPAT12),
                "lane" if sample == "\"legacy\"" => format!("{LISTENER}{}", lanes::LEGACY),
                _ => LISTENER.to_owned(),
            };
            valid(&format!("{text}{} = {sample}\n", option.key));
        }
    }
    for option in options().filter(|option| option.table == "listener") {
        for sample in extremes(&option.kind) {
            // They need more, and `contradictions` tells of each what.
            if matches!(option.key, "mode" | "protocol") || option.key.starts_with("proxy_") {
                continue;
            }
            let line = format!("{} = {sample}\n[listener.tls]", option.key);
            valid(&LISTENER.replace("[listener.tls]", &line));
        }
    }
}

fn extremes(kind: &Kind) -> Vec<String> {
    let quoted = |text: String| format!("\"{text}\"");
    match kind {
        Kind::Switch => vec!["true".to_owned(), "false".to_owned()],
        Kind::Integer { min, max, .. } => vec![min.to_string(), max.to_string()],
        Kind::Duration { min, max, .. } => {
            [min, max].map(|one| quoted(units::format_duration(*one))).to_vec()
        }
        Kind::Size { min, max } => {
            vec![quoted(units::format_size(*min)), max.to_string()]
        }
        Kind::Word(words) => words.iter().map(|word| quoted((*word).to_owned())).collect(),
        Kind::TlsVersion => vec![quoted("1.2".to_owned()), quoted("TLSv1.3".to_owned())],
        Kind::Or(word, other) => {
            let mut all = extremes(other);
            all.push(quoted((*word).to_owned()));
            all
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_default_and_example_is_an_allowed_value() {
    for option in options() {
        let sample = option.presence.sample();
        let parsed = DeValue::parse(sample).unwrap_or_else(|error| panic!("{sample}: {error}"));
        let checked = value::check(&option.kind, &parsed, std::path::Path::new(""));
        assert!(checked.is_ok(), "{}: {checked:?}", option.path());
    }
}
