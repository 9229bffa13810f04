//! A flow of a scenario: from its table to what the client carries out.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::manner::{self, Manner};
use super::section::{Mistakes, Section};
use super::target::{Certificates, TLS_KEYS, Target, TlsKeys};
use super::tree::{Place, Table, Value};
use super::{talk, values};
use crate::client::{Arrivals, Flow, Pace, Period, Plan, Shape, Spacing, Stop, Talk, Workload};
use crate::mix::pair;
use crate::objective::{self, Objective};

/// Most connections of a flow.
const MAX_CONNECTIONS: u32 = 1_000_000;
/// Highest rate of a flow, and of a connection.
const MAX_RATE: f64 = 1e7;
const PER_SECOND: &str = ", operations per second";

/// What a flow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Handshakes,
    Messages,
    Down,
    Up,
    Idle,
    Reconnect,
    Slow,
    Odd,
    Expired,
}

const KINDS: [(&str, Kind); 9] = [
    ("handshakes", Kind::Handshakes),
    ("messages", Kind::Messages),
    ("down", Kind::Down),
    ("up", Kind::Up),
    ("idle", Kind::Idle),
    ("reconnect", Kind::Reconnect),
    ("slow", Kind::Slow),
    ("odd", Kind::Odd),
    ("expired", Kind::Expired),
];

/// Keys of every flow.
const KEYS: [&str; 13] = [
    "name",
    "kind",
    "target",
    "connections",
    "threads",
    "start",
    "duration",
    "timeout",
    "count",
    "objectives",
    "phases",
    "sources",
    "retry",
];

impl Kind {
    /// Whether its operations say something that can be chosen.
    fn talks(self) -> bool {
        !matches!(self, Self::Down | Self::Up)
    }

    /// Keys of this kind beside [`KEYS`], and beside those of what it says.
    fn own_keys(self) -> &'static [&'static str] {
        match self {
            Self::Handshakes => &["rate", "shape", "arrivals", "resumed"],
            Self::Messages => &["rate", "shape", "arrivals", "connection_rate"],
            Self::Down | Self::Up => &["rate", "shape", "arrivals", "size"],
            Self::Idle => &[],
            Self::Reconnect => &["spread", "resumed", "on"],
            Self::Slow => &["rate", "shape", "arrivals", "piece", "every", "expect"],
            Self::Odd => &["rate", "shape", "arrivals", "hello", "piece"],
            Self::Expired => &["rate", "shape", "arrivals"],
        }
    }
}

/// What all flows of a file have in common.
pub(super) struct Common<'a> {
    pub(super) targets: &'a [Target],
    /// Where relative paths start.
    pub(super) base: &'a Path,
    /// What numbers of connections and rates are multiplied by.
    pub(super) scale: f64,
    /// How long a flow is that does not say.
    pub(super) duration: Duration,
    pub(super) timeout: Duration,
    pub(super) seed: u64,
    pub(super) cpus: &'a [usize],
    /// Where connections come from that do not say.
    pub(super) sources: &'a [IpAddr],
}

/// A flow, what it is to show, and what its clients are to have.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The flow, without its clients' certificates.
    pub flow: Flow,
    /// What its report is to show.
    pub objectives: Vec<Objective>,
    /// What its clients are to show.
    pub certificates: Option<Certificates>,
}

/// Reads the flow with this number; none when something is wrong with it.
pub(super) fn read(
    (name, place, table): (&str, Place, &Table),
    number: usize,
    common: &Common<'_>,
    mistakes: &mut Mistakes,
) -> Option<Wanted> {
    let before = mistakes.len();
    let shown = if name.is_empty() { format!("{}", number + 1) } else { name.to_owned() };
    let kind = table.entries.get("kind").and_then(|item| match &item.value {
        Value::Text(text) => KINDS.iter().find(|(word, _)| word == text).map(|(_, kind)| *kind),
        _ => None,
    });
    let mut known: Vec<&str> = KEYS.to_vec();
    for (_, each) in KINDS.iter().filter(|(_, each)| kind.is_none_or(|kind| kind == *each)) {
        known.extend(each.own_keys());
        known.extend(talk::KEYS.iter().filter(|_| each.talks()));
    }
    known.extend(TLS_KEYS);
    let section = Section::new(format!("flow.{shown}"), place, table, &known, mistakes);
    let name = section.need("name", &values::name(), mistakes);
    section.need("kind", &values::word(&KINDS), mistakes);
    let objectives = objectives(&section, mistakes);
    let reading = Reading { before, section: &section, common, number };
    let plan = reading.plan(kind, mistakes);
    let talk = kind.filter(|kind| kind.talks()).map(|_| {
        let seed = pair(common.seed, number as u64);
        talk::read(&section, seed, reading.server_name(plan.as_ref()), mistakes)
    });
    let manner = Manner::read(kind, &section, common.sources, mistakes);
    if kind == Some(Kind::Expired)
        && plan.as_ref().is_some_and(|(_, tls)| tls.certificates.is_none())
    {
        section.refuse("certificates", "say which: they are made, and have expired", mistakes);
    }
    let mut wanted = reading.flow((name?, talk, manner), plan?, mistakes)?;
    if let Some(certificates) = &mut wanted.certificates {
        certificates.expired |= kind == Some(Kind::Expired);
    }
    Some(Wanted { objectives: objectives?, ..wanted })
}

