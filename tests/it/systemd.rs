//! As a service of systemd: what it is told, its watchdog, its sockets, the unit files.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};
use rustix::process::Signal;

use crate::support::backend::Backend;
use crate::support::client::{Version, assert_echo, close, config, connect};
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::process::{Process, run};
use crate::support::{SOON, engines, has_tool, skip_impossible, wait_until};

/// How often the watchdog wants to hear something.
const WATCHDOG: Duration = Duration::from_secs(2);

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn systemd_notify_and_watchdog() {
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).workers(2);
        let manager = Manager::start(&setup.directory().join("notify"));
        let mut gateway = setup.under(&manager.environment()).start();
        let first = gateway.id();
        manager.wait_for(first, "READY=1\nSTATUS=serving\n");
        manager.wait_for(first, "WATCHDOG=1\n");
        manager.wait_for(first, "WATCHDOG=1\n");
        assert!(gateway.reload());
        let reloading = manager.wait_for(first, "RELOADING=1\nMONOTONIC_USEC=");
        let time = reloading.trim_end().rsplit('=').next().expect("a value");
        assert!(time.parse::<u64>().is_ok(), "{reloading}");
        manager.wait_for(first, "READY=1\nSTATUS=serving generation 2\n");
        gateway.restart();
        let second = gateway.id();
        manager.wait_for(first, &format!("MAINPID={second}\n"));
        manager.wait_for(second, "READY=1\nSTATUS=serving\n");
        manager.wait_for(second, "WATCHDOG=1\n");
        manager.wait_for(second, "WATCHDOG=1\n");
        a_worker_that_hangs(&gateway, &manager);
        let stream = connect(gateway.address(), &config(Version::V13));
        gateway.signal(Signal::TERM);
        manager.wait_for(second, "STOPPING=1\nSTATUS=draining\n");
        // The worker without connections has ended, the other has not.
        wait_until("one has ended", SOON, || ended(&gateway) == 1);
        manager.forget();
        for _ in 0..3 {
            manager.wait_for(second, "WATCHDOG=1\n");
        }
        close(stream);
        let ended = gateway.wait(SOON);
        assert_eq!(ended.code(), 0, "{engine:?}: {}", ended.stderr);
    }
}

/// Workers that have nothing left to do.
fn ended(gateway: &Gateway) -> usize {
    let status = gateway.status();
    let shards = status["shards"].as_array().expect("a list");
    shards.iter().filter(|shard| shard["ended"] == true).count()
}

/// While a thread is held, the watchdog is not told that all is well.
fn a_worker_that_hangs(gateway: &Gateway, manager: &Manager) {
    let Some(mut holder) = hold_worker(gateway.id()) else { return };
    wait_until("it is noticed", SOON, || gateway.stderr().contains("a worker does not answer"));
    manager.forget();
    let since = Instant::now();
    while since.elapsed() < 2 * WATCHDOG {
        if let Some((_, message)) = manager.receive(WATCHDOG / 4) {
            assert!(!message.contains("WATCHDOG=1"), "after {:?}: {message}", since.elapsed());
        }
    }
    // Its end lets the thread go on.
    drop(holder.stdin());
    holder.wait(SOON);
    manager.wait_for(gateway.id(), "WATCHDOG=1\n");
}

/// A program that holds the first worker's thread of a process until its input ends.
pub(crate) fn hold_worker(pid: u32) -> Option<Process> {
    const SCRIPT: &str = "
import ctypes, sys
SEIZE, INTERRUPT = 0x4206, 0x4207
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
thread = int(sys.argv[1])
if ptrace(SEIZE, thread, 0, 0) != 0 or ptrace(INTERRUPT, thread, 0, 0) != 0:
    sys.exit('errno %d' % ctypes.get_errno())
print('held', flush=True)
sys.stdin.read()
";
    if !has_tool("python3") {
        return None;
    }
    let thread = worker_thread(pid).to_string();
    let mut holder = Process::start(Command::new("python3").args(["-c", SCRIPT, &thread]));
    let is_held = |holder: &Process| holder.stdout().iter().any(|line| line == "held");
    wait_until("the thread is held, or not", SOON, || is_held(&holder) || holder.poll().is_some());
    if !is_held(&holder) {
        skip_impossible(&format!("no thread can be held here: {}", holder.stderr().join(" ")));
        return None;
    }
    Some(holder)
}

fn worker_thread(pid: u32) -> u32 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process of our own");
    for task in tasks {
        let task = task.expect("an entry");
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.trim_end() == "shard-0" {
            let number = task.file_name().into_string().expect("digits");
            return number.parse().expect("a number");
        }
    }
    panic!("no thread is called shard-0");
}

/// What systemd is towards a service: it hears what is said, and who says it.
pub(crate) struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    pub(crate) fn start(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a new path");
        sockopt::set_socket_passcred(&socket, true).expect("a unix socket");
        Self { socket, name: path.display().to_string() }
    }

    /// A launcher that sets the service's environment.
    fn environment(&self) -> [String; 3] {
        [
            "env".to_owned(),
            format!("NOTIFY_SOCKET={}", self.name),
            format!("WATCHDOG_USEC={}", WATCHDOG.as_micros()),
        ]
    }

    /// The next message that begins so; its sender must be that one.
    pub(crate) fn wait_for(&self, sender: u32, beginning: &str) -> String {
        let deadline = Instant::now() + SOON;
        let mut others = Vec::new();
        while Instant::now() < deadline {
            match self.receive(Duration::from_millis(100)) {
                Some((pid, message)) if message.starts_with(beginning) => {
                    assert_eq!(pid, sender, "who says {message:?}");
                    return message;
                }
                Some(other) => others.push(other),
                None => {}
            }
        }
        panic!("{sender} does not say {beginning:?}, but there was {others:?}");
    }

    pub(crate) fn receive(&self, limit: Duration) -> Option<(u32, String)> {
        self.socket.set_read_timeout(Some(limit)).expect("not zero");
        let mut message = [0; 1000];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [io::IoSliceMut::new(&mut message)];
        let received =
            recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::empty()).ok()?.bytes;
        let credentials = control.drain().find_map(|part| match part {
            RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials),
            _ => None,
        });
        let pid = credentials.expect("the kernel adds them").pid.as_raw_nonzero().get();
        let text = String::from_utf8_lossy(&message[..received]).into_owned();
        Some((pid.unsigned_abs(), text))
    }

    /// What was said so far does not count.
    fn forget(&self) {
        while self.receive(Duration::from_millis(1)).is_some() {}
    }
}

