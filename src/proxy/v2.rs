//! Version 2: signature, command, family, length; addresses; TLVs (§2.2).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::tlv::Tlvs;
use super::{Addresses, Header, MAX_HEADER, ProxyError};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
pub(super) const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;
pub(super) const UNSPEC: u8 = 0x00;
pub(super) const TCP4: u8 = 0x11;
pub(super) const TCP6: u8 = 0x21;
pub(super) const UNIX_STREAM: u8 = 0x31;
/// Bytes of a unix socket's address.
pub(super) const PATH: usize = 108;

/// Before the addresses.
pub(super) const HEAD: usize = 16;

/// Length of the header; `None` if its length has not come.
pub(super) fn length(stream: &[u8]) -> Result<Option<usize>, ProxyError> {
    // What is wrong is said as soon as it is there.
    if let Some(command) = stream.get(12).filter(|command| ![LOCAL, PROXY].contains(command)) {
        return Err(ProxyError::Command(*command));
    }
    let Some(&[high, low]) = stream.get(14..HEAD) else { return Ok(None) };
    let length = HEAD + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER { Err(ProxyError::TooLong(length)) } else { Ok(Some(length)) }
}

/// Of a whole header that begins with [`SIGNATURE`].
pub(super) fn parse(header: &[u8]) -> Result<Header, ProxyError> {
    let (head, rest) = header.split_first_chunk::<HEAD>().ok_or(ProxyError::Addresses)?;
    let [.., command, family, _, _] = *head;
    // The family and what follows do not count then.
    if command == LOCAL {
        return Ok(Header { addresses: Addresses::Local, ..Header::default() });
    }
    let (addresses, rest) = addresses(family, rest)?;
    let tlvs = Tlvs::parse(header, rest)?;
    Ok(Header { addresses, tlvs })
}

/// The addresses, and what follows them.
fn addresses(family: u8, bytes: &[u8]) -> Result<(Addresses, &[u8]), ProxyError> {
    let (family_only, transport) = (family >> 4, family & 0xf);
    // UNSPEC, STREAM, DGRAM.
    if transport > 2 {
        return Err(ProxyError::Family(family));
    }
    let (addresses, rest) = match family_only {
        0 => (Some(Addresses::Unknown), bytes),
        1 => {
            let block = bytes.split_first_chunk::<12>().ok_or(ProxyError::Addresses)?;
            (inet(block.0, |ip: [u8; 4]| Ipv4Addr::from(ip).into()), block.1)
        }
        2 => {
            let block = bytes.split_first_chunk::<36>().ok_or(ProxyError::Addresses)?;
            (inet(block.0, |ip: [u8; 16]| Ipv6Addr::from(ip).into()), block.1)
        }
        3 => {
            let block = bytes.split_at_checked(2 * PATH).ok_or(ProxyError::Addresses)?;
            let (source, destination) = block.0.split_at(PATH);
            let addresses =
                Addresses::Unix { source: path(source), destination: path(destination) };
            (Some(addresses), block.1)
        }
        _ => return Err(ProxyError::Family(family)),
    };
    let addresses = addresses.filter(|_| transport != 0).unwrap_or_default();
    Ok((addresses, rest))
}

/// Two addresses and two ports.
fn inet<const N: usize>(
    block: &[u8],
    ip: impl Fn([u8; N]) -> std::net::IpAddr,
) -> Option<Addresses> {
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, ports) = rest.split_first_chunk::<N>()?;
    let &[s0, s1, d0, d1] = ports else { return None };
    Some(Addresses::Inet {
        source: SocketAddr::new(ip(*source), u16::from_be_bytes([s0, s1])),
        destination: SocketAddr::new(ip(*destination), u16::from_be_bytes([d0, d1])),
    })
}

fn path(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes[..end].to_vec()
}
