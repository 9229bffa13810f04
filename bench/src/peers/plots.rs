//! Results as SVG.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::goals::against_peers;
use super::target::Kind;
use super::test::{Role, Test};
use super::{Latencies, Memory, Results, Storm};
use crate::measure::load::Unit;
use crate::measure::output::digits;
use crate::measure::rounds::{Measurement, Server};
use crate::measure::statistics::Quartiles;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What a plot has come to: nothing more can be told of a text that was drawn into memory.
type Drawn = Result<(), Box<dyn std::error::Error>>;

const PANEL: (u32, u32) = (460, 250);
const LABELS: u32 = 120;
const FONT: &str = "sans-serif";
const GRID: RGBColor = RGBColor(225, 228, 232);
const LIMIT: RGBColor = RGBColor(200, 30, 30);

/// One bar for each server.
struct Panel {
    title: String,
    bars: Vec<(Kind, Quartiles)>,
}

/// All plots that there are figures for, by the names of their files.
///
/// # Errors
/// What the library says.
pub(crate) fn all(results: &Results) -> Result<Vec<(String, String)>, String> {
    let in_group = |test: &Test, group: fn(Test) -> bool| group(*test);
    let cost_panels = |group: fn(Test) -> bool| -> Vec<Panel> {
        let tests = results.tests().into_iter().filter(|test| in_group(test, group));
        tests.map(|test| costs(results, test)).collect()
    };
    let bars = [
        ("handshakes.svg", cost_panels(|test| is_direct(test) && test.unit() == Unit::Handshake)),
        ("round-trips.svg", cost_panels(|test| is_direct(test) && test.unit() == Unit::RoundTrip)),
        ("bulk.svg", cost_panels(|test| is_direct(test) && test.unit() == Unit::Gigabyte)),
        ("originate-and-pair.svg", cost_panels(|test| !is_direct(test))),
        ("memory.svg", memory(results)),
        ("storm.svg", storm(results)),
    ];
    let mut plots = Vec::new();
    let ratios = ratios(results);
    if !ratios.is_empty() {
        let height = 90 + 26 * u32::try_from(ratios.len()).unwrap_or_default();
        plots.push(plot("ratios.svg", (860, height), |area| draw_ratios(area, &ratios))?);
    }
    for (name, panels) in bars.into_iter().filter(|(_, panels)| !panels.is_empty()) {
        let columns = panels.len().min(2);
        let rows = panels.len().div_ceil(columns);
        let size = |count: usize, length: u32| u32::try_from(count).unwrap_or(1) * length;
        let size = (size(columns, PANEL.0), size(rows, PANEL.1));
        plots.push(plot(name, size, |area| {
            let areas = area.split_evenly((rows, columns));
            areas.iter().zip(&panels).try_for_each(|(area, panel)| draw_bars(area, panel))
        })?);
    }
    if !results.latencies.is_empty() {
        plots.push(plot("latency.svg", (1080, 380), |area| {
            let areas = area.split_evenly((1, 2));
            let tests = [Test::RoundTrips50, Test::Full13];
            areas.iter().zip(tests).try_for_each(|(area, test)| {
                let of_test = results.latencies.iter().filter(|one| one.test == test);
                draw_latencies(area, test, &of_test.collect::<Vec<_>>())
            })
        })?);
    }
    Ok(plots)
}

/// Whether the gateway ends TLS that a client begins.
fn is_direct(test: Test) -> bool {
    !matches!(test.role(), Role::Originate | Role::PairEntry | Role::PairExit)
}

fn plot(
    name: &str,
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<(String, String), String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let drawn = area.fill(&WHITE).map_err(Into::into).and_then(|()| draw(&area));
        drawn.and_then(|()| Ok(area.present()?)).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok((name.to_owned(), text))
}

fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::IoUring => RGBColor(11, 98, 196),
        Kind::Epoll => RGBColor(106, 165, 232),
        Kind::Haproxy => RGBColor(217, 130, 43),
        Kind::Nginx => RGBColor(63, 145, 66),
        Kind::Hitch => RGBColor(160, 81, 149),
        Kind::Stunnel => RGBColor(140, 109, 70),
        Kind::Envoy => RGBColor(194, 69, 59),
        Kind::Relay => RGBColor(150, 155, 160),
        Kind::Memory => RGBColor(190, 194, 198),
    }
}

fn costs(results: &Results, test: Test) -> Panel {
    let mut bars: Vec<(Kind, Quartiles)> = Vec::new();
    for kind in results.kinds() {
        // The floor of a relay is measured once for all kinds of handshakes.
        let of = if kind == Kind::Relay && is_direct(test) { test.plaintext() } else { test };
        bars.extend(results.cost(of, kind).map(|cost| (kind, cost)));
    }
    Panel { title: format!("{}: {}", test.name(), test.unit().cost()), bars }
}

