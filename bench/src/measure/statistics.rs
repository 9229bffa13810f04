//! Medians and quartiles.

use serde::Serialize;

/// The middle of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Quartiles {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Quartiles {
    /// None of nothing. Between two values it is interpolated.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            low: quantile(&values, 1)?,
            median: quantile(&values, 2)?,
            high: quantile(&values, 3)?,
        })
    }
}

/// The quantile at `quarters` of four, of sorted values.
fn quantile(sorted: &[f64], quarters: usize) -> Option<f64> {
    let steps = sorted.len().checked_sub(1)? * quarters;
    let (below, rest) = (steps / 4, steps % 4);
    let low = *sorted.get(below)?;
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    let part = [0.0, 0.25, 0.5, 0.75][rest];
    Some(low + (high - low) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_few_and_of_none() {
        assert_eq!(Quartiles::of([]), None);
        assert_eq!(Quartiles::of([7.0]), Some(Quartiles { low: 7.0, median: 7.0, high: 7.0 }));
        let four = Quartiles::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!(four, Some(Quartiles { low: 1.75, median: 2.5, high: 3.25 }));
        let five = Quartiles::of([1.0, 2.0, 3.0, 4.0, 100.0]);
        assert_eq!(five, Some(Quartiles { low: 2.0, median: 3.0, high: 4.0 }));
    }
}
