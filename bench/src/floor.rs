//! The floor of a measurement: what the client, this machine and a server that does nothing else take
//! by themselves.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;

use crate::backend::{Backend, Mode};
use crate::client::{
    Arrivals, Error, Flow, MAX_RATE, Pace, Plan, Report, Shape, Stop, TlsPlan, Trust, Wants,
    Workload, run_against,
};

/// Connections of a flow: more would take long to open, and say the same.
const MOST_CONNECTIONS: usize = 2_000;

/// Measures `plan` for `length` with the same TLS against servers in this process, one for each thread
/// of the client's, which ask for no certificate of a client's. A rate that changes is what it is at
/// its peak, connections are held for `length` at most, and 2,000 at most do what more would do.
///
/// # Errors
/// What keeps a server from being had, or its operations from succeeding.
pub fn measure(plan: &Plan, length: Duration) -> Result<Report, String> {
    measure_mix(&[Flow::alone(plan.clone())], length)?.pop().expect("one flow, one report")
}

/// The same of flows that run at the same time, in their order, or why one of them has no floor. All begin
/// at once, and nothing is tried again.
///
/// # Errors
/// What keeps a server from being had, or the client from running.
pub fn measure_mix(
    flows: &[Flow],
    length: Duration,
) -> Result<Vec<Result<Report, String>>, String> {
    let text = |error: Error| error.to_string();
    let shortened: Vec<Result<Flow, String>> =
        flows.iter().map(|flow| shortened(flow, length)).collect();
    let able: Vec<Flow> = shortened.iter().flatten().cloned().collect();
    let mut backends = Vec::new();
    for flow in &able {
        flow.check().map_err(text)?;
        let config = flow.plan.tls.as_ref().map(configuration).transpose()?.map(Arc::new);
        for _ in 0..flow.plan.threads {
            backends.push(server(config.as_ref()).map_err(|error| error.to_string())?);
        }
    }
    let targets: Vec<SocketAddr> = backends.iter().filter_map(Backend::tcp_address).collect();
    let mut reports = run_against(&able, &targets, |_| {}).map_err(text)?.into_iter();
    let found = shortened.into_iter().map(|flow| {
        flow.and_then(|_| succeeded(reports.next().expect("each flow that ran has a report")))
    });
    Ok(found.collect())
}

fn server(config: Option<&Arc<ServerConfig>>) -> io::Result<Backend> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    match config {
        None => Backend::start(any, Mode::Sniff),
        Some(config) => Backend::start_tls(any, Mode::Sniff, Arc::clone(config)),
    }
}

/// The report, if anything succeeded; else why not.
fn succeeded(report: Report) -> Result<Report, String> {
    match report.errors.iter().find(|_| report.done == 0) {
        Some((kind, errors)) => Err(format!("{kind}, such as: {}", errors.example)),
        None => Ok(report),
    }
}

/// What is measured of `flow` within `length`.
fn shortened(flow: &Flow, length: Duration) -> Result<Flow, String> {
    if flow.wants == Wants::Refusal {
        return Err("it is to be refused, and the floor's servers refuse nobody".to_owned());
    }
    let Plan { tls, stop, .. } = &flow.plan;
    let (workload, pace) = fewer(flow, length);
    let plan = Plan {
        target: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        tls: tls.clone().map(|tls| TlsPlan { trust: Trust::Insecure, shown: None, ..tls }),
        stop: Stop { after: length.min(stop.after), ..*stop },
        workload,
        pace,
        threads: flow.plan.threads.min(pace.concurrency()),
        ..flow.plan.clone()
    };
    let is_near = flow.sources.iter().all(|source| source.is_ipv4() && source.is_loopback());
    Ok(Flow {
        plan,
        start: Duration::ZERO,
        later: Vec::new(),
        retry: None,
        sources: if is_near { flow.sources.clone() } else { Vec::new() },
        identities: Arc::default(),
        ..flow.clone()
    })
}

