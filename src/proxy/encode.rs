//! Makes headers.

use std::net::SocketAddr;

use super::crc32c::crc32c;
use super::tlv::{self, TlsInfo, Tlvs};
use super::{Addresses, Header, MAX_HEADER, v2};

/// The header would have more than [`MAX_HEADER`] bytes. The client's certificate is what can make it
/// so long, and what to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the PROXY protocol header would be longer than {MAX_HEADER} bytes")]
pub struct TooLong;

impl Header {
    /// Appends the line of version 1, which has addresses alone; of unix sockets not even those.
    pub fn encode_v1(&self, out: &mut Vec<u8>) {
        let line = match self.inet() {
            Some((SocketAddr::V4(source), SocketAddr::V4(to))) => {
                format!(
                    "PROXY TCP4 {} {} {} {}\r\n",
                    source.ip(),
                    to.ip(),
                    source.port(),
                    to.port()
                )
            }
            Some((source, to)) => {
                format!(
                    "PROXY TCP6 {} {} {} {}\r\n",
                    source.ip(),
                    to.ip(),
                    source.port(),
                    to.port()
                )
            }
            None => "PROXY UNKNOWN\r\n".to_owned(),
        };
        out.extend_from_slice(line.as_bytes());
    }

    /// Appends the header of version 2. A LOCAL one says nothing else; where the client has no IP
    /// address, HAProxy sends such a one, and takes (2.6) neither AF_UNSPEC nor AF_UNIX.
    ///
    /// # Errors
    /// [`TooLong`]; nothing is appended then.
    pub fn encode_v2(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let mut header = v2::SIGNATURE.to_vec();
        match self.addresses {
            Addresses::Local => header.extend_from_slice(&[v2::LOCAL, v2::UNSPEC, 0, 0]),
            _ => {
                header.extend_from_slice(&[v2::PROXY, self.family(), 0, 0]);
                self.push_addresses(&mut header);
                push_tlvs(&self.tlvs, &mut header)?;
            }
        }
        if header.len() > MAX_HEADER {
            return Err(TooLong);
        }
        let length = u16::try_from(header.len() - v2::HEAD).map_err(|_| TooLong)?;
        header[v2::HEAD - 2..v2::HEAD].copy_from_slice(&length.to_be_bytes());
        if self.tlvs.checksum && self.addresses != Addresses::Local {
            let place = v2::HEAD + self.addresses_length() + tlv::TLV_HEAD;
            // Zero so far, as it must be for this.
            let sum = crc32c([header.as_slice()]);
            header[place..place + 4].copy_from_slice(&sum.to_be_bytes());
        }
        out.append(&mut header);
        Ok(())
    }

    /// Of one family.
    fn inet(&self) -> Option<(SocketAddr, SocketAddr)> {
        let Addresses::Inet { source, destination } = self.addresses else { return None };
        match Addresses::inet(source, destination) {
            Addresses::Inet { source, destination } => Some((source, destination)),
            _ => None,
        }
    }

    fn family(&self) -> u8 {
        match (&self.addresses, self.inet()) {
            (Addresses::Unix { .. }, _) => v2::UNIX_STREAM,
            (_, Some((SocketAddr::V4(_), _))) => v2::TCP4,
            (_, Some((SocketAddr::V6(_), _))) => v2::TCP6,
            (_, None) => v2::UNSPEC,
        }
    }

    fn addresses_length(&self) -> usize {
        match self.family() {
            v2::TCP4 => 12,
            v2::TCP6 => 36,
            v2::UNIX_STREAM => 2 * v2::PATH,
            _ => 0,
        }
    }

    fn push_addresses(&self, header: &mut Vec<u8>) {
        if let Addresses::Unix { source, destination } = &self.addresses {
            for path in [source, destination] {
                let mut block = [0; v2::PATH];
                let length = path.len().min(block.len());
                block[..length].copy_from_slice(&path[..length]);
                header.extend_from_slice(&block);
            }
        }
        let Some((source, destination)) = self.inet() else { return };
        for ip in [source.ip(), destination.ip()] {
            match ip {
                std::net::IpAddr::V4(v4) => header.extend_from_slice(&v4.octets()),
                std::net::IpAddr::V6(v6) => header.extend_from_slice(&v6.octets()),
            }
        }
        for port in [source.port(), destination.port()] {
            header.extend_from_slice(&port.to_be_bytes());
        }
    }
}

/// The checksum comes first, where [`Header::encode_v2`] expects it.
fn push_tlvs(tlvs: &Tlvs, header: &mut Vec<u8>) -> Result<(), TooLong> {
    let Tlvs { checksum, alpn, authority, unique_id, tls, netns, others } = tlvs;
    if *checksum {
        push(header, tlv::CRC32C, &[0; 4])?;
    }
    let known = [
        (tlv::ALPN, alpn.as_deref()),
        (tlv::AUTHORITY, bytes(authority)),
        (tlv::UNIQUE_ID, unique_id.as_deref()),
    ];
    push_all(header, &known)?;
    if let Some(tls) = tls {
        push(header, tlv::TLS, &tls_value(tls)?)?;
    }
    push_all(header, &[(tlv::NETNS, bytes(netns))])?;
    others.iter().try_for_each(|(kind, value)| push(header, *kind, value))
}

fn tls_value(tls: &TlsInfo) -> Result<Vec<u8>, TooLong> {
    let flags = [
        (tls.is_tls, tlv::CLIENT_TLS),
        (tls.cert_on_connection, tlv::CLIENT_CERT_CONN),
        (tls.cert_at_origin, tlv::CLIENT_CERT_SESS),
    ];
    let client = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag);
    let mut value = vec![client];
    value.extend_from_slice(&tls.verify.to_be_bytes());
    let all = [
        (tlv::TLS_VERSION, bytes(&tls.version)),
        (tlv::TLS_CN, bytes(&tls.common_name)),
        (tlv::TLS_CIPHER, bytes(&tls.cipher)),
        (tlv::TLS_SIG_ALG, bytes(&tls.sig_alg)),
        (tlv::TLS_KEY_ALG, bytes(&tls.key_alg)),
        (tlv::TLS_GROUP, bytes(&tls.group)),
        (tlv::TLS_SIG_SCHEME, bytes(&tls.sig_scheme)),
        (tlv::TLS_CLIENT_CERT, tls.client_cert.as_deref()),
    ];
    push_all(&mut value, &all)?;
    Ok(value)
}

fn bytes(text: &Option<String>) -> Option<&[u8]> {
    text.as_deref().map(str::as_bytes)
}

fn push_all(out: &mut Vec<u8>, values: &[(u8, Option<&[u8]>)]) -> Result<(), TooLong> {
    let there = values.iter().filter_map(|(kind, value)| Some((*kind, (*value)?)));
    for (kind, value) in there {
        push(out, kind, value)?;
    }
    Ok(())
}

fn push(out: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), TooLong> {
    let length = u16::try_from(value.len()).map_err(|_| TooLong)?;
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}
