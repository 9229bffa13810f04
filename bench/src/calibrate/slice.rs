//! The designed experiment: what a server is made to do in each slice, and how often each cost arises.

use std::collections::BTreeMap;

use serde::Serialize;
use tlsgate_bench::capacity::mix::ECHO;
use tlsgate_bench::capacity::model::Cost;
use tlsgate_bench::client::{TlsPlan, Workload};

use crate::measure::load::{MESSAGE, Unit};
use crate::measure::rounds::Measurement;
use crate::peers::target::{Identities, Kind};
use crate::peers::test::{Role, Test};

/// Bytes of a long message.
const LONG: u64 = 4_000;
const GIGABYTE: f64 = 1e9;

/// Load of one kind: costs can be told from each other by what is the same in others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Slice {
    Of(Test),
    /// Round trips of long messages, over so many connections.
    Long(usize),
}

impl Slice {
    /// All that `kind` can do; those that take long to begin only where there is `patience`.
    pub(super) fn all(kind: Kind, patience: bool) -> Vec<Self> {
        let tests = [
            Test::Full13,
            Test::Resumed13,
            Test::Full12,
            Test::Resumed12,
            Test::Rsa13,
            Test::Rsa12,
            Test::Mutual13,
            Test::MutualResumed13,
            Test::Mlkem13,
            Test::RoundTrips50,
            Test::RoundTrips1000,
            Test::Down,
            Test::Up,
        ];
        let tests = tests.into_iter().filter(|test| kind.does(*test)).map(Self::Of);
        let all = tests.chain([Self::Long(50), Self::Long(1_000)]);
        all.filter(|slice| patience || slice.load().1 < 1_000).collect()
    }

    pub(super) fn role(self) -> Role {
        self.like().role()
    }

    pub(super) fn tls(self, identities: &Identities) -> Option<TlsPlan> {
        self.like().tls(identities)
    }

    /// The test that does TLS as this one.
    fn like(self) -> Test {
        match self {
            Self::Of(test) => test,
            Self::Long(_) => Test::RoundTrips50,
        }
    }

    /// How often each cost arises in so many [`Measurement::unit`]s.
    pub(super) fn counts(self, units: f64) -> BTreeMap<Cost, f64> {
        use Cost::*;
        let handshake = |parts: &[Cost]| {
            let parts = parts.iter().map(|part| (*part, 1.0));
            parts.chain(echo(ECHO)).collect()
        };
        let of_one: Vec<(Cost, f64)> = match self {
            Self::Of(Test::Resumed13) => handshake(&[ResumedTls13]),
            Self::Of(Test::Full12) => handshake(&[FullTls12]),
            Self::Of(Test::Resumed12) => handshake(&[ResumedTls12]),
            Self::Of(Test::Rsa13) => handshake(&[FullTls13, Rsa2048]),
            Self::Of(Test::Rsa12) => handshake(&[FullTls12, Rsa2048]),
            Self::Of(Test::Mutual13) => handshake(&[FullTls13, MutualFull]),
            Self::Of(Test::MutualResumed13) => handshake(&[ResumedTls13, MutualResumed]),
            Self::Of(Test::Mlkem13) => handshake(&[FullTls13, Mlkem768]),
            Self::Of(Test::Down) => vec![(ByteDown, GIGABYTE)],
            Self::Of(Test::Up) => vec![(ByteUp, GIGABYTE)],
            Self::Of(_) if self.unit() == Unit::RoundTrip => echo(bytes(MESSAGE)).into(),
            Self::Of(_) => handshake(&[FullTls13]),
            Self::Long(_) => echo(bytes(LONG)).into(),
        };
        of_one.into_iter().map(|(cost, count)| (cost, count * units)).collect()
    }
}

/// A message there and one back.
fn echo(size: f64) -> [(Cost, f64); 3] {
    [(Cost::Message, 2.0), (Cost::ByteDown, size), (Cost::ByteUp, size)]
}

#[expect(clippy::cast_precision_loss, reason = "some thousand")]
fn bytes(size: u64) -> f64 {
    size as f64
}

impl Measurement for Slice {
    fn name(self) -> &'static str {
        match self {
            Self::Of(test) => test.name(),
            Self::Long(50) => "round trips of 4,000 bytes, 50 connections",
            Self::Long(_) => "round trips of 4,000 bytes, many connections",
        }
    }

    fn unit(self) -> Unit {
        Unit::of(self.load().0)
    }

    fn load(self) -> (Workload, usize) {
        match self {
            Self::Of(test) => test.load(),
            Self::Long(connections) => {
                (Workload::Messages { size: LONG, per_connection_rate: None }, connections)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tlsgate_bench::capacity::fit::{Observation, fit};
    use tlsgate_bench::capacity::model::NodeModel;

    use super::*;

    const MODEL: &str = include_str!("../../capacity/node.toml");

    #[test]
    fn every_cost_of_every_server_can_be_told_from_the_others() {
        let mut model = NodeModel::parse(MODEL).expect("the example");
        // What is measured has records of one size.
        model.cpu_us.remove(&Cost::Record);
        for kind in [Kind::IoUring, Kind::Haproxy, Kind::Nginx] {
            let observe = |slice: Slice| {
                let counts = slice.counts(1_000.0);
                let cost = |(cost, count): (&Cost, &f64)| {
                    count * model.cost(*cost).expect("it has all of them")
                };
                let cpu_us = counts.iter().map(cost).sum();
                Observation { counts, cpu_us, workers: 1 }
            };
            let quick = Slice::all(kind, false);
            assert!(quick.len() < Slice::all(kind, true).len(), "{kind:?}");
            let observations: Vec<Observation> = quick.into_iter().map(observe).collect();
            let found = fit(&observations).expect("enough");
            for (cost, figure) in &found.cpu_us {
                let known = model.cpu_us[cost].value;
                assert!((figure.value / known - 1.0).abs() < 1e-6, "{cost:?}: {figure:?}");
            }
            let missing = if kind == Kind::IoUring { 0 } else { 1 };
            assert_eq!(found.cpu_us.len() + missing, model.cpu_us.len(), "{kind:?}");
        }
    }
}
