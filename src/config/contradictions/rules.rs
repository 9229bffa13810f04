//! Rules of a listener: what their conditions and consequences need of each other.

use std::collections::BTreeMap;

use super::super::levels;
use super::super::read::{Finding, Place, Reader, Section};

const CONDITIONS: [&str; 5] = ["source", "sni", "alpn", "offers", "client"];
/// What a ClientHello says.
const OF_HELLO: [&str; 3] = ["sni", "alpn", "offers"];

/// Reports everything about the rules of one listener. That two of them are ambiguous is found when
/// they are compiled.
pub(super) fn check(listener: &Section, reader: &mut Reader<'_>) {
    let mode = listener.get::<&str>("mode").unwrap_or_default();
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    for rule in listener.children("rule") {
        name(rule, &mut names, reader);
        if !CONDITIONS.iter().any(|condition| rule.sets(condition)) {
            let finding = Finding {
                message: "has no condition",
                found: "",
                allowed: &CONDITIONS.join(", "),
                hint: "A rule for every connection is the listener itself: add a condition, or \
                       write its options there.",
            };
            reader.report(rule.place, &rule.path, finding);
        }
        consequences(rule, reader);
        of_mode(listener, mode, rule, reader);
        client(listener, rule, reader);
    }
    let by_client = listener.children("rule").iter().find(|rule| rule.sets("client"));
    if let Some(asking) = by_client {
        other_cas(listener, asking, reader);
    }
    if let (Some(rule), Some(place), Some("after_hello")) =
        (by_client, listener.place_of("connect"), listener.get::<&str>("connect"))
    {
        let finding = Finding {
            message: "comes before it is known who the client is",
            found: &format!("\"after_hello\", with client in {}", rule.path),
            allowed: "\"after_handshake\", with a rule about clients",
            hint: "Remove connect.",
        };
        reader.report(place, &listener.path_of("connect"), finding);
    }
}

/// Who a client is, is the same question for all rules: a CA that only some connections trust could
/// name clients of all of them.
fn other_cas(listener: &Section, asking: &Section, reader: &mut Reader<'_>) {
    for rule in listener.children("rule") {
        let own = rule.child("tls").filter(|tls| tls.is_written && tls.is_own("trusted_ca"));
        let Some((tls, place)) = own.and_then(|tls| Some((tls, tls.place_of("trusted_ca")?)))
        else {
            continue;
        };
        let finding = Finding {
            message: "would let other CAs say who clients are",
            found: &format!("trusted_ca, with client in {}", asking.path),
            allowed: "CAs of the listener, where its rules are about clients",
            hint: "Give these peers a listener of their own.",
        };
        reader.report(place, &tls.path_of("trusted_ca"), finding);
    }
}

fn name(rule: &Section, names: &mut BTreeMap<String, Place>, reader: &mut Reader<'_>) {
    let (Some(name), Some(place)) = (rule.get::<String>("name"), rule.place_of("name")) else {
        return;
    };
    if let Some(first) = names.get(&name) {
        let finding = Finding {
            message: "is the name of another rule",
            found: &format!("\"{name}\", also on line {}", first.line),
            allowed: "each name once in a listener",
            hint: "Rename one of the two rules.",
        };
        reader.report(place, &rule.path_of("name"), finding);
    } else {
        names.insert(name, place);
    }
}

/// Who is refused goes nowhere.
fn consequences(rule: &Section, reader: &mut Reader<'_>) {
    if rule.get::<&str>("action") != Some("deny") {
        return;
    }
    for key in ["upstream", "upstream_source", "tls", "upstream_tls"] {
        if rule.sets(key) {
            let place = rule.place_of(key).or(rule.child(key).map(|table| table.place));
            let finding = Finding {
                message: "is set and the connection is refused",
                found: "action = \"deny\"",
                allowed: "only where the connection is admitted",
                hint: &format!("Remove {key}, or action."),
            };
            reader.report(place.unwrap_or(rule.place), &rule.path_of(key), finding);
        }
    }
}

/// What cannot be known, or said, in the listener's mode.
fn of_mode(listener: &Section, mode: &str, rule: &Section, reader: &mut Reader<'_>) {
    let has_hello = !matches!(mode, "originate" | "pair_entry");
    for key in OF_HELLO.iter().filter(|key| !has_hello && rule.sets(key)) {
        let finding = Finding {
            message: "is never known here",
            found: &format!("mode = \"{mode}\""),
            allowed: "only where peers send a ClientHello",
            hint: &format!("Remove {key}: peers of this listener speak plaintext."),
        };
        reader.report(rule.place_of(key).unwrap_or(rule.place), &rule.path_of(key), finding);
    }
    let sides = levels::sides(listener);
    for side in ["tls", "upstream_tls"] {
        let Some(table) = rule.child(side).filter(|table| table.is_written) else { continue };
        if mode.starts_with("pair") {
            let finding = Finding {
                message: "would change what a pair is",
                found: &format!("mode = \"{mode}\""),
                allowed: "not in the rules of a pair",
                hint: "Both ends of a pair know each other by the listener's own TLS: remove the \
                       table.",
            };
            reader.report(table.place, &table.path, finding);
        } else if !sides.contains(&side) {
            let finding = Finding {
                message: "is there and this side speaks no TLS",
                found: &format!("mode = \"{mode}\""),
                allowed: "only where the listener speaks TLS on that side",
                hint: "Remove the table, or choose another mode.",
            };
            reader.report(table.place, &table.path, finding);
        }
    }
}

/// Who the client is, is known after the handshake, if it is asked.
fn client(listener: &Section, rule: &Section, reader: &mut Reader<'_>) {
    let Some(place) = rule.place_of("client") else { return };
    let asks = listener
        .child("tls")
        .and_then(|tls| tls.get::<&str>("client_cert"))
        .is_some_and(|mode| matches!(mode, "optional" | "required"));
    if !asks {
        let finding = Finding {
            message: "is never known here",
            found: "client, in a listener that asks for no certificate or does not insist on a good one",
            allowed: "only with client_cert = \"optional\" or \"required\" in [listener.tls]",
            hint: "Add client_cert and trusted_ca to [listener.tls].",
        };
        reader.report(place, &rule.path_of("client"), finding);
    }
    if let Some(table) = rule.child("tls").filter(|table| table.is_written) {
        let finding = Finding {
            message: "comes too late",
            found: "tls, in a rule about clients",
            allowed: "only in rules about source, sni, alpn and offers",
            hint: "Who the client is, is known when TLS is done. Write the table in the listener, or \
                   in a rule without client.",
        };
        reader.report(table.place, &table.path, finding);
    }
}
