//! Results as tables, for the terminal and for Markdown.

use std::time::Duration;

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_BORDERS_ONLY};
use comfy_table::{CellAlignment, Table};

use super::load::Unit;
use super::rounds::{Measurement, Server, TOO_MUCH_FOREIGN};
use super::statistics::Quartiles;

/// What tables look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Terminal,
    Markdown,
}

/// Tables that have rows, each under its heading.
pub(crate) fn headed<'a>(
    parts: impl IntoIterator<Item = (&'a str, Parts)>,
    style: Style,
) -> String {
    let mut text = String::new();
    for (heading, (head, rows)) in parts {
        if rows.is_empty() {
            continue;
        }
        let (before, after) = if style == Style::Markdown { ("## ", "\n") } else { ("", "") };
        text += &format!("{before}{heading}\n{after}{}\n\n", table(head, rows, style));
    }
    text
}

/// Head and rows of a table.
pub(crate) type Parts = (Vec<String>, Vec<Vec<String>>);

/// A table for the terminal: its columns but the first are to the right.
pub(crate) fn filled(head: &[&str], rows: Vec<Vec<String>>) -> Table {
    table(head.iter().map(|name| (*name).to_owned()).collect(), rows, Style::Terminal)
}

fn table(head: Vec<String>, rows: Vec<Vec<String>>, style: Style) -> Table {
    let mut table = Table::new();
    table.load_style(match style {
        Style::Terminal => UTF8_BORDERS_ONLY,
        Style::Markdown => ASCII_MARKDOWN,
    });
    table.set_header(head);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One row per test, one column per server.
pub(crate) fn by_server<T: Measurement, K: Server>(
    tests: &[T],
    servers: &[K],
    cell: impl Fn(T, K) -> String,
) -> Parts {
    let mut head = vec!["measurement".to_owned()];
    head.extend(servers.iter().map(|server| server.name().to_owned()));
    let row = |test: &T| {
        let name = format!("{}, {}", test.name(), test.unit().cost());
        std::iter::once(name).chain(servers.iter().map(|server| cell(*test, *server))).collect()
    };
    (head, tests.iter().map(row).collect())
}

/// What a reader of the figures must know: one line each.
pub(crate) fn remarks(
    foreign: Option<Quartiles>,
    left_out: &[String],
    failures: &[String],
) -> String {
    let mut lines = Vec::new();
    if let Some(foreign) = foreign {
        let percent = [foreign.low, foreign.median, foreign.high].map(|part| part * 100.0);
        lines.push(format!(
            "Others used {:.1} % [{:.1}–{:.1}] of the servers' CPU.\n",
            percent[1], percent[0], percent[2]
        ));
        if foreign.median > TOO_MUCH_FOREIGN {
            let advice = "costs are too high, and ratios are rough. Run it again.";
            lines.push(format!("The machine was busy: {advice}\n"));
        }
    }
    lines.extend(left_out.iter().map(|reason| format!("Not measured: {reason}\n")));
    lines.extend(failures.iter().map(|failure| format!("FAILED: {failure}\n")));
    lines.concat()
}

pub(crate) fn per_second(unit: Unit, rate: f64) -> String {
    match unit {
        Unit::Gigabyte => format!("{rate:.2} GB/s"),
        Unit::Handshake | Unit::RoundTrip => format!("{rate:.0}/s"),
    }
}

/// `12.3 [11.9–13.0]`, with about three digits.
pub(crate) fn quote(quartiles: Option<Quartiles>) -> String {
    let Some(Quartiles { low, median, high }) = quartiles else { return dash() };
    let digits = decimals(median);
    format!("{median:.digits$} [{low:.digits$}–{high:.digits$}]")
}

/// The same of times, in seconds.
pub(crate) fn quote_times(quartiles: Option<Quartiles>) -> String {
    let Some(Quartiles { low, median, high }) = quartiles else { return dash() };
    let [low, median, high] = [low, median, high].map(|time| short(Duration::from_secs_f64(time)));
    format!("{median} [{low}–{high}]")
}

/// A number with about three digits.
pub(crate) fn digits(number: f64) -> String {
    format!("{number:.*}", decimals(number))
}

fn decimals(number: f64) -> usize {
    match number {
        _ if number >= 100.0 => 0,
        _ if number >= 10.0 => 1,
        _ => 2,
    }
}

/// Three digits or a little more, with a unit.
pub(crate) fn short(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    if micros < 1e3 {
        format!("{micros:.0} µs")
    } else if micros < 1e6 {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

pub(crate) fn dash() -> String {
    "–".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(short(Duration::from_nanos(1_400)), "1 µs");
        assert_eq!(short(Duration::from_micros(12_345)), "12.35 ms");
        assert_eq!(short(Duration::from_secs(3)), "3.00 s");
    }
}
