//! What the demo shows, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use tlsgate_bench::client::ErrorKind;

use super::certificates::Certificates;
use super::drive::{Driven, Unit, bytes_of};
use super::figures;
use super::setup::Setup;
use crate::app::{self, Gateway};
use crate::telemetry::snapshot::{Digest, PercentileRow, QUANTILES, Span};
use crate::telemetry::{Phase, Snapshot};

/// The result.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    version: &'static str,
    engine: &'static str,
    engine_reason: String,
    workers: usize,
    kernel: String,
    phases: Vec<PhaseRow>,
    work: Vec<WorkRow>,
    /// System calls of the gateway's engine for each message that went there and back.
    system_calls_per_message: Option<f64>,
    /// Errors that the client saw; one makes the demo fail.
    pub(super) errors: u64,
    listen: String,
    admin: String,
    configuration: String,
    /// What to try while the demo is up.
    commands: Vec<String>,
}

/// A line of the gateway's own histograms.
#[derive(Debug, Serialize)]
struct PhaseRow {
    phase: &'static str,
    /// Of connections with which handshake: full or resumed.
    kind: &'static str,
    count: u64,
    percentiles_us: BTreeMap<&'static str, u64>,
    max_us: u64,
    #[serde(skip)]
    digest: Digest,
}

/// What the client saw of one kind of work.
#[derive(Debug, Serialize)]
struct WorkRow {
    name: &'static str,
    connections: usize,
    done: u64,
    per_second: f64,
    megabytes_per_second: Option<f64>,
    p50_us: u64,
    p99_us: u64,
    errors: BTreeMap<ErrorKind, tlsgate_bench::client::Errors>,
    #[serde(skip)]
    rate: String,
    #[serde(skip)]
    quantiles: [String; 2],
}

/// The lines above the progress bar.
pub(super) fn heading(setup: &Setup, certificates: &Certificates, gateway: &Gateway) -> String {
    let engine = gateway.engine();
    let made = match &certificates.made_because {
        None => "kept from an earlier run".to_owned(),
        Some(reason) => format!("new, since {reason}"),
    };
    let lines = [
        ("engine", format!("{} ({})", engine.engine.as_str(), engine.reason)),
        ("workers", format!("{}, one per CPU", app::default_count())),
        ("machine", format!("{}; client and backend run on it too", kernel())),
        ("certificate", format!("ECDSA P-256, {made}")),
        ("files", setup.directory.display().to_string()),
    ];
    let mut text = format!("tlsgate {} demo\n\n", env!("CARGO_PKG_VERSION"));
    for (name, value) in lines {
        let _infallible = writeln!(text, "  {name:<12} {value}");
    }
    text.push('\n');
    text
}

