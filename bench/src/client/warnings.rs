//! What makes a report say more about the client than about the target.

use super::failure::ErrorKind;
use super::report::{Effort, Report};

/// From this share of its time on that a thread ran or waited for a CPU, it may have been the limit.
const EXHAUSTED: f64 = 0.9;
/// From this share of missing starts on, the offered rate was another than the one wanted.
const RATE_ERROR: f64 = 0.01;
/// From this share of a latency on, lateness of starts is a good part of it.
const LATENESS: f64 = 0.25;
/// From this share of the floor on, it is the better part of what was measured.
const FLOOR: f64 = 0.8;

impl Report {
    /// Reasons to doubt that the report is about the target, as sentences; none when there are none.
    /// `floor` is what [`crate::floor`] found, if it was asked.
    pub fn warnings(&self, floor: Option<&Self>) -> Vec<String> {
        let mut warnings = self.limits();
        let is_closed = self.due == 0;
        let floor = floor.filter(|floor| floor.done > 0 && self.done > 0);
        if let Some(floor) = floor.filter(|floor| is_closed && self.rate() >= floor.rate() * FLOOR)
        {
            warnings.push(format!(
                "{:.0} per second are nearly the {:.0} of the floor: the client and this machine \
                 may be the limit.",
                self.rate(),
                floor.rate()
            ));
        }
        let (own, whole) = (floor.map(|floor| floor.total.quantile(0.5)), self.total.quantile(0.5));
        if let Some(own) = own.filter(|own| !is_closed && *own >= whole.mul_f64(FLOOR)) {
            warnings.push(format!(
                "a latency of {whole:.1?} at p50 is hardly more than the {own:.1?} of the floor: it \
                 says little about the target."
            ));
        }
        warnings
    }

    fn limits(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(Effort { busy, waiting }) =
            self.effort.filter(|effort| effort.exertion() >= EXHAUSTED)
        {
            warnings.push(format!(
                "the client, not the target, may be the limit: its busiest thread ran {:.0} % of \
                 the time and waited {:.0} % for a CPU. More --threads, CPUs of their own (--cpus), \
                 or another machine.",
                busy * 100.0,
                waiting * 100.0
            ));
        }
        if let Some(error) = self.rate_error().filter(|error| *error >= RATE_ERROR) {
            warnings.push(format!(
                "{:.1} % of the starts were not made, because all connections were busy: more \
                 --concurrency, or the target cannot keep up with the rate.",
                error * 100.0
            ));
        }
        let (late, total) = (self.late.quantile(0.99), self.total.quantile(0.99));
        if self.total.count() > 0 && late >= total.mul_f64(LATENESS) {
            warnings.push(format!(
                "the client itself was late: {late:.1?} at p99, of {total:.1?} in total. A lower \
                 rate, more --threads, or CPUs without other work."
            ));
        }
        for (kind, what) in
            [(ErrorKind::LocalPorts, "ports"), (ErrorKind::Descriptors, "descriptors (ulimit -n)")]
        {
            let count = self.errors_of(kind);
            if count > 0 {
                warnings.push(format!(
                    "{count} operations failed for want of {what} on this machine, which says \
                     nothing about the target."
                ));
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Errors;
    use std::time::Duration;

    #[test]
    fn a_client_that_was_the_limit_is_told_of() {
        let mut good = Report { due: 1_000, done: 1_000, ..Report::default() };
        good.effort = Some(Effort { busy: 0.5, waiting: 0.1 });
        good.total.record(Duration::from_millis(10));
        good.late.record(Duration::from_millis(1));
        assert_eq!(good.warnings(None), [""; 0]);
        let busy = Effort { busy: 0.6, waiting: 0.35 };
        let busy = Report { effort: Some(busy), ..good.clone() };
        assert!(busy.warnings(None)[0].contains("ran 60 % of the time and waited 35 %"));
        let missing = |count| Errors { count, example: String::new() };
        let mut short = good.clone();
        short.errors.insert(ErrorKind::NotStarted, missing(100));
        assert!(short.warnings(None)[0].starts_with("10.0 % of the starts"));
        let mut late = good.clone();
        late.late.record(Duration::from_millis(4));
        assert!(late.warnings(None)[0].contains("late"), "{:?}", late.warnings(None));
        let warnings = late.warnings(Some(&Report { due: 0, ..good.clone() }));
        assert!(warnings[1].contains("of the floor"), "{warnings:?}");
        good.errors.insert(ErrorKind::LocalPorts, missing(2));
        assert!(good.warnings(None)[0].contains("2 operations failed for want of ports"));
    }
}
