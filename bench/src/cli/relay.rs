//! `tlsgate-bench relay`: the floor that `peers` measures.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use crate::peers::relay;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to listen: IP:PORT.
    #[arg(long)]
    listen: SocketAddr,
    /// Where what is received goes: IP:PORT.
    #[arg(long)]
    to: SocketAddr,
}

/// Relays until killed.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode, String> {
    relay::forever(arguments.listen, arguments.to)
        .map_err(|error| format!("cannot relay from {}: {error}", arguments.listen))?;
    Ok(ExitCode::SUCCESS)
}
