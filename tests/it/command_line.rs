//! The command line: what it says, and its exit codes.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::corpus;
use crate::support::SOON;
use crate::support::backend::dead_address;
use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::gateway::free_port;
use crate::support::process::{Ended, gateway_program, run};

const USAGE: i32 = 2;
const BAD_CONFIG: i32 = 3;
const CANNOT_BIND: i32 = 4;

fn tlsgate(arguments: &[&str]) -> Ended {
    run(Command::new(gateway_program()).args(arguments), SOON)
}

/// Writes a configuration with its certificate; returns its name.
fn write(directory: &Path, listen: &SocketAddr, admin: &SocketAddr) -> String {
    let files = ca().issue(directory, "server", KeyKind::Ecdsa, &[NAME]);
    let text = format!(
        "[admin]\nlisten = \"{admin}\"\n[[listener]]\nname = \"main\"\nlisten = \"{listen}\"\n\
         upstream = \"{}\"\n[listener.tls]\ncertificate = \"{}\"\ncertificate_key = \"{}\"\n",
        dead_address(),
        files.certificate.display(),
        files.key.display()
    );
    let file = directory.join("tlsgate.toml");
    fs::write(&file, text).expect("a writable directory");
    file.to_str().expect("a temporary path is UTF-8").to_owned()
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

#[test]
#[ignore = "run by tests/run"]
fn command_line_check() {
    let directory = TempDir::new().expect("a temporary directory");
    let file = write(directory.path(), &loopback(), &loopback());
    for arguments in [&["check", "-c", &file][..], &["-t", "-c", &file]] {
        let ended = tlsgate(arguments);
        assert_eq!(ended.code(), 0, "{arguments:?}: {}", ended.stderr);
    }
    // Checking binds nothing, so a port in use does not matter.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let file = write(directory.path(), &taken.local_addr().expect("bound"), &loopback());
    assert_eq!(tlsgate(&["check", "-c", &file]).code(), 0);
}

#[test]
#[ignore = "run by tests/run"]
fn command_line_bad_config() {
    let directory = TempDir::new().expect("a temporary directory");
    let file = directory.path().join("bad.toml");
    let name = file.to_str().expect("a temporary path is UTF-8");
    fs::write(
        &file,
        "[gateway]\nworkers = \"many\"\n\n[[listener]]\nname = \"main\"\nlisten = \"nowhere\"\n\
         upstraem = \"127.0.0.1:1\"\n[listener.timeouts]\nconnect = \"3 parsecs\"\n",
    )
    .expect("a writable directory");
    for arguments in [&["run", "-c", name][..], &["check", "-c", name], &["-t", "-c", name]] {
        let ended = tlsgate(arguments);
        assert_eq!(ended.code(), BAD_CONFIG, "{arguments:?}: {}", ended.stderr);
        // All of them at once, each with its line.
        for (line, word) in [(2, "workers"), (6, "listen"), (7, "upstraem"), (9, "connect")] {
            let place = format!("bad.toml:{line}");
            let told = ended.stderr.lines().any(|text| text.contains(&place));
            assert!(told && ended.stderr.contains(word), "{place} {word}: {}", ended.stderr);
        }
        // A slip of the pen gets a hint.
        assert!(ended.stderr.contains("upstream"), "{}", ended.stderr);
    }
    assert_eq!(tlsgate(&["run", "-c", "/does/not/exist.toml"]).code(), BAD_CONFIG);
}

#[test]
#[ignore = "run by tests/run"]
fn command_line_bad_files() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().expect("a temporary directory");
    let file = write(directory.path(), &loopback(), &loopback());
    let key = directory.path().join("server.key");
    // A private key that everybody may read.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("its owner may");
    let ended = tlsgate(&["check", "-c", &file]);
    assert_eq!(ended.code(), BAD_CONFIG, "{}", ended.stderr);
    assert!(ended.stderr.contains("server.key"), "{}", ended.stderr);
    // A key of another certificate.
    let other = ca().issue(directory.path(), "other", KeyKind::Ecdsa, &[NAME]);
    fs::remove_file(&key).and_then(|()| fs::rename(&other.key, &key)).expect("its owner may");
    let ended = tlsgate(&["check", "-c", &file]);
    assert_eq!(ended.code(), BAD_CONFIG, "{}", ended.stderr);
    // No certificate at all.
    fs::remove_file(directory.path().join("server.pem")).expect("its owner may");
    let ended = tlsgate(&["check", "-c", &file]);
    assert_eq!(ended.code(), BAD_CONFIG, "{}", ended.stderr);
    assert!(ended.stderr.contains("server.pem"), "{}", ended.stderr);
}

