//! One TOML value against the kind of its option, and from there to the types of the model.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeValue};

use super::address;
use super::date::Date;
use super::model::{
    Destination, Endpoint, ListenAddress, SourceWord, TlsVersion, Upstream, WeakSuite,
};
use super::options::{Condition, Kind};
use super::suggest;
use super::suites;
use super::units::{format_duration, format_size, parse_duration, parse_size};
use crate::policy::rules::{Cidr, ClientMatch, SniPattern, Version, parse_sha256};

/// Most characters of the file that a diagnostic repeats.
const MAX_FOUND: usize = 80;
/// Longest listener name.
const MAX_NAME: usize = 64;

/// A value that its [`Kind`] allows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// The word of [`Kind::Or`].
    Instead,
    Switch(bool),
    Integer(u64),
    Duration(Duration),
    Size(Bytes),
    Word(&'static str),
    Version(TlsVersion),
    Date(Date),
    Digest([u8; 32]),
    Text(String),
    Path(PathBuf),
    Socket(std::net::SocketAddr),
    Listen(ListenAddress),
    Upstream(Upstream),
    UpstreamSource(SourceWord),
    Access(Destination),
    Source(Cidr),
    Sni(SniPattern),
    Offer(Version),
    Client(ClientMatch),
    List(Vec<Self>),
}

/// A size, so that it is not taken for a count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bytes(pub(super) u64);

/// Why a value is not allowed.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    /// Of the value, or of the item in an array, in bytes of the file.
    pub(super) span: Range<usize>,
    /// The item's index in an array.
    pub(super) index: Option<usize>,
    pub(super) message: String,
    pub(super) found: String,
    pub(super) allowed: String,
    pub(super) hint: String,
}

/// Checks `value`; relative paths start at `base`. Every problem of an array is reported.
pub(super) fn check(
    kind: &Kind,
    value: &Spanned<DeValue<'_>>,
    base: &Path,
) -> Result<Value, Vec<Problem>> {
    match (kind, value.get_ref()) {
        (Kind::List { item, min, max, .. }, DeValue::Array(items)) => {
            check_list(item, items, base, *min..=*max).map_err(|mut problems| {
                for problem in problems.iter_mut().filter(|problem| problem.index.is_none()) {
                    problem.span = value.span();
                    problem.allowed = kind.allowed();
                }
                problems
            })
        }
        (Kind::List { item, single: true, .. }, DeValue::String(_)) => {
            check(item, value, base).map(|value| Value::List(vec![value]))
        }
        (_, one) => check_one(kind, one, base).map_err(|refusal| {
            vec![Problem {
                span: value.span(),
                index: None,
                message: refusal.message,
                found: found(one),
                allowed: kind.allowed(),
                hint: refusal.hint,
            }]
        }),
    }
}

/// How a diagnostic repeats a value.
pub(super) fn found(value: &DeValue<'_>) -> String {
    let text = match value {
        DeValue::String(text) => {
            let start: String = text.chars().take(MAX_FOUND + 1).collect();
            return format!("\"{}\"", shorten(&start.escape_debug().to_string()));
        }
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(items) => format!("an array of {}", items.len()),
        DeValue::Table(_) => "a table".to_owned(),
    };
    shorten(&text)
}

/// Cuts text of the file to a length that can be read.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_FOUND) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether `text` may name a listener.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allowed)
}

struct Refusal {
    message: String,
    hint: String,
}

impl Refusal {
    fn new(message: &str, hint: impl Into<String>) -> Self {
        Self { message: message.to_owned(), hint: hint.into() }
    }
}

fn check_list(
    item: &Kind,
    items: &DeArray<'_>,
    base: &Path,
    count: std::ops::RangeInclusive<usize>,
) -> Result<Value, Vec<Problem>> {
    let problem = |index: Option<usize>, span: Range<usize>, message: &str, found, hint: &str| {
        let (message, hint) = (message.to_owned(), hint.to_owned());
        Problem { span, index, message, found, allowed: item.allowed(), hint }
    };
    if !count.contains(&items.len()) {
        let message = if items.is_empty() { "is empty" } else { "has too many items" };
        let found = format!("{} items", items.len());
        return Err(vec![problem(None, 0..0, message, found, "Add or remove items.")]);
    }
    let mut values = Vec::new();
    let mut problems = Vec::new();
    for (index, value) in items.iter().enumerate() {
        match check(item, value, base) {
            Ok(one) if values.contains(&one) => {
                let found = found(value.get_ref());
                let hint = "Remove one of them.";
                problems.push(problem(Some(index), value.span(), "is there twice", found, hint));
            }
            Ok(one) => values.push(one),
            Err(found) => {
                problems.extend(found.into_iter().map(|one| Problem { index: Some(index), ..one }))
            }
        }
    }
    if problems.is_empty() { Ok(Value::List(values)) } else { Err(problems) }
}

