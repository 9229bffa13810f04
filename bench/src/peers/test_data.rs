//! Results for tests.

use std::path::Path;
use std::time::Duration;

use super::target::Kind;
use super::test::Test;
use super::{Part, Results, Row, Scale, Settings};
use crate::measure::machine::Machine;
use crate::measure::sample::Sample;

pub(crate) fn row(round: u32, test: Test, target: Kind, cost: f64) -> Row {
    let (cpu, wall) = (Duration::from_millis(300), Duration::from_millis(600));
    let (user_share, foreign_share) = (0.25, 0.01);
    let sample = Sample { units: 10.0, cpu, wall, user_share, foreign_share, cost };
    Row { round, position: 0, test, target, speed: [20_000.0, 22_000.0], sample }
}

pub(crate) fn results(samples: Vec<Row>) -> Results {
    let nowhere = Path::new("/does/not/exist");
    let second = Duration::from_secs(1);
    let settings = Settings {
        gateway: nowhere.into(),
        targets: Kind::ALL.to_vec(),
        parts: Part::ALL.to_vec(),
        tests: Test::ALL.to_vec(),
        rounds: 2,
        sample: Duration::from_millis(600),
        memory: Scale { connections: [1, 2], settle: second, one_each: second },
        counted_round_trips: 0,
        storm: second,
        storms: 1,
        server_cpu: 0,
        load_cpu: 1,
    };
    let failures = vec!["something".to_owned()];
    Results { samples, failures, ..Results::nothing(Machine::look(nowhere), settings) }
}
