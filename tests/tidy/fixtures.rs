//! Small sources that break each rule, and what is found in them; and sources that break none.

use tlsgate::config::options::{Kind, OptionDoc, Presence};

use super::finding::Finding;
use super::source::Tree;
use super::{checks, documents, sizes, walls, words};

const ARCHITECTURE: &str = "\
| folder | what | pure |
|---|---|---|
| `src/conn` | connections | yes |
| `src/tls` | TLS | yes, but for `identity/load` (reads files) |
| `src/shard` | the loop | but for the loop |
";

fn tree(files: &[(&str, &str)]) -> Tree {
    let map = files.iter().any(|(path, _)| *path == "ARCHITECTURE.md");
    let map = (!map).then_some(("ARCHITECTURE.md", ARCHITECTURE));
    let all = files.iter().copied().chain(map);
    Tree::new(all.map(|(path, text)| (path.to_owned(), text.to_owned())))
}

/// Places and what was found there.
fn places(findings: Vec<Finding>) -> Vec<(String, String)> {
    let place = |one: Finding| (format!("{}:{}", one.path, one.line), one.what);
    findings.into_iter().map(place).collect()
}

/// Demands exactly these, each by its place and a part of its text.
fn assert_found(findings: Vec<Finding>, expected: &[(&str, &str)]) {
    let found = places(findings);
    let fits = |((place, what), (at, part)): (&(String, String), &(&str, &str))| {
        place == at && what.contains(part)
    };
    let all = found.len() == expected.len() && found.iter().zip(expected).all(fits);
    assert!(all, "found {found:#?}, expected {expected:#?}");
}

