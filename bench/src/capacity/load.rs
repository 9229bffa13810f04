//! What a demand costs the busiest worker of a node.
//!
//! Connections spread evenly over workers, but whole ones: of 50 connections on 12 workers some has
//! 5, which is what is planned for. No worker has the bad luck of all flows at once: above the mean it
//! has what rounding up adds, the heaviest connections first, and no more than the heaviest one takes.

use serde::Serialize;

use super::Problem;
use super::demand::{Demand, Flow, Group, Key, Version};
use super::model::{Cost, NodeModel, RECORD_BYTES};
use super::number::float;
use super::queue::Stream;

/// Part of a worker's time by what it is spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shares {
    /// Full handshakes, with accept, dial and close.
    pub full: f64,
    /// Resumed handshakes, with the same.
    pub resumed: f64,
    /// Messages.
    pub messages: f64,
    /// What connections begin with.
    pub bulk: f64,
}

/// The busiest worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Messages, and the records of bulk.
    pub messages: Stream,
    /// Handshakes, in one piece each.
    pub handshakes: Stream,
    /// Where the time goes.
    pub shares: Shares,
    /// Mean CPU time of a message alone, in seconds.
    pub message_seconds: f64,
    /// Mean CPU time of a handshake, in seconds.
    pub handshake_seconds: f64,
}

impl Load {
    /// Of `demand` on `nodes` nodes.
    ///
    /// # Errors
    /// When the model lacks a figure.
    pub fn of(model: &NodeModel, demand: &Demand, nodes: usize) -> Result<Self, Problem> {
        let workers = demand.node.workers;
        let slowdown = model.contention.slowdown(workers);
        let all_workers = float(workers * nodes.max(1));
        let costs: Vec<FlowCost> =
            demand.flows.iter().map(|flow| FlowCost::of(model, flow)).collect::<Result<_, _>>()?;
        let mut load = Self::default();
        let mut only_messages = Stream::default();
        let here = busiest(&demand.flows, &costs, all_workers);
        for ((flow, cost), here) in demand.flows.iter().zip(&costs).zip(here) {
            let rate = flow.rate * here / flow.connections.max(1.0);
            let add = |rate: f64, micros: f64| {
                let stream =
                    Stream::of(rate, micros * slowdown / 1e6, model.queue.variability.value);
                (stream, stream.utilisation())
            };
            let (full, share) = add(rate * (1.0 - flow.tls.resumed), cost.full);
            load.shares.full += share;
            let (resumed, share) = add(rate * flow.tls.resumed, cost.resumed);
            load.shares.resumed += share;
            load.handshakes = load.handshakes.plus(full).plus(resumed);
            for at in [0, 1] {
                let (messages, share) = add(here * flow.messages[at], cost.message[at]);
                load.shares.messages += share;
                only_messages = only_messages.plus(messages);
                let records = flow.start[at] / RECORD_BYTES;
                let (bulk, share) = add(rate * records, cost.bulk_record[at]);
                load.shares.bulk += share;
                load.messages = load.messages.plus(messages).plus(bulk);
            }
        }
        load.message_seconds = only_messages.mean();
        load.handshake_seconds = load.handshakes.mean();
        Ok(load)
    }

    /// Part of the worker's time that is used; above 1 it does not suffice.
    pub fn utilisation(&self) -> f64 {
        self.messages.plus(self.handshakes).utilisation()
    }
}

/// Connections of each flow at the busiest worker.
fn busiest(flows: &[Flow], costs: &[FlowCost], workers: f64) -> Vec<f64> {
    let mut here: Vec<f64> = flows.iter().map(|flow| flow.connections / workers).collect();
    let weight = |at: usize| costs[at].each(&flows[at]);
    let mut order: Vec<usize> = (0..flows.len()).collect();
    order.sort_by(|one, other| weight(*other).total_cmp(&weight(*one)));
    let mut rest = order.first().map_or(0.0, |heaviest| weight(*heaviest));
    for at in order {
        let (weight, missing) = (weight(at), here[at].ceil() - here[at]);
        let more = if weight > 0.0 { missing.min(rest / weight) } else { missing };
        here[at] += more;
        rest = (rest - more * weight).max(0.0);
    }
    here
}

/// CPU time in µs of what a flow does, for a worker that is alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowCost {
    /// A full handshake.
    pub full: f64,
    /// A resumed handshake.
    pub resumed: f64,
    /// A message, from the component and from the peer.
    pub message: [f64; 2],
    /// A record of bulk, in these directions.
    pub bulk_record: [f64; 2],
}

impl FlowCost {
    /// # Errors
    /// When the model lacks a figure that the flow needs.
    pub fn of(model: &NodeModel, flow: &Flow) -> Result<Self, Problem> {
        let sum = |costs: &[(bool, Cost)]| -> Result<f64, Problem> {
            let needed = costs.iter().filter(|(needed, _)| *needed);
            needed.map(|(_, cost)| model.cost(*cost)).sum()
        };
        let tls = flow.tls;
        let (full, resumed) = match tls.version {
            Version::V12 => (Cost::FullTls12, Cost::ResumedTls12),
            Version::V13 => (Cost::FullTls13, Cost::ResumedTls13),
        };
        let hybrid = tls.group == Group::X25519Mlkem768;
        let byte = [model.cost(Cost::ByteDown)?, model.cost(Cost::ByteUp)?];
        let record = model.cost(Cost::Record)?;
        let message = model.cost(Cost::Message)?;
        let of_message = |at: usize| {
            let more = (flow.sizes[at] / RECORD_BYTES).ceil() - 1.0;
            message + more * record + flow.sizes[at] * byte[at]
        };
        Ok(Self {
            full: sum(&[
                (true, full),
                (tls.key == Key::Rsa2048, Cost::Rsa2048),
                (tls.mutual, Cost::MutualFull),
                (hybrid, Cost::Mlkem768),
            ])?,
            // A resumed TLS 1.3 handshake exchanges keys, too (RFC 8446 section 2.2).
            resumed: sum(&[
                (true, resumed),
                (tls.mutual, Cost::MutualResumed),
                (hybrid, Cost::Mlkem768),
            ])?,
            message: [of_message(0), of_message(1)],
            bulk_record: byte.map(|byte| record + RECORD_BYTES * byte),
        })
    }

