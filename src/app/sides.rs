//! The TLS of a route's two sides, from what the configuration says about it.

use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use super::compile::{Compiler, Problem};
use crate::audit::Whose;
use crate::config::model::{
    CertificateFiles, DownstreamTls, Endpoint, Listener, Rule, Sni, Upstream, UpstreamTls,
};
use crate::tls::client_config::{ClientSettings, client_config};
use crate::tls::identity::{self, Identity};
use crate::tls::lane::Lane;
use crate::tls::openssl::spec::ServerSpec;
use crate::tls::provider::provider_with;
use crate::tls::resumption::{Binding, Domain, DomainId, DomainParts, PolicyId};
use crate::tls::server_config::server_config;
use crate::tls::trust::{ClientTrust, ClientTrustSettings, ServerTrust, ServerTrustSettings};
use crate::tls::weak::{self, WeakClient, WeakServer};
use crate::tls::{ClientProfile, ServerProfile};

/// A listener, or a rule of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    listener: &'a str,
    /// Empty for the listener itself.
    rule: &'a str,
    /// 1-based line of the configuration.
    line: usize,
}

impl<'a> Owner<'a> {
    pub(super) fn listener(listener: &'a Listener) -> Self {
        Self { listener: &listener.name, rule: "", line: listener.listen_line }
    }

    pub(super) fn rule(self, rule: &'a Rule) -> Self {
        Self { rule: &rule.spec.name, line: rule.spec.line as usize, ..self }
    }

    /// Names its endpoints over configurations, and in telemetry.
    pub(super) fn group(&self) -> String {
        match self.rule {
            "" => self.listener.to_owned(),
            // No name of a listener has a slash.
            rule => format!("{}/{rule}", self.listener),
        }
    }

    /// `listener[sip].tls`, `listener[sip].rule[partners].tls`.
    pub(super) fn path(&self, table: &str) -> String {
        match self.rule {
            "" => format!("listener[{}].{table}", self.listener),
            rule => format!("listener[{}].rule[{rule}].{table}", self.listener),
        }
    }

    fn policy(&self) -> PolicyId<'a> {
        PolicyId { listener: self.listener, rule: self.rule }
    }
}

