//! System calls per round trip: by the kernel's count, by name, and by the gateway's own count.
//!
//! Every count is taken twice, with few and with many round trips; the difference is what the
//! round trips cost, without connections, handshakes, and attaching.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Serialize;
use tlsgate_bench::client::{Stop, TlsVersion, run};

use super::target::{Kind, Target};
use super::test::Role;
use crate::measure::load::{plan, round_trips, tls};
use crate::measure::process::{find_program, signal};
use crate::measure::sample::{clean, float};
use crate::measure::scratch::Scratch;

const CONNECTIONS: usize = 50;
const FEW: u64 = 1_000;
/// Longest time for a count; tracing makes servers slow.
const LONGEST: Duration = Duration::from_secs(60);
/// How long a tracer may take to attach; perf does not tell when it has.
const ATTACH: Duration = Duration::from_millis(500);

/// System calls per 100-byte round trip at 50 connections.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SystemCalls {
    pub(crate) target: Kind,
    /// By the gateway itself.
    pub(crate) own: Option<f64>,
    /// By the kernel's tracepoint, which hardly slows the server down.
    pub(crate) kernel: Option<f64>,
    /// By strace, which slows the server down and so makes batches larger.
    pub(crate) traced: Option<f64>,
    /// Those that strace saw, by name.
    pub(crate) names: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug)]
enum Tracer {
    Perf,
    Strace,
}

/// Counts over `many` round trips.
///
/// # Errors
/// When the load fails. A tracer that is missing or may not trace leaves its figures out.
pub(crate) fn measure(
    target: &Target,
    many: u64,
    ca_pem: &str,
    cpu: usize,
    scratch: &Scratch,
) -> Result<SystemCalls, String> {
    let load = |count: u64| -> Result<(), String> {
        let stop = Stop { after: LONGEST, count: Some(count) };
        let tls = Some(tls(TlsVersion::V13, ca_pem));
        let address = target.ports.of(Role::Server);
        let plan = plan(address, tls, round_trips(CONNECTIONS), stop, &[cpu]);
        let report = run(&plan, |_| {}).map_err(|error| error.to_string())?;
        clean(&report)?;
        if report.done == count { Ok(()) } else { Err(format!("{} of {count}", report.done)) }
    };
    let per_trip = |few: u64, all: u64| float(all.saturating_sub(few)) / float(many - FEW);
    // The gateway's own count and the kernel's are of the same round trips.
    let own = |count: u64| -> Result<Option<u64>, String> {
        let before = target.own_count()?;
        load(count)?;
        Ok(before.zip(target.own_count()?).map(|(before, after)| after - before))
    };
    let (mut own_counts, mut kernel, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for count in [FEW, many] {
        let perf = Attached::to(Tracer::Perf, &target.pids, scratch);
        own_counts.extend(own(count)?);
        kernel.extend(perf.and_then(Attached::detach));
    }
    for count in [FEW, many] {
        if let Some(strace) = Attached::to(Tracer::Strace, &target.pids, scratch) {
            let loaded = load(count);
            names.extend(strace.detach());
            loaded?;
        }
    }
    let pair = |counts: &[u64]| match *counts {
        [few, all] => Some(per_trip(few, all)),
        _ => None,
    };
    let sums: Vec<u64> = kernel.iter().map(|counts| counts.values().sum()).collect();
    let names = match names.as_slice() {
        [few, all] => Some(by_name(few, all, per_trip)),
        _ => None,
    };
    Ok(SystemCalls {
        target: target.kind,
        own: pair(&own_counts),
        kernel: pair(&sums),
        traced: names.as_ref().map(|names| names.values().sum()),
        names: names.unwrap_or_default(),
    })
}

type Counts = BTreeMap<String, u64>;

fn by_name(few: &Counts, all: &Counts, each: impl Fn(u64, u64) -> f64) -> BTreeMap<String, f64> {
    all.iter()
        .map(|(name, count)| {
            (name.clone(), each(few.get(name).copied().unwrap_or_default(), *count))
        })
        .collect()
}

/// A tracer at work.
struct Attached {
    tracer: Tracer,
    child: Child,
    output: std::path::PathBuf,
}

impl Attached {
    /// None when there is no such tracer, or it may not trace.
    fn to(tracer: Tracer, pids: &[u32], scratch: &Scratch) -> Option<Self> {
        let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
        let list = pids.join(",");
        let output = scratch.path("trace.txt");
        let (program, flags): (_, &[&str]) = match tracer {
            Tracer::Perf => ("perf", &["stat", "-x,", "-e", "raw_syscalls:sys_enter"]),
            Tracer::Strace => ("strace", &["-c", "-f", "-U", "name,calls"]),
        };
        let mut command = Command::new(find_program(program)?);
        command.args(flags).arg("-o").arg(&output).arg("-p").arg(list);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut attached = Self { tracer, child: command.spawn().ok()?, output };
        std::thread::sleep(ATTACH);
        match attached.child.try_wait() {
            Ok(None) => Some(attached),
            _ => None,
        }
    }

    /// Ends the tracer and reads what it counted, by name.
    fn detach(mut self) -> Option<Counts> {
        signal(&self.child, Signal::INT).ok()?;
        let deadline = Instant::now() + LONGEST;
        while self.child.try_wait().ok()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill().ok()?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        read(self.tracer, &self.output)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Fails when it has ended, as it has after [`Self::detach`].
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read(tracer: Tracer, output: &Path) -> Option<Counts> {
    let text = fs::read_to_string(output).ok()?;
    let counts: Counts = match tracer {
        Tracer::Perf => text.lines().filter_map(perf_line).collect(),
        Tracer::Strace => text.lines().filter_map(strace_line).collect(),
    };
    (!counts.is_empty()).then_some(counts)
}

/// `COUNT,UNIT,EVENT,...`
fn perf_line(line: &str) -> Option<(String, u64)> {
    let mut fields = line.split(',');
    let count = fields.next()?.parse().ok()?;
    let event = fields.nth(1)?;
    event.starts_with("raw_syscalls").then(|| (event.to_owned(), count))
}

/// `NAME CALLS`, between lines of dashes.
fn strace_line(line: &str) -> Option<(String, u64)> {
    let (name, count) = line.trim().split_once(' ')?;
    (name != "total").then_some(())?;
    Some((name.to_owned(), count.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_tracers_write() {
        let line = "4711,,raw_syscalls:sys_enter,1000,100.00,,";
        assert_eq!(perf_line(line), Some(("raw_syscalls:sys_enter".to_owned(), 4711)));
        assert_eq!(perf_line("<not supported>,,raw_syscalls:sys_enter,0,0.00,,"), None);
        assert_eq!(perf_line("# started on Sun Nov 22"), None);
        let text = "syscall       calls\n---------- --------\nread             12\ntotal 12\n";
        let calls: Vec<_> = text.lines().filter_map(strace_line).collect();
        assert_eq!(calls, [("read".to_owned(), 12)]);
    }
}
