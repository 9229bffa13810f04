//! Where the access log goes besides a stream, and which connections get a line.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::client::{
    Version, assert_echo, close, config, connect, connect_plain, local, resuming_config,
};
use crate::support::gateway::{Gateway, LISTENER, Setup};
use crate::support::process::{Process, run};
use crate::support::{SOON, engines, has_tool, skip_impossible, wait_for, wait_until};

const JOURNALD: &str = "/lib/systemd/systemd-journald";
const DROPPED: &str = "tlsgate_access_log_dropped_lines_total";
const SUPPRESSED: &str = "tlsgate_access_log_suppressed_lines_total";

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn access_log_receivers() {
    let tools = ["rsyslogd", "journalctl", "unshare"];
    if !tools.into_iter().all(has_tool) {
        return;
    }
    let Some(journal) = Journal::start() else { return };
    let (backend, syslog) = (Backend::echo(), Syslog::start());
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        write_to(&gateway, &format!("syslog:{}", syslog.socket().display()));
        let peer = once(&gateway);
        let told = wait_for("a line of syslog", SOON, || syslog.line_of(peer));
        assert_eq!(told.head, expected_head(&gateway, &told.line), "{engine:?}");
        assert_told(&told.line, &backend);

        write_to(&gateway, &format!("journald:{}", journal.socket().display()));
        let peer = once(&gateway);
        let entry = wait_for("an entry of the journal", SOON, || journal.entry_of(peer));
        let field = |key: &str| entry[key].as_str().unwrap_or_else(|| panic!("{key}: {entry}"));
        assert_eq!(field("_PID"), gateway.id().to_string(), "{engine:?}: as journald sees it");
        assert_eq!((field("PRIORITY"), field("SYSLOG_FACILITY")), ("6", "16"));
        let summary = format!("event=connection listener={LISTENER} route={LISTENER} peer={peer}");
        assert!(field("MESSAGE").starts_with(&summary), "{entry}");
        let of_ours = |(key, value): (&String, &Value)| {
            key.strip_prefix("TLSGATE_").map(|key| (key.to_lowercase(), value.clone()))
        };
        let fields = entry.as_object().into_iter().flatten().filter_map(of_ours);
        assert_told(&fields.collect(), &backend);

        a_journald_that_hangs(&gateway, &journal);
    }
}

/// Sends the log there, under a facility of its own.
fn write_to(gateway: &Gateway, access: &str) {
    let with = |line: &str| {
        if line.starts_with("access = ") { format!("access = {access:?}") } else { line.to_owned() }
    };
    let facility = "access_facility = \"local0\"";
    gateway.rewrite(|text| {
        let text = text
            .replace(&format!("{facility}\n"), "")
            .replace("[log]\n", &format!("[log]\n{facility}\n"));
        text.lines().map(with).collect::<Vec<_>>().join("\n")
    });
    assert!(gateway.reload());
}

/// A connection that ends well.
fn once(gateway: &Gateway) -> SocketAddr {
    let mut stream = connect(gateway.address(), &config(Version::V13));
    assert_echo(&mut stream, b"once");
    let peer = local(&stream);
    close(stream);
    peer
}

fn assert_told(line: &Value, backend: &Backend) {
    let upstream = backend.address().to_string();
    for (key, expected) in [
        ("event", "connection"),
        ("listener", LISTENER),
        ("upstream", &upstream),
        ("reason", "finished"),
        ("tls_version", "TLSv1.3"),
        ("sni", "localhost"),
    ] {
        assert_eq!(line[key], expected, "{line}");
    }
}

/// Nobody who connects notices a receiver that does not read; what it misses is counted.
fn a_journald_that_hangs(gateway: &Gateway, journal: &Journal) {
    journal.process.signal(Signal::STOP);
    let keeps = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").expect("Linux");
    let keeps: usize = keeps.trim().parse().expect("a number");
    for _ in 0..keeps + 20 {
        drop(connect_plain(gateway.address()));
    }
    once(gateway);
    wait_until("lines are lost and counted", SOON, || {
        gateway.metrics().count(DROPPED, &[("cause", "blocked")]) > 0
    });
    assert!(gateway.stderr().contains("the access log cannot be written"));
    once(gateway);
    let shared = &gateway.status()["shared"];
    assert!(shared["access_log_dropped_blocked"].as_u64() > Some(0), "{shared}");
    assert_eq!(shared["access_log_dropped_queue"], 0);
    journal.process.signal(Signal::CONT);
    wait_for("entries again", SOON, || journal.entry_of(once(gateway)));
}

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn access_log_thinned_out() {
    const ONE_IN: u64 = 5;
    const FAILED: u64 = 30;
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        let log = |lines: &str| {
            gateway.rewrite(|text| text.replace("[log]\n", &format!("[log]\n{lines}\n")));
            assert!(gateway.reload());
        };
        log(&format!("access_sample = {ONE_IN}"));
        let resuming = resuming_config(Version::V13);
        for _ in 0..4 * ONE_IN {
            close(connect(gateway.address(), &resuming));
        }
        let suppressed = |cause| gateway.metrics().count(SUPPRESSED, &[("cause", cause)]);
        wait_until("all but one in so many", SOON, || suppressed("sample") == 4 * (ONE_IN - 1));
        let lines = gateway.at_least(4);
        assert_eq!(lines.len(), 4, "{engine:?}");
        for line in lines {
            line.assert_ended("finished", "downstream", "relay");
            assert_eq!(line.number("weight"), ONE_IN);
        }

        // Failures are not sampled, but there may be too many of them, too.
        log("access_rate = 1\naccess_burst = 5");
        for _ in 0..FAILED {
            drop(connect_plain(gateway.address()));
        }
        let missing = wait_for("what is missing is told", SOON, || {
            gateway.events("lines_suppressed").first().cloned()
        });
        let missing = missing["lines"].as_u64().expect("a number");
        let told = u64::try_from(gateway.lines().len()).expect("few") - 4;
        assert_eq!((told + missing, suppressed("rate")), (FAILED, missing), "{engine:?}");
        assert!((5..FAILED).contains(&told), "{told}");
        assert!(gateway.stderr().contains("the access log is at its limit"));
        assert_eq!(gateway.metrics().count(DROPPED, &[]), 0);
    }
}

