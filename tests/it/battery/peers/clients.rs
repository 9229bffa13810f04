//! Clients from packages. Each makes sure who the gateway is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::servers::{ANSWER, Talk, kamailio};
use super::version;
use crate::support::gateway::free_port;
use crate::support::process::{Ended, Process, run, run_with_input};
use crate::support::{SOON, wait_until};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    LdapSearch,
    Curl,
    Wget,
    Python,
    Node,
    GnuTls,
    OpenSsl,
    Socat,
    /// A proxy of SIP, and who asks it.
    Kamailio,
    Psql,
    MariaDb,
    CurlImap,
    Swaks,
    RedisCli,
    Mosquitto,
    SocatMemcached,
}

const PAGE: &[u8] = b"GET /answer HTTP/1.0\r\nHost: localhost\r\n\r\n";

impl Client {
    /// One that speaks it; those that fetch pages take turns.
    pub(super) fn of(talk: Talk, turn: usize) -> Self {
        const PAGES: [Client; 7] = [
            Client::Curl,
            Client::Wget,
            Client::Python,
            Client::Node,
            Client::GnuTls,
            Client::OpenSsl,
            Client::Socat,
        ];
        match talk {
            Talk::Ldap => Self::LdapSearch,
            Talk::Http => PAGES[turn % PAGES.len()],
            Talk::Sip => Self::Kamailio,
            Talk::Database | Talk::Postgres => Self::Psql,
            Talk::MariaDb => Self::MariaDb,
            Talk::Imap => Self::CurlImap,
            Talk::Smtp => Self::Swaks,
            Talk::Redis => Self::RedisCli,
            Talk::Mqtt => Self::Mosquitto,
            Talk::Memcached => Self::SocatMemcached,
        }
    }
}

/// What they need: the CA, and a proxy that runs.
pub(super) struct Clients {
    ca: PathBuf,
    proxy: Proxy,
}

/// Takes requests in UDP and passes them on by TLS, to the port that the user part names.
struct Proxy {
    process: Process,
    port: u16,
}

