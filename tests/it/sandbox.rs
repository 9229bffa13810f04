//! What a gateway keeps itself to: tried from inside, and told from outside.

use std::ffi::c_long;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;
use tlsgate::sandbox::{Access, Place, Role, Sandbox, Threads};

use crate::support::backend::Backend;
use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::client::{Version, assert_echo, close, config, connect};
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::Process;
use crate::support::{Engine, SOON, engines, skip_impossible, wait_until};

/// What whoever has taken a gateway over might try next.
const CALLS: [(&str, c_long); 24] = [
    ("execve", libc::SYS_execve),
    ("execveat", libc::SYS_execveat),
    ("ptrace", libc::SYS_ptrace),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("kill", libc::SYS_kill),
    ("mount", libc::SYS_mount),
    ("move_mount", libc::SYS_move_mount),
    ("pivot_root", libc::SYS_pivot_root),
    ("chroot", libc::SYS_chroot),
    ("setns", libc::SYS_setns),
    ("unshare", libc::SYS_unshare),
    ("setresuid", libc::SYS_setresuid),
    ("setgroups", libc::SYS_setgroups),
    ("capset", libc::SYS_capset),
    ("bpf", libc::SYS_bpf),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("memfd_create", libc::SYS_memfd_create),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("keyctl", libc::SYS_keyctl),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_uring_register", libc::SYS_io_uring_register),
];

#[test]
#[ignore = "run by tests/run, beside others"]
fn sandbox_lets_nobody_out() {
    let folders = TempDir::new().expect("a temporary directory");
    let at = |name: &str| folders.path().join(name);
    for folder in ["tls", "log", "run", "outside"] {
        fs::create_dir(at(folder)).expect("a writable directory");
    }
    for file in ["tls/server.pem", "outside/secret"] {
        fs::write(at(file), "text").expect("a writable directory");
    }
    let other = Process::start(Command::new("sleep").arg("1000"));
    let memory = format!("/proc/{}/mem", other.id());
    // All that is given up is a matter of the thread here.
    let tried = std::thread::spawn(move || {
        let places = [
            ("tls/server.pem", Access::Read),
            ("log/access.log", Access::Log),
            ("run/control", Access::Socket),
        ];
        let places = places.map(|(name, access)| Place { path: folders.path().join(name), access });
        let mut sandbox = Sandbox::enter(&places, false);
        sandbox.close(Role::Gateway, Threads::This);
        files(folders.path(), &memory, &sandbox);
        calls();
    });
    tried.join().expect("nobody gets out");
    other.signal(Signal::KILL);
    other.wait(SOON);
}

fn files(folders: &Path, memory: &str, sandbox: &Sandbox) {
    let lacking = sandbox.parts().iter().find(|part| part.what == "files" && part.holds.is_err());
    if let Some(part) = lacking {
        return skip_impossible(&part.to_string());
    }
    let at = |name: &str| folders.join(name);
    let append = |path: &Path| OpenOptions::new().append(true).create(true).open(path).map(drop);
    File::open(at("tls/server.pem")).expect("it was named");
    append(&at("log/access.log.1")).expect("it is where logs are");
    let socket = at("run/.other");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("it is where sockets are"));
    fs::rename(&socket, at("run/control")).expect("it takes the place of another");
    fs::remove_file(at("run/control")).expect("it is where sockets are");
    fs::metadata(at("outside/secret")).expect("that it is there is no secret");
    let refused = [
        File::open(at("outside/secret")).map(drop),
        File::open("/etc/shadow").map(drop),
        File::open(memory).map(drop),
        append(&at("outside/secret")),
        append(&at("tls/server.pem")),
        append(&at("tls/new.pem")),
        File::open(at("log/access.log.1")).map(drop),
        fs::write("/tmp/tlsgate-was-here", ""),
        fs::remove_file(at("tls/server.pem")),
        fs::remove_file(at("log/access.log.1")),
        fs::rename(at("log/access.log.1"), at("run/access.log.1")),
        std::os::unix::net::UnixListener::bind(at("log/socket")).map(drop),
    ];
    for (number, result) in refused.into_iter().enumerate() {
        let error = result.expect_err(&format!("refused: {number}"));
        // Of folders that differ, a file cannot be moved (EXDEV).
        let is_refused = [ErrorKind::PermissionDenied, ErrorKind::CrossesDevices];
        assert!(is_refused.contains(&error.kind()), "{number}: {error}");
    }
}

