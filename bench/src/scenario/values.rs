//! What values may be, and how they are read.

use std::net::SocketAddr;
use std::time::Duration;

use super::tree::{Item, Value};
use crate::client::Sizes;
use crate::units::{WantedShape, parse_duration, parse_shape, parse_size};

/// How a value is read.
pub(super) struct Rule<'r, T> {
    /// What is allowed, for people.
    pub(super) allowed: String,
    /// None when it is not allowed.
    pub(super) read: Read<'r, T>,
}

type Read<'r, T> = Box<dyn Fn(&Item) -> Option<T> + 'r>;

impl<'r, T: 'r> Rule<'r, T> {
    pub(super) fn new(allowed: impl Into<String>, read: impl Fn(&Item) -> Option<T> + 'r) -> Self {
        Self { allowed: allowed.into(), read: Box::new(read) }
    }
}

/// A number within `low` and `high`.
pub(super) fn number(low: f64, high: f64, unit: &str) -> Rule<'static, f64> {
    let read = move |item: &Item| match item.value {
        Value::Number(number) => (low..=high).contains(&number).then_some(number),
        _ => None,
    };
    Rule::new(format!("a number from {low} to {high}{unit}"), read)
}

/// A whole number within `low` and `high`.
pub(super) fn count(low: u32, high: u32) -> Rule<'static, u32> {
    let read = move |item: &Item| match item.value {
        Value::Number(number) if number.fract() == 0.0 => {
            let is_in = (f64::from(low)..=f64::from(high)).contains(&number);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a whole number within two of this type"
            )]
            is_in.then_some(number as u32)
        }
        _ => None,
    };
    Rule::new(format!("a whole number from {low} to {high}"), read)
}

/// Text that `parse` takes.
pub(super) fn text<'r, T: 'r>(
    allowed: &str,
    parse: impl Fn(&str) -> Option<T> + 'r,
) -> Rule<'r, T> {
    Rule::new(allowed, move |item| match &item.value {
        Value::Text(text) => parse(text),
        _ => None,
    })
}

/// Any text.
pub(super) fn any_text() -> Rule<'static, String> {
    text("a text", |text| Some(text.to_owned()))
}

/// What a flow or target is called.
pub(super) fn name() -> Rule<'static, String> {
    text("1 to 32 letters, digits, - and _", |text| {
        let good = |sign: char| sign.is_ascii_alphanumeric() || sign == '-' || sign == '_';
        ((1..=32).contains(&text.len()) && text.chars().all(good)).then(|| text.to_owned())
    })
}

/// One of these words.
pub(super) fn word<'r, T: Clone + 'r>(words: &'r [(&'r str, T)]) -> Rule<'r, T> {
    let names: Vec<String> = words.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    text(&names.join(", "), move |text| {
        let found = words.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| value.clone())
    })
}

/// A time above zero.
pub(super) fn duration() -> Rule<'static, Duration> {
    let positive = |time: &Duration| !time.is_zero();
    text(
        "a time above 0 and up to 30 days with its unit, such as \"250ms\", \"10s\", \"5m\" or \"8h\"",
        move |text| parse_duration(text).ok().filter(positive),
    )
}

/// A time that may be zero.
pub(super) fn moment() -> Rule<'static, Duration> {
    text(
        "a time from \"0s\" to 30 days with its unit, such as \"250ms\", \"10s\", \"5m\" or \"8h\"",
        |text| parse_duration(text).ok(),
    )
}

/// A number of bytes.
pub(super) fn bytes() -> Rule<'static, u64> {
    let allowed =
        "bytes from 1 to 1G, such as 600, \"16K\" or \"64M\"; K, M and G are powers of 1024";
    Rule::new(allowed, |item| {
        let bytes = match &item.value {
            Value::Number(number) if number.fract() == 0.0 && *number >= 0.0 => {
                parse_size(&number.to_string()).ok()?
            }
            Value::Text(text) => parse_size(text).ok()?,
            _ => return None,
        };
        (1..=1 << 30).contains(&bytes).then_some(bytes)
    })
}

/// Sizes by distribution, none above `most`.
pub(super) fn sizes(most: u64) -> Rule<'static, Sizes> {
    let allowed = format!(
        "bytes from 1 to {most}, such as 600 or \"16K\", or a distribution of them: {{ uniform = [200, 1500] }}, \
         {{ lognormal = {{ median = 600, sigma = 0.7, most = \"8K\" }} }} or {{ list = [[200, 3], [1500, 1]] }}, \
         sizes with their weights"
    );
    Rule::new(allowed, move |item| distribution(item).filter(|sizes| sizes.most() <= most))
}

fn distribution(item: &Item) -> Option<Sizes> {
    let bytes = |item: &Item| (bytes().read)(item);
    let Value::Table(table) = &item.value else { return bytes(item).map(Sizes::Fixed) };
    let mut entries = table.entries.iter();
    let ((kind, item), None) = (entries.next()?, entries.next()) else { return None };
    match (kind.as_str(), &item.value) {
        ("uniform", Value::List(bounds)) => {
            let [least, most] = &bounds[..] else { return None };
            let (least, most) = (bytes(least)?, bytes(most)?);
            (least <= most).then_some(Sizes::Uniform(least, most))
        }
        ("lognormal", Value::Table(table)) if table.entries.len() == 3 => {
            let of = |key: &str| table.entries.get(key);
            let sigma = (number(0.0, 10.0, "").read)(of("sigma")?)?;
            #[expect(clippy::cast_precision_loss, reason = "at most 2^30")]
            let median = bytes(of("median")?)? as f64;
            Some(Sizes::Lognormal { median, sigma, most: bytes(of("most")?)? })
        }
        ("list", Value::List(items)) if !items.is_empty() => {
            let pair = |item: &Item| match &item.value {
                Value::List(pair) => match &pair[..] {
                    [size, weight] => {
                        let weight = (number(0.0, 1e9, "").read)(weight)?;
                        Some((bytes(size)?, weight))
                    }
                    _ => None,
                },
                _ => None,
            };
            let pairs: Option<Vec<_>> = items.iter().map(pair).collect();
            pairs.filter(|pairs| pairs.iter().any(|(_, weight)| *weight > 0.0)).map(Sizes::List)
        }
        _ => None,
    }
}

/// An address with a port.
pub(super) fn address() -> Rule<'static, SocketAddr> {
    text("an IP address and a port, such as \"127.0.0.1:7443\" or \"[::1]:7443\"", |text| {
        text.parse().ok()
    })
}

/// What becomes of a rate.
pub(super) fn shape() -> Rule<'static, WantedShape> {
    let allowed = "\"constant\", \"ramp:TO\", \"step:TO:STEPS\" or \"burst:TO:LENGTH:EVERY\", where TO is a \
                   rate";
    text(allowed, |text| parse_shape(text).ok())
}

/// A list of what `rule` allows.
pub(super) fn list<'r, T: 'r>(rule: Rule<'r, T>) -> Rule<'r, Vec<T>> {
    Rule::new(format!("a list, each {}", rule.allowed), move |item| match &item.value {
        Value::List(items) => items.iter().map(|item| (rule.read)(item)).collect(),
        _ => None,
    })
}
