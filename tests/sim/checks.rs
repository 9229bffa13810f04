//! What must hold after a run, whatever it was made of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tlsgate::conn::outcome::{Cause, Outcome, Reason, Security, Stage};
use tlsgate::engine::sim::network::WireId;
use tlsgate::engine::sim::trace::What;
use tlsgate::shard::dismiss::Progress;

use crate::census;
use crate::client::Client;
use crate::component::Component;
use crate::generations;
use crate::introductions::STRANGER;
use crate::lives::{self, Life};
use crate::outside::World;
use crate::plan::{Finish as ClientFinish, Order, Plan};
use crate::queue;
use crate::revalidated;
use crate::run::{Books, Finish, Run};
use crate::shedding;

/// Adds to the findings of `run`.
pub(crate) fn check(plan: &Plan, world: &World, books: &Books, run: &mut Run) {
    let mut findings = std::mem::take(&mut run.findings);
    // What follows from one that was found already is only noise.
    if findings.is_empty() {
        check_books(books, run, &mut findings);
        shedding::check_books(books, run, &mut findings);
        check_dismissals(world, run, &mut findings);
        census::check(world, books, run, &mut findings);
        let told = lives::tell(&world.given, run);
        findings.extend(told.findings);
        let mut landmarks = BTreeSet::new();
        if queue::check(plan, &world.given, run, &mut findings) {
            landmarks.insert(ABORTED_WHEN_FULL);
        }
        let generations = generations::expected(&world.given, &run.trace);
        for (life, finish) in &told.lives {
            check_bytes(world, life, finish, &mut findings);
            check_source(plan, world, life, finish, &mut findings);
            check_end(plan, world, life, finish, &mut findings);
            revalidated::check(plan, world, life, finish, &run.trace, &mut findings);
            shedding::check(plan, world, life, finish, &mut findings);
            check_idle(life, finish, &mut findings);
            check_generation(plan, world, &generations, life, finish, &mut findings);
            let ended = life.accepted + finish.outcome.phases.lifetime;
            let half_closed = life.half_closed.is_some_and(|at| at < ended);
            if finish.outcome.reason == Reason::IdleTimeout && half_closed {
                landmarks.insert(IDLE_WHILE_HALF_CLOSED);
            }
        }
        run.landmarks = landmarks;
    }
    run.findings = findings;
}

/// Counters say what happened, each once.
fn check_books(books: &Books, run: &Run, findings: &mut Vec<String>) {
    let count =
        |test: fn(&What) -> bool| run.trace.iter().filter(|entry| test(&entry.what)).count() as u64;
    let accepted = count(|what| matches!(what, What::GotAccepted { .. }));
    let adopted = count(|what| matches!(what, What::DoAdopt { .. }));
    let failed = count(|what| matches!(what, What::GotAcceptFailed { .. }));
    let sum = |value: fn(&Outcome) -> u64| {
        run.finishes.iter().map(|finish| value(&finish.outcome)).sum::<u64>()
    };
    let counters = &books.counters;
    let listeners = &counters.listeners;
    let total = |value: fn(&tlsgate::telemetry::ListenerCounters) -> u64| {
        listeners.iter().map(value).sum::<u64>()
    };
    let mut same = |name: &str, is: u64, should: u64| {
        if is != should {
            findings.push(format!("{name}: {is}, and should be {should}"));
        }
    };
    same("connections that finished", run.finishes.len() as u64, adopted);
    same("accepted", total(|of| of.accepted), adopted);
    same("refused", counters.refused.iter().sum(), accepted - adopted);
    same("accept errors", counters.accept_errors.iter().sum(), failed);
    same("closed", total(|of| of.closed_total()), adopted);
    same(
        "handshakes",
        total(|of| of.handshakes_full + of.handshakes_resumed),
        sum(|outcome| u64::from(outcome.tls.is_some())),
    );
    same(
        "resumed",
        total(|of| of.handshakes_resumed),
        sum(|outcome| u64::from(outcome.tls.as_ref().is_some_and(|tls| tls.resumed))),
    );
    same("bytes received", total(|of| of.bytes_received), sum(|outcome| outcome.bytes.received));
    same("bytes sent", total(|of| of.bytes_sent), sum(|outcome| outcome.bytes.sent));
    same("unattributed", counters.unattributed, 0);
    same("open connections", books.gauges.open_connections, 0);
    same("handshakes in flight", books.gauges.handshakes_in_flight, 0);
    same("slots in use", books.open_connections as u64, 0);
    same("bytes of unfinished hellos", books.hello_bytes as u64, 0);
    let routes = run.finishes.iter().flat_map(|finish| &finish.policy.routes);
    let endpoints = routes.flat_map(|route| &route.upstreams.endpoints);
    let on_endpoints = endpoints.map(|endpoint| u64::from(endpoint.presence.connections()));
    same("connections on endpoints", on_endpoints.sum(), 0);
    let [(_, left)] = books.generations[..] else {
        return findings.push(format!("generations {:?} are left", books.generations));
    };
    same("connections of the last generation", left, 0);
    for reason in Reason::ALL {
        for cause in Cause::ALL {
            let counted = listeners.iter().map(|of| of.closed(reason, cause)).sum();
            let ended = run.finishes.iter().map(|finish| &finish.outcome);
            let ended = ended.filter(|outcome| (outcome.reason, outcome.cause) == (reason, cause));
            same(reason.as_str(), counted, ended.count() as u64);
        }
    }
}