/// The messages themselves are compared in tests/mistakes.
#[test]
#[ignore = "run by tests/run"]
fn command_line_every_mistake() {
    let mistakes = corpus::all();
    let refused = mistakes.iter().filter(|mistake| mistake.is_refused());
    assert!(refused.clone().count() >= 60);
    for mistake in refused {
        let directory = TempDir::new().expect("a temporary directory");
        let file = mistake.write(directory.path());
        let name = file.to_str().expect("a temporary path is UTF-8");
        for arguments in [&["check", "-c", name][..], &["run", "-c", name]] {
            let ended = tlsgate(arguments);
            assert_eq!(ended.code(), BAD_CONFIG, "{}: {}", mistake.title, ended.stderr);
            assert!(ended.stderr.starts_with(name), "{}: {}", mistake.title, ended.stderr);
        }
        let json = tlsgate(&["check", "--json", "-c", name]);
        let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
        let errors = json["errors"].as_array().expect("a list");
        assert!(!errors.is_empty(), "{}: {json}", mistake.title);
    }
}

#[test]
#[ignore = "run by tests/run"]
fn command_line_ticket_secret() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().expect("a temporary directory");
    let file = write(directory.path(), &loopback(), &loopback());
    let text = fs::read_to_string(&file).expect("just written");
    fs::write(&file, format!("[resumption]\nticket_secret = \"ticket.secret\"\n{text}"))
        .expect("a writable directory");
    let secret = directory.path().join("ticket.secret");
    let check = |content: &str, mode| {
        fs::write(&secret, content).expect("a writable directory");
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).expect("its owner may");
        tlsgate(&["check", "-c", &file])
    };
    let [one, two] = [0, 1].map(|_| format!("{}\n", tlsgate(&["secret"]).stdout));
    assert_ne!(one, two);
    let ended = check(&format!("{one}{two}"), 0o600);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    for (content, mode, found) in [
        (one.as_str(), 0o640, "mode 0640"),
        ("", 0o600, "no secret"),
        ("aabb", 0o600, "line 1: 2 bytes"),
        ("# mine\npassword!", 0o600, "line 2: neither hex nor base64"),
        (&one.repeat(2), 0o600, "line 2: the secret of line 1 again"),
    ] {
        let ended = check(content, mode);
        assert_eq!(ended.code(), BAD_CONFIG, "{found}: {}", ended.stderr);
        for part in ["tlsgate.toml:2:1: resumption.ticket_secret", found, "hint:"] {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("password"), "{}", ended.stderr);
    }
    fs::remove_file(&secret).expect("a writable directory");
    let ended = tlsgate(&["check", "-c", &file]);
    assert_eq!(ended.code(), BAD_CONFIG, "{}", ended.stderr);
    assert!(ended.stderr.contains("No such file"), "{}", ended.stderr);
}

#[test]
#[ignore = "run by tests/run"]
fn command_line_port_in_use() {
    let directory = TempDir::new().expect("a temporary directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (taken, address)).expect("bound");
    for file in [
        write(directory.path(), &taken.1, &loopback()),
        write(directory.path(), &loopback(), &taken.1),
    ] {
        let ended = tlsgate(&["run", "-c", &file]);
        assert_eq!(ended.code(), CANNOT_BIND, "{}", ended.stderr);
        let port = taken.1.port().to_string();
        assert!(ended.stderr.contains(&port), "the port is named: {}", ended.stderr);
    }
}

#[test]
#[ignore = "run by tests/run"]
fn command_line_usage() {
    for wrong in [&[][..], &["fly"], &["run"], &["run", "--sideways"], &["-t"]] {
        let ended = tlsgate(wrong);
        assert_eq!(ended.code(), USAGE, "{wrong:?}: {}", ended.stderr);
    }
    let ended = tlsgate(&["version", "-v"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", ended.stdout);
}
