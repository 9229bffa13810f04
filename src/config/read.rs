//! Walks the TOML by the table of options: every key checked, every default filled in.
//!
//! What comes out is a tree of [`Section`]s, one for each table of the file. A wrong value is
//! reported and then missing in its section, so that the walk always reaches the end of the file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{Diagnostic, Diagnostics};
use super::lanes;
use super::options::{OptionDoc, Presence, Repeat, TableDoc};
use super::suggest;
use super::value::{self, FromValue, Problem, Value};
use super::vendor;

/// Where something stands, both 1-based.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// One table of the file with its defaults.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// `listener[sip].tls`.
    pub(super) path: String,
    /// Of its header, or of the parent's header when the table is absent.
    pub(super) place: Place,
    /// The file has the table.
    pub(super) is_written: bool,
    pub(super) fields: BTreeMap<&'static str, Field>,
    pub(super) children: BTreeMap<&'static str, Vec<Self>>,
    /// What higher levels say of options that are not in `fields`.
    pub(super) lost: BTreeMap<&'static str, Vec<Shadowed>>,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    /// `None` was reported as wrong.
    pub(super) value: Option<Value>,
    /// `None` is a default.
    pub(super) place: Option<Place>,
    /// The value as people read it.
    pub(super) text: String,
    /// The section of the level that set it, where that is not the one it is in.
    pub(super) origin: Option<String>,
    /// The vendor's name for it, where the file has that.
    pub(super) spelling: Option<&'static str>,
    /// What other levels say, the highest first.
    pub(super) shadowed: Vec<Shadowed>,
}

/// An option of a level that a lower one set, too.
#[derive(Clone, Debug)]
pub(super) struct Shadowed {
    /// `host[a].tls.min_version`.
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) text: String,
}

impl Section {
    pub(super) fn new(path: String, place: Place, is_written: bool) -> Self {
        let (fields, children, lost) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { path, place, is_written, fields, children, lost }
    }

    /// Whether the file says anything about the option or table, rightly or wrongly.
    pub(super) fn sets(&self, key: &str) -> bool {
        // A list of tables is there only if the file has it: empty, if in the wrong form.
        let tables = self.children.get(key);
        let is_table =
            tables.is_some_and(|list| list.is_empty() || list.iter().any(|child| child.is_written));
        self.place_of(key).is_some() || is_table
    }

    /// The value or default; `None` where a problem was reported or the option has no default.
    pub(super) fn get<T: FromValue>(&self, key: &str) -> Option<T> {
        T::from_value(self.fields.get(key)?.value.as_ref()?)
    }

    /// Where the file sets the key, rightly or wrongly.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.fields.get(key)?.place
    }

    /// `listener[sip].tls.min_version`: of the level that set it.
    pub(super) fn path_of(&self, key: &str) -> String {
        let origin = self.fields.get(key).and_then(|field| field.origin.as_ref());
        join(origin.unwrap_or(&self.path), self.written(key))
    }

    /// The key as the file spells it.
    pub(super) fn written<'a>(&self, key: &'a str) -> &'a str {
        self.fields.get(key).and_then(|field| field.spelling).unwrap_or(key)
    }

    /// Whether the file sets the key in this very section, not at a higher level.
    pub(super) fn is_own(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(|field| field.place.is_some() && field.origin.is_none())
    }

    /// The tables below it that are called `key`.
    pub(super) fn children(&self, key: &str) -> &[Self] {
        self.children.get(key).map_or(&[], Vec::as_slice)
    }

    /// The only table below it that is called `key`; `None` where a problem was reported.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        self.children(key).first()
    }
}

