//! Where connections to upstreams come from: what that needs of peers and upstreams.

use std::net::{IpAddr, SocketAddr};

use super::super::model::{Endpoint, ListenAddress, SourceWord};
use super::super::read::{Finding, Reader, Section};

const KEY: &str = "upstream_source";

/// Reports everything about one listener and its rules.
pub(super) fn check(listener: &Section, reader: &mut Reader<'_>) {
    source(listener, listener, reader);
    for rule in listener.children("rule") {
        let deserves = rule.sets(KEY) && rule.get::<&str>("action") != Some("deny");
        if deserves && !rule.sets("upstream") {
            let finding = Finding {
                message: "is there and the rule has no upstream",
                found: "upstream_source, without upstream",
                allowed: "where upstream is",
                hint: "The listener's upstreams are dialled as the listener says: add upstream, or \
                       remove upstream_source.",
            };
            reader.report(rule.place_of(KEY).unwrap_or(rule.place), &rule.path_of(KEY), finding);
        } else if deserves || rule.sets("upstream") {
            source(rule, listener, reader);
        }
    }
}

/// What a listener says, or a rule of it for its own upstreams.
fn source(section: &Section, listener: &Section, reader: &mut Reader<'_>) {
    let says = if section.sets(KEY) { section } else { listener };
    let (Some(words), Some(place)) = (says.get::<Vec<SourceWord>>(KEY), says.place_of(KEY)) else {
        return;
    };
    let endpoints: Vec<Endpoint> = ["upstream", "backup"]
        .into_iter()
        .flat_map(|key| section.get::<Vec<Endpoint>>(key).unwrap_or_default())
        .collect();
    let mut report = |message: &str, found: &str, allowed: &str, hint: &str| {
        let finding = Finding { message, found, allowed, hint };
        reader.report(place, &says.path_of(KEY), finding);
    };
    let is_address = |word: &SourceWord| matches!(word, SourceWord::Address(_));
    if words.len() > 1 && !words.iter().all(is_address) {
        let hint = "Write one word, or addresses.";
        return report("has a word among others", "several entries", "a word by itself", hint);
    }
    if words == [SourceWord::Any] {
        return;
    }
    if let Some(unix) = endpoints.iter().find(|endpoint| matches!(endpoint, Endpoint::Unix(_))) {
        let hint = "Remove upstream_source, or give the socket a route of its own.";
        return report("cannot hold for a unix socket", &format!("\"{unix}\""), "", hint);
    }
    let is_client = !words.iter().any(is_address);
    let is_unix = matches!(listener.get("listen"), Some(ListenAddress::Unix(_)));
    // The PROXY protocol brings addresses.
    if is_client && is_unix && listener.get::<&str>("proxy_in") == Some("off") {
        let hint = "Remove upstream_source, listen on an IP address, or let those that connect say \
                    whom it is for: proxy_in.";
        return report("is what these peers do not have", "peers of a unix socket", "", hint);
    }
    for to in endpoints.iter().filter(|_| !is_client).filter_map(address_of) {
        let addresses = words.iter().filter_map(|word| match word {
            SourceWord::Address(ip) => Some(*ip),
            _ => None,
        });
        let mut towards = addresses.filter(|ip| ip.is_ipv4() == to.is_ipv4()).peekable();
        if towards.peek().is_none() {
            let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
            let hint = format!("Add an {family} address of this machine.");
            report("has nothing to reach an upstream from", &format!("\"{to}\""), "", &hint);
        } else if let Some(lost) = towards.find(|ip| is_lost(*ip, to)) {
            let found = format!("\"{lost}\", towards \"{to}\"");
            let hint = "Nothing leaves the machine from a loopback address: write another one.";
            report("does not lead there", &found, "", hint);
        }
    }
}

fn address_of(endpoint: &Endpoint) -> Option<SocketAddr> {
    match endpoint {
        Endpoint::Tcp(address) => Some(*address),
        Endpoint::Name(..) | Endpoint::Unix(_) => None,
    }
}

/// The kernel sends nothing out with such a source (EINVAL).
fn is_lost(from: IpAddr, to: SocketAddr) -> bool {
    from.is_loopback() && !to.ip().is_loopback()
}
