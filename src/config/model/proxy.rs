//! The PROXY protocol: what peers say of themselves, and what components are told.

use crate::policy::rules::Cidr;

/// `proxy_in` and `proxy_trusted`: the header that connections begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyIn {
    pub versions: ProxyVersions,
    /// Who may say where a connection is from. `None` is whoever may open a unix socket.
    pub trusted: Vec<Option<Cidr>>,
}

/// Versions of the header that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersions {
    One,
    Two,
    Any,
}

/// `proxy_out` and what goes with it: the header that components are sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyOut {
    /// Addresses.
    One,
    /// Addresses, and what is known of the connection.
    Two {
        /// The peer's certificate, too.
        client_cert: bool,
        checksum: bool,
    },
}
