//! Links, routes and what expires.

use super::{Lines, Look, NONE, Row, figures};
use crate::admin::page::inventory::{EndRow, Ending, Known, LinkRow, RouteRow, SpeechRow};
use crate::audit::expiry::SOON_DAYS;
use crate::audit::inventory::Concern;
use crate::audit::report::Owner;

pub(super) fn show(lines: &mut Lines, known: &Known) {
    let concerns = known.concerns;
    lines.title(&format!(
        "who talks to whom: {} links; ✕ {} plaintext, ▼ {} legacy TLS, ! {} not authenticated",
        concerns.links, concerns.plaintext, concerns.legacy, concerns.unauthenticated
    ));
    let head = ["peers", "speak", "route", "speaks", "component", "open", "in all"];
    lines.list(&head, 5, &known.links, link);
    if known.workers_missing > 0 {
        let text = format!("  {} shards did not answer: this is not all", known.workers_missing);
        lines.add(text, Look::Warning);
    }
    lines.title("routes");
    let head = ["route", "components up", "open", "in all", "failed connects"];
    lines.list(&head, 2, &known.routes, route);
    lines.title("what expires");
    lines.list(&["what", "whose", "where", "name", "left"], 4, &known.ends, end);
}

fn link(row: &LinkRow) -> Row {
    let look = match row.concern {
        Concern::Plaintext | Concern::Legacy => Look::Bad,
        Concern::Unauthenticated => Look::Warning,
        Concern::Local | Concern::None => Look::Plain,
    };
    let peers = match (row.sources, row.source) {
        (1, Some(source)) => source.to_string(),
        (sources, _) => format!("{} sources", figures::count(sources as u64)),
    };
    let route = match row.route == row.listener {
        true => row.listener.clone(),
        false => format!("{}/{}", row.listener, row.route),
    };
    let cells = vec![
        peers,
        speech(Some(&row.downstream)),
        route,
        speech(row.upstream.as_ref()),
        row.endpoint.clone().unwrap_or_else(|| NONE.to_owned()),
        figures::count(row.open),
        figures::count(row.connections),
    ];
    (cells, look)
}

/// As `tlsgate audit` has it: version, and who is known; with a sign where that should not be.
fn speech(side: Option<&SpeechRow>) -> String {
    let Some(SpeechRow { security, version, concern }) = side else {
        return "not reached".to_owned();
    };
    let sign = match concern {
        Concern::Plaintext => "✕ ",
        Concern::Legacy => "▼ ",
        Concern::Unauthenticated => "! ",
        Concern::Local | Concern::None => "",
    };
    match version {
        None if *concern == Concern::Local => format!("{security}, this machine"),
        Some(version) => format!("{sign}{version} {security}"),
        None => format!("{sign}{security}"),
    }
}

fn route(row: &RouteRow) -> Row {
    let up = match row.endpoints {
        0 => NONE.to_owned(),
        all => format!("{} of {all}", row.endpoints_up),
    };
    let numbers = [row.open, row.connections, row.connect_failures].map(figures::count);
    let look = if row.endpoints_up < row.endpoints { Look::Bad } else { Look::Plain };
    ([row.route.clone(), up].into_iter().chain(numbers).collect(), look)
}

fn end(row: &EndRow) -> Row {
    let what = match row.what {
        Ending::Certificate => "certificate",
        Ending::Staple => "OCSP response",
        Ending::Crl => "CRL",
    };
    let whose = match row.owner {
        Owner::Ours => "ours",
        Owner::Theirs => "theirs",
    };
    let (left, look) = match row.days_left {
        ..0 => (format!("✕ over since {} d", -row.days_left), Look::Bad),
        days @ ..SOON_DAYS => (format!("! {days} d"), Look::Warning),
        days => (format!("{days} d"), Look::Plain),
    };
    ([what, whose, &row.place, &row.name, &left].map(str::to_owned).into(), look)
}
