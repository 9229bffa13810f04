//! `tlsgate-bench capacity`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use tlsgate_bench::capacity::demand::Demand;
use tlsgate_bench::capacity::model::NodeModel;
use tlsgate_bench::capacity::observations::Observations;
use tlsgate_bench::capacity::plan::{self, Plan};
use tlsgate_bench::capacity::profile::profiles;
use tlsgate_bench::capacity::whatif::{self, Choice};

use crate::measure::output::digits;

/// Status of a plan whose objectives do not hold, as of a load whose objectives are not met.
const NOT_MET: u8 = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say how many nodes a demand needs, what saturates first, and what other choices would cost;
    /// status 3 when the objectives cannot be met.
    Plan(PlanArguments),
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
    let (text, holds) = match command {
        Command::Plan(arguments) => planned(arguments)?,
        Command::Fit { observations, out } => (fitted(observations, out.as_deref())?, true),
        Command::Profiles => (of_profiles(), true),
        Command::Example { file: Example::Demand } => {
            (include_str!("../../capacity/demand.toml").to_owned(), true)
        }
        Command::Example { file: Example::Model } => {
            (include_str!("../../capacity/node.toml").to_owned(), true)
        }
        Command::Example { file: Example::Observations } => {
            (include_str!("../../capacity/observations.toml").to_owned(), true)
        }
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot write to standard output: {error}"))?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(NOT_MET) })
}

/// The model's text; with a file for it, what is to be said of the fit.
fn fitted(observations: &Path, out: Option<&Path>) -> Result<String, String> {
    let said = |problem: tlsgate_bench::capacity::Problem| problem.to_string();
    let observations = Observations::load(observations).map_err(said)?;
    let (model, fit) = observations.model().map_err(said)?;
    let text = model.to_text().map_err(said)?;
    let quality = format!(
        "{} observations more than unknowns; residuals are {:.1} % of the CPU time; {:.2} % of its \
         variance explained\n",
        fit.freedom,
        fit.scatter * 100.0,
        fit.explained * 100.0
    );
    match out {
        Some(path) => {
            fs::write(path, text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok(quality)
        }
        None => Ok(quality.lines().map(|line| format!("# {line}\n")).collect::<String>() + &text),
    }
}

fn planned(arguments: &PlanArguments) -> Result<(String, bool), String> {
    let said = |problem: tlsgate_bench::capacity::Problem| problem.to_string();
    let model = NodeModel::load(&arguments.model).map_err(said)?;
    let demand = Demand::load(&arguments.demand).map_err(said)?;
    let plan = plan::plan(&model, &demand, arguments.nodes.map(usize::from)).map_err(said)?;
    let choices = whatif::choices(&model, &demand, plan.nodes).map_err(said)?;
    let holds = plan.holds(&demand);
    let advice = plan.advice(&demand);
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
    writeln!(text, "\n{}\n\n{}", objectives(&plan), of_choices(&choices)).ok();
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

fn objectives(plan: &Plan) -> Table {
    let mut table =
        table(&["objective", "found", "interval", "at most", "", "demand × until it breaks"]);
    for objective in &plan.objectives {
        let [low, high] = objective.interval.map(figure);
        let holds = match objective.limit {
            None => "",
            Some(_) if objective.holds() => "holds",
            Some(_) => "broken",
        };
        table.add_row([
            objective.name.clone(),
            format!("{} {}", figure(objective.found), objective.unit),
            format!("{low}–{high}"),
            objective.limit.map_or_else(String::new, figure),
            holds.to_owned(),
            objective.saturates_at.map_or_else(String::new, figure),
        ]);
    }
    aligned(table)
}

fn of_choices(choices: &[Choice]) -> Table {
    let mut table = table(&[
        "what if",
        "nodes needed",
        "CPU, busiest worker",
        "p99 of a message",
        "slowest event",
    ]);
    for choice in choices {
        match &choice.result {
            Ok(effect) => table.add_row([
                choice.name.to_owned(),
                effect.nodes.map_or("too many".to_owned(), |nodes| nodes.to_string()),
                format!("{} %", figure(effect.cpu)),
                format!("{} ms", figure(effect.p99_ms)),
                format!("{} s", figure(effect.slowest_event)),
            ]),
            Err(problem) => table.add_row([choice.name, problem]),
        };
    }
    aligned(table)
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

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(head);
    table
}

fn aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
