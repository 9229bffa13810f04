//! A rule as it is written, and the text of its conditions.
//!
//! A refusal is the hint to show: what to write instead.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use rustls::pki_types::DnsName;

use super::MAX_SLASHES;

/// A rule. An empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSpec {
    pub name: String,
    /// Where it stands in its file, from 1; for messages.
    pub line: u32,
    pub source: Vec<Cidr>,
    pub sni: Vec<SniPattern>,
    /// Names of protocols that the client offers, such as `h2`.
    pub alpn: Vec<Vec<u8>>,
    /// Highest versions that the client offers.
    pub versions: Vec<Version>,
    pub client: Vec<ClientMatch>,
    /// What the caller does with a connection that the rule wins; several rules may share one.
    pub outcome: u32,
}

/// A range of addresses. Its address has no bits set beyond the prefix, and is not IPv4 in IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// Names that a client may ask for; in small letters, without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SniPattern {
    Exact(Box<str>),
    /// What follows `*.`: the star is exactly one label.
    Wildcard(Box<str>),
}

/// The highest version that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

/// A way to name clients by their certificates, most specific first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientMatch {
    /// SHA-256 of the certificate.
    Fingerprint([u8; 32]),
    /// SHA-256 of its public key's SubjectPublicKeyInfo, which a renewal may keep.
    Spki([u8; 32]),
    /// A URI among its alternative names, byte for byte.
    Uri(Box<str>),
    /// A DNS name among its alternative names; in small letters.
    Dns(Box<str>),
    /// An address among its alternative names.
    Ip(IpAddr),
    /// Its subject, byte for byte.
    Subject(Box<str>),
    /// The common name of its subject, byte for byte.
    CommonName(Box<str>),
    /// A URI that goes on from this one, which ends with a slash: `spiffe://example.org/` is a
    /// whole trust domain.
    UriUnder(Box<str>),
    /// A DNS name that is one label and this; in small letters.
    DnsWildcard(Box<str>),
    /// Its issuer, byte for byte.
    Issuer(Box<str>),
}

impl Cidr {
    /// The first `length` bits of an address. `None` if it has not as many, or further ones set.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let (address, length) = match address.to_canonical() {
            // ::ffff:0:0/96 is where IPv4 is in IPv6.
            v4 @ IpAddr::V4(_) if address.is_ipv6() => (v4, length.checked_sub(96)?),
            address => (address, length),
        };
        let masked = Self::masked(address, length)?;
        (masked == address).then_some(Self { address, length })
    }

    /// The address with only its first bits kept.
    fn masked(address: IpAddr, length: u8) -> Option<IpAddr> {
        let length = u32::from(length);
        match address {
            IpAddr::V4(v4) => {
                let beyond = u32::BITS.checked_sub(length)?;
                let mask = u32::MAX.checked_shl(beyond).unwrap_or(0);
                Some(IpAddr::V4((v4.to_bits() & mask).into()))
            }
            IpAddr::V6(v6) => {
                let beyond = u128::BITS.checked_sub(length)?;
                let mask = u128::MAX.checked_shl(beyond).unwrap_or(0);
                Some(IpAddr::V6((v6.to_bits() & mask).into()))
            }
        }
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits of the prefix.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether an address is in the range; one that is IPv4 in IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::masked(address.to_canonical(), self.length)
            .is_some_and(|masked| masked == self.address)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "Write an address, or a range such as \"10.1.0.0/16\" or \"fd00::/8\".";
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| HINT.to_owned())?;
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => bits,
            Some(length) => length
                .parse()
                .ok()
                .filter(|length| *length <= bits)
                .ok_or_else(|| format!("The prefix of such an address has 0 to {bits} bits."))?,
        };
        if address != address.to_canonical() {
            return Err("Write an IPv4 address as such, not in IPv6.".to_owned());
        }
        Self::new(address, length).ok_or_else(|| {
            let masked = Self::masked(address, length).unwrap_or(address);
            format!("The address has bits set beyond its prefix: write \"{masked}/{length}\".")
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A valid DNS name as it is compared.
fn dns_name(text: &str) -> Result<Box<str>, String> {
    const HINT: &str = "Write a DNS name, or \"*.\" and one; the star is exactly one label.";
    let name = DnsName::try_from(text).map_err(|_| HINT.to_owned())?;
    if text.ends_with('.') {
        return Err("Write the name without the dot at its end.".to_owned());
    }
    Ok(name.as_ref().to_ascii_lowercase().into())
}

impl FromStr for SniPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("*.") {
            Some(parent) => dns_name(parent).map(Self::Wildcard),
            None => dns_name(text).map(Self::Exact),
        }
    }
}

