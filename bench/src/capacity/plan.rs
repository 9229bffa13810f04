//! How many nodes, and why so many.

use serde::Serialize;

use super::Problem;
use super::demand::{Demand, Event, Flow, Lost};
use super::draw::{Random, interval};
use super::load::{FlowCost, Load, Shares};
use super::model::NodeModel;
use super::number::float;
use super::queue::{Stream, flooded, waits};
use super::storm::{Outcome, Storm, Wave};

/// Models that are drawn for intervals.
const DRAWS: usize = 200;
/// Seconds for which a storm is looked at, at least: one with a limit, and one without.
const LOOKED_AT: [f64; 2] = [60.0, 600.0];
/// As many times as long a storm is looked at as it may take.
const BEYOND: f64 = 4.0;
/// Bytes of a GiB.
const GIB: f64 = 1_073_741_824.0;
/// Demands that are larger by more than this are not looked at.
const MOST: f64 = 1_000.0;

/// Where the answers to these questions are among the objectives.
pub(super) const CPU: usize = 0;
pub(super) const MESSAGE: usize = 1;

/// Something that is to hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Objective {
    /// What is to hold.
    pub name: String,
    /// What the model says.
    pub found: f64,
    /// The middle 90 % of what it may be, by the errors of the model.
    pub interval: [f64; 2],
    /// What it may be at most; none when it is only to be known.
    pub limit: Option<f64>,
    /// The unit of these.
    pub unit: &'static str,
    /// How many times the demand saturates it; none when it has no limit.
    pub saturates_at: Option<f64>,
    /// What to change when it does not hold.
    pub advice: &'static str,
}

impl Objective {
    /// Whether it holds for what the model says.
    pub fn holds(&self) -> bool {
        self.limit.is_none_or(|limit| self.found <= limit)
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Nodes, those to spare included.
    pub nodes: usize,
    /// The middle 90 % of the nodes that models need, as they may be; none where no number does.
    pub nodes_interval: [Option<usize>; 2],
    /// Part of the models in which everything holds with these nodes.
    pub confidence: f64,
    /// Cores of all workers.
    pub cores: usize,
    /// Memory of a node in GiB when the spare ones are lost, and what the worst event takes.
    pub memory_gib: f64,
    /// Where the time of the busiest worker goes then.
    pub shares: Shares,
    /// Everything that is to hold or to be known.
    pub objectives: Vec<Objective>,
    /// The objective that a growing demand breaks first.
    pub saturates_first: Option<String>,
    /// Figures of the model that are guesses.
    pub assumed: Vec<String>,
}

impl Plan {
    /// Whether all objectives hold as often as is wanted.
    pub fn holds(&self, demand: &Demand) -> bool {
        self.confidence >= demand.objectives.confidence
            && self.objectives.iter().all(Objective::holds)
    }

