//! `tlsgate run`: start, then do what signals say.

use std::path::Path;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::Exit;
use crate::app::{self, Gateway, StartError};
use crate::config::model::{Log, LogFormat, LogLevel};

/// Runs until a signal ends it.
pub(super) fn run(file: &Path) -> Exit {
    match start(file) {
        Ok(gateway) => serve(gateway),
        Err(error) => {
            eprintln!("{error}");
            Exit::from(&error)
        }
    }
}

fn start(file: &Path) -> Result<Gateway, StartError> {
    let (config, compiled) = app::load(file)?;
    start_log(&config.log);
    for warning in &compiled.warnings {
        tracing::warn!("{warning}");
    }
    Gateway::start(&config, compiled)
}

/// TERM drains, a second TERM or INT stops, USR1 opens the log files again.
pub(super) fn serve(mut gateway: Gateway) -> Exit {
    let mut signals = match Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]) {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot handle signals");
            return Exit::Failure;
        }
    };
    let threads = gateway.take_threads();
    let handle = signals.handle();
    let waiter = std::thread::spawn(move || {
        let ended = threads.wait();
        // Ends the loop below, whatever made the workers end.
        handle.close();
        ended
    });
    let mut draining = false;
    for signal in &mut signals {
        match signal {
            SIGTERM if !draining => {
                draining = true;
                tracing::info!("draining: waiting for connections to end");
                gateway.drain();
            }
            SIGTERM | SIGINT => {
                tracing::info!("stopping now");
                gateway.stop();
            }
            SIGUSR1 => gateway.reopen_logs(),
            _ => tracing::warn!("reloading is not part of this version; the signal is ignored"),
        }
    }
    let Ok(ended) = waiter.join() else { return Exit::Failure };
    drop(gateway);
    if ended.cut > 0 {
        tracing::warn!(connections = ended.cut, "drain timed out, connections were cut off");
        return Exit::DrainTimedOut;
    }
    Exit::Success
}

/// The process log, on standard error. `RUST_LOG` overrides the configured level.
pub(super) fn start_log(log: &Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    // rustls reports every failed handshake by itself; the access log says it once and better.
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| format!("{level},rustls=error"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}
