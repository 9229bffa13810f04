//! Where the options of a listener come from: for `tlsgate explain`.

use serde::{Deserialize, Serialize};

use super::levels;
use super::read::Section;

/// One option of a listener, as it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `upstream`, `tls.min_version`, `upstream_tls.verify`.
    pub option: String,
    /// As the file, or the table of options, says it.
    pub value: String,
    /// What says so; `None` is the default.
    pub said_by: Option<Said>,
    /// What higher levels say and does not hold, the highest first.
    pub shadowed: Vec<Shadowed>,
}

/// A place of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Path of the option at its level, such as `host[cfg-a].tls.min_version`.
    pub path: String,
    /// 1-based.
    pub line: usize,
}

/// A value that a lower level replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadowed {
    pub value: String,
    pub said_by: Said,
}

/// What holds for a listener, and what its rules say instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    pub listener: String,
    pub options: Vec<Origin>,
    /// By name, in the order of the file: each rule's own options.
    pub rules: Vec<(String, Vec<Origin>)>,
}

impl Origins {
    /// Everything that holds where this rule matches, or no rule.
    pub fn under(&self, rule: Option<&str>) -> Vec<&Origin> {
        let rules = self.rules.iter().find(|(name, _)| Some(name.as_str()) == rule);
        let own: &[Origin] = rules.map_or(&[], |(_, options)| options);
        let is_own = |one: &Origin| own.iter().any(|other| other.option == one.option);
        self.options.iter().filter(|one| !is_own(one)).chain(own).collect()
    }
}

/// Of all listeners of a file without a mistake.
pub(super) fn of(root: &Section) -> Vec<Origins> {
    let origins = |listener: &Section| {
        let sides = levels::sides(listener);
        let rule = |rule: &Section| (rule.get("name").unwrap_or_default(), all(rule, &sides));
        Origins {
            listener: listener.get("name").unwrap_or_default(),
            options: all(listener, &sides),
            rules: listener.children("rule").iter().map(rule).collect(),
        }
    };
    root.children("listener").iter().map(origins).collect()
}

/// The options of a listener, or those that a rule sets.
fn all(section: &Section, sides: &[&str]) -> Vec<Origin> {
    let mut origins = Vec::new();
    add("", section, &mut origins);
    for (key, tables) in section.children.iter().filter(|(key, _)| **key != "rule") {
        let is_silent = matches!(*key, "tls" | "upstream_tls") && !sides.contains(key);
        for table in tables.iter().filter(|_| !is_silent) {
            add(&format!("{key}."), table, &mut origins);
        }
    }
    origins
}

fn add(prefix: &str, section: &Section, origins: &mut Vec<Origin>) {
    for (key, field) in &section.fields {
        let said_by =
            field.place.map(|place| Said { path: section.path_of(key), line: place.line });
        let shadowed = field.shadowed.iter().map(|one| Shadowed {
            value: one.text.clone(),
            said_by: Said { path: one.path.clone(), line: one.place.line },
        });
        origins.push(Origin {
            option: format!("{prefix}{key}"),
            value: field.text.clone(),
            said_by,
            shadowed: shadowed.collect(),
        });
    }
    for certificate in section.children("certificates") {
        add(&format!("{prefix}certificates."), certificate, origins);
    }
}