/// As many ended by order as orders say that they have ended, and no more than were meant.
fn check_dismissals(world: &World, run: &Run, findings: &mut Vec<String>) {
    let ordered = world.given.iter().filter_map(|given| given.dismissal.as_ref());
    let progress: Vec<Progress> = ordered.map(|dismissal| dismissal.progress()).collect();
    let told: u64 = progress.iter().map(|one| one.ended).sum();
    let ended = run.finishes.iter().filter(|one| one.outcome.reason == Reason::Dismissed).count();
    let goes_too_far = |one: &&Progress| one.ended > one.meant || one.meant > 0 && one.busy > 0;
    let wrong = progress.iter().find(goes_too_far);
    if told != ended as u64 || wrong.is_some() {
        findings.push(format!("{ended} were dismissed, and orders say {progress:?}"));
    }
}

/// What was said and heard at the far ends of a connection, as the gateway counts it.
struct Told {
    said: usize,
    heard: usize,
    component_said: usize,
    component_heard: usize,
}

impl Told {
    /// Of what is passed through, the gateway knows the bytes on the wire.
    fn of(unread: bool, client: &Client, component: Option<&Component>) -> Self {
        let wire = component.map(|component| (component.wire_written, component.wire_received));
        let plain = component.map(|component| (component.written, component.received));
        let (component_said, component_heard) = if unread { wire } else { plain }.unwrap_or((0, 0));
        let [said, heard] = match unread {
            true => [client.sent, client.wire_received],
            false => [client.uploaded, client.received],
        };
        Self { said, heard, component_said, component_heard }
    }
}

/// Bytes in are bytes out. That each is the right one was seen when it came.
fn check_bytes(world: &World, life: &Life, finish: &Finish, findings: &mut Vec<String>) {
    let outcome = &finish.outcome;
    let number = world.client_on(life.wire).expect("clients only are accepted");
    let client = world.clients[number].as_ref().expect("it has a wire");
    let component = world.component_of(number);
    let unread = outcome.downstream_security == Some(Security::Unread);
    let told = Told::of(unread, client, component);
    let mut must = |holds: bool, what: &str| {
        if !holds {
            findings.push(format!("client {number}: {what}: {:?} {outcome:?}", outcome.reason));
        }
    };
    let [received, sent] = [outcome.bytes.received, outcome.bytes.sent]
        .map(|bytes| usize::try_from(bytes).expect("a few megabytes"));
    let finished = outcome.reason == Reason::Finished;
    let terminated = outcome.tls.is_some();
    must(received <= told.said, "more was received than was said");
    must(told.heard <= sent, "more arrived than was sent");
    must(
        !terminated || !client.close_seen || told.heard == sent,
        "bytes are missing in front of close_notify",
    );
    let closed = if terminated { client.close_sent } else { client.fin_sent };
    must(!finished || closed, "finished, and the client did not close");
    let truncated = outcome.reason == Reason::Truncated;
    let by_component = outcome.cause == Cause::Upstream;
    must(!truncated || by_component || client.fin_sent, "truncated, and the client sent no FIN");
    let Some(component) = component else { return must(sent == 0, "bytes came from nowhere") };
    must(
        !truncated || !by_component || component.has_left(),
        "truncated, and the component is there",
    );
    must(told.component_heard <= received, "the component got more than was received");
    must(sent <= told.component_said, "more was sent than the component said");
    let all_up = (finished || truncated) && component.fin_seen && component.error.is_none();
    must(!all_up || told.component_heard == received, "bytes are missing in front of FIN");
    let whole = all_up && finished;
    must(!whole || received == told.said, "what the client said is not all there");
    let seen = if terminated { client.close_seen } else { client.fin_seen };
    let all_down = finished && seen && component.fin_sent;
    must(!all_down || sent == told.component_said, "what the component said is not all there");
    must(!all_down || told.heard == sent, "bytes are missing in front of the end");
}

