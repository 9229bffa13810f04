//! The configuration files that come with the gateway say what the gateway does.
//!
//! `config/tlsgate.toml` is written from the table of options: `TLSGATE_UPDATE_GOLDEN=1` writes it
//! anew.

use std::path::{Path, PathBuf};

use tlsgate::config::options::{self, Presence};
use tlsgate::config::{Config, parse, reference, reference::block, reference::file};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parsed(text: &str) -> Config {
    parse("config/tlsgate.toml", text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// Lines `#key = value`: a comment of prose has a space behind its sign, one for editors a colon.
fn uncommented(text: &str) -> String {
    let is_default = |line: &&str| {
        line.starts_with('#')
            && !["# ", "#:"].iter().any(|sign| line.starts_with(sign))
            && line.len() > 1
    };
    let lines: Vec<&str> =
        text.lines().map(|line| if is_default(&line) { &line[1..] } else { line }).collect();
    lines.join("\n")
}

#[test]
fn the_reference_is_up_to_date() {
    let path = path("tlsgate.toml");
    if std::env::var_os("TLSGATE_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, file()).expect("the source can be written");
    }
    assert_eq!(read(&path), file(), "the table of options changed: see the header of this test");
}

#[test]
fn the_reference_has_every_option_with_its_default_and_meaning() {
    let text = read(&path("tlsgate.toml"));
    for option in reference() {
        let table = options::table(option.table).expect("every option has its table");
        let (_, below) = text.split_once(&table.header()).expect("the header of the table");
        assert!(below.contains(&block(table, option)), "{}", option.path());
        if let Presence::Default(default) = option.presence
            && !reference::is_shown_only(table)
        {
            let line = format!("\n#{} = {default}\n", option.key);
            assert!(below.contains(&line), "{}", option.path());
        }
    }
}

#[test]
fn the_reference_means_the_same_with_its_defaults_uncommented() {
    let text = read(&path("tlsgate.toml"));
    let explicit = uncommented(&text);
    let is_shown = |table| options::table(table).is_some_and(reference::is_shown_only);
    let defaults = reference()
        .filter(|one| matches!(one.presence, Presence::Default(_)) && !is_shown(one.table));
    let changed = text.lines().zip(explicit.lines()).filter(|(one, other)| one != other).count();
    assert_eq!(changed, defaults.count(), "every default is uncommented, and nothing else");
    let mut explicit = parsed(&explicit);
    // Where something stands is not what it means.
    explicit.log.access.line = 0;
    assert_eq!(parsed(&text), explicit);
}

#[test]
fn every_line_of_the_reference_fits_a_screen() {
    for line in file().lines() {
        assert!(line.len() <= 96, "{line}");
    }
}

#[test]
fn every_example_is_valid() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path("examples")).expect("the examples") {
        let path = entry.expect("a directory entry").path();
        let config = parse(&path.display().to_string(), &read(&path));
        let config = config.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        assert!(!config.listeners.is_empty());
        names.push(path.file_name().expect("a file").to_string_lossy().into_owned());
    }
    names.sort();
    let expected = [
        "bridge-and-levels.toml",
        "mutual-tls.toml",
        "pair.toml",
        "single-certificate.toml",
        "sni-and-dual-keys.toml",
        "unix-sockets.toml",
        "vendor-names.toml",
    ];
    assert_eq!(names, expected);
}
