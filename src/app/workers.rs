//! The shards' threads: one per worker, pinned, each with an engine made on it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

use core_affinity::CoreId;

use crate::admission::hello_budget::HelloBudget;
use crate::config::model::Gateway;
use crate::engine::epoll::EpollEngine;
use crate::engine::probe::EngineKind;
use crate::engine::socket::{Listener, Stream};
use crate::engine::uring::UringEngine;
use crate::engine::{Engine, EngineLimits, Wake};
use crate::lane::Door;
use crate::policy::Policy;
use crate::sandbox::Starter;
use crate::shard::mailbox::{self, Command, Mailbox};
use crate::shard::{Finished, Parts, Shard};
use crate::telemetry::access_log::{AccessRecord, AccessSender, Sample, since_1970};
use crate::telemetry::{AnswerSender, ListenerNames, ShardTelemetry};
use crate::tls::provider;

/// What every worker is started with.
#[derive(Clone)]
pub(super) struct Plan {
    pub engine: EngineKind,
    pub gateway: Gateway,
    pub policy: Arc<Policy>,
    pub max_connections: u32,
    pub names: ListenerNames,
    pub answers: AnswerSender,
    pub access: AccessSender,
    pub door: Door,
    pub starter: Option<Starter>,
    /// Drawn: tells this process's connections from those of others.
    pub process: u64,
}

/// A worker's mailbox.
pub(super) type Address = mailbox::Address<Listener>;

/// A running worker.
pub(super) struct Worker {
    pub address: Address,
    pub thread: Thread,
}

/// Ends with the number of connections that a drain's deadline cut off.
pub(super) type Thread = JoinHandle<io::Result<u32>>;

/// How many workers this machine gets when the configuration does not say: one per CPU that the
/// affinity mask and the cgroup's quota (v1 and v2) allow.
pub fn default_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Starts `count` workers. They listen nowhere yet.
///
/// # Errors
/// When a thread or its engine cannot be made; those already started are stopped.
pub(super) fn start(plan: &Plan, count: usize) -> io::Result<Vec<Worker>> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let admitted = Arc::new(AtomicU32::new(0));
    let mut starting = Vec::new();
    for id in 0..count {
        let (mailbox, commands) = mailbox::mailbox();
        let (ready, waker) = channel();
        let task = Task {
            id,
            core: cores.get(id % cores.len().max(1)).copied(),
            plan: plan.clone(),
            admitted: Arc::clone(&admitted),
            mailbox,
            ready,
        };
        let thread = Builder::new().name(format!("shard-{id}")).spawn(move || task.run())?;
        starting.push((thread, commands, waker));
    }
    let mut workers: Vec<Worker> = Vec::with_capacity(starting.len());
    for (thread, commands, waker) in starting {
        workers.push(match waker.recv() {
            Ok(waker) => Worker { address: Address::new(commands, waker), thread },
            Err(_never_ready) => {
                for worker in &workers {
                    // Fails only when it has ended.
                    let _ended = worker.address.send(Command::Stop);
                }
                return Err(failure(thread));
            }
        });
    }
    Ok(workers)
}

fn failure(thread: Thread) -> io::Error {
    match thread.join() {
        Ok(Err(error)) => error,
        Ok(Ok(_)) => io::Error::other("a worker ended before it was ready"),
        Err(_panic) => io::Error::other("a worker panicked at start"),
    }
}

struct Task {
    id: usize,
    core: Option<CoreId>,
    plan: Plan,
    admitted: Arc<AtomicU32>,
    mailbox: Mailbox<Listener>,
    ready: Sender<Arc<dyn Wake>>,
}

impl Task {
    fn run(self) -> io::Result<u32> {
        if let Some(core) = self.core
            && !core_affinity::set_for_current(core)
        {
            tracing::warn!(shard = self.id, core = core.id, "could not pin the worker to its core");
        }
        let limits = EngineLimits {
            connections: self.plan.max_connections,
            buffer_memory: self.plan.gateway.buffer_memory,
        };
        provider::warm_up();
        match self.plan.engine {
            EngineKind::Uring => self.serve(UringEngine::new(limits)?),
            EngineKind::Epoll => self.serve(EpollEngine::new(limits)?),
        }
    }

    fn serve<E>(self, engine: E) -> io::Result<u32>
    where
        E: Engine<Listener = Listener, Stream = Stream>,
    {
        let Self { id, plan, admitted, mailbox, ready, .. } = self;
        let waker = engine.waker();
        let mut shard = Shard::new(Parts {
            id,
            process: plan.process,
            engine,
            policy: plan.policy,
            // The kernel spreads connections by hash, not evenly: each worker has room for all.
            capacity: plan.max_connections,
            admitted,
            max_connections: plan.max_connections,
            hellos: HelloBudget::new(
                plan.gateway.hello_memory,
                plan.gateway.hello_memory_per_source,
            ),
            handshakes: plan.gateway.handshakes,
            telemetry: ShardTelemetry::new(id, plan.names),
            answers: plan.answers,
            mailbox,
            door: plan.door,
            on_finish: on_finish(plan.access),
        });
        // Fails only when the start was given up.
        let _abandoned = ready.send(waker);
        shard.run()?;
        Ok(shard.connections_cut())
    }
}

/// Writes the access log.
fn on_finish(access: AccessSender) -> Box<dyn FnMut(Finished)> {
    let mut sample = Sample::default();
    Box::new(move |finished| {
        if !access.is_on() {
            return;
        }
        let Finished { connection, shard, policy, route, outcome } = finished;
        let now = since_1970();
        let Some(weight) = access.choose(&mut sample, &outcome, now) else { return };
        access.send(AccessRecord {
            unix_time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            listener: Arc::clone(&policy.name),
            route: Arc::clone(&route.name),
            generation: policy.generation,
            upstream: outcome
                .upstream
                .map(|index| Arc::clone(&route.upstreams.endpoints[index].name)),
            outcome: *outcome,
            connection,
            shard,
            weight,
        });
    })
}
