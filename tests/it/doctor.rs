//! `tlsgate doctor` finds what was broken on purpose, and writes only what it says.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::backend::dead_address;
use crate::support::ca::{Files, KeyKind, NAME, ca};
use crate::support::process::{Ended, gateway_program, run};
use crate::support::{SOON, has_tool, skip_impossible};

/// What stands in front of the program, and the checks that then find something with these words.
type Broken = (Vec<String>, Vec<(&'static str, &'static str)>);

#[test]
#[ignore = "run by tests/run, beside others"]
fn doctor_names_broken_settings() {
    let directory = TempDir::new().expect("a temporary directory");
    let files = ca().issue(directory.path(), "server", KeyKind::Ecdsa, &[NAME]);
    let file = write(directory.path(), "good.toml", &files);
    let whole = Examination::of(&[], &file);
    let checks = whole.0["checks"].as_u64().expect("a number");
    assert!(checks >= 25, "{checks} checks: {}", whole.0);
    let mut named = 0;
    for (launcher, expected) in broken() {
        let broken = Examination::of(&launcher, &file);
        for (check, words) in expected {
            broken.names(check, words);
            named += 1;
        }
    }
    let expired = ca().issue_expired(directory.path(), "expired");
    let file = write(directory.path(), "expired.toml", &expired);
    Examination::of(&[], &file).names("certificates", "expired");
    fs::set_permissions(&files.key, Permissions::from_mode(0o644)).expect("its owner may");
    let file = write(directory.path(), "open.toml", &files);
    Examination::of(&[], &file).names("private_keys", "open to everybody");
    assert!(named >= 3, "with these two, five at least: {named}");
    println!("{checks} checks, {} broken settings named", named + 2);
}

/// Settings that a process can have without the machine having them.
fn broken() -> Vec<Broken> {
    let mut all = Vec::new();
    let mut add = |words: &[&str], expected: &[(&'static str, &'static str)]| {
        if has_tool(words[0]) {
            all.push((words.iter().map(|&word| word.to_owned()).collect(), expected.to_vec()));
        }
    };
    add(&["prlimit", "--nofile=200:200"], &[("open_files", "200, which is room for")]);
    add(&["prlimit", "--memlock=0:0"], &[("locked_memory", "0 bytes")]);
    add(&["prlimit", "--core=4096:4096"], &[("core_dumps", "4096 bytes")]);
    // More workers than CPUs.
    add(&["taskset", "-c", "0"], &[("affinity", "2 worker(s) on CPU 0 ")]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/forbid_io_uring.py");
    let script = script.to_str().expect("UTF-8");
    add(&["python3", script, "EPERM"], &[("io_uring", "a seccomp filter is on this process")]);
    const SETTINGS: &str = "cd /proc/sys/net && echo 128 >core/somaxconn && \
        echo 40000 40100 >ipv4/ip_local_port_range && echo 3 >ipv4/tcp_keepalive_time && \
        echo 0 >ipv4/tcp_syncookies && cd / && exec \"$@\"";
    let mut words = vec!["unshare", "--net"];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    words.extend(["sh", "-c", SETTINGS, "sh"]);
    let tried = run(Command::new(words[0]).args(&words[1..]).arg("true"), SOON);
    if tried.code() == 0 {
        add(
            &words,
            &[
                ("net.core.somaxconn", "128"),
                ("net.ipv4.ip_local_port_range", "40000 40100"),
                ("local_ports", "101 for 5000 connections"),
                ("net.ipv4.tcp_keepalive_time", "3"),
                ("net.ipv4.tcp_syncookies", "0"),
            ],
        );
    } else {
        skip_impossible(&format!("a network namespace: {}", tried.stderr));
    }
    all
}

#[test]
#[ignore = "run by tests/run, beside others"]
fn doctor_fix_writes_what_it_says() {
    let directory = TempDir::new().expect("a temporary directory");
    let root = directory.path().join("root");
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor/two-sockets");
    let copied = run(Command::new("cp").arg("-R").args([&recorded, &root]), SOON);
    assert_eq!(copied.code(), 0, "{}", copied.stderr);
    let root = root.to_str().expect("a temporary path is UTF-8");
    let look = ["doctor", "--root", root, "--profile", "many-idle"];
    let sysctl = Path::new(root).join("etc/sysctl.d/90-tlsgate.conf");

    let ended = run(Command::new(gateway_program()).args(look), SOON);
    assert_eq!(ended.code(), 1, "warnings: {}", ended.stderr);
    assert!(ended.stdout.contains("\nwarning  net.core.somaxconn: 4096\n"), "{}", ended.stdout);
    assert!(!sysctl.exists(), "looking writes nothing");

    let ended = run(Command::new(gateway_program()).args(look).arg("--fix"), SOON);
    let told = format!("written: {}; it counts after: sysctl --system", sysctl.display());
    assert!(ended.stdout.contains(&told), "{}", ended.stdout);
    let text = fs::read_to_string(&sysctl).expect("it was told so");
    assert!(text.contains("\nnet.core.somaxconn = 16384\n"), "{text}");
    assert!(text.contains("# Accept queues as long as the profile's backlog"), "{text}");

    fs::write(&sysctl, "net.core.somaxconn = 1\n").expect("a writable directory");
    let ended = run(Command::new(gateway_program()).args(look).arg("--fix"), SOON);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("90-tlsgate.conf"), "{}", ended.stderr);
    let kept = fs::read_to_string(&sysctl).expect("there");
    assert_eq!(kept, "net.core.somaxconn = 1\n", "what others wrote stays");
}

