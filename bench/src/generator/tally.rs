//! What generators say that they did.

use std::time::Duration;

use serde_json::Value;
use tlsgate_bench::client::Report;

use super::test::Test;
use crate::measure::load::Unit;
use crate::measure::rounds::Measurement;
use crate::measure::sample::clean;

/// Operations of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tally {
    pub(super) done: u64,
    /// Connections without an operation of their own, which get sessions to resume.
    pub(super) before: u64,
    /// How long it took, where it was told to a hundredth of a second or better.
    pub(super) wall: Option<Duration>,
}

impl Tally {
    /// Of the JSON that `tlsgate-bench load` prints.
    pub(super) fn of_own(text: &str, test: Test) -> Result<Self, String> {
        let mut json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let report: Report =
            serde_json::from_value(json["report"].take()).map_err(|error| error.to_string())?;
        clean(&report)?;
        let resumed = if test.resumes() { report.done } else { 0 };
        if report.resumed != resumed {
            return Err(format!("{} of {} were resumed", report.resumed, report.done));
        }
        let before = match test.unit() {
            Unit::Handshake => report.connections - report.done,
            Unit::RoundTrip | Unit::Gigabyte => 0,
        };
        Ok(Self { done: report.done, before, wall: Some(report.elapsed) })
    }

    /// Of what wrk prints.
    pub(super) fn of_wrk(text: &str) -> Result<Self, String> {
        let wrong = ["Socket errors", "Non-2xx"];
        if let Some(line) = text.lines().find(|line| wrong.iter().any(|word| line.contains(word))) {
            return Err(line.trim().to_owned());
        }
        let before = |word: &str| text.split_once(word)?.0.split_whitespace().next_back();
        let rate =
            text.split_once("Requests/sec:").and_then(|(_, rest)| rest.split_whitespace().next());
        let done: Option<u32> = before(" requests in ").and_then(|word| word.parse().ok());
        let rate: Option<f64> = rate.and_then(|word| word.parse().ok()).filter(|rate| *rate > 0.0);
        let (done, rate) = done.zip(rate).ok_or_else(|| format!("wrk said: {text}"))?;
        let wall = Some(Duration::from_secs_f64(f64::from(done) / rate));
        Ok(Self { done: done.into(), before: 0, wall })
    }

    /// Of what `openssl s_time` prints: a sign for each connection, which is `r` if it was resumed.
    pub(super) fn of_s_time(text: &str, test: Test) -> Result<Self, String> {
        let signs = text.lines().filter(|line| line.bytes().all(|sign| b"r*t3".contains(&sign)));
        let resumed = signs.flat_map(str::bytes).filter(|sign| *sign == b'r').count() as u64;
        let done = text.split_once(" connections in ").and_then(|(before, _)| {
            before.split_whitespace().next_back().and_then(|word| word.parse().ok())
        });
        let done: u64 = done.ok_or_else(|| format!("s_time said: {text}"))?;
        if resumed != if test.resumes() { done } else { 0 } {
            return Err(format!("{resumed} of {done} were resumed"));
        }
        Ok(Self { done, before: u64::from(test.resumes()), wall: None })
    }

    /// Both together, which ran at the same time.
    pub(super) fn and(self, other: Self) -> Self {
        Self { done: self.done + other.done, before: self.before + other.before, wall: self.wall }
    }

    /// Whether the server has seen the same.
    ///
    /// # Errors
    /// What differs.
    pub(super) fn compare(self, seen: u64, test: Test) -> Result<(), String> {
        let told = self.done + self.before;
        // wrk ends with requests under way, and does not count those.
        let under_way = match test.unit() {
            Unit::RoundTrip | Unit::Gigabyte => test.at_a_time() as u64,
            Unit::Handshake => 0,
        };
        if (told..=told + under_way).contains(&seen) {
            return Ok(());
        }
        Err(format!("it counted {told}, but the server {seen}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        let text = "Running 2s test @ https://127.0.0.1:1/\n  1 threads and 50 connections\n  97123 requests in \
                    2.00s, 25.01MB read\nRequests/sec:  48561.50\nTransfer/sec:     12.50MB\n";
        let tally = Tally::of_wrk(text).expect("as it prints");
        assert_eq!((tally.done, tally.before), (97_123, 0));
        let wall = tally.wall.expect("from the rate").as_secs_f64();
        assert!((wall - 2.0).abs() < 0.001, "{wall}");
        let broken =
            text.replace("Requests/sec", "  Socket errors: connect 0, read 9\nRequests/sec");
        assert_eq!(Tally::of_wrk(&broken), Err("Socket errors: connect 0, read 9".to_owned()));
        assert!(Tally::of_wrk("unable to connect").is_err());
        for (seen, is_right) in [(97_122, false), (97_123, true), (97_173, true), (97_174, false)] {
            assert_eq!(tally.compare(seen, Test::Requests).is_ok(), is_right, "{seen}");
        }
    }

    #[test]
    fn s_time_is_understood() {
        let text = "starting\nrrrr\n\n4 connections in 0.01s; 400.00 connections/user sec, bytes read 0\n4 \
                    connections in 2 real seconds, 0 bytes read per connection\n";
        let tally = Tally::of_s_time(text, Test::Resumed).expect("as it prints");
        assert_eq!(tally, Tally { done: 4, before: 1, wall: None });
        assert_eq!(tally.and(tally).compare(10, Test::Resumed), Ok(()));
        assert!(tally.compare(4, Test::Resumed).is_err());
        assert!(Tally::of_s_time(text, Test::Full).is_err(), "not what was wanted");
        let full = text.replace("starting\nrrrr", "****");
        assert_eq!(Tally::of_s_time(&full, Test::FullAlone).map(|tally| tally.before), Ok(0));
        assert!(Tally::of_s_time(&full, Test::Resumed).is_err());
        assert!(Tally::of_s_time("connect: Connection refused", Test::Full).is_err());
    }
}
