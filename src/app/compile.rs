//! Configuration → policy: reads the files and looks up the names that the configuration mentions.

use std::collections::{BTreeSet, HashMap};
use std::net::ToSocketAddrs;
use std::sync::Arc;

use super::standing::{MAX_NAMES, Standing};
use crate::config::model::{self, Config, DownstreamTls, Endpoint, Listener, Mode};
use crate::config::{Diagnostic, Diagnostics};
use crate::engine::Address;
use crate::policy::{Downstream, ListenerPolicy, Policy, Route};
use crate::telemetry::{CertificateFacts, ListenerNames};
use crate::tls::ServerProfile;
use crate::tls::file::FileProblem;
use crate::tls::identity::{self, Identities};
use crate::tls::provider::{provider, provider_with};
use crate::tls::resumption::{Binding, Domain, DomainParts, PolicyId, Secrets};
use crate::tls::server_config::server_config;
use crate::tls::trust::Loader;

/// A configuration that can be run.
pub struct Compiled {
    pub policy: Arc<Policy>,
    /// As [`Standing::names`], with what is new.
    pub names: ListenerNames,
    /// For [`Resumption::set`](crate::tls::resumption::Resumption::set), when the policy takes
    /// effect.
    pub secrets: Option<Secrets>,
    pub certificates: Vec<CertificateFacts>,
    /// Worth telling, and no reason not to start.
    pub warnings: Vec<String>,
}

/// Where upstreams' addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Names are looked up.
    Fresh,
    /// Those of the policy that runs, which was compiled from the same configuration.
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
    let mut compiled = Compiler {
        file_name,
        now,
        generation: standing.generation() + 1,
        indexes,
        kept: standing.policy.as_deref().filter(|_| addresses == Addresses::Kept),
        standing,
        loader: Loader::new(provider()),
        listeners: Vec::new(),
        certificates: Vec::new(),
        warnings: Vec::new(),
        diagnostics: Diagnostics::default(),
    };
    for (position, listener) in config.listeners.iter().enumerate() {
        compiled.listener(position, listener);
    }
    let secrets = secrets(file_name, &config.resumption, &mut compiled.diagnostics);
    if !compiled.diagnostics.is_empty() {
        return Err(compiled.diagnostics);
    }
    Ok(Compiled {
        policy: Arc::new(Policy { generation: compiled.generation, listeners: compiled.listeners }),
        names,
        secrets,
        certificates: compiled.certificates,
        warnings: compiled.warnings,
    })
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
            diagnostics.push(tls_diagnostic(file_name, listener, problem));
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

struct Compiler<'a> {
    file_name: &'a str,
    now: i64,
    generation: u64,
    /// Of every listener in telemetry, by name.
    indexes: HashMap<Arc<str>, usize>,
    standing: &'a Standing,
    /// Whose upstreams' addresses are still good.
    kept: Option<&'a Policy>,
    /// Reads CAs and CRLs once.
    loader: Loader,
    listeners: Vec<Arc<ListenerPolicy>>,
    certificates: Vec<CertificateFacts>,
    warnings: Vec<String>,
    diagnostics: Diagnostics,
}

