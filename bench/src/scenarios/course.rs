//! One run of a scenario over one server, with what happens meanwhile.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tlsgate_bench::client::{self, Flow, Progress, Stage as Step};
use tlsgate_bench::scenario::{Scenario, shipped};

use super::Settings;
use super::authority::Authority;
use super::cases::{Case, Event, MOMENT, Script};
use super::found::{Found, Ran};
use super::meter::{Meter, Used};
use super::rotation::{self, Rotation, Watch};
use super::server::Server;
use super::setups::{Places, Setup, TicketKeys};
use crate::measure::identity::Identity;
use crate::measure::process::{Process, free_address};
use crate::peers::ground::component;
use crate::peers::target::{Kind, Stage};

/// Certificates on the list: it has a little more than 1 MB, or a hundredth for a quick look.
const REVOKED: u32 = 26_000;

/// Runs it.
///
/// # Errors
/// Why there is nothing to report.
pub(super) fn run(
    case: Case,
    kind: Kind,
    stage: &Stage<'_>,
    settings: &Settings,
) -> Result<Ran, String> {
    let Script { file, needs, event, .. } = case.script();
    let revoked = if settings.quick { REVOKED / 100 } else { REVOKED };
    let authority = Authority::new(stage.scratch, revoked)?;
    let shown = match needs.rsa {
        true => Identity::rsa(stage.scratch, "shown-")?,
        false => Identity::ecdsa(stage.scratch, "shown-")?,
    };
    let (first, first_at) = component("first", settings.load_cpu, stage.scratch)?;
    let (_second, second_at) = component("second", settings.load_cpu, stage.scratch)?;
    let (gateway, switched) = (free_address()?, free_address()?);
    let places = Places { gateway, switched, behind: [first_at, second_at] };
    let keys = TicketKeys::new(stage)?;
    let (authority, shown, keys) = (&authority, &shown, &keys);
    let ends_after = settings.ends_after;
    let setup = Setup { stage, needs, shown, authority, places, keys, ends_after };
    let said = said(case, settings, &places);
    let shipped = shipped(file).ok_or_else(|| format!("there is no scenario {file}"))?;
    // Where the files of the CA are.
    let name = stage.scratch.path(file).display().to_string();
    let scenario = Scenario::parse(&name, shipped.text, &said).map_err(|it| it.to_string())?;
    let flows = scenario.flows()?;
    let length = flows.iter().map(|flow| flow.start + flow.plan.stop.after).max();
    let length = length.unwrap_or_default();
    let own = flows.iter().find_map(|flow| flow.identities.first());
    let mut course = Course {
        server: Server::start(kind, &setup)?,
        setup: &setup,
        first: Some(first),
        watch: Watch::new(gateway, own)?,
        every: settings.rotation,
        coming: events(event, length, settings.rotation),
        begun: None,
        happened: None,
        rotations: Vec::new(),
        failure: None,
    };
    let reports = client::run_mix(&flows, |progress| course.look(&progress));
    let reports = reports.map_err(|error| error.to_string())?;
    let (used, origin) = course.end()?;
    let mut found = Vec::new();
    for ((flow, wanted), report) in flows.iter().zip(&scenario.flows).zip(reports) {
        found.push(Found::new(flow, &wanted.objectives, report, origin));
    }
    let back = course.happened.and_then(|at| back(&flows, &found, at));
    Ok(Ran { case, target: kind, round: 0, flows: found, used, back, rotations: course.rotations })
}

/// What is said otherwise than in the file.
fn said(case: Case, settings: &Settings, places: &Places) -> Vec<String> {
    let Script { settings: own, quick, .. } = case.script();
    let quick = if settings.quick { quick } else { &[] };
    let switched = places.switched.to_string();
    let own = own.iter().chain(quick).map(|text| text.replace("SWITCHED", &switched));
    let place = format!("target.gateway.address={}", places.gateway);
    let cpu = format!("cpus=[{}]", settings.load_cpu);
    own.chain([place, cpu]).chain(settings.set.iter().cloned()).collect()
}

