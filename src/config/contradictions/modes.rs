//! What a mode needs, and what it rules out.

use std::net::IpAddr;

use super::super::levels;
use super::super::model::{Endpoint, ListenAddress, TlsVersion};
use super::super::read::{Finding, Reader, Section};

/// Protocols in which the server speaks first: a peer that waits for it sends no first byte.
const SERVER_FIRST: [&str; 4] = ["imap", "mysql", "pop3", "smtp"];
/// Protocols with TLS inside their own packets: there is no TLS to begin with.
const IN_BAND: [&str; 2] = ["mysql", "tds7"];

/// Reports everything about one listener.
pub(super) fn check(listener: &Section, reader: &mut Reader<'_>) {
    let Some(mode) = listener.get::<&str>("mode") else { return };
    tables(listener, mode, reader);
    autodetect(listener, mode, reader);
    protocol(listener, mode, reader);
    plaintext(listener, mode, reader);
    match mode {
        "pair_entry" => pair_entry(listener, reader),
        "pair_exit" => pair_exit(listener, reader),
        _ => {}
    }
    if !levels::sides(listener).contains(&"tls")
        && let Some(place) = listener.place_of("connect")
    {
        let finding = Finding {
            message: "is about a handshake that does not take place here",
            found: &format!("mode = \"{mode}\""),
            allowed: "only where TLS with the peer ends here",
            hint: "Remove connect.",
        };
        reader.report(place, &listener.path_of("connect"), finding);
    }
}

/// Tables of a side that speaks no TLS.
fn tables(listener: &Section, mode: &str, reader: &mut Reader<'_>) {
    let sides = levels::sides(listener);
    let modes = [
        ("tls", "terminate, bridge, autodetect or pair_exit"),
        ("upstream_tls", "originate, bridge, autodetect or pair_entry"),
    ];
    for (side, modes) in modes {
        let Some(table) = listener.child(side).filter(|table| table.is_written) else { continue };
        if sides.contains(&side) {
            continue;
        }
        let finding = Finding {
            message: "is there and this side speaks no TLS",
            found: &format!("mode = \"{mode}\""),
            allowed: &format!("only with mode {modes}"),
            hint: "Choose another mode, or remove the table.",
        };
        reader.report(table.place, &table.path, finding);
    }
}

fn autodetect(listener: &Section, mode: &str, reader: &mut Reader<'_>) {
    let mut report = |key: &str, finding: Finding<'_>| {
        let place = listener.place_of(key).or(listener.place_of("mode")).unwrap_or(listener.place);
        reader.report(place, &listener.path_of(key), finding);
    };
    if mode != "autodetect" {
        if listener.sets("autodetect_until") {
            let finding = Finding {
                message: "is set and nothing ends on that day",
                found: &format!("mode = \"{mode}\""),
                allowed: "only with mode = \"autodetect\"",
                hint: "Remove autodetect_until.",
            };
            report("autodetect_until", finding);
        }
        return;
    }
    if !listener.sets("autodetect_until") {
        let finding = Finding {
            message: "is missing",
            found: "mode = \"autodetect\"",
            allowed: "a day from 2000 on, as \"2027-12-31\"",
            hint: "Add autodetect_until: the last day on which plaintext is taken.",
        };
        report("autodetect_until", finding);
    }
    match listener.get::<&str>("first_speaker") {
        Some("server") => {
            let finding = Finding {
                message: "cannot be told from TLS",
                found: "\"server\", with mode = \"autodetect\"",
                allowed: "\"client\", with mode = \"autodetect\"",
                hint: "A peer that waits for the server's first word sends nothing to tell TLS \
                       from plaintext by. Use one port for each: mode = \"terminate\" on a new one.",
            };
            report("first_speaker", finding);
        }
        None if !listener.sets("first_speaker") => {
            let finding = Finding {
                message: "is missing",
                found: "mode = \"autodetect\"",
                allowed: "\"client\" or \"server\"",
                hint: "Say who speaks first. With \"client\", the first byte tells TLS from \
                       plaintext.",
            };
            report("first_speaker", finding);
        }
        _ => {}
    }
    let rules = listener.children("rule").iter().filter_map(|rule| rule.child("tls"));
    let sections = listener.child("tls").into_iter().chain(rules.filter(|tls| tls.is_written));
    for tls in sections.filter(|tls| tls.get::<&str>("client_cert") == Some("required")) {
        let finding = Finding {
            message: "contradicts mode = \"autodetect\"",
            found: "\"required\", and plaintext would be taken without any certificate",
            allowed: "\"none\", \"optional\" or \"report\", with mode = \"autodetect\"",
            hint: "Use \"optional\" until all peers speak TLS, then mode = \"terminate\" with \
                   \"required\".",
        };
        let place = tls.place_of("client_cert").unwrap_or(tls.place);
        reader.report(place, &tls.path_of("client_cert"), finding);
    }
}

