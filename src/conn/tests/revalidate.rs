//! Connections that are up, judged by the policy of another time.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use rustls::AlertDescription;

use super::component::{Component, run_both};
use super::judged::{Clock, judged};
use super::rig::*;
use crate::config::model::{ConnectWhen, Revalidate};
use crate::conn::Input;
use crate::conn::outcome::{Cause, Reason, Security, Stage};
use crate::conn::stale::StaleCause;
use crate::engine::CloseMode;
use crate::policy::rules::RuleSpec;
use crate::policy::{self, Downstream, ListenerPolicy, Route, Rules};
use crate::tls::testing::{Ca, NAME};
use crate::tls::trust::CertificateProblem;

const MISSING: StaleCause = StaleCause::Certificate(CertificateProblem::Missing);
/// Of another CA that is called as its own.
const DISTRUSTED: StaleCause = StaleCause::Certificate(CertificateProblem::BadSignature);

/// The policy from now on: `Required` where nobody was asked before, and what that means.
fn demanding(fate: Revalidate) -> ListenerPolicy {
    let tls = mutual_profile(fate);
    with(Route { tls: Some(tls), ..route() })
}

fn with_rule(policy: ListenerPolicy, change: impl FnOnce(&mut RuleSpec)) -> ListenerPolicy {
    with_outcome(policy, policy::Outcome::Deny, change)
}

fn with_outcome(
    policy: ListenerPolicy,
    outcome: policy::Outcome,
    change: impl FnOnce(&mut RuleSpec),
) -> ListenerPolicy {
    let mut spec = RuleSpec {
        name: "rule".to_owned(),
        line: 1,
        source: Vec::new(),
        sni: Vec::new(),
        alpn: Vec::new(),
        versions: Vec::new(),
        client: Vec::new(),
        outcome: 0,
    };
    change(&mut spec);
    let rules = Rules::compile(vec![spec], vec![outcome]).expect("one rule");
    ListenerPolicy { rules: Arc::new(rules), ..policy }
}

fn name<T: FromStr<Err: Debug>>(name: &str) -> Vec<T> {
    vec![name.parse().expect("as in a configuration")]
}

/// What is found, and what is to become of it.
fn judge(rig: &mut Rig, policy: Option<&ListenerPolicy>) -> (Option<StaleCause>, Revalidate) {
    let fate = rig.connection.revalidate(policy, &mut rig.telemetry);
    (rig.connection.stale().map(|stale| stale.cause), fate)
}

fn stale_open(rig: &Rig) -> u64 {
    rig.telemetry.counters().listeners[0].stale_open
}

#[test]
fn what_is_kept_is_counted_for_as_long_as_it_is_stale() {
    let (mut rig, mut client) = established(policy(), Client::new());
    assert!(rig.connection.take_news() && !rig.connection.take_news());
    assert_eq!(judge(&mut rig, Some(&policy())), (None, Revalidate::Keep));
    for _ in 0..3 {
        let found = judge(&mut rig, Some(&demanding(Revalidate::Keep)));
        assert_eq!((found, stale_open(&rig)), ((Some(MISSING), Revalidate::Keep), 1));
    }
    let counted = &rig.telemetry.counters().listeners[0].stale[0][MISSING.index()];
    assert_eq!(counted, &[1, 0, 0], "once, however often it is looked at");
    assert_eq!(judge(&mut rig, Some(&policy())), (None, Revalidate::Keep));
    assert_eq!(stale_open(&rig), 0);
    client.write(b"goes on");
    client.run(&mut rig);
    assert_eq!(rig.up.outbound, b"goes on");
}

#[test]
fn drained_it_ends_in_order_behind_what_was_said() {
    let (mut rig, mut client) = established(policy(), Client::new());
    client.write(b"last words");
    client.exchange(&mut rig);
    rig.up.inbound = b"and an answer".to_vec();
    while rig.deliver(DOWN, 4096) || rig.deliver(UP, 4096) {}
    let found = judge(&mut rig, Some(&demanding(Revalidate::Drain)));
    assert_eq!(found, (Some(MISSING), Revalidate::Drain));
    assert!(rig.connection.ending.is_none(), "not before its turn");
    rig.input(Input::Expelled(Revalidate::Drain));
    client.run(&mut rig);
    assert_eq!(rig.up.outbound, b"last words");
    assert_eq!(client.received, b"and an answer");
    assert!(client.peer_closed && client.error.is_none(), "close_notify");
    assert!(rig.down.shut && rig.up.shut, "FIN to both");
    (rig.down.inbound_fin, rig.up.inbound_fin) = (true, true);
    rig.settle();
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::NoLongerAdmitted, Cause::Policy));
    assert_eq!((outcome.stage, outcome.stale), (Stage::Relay, Some(MISSING)));
    assert!(outcome.tls.is_some() && outcome.alert_sent.is_none());
}