fn calls() {
    for (name, number) in CALLS {
        assert_eq!(refusal(number, [0; 4]), Some(libc::ENOSYS), "{name}");
    }
    let [stream, raw] = [libc::SOCK_STREAM, libc::SOCK_RAW].map(c_long::from);
    let [internet, packet] = [libc::AF_INET, libc::AF_PACKET].map(c_long::from);
    let executable = c_long::from(libc::PROT_READ | libc::PROT_EXEC);
    let anonymous = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    for (name, number, arguments) in [
        ("a packet socket", libc::SYS_socket, [packet, raw, 0, 0]),
        ("a raw socket", libc::SYS_socket, [internet, raw, 255, 0]),
        ("code that was written", libc::SYS_mmap, [0, 4096, executable, anonymous]),
        ("a namespace", libc::SYS_clone, [c_long::from(libc::CLONE_NEWUSER), 0, 0, 0]),
        ("a dump", libc::SYS_prctl, [c_long::from(libc::PR_SET_MM), 0, 0, 0]),
        ("input for a terminal", libc::SYS_ioctl, [0, 0x5412, 0, 0]),
    ] {
        assert_eq!(refusal(number, arguments), Some(libc::ENOSYS), "{name}");
    }
    assert_eq!(refusal(libc::SYS_socket, [internet, stream, 0, 0]), None, "dialling goes on");
    let shell = Command::new("/bin/sh").arg("-c").arg("exit 0").spawn();
    assert_eq!(shell.expect_err("no shell").kind(), ErrorKind::Unsupported);
    assert!(io_uring::IoUring::new(8).is_err(), "no ring that takes every operation");
    assert_eq!(std::thread::spawn(|| 7).join().expect("threads go on"), 7);
}

/// The error of a system call.
fn refusal(number: c_long, [a, b, c, d]: [c_long; 4]) -> Option<i32> {
    // SAFETY: no argument is the address of anything, and a call that is not refused, which fails the
    // check, changes nothing that this process's other threads rest on.
    let result = unsafe { libc::syscall(number, a, b, c, d, -1, 0) };
    (result == -1).then(|| std::io::Error::last_os_error().raw_os_error()).flatten()
}

#[test]
#[ignore = "run by tests/run"]
fn sandbox_holds_for_every_thread_and_a_successor_begins_anew() {
    let backend = Backend::echo();
    for engine in engines() {
        let mut gateway = Setup::new(engine, backend.address()).start();
        assert_is_inside(&gateway, engine);
        let mut kept = connect(gateway.address(), &config(Version::V13));
        assert_echo(&mut kept, b"before");

        // Certificates in a folder that it did not name at start.
        let other = TempDir::new().expect("a temporary directory");
        ca().issue(other.path(), "server", KeyKind::Ecdsa, &[NAME, "127.0.0.1"]);
        let (here, there) = (gateway.directory().to_owned(), other.path().to_owned());
        let [here, there] = [&here, &there].map(|path| path.display().to_string());
        gateway.rewrite(|text| text.replace(&here, &there));
        let has_files =
            gateway.status()["sandbox"].as_str().is_some_and(|it| it.contains("landlock"));
        if has_files {
            assert!(!gateway.reload(), "{engine:?}");
            let log = gateway.stderr();
            for words in
                ["certificate_key", "outside of the folders that this process has kept", "USR2"]
            {
                assert!(log.contains(words), "{words}: {log}");
            }
            let refused = gateway.status()["config"]["last_failure"].to_string();
            assert!(refused.contains("outside of the folders"), "{refused}");
        } else {
            skip_impossible("the kernel has no landlock");
        }
        assert_echo(&mut kept, b"it runs on");
        gateway.restart();
        assert_is_inside(&gateway, engine);
        assert!(gateway.reload(), "the new process has the new folder");
        let mut stream = connect(gateway.address(), &config(Version::V13));
        assert_echo(&mut stream, b"anew");
        assert_echo(&mut kept, b"still");
        close(stream);
        close(kept);
    }
}

/// All threads, and what is said about it.
fn assert_is_inside(gateway: &Gateway, engine: Engine) {
    // chown, dac_override, dac_read_search, fowner, net_bind_service (linux/capability.h).
    const KEPT: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 10;
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.id())).expect("it runs");
    for task in tasks {
        // One that looked something up may have ended.
        let Ok(status) = fs::read_to_string(task.expect("an entry").path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        let name = field("Name");
        assert_eq!([field("Seccomp"), field("NoNewPrivs")], ["2", "1"], "{name}");
        for set in ["CapPrm", "CapEff"] {
            let held = u64::from_str_radix(&field(set), 16).expect("a number");
            assert_eq!(held & !KEPT, 0, "{name}: {set}");
        }
    }
    let said = gateway.status()["sandbox"].as_str().expect("text").to_owned();
    assert!(said.contains("system calls: seccomp"), "{said}");
    assert_eq!(said.contains("rings: restrictions"), engine == Engine::Uring, "{said}");
    let logged = || gateway.stderr().contains("system calls: seccomp");
    wait_until("it is in the log", SOON, logged);
}

#[test]
#[ignore = "run by tests/run"]
fn sandbox_that_is_off_keeps_nothing() {
    let backend = Backend::echo();
    let setup = Setup::new(Engine::Epoll, backend.address()).gateway("sandbox = \"off\"");
    let gateway = setup.start();
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id())).expect("it runs");
    assert_eq!(gateway.status()["sandbox"], "off");
    assert!(status.contains("NoNewPrivs:\t0"), "{status}");
    let other = TempDir::new().expect("a temporary directory");
    let log = other.path().join("access.log");
    gateway.rewrite(|text| text.replace("\"stdout\"", &format!("\"file:{}\"", log.display())));
    assert!(gateway.reload() && log.exists());
}
