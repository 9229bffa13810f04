//! One run of one seed: the shard between a kernel, peers and components that are all made up.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Once};
use std::time::Duration;

use tlsgate::admission::hello_budget::HelloBudget;
use tlsgate::audit::ShardCensus;
use tlsgate::conn::outcome::Outcome;
use tlsgate::engine::sim::SimEngine;
use tlsgate::engine::sim::hostility::Hostility;
use tlsgate::engine::sim::network::SimClock;
use tlsgate::engine::sim::ports::Socket;
use tlsgate::engine::sim::rng::Rng;
use tlsgate::engine::sim::trace::{Entry, Trace, What};
use tlsgate::policy::ListenerPolicy;
use tlsgate::shard::mailbox::{BoundId, mailbox};
use tlsgate::shard::{Finished, Parts, Shard};
use tlsgate::telemetry::aggregator::answer_channel;
use tlsgate::telemetry::{ShardCounters, ShardGauges, ShardTelemetry};
use tlsgate::time::Time;

use crate::bug::{Bug, Buggy};
use crate::checks;
use crate::outside::{Others, World};
use crate::plan::Plan;
use crate::policies::Policies;
use crate::tls::Maker;

/// What a run has shown.
pub(crate) struct Run {
    pub(crate) trace: Vec<Entry>,
    pub(crate) findings: Vec<String>,
    pub(crate) finishes: Vec<Finish>,
    pub(crate) starvations: u64,
    /// Connections that were turned away.
    pub(crate) refused: u64,
    /// Situations that it came through.
    pub(crate) landmarks: BTreeSet<&'static str>,
}

/// The end of a connection.
pub(crate) struct Finish {
    /// Entries of the trace before it.
    pub(crate) position: usize,
    pub(crate) outcome: Outcome,
    /// What it was admitted under.
    pub(crate) policy: Arc<ListenerPolicy>,
}

/// What the shard said of itself when it was done.
pub(crate) struct Books {
    pub(crate) counters: ShardCounters,
    pub(crate) gauges: ShardGauges,
    pub(crate) hello_bytes: usize,
    /// Steps that wait, and handshakes in progress.
    pub(crate) handshakes: (usize, u32),
    pub(crate) open_connections: usize,
    /// Number of each, and its connections.
    pub(crate) generations: Vec<(u64, u64)>,
    pub(crate) census: ShardCensus,
}

/// Runs `seed`, with `bug` built in.
pub(crate) fn run(seed: u64, bug: Option<Bug>) -> Run {
    let mut rng = Rng::new(seed);
    let hostility = Hostility::drawn(&mut rng.fork());
    let plan = Plan::drawn(&mut rng.fork());
    let stage = Stage::new(seed, hostility, &plan, bug, &mut rng);
    let (trace, finishes) = (stage.trace.clone(), Rc::clone(&stage.finishes));
    let caught = catch(|| stage.play());
    let mut run = Run {
        trace: trace.take(),
        findings: Vec::new(),
        finishes: finishes.take(),
        starvations: 0,
        refused: 0,
        landmarks: BTreeSet::new(),
    };
    match caught {
        Ok(Played { world, books, findings, starvations }) => {
            run.findings = findings;
            run.starvations = starvations;
            run.refused = books.counters.refused.iter().sum();
            checks::check(&plan, &world, &books, &mut run);
        }
        Err(panic) => run.findings.push(format!("panic: {panic}")),
    }
    run
}

/// Everything in its place before the first turn.
struct Stage {
    shard: Shard<Buggy<World>>,
    /// Sockets of the first configuration, with their listeners' positions.
    first: Vec<(BoundId, Socket, usize)>,
    clock: SimClock,
    trace: Trace,
    finishes: Rc<RefCell<Vec<Finish>>>,
}

struct Played {
    world: World,
    books: Books,
    findings: Vec<String>,
    starvations: u64,
}

