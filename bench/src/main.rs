//! `tlsgate-bench`: makes load and measures it, or serves as the backend behind what is measured.

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// Measuring client and plaintext backends for TLS gateways.
#[derive(Debug, Parser)]
#[command(version, about)]
enum Command {
    /// Load a target and report latencies, rates and errors; status 1 when there were errors.
    Load(Box<cli::load::Arguments>),
    /// Serve as a plaintext backend until killed.
    Backend(cli::backend::Arguments),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Load(arguments) => cli::load::execute(&arguments),
        Command::Backend(arguments) => cli::backend::execute(arguments),
    };
    result.unwrap_or_else(|problem| {
        eprintln!("tlsgate-bench: {problem}");
        ExitCode::from(2)
    })
}