#[test]
fn sockets_clocks_threads_and_unsafe_in_pure_code_are_found() {
    let text = "\
use std::{net::TcpStream, time::{Duration, Instant}};
use std::net::{IpAddr, SocketAddr};
fn go() {
    std::thread::spawn(|| ());
    let code = libc::EPIPE;
    unsafe { libc::close(code) };
    log!(std::fs::read(\"a\"));
}
";
    let found = walls::purity(&tree(&[("src/conn/dial.rs", text)]));
    let at = |line| format!("src/conn/dial.rs:{line}");
    let expected = [
        (&*at(1), "TcpStream"),
        (&*at(1), "Instant"),
        (&*at(4), "thread"),
        (&*at(6), "unsafe"),
        (&*at(6), "libc::close"),
        (&*at(7), "std::fs::read"),
    ];
    assert_found(found, &expected);
}

#[test]
fn comments_strings_tests_and_impure_folders_are_left_alone() {
    let text = "\
//! std::thread
/// unsafe, std::net::TcpStream
fn go() -> &'static str {
    // Instant::now()
    \"use std::thread; // unsafe\"
}
#[cfg(test)]
fn only_for_tests(a: [u8; 2]) { std::thread::yield_now(); }
#[cfg(test)]
mod tests {
    use std::time::Instant;
}
#[cfg(test)]
#[path = \"conn_tests.rs\"]
mod others;
#[cfg(test)]
mod rig;
";
    let thread = "use std::thread;";
    let found = walls::purity(&tree(&[
        ("src/conn/mod.rs", text),
        ("src/conn/conn_tests.rs", thread),
        ("src/conn/rig.rs", thread),
        ("src/conn/rig/inner.rs", thread),
        ("src/tls/identity/load.rs", "use std::fs::File;"),
        ("src/shard/mod.rs", thread),
        ("src/connector/mod.rs", thread),
    ]));
    assert_found(found, &[]);
    // What follows an item for tests counts again.
    let text = "#[cfg(test)]\nuse std::fs;\nuse std::thread;\n";
    let found = walls::purity(&tree(&[("src/conn/mod.rs", text)]));
    assert_found(found, &[("src/conn/mod.rs:3", "std::thread")]);
}

#[test]
fn the_pure_folders_are_those_of_the_architecture() {
    let folders = walls::pure_folders(&tree(&[]));
    let load = vec!["src/tls/identity/load.rs".to_owned()];
    assert_eq!(folders, [("src/conn".to_owned(), Vec::new()), ("src/tls".to_owned(), load)]);
}

#[test]
fn dependencies_against_their_direction_are_found() {
    let found = walls::directions(&tree(&[
        ("src/config/mod.rs", "use crate::config::model;\nuse crate::tls;\n"),
        (
            "src/conn/dial.rs",
            "use crate::engine::Address;\nuse super::super::engine::uring::Ring;\n",
        ),
        ("src/conn/mod.rs", "use super::engine::{Side, epoll};\nuse self::dial::Dial;\n"),
        ("src/shard/mod.rs", "use crate::app;\n"),
    ]));
    let expected = [
        ("src/config/mod.rs:2", "may not name crate::tls"),
        ("src/conn/dial.rs:2", "may not name crate::engine::uring::Ring"),
        ("src/conn/mod.rs:1", "may not name crate::engine::epoll"),
    ];
    assert_found(found, &expected);
}

#[test]
fn reserved_names_in_other_places_are_found() {
    let found = walls::reserved(&tree(&[
        ("src/app/mod.rs", "use crate::engine::uring;\nuse tokio::net;\n"),
        ("src/engine/uring/ring.rs", "fn go() { unsafe {} }\n"),
        ("src/engine/probe.rs", "fn go() {\n    unsafe {}\n}\n"),
        ("src/shard/mod.rs", "use rustls::server::UnbufferedServerConnection;\n"),
        ("src/tls/modern/session.rs", "use rustls::server::UnbufferedServerConnection;\n"),
        ("src/upstream/mod.rs", "use crate::app::Gateway;\n"),
    ]));
    let expected = [
        ("src/app/mod.rs:2", "tokio::net is for src/admin, src/upstream/lookout.rs"),
        ("src/engine/probe.rs:2", "unsafe is for src/engine/uring, src/sys,"),
        ("src/shard/mod.rs:1", "UnbufferedServerConnection is for src/tls/modern/session.rs"),
        ("src/upstream/mod.rs:1", "crate::app::Gateway is for src/app, src/cli only"),
    ];
    assert_found(found, &expected);
}

#[test]
fn metric_names_elsewhere_are_found() {
    let text = "/// tlsgate_a_total\nfn go() -> &'static str { \"tlsgate_b_total\" }\n\
                #[cfg(test)]\nfn test() { \"tlsgate_c_total\"; }\n";
    let found = walls::metric_names(&tree(&[
        ("src/telemetry/names.rs", text),
        ("src/admin/status.rs", text),
    ]));
    assert_found(found, &[("src/admin/status.rs:2", "a metric's name")]);
}

#[test]
fn what_outgrows_its_limit_is_found() {
    let lines = |count: usize| "    go();\n".repeat(count);
    let function =
        |count: usize| format!("fn small() {{}}\nfn large() {{\n{}}}\n", lines(count - 2));
    let file = "// a line\n".repeat(501);
    let sources = |size| [("src/a.rs", function(size)), ("src/b.rs", file.clone())];
    let sizes_of = |size, exceptions: &str| {
        let sources = sources(size);
        let sources: Vec<(&str, &str)> =
            sources.iter().map(|(path, text)| (*path, &**text)).collect();
        sizes::sizes(&tree(&sources), exceptions)
    };
    let expected =
        [("src/a.rs:2", "a function of 71 lines"), ("src/b.rs:1", "a file of 501 lines")];
    assert_found(sizes_of(71, ""), &expected);
    let exceptions = "71 src/a.rs::large\n501 src/b.rs\n";
    assert_found(sizes_of(71, exceptions), &[]);
    // The ratchet holds in both directions.
    assert_found(sizes_of(72, exceptions), &[("src/a.rs:2", "72 lines: src/a.rs::large; 71")]);
    let list = "tests/tidy/sizes.list";
    assert_found(sizes_of(70, exceptions), &[(&format!("{list}:1"), "shrunk to 70")]);
    let loose = exceptions.replace("501", "600") + "90 src/c.rs::gone\n";
    let expected =
        [(&*format!("{list}:2"), "shrunk to 501"), (&*format!("{list}:3"), "there is no")];
    assert_found(sizes_of(71, &loose), &expected);
}

#[test]
fn a_trait_and_a_type_of_functions_have_no_size() {
    let text = "trait One {\n    fn go(&self);\n}\nstruct Two(fn(u8) -> u8);\n\
                fn three() -> [u8; 3] {\n    [0; 3]\n}\n";
    let tree = tree(&[("src/a.rs", text)]);
    let functions: Vec<(&str, usize)> =
        tree.file("src/a.rs").functions().map(|one| (one.name, one.lines)).collect();
    assert_eq!(functions, [("three", 3)]);
}

#[test]
fn keys_without_words_or_readers_are_found() {
    let option = |table, key| OptionDoc {
        table,
        key,
        kind: Kind::Switch,
        presence: Presence::Default("false"),
        reload: true,
        doc: "A switch.",
    };
    let options = [option("log", "one"), option("log", "two"), option("gateway", "two")];
    let files = [
        ("config/tlsgate.toml", "[gateway]\n#two = false\n[log]\n# Example: one = true\n"),
        (
            "config/tlsgate.schema.json",
            r#"{ "properties": { "log": { "properties": { "one": { "description": "A." } } },
                "gateway": { "properties": { "two": { "description": "A." } } } } }"#,
        ),
        ("src/config/table/mod.rs", "fn a() {}\n// key: \"two\"\n"),
        (
            "src/config/build.rs",
            "fn a(s: S) { s.get(\"one\"); s.get::<u8>(\"two\"); f(\"two\"); }\n",
        ),
    ];
    let tree = tree(&files);
    let found = documents::keys_documented(&tree, &options);
    let expected = [
        ("src/config/table/mod.rs:2", "log.two is not documented in config/tlsgate.toml"),
        ("src/config/table/mod.rs:2", "log.two is not documented in config/tlsgate.schema.json"),
    ];
    assert_found(found, &expected);
    let found = documents::keys_read(&tree, &options);
    assert_found(found, &[("src/config/table/mod.rs:2", "two is a key of 2 table(s) and read 1")]);
}