/// From the header on, it is from where that says.
fn check_source(
    plan: &Plan,
    world: &World,
    life: &Life,
    finish: &Finish,
    findings: &mut Vec<String>,
) {
    let outcome = &finish.outcome;
    let number = world.client_on(life.wire).expect("clients only are accepted");
    let introduction = plan.clients[number].introduction.as_ref();
    let said = introduction.and_then(|introduction| introduction.source);
    let is_read = !matches!(outcome.stage, Stage::Proxy | Stage::Hello);
    let is_good = introduction.is_none_or(|introduction| introduction.is_good);
    if (is_read || outcome.source.is_some()) && outcome.source != said {
        findings.push(format!("it is from {said:?}: {outcome:?}"));
    }
    if is_read && !is_good {
        findings.push(format!("it was let in without saying where it is from: {outcome:?}"));
    }
}

/// It was admitted under what held when it was accepted, and shown that certificate.
fn check_generation(
    plan: &Plan,
    world: &World,
    generations: &BTreeMap<WireId, u64>,
    life: &Life,
    finish: &Finish,
    findings: &mut Vec<String>,
) {
    let policy = &finish.policy;
    let generation = policy.generation;
    if generations.get(&life.wire) != Some(&generation) {
        let expected = generations.get(&life.wire);
        findings.push(format!("{:?} has generation {generation}, not {expected:?}", life.wire));
    }
    let configuration = usize::try_from(generation).expect("a few") - 1;
    let listener = &plan.configurations[configuration].listeners[policy.position];
    let client = world.client_on(life.wire).and_then(|number| world.clients[number].as_ref());
    let shown = client.and_then(|client| client.certificate);
    let full = finish.outcome.tls.as_ref().is_some_and(|tls| !tls.resumed);
    if full && shown.is_some_and(|shown| shown != listener.tls.certificate) {
        findings.push(format!("{:?} was shown another generation's certificate", life.wire));
    }
}

