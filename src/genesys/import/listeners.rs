//! The listeners that are to be written, and what their sides cannot do without.

use super::super::finding::{Finding, Place};
use super::super::levels::{self, Level, OUR_BUNDLE, Set, VENDOR_BUNDLE};
use super::super::options::{self, Side};
use super::{Import, is_of_identity, name, origin};

/// A listener that is to be written.
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) listen: String,
    pub(super) upstream: String,
    pub(super) mode: &'static str,
    /// Where its mode comes from.
    pub(super) origin: String,
    pub(super) sides: Vec<Chain>,
}

/// The options of one side, with the levels above.
pub(super) struct Chain {
    pub(super) side: Side,
    pub(super) lowest: Level,
    pub(super) sets: Vec<Set>,
}

impl Chain {
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = levels::vendor(&self.sets).into_iter().find(|set| set.name == name);
        found.map(|set| set.value.as_str())
    }

    /// The identity as the vendor's reader resolves it.
    pub(super) fn identity(&self) -> Vec<Set> {
        let all = levels::vendor(&self.sets).into_iter();
        all.filter(|set| OUR_BUNDLE.contains(&set.name.as_str())).cloned().collect()
    }

    /// Whether it authenticates its peer.
    pub(super) fn trusts(&self) -> bool {
        match self.side {
            Side::Downstream => self.value("tls-mutual") == Some("1"),
            Side::Upstream => self.value("client-auth") != Some("0"),
        }
    }

    pub(super) fn has_own_identity(&self) -> bool {
        self.sets.iter().any(|set| set.level == self.lowest && is_of_identity(set))
    }
}

impl Import<'_> {
    pub(super) fn listeners(&mut self) -> Vec<Listener> {
        let is_wanted = self.settings.listen.is_some() || !self.read.strings.is_empty();
        let mut listeners = Vec::new();
        if !self.read.has_transports || !self.read.strings.is_empty() {
            if is_wanted || self.settings.upstream.is_some() {
                listeners.extend(self.listener());
            }
        } else if self.settings.listen.is_some() {
            let message = "--listen and sip.transport both say where to listen";
            let hint = "Leave --listen out.";
            self.findings.push(Finding::error(&Place::default(), "", message, hint));
        }
        for (transport, place) in &self.read.transports {
            let Some(upstream) = self.demand("--upstream", self.settings.upstream.as_ref()) else {
                continue;
            };
            let mut sets = self.read.chain(Level::Port);
            sets.retain(|set| set.level != Level::Port);
            sets.extend(transport.options.iter().map(|(name, value)| {
                let [name, value] = [name, value.as_str()].map(str::to_owned);
                Set { level: Level::Port, name, value, place: place.clone() }
            }));
            listeners.push(Listener {
                name: name(&transport.name),
                listen: transport.listen.to_string(),
                upstream,
                mode: "terminate",
                origin: format!("{place}: sip.transport"),
                sides: vec![Chain { side: Side::Downstream, lowest: Level::Port, sets }],
            });
        }
        for chain in listeners.iter().flat_map(|listener| &listener.sides) {
            self.check_chain(chain);
        }
        listeners
    }

    /// The one that transport strings and the command line describe.
    fn listener(&mut self) -> Option<Listener> {
        let [down, up] = [(Side::Downstream, Level::Port), (Side::Upstream, Level::Connection)]
            .map(|(side, lowest)| Chain { side, lowest, sets: self.read.chain(lowest) });
        let has = |level| self.read.strings.contains(&level);
        // A port says itself that it is secure; a connection may inherit it.
        let port = self.read.of(Level::Port).find(|set| set.name == "tls");
        let port_tls = port.and_then(|set| options::boolean(&set.value)).unwrap_or(false);
        let connection_tls = up.value("tls").and_then(options::boolean).unwrap_or(false);
        let is_bare = self.read.strings.is_empty();
        let (mode, sides) = match (port_tls || is_bare, has(Level::Connection) && connection_tls) {
            (true, true) => ("bridge", vec![down, up]),
            (true, false) => ("terminate", vec![down]),
            (false, true) => ("originate", vec![up]),
            (false, false) => {
                let message = "no side of it is TLS to the vendor's reader: tls is not on";
                let hint = "Put the string right, tls=1;..., or use a pair of gateways between \
                            components without TLS.";
                self.findings.push(Finding::error(&Place::default(), "tls", message, hint));
                return None;
            }
        };
        if is_bare {
            let message = "no transport parameters are given: taken for a port with tls=1";
            self.findings.push(Finding::warning(&Place::default(), "tls", message, ""));
        }
        let listen = self.demand("--listen", self.settings.listen.as_ref());
        let upstream = self.demand("--upstream", self.settings.upstream.as_ref());
        let said = sides.iter().filter_map(|chain| {
            let set = levels::vendor(&chain.sets).into_iter().find(|set| set.name == "tls")?;
            Some(origin(set))
        });
        let origin = said.collect::<Vec<_>>().join("; ");
        let name = self.settings.name.clone();
        Some(Listener { name, listen: listen?, upstream: upstream?, mode, origin, sides })
    }

    fn demand(&mut self, flag: &str, value: Option<&String>) -> Option<String> {
        if value.is_none() {
            let message = format!("a listener is to be written, and {flag} is not given");
            let hint = "Say where the gateway listens and which component is behind it.";
            self.findings.push(Finding::error(&Place::default(), "", message, hint));
        }
        value.cloned()
    }

    /// What a side cannot do without.
    fn check_chain(&mut self, chain: &Chain) {
        let missing = |name: &str| chain.value(name).is_none();
        let lowest = chain.sets.iter().min_by_key(|set| set.level);
        let place = lowest.map(|set| set.place.clone()).unwrap_or_default();
        let mut demand = |name: &str, why: &str| {
            let above = chain.sets.iter().find(|set| set.name == name);
            let message = match above {
                Some(set) => format!(
                    "{why}, and the vendor's reader does not see the one of {}: all of {} come \
                     from the lowest level that sets any of them",
                    set.place,
                    VENDOR_BUNDLE.join(", ")
                ),
                None => format!("{why}, and none is given"),
            };
            let hint = "Set certificate, certificate-key and trusted-ca together at one level.";
            self.findings.push(Finding::error(&place, name, message, hint));
        };
        match chain.side {
            Side::Downstream => {
                for name in ["certificate", "certificate-key"] {
                    if missing(name) {
                        demand(name, "a TLS server needs it");
                    }
                }
                if chain.trusts() && missing("trusted-ca") {
                    demand("trusted-ca", "tls-mutual = 1 needs it to judge client certificates");
                }
            }
            Side::Upstream => {
                if chain.trusts() && missing("trusted-ca") {
                    demand("trusted-ca", "a TLS client needs it to authenticate the server");
                }
                for (name, other) in
                    [("certificate", "certificate-key"), ("certificate-key", "certificate")]
                {
                    if missing(name) && !missing(other) {
                        demand(name, "a client certificate and its key belong together");
                    }
                }
                if !chain.trusts() && chain.value("tls-mutual") == Some("1") {
                    let message = "with client-auth = 0: what the vendor's client does then is not \
                                   documented; here the server is not authenticated";
                    self.findings.push(Finding::warning(&place, "tls-mutual", message, ""));
                }
                if missing("tls-target-name-check") {
                    let message = "is not set, and its default is not documented: the gateway \
                                   checks the name";
                    let finding = Finding::warning(&place, "tls-target-name-check", message, "");
                    self.findings.push(finding);
                }
            }
        }
    }
}
