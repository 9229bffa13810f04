//! Programs that are a part of this one.

use std::io;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/// What the terminal or the service manager tells all processes of the gateway is for the one that
/// this one ends with. Programs that are started are told as ever.
///
/// # Errors
/// When the kernel refuses.
pub fn leave_signals() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}
