//! `tlsgate-bench capacity`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use tlsgate_bench::capacity::curve::curves;
use tlsgate_bench::capacity::demand::Demand;
use tlsgate_bench::capacity::fit::Fit;
use tlsgate_bench::capacity::model::NodeModel;
use tlsgate_bench::capacity::observations::Observations;
use tlsgate_bench::capacity::plan::{self, Objective, Plan};
use tlsgate_bench::capacity::profile::profiles;
use tlsgate_bench::capacity::whatif::{self, Choice};
use tlsgate_bench::page;

use super::{calibrate, verify};
use crate::measure::output::{digits, filled};

/// Status of a plan whose objectives do not hold, as of a load whose objectives are not met.
const NOT_MET: u8 = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say how many nodes a demand needs, what saturates first, and what other choices would cost;
    /// status 3 when the objectives cannot be met.
    Plan(PlanArguments),
    /// Make a node model of a server by a designed experiment, in under five minutes; status 1 when a part
    /// of it failed.
    Calibrate(calibrate::Arguments),
    /// Compare what a node model says of mixes with what the server does; status 1 when something could not
    /// be measured.
    Verify(verify::Arguments),
    /// Make a node model of observations, and say how well it explains them.
    Fit {
        /// What a server did and what it took, TOML.
        observations: PathBuf,
        /// Write the model to this file instead of standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the profiles' numbers, and whether each is sourced or assumed.
    Profiles,
    /// Print an example of a demand, of a node model, or of observations.
    Example {
        /// Which.
        #[arg(value_enum)]
        file: Example,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Example {
    Demand,
    Model,
    Observations,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// The node model, TOML.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The demand, TOML.
    #[arg(long, value_name = "FILE")]
    demand: PathBuf,
    /// Look at so many nodes instead of the least that are enough.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    nodes: Option<u16>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Write a page for browsers to this file: the tables, and curves over a growing demand.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Serialize)]
struct Answer<'run> {
    holds: bool,
    advice: Vec<String>,
    plan: &'run Plan,
    choices: &'run [Choice],
    demand: &'run Demand,
    model: &'run NodeModel,
}

/// Does it.
pub(crate) fn execute(command: &Command) -> Result<ExitCode, String> {
    let good = ExitCode::SUCCESS;
    let (text, status) = match command {
        Command::Plan(arguments) => {
            let (text, holds) = planned(arguments)?;
            (text, if holds { good } else { ExitCode::from(NOT_MET) })
        }
        Command::Calibrate(arguments) => measured(calibrate::calibrated(arguments)?),
        Command::Verify(arguments) => measured(verify::verified(arguments)?),
        Command::Fit { observations, out } => (fitted(observations, out.as_deref())?, good),
        Command::Profiles => (of_profiles(), good),
        Command::Example { file: Example::Demand } => {
            (include_str!("../../capacity/demand.toml").to_owned(), good)
        }
        Command::Example { file: Example::Model } => {
            (include_str!("../../capacity/node.toml").to_owned(), good)
        }
        Command::Example { file: Example::Observations } => {
            (include_str!("../../capacity/observations.toml").to_owned(), good)
        }
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot write to standard output: {error}"))?;
    Ok(status)
}

/// Status 1 when a part of what was to be measured could not be.
fn measured((text, is_well): (String, bool)) -> (String, ExitCode) {
    (text, if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The model's text; with a file for it, what is to be said of the fit.
fn fitted(observations: &Path, out: Option<&Path>) -> Result<String, String> {
    let said = |problem: tlsgate_bench::capacity::Problem| problem.to_string();
    let observations = Observations::load(observations).map_err(said)?;
    let (model, fit) = observations.model().map_err(said)?;
    let text = model.to_text().map_err(said)?;
    let quality = quality(&fit);
    match out {
        Some(path) => {
            fs::write(path, text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok(quality)
        }
        None => Ok(quality.lines().map(|line| format!("# {line}\n")).collect::<String>() + &text),
    }
}

/// How well a model explains what it was made of.
pub(super) fn quality(fit: &Fit) -> String {
    format!(
        "{} observations more than unknowns; residuals are {:.1} % of the CPU time; {:.2} % of its \
         variance explained\n",
        fit.freedom,
        fit.scatter * 100.0,
        fit.explained * 100.0
    )
}

fn planned(arguments: &PlanArguments) -> Result<(String, bool), String> {
    let said = |problem: tlsgate_bench::capacity::Problem| problem.to_string();
    let model = NodeModel::load(&arguments.model).map_err(said)?;
    let demand = Demand::load(&arguments.demand).map_err(said)?;
    let plan = plan::plan(&model, &demand, arguments.nodes.map(usize::from)).map_err(said)?;
    let choices = whatif::choices(&model, &demand, plan.nodes).map_err(said)?;
    let holds = plan.holds(&demand);
    let advice = plan.advice(&demand);
    if let Some(path) = &arguments.html {
        let curves = curves(&model, &demand, plan.nodes).map_err(said)?;
        let page = page::plan::render(&page::plan::Plan {
            summary: &summary(&model, &demand, &plan),
            tables: vec![
                page::plan::Table {
                    heading: "What is to hold, or to be known",
                    head: &OBJECTIVES,
                    rows: objectives(&plan),
                },
                page::plan::Table {
                    heading: "What if",
                    head: &CHOICES,
                    rows: of_choices(&choices),
                },
            ],
            curves: &curves,
            advice: if holds { &[] } else { &advice },
        });
        fs::write(path, page)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    if arguments.json {
        let answer = Answer {
            holds,
            advice,
            plan: &plan,
            choices: &choices,
            demand: &demand,
            model: &model,
        };
        let text = serde_json::to_string(&answer).map_err(|error| error.to_string())?;
        return Ok((text + "\n", holds));
    }
    let mut text = summary(&model, &demand, &plan);
    // Writing to a string cannot fail.
    let tables = [filled(&OBJECTIVES, objectives(&plan)), filled(&CHOICES, of_choices(&choices))];
    writeln!(text, "\n{}\n\n{}", tables[0], tables[1]).ok();
    if !holds {
        text += "\nThe objectives are not met. To change:\n";
        advice.iter().for_each(|line| text += &format!("  {line}\n"));
    }
    Ok((text, holds))
}

fn summary(model: &NodeModel, demand: &Demand, plan: &Plan) -> String {
    let of = |end: Option<usize>| {
        end.map_or(format!("over {}", demand.node.max_nodes), |nodes| nodes.to_string())
    };
    let [low, high] = plan.nodes_interval.map(of);
    let shares = plan.shares;
    let percent = |share: f64| format!("{} %", digits(share * 100.0));
    let mut text = format!(
        "{} nodes with {} workers: {} cores, {} GiB each used, {} to spare\n\
         Models as they may be need {low} to {high} nodes; with {} everything holds in {:.0} % of them \
         ({:.0} % wanted)\n\
         {:.0} connections; the busiest worker spends {} on full handshakes, {} on resumed ones, {} on \
         messages, {} on bulk\n",
        plan.nodes,
        demand.node.workers,
        plan.cores,
        digits(plan.memory_gib),
        demand.objectives.spare_nodes,
        plan.nodes,
        plan.confidence * 100.0,
        demand.objectives.confidence * 100.0,
        demand.connections(),
        percent(shares.full),
        percent(shares.resumed),
        percent(shares.messages),
        percent(shares.bulk),
    );
    if let Some(first) = &plan.saturates_first {
        text += &format!("Saturates first: {first}\n");
    }
    text += &format!(
        "Model: {}, {}, {}, {}\n",
        model.origin.server, model.origin.machine, model.origin.kernel, model.origin.date
    );
    if !plan.assumed.is_empty() {
        text += &format!("Assumed, not measured: {}\n", plan.assumed.join(", "));
    }
    text + "Waiting: M/G/1 for each worker, waits gamma by two exact moments. Intervals: 90 %.\n"
}

const OBJECTIVES: [&str; 6] =
    ["objective", "found", "interval", "at most", "", "demand × until it breaks"];

fn objectives(plan: &Plan) -> Vec<Vec<String>> {
    let row = |objective: &Objective| {
        let [low, high] = objective.interval.map(figure);
        let holds = match objective.limit {
            None => "",
            Some(_) if objective.holds() => "holds",
            Some(_) => "broken",
        };
        vec![
            objective.name.clone(),
            format!("{} {}", figure(objective.found), objective.unit),
            format!("{low}–{high}"),
            objective.limit.map_or_else(String::new, figure),
            holds.to_owned(),
            objective.saturates_at.map_or_else(String::new, figure),
        ]
    };
    plan.objectives.iter().map(row).collect()
}

const CHOICES: [&str; 5] =
    ["what if", "nodes needed", "CPU, busiest worker", "p99 of a message", "slowest event"];

fn of_choices(choices: &[Choice]) -> Vec<Vec<String>> {
    let row = |choice: &Choice| match &choice.result {
        Ok(effect) => vec![
            choice.name.to_owned(),
            effect.nodes.map_or("too many".to_owned(), |nodes| nodes.to_string()),
            format!("{} %", figure(effect.cpu)),
            format!("{} ms", figure(effect.p99_ms)),
            format!("{} s", figure(effect.slowest_event)),
        ],
        Err(problem) => vec![choice.name.to_owned(), problem.clone()],
    };
    choices.iter().map(row).collect()
}

fn of_profiles() -> String {
    let mut text = String::new();
    for profile in profiles() {
        text += &format!("{}: {} (count: {})\n", profile.name, profile.title, profile.unit);
        for (key, (value, basis)) in profile.numbers() {
            text += &format!("  {key} = {value} ({basis:?})\n").to_lowercase();
        }
    }
    text
}

/// Three digits; what never ends is so called.
fn figure(value: f64) -> String {
    if value.is_finite() { digits(value) } else { "never".to_owned() }
}
