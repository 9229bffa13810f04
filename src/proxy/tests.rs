//! Vectors that another program made (Python, by the specification's text), and headers made here
//! and read again.

use data_encoding::HEXLOWER_PERMISSIVE;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const FULL: &str = "0d0a0d0a000d0a515549540a211100b5c0000207c6336401dc0401bb03000433d881c5010002683202000d61 \
     2e6578616d706c652e636f6d05000669642d3100ff20006e0700000000210007544c5376312e332200054ac3 \
     b67267230016544c535f4145535f3132385f47434d5f53484132353624000a5253412d534841323536250007 \
     525341323034382600067832353531392700137273615f7073735f727361655f736861323536280005300302 \
     0105300004626c7565e00006637573746f6dea0000";
const TCP6: &str = "0d0a0d0a000d0a515549540a2121002420010db800000000000000000000000720010db80000000000000000 \
     000000010001ffff";
const UNIX: &str = "0d0a0d0a000d0a515549540a213100d82f72756e2f612e736f636b0000000000000000000000000000000000 \
     0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000 \
     0000000000000000000000000000000000000000000000000000000000000000000000000061627374726163 \
     7400000000000000000000000000000000000000000000000000000000000000000000000000000000000000 \
     0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000 \
     000000000000000000000000";
const LOCAL: &str = "0d0a0d0a000d0a515549540a20000000";
const LOCAL_WITH_MORE: &str = "0d0a0d0a000d0a515549540a20ff000769676e6f726564";
const UNSPEC: &str = "0d0a0d0a000d0a515549540a2100000402000178";
const UDP4: &str = "0d0a0d0a000d0a515549540a2112000cc0000207c6336401dc0401bb";

/// HAProxy 2.6.12, `send-proxy-v2-ssl-cn` with all options: a client with a certificate, and one
/// without.
const HAPROXY_WITH_CERT: &str = "0d0a0d0a000d0a515549540a211100897f0000017f000001d46255f1030004f67f2e3b010002683202000d61 \
     2e6578616d706c652e636f6d05000f69642d313739353638313238332d3020004c0700000000210007544c53 \
     76312e3322000a636c69656e74206f6e652500075253413230343824000a5253412d53484132353623001654 \
     4c535f4145535f3235365f47434d5f534841333834";
const HAPROXY_WITHOUT: &str = "0d0a0d0a000d0a515549540a2111007c7f0000017f000001d47055f10300042f98ef97010002683202000d61 \
     2e6578616d706c652e636f6d05000f69642d313739353638313238342d3120003f0100000000210007544c53 \
     76312e332500075253413230343824000a5253412d534841323536230016544c535f4145535f3235365f4743 \
     4d5f534841333834";

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(hex.replace(' ', "").as_bytes()).expect("hex")
}

/// Reads a stream in one piece, and finds the same in all pieces of one size.
fn read(stream: &[u8]) -> Result<Progress, ProxyError> {
    let whole = Reader::new().feed(stream);
    for size in 1..stream.len().min(40) {
        assert_eq!(in_pieces(stream, size), whole, "in pieces of {size}");
    }
    whole
}

/// `consumed` counts from the start of the stream.
fn in_pieces(stream: &[u8], size: usize) -> Result<Progress, ProxyError> {
    let mut reader = Reader::new();
    let mut before = 0;
    for piece in stream.chunks(size) {
        match reader.feed(piece)? {
            Progress::NeedMore => before += piece.len(),
            Progress::Complete { consumed, header } => {
                return Ok(Progress::Complete { consumed: before + consumed, header });
            }
            Progress::Absent => {
                assert_eq!(reader.held(), &stream[..before]);
                return Ok(Progress::Absent);
            }
        }
    }
    assert_eq!(reader.held(), stream);
    Ok(Progress::NeedMore)
}

/// The header of a stream that goes on behind it.
fn header(start: &[u8]) -> Header {
    let stream = [start, b"\x16\x03\x01"].concat();
    match read(&stream) {
        Ok(Progress::Complete { consumed, header }) => {
            assert_eq!(consumed, start.len());
            *header
        }
        other => panic!("{other:?}"),
    }
}

fn inet(source: &str, destination: &str) -> Addresses {
    Addresses::Inet {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
    }
}