#[test]
fn values_without_use_are_found() {
    let found = documents::values_used(&tree(&[
        ("src/config/model.rs", "pub struct A {\n    pub used: u8,\n    pub unused: u8,\n}\n"),
        ("src/config/build.rs", "fn a(a: A) -> u8 { a.unused }\n"),
        ("src/app/mod.rs", "fn a(a: A) -> u8 { a.used }\n#[cfg(test)]\nfn b(a: A) { a.unused; }\n"),
    ]));
    assert_found(found, &[("src/config/model.rs:3", "uses .unused")]);
}

#[test]
fn folders_without_a_row_and_rows_without_a_folder_are_found() {
    let found = documents::folders(&tree(&[
        ("src/conn/mod.rs", ""),
        ("src/shard/mod.rs", ""),
        ("src/handover/mod.rs", ""),
    ]));
    let expected =
        [("src/handover:1", "no row for src/handover"), ("ARCHITECTURE.md:4", "no src/tls")];
    assert_found(found, &expected);
}

#[test]
fn marks_and_macros_are_found() {
    let mark = concat!("// TO", "DO: later\n");
    let text = format!("{mark}fn go() {{\n    todo!()\n}}\nfn todo() {{ \"dbg!\"; }}\n");
    let found = words::left_to_do(&tree(&[("src/conn/mod.rs", &text)]));
    assert_found(found, &[("src/conn/mod.rs:1", "the mark"), ("src/conn/mod.rs:3", "todo!")]);
}

#[test]
fn names_outside_the_glossary_are_found() {
    let text = "// a session\nfn end_sessions() { \"session\"; }\n";
    let found = words::synonyms(&tree(&[
        ("src/conn/mod.rs", text),
        ("src/tls/mod.rs", text),
        ("src/tls/modern/record.rs", "struct S { frame_size: usize }"),
    ]));
    let expected =
        [("src/tls/modern/record.rs:1", "frame_size"), ("src/conn/mod.rs:2", "end_sessions")];
    assert_found(found, &expected);
}

#[test]
fn files_that_nobody_declares_are_found() {
    let found = checks::orphans(&tree(&[
        ("src/lib.rs", "pub mod conn;\n"),
        ("src/conn/mod.rs", "mod dial;\n#[path = \"other_tests.rs\"]\nmod tests;\n// mod lost;\n"),
        ("src/conn/dial.rs", ""),
        ("src/conn/lost.rs", ""),
        ("src/conn/other_tests.rs", ""),
        ("tests/it/main.rs", "mod hello;\n"),
        ("tests/it/hello.rs", ""),
        ("tests/it/forgotten.rs", ""),
        ("tests/single.rs", "mod common;\n"),
        ("tests/common/mod.rs", ""),
        ("tests/fuzz/tests/bounded.rs", ""),
        ("src/conn/tests/main.rs", ""),
    ]));
    let expected = [
        ("src/conn/lost.rs:1", "no file"),
        ("src/conn/tests/main.rs:1", "no file"),
        ("tests/it/forgotten.rs:1", "no file"),
    ];
    assert_found(found, &expected);
}

const CHECKS: &str = "\
#[test]
#[ignore = \"a check\"]
fn direct() { for engine in engines() {} }
#[test]
#[ignore = \"a check\"]
fn through_others() { each(); }
fn each() { all(); }
fn all() { engines(); }
#[test]
#[ignore = \"a check\"]
fn one_only() { start(); }
";

#[test]
fn checks_on_one_engine_are_found() {
    let files = [("tests/it/hello.rs", CHECKS)];
    let found = checks::engines(&tree(&files), &[]);
    assert_found(found, &[("tests/it/hello.rs:11", "one_only")]);
    assert_found(checks::engines(&tree(&files), &[("one_", "its reason")]), &[]);
    let stale = [("one_only", "its reason"), ("direct", "none")];
    let found = checks::engines(&tree(&files), &stale);
    assert_found(found, &[("tests/tidy/checks.rs:1", "the exception direct")]);
}

#[test]
fn checks_that_tests_run_does_not_find_are_found() {
    let text = format!("{CHECKS}#[ignore = \"a check\"]\n#[test]\nfn hidden() {{}}\n");
    let others = "#[test]\n#[ignore = \"a check\"]\nfn direct() {}\n";
    let found =
        checks::listed(&tree(&[("tests/it/hello.rs", &text), ("tests/it/more.rs", others)]));
    let expected =
        [("tests/it/hello.rs:14", "hidden"), ("tests/it/more.rs:3", "two checks direct")];
    assert_found(found, &expected);
}

#[test]
fn a_finding_says_where_what_why_and_what_to_do() {
    let found = walls::purity(&tree(&[("src/conn/mod.rs", "\nuse std::thread;\n")]));
    let expected = "\
src/conn/mod.rs:2: src/conn is pure and names threads: std::thread
    why:     pure code runs in a simulator, and in tests without a kernel
    instead: take it as an argument (time, text, an event) and let the edge that calls it do this";
    assert_eq!(found[0].to_string(), expected);
}
