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
    assert!(low <= plan.nodes && plan.nodes <= high, "{plan:?}");
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

/// Two sites, no nodes to spare, and nothing but handshakes.
fn quiet_sites() -> Demand {
    let mut sites = changed("workers = 4", "workers = 4\nsites = 2").scaled(10.0);
    sites.objectives.spare_nodes = 0;
    for flow in &mut sites.flows {
        (flow.messages, flow.start) = ([0.0; 2], [0.0; 2]);
    }
    sites
}

fn event(lost: Lost) -> Event {
    Event { name: "it".to_owned(), flows: Vec::new(), resumed: Some(0.0), within: None, lost }
}

#[test]
fn a_site_and_its_nodes_are_lost_together() {
    let sites = quiet_sites();
    let of =
        |lost, nodes| storm(&model(), &sites, &event(lost), nodes).expect("all figures").outcome;
    assert!(of(Lost::Site, 4).seconds > of(Lost::Node, 4).seconds);
    assert!(of(Lost::Site, 4).seconds > of(Lost::Site, 8).seconds);
    let alone = of(Lost::Node, 1);
    assert!(alone.seconds.is_finite() && alone.seconds > of(Lost::Node, 4).seconds);
    // Nobody is left to serve them, and only a node that crashes starts again by itself.
    assert!(of(Lost::Site, 1).seconds.is_infinite());
}

#[test]
fn events_come_while_the_spare_nodes_are_lost() {
    let sites = quiet_sites();
    let mut spare = sites.clone();
    spare.objectives.spare_nodes = 1;
    let of = |demand: &Demand, lost, nodes| {
        storm(&model(), demand, &event(lost), nodes).expect("all figures").outcome
    };
    assert_eq!(of(&spare, Lost::Node, 4), of(&sites, Lost::Node, 3));
    assert_eq!(of(&spare, Lost::Component, 4), of(&sites, Lost::Component, 3));
    // The other site has two nodes, one of which is lost already.
    assert_eq!([4, 5, 6].map(|nodes| left(&spare, nodes, Lost::Site)), [1, 1, 2]);
    assert_eq!(left(&spare, 3, Lost::Site), 0);
    assert!(of(&spare, Lost::Site, 3).seconds.is_infinite());
}

#[test]
fn survivors_of_a_lost_site_serve_all_there_is() {
    let (model, mut without) = (model(), changed("workers = 4", "workers = 4\nsites = 2"));
    // Too little for all connections, which two nodes hold.
    without.node.memory_gib = 0.2;
    let mut with = without.clone();
    with.events.push(Event { resumed: None, ..event(Lost::Site) });
    let of = |demand: &Demand, nodes| steady(&model, demand, nodes).expect("all figures");
    assert_eq!(of(&with, 6), of(&without, 3), "two are left");
    let found: Vec<f64> = of(&with, 3).iter().map(|objective| objective.found).collect();
    assert!(found.iter().all(|found| found.is_infinite()), "none is left: {found:?}");
    let needed = |demand: &Demand| needed(&model, demand).expect("all figures").expect("enough");
    assert_eq!((needed(&with), needed(&without)), (6, 4), "the spare one and a site of three");
}

#[test]
fn ordinary_handshakes_take_their_part_of_the_cpu() {
    let mut demand = quiet_sites();
    // Nobody is refused, so time is work by what is free for it.
    demand.node.admission_wait = 60.0;
    let of = |demand: &Demand| {
        storm(&model(), demand, &event(Lost::Component), 4).expect("all figures").outcome.seconds
    };
    let before = of(&demand);
    let load = Load::of(&model(), &demand, 4).expect("all figures");
    let factor = 0.5 / load.handshakes.utilisation();
    demand.flows.iter_mut().for_each(|flow| flow.rate *= factor);
    let after = of(&demand);
    assert!((1.8..2.3).contains(&(after / before)), "{before} s, {after} s with half of the CPU");
}

#[test]
fn a_storm_may_take_as_long_as_it_is_allowed_to() {
    let mut demand = quiet_sites();
    demand.flows.iter_mut().for_each(|flow| flow.spread = 1_800.0);
    let of = |within| {
        let event = Event { within, ..event(Lost::Component) };
        storm(&model(), &demand, &event, 4).expect("all figures").outcome.seconds
    };
    for seconds in [of(Some(3_600.0)), of(None)] {
        assert!((1_790.0..1_810.0).contains(&seconds), "{seconds}");
    }
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
    let text = refused("workers = 4", "workers = 4\nsites = 17");
    assert!(text.contains("node.max_nodes = 16 leaves some of node.sites = 17"), "{text}");
    let sites = changed("workers = 4", "workers = 4\nsites = 3");
    for (demand, nodes, least) in [(demand(), 1, "2 at least"), (sites, 2, "3 at least")] {
        let text = super::plan(&model(), &demand, Some(nodes)).expect_err("too few").to_string();
        assert!(text.contains("are too few") && text.contains(least), "{text}");
    }
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
