//! Where io_uring is forbidden, epoll serves and the gateway says why.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::backend::{Backend, dead_address};
use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::client::{Version, assert_echo, close, config, connect, local};
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::process::{Ended, gateway_program, run};
use crate::support::{Engine, SOON, has_tool};

const FAILED: i32 = 1;

/// How io_uring_setup(2) fails where a profile or a kernel forbids it, and what is said about it.
const FORBIDDEN: [(&str, &str); 2] =
    [("EPERM", "io_uring is forbidden"), ("ENOSYS", "this kernel or sandbox has no io_uring")];

/// What stands in front of a command to let it fail so.
fn launcher(error: &str) -> [String; 3] {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/forbid_io_uring.py");
    ["python3".to_owned(), script.display().to_string(), error.to_owned()]
}

/// The gateway's program with these arguments, where io_uring fails so.
fn forbidden(error: &str, arguments: &[&str]) -> Ended {
    let [python, rest @ ..] = launcher(error);
    run(Command::new(python).args(rest).arg(gateway_program()).args(arguments), SOON)
}

#[test]
#[ignore = "run by tests/run"]
fn io_uring_forbidden_falls_back_to_epoll() {
    if !has_tool("python3") {
        return;
    }
    let backend = Backend::echo();
    for (error, reason) in FORBIDDEN {
        let setup = Setup::new(Engine::Epoll, backend.address()).engine("auto");
        let gateway = setup.under(&launcher(error)).start();
        let mut stream = connect(gateway.address(), &config(Version::V13));
        assert_echo(&mut stream, &[7; 20_000]);
        let peer = local(&stream);
        close(stream);
        gateway.line_of(peer).assert_ended("finished", "downstream", "relay");
        for (place, engine, said) in said_by(&gateway) {
            assert_eq!(engine, "epoll", "{error}: {place}");
            assert!(said.contains(reason), "{error}: {place} says {said}");
        }
        let version = forbidden(error, &["version", "-v"]);
        let line = version.stdout.lines().find(|line| line.starts_with("engine:"));
        let line = line.unwrap_or_else(|| panic!("{}", version.stdout));
        assert!(line.contains("epoll") && line.contains(reason), "{error}: {line}");
    }
}

/// Engine and reason in the log, in /metrics and in /status.
fn said_by(gateway: &Gateway) -> [(&'static str, String, String); 3] {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let log = gateway.stderr();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let started = lines.map(|line| line["fields"].clone());
    let started = started.into_iter().find(|fields| fields["message"] == "started");
    let started = started.unwrap_or_else(|| panic!("no start in the log:\n{log}"));
    let metrics = gateway.metrics();
    let label = |name| match *metrics.label_values("tlsgate_engine_info", name) {
        [value] => value.to_owned(),
        ref others => panic!("one engine, not {others:?}"),
    };
    let status = gateway.status();
    [
        ("the log", text(&started["engine"]), text(&started["reason"])),
        ("/metrics", label("engine"), label("reason")),
        ("/status", text(&status["engine"]), text(&status["engine_reason"])),
    ]
}

#[test]
#[ignore = "run by tests/run"]
fn io_uring_forbidden_and_demanded_does_not_start() {
    if !has_tool("python3") {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let files = ca().issue(directory.path(), "server", KeyKind::Ecdsa, &[NAME]);
    let file = directory.path().join("tlsgate.toml");
    let text = format!(
        "[gateway]\nengine = \"io_uring\"\n[admin]\nlisten = \"off\"\n[[listener]]\n\
         name = \"main\"\nlisten = \"127.0.0.1:{}\"\nupstream = \"{}\"\n[listener.tls]\n\
         certificate = \"{}\"\ncertificate_key = \"{}\"\n",
        free_port(),
        dead_address(),
        files.certificate.display(),
        files.key.display()
    );
    fs::write(&file, text).expect("a writable directory");
    let name = file.to_str().expect("a temporary path is UTF-8");
    for (error, reason) in FORBIDDEN {
        let ended = forbidden(error, &["run", "-c", name]);
        assert_eq!(ended.code(), FAILED, "{error}: {}", ended.stderr);
        let message = format!("engine = \"io_uring\" cannot be used here: {reason}");
        assert!(ended.stderr.contains(&message), "{error}: {}", ended.stderr);
        // The file itself is right: checking it asks nothing of the machine.
        assert_eq!(forbidden(error, &["check", "-c", name]).code(), 0, "{error}");
    }
}
