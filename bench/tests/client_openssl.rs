//! The client against servers of old TLS: OpenSSL on both ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use openssl::pkey::PKey;
use openssl::ssl::{SslContext, SslMethod, SslOptions, SslStream, SslVersion};
use openssl::x509::X509;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tlsgate_bench::client::{
    ErrorKind, Pace, Plan, Report, Stop, TlsPlan, TlsVersion, Trust, Workload, run,
};

const SUITE: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA";

struct Echo {
    address: SocketAddr,
    ca_pem: String,
}

impl Echo {
    /// Serves this version only, until the process ends.
    fn start(version: SslVersion, options: SslOptions) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let mut builder = SslContext::builder(SslMethod::tls_server()).expect("a context");
        builder.set_security_level(0);
        builder.set_min_proto_version(Some(version)).expect("a version");
        builder.set_max_proto_version(Some(version)).expect("a version");
        builder.set_cipher_list("ECDHE-ECDSA-AES128-SHA").expect("a suite");
        let key = PKey::private_key_from_der(&signing_key.serialize_der()).expect("a key");
        builder.set_private_key(&key).expect("a key");
        builder.set_certificate(&X509::from_der(cert.der()).expect("one")).expect("a certificate");
        builder.set_session_id_context(b"echo").expect("short");
        builder.set_options(options);
        let context = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for socket in listener.incoming() {
                let ssl = openssl::ssl::Ssl::new(&context).expect("a session");
                let mut stream = SslStream::new(ssl, socket.expect("accept")).expect("a stream");
                thread::spawn(move || {
                    let mut buffer = [0; 16 * 1024];
                    // A client that breaks off is the client's business.
                    if stream.accept().is_err() {
                        return;
                    }
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        if stream.write_all(&buffer[..length]).is_err() {
                            return;
                        }
                    }
                    // OpenSSL forgets the session of a connection that was not closed in order.
                    let _said = stream.shutdown();
                });
            }
        });
        Self { address, ca_pem: cert.pem() }
    }

    fn measure(&self, version: TlsVersion, workload: Workload) -> Report {
        self.measure_with(version, &[SUITE], &self.ca_pem, workload)
    }

    fn measure_with(
        &self,
        version: TlsVersion,
        suites: &[&str],
        ca_pem: &str,
        workload: Workload,
    ) -> Report {
        let tls = TlsPlan {
            version,
            server_name: "localhost".to_owned(),
            trust: Trust::CaPem(ca_pem.to_owned()),
            shown: None,
            alpn: Vec::new(),
            suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
            groups: Vec::new(),
        };
        let plan = Plan {
            target: self.address,
            tls: Some(tls),
            workload,
            pace: Pace::Closed { concurrency: 4 },
            stop: Stop { after: Duration::from_secs(60), count: Some(20) },
            timeout: Duration::from_secs(20),
            threads: 2,
            cpus: Vec::new(),
        };
        run(&plan, |_| {}).expect("a report")
    }
}

const VERSIONS: [(SslVersion, TlsVersion); 3] = [
    (SslVersion::TLS1, TlsVersion::V10),
    (SslVersion::TLS1_1, TlsVersion::V11),
    (SslVersion::TLS1_2, TlsVersion::V12),
];

#[test]
fn handshakes_of_every_version_in_full_and_resumed_by_ticket_and_by_id() {
    for (served, version) in VERSIONS {
        let tickets = Echo::start(served, SslOptions::empty());
        let ids = Echo::start(served, SslOptions::NO_TICKET);
        for echo in [tickets, ids] {
            let report = echo.measure(version, Workload::Handshakes { resumed: 0.0 });
            assert_eq!((report.done, report.error_count()), (20, 0), "{:?}", report.errors);
            assert_eq!((report.handshakes_full, report.handshakes_resumed), (20, 0));
            let report = echo.measure(version, Workload::Handshakes { resumed: 1.0 });
            assert_eq!((report.done, report.error_count()), (20, 0), "{:?}", report.errors);
            assert_eq!((report.handshakes_full, report.handshakes_resumed), (4, 20));
        }
    }
}

#[test]
fn messages_larger_than_all_buffers() {
    let echo = Echo::start(SslVersion::TLS1, SslOptions::empty());
    let workload = Workload::Messages { size: 3_000_000, per_connection_rate: None };
    let report = echo.measure(TlsVersion::V10, workload);
    assert_eq!((report.done, report.error_count()), (20, 0), "{:?}", report.errors);
    assert_eq!(report.bytes_received, 60_000_000);
}

#[test]
fn another_version_another_suite_and_an_unknown_ca_are_tls_errors() {
    let (echo, other) = (Echo::start(SslVersion::TLS1, SslOptions::empty()), SslVersion::TLS1_1);
    let stranger = Echo::start(other, SslOptions::empty());
    let full = Workload::Handshakes { resumed: 0.0 };
    for report in [
        echo.measure(TlsVersion::V11, full),
        echo.measure_with(TlsVersion::V10, &["TLS_RSA_WITH_AES_128_CBC_SHA"], &echo.ca_pem, full),
        echo.measure_with(TlsVersion::V10, &[SUITE], &stranger.ca_pem, full),
    ] {
        assert_eq!((report.done, report.errors_of(ErrorKind::Tls)), (0, 20), "{:?}", report.errors);
    }
}
