//! Memory of a target per idle TLS connection.

use std::time::{Duration, Instant};

use serde::Serialize;
use tlsgate_bench::client::{ErrorKind, Stage, Stop, TlsVersion, Workload, run};
use tlsgate_bench::procstat::{self, Usage};

use super::sample::{clean, float};
use super::target::{Kind, Target};
use super::test::{MESSAGE, plan, tls};

/// Connections before the first look, so that what a server allocates once is not counted.
const WARM_UP: usize = 100;
/// How long after the last connection was opened memory is looked at.
const SETTLE: Duration = Duration::from_millis(1000);
/// Each connection makes one round trip in twice this time or less.
const ONE_EACH: f64 = 1.0;

/// Bytes per connection in a target's own memory; the kernel's sockets are not in it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) target: Kind,
    pub(crate) tls: TlsVersion,
    pub(crate) connections: usize,
    /// After the handshake, no data yet.
    pub(crate) fresh_pss: f64,
    pub(crate) fresh_rss: f64,
    /// After one 100-byte round trip or two on each connection.
    pub(crate) used_pss: f64,
    pub(crate) used_rss: f64,
}

/// Measures with two new processes from `start`: one whose connections carried no data, and one
/// whose connections did.
///
/// # Errors
/// When a target does not start, or a connection fails.
pub(crate) fn measure(
    start: &dyn Fn() -> Result<Target, String>,
    version: TlsVersion,
    connections: usize,
    ca_pem: &str,
    cpu: usize,
) -> Result<Memory, String> {
    let fresh = Workload::Idle { hold: SETTLE * 2 };
    let used = Workload::Messages { size: MESSAGE, per_connection_rate: Some(ONE_EACH) };
    let target = start()?;
    let kind = target.kind;
    let fresh = grown(&target, fresh, version, connections, ca_pem, cpu)?;
    drop(target);
    let used = grown(&start()?, used, version, connections, ca_pem, cpu)?;
    let each = |bytes: u64| float(bytes) / float(connections as u64);
    Ok(Memory {
        target: kind,
        tls: version,
        connections,
        fresh_pss: each(fresh.pss),
        fresh_rss: each(fresh.rss),
        used_pss: each(used.pss),
        used_rss: each(used.rss),
    })
}

/// By how much the target's memory grew while `connections` were open.
fn grown(
    target: &Target,
    workload: Workload,
    version: TlsVersion,
    connections: usize,
    ca_pem: &str,
    cpu: usize,
) -> Result<Usage, String> {
    let tls = Some(tls(version, ca_pem));
    let stop = Stop { after: SETTLE * 2, count: None };
    let warm_up = Workload::Idle { hold: Duration::ZERO };
    let warm_up = plan(target.address, tls.clone(), (warm_up, WARM_UP), stop, cpu);
    clean(&run(&warm_up, |_| {}).map_err(|error| error.to_string())?)?;
    std::thread::sleep(SETTLE);
    let before = memory(target)?;
    let plan = plan(target.address, tls, (workload, connections), stop, cpu);
    let mut opened: Option<Instant> = None;
    let mut during = None;
    let mut report = run(&plan, |progress| {
        let open = matches!(progress.stage, Stage::Hold | Stage::Measure);
        if open && opened.get_or_insert_with(Instant::now).elapsed() > SETTLE && during.is_none() {
            // As many operations as connections, where there are any.
            let everyone =
                matches!(workload, Workload::Idle { .. }) || progress.done >= connections as u64;
            if everyone {
                during = Some(memory(target));
            }
        }
    })
    .map_err(|error| error.to_string())?;
    // A round trip that was late is no matter, as long as every connection had one.
    report.errors.remove(&ErrorKind::NotStarted);
    clean(&report)?;
    let during = during.ok_or("memory was not looked at in time")??;
    Ok(Usage {
        rss: during.rss.saturating_sub(before.rss),
        pss: during.pss.saturating_sub(before.pss),
        ..during
    })
}

fn memory(target: &Target) -> Result<Usage, String> {
    let mut sum = Usage::default();
    for pid in &target.pids {
        let usage = procstat::process(*pid);
        sum += usage.map_err(|error| format!("process {pid} has gone: {error}"))?;
    }
    Ok(sum)
}
