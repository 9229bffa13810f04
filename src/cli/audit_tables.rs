//! A report of the audit as tables, for people.

use std::fmt::Write;

use comfy_table::Table;

use crate::audit::Report;
use crate::audit::autodetect::{Watch, in_words};
use crate::audit::lanes::OpeningRow;
use crate::audit::report::{
    CertificateRow, ConnectionRow, CrlRow, List, OthersRow, Owner, PairRow, SideRow,
};
use crate::telemetry::access_log::rfc3339::to_the_minute;

/// Every section that is there.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let now = report.taken_unix;
    if let Some(pairs) = &report.pairs {
        let head = [
            "listener",
            "from",
            "downstream",
            "to",
            "upstream",
            "conns",
            "open",
            "resumed",
            "first",
            "last",
        ];
        section(&mut text, "connections by pair", head, pairs, |row| pair(row, now));
        others(&mut text, &report.others);
    }
    if let Some(list) = &report.connections {
        text.push_str(&connections(list));
    }
    if let Some(certificates) = &report.certificates {
        let head = ["days left", "until", "whose", "listener", "subject", "serial", "open", "OCSP"];
        section(&mut text, "certificates", head, certificates, certificate);
    }
    if let Some(crls) = &report.crls {
        let head = ["days left", "next update", "issuer", "file", "revoked"];
        section(&mut text, "lists of revoked certificates", head, crls, crl);
    }
    for watch in report.autodetect.iter().flatten() {
        autodetect(&mut text, watch, now);
    }
    if report.autodetect.as_ref().is_some_and(Vec::is_empty) {
        line(&mut text, "no listener has mode = \"autodetect\"");
    }
    for row in report.lanes.iter().flatten() {
        opening(&mut text, row, now);
    }
    if report.lanes.as_ref().is_some_and(Vec::is_empty) {
        line(&mut text, "no lane is open but the modern one: nobody can speak TLS 1.0 or 1.1");
    }
    if report.workers_missing > 0 {
        let (missing, all) = (report.workers_missing, report.workers);
        line(&mut text, &format!("{missing} of {all} workers did not answer: this is not all"));
    }
    text
}

/// Connections that are open.
pub(super) fn connections(list: &List<ConnectionRow>) -> String {
    let mut text = String::new();
    let head = ["id", "listener", "from", "downstream", "to", "upstream", "stage", "age", "gen"];
    section(&mut text, "open connections", head, list, connection);
    text
}

/// One connection in a few lines.
pub(super) fn one_connection(row: &ConnectionRow) -> String {
    let [id, route, from, downstream, to, upstream, stage, age, generation] = connection(row);
    let sni = row.sni.as_ref().map_or_else(String::new, |sni| format!(", asks for {sni}"));
    format!(
        "connection {id} of generation {generation}: {stage}, open for {age}\nfrom {from} by \
         {route}{sni}: {downstream}\nto {to}: {upstream}"
    )
}

fn section<T, const N: usize>(
    text: &mut String,
    title: &str,
    head: [&str; N],
    list: &List<T>,
    row: impl Fn(&T) -> [String; N],
) {
    line(text, &format!("{title}: {}", list.len()));
    if list.rows.is_empty() {
        return;
    }
    let mut table = Table::new();
    table.set_header(head);
    for one in &list.rows {
        table.add_row(row(one));
    }
    line(text, &table.to_string());
    if list.left_out > 0 {
        line(text, &format!("{} more are left out: see --limit", list.left_out));
    }
}

fn pair(row: &PairRow, now: i64) -> [String; 10] {
    let seen = &row.seen;
    let upstream = row.upstream.as_ref();
    let share = |side: Option<&SideRow>| {
        let side = side.filter(|side| side.version.is_some());
        side.map_or("-".to_owned(), |side| {
            format!("{} %", side.resumed * 100 / seen.connections.max(1))
        })
    };
    [
        route(&row.listener, &row.route),
        row.source.map_or("unix socket".to_owned(), |source| source.to_string()),
        side(CLIENT_CERT, &row.downstream),
        to(row.endpoint.as_deref(), row.address.as_deref()),
        upstream.map_or("never reached".to_owned(), |row| side(VERIFY, row)),
        seen.connections.to_string(),
        seen.open.to_string(),
        format!("{} / {}", share(Some(&row.downstream)), share(upstream)),
        to_the_minute(seen.first),
        format!("{} ago", in_words(now - seen.last)),
    ]
}

fn connection(row: &ConnectionRow) -> [String; 9] {
    let told =
        |key, one: &Option<SideRow>| one.as_ref().map_or("-".to_owned(), |one| side(key, one));
    [
        row.id.clone(),
        route(&row.listener, &row.route),
        row.peer.clone().unwrap_or_else(|| "unix socket".to_owned()),
        told(CLIENT_CERT, &row.downstream),
        to(row.endpoint.as_deref(), row.address.as_deref()),
        told(VERIFY, &row.upstream),
        row.stage.clone(),
        in_words(i64::try_from(row.age_seconds).unwrap_or(i64::MAX)),
        row.generation.to_string(),
    ]
}

fn certificate(row: &CertificateRow) -> [String; 8] {
    let staple = row.staple_days_left.map(|days| format!("{days} days left"));
    [
        row.days_left.to_string(),
        to_the_minute(row.not_after),
        match row.owner {
            Owner::Ours => format!("ours, {}", row.side.as_str()),
            Owner::Theirs => format!("theirs, {}", row.side.as_str()),
        },
        row.listener.clone(),
        row.subject.clone(),
        row.serial.clone(),
        row.seen.map_or_else(String::new, |seen| seen.open.to_string()),
        staple.unwrap_or_default(),
    ]
}

