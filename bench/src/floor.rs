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
use crate::client::{
    Arrivals, Pace, Plan, Report, Shape, Stop, TlsPlan, Trust, Workload, run_against,
};

/// Measures `plan` for `length` with the same TLS against servers in this process, one for each thread
/// of the client's, which ask for no certificate of a client's. A rate that changes is what it is at
/// its peak, and connections are held for `length` at most.
///
/// # Errors
/// What keeps a server from being had, or its operations from succeeding.
pub fn measure(plan: &Plan, length: Duration) -> Result<Report, String> {
    let plan = shortened(plan, length);
    plan.check().map_err(|error| error.to_string())?;
    let config = plan.tls.as_ref().map(configuration).transpose()?.map(Arc::new);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let backends: Vec<Backend> = (0..plan.threads)
        .map(|_| match &config {
            None => Backend::start(any, Mode::Sniff),
            Some(config) => Backend::start_tls(any, Mode::Sniff, Arc::clone(config)),
        })
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let targets: Vec<SocketAddr> = backends.iter().filter_map(Backend::tcp_address).collect();
    let report = run_against(&plan, &targets, |_| {}).map_err(|error| error.to_string())?;
    match report.errors.iter().find(|_| report.done == 0) {
        Some((kind, errors)) => Err(format!("{kind}, such as: {}", errors.example)),
        None => Ok(report),
    }
}

/// What is measured of `plan` within `length`.
fn shortened(plan: &Plan, length: Duration) -> Plan {
    let workload = match plan.workload {
        Workload::Idle { hold } => Workload::Idle { hold: hold.min(length) },
        workload => workload,
    };
    let pace = match plan.pace {
        Pace::Open { arrivals, concurrency } => {
            let arrivals = Arrivals { rate: arrivals.peak(), shape: Shape::Constant, ..arrivals };
            Pace::Open { arrivals, concurrency }
        }
        pace @ Pace::Closed { .. } => pace,
    };
    Plan {
        tls: plan.tls.clone().map(|tls| TlsPlan { trust: Trust::Insecure, shown: None, ..tls }),
        stop: Stop { after: length.min(plan.stop.after), ..plan.stop },
        workload,
        pace,
        ..plan.clone()
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
    use crate::client::{Spacing, TlsVersion};

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
    fn each_thread_has_a_server_of_its_own() {
        let plan = Plan { threads: 4, ..plan(None, Workload::Handshakes { resumed: 0.0 }) };
        let report = measure(&plan, Duration::from_secs(60)).expect("a floor");
        assert_eq!((report.done, report.error_count()), (20, 0));
    }

    #[test]
    fn a_floor_is_short_and_at_the_peak() {
        let second = Duration::from_secs(1);
        let of = |shape| {
            let spacing = Spacing::Poisson { seed: 3 };
            let arrivals = Arrivals { rate: 10.0, shape, spacing };
            let pace = Pace::Open { arrivals, concurrency: 4 };
            let plan = Plan { pace, ..plan(None, Workload::Handshakes { resumed: 0.0 }) };
            let Plan { pace: Pace::Open { arrivals, .. }, stop, .. } = shortened(&plan, second)
            else {
                panic!("an open loop stays one");
            };
            assert_eq!((arrivals.shape, arrivals.spacing), (Shape::Constant, spacing));
            assert_eq!(stop.after, second);
            arrivals.rate
        };
        let over = 60 * second;
        for (shape, peak) in [
            (Shape::Constant, 10.0),
            (Shape::Ramp { to: 500.0, over }, 500.0),
            (Shape::Step { to: 1.0, steps: 3, over }, 10.0),
            (Shape::Burst { to: 70.0, length: second, every: over }, 70.0),
        ] {
            assert!((of(shape) - peak).abs() < 1e-9, "{shape:?}");
        }
        let idle = shortened(&plan(None, Workload::Idle { hold: 600 * second }), second);
        assert_eq!(idle.workload, Workload::Idle { hold: second });
    }

    #[test]
    fn what_has_no_floor_says_so() {
        let old = plan(Some(TlsVersion::V10), Workload::Handshakes { resumed: 0.0 });
        assert!(measure(&old, Duration::from_secs(1)).is_err(), "rustls has no TLS 1.0");
    }
}
