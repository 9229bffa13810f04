//! What ends soon is told once a day.

use std::collections::HashMap;

use super::query::DAY;
use super::report::days_left;

/// Days before the end from which something is told about.
pub const SOON_DAYS: i64 = 30;
/// Most warnings of one look; those beyond are counted in a last one.
const MAX_TOLD: usize = 16;

/// Something that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Such as `certificate of a peer of sip: CN=phone-7, serial 0a`.
    pub what: String,
    /// Unix time.
    pub ends: i64,
}

/// Whom was told of what, and when.
#[derive(Debug, Default)]
pub struct Told(HashMap<String, i64>);

impl Item {
    /// Says so if it ends soon, or has ended.
    pub fn warning(&self, now: i64) -> Option<String> {
        let (what, days) = (&self.what, days_left(self.ends, now));
        match days {
            SOON_DAYS.. => None,
            0.. => Some(format!("{what}: expires in {days} days")),
            _ => Some(format!("{what}: expired {} days ago", -days)),
        }
    }
}

impl Told {
    /// What is to be told at `now`: of these items, those that end soon and were not told of within
    /// the last day. What is no item any more is forgotten.
    pub fn due(&mut self, items: &[Item], now: i64) -> Vec<String> {
        self.0.retain(|what, _| items.iter().any(|item| item.what == *what));
        let mut lines = Vec::new();
        let mut left_out = 0;
        for item in items {
            let is_told = self.0.get(&item.what).is_some_and(|at| now - at < DAY);
            let Some(line) = item.warning(now).filter(|_| !is_told) else { continue };
            self.0.insert(item.what.clone(), now);
            if lines.len() < MAX_TOLD {
                lines.push(line);
            } else {
                left_out += 1;
            }
        }
        if left_out > 0 {
            lines.push(format!("{left_out} more expire soon: see tlsgate audit --expiring 30"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(what: impl ToString, ends: i64) -> Item {
        Item { what: what.to_string(), ends }
    }

    #[test]
    fn what_ends_soon_is_told_once_a_day() {
        let mut told = Told::default();
        let items = [item("a", 5 * DAY), item("b", 40 * DAY), item("c", -DAY)];
        let expected = ["a: expires in 5 days", "c: expired 1 days ago"];
        assert_eq!(told.due(&items, 0), expected);
        assert!(told.due(&items, DAY - 1).is_empty());
        assert_eq!(told.due(&items, DAY), ["a: expires in 4 days", "c: expired 2 days ago"]);
        assert!(told.due(&[], DAY).is_empty());
        assert!(told.0.is_empty(), "what is gone is forgotten");
    }

    #[test]
    fn many_are_told_in_one_line() {
        let items: Vec<Item> = (0..100).map(|number| item(number, DAY)).collect();
        let mut told = Told::default();
        let lines = told.due(&items, 0);
        assert_eq!(lines.len(), MAX_TOLD + 1);
        assert!(lines[MAX_TOLD].starts_with("84 more"), "{}", lines[MAX_TOLD]);
        assert!(told.due(&items, 1).is_empty());
    }
}