/// What the report is to show; none when that is wrong.
fn objectives(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Vec<Objective>> {
    let texts = values::list(values::any_text());
    if !section.has("objectives") {
        return Some(Vec::new());
    }
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for text in section.get("objectives", &texts, mistakes)? {
        match objective::parse(&text) {
            Ok(objectives) => all.extend(objectives),
            Err(problem) => problems.push(problem.replace('\n', "; ")),
        }
    }
    if !problems.is_empty() {
        section.refuse("objectives", &problems.join("; "), mistakes);
    }
    Some(all)
}

/// A flow that is being read.
struct Reading<'a> {
    /// Mistakes of those before it.
    before: usize,
    section: &'a Section<'a>,
    common: &'a Common<'a>,
    number: usize,
}

impl Reading<'_> {
    /// What it does in its first period, or would do without phases.
    fn plan(&self, kind: Option<Kind>, mistakes: &mut Mistakes) -> Option<(Plan, TlsKeys)> {
        let section = self.section;
        let target = self.target(mistakes);
        let tls = TlsKeys::read(section, self.common.base, mistakes);
        let connections = section.need("connections", &values::count(1, MAX_CONNECTIONS), mistakes);
        let threads = section.get("threads", &values::count(1, 1024), mistakes).unwrap_or(1);
        let timeout = section.get("timeout", &values::duration(), mistakes);
        let count = section.get("count", &values::count(1, u32::MAX), mistakes);
        let workload = kind.map(|kind| self.workload(kind, mistakes));
        let length = section.get("duration", &values::duration(), mistakes);
        let length = length.unwrap_or(self.common.duration);
        let target = target?;
        let tls = tls.or(&target.tls);
        let tls_plan = tls.plan(section, mistakes);
        if tls_plan.is_none() && workload.is_some_and(|workload| workload.resumed() > 0.0) {
            section.refuse(
                "resumed",
                "only TLS sessions can be resumed: tls is \"none\"",
                mistakes,
            );
        }
        let concurrency = scaled_count(connections?, self.common.scale);
        let plan = Plan {
            target: target.address?,
            tls: tls_plan,
            workload: workload?,
            pace: match kind {
                Some(Kind::Reconnect) => manner::storm(section, concurrency, length, mistakes),
                _ => self.pace(section, concurrency, length, mistakes),
            },
            stop: Stop { after: length, count: count.map(u64::from) },
            timeout: timeout.unwrap_or(self.common.timeout),
            // A flow that was scaled down may have fewer connections than threads.
            threads: usize::try_from(threads).unwrap_or(1).min(concurrency),
            cpus: self.common.cpus.to_vec(),
        };
        Some((plan, tls))
    }

    /// What the server is called, for those who talk to it.
    fn server_name<'plan>(&self, plan: Option<&'plan (Plan, TlsKeys)>) -> &'plan str {
        let tls = plan.and_then(|(plan, _)| plan.tls.as_ref());
        tls.map_or("localhost", |tls| tls.server_name.as_str())
    }

    fn target(&self, mistakes: &mut Mistakes) -> Option<Target> {
        let targets = self.common.targets;
        let words: Vec<(&str, &Target)> =
            targets.iter().map(|target| (target.name.as_str(), target)).collect();
        let rule = values::word(&words);
        match targets {
            // The only one needs no naming.
            [only] if !self.section.has("target") => Some(only.clone()),
            _ => self.section.need("target", &rule, mistakes).cloned(),
        }
    }

    fn workload(&self, kind: Kind, mistakes: &mut Mistakes) -> Workload {
        let section = self.section;
        let mut size = |or| section.get("size", &values::bytes(), mistakes).unwrap_or(or);
        match kind {
            Kind::Down => Workload::BulkDown { bytes: size(1 << 20) },
            Kind::Up => Workload::BulkUp { bytes: size(1 << 20) },
            Kind::Messages => {
                let rule = values::number(0.0, MAX_RATE, ", messages per second of a connection");
                let per_connection_rate = section.get("connection_rate", &rule, mistakes);
                if section.has("rate") && per_connection_rate.is_some() {
                    let what = "leave it out, or rate, which is of all connections together";
                    section.refuse("connection_rate", what, mistakes);
                }
                // What is said has its own size.
                Workload::Messages { size: 1, per_connection_rate }
            }
            Kind::Handshakes => {
                Workload::Handshakes { resumed: manner::resumed(section, mistakes) }
            }
            Kind::Slow | Kind::Odd | Kind::Expired => Workload::Handshakes { resumed: 0.0 },
            Kind::Reconnect => manner::reconnect(section, mistakes),
            Kind::Idle => {
                let hold = section.get("duration", &values::duration(), mistakes);
                Workload::Idle { hold: hold.unwrap_or(self.common.duration) }
            }
        }
    }

    /// What decides when operations start, by `section`: the flow's or a phase's.
    fn pace(
        &self,
        section: &Section<'_>,
        concurrency: usize,
        length: Duration,
        mistakes: &mut Mistakes,
    ) -> Pace {
        let rate = section.get("rate", &values::number(0.0, MAX_RATE, PER_SECOND), mistakes);
        let shape = section.get("shape", &values::shape(), mistakes);
        let seed = pair(self.common.seed, self.number as u64);
        let spacings = [("even", Spacing::Even), ("poisson", Spacing::Poisson { seed })];
        let spacing = self.section.get("arrivals", &values::word(&spacings), mistakes);
        let Some(rate) = rate else {
            if shape.is_some() && !section.has("rate") {
                section.refuse("shape", "say the rate that it is the shape of: rate", mistakes);
            }
            return Pace::Closed { concurrency };
        };
        let scale = self.common.scale;
        let shape = shape.map(|shape| shape.scaled(scale).over(length));
        let arrivals = Arrivals {
            rate: rate * scale,
            shape: shape.unwrap_or(Shape::Constant),
            spacing: spacing.unwrap_or(Spacing::Even),
        };
        Pace::Open { arrivals, concurrency }
    }

    /// The flow with its periods.
    fn flow(
        &self,
        (name, talk, manner): (String, Option<Talk>, Manner),
        (mut plan, tls): (Plan, TlsKeys),
        mistakes: &mut Mistakes,
    ) -> Option<Wanted> {
        let section = self.section;
        let mut start = section.get("start", &values::moment(), mistakes).unwrap_or_default();
        let mut periods = self.phases(plan.pace.concurrency(), mistakes).into_iter();
        if let Some(first) = periods.next() {
            start = first.start;
            plan.pace = first.pace;
            plan.stop.after = first.length;
        }
        let later = periods.collect();
        let Manner { sources, hello, wants, retry } = manner;
        let identities = Arc::default();
        let flow =
            Flow { name, plan, start, later, talk, sources, hello, wants, retry, identities };
        if mistakes.len() == self.before
            && let Err(error) = flow.check()
        {
            mistakes.add(section.place, &format!("{}: {error}", section.path));
            return None;
        }
        let certificates = tls.certificates.filter(|_| flow.plan.tls.is_some());
        Some(Wanted { flow, objectives: Vec::new(), certificates })
    }

    /// The periods that phases make; none when there are no phases.
    fn phases(&self, concurrency: usize, mistakes: &mut Mistakes) -> Vec<Period> {
        let section = self.section;
        let said = ["start", "duration", "rate", "shape"];
        if section.has("phases") && section.has("spread") {
            section.refuse(
                "phases",
                "a reconnect storm has none: start says when it comes",
                mistakes,
            );
            return Vec::new();
        }
        if section.has("phases") {
            for key in said.into_iter().filter(|key| section.has(key)) {
                section.refuse(key, "leave it out: phases say it for each of them", mistakes);
            }
        }
        let mut end = Duration::ZERO;
        let mut periods = Vec::new();
        for (number, (_, place, table)) in
            section.tables("phases", mistakes).into_iter().enumerate()
        {
            let path = format!("{}.phases[{number}]", section.path);
            let phase = Section::new(path, place, table, &said, mistakes);
            let start = phase.get("start", &values::moment(), mistakes).unwrap_or(end);
            let length = phase.need("duration", &values::duration(), mistakes);
            let length = length.unwrap_or(self.common.duration);
            if start < end {
                let what = format!("the phase before it ends {end:?} from the beginning");
                phase.refuse("start", &what, mistakes);
            }
            let pace = self.pace(&phase, concurrency, length, mistakes);
            let is_open = |pace: &Pace| matches!(pace, Pace::Open { .. });
            if periods.first().is_some_and(|first: &Period| is_open(&first.pace) != is_open(&pace))
            {
                phase.refuse("rate", "all phases have a rate, or none has", mistakes);
            }
            periods.push(Period { start, length, pace });
            end = start + length;
        }
        periods
    }
}

/// Never none: a flow that is scaled away would not be seen to be missing.
fn scaled_count(count: u32, scale: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of at most a million by a factor of at most a thousand"
    )]
    let scaled = (f64::from(count) * scale).round().max(1.0) as usize;
    scaled
}
