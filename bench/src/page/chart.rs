//! A chart of lines as SVG. Colours are classes: the page has them for light and dark.

use std::fmt::Write as _;

use super::axis::{Axis, Scale};
use super::{class, escape};

/// Of the whole chart, and of the room around what is drawn, in pixels.
const SIZE: [f64; 2] = [760.0, 300.0];
const LEFT: f64 = 76.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// A chart.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// What is written beside the axes: horizontal, vertical.
    pub(super) labels: [&'a str; 2],
    pub(super) scales: [Scale; 2],
    /// How values are written beside the axes.
    pub(super) show: [fn(f64) -> String; 2],
    pub(super) lines: Vec<Line>,
}

/// A line through points, in the colour of a run.
pub(super) struct Line {
    pub(super) run: usize,
    pub(super) points: Vec<[f64; 2]>,
}

impl Chart<'_> {
    pub(super) fn svg(&self) -> String {
        let values = |axis: usize| {
            let points = self.lines.iter().flat_map(|line| &line.points);
            Axis::new(self.scales[axis], points.map(move |point| point[axis]))
        };
        let axes = [values(0), values(1)];
        let [width, height] = SIZE;
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{}\">\n",
            escape(self.title),
            escape(self.title)
        );
        self.grid(&axes, &mut svg);
        for line in &self.lines {
            let points: Vec<String> = line
                .points
                .iter()
                .filter_map(|point| place(&axes, *point))
                .map(|[x, y]| format!("{x:.1},{y:.1}"))
                .collect();
            let class = class(line.run);
            // One point makes no line.
            if let [point] = &points[..] {
                let (x, y) = point.split_once(',').unwrap_or_default();
                svg += &format!("<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>\n");
            } else {
                svg += &format!("<polyline class=\"{class}\" points=\"{}\"/>\n", points.join(" "));
            }
        }
        svg + "</svg></figure>\n"
    }

    /// Lines and words behind the lines.
    fn grid(&self, axes: &[Axis; 2], svg: &mut String) {
        let [width, height] = SIZE;
        let (right, bottom) = (width - RIGHT, height - BOTTOM);
        let mut out = String::new();
        for value in axes[0].ticks() {
            let Some(x) = axes[0].place(value).map(horizontal) else { continue };
            let text = escape(&(self.show[0])(value));
            out += &format!(
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text class=\"below\" \
                 x=\"{x:.1}\" y=\"{:.1}\">{text}</text>\n",
                bottom + 16.0
            );
        }
        for value in axes[1].ticks() {
            let Some(y) = axes[1].place(value).map(vertical) else { continue };
            let text = escape(&(self.show[1])(value));
            out += &format!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"beside\" \
                 x=\"{:.1}\" y=\"{:.1}\">{text}</text>\n",
                LEFT - 8.0,
                y + 4.0
            );
        }
        let (middle, low) = ((LEFT + right) / 2.0, height - 6.0);
        let written = write!(
            out,
            "<text class=\"below\" x=\"{middle}\" y=\"{low}\">{}</text>\n<text class=\"below\" \
             transform=\"translate(14 {}) rotate(-90)\">{}</text>\n",
            escape(self.labels[0]),
            f64::midpoint(TOP, bottom),
            escape(self.labels[1])
        );
        written.expect("a String takes everything");
        svg.push_str(&out);
    }
}

fn horizontal(place: f64) -> f64 {
    LEFT + place * (SIZE[0] - LEFT - RIGHT)
}

fn vertical(place: f64) -> f64 {
    SIZE[1] - BOTTOM - place * (SIZE[1] - TOP - BOTTOM)
}

fn place(axes: &[Axis; 2], [x, y]: [f64; 2]) -> Option<[f64; 2]> {
    Some([horizontal(axes[0].place(x)?), vertical(axes[1].place(y)?)])
}
