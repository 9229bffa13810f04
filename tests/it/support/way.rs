//! Ways through the gateway: the lane, and the side on which its TLS is. What is relayed must be the
//! same on each.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use super::ca::{KeyKind, NAME, ca};
use super::client::{Version, config, connect, connect_plain, resuming_config};
use super::gateway::{Gateway, Setup};
use super::openssl::{Front, Old, OpensslClient, SUITE};
use super::session::{Session, assert_echo, close, local};
use super::{Engine, engines};

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The modern lane, with a client of this version.
    Modern(Version),
    /// A weak lane, with such a client.
    From(Old),
    /// A weak lane, with such a component; clients have no TLS.
    To(Old),
}

/// Every engine and way in front of one component.
pub(crate) fn each_way(component: SocketAddr, check: impl Fn(&mut Gateway, Way)) {
    each_way_with(component, |setup| setup, check);
}

/// As [`each_way`], with gateways whose configuration is changed.
pub(crate) fn each_way_with(
    component: SocketAddr,
    change: impl Fn(Setup) -> Setup,
    check: impl Fn(&mut Gateway, Way),
) {
    for engine in engines() {
        for ways in together() {
            let (setup, _front) = match ways[0] {
                Way::Modern(_) => (Setup::new(engine, component), None),
                Way::From(_) => (takes_old(Setup::new(engine, component)), None),
                Way::To(old) => dials_old(engine, old, component),
            };
            let mut gateway = change(setup).start();
            for way in ways {
                println!("{engine:?} {way:?}");
                check(&mut gateway, way);
            }
        }
    }
}

/// All ways, those of one gateway together.
fn together() -> Vec<Vec<Way>> {
    let mut all = vec![Version::BOTH.map(Way::Modern).to_vec(), Old::ALL.map(Way::From).to_vec()];
    all.extend(Old::ALL.map(|old| vec![Way::To(old)]));
    all
}

/// With both weak lanes for clients.
pub(crate) fn takes_old(setup: Setup) -> Setup {
    let files = ca().issue(setup.directory(), "legacy", KeyKind::Ecdsa, &[NAME]);
    setup
        .tls(LEGACY)
        .tls(&format!("compat12_ciphers = [{SUITE:?}]"))
        .tls(&format!("legacy_certificate = {:?}", files.certificate))
        .tls(&format!("legacy_certificate_key = {:?}", files.key))
}

const LEGACY: &str =
    "lane = \"legacy\"\nlegacy_until = \"2099-12-31\"\nallow_from = [\"127.0.0.0/8\"]";

/// For clients without TLS and a component of old TLS, which is put in front of `component`.
fn dials_old(engine: Engine, old: Old, component: SocketAddr) -> (Setup, Option<Front>) {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let files = ca().issue(directory.path(), "component", KeyKind::Ecdsa, &[NAME]);
    let front = Front::start(old, &files, component);
    let lane = match old {
        Old::Cbc12 => format!("lane = \"compat12\"\ncompat12_ciphers = [{SUITE:?}]"),
        Old::Tls11 | Old::Tls10 => LEGACY.to_owned(),
    };
    let setup = Setup::new(engine, front.address())
        .without_tls()
        .listener("mode = \"originate\"")
        .upstream_tls(&format!("trusted_ca = \"ca.pem\"\nserver_name = {NAME:?}"))
        .upstream_tls(&lane);
    (setup, Some(front))
}

impl Way {
    /// Connects, and shakes hands where there is TLS.
    ///
    /// # Panics
    /// When that fails.
    pub(crate) fn connect(self, gateway: &Gateway) -> Box<dyn Session> {
        match self {
            Self::Modern(version) => Box::new(connect(gateway.address(), &config(version))),
            Self::From(old) => connect_old(&mut OpensslClient::new(old), gateway),
            Self::To(_) => Box::new(connect_plain(gateway.address())),
        }
    }

    /// Whether the client's end has TLS.
    pub(crate) fn has_tls(self) -> bool {
        !matches!(self, Self::To(_))
    }

    /// A client that resumes, where clients have TLS.
    pub(crate) fn resuming(self) -> Option<Resuming> {
        match self {
            Self::Modern(version) => Some(Resuming::Modern(resuming_config(version))),
            Self::From(old) => Some(Resuming::Old(Box::new(OpensslClient::new(old)))),
            Self::To(_) => None,
        }
    }
}

/// A client that resumes its sessions.
pub(crate) enum Resuming {
    Modern(Arc<ClientConfig>),
    Old(Box<OpensslClient>),
}

impl Resuming {
    /// Whether another connection resumes a session, as the access log has it.
    ///
    /// # Panics
    /// When the connection fails.
    pub(crate) fn is_resumed(&mut self, gateway: &Gateway) -> bool {
        let mut session = self.connect(gateway);
        // In TLS 1.3 a ticket comes behind the handshake.
        assert_echo(&mut *session, b"hello");
        let peer = local(&*session);
        close(session);
        gateway.line_of(peer).is_resumed()
    }

    fn connect(&mut self, gateway: &Gateway) -> Box<dyn Session> {
        match self {
            Self::Modern(config) => Box::new(connect(gateway.address(), config)),
            Self::Old(client) => connect_old(client, gateway),
        }
    }
}

fn connect_old(client: &mut OpensslClient, gateway: &Gateway) -> Box<dyn Session> {
    let connected = client.connect(connect_plain(gateway.address()));
    Box::new(connected.unwrap_or_else(|error| panic!("handshake: {error}")))
}
