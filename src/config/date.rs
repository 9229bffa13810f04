//! A day, in UTC, up to which an exception holds.

use std::fmt;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A day of the years 2000 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// `"2027-12-31"`.
    pub fn parse(text: &str) -> Option<Self> {
        let is_form = text.len() == 10
            && text.bytes().enumerate().all(|(position, byte)| match position {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !is_form {
            return None;
        }
        let date = Self {
            year: text[..4].parse().ok()?,
            month: text[5..7].parse().ok()?,
            day: text[8..].parse().ok()?,
        };
        let is_day = date.year >= 2000 && (1..=date.days_of_month()?).contains(&date.day);
        is_day.then_some(date)
    }

    /// The first second after it, Unix time.
    pub fn end(self) -> i64 {
        (self.days() + 1) * DAY
    }

    /// Whole days left at `now`, Unix time in seconds: 0 on the day itself, `None` after it.
    pub fn days_left(self, now: i64) -> Option<i64> {
        let left = self.end() - now;
        (left > 0).then_some((left - 1) / DAY)
    }

    fn days_of_month(self) -> Option<u8> {
        let leaps = self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
            4 | 6 | 9 | 11 => Some(30),
            2 => Some(if leaps { 29 } else { 28 }),
            _ => None,
        }
    }

    /// Days since 1970-01-01: the calendar's year begins in March, so that the leap day is its
    /// last.
    fn days(self) -> i64 {
        let (year, month) = (i64::from(self.year), i64::from(self.month));
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        // 719,468 days lie between 0000-03-01 and 1970-01-01.
        365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
    }
}

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_end_when_the_clock_says_so() {
        // `date -u -d 2028-03-01 +%s`, and so on.
        for (day, end) in [
            ("2028-02-29", 1_835_481_600),
            ("2026-12-31", 1_798_761_600),
            ("2000-01-01", 946_771_200),
            ("2100-02-28", 4_107_542_400),
        ] {
            let date = Date::parse(day).expect(day);
            assert_eq!(date.end(), end, "{day}");
            assert_eq!(date.to_string(), day);
        }
    }

    #[test]
    fn the_day_itself_is_the_last() {
        let date = Date::parse("2026-12-31").expect("a day");
        let left = |before_end: i64| date.days_left(date.end() - before_end);
        assert_eq!(left(1), Some(0));
        assert_eq!(left(DAY), Some(0));
        assert_eq!(left(DAY + 1), Some(1));
        assert_eq!(left(0), None);
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "2027-2-1",
            "2027-02-29",
            "2100-02-29",
            "2027-13-01",
            "2027-00-10",
            "1999-12-31",
            "tomorrow",
            "2027-01-32",
            "２０27-01-01",
        ] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }
}
