//! How an option is described. The descriptions themselves are in `table/`.
//!
//! One description drives everything: reading and validating, messages, the reference file and the
//! JSON Schema.

use std::time::Duration;

use super::table;
pub use super::table::{TABLES, options};
use super::units::{format_duration, format_size};

/// A table of the file, such as `[gateway]` or `[[listener]]`.
#[derive(Debug)]
pub struct TableDoc {
    /// Dotted name without indices, such as `listener.tls`.
    pub name: &'static str,
    /// The table whose options it has, where these are not its own.
    pub like: Option<&'static str>,
    /// How often it may stand in its parent; `None` is once or not at all.
    pub repeat: Option<Repeat>,
    pub doc: &'static str,
}

/// How a table repeats: once or more where it stands at all.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    pub max: usize,
    /// Whether the parent must have one.
    pub required: bool,
}

/// One option.
#[derive(Debug)]
pub struct OptionDoc {
    /// Name of the table it belongs to.
    pub table: &'static str,
    pub key: &'static str,
    pub kind: Kind,
    pub presence: Presence,
    /// Whether a changed value takes effect when the configuration is loaded anew.
    pub reload: bool,
    pub doc: &'static str,
}

/// What an absent option means. All texts are values of both TOML and JSON.
#[derive(Clone, Copy, Debug)]
pub enum Presence {
    Default(&'static str),
    /// May be absent, and then there is no value.
    Optional {
        example: &'static str,
    },
    Required {
        example: &'static str,
    },
    /// Required unless another key of the same table stands for it; both together are refused.
    RequiredUnless {
        other: &'static str,
        example: &'static str,
    },
}

/// What a condition of a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Source,
    Sni,
    Version,
    Client,
}

/// Which values an option takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Switch,
    Integer {
        min: u64,
        max: u64,
        unit: &'static str,
    },
    /// A multiple of `step`.
    Duration {
        min: Duration,
        max: Duration,
        step: Duration,
    },
    /// In bytes.
    Size {
        min: u64,
        max: u64,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    TlsVersion,
    /// A day: `"2027-12-31"`, or the same as a date of TOML.
    Date,
    /// SHA-256 in base64 or hexadecimal.
    Digest,
    /// 1 to `max` bytes of text without control characters.
    Text {
        max: usize,
    },
    /// A name for logs and metrics: 1 to 64 of `A-Z a-z 0-9 _ . -`.
    Name,
    Path,
    /// What the vendor's reader takes: one of these words, or text where there are none. A number
    /// or a switch may stand without quotes.
    Vendor(&'static [&'static str]),
    /// What a rule is about.
    Condition(Condition),
    SocketAddress,
    ListenAddress,
    /// A component, with its weight.
    Endpoint,
    /// Where connections to it come from.
    UpstreamSource,
    AccessLog,
    /// A word besides the values of another kind.
    Or(&'static str, &'static Self),
    /// An array without repetitions; with `single`, one item may stand without brackets.
    List {
        item: &'static Self,
        min: usize,
        max: usize,
        single: bool,
    },
}

impl TableDoc {
    /// The last part of the name: the key under which the table stands in its parent.
    pub fn key(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// As the file writes it: `[gateway]`, `[[listener]]`.
    pub fn header(&self) -> String {
        if self.repeat.is_some() {
            format!("[[{}]]", self.name)
        } else {
            format!("[{}]", self.name)
        }
    }

    /// Its options, in the order of the reference.
    pub fn options(&self) -> impl Iterator<Item = &'static OptionDoc> + use<> {
        let name = self.like.unwrap_or(self.name);
        let is_above = self.is_above_listeners();
        options().filter(move |option| option.table == name && !(is_above && option.is_of_lanes()))
    }

    /// Whether it stands above listeners, so that what is written later inherits from it.
    pub fn is_above_listeners(&self) -> bool {
        let top = self.name.split('.').next();
        matches!(top, Some("defaults" | "host" | "application"))
    }

    /// The tables directly below it.
    pub fn children(&self) -> impl Iterator<Item = &'static Self> + use<> {
        let name = self.name;
        TABLES.iter().filter(move |table| !table.name.is_empty() && table.parent() == name)
    }

    /// Whether its options are put together with those of other levels before anything is missing
    /// or has its default.
    pub fn is_level(&self) -> bool {
        let kind = self.like.unwrap_or(self.name);
        matches!(kind, "listener.tls" | "listener.upstream_tls")
    }

    fn parent(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(parent, _)| parent)
    }
}

impl OptionDoc {
    /// Whether it may stand at several levels, down to a rule.
    pub fn is_policy(&self) -> bool {
        matches!(self.table, "listener.tls" | "listener.upstream_tls")
    }

    /// Whether it is about a lane weaker than the modern one: of a listener or rule alone.
    pub fn is_of_lanes(&self) -> bool {
        self.is_policy() && table::is_of_lanes(self)
    }

    /// `listener.tls.min_version`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.table, self.key)
    }
}

