//! Servers from packages, each with a configuration of its own in a temporary directory.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tlsgate::catalogue::Mode;

use super::super::case::Case;
use super::version;
use crate::support::gateway::free_port;
use crate::support::process::{Process, run};
use crate::support::{SOON, wait_until};

/// What a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    Ldap,
    Http,
    Sip,
    /// Either of the next two.
    Database,
    Postgres,
    MariaDb,
    Imap,
    Smtp,
    Redis,
    Mqtt,
    Memcached,
}

/// A server that listens.
pub(crate) struct Server {
    pub(crate) program: String,
    pub(super) speaks: Talk,
    has_tls: bool,
    pub(crate) address: SocketAddr,
    process: Process,
    stop: Signal,
}

impl Server {
    /// Whether it can be behind a row: with TLS of its own exactly where the gateway does not end
    /// it, or ends it for one that speaks it, too.
    pub(super) fn fits(&self, talk: Talk, case: &Case) -> bool {
        let speaks = match talk {
            Talk::Database => matches!(self.speaks, Talk::Postgres | Talk::MariaDb),
            _ => self.speaks == talk,
        };
        speaks && self.has_tls == (case.combination.mode != Mode::Terminate)
    }
}

impl Drop for Server {
    /// Some have children, which only they end.
    fn drop(&mut self) {
        if self.process.poll().is_none() {
            self.process.signal(self.stop);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.process.poll().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// All of them.
pub(super) struct Servers {
    pub(super) all: Vec<Server>,
}

/// What the bodies of pages are.
pub(crate) const ANSWER: &str = "the component's answer";

impl Servers {
    pub(super) fn start(directory: &Path) -> Self {
        super::certificates(directory);
        let start = Start::new(directory, None);
        Self {
            all: vec![
                start.slapd(),
                start.nginx(),
                start.apache(),
                start.lighttpd(),
                start.kamailio(),
                start.postgres(),
                start.mariadb(),
                start.dovecot(),
                start.exim(false),
                start.redis(),
                start.mosquitto(),
                start.memcached(),
            ],
        }
    }
}

/// Whether a program is installed where Debian has it.
pub(crate) fn is_there(tool: &str) -> bool {
    program(tool).is_file()
}

/// PostgreSQL's server is in a directory of its version.
fn program(tool: &str) -> PathBuf {
    let postgres = || {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let newest = versions.map_while(Result::ok).map(|one| one.path()).max()?;
        Some(newest.join("bin").join(tool))
    };
    match tool {
        "postgres" | "initdb" => postgres().unwrap_or_else(|| PathBuf::from(tool)),
        _ => PathBuf::from("/usr/sbin").join(tool),
    }
}

/// Starts them in a directory, which has `component.pem`, `component.key` and `ca.pem`.
pub(crate) struct Start {
    directory: PathBuf,
    /// The only version of TLS, by OpenSSL's name; else what the package offers.
    only: Option<Only>,
}

/// A version of TLS that a server is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    V1_0,
    V1_2,
}

impl Only {
    /// As OpenSSL's configuration calls it.
    fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "TLSv1",
            Self::V1_2 => "TLSv1.2",
        }
    }
}

/// Security level 0 has TLS 1.0, and what else is at that level is not in the list.
const SUITES: &str = "ECDHE+AESGCM:ECDHE+AES:AES128-SHA:AES256-SHA:@SECLEVEL=0";

impl Start {
    pub(crate) fn new(directory: &Path, only: Option<Only>) -> Self {
        // Servers that run as users of their own come in here.
        let mut open = Command::new("chmod");
        assert_eq!(run(open.arg("755").arg(directory), SOON).code(), 0);
        let www = directory.join("www");
        fs::create_dir(&www).expect("a writable directory");
        fs::write(www.join("answer"), ANSWER).expect("a writable directory");
        Self { directory: directory.to_owned(), only }
    }

    /// Text about the only version, made from its name.
    fn limit(&self, text: impl FnOnce(&str) -> String) -> String {
        self.only.map_or_else(String::new, |only| text(only.name()))
    }

    /// A directory of its own, that a user owns.
    fn home(&self, name: &str, user: &str) -> String {
        let home = self.directory.join(name);
        fs::create_dir_all(&home).expect("a writable directory");
        for stem in ["component.pem", "component.key", "ca.pem"] {
            fs::copy(self.directory.join(stem), home.join(stem)).expect("written before");
        }
        let mut command = Command::new("chown");
        assert_eq!(run(command.args(["-R", user]).arg(&home), SOON).code(), 0, "{user}");
        home.display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.directory.join(name);
        fs::write(&file, text).expect("a writable directory");
        file
    }