/// systemd's journal in a /run of its own.
struct Journal {
    process: Process,
    run: TempDir,
}

impl Journal {
    /// `None`, said, where it cannot be had.
    fn start() -> Option<Self> {
        if !Path::new(JOURNALD).exists() {
            skip_impossible("there is no systemd-journald");
            return None;
        }
        let run = TempDir::new().expect("a temporary directory");
        // It leaves the kernel's log and audit alone, and keeps whatever comes.
        let script = format!(
            "mount --bind {} /run && mkdir -p /run/log/journal /run/systemd/journald.conf.d && \
             printf '[Journal]\\nReadKMsg=no\\nAudit=no\\nRateLimitBurst=0\\n' \
             >/run/systemd/journald.conf.d/it.conf && exec {JOURNALD}",
            run.path().display()
        );
        let unshare = ["--mount", "--propagation", "private", "sh", "-c", &script];
        let mut process = Process::start(Command::new("unshare").args(unshare));
        let ended = wait_for("journald, or its end", SOON, || match process.poll() {
            None => run.path().join(SOCKET).exists().then_some(None),
            Some(status) => Some(Some(status)),
        });
        match ended {
            None => Some(Self { process, run }),
            Some(status) => {
                let why = process.stderr().join(" ");
                skip_impossible(&format!("journald in a /run of its own: {status}, {why}"));
                None
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.run.path().join(SOCKET)
    }

    /// As journalctl has it.
    fn entry_of(&self, peer: SocketAddr) -> Option<Value> {
        let mut journalctl = Command::new("journalctl");
        journalctl.arg("--directory").arg(self.run.path().join("log/journal"));
        journalctl.args(["--output", "json", "--identifier", "tlsgate"]);
        let found = run(journalctl.arg(format!("TLSGATE_PEER={peer}")), SOON);
        serde_json::from_str(found.stdout.lines().next()?).ok()
    }
}

const SOCKET: &str = "systemd/journal/socket";

/// rsyslog, with a socket and a file of its own.
struct Syslog {
    directory: TempDir,
    _process: Process,
}

/// What it has made of a message.
struct Told {
    /// Name, process, kind, facility, severity and time.
    head: Vec<String>,
    line: Value,
}

impl Syslog {
    fn start() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let place = directory.path().display();
        // Messages are those of RFC 5424: the special parser is for the C library's.
        let configuration = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{place}/log\" useSpecialParser=\"off\" \
             IgnoreTimestamp=\"off\" RateLimit.Interval=\"0\")\n\
             template(name=\"parts\" type=\"string\" string=\"%app-name%|%procid%|%msgid%|\
             %syslogfacility-text%|%syslogseverity-text%|%timereported:::date-rfc3339%|%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{place}/messages\" template=\"parts\")\n"
        );
        let file = directory.path().join("rsyslog.conf");
        fs::write(&file, configuration).expect("a writable directory");
        let mut command = Command::new("rsyslogd");
        command.arg("-n").arg("-f").arg(&file).arg("-i").arg(directory.path().join("pid"));
        let process = Process::start(&mut command);
        let this = Self { directory, _process: process };
        wait_until("rsyslog's socket", SOON, || this.socket().exists());
        this
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn line_of(&self, peer: SocketAddr) -> Option<Told> {
        let text = fs::read_to_string(self.directory.path().join("messages")).ok()?;
        text.lines().find_map(|line| {
            let mut parts: Vec<&str> = line.splitn(7, '|').collect();
            let line: Value = serde_json::from_str(parts.pop()?).ok()?;
            let head = parts.into_iter().map(str::to_owned).collect();
            (line["peer"] == peer.to_string()).then_some(Told { head, line })
        })
    }
}

fn expected_head(gateway: &Gateway, line: &Value) -> Vec<String> {
    let time = line["time"].as_str().expect("a time");
    let process = gateway.id().to_string();
    let head = ["tlsgate", &process, "connection", "local0", "info", time];
    head.map(str::to_owned).into()
}
