//! What a container image is made of runs by itself: no shell, no libraries but its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::process::{Ended, gateway_program, run};
use crate::support::{SOON, has_tool, skip_impossible};

/// For packing the program.
const LONG: Duration = Duration::from_secs(120);

#[test]
#[ignore = "run by tests/run, beside others"]
fn container_root_has_what_it_needs() {
    if !["dpkg-deb", "objdump", "chroot", "python3"].into_iter().all(has_tool) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        skip_impossible("only root can enter a root file system");
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let root = directory.path().join("root");
    let package = build(&["tuning/deb/build", "--output"], directory.path());
    build(&["tuning/container/rootfs", package.trim()], &root);
    assert!(!root.join("bin").exists(), "no shell");

    let configuration = root.join("etc/tlsgate");
    ca().issue(&configuration, "server", KeyKind::Ecdsa, &[NAME]);
    let text = "[[listener]]\nname = \"a\"\nlisten = \"0.0.0.0:5061\"\nupstream = \"localhost:5060\"\n\
                [listener.tls]\ncertificate = \"server.pem\"\ncertificate_key = \"server.key\"\n";
    fs::write(configuration.join("tlsgate.toml"), text).expect("a writable directory");
    // Engines bring their own.
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").expect("a writable directory");
    let owned = run(Command::new("chown").args(["-R", USER]).arg(&configuration), SOON);
    assert_eq!(owned.code(), 0, "{}", owned.stderr);
    let checked = enter(&root, &[], &["check", "-c", "/etc/tlsgate/tlsgate.toml"]);
    assert_eq!(checked.code(), 0, "names and files: {}{}", checked.stdout, checked.stderr);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/forbid_io_uring.py");
    // It wants a path.
    let launcher = ["python3", script.to_str().expect("UTF-8"), "EPERM", "/usr/bin/env"];
    let filtered = enter(&root, &launcher, &["version", "-v"]);
    assert!(filtered.stdout.contains("engine:    epoll"), "{}", filtered.stdout);
}

/// The user of the image.
const USER: &str = "65532:65532";

/// Runs a script of ours, whose last argument is a folder; gives what it says.
fn build(words: &[&str], folder: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(words[0]);
    let mut command = Command::new(script);
    command.args(&words[1..]).arg(folder).env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    if words[0].ends_with("deb/build") {
        command.arg("--program").arg(gateway_program());
    }
    let ended = run(&mut command, LONG);
    assert_eq!(ended.code(), 0, "{words:?}: {}", ended.stderr);
    ended.stdout
}

/// The program in its root, as the image's user.
fn enter(root: &Path, launcher: &[&str], arguments: &[&str]) -> Ended {
    let mut words = launcher.to_vec();
    let user = format!("--userspec={USER}");
    let root = root.to_str().expect("a temporary path is UTF-8");
    words.extend(["chroot", &user, root, "/usr/bin/tlsgate"]);
    run(Command::new(words[0]).args(&words[1..]).args(arguments), SOON)
}
