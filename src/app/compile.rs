//! Configuration → policy: reads the files and looks up the names that the configuration mentions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::audit::{crl_item, staple_item};
use super::routes;
use super::standing::{MAX_NAMES, Standing};
use super::status::crl_facts;
use super::upstreams::Upstreams;
use crate::audit::Whose;
use crate::audit::lanes::Opening;
use crate::config::date::Date;
use crate::config::model::{self, Config, DownstreamTls, Listener, Mode, RecordLayer};
use crate::config::{Diagnostic, Diagnostics};
use crate::policy::{ListenerPolicy, Policy};
use crate::telemetry::{CertificateFacts, ListenerNames};
use crate::tls::file::FileProblem;
use crate::tls::identity::{self, Identity};
use crate::tls::lane::Lane;
use crate::tls::provider::provider;
use crate::tls::resumption::Secrets;
use crate::tls::trust::{Loader, SharedCrls};

/// A configuration that can be run.
pub struct Compiled {
    pub policy: Arc<Policy>,
    /// As [`Standing::names`], with what is new.
    pub names: ListenerNames,
    /// For [`Resumption::set`](crate::tls::resumption::Resumption::set), when the policy takes
    /// effect.
    pub secrets: Option<Secrets>,
    pub certificates: Vec<CertificateFacts>,
    /// Lists of revoked certificates; each set of files once.
    pub crls: Vec<Arc<SharedCrls>>,
    /// Listeners with `mode = "autodetect"`, and their last day.
    pub autodetect: Vec<(Arc<str>, Option<Date>)>,
    /// Lanes weaker than the modern one.
    pub lanes: Vec<Opening>,
    /// Worth telling, and no reason not to start.
    pub warnings: Vec<String>,
}

/// Where upstreams' addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Names are looked up.
    Fresh,
    /// Those of endpoints that are known stay as they are.
    Kept,
}

/// Compiles `config`, which was read from `file_name`, to follow what `standing` ran before.
/// `now` is Unix time in seconds.
///
/// # Errors
/// Everything that is wrong with certificates, keys, secrets and upstream names, at once.
pub fn compile(
    file_name: &str,
    config: &Config,
    standing: &Standing,
    addresses: Addresses,
    now: i64,
) -> Result<Compiled, Diagnostics> {
    let Some((names, indexes)) = standing.names_with(&config.listeners) else {
        return Err(too_many_names(file_name));
    };
    let endpoints = routes::endpoints(config);
    let endpoints = endpoints.iter().map(|(group, endpoint)| (group.as_str(), *endpoint));
    let mut compiled = Compiler {
        file_name,
        now,
        generation: standing.generation() + 1,
        indexes,
        upstreams: Upstreams::look_up(standing, endpoints, addresses),
        standing,
        loader: Loader::new(provider()),
        lifetime: config.resumption.lifetime,
        records: config.gateway.record_layer,
        groups: 0,
        listeners: Vec::new(),
        certificates: Vec::new(),
        warnings: config.notes.clone(),
        diagnostics: Diagnostics::default(),
    };
    for (position, listener) in config.listeners.iter().enumerate() {
        compiled.listener(position, listener);
    }
    compiled.keys_of_lanes(config);
    let crls: Vec<Arc<SharedCrls>> = compiled.loader.crls().cloned().collect();
    let facts = crl_facts(&crls);
    let staples = compiled.certificates.iter().filter_map(staple_item);
    let ending = staples.chain(facts.iter().map(crl_item));
    compiled.warnings.extend(ending.filter_map(|item| item.warning(now)));
    let secrets = secrets(file_name, &config.resumption, &mut compiled.diagnostics);
    if !compiled.diagnostics.is_empty() {
        return Err(compiled.diagnostics);
    }
    Ok(Compiled {
        policy: Arc::new(Policy { generation: compiled.generation, listeners: compiled.listeners }),
        names,
        secrets,
        certificates: compiled.certificates,
        crls,
        autodetect: autodetect(config),
        lanes: openings(config, now),
        warnings: compiled.warnings,
    })
}

fn autodetect(config: &Config) -> Vec<(Arc<str>, Option<Date>)> {
    let listeners = config.listeners.iter().filter(|listener| listener.mode == Mode::Autodetect);
    let last_day = |listener: &Listener| {
        let mut exceptions = listener.exceptions.iter();
        let own = exceptions.find(|exception| exception.key.ends_with(".autodetect_until"));
        own.map(|exception| exception.until)
    };
    listeners.map(|listener| (listener.name.as_str().into(), last_day(listener))).collect()
}

/// Every weak lane of a listener, and of its rules that have lanes of their own.
fn openings(config: &Config, now: i64) -> Vec<Opening> {
    let mut all = Vec::new();
    for listener in &config.listeners {
        let own = (&listener.name, &listener.tls, &listener.upstream_tls);
        let rules =
            listener.rules.iter().map(|rule| (&rule.spec.name, &rule.tls, &rule.upstream_tls));
        for (route, tls, upstream_tls) in std::iter::once(own).chain(rules) {
            let downstream = tls.as_ref().map(|tls| (&tls.compat12, &tls.legacy));
            let upstream = upstream_tls.as_ref().map(|tls| (&tls.compat12, &tls.legacy));
            for (side, lanes) in [(Whose::Downstream, downstream), (Whose::Upstream, upstream)] {
                let Some((compat12, legacy)) = lanes else { continue };
                let opening = |lane, until, allow_from| Opening {
                    listener: listener.name.as_str().into(),
                    route: route.as_str().into(),
                    side,
                    lane,
                    until,
                    allow_from,
                    since: now,
                };
                all.extend(compat12.iter().map(|_| opening(Lane::Compat12, None, Vec::new())));
                all.extend(legacy.iter().map(|legacy| {
                    let until = (legacy.until.to_string(), legacy.until.end());
                    let allowed = legacy.allow_from.iter().map(ToString::to_string).collect();
                    opening(Lane::Legacy, Some(until), allowed)
                }));
            }
        }
    }
    all
}

