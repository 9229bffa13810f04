//! A new configuration in a running gateway: checked as a whole, then swapped in every worker in
//! one step each. Whatever goes wrong before that leaves everything as it was.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::crls::Crls;
use super::listening::Assignment;
use super::watch::Watched;
use super::{Addresses, BindError, Gateway, StartError, Text, compile, places, read, unix_now};
use crate::config::{Config, Diagnostic, model, needs_restart};
use crate::policy::Policy;
use crate::shard::mailbox::{BoundId, Command, Reload};
use crate::telemetry::ListenerNames;
use crate::telemetry::access_log::Target;
use crate::tls::file::with_replaced;

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
    #[error("a worker has not taken the last configuration yet: see /healthz")]
    Unfollowed,
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
    /// rest of the configuration stays. What cannot be used is told, and tried again after the next
    /// change.
    pub(super) fn look_at_certificates(&mut self) {
        let Some(changed) = self.watched.certificates.changed() else { return };
        let file = changed.display();
        tracing::info!(%file, "a file has changed: reading certificates and secrets again");
        self.watched.certificates = Watched::of(&self.config).certificates;
        let text = self.texts.current().clone();
        let result = self.take(text, self.config.clone(), Addresses::Kept);
        self.tell(&result);
    }

    fn try_reload(&mut self) -> Result<Reloaded, ReloadError> {
        let (text, config) = read(&self.file)?;
        self.take(text, config, Addresses::Fresh)
    }

    /// Makes `config` the one that runs.
    pub(super) fn take(
        &mut self,
        text: Text,
        config: Config,
        addresses: Addresses,
    ) -> Result<Reloaded, ReloadError> {
        if self.draining {
            return Err(ReloadError::Draining);
        }
        if self.hand_over.is_some() {
            return Err(ReloadError::Restarting);
        }
        if !self.is_followed() {
            return Err(ReloadError::Unfollowed);
        }
        let name = text.name.as_str();
        let places = places::check(&self.sandbox, (name, &self.file), &config);
        places.map_err(StartError::Config)?;
        let watched = Watched::of(&config);
        let replaced = self.replacements.unchanged();
        let compiled = with_replaced(replaced.clone(), || {
            compile(name, &config, &self.standing, addresses, unix_now())
        });
        let mut compiled = compiled.map_err(StartError::Config)?;
        let listeners = &config.listeners;
        let change = self.listening.prepare(listeners, self.workers.len(), Vec::new());
        let change = change.map_err(|error| cannot_listen(name, &error))?;
        let target = self.new_target(&config.log.access);
        let target = target.map_err(|error| cannot_write(name, &config, &error))?;
        let (secrets, lifetime) = (compiled.secrets.take(), config.resumption.lifetime);
        self.standing.resumption.set(secrets, lifetime).map_err(StartError::TicketKeys)?;
        // Nothing can fail from here on.
        self.replacements.keep(&replaced);
        self.supervisor.follow();
        if let Some(target) = target {
            self.access.retarget(target);
        }
        self.access.thin_out(&config.log.access);
        let mut assignment = self.listening.commit(change, listeners);
        let mut warnings = std::mem::take(&mut compiled.warnings);
        warnings.extend(self.replacements.warning());
        warnings.extend(needs_restart(&self.config, &config));
        warnings.extend(self.swap(&compiled.policy, &compiled.names, &mut assignment));
        self.lookout.watch(compiled.policy.groups());
        self.standing.follow(&compiled);
        let policy = Arc::clone(&compiled.policy);
        self.crls = Crls::new(compiled.crls.clone());
        self.status.set_running(compiled, assignment.facts);
        self.texts.add(text, &policy);
        self.config = self.config.with_reloadable(config);
        self.watched = watched;
        Ok(Reloaded { generation: self.standing.generation(), warnings })
    }

    /// Where the access log goes from now on, if that is another place, or under another name.
    fn new_target(&self, wanted: &model::AccessLog) -> io::Result<Option<Target>> {
        let log = &self.config.log;
        let is_same = (&wanted.to, wanted.facility, &wanted.name)
            == (&log.access.to, log.access.facility, &log.access.name);
        (!is_same).then(|| Target::open(wanted, log.format)).transpose()
    }

    /// Gives every worker the new policy and waits until all follow it.
    /// Returns what is wrong, if something is.
    pub(super) fn swap(
        &mut self,
        policy: &Arc<Policy>,
        names: &ListenerNames,
        assignment: &mut Assignment,
    ) -> Option<String> {
        let (done, answers) = sync_channel(self.workers.len());
        let mut missing = self.workers.len();
        for (worker, open) in self.workers.iter().zip(std::mem::take(&mut assignment.open)) {
            // A worker whose mailbox is full has been stuck for long, and never answers.
            let _taken = worker.send(Command::Reload(Box::new(Reload {
                policy: Arc::clone(policy),
                names: Arc::clone(names),
                open,
                serves: assignment.serves.clone(),
                done: done.clone(),
            })));
        }
        drop(done);
        let mut failed = 0;
        while missing > 0 {
            match answers.recv_timeout(PATIENCE) {
                Ok(sockets) => {
                    missing -= 1;
                    failed += sockets.len();
                    self.listening.close(&sockets);
                }
                Err(_) => {
                    self.unfollowed = Some(Unfollowed { answers, missing });
                    return Some(format!("{missing} worker(s) do not answer: see /healthz"));
                }
            }
        }
        (failed > 0)
            .then(|| format!("{failed} listening socket(s) could not be watched, and closed"))
    }

    /// Whether every worker has taken the last configuration.
    fn is_followed(&mut self) -> bool {
        let Some(mut unfollowed) = self.unfollowed.take() else { return true };
        for sockets in unfollowed.answers.try_iter() {
            unfollowed.missing -= 1;
            self.listening.close(&sockets);
        }
        let is_followed = unfollowed.missing == 0;
        self.unfollowed = (!is_followed).then_some(unfollowed);
        is_followed
    }

    pub(super) fn tell(&self, result: &Result<Reloaded, ReloadError>) {
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
                    self.standing.generation()
                );
            }
        }
    }
}

/// Answers to a configuration that are still to come. They bring the sockets that nobody listens
/// on, which must then be closed: the kernel would go on filling their queues.
#[derive(Debug)]
pub(super) struct Unfollowed {
    answers: Receiver<Vec<BoundId>>,
    missing: usize,
}

/// As `tlsgate check` tells mistakes: with file and line.
fn cannot_listen(file: &str, error: &BindError) -> StartError {
    let BindError { listener, line, error, hint, .. } = error;
    let key = format!("listener[{listener}].listen");
    refused(file, *line, key, "cannot be listened on", error, hint)
}

fn cannot_write(file: &str, config: &Config, error: &io::Error) -> StartError {
    let hint = "Check the path, and that the user that tlsgate runs as may write there.";
    let line = config.log.access.line;
    refused(file, line, "log.access".to_owned(), "cannot be written", error, hint)
}

fn refused(
    file: &str,
    line: usize,
    key: String,
    message: &str,
    error: &io::Error,
    hint: &str,
) -> StartError {
    let diagnostic = Diagnostic {
        file: file.to_owned(),
        line,
        column: 1,
        key,
        message: message.to_owned(),
        found: error.to_string(),
        allowed: String::new(),
        hint: hint.to_owned(),
    };
    StartError::Config(diagnostic.into())
}

/// A worker takes a command between two turns, and a turn takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
