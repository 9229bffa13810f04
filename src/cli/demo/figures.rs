//! Figures for people: three digits and a unit, so that columns of them line up.

use std::time::Duration;

use super::drive::Unit;

/// A duration: "118 µs", "1.18 ms", "11.8 ms", "118 ms", "1.18 s ", "118 s ". The unit is two
/// columns wide.
pub(in crate::cli) fn duration(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    // 999.5 and more would read as "1000".
    if micros < 999.5 {
        // Whole microseconds are what there is.
        format!("{micros:.0} µs")
    } else if micros < 999.5e3 {
        format!("{} ms", three_digits(micros / 1e3))
    } else {
        format!("{} s ", three_digits(micros / 1e6))
    }
}

/// A rate. `operations` is per second, each worth `bytes`.
pub(super) fn rate(unit: Unit, operations: f64, bytes: u64) -> String {
    match unit {
        Unit::Handshakes | Unit::Messages => format!("{}/s", thousands(operations)),
        Unit::Bytes => format!("{} MB/s", thousands(megabytes(operations, bytes))),
    }
}

/// Megabytes (10^6 bytes) per second.
#[expect(clippy::cast_precision_loss, reason = "a size of a transfer, far below 2^53")]
pub(super) fn megabytes(operations: f64, bytes: u64) -> f64 {
    operations * bytes as f64 / 1e6
}

/// A count with its thousands set apart: "12,345".
pub(in crate::cli) fn count(count: u64) -> String {
    group(&count.to_string())
}

/// A whole number with its thousands set apart.
pub(in crate::cli) fn thousands(value: f64) -> String {
    group(&format!("{value:.0}"))
}

fn group(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As many decimals as make three digits.
pub(in crate::cli) fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit_of_two_columns() {
        let text = |nanos| duration(Duration::from_nanos(nanos));
        assert_eq!(text(0), "0 µs");
        assert_eq!(text(118_000), "118 µs");
        assert_eq!(text(999_499), "999 µs");
        assert_eq!(text(999_500), "1.00 ms");
        assert_eq!(text(9_994_000), "9.99 ms");
        assert_eq!(text(9_996_000), "10.0 ms");
        assert_eq!(text(99_960_000), "100 ms");
        assert_eq!(text(999_400_000), "999 ms");
        assert_eq!(text(999_600_000), "1.00 s ");
        assert_eq!(text(120_000_000_000), "120 s ");
    }

    #[test]
    fn rates_and_counts_have_their_thousands_apart() {
        assert_eq!(rate(Unit::Handshakes, 1234.4, 0), "1,234/s");
        assert_eq!(rate(Unit::Messages, 0.0, 0), "0/s");
        assert_eq!(rate(Unit::Bytes, 250.0, 4_000_000), "1,000 MB/s");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