fn memory(results: &Results) -> Vec<Panel> {
    let bar = |memory: &Memory| (memory.target, exactly(memory.used.pss));
    let bars: Vec<(Kind, Quartiles)> = results.memory.iter().map(bar).collect();
    let title = "bytes per idle connection, TLS 1.3".to_owned();
    if bars.is_empty() { Vec::new() } else { vec![Panel { title, bars }] }
}

fn storm(results: &Results) -> Vec<Panel> {
    let bars = |figure: fn(&Storm) -> f64| -> Vec<(Kind, Quartiles)> {
        let bar = |kind| Some((kind, results.storm(kind, figure)?));
        results.stormed().into_iter().filter_map(bar).collect()
    };
    let panels = [
        ("flows, calm: p99, ms", bars(|storm| storm.calm.p99.as_secs_f64() * 1e3)),
        ("flows in the storm: p99, ms", bars(|storm| storm.storm.p99.as_secs_f64() * 1e3)),
        ("flows in the storm: longest, ms", bars(|storm| storm.storm.longest.as_secs_f64() * 1e3)),
        ("handshakes completed, % of the peak", bars(|storm| storm.completed * 100.0 / storm.peak)),
    ];
    let panels = panels.into_iter().filter(|(_, bars)| !bars.is_empty());
    panels.map(|(title, bars)| Panel { title: title.to_owned(), bars }).collect()
}

fn exactly(value: f64) -> Quartiles {
    Quartiles { low: value, median: value, high: value }
}

/// The number on an axis.
fn plain(number: f64) -> String {
    format!("{}", (number * 100.0).round() / 100.0)
}

/// Writes at a place that is given in pixels of the whole plot.
fn write(area: &Area<'_>, (x, y): (i32, i32), label: &str, at: HPos) -> Drawn {
    let (left, top) = area.get_base_pixel();
    let style = TextStyle::from((FONT, 12).into_font()).pos(Pos::new(at, VPos::Center));
    Ok(area.draw(&Text::new(label, (x - left, y - top), style))?)
}

/// The vertical place of each of `count` rows, from the top.
fn places(count: usize) -> impl Iterator<Item = f64> {
    let top = u32::try_from(count).map_or(0.0, f64::from);
    (0..count).scan(top - 0.5, |place, _| Some(std::mem::replace(place, *place - 1.0)))
}

fn draw_bars(area: &Area<'_>, panel: &Panel) -> Drawn {
    let longest = panel.bars.iter().map(|(_, bar)| bar.high.max(bar.median)).fold(1e-9, f64::max);
    let rows = u32::try_from(panel.bars.len()).map_or(1.0, f64::from);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, (FONT, 15))
        .margin(8)
        .margin_right(16)
        .set_label_area_size(LabelAreaPosition::Left, LABELS)
        .set_label_area_size(LabelAreaPosition::Bottom, 24)
        .build_cartesian_2d(0.0..longest * 1.25, 0.0..rows)?;
    let (mut mesh, plain) = (chart.configure_mesh(), |number: &f64| plain(*number));
    mesh.disable_y_mesh().y_labels(0).x_labels(5).light_line_style(TRANSPARENT);
    mesh.x_label_formatter(&plain);
    mesh.bold_line_style(GRID).label_style((FONT, 12)).draw()?;
    for ((kind, bar), place) in panel.bars.iter().zip(places(panel.bars.len())) {
        let (colour, middle) = (colour(*kind), (bar.median, place));
        let body = [(0.0, place - 0.32), (bar.median, place + 0.32)];
        chart.draw_series([Rectangle::new(body, colour.filled())])?;
        if bar.high > bar.low {
            let whisker = vec![(bar.low, place), (bar.high, place)];
            chart.draw_series([PathElement::new(whisker, BLACK.stroke_width(2))])?;
        }
        let plane = chart.plotting_area();
        let (right, y) = plane.map_coordinate(&(bar.high.max(bar.median), middle.1));
        let (left, _) = plane.map_coordinate(&(0.0, place));
        write(area, (right + 6, y), &digits(bar.median), HPos::Left)?;
        write(area, (left - 6, y), kind.name(), HPos::Right)?;
    }
    Ok(())
}

/// A test, its best peer, and our cost over that peer's.
type Ratio = (Test, Kind, Quartiles);

fn ratios(results: &Results) -> Vec<Ratio> {
    let of = |test: Test| {
        let peer = results.best_peer(test)?;
        Some((test, peer, results.ratio(test, peer)?))
    };
    results.tests().into_iter().filter_map(of).collect()
}

