//! The configuration file: text → TOML with positions → checked values → [`Config`].
//!
//! Pure: the caller reads the file, and whoever opens the files it names reports with the same
//! [`Diagnostic`]. Every mistake of a file is told at once; only broken TOML hides the rest.

mod address;
mod build;
mod contradictions;
pub mod date;
mod diagnostics;
mod lanes;
mod levels;
pub mod model;
pub mod options;
pub mod origins;
mod public;
mod read;
pub mod reference;
mod restart;
pub mod schema;
mod suggest;
mod suites;
mod table;
pub mod units;
mod value;
mod vendor;

#[cfg(test)]
mod tests;

use toml::de::DeTable;

pub use self::diagnostics::{Diagnostic, Diagnostics, MAX_DIAGNOSTICS};
pub use self::model::Config;
use self::model::{DownstreamTls, Resumption};
pub use self::options::OptionDoc;
use self::origins::Origins;
use self::read::{Finding, Reader, Section};
pub use self::restart::needs_restart;

/// Every option of the file, in the order of the reference.
pub fn reference() -> impl Iterator<Item = &'static OptionDoc> {
    options::options()
}

/// What could be read of a configuration.
#[derive(Debug)]
pub struct Reading {
    /// `None` when there are diagnostics.
    pub config: Option<Config>,
    /// The TLS sections without a mistake, by listener: what they name can be checked even when
    /// something else in the file is wrong.
    pub tls: Vec<(String, DownstreamTls)>,
    /// The resumption section, if it has no mistake; it names a file, too.
    pub resumption: Option<Resumption>,
    pub diagnostics: Diagnostics,
}

/// Reads a configuration without a mistake; see [`read`].
///
/// # Errors
///
/// Every mistake of the file, or every broken piece of TOML that the parser could get past.
pub fn parse(file_name: &str, text: &str) -> Result<Config, Diagnostics> {
    let reading = read(file_name, text);
    reading.config.ok_or(reading.diagnostics)
}

/// Reads as much of a configuration as can be.
///
/// `file_name` stands in diagnostics, and its directory is where relative paths start.
pub fn read(file_name: &str, text: &str) -> Reading {
    let (root, notes, diagnostics) = sections(file_name, text);
    let Some(root) = root else {
        return Reading { config: None, tls: Vec::new(), resumption: None, diagnostics };
    };
    let config = diagnostics.is_empty().then(|| {
        let config = build::config(&root, notes);
        config.expect("a file without a diagnostic has every value: tested")
    });
    let (tls, resumption) = (build::tls_sections(&root), build::resumption_section(&root));
    Reading { config, tls, resumption, diagnostics }
}

/// Where the options of every listener come from.
///
/// # Errors
///
/// As [`parse`].
pub fn origins(file_name: &str, text: &str) -> Result<Vec<Origins>, Diagnostics> {
    match sections(file_name, text) {
        (Some(root), _, diagnostics) if diagnostics.is_empty() => Ok(origins::of(&root)),
        (.., diagnostics) => Err(diagnostics),
    }
}

/// The tables of the file, checked, none where it is not TOML; and what is told besides mistakes.
fn sections(file_name: &str, text: &str) -> (Option<Section>, Vec<String>, Diagnostics) {
    let mut reader = Reader::new(file_name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = reader.place(error.span().map_or(text.len(), |span| span.start));
        let hint = "Put the TOML right first; the values are checked after that.";
        let message = format!("is not TOML: {}", error.message());
        reader.report(place, "", Finding { message: &message, hint, ..Finding::EMPTY });
    }
    if !reader.diagnostics.is_empty() {
        return (None, Vec::new(), reader.diagnostics);
    }
    let file = options::table("").expect("the table of tables begins with the file itself");
    let place = reader.place(0);
    let mut root = reader.section(file, String::new(), place, document.get_ref());
    levels::resolve(&mut root, &mut reader);
    contradictions::check(&root, &mut reader);
    (Some(root), reader.notes, reader.diagnostics)
}
