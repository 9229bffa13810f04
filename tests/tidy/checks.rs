//! Every file is compiled, every check is found, and on both engines.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::source::{File, Kind, Tree};

/// Folder of the named checks.
const CHECKS: &str = "tests/it/";

/// Checks, or all that begin so, which do not go through `engines()`; each with its reason.
pub(crate) const ONE_ENGINE: &[(&str, &str)] = &[
    ("battery_table", "it puts together what the others have run"),
    ("capacity_plan", "it runs no gateway"),
    ("capacity_verify", "it is about the measuring tool, to which an engine is one server of many"),
    ("command_line_", "they end before an engine is made"),
    ("completions_", "they run no gateway"),
    ("demo_once", "the demo takes the engine that \"auto\" finds, as its user sees it"),
    ("container_root_", "it runs no gateway"),
    ("doctor_", "they run no gateway"),
    ("io_uring_forbidden_", "they are about where io_uring cannot be had"),
    ("load_histogram_log", "it runs no gateway"),
    ("load_in_a_terminal", "it runs no gateway"),
    ("load_paused_target", "it runs no gateway"),
    ("load_payloads", "it runs no gateway: servers are asked directly"),
    ("prometheus_", "it is about what reads the metrics; telemetry_metrics has those of both"),
    ("package_is_", "it is about what systemd and dpkg do; the default is what runs"),
    ("page_", "the admin port has a thread and sockets of its own"),
    ("sandbox_lets_nobody_out", "it runs no gateway; rings are tried where they are made"),
    ("sandbox_that_is_off_", "it is about the configuration; the other check has both"),
    ("scenario_mistakes", "it runs no gateway"),
    ("systemd_unit_files", "it runs no gateway"),
];

/// Every file is declared as a module by another.
pub(crate) fn orphans(tree: &Tree) -> Vec<Finding> {
    let declared: BTreeSet<String> = tree.rust().flat_map(declared_files).collect();
    let orphans = tree.rust().filter(|file| !is_root(&file.path));
    let orphans = orphans.filter(|file| !declared.contains(&file.path));
    let findings = orphans.map(|file| Finding {
        path: file.path.clone(),
        line: 1,
        what: "no file declares it as a module".to_owned(),
        why: "it is not compiled, and its tests never run",
        instead: "write mod and its name in the file above it, or remove it".to_owned(),
    });
    findings.collect()
}

/// Where the modules that a file declares may be.
fn declared_files(file: &File) -> Vec<String> {
    let folder = file.folder();
    let (parent, _) = file.path.rsplit_once('/').unwrap_or_default();
    let usual = file
        .modules()
        .flat_map(|name| [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]);
    // `#[path = "name.rs"]`
    let named = (2..file.tokens.len()).filter_map(|at| match &file.tokens[at].kind {
        Kind::Literal(text) if file.is_sign(at - 1, '=') && file.word(at - 2) == Some("path") => {
            Some(format!("{parent}/{}", text.trim_matches('"')))
        }
        _ => None,
    });
    usual.chain(named).collect()
}

/// What cargo compiles by itself.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        [.., "src", "lib.rs" | "main.rs"] | [.., "src", "bin", _] => true,
        [.., "tests", _] | [.., "tests", _, "main.rs"] => !parts.contains(&"src"),
        _ => false,
    }
}

/// Every check runs on both engines, or stands among the exceptions.
pub(crate) fn engines(tree: &Tree, exceptions: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unused: BTreeSet<&str> = exceptions.iter().map(|(name, _)| *name).collect();
    for file in checks(tree) {
        let both = runs_both(file);
        for check in file.functions().filter(|function| is_check(&function.attributes)) {
            let excepted = exceptions.iter().find(|(name, _)| is_excepted(check.name, name));
            let runs_both = both.contains(check.name);
            match excepted {
                Some((name, _)) if !runs_both => {
                    unused.remove(name);
                }
                Some(_) => {}
                None if runs_both => {}
                None => findings.push(Finding {
                    path: file.path.clone(),
                    line: check.line,
                    what: format!("{} does not run on both engines", check.name),
                    why: "the engines promise the same behaviour; what one check leaves out is \
                          where they differ",
                    instead: "loop over engines(), or add it with a reason to ONE_ENGINE in \
                              tests/tidy/checks.rs"
                        .to_owned(),
                }),
            }
        }
    }
    findings.extend(unused.into_iter().map(|name| Finding {
        path: "tests/tidy/checks.rs".to_owned(),
        line: 1,
        what: format!("no check needs the exception {name}"),
        why: "an exception without a cause hides the next one",
        instead: "remove it from ONE_ENGINE".to_owned(),
    }));
    findings
}

fn is_excepted(check: &str, name: &str) -> bool {
    if name.ends_with('_') { check.starts_with(name) } else { check == name }
}

/// Names of the functions that call `engines()`, themselves or through others of the file.
fn runs_both(file: &File) -> BTreeSet<&str> {
    // Those of tests/it/support/way.rs loop over them, too.
    let mut both = BTreeSet::from(["engines", "each_way", "each_way_with"]);
    loop {
        let before = both.len();
        for function in file.functions() {
            let mut words = function.body.iter().skip(2).filter_map(|token| match &token.kind {
                Kind::Word(word) => Some(word.as_str()),
                _ => None,
            });
            if words.any(|word| both.contains(word)) {
                both.insert(function.name);
            }
        }
        if both.len() == before {
            return both;
        }
    }
}

/// `tests/run` finds a check by the line after its `#[ignore]`, and runs it by its name.
pub(crate) fn listed(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for file in checks(tree) {
        for check in file.functions().filter(|function| is_check(&function.attributes)) {
            let mut finding = |what: String, instead: &str| {
                let why = "tests/run reads the names from the source: what it does not find, it \
                           does not run";
                let (path, instead) = (file.path.clone(), instead.to_owned());
                findings.push(Finding { path, line: check.line, what, why, instead });
            };
            let before = file.text.lines().nth(check.line.saturating_sub(2)).unwrap_or_default();
            if !before.starts_with("#[ignore") {
                let what = format!("{} does not follow its #[ignore]", check.name);
                finding(what, "write #[ignore = ...] on the line before fn");
            }
            if !seen.insert(check.name.to_owned()) {
                finding(format!("there are two checks {}", check.name), "rename one");
            }
        }
    }
    findings
}

fn checks(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.rust().filter(|file| file.path.starts_with(CHECKS))
}

fn is_check(attributes: &[String]) -> bool {
    attributes.iter().any(|attribute| attribute.starts_with("ignore"))
}
