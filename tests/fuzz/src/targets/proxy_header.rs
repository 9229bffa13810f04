//! Headers of the PROXY protocol where they are expected.
//!
//! However the stream is cut, the result is the same, and nothing behind the header is taken. What
//! was read can be made again, and says the same then.

use tlsgate::proxy::{Addresses, Header, MAX_HEADER, Progress, ProxyError, Reader};
use tlsgate_corpus::rng::Rng;

use super::{Target, proxy};

pub(super) const TARGET: Target = Target {
    name: "proxy_header",
    about: "proxy::Reader on PROXY protocol headers, versions 1 and 2",
    seeds,
    generate,
    run,
    bounded: 20_000,
};

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = proxy::seeds();
    let mut made = Vec::new();
    let mut header = Header {
        addresses: Addresses::inet(([192, 0, 2, 1], 1).into(), ([0; 16], 2).into()),
        ..Header::default()
    };
    header.tlvs.checksum = true;
    header.tlvs.authority = Some("a.example.com".to_owned());
    header.tlvs.tls = Some(tlsgate::proxy::TlsInfo {
        version: Some("TLSv1.3".to_owned()),
        client_cert: Some(vec![0x30; 40]),
        ..Default::default()
    });
    header.encode_v2(&mut made).expect("short");
    seeds.push(made);
    seeds
}

/// Half of them with values in values, and one in four with a right checksum.
fn generate(rng: &mut Rng) -> Vec<u8> {
    if rng.one_in(2) {
        return proxy::generate(rng);
    }
    let mut header = Header::default();
    header.tlvs.checksum = rng.one_in(2);
    header.tlvs.tls = Some(tlsgate::proxy::TlsInfo {
        client_cert: Some(rng.bytes(40)),
        version: Some("TLSv1.2".to_owned()),
        ..Default::default()
    });
    header.tlvs.others = (0..rng.below(3)).map(|_| (rng.byte(), rng.bytes(20))).collect();
    let mut stream = Vec::new();
    header.encode_v2(&mut stream).expect("short");
    if rng.one_in(2) {
        let at = rng.below(stream.len());
        stream[at] = rng.byte();
    }
    stream
}

fn run(stream: &[u8]) {
    let whole = read(stream, stream.len().max(1));
    for size in [1, 7, 100] {
        assert_eq!(read(stream, size), whole, "in pieces of {size}");
    }
    match whole {
        Ok(Progress::Complete { consumed, header }) => {
            assert!(consumed <= stream.len().min(MAX_HEADER));
            // What is behind it makes no difference.
            let same = Ok(Progress::Complete { consumed, header: header.clone() });
            assert_eq!(read(&stream[..consumed], consumed), same);
            let cut = read(&stream[..consumed - 1], consumed);
            assert_eq!(cut, Ok(Progress::NeedMore), "without its last byte");
            again(*header);
        }
        Ok(Progress::Absent) => {
            assert!(!stream.starts_with(b"PROXY "));
            assert!(!stream.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
        }
        Ok(Progress::NeedMore) => assert!(stream.len() < MAX_HEADER),
        Err(error) => assert!(!error.as_str().is_empty()),
    }
}

/// `consumed` counts from the start of the stream.
fn read(stream: &[u8], size: usize) -> Result<Progress, ProxyError> {
    let mut reader = Reader::new();
    let mut before = 0;
    for piece in stream.chunks(size) {
        let progress = reader.feed(piece)?;
        assert!(reader.held().len() <= (before + piece.len()).min(MAX_HEADER));
        match progress {
            Progress::NeedMore => before += piece.len(),
            Progress::Complete { consumed, header } => {
                assert!(consumed <= piece.len());
                return Ok(Progress::Complete { consumed: before + consumed, header });
            }
            Progress::Absent => {
                assert_eq!(reader.held(), &stream[..before]);
                return Ok(Progress::Absent);
            }
        }
    }
    Ok(Progress::NeedMore)
}

fn again(header: Header) {
    let mut made = Vec::new();
    // Everything was in a header of that length, but for the NULs behind paths.
    header.encode_v2(&mut made).expect("as long as it was");
    let consumed = made.len();
    let header = Box::new(header);
    assert_eq!(read(&made, consumed), Ok(Progress::Complete { consumed, header: header.clone() }));
    made.clear();
    header.encode_v1(&mut made);
    let Ok(Progress::Complete { header: line, .. }) = read(&made, made.len()) else {
        panic!("{made:?} is no line")
    };
    assert_eq!(line.addresses.source(), header.addresses.source());
}
