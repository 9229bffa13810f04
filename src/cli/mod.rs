//! The command line: what was said, and the exit code it ends with.

mod audit;
mod audit_tables;
mod catalogue;
mod certificates;
mod check;
mod completions;
mod config;
mod demo;
mod doctor;
mod drain;
mod explain;
mod import;
mod lint;
mod man;
mod operate;
mod process_log;
mod reload;
mod run;
mod secret;
mod service;
mod show;
mod top;
mod uccx;
mod version;
mod whom;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::{self, StartError};
use crate::handover::Program;
use crate::lane;

/// A TLS gateway for machines that talk to machines.
#[derive(Debug, Parser)]
#[command(name = "tlsgate", version, arg_required_else_help = true)]
struct Arguments {
    /// Check the configuration and exit, as `tlsgate check` does
    #[arg(short = 't', requires = "config")]
    test: bool,
    /// Configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway in the foreground
    Run(ConfigFile),
    /// Check a configuration and everything it names
    Check(check::Options),
    /// Look at the machine: is it fit for a configuration and a profile?
    Doctor(doctor::Options),
    /// Make a running gateway load its configuration anew
    Reload(reload::Options),
    /// Print a fresh secret for the file that `ticket_secret` names
    Secret,
    /// Show the version; -v also what this build and this machine can do
    Version(version::Options),
    /// Print what there is to configure
    Config(config::Options),
    /// Print completions for a shell
    Completions(completions::Options),
    /// Write manual pages
    Man(man::Options),
    /// Tell what would hold for a connection, and where each option comes from
    Explain(explain::Options),
    /// Show who speaks what with whom, and what expires, from live traffic
    Audit(audit::Options),
    /// Show rates, times, links and what expires, live in a terminal
    Top(top::Options),
    /// Show how things stand in a running gateway
    Show(show::Options),
    /// End connections of a running gateway in order, at a chosen rate
    Drain(drain::DrainOptions),
    /// Close connections of a running gateway at once
    Close(drain::CloseOptions),
    /// Replace certificates, keys, CAs and lists of revoked certificates in a running gateway
    Certificates(certificates::Options),
    /// Set something in a running gateway
    Set(operate::SetOptions),
    /// Change how an endpoint of a running gateway is chosen
    Upstream(operate::UpstreamOptions),
    /// Translate configuration of another kind into ours
    Import(import::Options),
    /// Compare with what another program makes of the same options
    Lint(lint::Options),
    /// Known connections between components: what they speak, and which mode suits them
    Catalogue(catalogue::Options),
    /// Print a configuration to begin with, for a connection of the catalogue
    New(catalogue::NewOptions),
    /// Run a gateway on an embedded CA, certificate and backend, and drive it
    Demo(demo::Options),
    /// The process of the legacy lane: the gateway starts it
    #[command(name = lane::child::VERB, hide = true)]
    LegacyChild,
    /// The process that starts others: the gateway starts it
    #[command(name = app::STARTER, hide = true)]
    Starter {
        /// What a restart starts
        #[arg(last = true, required = true, value_name = "PROGRAM")]
        program: Vec<OsString>,
    },
}

#[derive(Args, Debug)]
struct ConfigFile {
    /// Configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: PathBuf,
}

/// What the process says when it ends. 2 is clap's, for a wrong command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Success = 0,
    Failure = 1,
    /// The doctor has found what cannot work.
    Broken = 2,
    BadConfig = 3,
    CannotBind = 4,
    DrainTimedOut = 5,
    /// What was looked for is there, and should not be.
    Found = 6,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let exit = match (arguments.command, arguments.test, arguments.config) {
        (Some(Command::Run(file)), ..) => run::run(&file.config),
        (Some(Command::Check(options)), ..) => check::check(&options),
        (Some(Command::Doctor(options)), ..) => doctor::doctor(&options),
        (Some(Command::Reload(options)), ..) => reload::reload(&options),
        (Some(Command::Secret), ..) => secret::secret(),
        (Some(Command::Version(options)), ..) => version::version(&options),
        (Some(Command::Config(options)), ..) => config::config(&options),
        (Some(Command::Completions(options)), ..) => completions::completions(&options),
        (Some(Command::Man(options)), ..) => man::man(&options),
        (Some(Command::Explain(options)), ..) => explain::explain(&options),
        (Some(Command::Audit(options)), ..) => audit::audit(&options),
        (Some(Command::Top(options)), ..) => top::top(&options),
        (Some(Command::Show(options)), ..) => show::show(&options),
        (Some(Command::Drain(options)), ..) => drain::drain(&options),
        (Some(Command::Close(options)), ..) => drain::close(&options),
        (Some(Command::Certificates(options)), ..) => certificates::certificates(&options),
        (Some(Command::Set(options)), ..) => operate::set(&options),
        (Some(Command::Upstream(options)), ..) => operate::upstream(&options),
        (Some(Command::Import(options)), ..) => import::import(&options),
        (Some(Command::Lint(options)), ..) => lint::lint(&options),
        (Some(Command::Catalogue(options)), ..) => catalogue::catalogue(&options),
        (Some(Command::New(options)), ..) => catalogue::new(&options),
        (Some(Command::Demo(options)), ..) => demo::demo(&options),
        (Some(Command::LegacyChild), ..) => legacy_child(),
        (Some(Command::Starter { program }), ..) => starter(program),
        (None, true, Some(config)) => check::check(&check::Options { config, json: false }),
        (None, false, Some(config)) => run::run(&config),
        (None, ..) => Exit::Failure,
    };
    ExitCode::from(exit as u8)
}

/// Who starts it hears over the channel why it could not go on.
fn legacy_child() -> Exit {
    app::serve_lane().map_or(Exit::Failure, |()| Exit::Success)
}

/// What it cannot do, it tells those who ask for it.
fn starter(mut program: Vec<OsString>) -> Exit {
    let arguments = program.split_off(1);
    let path = PathBuf::from(program.remove(0));
    let served = app::serve_starter(&Program { path, arguments });
    served.map_or(Exit::Failure, |()| Exit::Success)
}

/// Prints a whole file. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Exit {
    match std::io::stdout().write_all(disarmed(text).as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("cannot print: {error}");
            Exit::Failure
        }
        _ => Exit::Success,
    }
}

/// Without what a terminal would obey, or order by: names come from peers' certificates, too.
fn disarmed(text: &str) -> String {
    text.replace(|c| is_order(c) && !matches!(c, '\n' | '\t'), "\u{fffd}")
}

/// The same of what is to stay one line.
fn disarmed_line(text: &str) -> String {
    text.replace(is_order, "\u{fffd}")
}

fn is_order(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl From<&StartError> for Exit {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Config(_) | StartError::Unreadable(..) => Self::BadConfig,
            StartError::Bind(_) | StartError::AdminBind(..) | StartError::Control(..) => {
                Self::CannotBind
            }
            StartError::Engine(_)
            | StartError::AccessLog(_)
            | StartError::TicketKeys(_)
            | StartError::Other(_) => Self::Failure,
        }
    }
}