#[test]
fn closed_it_is_told_why_if_that_takes_no_waiting() {
    for waits in [false, true] {
        let (mut rig, mut client) = established(policy(), Client::new());
        if waits {
            // It does not read.
            rig.up.inbound = vec![7; 1000];
            while rig.deliver(UP, 4096) {}
        }
        let found = judge(&mut rig, Some(&demanding(Revalidate::Close)));
        assert_eq!(found, (Some(MISSING), Revalidate::Close));
        rig.input(Input::Expelled(Revalidate::Close));
        assert_eq!(rig.up.closed, Some(CloseMode::Reset));
        rig.settle();
        if waits {
            assert_eq!(rig.down.closed, Some(CloseMode::Reset));
        } else {
            client.exchange(&mut rig);
            let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
            assert_eq!(client.error, Some(alert));
            rig.down.inbound_fin = true;
        }
        let outcome = rig.outcome();
        assert_eq!(outcome.reason, Reason::NoLongerAdmitted);
        assert_eq!(outcome.alert_sent, (!waits).then_some(116));
        let tls = outcome.tls.expect("told as it was");
        assert!(!tls.resumed && outcome.downstream_security.is_some());
    }
}

type Change = &'static dyn Fn(&mut RuleSpec);

#[test]
fn whom_a_rule_turns_away_now_is_found_by_all_that_rules_ask() {
    let mut config = ca().client((*crate::tls::provider::provider()).clone());
    config.alpn_protocols = vec![b"sip/2".to_vec(), vec![b'x'; 200]];
    let (mut rig, _client) = established(policy(), Client::of(&config));
    let denied = (Some(StaleCause::PolicyDenied), Revalidate::Keep);
    let changes: [(Change, bool); 7] = [
        (&|spec| spec.sni = name(NAME), true),
        (&|spec| spec.sni = name("other.example"), false),
        (&|spec| spec.source = name("198.51.100.0/24"), true),
        (&|spec| spec.source = name("192.0.2.0/24"), false),
        (&|spec| spec.alpn = vec![b"sip/2".to_vec()], true),
        // Beyond what is kept.
        (&|spec| spec.alpn = vec![vec![b'x'; 200]], false),
        (&|spec| spec.versions = vec![policy::rules::Version::Tls13], true),
    ];
    for (number, (change, is_denied)) in changes.into_iter().enumerate() {
        let found = judge(&mut rig, Some(&with_rule(policy(), change)));
        assert_eq!(found, if is_denied { denied } else { (None, Revalidate::Keep) }, "{number}");
    }
}

#[test]
fn what_is_not_configured_any_more_stays() {
    let unconfigured = (Some(StaleCause::Unconfigured), Revalidate::Keep);
    let (mut rig, _client) = established(policy(), Client::new());
    assert_eq!(judge(&mut rig, None), unconfigured, "its listener is gone");
    let plaintext = ListenerPolicy { downstream: Downstream::Plaintext, ..policy() };
    assert_eq!(judge(&mut rig, Some(&plaintext)), unconfigured, "another kind of listener");
    let elsewhere = with(Route { upstreams: endpoints(&[9]), ..route() });
    assert_eq!(judge(&mut rig, Some(&elsewhere)), unconfigured, "its component is gone");
    // Whatever ends it sooner counts.
    let mut both = demanding(Revalidate::Close);
    let moved = Route { upstreams: endpoints(&[9]), ..(*both.routes[0]).clone() };
    both.routes = vec![Arc::new(moved)];
    assert_eq!(judge(&mut rig, Some(&both)), (Some(MISSING), Revalidate::Close));
}

/// To a component that is good.
fn good() -> Route {
    let upstream_tls = Some(judged(ca(), Revalidate::Keep, &Clock::new()));
    Route { upstream_tls, ..route() }
}

/// To one that is not.
fn suspect(fate: Revalidate) -> Route {
    let upstream_tls = Some(judged(&Ca::new(), fate, &Clock::new()));
    Route { upstream_tls, ..route() }
}

/// A listener one of whose names is taken `of_rule`.
fn with_route(of_listener: Route, of_rule: Route) -> ListenerPolicy {
    let of_rule = Route { name: "rule".into(), ..of_rule };
    let follow = policy::Outcome::Follow(Arc::new(of_rule));
    with_outcome(with(of_listener), follow, |spec| spec.sni = name(NAME))
}

fn bridged(policy: ListenerPolicy) -> Rig {
    let (mut rig, mut client, mut component) = (Rig::new(policy), Client::new(), Component::new());
    client.exchange(&mut rig);
    rig.settle();
    rig.connected();
    run_both(&mut rig, &mut client, &mut component);
    assert_eq!((&client.error, &component.error), (&None, &None));
    assert!(rig.connection.is_settled());
    rig
}

