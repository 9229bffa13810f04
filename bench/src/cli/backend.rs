//! `tlsgate-bench backend`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use tlsgate_bench::backend::{Address, Backend, Mode};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to listen: IP:PORT (port 0: any that is free) or unix:PATH.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: Address,
    /// echo, http, frames, sip, sniff, discard, greeter[:BANNER] or source:BYTES.
    #[arg(long, default_value = "sniff")]
    mode: Mode,
}

/// Serves until killed. The first line of output tells the address, for scripts to wait for.
pub(crate) fn execute(arguments: Arguments) -> Result<ExitCode, String> {
    let Arguments { listen, mode } = arguments;
    let backend = Backend::start(listen.clone(), mode)
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", backend.address())
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot write to standard output: {error}"))?;
    backend.wait().map_err(|error| format!("the backend ended: {error}"))?;
    Ok(ExitCode::SUCCESS)
}
