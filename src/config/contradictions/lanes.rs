//! Lanes weaker than the modern one: what each needs, and what it rules out.

use super::super::levels;
use super::super::model::{KeyExchange, ListenAddress, TlsVersion, WeakSuite};
use super::super::read::{Finding, Reader, Section};
use crate::policy::rules::Cidr;

/// Shortest ranges that name somebody: 10.0.0.0/8 and fc00::/7 are the longest private ones.
const LEAST_BITS: (u8, u8) = (8, 7);

/// Reports everything about the lanes of the effective section `tls` of a listener, or of a rule of
/// it.
pub(super) fn check(listener: &Section, tls: &Section, reader: &mut Reader<'_>) {
    let Some(lane) = tls.get::<&str>("lane") else { return };
    pairs(tls, reader);
    without_lane(tls, lane, reader);
    match lane {
        "legacy" => legacy(listener, tls, reader),
        "compat12" => compat12(tls, reader),
        _ => {}
    }
    if lane != "modern" {
        modes(listener, tls, lane, reader);
        static_rsa(tls, reader);
    }
    if lane != "legacy" {
        old_versions(tls, lane, reader);
    }
}

fn legacy(listener: &Section, tls: &Section, reader: &mut Reader<'_>) {
    needs(tls, "legacy", "legacy_until", "legacy_until = \"2027-12-31\", its last day", reader);
    needs(
        tls,
        "legacy",
        "allow_from",
        "allow_from = [\"10.1.2.0/28\"], the addresses of the peers that cannot do better",
        reader,
    );
    if is_server(tls) {
        needs(
            tls,
            "legacy",
            "legacy_certificate",
            "legacy_certificate and legacy_certificate_key: what is shown in this lane, with a key \
             that no other lane has",
            reader,
        );
    }
    if let (Some(ranges), Some(place)) =
        (tls.get::<Vec<Cidr>>("allow_from"), tls.place_of("allow_from"))
    {
        let least =
            |range: &Cidr| if range.address().is_ipv4() { LEAST_BITS.0 } else { LEAST_BITS.1 };
        for range in ranges.iter().filter(|range| range.length() < least(range)) {
            let finding = Finding {
                message: "lets nearly everybody in",
                found: &format!("\"{range}\""),
                allowed: "ranges of /8 or longer in IPv4, of /7 or longer in IPv6",
                hint: "Name the peers that cannot do better than TLS 1.1: everybody else has a \
                       better lane.",
            };
            reader.report(place, &tls.path_of("allow_from"), finding);
        }
    }
    let is_unix = matches!(listener.get("listen"), Some(ListenAddress::Unix(_)));
    if is_unix && listener.get::<&str>("proxy_in") == Some("off") && tls.sets("allow_from") {
        let finding = Finding {
            message: "lets nobody in",
            found: "peers of a unix socket, which have no address",
            allowed: "",
            hint: "Listen on an IP address, or let those that connect say whom it is for: proxy_in.",
        };
        let place = tls.place_of("allow_from").unwrap_or(tls.place);
        reader.report(place, &tls.path_of("allow_from"), finding);
    }
    let most = tls.get::<TlsVersion>("max_version");
    if most.is_some_and(|most| most < TlsVersion::V1_2) {
        for key in ["compat12_ciphers", "compat12_certificate"] {
            not_looked_at(tls, key, "max_version below 1.2", "with TLS 1.2", reader);
        }
    }
}

fn compat12(tls: &Section, reader: &mut Reader<'_>) {
    let hint = "compat12_ciphers = [\"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384\"], the suites that \
                peers need beyond the modern ones";
    needs(tls, "compat12", "compat12_ciphers", hint, reader);
    if tls.get::<TlsVersion>("min_version") == Some(TlsVersion::V1_3) {
        let finding = Finding {
            message: "is a lane of TLS 1.2, which is not spoken",
            found: "\"compat12\", with min_version = \"1.3\"",
            allowed: "with min_version = \"1.2\"",
            hint: "Lower min_version, or remove lane.",
        };
        reader.report(place_of(tls, "lane"), &tls.path_of("lane"), finding);
    }
}

/// Where a lane has a key of its own, the file says both of its files at one level.
fn pairs(tls: &Section, reader: &mut Reader<'_>) {
    for lane in ["legacy", "compat12"] {
        let (one, other) = (format!("{lane}_certificate"), format!("{lane}_certificate_key"));
        for (key, other) in [(&one, &other), (&other, &one)] {
            let Some(place) = tls.place_of(key) else { continue };
            let is_split = tls.sets(other) && tls.is_own(key) && !tls.is_own(other);
            if tls.sets(other) && !is_split {
                continue;
            }
            let finding = Finding {
                message: &format!("needs {other}"),
                found: &format!("{key}, without {other} beside it"),
                allowed: "both at one level, or neither",
                hint: &format!("Add {other}."),
            };
            reader.report(place, &tls.path_of(key), finding);
        }
    }
}

