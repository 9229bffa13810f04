//! The floor of a measurement: what the client, this machine and a server that does nothing else take
//! by themselves.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;

use crate::backend::{Backend, Mode};
use crate::client::{Plan, Report, Stop, TlsPlan, Trust, run};

/// Measures `plan` for `length` with the same TLS against a server in this process, which asks for no
/// certificate of a client's.
///
/// # Errors
/// What keeps the server from being had, or its operations from succeeding.
pub fn measure(plan: &Plan, length: Duration) -> Result<Report, String> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let text = |error: std::io::Error| error.to_string();
    let backend = match &plan.tls {
        None => Backend::start(any, Mode::Sniff).map_err(text)?,
        Some(tls) => {
            let config = configuration(tls)?;
            Backend::start_tls(any, Mode::Sniff, Arc::new(config)).map_err(text)?
        }
    };
    let plan = Plan {
        target: backend.tcp_address().ok_or("a TCP backend has an address")?,
        tls: plan.tls.clone().map(|tls| TlsPlan { trust: Trust::Insecure, shown: None, ..tls }),
        stop: Stop { after: length.min(plan.stop.after), ..plan.stop },
        ..plan.clone()
    };
    let report = run(&plan, |_| {}).map_err(|error| error.to_string())?;
    match report.errors.iter().find(|_| report.done == 0) {
        Some((kind, errors)) => Err(format!("{kind}, such as: {}", errors.example)),
        None => Ok(report),
    }
}

/// A certificate of its own, P-256; everything else as rustls has it.
fn configuration(tls: &TlsPlan) -> Result<ServerConfig, String> {
    let text = |error: rustls::Error| error.to_string();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()])
            .map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(text)?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .map_err(text)?;
    config.alpn_protocols = tls.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(text)?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Pace, TlsVersion, Workload};

    fn plan(tls: Option<TlsVersion>, workload: Workload) -> Plan {
        Plan {
            target: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            tls: tls.map(|version| TlsPlan {
                version,
                server_name: "example.org".to_owned(),
                trust: Trust::Insecure,
                shown: None,
                alpn: vec!["h2".to_owned()],
                suites: Vec::new(),
                groups: Vec::new(),
            }),
            workload,
            pace: Pace::Closed { concurrency: 4 },
            stop: Stop { after: Duration::from_secs(60), count: Some(20) },
            timeout: Duration::from_secs(20),
            threads: 1,
            cpus: Vec::new(),
        }
    }

    #[test]
    fn every_workload_has_a_floor() {
        let bytes = 300_000;
        for tls in [None, Some(TlsVersion::V12), Some(TlsVersion::V13)] {
            let resumed = if tls.is_some() { 0.5 } else { 0.0 };
            for workload in [
                Workload::Handshakes { resumed },
                Workload::Messages { size: 20_000, per_connection_rate: None },
                Workload::BulkDown { bytes },
                Workload::BulkUp { bytes },
                Workload::Idle { hold: Duration::ZERO },
            ] {
                let report = measure(&plan(tls, workload), Duration::from_secs(60));
                let report = report.unwrap_or_else(|error| panic!("{workload:?}: {error}"));
                let idle = matches!(workload, Workload::Idle { .. });
                let expected = (if idle { 4 } else { 20 }, 0);
                assert_eq!((report.done, report.error_count()), expected, "{tls:?} {workload:?}");
            }
        }
    }

    #[test]
    fn what_has_no_floor_says_so() {
        let old = plan(Some(TlsVersion::V10), Workload::Handshakes { resumed: 0.0 });
        assert!(measure(&old, Duration::from_secs(1)).is_err(), "rustls has no TLS 1.0");
    }
}
