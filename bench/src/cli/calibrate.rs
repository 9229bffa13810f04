//! `tlsgate-bench capacity calibrate`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::capacity::quality;
use super::run::{PlaceArguments, watched};
use crate::calibrate::{self, Calibration, Settings};
use crate::measure::output::{digits, filled, remarks};
use crate::peers::target::Kind;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The server, which is started for it.
    #[arg(long, value_enum, default_value_t = Which::Tlsgate)]
    target: Which,
    /// Write the model to this file, and what it was made of beside it, as NAME-observations.toml.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A look of a few seconds: shows that everything runs; its figures are rough.
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Servers that can be calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Which {
    /// The gateway on io_uring.
    Tlsgate,
    /// The gateway on epoll.
    TlsgateEpoll,
    /// HAProxy in TCP mode.
    Haproxy,
    /// nginx with its stream module.
    Nginx,
}

impl Which {
    /// # Errors
    /// When it is not installed.
    pub(super) fn found(self) -> Result<Kind, String> {
        let kind = match self {
            Self::Tlsgate => Kind::IoUring,
            Self::TlsgateEpoll => Kind::Epoll,
            Self::Haproxy => Kind::Haproxy,
            Self::Nginx => Kind::Nginx,
        };
        if kind.is_missing() {
            let name = self.to_possible_value();
            let name = name.as_ref().map_or("it", |value| value.get_name());
            return Err(format!("{name} is not installed"));
        }
        Ok(kind)
    }
}

/// The text, and whether everything went well.
pub(super) fn calibrated(arguments: &Arguments) -> Result<(String, bool), String> {
    let Arguments { target, quick, ref place, .. } = *arguments;
    let millis = Duration::from_millis;
    let settings = Settings {
        gateway: place.found_gateway()?,
        kind: target.found()?,
        rounds: if quick { 1 } else { 16 },
        budget: Duration::from_secs(200),
        patient: !quick,
        sample: millis(if quick { 250 } else { 500 }),
        idle: if quick { [20, 60, 120] } else { [100, 1_500, 3_000] },
        settle: millis(if quick { 100 } else { 1_000 }),
        waiting: (!quick).then_some((3, Duration::from_secs(4))),
        workers: !quick,
        server_cpu: place.server_cpu,
        load_cpu: place.load_cpu,
    };
    let found = watched(|note| calibrate::run(&settings, note))?;
    let said = |problem: tlsgate_bench::capacity::Problem| problem.to_string();
    write(&arguments.out, &found.model.to_text().map_err(said)?)?;
    write(&beside(&arguments.out), &found.observations.to_text().map_err(said)?)?;
    let is_well = found.failures.is_empty();
    if arguments.json {
        let text = serde_json::to_string(&found.answer()).map_err(|error| error.to_string())?;
        return Ok((text + "\n", is_well));
    }
    Ok((render(&found, &arguments.out), is_well))
}

fn render(found: &Calibration, out: &Path) -> String {
    let model = &found.model;
    let number = |value: f64| if value < 0.01 { format!("{value:.6}") } else { digits(value) };
    let costs = model.cpu_us.iter().map(|(cost, figure)| {
        vec![cost.key().to_owned(), number(figure.value), number(figure.error)]
    });
    let costs = filled(&["cost", "CPU µs", "standard error"], costs.collect());
    let mut text = format!("{costs}\n{}", quality(&found.fit));
    let (memory, tail) = (model.memory, model.queue.tail);
    text += &format!(
        "Memory: {:.0} ± {:.0} bytes for each connection, {:.1} MB without any\n",
        memory.connection.value,
        memory.connection.error,
        memory.node.value / 1e6
    );
    text += &format!(
        "Long waits over those of the queue: messages {} ± {}, handshakes {} ± {}\n",
        digits(tail.message.value),
        digits(tail.message.error),
        digits(tail.handshake.value),
        digits(tail.handshake.error)
    );
    let assumed = model.assumed();
    if !assumed.is_empty() {
        text += &format!("Assumed, not measured: {}\n", assumed.join(", "));
    }
    text += &remarks(found.foreign, &[], &found.failures);
    text + &format!("Written to {} and {}\n", out.display(), beside(out).display())
}

/// Where the observations are written.
fn beside(out: &Path) -> PathBuf {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{stem}-observations.toml"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
