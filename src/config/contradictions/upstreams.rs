//! Upstreams of a listener, and how one of them is chosen.

use std::time::Duration;

use super::super::model::Endpoint;
use super::super::read::{Finding, Reader, Section};
use super::super::units::format_duration;

/// Most upstreams and backups together.
const MOST: usize = 64;

/// Reports everything about one listener.
pub(super) fn check(listener: &Section, reader: &mut Reader<'_>) {
    backups(listener, reader);
    if let Some(balance) = listener.child("balance") {
        ejection(balance, reader);
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
