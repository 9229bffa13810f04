//! What is loaded: nginx with one worker, which also says how many connections and requests it had.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::test::Test;
use crate::measure::identity::Identity;
use crate::measure::load::Unit;
use crate::measure::process::{Process, free_address, program};
use crate::measure::rounds::Measurement;
use crate::measure::scratch::Scratch;

/// The only suites, and the only group: as IANA and as OpenSSL call them.
pub(super) const SUITE_13: &str = "TLS_AES_128_GCM_SHA256";
pub(super) const SUITE_12: [&str; 2] =
    ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"];
pub(super) const GROUP: &str = "X25519";
const PATIENCE: Duration = Duration::from_secs(10);

/// A running nginx; it ends when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    status: SocketAddr,
    _process: Process,
}

/// What it has had since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    connections: u64,
    requests: u64,
}

impl Server {
    /// # Errors
    /// Why it does not serve, for the user to read.
    pub(super) fn start(
        identity: &Identity,
        scratch: &Scratch,
        cpu: usize,
    ) -> Result<Self, String> {
        let (address, status) = (free_address()?, free_address()?);
        let root = scratch.root().display();
        // The worker must be able to read the run's directory; for others than root it is their own.
        let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
        let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("    {what}_temp_path {root}/{what};\n"))
            .concat();
        let text = format!(
            "daemon off;
{user}worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/nginx.err error;
events {{ worker_connections 1024; }}
http {{
{places}    access_log off;
    keepalive_requests 1000000000;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers {};
    ssl_conf_command Ciphersuites {SUITE_13};
    ssl_ecdh_curve {GROUP};
    server {{
        listen {address} ssl backlog=4096;
        ssl_certificate {};
        ssl_certificate_key {};
        location / {{ return 200 \"{}\"; }}
    }}
    server {{ listen {status}; location / {{ stub_status; }} }}
}}
",
            SUITE_12[1],
            identity.certificate.display(),
            identity.key.display(),
            "x".repeat(100),
        );
        let file = scratch.write("nginx.conf", &text)?;
        let mut command = Command::new(program("nginx")?);
        command.arg("-e").arg(scratch.path("nginx.err")).arg("-c").arg(file);
        let process = Process::serve("nginx", command, &[cpu], &[address, status], scratch)?;
        Ok(Self { address, status, _process: process })
    }

    /// Asks for its counts, in which this question is one connection and one request.
    pub(super) fn counts(&self) -> Result<Counts, String> {
        let ask = || {
            let mut stream = TcpStream::connect(self.status)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = ask().map_err(|error: std::io::Error| format!("nginx' status: {error}"))?;
        Counts::read(&text).ok_or_else(|| format!("nginx' status makes no sense: {text}"))
    }
}

impl Counts {
    /// Of the page that nginx' stub_status makes.
    fn read(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("server accepts handled requests\n")?;
        let mut numbers = rest.split_whitespace().map(|word| word.parse().ok());
        let [connections, _handled, requests] = [(); 3].map(|()| numbers.next().flatten());
        Some(Self { connections: connections?, requests: requests? })
    }

    /// What a test has had since an earlier question: requests, or connections that shook hands.
    pub(super) fn since(self, earlier: Self, test: Test) -> u64 {
        let count = match test.unit() {
            Unit::RoundTrip | Unit::Gigabyte => self.requests - earlier.requests,
            Unit::Handshake => self.connections - earlier.connections,
        };
        count.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_page_is_read() {
        let text = "HTTP/1.1 200 OK\r\n\r\nActive connections: 1 \nserver accepts handled requests\n 16 16 \
                    31 \nReading: 0 Writing: 1 Waiting: 0 \n";
        let counts = Counts::read(text).expect("its page");
        assert_eq!(counts, Counts { connections: 16, requests: 31 });
        let earlier = Counts { connections: 5, requests: 10 };
        assert_eq!(counts.since(earlier, Test::Full), 10);
        assert_eq!(counts.since(earlier, Test::Requests), 20);
        assert_eq!(Counts::read("404"), None);
    }
}
