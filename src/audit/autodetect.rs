//! Whether a port that takes plaintext and TLS can be made to take TLS alone.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::query::DAY;
use super::report::{List, Seen};
use crate::telemetry::access_log::rfc3339::to_the_minute;

/// What is known of an autodetect listener. Times are Unix time in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    pub listener: String,
    /// `autodetect_until`, and whole days up to it; none once it is over.
    pub until: Option<String>,
    pub days_till_end: Option<i64>,
    /// When this process began to serve it with `mode = "autodetect"`.
    pub watched_since: i64,
    pub plaintext_connections: u64,
    /// Of them, those that are open.
    pub plaintext_open: u64,
    /// When the last of them came or went.
    pub plaintext_last: Option<i64>,
    pub tls_connections: u64,
    /// Who has spoken plaintext, the last one first.
    pub plaintext_sources: List<SourceRow>,
    /// Who has spoken TLS and nothing else.
    pub tls_sources: List<SourceRow>,
    pub verdict: Verdict,
    /// The verdict in words.
    pub why: String,
}

/// One source of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRow {
    /// None for those that come by a unix socket.
    pub source: Option<IpAddr>,
    #[serde(flatten)]
    pub seen: Seen,
}

/// Whether TLS can be enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Safe,
    NotSafe,
    /// Too little was seen.
    Unknown,
}

/// What the verdict is about.
pub(super) struct Facts<'a> {
    pub(super) watch: &'a Watch,
    /// Workers that did not answer.
    pub(super) missing: usize,
    /// How long nobody must have spoken plaintext, in seconds.
    pub(super) quiet: i64,
    pub(super) now: i64,
}

/// Sources of one listener, by what they speak.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) plaintext: BTreeMap<Option<IpAddr>, Seen>,
    pub(super) tls: BTreeMap<Option<IpAddr>, Seen>,
}

impl Sources {
    /// Those that spoke plaintext, and those that spoke TLS alone, as many as `limit` of each.
    pub(super) fn lists(mut self, limit: usize) -> (List<SourceRow>, List<SourceRow>) {
        self.tls.retain(|source, _| !self.plaintext.contains_key(source));
        let list = |sources: BTreeMap<Option<IpAddr>, Seen>| {
            let rows = sources.into_iter().map(|(source, seen)| SourceRow { source, seen });
            let mut rows: Vec<SourceRow> = rows.collect();
            rows.sort_by_key(|row| std::cmp::Reverse(row.seen.last));
            List::cut(rows, limit)
        };
        (list(self.plaintext), list(self.tls))
    }
}

/// The verdict, and why.
pub(super) fn judge(facts: &Facts<'_>) -> (Verdict, String) {
    let Facts { watch, missing, quiet, now } = facts;
    let sources = watch.plaintext_sources.len();
    if watch.plaintext_open > 0 {
        let open = watch.plaintext_open;
        let why = format!("not safe: open connections of plaintext: {open}");
        return (Verdict::NotSafe, why);
    }
    let since = watch.plaintext_last.unwrap_or(watch.watched_since);
    let quiet_for = now - since;
    if watch.plaintext_last.is_some() && quiet_for < *quiet {
        let ago = in_words(quiet_for);
        return (Verdict::NotSafe, format!("not safe: plaintext {ago} ago, sources: {sources}"));
    }
    if *missing > 0 {
        return (Verdict::Unknown, format!("not known: {missing} workers did not answer"));
    }
    if watch.plaintext_last.is_none() && watch.tls_connections == 0 {
        return (Verdict::Unknown, "not known: nobody has come yet".to_owned());
    }
    if quiet_for < *quiet {
        let (watched, wanted) = (in_words(quiet_for), in_words(*quiet));
        let why = format!("not known yet: no plaintext, but watched for {watched} of {wanted}");
        return (Verdict::Unknown, why);
    }
    let tls = watch.tls_sources.len();
    let (date, days) = (to_the_minute(since), quiet_for / DAY);
    let why = format!(
        "safe to enforce: no plaintext source since {date} ({days} days, {tls} sources with TLS)"
    );
    (Verdict::Safe, why)
}

