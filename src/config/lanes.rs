//! Lanes and levels: what no level above a listener may say, and what a lane makes of defaults.
//!
//! Weakness is not inherited: a lane other than the modern one holds for the listener or rule that
//! asks for it, and never for what somebody adds below the same host later.

use std::path::PathBuf;

use super::build::line_of;
use super::model::{CertificateFiles, Compat12, Legacy, TlsVersion, WEAK_SUITES};
use super::options::{self, TableDoc};
use super::read::{Field, Finding, Reader, Section};
use super::value::Value;
use crate::genesys::options::Refusal;

/// What is wrong with a key about lanes in a table above listeners, which has none.
pub(super) fn stray(doc: &TableDoc, key: &str) -> Option<Refusal> {
    let is_one = options::options()
        .any(|option| option.key == key && Some(option.table) == doc.like && option.is_of_lanes());
    (is_one && doc.is_above_listeners()).then(|| {
        let side = doc.key();
        Refusal {
            message: "is not inherited: it is for the listener or rule that needs it".to_owned(),
            hint: format!(
                "Move it to [listener.{side}] or [listener.rule.{side}]. Said here, it would weaken \
                 every listener below, and those that are added later."
            ),
        }
    })
}

/// Reports versions below TLS 1.2 above listeners, which then take no part.
pub(super) fn above(root: &mut Section, reader: &mut Reader<'_>) {
    for level in ["defaults", "host", "application"] {
        let sections = root.children.get_mut(level).into_iter().flatten();
        let sides = sections.flat_map(|section| section.children.iter_mut());
        for (side, table) in sides.filter(|(side, _)| side.ends_with("tls")) {
            for section in table {
                old_versions(section, side, reader);
            }
        }
    }
}

fn old_versions(section: &mut Section, side: &str, reader: &mut Reader<'_>) {
    for key in ["min_version", "max_version"] {
        let Some(version) = section.get::<TlsVersion>(key).filter(|one| *one < TlsVersion::V1_2)
        else {
            continue;
        };
        let finding = Finding {
            message: "is not inherited: a version below TLS 1.2 is for the listener or rule that \
                      needs it",
            found: &format!("\"{version}\""),
            allowed: "\"1.2\" or \"1.3\" at this level",
            hint: &format!(
                "Move it to [listener.{side}] or [listener.rule.{side}], beside lane = \"legacy\"."
            ),
        };
        let place = section.place_of(key).unwrap_or(section.place);
        reader.report(place, &section.path_of(key), finding);
        if let Some(field) = section.fields.get_mut(key) {
            field.value = None;
        }
    }
}

/// Fills in the default that depends on the lane: the legacy one is there for TLS 1.0.
pub(super) fn complete(section: &mut Section) {
    let key = "min_version";
    if section.get::<&str>("lane") != Some("legacy") || section.fields.contains_key(key) {
        return;
    }
    let field = Field {
        value: Some(Value::Version(TlsVersion::V1_0)),
        place: None,
        text: format!("\"{}\"", TlsVersion::V1_0),
        origin: None,
        spelling: None,
        shadowed: section.lost.remove(key).unwrap_or_default(),
    };
    section.fields.insert(key, field);
}

/// Whether no peer could be spoken to in the modern lane, which then needs no certificate.
pub(super) fn is_without_modern(section: &Section) -> bool {
    section.get::<&str>("lane") == Some("legacy")
        && section.get::<TlsVersion>("max_version").is_some_and(|most| most < TlsVersion::V1_2)
}

/// The compat12 lane of a side, if it is open. What it needs was asked for before.
pub(super) fn compat12(section: &Section) -> Option<Compat12> {
    let has_room = section.get::<TlsVersion>("min_version")? <= TlsVersion::V1_2
        && section.get::<TlsVersion>("max_version")? >= TlsVersion::V1_2;
    let is_open = has_room && matches!(section.get::<&str>("lane")?, "compat12" | "legacy");
    let suites = section.get("compat12_ciphers").filter(|_| is_open)?;
    let certificate = section.get("compat12_certificate");
    let files = certificate.zip(section.get("compat12_certificate_key"));
    let names = ["compat12_certificate", "compat12_certificate_key"];
    Some(Compat12 { suites, certificate: files.map(|files| of_its_own(section, names, files)) })
}

/// The legacy lane of a side, if it is open. What it needs was asked for before.
pub(super) fn legacy(section: &Section) -> Option<Legacy> {
    section.get::<&str>("lane").filter(|lane| *lane == "legacy")?;
    let certificate = section.get("legacy_certificate");
    let files = certificate.zip(section.get("legacy_certificate_key"));
    let names = ["legacy_certificate", "legacy_certificate_key"];
    Some(Legacy {
        until: section.get("legacy_until")?,
        allow_from: section.get("allow_from")?,
        suites: section
            .get("legacy_ciphers")
            .unwrap_or_else(|| WEAK_SUITES.iter().filter(|suite| !suite.only_tls12).collect()),
        certificate: files.map(|files| of_its_own(section, names, files)),
    })
}

/// A certificate and key that are a lane's own, which stand under these names.
fn of_its_own(
    section: &Section,
    [certificate, key]: [&str; 2],
    files: (PathBuf, PathBuf),
) -> CertificateFiles {
    CertificateFiles {
        certificate: files.0,
        certificate_key: files.1,
        certificate_line: line_of(section, certificate),
        certificate_key_line: line_of(section, key),
        ocsp_file: None,
        ocsp_file_line: 0,
    }
}