/// With everything that there is.
fn full() -> Header {
    let tls = TlsInfo {
        is_tls: true,
        cert_on_connection: true,
        cert_at_origin: true,
        verify: 0,
        version: Some("TLSv1.3".into()),
        common_name: Some("Jörg".into()),
        cipher: Some("TLS_AES_128_GCM_SHA256".into()),
        sig_alg: Some("RSA-SHA256".into()),
        key_alg: Some("RSA2048".into()),
        group: Some("x25519".into()),
        sig_scheme: Some("rsa_pss_rsae_sha256".into()),
        client_cert: Some(b"\x30\x03\x02\x01\x05".to_vec()),
    };
    let tlvs = Tlvs {
        checksum: true,
        alpn: Some(b"h2".to_vec()),
        authority: Some("a.example.com".into()),
        unique_id: Some(b"id-1\0\xff".to_vec()),
        tls: Some(tls),
        netns: Some("blue".into()),
        others: vec![(0xe0, b"custom".to_vec()), (0xea, Vec::new())],
    };
    Header { addresses: inet("192.0.2.7:56324", "198.51.100.1:443"), tlvs }
}

#[test]
fn version_2_as_another_program_writes_it() {
    let plain = |addresses| Header { addresses, ..Header::default() };
    let tcp6 = plain(inet("[2001:db8::7]:1", "[2001:db8::1]:65535"));
    let unix = plain(Addresses::Unix {
        source: b"/run/a.sock".to_vec(),
        destination: b"\0abstract".to_vec(),
    });
    let local = plain(Addresses::Local);
    let mut unspec = Header::default();
    unspec.tlvs.authority = Some("x".into());
    for (hex, expected) in
        [(FULL, full()), (TCP6, tcp6), (UNIX, unix), (LOCAL, local), (UNSPEC, unspec)]
    {
        assert_eq!(header(&bytes(hex)), expected);
        let mut made = Vec::new();
        expected.encode_v2(&mut made).expect("short");
        assert_eq!(made, bytes(hex), "{expected:?}");
    }
    let udp4 = inet("192.0.2.7:56324", "198.51.100.1:443");
    assert_eq!(header(&bytes(UDP4)).addresses, udp4);
    // Whatever else a health check brings is dropped.
    assert_eq!(header(&bytes(LOCAL_WITH_MORE)).addresses, Addresses::Local);
}

#[test]
fn what_haproxy_sends() {
    let with = header(&bytes(HAPROXY_WITH_CERT));
    assert_eq!(with.addresses.source().map(|source| source.ip()), Some([127, 0, 0, 1].into()));
    assert!(with.tlvs.checksum);
    assert_eq!(with.tlvs.alpn.as_deref(), Some(b"h2".as_slice()));
    assert_eq!(with.tlvs.authority.as_deref(), Some("a.example.com"));
    assert!(with.tlvs.unique_id.as_ref().is_some_and(|id| id.starts_with(b"id-")));
    assert_eq!(with.tlvs.others, []);
    let text = |text: &str| Some(text.to_owned());
    let tls = TlsInfo {
        is_tls: true,
        cert_on_connection: true,
        cert_at_origin: true,
        version: text("TLSv1.3"),
        common_name: text("client one"),
        cipher: text("TLS_AES_256_GCM_SHA384"),
        sig_alg: text("RSA-SHA256"),
        key_alg: text("RSA2048"),
        ..TlsInfo::default()
    };
    assert_eq!(with.tlvs.tls, Some(tls.clone()));
    assert!(tls.is_verified());
    let without = header(&bytes(HAPROXY_WITHOUT)).tlvs.tls;
    let nobody =
        TlsInfo { cert_on_connection: false, cert_at_origin: false, common_name: None, ..tls };
    assert!(!nobody.is_verified());
    assert_eq!(without, Some(nobody));
}

#[test]
fn version_1_as_the_specification_has_it() {
    let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let unknown = format!("PROXY UNKNOWN {long} {long} 65535 65535\r\n");
    assert_eq!(unknown.len(), 107);
    for (line, expected) in [
        (
            "PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
            inet("255.255.255.255:65535", "0.0.0.0:0"),
        ),
        ("PROXY TCP6 ::1 2001:DB8::7 1 443\r\n", inet("[::1]:1", "[2001:db8::7]:443")),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", inet("[::ffff:192.0.2.1]:1", "[::1]:2")),
        ("PROXY UNKNOWN\r\n", Addresses::Unknown),
        (unknown.as_str(), Addresses::Unknown),
        ("PROXY UNKNOWN any\rthing\n\0\r\n", Addresses::Unknown),
    ] {
        assert_eq!(header(line.as_bytes()), Header { addresses: expected, ..Header::default() });
    }
}