/// When what happens.
fn events(event: Option<Event>, length: Duration, every: Duration) -> VecDeque<(Duration, Event)> {
    match event {
        None => VecDeque::new(),
        Some(Event::Rotation) => {
            let times = (1..).map(|number| every * number).take_while(|time| *time < length);
            times.map(|time| (time, Event::Rotation)).collect()
        }
        Some(event) => VecDeque::from([(length.mul_f64(MOMENT), event)]),
    }
}

/// From what happened until the last one was back that had lost its connection; none when somebody is
/// not, or nobody had.
fn back(flows: &[Flow], found: &[Found], happened: Duration) -> Option<Duration> {
    let losers: Vec<&Found> = flows
        .iter()
        .zip(found)
        .filter(|(flow, _)| matches!(flow.plan.workload, client::Workload::Reconnect { .. }))
        .map(|(_, found)| found)
        .collect();
    let all = losers.iter().all(|found| found.errors.is_empty() && found.done >= found.lost);
    let last = losers.iter().filter(|found| found.done > 0).map(|found| found.report.elapsed).max();
    last.filter(|_| all).map(|last| last.saturating_sub(happened))
}

/// A run that goes on.
struct Course<'run> {
    server: Server<'run>,
    setup: &'run Setup<'run>,
    /// The component that may die.
    first: Option<Process>,
    watch: Watch,
    /// Time from one rotation to the next.
    every: Duration,
    coming: VecDeque<(Duration, Event)>,
    /// When all were prepared, also as a second of the clock.
    begun: Option<(Instant, u64, Meter)>,
    /// When it happened, from the beginning.
    happened: Option<Duration>,
    rotations: Vec<Rotation>,
    failure: Option<String>,
}

impl Course<'_> {
    /// Called again and again while it runs.
    fn look(&mut self, progress: &Progress) {
        if progress.stage < Step::Measure || self.failure.is_some() {
            return;
        }
        self.failure = self.step().err();
    }

    fn step(&mut self) -> Result<(), String> {
        if self.begun.is_none() {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let meter = Meter::new(&self.server.pids, self.setup.stage.cpu)?;
            self.begun = Some((Instant::now(), since_1970.as_secs(), meter));
        }
        let Some((began, _, meter)) = &mut self.begun else { return Ok(()) };
        meter.look(&self.server.pids);
        let now = began.elapsed();
        if self.coming.front().is_none_or(|(at, _)| *at > now) {
            return Ok(());
        }
        self.happened.get_or_insert(now);
        let (_, event) = self.coming.pop_front().expect("it was looked at");
        self.happens(event)
    }

    fn happens(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Switchover => self.first.take().map_or(Ok(()), Process::crash),
            Event::HandOver => self.server.hand_over(),
            Event::Crash => self.server.crash(),
            Event::Rotation => {
                // The first list has the number 1.
                rotation::replace(self.setup, self.rotations.len() as u64 + 2)?;
                self.server.reload()?;
                let at_most = self.every.mul_f64(0.5);
                let seen = self.watch.look_for(&self.setup.shown.certificate, at_most)?;
                self.rotations.push(seen);
                self.server.look_around()
            }
        }
    }

    /// What was used, and the second in which it began.
    fn end(&mut self) -> Result<(Used, u64), String> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        // Masters may have started others since.
        self.server.look_around()?;
        let Some((_, origin, meter)) = &mut self.begun else {
            return Err("it was over before it had begun".to_owned());
        };
        meter.look(&self.server.pids);
        Ok((meter.total()?, *origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_repeat_and_other_events_do_not() {
        let seconds = Duration::from_secs;
        let times = |event| -> Vec<Duration> {
            let events = events(event, seconds(16), seconds(5));
            events.into_iter().map(|(time, _)| time).collect()
        };
        assert_eq!(times(Some(Event::Rotation)), [seconds(5), seconds(10), seconds(15)]);
        assert_eq!(times(Some(Event::Crash)), [seconds(4)]);
        assert!(times(None).is_empty());
    }
}