impl Summary {
    pub(super) fn new(
        setup: &Setup,
        gateway: &Gateway,
        snapshot: &Snapshot,
        driven: &[Driven],
    ) -> Self {
        let engine = gateway.engine();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            engine: engine.engine.as_str(),
            engine_reason: engine.reason.clone(),
            workers: snapshot.shards.len(),
            kernel: kernel(),
            phases: phases(&snapshot.rows()),
            work: driven.iter().map(WorkRow::new).collect(),
            system_calls_per_message: system_calls_per_message(driven),
            errors: driven.iter().map(|driven| driven.report.error_count()).sum(),
            listen: setup.listen.to_string(),
            admin: setup.admin.to_string(),
            configuration: setup.configuration_file().display().to_string(),
            commands: commands(setup),
        }
    }

    /// One object, on one line.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("keys are strings and no number is infinite")
    }

    /// Both tables, and errors if there were any.
    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "What the gateway measured, phase by phase\n{}\n\nWhat the client saw\n{}\n",
            self.phase_table(),
            self.work_table()
        );
        let add = |text: &mut String, line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        if let Some(calls) = self.system_calls_per_message {
            add(
                &mut text,
                format!("  system calls of the gateway for a message there and back: {calls:.2}"),
            );
        }
        add(&mut text, format!("  errors: {}", self.errors));
        for work in &self.work {
            for (kind, errors) in &work.errors {
                let (count, example) = (errors.count, &errors.example);
                add(&mut text, format!("    {}: {count} {kind}, such as: {example}", work.name));
            }
        }
        text
    }

    /// What to do next.
    pub(super) fn invitation(&self) -> String {
        let mut text = "\nIt stays up until Ctrl-C. In another terminal:\n\n".to_owned();
        for command in &self.commands {
            let _infallible = writeln!(text, "  {command}");
        }
        text.push('\n');
        text
    }

    fn phase_table(&self) -> Table {
        let mut head = vec!["phase", "kind", "count"];
        head.extend(QUANTILES.map(|(_, name)| name));
        head.push("max");
        let mut table = table(head, 2);
        for row in &self.phases {
            let mut cells = vec![title(row.phase), row.kind.to_owned()];
            cells.push(figures::count(row.count));
            cells.extend(row.digest.quantiles.map(figures::duration));
            cells.push(figures::duration(row.digest.max));
            table.add_row(cells);
        }
        table
    }

    fn work_table(&self) -> Table {
        let mut table = table(vec!["work", "connections", "done", "rate", "p50", "p99"], 1);
        for work in &self.work {
            let [p50, p99] = work.quantiles.clone();
            table.add_row(vec![
                work.name.to_owned(),
                work.connections.to_string(),
                figures::count(work.done),
                work.rate.clone(),
                p50,
                p99,
            ]);
        }
        table
    }
}

impl WorkRow {
    fn new(driven: &Driven) -> Self {
        let Driven { task, report, .. } = driven;
        let (per_second, bytes) = (report.rate(), bytes_of(task));
        let quantiles = [0.5, 0.99].map(|quantile| report.total.quantile(quantile));
        let [p50_us, p99_us] = quantiles.map(micros);
        Self {
            name: task.name,
            connections: task.connections,
            done: report.done,
            per_second,
            megabytes_per_second: (task.unit == Unit::Bytes)
                .then(|| figures::megabytes(per_second, bytes)),
            p50_us,
            p99_us,
            errors: report.errors.clone(),
            rate: figures::rate(task.unit, per_second, bytes),
            quantiles: quantiles.map(figures::duration),
        }
    }
}

/// The rows worth a look: since start, without the wait for the ClientHello, phase by phase.
fn phases(rows: &[PercentileRow]) -> Vec<PhaseRow> {
    const SHOWN: [Phase; 4] = [Phase::Handshake, Phase::Connect, Phase::FirstByte, Phase::Lifetime];
    let mut shown = Vec::new();
    for phase in SHOWN {
        let of_phase = rows.iter().filter(|row| row.phase == phase && row.span == Span::Total);
        shown.extend(of_phase.map(|row| {
            PhaseRow {
                phase: phase.as_str(),
                kind: row.kind.as_str(),
                count: row.digest.count,
                percentiles_us: QUANTILES
                    .iter()
                    .zip(row.digest.quantiles)
                    .map(|((_, name), value)| (*name, micros(value)))
                    .collect(),
                max_us: micros(row.digest.max),
                digest: row.digest,
            }
        }));
    }
    shown
}

/// A phase as a person would call it.
fn title(phase: &str) -> String {
    match phase {
        "connect" => "upstream connect".to_owned(),
        other => other.replace('_', " "),
    }
}

fn system_calls_per_message(driven: &[Driven]) -> Option<f64> {
    let messages = driven.iter().find(|driven| driven.task.unit == Unit::Messages)?;
    #[expect(clippy::cast_precision_loss, reason = "counts of a short run, far below 2^53")]
    let (calls, done) = (messages.system_calls as f64, messages.report.done as f64);
    (done > 0.0).then(|| calls / done)
}