impl Compiler<'_> {
    /// TLS with peers; `None` where a problem was reported.
    pub(super) fn server_profile(
        &mut self,
        owner: Owner<'_>,
        tls: &DownstreamTls,
    ) -> Option<ServerProfile> {
        let provider = provider_with(&tls.ciphers);
        let identities = match identity::load_with(tls, &provider, &mut self.loader) {
            Ok(identities) => identities,
            Err(problems) => {
                self.file_problems(&owner.path("tls"), problems);
                return None;
            }
        };
        self.note_certificates(owner.listener, Whose::Downstream, &identities.list);
        let parts = DomainParts {
            policy: owner.policy(),
            names: &identities.names(),
            client_cert: tls.client_cert,
            trusted: identities.trust.trusted(),
            options: &identities.trust.options(),
        };
        let binding = Binding::new(&parts, identities.trust.crl_epoch());
        let domain = Domain::new(tls.resumption, binding, &self.standing.resumption);
        let compat12 = match &tls.compat12 {
            Some(lane) => {
                Some(self.weak_lane(owner, tls, Lane::Compat12, lane.certificate.as_ref())?)
            }
            None => None,
        };
        let legacy = match &tls.legacy {
            Some(lane) => {
                Some(self.weak_lane(owner, tls, Lane::Legacy, lane.certificate.as_ref())?)
            }
            None => None,
        };
        match server_config(tls, &identities, &domain, &provider) {
            Ok(config) => {
                let profile = ServerProfile::new(config, &identities, tls);
                Some(profile.recorded_by(self.records).with_lanes(compat12, legacy))
            }
            Err(error) => {
                self.unusable(owner, "tls", &error);
                None
            }
        }
    }

    /// A weak lane; `None` where a problem was reported.
    fn weak_lane(
        &mut self,
        owner: Owner<'_>,
        tls: &DownstreamTls,
        lane: Lane,
        own: Option<&CertificateFiles>,
    ) -> Option<WeakServer> {
        let (spec, trust) = self.weak_server(owner, tls, lane, own)?;
        let held = (&self.standing.weak, &self.standing.door);
        match WeakServer::new(spec, tls, trust, held) {
            Ok(lane) => Some(lane),
            Err(error) => {
                self.unusable(owner, "tls", &error);
                None
            }
        }
    }

    /// What a weak lane is made from, and who its peers must be; `None` where a problem was reported.
    fn weak_server(
        &mut self,
        owner: Owner<'_>,
        tls: &DownstreamTls,
        lane: Lane,
        own: Option<&CertificateFiles>,
    ) -> Option<(ServerSpec, ClientTrust)> {
        debug_assert!(own.is_some() || lane != Lane::Legacy, "the configuration demands it");
        let keys = match (own, lane) {
            (None, _) => ("certificate", "certificate_key"),
            (Some(_), Lane::Legacy) => ("legacy_certificate", "legacy_certificate_key"),
            (Some(_), _) => ("compat12_certificate", "compat12_certificate_key"),
        };
        let key_group = (tls.key_group.as_deref(), tls.key_group_line);
        let files = own.map_or(&tls.certificates[..], std::slice::from_ref);
        let (mut identities, mut told, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        for files in files {
            match identity::load_weak(files, keys, key_group) {
                Ok((identity, tells)) => {
                    identities.push(identity);
                    told.push(tells);
                }
                Err(found) => problems.extend(found),
            }
        }
        if own.is_some() {
            self.note_certificates(owner.listener, Whose::Downstream, &told);
        }
        let trust = self.loader.client_of(&ClientTrustSettings::of(tls), lane.strength());
        let trust = match trust {
            Ok(trust) if problems.is_empty() => trust,
            trust => {
                problems.extend(trust.err().into_iter().flatten());
                self.file_problems(&owner.path("tls"), problems);
                return None;
            }
        };
        let names = identities.iter().flat_map(|identity| &identity.names);
        let domain = DomainId::new(&DomainParts {
            policy: owner.policy(),
            names: &names.map(String::as_str).collect(),
            client_cert: tls.client_cert,
            trusted: trust.trusted(),
            options: &trust.options(),
        });
        let kept = (&domain, self.lifetime);
        let spec = weak::server_spec(lane, tls, identities, &trust, kept);
        Some((spec, trust))
    }

    /// TLS with the component at these upstreams; `None` where a problem was reported.
    pub(super) fn client_profile(
        &mut self,
        owner: Owner<'_>,
        tls: &UpstreamTls,
        upstreams: &[Upstream],
    ) -> Option<ClientProfile> {
        let provider = provider_with(&tls.ciphers);
        let lane = weak::client_lane(tls);
        let trust = self.loader.server_of(&ServerTrustSettings::of(tls), lane.strength());
        let shown = match lane {
            // What rustls does not take may do there: see below.
            Lane::Legacy => Ok(identity::load_shown(tls, &provider).ok().flatten()),
            _ => identity::load_shown(tls, &provider),
        };
        let (trust, shown) = match (trust, shown) {
            (Ok(trust), Ok(shown)) => (trust, shown),
            (trust, shown) => {
                let problems = [trust.err(), shown.err()];
                let problems = problems.into_iter().flatten().flatten().collect();
                self.file_problems(&owner.path("upstream_tls"), problems);
                return None;
            }
        };
        self.note_certificates(owner.listener, Whose::Upstream, shown.as_slice());
        let (mut profiles, mut judged, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for endpoint in upstreams.iter().map(|upstream| &upstream.endpoint) {
            let side = Component { owner, tls, trust: &trust, shown: shown.as_ref(), endpoint };
            let names =
                side.checked_name().and_then(|checked| Ok((side.sent_name(&checked)?, checked)));
            match names {
                Ok(((sent, sends), checked)) => {
                    let settings = self.client_settings(&side, &checked, sends);
                    match client_config(settings, trust.verifier(checked.clone()), &provider) {
                        Ok(config) => {
                            told.push(sends.then(|| sent.clone()));
                            profiles.push((config, sent));
                            judged.push(checked);
                        }
                        Err(error) => {
                            self.unusable(owner, "upstream_tls", &error);
                        }
                    }
                }
                Err(problem) => self.bad_name(&side, problem),
            }
        }
        let weak = match lane {
            Lane::Modern => None,
            Lane::Compat12 | Lane::Legacy => Some(self.weak_client(owner, tls, &trust, &told)?),
        };
        let profile = ClientProfile::new(profiles).recorded_by(self.records);
        Some(profile.judged_by(trust, judged, tls).in_lane(weak))
    }

    /// The weak lane of an upstream side, whose endpoints are `told` these names; `None` where a
    /// problem was reported.
    fn weak_client(
        &mut self,
        owner: Owner<'_>,
        tls: &UpstreamTls,
        trust: &ServerTrust,
        told: &[Option<ServerName<'static>>],
    ) -> Option<WeakClient> {
        let key_group = (tls.key_group.as_deref(), tls.key_group_line);
        let keys = ("certificate", "certificate_key");
        let shown = tls.certificate.as_ref();
        let shown = shown.map(|files| identity::load_weak(files, keys, key_group)).transpose();
        let shown = match shown {
            Ok(shown) => shown.map(|(identity, _)| identity),
            Err(problems) => {
                self.file_problems(&owner.path("upstream_tls"), problems);
                return None;
            }
        };
        let specs = told.iter().map(|name| {
            // An address is no SNI (RFC 6066 §3).
            let name = match name {
                Some(ServerName::DnsName(name)) => Some(name.as_ref().to_owned()),
                _ => None,
            };
            weak::client_spec(tls, shown.clone(), trust.trusted(), name)
        });
        match WeakClient::new(specs.collect(), tls, &self.standing.door) {
            Ok(client) => Some(client),
            Err(error) => {
                self.unusable(owner, "upstream_tls", &error);
                None
            }
        }
    }

    fn client_settings(
        &self,
        side: &Component<'_>,
        checked: &ServerName<'_>,
        send_sni: bool,
    ) -> ClientSettings {
        let Component { owner, tls, trust, shown, endpoint } = side;
        let certificate = shown.and_then(Identity::leaf);
        let endpoint = endpoint.to_string();
        let (id, crl_epoch) =
            trust.resumption_domain(owner.policy(), &endpoint, checked, certificate);
        let sessions = &self.standing.resumption.upstream;
        ClientSettings {
            min_version: tls.min_version,
            max_version: tls.max_version,
            alpn: tls.alpn.clone(),
            send_sni,
            identity: shown.map(Identity::key),
            resumption: match tls.resumption {
                true => sessions.domain(id, crl_epoch).resumption(),
                false => Resumption::disabled(),
            },
        }
    }

    fn bad_name(&mut self, side: &Component<'_>, (key, line, found): BadName) {
        let problem = Problem {
            message: "is no name of a server",
            found: &format!("\"{found}\""),
            hint: "Write the DNS name or IP address that the component's certificate has.",
        };
        let line = if line == 0 { side.owner.line } else { line };
        self.report((line, format!("{}.{key}", side.owner.path("upstream_tls"))), problem);
    }

    fn unusable(&mut self, owner: Owner<'_>, table: &str, error: &dyn std::fmt::Display) {
        let hint = "Compare versions and ciphers with the reference.";
        let problem = Problem { message: "cannot be used", found: &error.to_string(), hint };
        self.report((owner.line, owner.path(table)), problem);
    }
}

/// What is known when one endpoint's TLS is made.
struct Component<'a> {
    owner: Owner<'a>,
    tls: &'a UpstreamTls,
    trust: &'a ServerTrust,
    shown: Option<&'a Identity>,
    endpoint: &'a Endpoint,
}

/// Key, its line, and the text that is no name.
type BadName = (&'static str, usize, String);

impl Component<'_> {
    /// The name that the certificate must have, where that is looked at.
    fn checked_name(&self) -> Result<ServerName<'static>, BadName> {
        match (&self.tls.server_name, self.endpoint) {
            (Some(name), _) => ServerName::try_from(name.clone())
                .map_err(|_| ("server_name", self.tls.server_name_line, name.clone())),
            (None, Endpoint::Tcp(address)) => Ok(ServerName::IpAddress(address.ip().into())),
            (None, Endpoint::Name(host, _)) => ServerName::try_from(host.clone())
                .map_err(|_| ("server_name", self.tls.server_name_line, host.clone())),
            // With verify = "full" there is a server_name.
            (None, Endpoint::Unix(_)) => Ok(ServerName::IpAddress(LOOPBACK.into())),
        }
    }

    /// The name that rustls is given, and whether it is sent. An address never is (RFC 6066 §3).
    fn sent_name(
        &self,
        checked: &ServerName<'static>,
    ) -> Result<(ServerName<'static>, bool), BadName> {
        match &self.tls.sni {
            Sni::Off => Ok((checked.clone(), false)),
            Sni::Checked => Ok((checked.clone(), true)),
            Sni::Name(name) => ServerName::try_from(name.clone())
                .map(|name| (name, true))
                .map_err(|_| ("sni", self.tls.sni_line, name.clone())),
        }
    }
}

const LOOPBACK: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
