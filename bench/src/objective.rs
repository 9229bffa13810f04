//! Objectives: what a report must show, as text such as `p99(hs_full) < 50ms, errors == 0`.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::client::{ErrorKind, Latency, Phase, Report};

/// Something that a report must show.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    text: String,
    metric: Metric,
    comparison: Comparison,
    /// In the metric's own unit: see [`Unit`].
    bound: f64,
}

/// What an objective is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The objective, as it was written.
    pub objective: String,
    /// What was measured, for people; none when there was nothing to measure it by.
    pub measured: Option<String>,
    /// Whether it is met. Never so without a measurement.
    pub met: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Metric {
    Quantile(f64, Phase),
    Mean(Phase),
    Max(Phase),
    Count(Phase),
    Done,
    Connections,
    Errors(Option<ErrorKind>),
    Rate,
    ErrorShare,
    RateError,
    ResumedShare,
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Seconds.
    Time,
    /// A number.
    Plain,
    /// 0 to 1.
    Share,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    NotEqual,
}

/// Longer ones come first, so that `<=` is not taken for `<`.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

const TIMES: [(&str, f64); 6] =
    [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];

const FUNCTIONS: &str =
    "p50(PHASE), p99.9(PHASE) and the like, mean(PHASE), max(PHASE), count(PHASE)";
const NUMBERS: [(&str, Metric); 7] = [
    ("done", Metric::Done),
    ("connections", Metric::Connections),
    ("errors", Metric::Errors(None)),
    ("rate", Metric::Rate),
    ("error_share", Metric::ErrorShare),
    ("rate_error", Metric::RateError),
    ("resumed_share", Metric::ResumedShare),
];

/// Reads objectives with commas between them.
///
/// # Errors
/// What is wrong with each of them, and what would be right, a line for each.
pub fn parse(text: &str) -> Result<Vec<Objective>, String> {
    let (mut objectives, mut problems) = (Vec::new(), Vec::new());
    for part in text.split(',').map(str::trim) {
        match Objective::parse(part) {
            Ok(objective) => objectives.push(objective),
            Err(problem) => problems.push(format!("objective '{part}': {problem}")),
        }
    }
    if problems.is_empty() { Ok(objectives) } else { Err(problems.join("\n")) }
}

impl Objective {
    fn parse(text: &str) -> Result<Self, String> {
        let found = COMPARISONS.into_iter().filter_map(|(sign, comparison)| {
            text.find(sign).map(|at| (at, sign.len(), comparison))
        });
        // The leftmost; of two at the same place, the longer one, which comes first.
        let Some((at, length, comparison)) = found.min_by_key(|(at, ..)| *at) else {
            let signs = COMPARISONS.map(|(sign, _)| sign).join(" ");
            return Err(format!(
                "nothing is compared: write METRIC COMPARISON VALUE, with one of {signs}, such as \
                 p99(total) < 50ms"
            ));
        };
        let metric = metric(text[..at].trim())?;
        let bound = bound(text[at + length..].trim(), metric.unit())?;
        Ok(Self { text: text.to_owned(), metric, comparison, bound })
    }

    /// Whether `report` shows it.
    pub fn judge(&self, report: &Report) -> Verdict {
        let measured = self.metric.of(report);
        Verdict {
            objective: self.text.clone(),
            measured: measured.map(|value| self.metric.unit().show(value)),
            met: measured.is_some_and(|value| self.comparison.holds(value, self.bound)),
        }
    }
}

