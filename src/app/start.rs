//! From a configuration to a running gateway, in two steps: first all that can fail and changes
//! nothing for anybody, then the listening sockets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::audit::Auditor;
use super::control::Control;
use super::crls::Crls;
use super::dismissals::Dismissals;
use super::expiry::ExpiryWatch;
use super::legacy::Supervisor;
use super::limits::{self, Limits};
use super::listening::{Assignment, Listening};
use super::orders::Order;
use super::replacements::Replacements;
use super::standing::Standing;
use super::status::{Status, StatusParts};
use super::texts::Texts;
use super::workers::{self, Plan};
use super::{Compiled, Gateway, Loaded, StartError, places, polling};
use crate::admin::{Admin, Lifecycle};
use crate::config::Config;
use crate::engine::probe::Chosen;
use crate::handover::{Inheritance, InheritedGroup, Purpose};
use crate::policy::Policy;
use crate::sandbox::{Role, Sandbox, Starter, Threads};
use crate::systemd::Activation;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::aggregator::{Inbox, answer_channel};
use crate::telemetry::{Aggregator, ListenerNames, ShardPort, SharedCounters};
use crate::tls::resumption::TicketKeys;
use crate::upstream::Lookout;

/// A gateway that has bound everything and whose workers run, but that accepts nothing yet.
pub struct Prepared {
    gateway: Gateway,
    policy: Arc<Policy>,
    names: ListenerNames,
    assignment: Assignment,
    limits: Limits,
    /// Another process serves until this one does.
    is_successor: bool,
    taken: Vec<u32>,
}

impl Prepared {
    /// Binds and starts the workers. With an inheritance, what the predecessor listens on is taken
    /// from there. With a starter, this process starts nothing itself, and so may have the sandbox that
    /// the configuration asks for; it must not have other threads yet.
    ///
    /// # Errors
    /// Nothing keeps running.
    pub fn new(loaded: Loaded, inheritance: Option<Inheritance>) -> Result<Self, StartError> {
        let Loaded { file, config, compiled, mut standing, text, watched, starter } = loaded;
        let is_successor = inheritance.is_some();
        let (chosen, polling) = polling::choose(&config.gateway).map_err(StartError::Engine)?;
        let limits = limits::raise(&config, polling.len());
        let sandbox = enter_sandbox(&file, &config, starter.as_ref());
        standing.resumption.set(compiled.secrets.clone(), config.resumption.lifetime)?;
        let mut groups = take_keys(&standing.resumption.keys, inheritance.unwrap_or_default());
        let admin = bind_admin(config.admin.listen, &mut groups)?;
        let mut listening = Listening::new(passed(is_successor)?);
        groups.retain(|group| group.purpose == Purpose::Listener);
        let change = listening.prepare(&config.listeners, polling.len(), groups)?;
        let taken = change.taken.clone();
        let assignment = listening.commit(change, &config.listeners);
        let shared = Arc::new(SharedCounters::default());
        let access = start_access_log(&config, &shared)?;
        let (answers, inbox) = answer_channel(polling.len());
        let (policy, names) = (Arc::clone(&compiled.policy), Arc::clone(&compiled.names));
        let plan = Plan {
            engine: chosen.engine,
            gateway: config.gateway.clone(),
            polling,
            policy: Arc::clone(&policy),
            max_connections: limits.max_connections,
            names: Arc::clone(&names),
            answers,
            access: access.sender(),
            door: standing.door.clone(),
            starter: starter.clone(),
            process: RandomState::new().build_hasher().finish(),
        };
        standing.follow(&compiled);
        let crls = Crls::new(compiled.crls.clone());
        let status = status(&chosen, &assignment, compiled, (&standing, &shared));
        let supervisor = Supervisor::start(&plan, shared.clone())?;
        let lookout = watch_upstreams(&standing, &policy)?;
        let (workers, threads) = start_workers(&plan)?;
        let aggregator = aggregate(&status, &workers, inbox, shared)?;
        let admin = admin.map(|listener| start_admin(listener, &status)).transpose()?;
        let gateway = Gateway {
            file,
            config,
            starter,
            sandbox,
            texts: Texts::new(text, &policy),
            watched,
            crls,
            dismissals: Dismissals::default(),
            replacements: Replacements::default(),
            standing,
            listening,
            workers,
            threads,
            status: Arc::clone(&status),
            chosen,
            draining: false,
            control: None,
            unfollowed: None,
            hand_over: None,
            _expiry: ExpiryWatch::start(Arc::clone(&status))?,
            admin,
            aggregator,
            access,
            lookout,
            supervisor,
        };
        Ok(Self { gateway, policy, names, assignment, limits, is_successor, taken })
    }

