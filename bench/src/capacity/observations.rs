//! The file that a model is fitted from: what a server did, what it took, and where.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Problem;
use super::fit::{self, Fit, MemoryObservation, Observation};
use super::model::{Contention, Discipline, Figure, NodeModel, Origin, Queue, Tail};

/// What nobody has measured of waiting.
const VARIABILITY: Figure = Figure { value: 0.3, error: 0.2, assumed: true };
/// What nobody has measured of several workers.
const CONTENTION: Contention = Contention {
    serial: Figure { value: 0.02, error: 0.02, assumed: true },
    coherence: Figure { value: 0.0002, error: 0.0002, assumed: true },
};

/// Observations of one server on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observations {
    /// [`super::FORMAT`].
    pub format: u32,
    /// Where they were made.
    pub origin: Origin,
    /// Who is next when a worker is busy.
    #[serde(default)]
    pub discipline: Discipline,
    /// Variance over squared mean of operations of one kind; a guess when missing.
    pub variability: Option<Figure>,
    /// What the long waits are beside those of the queue; a guess when missing.
    pub tail: Option<Tail>,
    /// Mixes and their CPU time.
    #[serde(default)]
    pub observation: Vec<Observation>,
    /// Connections and their memory.
    #[serde(default)]
    pub memory: Vec<MemoryObservation>,
}

impl Observations {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or has keys or types that are not allowed; with its name.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        super::read(path, super::parse)
    }

    /// The file's text, which [`Self::load`] reads.
    ///
    /// # Errors
    /// When a number is none.
    pub fn to_text(&self) -> Result<String, Problem> {
        toml::to_string(self).map_err(|error| Problem::new(error.to_string()))
    }

    /// The model that explains them best, and how well it does.
    ///
    /// # Errors
    /// As [`fit::fit`] and [`fit::memory`].
    pub fn model(&self) -> Result<(NodeModel, Fit), Problem> {
        let fit = fit::fit(&self.observation)?;
        let several = self.observation.iter().any(|observation| observation.workers > 1);
        let model = NodeModel {
            format: super::FORMAT,
            origin: self.origin.clone(),
            contention: if several { fit.contention } else { CONTENTION },
            memory: fit::memory(&self.memory)?,
            queue: Queue {
                discipline: self.discipline,
                variability: self.variability.unwrap_or(VARIABILITY),
                tail: self.tail.unwrap_or_default(),
            },
            cpu_us: fit.cpu_us.clone(),
        };
        Ok((model, fit))
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Cost;
    use super::super::test_data::OBSERVATIONS;
    use super::*;

    #[test]
    fn the_example_becomes_a_model_that_can_be_read() {
        let observations: Observations = super::super::parse(OBSERVATIONS).expect("the example");
        let (model, fit) = observations.model().expect("enough");
        let text = model.to_text().expect("good values");
        assert_eq!(NodeModel::parse(&text).expect("its own text"), model);
        let full = model.cost(Cost::FullTls13).expect("observed");
        assert!((150.0..250.0).contains(&full) && fit.freedom > 0, "{model:?}");
        let guessed = ["contention.serial", "contention.coherence", "queue.variability"];
        let tail = ["queue.tail.message", "queue.tail.handshake"];
        assert_eq!(model.assumed(), [&guessed[..], &tail].concat());
        let again = observations.to_text().expect("good values");
        assert_eq!(
            super::super::parse::<Observations>(&again).expect("its own text"),
            observations
        );
        let mut few = observations;
        few.memory.clear();
        let text = few.model().expect_err("no memory").to_string();
        assert!(text.contains("memory.connection, memory.node"), "{text}");
    }
}
