//! Instructions in user space of two workers against one: callgrind counts them, so nothing that the
//! machine does besides is in it. On epoll: valgrind does not run io_uring's requests.

use std::process::Command;
use std::time::Duration;

use serde::Serialize;
use tlsgate_bench::client::{Stop, run};

use super::Bench;
use super::target::{Kind, Target};
use super::test::Test;
use super::workers::{TESTS, Workers};
use crate::measure::load::{Unit, plan};
use crate::measure::process::{find_program, program};
use crate::measure::rounds::{Measurement, Server};
use crate::measure::sample::{clean, float};

/// Longest time for a load: valgrind makes servers fifty times slower.
const LONGEST: Duration = Duration::from_secs(120);

/// Instructions per unit.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Instructions {
    pub(crate) test: Test,
    pub(crate) workers: Workers,
    pub(crate) each: f64,
}

/// Counts for one worker and for two; nothing where valgrind is not installed.
pub(crate) fn count(
    bench: &Bench<'_>,
    failures: &mut Vec<String>,
    note: &mut dyn FnMut(&str),
) -> Vec<Instructions> {
    let mut found = Vec::new();
    if find_program("callgrind_control").is_none() {
        return found;
    }
    let both = [bench.settings.server_cpu, bench.settings.load_cpu];
    for (workers, cpus) in [(Workers::One, &both[..1]), (Workers::Two, &both[..])] {
        note(&format!("instructions of {}", workers.name()));
        let counted = Target::start_counted(Kind::Epoll, &bench.stage, cpus).and_then(|target| {
            let each = |test| Ok(Instructions { test, workers, each: each(bench, &target, test)? });
            TESTS.into_iter().map(each).collect::<Result<Vec<_>, String>>()
        });
        match counted {
            Ok(counted) => found.extend(counted),
            Err(error) => failures.push(format!("instructions of {}: {error}", workers.name())),
        }
    }
    found
}

/// From a run with few units and one with many; the difference counts. A run before both has what is
/// done only once.
fn each(bench: &Bench<'_>, target: &Target, test: Test) -> Result<f64, String> {
    let (few, many) = match test.unit() {
        Unit::Handshake => (50, 250),
        _ => (500, 4_500),
    };
    let counted = |count: u64| -> Result<u64, String> {
        let before = instructions(target)?;
        let stop = Stop { after: LONGEST, count: Some(count) };
        let (address, tls) = (target.ports.of(test.role()), test.tls(bench.stage.identities));
        let plan = plan(address, tls, test.load(), stop, &[bench.settings.load_cpu]);
        let report = run(&plan, |_| {}).map_err(|error| error.to_string())?;
        clean(&report)?;
        if report.done == count {
            Ok(instructions(target)?.saturating_sub(before))
        } else {
            Err(format!("{} of {count} were done", report.done))
        }
    };
    counted(few)?;
    let (less, more) = (counted(few)?, counted(many)?);
    Ok(float(more.saturating_sub(less)) / float(many - few))
}

/// Of all threads so far.
fn instructions(target: &Target) -> Result<u64, String> {
    let pid = target.pids.first().ok_or("the server has gone")?;
    let mut command = Command::new(program("callgrind_control")?);
    let output = command.arg("-e").arg(pid.to_string()).output();
    let output = output.map_err(|error| format!("cannot run callgrind_control: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    sum(&text).ok_or_else(|| format!("callgrind_control tells nothing: {}", text.trim()))
}

/// The sum of lines like ` Th 7  421,142,854`.
fn sum(text: &str) -> Option<u64> {
    let mut threads = text.lines().filter(|line| line.trim_start().starts_with("Th")).peekable();
    threads.peek()?;
    let count = |line: &str| line.split_whitespace().last()?.replace(',', "").parse::<u64>().ok();
    threads.map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_callgrind_control_tells() {
        let text =
            "PID 7: tlsgate\n\n  Totals:         Ir \n   Th 1    2,521,878 \n   Th10  4,165 \n";
        assert_eq!(sum(text), Some(2_526_043));
        assert_eq!(sum("No active callgrind runs detected.\n"), None);
        assert_eq!(sum("   Th 1    ? \n"), None);
    }
}
