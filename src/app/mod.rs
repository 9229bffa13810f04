//! The composition root: configuration → policy → listeners → shards → telemetry → admin.

mod audit;
mod bind;
mod compile;
pub mod control;
mod crls;
mod dismissals;
mod expiry;
mod explain;
mod groups;
mod lanes;
mod legacy;
mod limits;
mod listening;
pub mod orders;
mod places;
mod polling;
mod reload;
mod replacements;
mod restart;
mod routes;
mod sides;
mod standing;
mod start;
mod status;
mod texts;
mod upstreams;
mod watch;
mod workers;

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admin::{Admin, Lifecycle};
use crate::audit::{Query, Report};
use crate::config::model::LogLevel;
use crate::config::{self, Config, Diagnostics};
pub use crate::conn::Farewell;
pub use crate::conn::outcome::Stage;
use crate::engine::probe::Chosen;
use crate::handover::{self, HandOver, Program};
use crate::sandbox::{Kind, Sandbox, Starter};
pub use crate::shard::filter::{Filter, Generations};
use crate::shard::mailbox::{BoundId, Command};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::{Aggregator, AggregatorHandle, ListenerFacts};
use crate::upstream::Lookout;
pub use bind::BindError;
pub use compile::{Addresses, Compiled, compile};
use control::Control;
use crls::Crls;
use dismissals::Dismissals;
use expiry::ExpiryWatch;
pub use explain::Explained;
use legacy::Supervisor;
pub use legacy::serve_lane;
pub use limits::own_descriptors;
use listening::Listening;
use reload::Unfollowed;
pub use reload::{ReloadError, Reloaded};
use replacements::Replacements;
pub use standing::Standing;
pub use start::Prepared;
use status::Status;
pub use texts::Text;
use texts::Texts;
use watch::Watched;
pub use workers::default_count;

/// A configuration that was read and compiled, with the file it came from.
pub struct Loaded {
    pub file: PathBuf,
    pub config: Config,
    pub compiled: Compiled,
    pub standing: Standing,
    pub text: Text,
    /// What starts other processes, which the gateway cannot without.
    pub starter: Option<Starter>,
    /// The files that it names, as they were before they were read.
    watched: Watched,
}

/// A running gateway.
pub struct Gateway {
    file: PathBuf,
    /// What runs.
    config: Config,
    /// Without it, there is no other process.
    starter: Option<Starter>,
    sandbox: Sandbox,
    texts: Texts,
    watched: Watched,
    crls: Crls,
    dismissals: Dismissals,
    replacements: Replacements,
    standing: Standing,
    listening: Listening,
    workers: Vec<workers::Address>,
    threads: Threads,
    status: Arc<Status>,
    chosen: Chosen,
    draining: bool,
    control: Option<Control>,
    unfollowed: Option<Unfollowed>,
    /// A restart that is under way.
    hand_over: Option<HandOver>,
    // Dropped in this order: readers before what they read.
    _expiry: ExpiryWatch,
    admin: Option<Admin>,
    aggregator: Aggregator,
    access: AccessLog,
    lookout: Lookout,
    supervisor: Supervisor,
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
    #[error("admin.control: cannot listen on {0}: {1}")]
    Control(String, io::Error),
    #[error("log.access: {0}")]
    AccessLog(io::Error),
    #[error("cannot make ticket keys: {0}")]
    TicketKeys(#[from] rustls::Error),
    #[error("cannot start: {0}")]
    Other(#[from] io::Error),
}

/// The word of the command line that has the program be the starter; nobody else is told of it.
pub const STARTER: &str = "starter";

/// Starts the process that will start `program`, and the legacy lane's child.
///
/// # Errors
/// As [`Starter::launch`].
pub fn launch_starter(program: &Program) -> io::Result<Starter> {
    let verb = [OsStr::new(STARTER), OsStr::new("--"), program.path.as_os_str()];
    let arguments = program.arguments.iter().map(|argument| argument.as_os_str());
    Starter::launch(&program.path, verb.into_iter().chain(arguments))
}

/// What that process does: see [`starter::serve`](crate::sandbox::starter::serve).
///
/// # Errors
/// As that.
pub fn serve_starter(program: &Program) -> io::Result<()> {
    crate::sandbox::starter::serve(|kind, socket: OwnedFd| match kind {
        Kind::Successor => handover::spawn(program, socket),
        Kind::LegacyChild => legacy::spawn(socket),
    })
}

/// Reads and checks a configuration file and everything it names, for a process that has not
/// started: with a session store and ticket keys of its own.
///
/// # Errors
/// Every mistake at once.
pub fn load(file: &Path) -> Result<Loaded, StartError> {
    let (text, config) = read(file)?;
    let standing = Standing::new(&config)?;
    let watched = Watched::of(&config);
    let compiled = compile(&text.name, &config, &standing, Addresses::Fresh, unix_now())
        .map_err(StartError::Config)?;
    let (file, starter) = (file.to_owned(), None);
    Ok(Loaded { file, config, compiled, standing, text, starter, watched })
}

/// Reads a configuration file, and gives its text besides.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(file: &Path) -> Result<(Text, Config), StartError> {
    let name = file.display().to_string();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return Err(StartError::Unreadable(name, error)),
    };
    let mut reading = config::read(&name, &text);
    match reading.config {
        Some(config) => Ok((Text { name, text: text.into() }, config)),
        None => {
            let (resumption, tls) = (reading.resumption.as_ref(), &reading.tls);
            compile::check_files(&name, resumption, tls, &mut reading.diagnostics);
            Err(StartError::Config(reading.diagnostics))
        }
    }
}

