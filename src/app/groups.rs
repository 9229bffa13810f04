//! Upstreams of a listener, or of a rule of it → the group that a route dials: who is in it, where
//! it is dialled from, and how it is checked.

use std::sync::Arc;

use super::compile::{Compiler, Problem};
use super::sides::Owner;
use crate::config::model::{Listener, ProxyOut, Rule, SourceSettings, Upstream};
use crate::engine::source;
use crate::proxy::{Addresses, Header};
use crate::tls::ClientProfile;
use crate::upstream::{Group, Probe, Role};

/// What the configuration says about a group.
pub(super) struct Components<'a> {
    primaries: &'a [Upstream],
    backups: &'a [Upstream],
    /// 1-based line that names them.
    line: usize,
    proxy_out: Option<ProxyOut>,
    source: &'a SourceSettings,
    /// 1-based line that says so; 0 where that is said, and looked at, elsewhere.
    source_line: usize,
}

impl<'a> Components<'a> {
    pub(super) fn of(listener: &'a Listener) -> Self {
        Self {
            primaries: &listener.upstreams,
            backups: &listener.backups,
            line: listener.upstream_line,
            proxy_out: listener.proxy_out,
            source: &listener.source,
            source_line: listener.source_line,
        }
    }

    /// Those of a rule that has its own.
    pub(super) fn of_rule(rule: &'a Rule, listener: &'a Listener) -> Option<Self> {
        Some(Self {
            primaries: rule.upstreams.as_deref()?,
            backups: &[],
            line: rule.upstream_line,
            proxy_out: rule.proxy_out.unwrap_or(listener.proxy_out),
            source: rule.source.as_ref().unwrap_or(&listener.source),
            source_line: rule.source_line,
        })
    }
}

impl Compiler<'_> {
    /// The endpoints, which are chosen and checked as the listener says; `tls` is what they are
    /// dialled with.
    pub(super) fn group(
        &mut self,
        owner: Owner<'_>,
        components: &Components<'_>,
        listener: &Listener,
        tls: Option<&ClientProfile>,
    ) -> Arc<Group> {
        let name = owner.group();
        let mut endpoints = Vec::new();
        let greeting: Arc<[u8]> = greeting(components.proxy_out).into();
        let primaries = components.primaries.iter().map(|one| (one, Role::Primary));
        let backups = components.backups.iter().map(|one| (one, Role::Backup));
        for (position, (upstream, role)) in primaries.chain(backups).enumerate() {
            match self.upstreams.endpoint(&name, &upstream.endpoint, &mut self.warnings) {
                Ok(mut endpoint) => {
                    endpoint.role = role;
                    endpoint.weight = upstream.weight;
                    endpoint.greeting = Arc::clone(&greeting);
                    let shakes = listener.checks.is_some_and(|checks| checks.tls);
                    let tls = tls.filter(|_| shakes).and_then(|tls| tls.for_checks(position));
                    if let Some((config, server_name)) = tls {
                        endpoint.probe = Probe::Tls(config, server_name);
                    }
                    endpoints.push(endpoint);
                }
                Err(error) => {
                    let hint = "Check the name and the resolver, or give an IP address.";
                    let problem = Problem { message: "cannot be resolved", found: &error, hint };
                    self.report((components.line, owner.path("upstream")), problem);
                }
            }
        }
        if components.source_line > 0 {
            self.source(owner, components);
        }
        Arc::new(Group {
            name: name.as_str().into(),
            endpoints,
            balance: listener.balance,
            source: components.source.clone(),
            checks: listener.checks,
            resolve_interval: listener.resolve_interval,
        })
    }

    /// Asks the kernel now, so that not each connection has to find out.
    fn source(&mut self, owner: Owner<'_>, components: &Components<'_>) {
        let (line, key) = (components.source_line, owner.path("upstream_source"));
        match components.source {
            SourceSettings::Any => {}
            SourceSettings::Client { .. } => {
                let Err(error) = source::can_be_transparent() else { return };
                let problem = Problem {
                    message: "needs a capability that this process does not have",
                    found: &format!("IP_TRANSPARENT: {error}"),
                    hint: "Give it CAP_NET_RAW: in AmbientCapabilities= and CapabilityBoundingSet= \
                           of its systemd unit, or by `setcap cap_net_raw+ep` on the program. A \
                           process whose configuration did not need it when it started has given it \
                           up (gateway.sandbox): USR2 starts one that begins anew.",
                };
                self.report((line, key), problem);
            }
            SourceSettings::From(addresses) => {
                for ip in addresses {
                    let Err(error) = source::can_be_from(*ip) else { continue };
                    self.warnings.push(format!(
                        "{}:{line}: {key} = \"{ip}\" cannot be used now ({error}): connections \
                         come from the others until it is an address of this machine",
                        self.file_name
                    ));
                }
            }
        }
    }
}

/// What a health check says first: that it is no client's connection.
fn greeting(proxy_out: Option<ProxyOut>) -> Vec<u8> {
    let header = Header { addresses: Addresses::Local, ..Header::default() };
    let mut greeting = Vec::new();
    match proxy_out {
        None => {}
        Some(ProxyOut::One) => header.encode_v1(&mut greeting),
        Some(ProxyOut::Two { .. }) => header.encode_v2(&mut greeting).expect("it is short"),
    }
    greeting
}
