//! What is documented is there, and what is there is documented and used.

use std::collections::{BTreeMap, BTreeSet};

use tlsgate::config::options::{OptionDoc, Presence, TABLES};

use super::finding::Finding;
use super::source::{File, Kind, Tree};

const REFERENCE: &str = "config/tlsgate.toml";
const SCHEMA: &str = "config/tlsgate.schema.json";
/// Where options are described.
const TABLE: &str = "src/config/table/";
const BUILD: &str = "src/config/build.rs";
/// Where keys are read that the model does not need.
const READERS: [&str; 5] = [
    BUILD,
    "src/config/lanes.rs",
    "src/config/levels.rs",
    "src/config/vendor.rs",
    "src/config/contradictions/modes.rs",
];
/// Keys that one function reads for several tables.
const READ_TOGETHER: [&str; 14] = [
    "allow_from",
    "certificate",
    "certificate_key",
    "compat12_ciphers",
    "crl_depth",
    "crl_expired",
    "crl_files",
    "crl_unknown",
    "host",
    "lane",
    "legacy_ciphers",
    "legacy_until",
    "ocsp_file",
    "sec_protocol_semantics",
];
const MODEL: &str = "src/config/model.rs";
const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// Every key is in the reference, below the header of its table, and in the schema.
pub(crate) fn keys_documented<'a>(
    tree: &Tree,
    options: impl IntoIterator<Item = &'a OptionDoc>,
) -> Vec<Finding> {
    let reference = &tree.file(REFERENCE).text;
    let schema: serde_json::Value =
        serde_json::from_str(&tree.file(SCHEMA).text).expect("the schema is JSON");
    let mut findings = Vec::new();
    for option in options {
        let table = TABLES.iter().find(|table| table.name == option.table);
        let header = table.map_or_else(|| format!("[{}]", option.table), |table| table.header());
        let below = reference.split(&header).nth(1).unwrap_or_default();
        let setting = format!("{} = ", option.key);
        let is_setting = |line: &str| {
            line.trim_start_matches("# Example: ").trim_start_matches('#').starts_with(&setting)
        };
        let mut property = schema.clone();
        for part in option.table.split('.') {
            let child = property["properties"][part].take();
            property = if child["items"].is_object() { child["items"].clone() } else { child };
        }
        let property = &property["properties"][option.key];
        let description = property["description"].as_str().unwrap_or_default();
        for (file, is_there) in
            [(REFERENCE, below.lines().any(is_setting)), (SCHEMA, !description.is_empty())]
        {
            if !is_there {
                let (path, line) = place_of(tree, option.key);
                findings.push(Finding {
                    path,
                    line,
                    what: format!("{} is not documented in {file}", option.path()),
                    why: "what is not documented is found out by trying",
                    instead: "TLSGATE_UPDATE_GOLDEN=1 cargo test --test config_files --test \
                              config_schema writes both from the table of options"
                        .to_owned(),
                });
            }
        }
    }
    findings
}

/// Every key is read when the model is built, once for each table that has it.
pub(crate) fn keys_read<'a>(
    tree: &Tree,
    options: impl IntoIterator<Item = &'a OptionDoc>,
) -> Vec<Finding> {
    let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
    for option in options {
        // Those become keys of ours: tested where they are read.
        if option.is_vendors() {
            continue;
        }
        // One that another table stands for is read by one function for both.
        let is_alternative = matches!(option.presence, Presence::RequiredUnless { .. });
        let reads = wanted.entry(option.key).or_default();
        if READ_TOGETHER.contains(&option.key) {
            *reads = 1;
        } else {
            *reads += usize::from(!is_alternative);
        }
    }
    let is_read = |file: &File, at: usize, key: &str| {
        let is_key =
            matches!(&file.tokens[at].kind, Kind::Literal(text) if *text == format!("{key:?}"));
        // `.get("key")` or `.get::<T>("key")`.
        is_key
            && at > 2
            && file.is_sign(at - 1, '(')
            && !file.tokens[at].is_test
            && (file.word(at - 2) == Some("get") || file.is_sign(at - 2, '>'))
    };
    let mut findings = Vec::new();
    for (key, tables) in wanted {
        let files = tree.rust().filter(|file| READERS.contains(&file.path.as_str()));
        let in_file =
            |file: &File| (0..file.tokens.len()).filter(|at| is_read(file, *at, key)).count();
        let reads: usize = files.map(in_file).sum();
        if reads < tables {
            let (path, line) = place_of(tree, key);
            findings.push(Finding {
                path,
                line,
                what: format!("{key} is a key of {tables} table(s) and read {reads} time(s)"),
                why: "a key that is checked and not read does nothing, and nobody is told",
                instead: format!("read it in {BUILD} into the model, or remove it"),
            });
        }
    }
    findings
}

