//! A demand as the measuring client can carry it out, and what the model says of that: what its
//! operations cost one worker, and how long they take beside each other.
//!
//! Of a flow, new connections are operations of their own: connect, handshake, an echo of
//! [`ECHO`] bytes, close. Messages are echoes over connections that stay. What an echo
//! takes unloaded is the network's, the component's and the client's affair; what waiting adds is the
//! model's: an echo passes the worker twice, and a handshake waits for its turn once and then as
//! messages do, with its last flight and with its echo.

use std::path::Path;

use super::Problem;
use super::demand::{Demand, Flow, Tls};
use super::draw::{Random, interval};
use super::load::Load;
use super::model::NodeModel;
use super::number::float;
use super::queue::{Wait, waits};

/// Bytes of the echo of a connection that does nothing else.
pub const ECHO: f64 = 100.0;
/// Models that are drawn for an interval.
const DRAWS: usize = 200;

/// What can be timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Echoes over connections that stay.
    Messages,
    /// New connections, from connecting to closing.
    Handshakes,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Messages, Self::Handshakes];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Handshakes => "handshakes",
        }
    }
}

/// What the client does of one flow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// What is done.
    pub kind: Kind,
    /// How it does TLS.
    pub tls: Tls,
    /// Operations per second.
    pub rate: f64,
    /// Connections that stay; of handshakes 0.
    pub connections: usize,
    /// Bytes of an echo.
    pub size: f64,
}

/// A demand whose flows are echoes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    demand: Demand,
}

impl Mix {
    /// Reads a demand's file.
    ///
    /// # Errors
    /// As [`Demand::load`], and when it is not one of echoes: what to change.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        super::read(path, Self::parse)
    }

    /// Reads a demand's text.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut demand = Demand::parse(text)?;
        // What is verified is one worker.
        demand.node.workers = 1;
        let mistakes = demand.flows.iter().filter(|flow| !is_echo(flow)).map(|flow| {
            format!(
                "flow {}: what is verified is echoes: messages_down and messages_up must be the same, \
                 and size_down and size_up, and start_down and start_up must be 0",
                flow.name
            )
        });
        Problem::unless_empty(mistakes.collect())?;
        Ok(Self { demand })
    }

    /// What arrivals are drawn with.
    pub fn seed(&self) -> u64 {
        self.demand.seed
    }

    /// What the client does at `scale` times the demand.
    pub fn parts(&self, scale: f64) -> Vec<Part> {
        let mut parts = Vec::new();
        for flow in &self.demand.flows {
            let part = |kind, rate, connections, size| Part {
                kind,
                tls: flow.tls,
                rate: rate * scale,
                connections,
                size,
            };
            if flow.messages[0] > 0.0 {
                let rate = flow.connections * flow.messages[0];
                parts.push(part(Kind::Messages, rate, staying(flow, scale), flow.sizes[0]));
            }
            if flow.rate > 0.0 {
                parts.push(part(Kind::Handshakes, flow.rate, 0, ECHO));
            }
        }
        parts
    }

    /// Operations per second at the scale 1.
    pub fn rate(&self) -> f64 {
        self.parts(1.0).iter().map(|part| part.rate).sum()
    }

    /// The scale at which a worker has nothing left.
    ///
    /// # Errors
    /// When the model lacks a figure, or nothing is demanded.
    pub fn saturation(&self, model: &NodeModel) -> Result<f64, Problem> {
        let utilisation = self.worker(model, 1.0)?.utilisation();
        if utilisation > 0.0 {
            return Ok(1.0 / utilisation);
        }
        Err(Problem::new("nothing is demanded: say messages or a rate"))
    }

    /// What 99 of 100 wait no longer than, in seconds, at `scale`, by [`Kind`]; none from saturation on.
    ///
    /// # Errors
    /// When the model lacks a figure.
    pub fn waits(&self, model: &NodeModel, scale: f64) -> Result<Option<[f64; 2]>, Problem> {
        let load = self.worker(model, scale)?;
        let waits = waits(load.messages, load.handshakes, model.queue.discipline);
        Ok(waits.map(|[message, handshake]: [Wait; 2]| {
            let echo = message.plus(message);
            let whole = handshake.plus(message).plus(echo);
            let tail = model.queue.tail;
            [echo.quantile(0.99) * tail.message.value, whole.quantile(0.99) * tail.handshake.value]
        }))
    }

    /// The same with the middle 90 % of what it may be: by the errors of the model at the load that is
    /// `part` of saturation by its figures. Infinite where a model is saturated.
    ///
    /// # Errors
    /// When the model lacks a figure, or nothing is demanded.
    pub fn waits_at(&self, model: &NodeModel, part: f64) -> Result<[(f64, [f64; 2]); 2], Problem> {
        let scale = self.saturation(model)? * part;
        let infinite = [f64::INFINITY; 2];
        let found = self.waits(model, scale)?.unwrap_or(infinite);
        let mut random = Random::new(1);
        let mut drawn = [Vec::new(), Vec::new()];
        for _ in 0..DRAWS {
            let waits = self.waits(&random.model(model), scale)?.unwrap_or(infinite);
            drawn.iter_mut().zip(waits).for_each(|(drawn, wait)| drawn.push(wait));
        }
        let of = |at: usize| (found[at], interval(&drawn[at]).unwrap_or([found[at]; 2]));
        Ok([of(0), of(1)])
    }

    fn worker(&self, model: &NodeModel, scale: f64) -> Result<Load, Problem> {
        Load::of(model, &self.carried_out(scale), 1)
    }

    /// The demand with what the client adds: whole connections, and an echo for each new one.
    fn carried_out(&self, scale: f64) -> Demand {
        let mut demand = self.demand.clone();
        demand.flows.clear();
        for flow in &self.demand.flows {
            let connections = staying(flow, scale);
            let rate = flow.connections * scale / float(connections);
            let messages = flow.messages.map(|messages| messages * rate);
            let connections = float(connections);
            let own = Flow { connections, messages, rate: flow.rate * scale, ..flow.clone() };
            let echoes = Flow {
                connections: 1.0,
                messages: [own.rate; 2],
                sizes: [ECHO; 2],
                rate: 0.0,
                ..own.clone()
            };
            demand.flows.extend([own, echoes]);
        }
        demand
    }
}

