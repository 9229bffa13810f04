//! Durations and sizes as text: `"10s"`, `"64KiB"`.
//!
//! One number, one unit, no space: there is one way to read them.

use std::time::Duration;

/// Largest first; formatting picks the first that divides the value.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Largest first.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `"500ms"`, `"10s"`, `"5m"`, `"1h"`, `"7d"`; `None` for anything else and on overflow.
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &DURATION_UNITS).map(Duration::from_millis)
}

/// Writes whole milliseconds (less is cut off) in the largest unit that is exact.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 { "0s".to_owned() } else { format(millis, &DURATION_UNITS) }
}

/// Reads `"512B"`, `"64KiB"`, `"16MiB"` as bytes; `None` for anything else and on overflow.
pub fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZE_UNITS)
}

/// Writes bytes in the largest unit that is exact.
pub fn format_size(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { format(bytes, &SIZE_UNITS) }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn format(value: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().find(|(_, factor)| value.is_multiple_of(*factor));
    let (name, factor) = exact.expect("the smallest unit is 1, which divides everything");
    format!("{}{name}", value / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_unit() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(604_800)));
        assert_eq!(parse_size("1B"), Some(1));
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("1TiB"), Some(1_099_511_627_776));
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        for text in
            ["", "10", "s", "10 s", "-1s", "+1s", "1.5s", "1h30m", "10S", "99999999999999999999s"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for text in ["", "64", "64K", "64KB", "64kib", "64 KiB", "16777216TiB", "1e3B"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn writes_the_largest_exact_unit() {
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        assert_eq!(format_duration(Duration::from_secs(7200)), "2h");
        assert_eq!(format_duration(Duration::ZERO), "0s");
        assert_eq!(format_size(1536), "1536B");
        assert_eq!(format_size(1 << 20), "1MiB");
        assert_eq!(format_size(0), "0B");
    }

    proptest! {
        #[test]
        fn durations_come_back(millis: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn sizes_come_back(bytes: u64) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }

        #[test]
        fn written_units_come_back(number in 0_u64..10_000, unit in 0_usize..5) {
            let text = format!("{number}{}", DURATION_UNITS[unit].0);
            let duration = parse_duration(&text).expect("number and unit");
            prop_assert_eq!(duration, Duration::from_millis(number * DURATION_UNITS[unit].1));
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _: (Option<Duration>, Option<u64>) = (parse_duration(&text), parse_size(&text));
        }
    }
}
