//! The reference file `config/tlsgate.toml`, written from the table of options.

use super::options::{OptionDoc, Presence, TABLES, TableDoc};

/// Longest line of the file, in bytes.
const WIDTH: usize = 96;

const PREFACE: &str = "\
#:schema ./tlsgate.schema.json
# tlsgate: every key of the configuration, with its meaning and its default.
#
# A key behind \"#\" shows its default: the file means the same with and without the \"#\".
# A key without \"#\" has no default and must be there. \"Example\" shows a key that may be absent.
#
# Durations are text with a unit: \"500ms\", \"10s\", \"5m\", \"1h\", \"7d\".
# Sizes are text with a unit, \"64KiB\", \"16MiB\", or a number of bytes.
# Relative paths start at the directory of this file.
# \"Reload\" says whether a changed value takes effect when the running gateway loads the file
# anew; the others need a restart. \"Levels\" says where else a key may stand.
";

/// The whole file.
pub fn file() -> String {
    let mut text = PREFACE.to_owned();
    for table in TABLES.iter().filter(|table| !table.name.is_empty()) {
        text.push('\n');
        match table.like {
            Some(other) => {
                text.push_str(&comment(&format!("The same keys as in {}.", said(other))))
            }
            None => text.push_str(&comment(table.doc)),
        }
        let sign = if is_shown_only(table) { "# Example: " } else { "" };
        text.push_str(&format!("{sign}{}\n", table.header()));
        if table.like.is_some() {
            continue;
        }
        for option in table.options() {
            text.push('\n');
            text.push_str(&block(table, option));
        }
    }
    text
}

/// One option: what it means, and a line that sets it.
pub fn block(table: &TableDoc, option: &OptionDoc) -> String {
    let sample = option.presence.sample();
    let sign = match option.presence {
        _ if is_shown_only(table) => "# Example: ",
        Presence::Default(_) => "#",
        Presence::Optional { .. } => "# Example: ",
        _ => "",
    };
    let [facts, allowed] = facts(option);
    let prose = [option.doc, &facts, &allowed].map(comment).concat();
    format!("{prose}{sign}{} = {sample}\n", option.key)
}

/// Default and reload; then the allowed values with their unit.
pub(super) fn facts(option: &OptionDoc) -> [String; 2] {
    let default = match option.presence {
        _ if !option.stands_for().is_empty() => {
            format!("Stands for {}.", option.stands_for().join(" and "))
        }
        Presence::Default(text) => format!("Default: {text}."),
        Presence::Optional { .. } => "Default: none.".to_owned(),
        Presence::Required { .. } => "Required.".to_owned(),
        Presence::RequiredUnless { other, .. } => format!("Required, unless {other} is there."),
    };
    let unit = match option.kind.unit() {
        "" => String::new(),
        unit => format!(" Unit: {unit}."),
    };
    let reload = if option.reload { "yes" } else { "no" };
    let levels = match option.is_policy() {
        true if option.is_of_lanes() => " Levels: listener, rule.",
        true => " Levels: defaults, host, application, listener, rule.",
        false => "",
    };
    [
        format!("{default} Reload: {reload}.{levels}"),
        format!("Allowed: {}.{unit}", option.kind.allowed()),
    ]
}

/// A table in words, so that its header is where it stands itself only.
fn said(table: &str) -> &'static str {
    match table {
        "listener.tls" => "the tls table of a listener",
        "listener.upstream_tls" => "the upstream_tls table of a listener",
        _ => "the certificates of a listener",
    }
}

/// A table that the file's own listener cannot have, or need not, is shown and not used; so is what
/// stands below it.
pub fn is_shown_only(table: &TableDoc) -> bool {
    TABLES.iter().any(|over| {
        let is_over = table.name == over.name || table.name.starts_with(&format!("{}.", over.name));
        let is_optional = over.repeat.is_some_and(|repeat| !repeat.required);
        is_over && (is_optional || over.name == "listener.upstream_tls")
    })
}

/// Prose as comment lines of at most [`WIDTH`] bytes; a longer word gets a line of its own.
fn comment(prose: &str) -> String {
    let mut text = String::new();
    let mut line = String::from("#");
    for word in prose.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH && line.len() > 1 {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
    text
}
