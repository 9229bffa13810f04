//! What came of it, as tables.

use std::collections::BTreeMap;
use std::time::Duration;

use tlsgate_bench::client::{ErrorKind, Errors};

use super::Results;
use super::cases::Case;
use super::found::{Flows, Found, Ran, Rounds, count};
use crate::measure::output::{Parts, Style, dash, digits, headed, remarks, short};
use crate::measure::rounds::Server as _;
use crate::measure::sample::float;
use crate::measure::statistics::Quartiles;
use crate::peers::target::Kind;

/// Everything, for people.
pub(crate) fn render(results: &Results, style: Style) -> String {
    let parts = [
        (
            "Scenarios: medians of rounds; failed, tried again and lost of all rounds",
            overview(results),
        ),
        ("Flows", flows(results, None)),
    ];
    let foreign = Quartiles::of(results.runs.iter().map(|ran| ran.used.foreign_share));
    let said = remarks(foreign, &results.left_out, &results.failures);
    headed(parts, style) + &examples(results) + &doubts(results) + &said
}

/// The scenarios that ran, in order.
pub(super) fn cases(results: &Results) -> Vec<Case> {
    let ran = |case: &Case| results.runs.iter().any(|ran| ran.case == *case);
    Case::ALL.into_iter().filter(ran).collect()
}

/// The servers that took part, in order.
pub(super) fn targets(results: &Results) -> Vec<Kind> {
    let ran = |kind: &Kind| results.runs.iter().any(|ran| ran.target == *kind);
    Kind::ALL.into_iter().filter(ran).collect()
}

/// A row for each scenario and server.
pub(super) fn overview(results: &Results) -> Parts {
    let head = [
        "scenario",
        "server",
        "done",
        "failed",
        "tried again",
        "lost",
        "all back after",
        "CPU µs each",
        "CPU",
        "memory",
        "objectives held",
        "new certificate in 1 s",
    ];
    let mut rows = Vec::new();
    for case in cases(results) {
        for target in targets(results) {
            let rounds = Rounds::of(&results.runs, case, target);
            if !rounds.0.is_empty() {
                rows.push(overview_row(case, target, &rounds));
            }
        }
    }
    (head.map(str::to_owned).to_vec(), rows)
}

fn overview_row(case: Case, target: Kind, rounds: &Rounds<'_>) -> Vec<String> {
    let all: Vec<Flows<'_>> = (0..rounds.flows()).map(|number| rounds.flow(number)).collect();
    let sum = |of: &dyn Fn(&Found) -> u64| all.iter().map(|flows| flows.sum(of)).sum::<u64>();
    let done = |ran: &Ran| float(ran.flows.iter().map(|found| found.done).sum());
    let [held, of] = rounds.objectives();
    let [seen, rotations] = rounds.rotations();
    let lost = sum(&|found| found.lost);
    let cost = rounds.median(|ran| ran.used.cpu.as_secs_f64() * 1e6 / done(ran).max(1.0));
    let share = rounds.median(|ran| ran.used.cpu.as_secs_f64() / ran.used.wall.as_secs_f64());
    let resident = rounds.median(|ran| float(ran.used.resident));
    vec![
        case.name().to_owned(),
        target.name().to_owned(),
        rounds.median(done).map_or_else(dash, |done| format!("{done:.0}")),
        sum(&|found| count(&found.errors)).to_string(),
        sum(&|found| count(&found.retried)).to_string(),
        lost.to_string(),
        match rounds.back() {
            Some(back) => format!("{:.1} s", back.as_secs_f64()),
            None if lost > 0 => "not all".to_owned(),
            None => dash(),
        },
        cost.map_or_else(dash, digits),
        share.map_or_else(dash, |share| format!("{:.0} %", share * 100.0)),
        resident.map_or_else(dash, |bytes| format!("{:.0} MB", bytes / 1e6)),
        format!("{held} of {of}"),
        if rotations > 0 { format!("{seen} of {rotations}") } else { dash() },
    ]
}