/// Reads one file and gathers what is wrong with it.
pub(super) struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    /// Byte offset of each line's start.
    lines: Vec<usize>,
    /// Directory that relative paths start at.
    base: PathBuf,
    pub(super) diagnostics: Diagnostics,
    /// What is to be known about values that are right, with its place.
    pub(super) notes: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(starts.map(|(offset, _)| offset + 1)).collect();
        let base = Path::new(file).parent().map(Path::to_path_buf).unwrap_or_default();
        Self { file, text, lines, base, diagnostics: Diagnostics::default(), notes: Vec::new() }
    }

    /// Where relative paths start.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// Line and column of a byte of the file.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let before = &self.text.as_bytes()[self.lines[line - 1]..offset];
        // Every byte of UTF-8 but the continuations (10xxxxxx) begins a character.
        let characters = before.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        Place { line, column: characters + 1 }
    }

    pub(super) fn report(&mut self, place: Place, key: &str, finding: Finding<'_>) {
        self.diagnostics.push(Diagnostic {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            key: key.to_owned(),
            message: finding.message.to_owned(),
            found: finding.found.to_owned(),
            allowed: finding.allowed.to_owned(),
            hint: finding.hint.to_owned(),
        });
    }

    /// Tells what is no mistake; once, whatever the number of listeners.
    pub(super) fn note(&mut self, place: Place, key: &str, note: &str) {
        let note = format!("{}:{}:{}: {key}: {note}", self.file, place.line, place.column);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Reads a table and everything below it. `path` is empty for the file itself.
    pub(super) fn section(
        &mut self,
        doc: &'static TableDoc,
        path: String,
        place: Place,
        table: &DeTable<'_>,
    ) -> Section {
        let mut section = Section::new(path, place, true);
        let mut vendors = Vec::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            if let Some(option) = doc.options().find(|option| option.key == name) {
                let field = self.field(&section, option, value);
                if option.is_vendors() {
                    vendors.push((option, field));
                } else {
                    section.fields.insert(option.key, field);
                }
            } else if let Some(child) = doc.children().find(|child| child.key() == name) {
                let children = self.children(&section, child, value);
                section.children.insert(child.key(), children);
            } else {
                self.unknown(doc, &section.path, name, key.span());
            }
        }
        for (option, field) in vendors {
            vendor::take(&mut section, doc, option, field, self);
        }
        if !doc.is_level() {
            self.absent_options(doc, &mut section);
        }
        self.absent_tables(doc, &mut section);
        section
    }

    fn field(
        &mut self,
        section: &Section,
        option: &OptionDoc,
        value: &Spanned<DeValue<'_>>,
    ) -> Field {
        let place = self.place(value.span().start);
        let text = value::shorten(&self.text[value.span()]);
        let checked = value::check(&option.kind, value, &self.base);
        let value = checked.map_err(|problems| self.problems(section, option, problems)).ok();
        let (origin, spelling, shadowed) = (None, None, Vec::new());
        Field { value, place: Some(place), text, origin, spelling, shadowed }
    }

    fn problems(&mut self, section: &Section, option: &OptionDoc, problems: Vec<Problem>) {
        for problem in problems {
            let index = problem.index.map(|index| format!("[{index}]")).unwrap_or_default();
            let key = join(&section.path, &format!("{}{index}", option.key));
            let Problem { message, found, allowed, hint, .. } = &problem;
            let place = self.place(problem.span.start);
            self.report(place, &key, Finding { message, found, allowed, hint });
        }
    }

    /// Reads the table or tables that stand under one key.
    fn children(
        &mut self,
        section: &Section,
        doc: &'static TableDoc,
        value: &Spanned<DeValue<'_>>,
    ) -> Vec<Section> {
        let path = join(&section.path, doc.key());
        match (doc.repeat, value.get_ref()) {
            (None, DeValue::Table(table)) => {
                let place = self.place(value.span().start);
                vec![self.section(doc, path, place, table)]
            }
            (Some(repeat), DeValue::Array(items)) if !items.is_empty() => {
                if items.len() > repeat.max {
                    let found = format!("{} tables", items.len());
                    self.bad_table(doc, &path, value.span(), "is there too often", &found);
                }
                let items = items.iter().take(repeat.max).enumerate();
                items.filter_map(|(index, item)| self.entry(doc, &path, index, item)).collect()
            }
            (_, other) => {
                let found = value::found(other);
                self.bad_table(doc, &path, value.span(), "has the wrong form", &found);
                Vec::new()
            }
        }
    }

    /// Reads one entry of a repeated table; it goes by its name where it has one.
    fn entry(
        &mut self,
        doc: &'static TableDoc,
        path: &str,
        index: usize,
        item: &Spanned<DeValue<'_>>,
    ) -> Option<Section> {
        let DeValue::Table(table) = item.get_ref() else {
            let path = format!("{path}[{index}]");
            let found = value::found(item.get_ref());
            self.bad_table(doc, &path, item.span(), "is not a table", &found);
            return None;
        };
        let name = table.get("name").and_then(|name| name.get_ref().as_str());
        let path = match name.filter(|name| value::is_name(name)) {
            Some(name) => format!("{path}[{name}]"),
            None => format!("{path}[{index}]"),
        };
        let place = self.place(item.span().start);
        Some(self.section(doc, path, place, table))
    }

    fn bad_table(
        &mut self,
        doc: &TableDoc,
        path: &str,
        span: Range<usize>,
        message: &str,
        found: &str,
    ) {
        let place = self.place(span.start);
        let allowed = match doc.repeat {
            Some(Repeat { max, .. }) => format!("{}, 1 to {max} times", doc.header()),
            None => format!("{}, once", doc.header()),
        };
        let hint = format!("Write {} on a line of its own, and its keys below.", doc.header());
        self.report(place, path, Finding { message, found, allowed: &allowed, hint: &hint });
    }

    fn unknown(&mut self, doc: &TableDoc, path: &str, key: &str, span: Range<usize>) {
        let place = self.place(span.start);
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let shown = value::shorten(key);
        let shown = if shown.bytes().all(|byte| is_bare(byte) || byte == b'.') && !shown.is_empty()
        {
            shown
        } else {
            format!("\"{}\"", shown.escape_debug())
        };
        if let Some(refusal) = lanes::stray(doc, key).or_else(|| vendor::stray(doc, key)) {
            let (message, hint) = (&refusal.message, &refusal.hint);
            let finding = Finding { message, hint, ..Finding::EMPTY };
            return self.report(place, &join(path, &shown), finding);
        }
        let allowed = suggest::keys(doc).collect::<Vec<_>>().join(", ");
        let hint = suggest::for_unknown_key(doc, key);
        let finding =
            Finding { message: "is not a known key", found: "", allowed: &allowed, hint: &hint };
        self.report(place, &join(path, &shown), finding);
    }

    /// Reads absent tables as empty ones, so that their defaults and required keys count.
    fn absent_tables(&mut self, doc: &'static TableDoc, section: &mut Section) {
        for child in doc.children() {
            if section.children.contains_key(child.key()) {
                continue;
            }
            let path = join(&section.path, child.key());
            match child.repeat {
                None => {
                    let mut absent = self.section(child, path, section.place, &DeTable::new());
                    absent.is_written = false;
                    section.children.insert(child.key(), vec![absent]);
                }
                Some(Repeat { required: true, .. }) => {
                    let header = child.header();
                    let hint = format!("Add {header}. config/tlsgate.toml shows its keys.");
                    let finding = Finding { message: "is missing", hint: &hint, ..Finding::EMPTY };
                    self.report(section.place, &path, finding);
                }
                Some(_) => {}
            }
        }
    }

    /// Fills in the defaults of what is not set, and reports what must be.
    pub(super) fn absent_options(&mut self, doc: &TableDoc, section: &mut Section) {
        for option in doc.options() {
            if section.fields.contains_key(option.key) {
                continue;
            }
            match option.presence {
                Presence::Default(text) => {
                    let field = Field {
                        value: Some(self.default_of(option, text)),
                        place: None,
                        text: text.to_owned(),
                        origin: None,
                        spelling: None,
                        shadowed: section.lost.remove(option.key).unwrap_or_default(),
                    };
                    section.fields.insert(option.key, field);
                }
                Presence::Optional { .. } => {}
                Presence::RequiredUnless { other, .. }
                    if section.sets(other) || lanes::is_without_modern(section) => {}
                Presence::Required { example } | Presence::RequiredUnless { example, .. } => {
                    let allowed = option.kind.allowed();
                    let header = doc.header();
                    let hint = format!("Add to {header}: {} = {example}", option.key);
                    let finding = Finding {
                        message: "is missing",
                        found: "",
                        allowed: &allowed,
                        hint: &hint,
                    };
                    self.report(section.place, &join(&section.path, option.key), finding);
                }
            }
        }
    }

    fn default_of(&self, option: &OptionDoc, text: &str) -> Value {
        let parsed = DeValue::parse(text).expect("defaults are TOML: tested for every option");
        value::check(&option.kind, &parsed, &self.base)
            .expect("defaults are allowed values: tested for every option")
    }
}

/// The texts of a diagnostic.
#[derive(Clone, Copy)]
pub(super) struct Finding<'a> {
    pub(super) message: &'a str,
    pub(super) found: &'a str,
    pub(super) allowed: &'a str,
    pub(super) hint: &'a str,
}

impl Finding<'_> {
    pub(super) const EMPTY: Self = Self { message: "", found: "", allowed: "", hint: "" };
}

/// A dotted path.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
