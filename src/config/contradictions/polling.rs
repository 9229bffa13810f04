//! CPU time for latency, where nothing would come of it.

use std::time::Duration;

use super::super::read::{Finding, Reader, Section, join};

/// Reports what the table `gateway` says of polling and nobody looks at.
pub(super) fn check(gateway: &Section, reader: &mut Reader<'_>) {
    let has_sqpoll = gateway.get::<Option<Duration>>("sqpoll").flatten().is_some();
    let has_busy_poll = gateway.get::<Option<u32>>("busy_poll").flatten().is_some();
    if gateway.get::<&str>("engine") == Some("epoll") {
        let allowed = "with engine = \"auto\" or \"io_uring\"";
        for (key, _) in
            [("sqpoll", has_sqpoll), ("busy_poll", has_busy_poll)].iter().filter(|it| it.1)
        {
            not_looked_at(gateway, key, "engine = \"epoll\"", allowed, reader);
        }
    }
    if gateway.get::<Option<Duration>>("sqpoll") == Some(None) {
        not_looked_at(gateway, "sqpoll_cpus", "sqpoll = \"off\"", "with sqpoll", reader);
    }
}

fn not_looked_at(
    gateway: &Section,
    key: &str,
    found: &str,
    allowed: &str,
    reader: &mut Reader<'_>,
) {
    let Some(place) = gateway.place_of(key) else { return };
    let finding = Finding {
        message: "is set and not looked at",
        found,
        allowed: &format!("only {allowed}"),
        hint: &format!("Remove {key}, or change the other."),
    };
    reader.report(place, &join(&gateway.path, key), finding);
}
