//! What the file with every option says.

use super::*;

pub(super) fn everything_gateway() -> Gateway {
    Gateway {
        workers: Some(4),
        engine: EngineChoice::Epoll,
        max_connections: Some(50_000),
        drain_timeout: Duration::ZERO,
        certificate_watch: Some(Duration::from_secs(60)),
        crl_watch: None,
        restart_timeout: Duration::from_secs(10),
        buffer_memory: 256 << 20,
        record_layer: RecordLayer::Rustls,
        sandbox: false,
        hello_memory: 128 << 10,
        hello_memory_per_source: 64 << 10,
        handshakes: everything_handshakes(),
    }
}

pub(super) fn everything_log() -> Log {
    let access = AccessLog {
        to: Destination::File("conf/log/access.log".into()),
        line: 23,
        facility: Facility::named("local3").expect("one of the words"),
        name: "gate-1".to_owned(),
        sample: 10,
        limit: Some(LineLimit { per_second: 500, burst: 2000 }),
    };
    Log { level: LogLevel::Debug, format: LogFormat::Json, access }
}

fn everything_handshakes() -> HandshakeLimits {
    HandshakeLimits {
        in_progress: 10,
        queue_timeout: Duration::from_millis(250),
        source_failures: None,
        legacy_in_progress: 5,
        legacy_rate: None,
    }
}

pub(super) fn everything_upstream() -> Vec<Upstream> {
    let endpoints = [
        Endpoint::Tcp("127.0.0.1:5060".parse().expect("an address")),
        Endpoint::Name("component.example".to_owned(), 5060),
        Endpoint::Unix("/run/component.sock".into()),
    ];
    endpoints.map(|endpoint| Upstream { endpoint, weight: 1 }).into()
}

pub(super) fn everything_tls() -> DownstreamTls {
    let certificate = |certificate: &str, key: &str, line| CertificateFiles {
        certificate: certificate.into(),
        certificate_key: key.into(),
        certificate_line: line,
        certificate_key_line: line,
        ocsp_file: None,
        ocsp_file_line: 0,
    };
    DownstreamTls {
        certificates: vec![
            certificate("/etc/ecdsa.pem", "conf/ecdsa.key", 43),
            certificate("conf/rsa.pem", "conf/../rsa.key", 44),
        ],
        key_group: Some("tls-keys".to_owned()),
        key_group_line: 46,
        strict_sni: true,
        alpn: vec!["sip/2".to_owned(), "h2".to_owned()],
        min_version: TlsVersion::V1_3,
        max_version: TlsVersion::V1_3,
        ciphers: Vec::new(),
        client_cert: ClientCert::Required,
        trusted_ca: vec![TrustFile { path: "conf/ca.pem".into(), line: 52 }],
        crls: CrlPolicy::default(),
        revalidate: Revalidate::Keep,
        resumption: ResumptionMode::Store,
        tls13_tickets: 4,
        compat12: None,
        legacy: None,
    }
}

pub(super) fn everything_admin() -> Admin {
    Admin {
        listen: None,
        control: Some("conf/control.sock".into()),
        control_group: Some("adm".to_owned()),
        control_operators: vec!["group:ops".to_owned()],
        control_admins: vec!["alice".to_owned(), "1000".to_owned()],
    }
}
