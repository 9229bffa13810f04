//! `tlsgate-bench`: makes load and measures it, or serves as the backend behind what is measured.

mod calibrate;
mod cli;
mod generator;
mod lanes;
mod measure;
mod peers;
mod scenarios;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Measuring client and plaintext backends for TLS gateways.
#[derive(Debug, Parser)]
#[command(version, about)]
enum Command {
    /// Load a target and report latencies, rates and errors.
    ///
    /// Status 0 when all is well; 1 when there were errors; with --objective 3 when one is not met,
    /// and errors count only in objectives that name them; 2 when there is no report.
    Load(Box<cli::load::Arguments>),
    /// Merge reports of loads that ran at the same time, here or on other machines; status as of load.
    Merge(cli::merge::Arguments),
    /// Compare reports that load or merge wrote, on one HTML page.
    Compare(cli::compare::Arguments),
    /// Serve as a plaintext backend until killed.
    Backend(cli::backend::Arguments),
    /// Measure the gateway beside haproxy, nginx, hitch, stunnel and envoy, in processes of its own.
    Peers(cli::peers::Arguments),
    /// Run scenarios (restarts, switchovers, storms, hostile clients, rotations) over the gateway, haproxy and
    /// nginx, in processes of its own.
    Scenarios(cli::scenarios::Arguments),
    /// Measure the gateway's lanes for old TLS beside stunnel and haproxy, in processes of its own.
    Lanes(cli::lanes::Arguments),
    /// Measure this load generator beside wrk and openssl s_time, against an nginx of its own.
    ///
    /// Status 0 when all is well; 1 when a measurement failed, or a generator and the server counted
    /// differently; 3 when rates differ by more than 10 %, or this generator takes more CPU time.
    Generator(cli::generator::Arguments),
    /// Plan how many nodes a demand needs.
    #[command(subcommand)]
    Capacity(cli::capacity::Command),
    /// Relay TCP without TLS: a floor.
    #[command(hide = true)]
    Relay(cli::relay::Arguments),
    /// Keep a CPU busy.
    #[command(hide = true)]
    Spin,
}

fn main() -> ExitCode {
    if let Err(errno) = raise_descriptor_limit() {
        eprintln!("tlsgate-bench: cannot raise the limit of open files: {errno}");
    }
    let result = match Command::parse() {
        Command::Load(arguments) => cli::load::execute(&arguments),
        Command::Merge(arguments) => cli::merge::execute(&arguments),
        Command::Compare(arguments) => cli::compare::execute(&arguments),
        Command::Backend(arguments) => cli::backend::execute(arguments),
        Command::Peers(arguments) => cli::peers::execute(arguments),
        Command::Scenarios(arguments) => cli::scenarios::execute(arguments),
        Command::Lanes(arguments) => cli::lanes::execute(arguments),
        Command::Generator(arguments) => cli::generator::execute(arguments),
        Command::Capacity(command) => cli::capacity::execute(&command),
        Command::Relay(arguments) => cli::relay::execute(&arguments),
        Command::Spin => {
            measure::spin::forever().map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string())
        }
    };
    result.unwrap_or_else(|problem| {
        eprintln!("tlsgate-bench: {problem}");
        ExitCode::from(2)
    })
}

/// A connection needs a descriptor: takes as many as the hard limit allows.
fn raise_descriptor_limit() -> rustix::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
}
