//! Which versions of TLS releases of Unified CCX and their peers speak, as the vendor's document
//! says it, and what a route between two of them needs.
//!
//! The data are in `config/catalogue/uccx`: one row for each statement.

mod route;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Role, list};

pub use self::route::{Answer, End, Lane, Question, Wishes};

const MATRIX: &str = include_str!("../../config/catalogue/uccx/matrix.toml");

/// All statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    rows: Vec<Row>,
}

/// What the document says about some releases, or about a product of others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub table: Table,
    pub who: Vec<String>,
    /// None of them in [`Table::TargetRelease`].
    pub role: Option<Role>,
    /// What it is about alone.
    pub over: Option<Over>,
    #[serde(default)]
    pub versions: Vec<Version>,
    pub default: Option<Version>,
    /// Once somebody has switched them on.
    #[serde(default)]
    pub when_enabled: Vec<Version>,
    /// Not spoken, where nothing else is said.
    #[serde(default)]
    pub without: Vec<Version>,
    /// From when on it is without them: a day, or a time in UTC.
    pub after: Option<String>,
    /// First release that speaks more than TLS 1.0 as a client.
    pub newer_from: Option<String>,
    /// First release from which TLS 1.0 is removed.
    pub without_1_0_from: Option<String>,
    /// `cisco:103`: document and line.
    pub seed: String,
    pub note: Option<String>,
}

/// Where in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    ProseServer,
    ProseClient,
    CurrentSupport,
    UpcomingReleases,
    TargetRelease,
    SocialminerException,
    Peer,
    Faq,
}

/// What speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    Https,
    Jdbc,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Version {
    #[serde(rename = "1.0")]
    V1_0,
    #[serde(rename = "1.1")]
    V1_1,
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

impl Version {
    const ALL: [Self; 4] = [Self::V1_0, Self::V1_1, Self::V1_2, Self::V1_3];

    /// `1.0`
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }

    /// `1.0` or `1.1,1.2`; `None` for anything else.
    pub fn list(text: &str) -> Option<Vec<Self>> {
        let of = |word: &str| Self::ALL.into_iter().find(|one| one.as_str() == word.trim());
        text.split(',').map(of).collect()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Row {
    /// Whether it is about this release or product.
    pub fn is_about(&self, name: &str) -> bool {
        self.who.iter().any(|who| covers(who, name))
    }

    fn says_who_speaks(&self, name: &str, role: Role, over: Over) -> bool {
        let is_role = self.role.is_some_and(|one| one == role || one == Role::Both);
        // The document's own scope: everything else in it is about HTTPS.
        let is_over = self.over.unwrap_or(Over::Https) == over;
        is_role && is_over && self.is_about(name)
    }

    /// The document's tables win over its introduction, where they differ.
    fn is_in_a_table(&self) -> bool {
        !matches!(self.table, Table::ProseServer | Table::ProseClient)
    }
}

impl Matrix {
    /// The one that is part of the program.
    pub fn shipped() -> Self {
        Self::parse(MATRIX).expect("the matrix that is part of the program is whole: tested")
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { rows: list(text, "row")? })
    }

    /// Every statement, in the order of the document.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Names of releases and products, each once, in the order of the document.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.rows.iter().flat_map(|row| &row.who).map(String::as_str) {
            if !names.contains(&name) && !name.ends_with(" onwards") && name != "all" {
                names.push(name);
            }
        }
        names
    }

    /// What to say where [`Matrix::named`] has nothing.
    pub fn not_there(&self, word: &str) -> String {
        format!("the matrix has no \"{word}\". It has: {}", self.names().join(", "))
    }

    /// What a word stands for: a release or product of that name, all whose names begin with it, or
    /// a release that only a statement about several covers.
    pub fn named<'a>(&'a self, word: &'a str) -> Vec<&'a str> {
        let word = word.trim();
        let word = word.strip_prefix("UCCX ").unwrap_or(word);
        let names = self.names();
        if let Some(name) = names.iter().find(|name| name.eq_ignore_ascii_case(word)) {
            return vec![name];
        }
        if is_release(word) {
            let is_covered = names.iter().any(|who| covers(who, word));
            return if is_covered { vec![word] } else { Vec::new() };
        }
        let begins = |name: &&str| {
            let start = name.get(..word.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(word)) && !word.is_empty()
        };
        names.into_iter().filter(begins).collect()
    }
}

/// Whether a release or product goes by what a row says.
fn covers(who: &str, name: &str) -> bool {
    if let Some(first) = who.strip_suffix(" onwards") {
        return is_release(name) && numbers(name) >= numbers(first);
    }
    match who.strip_suffix('x') {
        Some(beginning) if is_release(who) => name.starts_with(beginning),
        _ if who == "all" => is_release(name),
        _ => {
            let rest = name.strip_prefix(who);
            who.eq_ignore_ascii_case(name) || rest.is_some_and(|rest| rest.starts_with('('))
        }
    }
}

/// Releases are numbers, products have names.
fn is_release(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_digit())
}

/// `11.5(1)SU1` is 11, 5, 1, 1: later releases are greater.
fn numbers(release: &str) -> Vec<u32> {
    let parts = release.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