    /// Opens the control socket, if the configuration has one. What is asked there becomes orders.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn start_control(&mut self, orders: SyncSender<Order>) -> Result<(), StartError> {
        let gateway = &mut self.gateway;
        let admin = &gateway.config.admin;
        let Some(path) = &admin.control else { return Ok(()) };
        let told = (orders, gateway.status.shared());
        let control = if self.is_successor {
            Control::start_beside(path, admin, told)
        } else {
            Control::start(path, admin, told)
        };
        let failed = |error| StartError::Control(path.display().to_string(), error);
        gateway.control = Some(control.map_err(failed)?);
        Ok(())
    }

    /// Takes sessions of the predecessor over, a chunk of its store.
    pub fn take_sessions(&self, chunk: &[u8]) {
        if let Err(error) = self.gateway.standing.resumption.store.import(chunk) {
            tracing::warn!(%error, "sessions of the old process are lost");
        }
    }

    /// All is there that takes system calls which serving does not.
    pub fn close_sandbox(&mut self) {
        let gateway = &mut self.gateway;
        if !gateway.config.gateway.sandbox {
            return;
        }
        gateway.sandbox.close(Role::Gateway, Threads::All);
        gateway.status.set_sandbox(&gateway.sandbox);
        for part in gateway.sandbox.parts().iter().filter(|part| part.holds.is_err()) {
            tracing::warn!("the sandbox lacks a part: {part}");
        }
    }

    /// Numbers of the groups of the inheritance that are in use.
    pub fn taken(&self) -> Vec<u32> {
        self.taken.clone()
    }

    /// Accepts from now on.
    ///
    /// # Errors
    /// What could not be listened on. Nothing keeps running, and what a predecessor has stays as it
    /// was.
    pub fn open(mut self) -> Result<Gateway, StartError> {
        match self.try_open() {
            Ok(()) => Ok(self.gateway),
            Err(error) => {
                self.gateway.give_up();
                Err(error)
            }
        }
    }

    fn try_open(&mut self) -> Result<(), StartError> {
        let gateway = &mut self.gateway;
        gateway.listening.listen(&gateway.config.listeners)?;
        let problem = gateway.swap(&self.policy, &self.names, &mut self.assignment);
        if let Some(problem) = problem {
            return Err(io::Error::other(problem).into());
        }
        // Not before, because a predecessor that is not followed after all has the same sockets.
        gateway.listening.set_options(&gateway.config.listeners);
        gateway.status.set_lifecycle(Lifecycle::Accepting);
        // Last: who asks a process for the first time finds it ready.
        if let Some(admin) = &mut gateway.admin {
            admin.open();
        }
        gateway.announce(self.limits);
        Ok(())
    }
}

impl Gateway {
    /// Ends the workers without a word to whoever waits in an accept queue: another process may
    /// have the same queue.
    fn give_up(&mut self) {
        let left = self.listening.sockets();
        self.close_listeners();
        self.drain_workers(Duration::ZERO, &left);
        self.take_threads().wait();
    }

    /// Takes the place of a predecessor that has made way: from now on, this one is asked.
    pub fn appear(&mut self) {
        if let Some(control) = &mut self.control
            && let Err(error) = control.appear()
        {
            tracing::error!(%error, "the control socket cannot take its place");
        }
    }

    fn announce(&self, limits: Limits) {
        tracing::info!(
            engine = self.chosen.engine.as_str(),
            reason = %self.chosen.reason,
            workers = self.workers.len(),
            max_connections = limits.max_connections,
            descriptors = limits.descriptors,
            sandbox = %self.status.sandbox(),
            "started"
        );
        if let Some(wanted) = limits.reduced_from {
            tracing::warn!(
                wanted,
                possible = limits.max_connections,
                "max_connections reduced: raise the descriptor limit (LimitNOFILE=, ulimit -Hn)"
            );
        }
        for listener in self.listeners() {
            tracing::info!(listener = %listener.name, address = %listener.address, "listening");
        }
        if let Some(address) = self.admin_address() {
            tracing::info!(%address, "admin port: / /healthz /readyz /metrics /status");
        }
    }
}

