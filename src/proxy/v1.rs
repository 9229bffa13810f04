//! Version 1: a line of text (§2.1).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{Addresses, Header, ProxyError};

pub(super) const START: &[u8] = b"PROXY ";

/// Longest line with its end (§2.1).
const MAX_LINE: usize = 107;

/// Length of the line, with its end; `None` if that has not come.
pub(super) fn length(stream: &[u8]) -> Result<Option<usize>, ProxyError> {
    let line = &stream[..stream.len().min(MAX_LINE)];
    match line.windows(2).position(|end| end == b"\r\n") {
        Some(at) => Ok(Some(at + 2)),
        None if line.len() == MAX_LINE => Err(ProxyError::LineTooLong),
        None => Ok(None),
    }
}

/// Of a whole line that begins with [`START`].
pub(super) fn parse(line: &[u8]) -> Result<Header, ProxyError> {
    let text = line.strip_prefix(START).and_then(|rest| rest.strip_suffix(b"\r\n"));
    let text = text.ok_or(ProxyError::Line("no end"))?;
    // Whatever else is in it must be ignored.
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Ok(Header::default());
    }
    let text = str::from_utf8(text).map_err(|_| ProxyError::Line("not ASCII"))?;
    let parts: Vec<&str> = text.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = parts[..] else {
        return Err(ProxyError::Line("not five words"));
    };
    let ports = (port(source_port)?, port(destination_port)?);
    let (source, destination) = match family {
        "TCP4" => {
            let source = address::<Ipv4Addr>(source)?;
            let destination = address::<Ipv4Addr>(destination)?;
            ((source, ports.0).into(), (destination, ports.1).into())
        }
        "TCP6" => {
            let source = address::<Ipv6Addr>(source)?;
            let destination = address::<Ipv6Addr>(destination)?;
            ((source, ports.0).into(), (destination, ports.1).into())
        }
        _ => return Err(ProxyError::Line("neither TCP4, TCP6 nor UNKNOWN")),
    };
    let addresses = Addresses::Inet { source, destination };
    Ok(Header { addresses, ..Header::default() })
}

fn address<A: FromStr>(text: &str) -> Result<A, ProxyError> {
    text.parse().map_err(|_| ProxyError::Line("not an address of its family"))
}

/// Digits without a zero in front.
fn port(text: &str) -> Result<u16, ProxyError> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let port = text.parse().ok().filter(|_| is_plain);
    port.ok_or(ProxyError::Line("not a port"))
}
