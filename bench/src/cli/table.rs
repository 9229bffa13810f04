//! A report as tables for people.

use std::time::Duration;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use tlsgate_bench::client::{Effort, ErrorKind, Latency, Report};
use tlsgate_bench::objective::Verdict;

use super::outcome::Part;
use crate::measure::output::short;

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// The whole report, several lines, with a line end.
pub(crate) fn render(report: &Report) -> String {
    let mut text = format!("{}\n", latencies(report));
    text += &format!(
        "{} operations in {}, {:.1} per second; {} errors\n",
        report.done,
        short(report.elapsed),
        report.rate(),
        report.error_count(),
    );
    text += &format!(
        "{} connections; handshakes: {} full, {} resumed{}\n",
        report.connections,
        report.handshakes_full,
        report.handshakes_resumed,
        resumed_share(report)
    );
    text += &format!(
        "sent {}, received {}\n",
        throughput(report.bytes_sent, report.elapsed),
        throughput(report.bytes_received, report.elapsed)
    );
    if let Some(Effort { busy, waiting }) = report.effort {
        let (busy, waiting) = (busy * 100.0, waiting * 100.0);
        text += &format!("client: busiest thread {busy:.0} % busy, {waiting:.0} % without a CPU\n");
    }
    text + &notes(report)
}

/// What else there is to say of a report: several lines or none.
fn notes(report: &Report) -> String {
    let mut text = String::new();
    if let Some(error) = report.rate_error() {
        text += &format!(
            "open loop: {} of {} starts made (rate error {:.2} %), late by {} at p99\n",
            report.due - report.errors_of(ErrorKind::NotStarted),
            report.due,
            error * 100.0,
            short(report.late.quantile(0.99))
        );
    }
    if report.lost > 0 {
        text += &format!("{} connections were lost and came back, or tried to\n", report.lost);
    }
    for (kind, errors) in &report.retried {
        text += &format!("tried again, {kind}: {}, such as: {}\n", errors.count, errors.example);
    }
    for (kind, errors) in &report.errors {
        text += &format!("error {kind}: {}, such as: {}\n", errors.count, errors.example);
    }
    text
}

/// A row for each flow, then what each has to say, several lines with a line end.
pub(super) fn flows(flows: &[Part<'_>]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    let mut head = vec!["flow", "done", "per second", "errors", "connections", "full", "resumed"];
    head.extend(QUANTILES.map(|(name, _)| name));
    head.push("max");
    table.set_header(head);
    for Part { name, report, .. } in flows {
        let mut row = vec![
            (*name).to_owned(),
            report.done.to_string(),
            format!("{:.1}", report.rate()),
            report.error_count().to_string(),
            report.connections.to_string(),
            report.handshakes_full.to_string(),
            report.handshakes_resumed.to_string(),
        ];
        row.extend(QUANTILES.map(|(_, quantile)| short(report.total.quantile(quantile))));
        row.push(short(report.total.max()));
        table.add_row(row);
    }
    align(&mut table);
    let mut text = format!("{table}\n");
    for Part { name, report, floor, no_floor, objectives, warnings } in flows {
        let reason = no_floor.map(|reason| format!("no floor: {reason}\n")).unwrap_or_default();
        let lines = notes(report) + &reason + &remarks(*floor, objectives, warnings);
        lines.lines().for_each(|line| text += &format!("{name}: {line}\n"));
    }
    text
}

/// Of operations, where some resumed.
fn resumed_share(report: &Report) -> String {
    match report.resumed_share() {
        Some(share) if share > 0.0 => format!("; {:.2} % of operations resumed", share * 100.0),
        _ => String::new(),
    }
}

/// What is to be said behind a report, several lines or none.
pub(crate) fn remarks(
    floor: Option<&Report>,
    objectives: &[Verdict],
    warnings: &[String],
) -> String {
    let mut text = String::new();
    if let Some(floor) = floor {
        let at = |quantile| short(floor.total.quantile(quantile));
        text += &format!(
            "floor, against a server in this process: {:.1} per second, p50 {}, p99 {}\n",
            floor.rate(),
            at(0.5),
            at(0.99)
        );
    }
    for Verdict { objective, measured, met } in objectives {
        let measured = measured.as_deref().unwrap_or("nothing to measure it by");
        let word = if *met { "met" } else { "NOT MET" };
        text += &format!("objective {objective}: {word} ({measured})\n");
    }
    for warning in warnings {
        text += &format!("WARNING: {warning}\n");
    }
    text
}

fn latencies(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    let mut head = vec!["phase", "count"];
    head.extend(QUANTILES.map(|(name, _)| name));
    head.push("max");
    table.set_header(head);
    let phases: [(&str, &Latency); 5] = [
        ("connect", &report.connect),
        ("handshake, full", &report.handshake_full),
        ("handshake, resumed", &report.handshake_resumed),
        ("first byte", &report.first_byte),
        ("total", &report.total),
    ];
    for (name, latency) in phases.into_iter().filter(|(_, latency)| latency.count() > 0) {
        let mut row = vec![name.to_owned(), latency.count().to_string()];
        row.extend(QUANTILES.map(|(_, quantile)| short(latency.quantile(quantile))));
        row.push(short(latency.max()));
        table.add_row(row);
    }
    align(&mut table);
    table
}

/// Figures to the right.
fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

#[expect(clippy::cast_precision_loss, reason = "rounded to two digits anyway")]
fn throughput(bytes: u64, elapsed: Duration) -> String {
    let megabytes = bytes as f64 / 1e6;
    let per_second = if elapsed.is_zero() { 0.0 } else { megabytes / elapsed.as_secs_f64() };
    format!("{megabytes:.2} MB ({per_second:.2} MB/s)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_phases_that_happened_have_a_row() {
        let text = render(&Report::default());
        assert!(text.contains("p99.99") && !text.contains("connect "), "{text}");
        assert!(text.contains("0 operations in 0 µs, 0.0 per second; 0 errors"), "{text}");
    }
}
