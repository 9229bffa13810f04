//! Headers of the PROXY protocol where a ClientHello should be.
//!
//! The gateway does not speak it: whoever is behind a balancer that does must find that in the
//! log. So each one ends as `hello_malformed`, named in the detail, without an alert.

use tlsgate::conn::outcome::{Cause, Reason, Stage};
use tlsgate::tls::hello::{HelloError, HelloReader, Progress, Stray};
use tlsgate_corpus::hello::{Hello, list16};
use tlsgate_corpus::rng::Rng;

use super::{Target, outcome_of};

pub(super) const TARGET: Target = Target {
    name: "proxy",
    about: "PROXY protocol headers, versions 1 and 2, instead of a ClientHello",
    seeds,
    generate,
    run,
    bounded: 4_000,
};

const WORD: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of the signature that are looked at: no other protocol begins so.
const TOLD_BY: usize = 8;

fn run(stream: &[u8]) {
    let verdict = |size: usize| {
        let mut reader = HelloReader::new();
        let mut last = Ok(Progress::NeedMore);
        for piece in stream.chunks(size) {
            last = reader.feed(piece);
            if last != Ok(Progress::NeedMore) {
                break;
            }
        }
        last.map(|_| ())
    };
    let whole = verdict(stream.len().max(1));
    assert_eq!(whole, verdict(1), "byte by byte");
    let is_header = stream.starts_with(WORD) || stream.starts_with(&SIGNATURE[..TOLD_BY]);
    let is_told = whole == Err(HelloError::NotTls(Stray::ProxyProtocol));
    assert_eq!(is_told, is_header, "{whole:?}");

    let outcome = outcome_of(stream);
    if is_header {
        let end = (outcome.reason, outcome.cause, outcome.stage);
        assert_eq!(end, (Reason::HelloMalformed, Cause::Downstream, Stage::Hello));
        assert_eq!((outcome.alert_sent, outcome.sni), (None, None), "it speaks no TLS");
        let detail = outcome.detail.expect("says what it was");
        assert!(detail.contains("PROXY protocol"), "{detail}");
    } else if whole.is_err() {
        assert_eq!(outcome.stage, Stage::Hello, "{outcome:?}");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let corpus = tlsgate_corpus::corpus();
    corpus
        .into_iter()
        .filter(|case| case.name.starts_with("proxy"))
        .map(|case| case.stream)
        .collect()
}

pub(super) fn generate(rng: &mut Rng) -> Vec<u8> {
    let mut stream = if rng.one_in(2) { version1(rng) } else { version2(rng) };
    match rng.below(6) {
        0 => stream.truncate(rng.below(stream.len() + 1)),
        1 => {
            let at = rng.below(stream.len());
            stream[at] = rng.byte();
        }
        // What follows a good header is a good hello.
        2 | 3 => stream.extend(Hello::tls13().stream()),
        _ => {}
    }
    stream
}

fn version1(rng: &mut Rng) -> Vec<u8> {
    let family = rng.pick(&["TCP4", "TCP6", "UNKNOWN", "UDP4", "tcp4", ""]);
    let address = rng.pick(&["192.0.2.1", "2001:db8::1", "255.255.255.255", "::", "x", ""]);
    let port = rng.pick(&["0", "443", "65535", "65536", "-1", ""]);
    let space = rng.pick(&[" ", "  ", "\t", ""]);
    let end = rng.pick(&["\r\n", "\n", "\r", ""]);
    format!("PROXY{space}{family} {address} {address} {port} {port}{end}").into_bytes()
}

/// Signature, version and command, family, addresses, values of further types (type, length).
fn version2(rng: &mut Rng) -> Vec<u8> {
    let command = *rng.pick(&[0x20, 0x21, 0x22, 0x11, 0x31, 0xff]);
    let (family, length) = *rng.pick(&[(0, 0), (0x11, 12), (0x12, 12), (0x21, 36), (0x31, 216)]);
    let mut body: Vec<u8> = (0..length).map(|_| rng.byte()).collect();
    for _ in 0..rng.below(4) {
        body.push(*rng.pick(&[1, 2, 3, 4, 5, 0x20, 0x30, 0xe0]));
        let value = rng.bytes(40);
        let lie = i32::from(rng.one_in(8));
        list16(&mut body, &value, lie);
    }
    let mut header = [SIGNATURE, &[command, family]].concat();
    let lie = if rng.one_in(8) { -1 } else { 0 };
    list16(&mut header, &body, lie);
    header
}
