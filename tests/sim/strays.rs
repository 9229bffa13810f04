//! What arrives on a TLS port and is no ClientHello, or not a good one.

use tlsgate::engine::sim::rng::Rng;

/// One of many kinds, with some bytes of it drawn.
pub(crate) fn drawn(rng: &mut Rng) -> Vec<u8> {
    let noise: Vec<u8> = (0..rng.between(1, 400)).map(|_| low_byte(rng)).collect();
    match rng.below(10) {
        0 => noise,
        1 => b"GET / HTTP/1.1\r\nHost: component.example\r\n\r\n".to_vec(),
        2 => b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        // SSLv2 (RFC 5246 appendix E.2).
        3 => vec![0x80, 0x2e, 1, 3, 3, 0, 0x15, 0, 0, 0, 0x10],
        // An alert, and nothing.
        4 => vec![21, 3, 3, 0, 2, 2, 40],
        // A handshake record without a byte in it.
        5 => vec![22, 3, 1, 0, 0],
        // A record that is longer than any may be.
        6 => vec![22, 3, 1, 0xff, 0xff, 1],
        // A ClientHello that announces 16 MiB.
        7 => vec![22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff],
        8 => Vec::new(),
        // The header of one that is as long as the noise, and noise.
        _ => hello_of(&noise),
    }
}

fn hello_of(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a few hundred bytes");
    let mut hello = vec![22, 3, 1];
    hello.extend_from_slice(&(length + 4).to_be_bytes());
    hello.extend_from_slice(&[1, 0]);
    hello.extend_from_slice(&length.to_be_bytes());
    hello.extend_from_slice(body);
    hello
}

fn low_byte(rng: &mut Rng) -> u8 {
    rng.number().to_be_bytes()[7]
}