#[test]
#[ignore = "run by tests/run"]
fn socket_activation() {
    let backend = Backend::echo();
    for engine in engines() {
        let [one, two] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let addresses = [&one, &two].map(|listener| listener.local_addr().expect("bound"));
        let setup = Setup::new(engine, backend.address()).workers(2);
        let path = setup.directory().join("activated.sock");
        let web = UnixListener::bind(&path).expect("a new path");
        let sockets = [inheritable(&one), inheritable(&two), inheritable(&web)];
        drop((one, two, web));
        let upstream = backend.address().to_string();
        let mut gateway = setup
            .under(&activate(&sockets, "sip:sip:web"))
            .another("sip", "systemd:sip", &upstream)
            .another("web", "systemd:web", &upstream)
            .start();
        drop(sockets);
        let serves = |gateway: &Gateway| {
            for address in addresses {
                for _ in 0..4 {
                    let mut stream = connect(address, &config(Version::V13));
                    assert_echo(&mut stream, b"hello");
                    close(stream);
                }
            }
            // Some may still have been accepted by the process before.
            wait_until("both listeners have connections", SOON, || {
                drop(UnixStream::connect(&path).expect("somebody listens"));
                drop(TcpStream::connect(addresses[0]).expect("somebody listens"));
                let metrics = gateway.metrics();
                ["sip", "web"].into_iter().all(|name| {
                    let labels = [("listener", name)];
                    metrics.count("tlsgate_connections_accepted_total", &labels) > 0
                })
            });
        };
        serves(&gateway);
        for _ in 0..2 {
            gateway.restart();
            serves(&gateway);
        }
        // Another name is said to be none, with those that there are.
        gateway.rewrite(|text| text.replace("systemd:web", "systemd:wep"));
        assert!(!gateway.reload(), "{engine:?}");
        let why = gateway.status()["config"]["last_failure"].to_string();
        assert!(why.contains("no socket of that name (but sip, web)"), "{engine:?}: {why}");
    }
}

/// A descriptor of the same socket, which programs that are started inherit.
fn inheritable(socket: impl AsFd) -> OwnedFd {
    // Out of the way of those that the launcher makes.
    let copy = fcntl_dupfd_cloexec(socket, 100).expect("a descriptor");
    fcntl_setfd(&copy, FdFlags::empty()).expect("an open socket");
    copy
}

/// A launcher that passes sockets as systemd does.
fn activate(sockets: &[OwnedFd], names: &str) -> [String; 4] {
    let redirections: Vec<String> = sockets
        .iter()
        .zip(3..)
        .map(|(socket, number)| format!("{number}<&{0} {0}<&-", socket.as_raw_fd()))
        .collect();
    let script = format!(
        "exec {}; export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={names}; exec \"$@\"",
        redirections.join(" "),
        sockets.len(),
    );
    ["bash", "-c", &script, "bash"].map(str::to_owned)
}

/// As [`socket_activation`], by systemd's own program.
#[test]
#[ignore = "run by tests/run"]
fn socket_activation_by_systemd() {
    if !has_tool("systemd-socket-activate") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let launcher = [
            "systemd-socket-activate".to_owned(),
            format!("--listen={address}"),
            "--fdname=sip".to_owned(),
        ];
        // The first who connects makes it start the gateway.
        let first = std::thread::spawn(move || {
            let mut first = None;
            wait_until("the port is open", SOON, || {
                first = TcpStream::connect(address).ok();
                first.is_some()
            });
            first
        });
        let mut gateway = Setup::new(engine, backend.address())
            .under(&launcher)
            .another("sip", "systemd:sip", &backend.address().to_string())
            .start();
        drop(first.join().expect("no panic"));
        for _ in 0..2 {
            let mut stream = connect(address, &config(Version::V13));
            assert_echo(&mut stream, b"hello");
            close(stream);
            gateway.restart();
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn systemd_unit_files() {
    if !has_tool("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/systemd");
    let mut files = Vec::new();
    for name in ["tlsgate.service", "tlsgate.socket"] {
        let text = fs::read_to_string(units.join(name)).expect("a unit file");
        // The program and its user are not installed here.
        let text = text.replace("/usr/local/bin/tlsgate", "/bin/true");
        let text = text.replace("=tlsgate\nGroup=tlsgate", "=root\nGroup=root");
        files.push(directory.path().join(name));
        fs::write(files.last().expect("just put there"), text).expect("a writable directory");
    }
    let ended = run(Command::new("systemd-analyze").arg("verify").args(&files), SOON);
    let complaints: Vec<&str> =
        ended.stderr.lines().filter(|line| line.contains("tlsgate.")).collect();
    assert!(complaints.is_empty() && ended.code() == 0, "{}", ended.stderr);
}
