//! The process log, on standard error. `RUST_LOG` overrides the configured level.

use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::model::{Log, LogFormat, LogLevel};

/// Starts it; the first call in a process counts.
pub(super) fn start(log: &Log) {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).init(),
        LogFormat::Json => registry.with(lines.json()).init(),
    }
    let first = FILTER.set(handle).is_ok();
    debug_assert!(first, "a process starts its log once");
}

/// Changes the least important level that is written.
pub(super) fn set_level(level: LogLevel) {
    let changed = FILTER.get().map(|handle| handle.reload(filter(level)));
    if let Some(Err(error)) = changed {
        tracing::error!(%error, "the log level stays as it was");
    }
}

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

fn filter(level: LogLevel) -> EnvFilter {
    let level = level.as_str();
    // rustls reports every failed handshake by itself; the access log says it once and better.
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| format!("{level},rustls=error"));
    EnvFilter::new(directives)
}
