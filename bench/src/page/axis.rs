//! Axes: from values to places on a line, and the values that are written beside it.

/// What a place on an axis means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero on.
    Linear,
    /// Equal distances for equal factors.
    Logarithmic,
    /// Shares (0 to 1) of values that are not greater: each further nine has the same distance.
    Nines,
}

/// An axis that has room for all its values.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    scale: Scale,
    first: f64,
    last: f64,
}

/// The smallest share of greater values that still has a place: 99.9999 %.
const LAST_NINE: f64 = 1e-6;

impl Axis {
    /// One for these values; values that have no place on the scale are left out.
    pub(super) fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let places = values.filter_map(|value| raw(scale, value));
        let (mut first, mut last) = places
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(first, last), place| {
                (first.min(place), last.max(place))
            });
        match scale {
            Scale::Linear | Scale::Nines => first = 0.0,
            Scale::Logarithmic => {
                (first, last) = (first.floor(), last.ceil());
            }
        }
        if !first.is_finite() || !last.is_finite() {
            (first, last) = (0.0, 1.0);
        }
        if last <= first {
            last = first + 1.0;
        }
        Self { scale, first, last }
    }

    /// Where a value is, from 0 to 1; none when it has no place.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        raw(self.scale, value).map(|place| (place - self.first) / (self.last - self.first))
    }

    /// Values to write beside the axis.
    pub(super) fn ticks(&self) -> Vec<f64> {
        // The last value is on the axis, whatever rounding made of it.
        let last = self.last + 1e-9;
        match self.scale {
            Scale::Linear => {
                let step = round_step(self.last / 5.0);
                steps().map(|number| number * step).take_while(|value| *value <= last).collect()
            }
            Scale::Logarithmic => {
                let decades = steps().map(|number| self.first + number);
                decades.take_while(|place| *place <= last).map(|place| 10_f64.powf(place)).collect()
            }
            Scale::Nines => {
                let half = std::iter::once(0.5);
                let nines = steps().skip(1).take_while(|nines| *nines <= last);
                half.chain(nines.map(|nines| 1.0 - 10_f64.powf(-nines))).collect()
            }
        }
    }
}

fn steps() -> impl Iterator<Item = f64> {
    (0..50_u32).map(f64::from)
}

fn raw(scale: Scale, value: f64) -> Option<f64> {
    let place = match scale {
        Scale::Linear => value,
        Scale::Logarithmic => value.log10(),
        Scale::Nines => -(1.0 - value).max(LAST_NINE).log10(),
    };
    place.is_finite().then_some(place)
}

/// The next 1, 2 or 5 with zeros.
fn round_step(step: f64) -> f64 {
    if step <= 0.0 {
        return 1.0;
    }
    let decade = 10_f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * decade >= step);
    round.unwrap_or(10.0) * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &[f64], right: &[f64]) -> bool {
        left.len() == right.len()
            && left.iter().zip(right).all(|(left, right)| (left - right).abs() < 1e-9)
    }

    #[test]
    fn every_scale_has_its_places_and_ticks() {
        let linear = Axis::new(Scale::Linear, [3.0, 9.0].into_iter());
        assert!(same(&linear.ticks(), &[0.0, 2.0, 4.0, 6.0, 8.0]), "{:?}", linear.ticks());
        assert_eq!(linear.place(9.0), Some(1.0));
        let logarithmic = Axis::new(Scale::Logarithmic, [0.02, 5.0, 0.0].into_iter());
        assert!(same(&logarithmic.ticks(), &[0.01, 0.1, 1.0, 10.0]), "{:?}", logarithmic.ticks());
        assert_eq!(logarithmic.place(0.0), None);
        let nines = Axis::new(Scale::Nines, [0.0, 0.999].into_iter());
        assert!(same(&nines.ticks(), &[0.5, 0.9, 0.99, 0.999]), "{:?}", nines.ticks());
        assert_eq!(nines.place(0.0), Some(0.0));
        assert!(nines.place(1.0).is_some_and(f64::is_finite));
    }

    #[test]
    fn nothing_to_show_is_an_axis_all_the_same() {
        for scale in [Scale::Linear, Scale::Logarithmic, Scale::Nines] {
            let axis = Axis::new(scale, std::iter::empty());
            assert!(!axis.ticks().is_empty() || scale == Scale::Nines);
            assert!(Axis::new(scale, std::iter::once(0.0)).last > 0.0);
        }
    }
}
