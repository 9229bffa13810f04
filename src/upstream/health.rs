//! What checks have found out about one address. Written by the lookout alone, read by every shard
//! without a lock: each value stands for itself, so all operations are relaxed.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::Relaxed};

use super::settings::HealthSettings;

/// See the module. An address that was never checked is up.
#[derive(Debug, Default)]
pub struct Health {
    down: AtomicBool,
    /// Times that `rise` checks in a row have passed; wraps.
    proofs: AtomicU32,
    /// Checks in a row that passed; negative: that failed.
    streak: AtomicI32,
}

/// What a check changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    WentDown,
    CameUp,
}

impl Health {
    /// Whether checks say that it is down.
    pub fn is_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    /// Changes when checks have shown once more that it is up.
    pub fn proofs(&self) -> u32 {
        self.proofs.load(Relaxed)
    }

    /// Takes the result of a check; returns what that changed.
    pub fn record(&self, passed: bool, settings: &HealthSettings) -> Option<Transition> {
        let streak = self.streak.load(Relaxed);
        let streak = if passed { streak.max(0) + 1 } else { streak.min(0) - 1 };
        let is_whole = streak.unsigned_abs() >= if passed { settings.rise } else { settings.fall };
        self.streak.store(if is_whole { 0 } else { streak }, Relaxed);
        if !is_whole {
            return None;
        }
        if passed {
            self.proofs.fetch_add(1, Relaxed);
        }
        let was_down = self.down.swap(!passed, Relaxed);
        match (was_down, passed) {
            (false, false) => Some(Transition::WentDown),
            (true, true) => Some(Transition::CameUp),
            _ => None,
        }
    }

    /// It is no longer checked.
    pub fn forget(&self) {
        self.down.store(false, Relaxed);
        self.streak.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_and_rises_after_as_many_checks_in_a_row() {
        let settings = HealthSettings { rise: 2, fall: 3, ..HealthSettings::default() };
        let health = Health::default();
        let record = |results: &str| -> Vec<_> {
            results.chars().map(|result| health.record(result == '+', &settings)).collect()
        };
        assert_eq!(record("--+--"), [None; 5]);
        assert_eq!(record("-"), [Some(Transition::WentDown)]);
        assert_eq!(record("---+--+-"), [None; 8], "told once");
        assert_eq!(record("++"), [None, Some(Transition::CameUp)]);
        assert_eq!(record("++++"), [None; 4]);
        assert!(!health.is_down());
    }

    #[test]
    fn each_whole_row_is_a_proof() {
        let settings = HealthSettings { rise: 2, ..HealthSettings::default() };
        let health = Health::default();
        for (passed, proofs) in [(true, 0), (true, 1), (true, 1), (false, 1), (true, 1), (true, 2)]
        {
            health.record(passed, &settings);
            assert_eq!(health.proofs(), proofs);
        }
    }

    #[test]
    fn what_is_no_longer_checked_is_up() {
        let settings = HealthSettings { fall: 1, ..HealthSettings::default() };
        let health = Health::default();
        assert_eq!(health.record(false, &settings), Some(Transition::WentDown));
        assert!(health.is_down());
        health.forget();
        assert!(!health.is_down());
    }
}
