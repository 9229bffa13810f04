//! Values that are each allowed and cannot hold together.
//!
//! A value that was reported as wrong takes no part: one mistake is told once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;

mod lanes;
mod log;
mod modes;
mod proxy;
mod rules;
mod sources;
mod upstream_tls;
mod upstreams;
mod vendor;

use super::levels;
use super::model::{ListenAddress, TlsVersion};
use super::read::{Finding, Place, Reader, Section, join};
use super::units::format_size;
use super::value::Bytes;

/// Reports every contradiction in the file.
pub(super) fn check(root: &Section, reader: &mut Reader<'_>) {
    if let Some(gateway) = root.child("gateway") {
        hello_memory(gateway, reader);
    }
    if let Some(log) = root.child("log") {
        log::check(log, reader);
    }
    let listeners = root.children("listener");
    names(listeners, reader);
    addresses(root, listeners, reader);
    for listener in listeners {
        modes::check(listener, reader);
        upstreams::check(listener, reader);
        proxy::check(listener, reader);
        sources::check(listener, reader);
        sides(listener, listener, reader);
        rules::check(listener, reader);
        for rule in listener.children("rule") {
            sides(rule, listener, reader);
        }
    }
}

/// The TLS of a listener, or of what one of its rules says.
fn sides(section: &Section, listener: &Section, reader: &mut Reader<'_>) {
    let speaks = levels::sides(listener);
    let is_listener = std::ptr::eq(section, listener);
    let side = |key| {
        let side = section.child(key).filter(|side| side.is_written || is_listener);
        side.filter(|_| speaks.contains(&key))
    };
    let mode = listener.get::<&str>("mode");
    for tls in [side("tls"), side("upstream_tls")].into_iter().flatten() {
        vendor::check(tls, mode, reader);
        lanes::check(listener, tls, reader);
    }
    if let Some(tls) = side("tls") {
        certificates(tls, reader);
        versions(tls, reader);
        suites(tls, reader);
        client_certificates(tls, reader);
        tickets(tls, reader);
    }
    if let Some(tls) = side("upstream_tls") {
        versions(tls, reader);
        suites(tls, reader);
        upstream_tls::check(section, listener, tls, reader);
    } else if section.sets("upstream")
        && let Some(tls) = listener.child("upstream_tls")
        && speaks.contains(&"upstream_tls")
    {
        // A rule that dials others as its listener says.
        upstream_tls::name(section, listener, tls, reader);
    }
}

fn hello_memory(gateway: &Section, reader: &mut Reader<'_>) {
    let key = "hello_memory_per_source";
    let (Some(all), Some(one), Some(place)) =
        (gateway.get::<Bytes>("hello_memory"), gateway.get::<Bytes>(key), gateway.place_of(key))
    else {
        return;
    };
    if one.0 <= all.0 {
        return;
    }
    let finding = Finding {
        message: "is more than all sources together may use",
        found: &format!("{}, with hello_memory = {}", format_size(one.0), format_size(all.0)),
        allowed: "at most hello_memory",
        hint: "Lower hello_memory_per_source or raise hello_memory.",
    };
    reader.report(place, &join(&gateway.path, key), finding);
}

fn names(listeners: &[Section], reader: &mut Reader<'_>) {
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    for listener in listeners {
        let (Some(name), Some(place)) = (listener.get("name"), listener.place_of("name")) else {
            continue;
        };
        match seen.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(place);
            }
            Entry::Occupied(first) => {
                let finding = Finding {
                    message: "is the name of another listener",
                    found: &format!("\"{}\", also on line {}", first.key(), first.get().line),
                    allowed: "each name once",
                    hint: "Rename one of the two listeners.",
                };
                reader.report(place, &join(&listener.path, "name"), finding);
            }
        }
    }
}

fn addresses(root: &Section, listeners: &[Section], reader: &mut Reader<'_>) {
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    if let Some(admin) = root.child("admin")
        && let Some(Some(address)) = admin.get::<Option<SocketAddr>>("listen")
    {
        // A default has no place of its own; a listener on it is told about the admin port.
        seen.extend(
            unique(&ListenAddress::Tcp(address)).map(|text| {
                (text, admin.place_of("listen").unwrap_or(Place { line: 0, column: 0 }))
            }),
        );
    }
    for listener in listeners {
        let (Some(address), Some(place)) =
            (listener.get::<ListenAddress>("listen"), listener.place_of("listen"))
        else {
            continue;
        };
        let Some(text) = unique(&address) else { continue };
        match seen.entry(text) {
            Entry::Vacant(entry) => {
                entry.insert(place);
            }
            Entry::Occupied(first) => {
                let other = match first.get().line {
                    0 => "the default of [admin] listen".to_owned(),
                    line => format!("also on line {line}"),
                };
                let finding = Finding {
                    message: "is in use already",
                    found: &format!("\"{}\", {other}", first.key()),
                    allowed: "each address once",
                    hint: "Give one of the two another address or port.",
                };
                reader.report(place, &join(&listener.path, "listen"), finding);
            }
        }
    }
}

/// The address as text, unless each use of it is another one (port 0).
fn unique(address: &ListenAddress) -> Option<String> {
    match address {
        ListenAddress::Tcp(address) => (address.port() != 0).then(|| address.to_string()),
        ListenAddress::Unix(path) => Some(format!("unix:{}", path.display())),
        ListenAddress::Inherited(descriptor) => Some(format!("fd:{descriptor}")),
        ListenAddress::Activated(name) => Some(format!("systemd:{name}")),
    }
}