    /// Waits until it listens.
    fn up(&self, program: String, speaks: Talk, port: u16, command: &mut Command) -> Server {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut process = Process::start(command);
        wait_until(&format!("{program} listens"), SOON * 2, || {
            if let Some(status) = process.poll() {
                let said = [process.stdout(), process.stderr()].concat().join("\n");
                panic!("{program} ended with {status}:\n{said}");
            }
            TcpStream::connect(address).is_ok()
        });
        let has_tls = !matches!(speaks, Talk::Redis | Talk::Mqtt | Talk::Memcached)
            && !program.starts_with("lighttpd");
        Server { program, speaks, has_tls, address, process, stop: Signal::TERM }
    }

    pub(crate) fn slapd(&self) -> Server {
        let (home, port) = (self.home("slapd", "root"), free_port());
        let file = self.write(
            "slapd.conf",
            &format!(
                "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\n\
                 moduleload back_mdb\npidfile {home}/pid\nTLSCertificateFile {home}/component.pem\n\
                 TLSCertificateKeyFile {home}/component.key\ndatabase mdb\nsuffix \"dc=test\"\n\
                 directory {home}\n"
            ),
        );
        let mut command = Command::new("slapd");
        command.args(["-d", "0", "-h", &format!("ldaps://127.0.0.1:{port}"), "-f"]).arg(file);
        self.up(version("slapd", Command::new("slapd").arg("-VV")), Talk::Ldap, port, &mut command)
    }

