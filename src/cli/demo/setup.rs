//! Where everything of the demo is: addresses, and the configuration that names them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use super::{Failure, certificates};

/// Ports that the demo takes where nobody else has them.
const TLS_PORT: u16 = 8443;
const ADMIN_PORT: u16 = 9440;

/// Addresses and files.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) directory: PathBuf,
    /// Where peers connect with TLS.
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    /// The plaintext backend.
    pub(super) upstream: SocketAddr,
}

impl Setup {
    /// Chooses ports that are free now. Whoever takes one before the gateway does makes it fail to
    /// start with a message that says so.
    pub(super) fn choose(directory: PathBuf, upstream: SocketAddr) -> Result<Self, Failure> {
        // A name for curl and openssl that holds in every directory.
        let directory = std::path::absolute(&directory)
            .map_err(|source| Failure::File { path: directory, source })?;
        // Both at once, so that they differ.
        let listen = free(TLS_PORT).map_err(Failure::Port)?;
        let admin = free(ADMIN_PORT).map_err(Failure::Port)?;
        let address = |socket: &TcpListener| socket.local_addr().map_err(Failure::Port);
        Ok(Self { directory, listen: address(&listen)?, admin: address(&admin)?, upstream })
    }

    pub(super) fn configuration_file(&self) -> PathBuf {
        self.directory.join("tlsgate.toml")
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.directory.join(certificates::CA)
    }

    /// The text of the configuration file.
    pub(super) fn configuration(&self) -> String {
        let Self { listen, admin, upstream, .. } = self;
        let (certificate, key) = (certificates::CERTIFICATE, certificates::KEY);
        format!(
            r#"# Written by `tlsgate demo`, anew each time. Every key: config/tlsgate.toml.
# To run it without the demo: put your component's address behind "upstream", then
# `tlsgate run -c tlsgate.toml`. Relative paths start at the directory of this file.

[admin]
listen = "{admin}"

[log]
level = "warn"
# "stdout" shows a line for each connection.
access = "off"

[[listener]]
name = "demo"
listen = "{listen}"
# The backend inside the demo, gone when that ends. It answers HTTP and echoes all else.
upstream = "{upstream}"

[listener.tls]
certificate = "{certificate}"
certificate_key = "{key}"
"#
        )
    }
}

/// The loopback address, on a port that the kernel chooses.
pub(super) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn free(preferred: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, preferred)).or_else(|_| TcpListener::bind(any_port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::model::{Endpoint, ListenAddress};

    #[test]
    fn the_configuration_means_what_was_chosen() {
        let upstream = SocketAddr::from(([127, 0, 0, 1], 5060));
        let setup = Setup::choose("some/place".into(), upstream).expect("free ports");
        assert_ne!(setup.listen, setup.admin);
        assert!(setup.directory.is_absolute());
        let file = setup.configuration_file();
        let config = config::parse(&file.display().to_string(), &setup.configuration())
            .unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        assert_eq!(config.admin.listen, Some(setup.admin));
        let [listener] = config.listeners.as_slice() else { panic!("one listener") };
        assert_eq!(listener.listen, ListenAddress::Tcp(setup.listen));
        assert_eq!(listener.upstreams[0].endpoint, Endpoint::Tcp(upstream));
        let tls = listener.tls.as_ref().expect("TLS with peers");
        let [files] = tls.certificates.as_slice() else { panic!("one certificate") };
        assert_eq!(files.certificate, setup.directory.join(certificates::CERTIFICATE));
    }

    #[test]
    fn a_port_that_is_taken_is_not_chosen() {
        let taken = TcpListener::bind(any_port()).expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let other = free(port).expect("another port").local_addr().expect("bound").port();
        assert_ne!(port, other);
    }
}
