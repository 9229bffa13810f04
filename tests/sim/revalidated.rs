//! Connections that a new configuration would not admit: those alone are ended, and all of them.

use std::time::Duration;

use tlsgate::config::model::{ClientCert, Revalidate, TlsVersion};
use tlsgate::conn::outcome::{Outcome, Reason, Shown};
use tlsgate::engine::sim::trace::{Entry, What};
use tlsgate::time::Time;

use crate::lives::Life;
use crate::outside::{Given, World};
use crate::plan::{ListenerPlan, Order, Plan};
use crate::policies::{fate, name};
use crate::run::Finish;
use crate::tls::NAME;

/// Adds to the findings what is wrong with the end of a connection whose handshake was done, or with
/// its not having ended.
pub(crate) fn check(
    plan: &Plan,
    world: &World,
    life: &Life,
    finish: &Finish,
    trace: &[Entry],
    findings: &mut Vec<String>,
) {
    let outcome = &finish.outcome;
    let ended = life.accepted + outcome.phases.lifetime;
    let reloads = world.given.iter().filter_map(|given| match given.order {
        Order::Reload(next) => Some((given, next)),
        _ => None,
    });
    let reloads: Vec<_> = reloads.filter(|(given, _)| given.at <= ended).collect();
    let refusing = |(_, next): &(&Given, usize), fates: &[Revalidate]| {
        let mut listeners = plan.configurations[*next].listeners.iter();
        listeners.any(|listener| {
            name(listener.address) == *finish.policy.name
                && fates.contains(&fate(listener.address, *next as u64 + 1))
                && would_refuse(listener, outcome)
        })
    };
    if outcome.reason == Reason::NoLongerAdmitted {
        let ends = [Revalidate::Drain, Revalidate::Close];
        if !reloads.iter().any(|reload| refusing(reload, &ends)) {
            findings.push(format!("{:?} would still be admitted: {outcome:?}", life.wire));
        }
        return;
    }
    if outcome.tls.is_none() {
        return;
    }
    // Which other one holds by now, if there is one, does not matter: it closes in the same turn.
    let mut overdue = reloads.iter().filter(|(given, _)| {
        is_established(life, outcome, given.at)
            && followed(given, trace).is_some_and(|at| at < ended)
    });
    if overdue.any(|reload| refusing(reload, &[Revalidate::Close])) {
        findings.push(format!("{:?} stays, and would not be admitted: {outcome:?}", life.wire));
    }
}

/// The end of the turn in which the shard got an order.
fn followed(given: &Given, trace: &[Entry]) -> Option<Time> {
    let mut entries = trace[given.position..].iter();
    entries.find(|entry| entry.what == What::GotWoken)?;
    entries.find(|entry| matches!(entry.what, What::DoWait { .. })).map(|entry| entry.at)
}

fn is_established(life: &Life, outcome: &Outcome, at: Time) -> bool {
    let phases = [outcome.phases.hello, outcome.phases.handshake];
    let time: Option<Duration> = phases.into_iter().sum();
    time.is_some_and(|time| life.accepted + time < at)
}

fn would_refuse(listener: &ListenerPlan, outcome: &Outcome) -> bool {
    let Some(agreed) = &outcome.tls else { return false };
    let tls = &listener.tls;
    let version = match agreed.version {
        "TLSv1.3" => TlsVersion::V1_3,
        _ => TlsVersion::V1_2,
    };
    let anonymous = outcome.client.as_ref().is_none_or(|client| client.shown == Shown::Nothing);
    tls.client_cert == ClientCert::Required && anonymous
        || !(tls.min_version..=tls.max_version).contains(&version)
        || tls.strict_sni && outcome.sni.as_deref() != Some(NAME)
}
