//! Many seeds on all cores, each run twice.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tlsgate::conn::outcome::{Cause, Reason};
use tlsgate::engine::sim::trace::What;

use crate::run::{Run, run};

/// What a campaign has seen, to know that it was hostile.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How often each thing was seen, by its name.
    pub(crate) seen: BTreeMap<String, u64>,
    /// The first seed that leads to each landmark.
    pub(crate) landmarks: BTreeMap<&'static str, u64>,
    pub(crate) reports: Vec<String>,
}

/// Runs `seeds`. Stops soon after the first few findings.
pub(crate) fn run_all(seeds: Range<u64>) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let tally = Mutex::new(Tally::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || tally.lock().expect("no panic inside").is_hopeless() {
                return;
            }
            let (run, report) = prove(seed);
            let mut tally = tally.lock().expect("no panic inside");
            tally.count(seed, &run);
            tally.reports.extend(report);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    tally.into_inner().expect("no panic inside")
}

/// Runs a seed twice; a report when something was found.
pub(crate) fn prove(seed: u64) -> (Run, Option<String>) {
    let (first, second) = (run(seed, None), run(seed, None));
    let pairs = first.trace.iter().zip(&second.trace);
    let finding = if let Some(finding) = first.findings.first() {
        Some(finding.clone())
    } else if let Some(at) = pairs.into_iter().position(|(one, other)| one != other) {
        let (one, other) = (&first.trace[at], &second.trace[at]);
        Some(format!("two runs differ in line {at}:\n  {one:?}\n  {other:?}"))
    } else if first.trace.len() != second.trace.len() {
        Some("one of two runs goes on after the other's end".to_owned())
    } else {
        None
    };
    let report = finding.map(|finding| report(seed, &finding, &first));
    (first, report)
}

fn report(seed: u64, finding: &str, run: &Run) -> String {
    let mut report = format!("seed {seed:#x}: {finding}\nhow it came to an end:\n");
    for entry in &run.trace[run.trace.len().saturating_sub(LAST_LINES)..] {
        writeln!(report, "  {entry:?}").expect("in memory");
    }
    let command = "cargo test --test sim replay -- --nocapture";
    write!(report, "replay: TLSGATE_SIM_SEED={seed:#x} {command}").expect("in memory");
    report
}

impl Tally {
    /// Panics with what was found, if anything was.
    pub(crate) fn assert_nothing_found(&self) {
        assert!(self.reports.is_empty(), "\n{}", self.reports.join("\n\n"));
    }

    /// Panics when one of `names` was never seen.
    pub(crate) fn assert_seen(&self, names: &[&str]) {
        let missing: Vec<_> = names.iter().filter(|name| !self.seen.contains_key(**name)).collect();
        assert!(missing.is_empty(), "never seen: {missing:?}, but {:?}", self.seen);
    }

    fn is_hopeless(&self) -> bool {
        self.reports.len() >= 3
    }

    fn count(&mut self, seed: u64, run: &Run) {
        self.see("seed", 1);
        self.see("entry", run.trace.len() as u64);
        self.see("starvation", run.starvations);
        self.see("refused", run.refused);
        for landmark in &run.landmarks {
            let first = self.landmarks.entry(landmark).or_insert(seed);
            *first = seed.min(*first);
        }
        for finish in &run.finishes {
            self.see(finish.outcome.reason.as_str(), 1);
            if finish.outcome.reason == Reason::Overloaded {
                self.see(&format!("shed: {}", finish.outcome.detail.as_deref().unwrap_or("")), 1);
            }
            self.see("byte", finish.outcome.bytes.sent + finish.outcome.bytes.received);
            if finish.policy.generation > 1 {
                self.see("admitted after a reload", 1);
            }
            if let Some(tls) = &finish.outcome.tls {
                let kind = if tls.resumed { "resumed" } else { "full" };
                self.see(&format!("{} {kind}", tls.version), 1);
            }
        }
        for finish in &run.finishes {
            let outcome = &finish.outcome;
            if let Some(tls) = &outcome.upstream_tls {
                let kind = if tls.facts.resumed { "resumed" } else { "full" };
                self.see(&format!("upstream {} {kind}", tls.facts.version), 1);
            }
            if let (Some(down), Some(up)) = (outcome.downstream_security, outcome.upstream_security)
            {
                self.see(&format!("{} to {}", down.as_str(), up.as_str()), 1);
            }
            if outcome.reason == Reason::Truncated && outcome.cause == Cause::Upstream {
                self.see("truncated by the upstream", 1);
            }
        }
        for entry in &run.trace {
            match &entry.what {
                What::GotAcceptFailed { errno, .. } => self.see(&format!("accept {errno}"), 1),
                What::GotFailed { operation, errno, .. } => {
                    self.see(&format!("{operation:?} {errno}"), 1);
                }
                What::DoAdopt { ok: false, .. } => self.see("adopt failed", 1),
                What::GotReceiveClosed { .. } => self.see("FIN", 1),
                What::Note(note) if note.starts_with("Reload") => self.see("reload", 1),
                What::Note(note) if note.starts_with("OthersCome") => self.see("others", 1),
                _ => {}
            }
        }
    }

    fn see(&mut self, name: &str, times: u64) {
        if times > 0 {
            *self.seen.entry(name.to_owned()).or_default() += times;
        }
    }
}

/// Lines of the trace in a report.
const LAST_LINES: usize = 40;
