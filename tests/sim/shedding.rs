//! Who is turned away because there is too much to do.

use std::time::Duration;

use tlsgate::admission::Shed;
use tlsgate::config::model::HandshakeLimits;
use tlsgate::conn::outcome::{Cause, Reason, Stage};
use tlsgate::engine::sim::rng::Rng;
use tlsgate::telemetry::Refusal;

use crate::lives::Life;
use crate::outside::World;
use crate::plan::Plan;
use crate::run::{Books, Finish, Run};

/// As they are by default, or so tight that a few peers are too many.
pub(crate) fn limits(rng: &mut Rng) -> HandshakeLimits {
    let usual = HandshakeLimits {
        in_progress: 4096,
        queue_timeout: Duration::from_secs(2),
        source_failures: Some(100),
        legacy_in_progress: 256,
        legacy_rate: Some(200),
    };
    if rng.chance(50) {
        return usual;
    }
    HandshakeLimits {
        in_progress: *rng.pick(&[1, 3, 4096, 4096]),
        queue_timeout: Duration::from_millis(*rng.pick(&[1, 10, 200])),
        source_failures: *rng.pick(&[None, Some(1), Some(3)]),
        ..usual
    }
}

/// Adds to `findings` what is wrong with the end of one that was shed.
pub(crate) fn check(
    plan: &Plan,
    world: &World,
    life: &Life,
    finish: &Finish,
    findings: &mut Vec<String>,
) {
    let outcome = &finish.outcome;
    if outcome.reason != Reason::Overloaded {
        return;
    }
    let limits = &plan.handshakes;
    let mut must = |holds: bool, what: &str| {
        if !holds {
            findings.push(format!("{what}: {outcome:?}"));
        }
    };
    let number = world.client_on(life.wire).expect("clients only are accepted");
    let client = world.clients[number].as_ref().expect("it has a wire");
    must(client.wire_received == 0, "it was told something");
    must(life.dialled.is_none() && outcome.upstream.is_none(), "its component was dialled");
    must((outcome.stage, outcome.cause) == (Stage::Handshake, Cause::Local), "not in a handshake");
    let waited = outcome.phases.lifetime.saturating_sub(outcome.phases.hello.unwrap_or_default());
    let is_late = waited > limits.queue_timeout
        || outcome.phases.lifetime >= finish.policy.timeouts.handshake;
    let why = outcome.detail.as_deref().unwrap_or_default();
    match Shed::ALL.into_iter().find(|shed| shed.as_str() == why) {
        Some(Shed::Late) => must(is_late, "it had time left"),
        Some(Shed::Queue) => must(limits.queue_timeout < MUCH, "there was time for all"),
        Some(Shed::InProgress) => must(limits.in_progress < 16, "there was room for all"),
        Some(Shed::Source) => {
            must(limits.source_failures.is_some_and(|most| most < 16), "none fails so often")
        }
        Some(Shed::LegacyInProgress | Shed::LegacyRate) | None => {
            must(false, "nobody is of the legacy lane")
        }
    }
}

/// Nothing is left waiting, and each that was shed is counted once.
pub(crate) fn check_books(books: &Books, run: &Run, findings: &mut Vec<String>) {
    let ended = run.finishes.iter().filter(|finish| finish.outcome.reason == Reason::Overloaded);
    let refused = books.counters.refused[Refusal::Overload as usize];
    let (shed, should) = (books.counters.shed.iter().sum::<u64>(), ended.count() as u64 + refused);
    if shed != should {
        findings.push(format!("{shed} were shed, and {should} should be"));
    }
    if books.handshakes != (0, 0) {
        findings.push(format!("waiting and in progress: {:?}", books.handshakes));
    }
}

/// More than all the steps of a run take.
const MUCH: Duration = Duration::from_secs(1);
