//! The JSON Schema for editors, `config/tlsgate.schema.json`, written from the table of options.
//!
//! Draft 7, which every editor knows (json-schema.org/draft-07). It refuses no file that the gateway
//! accepts. What it does not say is left to `tlsgate check`: ranges of durations and sizes, which
//! are text, what two listeners may not share, and what is in the files that are named.

use serde_json::{Map, Value, json};

use super::options::{self, Condition, Kind, OptionDoc, Presence, TableDoc};
use super::reference;

/// IPv4 address, or IPv6 address in brackets with its zone.
const IP: &str = r"([0-9.]+|\[[0-9A-Fa-f:.]+(%[0-9]+)?\])";
/// As a file may write them, oldest first.
const VERSIONS: [&str; 8] =
    ["1.0", "TLSv1.0", "1.1", "TLSv1.1", "1.2", "TLSv1.2", "1.3", "TLSv1.3"];
const PATH: &str = r"[^\x00]+";

/// A contradiction (`contradictions.rs`) that a schema can express.
struct Contradiction {
    table: &'static str,
    /// A key, and the values of it that have a consequence.
    key: &'static str,
    values: fn() -> Value,
    /// Where this key is there, too, ...
    other: &'static str,
    /// ... it has one of these values.
    leaves: fn() -> Value,
}

const CONTRADICTIONS: [Contradiction; 3] = [
    Contradiction {
        table: "listener.tls",
        key: "max_version",
        values: || json!(["1.2", "TLSv1.2"]),
        other: "min_version",
        leaves: || json!(VERSIONS[..6]),
    },
    Contradiction {
        table: "listener.upstream_tls",
        key: "max_version",
        values: || json!(["1.2", "TLSv1.2"]),
        other: "min_version",
        leaves: || json!(VERSIONS[..6]),
    },
    Contradiction {
        table: "listener.tls",
        key: "resumption",
        values: || json!(["off"]),
        other: "tls13_tickets",
        leaves: || json!([0]),
    },
];

/// The whole file.
pub fn file() -> String {
    let root = options::table("").expect("the table of tables begins with the file itself");
    let mut schema = object(root);
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!("Configuration of tlsgate"));
    let mut text = format!("{:#}", Value::Object(schema));
    text.push('\n');
    text
}

/// One table with everything below it.
fn object(table: &TableDoc) -> Map<String, Value> {
    let options = table.options().map(|option| (option.key.to_owned(), property(option)));
    let tables = table.children().map(|child| (child.key().to_owned(), child_table(child)));
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema.insert("properties".to_owned(), Value::Object(options.chain(tables).collect()));
    let required = required(table);
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    let conditions: Vec<Value> = alternatives(table).chain(contradictions(table)).collect();
    if !conditions.is_empty() {
        schema.insert("allOf".to_owned(), json!(conditions));
    }
    schema
}

fn child_table(table: &TableDoc) -> Value {
    let mut schema = object(table);
    if let Some(repeat) = table.repeat {
        schema = Map::from_iter([
            ("type".to_owned(), json!("array")),
            ("items".to_owned(), Value::Object(schema)),
            ("minItems".to_owned(), json!(1)),
            ("maxItems".to_owned(), json!(repeat.max)),
        ]);
    }
    schema.insert("description".to_owned(), json!(table.doc));
    Value::Object(schema)
}

/// Keys and tables that must be there whatever else is. What a level lacks, another may have.
fn required(table: &TableDoc) -> Vec<&'static str> {
    if table.is_level() {
        return Vec::new();
    }
    let is_required = |option: &&OptionDoc| matches!(option.presence, Presence::Required { .. });
    let options = table.options().filter(is_required).map(|option| option.key);
    options.chain(table.children().filter(|one| must_be_there(one)).map(TableDoc::key)).collect()
}

/// An absent table counts as an empty one: it must be there when something in it must.
fn must_be_there(table: &TableDoc) -> bool {
    match table.repeat {
        Some(repeat) => repeat.required,
        None => !required(table).is_empty(),
    }
}

/// Either the one key or the others, but not both.
fn alternatives(table: &TableDoc) -> impl Iterator<Item = Value> + use<> {
    table.options().filter_map(|option| match option.presence {
        Presence::RequiredUnless { other, .. } => Some(json!({
            "if": { "required": [other] },
            "then": { "properties": { option.key: false } },
        })),
        _ => None,
    })
}

fn contradictions(table: &TableDoc) -> impl Iterator<Item = Value> + use<> {
    let name = table.like.unwrap_or(table.name);
    CONTRADICTIONS.iter().filter(move |one| one.table == name).map(|one| {
        let Contradiction { key, values, other, leaves, .. } = one;
        json!({
            "if": { "required": [key], "properties": { *key: { "enum": values() } } },
            "then": { "properties": { *other: { "enum": leaves() } } },
        })
    })
}