fn certificates(tls: &Section, reader: &mut Reader<'_>) {
    if tls.children("certificates").is_empty() {
        return;
    }
    for key in ["certificate", "certificate_key", "ocsp_file"] {
        let Some(place) = tls.place_of(key) else { continue };
        let finding = Finding {
            message: "cannot stand beside certificates",
            found: &format!("{key} and certificates"),
            allowed: "certificate and certificate_key, or certificates",
            hint: "Move this certificate into certificates: the first is the default.",
        };
        reader.report(place, &tls.path_of(key), finding);
    }
}

fn versions(tls: &Section, reader: &mut Reader<'_>) {
    let version = |key| tls.get::<TlsVersion>(key);
    let (Some(min), Some(max)) = (version("min_version"), version("max_version")) else { return };
    // What needs another lane is told as such.
    let is_old = max < TlsVersion::V1_2 && tls.get::<&str>("lane") != Some("legacy");
    if min <= max || is_old {
        return;
    }
    let finding = Finding {
        message: "is newer than max_version",
        found: &format!("\"{min}\", with max_version = \"{max}\""),
        allowed: "at most max_version",
        hint: "Lower min_version or raise max_version.",
    };
    let place = tls.place_of("min_version").unwrap_or(tls.place);
    reader.report(place, &tls.path_of("min_version"), finding);
}

fn client_certificates(tls: &Section, reader: &mut Reader<'_>) {
    let Some(mode) = tls.get::<&str>("client_cert") else { return };
    match (mode, tls.place_of("client_cert"), tls.place_of("trusted_ca")) {
        // A bundle of a higher level may have it for others.
        ("none", _, Some(place)) if tls.is_own("trusted_ca") => {
            let finding = Finding {
                message: "is set and no client certificate is asked for",
                found: "client_cert = \"none\"",
                allowed: "only with client_cert = \"optional\", \"required\" or \"report\"",
                hint: "Add client_cert = \"required\", or remove trusted_ca.",
            };
            reader.report(place, &tls.path_of("trusted_ca"), finding);
        }
        ("optional" | "required" | "report", Some(place), None) => {
            let finding = Finding {
                message: "needs trusted_ca",
                found: &format!("\"{mode}\", without trusted_ca"),
                allowed: "",
                hint: "Add trusted_ca = \"ca.pem\", the CAs that client certificates chain to.",
            };
            reader.report(place, &tls.path_of("client_cert"), finding);
        }
        _ => {}
    }
    dated(tls, "client_cert", &["report"], &["report", "optional"], "client_cert_until", reader);
}

/// Values of `key` that need a last day, and those that may have one.
fn dated(
    section: &Section,
    key: &str,
    need: &[&str],
    may: &[&str],
    until: &str,
    reader: &mut Reader<'_>,
) {
    let Some(value) = section.get::<&str>(key) else { return };
    let quoted = |words: &[&str]| {
        words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
    };
    if need.contains(&value) && !section.sets(until) {
        let finding = Finding {
            message: &format!("needs {until}"),
            found: &format!("\"{value}\", without {until}"),
            allowed: "a last day for what is less than secure",
            hint: &format!("Add {until} = \"2027-12-31\", the last day on which it may hold."),
        };
        let place = section.place_of(key).unwrap_or(section.place);
        reader.report(place, &section.path_of(key), finding);
    }
    if let Some(place) = section.place_of(until).filter(|_| section.is_own(until))
        && !may.contains(&value)
    {
        let finding = Finding {
            message: "is set and nothing ends on that day",
            found: &format!("{key} = \"{value}\""),
            allowed: &format!("only with {key} = {}", quoted(may)),
            hint: &format!("Remove {until}."),
        };
        reader.report(place, &section.path_of(until), finding);
    }
}

/// A version that is enabled needs a suite.
fn suites(tls: &Section, reader: &mut Reader<'_>) {
    let version = |key| tls.get::<TlsVersion>(key);
    let (Some(ciphers), Some(min), Some(max), Some(place)) = (
        tls.get::<Vec<&str>>("ciphers"),
        version("min_version"),
        version("max_version"),
        tls.place_of("ciphers"),
    ) else {
        return;
    };
    if ciphers.is_empty() {
        return;
    }
    for (one, name, key) in
        [(TlsVersion::V1_2, "1.2", "min_version"), (TlsVersion::V1_3, "1.3", "max_version")]
    {
        let is_old = one == TlsVersion::V1_2;
        let has_one = ciphers.iter().any(|suite| suite.contains("_WITH_") == is_old);
        if (min..=max).contains(&one) && !has_one {
            let other = if is_old { "1.3" } else { "1.2" };
            let finding = Finding {
                message: &format!("has no suite of TLS {name}"),
                found: &format!("{} suites, all of TLS {other}", ciphers.len()),
                allowed: "a suite for each version from min_version to max_version",
                hint: &format!("Add a suite of TLS {name}, or set {key} = \"{other}\"."),
            };
            reader.report(place, &tls.path_of("ciphers"), finding);
        }
    }
}

fn tickets(tls: &Section, reader: &mut Reader<'_>) {
    let (Some("off"), Some(count), Some(place)) = (
        tls.get::<&str>("resumption"),
        tls.get::<u8>("tls13_tickets"),
        tls.place_of("tls13_tickets"),
    ) else {
        return;
    };
    if count > 0 {
        let finding = Finding {
            message: "asks for tickets and resumption is off",
            found: &format!("{count}, with resumption = \"off\""),
            allowed: "0, where resumption is \"off\"",
            hint: "Remove tls13_tickets, or set resumption to \"tickets\" or \"store\".",
        };
        reader.report(place, &join(&tls.path, "tls13_tickets"), finding);
    }
}
