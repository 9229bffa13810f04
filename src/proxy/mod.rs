//! The PROXY protocol, versions 1 and 2: who a connection is from, said before its first byte.
//!
//! Written by HAProxy's authors (`doc/proxy-protocol.txt` in HAProxy's source; sections are cited as
//! §). [`Reader`] takes a header off the start of a stream; [`Header::encode_v1`] and
//! [`Header::encode_v2`] make one.
//!
//! Pure: bytes in, header out. Invariants:
//! - Memory grows with the bytes that arrived, never with a length that was announced, and ends at
//!   [`MAX_HEADER`].
//! - However the stream is cut, the result is the same; no byte behind the header is taken.
//! - Nothing that a peer sends panics.
//!
//! Whether a header is expected is for the configuration to say, not for the stream (§5): whoever may
//! choose can pretend to come from anywhere.

mod crc32c;
mod encode;
mod reader;
#[cfg(test)]
mod tests;
mod tlv;
mod v1;
mod v2;

pub use encode::TooLong;
pub use reader::{Progress, Reader, Versions};
pub use tlv::{TlsInfo, Tlvs};

use std::net::SocketAddr;

/// Longest header that is read or made. A v2 header may announce 64 KiB; HAProxy makes headers in
/// one of its buffers, which have 16 KiB, so longer ones are not on the way. What makes headers long
/// is the client's certificate, of some kilobytes at most.
pub const MAX_HEADER: usize = 16 << 10;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub addresses: Addresses,
    /// Empty in version 1.
    pub tlvs: Tlvs,
}

/// Between whom the connection is that the sender relays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// The sender's own connection, such as a health check (LOCAL): what the socket says holds.
    Local,
    /// The sender does not know, or cannot say (UNKNOWN, AF_UNSPEC): what the socket says holds.
    #[default]
    Unknown,
    /// Both of the same family; TCP or UDP.
    Inet { source: SocketAddr, destination: SocketAddr },
    /// Paths of sockets, without the NULs at their end; abstract ones begin with a NUL. At most 108
    /// bytes.
    Unix { source: Vec<u8>, destination: Vec<u8> },
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Version 1: the line is not as it must be.
    #[error("malformed line of PROXY protocol 1: {0}")]
    Line(&'static str),
    /// Version 1: 107 bytes without an end of the line.
    #[error("line of PROXY protocol 1 without an end")]
    LineTooLong,
    /// Version 2: neither version 2, nor LOCAL or PROXY.
    #[error("PROXY protocol header with version and command {0:#04x}")]
    Command(u8),
    /// Version 2: a family or transport that there is not.
    #[error("PROXY protocol header with family and transport {0:#04x}")]
    Family(u8),
    /// Version 2: fewer bytes than the addresses need.
    #[error("PROXY protocol header too short for its addresses")]
    Addresses,
    /// Version 2: longer than [`MAX_HEADER`].
    #[error("PROXY protocol header of {0} bytes, longer than {MAX_HEADER}")]
    TooLong(usize),
    /// Version 2: the CRC32c is another.
    #[error("PROXY protocol header with a wrong checksum")]
    Checksum,
    /// Version 2: what follows the addresses is not as it must be.
    #[error("malformed PROXY protocol header: {0}")]
    Tlv(&'static str),
}

impl ProxyError {
    /// A word for each kind, for counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Line(_) => "line",
            Self::LineTooLong => "line_too_long",
            Self::Command(_) => "command",
            Self::Family(_) => "family",
            Self::Addresses => "addresses",
            Self::TooLong(_) => "too_long",
            Self::Checksum => "checksum",
            Self::Tlv(_) => "tlv",
        }
    }
}

impl Addresses {
    /// Of a connection between two addresses; where the families differ, IPv4 becomes IPv4 in IPv6.
    pub fn inet(source: SocketAddr, destination: SocketAddr) -> Self {
        let in_v6 = |address: SocketAddr| match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            // Scopes and flow labels do not travel.
            SocketAddr::V6(v6) => (*v6.ip(), v6.port()).into(),
        };
        match (source, destination) {
            (SocketAddr::V4(_), SocketAddr::V4(_)) => Self::Inet { source, destination },
            _ => Self::Inet { source: in_v6(source), destination: in_v6(destination) },
        }
    }

    /// Where the connection is from, if it was said.
    pub fn source(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet { source, .. } => Some(*source),
            _ => None,
        }
    }
}
