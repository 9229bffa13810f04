//! How a flow's clients behave: where they come from, how they begin, whether they try again.

use std::net::IpAddr;
use std::time::Duration;

use super::flow::Kind;
use super::section::{Mistakes, Section};
use super::tree::Value;
use super::values;
use crate::client::{Arrivals, Hello, Odd, Pace, Retry, Shape, Spacing, Wants, Workload};

/// Most attempts.
const MAX_ATTEMPTS: u32 = 1_000;

/// What a flow says of its clients.
pub(super) struct Manner {
    pub(super) sources: Vec<IpAddr>,
    pub(super) hello: Hello,
    pub(super) wants: Wants,
    pub(super) retry: Option<Retry>,
}

/// Clients that begin like this, in the end like this.
const HELLOS: [(&str, Option<Odd>); 7] = [
    ("split", None),
    ("plaintext", Some(Odd::Plaintext)),
    ("garbage", Some(Odd::Garbage)),
    ("sslv2", Some(Odd::Sslv2)),
    ("oversized", Some(Odd::Oversized)),
    ("half", Some(Odd::Half)),
    ("silent", Some(Odd::Silent)),
];

impl Manner {
    /// `common` are the sources of all flows that do not say.
    pub(super) fn read(
        kind: Option<Kind>,
        section: &Section<'_>,
        common: &[IpAddr],
        mistakes: &mut Mistakes,
    ) -> Self {
        let sources = sources(section, mistakes);
        let bytes = section.get("piece", &values::count(1, 65_536), mistakes).unwrap_or(1);
        let bytes = usize::try_from(bytes).unwrap_or(1);
        let (hello, wants) = match kind {
            Some(Kind::Slow) => {
                let every = section.get("every", &values::duration(), mistakes);
                let every = every.unwrap_or(Duration::from_secs(1));
                let words = [("refusal", Wants::Refusal), ("answer", Wants::Answer)];
                let wants = section.get("expect", &values::word(&words), mistakes);
                (Hello::Pieces { bytes, every }, wants.unwrap_or(Wants::Refusal))
            }
            Some(Kind::Odd) => match section.need("hello", &values::word(&HELLOS), mistakes) {
                Some(Some(odd)) => (Hello::Odd(odd), Wants::Refusal),
                _ => (Hello::Pieces { bytes, every: Duration::ZERO }, Wants::Answer),
            },
            Some(Kind::Expired) => (Hello::Usual, Wants::Refusal),
            _ => (Hello::Usual, Wants::Answer),
        };
        let retry = retry(section, mistakes);
        Self { sources: sources.unwrap_or_else(|| common.to_vec()), hello, wants, retry }
    }
}

/// The addresses that connections come from.
pub(super) fn sources(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Vec<IpAddr>> {
    let address = values::text("an IP address", |text| text.parse().ok());
    section.get("sources", &values::list(address), mistakes)
}

fn retry(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Retry> {
    let item = section.item("retry")?;
    let Value::Table(table) = &item.value else {
        let what =
            "allowed: a table such as { after = \"1s\", factor = 2, most = \"10s\", attempts = 5 }";
        section.refuse("retry", what, mistakes);
        return None;
    };
    let keys = ["after", "factor", "most", "attempts"];
    let section = Section::new(section.path_of("retry"), item.place, table, &keys, mistakes);
    let after = section.need("after", &values::duration(), mistakes);
    let factor = section.get("factor", &values::number(1.0, 100.0, ""), mistakes).unwrap_or(1.0);
    let most = section.get("most", &values::duration(), mistakes);
    let attempts = section.need("attempts", &values::count(2, MAX_ATTEMPTS), mistakes);
    let after = after?;
    let most = most.unwrap_or(after.max(Duration::from_secs(60)));
    Some(Retry { after, factor, most, attempts: attempts? })
}

/// The share of handshakes that resume.
pub(super) fn resumed(section: &Section<'_>, mistakes: &mut Mistakes) -> f64 {
    let share = values::number(0.0, 1.0, ", a share of handshakes");
    section.get("resumed", &share, mistakes).unwrap_or_default()
}

/// When those of a storm come: within their spread, or when they lose their connections.
fn spread(section: &Section<'_>, mistakes: &mut Mistakes) -> (Duration, bool) {
    let on = section.get("on", &values::word(&[("start", false), ("loss", true)]), mistakes);
    let spread = section.need("spread", &values::duration(), mistakes);
    (spread.unwrap_or(Duration::from_secs(1)), on.unwrap_or(false))
}

/// What those of a storm do.
pub(super) fn reconnect(section: &Section<'_>, mistakes: &mut Mistakes) -> Workload {
    let (spread, on_loss) = spread(section, mistakes);
    Workload::Reconnect { resumed: resumed(section, mistakes), within: on_loss.then_some(spread) }
}

/// When they do it: each once at the beginning of `length`, or never by itself.
pub(super) fn storm(
    section: &Section<'_>,
    concurrency: usize,
    length: Duration,
    mistakes: &mut Mistakes,
) -> Pace {
    // What is wrong with them has been told.
    let (spread, on_loss) = spread(section, &mut Mistakes::default());
    if spread >= length {
        let what = format!("it must be shorter than the flow's duration, {length:?}");
        section.refuse("spread", &what, mistakes);
    }
    if on_loss {
        // One in thousands of years, at random.
        let spacing = Spacing::Poisson { seed: 1 };
        return Pace::Open { arrivals: Arrivals { spacing, ..Arrivals::even(1e-12) }, concurrency };
    }
    #[expect(clippy::cast_precision_loss, reason = "at most a thousand million")]
    let to = concurrency as f64 / spread.as_secs_f64();
    let shape = Shape::Burst { to, length: spread, every: spread + length };
    Pace::Open { arrivals: Arrivals { shape, ..Arrivals::even(0.0) }, concurrency }
}