impl fmt::Display for Objective {
    /// As it was written.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Serialize for Objective {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

fn metric(text: &str) -> Result<Metric, String> {
    if let Some((_, metric)) = NUMBERS.into_iter().find(|(name, _)| *name == text) {
        return Ok(metric);
    }
    let Some((function, argument)) = text.strip_suffix(')').and_then(|text| text.split_once('('))
    else {
        return Err(unknown_metric(text));
    };
    let (function, argument) = (function.trim(), argument.trim());
    if function == "errors" {
        return error_kind(argument).map(|kind| Metric::Errors(Some(kind)));
    }
    let percent = function.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
    let of: Box<dyn Fn(Phase) -> Metric> = match function {
        "mean" => Box::new(Metric::Mean),
        "max" => Box::new(Metric::Max),
        "count" => Box::new(Metric::Count),
        _ => match percent {
            Some(percent) if (0.0..=100.0).contains(&percent) => {
                Box::new(move |phase| Metric::Quantile(percent / 100.0, phase))
            }
            Some(_) => return Err(format!("'{function}': a percentile is p0 to p100")),
            None => return Err(unknown_metric(text)),
        },
    };
    let phase = Phase::ALL.into_iter().find(|phase| phase.name() == argument);
    let phases = Phase::ALL.map(Phase::name).join(", ");
    phase.map(of).ok_or_else(|| format!("there is no phase '{argument}'; there are {phases}"))
}

fn unknown_metric(text: &str) -> String {
    let names = NUMBERS.map(|(name, _)| name).join(", ");
    let phases = Phase::ALL.map(Phase::name).join(", ");
    format!(
        "there is no metric '{text}'; there are {names}, errors(KIND), {FUNCTIONS}, where PHASE is \
         one of {phases}"
    )
}

fn error_kind(name: &str) -> Result<ErrorKind, String> {
    ErrorKind::ALL.into_iter().find(|kind| kind.to_string() == name).ok_or_else(|| {
        let kinds = ErrorKind::ALL.map(|kind| kind.to_string()).join(", ");
        format!("there is no kind of error '{name}'; there are {kinds}")
    })
}

fn bound(text: &str, unit: Unit) -> Result<f64, String> {
    let end = text.find(|sign: char| !(sign.is_ascii_digit() || sign == '.')).unwrap_or(text.len());
    let (number, suffix) = (text[..end].parse::<f64>().ok(), text[end..].trim());
    let scale = match unit {
        Unit::Time => TIMES.into_iter().find(|(name, _)| *name == suffix).map(|(_, scale)| scale),
        Unit::Plain => suffix.is_empty().then_some(1.0),
        Unit::Share => [("", 1.0), ("%", 0.01)]
            .into_iter()
            .find_map(|(name, scale)| (name == suffix).then_some(scale)),
    };
    let right = match unit {
        Unit::Time => "a time such as 250us, 50ms or 1.5s",
        Unit::Plain => "a number such as 0 or 2500",
        Unit::Share => "a share such as 1% or 0.01",
    };
    let bound = number
        .zip(scale)
        .map(|(number, scale)| number * scale)
        .ok_or_else(|| format!("'{text}' is no value for it; it takes {right}"))?;
    let longest = Latency::LONGEST.as_secs_f64();
    if unit == Unit::Time && bound >= longest {
        return Err(format!(
            "'{text}' is beyond what is told apart: a time must be below {} m",
            longest / 60.0
        ));
    }
    Ok(bound)
}

impl Metric {
    fn unit(&self) -> Unit {
        match self {
            Self::Quantile(..) | Self::Mean(_) | Self::Max(_) => Unit::Time,
            Self::ErrorShare | Self::RateError | Self::ResumedShare => Unit::Share,
            _ => Unit::Plain,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a comparison")]
    fn of(&self, report: &Report) -> Option<f64> {
        let time = |phase: Phase, of: fn(&Latency, f64) -> Duration, at: f64| {
            let latency = report.phase(phase);
            (latency.count() > 0).then(|| of(latency, at).as_secs_f64())
        };
        let tried = report.done + report.error_count();
        match *self {
            Self::Quantile(quantile, phase) => time(phase, Latency::quantile, quantile),
            Self::Mean(phase) => time(phase, |latency, _| latency.mean(), 0.0),
            Self::Max(phase) => time(phase, |latency, _| latency.max(), 0.0),
            Self::Count(phase) => Some(report.phase(phase).count() as f64),
            Self::Done => Some(report.done as f64),
            Self::Connections => Some(report.connections as f64),
            Self::Errors(None) => Some(report.error_count() as f64),
            Self::Errors(Some(kind)) => Some(report.errors_of(kind) as f64),
            Self::Rate => Some(report.rate()),
            Self::ErrorShare => (tried > 0).then(|| report.error_count() as f64 / tried as f64),
            Self::RateError => report.rate_error(),
            Self::ResumedShare => report.resumed_share(),
        }
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Time if value < 1e-3 => format!("{:.1} µs", value * 1e6),
            Self::Time if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Self::Time => format!("{value:.3} s"),
            Self::Plain if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Plain => format!("{value:.1}"),
            Self::Share => format!("{:.3} %", value * 100.0),
        }
    }
}

impl Comparison {
    #[expect(clippy::float_cmp, reason = "who writes == means exactly that")]
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::More => value > bound,
            Self::AtLeast => value >= bound,
            Self::Equal => value == bound,
            Self::NotEqual => value != bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 90 operations of 1 to 90 ms, 45 of them resumed; 10 errors, and 9 of 1,000 starts not made.
    fn report() -> Report {
        let text = |millis: u64| format!("[{},1]", millis * 1_000_000);
        let buckets: Vec<String> = (1..=90).map(text).collect();
        let empty = "{\"count\":0,\"mean_ns\":0,\"p50_ns\":0,\"p90_ns\":0,\"p99_ns\":0,\
                     \"p999_ns\":0,\"p9999_ns\":0,\"max_ns\":0,\"buckets\":[]}";
        let total = empty.replace("[]", &format!("[{}]", buckets.join(",")));
        let mut report = Report {
            done: 90,
            resumed: 45,
            due: 1_000,
            elapsed: Duration::from_secs(9),
            total: serde_json::from_str(&total).expect("a distribution"),
            ..Report::default()
        };
        let errors = crate::client::Errors { count: 10, example: String::new() };
        report.errors.insert(ErrorKind::Reset, errors);
        let late = crate::client::Errors { count: 9, example: String::new() };
        report.errors.insert(ErrorKind::NotStarted, late);
        report
    }