/// A row for each flow of each server, of one scenario or of all.
pub(super) fn flows(results: &Results, only: Option<Case>) -> Parts {
    let head = [
        "scenario",
        "flow",
        "server",
        "connections",
        "done",
        "failed",
        "tried again",
        "lost",
        "resumed",
        "p50",
        "p99",
        "p99.9",
        "longest",
        "objectives not held",
    ];
    let mut rows = Vec::new();
    for case in cases(results).into_iter().filter(|case| only.is_none_or(|only| only == *case)) {
        let rounds = |target| Rounds::of(&results.runs, case, target);
        let targets = targets(results);
        let most = targets.iter().map(|target| rounds(*target).flows()).max().unwrap_or(0);
        for number in 0..most {
            for target in &targets {
                let flows = rounds(*target).flow(number);
                if let Some(first) = flows.0.first() {
                    rows.push(flow_row(case, *target, first, &flows));
                }
            }
        }
    }
    (head.map(str::to_owned).to_vec(), rows)
}

fn flow_row(case: Case, target: Kind, first: &Found, flows: &Flows<'_>) -> Vec<String> {
    let has_any = flows.sum(|found| found.done) > 0;
    let time = |of: fn(&Found) -> Duration| {
        let middle = flows.middle(|found| of(found).as_secs_f64());
        if has_any { short(Duration::from_secs_f64(middle)) } else { dash() }
    };
    let not_held: Vec<String> = flows
        .objectives()
        .into_iter()
        .filter(|(_, met, of)| met < of)
        .map(|(objective, met, of)| match of {
            1 => objective,
            _ => format!("{objective} (held in {met} of {of})"),
        })
        .collect();
    let number = |count: u64| if count == 0 { dash() } else { count.to_string() };
    vec![
        case.name().to_owned(),
        first.name.clone(),
        target.name().to_owned(),
        first.connections.to_string(),
        format!("{:.0}", flows.middle(|found| float(found.done))),
        kinds(&flows.kinds(|found| &found.errors)),
        kinds(&flows.kinds(|found| &found.retried)),
        number(flows.sum(|found| found.lost)),
        number(flows.sum(|found| found.resumed)),
        time(|found| found.took.p50),
        time(|found| found.took.p99),
        time(|found| found.took.p999),
        time(|found| found.took.longest),
        if not_held.is_empty() { dash() } else { not_held.join(", ") },
    ]
}

fn kinds(kinds: &BTreeMap<ErrorKind, Errors>) -> String {
    let each = |(kind, errors): (&ErrorKind, &Errors)| format!("{} {kind}", errors.count);
    let each: Vec<String> = kinds.iter().map(each).collect();
    if each.is_empty() { dash() } else { each.join(", ") }
}

/// An example of each kind of failure: a line for each.
fn examples(results: &Results) -> String {
    let mut lines = String::new();
    for case in cases(results) {
        for target in targets(results) {
            let rounds = Rounds::of(&results.runs, case, target);
            for number in 0..rounds.flows() {
                let flows = rounds.flow(number);
                let name = flows.0.first().map_or("", |found| &found.name);
                for (kind, Errors { count, example }) in flows.kinds(|found| &found.errors) {
                    let (case, target) = (case.name(), target.name());
                    lines += &format!(
                        "{case} over {target}, {name}: {count} {kind}, such as: {example}\n"
                    );
                }
            }
        }
    }
    lines
}

/// Where flows may say more about the client than about the server: a line for each.
fn doubts(results: &Results) -> String {
    let mut lines = String::new();
    for case in cases(results) {
        for target in targets(results) {
            let rounds = Rounds::of(&results.runs, case, target);
            let mut names: Vec<&str> = Vec::new();
            for number in 0..rounds.flows() {
                let flows = rounds.flow(number);
                if let Some(doubted) = flows.0.iter().find(|found| !found.warnings.is_empty()) {
                    names.push(&doubted.name);
                }
            }
            if !names.is_empty() {
                lines += &format!(
                    "{} over {}: the client, which shares a CPU with the components, may have been the \
                     limit of {}.\n",
                    case.name(),
                    target.name(),
                    names.join(", ")
                );
            }
        }
    }
    lines
}