fn check_one(kind: &Kind, value: &DeValue<'_>, base: &Path) -> Result<Value, Refusal> {
    match (kind, value) {
        (Kind::Or(word, other), _) => {
            if is_instead(word, other, value) {
                return Ok(Value::Instead);
            }
            check_one(other, value, base).map_err(|refusal| match value {
                DeValue::String(text) if suggest::closest(text, [*word].into_iter()).is_some() => {
                    Refusal { hint: format!("Did you mean \"{word}\"?"), ..refusal }
                }
                _ => refusal,
            })
        }
        (Kind::Switch, DeValue::Boolean(switch)) => Ok(Value::Switch(*switch)),
        (Kind::Vendor(_), DeValue::String(text)) => Ok(Value::Text(text.to_string())),
        (Kind::Vendor(_), DeValue::Boolean(switch)) => Ok(Value::Text(switch.to_string())),
        // As text has it: "1" and not 0x1.
        (Kind::Vendor(_), DeValue::Integer(integer)) if integer.radix() == 10 => {
            Ok(Value::Text(integer.as_str().to_owned()))
        }
        (Kind::Integer { min, max, .. }, DeValue::Integer(integer)) => {
            in_range(integer, *min, *max, |bound| bound.to_string()).map(Value::Integer)
        }
        (Kind::Size { min, max }, DeValue::Integer(integer)) => {
            in_range(integer, *min, *max, format_size).map(|size| Value::Size(Bytes(size)))
        }
        (_, DeValue::String(text)) => check_text(kind, text, base),
        (Kind::Date, DeValue::Datetime(day)) => date(&day.to_string()),
        _ => Err(wrong_type(kind, value)),
    }
}

/// `"off"` may also be written as no time at all.
fn is_instead(word: &str, other: &Kind, value: &DeValue<'_>) -> bool {
    let may_be_zero = word == "off" && matches!(other, Kind::Duration { .. });
    match value {
        DeValue::String(text) if text == word => true,
        DeValue::String(text) => may_be_zero && parse_duration(text) == Some(Duration::ZERO),
        DeValue::Integer(integer) => may_be_zero && number(integer) == Some(0),
        _ => false,
    }
}

fn check_text(kind: &Kind, text: &str, base: &Path) -> Result<Value, Refusal> {
    let bad_address = |hint| Refusal::new("is not an address", hint);
    match kind {
        Kind::Duration { min, max, step } => duration(text, *min, *max, *step).map(Value::Duration),
        Kind::Size { min, max } => match parse_size(text) {
            Some(size) if (*min..=*max).contains(&size) => Ok(Value::Size(Bytes(size))),
            Some(size) if size < *min => Err(too_small(format_size(*min))),
            Some(_) => Err(too_large(format_size(*max))),
            None => Err(Refusal::new("is not a size", "Write a number and a unit: \"64KiB\".")),
        },
        Kind::Word(words) => word(text, words).map(Value::Word),
        Kind::TlsVersion => version(text).map(Value::Version),
        Kind::Date => date(text),
        Kind::Digest => digest(text),
        Kind::Text { max } => match text.len() {
            0 => Err(Refusal::new("is empty", "Write a name, or leave it out.")),
            length if length > *max => Err(Refusal::new("is too long", "Shorten it.")),
            _ if text.chars().any(char::is_control) => {
                Err(Refusal::new("has a control character", "Remove it."))
            }
            _ => Ok(Value::Text(text.to_owned())),
        },
        Kind::Name if is_name(text) => Ok(Value::Text(text.to_owned())),
        Kind::Name if text.is_empty() => Err(Refusal::new("is empty", "Write a name.")),
        Kind::Name if text.len() > MAX_NAME => Err(Refusal::new("is too long", "Shorten it.")),
        Kind::Name => Err(Refusal::new("is not a name", "Replace the other characters by \"-\".")),
        Kind::Path => address::path(text, base)
            .map(Value::Path)
            .map_err(|hint| Refusal::new("is not a path", hint)),
        Kind::Condition(condition) => self::condition(*condition, text),
        Kind::SocketAddress => {
            address::socket_address(text).map(Value::Socket).map_err(bad_address)
        }
        Kind::ListenAddress => {
            address::listen_address(text, base).map(Value::Listen).map_err(bad_address)
        }
        Kind::Endpoint => address::upstream(text, base).map(Value::Upstream).map_err(bad_address),
        Kind::UpstreamSource => address::upstream_source(text)
            .map(Value::UpstreamSource)
            .map_err(|hint| Refusal::new("is no source", hint)),
        Kind::AccessLog => address::access_log(text, base)
            .map(Value::Access)
            .map_err(|hint| Refusal::new("is not a destination", hint)),
        Kind::Switch
        | Kind::Integer { .. }
        | Kind::Vendor(_)
        | Kind::Or(..)
        | Kind::List { .. } => Err(wrong_type(kind, &DeValue::String(text.into()))),
    }
}

