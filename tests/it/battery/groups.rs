//! What has to work and what has to fail in a row's group, on every row that it can be about.

mod configured;
mod live;
mod variants;

use std::collections::BTreeSet;

use tlsgate::catalogue::{Framing, Mode, Mutual};

use self::variants::Variants;
use super::case::Case;
use super::estate::{Estate, Row, Served};
use super::pki::{Leaf, pki};
use super::report::Part;
use crate::support::Engine;

/// What a cell needs.
struct Stage<'a> {
    served: &'a Served,
    row: &'a Row,
    identity: &'a Leaf,
    variants: &'a Variants,
}

/// Runs every cell of every row.
pub(super) fn run(engine: Engine, report: &mut Part) {
    let cases = Case::all();
    let identity = pki().leaf("battery client");
    let estate = Estate::start(engine, &cases);
    let variants = Variants::start(engine, &cases);
    let mut ran: BTreeSet<&str> = BTreeSet::new();
    for row in &estate.rows {
        let stage = Stage { served: &estate.served, row, identity: &identity, variants: &variants };
        for (sign, words) in [("+", &row.case.must_succeed), ("-", &row.case.must_fail)] {
            for word in words.iter().filter(|word| is_about(word, &row.case)) {
                stage.run(word);
                ran.insert(word);
                report.ran_on_row(&row.case, &[&format!("{sign}{word}")]);
            }
        }
    }
    estate.desktop_login(&identity);
    let words = cases.iter().flat_map(|case| case.must_succeed.iter().chain(&case.must_fail));
    for word in words {
        assert!(ran.contains(word.as_str()), "nothing was run for {word}");
    }
}

/// Whether a cell of a row's group can be about the row: a group has rows of several kinds.
pub(super) fn is_about(word: &str, case: &Case) -> bool {
    let combination = &case.combination;
    let has_tls = combination.has_downstream_tls();
    match word {
        "tls-and-plaintext" | "in-band-upgrade" | "autodetect-ended" => {
            combination.mode == Mode::Autodetect
        }
        "bulk-reload" => case.kind == "genesys-tcp(confserv)",
        "ldaps" | "starttls-to-ldaps" => case.kind == "ldaps",
        "plaintext" => has_tls && combination.mode != Mode::Autodetect,
        "untrusted-gateway" | "old-suites-only" | "tls-1.0-hello" => has_tls,
        "no-client-certificate" => has_tls && combination.mutual == Mutual::Required,
        "revoked" => has_tls && combination.mutual == Mutual::Required,
        "mrcp-proxy" => case.kind == "mrcp",
        "large-fetch" => combination.framing == Framing::Http,
        "several-producers" => case.kind == "genesys-tcp(gvp-reporting)",
        "esp-renamed" => case.port.as_deref() == Some("ESP"),
        "terminate-tds7" => case.kind == "jdbc(tds)",
        "tls-from-the-first-byte" => case.kind.starts_with("jdbc") && case.kind != "jdbc(tds)",
        "through-a-pair" | "changed-silently" => combination.mode == Mode::Pair,
        // Two listeners of two gateways have two sources.
        "source-port" | "source-port-taken" => combination.mode != Mode::Pair,
        _ => true,
    }
}

impl Stage<'_> {
    fn run(&self, word: &str) {
        match word {
            "many-subscribers" => self.many_subscribers(),
            "untrusted-gateway" => self.untrusted_gateway(),
            "plaintext" | "starttls" => self.plaintext(),
            "tls-and-plaintext" => self.tls_and_plaintext(),
            "in-band-upgrade" => self.in_band_upgrade(),
            "bulk-reload" => self.bulk(crate::support::sized(300 << 20, 4 << 20)),
            "large-fetch" => self.bulk(1 << 20),
            "ldaps"
            | "mrcp-proxy"
            | "one-connection-both-ways"
            | "keep-alive"
            | "browser"
            | "through-a-pair" => self.speeches(),
            "starttls-to-ldaps" => self.starttls_to_ldaps(),
            "host-alive" => self.host_alive(),
            "message-rate" => self.message_rate(),
            "several-producers" | "mesh" | "login" => self.several(),
            "no-client-certificate" => self.no_client_certificate(),
            "old-suites-only" => self.old_suites_only(),
            "tls-1.0-hello" => self.tls10_hello(),
            "old-client-modern-server" => {
                self.tls10_hello();
                self.speeches();
            }
            "versions" => {
                self.speeches();
                self.tls10_hello();
            }
            "changed-silently" => self.unchanged(),
            "every-row"
            | "control-server-pair"
            | "switchover"
            | "certificate-of-another-host"
            | "revoked"
            | "source-port"
            | "source-port-taken"
            | "tls-from-the-first-byte"
            | "modern-client-old-server" => self.variants.assert(word, self.row, self.identity),
            _ => configured::assert(word, &self.row.case),
        }
    }
}
