//! `tlsgate demo`: a gateway on a machine without any files, driven with real connections.
//!
//! It makes its own certificate, puts a plaintext backend behind the gateway, connects to it with
//! the measuring client and shows what the gateway measured. Client, gateway and backend share the
//! machine, so the figures say what works and how time is spent, not how much the gateway can do.

mod certificates;
mod drive;
pub(super) mod figures;
mod files;
mod setup;
mod summary;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tlsgate_bench::backend::{Backend, Mode};
use tlsgate_bench::client;

use super::{Exit, run};
use crate::app::{self, Gateway, StartError};
use crate::telemetry::ReadError;
use certificates::Certificates;
use setup::Setup;
use summary::Summary;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// End after the figures instead of staying up
    #[arg(long)]
    once: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Where certificates and the configuration are kept [default: tlsgate/demo in
    /// $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// How long to drive connections through the gateway, in seconds
    #[arg(long, value_name = "N", default_value_t = 6)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("neither XDG_STATE_HOME nor HOME is set: name a directory with --state")]
    NoStateDirectory,
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot make certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    #[error("cannot find a free port: {0}")]
    Port(io::Error),
    #[error("cannot start the backend: {0}")]
    Backend(io::Error),
    #[error("{0}")]
    Gateway(#[from] StartError),
    #[error("{0}")]
    Client(#[from] client::Error),
    #[error("{0}")]
    Telemetry(#[from] ReadError),
}

/// Starts everything, measures, prints; then serves until a signal, unless it is to end at once.
pub(super) fn demo(options: &Options) -> Exit {
    match try_demo(options) {
        Ok(exit) => exit,
        Err(failure) => {
            eprintln!("{failure}");
            match &failure {
                Failure::Gateway(error) => Exit::from(error),
                _ => Exit::Failure,
            }
        }
    }
}

fn try_demo(options: &Options) -> Result<Exit, Failure> {
    let directory = match &options.state {
        Some(directory) => directory.clone(),
        None => files::default_directory(|name| std::env::var_os(name))
            .ok_or(Failure::NoStateDirectory)?,
    };
    files::make_directory(&directory)?;
    let certificates = Certificates::keep_or_make(&directory, app::unix_now())?;
    let backend = Backend::start(setup::any_port(), Mode::Sniff).map_err(Failure::Backend)?;
    let upstream = backend.tcp_address().expect("it was given a TCP address");
    let setup = Setup::choose(directory, upstream)?;
    let mut gateway = start(&setup)?;

    if !options.json {
        print!("{}", summary::heading(&setup, &certificates, &gateway));
    }
    let seconds = Duration::from_secs(u64::from(options.seconds));
    let driven = drive::drive(&setup, &certificates.ca_pem, &gateway, seconds)?;
    let snapshot = gateway.telemetry().snapshot()?;
    let summary = Summary::new(&setup, &gateway, &snapshot, &driven);
    if options.json {
        println!("{}", summary.to_json());
    } else {
        print!("{}", summary.to_text());
    }
    if summary.errors > 0 || options.once {
        gateway.stop();
        gateway.join();
        return Ok(if summary.errors > 0 { Exit::Failure } else { Exit::Success });
    }
    if !options.json {
        print!("{}", summary.invitation());
    }
    Ok(run::serve(gateway))
}

/// Takes the same way as `tlsgate run`.
fn start(setup: &Setup) -> Result<Gateway, Failure> {
    let text = setup.configuration();
    let name = setup.configuration_file();
    files::write(&name, &text, files::PUBLIC)?;
    Ok(run::start(&name)?)
}