fn duration(text: &str, min: Duration, max: Duration, step: Duration) -> Result<Duration, Refusal> {
    let hint = "Write a number and a unit: \"500ms\", \"10s\", \"5m\", \"1h\".";
    let duration = parse_duration(text).ok_or_else(|| Refusal::new("is not a duration", hint))?;
    if duration < min {
        return Err(too_small(format_duration(min)));
    }
    if duration > max {
        return Err(too_large(format_duration(max)));
    }
    if !duration.as_millis().is_multiple_of(step.as_millis()) {
        return Err(Refusal::new(
            "is too fine",
            "Write whole seconds: the kernel has no finer unit.",
        ));
    }
    Ok(duration)
}

fn word(text: &str, words: &'static [&'static str]) -> Result<&'static str, Refusal> {
    words.iter().find(|word| **word == text).copied().ok_or_else(|| {
        if let Some((message, hint)) = suites::misplaced(text, words) {
            return Refusal::new(message, hint);
        }
        let hint = match suggest::closest(text, words.iter().copied()) {
            Some(likely) => format!("Did you mean \"{likely}\"?"),
            None => "Write one of the allowed words.".to_owned(),
        };
        Refusal::new("is not an allowed word", hint)
    })
}

fn version(text: &str) -> Result<TlsVersion, Refusal> {
    match text.strip_prefix("TLSv").unwrap_or(text) {
        "1.0" => Ok(TlsVersion::V1_0),
        "1.1" => Ok(TlsVersion::V1_1),
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ if text.starts_with("SSL") => Err(Refusal::new(
            "is older than TLS 1.0",
            "SSL 2 and SSL 3 are refused everywhere (RFC 6176, RFC 7568): raise the peers to TLS \
             1.2.",
        )),
        "1" => Err(Refusal::new("is not a version of TLS", "Write \"1.0\".")),
        _ => Err(Refusal::new("is not a version of TLS", "Write \"1.2\" or \"1.3\".")),
    }
}

fn date(text: &str) -> Result<Value, Refusal> {
    Date::parse(text)
        .map(Value::Date)
        .ok_or_else(|| Refusal::new("is not a day", "Write year, month and day: \"2027-12-31\"."))
}

fn condition(condition: Condition, text: &str) -> Result<Value, Refusal> {
    let value = match condition {
        Condition::Source => text.parse().map(Value::Source),
        Condition::Sni => text.parse().map(Value::Sni),
        Condition::Version => text.parse().map(Value::Offer),
        Condition::Client => text.parse().map(Value::Client),
    };
    value.map_err(|hint| Refusal::new("is no such condition", hint))
}

fn digest(text: &str) -> Result<Value, Refusal> {
    parse_sha256(text).map(Value::Digest).ok_or_else(|| {
        let hint = "`openssl x509 -pubkey -noout -in FILE | openssl pkey -pubin -outform der | \
                    openssl dgst -sha256 -binary | base64` prints one.";
        Refusal::new("is not a SHA-256", hint)
    })
}

