//! Plans of the example, and of demands that cannot be met.

use super::super::demand::Demand;
use super::super::model::Discipline;
use super::super::test_data::{DEMAND, demand, model};
use super::*;

fn changed(from: &str, to: &str) -> Demand {
    assert!(DEMAND.contains(from), "{from}");
    Demand::parse(&DEMAND.replacen(from, to, 1)).expect(to)
}

fn refused(from: &str, to: &str) -> String {
    let demand = changed(from, to);
    super::plan(&model(), &demand, None).expect_err(to).to_string()
}

#[test]
fn the_example_has_a_plan_that_holds() {
    let (model, demand) = (model(), demand());
    let plan = super::plan(&model, &demand, None).expect("possible");
    assert!(plan.holds(&demand) && plan.advice(&demand).is_empty(), "{plan:?}");
    assert!(plan.confidence >= 0.9 && plan.cores == plan.nodes * 4, "{plan:?}");
    let less = super::plan(&model, &demand, Some(plan.nodes - 1)).expect("possible");
    assert!(!less.holds(&demand) && !less.advice(&demand).is_empty(), "{less:?}");
    for objective in &plan.objectives {
        let [low, high] = objective.interval;
        assert!(low <= high && objective.found >= 0.0, "{objective:?}");
        assert!((0.9 * low..=1.1 * high).contains(&objective.found), "{objective:?}");
        assert!(objective.saturates_at.is_none_or(|factor| factor >= 1.0), "{objective:?}");
    }
    assert!(plan.saturates_first.is_some(), "{plan:?}");
    let [low, high] = plan.nodes_interval.map(|end| end.expect("a number"));
    assert!(low <= plan.nodes && plan.nodes <= high.max(plan.nodes), "{plan:?}");
    assert_eq!(super::plan(&model, &demand, None).expect("possible"), plan, "draws repeat");
}

#[test]
fn what_saturates_first_does_so_where_it_is_said() {
    let (model, demand) = (model(), demand());
    let plan = super::plan(&model, &demand, None).expect("possible");
    let factors = plan.objectives.iter().filter_map(|objective| objective.saturates_at);
    let first = factors.fold(f64::INFINITY, f64::min);
    let holds = |factor: f64| {
        let looked = look(&model, &demand.scaled(factor), plan.nodes).expect("all figures");
        looked.iter().all(Objective::holds)
    };
    assert!(holds(first * 0.98) && !holds(first * 1.05), "{first}");
    // Memory alone: connections that do next to nothing.
    let mut idle = changed("memory_gib = 8", "memory_gib = 1");
    for flow in &mut idle.flows {
        (flow.messages, flow.start, flow.rate) = ([0.0; 2], [0.0; 2], 0.001);
        flow.spread = 5.0;
    }
    idle.objectives.reconnect = None;
    idle.events.clear();
    let idle = idle.scaled(3.0);
    let plan = super::plan(&model, &idle, None).expect("possible");
    assert_eq!(plan.saturates_first.as_deref(), Some("memory of a node"), "{plan:?}");
}

#[test]
fn more_of_anything_needs_no_fewer_nodes() {
    let model = model();
    let mut before = 0;
    for factor in [0.25, 0.5, 1.0, 2.0, 3.0] {
        let nodes = needed(&model, &demand().scaled(factor)).expect("all figures").unwrap_or(999);
        assert!(nodes >= before, "{factor}: {nodes} after {before}");
        before = nodes;
    }
    assert!(before > 2, "{before}");
}

#[test]
fn a_site_and_its_nodes_are_lost_together() {
    let mut sites = changed("workers = 4", "workers = 4\nsites = 2").scaled(10.0);
    for flow in &mut sites.flows {
        (flow.messages, flow.start) = ([0.0; 2], [0.0; 2]);
    }
    let event = |lost| Event {
        name: "it".to_owned(),
        flows: Vec::new(),
        resumed: Some(0.0),
        within: None,
        lost,
    };
    let of =
        |lost, nodes| storm(&model(), &sites, &event(lost), nodes).expect("all figures").outcome;
    assert!(of(Lost::Site, 4).seconds > of(Lost::Node, 4).seconds);
    assert!(of(Lost::Site, 4).seconds > of(Lost::Site, 8).seconds);
    let alone = of(Lost::Node, 1);
    assert!(alone.seconds.is_finite() && alone.seconds > of(Lost::Node, 4).seconds);
}

#[test]
fn impossible_demands_say_what_to_change() {
    let text = refused("\np99_ms = 1 ", "\np99_ms = 0.001 ");
    assert!(text.contains("objectives.p99_ms = 0.001 is less than the 0.0"), "{text}");
    assert!(text.contains("raise it"), "{text}");
    let text = refused("count = 50", "count = 50\nmessages_down = 100000");
    assert!(text.contains("flow servers: each connection takes"), "{text}");
    assert!(text.contains("spread it over more connections"), "{text}");
    let text = refused("within = 10", "within = 1");
    assert!(text.contains("event T-Server switches over"), "{text}");
    assert!(text.contains("come back over 2 s: raise within"), "{text}");
    let text = refused("memory_gib = 8", "memory_gib = 0.01");
    assert!(text.contains("node.memory_gib = 0.01 is less than the 0.03 GiB"), "{text}");
    let text = refused("spare_nodes = 1 ", "spare_nodes = 16 ");
    assert!(text.contains("raise node.max_nodes"), "{text}");
}

#[test]
fn too_few_nodes_say_which_objective_breaks_and_what_to_change() {
    let demand = changed("max_nodes = 16", "max_nodes = 2");
    let plan = super::plan(&model(), &demand, None).expect("not impossible");
    let advice = plan.advice(&demand).join("\n");
    assert!(plan.nodes == 2 && !plan.holds(&demand), "{plan:?}");
    assert!(advice.contains("again: a node is lost") && advice.contains("max_nodes"), "{advice}");
    assert_eq!(plan.nodes_interval[1], None, "{plan:?}");
}

#[test]
fn a_storm_delays_messages_by_one_handshake_where_they_are_first() {
    let demand = demand().scaled(1.5);
    let of = |discipline| {
        let mut model = model();
        model.queue.discipline = discipline;
        let looked = look(&model, &demand, 2).expect("all figures");
        looked.last().expect("it is the last").found
    };
    let [first, fifo] = [Discipline::MessagesFirst, Discipline::Fifo].map(of);
    assert!((0.1..3.0).contains(&first), "{first} ms");
    assert!(fifo > 100.0, "{fifo} ms");
}
