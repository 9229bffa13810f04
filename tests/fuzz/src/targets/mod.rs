//! The targets: each takes any bytes and panics when something is not as it must be.

mod certificates;
mod config;
mod hello;
mod proxy;
mod proxy_header;
mod records;
mod script;

pub use script::outcome_of;
use tlsgate_corpus::rng::Rng;

/// One thing to be fuzzed.
#[derive(Debug)]
pub struct Target {
    /// Also the name of its folder in `regressions`.
    pub name: &'static str,
    pub about: &'static str,
    /// Inputs to start from, at least one.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// An input of the target's own kind, out of nothing.
    pub generate: fn(&mut Rng) -> Vec<u8>,
    /// # Panics
    /// When something is not as it must be.
    pub run: fn(&[u8]),
    /// Inputs in the bounded run: a few seconds without optimisation.
    pub bounded: u64,
}

pub static TARGETS: [Target; 7] = [
    hello::TARGET,
    config::TARGET,
    proxy::TARGET,
    proxy_header::TARGET,
    records::TARGET,
    script::TARGET,
    certificates::TARGET,
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
