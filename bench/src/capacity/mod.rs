//! What a node can do, and how many nodes a demand needs. Pure: from figures to figures.
//!
//! - [`model`]: what a node spends on each operation, with errors; a file.
//! - [`demand`]: who connects, how often, what they send, and what is to hold; a file.
//! - [`profile`]: what kinds of components do, to build demands from.
//! - [`load`]: what the demand costs one worker.
//! - [`queue`]: how long an operation waits for a worker that is busy.
//! - [`storm`]: how long it takes until all who lost their connections have one again.
//! - [`plan`]: the least number of nodes with which everything holds, what saturates first, and
//!   what other choices would cost.
//! - [`curve`]: what becomes of that as the demand grows.
//! - [`draw`]: the same for models as they may be, by the errors of the figures: intervals.
//! - [`mix`]: a demand as it can be carried out to see whether the model is right.
//! - [`observations`]: what a server did and what it took; a file.
//! - [`fit`]: from observations to a model.

pub mod curve;
pub mod demand;
pub mod draw;
pub mod fit;
pub mod load;
pub mod mix;
pub mod model;
mod number;
pub mod observations;
pub mod plan;
pub mod profile;
pub mod queue;
pub mod storm;
pub mod whatif;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The only version of both files.
pub const FORMAT: u32 = 1;

/// What is wrong with a file, or with what it asks for; several lines where there are several
/// mistakes. Each says where, what, and what is allowed or to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Vec<String>);

impl Problem {
    /// One mistake.
    pub fn new(text: impl Into<String>) -> Self {
        Self(vec![text.into()])
    }

    /// All mistakes, or none.
    fn unless_empty(mistakes: Vec<String>) -> Result<(), Self> {
        if mistakes.is_empty() { Ok(()) } else { Err(Self(mistakes)) }
    }

    /// The same with the file's name before each mistake.
    fn in_file(self, path: &Path) -> Self {
        Self(self.0.into_iter().map(|text| format!("{}: {text}", path.display())).collect())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problem {}

/// Which format a file says that it has.
#[derive(Deserialize)]
struct Versioned {
    format: Option<u32>,
}

/// Reads TOML of our format; keys and types only, not whether the values make sense.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let broken = |error: toml::de::Error| Problem::new(error.to_string().trim_end());
    // Another format has other keys, so this is to be known before any of them is looked at.
    match toml::from_str::<Versioned>(text).map_err(broken)?.format {
        Some(FORMAT) => toml::from_str(text).map_err(broken),
        Some(other) => Err(Problem::new(format!("format = {other}: this program knows {FORMAT}"))),
        None => Err(Problem::new(format!("format is missing: say format = {FORMAT}"))),
    }
}

/// Reads a file with `parse` and puts its name before mistakes.
///
/// # Errors
/// When it cannot be read, or as `parse`.
fn read<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T, Problem>) -> Result<T, Problem> {
    let text = std::fs::read_to_string(PathBuf::from(path));
    let text = text.map_err(|error| Problem::new(error.to_string()).in_file(path))?;
    parse(&text).map_err(|problem| problem.in_file(path))
}

#[cfg(test)]
mod test_data;