    /// What to change when they do not: a line for each objective.
    pub fn advice(&self, demand: &Demand) -> Vec<String> {
        let broken = self.objectives.iter().filter(|objective| !objective.holds());
        let mut lines: Vec<String> = broken
            .map(|objective| {
                let limit = objective.limit.unwrap_or(f64::INFINITY);
                let Objective { name, found, unit, advice, .. } = objective;
                format!("{name}: {found:.3} {unit}, at most {limit}: {advice}")
            })
            .collect();
        if lines.is_empty() && !self.holds(demand) {
            lines.push(format!(
                "everything holds in {:.0} % of the models only: more nodes, a model with smaller \
                 errors, or objectives.confidence below {:.2}",
                self.confidence * 100.0,
                self.confidence
            ));
        }
        lines
    }
}

/// Plans for `demand`: with `nodes` if said, else with the least number that is enough.
///
/// When not even `node.max_nodes` are, the plan is for those, and does not hold.
///
/// # Errors
/// When the model lacks a figure, or no number of nodes could ever do, or this one: what to change.
pub fn plan(model: &NodeModel, demand: &Demand, nodes: Option<usize>) -> Result<Plan, Problem> {
    possible(model, demand)?;
    if let Some(nodes) = nodes.filter(|nodes| *nodes < least(demand)) {
        return Err(Problem::new(format!(
            "{nodes} nodes are too few for objectives.spare_nodes = {} and node.sites = {}: {} at \
             least, more than are to spare and one for each site",
            demand.objectives.spare_nodes,
            demand.node.sites,
            least(demand)
        )));
    }
    let mut random = Random::new(1);
    let models: Vec<NodeModel> = (0..DRAWS).map(|_| random.model(model)).collect();
    let mut needed = Vec::with_capacity(DRAWS);
    for drawn in &models {
        needed.push(self::needed(drawn, demand)?.map_or(f64::INFINITY, float));
    }
    needed.sort_by(f64::total_cmp);
    let max = demand.node.max_nodes;
    let suffices = |nodes: usize| needed.iter().filter(|needed| **needed <= float(nodes)).count();
    let enough =
        |nodes: &usize| float(suffices(*nodes)) >= demand.objectives.confidence * float(DRAWS);
    let central = self::needed(model, demand)?.unwrap_or(max);
    let nodes = nodes.unwrap_or_else(|| (central..=max).find(enough).unwrap_or(max));
    let mut holding = 0usize;
    let mut found = Vec::with_capacity(DRAWS);
    for drawn in &models {
        let objectives = look(drawn, demand, nodes)?;
        holding += usize::from(objectives.iter().all(Objective::holds));
        found.push(objectives.into_iter().map(|objective| objective.found).collect::<Vec<_>>());
    }
    let mut objectives = look(model, demand, nodes)?;
    for (at, objective) in objectives.iter_mut().enumerate() {
        let drawn: Vec<f64> = found.iter().map(|found| found[at]).collect();
        objective.interval = interval(&drawn).unwrap_or([objective.found; 2]);
        objective.saturates_at = saturation(model, demand, nodes, at)?;
    }
    let first = objectives.iter().filter(|objective| objective.saturates_at.is_some());
    let first = first.min_by(|one, other| {
        one.saturates_at.unwrap_or(MOST).total_cmp(&other.saturates_at.unwrap_or(MOST))
    });
    let saturates_first = first.map(|objective| objective.name.clone());
    let survivors = survivors(demand, nodes);
    let whole = |of: f64| (1..=max).find(|nodes| float(*nodes) >= of);
    Ok(Plan {
        nodes,
        nodes_interval: interval(&needed).map_or([None; 2], |ends| ends.map(whole)),
        confidence: float(holding) / float(DRAWS),
        cores: nodes * demand.node.workers,
        memory_gib: memory(model, demand, survivors) / GIB,
        shares: Load::of(model, demand, survivors)?.shares,
        objectives,
        saturates_first,
        assumed: model.assumed(),
    })
}

/// The least number of nodes with which everything holds by this model; none up to the maximum.
///
/// # Errors
/// When the model lacks a figure.
pub fn needed(model: &NodeModel, demand: &Demand) -> Result<Option<usize>, Problem> {
    for nodes in least(demand)..=demand.node.max_nodes {
        // Storms take the longest to look at.
        let cheap = steady(model, demand, nodes)?.iter().all(Objective::holds);
        if cheap && look(model, demand, nodes)?.iter().all(Objective::holds) {
            return Ok(Some(nodes));
        }
    }
    Ok(None)
}

/// Everything that is to hold or to be known with so many nodes.
///
/// # Errors
/// When the model lacks a figure.
pub(super) fn look(
    model: &NodeModel,
    demand: &Demand,
    nodes: usize,
) -> Result<Vec<Objective>, Problem> {
    let mut objectives = steady(model, demand, nodes)?;
    let mut slowest_message = 0.0f64;
    for event in events(demand) {
        let Survived { outcome, message } = storm(model, demand, &event, nodes)?;
        slowest_message = slowest_message.max(message);
        objectives.push(Objective {
            limit: event.within,
            ..objective(
                format!("all connected again: {}", event.name),
                outcome.seconds,
                "s",
                "more node.max_nodes or node.workers, more time (within, reconnect), a shorter retry of \
                 the flows, or more of them resumed",
            )
        });
    }
    objectives.push(Objective {
        limit: demand.objectives.storm_p99_ms,
        ..objective(
            "p99 of a message while all come back".to_owned(),
            slowest_message * 1e3,
            "ms",
            "more objectives.storm_p99_ms, node.max_nodes or node.workers, or keys that take less \
             time",
        )
    });
    Ok(objectives)
}

/// What became of an event.
struct Survived {
    outcome: Outcome,
    /// p99 in seconds of a message of those who are connected.
    message: f64,
}

/// What is to hold all the time, while the spare nodes are lost, and after the worst event.
fn steady(model: &NodeModel, demand: &Demand, nodes: usize) -> Result<Vec<Objective>, Problem> {
    let survivors = survivors(demand, nodes);
    let load = Load::of(model, demand, survivors)?;
    let waits = waits(load.messages, load.handshakes, model.queue.discipline);
    let tail = model.queue.tail;
    let [message, handshake] = match waits.filter(|_| survivors > 0) {
        Some([first, then]) => [
            first.quantile(0.99) * tail.message.value + load.message_seconds,
            then.quantile(0.99) * tail.handshake.value + load.handshake_seconds,
        ],
        None => [f64::INFINITY; 2],
    };
    let cpu = objective(
        "CPU of the busiest worker".to_owned(),
        if survivors > 0 { load.utilisation() * 100.0 } else { f64::INFINITY },
        "%",
        "more node.max_nodes, more node.workers, less headroom, or a smaller demand",
    );
    let p99 = objective(
        "p99 of a message in the gateway".to_owned(),
        message * 1e3,
        "ms",
        "more objectives.p99_ms, more node.max_nodes or node.workers, or fewer handshakes",
    );
    let memory = objective(
        "memory of a node".to_owned(),
        memory(model, demand, survivors) / GIB,
        "GiB",
        "more node.memory_gib or node.max_nodes",
    );
    let handshake = objective("p99 of a handshake's work".to_owned(), handshake * 1e3, "ms", "");
    Ok(vec![
        Objective { limit: Some((1.0 - demand.objectives.headroom) * 100.0), ..cpu },
        Objective { limit: demand.objectives.p99_ms, ..p99 },
        handshake,
        Objective { limit: Some(demand.node.memory_gib), ..memory },
    ])
}

fn objective(name: String, found: f64, unit: &'static str, advice: &'static str) -> Objective {
    let interval = [found; 2];
    Objective { name, found, interval, limit: None, unit, saturates_at: None, advice }
}

/// The least number of nodes that a plan may have: one beyond those to spare, and one for each site.
fn least(demand: &Demand) -> usize {
    demand.node.sites.max(demand.objectives.spare_nodes + 1)
}

/// Nodes that are left when the spare ones are lost.
fn remaining(demand: &Demand, nodes: usize) -> usize {
    nodes.saturating_sub(demand.objectives.spare_nodes)
}

/// Nodes that are left when those that remain lose what an event takes, too; none when it takes all.
fn left(demand: &Demand, nodes: usize, lost: Lost) -> usize {
    let remaining = remaining(demand, nodes);
    match lost {
        Lost::Component => remaining,
        // The only node starts again itself.
        Lost::Node => remaining.saturating_sub(1).max(1),
        // The spare nodes may all have been at other sites.
        Lost::Site => remaining.saturating_sub(nodes.div_ceil(demand.node.sites)),
    }
}

/// Nodes that are left after the worst event of the demand: they serve all there is until what was
/// lost is back. A crash that the demand does not name is what nodes to spare are for.
fn survivors(demand: &Demand, nodes: usize) -> usize {
    let left = demand.events.iter().map(|event| left(demand, nodes, event.lost));
    left.fold(remaining(demand, nodes), usize::min)
}

fn memory(model: &NodeModel, demand: &Demand, nodes: usize) -> f64 {
    let connections = demand.connections() / float(nodes);
    model.memory.node.value + model.memory.connection.value * connections
}

/// Those of the demand, and a crash: with sessions that survive it, and without.
fn events(demand: &Demand) -> Vec<Event> {
    let crash = |name: &str, resumed| Event {
        name: name.to_owned(),
        flows: Vec::new(),
        resumed,
        within: demand.objectives.reconnect,
        lost: Lost::Node,
    };
    let crashes = [
        crash("a node is lost", None),
        Event { within: None, ..crash("a node and the ticket keys are lost", Some(0.0)) },
    ];
    demand.events.iter().cloned().chain(crashes).collect()
}

/// Goes through an event while the spare nodes are lost. Those who come back are the flows that the
/// event names; the CPU that their handshakes have is what the messages of all connections leave, as if
/// all were back already, and the handshakes that there are at any time.
fn storm(
    model: &NodeModel,
    demand: &Demand,
    event: &Event,
    nodes: usize,
) -> Result<Survived, Problem> {
    let (remaining, left) = (remaining(demand, nodes), left(demand, nodes, event.lost));
    let part = match event.lost {
        Lost::Component => 1.0,
        // The only node comes back itself, and with it all connections.
        Lost::Node => 1.0 / float(remaining),
        Lost::Site => float(remaining - left) / float(remaining),
    };
    let (mut waves, mut micros) = (Vec::new(), 0.0);
    for flow in demand.flows.iter().filter(|flow| comes_back(event, flow)) {
        let peers = flow.connections * part;
        let resumed = event.resumed.unwrap_or(flow.tls.resumed);
        micros += peers * FlowCost::of(model, flow)?.connection(flow, resumed);
        waves.push(Wave { peers, spread: flow.spread, retry: flow.retry });
    }
    let load = Load::of(model, demand, left)?;
    let peers = waves.iter().map(|wave| wave.peers).sum::<f64>();
    let workers = float(left * demand.node.workers);
    let seconds = micros / peers / 1e6 * model.contention.slowdown(demand.node.workers);
    let storm = Storm {
        waves,
        capacity: workers * (1.0 - load.utilisation()).max(0.0) / seconds,
        patience: demand.node.admission_wait,
    };
    let outcome = storm.run(limit(event, &storm));
    if left == 0 {
        return Ok(Survived { outcome, message: f64::INFINITY });
    }
    let rate = storm.waves.iter().map(Wave::rate).sum::<f64>() / workers;
    let coming = Stream::of(rate, seconds, model.queue.variability.value).plus(load.handshakes);
    let discipline = model.queue.discipline;
    let wait = match waits(load.messages, coming, discipline) {
        Some([first, _]) => first.quantile(0.99),
        None if load.messages.utilisation() >= 1.0 => f64::INFINITY,
        // First come, first served, they wait as long as those who come back.
        None => flooded(load.messages, coming, discipline)
            .map_or(outcome.longest_wait, |wait| wait.quantile(0.99)),
    };
    Ok(Survived { outcome, message: wait + load.message_seconds })
}

/// Seconds after which a storm that is not over counts as one that does not end: well beyond what it
/// may take, and beyond what those who come last, and once more, make of it.
fn limit(event: &Event, storm: &Storm) -> f64 {
    let spread = storm.spread();
    let retry = storm.waves.iter().map(|wave| wave.retry).fold(0.0, f64::max);
    match event.within {
        Some(within) => (BEYOND * within.max(spread)).max(LOOKED_AT[0]),
        None => (BEYOND * (spread + retry)).max(LOOKED_AT[1]),
    }
}

fn comes_back(event: &Event, flow: &Flow) -> bool {
    event.flows.is_empty() || event.flows.contains(&flow.name)
}

/// How many times the demand breaks the objective at `at`, to a thousandth; none when none does.
fn saturation(
    model: &NodeModel,
    demand: &Demand,
    nodes: usize,
    at: usize,
) -> Result<Option<f64>, Problem> {
    let holds = |factor: f64| -> Result<bool, Problem> {
        let looked = look(model, &demand.scaled(factor), nodes)?;
        Ok(looked[at].limit.is_some() && looked[at].holds())
    };
    if look(model, demand, nodes)?[at].limit.is_none() || holds(MOST)? {
        return Ok(None);
    }
    let (mut low, mut high) = (0.0, MOST);
    while high - low > 0.001 * high.max(0.01) {
        let middle = f64::midpoint(low, high);
        if holds(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Some(low))
}

/// What no number of nodes could do.
fn possible(model: &NodeModel, demand: &Demand) -> Result<(), Problem> {
    let mut mistakes = Vec::new();
    let slowdown = model.contention.slowdown(demand.node.workers);
    let alone = demand.objectives;
    let mut fastest = f64::INFINITY;
    for flow in &demand.flows {
        let cost = FlowCost::of(model, flow)?;
        let each = (0..2).map(|at| flow.messages[at] * cost.message[at]).sum::<f64>();
        let busy = each * slowdown / 1e6;
        if busy > 1.0 - alone.headroom {
            mistakes.push(format!(
                "flow {}: each connection takes {:.0} % of a worker, and {:.0} % are to stay free: \
                 spread it over more connections (count), or lower messages_down, messages_up or \
                 objectives.headroom",
                flow.name,
                busy * 100.0,
                alone.headroom * 100.0
            ));
        }
        fastest = fastest.min(cost.message[0].min(cost.message[1]) * slowdown / 1e3);
    }
    if let Some(p99) = alone.p99_ms.filter(|p99| *p99 < fastest) {
        mistakes.push(format!(
            "objectives.p99_ms = {p99} is less than the {fastest:.4} ms that a message takes when \
             nothing waits: raise it above that"
        ));
    }
    if demand.objectives.spare_nodes >= demand.node.max_nodes {
        mistakes.push(format!(
            "objectives.spare_nodes = {} leaves none of node.max_nodes = {}: raise node.max_nodes",
            demand.objectives.spare_nodes, demand.node.max_nodes
        ));
    }
    if demand.node.sites > demand.node.max_nodes {
        mistakes.push(format!(
            "node.max_nodes = {} leaves some of node.sites = {} without a node: raise node.max_nodes",
            demand.node.max_nodes, demand.node.sites
        ));
    }
    let own = model.memory.node.value / GIB;
    if own >= demand.node.memory_gib {
        mistakes.push(format!(
            "node.memory_gib = {} is less than the {own:.2} GiB of a node without connections: \
             raise it",
            demand.node.memory_gib
        ));
    }
    for event in events(demand) {
        let back = demand.flows.iter().filter(|flow| comes_back(&event, flow));
        let slowest = back.map(|flow| flow.spread).fold(0.0, f64::max);
        if let Some(within) = event.within.filter(|within| *within < slowest) {
            mistakes.push(format!(
                "event {}: all are to be connected again within {within} s, but come back over \
                 {slowest} s: raise within (objectives.reconnect), or lower the flow's spread",
                event.name
            ));
        }
    }
    Problem::unless_empty(mistakes)
}

#[cfg(test)]
mod tests;