/// What is set for a lane that is not open.
fn without_lane(tls: &Section, lane: &str, reader: &mut Reader<'_>) {
    let found = format!("lane = \"{lane}\"");
    if lane != "legacy" {
        for key in ["legacy_until", "allow_from", "legacy_certificate", "legacy_ciphers"] {
            not_looked_at(tls, key, &found, "with lane = \"legacy\"", reader);
        }
    }
    if lane == "modern" {
        for key in ["compat12_ciphers", "compat12_certificate"] {
            not_looked_at(tls, key, &found, "with lane = \"compat12\" or \"legacy\"", reader);
        }
    } else if lane == "legacy"
        && tls.is_own("compat12_certificate")
        && !tls.sets("compat12_ciphers")
    {
        not_looked_at(tls, "compat12_certificate", "no compat12_ciphers", "with them", reader);
    }
}

fn not_looked_at(tls: &Section, key: &str, found: &str, allowed: &str, reader: &mut Reader<'_>) {
    // What a listener says and a rule of it does away with is no mistake.
    if !tls.is_own(key) {
        return;
    }
    let finding = Finding {
        message: "is set and not looked at",
        found,
        allowed: &format!("only {allowed}"),
        hint: &format!("Remove {key}, or change the other."),
    };
    reader.report(place_of(tls, key), &tls.path_of(key), finding);
}

fn needs(tls: &Section, lane: &str, key: &str, what: &str, reader: &mut Reader<'_>) {
    if tls.sets(key) {
        return;
    }
    let finding = Finding {
        message: &format!("needs {key}"),
        found: &format!("\"{lane}\", without {key}"),
        allowed: "",
        hint: &format!("Add {what}."),
    };
    reader.report(place_of(tls, "lane"), &tls.path_of("lane"), finding);
}

/// A key that decrypts for whoever asks must not be one that others rely on.
fn static_rsa(tls: &Section, reader: &mut Reader<'_>) {
    let suites = tls.get::<Vec<&WeakSuite>>("compat12_ciphers").unwrap_or_default();
    let found = suites.iter().find(|suite| suite.key_exchange == KeyExchange::StaticRsa);
    let Some(suite) = found.filter(|_| is_server(tls) && !tls.sets("compat12_certificate")) else {
        return;
    };
    let finding = Finding {
        message: "has static RSA, and needs compat12_certificate",
        found: &format!("\"{}\", with the modern lane's key", suite.name),
        allowed: "",
        hint: "Add compat12_certificate and compat12_certificate_key, with an RSA key that no other \
               lane has, or leave out what begins with TLS_RSA_WITH_.",
    };
    reader.report(place_of(tls, "compat12_ciphers"), &tls.path_of("compat12_ciphers"), finding);
}

/// TLS 1.0 and 1.1 are for the legacy lane.
fn old_versions(tls: &Section, lane: &str, reader: &mut Reader<'_>) {
    for key in ["min_version", "max_version"] {
        let version = tls.get::<TlsVersion>(key).filter(|version| *version < TlsVersion::V1_2);
        let (Some(version), Some(place)) = (version, tls.place_of(key)) else { continue };
        let finding = Finding {
            message: "is older than TLS 1.2, and needs lane = \"legacy\"",
            found: &format!("\"{version}\", with lane = \"{lane}\""),
            allowed: "\"1.2\" or \"1.3\" without that lane",
            hint: "TLS 1.0 and 1.1 are broken (RFC 8996): raise the peers to TLS 1.2, or open the \
                   legacy lane for some of them up to a day: lane, legacy_until, allow_from.",
        };
        reader.report(place, &tls.path_of(key), finding);
    }
}

/// Where there is no weak lane at all.
fn modes(listener: &Section, tls: &Section, lane: &str, reader: &mut Reader<'_>) {
    let mode = listener.get::<&str>("mode").unwrap_or_default();
    if matches!(mode, "pair_entry" | "pair_exit") {
        let finding = Finding {
            message: "is too weak for a pair",
            found: &format!("\"{lane}\", with mode = \"{mode}\""),
            allowed: "\"modern\"",
            hint: "Both ends are gateways, which speak TLS 1.3: remove lane.",
        };
        reader.report(place_of(tls, "lane"), &tls.path_of("lane"), finding);
    }
    let checks = listener.child("checks");
    let probes = checks.and_then(|checks| checks.get::<&str>("probe")) == Some("tls");
    if probes && !is_server(tls) && levels::sides(listener).contains(&"upstream_tls") {
        let finding = Finding {
            message: "is a lane that checks do not have",
            found: &format!("\"{lane}\", with probe = \"tls\""),
            allowed: "\"modern\", with probe = \"tls\"",
            hint: "Let checks see that the component accepts: remove probe.",
        };
        reader.report(place_of(tls, "lane"), &tls.path_of("lane"), finding);
    }
}

/// Whether the gateway is the server.
fn is_server(tls: &Section) -> bool {
    !tls.path.ends_with("upstream_tls")
}

fn place_of(tls: &Section, key: &str) -> super::super::read::Place {
    let tables = tls.children(key).first().map(|table| table.place);
    tls.place_of(key).or(tables).unwrap_or(tls.place)
}
