//! The vendor's spellings in our file: their options beside ours, and their transport strings.
//!
//! What an option means is said by [`options::map`], as for the importer. Here it becomes the fields
//! of its section, so that levels, contradictions and the model know one spelling; a field remembers
//! the other for messages. What becomes no key of ours stays in its section under its own name, and
//! so does `sec-protocol` until the levels are put together: only then is known what it means.

use toml::de::DeValue;

use super::options::{Kind, OptionDoc, TableDoc};
use super::read::{Field, Finding, Place, Reader, Section, Shadowed, join};
use super::value::{self, FromValue, Value};
use crate::genesys::options::{self, Mapped, Refusal, Semantics, Setting, Side};
use crate::genesys::{transport, write};

/// Versions, in the vendor's word and in ours.
pub(super) const PROTOCOL: &str = "sec-protocol";
const SEMANTICS: &str = "sec_protocol_semantics";

/// An option of the vendor's where it stands.
#[derive(Clone, Debug)]
struct Given {
    name: &'static str,
    value: String,
    place: Place,
    /// What it stands in, where that is not its section: a transport string.
    origin: Option<String>,
}

impl OptionDoc {
    /// Whether it is the vendor's spelling of options of ours.
    pub fn is_vendors(&self) -> bool {
        matches!(self.kind, Kind::Vendor(_))
    }

    /// The options of ours that one of the vendor's stands for.
    pub fn stands_for(&self) -> &'static [&'static str] {
        if self.is_vendors() { options::keys(self.key, side(self.table)) } else { &[] }
    }
}

/// Takes one of the vendor's options into its section, which has all that is written of ours.
pub(super) fn take(
    section: &mut Section,
    doc: &TableDoc,
    option: &'static OptionDoc,
    field: Field,
    reader: &mut Reader<'_>,
) {
    let place = field.place.unwrap_or(section.place);
    let value = field.value.as_ref().and_then(String::from_value);
    let mut given = Given { name: option.key, value: String::new(), place, origin: None };
    match value {
        Some(value) => {
            given.value = value;
            translate(section, doc, &given, reader);
        }
        // It was reported.
        None => leave(section, doc, &given),
    }
}

/// What is wrong with an option of the vendor's in a table that does not have it.
pub(super) fn stray(doc: &TableDoc, name: &str) -> Option<Refusal> {
    if !doc.is_level() || !options::NAMES.contains(&name) {
        return None;
    }
    let refused = |message: &str, hint: &str| {
        Some(Refusal { message: message.to_owned(), hint: hint.to_owned() })
    };
    match name {
        "client-auth" => refused(
            "is not about client certificates",
            "It says whether a TLS client authenticates the server, and belongs in upstream_tls. \
             Whether peers show a certificate is tls-mutual.",
        ),
        "tls-target-name" | "tls-target-name-check" => refused(
            "is about the server that a client connects to",
            "It belongs in upstream_tls: there the gateway is the client.",
        ),
        "address" | "port" | "backup-port" => {
            refused("stands in transport strings alone", "Remove it, or write it in transport.")
        }
        _ => options::map(name, "", side(doc.name), None).err(),
    }
}

