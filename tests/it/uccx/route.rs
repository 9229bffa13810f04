//! Listeners with the lanes that a case is about.

use std::net::SocketAddr;
use std::path::Path;

use tlsgate::catalogue::uccx::Lane;

use crate::support::ca::{Files, KeyKind, NAME, ca};
use crate::support::gateway::free_port;

/// What both lanes of a listener show, each its own key.
pub(super) struct Identities {
    modern: Files,
    legacy: Files,
    /// The name in them, which the components have, too.
    name: String,
}

/// A listener that ends TLS on both sides.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) entrance: SocketAddr,
    /// Its table.
    pub(super) text: String,
}

impl Identities {
    pub(super) fn issue(directory: &Path) -> Self {
        Self::named(directory, NAME)
    }

    pub(super) fn named(directory: &Path, name: &str) -> Self {
        let issue = |stem, kind| ca().issue(directory, stem, kind, &[name]);
        let (modern, legacy) = (issue("modern", KeyKind::Ecdsa), issue("legacy", KeyKind::Rsa));
        Self { modern, legacy, name: name.to_owned() }
    }

    /// A listener whose sides go down to these lanes.
    pub(super) fn route(&self, name: &str, to: SocketAddr, lanes: [Lane; 2]) -> Route {
        let entrance = Route::entrance();
        let (certificate, key) = (self.modern.certificate.display(), self.modern.key.display());
        let [downstream, upstream] = lanes.map(lane);
        let legacy = match lanes[0] {
            Lane::Modern => String::new(),
            Lane::Legacy => format!(
                "legacy_certificate = \"{}\"\nlegacy_certificate_key = \"{}\"\n",
                self.legacy.certificate.display(),
                self.legacy.key.display()
            ),
        };
        let text = format!(
            "[[listener]]\nname = \"{name}\"\nmode = \"bridge\"\nlisten = \"{entrance}\"\n\
             upstream = \"{to}\"\n[listener.tls]\ncertificate = \"{certificate}\"\n\
             certificate_key = \"{key}\"\n{downstream}{legacy}\
             [listener.upstream_tls]\ntrusted_ca = \"ca.pem\"\nserver_name = \"{}\"\n\
             {upstream}",
            self.name
        );
        Route { entrance, text }
    }
}

impl Route {
    /// Where another listener may be.
    pub(super) fn entrance() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], free_port()))
    }
}

fn lane(lane: Lane) -> &'static str {
    match lane {
        Lane::Modern => "",
        Lane::Legacy => {
            "lane = \"legacy\"\nlegacy_until = \"2099-12-31\"\nallow_from = [\"127.0.0.1\"]\n"
        }
    }
}
