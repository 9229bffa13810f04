//! A table of a scenario: its keys against what is allowed, every mistake gathered.

use super::tree::{Item, Place, Table, Value};
use super::values::Rule;

/// What is wrong with a scenario: a line for each mistake, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    found: Vec<(Place, String)>,
}

impl Mistakes {
    pub(super) fn add(&mut self, place: Place, what: &str) {
        self.found.push((place, what.to_owned()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// All of them, with the file's name.
    pub(super) fn lines(mut self, file: &str) -> Vec<String> {
        self.found.sort_by_key(|(place, _)| *place);
        let line = |(place, what): (Place, String)| match place {
            Place::Line(line) => format!("{file}:{line}: {what}"),
            Place::Set => format!("--set: {what}"),
        };
        self.found.into_iter().map(line).collect()
    }
}

/// A table, with what leads to it.
#[derive(Clone, Debug)]
pub(super) struct Section<'t> {
    /// `flow.agents`; empty for the file.
    pub(super) path: String,
    pub(super) place: Place,
    table: &'t Table,
}

impl<'t> Section<'t> {
    /// Keys that are not in `known` are mistakes.
    pub(super) fn new(
        path: impl Into<String>,
        place: Place,
        table: &'t Table,
        known: &[&str],
        mistakes: &mut Mistakes,
    ) -> Self {
        let section = Self { path: path.into(), place, table };
        for (key, item) in &table.entries {
            if !known.contains(&key.as_str()) {
                let path = section.path_of(key);
                let what = format!("{path} is not a key; allowed: {}", known.join(", "));
                mistakes.add(item.place, &what);
            }
        }
        section
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn item(&self, key: &str) -> Option<&'t Item> {
        self.table.entries.get(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.entries.contains_key(key)
    }

    /// The value, if there is one and it is allowed.
    pub(super) fn get<T>(
        &self,
        key: &str,
        rule: &Rule<'_, T>,
        mistakes: &mut Mistakes,
    ) -> Option<T> {
        let item = self.item(key)?;
        let value = (rule.read)(item);
        if value.is_none() {
            self.refuse(key, &format!("allowed: {}", rule.allowed), mistakes);
        }
        value
    }

    /// The value; without one, that is a mistake.
    pub(super) fn need<T>(
        &self,
        key: &str,
        rule: &Rule<'_, T>,
        mistakes: &mut Mistakes,
    ) -> Option<T> {
        if !self.has(key) {
            let what = format!("{} is missing; allowed: {}", self.path_of(key), rule.allowed);
            mistakes.add(self.place, &what);
        }
        self.get(key, rule, mistakes)
    }

    /// The value of `key` is not allowed, because of `what`.
    pub(super) fn refuse(&self, key: &str, what: &str, mistakes: &mut Mistakes) {
        let (place, found) = match self.item(key) {
            Some(item) => (item.place, format!(" = {}", item.shown)),
            None => (self.place, " is missing".to_owned()),
        };
        mistakes.add(place, &format!("{}{found}; {what}", self.path_of(key)));
    }

    /// The tables of a list, or of a table of tables, each with its place.
    pub(super) fn tables(
        &self,
        key: &str,
        mistakes: &mut Mistakes,
    ) -> Vec<(&'t str, Place, &'t Table)> {
        let Some(item) = self.item(key) else { return Vec::new() };
        let (items, allowed): (Vec<(&str, &Item)>, &str) = match &item.value {
            Value::List(items) => {
                (items.iter().map(|item| ("", item)).collect(), "a list of tables")
            }
            Value::Table(table) => (
                table.entries.iter().map(|(key, item)| (key.as_str(), item)).collect(),
                "tables with names, such as [target.gateway]",
            ),
            _ => (Vec::new(), "tables"),
        };
        let is_good = |(_, item): &(&str, &Item)| matches!(item.value, Value::Table(_));
        if items.is_empty() || !items.iter().all(is_good) {
            self.refuse(key, &format!("allowed: {allowed}"), mistakes);
        }
        let table = |(key, item): (&'t str, &'t Item)| match &item.value {
            Value::Table(table) => Some((table.name().unwrap_or(key), item.place, table)),
            _ => None,
        };
        items.into_iter().filter_map(table).collect()
    }
}