fn protocol(listener: &Section, mode: &str, reader: &mut Reader<'_>) {
    let Some(protocol) = listener.get::<&str>("protocol") else { return };
    let place = listener.place_of("protocol").unwrap_or(listener.place);
    let key = listener.path_of("protocol");
    let carries_anything = matches!(mode, "pair_entry" | "pair_exit");
    if IN_BAND.contains(&protocol) && !carries_anything {
        let finding = Finding {
            message: "begins TLS inside its own packets",
            found: &format!("\"{protocol}\", with mode = \"{mode}\""),
            allowed: "mode = \"pair_entry\" and \"pair_exit\"",
            hint: "Nobody in between can end or begin that TLS. Put a gateway on either side \
                   (pair_entry, pair_exit), or use a version with TLS from the first byte, \
                   such as TDS 8.",
        };
        reader.report(place, &key, finding);
    } else if SERVER_FIRST.contains(&protocol) && mode == "autodetect" {
        let finding = Finding {
            message: "has the server speak first",
            found: &format!("\"{protocol}\", with mode = \"autodetect\""),
            allowed: "a protocol in which the client speaks first",
            hint: "Peers without TLS would wait for the server, and the gateway for them. Use \
                   one port for each.",
        };
        reader.report(place, &key, finding);
    }
}

/// Plaintext leaves the machine only for a stated reason.
fn plaintext(listener: &Section, mode: &str, reader: &mut Reader<'_>) {
    if listener.get::<String>("plaintext_reason").is_some() {
        return;
    }
    let hint = "Use a loopback address or a unix socket, speak TLS on that side too, or say why \
                not: plaintext_reason = \"...\".";
    let mut report = |section: &Section, key: &str, found: String| {
        let finding = Finding {
            message: "lets plaintext leave this machine",
            found: &found,
            allowed: "",
            hint,
        };
        let place = section.place_of(key).unwrap_or(section.place);
        reader.report(place, &section.path_of(key), finding);
    };
    let sides = levels::sides(listener);
    let is_plain_upstream = !sides.contains(&"upstream_tls") && mode != "passthrough";
    let sections = std::iter::once(listener).chain(listener.children("rule"));
    for (section, key) in sections.flat_map(|section| [(section, "upstream"), (section, "backup")])
    {
        let endpoints = section.get::<Vec<Endpoint>>(key).unwrap_or_default();
        for endpoint in endpoints.iter().filter(|one| is_plain_upstream && !is_local(one)) {
            report(section, key, format!("\"{endpoint}\""));
        }
    }
    let takes_plaintext = matches!(mode, "originate" | "pair_entry");
    let Some(address) = listener.get::<ListenAddress>("listen").filter(|_| takes_plaintext) else {
        return;
    };
    match address {
        ListenAddress::Tcp(address) if !address.ip().is_loopback() => {
            report(listener, "listen", format!("\"{address}\""));
        }
        // Where these are bound is not known here.
        ListenAddress::Inherited(number) => report(listener, "listen", format!("\"fd:{number}\"")),
        ListenAddress::Activated(name) => report(listener, "listen", format!("\"systemd:{name}\"")),
        ListenAddress::Tcp(_) | ListenAddress::Unix(_) => {}
    }
}

fn is_local(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp(address) => match address.ip() {
            IpAddr::V6(address) => {
                address.is_loopback()
                    || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
            }
            IpAddr::V4(address) => address.is_loopback(),
        },
        Endpoint::Name(host, _) => host == "localhost",
        Endpoint::Unix(_) => true,
    }
}

/// The gateways of a pair know each other: TLS 1.3, certificates on both sides.
fn pair_entry(listener: &Section, reader: &mut Reader<'_>) {
    let Some(tls) = listener.child("upstream_tls") else { return };
    only_tls13(tls, reader);
    if !tls.sets("certificate") {
        let finding = Finding {
            message: "is missing",
            found: "mode = \"pair_entry\"",
            allowed: "a path, absolute or relative to the directory of this file",
            hint: "The other gateway wants to know this one: add certificate and certificate_key.",
        };
        reader.report(tls.place, &tls.path_of("certificate"), finding);
    }
    if let (Some(verify @ ("chain" | "none")), Some(place)) =
        (tls.get::<&str>("verify"), tls.place_of("verify"))
    {
        let finding = Finding {
            message: "is too little for a pair",
            found: &format!("\"{verify}\", with mode = \"pair_entry\""),
            allowed: "\"full\" or \"pin\"",
            hint: "Remove verify: the default is \"full\".",
        };
        reader.report(place, &tls.path_of("verify"), finding);
    }
}

fn pair_exit(listener: &Section, reader: &mut Reader<'_>) {
    let Some(tls) = listener.child("tls") else { return };
    only_tls13(tls, reader);
    let place = tls.place_of("client_cert");
    match (tls.get::<&str>("client_cert"), place) {
        (Some("required"), _) | (None, _) => {}
        (Some(other), Some(place)) => {
            let finding = Finding {
                message: "is too little for a pair",
                found: &format!("\"{other}\", with mode = \"pair_exit\""),
                allowed: "\"required\"",
                hint: "Only the other gateway of the pair may connect: write \"required\".",
            };
            reader.report(place, &tls.path_of("client_cert"), finding);
        }
        (Some(_), None) => {
            let finding = Finding {
                message: "is missing",
                found: "mode = \"pair_exit\"",
                allowed: "\"required\"",
                hint: "Add client_cert = \"required\", and trusted_ca with the CA of the other \
                       gateway.",
            };
            reader.report(tls.place, &tls.path_of("client_cert"), finding);
        }
    }
}

fn only_tls13(tls: &Section, reader: &mut Reader<'_>) {
    for key in ["min_version", "max_version"] {
        if let (Some(TlsVersion::V1_2), Some(place)) = (tls.get(key), tls.place_of(key)) {
            let finding = Finding {
                message: "is older than what a pair speaks",
                found: "\"1.2\"",
                allowed: "\"1.3\"",
                hint: "Both ends are gateways: remove it.",
            };
            reader.report(place, &tls.path_of(key), finding);
        }
    }
}
