//! Memory of a target per idle TLS 1.3 connection: by how much it grows from few connections to many.

use std::time::{Duration, Instant};

use serde::Serialize;
use tlsgate_bench::client::{ErrorKind, Stage, Stop, TlsVersion, Workload, run};
use tlsgate_bench::procstat::{self, Usage};

use super::target::{Kind, Target};
use super::test::Role;
use crate::measure::load::{MESSAGE, plan, tls};
use crate::measure::sample::{clean, float};

/// How much longer the second run is, where the first was too short.
const PATIENCE: [u32; 2] = [1, 4];

/// Bytes per connection in a target's own memory; the kernel's sockets are not in it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) target: Kind,
    /// The numbers of connections between which it grew.
    pub(crate) connections: [usize; 2],
    /// After the handshake, no data yet.
    pub(crate) fresh: Slope,
    /// After a 100-byte round trip or two on each connection.
    pub(crate) used: Slope,
}

/// Bytes per connection.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Slope {
    pub(crate) pss: f64,
    pub(crate) rss: f64,
}

/// How many connections, and for how long they idle.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Scale {
    pub(crate) connections: [usize; 2],
    /// From when the last one is open until memory is looked at.
    pub(crate) settle: Duration,
    /// Each connection makes one round trip in this time.
    pub(crate) one_each: Duration,
}

/// Measures with two new processes from `start`: one whose connections carry no data, and one
/// whose connections do.
///
/// # Errors
/// When a target does not start, or a connection fails.
pub(crate) fn measure(
    start: &dyn Fn() -> Result<Target, String>,
    scale: Scale,
    ca_pem: &str,
    cpu: usize,
) -> Result<Memory, String> {
    let Scale { connections, settle, one_each } = scale;
    let fresh = Workload::Idle { hold: settle * 2 };
    let rate = Some(1.0 / one_each.as_secs_f64());
    let used = Workload::Messages { size: MESSAGE, per_connection_rate: rate };
    let target = start()?;
    let kind = target.kind;
    let fresh = slope(&target, fresh, scale, ca_pem, cpu)?;
    drop(target);
    let used = slope(&start()?, used, scale, ca_pem, cpu)?;
    Ok(Memory { target: kind, connections, fresh, used })
}

fn slope(
    target: &Target,
    workload: Workload,
    scale: Scale,
    ca_pem: &str,
    cpu: usize,
) -> Result<Slope, String> {
    let [few, many] = scale.connections;
    let with = |connections| level(target, workload, connections, scale, ca_pem, cpu);
    let (below, above) = (with(few)?, with(many)?);
    let more = float((many - few) as u64);
    let each = |below: u64, above: u64| (float(above) - float(below)) / more;
    Ok(Slope { pss: each(below.pss, above.pss), rss: each(below.rss, above.rss) })
}

/// The target's memory while `connections` are open.
///
/// # Errors
/// When a connection fails.
pub(crate) fn level(
    target: &Target,
    workload: Workload,
    connections: usize,
    scale: Scale,
    ca_pem: &str,
    cpu: usize,
) -> Result<Usage, String> {
    let Scale { settle, one_each, .. } = scale;
    let address = target.ports.of(Role::Server);
    // On a very busy machine, not every connection may get its turn in the time of the first run.
    for patience in PATIENCE {
        let after = (one_each + one_each / 4 + settle * 2) * patience;
        let tls = Some(tls(TlsVersion::V13, ca_pem));
        let stop = Stop { after, count: None };
        let plan = plan(address, tls, (workload, connections), stop, &[cpu]);
        let mut opened: Option<Instant> = None;
        let mut during = None;
        let mut report = run(&plan, |progress| {
            let open = matches!(progress.stage, Stage::Hold | Stage::Measure);
            let is_settled = open && opened.get_or_insert_with(Instant::now).elapsed() > settle;
            // As many operations as connections, where there are any.
            let everyone =
                matches!(workload, Workload::Idle { .. }) || progress.done >= connections as u64;
            if is_settled && everyone && during.is_none() {
                during = Some(memory(target));
            }
        })
        .map_err(|error| error.to_string())?;
        // A round trip that was late is no matter, as long as every connection had one.
        report.errors.remove(&ErrorKind::NotStarted);
        clean(&report)?;
        if let Some(found) = during {
            return found;
        }
    }
    Err("memory was not looked at in time".to_owned())
}

fn memory(target: &Target) -> Result<Usage, String> {
    let mut sum = Usage::default();
    for pid in &target.pids {
        let usage = procstat::process(*pid);
        sum += usage.map_err(|error| format!("process {pid} has gone: {error}"))?;
    }
    Ok(sum)
}
