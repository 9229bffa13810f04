//! Runs a target on inputs that a seed decides, and keeps what was found.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tlsgate_corpus::mutate::mutate;
use tlsgate_corpus::rng::Rng;

use crate::targets::Target;

/// Longest time for one input, on a slow and busy machine without optimisation.
const PATIENCE: Duration = Duration::from_secs(20);
/// Runs that making a finding smaller may take.
const MAX_SHRINKING: usize = 2_000;

/// What an input made a target say.
#[derive(Debug)]
pub struct Finding {
    pub input: Vec<u8>,
    pub message: String,
}

/// Which inputs to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Number of the first input.
    pub from: u64,
    pub until: Until,
}

#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// That many inputs were run.
    Count(u64),
    /// It is that late.
    Time(Instant),
}

/// Runs `target` on the inputs of `plan`. Returns how many there were, or the first finding, made
/// small.
///
/// An input depends on seed and number alone, so that any one can be run again by itself.
pub fn run(target: &Target, plan: Plan) -> Result<u64, Finding> {
    let seeds = (target.seeds)();
    let current = AtomicU64::new(plan.from);
    watched(target, plan.seed, &current, || {
        let mut number = plan.from;
        while !plan.until.is_reached(number - plan.from) {
            current.store(number, Ordering::Relaxed);
            let input = input(target, &seeds, plan.seed, number);
            if let Err(message) = try_input(target, &input) {
                return Err(shrink(target, Finding { input, message }));
            }
            number += 1;
        }
        Ok(number - plan.from)
    })
}

impl Until {
    #[expect(clippy::disallowed_methods, reason = "an edge: a run for a time")]
    fn is_reached(self, done: u64) -> bool {
        match self {
            Self::Count(count) => done >= count,
            Self::Time(end) => Instant::now() >= end,
        }
    }
}

fn input(target: &Target, seeds: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
    if rng.one_in(2) {
        return (target.generate)(&mut rng);
    }
    let (input, other) = (rng.below(seeds.len()), rng.below(seeds.len()));
    mutate(&mut rng, &seeds[input], &seeds[other])
}

/// Runs one input.
///
/// # Errors
/// The message of the panic.
pub fn try_input(target: &Target, input: &[u8]) -> Result<(), String> {
    install_hook();
    LAST_PANIC.with_borrow_mut(|last| *last = Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let message = LAST_PANIC.with_borrow_mut(Option::take).unwrap_or_default();
    result.map_err(|_| message)
}

thread_local! {
    /// `None` while no input runs on this thread: its panics are shown as always.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the messages of panics in inputs, which are many while a finding is made small.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept = LAST_PANIC.with_borrow_mut(|last| {
                last.as_mut().map(|last| *last = info.to_string()).is_some()
            });
            if !kept {
                shown(info);
            }
        }));
    });
}

/// Leaves out of a finding what it does without.
fn shrink(target: &Target, mut finding: Finding) -> Finding {
    let mut runs = 0;
    let mut length = finding.input.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at < finding.input.len() && runs < MAX_SHRINKING {
            let mut shorter = finding.input.clone();
            shorter.drain(at..shorter.len().min(at + length));
            runs += 1;
            match try_input(target, &shorter) {
                Err(message) => finding = Finding { input: shorter, message },
                Ok(()) => at += length,
            }
        }
        length /= 2;
    }
    finding
}

/// Runs `work`, and ends the process when `current` stays the same for too long.
fn watched<T>(target: &Target, seed: u64, current: &AtomicU64, work: impl FnOnce() -> T) -> T {
    let (done, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut last = u64::MAX;
            while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let now = current.load(Ordering::Relaxed);
                if now == last {
                    let name = target.name;
                    eprintln!("{name}: hangs: --seed {seed} --from {now} --count 1 {name}");
                    std::process::abort();
                }
                last = now;
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Where the findings of a target are kept.
pub fn regressions(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target.name)
}

/// Keeps a finding, by a name that its bytes decide.
///
/// # Errors
/// When the source cannot be written.
pub fn keep(target: &Target, finding: &Finding) -> io::Result<PathBuf> {
    let folder = regressions(target);
    fs::create_dir_all(&folder)?;
    let mut hasher = DefaultHasher::new();
    finding.input.hash(&mut hasher);
    let path = folder.join(format!("{:016x}", hasher.finish()));
    fs::write(&path, &finding.input)?;
    Ok(path)
}

/// The findings of a target that are kept, with their files.
///
/// # Errors
/// When the source cannot be read.
pub fn kept(target: &Target) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = regressions(target);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let input = fs::read(&path)?;
        kept.push((path, input));
    }
    kept.sort();
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics at a byte 7 right behind a byte 200.
    const FRAGILE: Target = Target {
        name: "fragile",
        about: "",
        seeds: || vec![vec![0; 30]],
        generate: |rng| rng.bytes(60),
        run: |input| {
            let breaks = input.windows(2).any(|two| two == [200, 7]);
            assert!(!breaks, "broken");
        },
        bounded: 0,
    };

    fn inputs(seed: u64) -> Vec<Vec<u8>> {
        let seeds = (FRAGILE.seeds)();
        (0..50).map(|number| input(&FRAGILE, &seeds, seed, number)).collect()
    }

    #[test]
    fn a_seed_decides_every_input() {
        assert_eq!(inputs(3), inputs(3));
        assert_ne!(inputs(3), inputs(4));
    }

    #[test]
    fn a_finding_is_made_small() {
        let plan = Plan { seed: 1, from: 0, until: Until::Count(1_000_000) };
        let finding = run(&FRAGILE, plan).expect_err("it breaks");
        assert_eq!(finding.input, [200, 7]);
        assert!(finding.message.contains("broken"), "{}", finding.message);
        assert_eq!(try_input(&FRAGILE, &[200, 8]), Ok(()));
    }
}
