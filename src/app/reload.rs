//! A new configuration in a running gateway: checked as a whole, then swapped in every worker in
//! one step each. Whatever goes wrong before that leaves everything as it was.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::listening::Assignment;
use super::watch::Stamps;
use super::{Gateway, StartError, compile, read, unix_now};
use crate::config::{Config, needs_restart};
use crate::policy::Policy;
use crate::shard::mailbox::{Command, Reload};
use crate::telemetry::ListenerNames;

/// What a new configuration changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Of the configuration that runs now.
    pub generation: u64,
    /// Worth telling, and no reason not to run.
    pub warnings: Vec<String>,
}

/// Why the configuration that ran runs on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("the gateway is going down")]
    Draining,
    #[error("a restart is under way: the new process has read the file already")]
    Restarting,
}

impl Gateway {
    /// Reads the configuration file again and makes it the one that new connections are admitted
    /// under. Connections that are open keep what they were admitted under.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let result = self.try_reload();
        self.tell(&result);
        result
    }

    /// When a file of certificates, keys, CAs or secrets has changed, reads all of them again; the
    /// rest of the configuration stays. What cannot be used is told, and tried again after the next change.
    pub fn look_at_certificates(&mut self) {
        let Some(changed) = self.stamps.changed() else { return };
        tracing::info!(file = %changed.display(), "a file has changed: reading certificates and secrets again");
        self.stamps = Stamps::of(&self.config);
        let name = self.file.display().to_string();
        let result = self.take(&name, self.config.clone());
        self.tell(&result);
    }

    fn try_reload(&mut self) -> Result<Reloaded, ReloadError> {
        let (name, config) = read(&self.file)?;
        self.take(&name, config)
    }

    fn take(&mut self, name: &str, config: Config) -> Result<Reloaded, ReloadError> {
        if self.draining {
            return Err(ReloadError::Draining);
        }
        if self.hand_over.is_some() {
            return Err(ReloadError::Restarting);
        }
        let stamps = Stamps::of(&config);
        let mut compiled =
            compile(name, &config, &self.standing, unix_now()).map_err(StartError::Config)?;
        let listeners = &config.listeners;
        let change = self.listening.prepare(listeners, self.workers.len(), Vec::new());
        let change = change.map_err(StartError::Bind)?;
        if config.log.access != self.config.log.access {
            self.access.retarget(&config.log.access).map_err(StartError::AccessLog)?;
        }
        let (secrets, lifetime) = (compiled.secrets.take(), config.resumption.lifetime);
        self.standing.resumption.set(secrets, lifetime).map_err(StartError::TicketKeys)?;
        // Nothing can fail from here on.
        let mut assignment = self.listening.commit(change, listeners);
        let mut warnings = std::mem::take(&mut compiled.warnings);
        warnings.extend(needs_restart(&self.config, &config));
        warnings.extend(self.swap(&compiled.policy, &compiled.names, &mut assignment));
        self.standing.follow(&compiled);
        self.status.set_running(compiled, assignment.facts);
        self.config = self.config.with_reloadable(config);
        self.stamps = stamps;
        Ok(Reloaded { generation: self.standing.generation, warnings })
    }

    /// Gives every worker the new policy and waits until all follow it.
    /// Returns what is wrong, if something is.
    pub(super) fn swap(
        &mut self,
        policy: &Arc<Policy>,
        names: &ListenerNames,
        assignment: &mut Assignment,
    ) -> Option<String> {
        let (done, followed) = sync_channel(self.workers.len());
        for (worker, open) in self.workers.iter().zip(std::mem::take(&mut assignment.open)) {
            worker.send(Command::Reload(Box::new(Reload {
                policy: Arc::clone(policy),
                names: Arc::clone(names),
                open,
                serves: assignment.serves.clone(),
                done: done.clone(),
            })));
        }
        drop(done);
        let mut failed = Vec::new();
        for answered in 0..self.workers.len() {
            match followed.recv_timeout(PATIENCE) {
                Ok(sockets) => failed.extend(sockets),
                Err(_) => {
                    let late = self.workers.len() - answered;
                    return Some(format!("{late} worker(s) do not answer: see /healthz"));
                }
            }
        }
        // Nobody would ever accept what the kernel puts into their queues.
        self.listening.close(&failed);
        let count = failed.len();
        (count > 0).then(|| format!("{count} listening socket(s) could not be watched, and closed"))
    }

    fn tell(&self, result: &Result<Reloaded, ReloadError>) {
        match result {
            Ok(reloaded) => {
                for warning in &reloaded.warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(generation = reloaded.generation, "configuration loaded");
            }
            Err(error) => {
                self.status.count_refused(&error.to_string());
                tracing::error!(
                    "configuration refused, generation {} runs on:\n{error}",
                    self.standing.generation
                );
            }
        }
    }
}

/// A worker takes a command between two turns, and a turn takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
