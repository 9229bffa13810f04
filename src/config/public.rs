//! Which endpoints are on the public internet, where anybody may stand in between.

use std::net::IpAddr;

use super::model::Endpoint;

/// Last labels of names that no public resolver knows: reserved ones (RFC 2606, RFC 6761, RFC 6762,
/// RFC 8375's `home.arpa`, ICANN's `internal`), and those that the public root will not have because
/// so many use them inside.
const INSIDE: [&str; 14] = [
    "arpa",
    "corp",
    "example",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mail",
    "private",
    "test",
];

/// Whether the endpoint has a public address, or a name that a public resolver may know.
pub(super) fn is_public(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp(address) => is_public_address(address.ip()),
        Endpoint::Name(name, _) => is_public_name(name),
        Endpoint::Unix(_) => false,
    }
}

/// A name of one label is looked up inside, and so is one that ends in a reserved label.
fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.rsplit_once('.').is_some_and(|(_, last)| !INSIDE.contains(&last))
}

/// Not one of the special-purpose addresses of RFC 6890 that stay in a network.
fn is_public_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            // RFC 6598 (carriers), RFC 2544 (benchmarks).
            let is_shared =
                (first, second & 0xc0) == (100, 64) || (first, second & 0xfe) == (198, 18);
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_documentation()
                || address.is_unspecified()
                || is_shared)
        }
        IpAddr::V6(address) => {
            let is_documentation = address.segments()[..2] == [0x2001, 0xdb8];
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || is_documentation)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_public_or_not() {
        for inside in [
            "cfg-a",
            "cfg-a.corp",
            "Exchange.CORP.",
            "db.internal",
            "x.home.arpa",
            "component.example",
            "10.1.2.3",
            "127.0.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.0.1",
            "100.127.0.1",
            "198.19.0.1",
            "192.0.2.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "2001:db8::1",
        ] {
            assert!(!is_public(&endpoint(inside)), "{inside}");
        }
        for public in [
            "login.salesforce.com",
            "example.org",
            "corp.example.org",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(&endpoint(public)), "{public}");
        }
        assert!(!is_public(&Endpoint::Unix("/run/component.sock".into())));
    }

    fn endpoint(text: &str) -> Endpoint {
        match text.parse::<IpAddr>() {
            Ok(address) => Endpoint::Tcp((address, 443).into()),
            Err(_) => Endpoint::Name(text.to_owned(), 443),
        }
    }
}