impl Gateway {
    /// Binds, starts the workers, and then says that it is ready.
    ///
    /// # Errors
    /// Nothing keeps running.
    pub fn start(loaded: Loaded) -> Result<Self, StartError> {
        Prepared::new(loaded, None)?.open()
    }

    /// Stops accepting; connections may end by themselves until the drain timeout.
    pub fn drain(&mut self) {
        self.close_listeners();
        self.status.set_lifecycle(Lifecycle::Draining);
        self.drain_workers(self.config.gateway.drain_timeout, &Arc::from([]));
    }

    fn drain_workers(&self, patience: Duration, left: &Arc<[BoundId]>) {
        for worker in &self.workers {
            // One that has ended needs no telling, and so many orders wait for no other.
            let _ended = worker.send(Command::Drain { patience, left: Arc::clone(left) });
        }
    }

    /// Ends every connection now.
    pub fn stop(&mut self) {
        self.close_listeners();
        self.status.set_lifecycle(Lifecycle::Draining);
        for worker in &self.workers {
            let _ended = worker.send(Command::Stop);
        }
    }

    /// Lets go of the listening sockets, so that they close when the workers let go, too.
    fn close_listeners(&mut self) {
        self.draining = true;
        self.listening = Listening::default();
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
        self.access.reopen();
    }

    /// True once [`Gateway::drain`] or [`Gateway::stop`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// The least important messages that the configuration wants to see.
    pub fn log_level(&self) -> LogLevel {
        self.config.log.level
    }

    /// How long to wait before [`Gateway::look_at_files`]; `None` is for ever.
    pub fn watch_pause(&self) -> Option<Duration> {
        // Connections that are up can be revoked to their end.
        let crls = self.config.gateway.crl_watch.filter(|_| !self.crls.is_empty());
        [crls, self.certificate_watch()].into_iter().flatten().min()
    }

    /// Looks at files for which it is time, so long after the last look.
    pub fn look_at_files(&mut self, passed: Duration) {
        self.look_at_crls();
        self.replacements.forget_abandoned();
        if let Some(interval) = self.certificate_watch()
            && self.watched.is_time(interval, passed)
        {
            self.look_at_certificates();
        }
    }

    fn certificate_watch(&self) -> Option<Duration> {
        let is_idle = !self.draining && self.hand_over.is_none();
        self.config.gateway.certificate_watch.filter(|_| is_idle)
    }

    /// Every listener with the address it really got.
    pub fn listeners(&self) -> Vec<ListenerFacts> {
        self.status.listeners()
    }

    /// Where the admin port listens.
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// What was seen in live traffic. Waits for the workers, a quarter of a second at most.
    pub fn audit(&self, query: &Query) -> Report {
        self.status.audit(query)
    }

    /// Which engine runs, and why.
    pub fn engine(&self) -> &Chosen {
        &self.chosen
    }

    /// For reading what was measured.
    pub fn telemetry(&self) -> AggregatorHandle {
        self.aggregator.handle()
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
