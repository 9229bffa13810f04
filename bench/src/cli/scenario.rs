//! `tlsgate-bench load --scenario`.

use std::path::Path;

use clap::Args;
use tlsgate_bench::client::{Flow, Report};
use tlsgate_bench::objective::Objective;
use tlsgate_bench::scenario::{SHIPPED, Scenario, Shipped, shipped};

#[derive(Debug, Args)]
#[command(next_help_heading = "Scenarios")]
pub(super) struct ScenarioArguments {
    /// Run the flows of this file at the same time, or of a scenario that comes with this program: see
    /// --list.
    #[arg(long, value_name = "FILE|NAME", conflicts_with_all = [
        "target", "workload", "size", "payload", "connection_rate", "resumed", "hold", "concurrency", "rate", "shape",
        "arrivals", "seed", "duration", "count", "timeout", "threads", "cpus", "plain", "tls", "server_name",
        "ca", "insecure", "certificate", "key", "alpn", "suites", "groups",
    ])]
    scenario: Option<String>,
    /// Put a value in place of what the file says, such as duration=5s, scale=0.1, flow.agents.rate=20 or
    /// target.gateway.address=10.0.0.5:443; may be there more than once.
    #[arg(long, value_name = "KEY=VALUE", requires = "scenario")]
    set: Vec<String>,
    /// List the scenarios that come with this program, or print one, to change it: --list=B2.
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, exclusive = true)]
    list: Option<Option<String>>,
}

/// What a file wants to be done.
pub(super) struct Mix {
    pub(super) flows: Vec<Flow>,
    objectives: Vec<Vec<Objective>>,
}

impl ScenarioArguments {
    /// What is wanted of the scenarios that come with the program, as text, if anything is.
    pub(super) fn listed(&self) -> Result<Option<String>, String> {
        match &self.list {
            None => Ok(None),
            Some(None) => list().map(Some),
            Some(Some(name)) => match shipped(name) {
                Some(shipped) => Ok(Some(shipped.text.to_owned())),
                None => Err(format!("there is no scenario {name}: load --list names them")),
            },
        }
    }

    /// The flows that are wanted instead of a plan, if they are.
    pub(super) fn mix(&self) -> Result<Option<Mix>, String> {
        let Some(file) = &self.scenario else { return Ok(None) };
        let path = Path::new(file);
        let scenario = match shipped(file).filter(|_| !path.exists()) {
            Some(shipped) => Scenario::parse(shipped.name, shipped.text, &self.set),
            None => Scenario::load(path, &self.set),
        };
        let scenario = scenario.map_err(|problem| problem.to_string())?;
        let flows = scenario.flows()?;
        let objectives = scenario.flows.into_iter().map(|wanted| wanted.objectives).collect();
        Ok(Some(Mix { flows, objectives }))
    }
}

impl Mix {
    /// What flows are called, what they are to show, and what they did.
    pub(super) fn parts(&self, reports: Vec<Report>) -> Vec<(String, Vec<Objective>, Report)> {
        let names = self.flows.iter().map(|flow| flow.name.clone());
        let wanted = names.zip(self.objectives.iter().cloned());
        wanted.zip(reports).map(|((name, wanted), report)| (name, wanted, report)).collect()
    }
}

fn list() -> Result<String, String> {
    let line = |shipped: &Shipped| {
        let scenario = Scenario::parse(shipped.name, shipped.text, &[]);
        let about = scenario.map_err(|problem| problem.to_string())?.about;
        Ok(format!("{:4} {about}\n", shipped.name))
    };
    SHIPPED.iter().map(line).collect()
}
