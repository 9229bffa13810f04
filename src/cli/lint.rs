//! `tlsgate lint --genesys`: where our result would differ from the vendor's reader.

use std::path::Path;

use clap::Args;

use super::Exit;
use super::import::{Given, fail, read_file, tell};
use crate::genesys::lint::{self, Report};
use crate::genesys::{Finding, Severity};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Compare with what Genesys components make of the same options
    #[arg(long, required = true)]
    genesys: bool,
    #[command(flatten)]
    given: Given,
}

/// Compares; a file whose name ends in .toml is a configuration of ours, looked at alone.
pub(super) fn lint(options: &Options) -> Exit {
    let (ours, vendors): (Vec<_>, Vec<_>) =
        options.given.files.iter().partition(|file| file.ends_with(".toml"));
    let report = match (&ours[..], &vendors[..]) {
        ([file], []) => match read_file(Path::new(file)) {
            Ok(text) => lint::config(file, &text),
            Err(error) => return fail(&format!("{file}: {error}")),
        },
        ([], _) => match options.given.read() {
            Ok(sources) => lint::files(&sources, options.given.semantics()),
            Err(message) => return fail(&message),
        },
        _ => return fail("give one configuration of ours, or files of the vendor's"),
    };
    tell_report(&report)
}

fn tell_report(report: &Report) -> Exit {
    tell(&report.findings);
    for difference in &report.differences {
        println!("{}: {}", difference.subject, difference.option);
        println!("    vendor:  {}", difference.vendor);
        println!("    ours:    {}", difference.ours);
    }
    if report.differences.is_empty() && report.findings.is_empty() {
        println!("no differences");
        return Exit::Success;
    }
    let is_error = |finding: &Finding| finding.severity == Severity::Error;
    if report.findings.iter().any(is_error) { Exit::BadConfig } else { Exit::Failure }
}
