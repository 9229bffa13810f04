//! Pictures of snapshots, small ones and very large ones.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::inventory::{Ending, Kept, MOST_ROWS};
use super::view::{Data, Detail, Failed, Live};
use crate::admin::Lifecycle;
use crate::audit::inventory::{Concern, Link, Speech};
use crate::audit::report::{CertificateRow, CrlRow, Owner, Seen};
use crate::audit::{Inventory, Whose};
use crate::conn::outcome::{Cause, Reason, Security, Stage};
use crate::telemetry::shard::tests::{names, outcome};
use crate::telemetry::snapshot::{ListenerFacts, ListenerView, ShardView};
use crate::telemetry::{ListenerCounters, ShardTelemetry, Snapshot, UpstreamFacts};
use crate::upstream::{Figures, Role};

fn counters(times: u64) -> ListenerCounters {
    let mut shard = ShardTelemetry::new(0, names(&["sip"]));
    for _ in 0..times {
        shard.on_accept(0);
        shard.on_accept(0);
        shard.on_received(0, 1_000);
        shard.on_close(&outcome(0, Stage::Hello, Reason::HelloEof, Cause::Downstream));
    }
    shard.on_upstream_failure(0, Reason::UpstreamRefused);
    shard.counters().listeners[0].clone()
}

fn snapshot(taken_unix_ms: u64, listeners: usize, times: u64) -> Snapshot {
    let counters = counters(times);
    let name = |number: usize| -> Arc<str> { format!("listener-{number}").into() };
    let view = |number| ListenerView { name: name(number), counters: counters.clone() };
    let shard = ShardView { answered_ago: Duration::from_millis(3), ..ShardView::default() };
    let mut snapshot = Snapshot {
        taken_unix_ms,
        listeners: (0..listeners).map(view).collect(),
        shards: vec![shard; 300],
        generations: (1..=50).map(|generation| (generation, 2 * generation)).collect(),
        ..Snapshot::default()
    };
    let facts = |number| ListenerFacts { name: name(number), address: "[::1]:1".into() };
    snapshot.facts.listeners = (0..listeners).map(facts).collect();
    snapshot.totals.shed[0] = times;
    snapshot
}

#[test]
fn rates_are_since_the_look_before() {
    let (first, second) = (snapshot(10_000, 1, 10), snapshot(12_000, 1, 30));
    let live = Live::of(&first, None, Lifecycle::Accepting);
    assert!(live.listeners.rows[0].rates.is_none() && live.shed[0].per_second.is_none());
    let live = Live::of(&second, Some(&first), Lifecycle::Draining);
    assert_eq!((live.state.as_str(), live.shed[0].cause.as_str()), ("draining", "queue"));
    assert_eq!((live.shed[0].count, live.shed[0].per_second), (30, Some(10.0)));
    let row = &live.listeners.rows[0];
    assert_eq!((row.open, row.accepted, row.handshake_failures), (30, 60, 30));
    assert_eq!(row.address.as_deref(), Some("[::1]:1"));
    let rates = row.rates.as_ref().expect("a second look");
    let found = [rates.accepted, rates.handshake_failures, rates.messages, rates.bytes_received];
    assert_eq!(found, [20.0, 10.0, 10.0, 10_000.0]);
    let failures: Vec<_> = live
        .failures
        .iter()
        .map(|row| (row.what, row.reason.as_str(), row.cause.as_deref(), row.count, row.per_second))
        .collect();
    let expected = [
        (Failed::Connection, "hello_eof", Some("downstream"), 30, Some(10.0)),
        (Failed::Upstream, "upstream_refused", None, 1, Some(0.0)),
    ];
    assert_eq!(failures, expected);
    // Two looks of one moment say nothing about rates.
    let live = Live::of(&second, Some(&second), Lifecycle::Accepting);
    assert!(live.listeners.rows[0].rates.is_none());
}

fn link(number: usize, concern: Concern) -> Link {
    let (security, version) = match concern {
        Concern::Plaintext => (Security::Plaintext, None),
        _ => (Security::Mutual, Some("TLSv1.3")),
    };
    let downstream = Speech { security, version, is_unauthenticated: false, is_local: false };
    let open = 50_000 - number as u64;
    Link {
        listener: "sip".into(),
        route: if number == 0 { "sip".into() } else { format!("Route-{number}").into() },
        endpoint: Some(format!("component-{number}").into()),
        sources: 1,
        source: Some(IpAddr::from([192, 0, 2, 1])),
        downstream,
        upstream: None,
        concern,
        seen: Seen { connections: 2 * open, open, first: 0, last: 5 },
    }
}