fn crl(row: &CrlRow) -> [String; 5] {
    [
        row.days_left.to_string(),
        to_the_minute(row.next_update),
        row.issuer.clone(),
        row.file.clone(),
        row.revoked.to_string(),
    ]
}

fn autodetect(text: &mut String, watch: &Watch, now: i64) {
    line(text, &format!("listener {}: {}", watch.listener, watch.why));
    let until = match (&watch.until, watch.days_till_end) {
        (Some(until), Some(days)) => format!("plaintext is taken until {until} ({days} days)"),
        (Some(until), None) => format!("plaintext was to end on {until}"),
        (None, _) => "plaintext is taken without end".to_owned(),
    };
    let since = to_the_minute(watch.watched_since);
    line(text, &format!("  watched since {since}; {until}"));
    let (plaintext, tls) = (watch.plaintext_connections, watch.tls_connections);
    line(text, &format!("  connections: {plaintext} of plaintext, {tls} of TLS"));
    let lists = [("plaintext", &watch.plaintext_sources), ("TLS alone", &watch.tls_sources)];
    for (what, list) in lists {
        for row in &list.rows {
            let source = row.source.map_or("unix socket".to_owned(), |source| source.to_string());
            let (seen, ago) = (&row.seen, in_words(now - row.seen.last));
            let counts = format!("{} connections, {} open", seen.connections, seen.open);
            line(text, &format!("  {what}: {source}, {counts}, last {ago} ago"));
        }
        if list.left_out > 0 {
            line(text, &format!("  {what}: {} more sources", list.left_out));
        }
    }
}

fn opening(text: &mut String, row: &OpeningRow, now: i64) {
    let place = route(&row.listener, &row.route);
    let (side, lane) = (row.side.as_str(), &row.lane);
    line(text, &format!("{place}, {side}: lane {lane}: {}", row.why));
    let until = match (&row.until, row.days_left) {
        (Some(until), Some(days)) => format!("until {until} ({days} days)"),
        (Some(until), None) => format!("over since the end of {until}"),
        (None, _) => "without end".to_owned(),
    };
    let whose = match row.allow_from.as_slice() {
        [] => "whoever comes".to_owned(),
        list => list.join(", "),
    };
    let since = to_the_minute(row.since);
    line(text, &format!("  {until}, for {whose}; watched since {since}"));
    for user in &row.users.rows {
        let source = user.source.map_or("unix socket".to_owned(), |source| source.to_string());
        let spoken = [&user.version, &user.suite].map(|word| word.as_deref().unwrap_or("-"));
        let modern = if user.modern { ", which the modern lane has" } else { "" };
        let (seen, to) = (&user.seen, to(user.endpoint.as_deref(), None));
        let counts = format!("{} connections, {} open", seen.connections, seen.open);
        let (spoken, ago) = (spoken.join(" "), in_words(now - seen.last));
        line(text, &format!("  {source} to {to}: {spoken}{modern}, {counts}, last {ago} ago"));
    }
    if row.users.left_out > 0 {
        line(text, &format!("  {} more", row.users.left_out));
    }
}

fn others(text: &mut String, others: &OthersRow) {
    let OthersRow { connections, open, evicted_rows, evicted_connections } = others;
    if *connections > 0 {
        line(text, &format!("others, without a row: {connections} connections, {open} open"));
    }
    if *evicted_rows > 0 {
        line(
            text,
            &format!(
                "forgotten to make room: {evicted_rows} rows of {evicted_connections} \
                      connections"
            ),
        );
    }
}

const CLIENT_CERT: &str = "client_cert";
const VERIFY: &str = "verify";

/// How a side speaks, in few words: `TLSv1.3 TLS_AES_128_GCM_SHA256, verify = none,
/// UNAUTHENTICATED`. `key` is the option that says how the other's certificate is looked at.
fn side(key: &str, row: &SideRow) -> String {
    let mut words = match (&row.version, &row.suite) {
        (Some(version), Some(suite)) => format!("{version} {suite}"),
        _ => row.security.clone(),
    };
    let mut add = |word: String| {
        let _never_fails = write!(words, ", {word}");
    };
    if let Some(lane) = &row.lane {
        add(format!("lane {lane}"));
    }
    if let Some(checks) = &row.checks {
        add(format!("{key} = {checks}"));
    }
    if let Some(shown) = row.shown.as_ref().filter(|shown| *shown != "verified") {
        add(format!("shown: {shown}"));
    }
    if row.unauthenticated {
        add("UNAUTHENTICATED".to_owned());
    }
    if let (Some(subject), Some(serial)) = (&row.subject, &row.serial) {
        add(format!("{subject} ({serial})"));
    }
    words
}

fn to(endpoint: Option<&str>, address: Option<&str>) -> String {
    match (endpoint, address) {
        (Some(endpoint), Some(address)) if endpoint != address => format!("{endpoint} ({address})"),
        (Some(endpoint), _) => endpoint.to_owned(),
        (None, _) => "-".to_owned(),
    }
}

fn route(listener: &str, route: &str) -> String {
    if listener == route { listener.to_owned() } else { format!("{listener}/{route}") }
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}
