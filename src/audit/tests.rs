//! Reports of several shards.

use std::net::IpAddr;
use std::sync::Arc;

use super::autodetect::Verdict;
use super::census::{Census, Part};
use super::inventory::{Concern, Inventory};
use super::report::{
    CertificateRow, CrlRow, Owner, PairRow, Report, Surroundings, put_together, traffic,
};
use super::{Pair, PeerCertificate, Query, Section, ShardCensus, Spoken, Whose};
use crate::conn::outcome::{Security, Shown};
use crate::time::Time;
use crate::tls::trust::CertificateProblem;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn at(seconds: u64) -> Time {
    Time::from_nanos(seconds * 1_000_000_000)
}

fn source(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn certificate(serial: &str, days: i64) -> Arc<PeerCertificate> {
    Arc::new(PeerCertificate {
        subject: format!("CN=peer-{serial}"),
        issuer: "CN=ca".to_owned(),
        serial: serial.to_owned(),
        not_after: NOW + days * DAY,
        fingerprint: [0; 32],
    })
}

fn tls(version: &'static str, security: Security) -> Spoken {
    Spoken { tls: Some((version, "SUITE")), security, ..Spoken::unknown() }
}

fn plaintext() -> Spoken {
    Spoken { security: Security::Plaintext, ..Spoken::unknown() }
}

fn pair(last: u8, downstream: Spoken, upstream: Spoken) -> Pair {
    Pair {
        listener: "sip".into(),
        route: "sip".into(),
        source: Some(source(last)),
        endpoint: Some("component".into()),
        address: None,
        downstream,
        upstream: Some(upstream),
    }
}

fn around(workers: usize) -> Surroundings {
    let autodetect = vec![("sip".into(), Some("2099-12-31".to_owned()), Some(9))];
    Surroundings { now: NOW, generation: 3, workers, autodetect, lanes: Vec::new() }
}

/// Two shards that have seen the same pair, and others of their own.
fn shards() -> Vec<ShardCensus> {
    let modern = || tls("TLSv1.3", Security::ServerAuthenticated);
    let mutual = Spoken {
        certificate: Some(certificate("0a", 5)),
        shown: Some(Shown::Verified),
        ..tls("TLSv1.3", Security::Mutual)
    };
    let nobody = Spoken {
        shown: Some(Shown::Bad(CertificateProblem::SelfSigned)),
        ..tls("TLSv1.2", Security::ServerAuthenticated)
    };
    let unverified = tls("TLSv1.3", Security::Unauthenticated);
    let name = Arc::from("sip");
    let (mut first, mut second) = (Census::default(), Census::default());
    for census in [&mut first, &mut second] {
        census.watch([&name].into_iter(), at(0));
    }
    let open = first.enter(pair(1, mutual.clone(), modern()), [false, true], at(10));
    first.enter(pair(1, mutual.clone(), modern()), [true, true], at(20));
    Census::leave(&open, at(30));
    second.enter(pair(1, mutual, modern()), [false; 2], at(70));
    second.enter(pair(2, nobody, modern()), [false; 2], at(71));
    second.enter(pair(3, modern(), unverified), [false; 2], at(72));
    let passed = second.enter(pair(4, plaintext(), modern()), [false; 2], at(73));
    Census::leave(&passed, at(74));
    // Their clocks began at different times.
    vec![first.report(Part::All, at(100)), second.report(Part::All, at(200))]
}

fn rows(change: impl Fn(&mut Query)) -> Vec<PairRow> {
    let mut query = Query::of(Section::Pairs);
    change(&mut query);
    put_together(&query, &shards(), &around(2)).pairs.expect("asked for").rows
}

fn sources(rows: &[PairRow]) -> Vec<IpAddr> {
    rows.iter().filter_map(|row| row.source).collect()
}

#[test]
fn equal_pairs_of_all_shards_are_one() {
    let rows = rows(|_| ());
    assert_eq!(sources(&rows), [1, 2, 3, 4].map(source));
    let PairRow { seen, downstream, upstream, .. } = &rows[0];
    assert_eq!((seen.connections, seen.open), (3, 2));
    assert_eq!((seen.first, seen.last), (NOW - 130, NOW - 70));
    assert_eq!(downstream.resumed, 1);
    assert_eq!(downstream.serial.as_deref(), Some("0a"));
    assert_eq!(upstream.as_ref().expect("reached").resumed, 2);
}

#[test]
fn filters_find_who_is_behind() {
    let found = |change: fn(&mut Query)| sources(&rows(change));
    assert_eq!(found(|query| query.plaintext = true), [source(4)]);
    assert_eq!(found(|query| query.unauthenticated = true), [2, 3].map(source));
    assert_eq!(found(|query| query.below = Some("TLSv1.3".to_owned())), [source(2)]);
    assert!(found(|query| query.below = Some("TLSv1.2".to_owned())).is_empty());
    let all = |query: &mut Query| {
        (query.plaintext, query.unauthenticated) = (true, true);
        query.source = Some(source(3));
    };
    assert_eq!(sources(&rows(all)), [source(3)]);
    assert!(found(|query| query.listener = Some("other".to_owned())).is_empty());
}

#[test]
fn rows_beyond_the_limit_are_counted() {
    let query = Query { limit: 3, ..Query::of(Section::Pairs) };
    let pairs = put_together(&query, &shards(), &around(3)).pairs.expect("asked for");
    assert_eq!((pairs.rows.len(), pairs.left_out), (3, 1));
}

#[test]
fn a_worker_that_does_not_answer_is_missed() {
    let query = Query { quiet_seconds: 0, ..Query::of(Section::Autodetect) };
    let complete = put_together(&query, &shards(), &around(2));
    assert_eq!((complete.workers_missing, complete.is_complete()), (0, true));
    let watch = &complete.autodetect.expect("asked for")[0];
    assert_eq!((watch.verdict, watch.plaintext_connections), (Verdict::Safe, 1));
    assert_eq!(watch.plaintext_sources.rows[0].source, Some(source(4)));
    assert_eq!(watch.tls_sources.len(), 3);
    assert_eq!(watch.watched_since, NOW - 100, "the shard that began last");
    let partial = put_together(&query, &shards(), &around(3));
    assert_eq!((partial.workers_missing, partial.is_complete()), (1, false));
    assert_eq!(partial.autodetect.expect("asked for")[0].verdict, Verdict::Unknown);
}

fn ours(days: i64, staple_days: Option<i64>) -> CertificateRow {
    CertificateRow {
        not_after: NOW + days * DAY,
        days_left: days,
        owner: Owner::Ours,
        side: Whose::Downstream,
        listener: "sip".to_owned(),
        subject: "CN=gateway".to_owned(),
        serial: days.to_string(),
        issuer: None,
        seen: None,
        staple_this_update: None,
        staple_next_update: staple_days.map(|days| NOW + days * DAY),
        staple_days_left: staple_days,
    }
}

fn crl(days: i64) -> CrlRow {
    let (file, issuer) = ("ca.crl".to_owned(), "CN=ca".to_owned());
    let next_update = NOW + days * DAY;
    CrlRow { next_update, days_left: days, this_update: 0, issuer, file, revoked: 1 }
}

fn with_ours(expiring_days: Option<i64>) -> Report {
    let sections = vec![Section::Certificates, Section::Crls];
    let query = Query { sections, expiring_days, ..Query::of(Section::Pairs) };
    let mut report = put_together(&query, &shards(), &around(2));
    assert!(report.pairs.is_none());
    report.add_ours(
        &query,
        vec![ours(400, None), ours(3, None), ours(90, Some(2))],
        vec![crl(40), crl(-1)],
    );
    report
}

#[test]
fn what_expires_first_comes_first() {
    let days = |report: &Report| {
        let certificates = report.certificates.as_ref().expect("asked for");
        let crls = report.crls.as_ref().expect("asked for");
        let certificates: Vec<i64> = certificates.rows.iter().map(|row| row.days_left).collect();
        (certificates, crls.rows.iter().map(|row| row.days_left).collect::<Vec<_>>())
    };
    assert_eq!(days(&with_ours(None)), (vec![3, 5, 90, 400], vec![-1, 40]));
    // A staple that ends soon makes its certificate one that does.
    assert_eq!(days(&with_ours(Some(4))), (vec![3, 90], vec![-1]));
    let theirs = &with_ours(None).certificates.expect("asked for").rows[1];
    let seen = theirs.seen.expect("it was shown");
    assert_eq!((theirs.owner, theirs.side, seen.open), (Owner::Theirs, Whose::Downstream, 2));
}

#[test]
fn metrics_know_what_of_peers_expires_first() {
    let traffic = traffic(&shards(), &around(2), 1);
    let soonest: Vec<_> = traffic.soonest.values().map(|one| one.serial.as_str()).collect();
    assert_eq!(soonest, ["0a"]);
    assert_eq!(traffic.autodetect[0].tls_sources.left_out, 2);
}

#[test]
fn a_report_goes_over_the_control_socket_unchanged() {
    let mut query = Query::of(Section::Pairs);
    query.sections.extend([Section::Certificates, Section::Autodetect]);
    let report = put_together(&query, &shards(), &around(2));
    let text = serde_json::to_string(&report).expect("keys are strings");
    assert_eq!(serde_json::from_str::<Report>(&text).expect("a report"), report);
}

#[test]
fn plaintext_that_stays_on_this_machine_is_no_concern() {
    let concerns = |source: Option<IpAddr>, component: Option<&str>| {
        let address = component.map(|address| address.parse().expect("an address"));
        let pair = Pair { source, address, ..pair(1, plaintext(), plaintext()) };
        let mut census = Census::default();
        census.enter(pair, [false; 2], at(5));
        let inventory = Inventory::of(&[census.report(Part::All, at(50))], &around(1));
        inventory.links[0].concerns().collect::<Vec<_>>()
    };
    let local = Some(IpAddr::from([127, 0, 0, 9]));
    assert_eq!(concerns(local, Some("[::1]:80")), [Concern::Local; 2]);
    assert_eq!(concerns(None, None), [Concern::Local; 2], "unix sockets");
    let mapped = Some("::ffff:127.0.0.1".parse().expect("an address"));
    assert_eq!(concerns(mapped, Some("10.0.0.1:80")), [Concern::Local, Concern::Plaintext]);
    assert_eq!(concerns(Some(source(1)), None), [Concern::Plaintext, Concern::Local]);
}

#[test]
fn links_stand_for_all_sources_that_are_alike() {
    let mut shards = shards();
    let modern = || tls("TLSv1.3", Security::ServerAuthenticated);
    let mut third = Census::default();
    for last in 10..30 {
        third.enter(pair(last, modern(), modern()), [false; 2], at(5));
    }
    let old = tls("TLSv1", Security::ServerAuthenticated);
    third.enter(pair(1, old, modern()), [false; 2], at(5));
    shards.push(third.report(Part::All, at(50)));
    let inventory = Inventory::of(&shards, &around(4));
    assert_eq!((inventory.workers_missing, inventory.certificates.len()), (1, 1));
    let told: Vec<_> = inventory
        .links
        .iter()
        .map(|link| {
            let version = link.downstream.version.unwrap_or("-");
            (link.concern, version, link.sources, link.source, link.seen.open)
        })
        .collect();
    let expected = [
        (Concern::Plaintext, "-", 1, Some(source(4)), 0),
        (Concern::Legacy, "TLSv1", 1, Some(source(1)), 1),
        // A peer that was asked and has shown a bad certificate, and a component nobody verifies.
        (Concern::Unauthenticated, "TLSv1.2", 1, Some(source(2)), 1),
        (Concern::Unauthenticated, "TLSv1.3", 1, Some(source(3)), 1),
        (Concern::None, "TLSv1.3", 20, Some(source(10)), 20),
        (Concern::None, "TLSv1.3", 1, Some(source(1)), 2),
    ];
    assert_eq!(told, expected);
    let upstream = inventory.links[3].upstream.expect("reached");
    assert_eq!(upstream.concern(), Concern::Unauthenticated);
}
