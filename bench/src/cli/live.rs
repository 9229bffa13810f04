//! How far a load is: some lines that are redrawn in place on a terminal, and now and then a line where
//! there is none.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::termios::tcgetwinsize;
use tlsgate_bench::client::{
    Error, ErrorKind, Flow, Interval, Latency, Phase, Progress, Report, Stage,
};

use crate::measure::output::{dash, short};

/// Time between two frames on a terminal, and between two lines elsewhere.
const FRAME: Duration = Duration::from_millis(500);
const LINE: Duration = Duration::from_secs(10);
/// A second of the clock is over for all threads after this time.
const SETTLED: Duration = Duration::from_millis(300);
/// Columns where nobody says how many there are.
const COLUMNS: usize = 80;
/// Cells of the bar.
const CELLS: usize = 24;
/// Flows that have a line each.
const MOST_FLOWS: usize = 12;

/// Runs something and shows on standard error how far its flows are, unless it `is_quiet`.
///
/// # Errors
/// Those of `run`, for the user to read.
pub(super) fn watched<T>(
    flows: &[Flow],
    is_quiet: bool,
    run: impl FnOnce(&mut dyn FnMut(Progress<'_>)) -> Result<T, Error>,
) -> Result<T, String> {
    let style = ProgressStyle::with_template("{msg}").map_err(|error| error.to_string())?;
    // Draws only when standard error is a terminal.
    let bar = ProgressBar::new_spinner();
    bar.set_style(style);
    let has_terminal = !bar.is_hidden();
    let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (mut began, mut next) = (None, Instant::now() + if has_terminal { FRAME } else { LINE });
    let result = run(&mut |progress| {
        let now = Instant::now();
        if progress.stage > Stage::Prepare {
            began.get_or_insert(now);
        }
        if is_quiet || now < next {
            return;
        }
        let look = Look::new(&progress, flows, began.map(|began| now - began), settled_second());
        if has_terminal {
            next = now + FRAME;
            bar.set_message(look.frame(columns(), has_colours));
            bar.tick();
        } else {
            next += LINE;
            eprintln!("{}", look.line());
        }
    });
    bar.finish_and_clear();
    result.map_err(|error| error.to_string())
}

/// The last second of the clock that all threads have told of.
fn settled_second() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since_1970.saturating_sub(SETTLED).as_secs().saturating_sub(1)
}

fn columns() -> usize {
    let size = tcgetwinsize(io::stderr()).map(|size| usize::from(size.ws_col));
    // The last column stays free: some terminals go on to the next line when it is written to.
    size.ok().filter(|columns| *columns > 1).unwrap_or(COLUMNS) - 1
}

/// What there is to be seen at one time.
struct Look<'run> {
    stage: &'static str,
    /// Of the whole, and the time that is left; none while it prepares.
    share: Option<(f64, Duration)>,
    whole: Latest,
    open: u64,
    done: u64,
    errors: BTreeMap<ErrorKind, u64>,
    /// Where there are several.
    flows: Vec<(&'run str, Latest)>,
}

/// What a second has brought.
#[derive(Default)]
struct Latest {
    done: u64,
    errors: u64,
    total: Latency,
}

impl<'run> Look<'run> {
    /// `passed` is the time since all were prepared, if they are; `second` the one whose rates are
    /// shown.
    fn new(
        progress: &Progress<'_>,
        flows: &'run [Flow],
        passed: Option<Duration>,
        second: u64,
    ) -> Self {
        let (mut whole, mut each) = (Latest::default(), Vec::new());
        let mut errors: BTreeMap<ErrorKind, u64> = BTreeMap::new();
        for (flow, report) in flows.iter().zip(progress.reports) {
            let latest = Latest::of(report.timeline.get(&second));
            whole.add(&latest);
            each.push((flow.name.as_str(), latest));
            for (kind, found) in &report.errors {
                *errors.entry(*kind).or_default() += found.count;
            }
        }
        Self {
            stage: match progress.stage {
                Stage::Prepare => "preparing",
                Stage::Hold => "holding",
                Stage::Measure => "measuring",
                Stage::Drain => "ending",
            },
            share: passed.map(|passed| share(flows, progress.reports, passed)),
            whole,
            open: progress.open,
            done: progress.done,
            errors,
            flows: if each.len() > 1 { each } else { Vec::new() },
        }
    }

    /// Lines that fit `columns`, for a terminal.
    fn frame(&self, columns: usize, has_colours: bool) -> String {
        let mut lines = vec![self.head(), self.figures()];
        let width = self.flows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, latest) in self.flows.iter().take(MOST_FLOWS) {
            lines.push(format!("  {name:width$}  {}", latest.text()));
        }
        if self.flows.len() > MOST_FLOWS {
            lines.push(format!("  and {} more", self.flows.len() - MOST_FLOWS));
        }
        let cut = |line: String| -> String { line.chars().take(columns).collect() };
        let mut lines: Vec<String> = lines.into_iter().map(cut).collect();
        if !self.errors.is_empty() {
            let text = cut(format!("errors: {}", self.kinds()));
            lines.push(if has_colours { format!("\x1b[31m{text}\x1b[0m") } else { text });
        }
        lines.join("\n")
    }

    /// The same in one line.
    fn line(&self) -> String {
        let left = self.left();
        let errors = if self.errors.is_empty() { "none".to_owned() } else { self.kinds() };
        format!("load: {}{left}; {}; errors: {errors}", self.stage, self.figures())
    }

    fn head(&self) -> String {
        let Some((share, _)) = self.share else { return self.stage.to_owned() };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share from 0 to 1 of a few cells"
        )]
        let full = (share * CELLS as f64).round() as usize;
        let bar = "█".repeat(full) + &"░".repeat(CELLS - full);
        format!("{:9} {bar} {:3.0} %{}", self.stage, share * 100.0, self.left())
    }

    fn left(&self) -> String {
        let seconds = self.share.map(|(_, left)| left.as_secs_f64().ceil());
        seconds.map_or_else(String::new, |seconds| match seconds {
            0.0 => String::new(),
            _ if seconds < 120.0 => format!(", {seconds:.0} s left"),
            _ => format!(", {:.0} min left", (seconds / 60.0).ceil()),
        })
    }

    fn figures(&self) -> String {
        format!("{}  {} open  {} done", self.whole.text(), self.open, self.done)
    }

    fn kinds(&self) -> String {
        let each = self.errors.iter().map(|(kind, count)| format!("{kind} {count}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

impl Latest {
    fn of(interval: Option<&Interval>) -> Self {
        let Some(interval) = interval else { return Self::default() };
        let total = interval.phases.get(&Phase::Total).and_then(|packed| packed.unpack().ok());
        let total = total.unwrap_or_default();
        Self { done: interval.done, errors: interval.errors, total }
    }

    fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.errors += other.errors;
        self.total.merge(&other.total);
    }

    fn text(&self) -> String {
        let at = |quantile| match self.total.count() {
            0 => dash(),
            _ => short(self.total.quantile(quantile)),
        };
        let errors =
            if self.errors > 0 { format!("  {} errors/s", self.errors) } else { String::new() };
        format!("{}/s  p50 {}  p99 {}{errors}", self.done, at(0.5), at(0.99))
    }
}

/// How much of the run is over, from 0 to 1, and the time that the rest takes at most.
fn share(flows: &[Flow], reports: &[Report], passed: Duration) -> (f64, Duration) {
    let length = flows.iter().map(Flow::length).max().unwrap_or_default();
    let of_time = passed.as_secs_f64() / length.as_secs_f64().max(f64::MIN_POSITIVE);
    // By number where all flows end by it.
    let counted = flows.iter().zip(reports).map(|(flow, report)| {
        let count = flow.plan.stop.count.filter(|count| *count > 0)?;
        Some(part(report.done + report.error_count(), count))
    });
    let of_counts: Option<Vec<f64>> = counted.collect();
    let of_counts = of_counts.and_then(|shares| shares.into_iter().reduce(f64::min));
    let share = of_time.max(of_counts.unwrap_or_default()).clamp(0.0, 1.0);
    (share, length.saturating_sub(passed))
}

#[expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a share")]
fn part(done: u64, count: u64) -> f64 {
    done as f64 / count as f64
}

#[cfg(test)]
mod tests {
    use tlsgate_bench::client::{Errors, Pace, Plan, Stop, Workload};

    use super::*;

    fn flow(name: &str, count: Option<u64>) -> Flow {
        let plan = Plan {
            target: "127.0.0.1:1".parse().expect("an address"),
            tls: None,
            workload: Workload::Handshakes { resumed: 0.0 },
            pace: Pace::Closed { concurrency: 1 },
            stop: Stop { after: Duration::from_secs(10), count },
            timeout: Duration::from_secs(1),
            threads: 1,
            cpus: Vec::new(),
        };
        Flow { name: name.to_owned(), ..Flow::alone(plan) }
    }

    fn progress(reports: &[Report]) -> Progress<'_> {
        Progress {
            stage: Stage::Measure,
            done: 1_200,
            errors: 3,
            open: 50,
            rate: 0.0,
            elapsed: Duration::from_secs(5),
            reports,
        }
    }

    fn failed(count: u64) -> Report {
        let mut report = Report { done: 9, ..Report::default() };
        let errors = Errors { count, example: String::new() };
        report.errors.insert(ErrorKind::Reset, errors);
        report.timeline.insert(7, Interval { done: 120, errors: count, ..Interval::default() });
        report
    }

    #[test]
    fn a_frame_has_what_the_last_second_brought() {
        let (flows, passed) = ([flow("load", None)], Some(Duration::from_secs(5)));
        let reports = [failed(3)];
        let progress = progress(&reports);
        let look = Look::new(&progress, &flows, passed, 7);
        let frame = look.frame(79, true);
        let lines: Vec<&str> = frame.lines().collect();
        assert_eq!(
            lines[0],
            format!("measuring {}{}  50 %, 5 s left", "█".repeat(12), "░".repeat(12))
        );
        assert_eq!(lines[1], "120/s  p50 –  p99 –  3 errors/s  50 open  1200 done");
        assert_eq!(lines[2..], ["\x1b[31merrors: reset 3\x1b[0m"]);
        assert!(!look.frame(79, false).contains('\x1b'));
        assert!(look.frame(10, false).lines().all(|line| line.chars().count() <= 10));
        let line = "load: measuring, 5 s left; 120/s  p50 –  p99 –  3 errors/s  50 open  1200 done; errors: \
                    reset 3";
        assert_eq!(look.line(), line);
        // Of a second in which nothing happened.
        let still = Look::new(&progress, &flows, passed, 8);
        assert!(still.figures().starts_with("0/s  p50 –"), "{}", still.figures());
        assert_eq!(Look::new(&progress, &flows, None, 8).head(), "measuring");
    }

    #[test]
    fn several_flows_have_a_line_each_up_to_a_limit() {
        let flows: Vec<Flow> =
            (0..14).map(|number| flow(&format!("flow-{number}"), None)).collect();
        let reports = vec![failed(1); 14];
        let progress = progress(&reports);
        let frame = Look::new(&progress, &flows, Some(Duration::ZERO), 7).frame(79, false);
        let lines: Vec<&str> = frame.lines().collect();
        assert!(lines[1].starts_with("1680/s"), "{frame}");
        assert_eq!(lines[2], "  flow-0   120/s  p50 –  p99 –  1 errors/s");
        assert_eq!(lines[14..], ["  and 2 more", "errors: reset 14"]);
    }

    #[test]
    fn numbers_count_where_all_end_by_them() {
        let (second, reports) = (Duration::from_secs(1), [failed(1), failed(1)]);
        let both = [flow("a", Some(20)), flow("b", Some(40))];
        let (share, left) = super::share(&both, &reports, second);
        assert!((share - 0.25).abs() < 1e-9, "{share}");
        assert_eq!(left, 9 * second);
        let one = [flow("a", Some(20)), flow("b", None)];
        assert!((super::share(&one, &reports, second).0 - 0.1).abs() < 1e-9);
        assert!((super::share(&one, &reports, 60 * second).0 - 1.0).abs() < 1e-9);
    }
}
