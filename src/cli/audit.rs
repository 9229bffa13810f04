//! `tlsgate audit`: who speaks what with whom, and what expires, as the running gateway has seen it.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::whom::{ANOTHER_ANSWER, Whom};
use super::{Exit, audit_tables, print};
use crate::app::control::{Request, Response};
use crate::audit::autodetect::Verdict;
use crate::audit::lanes::Need;
use crate::audit::query::{MAX_ROWS, QUIET_SECONDS};
use crate::audit::{Query, Report, Section};
use crate::config::units::parse_duration;

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    whom: Whom,
    /// Show certificates, ours and those of others, what expires first first
    #[arg(long)]
    certificates: bool,
    /// Show lists of revoked certificates, what expires first first
    #[arg(long)]
    crls: bool,
    /// Show where plaintext or TLS may come, who still speaks plaintext, and whether TLS can be
    /// enforced; ends with 6 where it cannot
    #[arg(long)]
    autodetect: bool,
    /// Show who still needs a lane weaker than the modern one, such as that of TLS 1.0, and up to
    /// when; ends with 6 where one is open that nobody needs
    #[arg(long)]
    lanes: bool,
    /// Show connections that are open, with their ids for `tlsgate explain --connection`
    #[arg(long)]
    connections: bool,
    /// Only of this listener
    #[arg(long, value_name = "LISTENER")]
    listener: Option<String>,
    /// Only of this source
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,
    /// Only where a side is plaintext; ends with 6 if there is one, as do the next three
    #[arg(long)]
    plaintext: bool,
    /// Only where a component is not verified, or a peer that was asked has proved nothing
    #[arg(long)]
    unauthenticated: bool,
    /// Only where a side speaks TLS older than this
    #[arg(long, value_name = "VERSION")]
    below: Option<Below>,
    /// Only what expires within so many days
    #[arg(long, value_name = "DAYS")]
    expiring: Option<u16>,
    /// How long nobody must have spoken plaintext before TLS can be enforced, or have needed a lane
    /// before it can go; without it, 7d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    quiet: Option<Duration>,
    /// Most rows of each section
    #[arg(long, value_name = "ROWS", default_value_t = 1000, value_parser = limit)]
    limit: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A version of TLS to compare with.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Below {
    #[value(name = "1.2")]
    V1_2,
    #[value(name = "1.3")]
    V1_3,
}

/// Asks, prints, and ends with 6 where something was looked for and found.
pub(super) fn audit(options: &Options) -> Exit {
    let query = query(options);
    let request = Request::Audit { query: Box::new(query.clone()) };
    let report = match options.whom.ask(&request) {
        Ok(Response::Audited { report }) => report,
        Ok(Response::Refused { error }) => return failed(&error, Exit::Failure),
        Ok(_) => return failed(ANOTHER_ANSWER, Exit::Failure),
        Err((error, exit)) => return failed(&error, exit),
    };
    let text = if options.json {
        let text = serde_json::to_string_pretty(&report).expect("keys are strings");
        format!("{text}\n")
    } else {
        audit_tables::render(&report)
    };
    match print(&text) {
        Exit::Success if found(&query, &report) => Exit::Found,
        Exit::Success if looks(&query) && !report.is_complete() => failed(
            "nothing was found, and not everything could be looked at: there is more than the rows \
             above, or a worker did not answer",
            Exit::Failure,
        ),
        exit => exit,
    }
}

fn query(options: &Options) -> Query {
    let asked = [
        (options.certificates, Section::Certificates),
        (options.crls, Section::Crls),
        (options.autodetect, Section::Autodetect),
        (options.connections, Section::Connections),
        (options.lanes, Section::Lanes),
    ];
    let asked = asked.into_iter().filter_map(|(is_asked, section)| is_asked.then_some(section));
    let mut sections: Vec<Section> = asked.collect();
    if sections.is_empty() {
        sections = match options.expiring {
            Some(_) => vec![Section::Certificates, Section::Crls],
            None => vec![Section::Pairs],
        };
    }
    Query {
        sections,
        listener: options.listener.clone(),
        source: options.from,
        plaintext: options.plaintext,
        unauthenticated: options.unauthenticated,
        below: options.below.map(|below| {
            match below {
                Below::V1_2 => "TLSv1.2",
                Below::V1_3 => "TLSv1.3",
            }
            .to_owned()
        }),
        expiring_days: options.expiring.map(i64::from),
        quiet_seconds: options.quiet.map_or(QUIET_SECONDS, |quiet| quiet.as_secs()),
        limit: options.limit,
    }
}

/// Whether something is looked for that should not be.
fn looks(query: &Query) -> bool {
    query.looks_for_faults() || query.expiring_days.is_some()
}

/// Whether there is what should not be.
fn found(query: &Query, report: &Report) -> bool {
    let certificates = report.certificates.as_ref().is_some_and(|list| !list.is_empty());
    let crls = report.crls.as_ref().is_some_and(|list| !list.is_empty());
    let pairs = report.pairs.as_ref().is_some_and(|list| !list.is_empty());
    let connections = report.connections.as_ref().is_some_and(|list| !list.is_empty());
    let mut watches = report.autodetect.iter().flatten();
    let mut lanes = report.lanes.iter().flatten();
    query.expiring_days.is_some() && (certificates || crls)
        || query.looks_for_faults() && (pairs || connections)
        || watches.any(|watch| watch.verdict != Verdict::Safe)
        || lanes.any(|row| row.need == Need::Unneeded)
}

fn failed(error: &str, exit: Exit) -> Exit {
    eprintln!("{error}");
    exit
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a number with ms, s, m, h or d, as in \"7d\"".to_owned())
}

fn limit(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_ROWS).contains(number));
    number.ok_or_else(|| format!("a number from 1 to {MAX_ROWS}"))
}