fn is_echo(flow: &Flow) -> bool {
    let same = |[one, other]: [f64; 2]| one.total_cmp(&other).is_eq();
    same(flow.messages) && same(flow.sizes) && flow.start.iter().all(|bytes| *bytes <= 0.0)
}

/// Connections of a flow that stay: whole ones.
fn staying(flow: &Flow, scale: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "demands are checked: above 0, and far below 2^53"
    )]
    let whole = (flow.connections * scale).round() as usize;
    whole.max(1)
}

#[cfg(test)]
mod tests {
    use super::super::model::{Cost, Figure};
    use super::super::test_data::model;
    use super::*;

    const MIXES: [&str; 6] = [
        include_str!("../../capacity/calibration.toml"),
        include_str!("../../capacity/mixes/storm.toml"),
        include_str!("../../capacity/mixes/desktops.toml"),
        include_str!("../../capacity/mixes/trunks.toml"),
        include_str!("../../capacity/mixes/mutual.toml"),
        include_str!("../../capacity/mixes/messages.toml"),
    ];

    #[test]
    fn the_fixed_mixes_can_be_carried_out_and_have_seeds_of_their_own() {
        let model = model();
        let mut seeds = std::collections::BTreeSet::new();
        for text in MIXES {
            let mix = Mix::parse(text).expect("a fixed mix");
            assert!(seeds.insert(mix.seed()), "{text}");
            let saturation = mix.saturation(&model).expect("all figures");
            assert!((0.1..1_000.0).contains(&saturation), "{saturation}");
            for kind in Kind::ALL {
                assert!(mix.parts(1.0).iter().any(|part| part.kind == kind), "{text}");
            }
        }
    }

    #[test]
    fn a_mix_costs_what_its_operations_cost() {
        let mix = Mix::parse(MIXES[0]).expect("a fixed mix");
        let model = model();
        let [messages, handshakes] = mix.parts(2.0)[..] else { panic!("two parts") };
        assert_eq!((messages.kind, messages.connections), (Kind::Messages, 200));
        assert!((messages.rate - 800.0).abs() < 1e-9 && (handshakes.rate - 200.0).abs() < 1e-9);
        let cost = |cost| model.cost(cost).expect("there");
        let echo = 2.0 * cost(Cost::Message) + 100.0 * (cost(Cost::ByteDown) + cost(Cost::ByteUp));
        let full = cost(Cost::FullTls13) + cost(Cost::Rsa2048);
        let micros = 500.0 * echo + 100.0 * full;
        let saturation = mix.saturation(&model).expect("all figures");
        assert!((saturation * micros / 1e6 - 1.0).abs() < 1e-9, "{saturation} {micros}");
        assert_eq!(mix.waits(&model, saturation * 1.01), Ok(None));
    }

    #[test]
    fn waits_grow_and_their_interval_is_about_them() {
        let mix = Mix::parse(MIXES[0]).expect("a fixed mix");
        let mut model = model();
        let at = |model: &NodeModel, part| mix.waits_at(model, part).expect("all figures");
        let (low, high) = (at(&model, 0.5), at(&model, 0.8));
        for kind in 0..2 {
            let (wait, [least, most]) = high[kind];
            assert!(low[kind].0 < wait && least < wait && wait < most, "{low:?} {high:?}");
        }
        model.queue.tail.message = Figure { value: 2.0, ..Figure::default() };
        let doubled = at(&model, 0.5)[0].0;
        assert!((doubled - 2.0 * low[0].0).abs() < 1e-12, "{doubled}");
    }

    #[test]
    fn what_is_no_echo_is_refused_with_a_way_out() {
        let text = MIXES[0].replace("size_up = 100", "size_up = 99");
        let said = Mix::parse(&text).expect_err("no echo").to_string();
        assert!(
            said.starts_with("flow peers: ") && said.contains("size_down and size_up"),
            "{said}"
        );
    }
}