    pub(crate) fn nginx(&self) -> Server {
        let (home, port) = (self.home("nginx", "root"), free_port());
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {home}/{kind};"))
            .concat();
        let www = self.directory.join("www").display().to_string();
        let only = self.limit(|name| format!("ssl_protocols {name}; ssl_ciphers \"{SUITES}\";"));
        let file = self.write(
            "nginx.conf",
            &format!(
                "daemon off; master_process off; pid {home}/pid; error_log stderr;\n\
                 events {{}}\nhttp {{ access_log off; {paths} server {{\n\
                 listen 127.0.0.1:{port} ssl; root {www};\n\
                 ssl_certificate {home}/component.pem; ssl_certificate_key {home}/component.key;\n\
                 {only}\n location = /asked {{ return 200 \
                 \"host=$http_host sni=$ssl_server_name tls=$ssl_protocol\"; }}\n}} }}\n"
            ),
        );
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file).args(["-e", "stderr"]);
        self.up(version("nginx", Command::new("nginx").arg("-v")), Talk::Http, port, &mut command)
    }

    pub(crate) fn apache(&self) -> Server {
        let (home, port) = (self.home("apache", "root"), free_port());
        let www = self.directory.join("www").display().to_string();
        let modules: String = ["mpm_event", "ssl", "authz_core"]
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .concat();
        let only = self.limit(|name| format!("SSLProtocol {name}\nSSLCipherSuite \"{SUITES}\"\n"));
        let file = self.write(
            "apache.conf",
            &format!(
                "ServerRoot {home}\nServerName localhost\nPidFile {home}/pid\n\
                 Listen 127.0.0.1:{port}\n{modules}ErrorLog {home}/error.log\n\
                 User www-data\nGroup www-data\nDocumentRoot {www}\nSSLEngine on\n{only}\
                 SSLCertificateFile {home}/component.pem\n\
                 SSLCertificateKeyFile {home}/component.key\n"
            ),
        );
        let mut command = Command::new("apache2");
        command.args(["-X", "-f"]).arg(file);
        let program = version("apache2", Command::new("apache2").arg("-v"));
        self.up(program, Talk::Http, port, &mut command)
    }

    /// In plaintext.
    fn lighttpd(&self) -> Server {
        let port = free_port();
        let www = self.directory.join("www").display().to_string();
        let file = self.write(
            "lighttpd.conf",
            &format!(
                "server.document-root = \"{www}\"\nserver.bind = \"127.0.0.1\"\n\
                 server.port = {port}\n"
            ),
        );
        let mut command = Command::new("lighttpd");
        command.args(["-D", "-f"]).arg(file);
        let program = version("lighttpd", Command::new("lighttpd").arg("-v"));
        self.up(program, Talk::Http, port, &mut command)
    }

    fn kamailio(&self) -> Server {
        let (home, port) = (self.home("kamailio", "root"), free_port());
        let tls = self.write(
            "kamailio-tls.cfg",
            &format!(
                "[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\n\
                 require_certificate = no\nprivate_key = {home}/component.key\n\
                 certificate = {home}/component.pem\n"
            ),
        );
        let file = self.write(
            "kamailio.cfg",
            &format!(
                "#!KAMAILIO\nlog_stderror=yes\nchildren=1\ntcp_children=1\nenable_tls=yes\n\
                 listen=tls:127.0.0.1:{port}\nloadmodule \"tls.so\"\nloadmodule \"sl.so\"\n\
                 modparam(\"tls\", \"config\", \"{}\")\n\
                 request_route {{ sl_send_reply(\"200\", \"OK\"); }}\n",
                tls.display()
            ),
        );
        let program = version("kamailio", Command::new("kamailio").arg("-V"));
        self.up(program, Talk::Sip, port, &mut kamailio(&file, &home))
    }

    pub(crate) fn postgres(&self) -> Server {
        let (home, port) = (self.home("postgres", "postgres"), free_port());
        let as_postgres = |tool: &str| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
            command.arg(program(tool)).arg("-D").arg(format!("{home}/data"));
            command.current_dir("/");
            command
        };
        let mut init = as_postgres("initdb");
        let ended = run(init.args(["-A", "trust", "-U", "postgres", "--no-sync"]), SOON * 3);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let mut command = as_postgres("postgres");
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={home}"),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={home}/component.pem"),
            format!("ssl_key_file={home}/component.key"),
        ] {
            command.arg("-c").arg(setting);
        }
        if let Some(only) = self.only {
            for end in ["min", "max"] {
                command.arg("-c").arg(format!("ssl_{end}_protocol_version={}", only.name()));
            }
            command.arg("-c").arg(format!("ssl_ciphers={SUITES}"));
        }
        let said = version("postgres", Command::new(program("postgres")).arg("--version"));
        let mut server = self.up(said, Talk::Postgres, port, &mut command);
        // It does not wait for its clients then.
        server.stop = Signal::INT;
        server
    }

    fn mariadb(&self) -> Server {
        let (home, port) = (self.home("mariadb", "root"), free_port());
        let data = format!("--datadir={home}/data");
        let mut init = Command::new("mariadb-install-db");
        init.args(["--no-defaults", "--user=root", "--skip-test-db", &data]);
        let ended = run(init.arg("--auth-root-authentication-method=normal"), SOON * 3);
        assert_eq!(ended.code(), 0, "{}\n{}", ended.stdout, ended.stderr);
        let mut command = Command::new("mariadbd");
        command.args(["--no-defaults", "--user=root", &data, "--bind-address=127.0.0.1"]);
        command.args([&format!("--port={port}"), &format!("--socket={home}/socket")]);
        command.arg(format!("--ssl-cert={home}/component.pem"));
        command.arg(format!("--ssl-key={home}/component.key"));
        command.arg(format!("--pid-file={home}/pid"));
        let program = version("mariadbd", Command::new("mariadbd").arg("--version"));
        self.up(program, Talk::MariaDb, port, &mut command)
    }

    pub(crate) fn dovecot(&self) -> Server {
        let (home, port) = (self.home("dovecot", "root"), free_port());
        self.home("dovecot/mail", "nobody");
        // It has no option for the newest version: OpenSSL's own configuration does.
        let openssl = self.write(
            "openssl.cnf",
            &self.limit(|name| {
                format!(
                    "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n\
                     MinProtocol = {name}\nMaxProtocol = {name}\n"
                )
            }),
        );
        let only = self.limit(|name| {
            format!(
                "import_environment = TZ OPENSSL_CONF\nssl_min_protocol = {name}\n\
                 ssl_cipher_list = {SUITES}\n"
            )
        });
        let file = self.write(
            "dovecot.conf",
            &format!(
                "base_dir = {home}/run\nstate_dir = {home}/state\nlog_path = {home}/log\n\
                 protocols = imap\nssl = required\nssl_cert = <{home}/component.pem\n\
                 ssl_key = <{home}/component.key\nfirst_valid_uid = 1\n\
                 mail_location = maildir:{home}/mail/%u\n\
                 service imap-login {{\n  inet_listener imap {{\n    port = 0\n  }}\n\
                 inet_listener imaps {{\n    address = 127.0.0.1\n    port = {port}\n\
                 ssl = yes\n  }}\n}}\n\
                 passdb {{\n  driver = static\n  args = password=secret\n}}\n\
                 userdb {{\n  driver = static\n\
                 args = uid=nobody gid=nogroup home={home}/mail/%u\n}}\n{only}"
            ),
        );
        let mut command = Command::new("dovecot");
        command.args(["-F", "-c"]).arg(file);
        if self.only.is_some() {
            command.env("OPENSSL_CONF", openssl);
        }
        let program = version("dovecot", Command::new("dovecot").arg("--version"));
        self.up(program, Talk::Imap, port, &mut command)
    }

    /// It drops what it is given, or delivers it into `exim/mail`.
    pub(crate) fn exim(&self, delivers: bool) -> Server {
        let (home, port) = (self.home("exim", "Debian-exim"), free_port());
        // Its TLS is GnuTLS, whose versions are part of this.
        let only = self.limit(|name| {
            let version = if name == "TLSv1" { "1.0" } else { "1.2" };
            format!("tls_require_ciphers = NORMAL:-VERS-ALL:+VERS-TLS{version}\n")
        });
        let (when, route) = match delivers {
            false => ("queue_only = true", "driver = redirect\n  data = :blackhole:".to_owned()),
            true => (
                "deliver_drop_privilege = true",
                format!(
                    "driver = accept\n  transport = mail\nbegin transports\nmail:\n  \
                     driver = appendfile\n  directory = {home}/mail\n  maildir_format\n  \
                     user = Debian-exim"
                ),
            ),
        };
        let file = self.write(
            "exim.conf",
            &format!(
                "primary_hostname = exchange.test\ndaemon_smtp_ports = {port}\n\
                 local_interfaces = 127.0.0.1\ntls_on_connect_ports = {port}\n\
                 tls_advertise_hosts = *\ntls_certificate = {home}/component.pem\n\
                 tls_privatekey = {home}/component.key\nspool_directory = {home}/spool\n\
                 log_file_path = {home}/%slog\npid_file_path = {home}/pid\n\
                 acl_smtp_rcpt = all\n{when}\nkeep_environment =\n{only}\
                 begin acl\nall:\n  accept\nbegin routers\nall:\n  {route}\n"
            ),
        );
        let mut command = Command::new("exim4");
        command.arg("-C").arg(file).arg("-bdf");
        let program = version("exim4", Command::new("exim4").arg("--version"));
        self.up(program, Talk::Smtp, port, &mut command)
    }

    pub(crate) fn redis(&self) -> Server {
        let (home, port) = (self.home("redis", "root"), free_port());
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--dir", &home, "--save", "", "--appendonly", "no"]);
        let port_key = if self.only.is_some() { "--tls-port" } else { "--port" };
        command.args([port_key, &port.to_string()]);
        if let Some(only) = self.only {
            command.args(["--port", "0", "--tls-protocols", only.name(), "--tls-ciphers", SUITES]);
            command.args(["--tls-auth-clients", "no"]);
            for (key, file) in [("cert", "pem"), ("key", "key")] {
                let key = format!("--tls-{key}-file");
                command.arg(key).arg(format!("{home}/component.{file}"));
            }
        }
        let program = version("redis-server", Command::new("redis-server").arg("--version"));
        self.up(program, Talk::Redis, port, &mut command)
    }

    fn mosquitto(&self) -> Server {
        let port = free_port();
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.write("mosquitto.conf", &text));
        let program = version("mosquitto", Command::new("mosquitto").arg("-h"));
        self.up(program, Talk::Mqtt, port, &mut command)
    }

    fn memcached(&self) -> Server {
        let port = free_port();
        let mut command = Command::new("memcached");
        command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-u", "nobody"]);
        let program = version("memcached", Command::new("memcached").arg("--version"));
        self.up(program, Talk::Memcached, port, &mut command)
    }
}

/// In the foreground, with little memory.
pub(super) fn kamailio(file: &Path, home: &str) -> Command {
    let mut command = Command::new("kamailio");
    command.arg("-f").arg(file).args(["-DD", "-E", "-m", "16", "-M", "4"]);
    command.args(["-w", home, "-Y", home, "-P", &format!("{home}/pid")]);
    command
}