fn upstream(number: usize) -> UpstreamFacts {
    let figures = Figures { addresses: 1, addresses_down: number % 2, ..Figures::default() };
    UpstreamFacts {
        route: format!("sip/Route-{number}").into(),
        endpoint: "component".into(),
        role: Role::Primary,
        figures,
        ports_left: Vec::new(),
    }
}

fn certificate(days_left: i64) -> CertificateRow {
    CertificateRow {
        not_after: days_left * 86_400,
        days_left,
        owner: Owner::Ours,
        side: Whose::Downstream,
        listener: "sip".to_owned(),
        subject: format!("CN=in-{days_left}-days"),
        serial: "01".to_owned(),
        issuer: None,
        seen: None,
        staple_this_update: None,
        staple_next_update: None,
        staple_days_left: None,
    }
}

#[test]
fn an_inventory_has_the_worst_routes_and_what_ends_first() {
    let stapled = CertificateRow { staple_next_update: Some(2 * 86_400), ..certificate(9) };
    let crl = CrlRow {
        next_update: 86_400,
        days_left: 1,
        this_update: 0,
        issuer: "CN=ca".to_owned(),
        file: "/etc/ca.crl".to_owned(),
        revoked: 0,
    };
    let inventory = Inventory {
        links: vec![link(1, Concern::Plaintext), link(0, Concern::None)],
        certificates: vec![certificate(3), stapled],
        crls: vec![crl],
        ..Inventory::default()
    };
    let kept = Kept::new(7, 0, inventory, &[upstream(1), upstream(2)]);
    let known = kept.known("");
    assert_eq!((known.number, known.concerns.links, known.concerns.plaintext), (7, 2, 1));
    let routes: Vec<_> = known
        .routes
        .rows
        .iter()
        .map(|row| (row.route.as_str(), row.open, row.endpoints, row.endpoints_up))
        .collect();
    let expected = [("sip", 50_000, 0, 0), ("sip/Route-1", 49_999, 1, 0), ("sip/Route-2", 0, 1, 1)];
    assert_eq!(routes, expected);
    let ends: Vec<_> = known.ends.rows.iter().map(|row| (row.what, row.days_left)).collect();
    let expected =
        [(Ending::Crl, 1), (Ending::Staple, 2), (Ending::Certificate, 3), (Ending::Certificate, 9)];
    assert_eq!(ends, expected);
    // Whatever the case.
    let found = kept.known("route-1");
    assert_eq!((found.links.len(), found.routes.len(), found.ends.len()), (1, 1, 0));
    assert_eq!(kept.known("192.0.2").links.len(), 2);
    assert_eq!(kept.known("ca.crl").ends.len(), 1);
}

/// However much there is, what is sent is little, and making it is cheap.
#[test]
fn fifty_thousand_of_everything_are_a_small_answer() {
    const MANY: usize = 50_000;
    let snapshot = snapshot(1_000, 1_000, 1);
    let live = Live::of(&snapshot, Some(&snapshot), Lifecycle::Accepting);
    assert_eq!((live.listeners.len(), live.shards.len(), live.generations.len()), (1_000, 300, 50));
    assert_eq!(live.generations.rows[0].generation, 50);
    let before = cpu_time();
    let inventory = Inventory {
        links: (0..MANY).map(|number| link(number, Concern::None)).collect(),
        certificates: (0..MANY as i64).map(certificate).collect(),
        ..Inventory::default()
    };
    let upstreams: Vec<_> = (0..MANY).map(upstream).collect();
    let made = cpu_time();
    let kept = Kept::new(1, 0, inventory, &upstreams);
    let put_together = cpu_time();
    let known = kept.known("route-4");
    let searched = cpu_time();
    assert_eq!((known.routes.rows.len(), known.routes.len()), (MOST_ROWS, 11_111));
    let detail = Detail::of(&snapshot, None, None);
    let data = Data { live: &live, moments: Vec::new(), listener: detail, inventory: Some(known) };
    let text = serde_json::to_string(&data).expect("keys are strings");
    println!(
        "made in {:?}; put together in {:?}, searched in {:?}, written in {:?}: {} bytes",
        made - before,
        put_together - made,
        searched - put_together,
        cpu_time() - searched,
        text.len()
    );
    assert!(text.len() < 150_000, "{}", text.len());
    let read: Data = serde_json::from_str(&text).expect("what is written can be read");
    assert_eq!(read.live.listeners.rows.len(), 100);
}

/// Of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it does not run backwards")
}
