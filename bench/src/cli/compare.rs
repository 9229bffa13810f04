//! `tlsgate-bench compare`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tlsgate_bench::client::Report;
use tlsgate_bench::page::{self, Run};

use super::merge::read;
use super::outcome::write_file;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Reports that `load --json` or `merge --json` wrote; each is called after its file.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
}

/// Writes the page.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode, String> {
    let mut reports: Vec<(String, Report)> = Vec::new();
    for path in &arguments.files {
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        reports.push((name.into_owned(), read(path)?.report));
    }
    let runs: Vec<Run<'_>> = reports.iter().map(|(name, report)| Run { name, report }).collect();
    let page = page::render(&runs)?;
    write_file(&arguments.html, |file| {
        file.write_all(page.as_bytes()).and_then(|()| file.flush())
    })?;
    Ok(ExitCode::SUCCESS)
}
