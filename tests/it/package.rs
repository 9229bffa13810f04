//! The Debian package, on a fresh root: installed, run as its unit says, upgraded without a connection
//! lost, and removed.
//!
//! No systemd runs in there. The service is started by hand from its unit, and a program in the place of
//! systemctl does to its process what systemd would do.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::client::{Version, assert_echo, close, config, connect};
use crate::support::gateway::free_port;
use crate::support::process::{Ended, Process, gateway_program, run};
use crate::support::{SOON, has_tool, skip, skip_impossible, wait_until};
use crate::systemd::Manager;

/// For what a package manager does.
const LONG: Duration = Duration::from_secs(300);
const MIRROR: &str = "http://deb.debian.org/debian";
const PROGRAM: &str = "/usr/bin/tlsgate";
const UNIT: &str = "lib/systemd/system/tlsgate.service";

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn package_is_installed_upgraded_and_removed() {
    let Some(root) = Root::new() else { return };
    let output = TempDir::new().expect("a temporary directory");
    let [first, second] = ["1.0", "1.1"].map(|version| build(version, output.path()));
    let before = root.files();
    root.install(&first);
    pages_and_completions(&root);
    let demo = root.run(&[PROGRAM, "demo", "--once", "--json", "--state", "/tmp/demo"], LONG);
    assert_eq!(demo.code(), 0, "{}", demo.stderr);

    let backend = Backend::echo();
    let address = root.configure(backend.address());
    let manager = Manager::start(&root.path("run/notify"));
    let service = Service::start(&root, &manager);
    upgrade(&root, &second, &manager, &service, address);

    let removed = root.run(&["dpkg", "--remove", "tlsgate"], LONG);
    assert_eq!(removed.code(), 0, "{}", removed.stderr);
    assert!(!root.runs(&root.main_process()), "it was stopped: {}", removed.stdout);
    let left: Vec<String> = root.files().difference(&before).cloned().collect();
    let is_expected = |path: &&String| !path.starts_with("etc/tlsgate");
    assert_eq!(left.iter().filter(is_expected).count(), 0, "only configuration stays: {left:?}");
    assert!(left.iter().any(|path| path.ends_with("tlsgate.toml")), "and that stays: {left:?}");
}

/// The new version takes over while clients come and go, and while one stays.
fn upgrade(root: &Root, package: &Path, manager: &Manager, service: &Service, address: SocketAddr) {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut kept = connect(address, &config(Version::V13));
    assert_echo(&mut kept, b"before");
    let first = service.id();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut stream = connect(address, &config(Version::V13));
                assert_echo(&mut stream, b"come and gone");
                close(stream);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        let upgraded = root.try_install(package);
        let message = manager.wait_for(first, "MAINPID=");
        let second = message.trim().trim_start_matches("MAINPID=").to_owned();
        fs::write(root.path(MAIN), &second).expect("a writable root");
        manager.wait_for(second.parse().expect("a process id"), "READY=1\nSTATUS=serving\n");
        let so_far = done.load(Ordering::Relaxed);
        wait_until("new connections", SOON, || {
            load.is_finished() || done.load(Ordering::Relaxed) > so_far + 20
        });
        stop.store(true, Ordering::Relaxed);
        load.join().expect("no connection fails");
        assert_eq!(upgraded.code(), 0, "{}", upgraded.stderr);
        let program = fs::metadata(format!("/proc/{second}/exe")).expect("it runs");
        let installed = fs::metadata(root.path(PROGRAM)).expect("installed");
        assert_eq!(program.ino(), installed.ino(), "the new program is what runs");
    });
    assert_echo(&mut kept, b"unharmed");
    close(kept);
}

