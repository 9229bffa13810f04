//! The files in which `--fix` puts what it may: settings of the kernel, and of the service.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::facts::Tree;
use super::finding::{Finding, Fix, Report};

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Absolute, below the root.
    pub path: &'static str,
    pub text: String,
    /// What makes it count, which is for its reader to do.
    pub apply: &'static str,
}

const SYSCTL: &str = "/etc/sysctl.d/90-tlsgate.conf";
const UNIT: &str = "/etc/systemd/system/tlsgate.service.d/90-doctor.conf";
/// First line of files that may be written again.
const MARK: &str = "# Written by tlsgate doctor --fix. It keeps what it wrote before.";

/// What is to be written for a report. What an earlier run wrote stays: a setting that is right now
/// may be right because of it.
///
/// # Errors
/// When a file of that name is somebody else's.
pub fn files(report: &Report, tree: &dyn Tree) -> Result<Vec<Written>, String> {
    let mut sysctls: BTreeMap<&str, (&str, &Finding)> = BTreeMap::new();
    let mut units: BTreeMap<&str, (&str, &Finding)> = BTreeMap::new();
    for finding in &report.findings {
        match &finding.fix {
            // Findings come the worst first, and two may be about one setting.
            Some(Fix::Sysctl { key, value }) => {
                sysctls.entry(key).or_insert((value, finding));
            }
            Some(Fix::Unit { key, value }) => {
                units.entry(key).or_insert((value, finding));
            }
            None => {}
        }
    }
    let mut written = Vec::new();
    let kinds = [
        (SYSCTL, sysctls, "", "sysctl --system"),
        (UNIT, units, "[Service]\n", "systemctl daemon-reload && systemctl restart tlsgate"),
    ];
    for (path, settings, section, apply) in kinds {
        if !settings.is_empty() {
            let text = file(path, &settings, section, tree.text(path))?;
            written.push(Written { path, text, apply });
        }
    }
    Ok(written)
}

fn file(
    path: &str,
    settings: &BTreeMap<&str, (&str, &Finding)>,
    section: &str,
    before: Option<String>,
) -> Result<String, String> {
    let before = before.unwrap_or_default();
    if !before.is_empty() && !before.starts_with(MARK) {
        return Err(format!("{path} was not written by this program: move it away first"));
    }
    let mut text = format!("{MARK}\n{section}");
    for (key, (value, finding)) in settings {
        let why = finding.why.as_deref().unwrap_or("advised");
        writeln!(text, "\n# It was: {}\n# {why}\n{key} = {value}", finding.found)
            .expect("a String takes everything");
    }
    // Comments belong to the setting below them.
    let mut block = String::new();
    for line in before.lines().skip(1).filter(|line| !line.starts_with('[') && !line.is_empty()) {
        writeln!(block, "{line}").expect("a String takes everything");
        let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        if !settings.contains_key(key.trim()) {
            write!(text, "\n{block}").expect("a String takes everything");
        }
        block.clear();
    }
    Ok(text)
}