impl Compiler<'_> {
    fn listener(&mut self, position: usize, listener: &Listener) {
        let name: Arc<str> = listener.name.as_str().into();
        let index = self.indexes[&name];
        let kept = self.kept.map(|policy| policy.listeners[position].route().upstreams.clone());
        let upstreams = kept.unwrap_or_else(|| self.upstreams(listener));
        self.exceptions(listener);
        let tls = match &listener.tls {
            None => None,
            Some(tls) => match self.tls(listener, tls, &name) {
                None => return,
                profile => profile,
            },
        };
        self.listeners.push(Arc::new(ListenerPolicy {
            generation: self.generation,
            position,
            index,
            name: Arc::clone(&name),
            downstream: downstream(listener.mode),
            timeouts: listener.timeouts,
            keepalive: listener.keepalive,
            rules: Arc::default(),
            routes: vec![Arc::new(Route {
                name,
                group: position,
                tls,
                upstream_tls: None,
                connect: listener.connect,
                upstream_names: upstreams
                    .iter()
                    .map(|address| address.to_string().into())
                    .collect(),
                upstreams,
            })],
        }));
    }

    /// What has a last day is refused after it.
    fn exceptions(&mut self, listener: &Listener) {
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

    fn tls(
        &mut self,
        listener: &Listener,
        tls: &DownstreamTls,
        name: &Arc<str>,
    ) -> Option<ServerProfile> {
        let provider = provider_with(&tls.ciphers);
        let identities = match identity::load_with(tls, &provider, &mut self.loader) {
            Ok(identities) => identities,
            Err(problems) => {
                for problem in problems {
                    self.diagnostics.push(tls_diagnostic(self.file_name, &listener.name, problem));
                }
                return None;
            }
        };
        self.note_certificates(name, &identities);
        let parts = DomainParts {
            policy: PolicyId { listener: name, rule: "" },
            names: &identities.names(),
            client_cert: tls.client_cert,
            trusted: identities.trust.trusted(),
            options: &BTreeSet::new(),
        };
        let crl_epoch = identities.trust.crls().map(|crls| Arc::clone(crls.epoch()));
        let binding = Binding::new(&parts, crl_epoch.unwrap_or_default());
        let domain = Domain::new(tls.resumption, binding, &self.standing.resumption);
        match server_config(tls, &identities, &domain, &provider) {
            Ok(config) => {
                let resolver = Arc::clone(&identities.resolver);
                Some(ServerProfile::new(config, resolver, tls))
            }
            Err(error) => {
                self.report(listener, "tls", "cannot be used", &error.to_string(), "");
                None
            }
        }
    }

    fn upstreams(&mut self, listener: &Listener) -> Vec<Address> {
        let mut addresses = Vec::new();
        for endpoint in &listener.upstreams {
            match endpoint {
                Endpoint::Tcp(address) => addresses.push(Address::Tcp(*address)),
                Endpoint::Unix(path) => addresses.push(Address::Unix(path.clone())),
                Endpoint::Name(host, port) => match (host.as_str(), *port).to_socket_addrs() {
                    Ok(found) => addresses.extend(found.map(Address::Tcp)),
                    Err(error) => {
                        let found = format!("{host}:{port} ({error})");
                        let hint = "Check the name and the resolver, or give an IP address.";
                        self.report(listener, "upstream", "cannot be resolved", &found, hint);
                    }
                },
            }
        }
        addresses
    }

    fn note_certificates(&mut self, listener: &Arc<str>, identities: &Identities) {
        for identity in &identities.list {
            self.certificates.push(CertificateFacts {
                listener: Arc::clone(listener),
                subject: identity.subject.clone(),
                serial: identity.serial.clone(),
                not_after_unix: identity.not_after,
            });
        }
        for warning in identities.warnings(self.now) {
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

    fn report(&mut self, listener: &Listener, key: &str, message: &str, found: &str, hint: &str) {
        self.diagnostics.push(Diagnostic {
            file: self.file_name.to_owned(),
            line: listener.upstream_line,
            column: 1,
            key: format!("listener[{}].{key}", listener.name),
            message: message.to_owned(),
            found: found.to_owned(),
            allowed: String::new(),
            hint: hint.to_owned(),
        });
    }
}

fn downstream(mode: Mode) -> Downstream {
    match mode {
        Mode::Terminate | Mode::Bridge | Mode::PairExit => Downstream::Tls,
        Mode::Originate | Mode::PairEntry => Downstream::Plaintext,
        Mode::Autodetect => Downstream::Detect,
        Mode::Passthrough => Downstream::Passthrough,
    }
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

fn tls_diagnostic(file_name: &str, listener: &str, problem: FileProblem) -> Diagnostic {
    diagnostic(file_name, &format!("listener[{listener}].tls"), problem)
}

fn diagnostic(file_name: &str, table: &str, problem: FileProblem) -> Diagnostic {
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
