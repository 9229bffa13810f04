//! What the access log is told and cannot follow.

use super::super::model::Destination;
use super::super::read::{Finding, Reader, Section};

/// Longest APP-NAME (RFC 5424 §6).
const MAX_APP_NAME: usize = 48;

pub(super) fn check(log: &Section, reader: &mut Reader<'_>) {
    app_name(log, reader);
    if let (Some(None), Some(place)) =
        (log.get::<Option<u32>>("access_rate"), log.place_of("access_burst"))
    {
        let finding = Finding {
            message: "is set and there is no limit",
            found: "access_rate = \"off\"",
            allowed: "only with access_rate",
            hint: "Add access_rate: the lines in a second at most.",
        };
        reader.report(place, &log.path_of("access_burst"), finding);
    }
}

/// Names have up to 64 characters elsewhere.
fn app_name(log: &Section, reader: &mut Reader<'_>) {
    let (Some(Destination::Syslog(_)), Some(name), Some(place)) = (
        log.get::<Destination>("access"),
        log.get::<String>("access_name"),
        log.place_of("access_name"),
    ) else {
        return;
    };
    if name.len() > MAX_APP_NAME {
        let finding = Finding {
            message: "is too long for syslog",
            found: &format!("{} characters", name.len()),
            allowed: &format!("at most {MAX_APP_NAME} (RFC 5424 section 6)"),
            hint: "Shorten it.",
        };
        reader.report(place, &log.path_of("access_name"), finding);
    }
}