/// What the doctor says, as JSON.
struct Examination(Value);

impl Examination {
    /// # Panics
    /// When the exit code is not what the worst finding makes it.
    fn of(launcher: &[String], config: &Path) -> Self {
        let program = gateway_program().display().to_string();
        let mut words: Vec<&str> = launcher.iter().map(String::as_str).collect();
        words.extend([program.as_str(), "doctor", "--json", "--config"]);
        let mut command = Command::new(words[0]);
        let Ended { status, stdout, stderr } = run(command.args(&words[1..]).arg(config), SOON);
        let value: Value = serde_json::from_str(&stdout)
            .unwrap_or_else(|error| panic!("{error}: {stdout}\n{stderr}"));
        let expected = match value["worst"].as_str() {
            Some("ok" | "advice") => 0,
            Some("warning") => 1,
            _ => 2,
        };
        assert_eq!(status.code(), Some(expected), "{value}");
        Self(value)
    }

    /// # Panics
    /// When the check has found nothing with these words, or says not what to do.
    fn names(&self, check: &str, words: &str) {
        let findings = self.0["findings"].as_array().expect("a list");
        let is_named = |finding: &&Value| {
            finding["check"] == check
                && finding["level"] != "ok"
                && finding["found"].as_str().is_some_and(|found| found.contains(words))
        };
        let finding = findings.iter().find(is_named);
        let finding = finding.unwrap_or_else(|| panic!("{check} with {words:?}: {:#}", self.0));
        for key in ["advised", "why", "command"] {
            assert!(finding[key].is_string(), "{finding}");
        }
    }
}

fn write(directory: &Path, name: &str, files: &Files) -> PathBuf {
    let text = format!(
        "[gateway]\nworkers = 2\nmax_connections = 5000\n[admin]\nlisten = \"off\"\n[[listener]]\n\
         name = \"main\"\nlisten = \"127.0.0.1:5061\"\nupstream = \"{}\"\n[listener.tls]\n\
         certificate = \"{}\"\ncertificate_key = \"{}\"\n",
        dead_address(),
        files.certificate.display(),
        files.key.display()
    );
    let file = directory.join(name);
    fs::write(&file, text).expect("a writable directory");
    file
}
