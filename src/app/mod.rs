//! The composition root: configuration → policy → listeners → shards → telemetry → admin.

mod bind;
mod compile;
mod limits;
mod status;
mod workers;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admin::{Admin, Lifecycle};
use crate::config::{self, Config, Diagnostics};
use crate::engine::probe::{self, Chosen};
use crate::shard::mailbox::{self, Command};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::aggregator::answer_channel;
use crate::telemetry::{
    Aggregator, AggregatorHandle, ListenerFacts, ListenerNames, ShardPort, SharedCounters,
};
use crate::tls::resumption::{Clock, Resumption};
pub use bind::BindError;
pub use compile::{Compiled, compile};
use status::{Status, StatusParts};
use workers::Plan;
pub use workers::default_count;

/// A running gateway.
pub struct Gateway {
    workers: Vec<mailbox::Address>,
    threads: Threads,
    status: Arc<Status>,
    listeners: Vec<ListenerFacts>,
    chosen: Chosen,
    drain_timeout: Duration,
    // Dropped in this order: readers before what they read.
    admin: Option<Admin>,
    aggregator: Aggregator,
    access: Option<AccessLog>,
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Connections that the drain's deadline cut off.
    pub cut: u32,
}

/// The workers' threads, to wait for.
#[derive(Debug, Default)]
pub struct Threads(Vec<workers::Thread>);

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}: {1}")]
    Unreadable(String, io::Error),
    #[error("{0}")]
    Config(Diagnostics),
    #[error("{0}")]
    Engine(String),
    #[error("{0}")]
    Bind(#[from] BindError),
    #[error("admin.listen: cannot listen on {0}: {1}")]
    AdminBind(std::net::SocketAddr, io::Error),
    #[error("log.access: {0}")]
    AccessLog(io::Error),
    #[error("cannot make ticket keys: {0}")]
    TicketKeys(#[from] rustls::Error),
    #[error("cannot start: {0}")]
    Other(#[from] io::Error),
}

/// Reads and checks a configuration file and everything it names, for a process that has not
/// started: with a session store and ticket keys of its own.
///
/// # Errors
/// Every mistake at once.
pub fn load(file: &Path) -> Result<(Config, Compiled), StartError> {
    let name = file.display().to_string();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return Err(StartError::Unreadable(name, error)),
    };
    let mut reading = config::read(&name, &text);
    let Some(config) = reading.config else {
        let (resumption, tls) = (reading.resumption.as_ref(), &reading.tls);
        compile::check_files(&name, resumption, tls, &mut reading.diagnostics);
        return Err(StartError::Config(reading.diagnostics));
    };
    let resumption = Resumption::new(&config.resumption, Clock::system())?;
    let compiled = compile(&name, &config, unix_now(), &resumption).map_err(StartError::Config)?;
    Ok((config, compiled))
}

impl Gateway {
    /// Binds, starts the workers, and then says that it is ready.
    ///
    /// # Errors
    /// Nothing keeps running.
    pub fn start(config: &Config, compiled: Compiled) -> Result<Self, StartError> {
        let chosen = probe::choose(config.gateway.engine).map_err(StartError::Engine)?;
        let count = config.gateway.workers.map_or_else(default_count, usize::from);
        compiled.resumption.set(compiled.secrets.clone(), config.resumption.lifetime)?;
        let limits = limits::raise(config.gateway.max_connections, count, config.listeners.len());
        let mut listeners = Vec::new();
        let mut sockets: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for listener in &config.listeners {
            let bound = bind::bind(listener, count)?;
            for (worker, socket) in sockets.iter_mut().zip(bound.listeners) {
                worker.push(socket);
            }
            let name = listener.name.as_str().into();
            listeners.push(ListenerFacts { name, address: bound.address });
        }
        let shared = Arc::new(SharedCounters::default());
        let access = AccessLog::start(&config.log.access, config.log.format, Arc::clone(&shared))
            .map_err(StartError::AccessLog)?;
        let (answers, inbox) = answer_channel(count);
        let plan = Plan {
            engine: chosen.engine,
            gateway: config.gateway.clone(),
            policy: Arc::clone(&compiled.policy),
            max_connections: limits.max_connections,
            names: names(&listeners),
            answers,
            access: access.as_ref().map(AccessLog::sender),
        };
        let status = Arc::new(Status::new(StatusParts {
            engine: chosen.clone(),
            listeners: listeners.clone(),
            compiled,
            shared: Arc::clone(&shared),
        }));
        let workers = workers::start(&plan, sockets)?;
        let (workers, threads): (Vec<_>, Vec<_>) =
            workers.into_iter().map(|worker| (worker.address, worker.thread)).unzip();
        let port = |address: &mailbox::Address| Box::new(address.clone()) as Box<dyn ShardPort>;
        let ports = workers.iter().map(port).collect();
        let facts = {
            let status = Arc::clone(&status);
            Box::new(move || status.facts())
        };
        let aggregator = Aggregator::start(inbox, ports, facts, shared)?;
        status.set_aggregator(aggregator.handle());
        let mut gateway = Self {
            workers,
            threads: Threads(threads),
            status,
            listeners,
            chosen,
            drain_timeout: config.gateway.drain_timeout,
            admin: None,
            aggregator,
            access,
        };
        if let Some(address) = config.admin.listen {
            let source = Arc::clone(&gateway.status);
            match Admin::start(address, source) {
                Ok(admin) => gateway.admin = Some(admin),
                Err(error) => {
                    gateway.stop();
                    gateway.join();
                    return Err(StartError::AdminBind(address, error));
                }
            }
        }
        gateway.status.set_lifecycle(Lifecycle::Accepting);
        gateway.announce(limits);
        Ok(gateway)
    }

    /// Stops accepting; connections may end by themselves until the drain timeout.
    pub fn drain(&self) {
        self.status.set_lifecycle(Lifecycle::Draining);
        for worker in &self.workers {
            worker.send(Command::Drain { patience: self.drain_timeout });
        }
    }

    /// Ends every connection now.
    pub fn stop(&self) {
        self.status.set_lifecycle(Lifecycle::Draining);
        for worker in &self.workers {
            worker.send(Command::Stop);
        }
    }

    /// The threads, for whoever waits for them in another thread than the one that gives orders.
    pub fn take_threads(&mut self) -> Threads {
        std::mem::take(&mut self.threads)
    }

    /// Waits for the workers, which end after [`Gateway::drain`] or [`Gateway::stop`], then writes
    /// the last log lines.
    pub fn join(mut self) -> Ended {
        self.take_threads().wait()
    }

    /// Opens the access log's file again, after log rotation.
    pub fn reopen_logs(&self) {
        if let Some(access) = &self.access {
            access.reopen();
        }
    }

    /// Every listener with the address it really got.
    pub fn listeners(&self) -> &[ListenerFacts] {
        &self.listeners
    }

    /// Where the admin port listens.
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Which engine runs, and why.
    pub fn engine(&self) -> &Chosen {
        &self.chosen
    }

    /// For reading what was measured.
    pub fn telemetry(&self) -> AggregatorHandle {
        self.aggregator.handle()
    }

    fn announce(&self, limits: limits::Limits) {
        tracing::info!(
            engine = self.chosen.engine.as_str(),
            reason = %self.chosen.reason,
            workers = self.workers.len(),
            max_connections = limits.max_connections,
            descriptors = limits.descriptors,
            "started"
        );
        if let Some(wanted) = limits.reduced_from {
            tracing::warn!(
                wanted,
                possible = limits.max_connections,
                "max_connections reduced: raise the descriptor limit (LimitNOFILE=, ulimit -Hn)"
            );
        }
        for listener in &self.listeners {
            tracing::info!(listener = %listener.name, address = %listener.address, "listening");
        }
        if let Some(address) = self.admin_address() {
            tracing::info!(%address, "admin port: /healthz /readyz /metrics /status");
        }
    }
}

impl Threads {
    /// Waits until every worker has ended.
    pub fn wait(self) -> Ended {
        let mut cut = 0u32;
        for thread in self.0 {
            match thread.join() {
                Ok(Ok(connections)) => cut = cut.saturating_add(connections),
                Ok(Err(error)) => tracing::error!(%error, "a worker's engine failed"),
                Err(_panic) => tracing::error!("a worker panicked"),
            }
        }
        Ended { cut }
    }
}

fn names(listeners: &[ListenerFacts]) -> ListenerNames {
    listeners.iter().map(|listener| Arc::clone(&listener.name)).collect()
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "an edge: where others have the time from")]
pub fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_values_do_not_hide_mistakes_in_files() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("tlsgate.toml");
        let text = "[gateway]\nworkers = 0\n[resumption]\nticket_secret = \"none.secret\"\n\
                    [[listener]]\nname = \"a\"\nlisten = \"127.0.0.1:0\"\n\
                    upstream = \"127.0.0.1:1\"\n[listener.tls]\ncertificate = \"none.pem\"\n\
                    certificate_key = \"none.key\"\n";
        std::fs::write(&file, text).expect("a writable directory");
        let Err(StartError::Config(diagnostics)) = load(&file) else {
            panic!("four mistakes must not pass")
        };
        let lines: Vec<_> = diagnostics.as_slice().iter().map(|found| found.line).collect();
        assert_eq!(lines, [2, 4, 10, 11], "{diagnostics}");
    }
}
