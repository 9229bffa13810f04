//! `tlsgate-bench load`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tlsgate_bench::client::{Flow, Report, run_mix};
use tlsgate_bench::floor;
use tlsgate_bench::units::parse_duration;

use super::live::watched;
use super::outcome::{Found, OutcomeArguments, Part};
use super::plan::PlanArguments;
use super::scenario::Mix;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    plan: PlanArguments,
    /// Measure the same for a second before, or for the time given as --floor=TIME, against servers in
    /// this process: what client and machine take by themselves. All flows of a scenario at once.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, num_args = 0..=1,
          require_equals = true, default_missing_value = "1s")]
    floor: Option<Duration>,
    /// Do not show how far it is; nor is that shown with --json.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    outcome: OutcomeArguments,
}

/// Runs the plan, or the flows of a scenario; the status says what came of it.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode, String> {
    if let Some(text) = arguments.plan.scenario.listed()? {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        return written.map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string());
    }
    match arguments.plan.scenario.mix()? {
        Some(mix) => arguments.several(&mix),
        None => arguments.alone(arguments.plan.flow()?),
    }
}

impl Arguments {
    fn alone(&self, flow: Flow) -> Result<ExitCode, String> {
        let flows = [flow];
        let floors = self.floors(&flows)?.into_iter().next();
        let floor = floors.transpose().map_err(no_floor)?;
        let report = &self.run(&flows)?[0];
        let [Flow { plan, .. }] = &flows;
        self.outcome.settle(&Found { plan, report, floor: floor.as_ref(), flows: Vec::new() })
    }

    fn several(&self, mix: &Mix) -> Result<ExitCode, String> {
        let floors = self.floors(&mix.flows)?;
        let reports = self.run(&mix.flows)?;
        let mut whole = Report::default();
        reports.iter().for_each(|report| whole.merge(report));
        let parts = mix.parts(reports);
        let judged = parts.iter().enumerate().map(|(number, (name, wanted, report))| {
            Part::judged(name, wanted, report, floors.get(number))
        });
        let flows = judged.collect();
        self.outcome.settle(&Found { plan: &mix.flows, report: &whole, floor: None, flows })
    }

    /// Of each flow, or why it has none; nothing where that was not asked.
    fn floors(&self, flows: &[Flow]) -> Result<Vec<Result<Report, String>>, String> {
        let floors = self.floor.map(|length| floor::measure_mix(flows, length));
        floors.transpose().map(Option::unwrap_or_default).map_err(no_floor)
    }

    fn run(&self, flows: &[Flow]) -> Result<Vec<Report>, String> {
        let is_quiet = self.quiet || self.outcome.has_json();
        watched(flows, is_quiet, |show| run_mix(flows, show))
    }
}

fn no_floor(error: String) -> String {
    format!("the floor cannot be measured: {error}")
}
