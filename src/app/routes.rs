//! Listeners and their rules → routes: where connections can go, and which rule leads where.

use std::sync::Arc;

use super::compile::{Compiler, Problem};
use super::groups::Components;
use super::sides::Owner;
use crate::config::model::{Config, ConnectWhen, Endpoint, Listener, Mode, Rule, Upstream};
use crate::policy::rules::{Ambiguity, CompileError};
use crate::policy::{Downstream, ListenerPolicy, Outcome, Route, Rules};

/// All endpoints of a configuration, each with the name of its group.
pub(super) fn endpoints(config: &Config) -> Vec<(String, &Endpoint)> {
    let mut all = Vec::new();
    for listener in &config.listeners {
        let own = Owner::listener(listener);
        let upstreams = listener.upstreams.iter().chain(&listener.backups);
        all.extend(upstreams.map(|upstream| (own.group(), &upstream.endpoint)));
        for rule in &listener.rules {
            let upstreams = rule.upstreams.iter().flatten();
            all.extend(upstreams.map(|upstream| (own.rule(rule).group(), &upstream.endpoint)));
        }
    }
    all
}

impl Compiler<'_> {
    pub(super) fn listener(&mut self, position: usize, listener: &Listener) {
        let name: Arc<str> = listener.name.as_str().into();
        let index = self.indexes[&name];
        self.exceptions(listener);
        let owner = Owner::listener(listener);
        // A side with a problem is left out: it was reported, and nothing of this will run.
        let tls = listener.tls.as_ref().and_then(|tls| self.server_profile(owner, tls));
        let upstream_tls = listener.upstream_tls.as_ref();
        let upstream_tls =
            upstream_tls.and_then(|tls| self.client_profile(owner, tls, &own_upstreams(listener)));
        let shakes = upstream_tls.as_ref();
        let upstreams = self.group(owner, &Components::of(listener), listener, shakes);
        let own = Arc::new(Route {
            name: Arc::clone(&name),
            group: self.next_group(),
            tls,
            upstream_tls,
            connect: listener.connect,
            proxy_out: listener.proxy_out,
            upstreams,
        });
        let mut routes = vec![Arc::clone(&own)];
        let Some(rules) = self.rules(listener, &mut routes) else { return };
        self.listeners.push(Arc::new(ListenerPolicy {
            generation: self.generation,
            position,
            index,
            name,
            downstream: downstream(listener.mode),
            proxy_in: listener.proxy_in.clone(),
            introduces: routes.iter().any(|route| route.proxy_out.is_some()),
            timeouts: listener.timeouts,
            keepalive: listener.keepalive,
            routes,
            rules: Arc::new(rules),
        }));
    }

    /// The rules of a listener, whose first route is its own; adds those of rules.
    fn rules(&mut self, listener: &Listener, routes: &mut Vec<Arc<Route>>) -> Option<Rules> {
        let mut outcomes = Vec::new();
        for rule in &listener.rules {
            let changes =
                rule.tls.is_some() || rule.upstream_tls.is_some() || rule.upstreams.is_some();
            outcomes.push(if rule.denies {
                Outcome::Deny
            } else if changes {
                let route = Arc::new(self.route(listener, rule, &routes[0])?);
                routes.push(Arc::clone(&route));
                Outcome::Follow(route)
            } else {
                let own = Route { name: rule.spec.name.as_str().into(), ..(*routes[0]).clone() };
                Outcome::Follow(Arc::new(own))
            });
        }
        let specs = listener.rules.iter().map(|rule| rule.spec.clone()).collect();
        match Rules::compile(specs, outcomes) {
            Ok(rules) => Some(rules),
            Err(error) => {
                self.bad_rules(listener, &error);
                None
            }
        }
    }

    /// What a rule says, and its listener's `own` route where it says nothing.
    fn route(&mut self, listener: &Listener, rule: &Rule, own: &Route) -> Option<Route> {
        let owner = Owner::listener(listener).rule(rule);
        let tls = match &rule.tls {
            Some(tls) => Some(self.server_profile(owner, tls)?),
            None => own.tls.clone(),
        };
        let all = own_upstreams(listener);
        let endpoints = rule.upstreams.as_deref().unwrap_or(&all);
        let upstream_tls = match (&rule.upstream_tls, &rule.upstreams, &listener.upstream_tls) {
            (Some(tls), _, _) | (None, Some(_), Some(tls)) => {
                Some(self.client_profile(owner, tls, endpoints)?)
            }
            _ => own.upstream_tls.clone(),
        };
        let proxy_out = rule.proxy_out.unwrap_or(own.proxy_out);
        let (group, upstreams) = match Components::of_rule(rule, listener) {
            Some(components) => {
                let shakes = upstream_tls.as_ref();
                (self.next_group(), self.group(owner, &components, listener, shakes))
            }
            None => (own.group, Arc::clone(&own.upstreams)),
        };
        let name = rule.spec.name.as_str().into();
        let connect = if rule.waits { ConnectWhen::AfterHandshake } else { own.connect };
        Some(Route { name, group, tls, upstream_tls, connect, proxy_out, upstreams })
    }

    fn next_group(&mut self) -> usize {
        self.groups += 1;
        self.groups - 1
    }

    fn bad_rules(&mut self, listener: &Listener, error: &CompileError) {
        let CompileError::Ambiguous { told, pairs } = error else {
            let message = "has rules that are too many";
            let hint = "Name fewer entries in one rule, or fewer rules.";
            let problem = Problem { message, found: &error.to_string(), hint };
            return self
                .report((listener.listen_line, Owner::listener(listener).path("rule")), problem);
        };
        for Ambiguity { first, second, shared } in told {
            let line = second.line as usize;
            let key = format!("listener[{}].rule[{}]", listener.name, second.name);
            let problem = Problem {
                message: "is as specific as another rule",
                found: &format!("{shared}, as in {first}"),
                hint: "Both match the same connections, and nobody could say which holds: make one \
                       of them more specific, or one rule of both.",
            };
            self.report((line, key), problem);
        }
        if *pairs > told.len() {
            let message = "has more rules that are as specific as others";
            let found = format!("{pairs} pairs in all");
            let problem = Problem { message, found: &found, hint: "Start with those above." };
            self.report((listener.listen_line, Owner::listener(listener).path("rule")), problem);
        }
    }
}

fn own_upstreams(listener: &Listener) -> Vec<Upstream> {
    [listener.upstreams.as_slice(), &listener.backups].concat()
}

fn downstream(mode: Mode) -> Downstream {
    match mode {
        Mode::Terminate | Mode::Bridge | Mode::PairExit => Downstream::Tls,
        Mode::Originate | Mode::PairEntry => Downstream::Plaintext,
        Mode::Autodetect => Downstream::Detect,
        Mode::Passthrough => Downstream::Passthrough,
    }
}