/// Where an option is described.
fn place_of(tree: &Tree, key: &str) -> (String, usize) {
    let text = format!("key: \"{key}\"");
    let mut files = tree.rust().filter(|file| file.path.starts_with(TABLE));
    let file = files.find(|file| file.text.contains(&text));
    let path = file.map_or_else(|| TABLE.to_owned(), |file| file.path.clone());
    let line = file.map_or(1, |file| line_of(tree, &file.path, &text));
    (path, line)
}

/// Every field of the model is used outside the configuration.
pub(crate) fn values_used(tree: &Tree) -> Vec<Finding> {
    let model = tree.file(MODEL);
    let fields = (0..model.tokens.len()).filter(|at| {
        model.word(*at) == Some("pub") && model.is_sign(at + 2, ':') && !model.is_sign(at + 3, ':')
    });
    let mut used = BTreeSet::new();
    for file in tree.rust().filter(|file| is_user(&file.path)) {
        let dots = (0..file.tokens.len()).filter(|at| file.is_sign(*at, '.'));
        let fields = dots.filter(|at| !file.tokens[*at].is_test);
        used.extend(fields.filter_map(|at| file.word(at + 1)));
    }
    let unused = fields.filter_map(|at| {
        let field = model.word(at + 1)?;
        (!used.contains(field)).then(|| Finding {
            path: MODEL.to_owned(),
            line: model.tokens[at].line,
            what: format!("nothing outside src/config uses .{field}"),
            why: "a key that is read and not used does nothing, and nobody is told",
            instead: "use it, or remove it with its key".to_owned(),
        })
    });
    unused.collect()
}

fn is_user(path: &str) -> bool {
    path.starts_with("src/") && !path.starts_with("src/config")
}

/// Every folder of the source has its row in ARCHITECTURE.md, and every row its folder.
pub(crate) fn folders(tree: &Tree) -> Vec<Finding> {
    let text = &tree.file(ARCHITECTURE).text;
    let mut findings = Vec::new();
    let mut finding = |path: &str, line, what, instead: &str| {
        let why = "the table of folders is the map that newcomers are given";
        findings.push(Finding {
            path: path.to_owned(),
            line,
            what,
            why,
            instead: instead.to_owned(),
        });
    };
    let inner = tree.rust().filter_map(|file| file.path.strip_prefix("src/")?.split_once('/'));
    let folders: BTreeSet<&str> = inner.map(|(folder, _)| folder).collect();
    for folder in &folders {
        if !text.contains(&format!("\n| `src/{folder}` |")) {
            let what = format!("{ARCHITECTURE} has no row for src/{folder}");
            finding(
                &format!("src/{folder}"),
                1,
                what,
                "add one: what it is, and whether it is pure",
            );
        }
    }
    for (index, line) in text.lines().enumerate() {
        let named = line.strip_prefix("| `src/").and_then(|rest| rest.split_once('`'));
        if let Some((folder, _)) = named.filter(|(folder, _)| !folders.contains(folder)) {
            let what = format!("there is no src/{folder}");
            finding(ARCHITECTURE, index + 1, what, "remove the row");
        }
    }
    findings
}

/// The first line that has this text; 1 where none has it.
fn line_of(tree: &Tree, path: &str, text: &str) -> usize {
    let file = tree.files.get(path);
    let at = file.and_then(|file| file.text.lines().position(|line| line.contains(text)));
    at.map_or(1, |index| index + 1)
}