fn draw_ratios(area: &Area<'_>, ratios: &[Ratio]) -> Drawn {
    let furthest = ratios.iter().map(|(.., ratio)| ratio.high).fold(1.05, f64::max);
    let rows = u32::try_from(ratios.len()).map_or(1.0, f64::from);
    let title = "tlsgate io_uring's CPU time over the best peer's: medians, quartiles, goals (red)";
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 15))
        .margin(8)
        .margin_right(16)
        .set_label_area_size(LabelAreaPosition::Left, 330)
        .set_label_area_size(LabelAreaPosition::Bottom, 24)
        .build_cartesian_2d(0.0..furthest * 1.05, 0.0..rows)?;
    let (mut mesh, plain) = (chart.configure_mesh(), |number: &f64| plain(*number));
    mesh.disable_y_mesh().y_labels(0).x_labels(12).light_line_style(TRANSPARENT);
    mesh.x_label_formatter(&plain);
    mesh.bold_line_style(GRID).label_style((FONT, 12)).draw()?;
    chart.draw_series([PathElement::new(vec![(1.0, 0.0), (1.0, rows)], BLACK.mix(0.5))])?;
    for ((test, peer, ratio), place) in ratios.iter().zip(places(ratios.len())) {
        if let Some((goal, _)) = against_peers(*test) {
            let tick = vec![(goal, place - 0.42), (goal, place + 0.42)];
            chart.draw_series([PathElement::new(tick, LIMIT.stroke_width(2))])?;
        }
        let colour = colour(Kind::IoUring);
        let whisker = vec![(ratio.low, place), (ratio.high, place)];
        chart.draw_series([PathElement::new(whisker, colour.stroke_width(2))])?;
        chart.draw_series([Circle::new((ratio.median, place), 4, colour.filled())])?;
        let (left, y) = chart.plotting_area().map_coordinate(&(0.0, place));
        let label = format!("{} ({})", test.name(), peer.name());
        write(area, (left - 6, y), &label, HPos::Right)?;
    }
    Ok(())
}

/// What is shown of a distribution, from left to right.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)];

fn draw_latencies(area: &Area<'_>, test: Test, latencies: &[&Latencies]) -> Drawn {
    let micros = |one: &Latencies, quantile| one.total.quantile(quantile).as_secs_f64() * 1e6;
    let low = latencies.iter().map(|one| micros(one, 0.5)).fold(f64::INFINITY, f64::min);
    let high = latencies.iter().map(|one| micros(one, 1.0)).fold(1.0, f64::max);
    if latencies.is_empty() || low <= 0.0 {
        return Ok(());
    }
    let offered = latencies.first().map_or(0.0, |one| one.offered);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}, {offered:.0}/s: µs", test.name()), (FONT, 15))
        .margin(8)
        .set_label_area_size(LabelAreaPosition::Left, 60)
        .set_label_area_size(LabelAreaPosition::Bottom, 28)
        .build_cartesian_2d(-0.2..6.4, (low * 0.8..high * 1.3).log_scale())?;
    let name = |place: &f64| {
        let at = QUANTILES.iter().zip([0.0, 1.0, 2.0, 3.0, 4.0]);
        let here = at.filter(|(_, at)| (place - at).abs() < 1e-6).map(|((name, _), _)| *name);
        here.collect::<String>()
    };
    let mut mesh = chart.configure_mesh();
    mesh.x_labels(7).x_label_formatter(&name).y_label_formatter(&|micros| plain(*micros));
    mesh.light_line_style(TRANSPARENT).bold_line_style(GRID).label_style((FONT, 12)).draw()?;
    for one in latencies {
        let colour = colour(one.target);
        let points = QUANTILES.iter().zip([0.0, 1.0, 2.0, 3.0, 4.0]);
        let points: Vec<(f64, f64)> =
            points.map(|((_, quantile), place)| (place, micros(one, *quantile))).collect();
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
            .label(one.target.name())
            .legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2))
            });
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::MiddleRight).label_font((FONT, 12));
    labels.background_style(WHITE.mix(0.8)).border_style(GRID).draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{results, row};
    use super::*;

    #[test]
    fn a_plot_has_every_server_and_every_goal() {
        let test = Test::Full13;
        let rows = [(Kind::IoUring, 100.0), (Kind::Envoy, 200.0), (Kind::Relay, 50.0)];
        let rows = rows.map(|(kind, cost)| row(0, test, kind, cost));
        let plots = all(&results(rows.to_vec())).expect("plots");
        let names: Vec<&str> = plots.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["ratios.svg", "handshakes.svg"]);
        let [(_, ratios), (_, handshakes)] = &plots[..] else { panic!("two") };
        assert!(ratios.contains("TLS 1.3 full handshake (envoy)"), "{ratios}");
        for name in ["tlsgate io_uring", "envoy", "plain relay"] {
            assert!(handshakes.contains(name), "{name}: {handshakes}");
        }
        assert_eq!(handshakes.matches("<rect").count(), 1 + 3, "background and bars");
        assert!(all(&results(Vec::new())).expect("no figures, no plots").is_empty());
    }

    #[test]
    fn rows_go_from_the_top_down() {
        assert_eq!(places(3).collect::<Vec<_>>(), [2.5, 1.5, 0.5]);
    }
}
