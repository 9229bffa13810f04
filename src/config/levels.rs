//! Options that may stand at several levels: defaults < host < application < listener < rule.
//!
//! For each listener the sections of its levels become one. An option comes from the lowest level
//! that sets it. The bundle (certificates, CAs, versions, ciphers) is one thing: it comes whole
//! from the lowest level that sets any of it, and a level that sets a part only, where another has
//! the rest, is an error: nobody could say what holds.

use std::collections::BTreeMap;

use super::lanes;
use super::options;
use super::read::{Field, Finding, Place, Reader, Section, Shadowed, join};
use super::suggest;
use super::vendor;

/// The two sides, by the key of their tables.
const SIDES: [&str; 2] = ["tls", "upstream_tls"];
const BUNDLE: [&str; 9] = [
    "certificate",
    "certificate_key",
    "ocsp_file",
    "certificates",
    "trusted_ca",
    "min_version",
    "max_version",
    "ciphers",
    vendor::PROTOCOL,
];

/// Puts the levels of every listener together, in its own sections.
pub(super) fn resolve(root: &mut Section, reader: &mut Reader<'_>) {
    lanes::above(root, reader);
    let hosts = by_name(root.children("host"), "host", reader);
    let applications = by_name(root.children("application"), "application", reader);
    let mut listeners = root.children.remove("listener").unwrap_or_default();
    for listener in &mut listeners {
        vendor::transport(listener, reader);
        let levels = levels(root, listener, (&hosts, &applications), reader);
        for side in sides(listener) {
            let doc = options::table(&format!("listener.{side}")).expect("both sides have a table");
            // Of a table in the wrong form nothing more is told.
            let Some(own) = listener.child(side) else { continue };
            let sections = levels.iter().filter_map(|level| level.child(side)).chain([own]);
            let sections = sections.collect::<Vec<_>>();
            let Some(mut whole) = together(&sections, listener, side, reader) else {
                // Nobody knows what holds, so nothing more is told of it.
                listener.children.remove(side);
                continue;
            };
            let mut rules = listener.children.remove("rule").unwrap_or_default();
            for rule in &mut rules {
                // A rule that says nothing about this side has no section of its own.
                let Some(own) = rule.child(side).filter(|own| own.is_written) else { continue };
                if let Some(mut lowest) = together(&[&whole, own], rule, side, reader) {
                    vendor::versions(&mut lowest, doc, reader);
                    lanes::complete(&mut lowest);
                    reader.absent_options(doc, &mut lowest);
                    rule.children.insert(doc.key(), vec![lowest]);
                } else {
                    rule.children.remove(side);
                }
            }
            if !rules.is_empty() {
                listener.children.insert("rule", rules);
            }
            vendor::versions(&mut whole, doc, reader);
            lanes::complete(&mut whole);
            reader.absent_options(doc, &mut whole);
            listener.children.insert(doc.key(), vec![whole]);
        }
    }
    root.children.insert("listener", listeners);
}

/// The sides that speak TLS in the listener's mode. Of a wrong mode nothing is known.
pub(super) fn sides(listener: &Section) -> Vec<&'static str> {
    let speaks_upstream = || listener.child("upstream_tls").is_some_and(|side| side.is_written);
    match listener.get::<&str>("mode") {
        Some("terminate" | "pair_exit") => vec![SIDES[0]],
        Some("originate" | "pair_entry") => vec![SIDES[1]],
        Some("bridge") => SIDES.to_vec(),
        Some("autodetect") if speaks_upstream() => SIDES.to_vec(),
        Some("autodetect") => vec![SIDES[0]],
        _ => Vec::new(),
    }
}

type ByName = BTreeMap<String, usize>;

/// The sections above a listener, the highest first.
fn levels<'a>(
    root: &'a Section,
    listener: &Section,
    (hosts, applications): (&ByName, &ByName),
    reader: &mut Reader<'_>,
) -> Vec<&'a Section> {
    let application =
        named(listener, ("application", listener.get("application")), applications, reader)
            .map(|index| &root.children("application")[index]);
    let over = application.unwrap_or(listener);
    if application.is_some() && listener.sets("host") {
        let place = listener.place_of("host").unwrap_or(listener.place);
        let finding = Finding {
            message: "stands beside application, which has its own",
            found: "application and host",
            allowed: "one of them",
            hint: "Say in [[application]] which host it runs on.",
        };
        reader.report(place, &join(&listener.path, "host"), finding);
    }
    let host = named(over, ("host", over.get("host")), hosts, reader)
        .map(|index| &root.children("host")[index]);
    [root.child("defaults"), host, application].into_iter().flatten().collect()
}

/// Where the section that `key` names is.
fn named(
    section: &Section,
    (key, name): (&str, Option<String>),
    names: &ByName,
    reader: &mut Reader<'_>,
) -> Option<usize> {
    let (name, place) = (name?, section.place_of(key)?);
    let found = names.get(&name).copied();
    if found.is_none() {
        let hint = match suggest::closest(&name, names.keys().map(String::as_str)) {
            Some(likely) => format!("Did you mean \"{likely}\"?"),
            None => format!("Add [[{key}]] with name = \"{name}\"."),
        };
        let finding = Finding {
            message: &format!("is the name of no {key}"),
            found: &format!("\"{name}\""),
            allowed: &format!("the name of a [[{key}]]"),
            hint: &hint,
        };
        reader.report(place, &join(&section.path, key), finding);
    }
    found
}

