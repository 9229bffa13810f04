//! The shipped matrix is whole, and its answers are what follows from its rows.

use std::collections::BTreeMap;

use super::*;
use crate::catalogue::Catalogue;

fn answer(client: &str, server: &str) -> Result<Answer, String> {
    let question =
        Question { client: client.to_owned(), server: server.to_owned(), over: Over::Https };
    Matrix::shipped().answer(&question)
}

/// Downstream and upstream lane, and what both ends share.
fn needs(client: &str, server: &str) -> (Lane, Lane, Vec<Version>) {
    let answer = answer(client, server).expect("the document says it");
    (answer.downstream, answer.upstream, answer.shared)
}

#[test]
fn it_has_every_statement() {
    let matrix = Matrix::parse(MATRIX).expect("whole");
    let mut tables: BTreeMap<Table, usize> = BTreeMap::new();
    for row in matrix.rows() {
        *tables.entry(row.table).or_default() += 1;
        let line = row.seed.strip_prefix("cisco:").and_then(|line| line.parse().ok());
        assert!(line.is_some_and(|line: u32| (1..=176).contains(&line)), "{}", row.seed);
        let says = [&row.versions, &row.without].iter().filter(|list| !list.is_empty()).count();
        let is_target = row.table == Table::TargetRelease;
        assert_eq!(says, usize::from(!is_target), "{}", row.seed);
        assert_eq!(row.role.is_none(), is_target, "{}", row.seed);
        assert_eq!(row.newer_from.is_some() && row.without_1_0_from.is_some(), is_target);
        let default = row.default.as_ref();
        assert!(default.is_none_or(|default| row.versions.contains(default)), "{}", row.seed);
    }
    let counts = [
        (Table::ProseServer, 2),
        (Table::ProseClient, 1),
        (Table::CurrentSupport, 8),
        (Table::UpcomingReleases, 6),
        (Table::TargetRelease, 5),
        (Table::SocialminerException, 3),
        (Table::Peer, 5),
        (Table::Faq, 3),
    ];
    assert_eq!(tables, BTreeMap::from(counts));
    assert!(Matrix::parse("row = [{ table = \"faq\" }]").is_err());
}

#[test]
fn names_are_found_as_people_write_them() {
    let matrix = Matrix::shipped();
    assert_eq!(matrix.named("10.6(1)su2"), ["10.6(1)SU2"]);
    assert_eq!(matrix.named("UCCX 11.6(1)"), ["11.6(1)"]);
    let salesforce = ["new deployments", "sandbox/developer", "production"];
    assert_eq!(matrix.named("salesforce"), salesforce.map(|rest| format!("Salesforce {rest}")));
    assert_eq!(matrix.named("exchange 2010"), ["Exchange 2010"]);
    assert_eq!(matrix.named("10.5(1)"), ["10.5(1)"], "by 10.5 and 10.x");
    assert_eq!(matrix.named("12.5(1)"), [""; 0], "nothing covers it");
    assert_eq!(matrix.named("Exchange 2016"), [""; 0]);
    assert_eq!(matrix.named(""), [""; 0]);
}

/// Client, server; lanes downstream and upstream; versions that both speak.
#[test]
fn lanes_follow_from_the_rows() {
    use Lane::{Legacy, Modern};
    use Version::{V1_0, V1_1, V1_2};
    for release in ["10.6(1)SU2", "11.0(1)", "11.0(1)SU1", "11.5(1)", "10.5(1)"] {
        assert_eq!(needs(release, "salesforce"), (Legacy, Modern, vec![]), "{release}");
        assert_eq!(needs(release, "Exchange 2010"), (Legacy, Legacy, vec![V1_0]), "{release}");
    }
    // The exception inside 10.x, and what a table says against the introduction.
    assert_eq!(needs("10.6(1)SU3", "salesforce"), (Modern, Modern, vec![V1_1, V1_2]));
    assert_eq!(needs("1.0", "11.5(1)SU1"), (Legacy, Modern, vec![]));
    assert_eq!(needs("1.1", "11.5(1)SU1"), (Legacy, Modern, vec![V1_1]));
    assert_eq!(needs("1.1,1.0", "11.6(1)"), (Legacy, Modern, vec![]));
    assert_eq!(needs("1.0", "10.6"), (Legacy, Modern, vec![V1_0]));
    assert_eq!(needs("SocialMiner 11.6", "Exchange 2013"), (Modern, Legacy, vec![]));
    assert_eq!(needs("SocialMiner 11.6", "Exchange 2010"), (Modern, Legacy, vec![]));
    assert_eq!(needs("SocialMiner 11.5(1)SU1", "Exchange 2010"), (Modern, Legacy, vec![V1_0]));
    assert_eq!(needs("11.6(1)", "1.1"), (Modern, Legacy, vec![]));
}

