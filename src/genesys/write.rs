//! Our configuration as text: tables with lines, each with a comment that says where it came from.

use std::fmt::Write as _;

pub(crate) use super::options::Value;

/// A table of the file.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// `[host.tls]`
    pub(crate) header: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// `key = value  # comment`, or a comment alone.
#[derive(Debug)]
pub(crate) struct Line {
    setting: Option<(&'static str, String)>,
    comment: String,
}

impl Line {
    pub(crate) fn new(key: &'static str, value: &Value, comment: &str) -> Self {
        Self { setting: Some((key, toml(value))), comment: comment.to_owned() }
    }

    pub(crate) fn text(key: &'static str, value: &str, comment: &str) -> Self {
        Self::new(key, &Value::Text(value.to_owned()), comment)
    }

    /// A value that stands as it is, such as a date.
    pub(crate) fn bare(key: &'static str, value: &str, comment: &str) -> Self {
        Self { setting: Some((key, value.to_owned())), comment: comment.to_owned() }
    }

    pub(crate) fn comment(comment: impl Into<String>) -> Self {
        Self { setting: None, comment: comment.into() }
    }

    pub(crate) fn is_setting(&self) -> bool {
        self.setting.is_some()
    }
}

/// The file.
pub(crate) fn file(comments: &[String], tables: &[Table]) -> String {
    let mut text = String::new();
    for comment in comments {
        line(&mut text, &format!("# {}", printable(comment)));
    }
    for table in tables {
        line(&mut text, "");
        line(&mut text, table.header);
        for one in &table.lines {
            let comment = match &one.comment {
                empty if empty.is_empty() => String::new(),
                comment => format!("# {}", printable(comment)),
            };
            line(
                &mut text,
                &match &one.setting {
                    Some((key, value)) => {
                        format!("{key} = {value}  {comment}").trim_end().to_owned()
                    }
                    None => comment,
                },
            );
        }
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes everything");
}

/// A value as TOML.
pub(crate) fn toml(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::List(list) => {
            let list = list.iter().map(|text| quoted(text));
            format!("[{}]", list.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let number = u32::from(control);
                write!(quoted, "\\u{number:04x}").expect("a string takes everything");
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// Comments of TOML hold no control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back(text in "\\PC{0,8}[\\x00-\\x7f]{0,8}") {
            let line = Line::text("key", &text, &text);
            let table = Table { header: "[table]", lines: vec![line, Line::comment(&text)] };
            let written = file(std::slice::from_ref(&text), &[table]);
            let read: toml::Table = written.parse().expect("TOML");
            prop_assert_eq!(read["table"]["key"].as_str(), Some(text.as_str()));
        }
    }
}
