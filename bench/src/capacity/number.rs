//! Numbers in files: the range that each may be in, and what is said when it is not.

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Checks(pub(super) Vec<String>);

impl Checks {
    /// `value` must be in `low..=high`.
    pub(super) fn range(&mut self, key: &str, value: f64, low: f64, high: f64) {
        // Also false for what is no number.
        if !(low..=high).contains(&value) {
            self.0.push(format!("{key} = {value} is not allowed: {low} to {high}"));
        }
    }

    /// The same, where 0 is not allowed either.
    pub(super) fn positive(&mut self, key: &str, value: f64, high: f64) {
        if !(value > 0.0 && value <= high) {
            self.0.push(format!("{key} = {value} is not allowed: above 0 to {high}"));
        }
    }
}

/// A count as a number to compute with.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn float(count: usize) -> f64 {
    count as f64
}
