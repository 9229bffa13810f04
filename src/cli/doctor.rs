//! `tlsgate doctor`: is this machine fit for what a configuration and a profile ask of it?

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Exit, print};
use crate::app::{self, unix_now};
use crate::config::model::Config;
use crate::doctor::{
    Facts, Level, Needs, PROFILES, Profile, Report, Root, examine, fixes, live, look_up,
    named_files,
};

#[derive(Args, Debug)]
#[command(
    after_help = "Ends with 0 where nothing is worse than advice, 1 with warnings, 2 with failures, and \
                  3 where the configuration cannot be read."
)]
pub(super) struct Options {
    /// Configuration that the machine is to run; its certificates, keys and names are looked at, too
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Profile of tuning/ that the machine is to have
    #[arg(long, value_name = "NAME", value_parser = profile)]
    profile: Option<&'static Profile>,
    /// Where /proc, /sys and /etc are: recorded ones of another machine
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
    /// Process whose limits, capabilities and CPUs count, such as a running gateway, instead of this one
    #[arg(long, value_name = "ID")]
    pid: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Write what can be written below /etc, and say what; nothing takes effect by that alone
    #[arg(long)]
    fix: bool,
}

/// Looks at everything, prints it, and ends with how bad the worst of it is.
pub(super) fn doctor(options: &Options) -> Exit {
    let config = match options.config.as_deref().map(app::read).transpose() {
        Ok(config) => config.map(|(_, config)| config),
        Err(error) => {
            eprintln!("{error}");
            return Exit::from(&error);
        }
    };
    let root = Root::new(&options.root);
    let facts = facts(options, &root, config.as_ref());
    let needs = Needs::of(config.as_ref(), options.profile, &facts, app::own_descriptors);
    let report = examine(&facts, &needs);
    let mut text = if options.json { as_json(&report) } else { as_text(&report) };
    if options.fix {
        match fix(&report, &root) {
            // What is read by programs stays JSON.
            Ok(said) if options.json => eprint!("{said}"),
            Ok(said) => text.push_str(&said),
            Err(error) => {
                eprintln!("{error}");
                return Exit::Failure;
            }
        }
    }
    match print(&text) {
        Exit::Success => match report.worst() {
            Level::Ok | Level::Advice => Exit::Success,
            Level::Warning => Exit::Failure,
            Level::Failure => Exit::Broken,
        },
        exit => exit,
    }
}

fn facts<'a>(options: &Options, root: &'a Root, config: Option<&Config>) -> Facts<'a> {
    Facts {
        tree: root,
        process: options.pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string()),
        // A ring that this process gets is none that another one does.
        live: (root.is_machine() && options.pid.is_none()).then(live),
        files: config.map(named_files).unwrap_or_default(),
        names: config.map(look_up).unwrap_or_default(),
        now: unix_now(),
    }
}

/// Writes what can be written; says what, and what makes it count.
fn fix(report: &Report, root: &Root) -> Result<String, String> {
    let mut said = String::new();
    for file in fixes(report, root)? {
        let path = root.write(&file).map_err(|error| format!("{}: {error}", file.path))?;
        let path = path.display();
        writeln!(said, "written: {path}; it counts after: {}", file.apply)
            .expect("a String takes everything");
    }
    if said.is_empty() {
        said.push_str("written: nothing, there is nothing that a file could change\n");
    }
    Ok(said)
}

fn as_json(report: &Report) -> String {
    let value = json!({
        "checks": report.checks,
        "worst": report.worst(),
        "findings": report.findings,
        "unchecked": report.unchecked,
    });
    format!("{}\n", serde_json::to_string_pretty(&value).expect("keys are strings"))
}

fn as_text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        text.write_fmt(words).expect("a String takes everything");
        text.push('\n');
    };
    for finding in &report.findings {
        line(format_args!("{:<8} {}: {}", finding.level, finding.check, finding.found));
        let more =
            [("advised", &finding.advised), ("why", &finding.why), ("command", &finding.command)];
        for (name, value) in more {
            if let Some(value) = value {
                line(format_args!("         {name}: {value}"));
            }
        }
    }
    for unchecked in &report.unchecked {
        line(format_args!("{:<8} {}: {}", "-", unchecked.check, unchecked.why));
    }
    let counts = Level::ALL.map(|level| format!("{} {level}", report.count(level)));
    line(format_args!("{} checks: {}", report.checks, counts.join(", ")));
    text
}

fn profile(name: &str) -> Result<&'static Profile, String> {
    let names = || PROFILES.iter().map(|profile| profile.name).collect::<Vec<_>>().join(", ");
    Profile::named(name).ok_or_else(|| format!("there are {}", names()))
}
