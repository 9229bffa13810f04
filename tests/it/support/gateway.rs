//! The gateway as a process: configured, started, waited for, read, and stopped in order.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::ca::{Files, KeyKind, NAME, ca};
use super::http;
use super::log::Line;
use super::metrics::Metrics;
pub(crate) use super::ports::free_port;
use super::process::{Ended, Process, both_ends, gateway_program, own_program};
use super::succession::{Succession, end};
use super::{Engine, SOON, wait_for, wait_until};

/// Longest time for an orderly stop.
const STOP: Duration = Duration::from_secs(40);
/// Name of the only listener.
pub(crate) const LISTENER: &str = "main";

/// A configuration in the making. The texts are lines of TOML for the table of that name.
pub(crate) struct Setup {
    directory: TempDir,
    engine: String,
    /// What stands in front of the gateway's program.
    launcher: Vec<String>,
    /// It is started from a file of its own.
    is_apart: bool,
    workers: u16,
    upstream: String,
    listen_ip: String,
    gateway: String,
    admin: String,
    resumption: String,
    listener: String,
    tls: String,
    /// Peers speak no TLS that ends at the gateway.
    is_without_tls: bool,
    upstream_tls: String,
    certificates: Vec<Files>,
    timeouts: String,
    keepalive: String,
    /// Name, address and upstream of further listeners.
    others: Vec<[String; 3]>,
    environment: Vec<(String, String)>,
}

/// A configuration on disk, and where its gateway will be.
pub(crate) struct Written {
    pub(crate) file: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    ca_file: PathBuf,
}