#[test]
fn malformed_lines_are_refused() {
    for line in [
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n",
        "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY TCP4 \u{e4} 5.6.7.8 1 2\r\n",
    ] {
        assert!(matches!(read(line.as_bytes()), Err(ProxyError::Line(_))), "{line:?}");
    }
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(read(&endless), Err(ProxyError::LineTooLong));
    // A line that ends with its 108th byte.
    let mut line = endless[..108].to_vec();
    line[106..].copy_from_slice(b"\r\n");
    assert_eq!(read(&line), Err(ProxyError::LineTooLong));
    assert_eq!(read(&endless[..106]), Ok(Progress::NeedMore));
}

#[test]
fn what_is_no_header_is_absent() {
    for stream in
        ["\x16\x03\x01", "PROXYING", "PROXX", "\r\n\r\n\0\r\nQUIT\r", "GET / HTTP/1.1\r\n"]
    {
        assert_eq!(read(stream.as_bytes()), Ok(Progress::Absent), "{stream:?}");
    }
    for stream in ["", "P", "PROXY ", "\r\n\r\n\0\r\nQUIT\n", "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00"] {
        assert_eq!(read(stream.as_bytes()), Ok(Progress::NeedMore), "{stream:?}");
    }
}

/// A version 2 header of these bytes.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, rest].concat()
}

#[test]
fn malformed_version_2_is_refused_by_cause() {
    let tlv = |kind: u8, value: &[u8]| {
        let [high, low] = u16::try_from(value.len()).expect("short").to_be_bytes();
        [&[kind, high, low], value].concat()
    };
    let unspec = |tlvs: &[u8]| v2(0x21, 0, tlvs);
    for (stream, word) in [
        (v2(0x11, 0, b""), "command"),
        (v2(0x22, 0, b""), "command"),
        (v2(0x21, 0x41, b""), "family"),
        (v2(0x21, 0x13, &[0; 12]), "family"),
        (v2(0x21, 0x11, &[0; 11]), "addresses"),
        (v2(0x21, 0x21, &[0; 35]), "addresses"),
        (v2(0x21, 0x31, &[0; 215]), "addresses"),
        (unspec(&vec![0; MAX_HEADER - 15]), "too_long"),
        (unspec(b"\x04\0"), "tlv"),
        (unspec(b"\x04\0\x02a"), "tlv"),
        (unspec(&tlv(tlv::AUTHORITY, b"\xff")), "tlv"),
        (unspec(&tlv(tlv::UNIQUE_ID, &[0; 129])), "tlv"),
        (unspec(&tlv(tlv::CRC32C, &[0; 3])), "tlv"),
        (unspec(&tlv(tlv::CRC32C, &[0; 4])), "checksum"),
        (unspec(&tlv(tlv::TLS, &[0; 4])), "tlv"),
        (unspec(&tlv(tlv::TLS, b"\x01\0\0\0\0\x21\0\x09TLSv1.3")), "tlv"),
        (unspec(&tlv(tlv::NOOP, b"").repeat(129)), "tlv"),
    ] {
        match read(&stream) {
            Err(error) => assert_eq!(error.as_str(), word, "{stream:02x?}"),
            other => panic!("{stream:02x?}: {other:?}"),
        }
    }
    // As much as may be.
    header(&unspec(&tlv(tlv::NOOP, b"").repeat(128)));
    header(&unspec(&tlv(tlv::NOOP, &vec![0; MAX_HEADER - 19])));
    header(&unspec(&tlv(tlv::UNIQUE_ID, &[0; 128])));
    let mut broken = bytes(FULL);
    *broken.last_mut().expect("bytes") ^= 1;
    assert!(read(&broken).is_err());
    broken = bytes(FULL);
    broken[20] ^= 1;
    assert_eq!(read(&broken), Err(ProxyError::Checksum));
}

