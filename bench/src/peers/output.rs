//! Results as tables.

use std::collections::BTreeMap;
use std::time::Duration;

use tlsgate_bench::client::ErrorKind;

use super::goals::verdicts;
use super::summary::REFERENCE;
use super::target::Kind;
use super::test::Test;
use super::workers::{self, Workers};
use super::{Instructions, Latencies, Memory, Results, Row, Storm, SystemCalls};
use crate::measure::output::{
    Parts, Style, by_server, dash, headed, per_second, quote, quote_times, remarks, short,
};
use crate::measure::rounds::{Measurement, Server};
use crate::measure::summary::figure;

/// All tables, each under its heading.
pub(crate) fn render(results: &Results, style: Style) -> String {
    let parts = [
        ("Goals", goals(results)),
        ("Cost: median [quartiles]", costs(results)),
        ("Beside the best peer and the floor: medians of per-round ratios", beside(results)),
        ("tlsgate io_uring's cost relative to others'", ratios(results)),
        ("Share of its CPU that the server used, and rate", saturation(results)),
        ("Latency where all are offered the same", latencies(results)),
        ("Memory per idle TLS 1.3 connection, bytes", memory(results)),
        ("Flows in a storm of handshakes", storms(results)),
        ("Two workers against one", of_workers(results)),
        ("Two workers against one: instructions in user space, epoll", counted(results)),
        ("System calls per 100-byte round trip (two messages), 50 connections", calls(results)),
    ];
    let speed = results.speed().map_or_else(String::new, |speed| {
        format!("The servers' CPU made {} P-256 signatures per second.\n", quote(Some(speed)))
    });
    let rest = remarks(results.foreign(), &results.left_out, &results.failures);
    headed(parts, style) + &speed + &rest
}