impl Setup {
    /// One listener on the loopback address, everything else as by default.
    pub(crate) fn new(engine: Engine, upstream: SocketAddr) -> Self {
        Self {
            directory: TempDir::new().expect("a temporary directory"),
            engine: engine.name().to_owned(),
            launcher: Vec::new(),
            is_apart: false,
            workers: 1,
            upstream: format!("{:?}", upstream.to_string()),
            listen_ip: "127.0.0.1".to_owned(),
            gateway: engine.settings(),
            admin: String::new(),
            resumption: String::new(),
            listener: String::new(),
            tls: String::new(),
            is_without_tls: false,
            upstream_tls: String::new(),
            certificates: Vec::new(),
            timeouts: String::new(),
            keepalive: String::new(),
            others: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// The engine as a word of the configuration, which may be "auto".
    pub(crate) fn engine(mut self, word: &str) -> Self {
        word.clone_into(&mut self.engine);
        self
    }

    /// Lets another program start the gateway: its name, and what comes before the gateway's.
    pub(crate) fn under(mut self, launcher: &[String]) -> Self {
        launcher.clone_into(&mut self.launcher);
        self
    }

    /// Starts it from a file that nobody else uses: [`Gateway::program`].
    pub(crate) fn apart(mut self) -> Self {
        self.is_apart = true;
        self
    }

    /// Gives it these upstreams in the place of the one.
    pub(crate) fn upstreams(mut self, all: &[&str]) -> Self {
        self.upstream = format!("{all:?}");
        self
    }

    pub(crate) fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    pub(crate) fn listen_ip(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen_ip);
        self
    }

    pub(crate) fn gateway(mut self, line: &str) -> Self {
        writeln!(self.gateway, "{line}").expect("a String");
        self
    }

    pub(crate) fn admin(mut self, line: &str) -> Self {
        writeln!(self.admin, "{line}").expect("a String");
        self
    }

    /// With a control socket: `control.sock` in its directory.
    pub(crate) fn controlled(self) -> Self {
        let socket = self.directory().join("control.sock");
        self.admin(&format!("control = {:?}", socket.display().to_string()))
    }

    pub(crate) fn resumption(mut self, line: &str) -> Self {
        writeln!(self.resumption, "{line}").expect("a String");
        self
    }

    pub(crate) fn listener(mut self, line: &str) -> Self {
        writeln!(self.listener, "{line}").expect("a String");
        self
    }

    pub(crate) fn tls(mut self, line: &str) -> Self {
        writeln!(self.tls, "{line}").expect("a String");
        self
    }

    /// Leaves the table for TLS with peers out.
    pub(crate) fn without_tls(mut self) -> Self {
        self.is_without_tls = true;
        self
    }

    /// For TLS with the component.
    pub(crate) fn upstream_tls(mut self, line: &str) -> Self {
        writeln!(self.upstream_tls, "{line}").expect("a String");
        self
    }

    pub(crate) fn timeouts(mut self, line: &str) -> Self {
        writeln!(self.timeouts, "{line}").expect("a String");
        self
    }

    pub(crate) fn keepalive(mut self, line: &str) -> Self {
        writeln!(self.keepalive, "{line}").expect("a String");
        self
    }

    /// Adds a listener with the same certificates and everything else as by default.
    pub(crate) fn another(mut self, name: &str, listen: &str, upstream: &str) -> Self {
        self.others.push([name, listen, upstream].map(str::to_owned));
        self
    }

    /// Where the configuration will be.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes the heap's figures exact: glibc counts what its threads keep for the next allocation
    /// as in use, so they are told to keep nothing.
    pub(crate) fn counts_heap(self) -> Self {
        self.environment("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
    }

    /// Sets a variable of the gateway's environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a certificate; the first takes the place of the usual one.
    pub(crate) fn certificate(mut self, stem: &str, kind: KeyKind, names: &[&str]) -> Self {
        let files = ca().issue(self.directory.path(), stem, kind, names);
        self.certificates.push(files);
        self
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub(crate) fn start(mut self) -> Gateway {
        let Written { file, address, admin, ca_file } = self.write();
        let mut words = self.launcher.iter().map(OsString::from).collect::<Vec<_>>();
        let program =
            if self.is_apart { own_program(self.directory.path()) } else { gateway_program() };
        words.push(program.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["run", "-c"]).arg(&file).envs(self.environment);
        let process = Process::start(&mut command);
        let mut gateway = Gateway {
            process: Some(process),
            command,
            succession: Succession::new(),
            program,
            address,
            admin,
            ca_file,
            config_file: file,
            certificates: self.certificates,
            taken: 0,
            directory: self.directory,
        };
        gateway.wait_until_ready();
        gateway
    }

    /// Writes the configuration and what it names, for whoever starts a gateway another way.
    pub(crate) fn write(&mut self) -> Written {
        if self.certificates.is_empty() {
            let names = [NAME, "127.0.0.1"];
            let files = ca().issue(self.directory.path(), "server", KeyKind::Ecdsa, &names);
            self.certificates.push(files);
        }
        let ca_file = self.directory.path().join("ca.pem");
        fs::write(&ca_file, ca().pem()).expect("a writable directory");
        let listen_ip = self.listen_ip.parse().expect("an IP address");
        let address = SocketAddr::new(listen_ip, free_port());
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = self.directory.path().join("tlsgate.toml");
        fs::write(&file, self.text(address, admin)).expect("a writable directory");
        Written { file, address, admin, ca_file }
    }

    fn text(&self, address: SocketAddr, admin: SocketAddr) -> String {
        let Self { engine, workers, upstream, gateway, resumption, listener, tls, .. } = self;
        let Self { timeouts, keepalive, admin: more_admin, .. } = self;
        let certificates: Vec<String> = self.certificates.iter().map(Files::table).collect();
        let certificates = certificates.join(",\n");
        let other = |[name, listen, upstream]: &[String; 3]| {
            format!(
                "[[listener]]\nname = \"{name}\"\nlisten = \"{listen}\"\n\
                 upstream = \"{upstream}\"\n[listener.tls]\ncertificates = [{certificates}]\n"
            )
        };
        let tls = match self.is_without_tls {
            true => String::new(),
            false => format!("[listener.tls]\ncertificates = [\n{certificates}\n]\n{tls}"),
        };
        let upstream_tls = match self.upstream_tls.as_str() {
            "" => String::new(),
            lines => format!("[listener.upstream_tls]\n{lines}"),
        };
        let others: String = self.others.iter().map(other).collect();
        format!(
            r#"[gateway]
workers = {workers}
engine = "{engine}"
{gateway}
[admin]
listen = "{admin}"
{more_admin}
[log]
format = "json"
access = "stdout"
[resumption]
{resumption}
[[listener]]
name = "{LISTENER}"
listen = "{address}"
upstream = {upstream}
{listener}
{tls}
{upstream_tls}
[listener.timeouts]
{timeouts}
[listener.keepalive]
{keepalive}
{others}"#
        )
    }
}

/// A running gateway. Dropping it tells it to stop and demands that it does, with status 0.
pub(crate) struct Gateway {
    process: Option<Process>,
    command: Command,
    /// The processes that have taken over.
    pub(super) succession: Succession,
    program: PathBuf,
    address: SocketAddr,
    admin: SocketAddr,
    ca_file: PathBuf,
    config_file: PathBuf,
    certificates: Vec<Files>,
    /// Lines of the access log that were asked for in order.
    taken: usize,
    directory: TempDir,
}

impl Gateway {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// PEM file of the authority that signed its certificates.
    pub(crate) fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// DER of the certificates in the order of the configuration.
    pub(crate) fn certificates(&self) -> Vec<&[u8]> {
        self.certificates.iter().map(|files| files.der.as_slice()).collect()
    }

    /// The file that it reads its configuration from.
    pub(crate) fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// Where its configuration and its certificates are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes another configuration for it to load.
    pub(crate) fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(&self.config_file).expect("written at the start");
        fs::write(&self.config_file, change(text)).expect("a writable directory");
    }

    /// Puts another certificate for the same names in the place of the first one; returns its DER.
    pub(crate) fn renew_certificate(&mut self) -> Vec<u8> {
        let stem = self.certificates[0].certificate.file_stem().expect("it has a name");
        let stem = stem.to_str().expect("an ASCII name").to_owned();
        let names = [NAME, "127.0.0.1"];
        self.certificates[0] = ca().issue(self.directory.path(), &stem, KeyKind::Ecdsa, &names);
        self.certificates[0].der.clone()
    }

    /// Sends HUP and waits until it was followed. Returns whether the configuration was taken.
    pub(crate) fn reload(&self) -> bool {
        let count =
            |result| self.metrics().count("tlsgate_config_reloads_total", &[("result", result)]);
        let (taken, refused) = (count("taken"), count("refused"));
        self.signal(Signal::HUP);
        wait_for("the configuration is taken or refused", SOON, || {
            match (count("taken") - taken, count("refused") - refused) {
                (0, 0) => None,
                (1, 0) => Some(true),
                (0, 1) => Some(false),
                more => panic!("taken and refused {more:?} times"),
            }
        })
    }

    /// The file that it was started from.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn stderr(&self) -> String {
        self.process().stderr().join("\n")
    }

    /// # Panics
    /// When the admin port does not answer, or the text breaks the format.
    pub(crate) fn metrics(&self) -> Metrics {
        let answer = http::get(self.admin, "/metrics").expect("the admin port answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Metrics::parse(&answer.body).unwrap_or_else(|error| panic!("/metrics: {error}"))
    }

    /// # Panics
    /// When the admin port does not answer with JSON.
    pub(crate) fn status(&self) -> serde_json::Value {
        let answer = http::get(self.admin, "/status").expect("the admin port answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("/status: {error}"))
    }

    /// Connections that are open, by its own account.
    pub(crate) fn open_connections(&self) -> u64 {
        self.metrics().count("tlsgate_connections_open", &[])
    }

    /// Waits until no connection is open.
    pub(crate) fn wait_until_idle(&self) {
        wait_until("no open connection", SOON, || self.open_connections() == 0);
    }

    /// All lines of the access log so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let lines = self.process().stdout();
        lines.iter().filter_map(|line| Line::parse(line)).collect()
    }

    /// The line of the connection from `peer`, waited for.
    pub(crate) fn line_of(&self, peer: SocketAddr) -> Line {
        wait_for(&format!("a line about {peer} in the access log"), SOON, || {
            self.lines().into_iter().find(|line| line.is_of(peer))
        })
    }

    /// The next line that was not yet returned by this, waited for.
    pub(crate) fn next_line(&mut self) -> Line {
        let taken = self.taken;
        let line = wait_for("a line in the access log", SOON, || self.lines().get(taken).cloned());
        self.taken += 1;
        line
    }

    /// Stops it, demands that it ends with status 0, and starts it anew on the same addresses,
    /// with what its files say now. It counts from zero again.
    ///
    /// # Panics
    /// When it does not become ready.
    pub(crate) fn stop_and_start(&mut self) {
        let process = self.process.take().expect("present until the end");
        stop(process, &mut self.succession);
        self.succession = Succession::new();
        self.process = Some(Process::start(&mut self.command));
        self.taken = 0;
        self.wait_until_ready();
    }

    /// Waits for the end without telling it to stop; nothing is demanded of the exit code.
    pub(crate) fn wait(mut self, limit: Duration) -> Ended {
        let process = self.process.take().expect("present until the end");
        let (ended, _) = end(process, &mut self.succession, limit);
        assert!(!ended.stderr.contains("panicked at"), "{}", ended.stderr);
        ended
    }

    pub(super) fn process(&self) -> &Process {
        self.process.as_ref().expect("present until the end")
    }

    fn wait_until_ready(&mut self) {
        let admin = self.admin;
        wait_until("the gateway is ready", SOON, || {
            let process = self.process.as_mut().expect("present until the end");
            if let Some(status) = process.poll() {
                panic!("the gateway ended with {status}:\n{}", process.stderr().join("\n"));
            }
            http::get(admin, "/readyz").is_ok_and(|answer| answer.status == 200)
        });
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        if std::thread::panicking() {
            eprintln!("--- access log:\n{}", both_ends(&process.stdout()));
            eprintln!("--- log:\n{}", both_ends(&process.stderr()));
            return;
        }
        stop(process, &mut self.succession);
    }
}

/// Tells the process that serves to stop, and demands that it does, with status 0.
fn stop(process: Process, succession: &mut Succession) {
    match succession.last() {
        Some(_) => succession.signal_last(Signal::TERM),
        None => process.signal(Signal::TERM),
    }
    let (ended, codes) = end(process, succession, STOP);
    let last = codes.last().copied().unwrap_or_else(|| ended.code());
    assert_eq!(last, 0, "exit code after TERM:\n{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked at"), "{}", ended.stderr);
}
