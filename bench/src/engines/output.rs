//! Results as tables, for the terminal and for Markdown.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_BORDERS_ONLY};
use comfy_table::{CellAlignment, Table};

use super::Results;
use super::rounds::{Measurement, Server, TOO_MUCH_FOREIGN};
use super::sample::float;
use super::statistics::Quartiles;
use super::summary::REFERENCE;
use super::test::{Test, Unit};

/// What tables look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Terminal,
    Markdown,
}

/// All tables, each under its heading.
pub(crate) fn render(results: &Results, style: Style) -> String {
    let parts = [
        ("Cost: median [quartiles]", costs(results)),
        ("Cost relative to tlsgate io_uring, median of per-round ratios", ratios(results)),
        ("Share of its CPU that the server used, and rate", saturation(results)),
        ("System calls per 100-byte round trip (two messages), 50 connections", calls(results)),
        ("Memory per idle TLS connection, bytes", memory(results)),
    ];
    let foreign = results.foreign();
    headed(parts, style) + &remarks(foreign, &results.left_out, &results.failures)
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

fn costs(results: &Results) -> Parts {
    let cell = |test, kind| quote(results.figure(test, kind, |row| row.sample.cost));
    let (head, mut rows) = by_server(&results.tests(), &results.kinds(), cell);
    let spreads: Vec<_> = results.kinds().into_iter().map(|kind| results.spread(kind)).collect();
    if spreads.iter().any(Option::is_some) {
        let mut row = vec!["round trip at 1,000 over at 50 connections".to_owned()];
        row.extend(spreads.into_iter().map(quote));
        rows.push(row);
    }
    (head, rows)
}

fn ratios(results: &Results) -> Parts {
    if !results.kinds().contains(&REFERENCE) {
        return (Vec::new(), Vec::new());
    }
    let cell = |test, kind| quote(results.ratio(test, kind));
    by_server(&results.tests(), &results.kinds(), cell)
}

fn saturation(results: &Results) -> Parts {
    let cell = |test: Test, kind| {
        let median = |figure: fn(&super::Row) -> f64| {
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
    let (mut head, mut rows) = by_server(&results.tests(), &results.kinds(), cell);
    head.push("client alone, plaintext".to_owned());
    for (row, test) in rows.iter_mut().zip(results.tests()) {
        let direct = results.direct.iter().find(|direct| direct.test == test);
        row.push(direct.map_or_else(dash, |direct| per_second(test.unit(), direct.rate)));
    }
    (head, rows)
}

fn calls(results: &Results) -> Parts {
    let head = ["server", "kernel's count", "own count", "under strace", "most frequent"];
    let number = |number: Option<f64>| number.map_or_else(dash, |number| format!("{number:.3}"));
    let row = |calls: &super::SystemCalls| {
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
    (head.map(str::to_owned).to_vec(), results.system_calls.iter().map(row).collect())
}

fn memory(results: &Results) -> Parts {
    let head = ["server", "TLS", "connections", "no data yet", "after a round trip", "RSS, after"];
    let row = |memory: &super::Memory| {
        let version = memory.tls.number();
        let bytes = |bytes: f64| format!("{bytes:.0}");
        vec![
            memory.target.name().to_owned(),
            version.to_owned(),
            memory.connections.to_string(),
            bytes(memory.fresh_pss),
            bytes(memory.used_pss),
            bytes(memory.used_rss),
        ]
    };
    (head.map(str::to_owned).to_vec(), results.memory.iter().map(row).collect())
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
    let digits = match median {
        _ if median >= float(100) => 0,
        _ if median >= float(10) => 1,
        _ => 2,
    };
    format!("{median:.digits$} [{low:.digits$}–{high:.digits$}]")
}

pub(crate) fn dash() -> String {
    "–".to_owned()
}
