//! One run of one seed: the shard between a kernel, peers and components that are all made up.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Once};
use std::time::Duration;

use tlsgate::admission::hello_budget::HelloBudget;
use tlsgate::config::model::Keepalive;
use tlsgate::conn::outcome::Outcome;
use tlsgate::engine::sim::SimEngine;
use tlsgate::engine::sim::hostility::Hostility;
use tlsgate::engine::sim::network::SimClock;
use tlsgate::engine::sim::rng::Rng;
use tlsgate::engine::sim::trace::{Entry, Trace, What};
use tlsgate::engine::{Address, ListenerId};
use tlsgate::policy::{ListenerPolicy, Policy};
use tlsgate::shard::mailbox::mailbox;
use tlsgate::shard::{Finished, Parts, Shard};
use tlsgate::telemetry::aggregator::answer_channel;
use tlsgate::telemetry::{ShardCounters, ShardGauges, ShardTelemetry};
use tlsgate::time::Time;

use crate::bug::{Bug, Buggy};
use crate::checks;
use crate::outside::{Others, World};
use crate::plan::{ListenerPlan, Plan};
use crate::tls::Maker;

/// What a run has shown.
pub struct Run {
    pub trace: Vec<Entry>,
    pub findings: Vec<String>,
    pub finishes: Vec<Finish>,
    pub starvations: u64,
    /// Situations that it came through.
    pub landmarks: BTreeSet<&'static str>,
}

/// The end of a connection.
pub struct Finish {
    /// Entries of the trace before it.
    pub position: usize,
    pub outcome: Outcome,
}

/// What the shard said of itself when it was done.
pub struct Books {
    pub counters: ShardCounters,
    pub gauges: ShardGauges,
    pub hello_bytes: usize,
    pub open_connections: usize,
}

/// Runs `seed`, with `bug` built in.
pub fn run(seed: u64, bug: Option<Bug>) -> Run {
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
        landmarks: BTreeSet::new(),
    };
    match caught {
        Ok(Played { world, books, findings, starvations }) => {
            run.findings = findings;
            run.starvations = starvations;
            checks::check(&plan, &world, &books, &mut run);
        }
        Err(panic) => run.findings.push(format!("panic: {panic}")),
    }
    run
}

/// Everything in its place before the first turn.
struct Stage {
    shard: Shard<Buggy<World>>,
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
        let others = Others { commands, admitted: Arc::clone(&admitted) };
        let mut policy = None;
        let engine = SimEngine::new(rng.number(), hostility, plan.buffer_memory, |network| {
            let mut maker = Maker::new(seed, plan.session_lifetime, network.clock());
            policy = Some(policy_of(plan, &mut maker));
            World::new(plan, rng.fork(), maker, others, network)
        });
        let policy = Arc::new(policy.expect("made with the engine"));
        let (clock, trace) = (engine.network().clock(), engine.network().trace());
        let finishes = Rc::new(RefCell::new(Vec::new()));
        let names = policy.listeners.iter().map(|listener| Arc::clone(&listener.name)).collect();
        let (answers, _inbox) = answer_channel(1);
        let shard = Shard::new(Parts {
            id: 0,
            engine: Buggy::new(engine, bug, rng.fork()),
            policy,
            capacity: plan.capacity,
            admitted,
            max_connections: plan.max_connections,
            hellos: HelloBudget::new(plan.hellos.0, plan.hellos.1),
            telemetry: ShardTelemetry::new(0, names),
            answers,
            mailbox,
            on_finish: recorder(&finishes, clock.clone(), trace.clone()),
        });
        Self { shard, clock, trace, finishes }
    }

    /// Takes turns until the shard is done.
    fn play(mut self) -> Played {
        let mut findings = Vec::new();
        let ports = self.shard.engine().sim().outside().ports.clone();
        for (index, port) in ports.into_iter().enumerate() {
            let id = ListenerId(u32::try_from(index).expect("a few listeners"));
            self.shard.listen(id, port).expect("nothing to fail");
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
            open_connections: self.shard.open_connections(),
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
        finishes.borrow_mut().push(Finish { position, outcome: *finished.outcome });
    })
}

fn policy_of(plan: &Plan, maker: &mut Maker) -> Policy {
    let listeners = plan.listeners.iter().enumerate();
    Policy { listeners: listeners.map(|(index, plan)| listener(index, plan, maker)).collect() }
}

fn listener(index: usize, plan: &ListenerPlan, maker: &mut Maker) -> Arc<ListenerPolicy> {
    let upstreams: Vec<Address> = (1..=plan.endpoints)
        .map(|last| Address::Tcp(([192, 0, 2, u8::try_from(last).expect("a few")], 5060).into()))
        .collect();
    Arc::new(ListenerPolicy {
        index,
        name: format!("listener {index}").into(),
        tls: maker.server(&plan.tls),
        connect: plan.connect,
        timeouts: plan.timeouts,
        keepalive: Keepalive {
            idle: None,
            interval: Duration::from_secs(1),
            probes: 1,
            user_timeout: Duration::ZERO,
        },
        upstream_names: upstreams.iter().map(|address| address.to_string().into()).collect(),
        upstreams,
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