/// Checks the files that these sections name, for a configuration that is wrong elsewhere.
pub(super) fn check_files(
    file_name: &str,
    resumption: Option<&model::Resumption>,
    sections: &[(String, DownstreamTls)],
    diagnostics: &mut Diagnostics,
) {
    if let Some(resumption) = resumption {
        // They are read again when the rest is right.
        let _secrets = secrets(file_name, resumption, diagnostics);
    }
    for (listener, tls) in sections {
        for problem in identity::load(tls, &provider()).err().unwrap_or_default() {
            diagnostics.push(diagnostic(file_name, &format!("listener[{listener}].tls"), problem));
        }
    }
}

/// The secrets of tickets, `None` where no file gives them or where it has problems.
fn secrets(
    file_name: &str,
    resumption: &model::Resumption,
    diagnostics: &mut Diagnostics,
) -> Option<Secrets> {
    Secrets::load(resumption).unwrap_or_else(|problems| {
        for problem in problems {
            diagnostics.push(diagnostic(file_name, "resumption", problem));
        }
        None
    })
}

/// Days before the last one of an exception from which it is warned about.
const SOON: i64 = 30;

pub(super) struct Compiler<'a> {
    pub(super) file_name: &'a str,
    pub(super) now: i64,
    pub(super) generation: u64,
    /// Of every listener in telemetry, by name.
    pub(super) indexes: HashMap<Arc<str>, usize>,
    pub(super) standing: &'a Standing,
    pub(super) upstreams: Upstreams<'a>,
    /// Reads CAs and CRLs once.
    pub(super) loader: Loader,
    /// Of sessions.
    pub(super) lifetime: Duration,
    pub(super) records: RecordLayer,
    /// Routes so far, over all listeners.
    pub(super) groups: usize,
    pub(super) listeners: Vec<Arc<ListenerPolicy>>,
    pub(super) certificates: Vec<CertificateFacts>,
    pub(super) warnings: Vec<String>,
    pub(super) diagnostics: Diagnostics,
}

impl Compiler<'_> {
    /// What has a last day is refused after it.
    pub(super) fn exceptions(&mut self, listener: &Listener) {
        for exception in &listener.exceptions {
            let model::Exception { key, line, .. } = exception;
            let until = exception.until;
            match until.days_left(self.now) {
                Some(days) if days > SOON => {}
                Some(days) => self.warnings.push(format!(
                    "{}:{line}: {key} = \"{until}\" ends in {days} days: after it this \
                     configuration is refused",
                    self.file_name
                )),
                None => self.diagnostics.push(Diagnostic {
                    file: self.file_name.to_owned(),
                    line: *line,
                    column: 1,
                    key: key.clone(),
                    message: "is over".to_owned(),
                    found: format!("\"{until}\""),
                    allowed: "today (UTC) or later".to_owned(),
                    hint: "Do without what it allowed, or decide anew up to when it may hold."
                        .to_owned(),
                }),
            }
        }
    }

    pub(super) fn note_certificates(
        &mut self,
        listener: &str,
        side: Whose,
        identities: &[Identity],
    ) {
        for identity in identities {
            self.certificates.push(CertificateFacts {
                listener: listener.into(),
                side,
                subject: identity.subject.clone(),
                serial: identity.serial.clone(),
                not_after_unix: identity.not_after,
                staple: identity.staple,
            });
        }
        for warning in identity::warnings(identities, self.now) {
            self.warnings.push(format!(
                "{}:{}: certificate {} ({}) {}",
                self.file_name,
                warning.line,
                warning.certificate.display(),
                warning.subject,
                warning.kind,
            ));
        }
    }

    pub(super) fn file_problems(&mut self, table: &str, problems: Vec<FileProblem>) {
        for problem in problems {
            self.diagnostics.push(diagnostic(self.file_name, table, problem));
        }
    }

    /// Reports what is not about a file.
    pub(super) fn report(&mut self, (line, key): (usize, String), problem: Problem<'_>) {
        let Problem { message, found, hint } = problem;
        self.diagnostics.push(Diagnostic {
            file: self.file_name.to_owned(),
            line,
            column: 1,
            key,
            message: message.to_owned(),
            found: found.to_owned(),
            allowed: String::new(),
            hint: hint.to_owned(),
        });
    }
}

/// The texts of a diagnostic.
pub(super) struct Problem<'a> {
    pub(super) message: &'a str,
    pub(super) found: &'a str,
    pub(super) hint: &'a str,
}

fn too_many_names(file_name: &str) -> Diagnostics {
    Diagnostics::from(Diagnostic {
        file: file_name.to_owned(),
        line: 1,
        column: 1,
        key: "listener".to_owned(),
        message: format!("has names that, with those used before, are over {MAX_NAMES}"),
        found: String::new(),
        allowed: String::new(),
        hint: "Keep the names of listeners that stay, or restart: counters are kept by name."
            .to_owned(),
    })
}

pub(super) fn diagnostic(file_name: &str, table: &str, problem: FileProblem) -> Diagnostic {
    Diagnostic {
        file: file_name.to_owned(),
        line: problem.line,
        column: 1,
        key: format!("{table}.{}", problem.key),
        message: format!("{} cannot be used", problem.file.display()),
        found: problem.found,
        allowed: problem.allowed.to_owned(),
        hint: problem.hint,
    }
}