/// Takes the transport string of a listener into the section of the side that it is about.
pub(super) fn transport(listener: &mut Section, reader: &mut Reader<'_>) {
    let (Some(text), Some(mode), Some(place)) = (
        listener.get::<String>("transport"),
        listener.get::<&str>("mode"),
        listener.place_of("transport"),
    ) else {
        return;
    };
    let path = join(&listener.path, "transport");
    let side = match mode {
        "passthrough" => {
            let finding = Finding {
                message: "is there and neither side speaks TLS with the gateway",
                found: "mode = \"passthrough\"",
                allowed: "only where TLS ends or begins here",
                hint: "Choose another mode, or remove transport.",
            };
            return reader.report(place, &path, finding);
        }
        "originate" | "pair_entry" => "upstream_tls",
        _ => "tls",
    };
    let inside = |column: usize| Place { column: place.column + column, ..place };
    let parsed = transport::parse(&text);
    for found in &parsed.findings {
        let key = if found.key.is_empty() { path.clone() } else { join(&path, &found.key) };
        let hint = if found.hint.is_empty() { "Take it out." } else { &found.hint };
        let finding = Finding { message: &found.message, hint, ..Finding::EMPTY };
        reader.report(inside(found.place.column), &key, finding);
    }
    let is_told = parsed.findings.iter().any(|finding| finding.key == "tls");
    if side == "tls" && mode != "autodetect" && parsed.get("tls").is_none() && !is_told {
        let finding = Finding {
            message: "means no TLS to the vendor's reader",
            found: "no tls=1",
            allowed: "a string with tls=1",
            hint: "Write tls=1; in front of it.",
        };
        reader.report(place, &path, finding);
    }
    let name = format!("listener.{side}");
    let doc = super::options::table(&name).expect("both sides have a table");
    // Of a table in the wrong form nothing more is told.
    let Some(section) = listener.children.get_mut(side).and_then(|tables| tables.first_mut())
    else {
        return;
    };
    section.is_written = true;
    for parameter in parsed.parameters {
        let known = options::NAMES.iter().find(|name| **name == parameter.name);
        let name = *known.expect("the reader finds no others");
        let origin = Some(path.clone());
        let given = Given { name, value: parameter.value, place: inside(parameter.column), origin };
        translate(section, doc, &given, reader);
    }
}

/// Turns `sec-protocol` of a section that all levels are in into versions.
pub(super) fn versions(section: &mut Section, doc: &TableDoc, reader: &mut Reader<'_>) {
    let semantics = match section.get::<&str>("sec_protocol_semantics") {
        Some("floor") => Some(Semantics::Floor),
        Some("exact") => Some(Semantics::Exact),
        _ => None,
    };
    for key in options::keys(PROTOCOL, side(doc.name)) {
        let shadowed = section.lost.get(PROTOCOL).cloned().unwrap_or_default();
        section.lost.entry(key).or_default().extend(shadowed);
    }
    section.lost.remove(PROTOCOL);
    let Some(place) = section.place_of(PROTOCOL) else {
        let is_told = section.fields.get("min_version").is_some_and(|one| one.value.is_none());
        let place = section.place_of(SEMANTICS).filter(|_| section.is_own(SEMANTICS) && !is_told);
        if let Some(place) = place {
            let finding = Finding {
                message: "is set and there is no sec-protocol",
                found: "",
                allowed: "only where sec-protocol holds",
                hint: "Remove it. min_version and max_version have one meaning.",
            };
            reader.report(place, &section.path_of(SEMANTICS), finding);
        }
        return;
    };
    let path = section.path_of(PROTOCOL);
    let Some(Field { value, origin, .. }) = section.fields.remove(PROTOCOL) else { return };
    let given = Given { name: PROTOCOL, value: String::new(), place, origin };
    match value.as_ref().and_then(String::from_value) {
        Some(value) => {
            let given = Given { value, ..given };
            let legacy = section.get::<&str>("lane") == Some("legacy");
            let mapped = options::sec_protocol(&given.value, semantics, legacy);
            settle(section, doc, &given, mapped, &path, reader);
        }
        None => leave(section, doc, &given),
    }
}

/// Which side a table is about.
fn side(table: &str) -> Side {
    if table.ends_with("upstream_tls") { Side::Upstream } else { Side::Downstream }
}

fn translate(section: &mut Section, doc: &TableDoc, given: &Given, reader: &mut Reader<'_>) {
    let Given { name, value, place, origin } = given;
    let path = join(origin.as_ref().unwrap_or(&section.path), name);
    let side = side(doc.name);
    if let Some(other) = said_already(section, options::keys(name, side), name) {
        let finding = Finding {
            message: "is said twice at one level",
            found: &format!("{name} here, {other}"),
            allowed: "one spelling of an option at each level",
            hint: "Keep one of the two.",
        };
        reader.report(*place, &path, finding);
        // Nobody knows which holds, so nothing more is told of it.
        return leave(section, doc, given);
    }
    let is_here = doc.options().any(|option| option.key == *name)
        || matches!(*name, "address" | "port" | "backup-port");
    if !is_here && let Some(refusal) = stray(doc, name) {
        return refuse(reader, *place, &path, &refusal);
    }
    let mapped = if *name == PROTOCOL {
        // What is wrong under either meaning is wrong.
        let floor = options::map(name, value, side, Some(Semantics::Floor));
        let either = floor.or_else(|_| options::map(name, value, side, Some(Semantics::Exact)));
        either.map(|_| Mapped::default())
    } else {
        options::map(name, value, side, None).and_then(|mapped| one_file(name, value, mapped))
    };
    settle(section, doc, given, mapped, &path, reader);
}

