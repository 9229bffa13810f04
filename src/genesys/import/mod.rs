//! Vendor configuration → ours, with a comment per line of where it came from.
//!
//! Options that the vendor's reader merges one by one stand where they stood. The identity is
//! written as the reader resolves it, whole, at the lowest level that has a part of it; then ours
//! resolves to the same. What weakens a connection (`client-auth=0`) is written for the listener
//! alone, with its end.

mod listeners;
mod tables;

use super::finding::{Finding, Place, Severity};
use super::levels::{OUR_BUNDLE, Set, VENDOR_BUNDLE};
use super::options::Semantics;
use super::sources::{self, Read, Sources};
use super::write;

/// Longest name that our configuration takes.
const MAX_NAME: usize = 64;

/// What the files do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Names the host, the application and the listener that are written.
    pub name: String,
    /// Where the listener listens, `10.0.0.5:2020`.
    pub listen: Option<String>,
    /// The component behind it.
    pub upstream: Option<String>,
    pub semantics: Option<Semantics>,
    /// Why plaintext may leave the machine, where one side has no TLS.
    pub plaintext_reason: Option<String>,
    /// End of `verify = "none"`, `2027-12-31`; demanded where `client-auth=0` is imported.
    pub verify_until: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Our configuration; `None` when a finding is an error.
    pub text: Option<String>,
    pub findings: Vec<Finding>,
}

/// Translates everything.
pub fn import(sources: &Sources, settings: &Settings) -> Imported {
    let mut read = sources::read(sources);
    let findings = std::mem::take(&mut read.findings);
    let mut import = Import { read: &read, settings, findings };
    let listeners = import.listeners();
    let tables = import.tables(&listeners);
    let mut comments = vec!["Written by tlsgate import genesys.".to_owned()];
    comments.extend(read.left_out.iter().map(|section| format!("Not read: {section}")));
    let mut findings: Vec<Finding> = Vec::new();
    for finding in import.findings {
        // What is so on both sides is told once.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    if tables.is_empty() && findings.iter().all(|one| one.severity != Severity::Error) {
        let place = Place::default();
        let hint = "Options stand in [security], in transport or in sip.transport.N.";
        findings.push(Finding::error(&place, "", "There is nothing to import", hint));
    }
    let is_good = findings.iter().all(|finding| finding.severity != Severity::Error);
    Imported { text: is_good.then(|| write::file(&comments, &tables)), findings }
}

struct Import<'a> {
    read: &'a Read,
    settings: &'a Settings,
    findings: Vec<Finding>,
}

fn is_of_identity(set: &Set) -> bool {
    [OUR_BUNDLE, VENDOR_BUNDLE].concat().contains(&set.name.as_str())
}

/// A name of our configuration: what it cannot have becomes a hyphen.
pub fn name(text: &str) -> String {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.chars().map(|c| if is_fit(c) { c } else { '-' }).take(MAX_NAME).collect()
}

/// `lca.cfg:3:1: tls-mutual = 1`
fn origin(set: &Set) -> String {
    format!("{}: {} = {}", set.place, set.name, set.value)
}