impl fmt::Display for SniPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl Version {
    pub(super) const ALL: [(Self, &'static str); 4] =
        [(Self::Tls10, "1.0"), (Self::Tls11, "1.1"), (Self::Tls12, "1.2"), (Self::Tls13, "1.3")];
}

impl Version {
    /// As a ClientHello says it.
    pub const fn number(self) -> u16 {
        match self {
            Self::Tls10 => 0x0301,
            Self::Tls11 => 0x0302,
            Self::Tls12 => 0x0303,
            Self::Tls13 => 0x0304,
        }
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text);
        found.map(|(version, _)| version).ok_or_else(|| {
            "Write the highest version that the client offers: \"1.0\" to \"1.3\".".to_owned()
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.into_iter().find(|(version, _)| version == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

/// `sha256:`, `spki:` (both hex or base64), `uri:`, `dns:`, `ip:`, `subject:`, `cn:`, `issuer:`.
/// `uri:` may end with `/*`, and `dns:` begin with `*.`.
impl FromStr for ClientMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "Write how the client is named: \"sha256:\", \"spki:\", \"uri:\", \
             \"dns:\", \"ip:\", \"subject:\", \"cn:\" or \"issuer:\", and then the name.";
        let (kind, value) = text.split_once(':').ok_or_else(|| HINT.to_owned())?;
        if value.is_empty() {
            return Err(HINT.to_owned());
        }
        match kind {
            "sha256" => digest(value).map(Self::Fingerprint),
            "spki" => digest(value).map(Self::Spki),
            "uri" => match value.strip_suffix('*') {
                Some(beginning) => uri_under(beginning).map(Self::UriUnder),
                None => Ok(Self::Uri(value.into())),
            },
            "dns" => match value.strip_prefix("*.") {
                Some(parent) => dns_name(parent).map(Self::DnsWildcard),
                None => dns_name(value).map(Self::Dns),
            },
            "ip" => {
                let address = value.parse::<IpAddr>();
                let hint = "Write one address, such as \"ip:192.0.2.7\".";
                address.map(|ip| Self::Ip(ip.to_canonical())).map_err(|_| hint.to_owned())
            }
            "subject" => Ok(Self::Subject(value.into())),
            "cn" => Ok(Self::CommonName(value.into())),
            "issuer" => Ok(Self::Issuer(value.into())),
            _ => Err(HINT.to_owned()),
        }
    }
}

/// A SHA-256 as hexadecimal digits, with or without colons, or as base64.
pub fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    let hex = HEXLOWER_PERMISSIVE.decode(text.replace(':', "").as_bytes()).ok();
    let bytes =
        hex.filter(|bytes| bytes.len() == 32).or_else(|| BASE64.decode(text.as_bytes()).ok());
    bytes?.try_into().ok()
}

fn digest(text: &str) -> Result<[u8; 32], String> {
    parse_sha256(text)
        .ok_or_else(|| "Write a SHA-256: 64 hexadecimal digits, or base64.".to_owned())
}

fn uri_under(beginning: &str) -> Result<Box<str>, String> {
    if !beginning.ends_with('/') {
        return Err("Write the star behind a slash, as in \"uri:spiffe://example.org/*\".".into());
    }
    if beginning.matches('/').count() > MAX_SLASHES {
        return Err(format!("At most {MAX_SLASHES} slashes may stand before the star."));
    }
    Ok(beginning.into())
}

impl fmt::Display for ClientMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(digest) => write!(f, "sha256:{}", HEXLOWER_PERMISSIVE.encode(digest)),
            Self::Spki(digest) => write!(f, "spki:{}", HEXLOWER_PERMISSIVE.encode(digest)),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Ip(ip) => write!(f, "ip:{ip}"),
            Self::Subject(name) => write!(f, "subject:{name}"),
            Self::CommonName(name) => write!(f, "cn:{name}"),
            Self::UriUnder(beginning) => write!(f, "uri:{beginning}*"),
            Self::DnsWildcard(parent) => write!(f, "dns:*.{parent}"),
            Self::Issuer(name) => write!(f, "issuer:{name}"),
        }
    }
}