fn head(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn goals(results: &Results) -> Parts {
    let rows = verdicts(results).into_iter().map(|verdict| {
        let holds = if verdict.holds { "holds" } else { "MISSED" };
        let super::goals::Verdict { figure, found, against, at_most, .. } = verdict;
        vec![figure, against, found, at_most, holds.to_owned()]
    });
    let head = head(&["figure", "against", "found", "at most (stretch)", ""]);
    (head, rows.collect())
}

fn costs(results: &Results) -> Parts {
    let cell = |test, kind| quote(results.cost(test, kind));
    let (head, mut rows) = by_server(&results.tests(), &results.kinds(), cell);
    let spreads: Vec<_> = results.kinds().into_iter().map(|kind| results.spread(kind)).collect();
    if spreads.iter().any(Option::is_some) {
        let mut row = vec!["round trip at 1,000 over at 50 connections".to_owned()];
        row.extend(spreads.into_iter().map(quote));
        rows.push(row);
    }
    (head, rows)
}

fn beside(results: &Results) -> Parts {
    let head = head(&[
        "measurement",
        "best peer",
        "tlsgate over it",
        "the same by CPU speed",
        "tlsgate over the floor",
    ]);
    let rows = results.tests().into_iter().filter_map(|test| {
        results.cost(test, REFERENCE)?;
        let peer = results.best_peer(test);
        Some(vec![
            test.name().to_owned(),
            peer.map_or_else(dash, |peer| peer.name().to_owned()),
            quote(peer.and_then(|peer| results.ratio(test, peer))),
            quote(peer.and_then(|peer| results.ratio_by_speed(test, peer))),
            quote(results.over_floor(test)),
        ])
    });
    (head, rows.collect())
}

fn ratios(results: &Results) -> Parts {
    let kinds = results.kinds();
    if !kinds.contains(&REFERENCE) {
        return (Vec::new(), Vec::new());
    }
    let others: Vec<Kind> =
        kinds.into_iter().filter(|kind| *kind != REFERENCE && !kind.is_floor()).collect();
    by_server(&results.tests(), &others, |test, kind| quote(results.ratio(test, kind)))
}

fn saturation(results: &Results) -> Parts {
    let cell = |test: Test, kind| {
        let median = |figure: fn(&Row) -> f64| {
            results.figure(test, kind, figure).map(|quartiles| quartiles.median)
        };
        let share = median(|row| row.sample.saturation() * 100.0);
        let user = median(|row| row.sample.user_share * 100.0);
        let rate = median(|row| row.sample.rate());
        match (share, user, rate) {
            (Some(share), Some(user), Some(rate)) => {
                format!("{share:.0} % (user {user:.0} %), {}", per_second(test.unit(), rate))
            }
            _ => dash(),
        }
    };
    let mut servers = results.kinds();
    servers.retain(|kind| *kind != Kind::Memory);
    let (mut head, mut rows) = by_server(&results.tests(), &servers, cell);
    head.push("client alone, plaintext".to_owned());
    for (row, test) in rows.iter_mut().zip(results.tests()) {
        let direct = results.direct.iter().find(|direct| direct.test == test);
        row.push(direct.map_or_else(dash, |direct| per_second(test.unit(), direct.rate)));
    }
    (head, rows)
}

fn latencies(results: &Results) -> Parts {
    let head = head(&["load", "server", "done", "p50", "p99", "p99.9", "longest", "errors"]);
    let row = |one: &Latencies| {
        let per_second = |rate: f64| per_second(one.test.unit(), rate);
        let at = |quantile| short(one.total.quantile(quantile));
        vec![
            format!("{}, {}", one.test.name(), per_second(one.offered)),
            one.target.name().to_owned(),
            per_second(one.done),
            at(0.5),
            at(0.99),
            at(0.999),
            short(one.total.max()),
            one.errors.to_string(),
        ]
    };
    let mut sorted: Vec<&Latencies> = results.latencies.iter().collect();
    sorted.sort_by_key(|one| (one.test, one.target));
    (head, sorted.into_iter().map(row).collect())
}

fn memory(results: &Results) -> Parts {
    let head = head(&[
        "server",
        "from and to connections",
        "no data yet",
        "after a round trip",
        "RSS, after",
    ]);
    let row = |memory: &Memory| {
        let bytes = |bytes: f64| format!("{bytes:.0}");
        let [few, many] = memory.connections;
        vec![
            memory.target.name().to_owned(),
            format!("{few}, {many}"),
            bytes(memory.fresh.pss),
            bytes(memory.used.pss),
            bytes(memory.used.rss),
        ]
    };
    (head, results.memory.iter().map(row).collect())
}

fn storms(results: &Results) -> Parts {
    let head = head(&[
        "server",
        "handshakes at most",
        "offered",
        "begun",
        "completed",
        "of the most, %",
        "flows, calm p99",
        "storm p50",
        "p99",
        "p99.9",
        "longest",
        "stolen of both CPUs",
        "others, all storms",
        "flows' errors, all storms",
    ]);
    let row = |kind: Kind| {
        let rate = |figure: fn(&Storm) -> f64| {
            let found = results.storm(kind, figure);
            found.map_or_else(dash, |found| format!("{:.0}/s", found.median))
        };
        let time = |figure: fn(&Storm) -> Duration| {
            quote_times(results.storm(kind, |storm| figure(storm).as_secs_f64()))
        };
        let of_all = |figure: fn(&Storm) -> &BTreeMap<ErrorKind, u64>| {
            let mut sums: BTreeMap<ErrorKind, u64> = BTreeMap::new();
            let storms = results.storms.iter().filter(|storm| storm.target == kind);
            for (error, count) in storms.flat_map(figure) {
                *sums.entry(*error).or_default() += count;
            }
            let each = sums.iter().map(|(error, count)| format!("{count} {error}"));
            let text = each.collect::<Vec<_>>().join(", ");
            if text.is_empty() { dash() } else { text }
        };
        vec![
            kind.name().to_owned(),
            rate(|storm| storm.peak),
            rate(|storm| storm.offered),
            rate(|storm| storm.begun),
            rate(|storm| storm.completed),
            quote(results.storm(kind, |storm| storm.completed * 100.0 / storm.peak)),
            time(|storm| storm.calm.p99),
            time(|storm| storm.storm.p50),
            time(|storm| storm.storm.p99),
            time(|storm| storm.storm.p999),
            time(|storm| storm.storm.longest),
            time(|storm| storm.stolen),
            of_all(|storm| &storm.failed),
            of_all(|storm| &storm.lost),
        ]
    };
    (head, results.stormed().into_iter().map(row).collect())
}

fn of_workers(results: &Results) -> Parts {
    let both = [Workers::One, Workers::Two];
    let cell = |test, count| quote(figure(&results.workers, (test, count), |row| row.sample.cost));
    if results.workers.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let (mut head, mut rows) = by_server(&workers::TESTS, &both, cell);
    head.push("two over one".to_owned());
    for (row, test) in rows.iter_mut().zip(workers::TESTS) {
        row.push(quote(results.two_over_one(test)));
    }
    (head, rows)
}

fn counted(results: &Results) -> Parts {
    let head = head(&["measurement", "workers", "instructions each"]);
    let row = |one: &Instructions| {
        vec![one.test.name().to_owned(), one.workers.name().to_owned(), format!("{:.0}", one.each)]
    };
    (head, results.instructions.iter().map(row).collect())
}

fn calls(results: &Results) -> Parts {
    let head = head(&["server", "kernel's count", "own count", "under strace", "most frequent"]);
    let number = |number: Option<f64>| number.map_or_else(dash, |number| format!("{number:.3}"));
    let row = |calls: &SystemCalls| {
        let mut names: Vec<_> = calls.names.iter().collect();
        names.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let names = names.iter().take(4).map(|(name, count)| format!("{name} {count:.2}"));
        vec![
            calls.target.name().to_owned(),
            number(calls.kernel),
            number(calls.own),
            number(calls.traced),
            names.collect::<Vec<_>>().join(", "),
        ]
    };
    (head, results.system_calls.iter().map(row).collect())
}
