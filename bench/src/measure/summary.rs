//! From samples to the figures that are quoted.

use super::rounds::Row;
use super::statistics::Quartiles;

/// Any figure of the samples of one test and server.
pub(crate) fn figure<T: PartialEq, K: PartialEq>(
    rows: &[Row<T, K>],
    of: (T, K),
    figure: impl Fn(&Row<T, K>) -> f64,
) -> Option<Quartiles> {
    Quartiles::of(rows.iter().filter(|row| is_of(row, &of)).map(figure))
}

/// Cost of one test and server over that of another pair in the same round.
pub(crate) fn paired<T: PartialEq, K: PartialEq>(
    rows: &[Row<T, K>],
    above: (T, K),
    below: (T, K),
) -> Option<Quartiles> {
    paired_by(rows, &above, &[below], |row| row.sample.cost)
}

/// The same of any `cost`, over the sum of those of several pairs. A round that lacks one of them
/// does not count.
pub(crate) fn paired_by<T: PartialEq, K: PartialEq>(
    rows: &[Row<T, K>],
    above: &(T, K),
    below: &[(T, K)],
    cost: impl Fn(&Row<T, K>) -> f64,
) -> Option<Quartiles> {
    let of_round = |round: u32, of: &(T, K)| {
        rows.iter().find(|row| row.round == round && is_of(row, of)).map(&cost)
    };
    Quartiles::of(rows.iter().filter(|row| is_of(row, above)).filter_map(|row| {
        let sum: Option<f64> = below.iter().map(|of| of_round(row.round, of)).sum();
        Some(cost(row) / sum?)
    }))
}

fn is_of<T: PartialEq, K: PartialEq>(row: &Row<T, K>, (test, server): &(T, K)) -> bool {
    row.test == *test && row.target == *server
}
