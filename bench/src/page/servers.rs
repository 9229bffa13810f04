//! Several servers beside each other in several scenarios, as a page: tables, and for each flow how long
//! it took, by percentile and over time.

use super::axis::Scale;
use super::chart::{Chart, Line};
use super::plan::Table;
use super::{Run, document, escape, legend, percentiles, plain, seconds, spans, table};
use crate::client::{Phase, Report};

/// What is to be shown.
pub struct Page<'a> {
    /// What is written above everything.
    pub title: &'a str,
    /// Paragraphs.
    pub about: &'a [String],
    /// Of all scenarios.
    pub overview: Table<'a>,
    /// The servers, in the order of their colours.
    pub servers: &'a [String],
    /// In this order.
    pub scenarios: Vec<Scenario<'a>>,
}

/// A scenario.
pub struct Scenario<'a> {
    /// What is done, in a paragraph each.
    pub about: Vec<String>,
    /// With its heading.
    pub table: Table<'a>,
    /// Each with its name.
    pub flows: Vec<(String, Vec<Course>)>,
}

/// What a flow did over one server.
pub struct Course {
    /// The server's place.
    pub server: usize,
    /// What it found, in all its runs.
    pub report: Report,
    /// What it found in one of them, and the clock's second in which that began.
    pub one: (Report, u64),
}

/// The page.
pub fn render(page: &Page<'_>) -> String {
    let paragraphs = |texts: &[String]| -> String {
        texts.iter().map(|text| format!("<p>{}</p>\n", escape(text))).collect()
    };
    let servers: Vec<String> = page.servers.iter().map(|name| escape(name)).collect();
    let mut body = paragraphs(page.about);
    body += &headed(&page.overview);
    for Scenario { about, table, flows } in &page.scenarios {
        body += &format!("<h2>{}</h2>\n", escape(table.heading));
        body += &paragraphs(about);
        body += &super::table(table.head, &table.rows);
        body += &legend(&servers);
        let charts: String = flows.iter().map(|(name, courses)| charts(name, courses)).collect();
        body += &format!("<div class=\"charts\">\n{charts}</div>\n");
    }
    document(&escape(page.title), &body)
}

fn headed(Table { heading, head, rows }: &Table<'_>) -> String {
    format!("<h2>{}</h2>\n{}", escape(heading), table(head, rows))
}

/// What a flow did over all servers.
fn charts(name: &str, courses: &[Course]) -> String {
    // Each server has its place, also where another has nothing to show.
    let places = courses.iter().map(|course| course.server + 1).max().unwrap_or(0);
    let nothing = Report::default();
    let runs: Vec<Run<'_>> = (0..places)
        .map(|place| {
            let course = courses.iter().find(|course| course.server == place);
            Run { name, report: course.map_or(&nothing, |course| &course.report) }
        })
        .collect();
    let by_percentile = percentiles(&runs, Phase::Total, &format!("{name}, by percentile"));
    by_percentile + &over_time(name, courses)
}

/// How long what ended in each second took, from the beginning of the run; nothing where nothing ended.
#[expect(clippy::cast_precision_loss, reason = "places on a picture")]
fn over_time(name: &str, courses: &[Course]) -> String {
    let line = |Course { server, one: (report, origin), .. }: &Course| {
        let (spans, width) = spans(report);
        let first = report.span().map_or(*origin, |[first, _]| first);
        let place = |number: usize| {
            // What was before the beginning is not of the flow: preparations.
            (first + number as u64 * width).checked_sub(*origin).map(|second| second as f64)
        };
        let point = |(number, span): (usize, &super::Span)| {
            let [_, tail] = span.total?;
            Some([place(number)?, tail])
        };
        Line { run: *server, points: spans.iter().enumerate().filter_map(point).collect() }
    };
    let lines: Vec<Line> = courses.iter().map(line).collect();
    if lines.iter().all(|line| line.points.is_empty()) {
        return String::new();
    }
    let chart = Chart {
        title: &format!("{name}, p99 by second"),
        labels: ["seconds", "time"],
        scales: [Scale::Linear, Scale::Logarithmic],
        show: [plain, seconds],
        lines,
    };
    chart.svg()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_page_has_a_curve_of_each_server_that_did_anything() {
        let course = |server, took: &[u64]| {
            let mut report = Report::default();
            took.iter().for_each(|millis| report.total.record(Duration::from_millis(*millis)));
            Course { server, report: report.clone(), one: (report, 7) }
        };
        let flows = vec![
            ("agents".to_owned(), vec![course(0, &[1, 2]), course(2, &[2, 4])]),
            ("idle <one>".to_owned(), vec![course(0, &[])]),
        ];
        let rows = || vec![vec!["a & b".to_owned()]];
        let head = &["flow"];
        let page = render(&Page {
            title: "Side by side",
            about: &["What <this> is".to_owned()],
            overview: Table { heading: "All", head, rows: rows() },
            servers: &["one".to_owned(), "two".to_owned(), "three".to_owned()],
            scenarios: vec![Scenario {
                about: vec!["What happens".to_owned()],
                table: Table { heading: "B2", head, rows: rows() },
                flows,
            }],
        });
        assert_eq!(page.matches("<figure>").count(), 1, "{page}");
        for expected in ["class=\"run0 dash0\" points", "class=\"run2 dash0\" points", "a &amp; b"]
        {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert!(page.contains("What &lt;this&gt; is") && !page.contains("run1 dash0\" points"));
        for outside in ["http:", "https:", "<script", "<link", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
