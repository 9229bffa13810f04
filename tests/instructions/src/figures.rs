//! What operations cost when somebody last said so.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Where they are, from the root of the source.
pub(crate) const FILE: &str = "tests/instructions/figures.toml";

/// How far a figure may be from the committed one. Handshakes vary by their random numbers.
const SLACK: f64 = 0.03;
/// With another compiler, or another CPU, for which the C library and the cryptography choose other code.
const SLACK_ELSEWHERE: f64 = 0.15;

#[derive(Deserialize, Serialize)]
pub(crate) struct Figures {
    /// The compiler and the CPU that they are of.
    rustc: String,
    cpu: String,
    instructions: BTreeMap<String, u64>,
}

/// What a count is beside the committed one.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// There is none.
    Unknown,
    AsEver {
        committed: u64,
        change: f64,
    },
    Changed {
        committed: u64,
        change: f64,
    },
}

impl Verdict {
    pub(crate) fn is_as_ever(self) -> bool {
        matches!(self, Self::AsEver { .. })
    }
}

impl Figures {
    pub(crate) fn read() -> Result<Self, String> {
        let text = fs::read_to_string(path()).map_err(|error| format!("{FILE}: {error}"))?;
        toml::from_str(&text).map_err(|error| format!("{FILE}: {error}"))
    }

    /// The share by which a figure may differ.
    pub(crate) fn slack(&self) -> f64 {
        let is_here = compiler().as_ref() == Ok(&self.rustc) && cpu().as_ref() == Ok(&self.cpu);
        if is_here { SLACK } else { SLACK_ELSEWHERE }
    }

    pub(crate) fn judge(&self, name: &str, counted: u64, slack: f64) -> Verdict {
        let Some(committed) = self.instructions.get(name).copied() else {
            return Verdict::Unknown;
        };
        let change = counted as f64 / committed as f64 - 1.0;
        if change.abs() <= slack {
            Verdict::AsEver { committed, change }
        } else {
            Verdict::Changed { committed, change }
        }
    }

    pub(crate) fn set(&mut self, name: String, counted: u64) {
        self.instructions.insert(name, counted);
    }

    /// Writes them over the committed ones.
    pub(crate) fn write(&mut self) -> Result<(), String> {
        (self.rustc, self.cpu) = (compiler()?, cpu()?);
        let text = toml::to_string(self).map_err(|error| error.to_string())?;
        fs::write(path(), text).map_err(|error| format!("{FILE}: {error}"))
    }
}

fn path() -> String {
    format!("{}/figures.toml", env!("CARGO_MANIFEST_DIR"))
}

fn compiler() -> Result<String, String> {
    let output = Command::new("rustc").arg("--version").output();
    let output = output.map_err(|error| format!("rustc: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// As the kernel calls it.
fn cpu() -> Result<String, String> {
    let info = fs::read_to_string("/proc/cpuinfo").map_err(|error| format!("cpuinfo: {error}"))?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(model.map_or("unknown", |(_, name)| name).to_owned())
}
