//! All there is to show, as lines.

mod inventory;

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use crate::admin::page::view::{CountRow, Data, Detail, FailureRow, ListenerRow, Live, ShardRow};
use crate::audit::autodetect::in_words;
use crate::audit::report::List;
use crate::cli::demo::figures;
use crate::cli::disarmed_line;
use crate::telemetry::past::Moment;
use crate::telemetry::snapshot::Span;

/// A line, and how it looks where there are colours. Nothing is told by that alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Head,
    Faint,
    Warning,
    Bad,
}

/// Moments in a sparkline.
const SPARKS: usize = 60;
/// Rows of a section.
const MOST_ROWS: usize = 20;
/// What is not known.
const NONE: &str = "–";

/// The first line says whose figures these are.
pub(super) fn lines(data: &Data, moments: &[Moment]) -> Vec<Line> {
    let mut lines = Lines(Vec::new());
    lines.add(heading(&data.live), Look::Head);
    if let Some(failure) = &data.live.config.last_failure {
        let first = failure.lines().next().unwrap_or_default();
        lines.add(format!("! the last reload was refused: {first}"), Look::Bad);
    }
    now(&mut lines, &data.live, moments);
    listeners(&mut lines, &data.live.listeners);
    if let Some(detail) = &data.listener {
        times(&mut lines, detail);
    }
    shards(&mut lines, &data.live);
    trouble(&mut lines, &data.live);
    if let Some(known) = &data.inventory {
        inventory::show(&mut lines, known);
    }
    lines.0
}

struct Lines(Vec<Line>);

/// Cells, and how they look.
type Row = (Vec<String>, Look);

impl Lines {
    fn add(&mut self, text: String, look: Look) {
        self.0.push(Line { text: disarmed_line(&text), look });
    }

    fn title(&mut self, text: &str) {
        self.add(String::new(), Look::Plain);
        self.add(text.to_owned(), Look::Head);
    }

    /// A table whose first `left` columns hold words, the others figures.
    fn table(&mut self, head: &[&str], left: usize, rows: Vec<Row>) {
        if rows.is_empty() {
            return self.add("  none".to_owned(), Look::Faint);
        }
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(head);
        let (cells, looks): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let disarmed = |cells: Vec<String>| cells.into_iter().map(|cell| disarmed_line(&cell));
        table.add_rows(cells.into_iter().map(disarmed));
        for column in table.column_iter_mut().skip(left) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let looks = std::iter::once(Look::Faint).chain(looks);
        for (text, look) in table.to_string().lines().zip(looks) {
            self.add(format!(" {}", text.trim_end()), look);
        }
    }

    /// The same of a list, with how many are left out.
    fn list<T>(&mut self, head: &[&str], left: usize, list: &List<T>, row: impl Fn(&T) -> Row) {
        self.table(head, left, list.rows.iter().take(MOST_ROWS).map(row).collect());
        let more = list.len().saturating_sub(MOST_ROWS);
        if more > 0 {
            self.add(format!("  and {} more", figures::count(more as u64)), Look::Faint);
        }
    }
}

fn heading(live: &Live) -> String {
    let Live { version, state, engine, config, .. } = live;
    let up = in_words(i64::try_from(live.uptime_seconds).unwrap_or(i64::MAX));
    format!("tlsgate {version}  {state}  {engine}  up {up}  generation {}", config.generation)
}

