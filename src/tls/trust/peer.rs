//! Who a peer is, as its certificate says.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use super::path::Path;

/// Most names of one kind that are kept; a certificate with more has [`PeerIdentity::cut`].
pub const MAX_NAMES: usize = 64;
/// Longest name that is kept, in bytes.
pub const MAX_NAME: usize = 1024;

/// What policy and logs know of a peer. Names are as in the certificate; whether it is to be
/// believed is for [`ClientVerification`](super::ClientVerification) to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// RFC 4514, as in `CN=component.example,O=Example`; empty if it is longer than [`MAX_NAME`].
    pub subject: String,
    /// The most specific common name.
    pub cn: Option<String>,
    /// Subject alternative names; DNS names in lower case.
    pub dns: Vec<String>,
    pub uris: Vec<String>,
    pub ips: Vec<IpAddr>,
    /// As `subject`.
    pub issuer: String,
    /// Hexadecimal, bytes separated by colons.
    pub serial: String,
    /// First and last second of validity, Unix time.
    pub not_before: i64,
    pub not_after: i64,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// SHA-256 of its SubjectPublicKeyInfo: what `pin` lists.
    pub spki: [u8; 32],
    /// Names were left out because there are too many or they are too long. Rules do not see them.
    pub cut: bool,
}

impl PeerIdentity {
    /// `None` if the certificate cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut identity = Self {
            subject: rfc4514(parsed.subject()),
            cn: common_name(&parsed).map(str::to_owned),
            dns: Vec::new(),
            uris: Vec::new(),
            ips: Vec::new(),
            issuer: rfc4514(parsed.issuer()),
            serial: parsed.raw_serial_as_string(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            fingerprint: sha256(certificate),
            spki: sha256(parsed.public_key().raw),
            cut: false,
        };
        identity.add_alternatives(&parsed);
        identity.bound();
        Some(identity)
    }

    fn add_alternatives(&mut self, certificate: &X509Certificate<'_>) {
        let Ok(Some(extension)) = certificate.subject_alternative_name() else { return };
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => {
                    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                    keep(&mut self.dns, name, &mut self.cut);
                }
                GeneralName::URI(uri) => keep(&mut self.uris, (*uri).to_owned(), &mut self.cut),
                GeneralName::IPAddress(bytes) => match ip(bytes) {
                    Some(ip) if self.ips.len() < MAX_NAMES => self.ips.push(ip),
                    _ => self.cut = true,
                },
                _ => {}
            }
        }
    }

    fn bound(&mut self) {
        for name in [&mut self.subject, &mut self.issuer] {
            if name.len() > MAX_NAME {
                name.clear();
                self.cut = true;
            }
        }
        if self.cn.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
            self.cn = None;
            self.cut = true;
        }
    }
}

/// A peer that showed a certificate; shared by the handshakes of one peer.
#[derive(Debug)]
pub struct Peer {
    pub identity: PeerIdentity,
    /// What it sent, the peer's own certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// How it was found to be trusted, if it was.
    pub(super) path: Option<Arc<Path>>,
}

impl Peer {
    pub(super) fn new(chain: &[CertificateDer<'_>], path: Option<Arc<Path>>) -> Option<Self> {
        let identity = PeerIdentity::of(chain.first()?)?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Some(Self { identity, chain, path })
    }

    /// How it was found to be trusted: what a connection keeps, to be asked again.
    pub fn path(&self) -> Option<&Arc<Path>> {
        self.path.as_ref()
    }

    /// The peer's own certificate, then what else it sent.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// SHA-256 of a certificate: [`PeerIdentity::fingerprint`] without reading it.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    sha256(certificate)
}

/// Subject and serial number as in [`PeerIdentity`], for when nothing else is asked;
/// `None` if the certificate cannot be read.
pub fn subject_and_serial(certificate: &CertificateDer<'_>) -> Option<(String, String)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some((rfc4514(parsed.subject()), parsed.raw_serial_as_string()))
}

pub(in crate::tls) fn sha256(bytes: &[u8]) -> [u8; 32] {
    *digest(&SHA256, bytes).as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// The most specific common name, which is the last (RFC 6125 §6.4.4).
pub(super) fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    certificate.subject().iter_common_name().last().and_then(|name| name.as_str().ok())
}

/// A name as RFC 4514 writes it: most specific first, special characters escaped.
pub(super) fn rfc4514(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter().collect();
    for (position, part) in parts.into_iter().rev().enumerate() {
        for (number, attribute) in part.iter().enumerate() {
            match (position, number) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            let kind = attribute.attr_type();
            match short_name(&kind.to_id_string()) {
                Some(short) => text.push_str(short),
                None => text.push_str(&kind.to_id_string()),
            }
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(value, &mut text),
                Err(_) => {
                    text.push('#');
                    for byte in attribute.as_slice() {
                        write!(text, "{byte:02x}").expect("memory can be written");
                    }
                }
            }
        }
    }
    text
}

/// RFC 4514 §3, and those that RFC 4519 and RFC 2985 name and certificates have.
fn short_name(id: &str) -> Option<&'static str> {
    Some(match id {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// RFC 4514 §2.4.
fn escape(value: &str, into: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (position, character) in value.chars().enumerate() {
        let special = match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => true,
            '#' => position == 0,
            ' ' => position == 0 || position == last,
            _ => false,
        };
        match character {
            // Control characters would break the lines of a log.
            '\0'..' ' | '\x7f' => {
                write!(into, "\\{:02x}", u32::from(character)).expect("memory can be written");
                continue;
            }
            _ if special => into.push('\\'),
            _ => {}
        }
        into.push(character);
    }
}

fn keep(names: &mut Vec<String>, name: String, cut: &mut bool) {
    if names.len() < MAX_NAMES && name.len() <= MAX_NAME {
        names.push(name);
    } else {
        *cut = true;
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
