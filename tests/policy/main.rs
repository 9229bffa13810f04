//! Rules by the million: how long a lookup takes beside one probe of a hash table and beside the
//! naive matcher, that it allocates nothing, and what the table costs in memory and time.
//!
//! A program of its own, because its allocator counts.

mod rules;

use std::alloc::System;
use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rules::Connection;
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tlsgate::policy::rules::{RuleSpec, RuleTable, naive};
use tlsgate_corpus::rng::Rng;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MILLION: usize = 1_000_000;
/// A multiple of one probe of `HashMap<String, u32>` of as many names.
const MOST_PROBES: f64 = 3.0;
const MOST_BYTES_PER_RULE: f64 = 120.0;
const MOST_COMPILING: Duration = Duration::from_secs(3);
/// Each measures both, so that what disturbs one disturbs the other.
const ROUNDS: usize = 15;
const CONNECTIONS: usize = 200_000;

/// The table of a few thousand rules says what the naive matcher says, and lookups allocate nothing.
#[test]
fn lookups_allocate_nothing() {
    let mut rng = Rng::new(1);
    let specs = rules::specs(3_000, &mut rng);
    let table = RuleTable::compile(&specs).expect("no two rules are the same");
    let connections = rules::connections(&specs, 2_000, &mut rng);
    let region = Region::new(ALLOCATOR);
    let found: u32 = connections.iter().map(|connection| found(&table, connection)).sum();
    assert_eq!(region.change().allocations, 0);
    assert!(found > 1_500, "{found} of 2000 connections are found");
    for connection in connections.iter().step_by(20) {
        let facts = connection.facts();
        assert_eq!(table.lookup(&facts), naive::lookup(&specs, &facts), "{connection:?}");
    }
}

#[test]
#[ignore = "a check: tests/run"]
fn rules_million() {
    let mut rng = Rng::new(2);
    let specs = rules::specs(MILLION, &mut rng);
    // Neighbours only ever add to the time; the memory is always the same.
    let compiled = [(); 3].map(|()| compile(&specs));
    let [(_, first, _), (_, second, _), (table, third, live)] = compiled;
    let compiling = first.min(second).min(third);
    let bytes = live as f64 / MILLION as f64;
    let connections = rules::connections(&specs, CONNECTIONS, &mut rng);
    let rounds = measure(&table, &connections, &mut rng);
    let naive = naive_time(&specs, &connections);
    let single = single_times(&table, &connections);
    println!("{} rules, {} connections, medians of {ROUNDS} rounds", table.len(), CONNECTIONS);
    println!("lookup                         {:>9.0} ns", rounds.lookup);
    println!("lookup, name nobody has        {:>9.0} ns", rounds.stranger);
    println!("  one at a time, with a clock  {:>9} ns median, {} ns p99", single.0, single.1);
    println!("probe of HashMap<String, u32>  {:>9.0} ns", rounds.probe);
    println!("probe of HashMap<u64, u32>     {:>9.0} ns", rounds.number_probe);
    println!("naive matcher                  {:>9.0} ns", naive.as_secs_f64() * 1e9);
    println!("lookup / probe                 {:>9.2}", rounds.ratio);
    println!("table                          {bytes:>9.1} bytes a rule, with names of rules");
    println!(
        "compiling                      {:>9.2} s of processor time, best of 3",
        compiling.as_secs_f64()
    );
    println!("allocations in lookups         {:>9}", rounds.allocations);
    assert!(rounds.ratio <= MOST_PROBES, "a lookup costs {:.2} probes", rounds.ratio);
    assert!(bytes <= MOST_BYTES_PER_RULE, "{bytes:.1} bytes a rule");
    assert!(compiling <= MOST_COMPILING, "compiling took {compiling:?}");
    assert_eq!(rounds.allocations, 0);
}

/// The table, how long it took, and the bytes that it holds.
fn compile(specs: &[RuleSpec]) -> (RuleTable, Duration, usize) {
    let region = Region::new(ALLOCATOR);
    let start = processor_time();
    let table = RuleTable::compile(specs).expect("no two rules are the same");
    let took = processor_time() - start;
    let change = region.change();
    (table, took, change.bytes_allocated - change.bytes_deallocated)
}

fn found(table: &RuleTable, connection: &Connection) -> u32 {
    u32::from(table.lookup(&connection.facts()).is_some())
}

struct Rounds {
    /// Nanoseconds.
    lookup: f64,
    stranger: f64,
    probe: f64,
    number_probe: f64,
    /// Of lookup and probe of the same round.
    ratio: f64,
    allocations: usize,
}

fn measure(table: &RuleTable, connections: &[Connection], rng: &mut Rng) -> Rounds {
    let names: HashMap<String, u32> =
        (0..).map(|value| (rules::name(rng), value)).take(MILLION).collect();
    let numbers: HashMap<u64, u32> = (0..).map(|value| (rng.next(), value)).take(MILLION).collect();
    let keys: Vec<String> = sample(names.keys(), CONNECTIONS, rng).into_iter().cloned().collect();
    let number_keys: Vec<u64> =
        sample(numbers.keys(), CONNECTIONS, rng).into_iter().copied().collect();
    let strangers: Vec<Connection> = (0..CONNECTIONS).map(|_| rules::stranger(rng)).collect();
    let [mut lookup, mut stranger, mut probe, mut number_probe, mut ratio] =
        [const { Vec::new() }; 5];
    let mut allocations = 0;
    for _ in 0..ROUNDS {
        let region = Region::new(ALLOCATOR);
        let lookups = each(connections, |connection| found(table, connection));
        let of_strangers = each(&strangers, |connection| found(table, connection));
        allocations += region.change().allocations;
        let probes = each(&keys, |key| names[key]);
        number_probe.push(each(&number_keys, |key| numbers[key]));
        lookup.push(lookups);
        stranger.push(of_strangers);
        probe.push(probes);
        ratio.push(lookups / probes);
    }
    Rounds {
        lookup: median(lookup),
        stranger: median(stranger),
        probe: median(probe),
        number_probe: median(number_probe),
        ratio: median(ratio),
        allocations,
    }
}

/// Nanoseconds for one of many.
fn each<T>(all: &[T], ask: impl Fn(&T) -> u32) -> f64 {
    let start = processor_time();
    let mut sum = 0u32;
    for one in all {
        sum = sum.wrapping_add(ask(black_box(one)));
    }
    black_box(sum);
    (processor_time() - start).as_secs_f64() * 1e9 / all.len() as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Median and 99th percentile of single lookups, in nanoseconds; with what reading the clock takes.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn single_times(table: &RuleTable, connections: &[Connection]) -> (u128, u128) {
    let time = |connection| {
        let start = Instant::now();
        black_box(found(table, black_box(connection)));
        start.elapsed().as_nanos()
    };
    let mut times: Vec<u128> = connections.iter().map(time).collect();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// The naive matcher on the same rules and some of the connections.
fn naive_time(specs: &[RuleSpec], connections: &[Connection]) -> Duration {
    const SOME: u32 = 10;
    let start = processor_time();
    for connection in connections.iter().take(SOME as usize) {
        black_box(naive::lookup(specs, &connection.facts()));
    }
    (processor_time() - start) / SOME
}

/// What this thread has had of a processor: whoever else runs on the machine counts less than by a
/// clock on the wall.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("since the thread's start");
    let nanos = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanos)
}

/// Some of many.
fn sample<T>(all: impl Iterator<Item = T>, count: usize, rng: &mut Rng) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    for at in 0..count {
        let other = at + rng.below(all.len() - at);
        all.swap(at, other);
    }
    all.truncate(count);
    all
}