fn now(lines: &mut Lines, live: &Live, moments: &[Moment]) {
    lines.title("now, and the last minute");
    let mut row = |name: &str, value: String, of: &dyn Fn(&Moment) -> f64| {
        let sparks = sparkline(moments, of);
        lines.add(format!("  {name:<22}{value:>12}  {sparks}"), Look::Plain);
    };
    type Count = fn(&Moment) -> u64;
    type Written = fn(f64) -> String;
    let rates: [(&str, Count, Written); 8] = [
        ("full handshakes /s", |moment| moment.handshakes_full, amount),
        ("resumed handshakes /s", |moment| moment.handshakes_resumed, amount),
        ("failed handshakes /s", |moment| moment.handshake_failures, amount),
        ("shed handshakes /s", |moment| moment.shed, amount),
        ("new connections /s", |moment| moment.accepted, amount),
        ("messages /s", |moment| moment.messages, amount),
        ("bytes in /s", |moment| moment.bytes_received, bytes),
        ("bytes out /s", |moment| moment.bytes_sent, bytes),
    ];
    let open = figures::count(live.gauges.open_connections);
    row("open connections", open, &|moment| float(moment.open));
    for (name, count, written) in rates {
        let value = written(per_second(moments, count));
        row(name, value, &|moment| rate(count(moment), moment.seconds));
    }
    if let Some(share) = live.headroom {
        row("headroom", percent(share), &|_| 0.0);
    }
    let waiting = figures::count(live.gauges.handshakes_waiting);
    row("steps that wait", waiting, &|moment| float(moment.handshakes_waiting));
}

#[expect(clippy::cast_precision_loss, reason = "a place on a picture, or three digits")]
fn float(value: u64) -> f64 {
    value as f64
}

fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { float(count) / seconds } else { 0.0 }
}

/// Over the last three moments.
fn per_second(moments: &[Moment], count: fn(&Moment) -> u64) -> f64 {
    let last = &moments[moments.len().saturating_sub(3)..];
    rate(last.iter().map(count).sum(), last.iter().map(|moment| moment.seconds).sum())
}

/// Eight heights, of which the highest is the most there was; nothing is a space.
fn sparkline(moments: &[Moment], value: &dyn Fn(&Moment) -> f64) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let last = &moments[moments.len().saturating_sub(SPARKS)..];
    let values: Vec<f64> = last.iter().map(value).collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    let spark = |value: f64| {
        let reached = (0_u32..)
            .zip(HEIGHTS)
            .take_while(|(number, _)| value * 8.0 > most * f64::from(*number));
        reached.last().map_or(' ', |(_, height)| height)
    };
    values.into_iter().map(spark).collect()
}

fn listeners(lines: &mut Lines, listeners: &List<ListenerRow>) {
    lines.title("listeners");
    let head = [
        "listener",
        "address",
        "open",
        "new /s",
        "full /s",
        "resumed /s",
        "failed /s",
        "in /s",
        "out /s",
        "full p99",
        "resumed p99",
    ];
    lines.list(&head, 2, listeners, |row| {
        let rates = row.rates.as_ref();
        let cells = vec![
            row.name.clone(),
            row.address.clone().unwrap_or_else(|| "gone".to_owned()),
            figures::count(row.open),
            known(rates.map(|rates| rates.accepted), amount),
            known(rates.map(|rates| rates.handshakes_full), amount),
            known(rates.map(|rates| rates.handshakes_resumed), amount),
            known(rates.map(|rates| rates.handshake_failures), amount),
            known(rates.map(|rates| rates.bytes_received), bytes),
            known(rates.map(|rates| rates.bytes_sent), bytes),
            known(row.full_p99_us, duration),
            known(row.resumed_p99_us, duration),
        ];
        (cells, look(rates.map(|rates| rates.handshake_failures)))
    });
}

