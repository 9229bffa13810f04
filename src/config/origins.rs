//! Where the options of a listener come from: for `tlsgate explain`.

use serde::Serialize;

use super::levels;
use super::read::Section;

/// One option of a listener, as it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Path of the option at its level, such as `host[cfg-a].tls.min_version`.
    pub path: String,
    /// 1-based.
    pub line: usize,
}

/// A value that a lower level replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadowed {
    pub value: String,
    pub said_by: Said,
}

/// Everything that holds for the listeners of a file without a mistake, by name.
pub(super) fn of(root: &Section) -> Vec<(String, Vec<Origin>)> {
    let origins = |listener: &Section| {
        let mut origins = Vec::new();
        add("", listener, &mut origins);
        let speaks = levels::sides(listener);
        for (key, tables) in &listener.children {
            let is_silent = matches!(*key, "tls" | "upstream_tls") && !speaks.contains(key);
            for table in tables.iter().filter(|_| !is_silent) {
                add(&format!("{key}."), table, &mut origins);
            }
        }
        (listener.get("name").unwrap_or_default(), origins)
    };
    root.children("listener").iter().map(origins).collect()
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
