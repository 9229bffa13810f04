//! Databases: "JDBC connections can still operate on TLS 1.0".
//!
//! PostgreSQL and its JDBC driver, held to TLS 1.0. The driver begins TLS inside the database's
//! protocol, which nobody in between can end: a pair carries it as it is. Where it begins with the
//! first byte, the gateway ends it. No database from a package that begins so has a JDBC driver:
//! Redis, held to TLS 1.0, stands in for one behind the gateway.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tlsgate::catalogue::uccx::Lane;

use super::route::{Identities, Route};
use crate::battery::peers::servers::{Only, Server, Start, is_there};
use crate::clients::java;
use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Ended, run};
use crate::support::{Engine, engines, has_tool, skip, skip_impossible};

const DRIVER: &str = "/usr/share/java/postgresql.jar";
/// A virtual machine has to start.
const PATIENCE: Duration = Duration::from_secs(90);
/// MD5 of the numbers from 1 to 1000 with commas in between.
const ANSWER: &str = "answer=feb66358dabff315c143aa14dcefd4c0";

struct Databases {
    postgres: Server,
    redis: Server,
    client: Command,
    directory: TempDir,
}

/// Through a pair, a listener that ends TLS in front of plaintext, and one in front of TLS 1.0.
struct Entrances {
    pair: SocketAddr,
    ended: SocketAddr,
    redis: SocketAddr,
}

#[test]
#[ignore = "run by tests/run"]
fn uccx_jdbc() {
    if !rustix::process::getuid().is_root() {
        skip_impossible("database servers are started as users of their own");
        return;
    }
    if !fs::exists(DRIVER).expect("a readable directory") {
        skip("PostgreSQL's JDBC driver is not installed");
        return;
    }
    let tools = ["postgres", "redis-server", "redis-cli", "javac"];
    if !tools.iter().all(|tool| is_there(tool) || has_tool(tool)) {
        return;
    }
    let databases = Databases::start();
    let postgres = databases.postgres.address;
    assert_ne!(databases.query(postgres, "inside", "1.2").code(), 0, "control");
    assert_answer(&databases.query(postgres, "inside", "1.0"), "control");
    // It knows of no TLS from the first byte.
    assert_ne!(databases.query(postgres, "direct", "1.0").code(), 0, "control");
    let ended = databases.ping(databases.redis.address);
    assert!(!ended.stdout.contains("PONG"), "control: {}", ended.stdout);
    for engine in engines() {
        let (mut gateway, entrances) = databases.gateway(engine);
        let place = format!("{engine:?}");
        assert_answer(&databases.query(entrances.pair, "inside", "1.0"), &place);
        // Both ends of the pair, whose own TLS is the gateway's best.
        for _ in 0..2 {
            let line = gateway.next_line();
            assert_eq!(line.text("stage"), "relay", "{line:?}");
            let version = line.value("tls_version").as_str();
            let version = version.or_else(|| line.value("upstream_tls_version").as_str());
            assert_eq!(version, Some("TLSv1.3"), "{line:?}");
        }
        assert_answer(&databases.query(entrances.ended, "direct", "1.0"), &place);
        let line = gateway.next_line();
        assert_eq!(line.text("tls_version"), "TLSv1", "{line:?}");
        let ended = databases.ping(entrances.redis);
        assert!(ended.stdout.contains("PONG"), "{place}: {}{}", ended.stdout, ended.stderr);
        let line = gateway.next_line();
        assert_eq!(line.text("upstream_tls_version"), "TLSv1", "{line:?}");
        println!(
            "{engine:?}: {} inside a pair, TLSv1 > plaintext {}, {} > TLSv1 {} (stands in)",
            databases.postgres.program,
            databases.postgres.program,
            line.text("tls_version"),
            databases.redis.program
        );
    }
}

fn assert_answer(ended: &Ended, place: &str) {
    let said = format!("{place}\n{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code(), 0, "{said}");
    assert!(ended.stdout.contains("spoken=TLSv1\n") && ended.stdout.contains(ANSWER), "{said}");
}

impl Databases {
    fn start() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path();
        ca().issue(path, "component", KeyKind::Rsa, &[NAME]);
        fs::write(path.join("ca.pem"), ca().pem()).expect("a writable directory");
        let start = Start::new(path, Some(Only::V1_0));
        let (postgres, redis) = (start.postgres(), start.redis());
        let client = java(path, "Jdbc", &[DRIVER]);
        Self { postgres, redis, client, directory }
    }

    fn gateway(&self, engine: Engine) -> (Gateway, Entrances) {
        let path = self.directory.path();
        let identities = Identities::issue(path);
        let redis = identities.route("redis", self.redis.address, [Lane::Modern, Lane::Legacy]);
        let mut ended =
            identities.route("ended", self.postgres.address, [Lane::Legacy, Lane::Modern]);
        let (head, _) = ended.text.split_once("[listener.upstream_tls]").expect("it has one");
        ended.text = head.replace("mode = \"bridge\"", "mode = \"terminate\"");
        let member = ca().issue(path, "member", KeyKind::Ecdsa, &[NAME]);
        let exit = Route::entrance();
        let pair = Route::entrance();
        let text = format!(
            "[[listener]]\nname = \"entry\"\nmode = \"pair_entry\"\nprotocol = \"jdbc\"\n\
             listen = \"{pair}\"\nupstream = \"{exit}\"\n[listener.upstream_tls]\n\
             trusted_ca = \"ca.pem\"\nserver_name = \"{NAME}\"\ncertificate = \"{certificate}\"\n\
             certificate_key = \"{key}\"\n[[listener]]\nname = \"exit\"\nmode = \"pair_exit\"\n\
             protocol = \"jdbc\"\nlisten = \"{exit}\"\nupstream = \"{to}\"\n[listener.tls]\n\
             certificate = \"{certificate}\"\ncertificate_key = \"{key}\"\n\
             client_cert = \"required\"\ntrusted_ca = \"ca.pem\"\n",
            certificate = member.certificate.display(),
            key = member.key.display(),
            to = self.postgres.address
        );
        let setup = Setup::new(engine, self.postgres.address);
        let gateway = setup.keepalive(&redis.text).keepalive(&ended.text).keepalive(&text).start();
        (gateway, Entrances { pair, ended: ended.entrance, redis: redis.entrance })
    }

    fn query(&self, to: SocketAddr, how: &str, version: &str) -> Ended {
        let mut command = Command::new(self.client.get_program());
        command.args(self.client.get_args()).arg(to.port().to_string());
        command.arg(self.directory.path().join("ca.pem")).args([how, version]);
        run(&mut command, PATIENCE)
    }

    /// By a client of TLS 1.2 and newer.
    fn ping(&self, to: SocketAddr) -> Ended {
        let mut command = Command::new("redis-cli");
        command.args(["-h", NAME, "-p", &to.port().to_string(), "--tls", "--sni", NAME]);
        command.arg("--cacert").arg(self.directory.path().join("ca.pem"));
        run(command.arg("PING"), PATIENCE)
    }
}