fn times(lines: &mut Lines, detail: &Detail) {
    lines.title(&format!("how long it takes: {}, last minute", detail.name));
    let head = ["phase", "kind", "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let rows = detail.percentiles.iter().filter(|row| row.span == Span::Last60s.as_str());
    let rows = rows.map(|row| {
        let words = [row.phase.replace('_', " "), row.kind.clone(), figures::count(row.count)];
        (words.into_iter().chain(row.micros.map(duration)).collect(), Look::Plain)
    });
    lines.table(&head, 2, rows.collect());
}

fn shards(lines: &mut Lines, live: &Live) {
    lines.title("shards and generations");
    let head =
        ["shard", "open", "in progress", "waiting", "events /s", "system calls /s", "headroom"];
    lines.list(&head, 1, &live.shards, |row: &ShardRow| {
        let gauges = row.gauges;
        let open =
            [gauges.open_connections, gauges.handshakes_in_flight, gauges.handshakes_waiting];
        let rates = [row.events_per_second, row.system_calls_per_second];
        let figures =
            open.map(figures::count).into_iter().chain(rates.map(|one| known(one, amount)));
        let headroom = known(row.headroom, percent);
        let cells = std::iter::once(row.shard.to_string()).chain(figures).chain([headroom]);
        (cells.collect(), Look::Plain)
    });
    let mut text = "  open by generation:".to_owned();
    for row in &live.generations.rows {
        let runs = if row.generation == live.config.generation { " (runs)" } else { "" };
        let _infallible = write!(text, "  {}{runs}: {}", row.generation, figures::count(row.open));
    }
    lines.add(text, Look::Plain);
}

fn trouble(lines: &mut Lines, live: &Live) {
    lines.title("not done, and what went wrong");
    let row = |words: [&str; 3], count: u64, per_second: Option<f64>| {
        let words = words.map(|word| word.replace('_', " "));
        let figures = [figures::count(count), known(per_second, amount)];
        (words.into_iter().chain(figures).collect(), look(per_second))
    };
    let counted = |what: &'static str, rows: &[CountRow]| -> Vec<Row> {
        rows.iter().map(|one| row([what, &one.cause, ""], one.count, one.per_second)).collect()
    };
    let mut rows = counted("shed", &live.shed);
    rows.extend(counted("refused", &live.refused));
    rows.extend(live.failures.iter().take(MOST_ROWS).map(|one: &FailureRow| {
        let cause = one.cause.as_deref().unwrap_or("component");
        row(["failed", &one.reason, cause], one.count, one.per_second)
    }));
    lines.table(&["what", "cause", "by", "in all", "/s"], 3, rows);
}

/// That something happens that should not.
fn look(per_second: Option<f64>) -> Look {
    if per_second.is_some_and(|rate| rate > 0.0) { Look::Warning } else { Look::Plain }
}

fn known<T>(value: Option<T>, written: fn(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), written)
}

/// A rate or a level.
fn amount(value: f64) -> String {
    if value > 0.0 && value < 9.95 { format!("{value:.1}") } else { figures::thousands(value) }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Bytes, to three digits and a unit.
fn bytes(value: f64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.into_iter().find(|(_, size)| value >= *size) {
        Some((unit, size)) => format!("{} {unit}", figures::three_digits(value / size)),
        None => format!("{value:.0} B"),
    }
}

fn duration(micros: u64) -> String {
    figures::duration(Duration::from_micros(micros)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_shows_what_there_was() {
        let moment = |accepted| Moment { accepted, seconds: 1.0, ..Moment::default() };
        let moments = [0, 1, 4, 8, 16].map(moment);
        assert_eq!(sparkline(&moments, &|moment| float(moment.accepted)), " ▁▂▄█");
        assert_eq!(sparkline(&[moment(0); 3], &|moment| float(moment.accepted)), "   ");
        assert_eq!(
            sparkline(&[moment(3); 99], &|moment| float(moment.accepted)).chars().count(),
            SPARKS
        );
        assert!((per_second(&moments, |moment| moment.accepted) - 28.0 / 3.0).abs() < 1e-9);
        assert!(per_second(&[], |moment| moment.accepted).abs() < 1e-9);
    }

    #[test]
    fn figures_have_few_digits() {
        assert_eq!([0.0, 0.44, 9.96, 12_345.0].map(amount), ["0", "0.4", "10", "12,345"]);
        assert_eq!([0.0, 999.0, 1_500.0, 2e6].map(bytes), ["0 B", "999 B", "1.50 kB", "2.00 MB"]);
        assert_eq!(duration(1_180), "1.18 ms");
    }
}
