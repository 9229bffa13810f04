//! The highest load at which something still holds, by trials.

/// Loads between which an end is sought differ by this factor until it is between two of them.
const STEP: f64 = 1.25;
/// Loads that are tried for one end at most: on a quiet machine from a guess that is off by a factor of 4, to 3 %.
const MOST: usize = 12;

/// Trials so far, by what was offered. Each end that is sought makes use of those of all others.
#[derive(Debug)]
pub(super) struct Ladder<T> {
    rungs: Vec<(f64, T)>,
    /// Ends are sought until two loads around them differ by this factor.
    precision: f64,
}

impl<T> Ladder<T> {
    pub(super) fn new(precision: f64) -> Self {
        Self { rungs: Vec::new(), precision }
    }

    /// Where `holds` ends: between the highest load below the lowest one at which it does not hold, and
    /// that. `trial` is given a load, and returns what was really offered with what came of it. A load at
    /// which it does not hold is tried once more: a machine that pauses breaks one, and never mends one.
    ///
    /// # Errors
    /// Those of `trial`, and when there is no end.
    pub(super) fn end(
        &mut self,
        guess: f64,
        holds: impl Fn(&T) -> bool,
        mut trial: impl FnMut(f64) -> Result<(f64, T), String>,
    ) -> Result<f64, String> {
        for _ in 0..MOST {
            let next = match self.around(&holds) {
                (None, None) => guess,
                (Some(low), None) => low * STEP,
                (None, Some(high)) => high / STEP,
                (Some(low), Some(high)) if high / low > self.precision => (low * high).sqrt(),
                (Some(low), Some(high)) => return Ok((low * high).sqrt()),
            };
            let first = trial(next)?;
            self.rungs.push(if holds(&first.1) { first } else { trial(next)? });
        }
        match self.around(&holds) {
            (Some(low), Some(high)) => Ok((low * high).sqrt()),
            (Some(low), None) => Err(format!("at {low:.2} times the mix it still holds")),
            (_, high) => {
                let high = high.unwrap_or(guess);
                Err(format!("at {high:.3} times the mix it does not hold yet"))
            }
        }
    }

    /// What was found at all loads.
    pub(super) fn rungs(&self) -> &[(f64, T)] {
        &self.rungs
    }

    fn around(&self, holds: &impl Fn(&T) -> bool) -> (Option<f64>, Option<f64>) {
        let least = |one: f64, other: f64| if one.total_cmp(&other).is_lt() { one } else { other };
        let broken = self.rungs.iter().filter(|(_, found)| !holds(found)).map(|(at, _)| *at);
        let high = broken.reduce(least);
        let below = |at: f64| high.is_none_or(|high| at < high);
        let held = self.rungs.iter().filter(|(at, found)| holds(found) && below(*at));
        let low = held.map(|(at, _)| *at).max_by(f64::total_cmp);
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_found_from_far_away_on_either_side() {
        for guess in [0.4, 1.0, 4.0] {
            let mut ladder = Ladder::new(1.02);
            let mut trials = 0;
            let end = ladder.end(
                guess,
                |at: &f64| *at < 1.3,
                |at| {
                    trials += 1;
                    Ok((at, at))
                },
            );
            let end = end.expect("there is one");
            assert!((1.28..1.32).contains(&end) && trials <= 2 * MOST, "{end} from {guess}");
        }
    }

    #[test]
    fn trials_serve_all_ends() {
        let mut ladder = Ladder::new(1.03);
        let same = |at| Ok((at, at));
        ladder.end(1.0, |at: &f64| *at < 1.3, same).expect("there is one");
        let before = ladder.rungs().len();
        let end = ladder.end(1.0, |at: &f64| *at < 1.1, same).expect("there is one");
        assert!((1.06..1.14).contains(&end), "{end}");
        assert!(ladder.rungs().len() - before < 6, "{:?}", ladder.rungs());
    }

    #[test]
    fn a_pause_of_the_machine_does_not_end_it() {
        let mut ladder = Ladder::new(1.03);
        let mut trials = 0;
        let end = ladder.end(
            1.0,
            |(at, pause): &(f64, bool)| *at < 1.3 && !pause,
            |at| {
                trials += 1;
                Ok((at, (at, trials == 1)))
            },
        );
        let end = end.expect("there is one");
        assert!((1.26..1.34).contains(&end), "{end}");
    }

    #[test]
    fn what_has_no_end_says_so() {
        let mut ladder = Ladder::new(1.03);
        let said = ladder.end(1.0, |_: &f64| true, |at| Ok((at, at))).expect_err("no end");
        assert!(said.contains("still holds"), "{said}");
        let mut ladder = Ladder::new(1.03);
        let said = ladder.end(1.0, |_: &f64| false, |at| Ok((at, at))).expect_err("no end");
        assert!(said.contains("not hold yet"), "{said}");
        let failed = ladder.end(1.0, |_: &f64| false, |_| Err("broken".to_owned()));
        assert_eq!(failed, Err("broken".to_owned()));
    }
}