impl Drop for Proxy {
    /// It has children, which only it ends.
    fn drop(&mut self) {
        self.process.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.process.poll().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Clients {
    pub(super) fn start(directory: &Path) -> Self {
        Self { ca: directory.join("ca.pem"), proxy: Proxy::start(directory) }
    }

    /// Asks at a port of the gateway, and looks at the answer.
    ///
    /// # Panics
    /// When it is not the component's.
    pub(super) fn run(&self, client: Client, port: u16, place: &str) {
        let (ended, expected) = self.ask(client, &port.to_string());
        let said = format!("{}\n{}", ended.stdout, ended.stderr);
        let proxy = || self.proxy.process.stderr().join("\n");
        assert_eq!(ended.code(), 0, "{place}: {said}\n{}", proxy());
        assert!(said.contains(expected), "{place}: {said}");
    }

    fn ask(&self, client: Client, port: &str) -> (Ended, &'static str) {
        let ca = self.ca.display().to_string();
        match client {
            Client::LdapSearch => {
                // It would look for this machine's own name instead of localhost.
                let uri = format!("ldaps://127.0.0.1:{port}");
                let arguments = ["-x", "-H", &uri, "-b", "", "-s", "base", "namingContexts"];
                let mut search = command("ldapsearch", &arguments);
                search.env("LDAPTLS_CACERT", &ca).env("LDAPTLS_REQCERT", "demand");
                (run(&mut search, SOON), "namingContexts: dc=test")
            }
            Client::Kamailio => {
                let uri = format!("sip:{port}@127.0.0.1:{}", self.proxy.port);
                (run(&mut command("sipsak", &["-vv", "-s", &uri]), SOON), "200 OK")
            }
            Client::Psql => {
                let to = format!(
                    "host=localhost hostaddr=127.0.0.1 port={port} user=postgres dbname=postgres \
                     sslmode=verify-full sslrootcert={ca}"
                );
                let query = "select 'ssl is ' || ssl from pg_stat_ssl where pid = pg_backend_pid()";
                let mut psql = command("psql", &["-X", "-A", "-t", "-c", query, &to]);
                (run(&mut psql, SOON), "ssl is true")
            }
            Client::MariaDb => {
                let (port, ca) = (format!("--port={port}"), format!("--ssl-ca={ca}"));
                let mut mariadb = command("mariadb", &["--no-defaults", "--protocol=TCP", &port]);
                mariadb.args(["--host=localhost", "--user=root", "--ssl-verify-server-cert", &ca]);
                mariadb.args(["-e", "show status like 'Ssl_version'"]);
                (run(&mut mariadb, SOON), "TLSv1.")
            }
            Client::CurlImap => {
                let mailbox = format!("imaps://localhost:{port}/");
                let mut curl = command("curl", &["-sS", "--ipv4", "--cacert", &ca, &mailbox]);
                (run(curl.args(["--user", "agent:secret"]), SOON), "INBOX")
            }
            Client::Swaks => {
                let mut swaks = command("swaks", &["--server", "127.0.0.1", "--port", port]);
                swaks.args(["--tls-on-connect", "--tls-verify", "--tls-ca-path", &ca]);
                swaks.args(["--from", "a@socialminer.test", "--to", "b@exchange.test"]);
                (run(&mut swaks, SOON), "250 OK id=")
            }
            Client::RedisCli => {
                let mut redis = command("redis-cli", &["-h", "localhost", "-p", port, "--tls"]);
                redis.args(["--cacert", &ca, "--sni", "localhost", "PING"]);
                (run(&mut redis, SOON), "PONG")
            }
            Client::Mosquitto => {
                let to = ["-h", "localhost", "-p", port, "--cafile", &ca, "-t", "battery"];
                let mut publish = command("mosquitto_pub", &to);
                let ended = run(publish.args(["-r", "-m", "retained"]), SOON);
                assert_eq!(ended.code(), 0, "{}", ended.stderr);
                let mut subscribe = command("mosquitto_sub", &to);
                (run(subscribe.args(["-C", "1", "-W", "10"]), SOON), "retained")
            }
            Client::SocatMemcached => {
                let words = b"set a 0 0 4\r\nword\r\nget a\r\nquit\r\n";
                (run_with_input(&mut socat(port, &ca), words, SOON), "VALUE a 0 4")
            }
            page => (fetch(page, port, &ca), ANSWER),
        }
    }

    /// Their names and versions.
    pub(super) fn programs(&self, client: Client) -> Vec<String> {
        let said = |name: &str, option: &str| version(name, Command::new(name).arg(option));
        vec![match client {
            Client::LdapSearch => said("ldapsearch", "-VV"),
            Client::Curl | Client::CurlImap => said("curl", "--version"),
            Client::Wget => said("wget", "--version"),
            Client::Python => said("python3", "--version"),
            Client::Node => said("node", "--version"),
            Client::GnuTls => said("gnutls-cli", "--version"),
            Client::OpenSsl => said("openssl", "version"),
            Client::Socat | Client::SocatMemcached => said("socat", "-V"),
            Client::Kamailio => return vec![said("kamailio", "-V"), said("sipsak", "-V")],
            Client::Psql => said("psql", "--version"),
            Client::MariaDb => said("mariadb", "--version"),
            Client::Swaks => said("swaks", "--version"),
            Client::RedisCli => said("redis-cli", "--version"),
            Client::Mosquitto => said("mosquitto_pub", "--version"),
        }]
    }
}

/// Fetches the page.
fn fetch(client: Client, port: &str, ca: &str) -> Ended {
    let page = format!("https://localhost:{port}/answer");
    let mut command = match client {
        Client::Curl => {
            command("curl", &["-sS", "--ipv4", "--noproxy", "*", "--cacert", ca, &page])
        }
        Client::Wget => {
            let ca = format!("--ca-certificate={ca}");
            command("wget", &["-q", "-O", "-", "--no-proxy", "--inet4-only", &ca, &page])
        }
        Client::Python => command("python3", &["-c", PYTHON, ca, &page]),
        Client::Node => command("node", &["-e", NODE, ca, port]),
        Client::GnuTls => {
            let hints = ["--sni-hostname", "localhost", "--verify-hostname", "localhost"];
            let mut gnutls = command("gnutls-cli", &["--port", port, "--x509cafile", ca]);
            gnutls.args(hints).args(["--logfile", "/dev/stderr", "127.0.0.1"]);
            gnutls
        }
        Client::OpenSsl => {
            let to = format!("127.0.0.1:{port}");
            let mut openssl = command("openssl", &["s_client", "-quiet", "-connect", &to]);
            openssl.args(["-verify_return_error", "-servername", "localhost", "-CAfile", ca]);
            openssl
        }
        Client::Socat => socat(port, ca),
        other => panic!("{other:?} fetches no pages"),
    };
    match client {
        Client::GnuTls | Client::OpenSsl | Client::Socat => {
            run_with_input(&mut command, PAGE, SOON)
        }
        _ => run(&mut command, SOON),
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// What it reads goes there, and what comes back is written.
fn socat(port: &str, ca: &str) -> Command {
    let to = format!("OPENSSL:localhost:{port},cafile={ca},pf=ip4");
    command("socat", &["-t", "10", "-", &to])
}

impl Proxy {
    fn start(directory: &Path) -> Self {
        let (port, other) = (free_port(), free_port());
        let home = directory.join("proxy");
        fs::create_dir_all(&home).expect("a writable directory");
        let (files, tls) = (directory.display(), home.join("tls.cfg"));
        let text = format!(
            "[server:default]\nprivate_key = {files}/client.key\n\
             certificate = {files}/client.pem\n[client:default]\nmethod = TLSv1.2+\n\
             verify_certificate = yes\nrequire_certificate = yes\nca_list = {files}/ca.pem\n\
             private_key = {files}/client.key\ncertificate = {files}/client.pem\n"
        );
        fs::write(&tls, text).expect("a writable directory");
        let file = home.join("proxy.cfg");
        let text = format!(
            "#!KAMAILIO\nlog_stderror=yes\nchildren=1\ntcp_children=1\nenable_tls=yes\n\
             listen=udp:127.0.0.1:{port}\nlisten=tls:127.0.0.1:{other}\nloadmodule \"tm.so\"\n\
             loadmodule \"tls.so\"\nloadmodule \"sl.so\"\nloadmodule \"pv.so\"\n\
             modparam(\"tls\", \"config\", \"{}\")\n\
             request_route {{ $du = \"sip:127.0.0.1:\" + $rU + \";transport=tls\"; t_relay(); }}\n",
            tls.display()
        );
        fs::write(&file, text).expect("a writable directory");
        let mut process = Process::start(&mut kamailio(&file, &home.display().to_string()));
        wait_until("the proxy listens", SOON, || {
            assert!(process.poll().is_none(), "{:?}", process.stderr());
            std::net::TcpStream::connect(("127.0.0.1", other)).is_ok()
        });
        Self { process, port }
    }
}

const PYTHON: &str = r#"
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[1])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
print(opener.open(sys.argv[2], timeout=15).read().decode())
"#;

const NODE: &str = r#"
const [ca, port] = process.argv.slice(1);
const options = { host: "localhost", family: 4, port, path: "/answer", ca: require("fs").readFileSync(ca) };
require("https").get(options, (answer) => answer.on("data", (data) => process.stdout.write(data)));
"#;
