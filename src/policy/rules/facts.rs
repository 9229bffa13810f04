//! What is known about a connection when rules are looked up.

use std::net::IpAddr;

use super::spec::Version;
use crate::tls::hello::AlpnProtocols;

/// What is known; what is not (yet), or is not there, is `None` or empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Address of the peer; one that is IPv4 in IPv6 counts as IPv4. `None` for unix sockets.
    pub source: Option<IpAddr>,
    /// SNI, when it is a DNS name; large and small letters are the same, and a dot at the end is
    /// none.
    pub sni: Option<&'a str>,
    /// What the client offers, in its order of preference.
    pub alpn: AlpnProtocols<'a>,
    /// The highest version of TLS that the client offers.
    pub version: Option<Version>,
    /// Once the handshake has proved that the client has the certificate's key.
    pub client: Option<ClientFacts<'a>>,
}

/// Who a client is: what is on its certificate.
#[derive(Clone, Copy, Debug)]
pub struct ClientFacts<'a> {
    /// SHA-256 of the certificate's DER.
    pub fingerprint: &'a [u8; 32],
    /// SHA-256 of the DER of its SubjectPublicKeyInfo.
    pub spki: &'a [u8; 32],
    /// Distinguished names as text, in the form that the configuration writes them in.
    pub subject: &'a str,
    pub issuer: &'a str,
    /// The last common name of the subject.
    pub common_name: Option<&'a str>,
    /// Subject alternative names by kind, each in the order of the certificate.
    pub dns: &'a [String],
    pub uris: &'a [String],
    pub ips: &'a [IpAddr],
}
