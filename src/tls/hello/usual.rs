//! The ClientHello of a usual client: to ask what would come of one that nobody has sent.

use rustls::CipherSuite;

use super::peek::{ALPN, SERVER_NAME, SIGNATURE_ALGORITHMS, SUPPORTED_GROUPS, SUPPORTED_VERSIONS};
use super::{CLIENT_HELLO, MESSAGE_HEADER};
use crate::config::model::WEAK_SUITES;
use crate::tls::provider::provider;

/// What is said of the client; in all else it is as most of its version are.
#[derive(Clone, Copy, Debug)]
pub struct Usual<'a> {
    /// Newest version that it offers: 0x0300 to 0x0304.
    pub version: u16,
    pub server_name: Option<&'a str>,
    /// Most preferred first.
    pub alpn: &'a [String],
    /// Numbers of the IANA registry, most preferred first; at least one.
    pub suites: &'a [u16],
}

impl Usual<'_> {
    /// Its handshake message, as [`Hello::parse`](super::Hello::parse) takes it.
    ///
    /// # Errors
    /// When a ClientHello cannot say that, in words.
    pub fn message(&self) -> Result<Vec<u8>, String> {
        let mut extensions = Vec::new();
        let mut extension = |kind: u16, body: &[u8]| -> Result<(), String> {
            extensions.extend_from_slice(&kind.to_be_bytes());
            extensions.extend_from_slice(&list16(body)?);
            Ok(())
        };
        if let Some(name) = self.server_name {
            extension(SERVER_NAME, &list16(&[&[0], &*list16(name.as_bytes())?].concat())?)?;
        }
        extension(SUPPORTED_GROUPS, &list16(&numbers(&GROUPS))?)?;
        if self.version >= TLS_1_2 {
            extension(SIGNATURE_ALGORITHMS, &list16(&numbers(&SCHEMES))?)?;
        }
        if !self.alpn.is_empty() {
            extension(ALPN, &list16(&alpn_list(self.alpn)?)?)?;
        }
        if self.version > TLS_1_2 {
            extension(SUPPORTED_VERSIONS, &[&[4], &*numbers(&[self.version, TLS_1_2])].concat())?;
        }
        // What follows are the random, no session id and no compression.
        let mut body = self.version.min(TLS_1_2).to_be_bytes().to_vec();
        body.extend_from_slice(&[0; 33]);
        body.extend_from_slice(&list16(&numbers(self.suites))?);
        body.extend_from_slice(&[1, 0]);
        body.extend_from_slice(&list16(&extensions)?);
        let length = u32::try_from(body.len()).map_err(|_| TOO_LONG)?.to_be_bytes();
        Ok([&[CLIENT_HELLO], &length[MESSAGE_HEADER - 3..], &body].concat())
    }
}

/// What a client offers whose newest version is this one: all that is spoken in any lane. Whatever
/// else it has, nobody here takes.
pub fn usual_suites(version: u16) -> Vec<u16> {
    let modern = provider();
    let modern = modern.cipher_suites.iter().filter(|suite| match suite.tls13() {
        Some(_) => version > TLS_1_2,
        None => version >= TLS_1_2,
    });
    let weak = WEAK_SUITES.iter().filter(|suite| version >= TLS_1_2 || !suite.only_tls12);
    modern
        .map(|suite| suite.suite())
        .map(CipherSuite::into)
        .chain(weak.map(|suite| suite.code))
        .collect()
}

/// A list of protocols (RFC 7301 §3.1).
fn alpn_list(protocols: &[String]) -> Result<Vec<u8>, String> {
    let mut list = Vec::new();
    for protocol in protocols {
        let length = u8::try_from(protocol.len()).ok().filter(|length| *length > 0);
        list.push(length.ok_or("a protocol of ALPN has 1 to 255 bytes")?);
        list.extend_from_slice(protocol.as_bytes());
    }
    Ok(list)
}

fn numbers(list: &[u16]) -> Vec<u8> {
    list.iter().flat_map(|one| one.to_be_bytes()).collect()
}

/// Bytes after a length of two bytes.
fn list16(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let length = u16::try_from(bytes.len()).map_err(|_| TOO_LONG)?;
    Ok([&length.to_be_bytes(), bytes].concat())
}

const TLS_1_2: u16 = 0x0303;
/// X25519 and the curves of NIST.
const GROUPS: [u16; 4] = [0x001d, 0x0017, 0x0018, 0x0019];
/// ECDSA, RSA-PSS, RSA and Ed25519 with SHA-2, then RSA and ECDSA with SHA-1.
const SCHEMES: [u16; 12] = [
    0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0807, 0x0201, 0x0203,
];
const TOO_LONG: &str = "longer than a ClientHello can be";

#[cfg(test)]
mod tests {
    use super::super::Hello;
    use super::*;

    fn usual(suites: &[u16]) -> Usual<'_> {
        Usual { version: 0x0301, server_name: None, alpn: &[], suites }
    }

    #[test]
    fn it_says_what_is_said_of_it() {
        for version in 0x0300..=0x0304 {
            let (suites, alpn) = (usual_suites(version), ["sip".to_owned(), "h2".to_owned()]);
            let name = Some("a.example");
            let asked = Usual { version, server_name: name, alpn: &alpn, suites: &suites };
            let message = asked.message().expect("short");
            let hello = Hello::parse(&message).expect("well-formed");
            assert_eq!(hello.newest_version(), Some(version));
            assert_eq!(hello.sni.and_then(|sni| sni.dns_name()), name);
            assert_eq!(hello.alpn.iter().collect::<Vec<_>>(), [&b"sip"[..], b"h2"]);
            assert_eq!(hello.cipher_suites.iter().collect::<Vec<_>>(), suites);
            assert_eq!(hello.offers_tls13(), version == 0x0304);
            assert_eq!(hello.offers_tls12(), version >= 0x0303);
            assert_eq!(hello.signature_schemes.is_empty(), version < 0x0303);
            assert!(hello.cipher_suites.contains(0x002f), "all have AES with static RSA");
            assert_eq!(hello.cipher_suites.contains(0xc02f), version >= 0x0303);
            assert_eq!(hello.cipher_suites.contains(0x1301), version == 0x0304);
        }
    }

    #[test]
    fn what_no_client_can_say_is_an_error() {
        let long = "x".repeat(70_000);
        let name = Usual { server_name: Some(&long), ..usual(&[0x002f]) };
        assert_eq!(name.message(), Err(TOO_LONG.to_owned()));
        for alpn in ["", &"x".repeat(256)] {
            let alpn = [alpn.to_owned()];
            let said = Usual { alpn: &alpn, ..usual(&[0x002f]) }.message();
            assert!(said.is_err_and(|error| error.contains("1 to 255")));
        }
    }
}