impl Presence {
    /// The default, or an example where there is none; a TOML value.
    pub fn sample(&self) -> &'static str {
        match self {
            Self::Default(sample)
            | Self::Optional { example: sample }
            | Self::Required { example: sample }
            | Self::RequiredUnless { example: sample, .. } => sample,
        }
    }
}

impl Kind {
    /// The allowed values, for people.
    pub fn allowed(&self) -> String {
        match self {
            Self::Switch => "true or false".to_owned(),
            Self::Integer { min, max, .. } => format!("an integer from {min} to {max}"),
            Self::Duration { min, max, step } => {
                let whole = if *step < Duration::from_secs(1) { "" } else { ", in whole seconds" };
                let (min, max) = (format_duration(*min), format_duration(*max));
                format!("a duration from \"{min}\" to \"{max}\"{whole}")
            }
            Self::Size { min, max } => {
                format!("a size from \"{}\" to \"{}\"", format_size(*min), format_size(*max))
            }
            Self::Word(words) => one_of(words),
            Self::TlsVersion => "\"1.0\", \"1.1\", \"1.2\" or \"1.3\"".to_owned(),
            Self::Date => "a day from 2000 on, as \"2027-12-31\"".to_owned(),
            Self::Digest => "SHA-256 in base64 or hexadecimal".to_owned(),
            Self::Text { max } => format!("text of 1 to {max} bytes"),
            Self::Name => "1 to 64 characters out of A-Z a-z 0-9 _ . -".to_owned(),
            Self::Path => "a path, absolute or relative to the directory of this file".to_owned(),
            Self::Vendor([]) => "text, as the vendor's reader takes it".to_owned(),
            Self::Vendor(words) => one_of(words),
            Self::Condition(condition) => condition.allowed().to_owned(),
            Self::SocketAddress => "\"address:port\"".to_owned(),
            Self::ListenAddress => {
                "\"address:port\", \"unix:/path\", \"fd:number\" or \"systemd:name\"".to_owned()
            }
            Self::Endpoint => {
                "\"address:port\", \"host:port\" or \"unix:/path\", and perhaps \" weight=3\""
                    .to_owned()
            }
            Self::UpstreamSource => {
                "\"any\", \"client\", \"client_port\" or an IP address".to_owned()
            }
            Self::AccessLog => {
                "\"off\", \"stdout\", \"stderr\", \"file:/path\", \"journald\" or \"syslog\""
                    .to_owned()
            }
            Self::Or(word, kind) => format!("\"{word}\" or {}", kind.allowed()),
            Self::List { item, min, max, single } => {
                let item = item.allowed();
                let one = if *single { format!("{item}; or ") } else { String::new() };
                let each = if *single { "of them".to_owned() } else { format!("of {item}") };
                format!("{one}an array of {min} to {max} {each}")
            }
        }
    }

    /// What a number counts; empty where that is no question.
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Integer { unit, .. } => unit,
            Self::Duration { .. } => "ms, s, m, h or d",
            Self::Size { .. } => "bytes, or B, KiB, MiB, GiB or TiB",
            Self::Or(_, kind) => kind.unit(),
            _ => "",
        }
    }
}

impl Condition {
    fn allowed(self) -> &'static str {
        match self {
            Self::Source => "an address or a range, as \"10.1.0.0/16\"",
            Self::Sni => "a DNS name, or \"*.\" and one",
            Self::Version => "\"1.0\", \"1.1\", \"1.2\" or \"1.3\"",
            Self::Client => {
                "\"sha256:\", \"spki:\", \"uri:\", \"dns:\", \"ip:\", \"subject:\", \"cn:\" or \
                 \"issuer:\", and a value"
            }
        }
    }
}

/// The description of a table.
pub fn table(name: &str) -> Option<&'static TableDoc> {
    TABLES.iter().find(|table| table.name == name)
}

/// `"a", "b" or "c"`.
fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_option_belongs_to_a_table_and_is_there_once() {
        let mut paths = BTreeSet::new();
        for option in options() {
            assert!(table(option.table).is_some(), "{}", option.path());
            assert!(paths.insert(option.path()), "{} is there twice", option.path());
            assert!(option.doc.ends_with('.'), "{}", option.path());
        }
    }

    #[test]
    fn every_table_has_its_parent_and_no_key_means_two_things() {
        for one in TABLES.iter().filter(|one| !one.name.is_empty()) {
            let parent = table(one.parent()).expect("a parent in the table");
            assert!(parent.children().any(|child| child.name == one.name));
            assert!(parent.options().all(|option| option.key != one.key()), "{}", one.name);
        }
    }

    #[test]
    fn allowed_values_read_well() {
        assert_eq!(one_of(&["a"]), "\"a\"");
        assert_eq!(one_of(&["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
        let workers = Kind::Or("auto", &Kind::Integer { min: 1, max: 9, unit: "threads" });
        assert_eq!(workers.allowed(), "\"auto\" or an integer from 1 to 9");
        assert_eq!(workers.unit(), "threads");
    }
}
