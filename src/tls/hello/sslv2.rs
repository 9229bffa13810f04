//! A ClientHello in the format of SSL 2 (RFC 5246 appendix E.2), as old Java and OpenSSL send it to
//! offer TLS 1.0: read whole, kept as it came, and turned into a message of today's form to look
//! into.

use super::{CLIENT_HELLO, HelloError, MESSAGE_HEADER};

/// Bytes before the lists: length, message type, version, three lengths.
const HEADER: usize = 11;
/// Least and most bytes of challenge, which stands for the random value.
const CHALLENGE: std::ops::RangeInclusive<usize> = 16..=32;

/// Whether a stream with these first bytes is such a message; `None` as long as that is not clear.
/// The top bit of the length tells it from text, and all bytes together from chance.
pub(super) fn recognise(start: &[u8]) -> Option<bool> {
    match *start {
        [0x80..=0xff, _, CLIENT_HELLO, 0, 2] | [0x80..=0xff, _, CLIENT_HELLO, 3, _] => Some(true),
        [0x80..=0xff]
        | [0x80..=0xff, _]
        | [0x80..=0xff, _, CLIENT_HELLO]
        | [0x80..=0xff, _, CLIENT_HELLO, 0 | 3] => None,
        _ => Some(false),
    }
}

/// Bytes of the whole message, its length included: what the first two say.
pub(super) fn length(first: u8, second: u8) -> usize {
    2 + usize::from(u16::from_be_bytes([first & 0x7f, second]))
}

/// The handshake message of today's form that says the same: the version, the suites that are TLS's,
/// the challenge as random value, no compression.
///
/// # Errors
/// SSL 2 itself, and lengths that do not fit.
pub(super) fn translate(raw: &[u8]) -> Result<Vec<u8>, HelloError> {
    let malformed = |what| HelloError::Malformed(what);
    let (header, lists) = raw.split_first_chunk::<HEADER>().ok_or(malformed("SSL 2 header"))?;
    let [_, _, _, major, minor, lengths @ ..] = *header;
    if (major, minor) == (0, 2) {
        return Err(HelloError::Ssl2);
    }
    let number = |at: usize| usize::from(u16::from_be_bytes([lengths[at], lengths[at + 1]]));
    let (specs, session, challenge) = (number(0), number(2), number(4));
    if specs == 0 || !specs.is_multiple_of(3) {
        return Err(malformed("SSL 2 cipher specs"));
    }
    if !matches!(session, 0 | 16) {
        return Err(malformed("SSL 2 session id"));
    }
    if !CHALLENGE.contains(&challenge) || specs + session + challenge != lists.len() {
        return Err(malformed("SSL 2 challenge"));
    }
    // Those with a first byte are SSL 2's own.
    let (specs, rest) = lists.split_at(specs);
    let suites = specs.as_chunks::<3>().0.iter().filter(|spec| spec[0] == 0);
    let suites: Vec<u8> = suites.flat_map(|spec| [spec[1], spec[2]]).collect();
    if suites.is_empty() {
        return Err(HelloError::Ssl2);
    }
    let challenge = &rest[session..];
    let mut body = vec![major, minor];
    // RFC 5246 appendix E.2: shorter ones are for the end of the random value.
    body.resize(2 + 32 - challenge.len(), 0);
    body.extend_from_slice(challenge);
    body.push(0);
    let length = u16::try_from(suites.len()).expect("two thirds of less than 2^15");
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(&suites);
    body.extend_from_slice(&[1, 0]);
    let length = u32::try_from(body.len()).expect("less than 2^16").to_be_bytes();
    let mut message = Vec::with_capacity(MESSAGE_HEADER + body.len());
    message.extend_from_slice(&[CLIENT_HELLO, length[1], length[2], length[3]]);
    message.extend_from_slice(&body);
    Ok(message)
}

#[cfg(test)]
#[path = "sslv2_tests.rs"]
mod tests;