fn pages_and_completions(root: &Root) {
    let version = root.run(&[PROGRAM, "version"], SOON);
    assert!(version.stdout.starts_with("tlsgate "), "{}", version.stdout);
    for file in [
        "usr/share/man/man1/tlsgate.1.gz",
        "usr/share/man/man1/tlsgate-run.1.gz",
        "usr/share/bash-completion/completions/tlsgate",
        "usr/share/doc/tlsgate/copyright",
    ] {
        assert!(root.path(file).exists(), "{file}");
    }
    let user = fs::read_to_string(root.path("etc/passwd")).expect("readable");
    assert!(user.lines().any(|line| line.starts_with("tlsgate:")), "{user}");
    if has_tool("systemd-analyze") {
        let verified = run(
            Command::new("systemd-analyze")
                .args(["verify", "--recursive-errors=no"])
                .arg(
                    // Programs that it names are looked for there.
                    format!("--root={}", root.directory.display()),
                )
                .arg("tlsgate.service"),
            SOON,
        );
        assert_eq!((verified.code(), verified.stderr.as_str()), (0, ""), "{}", verified.stdout);
    }
}

fn build(version: &str, output: &Path) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/deb/build");
    let mut command = Command::new(script);
    command.args(["--version", version, "--output"]).arg(output);
    // A fast way to pack it.
    command.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    let built = run(command.arg("--program").arg(gateway_program()), LONG);
    assert_eq!(built.code(), 0, "{}", built.stderr);
    PathBuf::from(built.stdout.trim())
}

/// A fresh Debian, with a directory of its own.
struct Root {
    directory: PathBuf,
    _temporary: TempDir,
}

/// Of the service's main process, in a root.
const MAIN: &str = "run/main-process";

/// What systemd would do.
const SYSTEMCTL: &str = "#!/bin/sh
main=$(cat /run/main-process 2>/dev/null)
case \"$*\" in
  'is-active --quiet tlsgate.service') kill -0 \"$main\" ;;
  'kill -s USR2 --kill-whom=main tlsgate.service') kill -USR2 \"$main\" ;;
  'stop --quiet tlsgate.service')
    kill -TERM \"$main\"
    while kill -0 \"$main\" 2>/dev/null && ! grep -q '^State:.Z' /proc/$main/status; do sleep 0.05; done
    ;;
  'is-enabled --quiet tlsgate.service') false ;;
  daemon-reload) ;;
  *) echo \"not expected: systemctl $*\" >&2; exit 1 ;;
esac
";

impl Root {
    /// None, and the check is skipped, where none can be made.
    fn new() -> Option<Self> {
        if !has_tool("debootstrap") || !has_tool("dpkg-deb") || !has_tool("objdump") {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip_impossible("only root can make a root file system");
            return None;
        }
        let temporary = TempDir::new().expect("a temporary directory");
        let directory = temporary.path().join("root");
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", "bookworm"]).arg(&directory).arg(MIRROR);
        let made = run(&mut command, LONG);
        if made.code() != 0 {
            skip(&format!("debootstrap: {} {}", made.stdout, made.stderr));
            return None;
        }
        let root = Self { directory, _temporary: temporary };
        let systemctl = root.path("usr/bin/systemctl");
        fs::write(&systemctl, SYSTEMCTL).expect("a writable root");
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("just written");
        fs::create_dir_all(root.path("run/systemd/system")).expect("a writable root");
        Some(root)
    }

    fn path(&self, within: &str) -> PathBuf {
        self.directory.join(within.trim_start_matches('/'))
    }