fn start_access_log(
    config: &Config,
    shared: &Arc<SharedCounters>,
) -> Result<AccessLog, StartError> {
    AccessLog::start(&config.log.access, config.log.format, Arc::clone(shared))
        .map_err(StartError::AccessLog)
}

/// Before there are other threads, which are to have the same.
fn enter_sandbox(file: &Path, config: &Config, starter: Option<&Starter>) -> Sandbox {
    if starter.is_none() || !config.gateway.sandbox {
        return Sandbox::default();
    }
    Sandbox::enter(&places::at_start(file, config), places::keeps_sources(config))
}

/// What systemd passed.
fn passed(is_successor: bool) -> io::Result<Activation> {
    Activation::from_environment(is_successor).map_err(io::Error::other)
}

fn status(
    engine: &Chosen,
    assignment: &Assignment,
    compiled: Compiled,
    (standing, shared): (&Standing, &Arc<SharedCounters>),
) -> Arc<Status> {
    Arc::new(Status::new(StatusParts {
        engine: engine.clone(),
        listeners: assignment.facts.clone(),
        compiled,
        resumption: standing.resumption.clone(),
        shared: Arc::clone(shared),
    }))
}

fn watch_upstreams(standing: &Standing, policy: &Policy) -> io::Result<Lookout> {
    let lookout = Lookout::start(standing.resolver.clone())?;
    lookout.watch(policy.groups());
    Ok(lookout)
}

fn start_workers(plan: &Plan) -> io::Result<(Vec<workers::Address>, super::Threads)> {
    let workers = workers::start(plan)?.into_iter();
    let (addresses, threads) = workers.map(|worker| (worker.address, worker.thread)).unzip();
    Ok((addresses, super::Threads(threads)))
}

/// Starts to gather what the workers measure, for the readers of `status`.
fn aggregate(
    status: &Arc<Status>,
    workers: &[workers::Address],
    inbox: Inbox,
    shared: Arc<SharedCounters>,
) -> io::Result<Aggregator> {
    let port = |address: &workers::Address| Box::new(address.clone()) as Box<dyn ShardPort>;
    let ports = workers.iter().map(port).collect();
    let facts = {
        let status = Arc::clone(status);
        Box::new(move || status.facts())
    };
    let aggregator = Aggregator::start(inbox, ports, facts, shared)?;
    status.set_aggregator(aggregator.handle());
    status.set_auditor(Auditor::new(workers));
    Ok(aggregator)
}

/// Tickets of the predecessor stay good; returns the rest of what it gives. Those that are not are no reason not to start: their
/// owners make a full handshake.
fn take_keys(keys: &TicketKeys, inheritance: Inheritance) -> Vec<InheritedGroup> {
    for piece in inheritance.ticket_keys {
        match keys.import(piece.as_bytes()) {
            Ok(true) => {}
            Ok(false) => tracing::debug!("the ticket keys do not come from the old process"),
            Err(error) => tracing::warn!(%error, "ticket keys of the old process are lost"),
        }
    }
    inheritance.groups
}

/// The admin port's listening socket, from the predecessor where it has that address.
fn bind_admin(
    address: Option<SocketAddr>,
    groups: &mut Vec<InheritedGroup>,
) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let key = admin_key(address);
    let is_ours = |group: &mut InheritedGroup| {
        group.purpose == Purpose::Admin && group.address == key.as_bytes()
    };
    let inherited = groups.extract_if(.., is_ours).next();
    match inherited.and_then(|mut group| group.sockets.pop()) {
        Some(socket) => Ok(Some(socket.into())),
        None => match TcpListener::bind(address) {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => Err(StartError::AdminBind(address, error)),
        },
    }
}

/// The admin port, which answers nobody yet.
fn start_admin(listener: TcpListener, status: &Arc<Status>) -> Result<Admin, StartError> {
    let address = listener.local_addr()?;
    let admin = Admin::start(listener, Arc::clone(status) as _);
    admin.map_err(|error| StartError::AdminBind(address, error))
}

/// How predecessor and successor name the admin port's address.
pub(super) fn admin_key(address: SocketAddr) -> String {
    address.to_string()
}