fn by_name(sections: &[Section], what: &str, reader: &mut Reader<'_>) -> ByName {
    let mut names = ByName::new();
    for (index, section) in sections.iter().enumerate() {
        let (Some(name), Some(place)) = (section.get::<String>("name"), section.place_of("name"))
        else {
            continue;
        };
        if let Some(first) = names.get(&name) {
            let line = sections[*first].place_of("name").unwrap_or(place).line;
            let finding = Finding {
                message: &format!("is the name of another {what}"),
                found: &format!("\"{name}\", also on line {line}"),
                allowed: "each name once",
                hint: "Rename one of the two.",
            };
            reader.report(place, &join(&section.path, "name"), finding);
        } else {
            names.insert(name, index);
        }
    }
    names
}

/// One section out of those of all levels, the highest first; `None` where they split a bundle.
fn together(
    levels: &[&Section],
    listener: &Section,
    side: &str,
    reader: &mut Reader<'_>,
) -> Option<Section> {
    let own = levels.last();
    let place = own.map_or(listener.place, |own| own.place);
    let is_written = levels.iter().any(|level| level.is_written);
    let mut whole = Section::new(join(&listener.path, side), place, is_written);
    for level in levels {
        for (key, field) in &level.fields {
            if !BUNDLE.contains(key) {
                set(&mut whole, level, key, field.clone());
            }
        }
    }
    let bundles: Vec<&&Section> =
        levels.iter().filter(|level| BUNDLE.iter().any(|key| level.sets(key))).collect();
    let Some((lowest, above)) = bundles.split_last() else { return Some(whole) };
    let splits = above.iter().filter(|level| split(lowest, level, side, reader)).count();
    if splits > 0 {
        return None;
    }
    for level in bundles {
        whole.children.remove("certificates");
        for key in BUNDLE {
            match level.fields.get_key_value(key) {
                Some((key, field)) => set(&mut whole, level, key, field.clone()),
                // Part of a bundle that a lower level replaces.
                None => lose(&mut whole, key),
            }
        }
        if let Some(several) = level.children.get("certificates") {
            whole.children.insert("certificates", several.clone());
        }
    }
    Some(whole)
}

/// Lets the level's field hold, over what was there.
fn set(whole: &mut Section, level: &Section, key: &'static str, field: Field) {
    lose(whole, key);
    let own = (level.path != whole.path).then(|| level.path.clone());
    let mut shadowed = whole.lost.remove(key).unwrap_or_default();
    shadowed.extend(field.shadowed);
    let origin = field.origin.or(own);
    whole.fields.insert(key, Field { origin, shadowed, ..field });
}

/// Takes a field out, and remembers what it said.
fn lose(whole: &mut Section, key: &'static str) {
    let path = whole.path_of(key);
    let Some(Field { place: Some(place), text, shadowed, .. }) = whole.fields.remove(key) else {
        return;
    };
    let lost = whole.lost.entry(key).or_default();
    lost.extend(shadowed);
    lost.push(Shadowed { path, place, text });
}

/// Whether one of two levels has a part of the bundle and does not stand on its own, which is
/// reported.
fn split(lowest: &Section, above: &Section, side: &str, reader: &mut Reader<'_>) -> bool {
    let (partial, other) = if !stands_alone(lowest, side) {
        (lowest, above)
    } else if !stands_alone(above, side) {
        (above, lowest)
    } else {
        return false;
    };
    let (key, place) = first_of_bundle(partial);
    let (other_key, other_place) = first_of_bundle(other);
    let other = format!("{} on line {}", other.path_of(other_key), other_place.line);
    let needed = if side == SIDES[0] { "certificate and certificate_key" } else { "trusted_ca" };
    let finding = Finding {
        message: "splits a bundle over two levels",
        found: &format!("{} here, {other}", partial.written(key)),
        allowed: "certificates, trusted_ca, versions and ciphers on one level",
        hint: &format!(
            "Move {} to the other level, or write all of it here, {needed} included.",
            partial.written(key)
        ),
    };
    reader.report(place, &partial.path_of(key), finding);
    true
}

/// Whether a level has what a bundle needs.
fn stands_alone(level: &Section, side: &str) -> bool {
    let has_certificate =
        (level.sets("certificate") && level.sets("certificate_key")) || level.sets("certificates");
    let has_trust =
        level.sets("trusted_ca") || matches!(level.get::<&str>("verify"), Some("pin" | "none"));
    if side == SIDES[0] { has_certificate } else { has_trust }
}

/// What a level sets first of the bundle, by the order of the file.
fn first_of_bundle(level: &Section) -> (&'static str, Place) {
    let place = |key: &'static str| {
        let table = level.children(key).first().map(|child| child.place);
        level.place_of(key).or(table).map(|place| (key, place))
    };
    let places = BUNDLE.into_iter().filter_map(place);
    places.min_by_key(|(_, place)| (place.line, place.column)).unwrap_or((BUNDLE[0], level.place))
}
