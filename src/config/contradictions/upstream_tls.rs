//! TLS towards the component: what its options need of each other.

use super::super::model::Endpoint;
use super::super::public::is_public;
use super::super::read::{Finding, Reader, Section};
use super::dated;

/// Reports everything about the effective section `tls` of a listener, or of a rule of it.
pub(super) fn check(section: &Section, listener: &Section, tls: &Section, reader: &mut Reader<'_>) {
    dated(tls, "verify", &["none", "chain"], &["none", "chain"], "verify_until", reader);
    needs(tls, &["full", "chain"], "trusted_ca", "the CAs that its certificate chains to", reader);
    needs(tls, &["pin"], "pins", "the SHA-256 of its public key", reader);
    certificate(tls, reader);
    name(section, listener, tls, reader);
}

/// A way to verify that cannot do without another key.
fn needs(tls: &Section, words: &[&str], key: &str, what: &str, reader: &mut Reader<'_>) {
    let Some(verify) = tls.get::<&str>("verify") else { return };
    if words.contains(&verify) && !tls.sets(key) {
        let finding = Finding {
            message: &format!("needs {key}"),
            found: &format!("\"{verify}\", without {key}"),
            allowed: "",
            hint: &format!("Add {key}: {what}."),
        };
        let place = tls.place_of("verify").unwrap_or(tls.place);
        reader.report(place, &tls.path_of("verify"), finding);
    }
    if !words.contains(&verify)
        && let Some(place) = tls.place_of(key).filter(|_| tls.is_own(key))
    {
        let finding = Finding {
            message: "is set and not looked at",
            found: &format!("verify = \"{verify}\""),
            allowed: &format!("only with verify = \"{}\"", words.join("\" or \"")),
            hint: &format!("Remove {key}, or set verify."),
        };
        reader.report(place, &tls.path_of(key), finding);
    }
}

fn certificate(tls: &Section, reader: &mut Reader<'_>) {
    for (key, other) in [("certificate", "certificate_key"), ("certificate_key", "certificate")] {
        if let Some(place) = tls.place_of(key).filter(|_| !tls.sets(other)) {
            let finding = Finding {
                message: &format!("needs {other}"),
                found: &format!("{key}, without {other}"),
                allowed: "both, or neither",
                hint: &format!("Add {other}."),
            };
            reader.report(place, &tls.path_of(key), finding);
        }
    }
}

/// What the component's name or address rules out.
pub(super) fn name(section: &Section, listener: &Section, tls: &Section, reader: &mut Reader<'_>) {
    // A rule without upstreams of its own has those of its listener.
    let own: Option<Vec<Endpoint>> = section.get("upstream");
    let has_listeners = own.is_none() || std::ptr::eq(section, listener);
    let mut endpoints = own.unwrap_or_default();
    for key in ["upstream", "backup"].into_iter().filter(|_| has_listeners) {
        endpoints.extend(listener.get::<Vec<Endpoint>>(key).unwrap_or_default());
    }
    // A unix socket has no name of its own to check.
    let has_unix = endpoints.iter().any(|endpoint| matches!(endpoint, Endpoint::Unix(_)));
    if has_unix && tls.get::<&str>("verify") == Some("full") && !tls.sets("server_name") {
        let finding = Finding {
            message: "is missing",
            found: "an upstream that is a unix socket, with verify = \"full\"",
            allowed: "text of 1 to 253 bytes",
            hint: "Add server_name: the name that the component's certificate must have.",
        };
        reader.report(tls.place, &tls.path_of("server_name"), finding);
    }
    // There is no exception up to a day: encryption with anybody is none.
    let public = endpoints.iter().find(|endpoint| is_public(endpoint));
    if let (Some(endpoint), Some("none")) = (public, tls.get::<&str>("verify")) {
        let finding = Finding {
            message: "takes whoever answers on the public internet for the component",
            found: &format!("\"none\", towards \"{endpoint}\""),
            allowed: "\"none\" towards private addresses, and names that are not public",
            hint: "Use verify = \"full\" with trusted_ca, or verify = \"pin\" with the component's \
                   public key. A component inside whose name looks public goes by its address.",
        };
        let place = tls.place_of("verify").unwrap_or(tls.place);
        reader.report(place, &tls.path_of("verify"), finding);
    }
}
