//! What shards share by need.

use super::{write_family, write_sample, write_single};
use crate::telemetry::names;
use crate::telemetry::shared::SharedValues;

pub(super) fn write(text: &mut String, shared: &SharedValues) {
    for (metric, value) in [
        (names::SESSION_HITS, shared.session_hits),
        (names::SESSION_MISSES, shared.session_misses),
        (names::SESSION_EVICTIONS, shared.session_evictions),
        (names::SESSION_ENTRIES, shared.session_entries),
        (names::SESSION_BYTES, shared.session_bytes),
        (names::LEGACY_UP, shared.legacy_up),
        (names::LEGACY_STARTS, shared.legacy_starts),
        (names::LEGACY_DEATHS, shared.legacy_deaths),
        (names::CONTROL_REFUSED, shared.control_refused),
    ] {
        write_single(text, &metric, value);
    }
    let dropped = [
        ("queue", shared.access_log_dropped_queue),
        ("blocked", shared.access_log_dropped_blocked),
        ("failed", shared.access_log_dropped_failed),
    ];
    let suppressed = [
        ("sample", shared.access_log_suppressed_sample),
        ("rate", shared.access_log_suppressed_rate),
    ];
    let families =
        [(names::ACCESS_LOG_DROPPED, &dropped[..]), (names::ACCESS_LOG_SUPPRESSED, &suppressed)];
    for (metric, causes) in families {
        write_family(text, &metric);
        for (cause, value) in causes {
            write_sample(text, metric.name, &[("cause", cause)], value);
        }
    }
}
