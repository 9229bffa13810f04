//! Upstreams of a listener, and how one of them is chosen.

use std::time::Duration;

use super::super::levels;
use super::super::model::Endpoint;
use super::super::read::{Finding, Reader, Section};
use super::super::units::format_duration;

/// Most upstreams and backups together.
const MOST: usize = 64;

/// Reports everything about one listener.
pub(super) fn check(listener: &Section, reader: &mut Reader<'_>) {
    for section in std::iter::once(listener).chain(listener.children("rule")) {
        ["upstream", "backup"].into_iter().for_each(|key| twice(section, key, reader));
    }
    backups(listener, reader);
    if let Some(checks) = listener.child("checks") {
        probe(listener, checks, reader);
    }
    if let Some(balance) = listener.child("balance") {
        ejection(balance, reader);
    }
}

/// The same endpoint with another weight.
fn twice(section: &Section, key: &str, reader: &mut Reader<'_>) {
    let (Some(all), Some(place)) = (section.get::<Vec<Endpoint>>(key), section.place_of(key))
    else {
        return;
    };
    let repeated = all.iter().enumerate().filter(|(at, endpoint)| all[..*at].contains(endpoint));
    for (_, endpoint) in repeated {
        let finding = Finding {
            message: "has an endpoint twice",
            found: &format!("\"{endpoint}\""),
            allowed: "each endpoint once",
            hint: "Remove one of the two, or add their weights up.",
        };
        reader.report(place, &section.path_of(key), finding);
    }
}

/// A handshake needs to know whom to trust.
fn probe(listener: &Section, checks: &Section, reader: &mut Reader<'_>) {
    let (Some("tls"), Some(place), Some(mode)) =
        (checks.get::<&str>("probe"), checks.place_of("probe"), listener.get::<&str>("mode"))
    else {
        return;
    };
    let key = checks.path_of("probe");
    if !levels::sides(listener).contains(&"upstream_tls") {
        let finding = Finding {
            message: "is about TLS that is not spoken here",
            found: &format!("\"tls\", with mode = \"{mode}\""),
            allowed: "only where TLS with the component is ours",
            hint: "Remove probe: that the component accepts is what can be known.",
        };
        reader.report(place, &key, finding);
    }
    if checks.get::<Option<Duration>>("interval") == Some(None) {
        let finding = Finding {
            message: "is set and nothing is checked",
            found: "interval = \"off\"",
            allowed: "only with an interval",
            hint: "Add interval = \"5s\" to [listener.checks].",
        };
        reader.report(place, &key, finding);
    }
}

fn backups(listener: &Section, reader: &mut Reader<'_>) {
    let (Some(all), Some(backups), Some(place)) = (
        listener.get::<Vec<Endpoint>>("upstream"),
        listener.get::<Vec<Endpoint>>("backup"),
        listener.place_of("backup"),
    ) else {
        return;
    };
    let key = listener.path_of("backup");
    for endpoint in backups.iter().filter(|backup| all.contains(backup)) {
        let finding = Finding {
            message: "is an upstream already",
            found: &format!("\"{endpoint}\""),
            allowed: "each endpoint once",
            hint: "Remove it from upstream or from backup.",
        };
        reader.report(place, &key, finding);
    }
    let count = all.len() + backups.len();
    if count > MOST {
        let finding = Finding {
            message: "is too much together with upstream",
            found: &format!("{count} endpoints"),
            allowed: &format!("at most {MOST} together"),
            hint: "Remove some of them.",
        };
        reader.report(place, &key, finding);
    }
}

fn ejection(balance: &Section, reader: &mut Reader<'_>) {
    let duration = |key| balance.get::<Duration>(key);
    let (Some(first), Some(most), Some(place)) =
        (duration("eject_time"), duration("eject_max"), balance.place_of("eject_max"))
    else {
        return;
    };
    if most < first {
        let finding = Finding {
            message: "is less than the first time",
            found: &format!(
                "\"{}\", with eject_time = \"{}\"",
                format_duration(most),
                format_duration(first)
            ),
            allowed: "at least eject_time",
            hint: "Raise eject_max or lower eject_time.",
        };
        reader.report(place, &balance.path_of("eject_max"), finding);
    }
}