fn in_range(
    integer: &DeInteger<'_>,
    min: u64,
    max: u64,
    show: impl Fn(u64) -> String,
) -> Result<u64, Refusal> {
    match number(integer) {
        Some(value) if (min..=max).contains(&value) => Ok(value),
        Some(value) if value < min => Err(too_small(show(min))),
        None if integer.as_str().starts_with('-') => Err(too_small(show(min))),
        _ => Err(too_large(show(max))),
    }
}

fn number(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn too_small(min: String) -> Refusal {
    Refusal::new("is too small", format!("Raise it to {min} or more."))
}

fn too_large(max: String) -> Refusal {
    Refusal::new("is too large", format!("Lower it to {max} or less."))
}

fn wrong_type(kind: &Kind, value: &DeValue<'_>) -> Refusal {
    let hint = match (innermost(kind), value) {
        (Kind::List { .. }, DeValue::String(_)) => "Put it in brackets: [\"...\"].".to_owned(),
        (Kind::List { .. }, _) => "Write an array: [\"...\"].".to_owned(),
        (_, DeValue::Array(_)) => "Write one value, without brackets.".to_owned(),
        (Kind::Duration { .. }, DeValue::Integer(number)) => {
            format!("Add a unit: \"{}s\".", shorten(number.as_str()))
        }
        (Kind::TlsVersion, DeValue::Float(number)) => {
            format!("Put it in quotes: \"{}\".", shorten(number.as_str()))
        }
        (Kind::Integer { .. }, _) => "Write a whole number, without quotes.".to_owned(),
        (Kind::Switch, _) => "Write true or false, without quotes.".to_owned(),
        (Kind::Duration { .. }, _) => "Write a number and a unit: \"10s\".".to_owned(),
        (Kind::Size { .. }, _) => "Write a number and a unit: \"64KiB\".".to_owned(),
        _ => "Write text in quotes.".to_owned(),
    };
    Refusal::new(&format!("cannot be of type {}", value.type_str()), hint)
}

fn innermost(kind: &Kind) -> &Kind {
    if let Kind::Or(_, other) = kind { innermost(other) } else { kind }
}

/// A type of the model that an option's value becomes. `None` is a value of another kind, which
/// the table of options rules out.
pub(super) trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        if *value == Value::Instead { Some(None) } else { T::from_value(value).map(Some) }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: &Value) -> Option<Self> {
        let Value::List(items) = value else { return None };
        items.iter().map(T::from_value).collect()
    }
}

/// The variant that holds the type.
macro_rules! held {
    ($($model:ty => $variant:ident,)*) => {
        $(impl FromValue for $model {
            fn from_value(value: &Value) -> Option<Self> {
                if let Value::$variant(held) = value { Some(held.clone()) } else { None }
            }
        })*
    };
}

held! {
    bool => Switch,
    u64 => Integer,
    Duration => Duration,
    Bytes => Size,
    TlsVersion => Version,
    Date => Date,
    [u8; 32] => Digest,
    String => Text,
    &'static str => Word,
    PathBuf => Path,
    std::net::SocketAddr => Socket,
    ListenAddress => Listen,
    Upstream => Upstream,
    SourceWord => UpstreamSource,
    Destination => Access,
    Cidr => Source,
    SniPattern => Sni,
    Version => Offer,
    ClientMatch => Client,
}

impl FromValue for &'static WeakSuite {
    fn from_value(value: &Value) -> Option<Self> {
        <&str>::from_value(value).and_then(WeakSuite::named)
    }
}

impl FromValue for Endpoint {
    fn from_value(value: &Value) -> Option<Self> {
        Upstream::from_value(value).map(|upstream| upstream.endpoint)
    }
}

/// A narrower integer, as the range in the table guarantees.
macro_rules! narrowed {
    ($($model:ty)*) => {
        $(impl FromValue for $model {
            fn from_value(value: &Value) -> Option<Self> {
                u64::from_value(value).and_then(|integer| integer.try_into().ok())
            }
        })*
    };
}

narrowed! { u8 u16 u32 }

impl FromValue for usize {
    /// Counts and sizes; what a 32-bit machine cannot address is as good as its all.
    fn from_value(value: &Value) -> Option<Self> {
        let (Value::Integer(number) | Value::Size(Bytes(number))) = value else { return None };
        Some(Self::try_from(*number).unwrap_or(Self::MAX))
    }
}
