//! A strict reader of the Prometheus text exposition format 0.0.4.

use std::collections::{BTreeMap, HashSet};

/// Samples by name, each with its labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    samples: BTreeMap<String, Vec<(Labels, f64)>>,
}

type Labels = BTreeMap<String, String>;

impl Metrics {
    /// # Errors
    /// The first line that breaks the format: unknown syntax, a sample outside its family, a
    /// family or a series that is there twice, a histogram whose buckets do not add up.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("the last line does not end".to_owned());
        }
        let mut metrics = Self::default();
        let mut family = Family::default();
        let mut seen_families = HashSet::new();
        let mut seen_series = HashSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, _) = rest.split_once(' ').ok_or_else(|| format!("no help: {line}"))?;
                if !seen_families.insert(name.to_owned()) {
                    return Err(format!("a second family: {line}"));
                }
                family = Family { name: name.to_owned(), kind: String::new() };
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) =
                    rest.split_once(' ').ok_or_else(|| format!("no type: {line}"))?;
                if name != family.name || !family.kind.is_empty() {
                    return Err(format!("a type without its help: {line}"));
                }
                if !["counter", "gauge", "histogram"].contains(&kind) {
                    return Err(format!("unknown type: {line}"));
                }
                kind.clone_into(&mut family.kind);
            } else {
                let (name, labels, value) = sample(line).ok_or_else(|| format!("bad: {line}"))?;
                if !family.may_hold(&name) {
                    return Err(format!("outside its family {}: {line}", family.name));
                }
                if !seen_series.insert((name.clone(), labels.clone())) {
                    return Err(format!("a series twice: {line}"));
                }
                metrics.samples.entry(name).or_default().push((labels, value));
            }
        }
        metrics.check_buckets()?;
        Ok(metrics)
    }

    /// Sum of the samples of `name` that have all of `labels`; `None` when there is no such sample.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matching: Vec<f64> = self
            .samples
            .get(name)?
            .iter()
            .filter(|(has, _)| {
                labels.iter().all(|(key, value)| has.get(*key).is_some_and(|found| found == value))
            })
            .map(|(_, value)| *value)
            .collect();
        if matching.is_empty() { None } else { Some(matching.iter().sum()) }
    }

    /// The sum as a whole number; zero when there is no such sample.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number that is not negative"
    )]
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let value = self.sum(name, labels).unwrap_or(0.0);
        assert!(value >= 0.0 && value.fract() == 0.0 && value < 9e15, "{name} is {value}");
        value as u64
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.samples.contains_key(name)
    }

    /// Values of a label over all samples of a name.
    pub(crate) fn label_values(&self, name: &str, label: &str) -> Vec<&str> {
        let samples = self.samples.get(name).map(Vec::as_slice).unwrap_or_default();
        samples.iter().filter_map(|(labels, _)| labels.get(label).map(String::as_str)).collect()
    }

    fn check_buckets(&self) -> Result<(), String> {
        for (name, samples) in &self.samples {
            let Some(base) = name.strip_suffix("_bucket") else { continue };
            let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            for (labels, value) in samples {
                let mut labels = labels.clone();
                let bound = labels.remove("le").ok_or_else(|| format!("{name} without le"))?;
                let bound = number(&bound).ok_or_else(|| format!("{name} le={bound}"))?;
                series.entry(labels).or_default().push((bound, *value));
            }
            for (labels, buckets) in series {
                let rising =
                    buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
                let last = buckets.last().copied().unwrap_or_default();
                let pairs: Vec<(&str, &str)> =
                    labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                let count = self.sum(&format!("{base}_count"), &pairs);
                let has_sum = self.sum(&format!("{base}_sum"), &pairs).is_some();
                if !rising || last.0 != f64::INFINITY || Some(last.1) != count || !has_sum {
                    return Err(format!("buckets of {base} {labels:?}: {buckets:?}, {count:?}"));
                }
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Family {
    name: String,
    kind: String,
}

impl Family {
    fn may_hold(&self, sample: &str) -> bool {
        let Some(suffix) = sample.strip_prefix(self.name.as_str()) else { return false };
        match self.kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
            "" => false,
            _ => suffix.is_empty(),
        }
    }
}

/// `name{label="value",...} number`.
fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let is_name = |text: &str| {
        let mut letters = text.chars();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after.strip_prefix(',')?;
        }
    }
    let value = number(rest.strip_prefix(' ')?)?;
    is_name(name).then(|| (name.to_owned(), labels, value))
}

/// Text up to its closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((position, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[position + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"') => value.push(escaped),
                _ => return None,
            },
            _ => value.push(letter),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ if text.starts_with(|first: char| first.is_ascii_digit() || first == '-') => {
            text.parse().ok()
        }
        _ => None,
    }
}

#[test]
fn the_reader_is_strict() {
    let good = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\\\"\"} 2\na_total 1\n";
    assert_eq!(Metrics::parse(good).expect("good").count("a_total", &[]), 3);
    for bad in [
        "a_total 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a A.\n# TYPE a gauge\nb 1\n",
        "# HELP a A.\n# TYPE a gauge\na{x=1} 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1",
        "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# HELP a A.\n# TYPE a gauge\na one\n",
    ] {
        assert!(Metrics::parse(bad).is_err(), "{bad}");
    }
}