    /// What one connection takes each second, in µs.
    fn each(&self, flow: &Flow) -> f64 {
        let messages: f64 = (0..2).map(|at| flow.messages[at] * self.message[at]).sum();
        let rate = flow.rate / flow.connections.max(1.0);
        messages + rate * self.connection(flow, flow.tls.resumed)
    }

    /// A new connection in µs with what it begins with, when the part `resumed` can resume.
    pub fn connection(&self, flow: &Flow, resumed: f64) -> f64 {
        let bulk = [0, 1].map(|at| flow.start[at] / RECORD_BYTES * self.bulk_record[at]);
        self.full * (1.0 - resumed) + self.resumed * resumed + bulk[0] + bulk[1]
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{demand, model};
    use super::*;

    fn only(name: &str) -> Demand {
        let mut demand = demand();
        demand.flows.retain(|flow| flow.name == name);
        demand
    }

    #[test]
    fn time_is_counts_times_costs() {
        let mut model = model();
        model.contention = Default::default();
        let demand = only("monitoring");
        // 200 connections on 4 workers; 20 a second, one in ten full, one message each way.
        let load = Load::of(&model, &demand, 1).expect("all figures");
        let (full, resumed) = (5.0 * 0.1 * 204e-6, 5.0 * 0.9 * 166e-6);
        let message = 50.0 * (2.0 * 9.5 + 500.0 * 0.00075 + 200.0 * 0.00063) * 1e-6;
        assert!((load.shares.full - full).abs() < 1e-12, "{load:?}");
        assert!((load.shares.resumed - resumed).abs() < 1e-12, "{load:?}");
        assert!((load.shares.messages - message).abs() < 1e-12, "{load:?}");
        assert!((load.utilisation() - full - resumed - message).abs() < 1e-12);
        let half = Load::of(&model, &demand, 2).expect("all figures");
        assert!((half.utilisation() * 2.0 - load.utilisation()).abs() < 1e-12);
    }

    #[test]
    fn choices_add_their_parts() {
        let model = model();
        let mut flow = only("agents").flows.remove(0);
        let plain = FlowCost::of(&model, &flow).expect("all figures");
        flow.tls.key = Key::Rsa2048;
        flow.tls.mutual = true;
        flow.tls.group = Group::X25519Mlkem768;
        let all = FlowCost::of(&model, &flow).expect("all figures");
        assert!((all.full - plain.full - 800.0).abs() < 1e-9, "{all:?}");
        assert!((all.resumed - plain.resumed - 70.0).abs() < 1e-9, "{all:?}");
        flow.sizes[0] = 2.5 * RECORD_BYTES;
        let large = FlowCost::of(&model, &flow).expect("all figures").message[0];
        assert!((large - 9.5 - 2.0 - 2.5 * RECORD_BYTES * 0.00075).abs() < 1e-9, "{large}");
        let mut poor = model;
        poor.cpu_us.remove(&Cost::Mlkem768);
        let text = FlowCost::of(&poor, &flow).expect_err("gone").to_string();
        assert!(text.contains("cpu_us.mlkem768"), "{text}");
    }

    #[test]
    fn few_connections_spread_as_whole_ones() {
        let model = model();
        let mut demand = only("servers");
        demand.node.workers = 12;
        let load = Load::of(&model, &demand, 1).expect("all figures");
        // 50 on 12: somebody has 5.
        assert!((load.messages.rate - 5.0 * 2200.0).abs() < 1e-6, "{load:?}");
    }

    #[test]
    fn many_flows_are_not_rounded_up_all_at_once() {
        let model = model();
        let mut demand = only("monitoring");
        // 200 flows of one connection each on 4 workers: 50 for each of them, and one of bad luck.
        demand.flows[0].connections = 1.0;
        let one = Load::of(&model, &demand, 1).expect("all figures").utilisation();
        demand.flows = vec![demand.flows[0].clone(); 200];
        let load = Load::of(&model, &demand, 1).expect("all figures").utilisation();
        assert!((load / one - 51.0).abs() < 1e-6, "{load} {one}");
        // A flow that fills workers evenly adds nothing to its mean.
        let mut heavy = demand.flows[0].clone();
        heavy.messages = [1_000.0; 2];
        demand.flows = vec![heavy.clone()];
        let alone = Load::of(&model, &demand, 1).expect("all figures").utilisation();
        demand.flows.push(Flow { connections: 4.0, rate: 4.0 * heavy.rate, ..heavy });
        let both = Load::of(&model, &demand, 1).expect("all figures").utilisation();
        assert!((both / alone - 2.0).abs() < 1e-6, "{both} {alone}");
    }
}
