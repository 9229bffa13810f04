//! Sizes, durations and shapes of rates as people write them.

use std::time::Duration;

use crate::client::Shape;

/// Longest duration, in seconds: 30 days.
const MAX_SECONDS: f64 = 30.0 * 24.0 * 3600.0;

/// A shape that takes as long as what it is the shape of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WantedShape {
    /// `constant`.
    Constant,
    /// `ramp:TO`.
    Ramp(f64),
    /// `step:TO:STEPS`.
    Step(f64, u32),
    /// `burst:TO:LENGTH:EVERY`.
    Burst(f64, Duration, Duration),
}

impl WantedShape {
    /// The shape of a rate that lasts for `over`.
    #[must_use]
    pub fn over(self, over: Duration) -> Shape {
        match self {
            Self::Constant => Shape::Constant,
            Self::Ramp(to) => Shape::Ramp { to, over },
            Self::Step(to, steps) => Shape::Step { to, steps, over },
            Self::Burst(to, length, every) => Shape::Burst { to, length, every },
        }
    }

    /// The same for `factor` times the rate.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        match self {
            Self::Constant => Self::Constant,
            Self::Ramp(to) => Self::Ramp(to * factor),
            Self::Step(to, steps) => Self::Step(to * factor, steps),
            Self::Burst(to, length, every) => Self::Burst(to * factor, length, every),
        }
    }
}

/// What becomes of a rate.
///
/// # Errors
/// What is wrong, and what there is.
pub fn parse_shape(text: &str) -> Result<WantedShape, String> {
    let words: Vec<&str> = text.split(':').collect();
    let rate = |word: &str| {
        word.parse::<f64>().map_err(|_| format!("'{word}' is not a rate, in operations per second"))
    };
    match words[..] {
        ["constant"] => Ok(WantedShape::Constant),
        ["ramp", to] => Ok(WantedShape::Ramp(rate(to)?)),
        ["step", to, steps] => {
            let number = steps.parse().map_err(|_| format!("'{steps}' is not a number of steps"));
            Ok(WantedShape::Step(rate(to)?, number?))
        }
        ["burst", to, length, every] => {
            Ok(WantedShape::Burst(rate(to)?, parse_duration(length)?, parse_duration(every)?))
        }
        _ => Err(format!(
            "'{text}' is none of constant, ramp:TO, step:TO:STEPS and burst:TO:LENGTH:EVERY"
        )),
    }
}

/// A number of bytes with an optional K, M or G, powers of 1024.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 1 << 10),
        Some((end, 'm' | 'M')) => (&text[..end], 1 << 20),
        Some((end, 'g' | 'G')) => (&text[..end], 1 << 30),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("'{text}' is not a number of bytes such as 100, 16K or 64M"))
}

/// A number with ms, s, m or h; seconds without.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let start = text.find(|sign: char| sign.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(start);
    let unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{text}': the unit is ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{text}' is not a duration"))?;
    let seconds = number * unit;
    if (0.0..=MAX_SECONDS).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("'{text}' is not within 0 and 30 days"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        assert_eq!(parse_size("16k"), Ok(16384));
        assert_eq!(parse_size("300M"), Ok(300 << 20), "not 300,000,000");
        assert!(parse_size("99999999999G").is_err() && parse_size("").is_err());
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        for wrong in ["-1s", "1d", "inf", "NaN", "s", "1e99h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