    #[test]
    fn objectives_are_judged() {
        let report = report();
        for (text, met) in [
            ("p50(total) < 46ms", true),
            ("p50(total)<45ms", false),
            ("p100(total) <= 0.0901s", true),
            ("max(total) > 89ms", true),
            ("mean(total) >= 45ms", true),
            ("count(total) == 90", true),
            ("errors == 0", false),
            ("errors(reset) == 10", true),
            ("errors(refused) != 0", false),
            ("error_share <= 18%", true),
            ("error_share < 0.17", false),
            ("rate >= 10", true),
            ("rate_error < 1%", true),
            ("resumed_share == 50 %", true),
            ("max(total) < 59.9m", true),
            // Nothing was measured.
            ("p99(hs_full) < 1m", false),
        ] {
            let objectives = parse(text).unwrap_or_else(|problem| panic!("{problem}"));
            assert_eq!(objectives[0].judge(&report).met, met, "{text}");
        }
        let verdict = parse("p99(hs_full) < 1s").expect("good")[0].judge(&report);
        assert_eq!(verdict.measured, None);
        let both = parse("p99(total) < 1s, errors == 0").expect("two");
        let met: Vec<bool> = both.iter().map(|objective| objective.judge(&report).met).collect();
        assert_eq!(met, [true, false]);
    }

    #[test]
    fn mistakes_are_told_with_what_would_be_right() {
        for (text, parts) in [
            ("", ["nothing is compared", "<="].as_slice()),
            ("p99(total)", &["METRIC COMPARISON VALUE"]),
            ("p99(hs_ful) < 1s", &["no phase 'hs_ful'", "hs_full, hs_resumed"]),
            ("p101(total) < 1s", &["p0 to p100"]),
            ("latency < 1s", &["no metric 'latency'", "error_share", "p99.9(PHASE)"]),
            ("errors(late) == 0", &["no kind of error 'late'", "handshake-timeout"]),
            ("p99(total) < 50", &["'50' is no value", "50ms"]),
            ("p99(total) < 50 parsec", &["'50 parsec'", "50ms"]),
            ("max(total) < 60m", &["'60m' is beyond", "below 60 m"]),
            ("errors == 5ms", &["'5ms' is no value", "a number"]),
            ("resumed_share > x", &["a share such as 1%"]),
        ] {
            let problem = parse(text).expect_err(text);
            for part in parts {
                assert!(problem.contains(part), "{text}: {part} is not in {problem}");
            }
        }
        let problem = parse("rat > 1, p99(total) < 1s, errors == no").expect_err("two are wrong");
        assert_eq!(problem.lines().count(), 2, "{problem}");
    }
}