impl Stage {
    fn new(seed: u64, hostility: Hostility, plan: &Plan, bug: Option<Bug>, rng: &mut Rng) -> Self {
        let (mailbox, commands) = mailbox();
        let admitted = Arc::new(AtomicU32::new(0));
        let max_connections = plan.max_connections;
        let others =
            Others { commands, admitted: Arc::clone(&admitted), max_connections, count: 0 };
        let mut first = None;
        let engine = SimEngine::new(rng.number(), hostility, plan.buffer_memory, |network| {
            let maker = Maker::new(seed, plan.session_lifetime, network.clock());
            let mut policies = Policies::new(maker);
            let policy = policies.next(&plan.configurations[0]);
            let names = policies.names();
            let mut world = World::new(plan, rng.fork(), policies, others, network);
            first = Some((policy, names, world.bind(&plan.configurations[0], network)));
            world
        });
        let (policy, names, bindings) = first.expect("made with the engine");
        let (clock, trace) = (engine.network().clock(), engine.network().trace());
        let finishes = Rc::new(RefCell::new(Vec::new()));
        let (answers, _inbox) = answer_channel(1);
        let shard = Shard::new(Parts {
            id: 0,
            process: 0,
            engine: Buggy::new(engine, bug, rng.fork()),
            policy,
            capacity: plan.capacity,
            admitted,
            max_connections,
            hellos: HelloBudget::new(plan.hellos.0, plan.hellos.1),
            handshakes: plan.handshakes,
            telemetry: ShardTelemetry::new(0, names),
            answers,
            mailbox,
            door: tlsgate::lane::Door::default(),
            on_finish: recorder(&finishes, clock.clone(), trace.clone()),
        });
        let sockets = bindings.open.into_iter().zip(bindings.serves);
        let first = sockets.map(|((id, socket), (_, position))| (id, socket, position)).collect();
        Self { shard, first, clock, trace, finishes }
    }

    /// Takes turns until the shard is done.
    fn play(mut self) -> Played {
        let mut findings = Vec::new();
        for (id, socket, position) in self.first {
            self.shard.listen(id, socket, position).expect("only reloads meet with failures");
        }
        let mut turns = 0;
        while !self.shard.is_done() {
            turns += 1;
            if let Err(error) = self.shard.turn() {
                findings.push(format!("lost wake-up: {error}"));
                break;
            }
            if turns > MOST_TURNS || self.clock.now() > Time::ZERO + MOST_TIME {
                let open = self.shard.open_connections();
                findings.push(format!("does not end: {open} connections after {turns} turns"));
                break;
            }
        }
        let books = Books {
            counters: self.shard.telemetry().counters().clone(),
            gauges: self.shard.telemetry().gauges(),
            hello_bytes: self.shard.hello_bytes(),
            handshakes: self.shard.handshakes(),
            open_connections: self.shard.open_connections(),
            generations: self.shard.generations(),
            census: self.shard.census(),
        };
        let stats = tlsgate::engine::Engine::stats(self.shard.engine());
        let (world, left) = self.shard.into_engine().into_sim().end();
        findings.extend(left);
        Played { world, books, findings, starvations: stats.starvations }
    }
}

fn recorder(
    finishes: &Rc<RefCell<Vec<Finish>>>,
    clock: SimClock,
    trace: Trace,
) -> Box<dyn FnMut(Finished)> {
    let finishes = Rc::clone(finishes);
    Box::new(move |finished| {
        let position = trace.len();
        trace.add(
            clock.now(),
            What::Note(format!("#{} {:?}", finished.connection, finished.outcome)),
        );
        let Finished { outcome, policy, .. } = finished;
        finishes.borrow_mut().push(Finish { position, outcome: *outcome, policy });
    })
}

thread_local! {
    /// What the panic on this thread said; `None` while panics are nobody's but the test's.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Turns a panic into a finding that says where it came from.
fn catch<T>(play: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let caught = PANIC.with_borrow_mut(|panic| {
                panic.as_mut().map(|text| *text = info.to_string()).is_some()
            });
            if !caught {
                usual(info);
            }
        }));
    });
    PANIC.set(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(play));
    let text = PANIC.take().unwrap_or_default();
    result.map_err(|_payload| text)
}

/// More than any run takes: about ten thousand.
const MOST_TURNS: usize = 1_000_000;
/// Virtual time: more than the hour of the longest plan, and all timeouts.
const MOST_TIME: Duration = Duration::from_secs(5000);