fn property(option: &OptionDoc) -> Value {
    let mut schema = kind(&option.kind);
    let facts = reference::facts(option).join("\n");
    schema["description"] = json!(format!("{}\n\n{facts}", option.doc));
    let sample = serde_json::from_str(option.presence.sample())
        .expect("defaults and examples are JSON as well as TOML: tested");
    match option.presence {
        Presence::Default(_) => schema["default"] = sample,
        _ => schema["examples"] = Value::Array(vec![sample]),
    }
    schema
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Integer { min, max, .. } => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        Kind::Duration { min, step, .. } => duration(min.is_zero(), step.as_millis() >= 1000),
        Kind::Size { min, max } => json!({ "anyOf": [
            pattern("0*[1-9][0-9]*([KMGT]i)?B"),
            { "type": "integer", "minimum": min, "maximum": max },
        ] }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::TlsVersion => json!({ "enum": VERSIONS }),
        Kind::Date => pattern("[2-9][0-9]{3}-[01][0-9]-[0-3][0-9]"),
        Kind::Digest => pattern(":*([0-9A-Fa-f]:*){64}|[A-Za-z0-9+/]{43}="),
        // Bytes are what counts; a character has one or more.
        Kind::Text { max } => {
            let mut text = pattern(r"[^\x00-\x1f\x7f-\x9f]+");
            text["maxLength"] = json!(max);
            text
        }
        Kind::Name => pattern("[A-Za-z0-9_.-]{1,64}"),
        Kind::Path => pattern(PATH),
        Kind::Vendor([]) => json!({ "type": ["string", "integer", "boolean"] }),
        // A number or a switch is the same without quotes.
        Kind::Vendor(words) => {
            let bare = words.iter().filter_map(|word| serde_json::from_str::<Value>(word).ok());
            json!({ "enum": words.iter().map(|word| json!(word)).chain(bare).collect::<Vec<_>>() })
        }
        Kind::Condition(condition) => pattern(match condition {
            Condition::Source => "[0-9A-Fa-f:.]+(/[0-9]+)?",
            Condition::Sni => r"(\*\.)?[A-Za-z0-9_.-]+",
            Condition::Version => r"1\.[0-3]",
            Condition::Client => "(sha256|spki|uri|dns|ip|subject|cn|issuer):.+",
        }),
        Kind::SocketAddress => pattern(&format!("{IP}:[0-9]+")),
        Kind::ListenAddress => {
            let descriptor = "fd:0*([3-9]|[1-9][0-9]+)";
            let activated = "systemd:[ -9;-~]{1,255}";
            pattern(&format!("{IP}:[0-9]+|unix:{PATH}|{descriptor}|{activated}"))
        }
        Kind::Endpoint => {
            pattern(&format!("(({IP}|[A-Za-z0-9_.-]+):0*[1-9][0-9]*|unix:{PATH})( weight=[0-9]+)?"))
        }
        Kind::UpstreamSource => {
            pattern("any|client|client_port|[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
        }
        Kind::AccessLog => json!({ "anyOf": [
            { "enum": ["off", "stdout", "stderr", "journald", "syslog"] },
            pattern(&format!("(file|journald|syslog):{PATH}")),
        ] }),
        Kind::Or(word, other) => or(word, other),
        Kind::List { item, min, max, single } => list(item, *min, *max, *single),
    }
}

fn or(word: &str, other: &Kind) -> Value {
    match other {
        // "off" may also be written as no time at all.
        Kind::Duration { step, .. } if word == "off" => {
            json!({ "anyOf": [{ "enum": [word, 0] }, duration(true, step.as_millis() >= 1000)] })
        }
        _ => json!({ "anyOf": [{ "enum": [word] }, kind(other)] }),
    }
}

fn list(item: &Kind, min: usize, max: usize, single: bool) -> Value {
    let items = kind(item);
    let list = json!({
        "type": "array", "items": items, "minItems": min, "maxItems": max, "uniqueItems": true,
    });
    if single { json!({ "anyOf": [items, list] }) } else { list }
}

fn duration(may_be_zero: bool, is_whole_seconds: bool) -> Value {
    let number = "0*[1-9][0-9]*";
    let some = if is_whole_seconds {
        format!("{number}(s|m|h|d)|{number}000ms")
    } else {
        format!("{number}(ms|s|m|h|d)")
    };
    pattern(&if may_be_zero { format!("{some}|0+(ms|s|m|h|d)") } else { some })
}

/// Text that is all of `expression`.
fn pattern(expression: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^({expression})$") })
}
