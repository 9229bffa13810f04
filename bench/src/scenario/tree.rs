//! TOML as a tree that keeps where each value stands, and takes values from the command line.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::Mistakes;

/// Most characters of a value that a message repeats.
const MAX_FOUND: usize = 60;

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In this line of the file, from 1 on.
    Line(usize),
    /// On the command line.
    Set,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    /// As it was written, shortened.
    pub(super) shown: String,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Number(f64),
    Bool(bool),
    List(Vec<Item>),
    Table(Table),
    /// A date: nothing wants one.
    Other,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, Item>,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => line.fmt(out),
            Self::Set => out.write_str("--set"),
        }
    }
}

/// Reads a file; what is not TOML is put into `mistakes`.
pub(super) fn read(text: &str, mistakes: &mut Mistakes) -> Table {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let offset = error.span().map_or(text.len(), |span| span.start);
        mistakes.add(Place::Line(line(text, offset)), &format!("not TOML: {}", error.message()));
    }
    let at = |offset| Place::Line(line(text, offset));
    table(document.get_ref(), text, &at)
}

/// Puts `KEY=VALUE` into a table; a flow's key begins with `flow.NAME.`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn set(root: &mut Table, setting: &str) -> Result<(), String> {
    let wrong = |why: &str| format!("--set {setting}: {why}");
    let (path, written) =
        setting.split_once('=').ok_or_else(|| wrong("write KEY=VALUE, such as duration=5s"))?;
    let written = written.trim();
    let item = match DeValue::parse(written) {
        Ok(value) => item(&value, written, &|_| Place::Set),
        // A word that needs quotes in a file.
        Err(_) => Item {
            place: Place::Set,
            shown: format!("\"{written}\""),
            value: Value::Text(written.to_owned()),
        },
    };
    let keys: Vec<&str> = path.trim().split('.').collect();
    let (last, above) = keys.split_last().expect("split makes at least one");
    let table = inner(root, above).ok_or_else(|| {
        wrong("there is no such table: write flow.NAME.KEY, target.NAME.KEY, or a KEY of the file")
    })?;
    table.entries.insert((*last).to_owned(), item);
    Ok(())
}

/// The table that `keys` lead to; those in a list are found by their names.
fn inner<'t>(table: &'t mut Table, keys: &[&str]) -> Option<&'t mut Table> {
    let [key, rest @ ..] = keys else { return Some(table) };
    match &mut table.entries.get_mut(*key)?.value {
        Value::Table(below) => inner(below, rest),
        Value::List(items) => {
            let (name, rest) = rest.split_first()?;
            let tables = items.iter_mut().filter_map(|item| match &mut item.value {
                Value::Table(table) => Some(table),
                _ => None,
            });
            inner(tables.into_iter().find(|table| table.name() == Some(name))?, rest)
        }
        _ => None,
    }
}

impl Table {
    /// What it calls itself.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.entries.get("name")?.value {
            Value::Text(name) => Some(name),
            _ => None,
        }
    }
}

fn table(table: &DeTable<'_>, text: &str, at: &dyn Fn(usize) -> Place) -> Table {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        (key.to_string(), item(value, text, at))
    };
    Table { entries: table.iter().map(entry).collect() }
}

fn item(value: &Spanned<DeValue<'_>>, text: &str, at: &dyn Fn(usize) -> Place) -> Item {
    let number = |text: &str| text.parse().map_or(Value::Other, Value::Number);
    let read = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => number(integer.as_str()),
        DeValue::Float(float) => number(float.as_str()),
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Datetime(_) => Value::Other,
        DeValue::Array(items) => {
            Value::List(items.iter().map(|value| item(value, text, at)).collect())
        }
        DeValue::Table(inner) => Value::Table(table(inner, text, at)),
    };
    let found = text[value.span()].lines().next().unwrap_or_default();
    let mut shown: String = found.chars().take(MAX_FOUND).collect();
    if shown.len() < text[value.span()].len() {
        shown.push_str(" ..");
    }
    Item { place: at(value.span().start), shown, value: read }
}

fn line(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
}
