//! Reports as one HTML page that needs nothing else: tables, percentile curves and timelines of one run,
//! or of several beside each other. Light or dark, as its reader's system is.

mod axis;
mod chart;
pub mod plan;
pub mod servers;

use std::time::Duration;

use axis::Scale;
use chart::{Chart, Line};

use crate::client::{Latency, Phase, Report};

/// Colours: more than these are not told apart.
const COLOURS: usize = 8;
/// Most runs that a page compares: each colour whole, dashed and dotted.
pub const MAX_RUNS: usize = 3 * COLOURS;

/// A run, with what it is called.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// For people.
    pub name: &'a str,
    /// What it found.
    pub report: &'a Report,
}

/// The page.
///
/// # Errors
/// When there are none, or more than [`MAX_RUNS`].
pub fn render(runs: &[Run<'_>]) -> Result<String, String> {
    if runs.is_empty() || runs.len() > MAX_RUNS {
        return Err(format!("a page has 1 to {MAX_RUNS} runs, not {}", runs.len()));
    }
    let names: Vec<String> = runs.iter().map(|run| escape(run.name)).collect();
    let title = format!("Load: {}", names.join(", "));
    let mut page = legend(&names);
    page += &figures(runs);
    page += &phases(runs);
    page += &remarks(runs);
    page += "<h2>How long it took, by percentile</h2>\n<div class=\"charts\">\n";
    for phase in Phase::ALL {
        page += &percentiles(runs, phase, phase.name());
    }
    page += "</div>\n<h2>Over time</h2>\n<p>By seconds of the clock: the first and the last are not \
             whole.</p>\n<div class=\"charts\">\n";
    page += &timelines(runs);
    page += "</div>\n";
    Ok(document(&title, &page))
}

/// A page around `body`; `title` is HTML.
fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

/// The classes of a run's lines.
fn class(run: usize) -> String {
    format!("run{} dash{}", run % COLOURS, run / COLOURS)
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn legend(names: &[String]) -> String {
    let item = |(number, name)| {
        format!(
            "<li><svg viewBox=\"0 0 24 8\"><path class=\"{}\" d=\"M0 4H24\"/></svg>{name}</li>",
            class(number)
        )
    };
    format!(
        "<ul class=\"legend\">{}</ul>\n",
        names.iter().enumerate().map(item).collect::<String>()
    )
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let row = |cells: String| format!("<tr>{cells}</tr>\n");
    let head = row(head.iter().map(|name| format!("<th>{name}</th>")).collect());
    let cells = |cells: &Vec<String>| {
        row(cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect())
    };
    let rows: String = rows.iter().map(cells).collect();
    format!("<div class=\"wide\"><table>\n{head}{rows}</table></div>\n")
}

/// What was done, a row for each run.
fn figures(runs: &[Run<'_>]) -> String {
    let percent = |share: Option<f64>| match share {
        Some(share) => format!("{:.2} %", share * 100.0),
        None => "–".to_owned(),
    };
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|Run { name, report }| {
            vec![
                (*name).to_owned(),
                report.done.to_string(),
                report.error_count().to_string(),
                format!("{:.1}", report.rate()),
                duration(report.elapsed),
                percent(report.rate_error()),
                report.handshakes_full.to_string(),
                report.handshakes_resumed.to_string(),
                percent(report.effort.map(|effort| effort.exertion().min(1.0))),
            ]
        })
        .collect();
    table(
        &[
            "run",
            "done",
            "errors",
            "per second",
            "time",
            "starts not made",
            "full handshakes",
            "resumed",
            "client busy",
        ],
        &rows,
    )
}

/// How long phases took, a row for each phase of each run.
fn phases(runs: &[Run<'_>]) -> String {
    let mut rows = Vec::new();
    for phase in Phase::ALL {
        for Run { name, report } in runs {
            let latency = report.phase(phase);
            if latency.count() == 0 {
                continue;
            }
            let mut row = vec![phase.name().to_owned(), (*name).to_owned()];
            row.push(latency.count().to_string());
            let quantiles = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];
            row.extend(quantiles.map(|quantile| duration(latency.quantile(quantile))));
            rows.push(row);
        }
    }
    let head = ["phase", "run", "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    table(&head, &rows)
}

/// Errors and reasons for doubt.
fn remarks(runs: &[Run<'_>]) -> String {
    let mut items = String::new();
    for Run { name, report } in runs {
        let name = escape(name);
        for (kind, errors) in &report.errors {
            let example = escape(&errors.example);
            items += &format!("<li>{name}: {} × {kind}, such as: {example}</li>\n", errors.count);
        }
        for warning in report.warnings(None) {
            items += &format!("<li class=\"warning\">{name}: {}</li>\n", escape(&warning));
        }
    }
    if items.is_empty() { items } else { format!("<ul>\n{items}</ul>\n") }
}

/// The curves of a phase; nothing when no run had it.
fn percentiles(runs: &[Run<'_>], phase: Phase, title: &str) -> String {
    let lines: Vec<Line> = runs
        .iter()
        .enumerate()
        .filter(|(_, run)| run.report.phase(phase).count() > 0)
        .map(|(number, run)| Line { run: number, points: curve(run.report.phase(phase)) })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let chart = Chart {
        title,
        labels: ["percentile", "time"],
        scales: [Scale::Nines, Scale::Logarithmic],
        show: [percentile, seconds],
        lines,
    };
    chart.svg()
}

/// Points of a percentile curve, up to the last one that a value stands for.
#[expect(clippy::cast_precision_loss, reason = "a place on a picture")]
fn curve(latency: &Latency) -> Vec<[f64; 2]> {
    /// Points for each further nine.
    const EACH: u32 = 20;
    let nines = (latency.count() as f64).log10();
    (0..)
        .map(|number| f64::from(number) / f64::from(EACH))
        .take_while(|place| *place <= nines)
        .map(|place| 1.0 - 10_f64.powf(-place))
        .map(|quantile| [quantile, latency.quantile(quantile).as_secs_f64()])
        .collect()
}

/// Most points of a line: more are not told apart.
const MAX_POINTS: u64 = 2_000;

/// Some seconds that follow each other, a point of each line.
#[derive(Debug, Default)]
struct Span {
    done: u64,
    errors: u64,
    /// p50 and p99 in seconds; none where nothing ended.
    total: Option<[f64; 2]>,
}

/// A timeline in at most [`MAX_POINTS`] spans, and the seconds of each. One in which nothing ended is a
/// span, too.
fn spans(report: &Report) -> (Vec<Span>, u64) {
    let Some([first, last]) = report.span() else { return (Vec::new(), 1) };
    let width = (last - first) / MAX_POINTS + 1;
    let span = |number: u64| {
        let begin = first + number * width;
        let (mut span, mut total) = (Span::default(), None::<Latency>);
        for (_, interval) in report.timeline.range(begin..=begin.saturating_add(width - 1)) {
            span.done += interval.done;
            span.errors += interval.errors;
            let packed = interval.phases.get(&Phase::Total);
            if let Some(Ok(latency)) = packed.map(crate::client::Packed::unpack) {
                match &mut total {
                    Some(total) => total.merge(&latency),
                    total @ None => *total = Some(latency),
                }
            }
        }
        let quantile = |total: &Latency, share| total.quantile(share).as_secs_f64();
        span.total = total.map(|total| [0.5, 0.99].map(|share| quantile(&total, share)));
        span
    };
    ((0..=(last - first) / width).map(span).collect(), width)
}

/// Rates, latencies and errors by seconds since each run's first.
#[expect(clippy::cast_precision_loss, reason = "places on a picture")]
fn timelines(runs: &[Run<'_>]) -> String {
    let (mut rates, mut errors, mut medians, mut tails) = (vec![], vec![], vec![], vec![]);
    for (run, Run { report, .. }) in runs.iter().enumerate() {
        let (spans, width) = spans(report);
        if spans.is_empty() {
            continue;
        }
        let line = |value: &dyn Fn(&Span) -> Option<f64>| {
            let place = |number: usize| (number as u64 * width) as f64;
            let point = |(number, span)| value(span).map(|value| [place(number), value]);
            Line { run, points: spans.iter().enumerate().filter_map(point).collect() }
        };
        rates.push(line(&|span| Some(span.done as f64 / width as f64)));
        errors.push(line(&|span| Some(span.errors as f64 / width as f64)));
        medians.push(line(&|span| span.total.map(|[median, _]| median)));
        tails.push(line(&|span| span.total.map(|[_, tail]| tail)));
    }
    let had_errors = runs.iter().any(|run| run.report.error_count() > 0);
    let linear = Scale::Linear;
    let chart = |title, label, scale, show: fn(f64) -> String, lines| {
        let labels = ["seconds", label];
        Chart { title, labels, scales: [linear, scale], show: [plain, show], lines }.svg()
    };
    let mut page = chart("operations done", "per second", linear, plain, rates);
    page += &chart("total, p50", "time", Scale::Logarithmic, seconds, medians);
    page += &chart("total, p99", "time", Scale::Logarithmic, seconds, tails);
    if had_errors {
        page += &chart("errors", "per second", linear, plain, errors);
    }
    page
}

fn duration(time: Duration) -> String {
    seconds(time.as_secs_f64())
}

/// Three digits, with the unit that suits them.
fn seconds(value: f64) -> String {
    let (value, unit) = match value {
        value if value < 1e-3 => (value * 1e6, "µs"),
        value if value < 1.0 => (value * 1e3, "ms"),
        value => (value, "s"),
    };
    // Ticks are round but for the last bit.
    let text = match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => return format!("{value:.0} {unit}"),
    };
    format!("{} {unit}", trimmed(&text))
}

fn percentile(share: f64) -> String {
    trimmed(&format!("{:.4}", share * 100.0)).to_owned()
}

fn plain(value: f64) -> String {
    trimmed(&format!("{value:.2}")).to_owned()
}

/// A number with decimals, without those that say nothing.
fn trimmed(number: &str) -> &str {
    number.trim_end_matches('0').trim_end_matches('.')
}

const STYLE: &str = include_str!("page.css");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Interval;

    #[test]
    fn a_page_names_its_runs_and_needs_nothing_else() {
        let one = Report { done: 7, ..Report::default() };
        let runs = [Run { name: "a<b>", report: &one }, Run { name: "other", report: &one }];
        let page = render(&runs).expect("two runs");
        assert!(page.contains("a&lt;b&gt;") && !page.contains("a<b>"), "{page}");
        for outside in ["http:", "https:", "<script", "<link", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(render(&[]).is_err() && render(&vec![runs[0]; MAX_RUNS + 1]).is_err());
        for number in 0..MAX_RUNS {
            for class in class(number).split(' ') {
                assert!(STYLE.contains(&format!(".{class} {{")), "{class} has no style");
            }
        }
    }

    #[test]
    fn a_timeline_of_any_length_has_a_bounded_number_of_points() {
        let report = |seconds: &[u64]| {
            let happened = |second: &u64| (*second, Interval { done: 6, ..Interval::default() });
            Report { timeline: seconds.iter().map(happened).collect(), ..Report::default() }
        };
        let (found, width) = spans(&report(&[7, 8, 10]));
        let done: Vec<u64> = found.iter().map(|span| span.done).collect();
        assert_eq!((done, width), (vec![6, 6, 0, 6], 1));
        for last in [2_006, 2_007, 1_700_000_000, u64::MAX] {
            let (found, width) = spans(&report(&[7, 8, last]));
            assert!((1_000..=2_000).contains(&found.len()), "{last}: {}", found.len());
            assert_eq!(found.iter().map(|span| span.done).sum::<u64>(), 18, "{last}");
            assert!(found[0].done == if width == 1 { 6 } else { 12 }, "{last}: {:?}", found[0]);
        }
        let long = report(&[7, u64::MAX]);
        let page = render(&[Run { name: "long", report: &long }]).expect("one run");
        assert!(page.len() < 500_000, "{}", page.len());
    }

    #[test]
    fn values_are_written_with_three_digits_and_a_unit() {
        assert_eq!(seconds(0.000_1), "100 µs");
        assert_eq!(seconds(0.012_34), "12.3 ms");
        assert_eq!(seconds(0.000_772_1), "772 µs");
        assert_eq!(seconds(1.0), "1 s");
        assert_eq!(percentile(0.999), "99.9");
        assert_eq!(percentile(0.9), "90");
        assert_eq!(plain(2_500.0), "2500");
    }
}
