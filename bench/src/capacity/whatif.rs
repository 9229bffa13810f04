//! What other choices would cost: the same demand with one thing changed.

use serde::Serialize;

use super::Problem;
use super::demand::{Demand, Group, Key, Tls, Version};
use super::model::NodeModel;
use super::plan::{CPU, MESSAGE, look, needed};

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// What is changed.
    pub name: &'static str,
    /// What it would take, or why that cannot be said.
    pub result: Result<Effect, String>,
}

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// Nodes that would be enough by the model's figures, without their errors; none up to the
    /// maximum.
    pub nodes: Option<usize>,
    /// CPU of the busiest worker with the planned nodes, the spare ones lost, in percent.
    pub cpu: f64,
    /// p99 of a message with the planned nodes, in milliseconds.
    pub p99_ms: f64,
    /// The slowest of all events with the planned nodes, in seconds.
    pub slowest_event: f64,
}

type Change = (&'static str, fn(&mut Tls));

const CHANGES: [Change; 7] = [
    ("as demanded", |_| {}),
    ("mutual TLS everywhere", |tls| tls.mutual = true),
    ("RSA-2048 keys", |tls| tls.key = Key::Rsa2048),
    ("TLS 1.3 everywhere", |tls| tls.version = Version::V13),
    ("TLS 1.2 everywhere", |tls| {
        tls.version = Version::V12;
        tls.group = Group::X25519;
    }),
    ("X25519MLKEM768, TLS 1.3", |tls| {
        tls.version = Version::V13;
        tls.group = Group::X25519Mlkem768;
    }),
    ("ticket keys lost: nobody resumes", |tls| tls.resumed = 0.0),
];

/// All changes, the demand as it is first.
///
/// # Errors
/// When the model has no figures for the demand as it is.
pub fn choices(model: &NodeModel, demand: &Demand, nodes: usize) -> Result<Vec<Choice>, Problem> {
    effect(model, demand, nodes)?;
    let choice = |(name, change): Change| {
        let mut changed = demand.clone();
        for flow in &mut changed.flows {
            change(&mut flow.tls);
        }
        let lost = changed.flows.iter().all(|flow| flow.tls.resumed <= 0.0);
        for event in changed.events.iter_mut().filter(|_| lost) {
            event.resumed = Some(0.0);
        }
        let result = effect(model, &changed, nodes).map_err(|problem| problem.to_string());
        Choice { name, result }
    };
    Ok(CHANGES.into_iter().map(choice).collect())
}

fn effect(model: &NodeModel, demand: &Demand, nodes: usize) -> Result<Effect, Problem> {
    let looked = look(model, demand, nodes)?;
    let events = looked.iter().filter(|objective| objective.unit == "s");
    let events = events.map(|objective| objective.found);
    Ok(Effect {
        nodes: needed(model, demand)?,
        cpu: looked[CPU].found,
        p99_ms: looked[MESSAGE].found,
        slowest_event: events.fold(0.0, f64::max),
    })
}

#[cfg(test)]
mod tests {
    use super::super::model::Cost;
    use super::super::test_data::{demand, model};
    use super::*;

    #[test]
    fn each_choice_costs_what_its_parts_cost() {
        let (mut model, demand) = (model(), demand());
        let found = choices(&model, &demand, 3).expect("all figures");
        let of = |name: &str| {
            let choice = found.iter().find(|choice| choice.name.starts_with(name)).expect(name);
            choice.result.clone().expect("all figures")
        };
        let base = of("as demanded");
        assert_eq!(of("TLS 1.3"), base, "it is what is demanded");
        for name in ["mutual", "RSA", "X25519MLKEM768", "ticket keys"] {
            assert!(of(name).cpu > base.cpu, "{name}");
            assert!(of(name).slowest_event >= base.slowest_event, "{name}");
        }
        assert!(of("TLS 1.2").cpu < base.cpu);
        model.cpu_us.remove(&Cost::Mlkem768);
        let found = choices(&model, &demand, 3).expect("enough figures");
        let broken = found.iter().filter(|choice| choice.result.is_err()).collect::<Vec<_>>();
        assert!(broken.len() == 1 && broken[0].name.starts_with("X25519MLKEM768"), "{broken:?}");
    }
}