fn commands(setup: &Setup) -> Vec<String> {
    let ca = quoted(&setup.ca_file().display().to_string());
    let (listen, admin) = (setup.listen, setup.admin);
    let address = format!("localhost:{}", listen.port());
    vec![
        format!("curl --cacert {ca} https://{address}/"),
        format!("openssl s_client -connect {address} -CAfile {ca} -servername localhost"),
        format!("curl http://{admin}/metrics"),
        format!("curl http://{admin}/status"),
    ]
}

/// One word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// An empty table whose first `left` columns hold words, the others figures.
fn table(head: Vec<&str>, left: usize) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(head);
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn kernel() -> String {
    let uname = rustix::system::uname();
    format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy())
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::Kind;

    fn row(phase: Phase, kind: Kind, span: Span, micros: u64) -> PercentileRow {
        let value = Duration::from_micros(micros);
        let quantiles = [value; QUANTILES.len()];
        let digest = Digest { count: 1_234, sum: value, max: value * 10, quantiles };
        PercentileRow { listener: "demo".into(), kind, phase, span, digest }
    }

    fn summary(rows: &[PercentileRow]) -> Summary {
        Summary {
            version: "1",
            engine: "epoll",
            engine_reason: String::new(),
            workers: 1,
            kernel: String::new(),
            phases: phases(rows),
            work: Vec::new(),
            system_calls_per_message: Some(0.25),
            errors: 0,
            listen: String::new(),
            admin: String::new(),
            configuration: String::new(),
            commands: Vec::new(),
        }
    }

    #[test]
    fn rows_are_those_since_start_in_the_order_of_a_connection() {
        let rows = [
            row(Phase::Hello, Kind::Full, Span::Total, 1),
            row(Phase::Lifetime, Kind::Full, Span::Total, 5),
            row(Phase::Handshake, Kind::Full, Span::Total, 2),
            row(Phase::Handshake, Kind::Full, Span::Last10s, 3),
            row(Phase::Handshake, Kind::Resumed, Span::Total, 4),
        ];
        let shown: Vec<_> =
            phases(&rows).iter().map(|row| (row.phase, row.kind, row.max_us)).collect();
        let expected =
            [("handshake", "full", 20), ("handshake", "resumed", 40), ("lifetime", "full", 50)];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_table_fits_100_columns_and_lines_up() {
        let rows = [
            row(Phase::Connect, Kind::Resumed, Span::Total, 118),
            row(Phase::FirstByte, Kind::Full, Span::Total, 12_345),
            row(Phase::Lifetime, Kind::Full, Span::Total, 12_345_678),
        ];
        let table = summary(&rows).phase_table().to_string();
        assert!(table.contains("1,234") && table.contains("118 µs"), "{table}");
        assert!(table.contains("upstream connect") && table.contains("first byte"), "{table}");
        let widths: Vec<usize> = table.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0] && *width <= 100), "{table}");
        // The unit of the last column, which is at the same place in every row.
        let units: Vec<String> = table
            .lines()
            .filter(|line| line.contains("1,234"))
            .map(|line| line.chars().rev().skip(2).take(3).collect())
            .collect();
        assert_eq!(units, ["sm ", "sm ", " s "], "{table}");
    }

    #[test]
    fn json_has_figures_with_their_units() {
        let rows = [row(Phase::Handshake, Kind::Full, Span::Total, 7)];
        let json: serde_json::Value =
            serde_json::from_str(&summary(&rows).to_json()).expect("JSON");
        assert_eq!(json["phases"][0]["percentiles_us"]["p99.9"], 7);
        assert_eq!(json["phases"][0]["max_us"], 70);
        assert_eq!(json["errors"], 0);
    }

    #[test]
    fn paths_are_one_word_for_the_shell() {
        assert_eq!(quoted("/home/a/.local/ca.pem"), "/home/a/.local/ca.pem");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