/// The same work at the peak of the rate, over connections that are not too many.
fn fewer(flow: &Flow, length: Duration) -> (Workload, Pace) {
    let all = flow.plan.pace.concurrency();
    let concurrency = all.min(MOST_CONNECTIONS);
    let paces = std::iter::once(flow.plan.pace).chain(flow.later.iter().map(|period| period.pace));
    let arrivals = paces.filter_map(|pace| match pace {
        Pace::Open { arrivals, .. } => Some(arrivals),
        Pace::Closed { .. } => None,
    });
    let peak = arrivals.max_by(|one, two| one.peak().total_cmp(&two.peak()));
    let open = |arrivals: Arrivals| Pace::Open { arrivals, concurrency };
    let pace = peak.map_or(Pace::Closed { concurrency }, |arrivals| {
        open(Arrivals { rate: arrivals.peak(), shape: Shape::Constant, ..arrivals })
    });
    #[expect(clippy::cast_precision_loss, reason = "numbers of connections are small")]
    let (all, fewer) = (all as f64, concurrency as f64);
    match flow.plan.workload {
        Workload::Idle { hold } => (Workload::Idle { hold: hold.min(length) }, pace),
        // As if all were lost at once.
        Workload::Reconnect { resumed, within: Some(within) } => {
            let rate = all / within.as_secs_f64().max(f64::MIN_POSITIVE);
            (
                Workload::Reconnect { resumed, within: None },
                open(Arrivals::even(rate.min(MAX_RATE))),
            )
        }
        Workload::Messages { size, per_connection_rate: Some(rate) } => {
            let per_connection_rate = Some(rate * all / fewer);
            (Workload::Messages { size, per_connection_rate }, pace)
        }
        workload => (workload, pace),
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
            let short = shortened(&Flow::alone(plan), second).expect("it wants answers").plan;
            let Plan { pace: Pace::Open { arrivals, .. }, stop, .. } = short else {
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
        let short = |workload, concurrency| {
            let plan = Plan { pace: Pace::Closed { concurrency }, ..plan(None, workload) };
            shortened(&Flow::alone(plan), second).expect("it wants answers").plan
        };
        let idle = short(Workload::Idle { hold: 600 * second }, 3);
        assert_eq!((idle.workload, idle.pace.concurrency()), (Workload::Idle { hold: second }, 3));
        let polls = |rate| Workload::Messages { size: 1, per_connection_rate: Some(rate) };
        let many = short(polls(0.5), 20_000);
        assert_eq!((many.workload, many.pace.concurrency()), (polls(5.0), 2_000));
        let lost = Workload::Reconnect { resumed: 0.5, within: Some(2 * second) };
        let storm = short(lost, 3_000);
        assert_eq!(storm.workload, Workload::Reconnect { resumed: 0.5, within: None });
        let arrivals = Arrivals::even(1_500.0);
        assert_eq!(storm.pace, Pace::Open { arrivals, concurrency: 2_000 });
    }

    #[test]
    fn flows_have_their_floors_at_the_same_time() {
        let messages = Workload::Messages { size: 50, per_connection_rate: None };
        let named = |name: &str, tls, workload| Flow {
            name: name.to_owned(),
            ..Flow::alone(plan(tls, workload))
        };
        let handshakes = Workload::Handshakes { resumed: 0.5 };
        let mut flows = [
            named("plain", None, messages),
            named("refused", None, messages),
            named("tls", Some(TlsVersion::V13), handshakes),
            named("old", Some(TlsVersion::V10), handshakes),
        ];
        flows[1].wants = Wants::Refusal;
        flows[2].plan.threads = 2;
        flows[2].start = Duration::from_secs(900);
        flows[3].plan.stop.count = Some(1);
        let found = measure_mix(&flows, Duration::from_secs(60)).expect("floors");
        let done: Vec<Option<u64>> =
            found.iter().map(|found| Some(found.as_ref().ok()?.done)).collect();
        assert_eq!(done, [Some(20), None, Some(20), None]);
        assert!(found[1].as_ref().is_err_and(|reason| reason.contains("refuse")), "{found:?}");
    }

    #[test]
    fn what_has_no_floor_says_so() {
        let old = plan(Some(TlsVersion::V10), Workload::Handshakes { resumed: 0.0 });
        assert!(measure(&old, Duration::from_secs(1)).is_err(), "rustls has no TLS 1.0");
    }
}
