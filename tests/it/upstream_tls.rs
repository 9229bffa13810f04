//! Components that speak TLS: each is who it should be, also when it is only checked, and also when
//! it stands in for another.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use tempfile::TempDir;

use crate::support::ca::{Files, KeyKind, ca};
use crate::support::client::connect_plain;
use crate::support::gateway::{Gateway, Setup};
use crate::support::log::Line;
use crate::support::tls_component::{Manners, TlsComponent};
use crate::support::{Engine, SOON, engines, wait_until};

/// Certificates of the same authority, for the primary's name and for the backup's.
struct Certificates {
    primary: Files,
    backup: Files,
    _directory: TempDir,
}

const PRIMARY: &str = "localhost";
const BACKUP: &str = "127.0.0.2";

impl Certificates {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let issue = |stem, name| ca().issue(directory.path(), stem, KeyKind::Ecdsa, &[name]);
        let (primary, backup) = (issue("primary", PRIMARY), issue("backup", BACKUP));
        Self { primary, backup, _directory: directory }
    }
}

/// A gateway for peers without TLS, in front of a primary and a backup with names of their own.
struct Rig {
    gateway: Gateway,
    primary: TlsComponent,
    backup: TlsComponent,
    certificates: Certificates,
    names: [String; 2],
}

impl Rig {
    fn start(engine: Engine, more: &str) -> Self {
        let certificates = Certificates::new();
        let primary = TlsComponent::start("127.0.0.1", Manners::shows(&certificates.primary));
        let backup = TlsComponent::start(BACKUP, Manners::shows(&certificates.backup));
        let names =
            [format!("{PRIMARY}:{}", primary.address().port()), backup.address().to_string()];
        let gateway = Setup::new(engine, primary.address())
            .upstreams(&[&names[0]])
            .without_tls()
            .listener("mode = \"originate\"")
            .listener(&format!("backup = {:?}", names[1]))
            .listener(more)
            .upstream_tls("trusted_ca = \"ca.pem\"")
            .start();
        Self { gateway, primary, backup, certificates, names }
    }

    /// Who serves a client: its subject. Or why nobody does.
    fn served_by(&self) -> Result<String, Line> {
        let (peer, echo) = talk(self.gateway.address());
        let line = self.gateway.line_of(peer);
        match echo {
            Ok(()) => Ok(line.text("upstream_subject").to_owned()),
            Err(_) => Err(line),
        }
    }

    /// A figure of the primary.
    fn of_primary(&self, metric: &str) -> u64 {
        let name = format!("tlsgate_upstream_{metric}");
        self.gateway.metrics().count(&name, &[("upstream", &self.names[0])])
    }
}

/// A client's whole life.
fn talk(gateway: SocketAddr) -> (SocketAddr, io::Result<()>) {
    let mut stream = connect_plain(gateway);
    let peer = stream.local_addr().expect("connected");
    let mut echo = || {
        let mut answer = [0; 5];
        stream.write_all(b"hello")?;
        stream.read_exact(&mut answer)?;
        stream.shutdown(Shutdown::Write)?;
        stream.read_to_end(&mut Vec::new())?;
        assert_eq!(&answer, b"hello");
        Ok(())
    };
    (peer, echo())
}

/// In the vendors' sense: the backup is another host, and is checked as that.
#[test]
#[ignore = "run by tests/run"]
fn primary_and_backup_are_checked_against_their_own_names() {
    for engine in engines() {
        let rig = Rig::start(engine, "");
        let Certificates { primary, backup, .. } = &rig.certificates;
        assert_eq!(rig.served_by().expect("the primary"), "CN=primary");
        // Of the same authority, and good for the other name: whoever shows it is not the primary.
        rig.primary.set(Manners::shows(backup));
        assert_eq!(rig.served_by().expect("the backup"), "CN=backup");
        let labels = [("reason", "upstream_certificate_invalid")];
        let failures = || rig.gateway.metrics().count("tlsgate_upstream_failures_total", &labels);
        assert_eq!(failures(), 1, "{engine:?}");
        // And the other way round.
        rig.backup.set(Manners::shows(primary));
        let line = rig.served_by().expect_err("neither is who it should be");
        line.assert_ended("upstream_certificate_invalid", "upstream", "connecting");
        assert_eq!(failures(), 3, "{engine:?}");
        rig.primary.set(Manners::shows(primary));
        assert_eq!(rig.served_by().expect("the primary, tried as nothing is up"), "CN=primary");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn upstream_health_by_handshake() {
    let checks = "checks = { probe = \"tls\", interval = \"200ms\", rise = 2, fall = 2 }";
    for engine in engines() {
        let rig = Rig::start(engine, checks);
        let wait_until_it_is = |up: bool| {
            wait_until("checks find out", SOON, || rig.of_primary("up") == u64::from(up));
        };
        wait_until("checks happen", SOON, || rig.of_primary("checks_total") > 3);
        assert_eq!(rig.served_by().expect("the primary"), "CN=primary");
        let good = || Manners::shows(&rig.certificates.primary);
        for bad in [Manners::shows(&rig.certificates.backup), Manners::Mumbles] {
            rig.primary.set(bad);
            wait_until_it_is(false);
            TcpStream::connect(rig.primary.address()).expect("it accepts as ever");
            assert_eq!(rig.served_by().expect("the backup"), "CN=backup");
            assert_eq!(rig.of_primary("connect_failures_total"), 0, "nobody had to try");
            rig.primary.set(good());
            wait_until_it_is(true);
            assert_eq!(rig.served_by().expect("the primary"), "CN=primary");
        }
    }
}
