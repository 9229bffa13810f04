//! Which of the open connections somebody means.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::conn::Connection;
use crate::conn::outcome::Stage;
use crate::policy::rules::Cidr;

/// What connections have in common. Without anything, it is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    pub listener: Option<String>,
    /// The rule's, or the listener's own.
    pub route: Option<String>,
    /// Where they are from: what a trusted sender says, else the peer.
    #[serde(with = "text")]
    pub source: Option<Cidr>,
    /// Subject of the peer's certificate, as the access log has it.
    pub identity: Option<String>,
    #[serde(with = "text")]
    pub generation: Option<Generations>,
    pub phase: Option<Stage>,
}

/// Generations of the configuration that connections were admitted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generations {
    One(u64),
    /// All but the current one.
    Old,
}

impl Filter {
    /// Whether it means all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it means this one, while this generation is the current one.
    pub(super) fn takes(&self, connection: &Connection, current: u64) -> bool {
        let policy = connection.policy();
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let is_from = |range: Cidr| {
            connection.source_address().is_some_and(|source| range.contains(source.ip()))
        };
        is(&self.listener, Some(&policy.name))
            && is(&self.route, Some(&connection.route().name))
            && self.source.is_none_or(is_from)
            && self.generation.is_none_or(|wanted| wanted.has(policy.generation, current))
            && self.phase.is_none_or(|phase| phase == connection.progress())
            && is(&self.identity, connection.client_subject())
    }
}

impl Generations {
    fn has(self, generation: u64, current: u64) -> bool {
        match self {
            Self::One(number) => generation == number,
            Self::Old => generation != current,
        }
    }
}

impl Display for Generations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(number) => number.fmt(formatter),
            Self::Old => formatter.write_str("old"),
        }
    }
}

impl FromStr for Generations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "old" => Ok(Self::Old),
            _ => text.parse().map(Self::One).map_err(|_| "a number, or \"old\"".to_owned()),
        }
    }
}

impl Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listener, route, source, identity, generation, phase } = self;
        let phase = phase.map(Stage::as_str);
        let mut separator = "";
        let parts: [(&str, Option<&dyn Display>); 6] = [
            ("listener", listener.as_ref().map(|part| part as _)),
            ("route", route.as_ref().map(|part| part as _)),
            ("source", source.as_ref().map(|part| part as _)),
            ("identity", identity.as_ref().map(|part| part as _)),
            ("generation", generation.as_ref().map(|part| part as _)),
            ("phase", phase.as_ref().map(|part| part as _)),
        ];
        for (name, part) in parts {
            let Some(part) = part else { continue };
            write!(formatter, "{separator}{name} {part}")?;
            separator = ", ";
        }
        if separator.is_empty() { formatter.write_str("all") } else { Ok(()) }
    }
}

/// Values that go by their text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_the_same_after_a_journey_as_json() {
        let filter = Filter {
            listener: Some("sip".to_owned()),
            source: Some("10.1.0.0/16".parse().expect("a range")),
            generation: Some(Generations::Old),
            phase: Some(Stage::Relay),
            ..Filter::default()
        };
        let json = serde_json::to_string(&filter).expect("it has no maps");
        assert_eq!(serde_json::from_str::<Filter>(&json).expect("of our own"), filter);
        let words = "listener sip, source 10.1.0.0/16, generation old, phase relay";
        assert_eq!(filter.to_string(), words);
        assert!(serde_json::from_str::<Filter>("{}").expect("all").is_empty());
        for wrong in [
            r#"{"source":"10.1.0.1/16"}"#,
            r#"{"generation":"new"}"#,
            r#"{"phase":"asleep"}"#,
            r#"{"user":"alice"}"#,
        ] {
            assert!(serde_json::from_str::<Filter>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn old_generations_are_all_but_the_current_one() {
        assert!(Generations::Old.has(1, 3) && Generations::Old.has(2, 3));
        assert!(!Generations::Old.has(3, 3));
        assert!(Generations::One(2).has(2, 3) && !Generations::One(2).has(1, 3));
    }
}