    /// A command in the root, with the kernel's file systems. It is the process that is started.
    fn command(&self, words: &[&str]) -> Command {
        const ENTER: &str = "mount -t proc proc \"$0/proc\" && mount --rbind /dev \"$0/dev\" && exec chroot \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", ENTER]).arg(&self.directory).args(words);
        command.env_clear().envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("LC_ALL", "C.UTF-8"),
            ("HOME", "/root"),
        ]);
        command
    }

    fn run(&self, words: &[&str], limit: Duration) -> Ended {
        run(&mut self.command(words), limit)
    }

    fn try_install(&self, package: &Path) -> Ended {
        let within = self.path("tmp/tlsgate.deb");
        fs::copy(package, &within).expect("a writable root");
        let ended = self.run(&["dpkg", "--install", "/tmp/tlsgate.deb"], LONG);
        fs::remove_file(within).expect("just written");
        ended
    }

    fn install(&self, package: &Path) {
        let installed = self.try_install(package);
        assert_eq!(installed.code(), 0, "{}\n{}", installed.stdout, installed.stderr);
    }

    /// Where its listener is.
    fn configure(&self, upstream: SocketAddr) -> SocketAddr {
        let directory = self.path("etc/tlsgate");
        let files = ca().issue(&directory, "server", KeyKind::Ecdsa, &[NAME]);
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let within =
            |path: &Path| format!("/{}", path.strip_prefix(&self.directory).expect("in").display());
        let text = format!(
            "[[listener]]\nname = \"it\"\nlisten = \"{listen}\"\nupstream = \"{upstream}\"\n\
             [listener.tls]\ncertificate = {:?}\ncertificate_key = {:?}\n",
            within(&files.certificate),
            within(&files.key),
        );
        fs::write(directory.join("tlsgate.toml"), text).expect("a writable root");
        for file in [&files.key, &files.certificate] {
            let owned = self.run(&["chown", "tlsgate:", &within(file)], SOON);
            assert_eq!(owned.code(), 0, "{}", owned.stderr);
        }
        listen
    }

    fn main_process(&self) -> String {
        fs::read_to_string(self.path(MAIN)).expect("written before")
    }

    fn runs(&self, process: &str) -> bool {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    }

    /// But for what package managers and programs that run keep for themselves.
    fn files(&self) -> BTreeSet<String> {
        const OWN: [&str; 7] =
            ["var/lib/dpkg", "var/log", "var/cache", "run", "proc", "tmp", "etc/passwd"];
        let found = run(
            Command::new("find").current_dir(&self.directory).args(["-xdev", "-printf", "%P\n"]),
            LONG,
        );
        let is_own = |path: &str| OWN.iter().any(|own| path.starts_with(own));
        // passwd(5) and its like keep what they were before.
        let is_account = |path: &str| {
            ["group", "shadow", "subuid", "subgid", "gshadow"]
                .iter()
                .any(|name| path.trim_end_matches('-') == format!("etc/{name}"))
        };
        let paths = found.stdout.lines().filter(|path| !is_own(path) && !is_account(path));
        paths.map(str::to_owned).collect()
    }
}

/// The service, started as its unit says.
struct Service(Process);

impl Service {
    fn start(root: &Root, manager: &Manager) -> Self {
        let unit = fs::read_to_string(root.path(UNIT)).expect("installed");
        let value = |key: &str| {
            let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
            line.unwrap_or_else(|| panic!("the unit has {key}")).to_owned()
        };
        assert_eq!(value("AmbientCapabilities"), "CAP_NET_BIND_SERVICE");
        let (user, group, start) = (value("User"), value("Group"), value("ExecStart"));
        fs::set_permissions(root.path("run/notify"), fs::Permissions::from_mode(0o666))
            .expect("just bound");
        let mut words = vec!["setpriv", "--reuid", &user, "--regid", &group, "--init-groups"];
        words.extend(["--inh-caps", "+net_bind_service", "--ambient-caps", "+net_bind_service"]);
        words.push("--no-new-privs");
        words.extend(start.split(' '));
        let mut process = Process::start(root.command(&words).env("NOTIFY_SOCKET", "/run/notify"));
        fs::write(root.path(MAIN), process.id().to_string()).expect("a writable root");
        wait_until("it is ready, or has ended", SOON, || {
            assert_eq!(process.poll(), None, "{}", process.stderr().join("\n"));
            let said = manager.receive(Duration::from_millis(50));
            said == Some((process.id(), "READY=1\nSTATUS=serving\n".to_owned()))
        });
        Self(process)
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}
