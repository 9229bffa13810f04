//! The JSON Schema for editors, judged by real files.
//!
//! `config/tlsgate.schema.json` is written from the table of options, and
//! `tests/mistakes/unseen-by-editors.list` from what the schema lets pass: `TLSGATE_UPDATE_GOLDEN=1`
//! writes both anew. That the schema refuses nothing that the gateway accepts is a property, tested
//! in `src/config/tests.rs`.

#[path = "mistakes/corpus.rs"]
#[allow(dead_code, reason = "the schema looks at configurations, not at the files they name")]
mod corpus;

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::Value;
use tlsgate::config::options::{TABLES, TableDoc, options};
use tlsgate::config::schema;

/// The line by which editors find the schema.
const DIRECTIVE: &str = "#:schema ";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares a generated file with the one that is committed.
fn golden(path: &Path, text: &str) {
    if std::env::var_os("TLSGATE_UPDATE_GOLDEN").is_some() {
        fs::write(path, text).expect("the source can be written");
    }
    assert_eq!(read(path), text, "{}: see the header of this test", path.display());
}

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(&schema::file()).expect("JSON");
    jsonschema::draft7::meta::validate(&schema).expect("a schema of draft 7");
    jsonschema::draft7::new(&schema).expect("a schema")
}

/// What an editor underlines; `None` is text that is not TOML.
fn refusals(validator: &Validator, text: &str) -> Option<Vec<String>> {
    let table: toml::Table = text.parse().ok()?;
    let value = serde_json::to_value(table).expect("TOML is JSON with dates");
    let all = validator.iter_errors(&value);
    Some(all.map(|error| format!("{}: {error}", error.instance_path())).collect())
}

#[test]
fn the_schema_is_up_to_date() {
    golden(&path("config/tlsgate.schema.json"), &schema::file());
}

#[test]
fn every_file_that_comes_with_the_gateway_is_valid_and_names_the_schema() {
    let validator = validator();
    let mut files = vec![path("config/tlsgate.toml")];
    for folder in ["config/examples", "tuning/profiles"] {
        let all = fs::read_dir(path(folder)).expect("examples and profiles");
        files.extend(all.map(|entry| entry.expect("an entry").path()));
    }
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let text = read(&file);
        let refused = refusals(&validator, &text).expect("TOML");
        assert!(refused.is_empty(), "{}: {refused:?}", file.display());
        let named = text.lines().find_map(|line| line.strip_prefix(DIRECTIVE));
        let named = named.unwrap_or_else(|| panic!("{}: no {DIRECTIVE}", file.display()));
        let schema = file.parent().expect("a directory").join(named);
        assert!(schema.is_file(), "{} names {}", file.display(), schema.display());
    }
}

#[test]
fn editors_see_every_mistake_that_a_schema_can_express() {
    let validator = validator();
    let mistakes = corpus::all();
    let is_unseen = |config: &str| refusals(&validator, config).is_some_and(|all| all.is_empty());
    let unseen = mistakes.iter().filter(|one| one.is_refused() && is_unseen(&one.config()));
    let titles: String = unseen.map(|mistake| format!("{}\n", mistake.title)).collect();
    golden(&path("tests/mistakes/unseen-by-editors.list"), &titles);
}

#[test]
fn every_option_is_in_the_schema_with_its_meaning() {
    let schema: Value = serde_json::from_str(&schema::file()).expect("JSON");
    for option in options() {
        let table = TABLES.iter().find(|table| table.name == option.table).expect("its table");
        let property = &at(&schema, table)["properties"][option.key];
        let description = property["description"].as_str().unwrap_or_default();
        assert!(description.starts_with(option.doc), "{}: {property}", option.path());
    }
}

/// The part of the schema that is about a table.
fn at<'a>(schema: &'a Value, table: &TableDoc) -> &'a Value {
    let parts = table.name.split('.').filter(|part| !part.is_empty());
    parts.fold(schema, |schema, part| {
        let child = &schema["properties"][part];
        if child["type"] == "array" { &child["items"] } else { child }
    })
}
