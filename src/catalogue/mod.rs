//! The catalogue: which components connect to which, what they speak, and a route for each.
//!
//! The data are in `config/catalogue`, part of the program. Everything about a connection that does
//! not stand in its line follows from its kind and its profile.

mod scaffold;
pub mod uccx;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::scaffold::{Legacy, Request, scaffold};

const CONNECTIONS: &str = include_str!("../../config/catalogue/connections.toml");
const KINDS: &str = include_str!("../../config/catalogue/kinds.toml");
const PROFILES: &str = include_str!("../../config/catalogue/profiles.toml");

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    connections: Vec<Connection>,
    kinds: Vec<Kind>,
    profiles: Vec<Profile>,
}

/// A connection that may have TLS, as a document names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    pub group: String,
    pub from: String,
    pub role: Role,
    /// Alternatives; in brackets is what is no name of a component.
    pub to: Vec<String>,
    pub kind: String,
    pub profile: String,
    pub mode: Option<Mode>,
    /// Name of the secure port.
    pub port: Option<String>,
    /// Whether the port may have no other name.
    #[serde(default)]
    pub port_required: bool,
    /// `genesys:65`: document and line.
    pub seed: String,
    pub note: Option<String>,
}

/// What the first component is on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Client,
    Server,
    /// Two of a kind: either may connect.
    Peer,
    /// Client of some, server of others.
    Both,
}

/// Mode of a listener; [`Mode::Pair`] stands for two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Terminate,
    Originate,
    Bridge,
    Passthrough,
    Autodetect,
    Pair,
}

/// Who sends the first byte inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstSpeaker {
    Client,
    Server,
    /// Nothing public says.
    Unknown,
}

/// How messages can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    Opaque,
    Http,
    Sip,
    Mrcp,
    Ldap,
    Tds,
    Lines,
}

/// What is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    pub name: String,
    /// The word for a listener's `protocol`.
    pub protocol: String,
    pub first_speaker: FirstSpeaker,
    pub framing: Framing,
    pub mode: Mode,
    pub why: String,
}

/// What has to work on a connection, and what has to fail.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub name: String,
    pub mutual: Mutual,
    pub must_succeed: Vec<Case>,
    pub must_fail: Vec<Case>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A word for it.
    pub case: String,
    pub what: String,
}

/// What is suggested for `client_cert`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mutual {
    None,
    Optional,
    Required,
}

/// A connection with everything that follows from its kind and profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub connection: &'a Connection,
    pub kind: &'a Kind,
    pub profile: &'a Profile,
}

impl Entry<'_> {
    /// The line's own, else the kind's.
    pub fn mode(&self) -> Mode {
        self.connection.mode.unwrap_or(self.kind.mode)
    }

    /// In the mode of [`Entry::mode`].
    pub fn mutual(&self) -> Mutual {
        self.mutual_in(self.mode())
    }

    /// Two of a kind, and gateways of a pair, know each other; autodetect cannot demand what
    /// plaintext does not have.
    pub fn mutual_in(&self, mode: Mode) -> Mutual {
        match (mode, self.connection.role) {
            (Mode::Pair, _) | (_, Role::Peer) => Mutual::Required,
            (Mode::Autodetect, _) => self.profile.mutual.min(Mutual::Optional),
            _ => self.profile.mutual,
        }
    }
}

impl Catalogue {
    /// The one that is part of the program.
    pub fn shipped() -> Self {
        Self::parse(CONNECTIONS, KINDS, PROFILES)
            .expect("the catalogue that is part of the program is whole: tested")
    }

    fn parse(connections: &str, kinds: &str, profiles: &str) -> Result<Self, String> {
        let catalogue = Self {
            connections: list(connections, "connection")?,
            kinds: list(kinds, "kind")?,
            profiles: list(profiles, "profile")?,
        };
        for one in &catalogue.connections {
            if catalogue.entry(one).is_none() {
                return Err(format!(
                    "{}: no kind {} or profile {}",
                    one.seed, one.kind, one.profile
                ));
            }
        }
        Ok(catalogue)
    }