#[test]
fn of_several_the_first_counts() {
    let header = header(&v2(0x21, 0, b"\x02\0\x01a\x02\0\x01b\x05\0\x01c"));
    assert_eq!(header.tlvs.authority.as_deref(), Some("a"));
    assert_eq!(header.tlvs.unique_id.as_deref(), Some(b"c".as_slice()));
}

#[test]
fn a_header_that_would_be_too_long_is_not_made() {
    let mut header = full();
    let certificate = |header: &mut Header, length| {
        header.tlvs.tls.as_mut().expect("there").client_cert = Some(vec![0x30; length]);
    };
    certificate(&mut header, MAX_HEADER - bytes(FULL).len() + 5);
    let mut out = b"before".to_vec();
    header.encode_v2(&mut out).expect("fits");
    assert_eq!(out.len(), 6 + MAX_HEADER);
    certificate(&mut header, MAX_HEADER - bytes(FULL).len() + 6);
    out.truncate(6);
    assert_eq!(header.encode_v2(&mut out), Err(TooLong));
    certificate(&mut header, 70_000);
    assert_eq!(header.encode_v2(&mut out), Err(TooLong));
    assert_eq!(out, b"before");
}

#[test]
fn families_that_differ_become_ipv6() {
    let addresses = Addresses::inet(
        "192.0.2.1:1".parse().expect("an address"),
        "[2001:db8::1]:2".parse().expect("an address"),
    );
    assert_eq!(addresses, inet("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2"));
    // Those that were put together otherwise, too.
    let mixed = Header { addresses: inet("192.0.2.1:1", "[2001:db8::1]:2"), ..Header::default() };
    let mut made = Vec::new();
    mixed.encode_v2(&mut made).expect("short");
    assert_eq!(header(&made).addresses, addresses);
    made.clear();
    mixed.encode_v1(&mut made);
    assert_eq!(made, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n");
}

fn some_text() -> impl Strategy<Value = Option<String>> {
    option::of("[a-zA-Z0-9_. \u{e4}]{0,40}")
}

fn some_bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(vec(any::<u8>(), 0..128))
}

prop_compose! {
    fn tls_info()(
        flags in any::<[bool; 3]>(),
        verify in any::<u32>(),
        [version, common_name, cipher, sig_alg, key_alg, group, sig_scheme]
            in std::array::from_fn::<_, 7, _>(|_| some_text()),
        client_cert in some_bytes(),
    ) -> TlsInfo {
        let [is_tls, cert_on_connection, cert_at_origin] = flags;
        TlsInfo {
            is_tls, cert_on_connection, cert_at_origin, verify, version, common_name, cipher,
            sig_alg, key_alg, group, sig_scheme, client_cert,
        }
    }
}

prop_compose! {
    fn tlvs()(
        checksum in any::<bool>(),
        alpn in some_bytes(),
        authority in some_text(),
        unique_id in some_bytes(),
        tls in option::of(tls_info()),
        netns in some_text(),
        others in vec((0xe0u8..=0xff, vec(any::<u8>(), 0..50)), 0..5),
    ) -> Tlvs {
        Tlvs { checksum, alpn, authority, unique_id, tls, netns, others }
    }
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let path = || vec(1u8.., 0..=108);
    prop_oneof![
        Just(Addresses::Unknown),
        (path(), path()).prop_map(|(source, destination)| Addresses::Unix { source, destination }),
        any::<([u8; 4], [u8; 4], u16, u16)>().prop_map(|(source, destination, from, to)| {
            Addresses::inet((source, from).into(), (destination, to).into())
        }),
        any::<([u16; 8], [u16; 8], u16, u16)>().prop_map(|(source, destination, from, to)| {
            Addresses::inet((source, from).into(), (destination, to).into())
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_made_is_read(
        made in (addresses(), tlvs()).prop_map(|(addresses, tlvs)| Header { addresses, tlvs }),
    ) {
        let mut out = Vec::new();
        made.encode_v2(&mut out).expect("short");
        prop_assert_eq!(header(&out), made.clone());
        out.clear();
        made.encode_v1(&mut out);
        prop_assert!(out.len() <= 107);
        let expected = match made.addresses {
            Addresses::Unix { .. } => Addresses::Unknown,
            addresses => addresses,
        };
        prop_assert_eq!(header(&out).addresses, expected);
    }
}