#[test]
fn databases_are_no_https() {
    let over_jdbc = |client: &str| {
        let question =
            Question { client: client.to_owned(), server: "1.2".to_owned(), over: Over::Jdbc };
        Matrix::shipped().answer(&question)
    };
    let answer = over_jdbc("11.6(1)").expect("all of them may");
    assert_eq!((answer.downstream, answer.client.seeds), (Lane::Legacy, vec!["cisco:149".into()]));
    let error = over_jdbc("SocialMiner 11.6").expect_err("it is about releases");
    assert!(error.contains("does not say"), "{error}");
}

#[test]
fn dates_and_releases_are_told() {
    let has = |client: &str, server: &str, text: &str| {
        let lines = answer(client, server).expect("the document says it").lines;
        assert!(lines.iter().any(|line| line.contains(text)), "{text}: {lines:#?}");
    };
    has("10.6(1)SU2", "salesforce", "no TLS 1.0 after 2016-06-25T16:30Z (cisco:74)");
    has("10.6(1)SU2", "salesforce", "no TLS 1.0 after 2017-07-22 (cisco:76)");
    has("10.6(1)SU2", "salesforce", "from 10.6(1)SU3 on, which speaks TLS 1.1 and 1.2");
    has("11.0(1)SU1", "salesforce", "from 11.5(1)SU1 on");
    has("SocialMiner 11.6", "Exchange 2013", "once TLS 1.1 and 1.2 are switched on");
    has("SocialMiner 11.6", "Exchange 2010", "names no way to newer TLS");
    has(
        "1.0",
        "11.5(1)",
        "From 11.5(1)SU1 on Unified CCX speaks no TLS 1.0 as a server (cisco:94)",
    );
    has("11.6(1)", "salesforce", "compat12");
    let modern = answer("11.6(1)", "salesforce").expect("the document says it");
    assert!(!modern.lines.iter().any(|line| line.contains("legacy")), "{:#?}", modern.lines);
}

#[test]
fn what_is_not_said_is_not_answered() {
    for (client, server, text) in [
        ("10.7", "nobody", "has no \"nobody\""),
        ("12.5(1)", "salesforce", "has no \"12.5(1)\""),
        ("SocialMiner 11.6", "exchange", "choose Exchange 2010 or Exchange 2013"),
        ("salesforce", "11.6(1)", "what salesforce speaks as a client"),
        ("1.0", "SocialMiner 11.6", "what SocialMiner 11.6 speaks as a server"),
        ("11.0(2)", "1.2", "what 11.0(2) speaks as a client"),
    ] {
        let error = answer(client, server).expect_err("nothing is invented");
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn every_answer_has_a_connection_of_the_catalogue() {
    let catalogue = Catalogue::shipped();
    for (client, server, seed) in [
        ("10.6(1)SU2", "salesforce", "cisco:60"),
        ("10.6(1)SU2", "1.2", "cisco:80"),
        ("1.0", "11.6(1)", "cisco:54"),
        ("SocialMiner 11.6", "Exchange 2013", "cisco:129"),
        ("SocialMiner 11.6", "1.0", "cisco:129"),
        ("1.0", "SocialMiner 11.5(1)SU1", "cisco:125"),
    ] {
        let answer = answer(client, server).expect("the document says it");
        let entry = answer.entry(&catalogue).expect("a connection");
        assert_eq!(entry.connection.seed, seed, "{client} to {server}");
    }
}