    /// Every connection, in the order of the documents.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.connections.iter().filter_map(|connection| self.entry(connection))
    }

    fn entry<'a>(&'a self, connection: &'a Connection) -> Option<Entry<'a>> {
        let kind = self.kinds.iter().find(|kind| kind.name == connection.kind)?;
        let profile = self.profiles.iter().find(|one| one.name == connection.profile)?;
        Some(Entry { connection, kind, profile })
    }

    /// Connections whose group, and one of whose components, have these words in their names.
    pub fn search<'a>(
        &'a self,
        group: Option<&'a str>,
        component: Option<&'a str>,
    ) -> impl Iterator<Item = Entry<'a>> {
        let has = |text: &str, word: &str| text.to_lowercase().contains(&word.to_lowercase());
        self.entries().filter(move |entry| {
            let connection = entry.connection;
            group.is_none_or(|word| has(&connection.group, word))
                && component.is_none_or(|word| {
                    has(&connection.from, word) || connection.to.iter().any(|to| has(to, word))
                })
        })
    }

    /// Connections from one component to another, by their names; where none names the second, those
    /// to descriptions such as `(all other Genesys Servers)`.
    pub fn between(&self, from: &str, to: &str) -> Vec<Entry<'_>> {
        let ends = |entry: &Entry<'_>| {
            let connection = entry.connection;
            let mut ends: Vec<(String, String)> = Vec::new();
            for other in &connection.to {
                let forth = (connection.from.clone(), other.clone());
                match connection.role {
                    Role::Client => ends.push(forth),
                    Role::Server => ends.push((forth.1, forth.0)),
                    Role::Peer | Role::Both => ends.extend([forth.clone(), (forth.1, forth.0)]),
                }
            }
            ends
        };
        let matching = |fits: &dyn Fn(&(String, String)) -> bool| -> Vec<Entry<'_>> {
            self.entries().filter(|entry| ends(entry).iter().any(fits)).collect()
        };
        let exact = matching(&|(one, other)| is_called(one, from) && is_called(other, to));
        let open = |name: &str, word: &str| name.starts_with('(') || is_called(name, word);
        if !exact.is_empty() || !self.is_component(from) || !self.is_component(to) {
            return exact;
        }
        matching(&|(one, other)| {
            let is_named = is_called(one, from) || is_called(other, to);
            is_named && open(one, from) && open(other, to)
        })
    }

    /// Names of components, sorted, each once.
    pub fn components(&self) -> Vec<&str> {
        let all = self.connections.iter();
        let names = all.flat_map(|one| one.to.iter().chain([&one.from]));
        let names = names.flat_map(|name| name.split('|'));
        let names: BTreeSet<&str> = names.filter(|name| !name.starts_with('(')).collect();
        names.into_iter().collect()
    }

    pub fn is_component(&self, word: &str) -> bool {
        self.components().iter().any(|name| is_called(name, word))
    }
}

/// Whether a component has this name, with or without what stands in brackets behind it, or by its
/// short form there: `Solution Control Server (SCS)`.
fn is_called(name: &str, word: &str) -> bool {
    let same = |text: &str| text.trim().eq_ignore_ascii_case(word.trim());
    name.split('|').any(|name| {
        let short = name.split_once(" (").map(|(long, rest)| (long, rest.trim_end_matches(')')));
        same(name) || short.is_some_and(|(long, short)| same(long) || same(short))
    })
}

fn list<T: for<'a> Deserialize<'a>>(text: &str, key: &str) -> Result<Vec<T>, String> {
    let mut file: toml::Table = text.parse().map_err(|error| format!("{key}: {error}"))?;
    let list = file.remove(key).ok_or_else(|| format!("no {key}"))?;
    list.try_into().map_err(|error| format!("{key}: {error}"))
}

#[cfg(test)]
mod tests;