/// A duration in seconds, in its largest unit.
pub fn in_words(seconds: i64) -> String {
    let units = [("d", DAY), ("h", 3600), ("min", 60)];
    let unit = units.into_iter().find(|(_, length)| seconds >= 2 * length);
    match unit {
        Some((name, length)) => format!("{} {name}", seconds / length),
        None => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn list(count: usize) -> List<SourceRow> {
        let row = SourceRow { source: None, seen: Seen::default() };
        List { rows: vec![row; count], left_out: 0 }
    }

    /// Nobody has come in 30 days.
    fn watch() -> Watch {
        Watch {
            listener: "confserv".to_owned(),
            until: Some("2099-12-31".to_owned()),
            days_till_end: Some(1),
            watched_since: NOW - 30 * DAY,
            plaintext_connections: 0,
            plaintext_open: 0,
            plaintext_last: None,
            tls_connections: 0,
            plaintext_sources: list(0),
            tls_sources: list(0),
            verdict: Verdict::Unknown,
            why: String::new(),
        }
    }

    fn judged(watch: &Watch, missing: usize) -> (Verdict, String) {
        judge(&Facts { watch, missing, quiet: 7 * DAY, now: NOW })
    }

    #[test]
    fn safe_is_what_was_quiet_for_long_enough() {
        let quiet = Watch { tls_connections: 9, tls_sources: list(3), ..watch() };
        let (verdict, why) = judged(&quiet, 0);
        assert_eq!(verdict, Verdict::Safe);
        let expected = "safe to enforce: no plaintext source since 2026-12-16 08:00 (30 days, 3 sources with \
             TLS)";
        assert_eq!(why, expected);
        let last = Some(NOW - 8 * DAY);
        let quiet_again = Watch { plaintext_connections: 2, plaintext_last: last, ..quiet.clone() };
        assert!(judged(&quiet_again, 0).1.contains("(8 days"), "{:?}", judged(&quiet_again, 0));
        assert_eq!(judged(&quiet, 1).0, Verdict::Unknown, "a worker is missing");
    }

    #[test]
    fn not_safe_is_what_somebody_still_needs() {
        let long_ago = Some(NOW - 20 * DAY);
        let open = Watch { plaintext_open: 1, plaintext_last: long_ago, ..watch() };
        assert_eq!(judged(&open, 0).0, Verdict::NotSafe, "open for twenty days is not over");
        let lately = Watch { plaintext_last: Some(NOW - 2 * DAY), ..watch() };
        let lately = Watch { plaintext_sources: list(2), ..lately };
        let (verdict, why) = judged(&lately, 0);
        assert_eq!(
            (verdict, why.as_str()),
            (Verdict::NotSafe, "not safe: plaintext 2 d ago, sources: 2")
        );
    }

    #[test]
    fn what_nobody_has_used_or_was_not_watched_for_long_is_unknown() {
        assert_eq!(judged(&watch(), 0).0, Verdict::Unknown);
        let young = Watch { tls_connections: 9, watched_since: NOW - DAY, ..watch() };
        assert_eq!(judged(&young, 0).0, Verdict::Unknown);
    }

    #[test]
    fn a_source_that_speaks_both_is_one_of_plaintext() {
        let mut sources = Sources::default();
        let at = |last| Seen { last, ..Seen::default() };
        let source = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        sources.plaintext.insert(source(1), at(5));
        sources.plaintext.insert(source(3), at(7));
        sources.tls.insert(source(1), at(9));
        sources.tls.insert(source(2), at(9));
        let (plaintext, tls) = sources.lists(1);
        assert_eq!(plaintext.rows[0].source, source(3), "the last one first");
        assert_eq!((plaintext.len(), plaintext.left_out), (2, 1));
        assert_eq!((tls.rows[0].source, tls.len()), (source(2), 1));
    }
}
