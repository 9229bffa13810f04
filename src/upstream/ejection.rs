//! What a shard learnt about one address from its own connections.
//!
//! An address that fails often enough in a row is ejected: passed over while another one lives. When
//! the time is up, one connection tries it. If that fails, too, the next ejection is twice as long.

use std::time::Duration;

use super::settings::BalanceSettings;
use crate::time::Time;

/// One address, as this shard sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ejection {
    /// Failures in a row.
    failures: u32,
    /// Ejections in a row.
    times: u32,
    until: Option<Time>,
    /// It is over, and `until` is when the connection that tries must have an answer.
    on_trial: bool,
    /// Proofs of health that there were when it began: a later one ends it.
    proofs: u32,
}

impl Ejection {
    /// Whether the address is passed over. `proofs` are those of its health so far.
    pub(super) fn stands(&self, proofs: u32, now: Time) -> bool {
        self.is_known_down(proofs) && self.until.is_some_and(|until| now < until)
    }

    /// Whether it failed last, and nothing has shown since that it lives.
    pub(super) fn is_known_down(&self, proofs: u32) -> bool {
        self.until.is_some() && proofs == self.proofs
    }

    /// One connection tries it; no other does for this long.
    pub(super) fn try_once(&mut self, time: Duration, now: Time) {
        self.until = Some(now + time);
        self.on_trial = true;
    }

    /// It did not connect. Returns whether that ejects it.
    pub(super) fn fail(&mut self, settings: &BalanceSettings, proofs: u32, now: Time) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < settings.eject_after || self.stands(proofs, now) && !self.on_trial {
            return false;
        }
        // 2^16 times the shortest time is longer than the longest.
        let time = settings.eject_time.saturating_mul(1 << self.times.min(16));
        self.until = Some(now + time.min(settings.eject_max));
        self.times = self.times.saturating_add(1);
        self.on_trial = false;
        self.proofs = proofs;
        true
    }

    /// It connected.
    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BalanceSettings = BalanceSettings {
        policy: super::super::Balance::RoundRobin,
        eject_after: 2,
        eject_time: Duration::from_secs(10),
        eject_max: Duration::from_secs(35),
    };

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn failures_in_a_row_eject_for_longer_each_time_up_to_a_cap() {
        let mut ejection = Ejection::default();
        assert!(!ejection.fail(&SETTINGS, 0, at(0)));
        assert!(!ejection.stands(0, at(0)), "once is not enough");
        let mut now = at(0);
        for seconds in [10, 20, 35, 35] {
            assert!(ejection.fail(&SETTINGS, 0, now));
            let time = Duration::from_secs(seconds);
            assert!(ejection.stands(0, now + (time - Duration::from_nanos(1))));
            now = now + time;
            assert!(!ejection.stands(0, now));
            ejection.try_once(Duration::from_secs(1), now);
            assert!(ejection.stands(0, now), "one connection tries, and no other");
            now = now + Duration::from_secs(1);
            assert!(!ejection.stands(0, now), "its answer is overdue: the next may try");
        }
        ejection.succeed();
        assert_eq!(ejection, Ejection::default());
    }

    #[test]
    fn what_fails_during_an_ejection_does_not_prolong_it() {
        let mut ejection = Ejection::default();
        let failed = [1, 1, 2, 9].map(|second| ejection.fail(&SETTINGS, 0, at(second)));
        assert_eq!(failed, [false, true, false, false]);
        assert!(ejection.stands(0, at(10)) && !ejection.stands(0, at(11)));
    }

    #[test]
    fn a_proof_of_health_ends_it() {
        let mut ejection = Ejection::default();
        for _ in 0..2 {
            ejection.fail(&SETTINGS, 7, at(0));
        }
        assert!(ejection.stands(7, at(1)));
        assert!(!ejection.stands(8, at(1)) && !ejection.is_known_down(8));
        assert!(ejection.fail(&SETTINGS, 8, at(1)), "what failed after the proof counts");
        assert!(ejection.stands(8, at(20)) && !ejection.stands(8, at(21)), "and for longer");
    }
}