/// What a level says already of an option, in either spelling.
fn said_already(section: &Section, keys: &[&'static str], name: &'static str) -> Option<String> {
    keys.iter().copied().chain([name]).find_map(|key| {
        let place = section.place_of(key)?;
        Some(format!("{} on line {}", section.written(key), place.line))
    })
}

/// A chain in several files would be a file of another name.
fn one_file(name: &str, value: &str, mapped: Mapped) -> Result<Mapped, Refusal> {
    match (name, &mapped.notes[..]) {
        ("certificate", [note, ..]) => {
            let (_, how) = note.split_once(": ").unwrap_or(("", note));
            Err(Refusal {
                message: format!("{value:?} names several files"),
                hint: format!("Name one that has them all: {how}."),
            })
        }
        _ => Ok(mapped),
    }
}

/// Puts what an option means into its section.
fn settle(
    section: &mut Section,
    doc: &TableDoc,
    given: &Given,
    mapped: Result<Mapped, Refusal>,
    path: &str,
    reader: &mut Reader<'_>,
) {
    let mapped = match mapped {
        Ok(mapped) => mapped,
        Err(refusal) => {
            leave(section, doc, given);
            return refuse(reader, given.place, path, &refusal);
        }
    };
    for note in mapped.notes {
        reader.note(given.place, path, &note);
    }
    if mapped.settings.is_empty() {
        let value = Some(Value::Text(given.value.clone()));
        let field = field(given, value, format!("{:?}", given.value));
        section.fields.insert(given.name, Field { spelling: None, ..field });
    }
    for setting in mapped.settings {
        let value = checked(doc, &setting, given, path, reader);
        put(section, setting.key, field(given, value, write::toml(&setting.value)));
    }
}

/// The value as one of the option that it is for.
fn checked(
    doc: &TableDoc,
    setting: &Setting,
    given: &Given,
    path: &str,
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let option = doc.options().find(|option| option.key == setting.key);
    let option = option.expect("options become keys of their side's table: tested");
    let text = write::toml(&setting.value);
    let parsed = DeValue::parse(&text).expect("what is written is TOML");
    match value::check(&option.kind, &parsed, reader.base()) {
        Ok(value) => Some(value),
        Err(problems) => {
            for value::Problem { message, found, allowed, hint, .. } in &problems {
                let finding = Finding { message, found, allowed, hint };
                reader.report(given.place, path, finding);
            }
            None
        }
    }
}

/// Marks what was reported as wrong.
fn leave(section: &mut Section, doc: &TableDoc, given: &Given) {
    for key in options::keys(given.name, side(doc.name)) {
        put(section, key, field(given, None, String::new()));
    }
}

fn field(given: &Given, value: Option<Value>, text: String) -> Field {
    let Given { name, place, origin, .. } = given;
    Field {
        value,
        place: Some(*place),
        text,
        origin: origin.clone(),
        spelling: Some(name),
        shadowed: Vec::new(),
    }
}

/// Sets a field over what higher levels said.
fn put(section: &mut Section, key: &'static str, field: Field) {
    let shadowed: Vec<Shadowed> = section.lost.remove(key).unwrap_or_default();
    section.fields.insert(key, Field { shadowed, ..field });
}

fn refuse(reader: &mut Reader<'_>, place: Place, path: &str, refusal: &Refusal) {
    let Refusal { message, hint } = refusal;
    reader.report(place, path, Finding { message, hint, ..Finding::EMPTY });
}
