//! Keys of lanes: none may be in two of them, wherever in the configuration.
//!
//! A key of a weak lane may decrypt for whoever asks (static RSA), signs with SHA-1, and is held by
//! the process that is most likely to be broken into. Shared with a better lane, it would give that
//! away, too.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::compile::{Compiler, Problem};
use super::sides::Owner;
use crate::config::model::{CertificateFiles, Config, DownstreamTls, UpstreamTls};
use crate::tls::identity;
use crate::tls::lane::Lane;

/// A certificate that a lane shows.
struct Shown<'a> {
    lane: Lane,
    /// `listener[sip].tls.legacy_certificate`.
    key: String,
    files: &'a CertificateFiles,
}

impl Compiler<'_> {
    /// Reports every key of a weak lane that another lane has. A file that cannot be read is told of
    /// where it is used.
    pub(super) fn keys_of_lanes(&mut self, config: &Config) {
        let mut shown = shown(config);
        if shown.iter().all(|one| one.lane == Lane::Modern) {
            return;
        }
        shown.sort_by_key(|one| one.lane);
        let mut digests: HashMap<&Path, Option<[u8; 32]>> = HashMap::new();
        // Of each key the first place in the best lane.
        let mut first: HashMap<[u8; 32], &Shown<'_>> = HashMap::new();
        for one in &shown {
            let file: &PathBuf = &one.files.certificate;
            let digest = digests.entry(file).or_insert_with(|| identity::public_key(one.files));
            let Some(digest) = *digest else { continue };
            let before = *first.entry(digest).or_insert(one);
            if before.lane != one.lane {
                self.shared(one, before);
            }
        }
    }

    fn shared(&mut self, weak: &Shown<'_>, other: &Shown<'_>) {
        let found = format!(
            "the public key of {}, which {} on line {} has in the {} lane",
            other.files.certificate.display(),
            other.key,
            other.files.certificate_line,
            other.lane.as_str()
        );
        let problem = Problem {
            message: &format!(
                "{} shares its key with another lane",
                weak.files.certificate.display()
            ),
            found: &found,
            hint: "Whoever breaks the weaker lane has the key of both. Make a key that only this \
                   lane has, and a certificate for it.",
        };
        self.report((weak.files.certificate_line, weak.key.clone()), problem);
    }
}

/// Every certificate of the file with its lane; what a rule has from its listener, once.
fn shown(config: &Config) -> Vec<Shown<'_>> {
    let mut all = Vec::new();
    for listener in &config.listeners {
        let own = Owner::listener(listener);
        let sides = (own, listener.tls.as_ref(), listener.upstream_tls.as_ref());
        let rules = listener.rules.iter();
        let rules =
            rules.map(|rule| (own.rule(rule), rule.tls.as_ref(), rule.upstream_tls.as_ref()));
        for (owner, tls, upstream_tls) in std::iter::once(sides).chain(rules) {
            tls.into_iter().for_each(|tls| downstream(owner, tls, &mut all));
            upstream_tls.into_iter().for_each(|tls| upstream(owner, tls, &mut all));
        }
    }
    let mut seen = HashSet::new();
    all.retain(|Shown { lane, files, .. }| {
        seen.insert((*lane, files.certificate_line, files.certificate.as_path()))
    });
    all
}

fn downstream<'a>(owner: Owner<'_>, tls: &'a DownstreamTls, all: &mut Vec<Shown<'a>>) {
    let key = |name: &str| format!("{}.{name}", owner.path("tls"));
    let modern = tls.certificates.iter();
    all.extend(modern.map(|files| Shown { lane: Lane::Modern, key: key("certificate"), files }));
    let compat12 = tls.compat12.as_ref().and_then(|lane| lane.certificate.as_ref());
    all.extend(compat12.map(|files| Shown {
        lane: Lane::Compat12,
        key: key("compat12_certificate"),
        files,
    }));
    let legacy = tls.legacy.as_ref().and_then(|lane| lane.certificate.as_ref());
    all.extend(legacy.map(|files| Shown {
        lane: Lane::Legacy,
        key: key("legacy_certificate"),
        files,
    }));
}

/// A client's key signs and never decrypts: only the legacy lane's other process sets it apart.
fn upstream<'a>(owner: Owner<'_>, tls: &'a UpstreamTls, all: &mut Vec<Shown<'a>>) {
    let lane = if tls.legacy.is_some() { Lane::Legacy } else { Lane::Modern };
    let key = format!("{}.certificate", owner.path("upstream_tls"));
    all.extend(tls.certificate.iter().map(|files| Shown { lane, key: key.clone(), files }));
}
