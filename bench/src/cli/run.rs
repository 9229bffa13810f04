//! What the commands that measure a gateway beside others have in common.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::peers;

#[derive(Debug, Args)]
pub(super) struct PlaceArguments {
    /// The gateway's program; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// CPU of the servers.
    #[arg(long, default_value_t = 0)]
    pub(super) server_cpu: usize,
    /// CPU of client and backend.
    #[arg(long, default_value_t = 1)]
    pub(super) load_cpu: usize,
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) place: PlaceArguments,
    #[command(flatten)]
    kept: KeepArguments,
}

#[derive(Debug, Args)]
pub(super) struct KeepArguments {
    /// Write everything as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a record, named after day and machine, into this directory, such as bench/runs.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl PlaceArguments {
    /// The gateway's program, when there is one and the two CPUs are two.
    pub(super) fn found_gateway(&self) -> Result<PathBuf, String> {
        check_apart(self.server_cpu, self.load_cpu)?;
        let gateway = match &self.gateway {
            Some(path) => path.clone(),
            None => peers::beside_this().map_err(|error| error.to_string())?,
        };
        if !gateway.is_file() {
            return Err(format!("there is no gateway at {}: --gateway FILE", gateway.display()));
        }
        Ok(gateway)
    }
}

/// # Errors
/// When both are the same.
pub(super) fn check_apart(server_cpu: usize, load_cpu: usize) -> Result<(), String> {
    if server_cpu == load_cpu {
        return Err("servers and load need a CPU each: --server-cpu, --load-cpu".to_owned());
    }
    Ok(())
}

impl RunArguments {
    /// As [`KeepArguments::keep`].
    pub(super) fn keep<R: Serialize>(
        &self,
        results: &R,
        write_record: impl FnOnce(&R, &Path) -> Result<PathBuf, String>,
    ) -> Result<(), String> {
        self.kept.keep(results, write_record)
    }
}

impl KeepArguments {
    /// Writes what was found as JSON and as a record, where that is wanted.
    pub(super) fn keep<R: Serialize>(
        &self,
        results: &R,
        write_record: impl FnOnce(&R, &Path) -> Result<PathBuf, String>,
    ) -> Result<(), String> {
        if let Some(path) = &self.json {
            let text = serde_json::to_string(results).map_err(|error| error.to_string())?;
            fs::write(path, text + "\n")
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        if let Some(parent) = &self.out {
            println!("Written to {}", write_record(results, parent)?.display());
        }
        Ok(())
    }
}

/// Does what takes long, and shows what it says that it is doing.
pub(super) fn watched<T>(work: impl FnOnce(&mut dyn FnMut(&str)) -> T) -> T {
    let mut bar = Bar::new();
    let result = work(&mut |what| bar.note(what));
    bar.clear();
    result
}

/// What a run is doing: a moving line on a terminal, else lines on standard error.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        Self(ProgressBar::new_spinner())
    }

    fn note(&mut self, what: &str) {
        if self.0.is_hidden() {
            // Not a terminal: a log shows where a run is by lines.
            eprintln!("{what}");
        }
        self.0.set_message(what.to_owned());
        self.0.tick();
    }

    fn clear(&mut self) {
        self.0.finish_and_clear();
    }
}
