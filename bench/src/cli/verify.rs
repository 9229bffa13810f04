//! `tlsgate-bench capacity verify`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tlsgate_bench::capacity::mix::Mix;
use tlsgate_bench::capacity::model::NodeModel;

use super::run::{PlaceArguments, watched};
use crate::measure::rounds::Server;
use crate::peers::target::Kind;
use crate::verify::{self, Settings};

/// The mixes that `--all` is about.
const MIXES: [(&str, &str); 5] = [
    ("storm", include_str!("../../capacity/mixes/storm.toml")),
    ("desktops", include_str!("../../capacity/mixes/desktops.toml")),
    ("trunks", include_str!("../../capacity/mixes/trunks.toml")),
    ("mutual", include_str!("../../capacity/mixes/mutual.toml")),
    ("messages", include_str!("../../capacity/mixes/messages.toml")),
];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The node model, TOML, as `capacity calibrate` writes it: the server that it is of is started.
    #[arg(long, value_name = "FILE")]
    node: PathBuf,
    /// A demand whose flows are echoes, TOML; may be said again.
    #[arg(long, value_name = "FILE", required_unless_present = "all")]
    mix: Vec<PathBuf>,
    /// The five mixes that come with this program, and that no model is made of.
    #[arg(long)]
    all: bool,
    /// Runs of each mix, whose medians count; five by default, or one with --quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: Option<u32>,
    /// A look of a few seconds: shows that everything runs; its figures are rough.
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

/// The text, and whether everything could be measured.
pub(super) fn verified(arguments: &Arguments) -> Result<(String, bool), String> {
    let Arguments { ref place, quick, .. } = *arguments;
    let said = |problem: tlsgate_bench::capacity::Problem| problem.to_string();
    let model = NodeModel::load(&arguments.node).map_err(said)?;
    let kind = server(&model)?;
    let mut mixes = Vec::new();
    for path in &arguments.mix {
        mixes.push((name(path), Mix::load(path).map_err(said)?));
    }
    for (name, text) in MIXES.iter().filter(|_| arguments.all) {
        mixes.push(((*name).to_owned(), Mix::parse(text).map_err(said)?));
    }
    let millis = Duration::from_millis;
    let settings = Settings {
        gateway: place.found_gateway()?,
        kind,
        model,
        mixes,
        runs: arguments.runs.unwrap_or(if quick { 1 } else { 5 }),
        trial: if quick { [millis(300); 2] } else { [millis(6_000), millis(3_000)] },
        precision: if quick { 1.3 } else { 1.03 },
        server_cpu: place.server_cpu,
        load_cpu: place.load_cpu,
    };
    let results = watched(|note| verify::run(&settings, note))?;
    let is_well = results.failures.is_empty();
    if arguments.json {
        let text = serde_json::to_string(&results).map_err(|error| error.to_string())?;
        return Ok((text + "\n", is_well));
    }
    Ok((verify::render(&results), is_well))
}

/// The server that a model is of.
fn server(model: &NodeModel) -> Result<Kind, String> {
    let server = &model.origin.server;
    // As calibrate says it: the name, a colon, a version.
    let (said, _) = server.split_once(':').unwrap_or((server, ""));
    let kind = Kind::ALL.into_iter().find(|kind| !kind.is_floor() && kind.name() == said);
    let kind = kind.ok_or_else(|| {
        format!("origin.server = \"{server}\" is none that can be started: calibrate one first")
    })?;
    if kind.is_missing() {
        return Err(format!("{} is not installed", kind.name()));
    }
    Ok(kind)
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
