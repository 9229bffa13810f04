//! The PROXY protocol: whom to believe, and what components can be told.

use super::super::levels;
use super::super::model::ListenAddress;
use super::super::read::{Finding, Reader, Section};
use crate::policy::rules::Cidr;

/// Reports everything about one listener.
pub(super) fn check(listener: &Section, reader: &mut Reader<'_>) {
    incoming(listener, reader);
    let rules = listener.children("rule");
    let words: Vec<&str> =
        std::iter::once(listener).chain(rules).filter_map(|one| one.get("proxy_out")).collect();
    for key in ["proxy_out_client_cert", "proxy_out_checksum"] {
        // Nothing is known of a wrong word.
        let Some(place) = listener.place_of(key).filter(|_| !words.is_empty()) else { continue };
        if listener.get(key) == Some(true) && !words.contains(&"v2") {
            let finding = Finding {
                message: "is about a header that is not sent",
                found: &format!("proxy_out = \"{}\"", words[0]),
                allowed: "only with proxy_out = \"v2\"",
                hint: &format!("Add proxy_out = \"v2\", or remove {key}."),
            };
            reader.report(place, &listener.path_of(key), finding);
        }
    }
    client_certificate(listener, reader);
    for rule in rules.iter().filter(|rule| !rule.sets("upstream")) {
        let Some(place) = rule.place_of("proxy_out") else { continue };
        let finding = Finding {
            message: "is about upstreams that are not the rule's",
            found: "proxy_out, without upstream",
            allowed: "only in rules with upstream",
            hint: "A component always gets the same header, its health checks too: write proxy_out \
                   in the listener, or add upstream.",
        };
        reader.report(place, &rule.path_of("proxy_out"), finding);
    }
}

/// A certificate that nobody is asked for cannot be told.
fn client_certificate(listener: &Section, reader: &mut Reader<'_>) {
    let key = "proxy_out_client_cert";
    let Some(place) = listener.place_of(key).filter(|_| listener.get(key) == Some(true)) else {
        return;
    };
    let asks = |section: &Section| {
        let mode = section.child("tls").and_then(|tls| tls.get::<&str>("client_cert"));
        mode.is_some_and(|mode| mode != "none")
    };
    let ends_here = levels::sides(listener).contains(&"tls");
    let is_asked = ends_here && (asks(listener) || listener.children("rule").iter().any(asks));
    // A trusted sender may have asked for one.
    let is_told = !ends_here && listener.get::<&str>("proxy_in") != Some("off");
    if is_asked || is_told {
        return;
    }
    let finding = Finding {
        message: "is about a certificate that nobody is asked for",
        found: "true, in a listener that asks for no certificate",
        allowed: "only with client_cert = \"optional\", \"required\" or \"report\" in [listener.tls]",
        hint: "Add client_cert and trusted_ca to [listener.tls], or remove proxy_out_client_cert.",
    };
    reader.report(place, &listener.path_of(key), finding);
}

fn incoming(listener: &Section, reader: &mut Reader<'_>) {
    let Some(version) = listener.get::<&str>("proxy_in") else { return };
    let mut report = |key: &str, finding: Finding<'_>| {
        let place = listener.place_of(key).unwrap_or(listener.place);
        reader.report(place, &listener.path_of(key), finding);
    };
    match (version, listener.sets("proxy_trusted")) {
        ("off", true) => {
            return report(
                "proxy_trusted",
                Finding {
                    message: "is set and no header is read",
                    found: "proxy_in = \"off\"",
                    allowed: "only with proxy_in = \"v1\", \"v2\" or \"any\"",
                    hint: "Add proxy_in = \"any\", or remove proxy_trusted.",
                },
            );
        }
        ("off", false) => return,
        (_, false) => {
            return report(
                "proxy_in",
                Finding {
                    message: "needs proxy_trusted",
                    found: &format!("\"{version}\", without proxy_trusted"),
                    allowed: "",
                    hint: "Add proxy_trusted with the addresses of the load balancers that send the \
                           header: whoever is believed can pretend to come from anywhere.",
                },
            );
        }
        (_, true) => {}
    }
    let Some(trusted) = listener.get::<Vec<Option<Cidr>>>("proxy_trusted") else { return };
    for all in trusted.iter().flatten().filter(|range| range.length() == 0) {
        report(
            "proxy_trusted",
            Finding {
                message: "believes everybody",
                found: &format!("\"{all}\""),
                allowed: "the addresses of those who send the header",
                hint: "Whoever is believed can pretend to come from anywhere: name the load \
                       balancers in front.",
            },
        );
    }
    let (unix, ranges) = (trusted.contains(&None), trusted.iter().any(Option::is_some));
    let finding = match listener.get::<ListenAddress>("listen") {
        Some(ListenAddress::Unix(_)) if !unix => Finding {
            message: "believes nobody who can connect",
            found: "addresses, with listen = \"unix:...\"",
            allowed: "\"unix\", where a unix socket is listened on",
            hint: "Write proxy_trusted = \"unix\": the permissions of its directory say who may \
                   connect.",
        },
        Some(ListenAddress::Tcp(_)) if !ranges => Finding {
            message: "believes nobody who can connect",
            found: "\"unix\", with an IP address to listen on",
            allowed: "addresses, where an IP address is listened on",
            hint: "Name the load balancers in front.",
        },
        _ => return,
    };
    report("proxy_trusted", finding);
}
