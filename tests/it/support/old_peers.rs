//! Peers of old TLS: the openssl command at the versions that it is told.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{ChildStdin, Command};

use super::ca::Files;
use super::client::connect_plain;
use super::ports::free_port;
use super::process::Process;
use super::{SOON, wait_for, wait_until};

/// A client that speaks lines.
pub(crate) struct OldClient {
    process: Process,
    input: Option<ChildStdin>,
    said: usize,
}

/// A component that sends each line back in reverse.
pub(crate) struct OldComponent {
    process: Process,
    address: SocketAddr,
}

/// What old versions need of an OpenSSL that would rather not.
const CIPHERS: [&str; 2] = ["-cipher", "DEFAULT@SECLEVEL=0"];

impl OldClient {
    /// Connects at TLS 1.0, with these options besides.
    pub(crate) fn start(address: SocketAddr, options: &[&str]) -> Self {
        Self::at("-tls1", address, options)
    }

    /// Connects at another version.
    pub(crate) fn at(version: &str, address: SocketAddr, options: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address.to_string(), version]);
        let mut process = Process::start(command.args(CIPHERS).args(options));
        let input = Some(process.stdin());
        Self { process, input, said: 0 }
    }

    /// One that shows what comes and nothing else, and stays until it is told to go.
    pub(crate) fn quiet(address: SocketAddr) -> Self {
        Self::start(address, &["-quiet", "-no_ign_eof"])
    }

    /// Sends a line and waits until it has come back.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn echo(&mut self) {
        self.said += 1;
        let line = format!("line {}", self.said);
        let input = self.input.as_mut().expect("open until the end");
        writeln!(input, "{line}").expect("the client lives");
        wait_until("the line comes back", SOON, || {
            if let Some(status) = self.process.poll() {
                panic!("the client ended with {status}: {}", self.process.stderr().join("\n"));
            }
            self.process.stdout().contains(&line)
        });
    }

    /// Waits until it has ended by itself; returns what it has printed.
    pub(crate) fn ended(mut self) -> String {
        wait_for("the client ends", SOON, || self.process.poll());
        let ended = self.process.wait(SOON);
        ended.stdout + &ended.stderr
    }

    /// Says nothing more and waits for the end; returns what it has printed.
    pub(crate) fn end(mut self) -> String {
        self.input = None;
        self.ended()
    }
}

impl OldComponent {
    /// Accepts TLS 1.0 alone.
    ///
    /// # Panics
    /// When it does not come up.
    pub(crate) fn start(directory: &Path, files: &Files) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new("openssl");
        command.current_dir(directory).args(["s_server", "-accept", &address.to_string(), "-tls1"]);
        command.args(CIPHERS).args(["-rev", "-cert"]).arg(&files.certificate);
        let process = Process::start(command.arg("-key").arg(&files.key));
        let mut component = Self { process, address };
        wait_until("the component listens", SOON, || {
            if let Some(status) = component.process.poll() {
                panic!("it ended with {status}: {}", component.process.stderr().join("\n"));
            }
            TcpStream::connect(address).is_ok()
        });
        component
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A connection that has sent the ClientHello of TLS 1.0, and says nothing more.
pub(crate) fn begun(address: SocketAddr) -> TcpStream {
    let mut stream = connect_plain(address);
    stream.write_all(&old_hello()).expect("sent");
    stream
}

/// A ClientHello of TLS 1.0 without extensions (RFC 2246 §7.4.1.2): static RSA with AES and SHA-1.
pub(crate) fn old_hello() -> Vec<u8> {
    let random = [0x5a; 32];
    let body = [&[3, 1][..], &random, &[0, 0, 2, 0x00, 0x2f, 1, 0]].concat();
    let length = u8::try_from(body.len()).expect("short");
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}
