//! The bounded run: every finding that was kept, the corpus, and some thousand inputs by fixed
//! seeds.

use tlsgate::tls::alert::alert_name;
use tlsgate_corpus::{Outcome, corpus};
use tlsgate_fuzz::runner::{self, Plan, Until};
use tlsgate_fuzz::targets::{self, find};

const SEED: u64 = 1;

fn bounded(name: &str) {
    let target = find(name).expect("a target");
    for (path, input) in runner::kept(target).expect("the source can be read") {
        if let Err(message) = runner::try_input(target, &input) {
            panic!("found again, {}: {message}", path.display());
        }
    }
    for (number, input) in (target.seeds)().iter().enumerate() {
        if let Err(message) = runner::try_input(target, input) {
            panic!("seed {number}: {message}");
        }
    }
    let plan = Plan { seed: SEED, from: 0, until: Until::Count(target.bounded) };
    match runner::run(target, plan) {
        Ok(count) => assert_eq!(count, target.bounded),
        Err(finding) => {
            let path = runner::keep(target, &finding).expect("the source can be written");
            panic!("kept as {}: {}", path.display(), finding.message);
        }
    }
}

#[test]
fn hello() {
    bounded("hello");
}

#[test]
fn config() {
    bounded("config");
}

#[test]
fn certificates() {
    bounded("certificates");
}

#[test]
fn proxy() {
    bounded("proxy");
}

#[test]
fn proxy_header() {
    bounded("proxy_header");
}

#[test]
fn records() {
    bounded("records");
}

#[test]
fn script() {
    bounded("script");
}

/// Every case of the corpus ends as it says, on a whole connection.
#[test]
fn corpus_ends_as_it_says() {
    let mut wrong = Vec::new();
    for case in corpus() {
        let outcome = targets::outcome_of(&case.stream);
        let alert = outcome.alert_sent.map_or("-", alert_name);
        let seen = Outcome::new(outcome.reason.as_str(), alert);
        if seen != case.outcome {
            let (name, said) = (&case.name, &case.outcome);
            wrong.push(format!("{name}: {seen:?} and not {said:?}: {:?}", outcome.detail));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
