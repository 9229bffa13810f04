//! The PROXY protocol: whom to believe.

use super::super::model::ListenAddress;
use super::super::read::{Finding, Reader, Section};
use crate::policy::rules::Cidr;

/// Reports everything about one listener.
pub(super) fn check(listener: &Section, reader: &mut Reader<'_>) {
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