/// The outcome is one that could have come to pass, at the time that it did.
fn check_end(plan: &Plan, world: &World, life: &Life, finish: &Finish, findings: &mut Vec<String>) {
    let outcome = &finish.outcome;
    let timeouts = &finish.policy.timeouts;
    let ended = life.accepted + outcome.phases.lifetime;
    let lifetime = outcome.phases.lifetime;
    let quiet = ended.since(life.last_activity_before(ended));
    let number = world.client_on(life.wire).expect("clients only are accepted");
    let client = &plan.clients[number];
    let possible = match outcome.reason {
        Reason::HandshakeTimeout => lifetime >= timeouts.handshake,
        Reason::IdleTimeout => timeouts.idle.is_some_and(|idle| quiet >= idle),
        Reason::HalfCloseTimeout => quiet >= timeouts.half_close,
        Reason::UpstreamTimeout => {
            let patience = timeouts.connect.min(IMPATIENT);
            life.dial_timed_out
                || lifetime >= timeouts.handshake
                || life.first_dialled.is_some_and(|at| ended.since(at) >= patience)
        }
        Reason::UpstreamHandshakeTimeout => {
            let patience = timeouts.connect.min(IMPATIENT);
            lifetime >= timeouts.handshake
                || life.first_dialled.is_some_and(|at| ended.since(at) >= patience)
        }
        Reason::DetectTimeout | Reason::ProxyTimeout => lifetime >= timeouts.handshake,
        Reason::ProxyUntrusted => client.introduction.is_some() && client.source == STRANGER,
        Reason::ProxyMissing | Reason::ProxyMalformed => {
            client.introduction.as_ref().is_some_and(|introduction| !introduction.is_good)
        }
        Reason::UpstreamCertificateInvalid => client.component.stranger,
        Reason::Drained => world.given.iter().any(|given| match given.order {
            Order::Drain { patience } => ended >= given.at + patience,
            _ => false,
        }),
        Reason::Stopped => {
            let mut stops = world.given.iter().filter(|given| matches!(given.order, Order::Stop));
            stops.any(|stop| stop.at <= ended)
        }
        Reason::Dismissed => {
            world.given.iter().any(|given| given.dismissal.is_some() && given.at <= ended)
        }
        Reason::Vanished => {
            let noticed = matches!(client.finish, ClientFinish::Vanish { notice: Some(_) });
            outcome.cause != Cause::Downstream || noticed
        }
        Reason::BadRecord
        | Reason::ProtocolViolation
        | Reason::HelloMalformed
        | Reason::HelloTooLarge => !client.is_honest(),
        // Components of TLS are honest, and share parameters with the gateway.
        Reason::UpstreamAlert | Reason::UpstreamProtocol | Reason::UpstreamIncompatible => false,
        // The gateway believes every component but strangers, at all times.
        Reason::UpstreamNoLongerTrusted => false,
        Reason::PolicyDenied | Reason::Internal => false,
        _ => true,
    };
    if !possible {
        findings.push(format!("came too early, or from nowhere, after {quiet:?}: {outcome:?}"));
    }
}

/// A connection that was idle had nothing to do.
fn check_idle(life: &Life, finish: &Finish, findings: &mut Vec<String>) {
    let outcome = &finish.outcome;
    let [at_end, at_close] = [life.at_close[1], life.at_close[0]];
    let ended = life.accepted + outcome.phases.lifetime;
    let was_quiet = match outcome.reason {
        Reason::IdleTimeout | Reason::HalfCloseTimeout => true,
        Reason::Drained | Reason::Stopped => {
            ended.since(life.last_activity_before(ended)) > LONG_QUIET
        }
        _ => false,
    };
    let at_once = life.upstream_closed.is_some_and(|closed| closed.since(ended) < AT_ONCE);
    let mut idle = |holds: bool, what: &str| {
        if !holds {
            findings.push(format!("{what}: {outcome:?}"));
        }
    };
    match (outcome.stage, at_end, at_close) {
        (Stage::Handshake, _, Some([down, _])) if outcome.reason == Reason::HandshakeTimeout => {
            idle(down.unread == 0 || down.receiving, "the rest of a handshake is not read");
        }
        // The upstream closes in the moment of the end, unless it is told something; from a
        // downstream that has ended nothing is read any more.
        (Stage::Relay, Some([down, up]), _) if was_quiet && at_once => {
            idle(up.unread == 0 || up.receiving || down.sending, "upstream is not read");
            let may_have_ended = life.half_closed.is_some();
            let read = down.unread == 0 || down.receiving;
            idle(read || up.sending || may_have_ended, "downstream is not read");
            let all_sent = match outcome.upstream_tls {
                None if finish.policy.introduces => life.sent_up > outcome.bytes.received,
                None => life.sent_up == outcome.bytes.received,
                // And what TLS adds.
                Some(_) => life.sent_up > outcome.bytes.received,
            };
            idle(all_sent || up.sending, "bytes for the upstream are kept");
        }
        _ => {}
    }
}

/// Longer than the slowest kernel takes to deliver what has come.
const LONG_QUIET: Duration = Duration::from_secs(3);
/// Within an event.
const AT_ONCE: Duration = Duration::from_millis(1);
/// A connection whose idle timeout is shorter than its half-close timeout.
pub(crate) const IDLE_WHILE_HALF_CLOSED: &str = "idle while half-closed";

/// A peer that had left before it was accepted, when nobody else could have been.
pub(crate) const ABORTED_WHEN_FULL: &str = "aborted when full";

/// What a dialling gets when all endpoints are known to be down (`TIMEOUT_WHEN_DOWN` in upstream).
const IMPATIENT: Duration = Duration::from_millis(900);