#[test]
fn a_component_is_judged_by_the_route_that_leads_to_it() {
    let stale = |route: Route| Route { tls: Some(mutual_profile(Revalidate::Keep)), ..route };
    let suspect = || suspect(Revalidate::Close);
    let kept = (Some(MISSING), Revalidate::Keep);
    let closed = (Some(DISTRUSTED), Revalidate::Close);
    for (number, (now, expected)) in [
        (with_route(stale(suspect()), stale(good())), kept),
        (with_route(stale(good()), stale(suspect())), closed),
        // Nobody can say where its rule would lead.
        (with(stale(suspect())), kept),
        (with_rule(with(stale(suspect())), |spec| spec.sni = name("other.example")), kept),
    ]
    .into_iter()
    .enumerate()
    {
        let mut rig = bridged(with_route(suspect(), good()));
        assert_eq!(&*rig.connection.route().name, "rule");
        assert_eq!(judge(&mut rig, Some(&now)), expected, "{number}");
    }
    // Of the listener's own connections, it is that of the listener.
    let mut rig = bridged(with(good()));
    assert_eq!(judge(&mut rig, Some(&with(stale(suspect())))), closed);
}

#[test]
fn plaintext_is_stale_where_tls_is_demanded_now() {
    let plaintext = || ListenerPolicy { downstream: Downstream::Plaintext, ..policy() };
    let mut rig = Rig::new(plaintext());
    assert!(rig.connected());
    assert_eq!(judge(&mut rig, Some(&plaintext())), (None, Revalidate::Keep));
    let found = judge(&mut rig, Some(&demanding(Revalidate::Close)));
    assert_eq!(found, (Some(StaleCause::Plaintext), Revalidate::Close));
    rig.input(Input::Expelled(Revalidate::Close));
    assert_eq!(rig.down.closed, Some(CloseMode::Reset), "there is no alert without TLS");
    assert_eq!(rig.outcome().reason, Reason::NoLongerAdmitted);
}

#[test]
fn who_is_not_there_yet_is_judged_when_it_is() {
    let late = with(Route { connect: ConnectWhen::AfterHandshake, ..route() });
    let (mut rig, mut client) = (Rig::new(late), Client::new());
    client.exchange(&mut rig);
    rig.settle();
    assert_eq!(judge(&mut rig, Some(&demanding(Revalidate::Close))), (None, Revalidate::Keep));
    assert!(!rig.connection.take_news());
    client.run(&mut rig);
    assert!(rig.connection.take_news(), "its handshake is done");
    assert!(rig.connection.is_overdue());
    let found = judge(&mut rig, Some(&demanding(Revalidate::Close)));
    assert_eq!(found, (Some(MISSING), Revalidate::Close));
    assert!(!rig.connection.is_overdue());
}

#[test]
fn what_was_told_to_go_has_spoken_no_plaintext() {
    let (mut rig, mut client) = (Rig::new(after_handshake()), Client::new());
    client.run(&mut rig);
    assert!(rig.up.dialling, "nobody has entered it for the audit yet");
    let security = |rig: &Rig| rig.connection.side_facts(DOWN).map(|facts| facts.security);
    assert_eq!(security(&rig), Some(Security::ServerAuthenticated));
    let found = judge(&mut rig, Some(&demanding(Revalidate::Close)));
    assert_eq!(found, (Some(MISSING), Revalidate::Close));
    rig.input(Input::Expelled(Revalidate::Close));
    assert_eq!(security(&rig), None, "its session is gone");
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!(outcome.alert_sent, Some(116));
    assert_eq!(outcome.downstream_security, Some(Security::ServerAuthenticated));
}

#[test]
fn a_component_that_is_told_to_go_had_got_to_the_relay() {
    let mut rig = bridged(with(good()));
    let found = judge(&mut rig, Some(&with(suspect(Revalidate::Close))));
    assert_eq!(found, (Some(DISTRUSTED), Revalidate::Close));
    rig.input(Input::Expelled(Revalidate::Close));
    let outcome = rig.outcome();
    assert_eq!(outcome.reason, Reason::UpstreamNoLongerTrusted);
    assert!(outcome.upstream_alert_sent.is_some(), "told by alert");
    assert_eq!(outcome.stage, Stage::Relay);
    assert!(outcome.upstream_tls.is_some() && outcome.upstream_security.is_some());
}

/// Nothing was found: there is nothing to follow from it.
#[test]
fn nobody_is_expelled_without_a_cause() {
    let (mut rig, mut client) = established(policy(), Client::new());
    rig.input(Input::Expelled(Revalidate::Close));
    client.write(b"here");
    client.run(&mut rig);
    assert_eq!(rig.up.outbound, b"here");
}
