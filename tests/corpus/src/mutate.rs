//! Inputs that nobody thought of, from those that somebody did.

use crate::hello::{
    ALERT, ALPN, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Hello, KEY_SHARE, MAX_RECORD,
    PRE_SHARED_KEY, SERVER_NAME, SESSION_TICKET, SIGNATURE_ALGORITHMS, SUPPORTED_GROUPS,
    SUPPORTED_VERSIONS, fix_length, record, records, server_name,
};
use crate::rng::Rng;

/// Longest input that mutation makes out of a shorter one.
pub const MAX_INPUT: usize = 128 * 1024;

/// Bytes that mean something in lengths, types and characters.
const INTERESTING: [u8; 16] =
    [0, 1, 2, 3, 4, 20, 21, 22, 23, 0x20, 0x22, 0x3d, 0x5b, 0x7f, 0x80, 0xff];

/// Changes `input` in one to eight places; pieces of `other` may get into it.
pub fn mutate(rng: &mut Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=rng.below(8) {
        change(rng, &mut bytes, other);
    }
    bytes.truncate(MAX_INPUT);
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = rng.below(bytes.len());
    let length = 1 + rng.below(bytes.len() - at).min(rng.below(64));
    match rng.below(10) {
        _ if bytes.is_empty() => bytes.extend(rng.bytes(40)),
        0 => bytes[at] ^= 1 << rng.below(8),
        1 => bytes[at] = rng.byte(),
        2 => bytes[at] = *rng.pick(&INTERESTING),
        3 => bytes[at] = bytes[at].wrapping_add(*rng.pick(&[1, 2, 0xfe, 0xff])),
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..at + length)),
        6 => {
            let more = rng.bytes(20);
            bytes.splice(at..at, more);
        }
        7 => {
            let copy = bytes[at..at + length].to_vec();
            let to = rng.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        8 => {
            let byte = bytes[at];
            let most = if rng.one_in(16) { 20_000 } else { 40 };
            let run = rng.below(most);
            bytes.splice(at..at, std::iter::repeat_n(byte, run));
        }
        _ => {
            let from = rng.below(other.len());
            let piece = &other[from..other.len().min(from + length)];
            let end = if rng.one_in(2) { at } else { bytes.len().min(at + piece.len()) };
            bytes.splice(at..end, piece.iter().copied());
        }
    }
}

/// A stream that begins with a ClientHello or almost so, with breaks at levels that random bytes
/// do not reach, because a length above them would be wrong first.
pub fn hello(rng: &mut Rng) -> Vec<u8> {
    let mut hello = if rng.one_in(3) { Hello::tls12() } else { Hello::tls13() };
    for _ in 0..rng.below(4) {
        break_field(rng, &mut hello);
    }
    let mut message = hello.message();
    if rng.one_in(3) {
        message = mutate(rng, &message, &Hello::tls13().message());
        message.resize(message.len().max(4), 0);
        if !rng.one_in(8) {
            message[0] = 1;
            fix_length(&mut message);
        }
    }
    let size = if rng.one_in(2) { MAX_RECORD } else { 1 + rng.below(300) };
    let mut stream = records(&message, size);
    match rng.below(12) {
        0 => stream = mutate(rng, &stream, &message),
        1 => stream.truncate(rng.below(stream.len())),
        2 | 3 => stream.extend(noise(rng)),
        4 => {
            let at = rng.below(stream.len());
            let noise = noise(rng);
            stream.splice(at..at, noise);
        }
        _ => {}
    }
    stream
}

/// A record that may come at any time.
pub fn noise(rng: &mut Rng) -> Vec<u8> {
    let content = *rng.pick(&[CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, 24, 0]);
    let most = if rng.one_in(8) { 20_000 } else { 60 };
    let body = match rng.below(5) {
        0 => vec![1],
        1 => vec![1 + rng.byte() % 2, rng.byte()],
        2 => Vec::new(),
        3 => Hello::tls13().message(),
        _ => rng.bytes(most),
    };
    record(content, &body)
}

fn break_field(rng: &mut Rng, hello: &mut Hello) {
    let lie = if rng.one_in(2) { 1 } else { -1 };
    match rng.below(14) {
        0 => hello.session_id = rng.bytes(40),
        1 => hello.suites = rng.bytes(40),
        2 => hello.compressions = rng.bytes(4),
        3 => hello.version = [3, rng.byte() % 6],
        4 => hello.lies.extensions = lie,
        5 => hello.lies.suites = lie,
        6 => hello.rest = rng.bytes(4),
        7 => hello.extensions = None,
        8 => hello.add(rng.next().to_le_bytes()[0].into(), &rng.bytes(12)),
        9 => hello.set(SERVER_NAME, &server_name(&rng.bytes(30))),
        _ => {
            let kind = *rng.pick(&[
                SERVER_NAME,
                SUPPORTED_GROUPS,
                SIGNATURE_ALGORITHMS,
                ALPN,
                SESSION_TICKET,
                SUPPORTED_VERSIONS,
                KEY_SHARE,
                PRE_SHARED_KEY,
            ]);
            let content = hello.extensions.iter().flatten().find(|(other, _)| *other == kind);
            let content = content.map(|(_, content)| content.clone()).unwrap_or_default();
            let filler = rng.bytes(30);
            hello.set(kind, &mutate(rng, &content, &filler));
        }
    }
}
