//! Times as RFC 3339 writes them, in UTC.

const DAY_MS: u64 = 86_400_000;
/// Days of the Gregorian calendar's 400-year cycle.
const CYCLE_DAYS: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01. Years counted from March have their leap day last, which
/// makes the months' lengths a regular row.
const DAYS_TO_EPOCH: u64 = 719_468;

/// `2026-01-31T23:59:59.999Z` for milliseconds since 1970. Years above 9999 take more digits.
pub(crate) fn format(unix_ms: u64) -> String {
    let (year, month, day) = date(unix_ms / DAY_MS);
    let of_day = unix_ms % DAY_MS;
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// `2026-01-31 23:59` for seconds since 1970; times before count as then.
pub(crate) fn to_the_minute(unix: i64) -> String {
    let text = format(u64::try_from(unix).unwrap_or_default() * 1_000);
    let (date, time) = text.split_once('T').unwrap_or_default();
    format!("{date} {}", time.get(..5).unwrap_or_default())
}

/// Year, month and day, `days` after 1970-01-01.
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_EPOCH;
    let (cycle, day) = (days / CYCLE_DAYS, days % CYCLE_DAYS);
    // Take the leap days out: one each 4 years but for the centuries, and the cycle's last day.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months from March on have 153 days, twice and a bit.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * cycle + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        assert_eq!(to_the_minute(1_769_903_999), "2026-01-31 23:59");
        assert_eq!(to_the_minute(-5), "1970-01-01 00:00");
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_001, "2000-03-01T00:00:00.001Z"),
            (1_234_567_890_123, "2009-02-13T23:31:30.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_000, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(format(unix_ms), text);
        }
    }

    #[test]
    fn every_day_of_a_cycle_follows_the_one_before() {
        let mut expected = (1970, 1, 1);
        for days in 0..CYCLE_DAYS {
            assert_eq!(date(days), expected);
            let (year, month, day) = expected;
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(is_leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (day == length, month == 12) {
                (false, _) => (year, month, day + 1),
                (true, false) => (year, month + 1, 1),
                (true, true) => (year + 1, 1, 1),
            };
        }
        assert_eq!(expected, (2370, 1, 1));
    }
}
