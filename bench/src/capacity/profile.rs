//! The profiles: what the components of a contact centre do over a connection.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// A number of a profile, and what it stands on.
pub type Known = (f64, Basis);

/// What a number of a profile stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// A vendor's document says so.
    Sourced,
    /// A guess.
    Assumed,
}

/// What the components of one class do over a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// P1 to P13.
    pub name: String,
    /// Who connects to what.
    pub title: String,
    /// What `count` counts.
    pub unit: String,
    /// Connections of each unit.
    pub per_unit: Known,
    /// Messages per second and connection from the component.
    pub messages_down: Known,
    /// The same from the peer.
    pub messages_up: Known,
    /// Bytes of a message from the component.
    pub size_down: Known,
    /// The same from the peer.
    pub size_up: Known,
    /// Bytes from the component when a connection begins.
    pub start_down: Known,
    /// The same from the peer.
    pub start_up: Known,
    /// Seconds that a connection lives.
    pub lifetime: Known,
    /// Seconds within which all come back.
    pub spread: Known,
    /// Seconds between attempts.
    pub retry: Known,
}

impl Profile {
    /// Its numbers by their keys.
    pub fn numbers(&self) -> [(&'static str, Known); 10] {
        [
            ("per_unit", self.per_unit),
            ("messages_down", self.messages_down),
            ("messages_up", self.messages_up),
            ("size_down", self.size_down),
            ("size_up", self.size_up),
            ("start_down", self.start_down),
            ("start_up", self.start_up),
            ("lifetime", self.lifetime),
            ("spread", self.spread),
            ("retry", self.retry),
        ]
    }
}

/// The profiles that are built in.
pub fn profiles() -> &'static [Profile] {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Profiles {
        #[serde(rename = "format")]
        _format: u32,
        profile: Vec<Profile>,
    }
    static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
        let file: Result<Profiles, _> = super::parse(include_str!("../../capacity/profiles.toml"));
        file.expect("a test reads this file").profile
    });
    &PROFILES
}
