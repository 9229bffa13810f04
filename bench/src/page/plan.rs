//! A capacity plan as a page: its tables, and what becomes of it as the demand grows.

use super::axis::Scale;
use super::chart::{Chart, Line};
use super::{document, escape, legend, plain, table};
use crate::capacity::curve::Curve;

/// What is to be shown.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Lines of text.
    pub summary: &'a str,
    /// In this order.
    pub tables: Vec<Table<'a>>,
    /// See [`crate::capacity::curve::curves`].
    pub curves: &'a [Curve],
    /// What is to be changed, when the objectives do not hold.
    pub advice: &'a [String],
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    /// What is written above it.
    pub heading: &'a str,
    /// The names of its columns.
    pub head: &'a [&'a str],
    /// Its cells.
    pub rows: Vec<Vec<String>>,
}

/// The page.
pub fn render(plan: &Plan<'_>) -> String {
    let mut body = String::new();
    for line in plan.summary.lines() {
        body += &format!("<p>{}</p>\n", escape(line));
    }
    if !plan.advice.is_empty() {
        let items = plan.advice.iter().map(|line| format!("<li>{}</li>\n", escape(line)));
        body += &format!(
            "<p class=\"warning\">The objectives are not met. To change:</p>\n<ul>\n{}</ul>\n",
            items.collect::<String>()
        );
    }
    for Table { heading, head, rows } in &plan.tables {
        body += &format!("<h2>{}</h2>\n{}", escape(heading), table(head, rows));
    }
    body += "<h2>As the demand grows</h2>\n<p>By the figures of the model, without their errors; 1 is what \
             was planned for.</p>\n";
    body += &legend(&["what the model says".to_owned(), "what it may be at most".to_owned()]);
    let charts: String = plan.curves.iter().filter_map(chart).collect();
    body += &format!("<div class=\"charts\">\n{charts}</div>\n");
    document("Capacity plan", &body)
}

/// None of a curve without points.
fn chart(curve: &Curve) -> Option<String> {
    let (first, last) = (curve.points.first()?, curve.points.last()?);
    let mut lines = vec![Line { run: 0, points: curve.points.clone() }];
    if let Some(limit) = curve.limit {
        lines.push(Line { run: 1, points: vec![[first[0], limit], [last[0], limit]] });
    }
    let chart = Chart {
        title: &curve.name,
        labels: ["times the demand", curve.unit],
        // Waits grow beyond all measure where the CPU ends.
        scales: [
            Scale::Linear,
            if curve.unit == "ms" { Scale::Logarithmic } else { Scale::Linear },
        ],
        show: [plain, precise],
        lines,
    };
    Some(chart.svg())
}

/// As [`plain`], where decades below a hundredth are written out.
fn precise(value: f64) -> String {
    if value > 0.0 && value < 0.01 { value.to_string() } else { plain(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_tables_and_curves_with_their_limits() {
        let curve = |name: &str, unit, limit, points: &[[f64; 2]]| Curve {
            name: name.to_owned(),
            unit,
            limit,
            points: points.to_vec(),
        };
        let curves = [
            curve("p99 <of> a message", "ms", Some(1.0), &[[0.5, 0.002], [1.0, 0.4]]),
            curve("CPU", "%", None, &[[0.5, 30.0], [1.0, 60.0]]),
            curve("never", "s", Some(2.0), &[]),
        ];
        let rows = vec![vec!["a & b".to_owned(), "2".to_owned()]];
        let page = render(&Plan {
            summary: "3 nodes\nand more",
            tables: vec![Table { heading: "What is to hold", head: &["objective", "found"], rows }],
            curves: &curves,
            advice: &["more <nodes>".to_owned()],
        });
        for expected in [
            "<p>3 nodes</p>",
            "a &amp; b",
            "p99 &lt;of&gt; a message",
            "0.001",
            "more &lt;nodes&gt;",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert_eq!(page.matches("<figure>").count(), 2, "{page}");
        // Two curves and one limit.
        assert_eq!(page.matches("<polyline").count(), 3, "{page}");
        for outside in ["http:", "https:", "<script", "<link", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
