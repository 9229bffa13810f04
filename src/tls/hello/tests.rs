use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::ring;

use super::*;
use crate::tls::testing::{self, Ca};

/// Records with the first flight of a rustls client.
fn client_hello(versions: &[&'static rustls::SupportedProtocolVersion], name: &str) -> Vec<u8> {
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions of the provider")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
    config.alpn_protocols = vec![b"sip/2".to_vec(), b"h2".to_vec()];
    let name = name.to_owned().try_into().expect("a server name");
    let mut client =
        rustls::ClientConnection::new(Arc::new(config), name).expect("a valid configuration");
    let mut records = Vec::new();
    client.write_tls(&mut records).expect("in memory");
    records
}

fn tls13() -> Vec<u8> {
    client_hello(rustls::ALL_VERSIONS, "component.example")
}

fn tls12() -> Vec<u8> {
    client_hello(&[&rustls::version::TLS12], "component.example")
}

/// Puts a message into records with bodies of `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |body: &[u8]| {
        let length = u16::try_from(body.len()).expect("short");
        [&[22, 3, 1], length.to_be_bytes().as_slice(), body].concat()
    };
    message.chunks(size).flat_map(record).collect()
}

/// A message with these extensions (type, body).
fn message(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, body) in extensions {
        list.extend_from_slice(&kind.to_be_bytes());
        list.extend_from_slice(&u16::try_from(body.len()).expect("short").to_be_bytes());
        list.extend_from_slice(body);
    }
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend_from_slice(&u16::try_from(list.len()).expect("short").to_be_bytes());
    body.extend_from_slice(&list);
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&[1], &length[1..], &body].concat()
}

/// A hello of `length` bytes, by an extension with padding (RFC 7685).
fn padded(length: usize) -> Vec<u8> {
    let padding = vec![0; length - message(&[(21, b"")]).len()];
    let message = message(&[(21, &padding)]);
    assert_eq!(message.len(), length);
    message
}

fn read(stream: &[u8]) -> Result<Progress, HelloError> {
    HelloReader::new().feed(stream)
}

#[test]
fn reads_what_a_tls13_client_says() {
    let records = tls13();
    let hello = Hello::parse(&records[5..]).expect("a good hello");
    assert_eq!(hello.legacy_version, 0x0303);
    assert_eq!(hello.versions.iter().collect::<Vec<_>>(), [0x0304, 0x0303]);
    assert!(hello.offers_tls13());
    assert_eq!(hello.sni.and_then(|sni| sni.dns_name()), Some("component.example"));
    assert_eq!(hello.alpn.iter().collect::<Vec<_>>(), [b"sip/2".as_slice(), b"h2"]);
    assert!(hello.cipher_suites.contains(0x1301) && hello.cipher_suites.contains(0xc02b));
    assert_eq!(hello.groups.iter().collect::<Vec<_>>(), [29, 23, 24]);
    assert!(hello.signature_schemes.contains(0x0403) && hello.signature_schemes.len() > 5);
    assert_eq!(hello.session_id_length, 32);
    assert!(!hello.has_psk && !hello.has_ticket);
    assert!(hello.extensions >= 8);
}

#[test]
fn reads_what_a_tls12_client_says() {
    let records = tls12();
    let hello = Hello::parse(&records[5..]).expect("a good hello");
    assert!(!hello.offers_tls13());
    assert!(hello.versions.contains(0x0303));
    // Without any extension, and without the length of their list.
    let mut bare = message(&[]);
    bare.truncate(bare.len() - 2);
    bare[3] = u8::try_from(bare.len() - 4).expect("short");
    let hello = Hello::parse(&bare).expect("extensions are optional");
    assert_eq!((hello.extensions, hello.sni, hello.alpn.is_empty()), (0, None, true));
    assert_eq!(hello.versions.iter().collect::<Vec<_>>(), [0x0303]);
    assert!(hello.groups.is_empty());
}

#[test]
fn small_extensions_are_reported() {
    let message = message(&[
        (1, &[4]),
        (28, &[0x02, 0x01]),
        (35, b"ticket"),
        (0x0a0a, b""),
        (43, &[4, 0x7a, 0x7a, 3, 4]),
        (41, b"unread"),
    ]);
    let hello = Hello::parse(&message).expect("a good hello");
    assert_eq!((hello.max_fragment_length, hello.record_size_limit), (Some(4), Some(513)));
    assert!(hello.has_ticket && hello.has_psk && hello.offers_tls13());
    assert_eq!(hello.extensions, 6);
}

#[test]
fn odd_server_names_are_reported_and_not_refused() {
    let long = [b'a'; 300];
    let cases: [(&[u8], SniForm); 9] = [
        (b"ok_name.example.", SniForm::DnsName),
        (b"10.1.2.3", SniForm::IpAddress),
        (b"::1", SniForm::IpAddress),
        (b"two words", SniForm::BadName),
        (b"", SniForm::BadName),
        (b"host:5061", SniForm::BadName),
        (b"-x-.example", SniForm::BadName),
        (&[0xff, 0xfe], SniForm::BadName),
        (&long, SniForm::BadName),
    ];
    for (name, form) in cases {
        let length = u16::try_from(name.len()).expect("short");
        let list = [&[0], length.to_be_bytes().as_slice(), name].concat();
        let length = u16::try_from(list.len()).expect("short");
        let message = message(&[(0, &[length.to_be_bytes().as_slice(), &list].concat())]);
        let sni = Hello::parse(&message).expect("not refused").sni.expect("present");
        assert_eq!(sni.form, form, "{name:?}");
        assert_eq!(sni.bytes, name);
        assert_eq!(sni.dns_name().is_some(), sni.form == SniForm::DnsName);
    }
    let twice = [0, 8, 0, 0, 1, b'a', 0, 0, 1, b'b'];
    for list in [&b""[..], &[0, 1], &[0, 4, 1, 0, 1, b'a'], &[0, 9, 0, 0, 1, b'a'], &twice] {
        let message = message(&[(0, list)]);
        let sni = Hello::parse(&message).expect("not refused").sni.expect("present");
        assert_eq!((sni.form, sni.bytes, sni.dns_name()), (SniForm::BadList, list, None));
    }
    // A name of another type behind the host name.
    let message = message(&[(0, &[0, 7, 0, 0, 1, b'a', 9, 9, 9])]);
    let sni = Hello::parse(&message).expect("not refused").sni.expect("present");
    assert_eq!(sni.dns_name(), Some("a"));
}

#[test]
fn rules_about_extensions_are_enforced() {
    let twice = message(&[(0x1234, b""), (0x1234, b"")]);
    assert!(matches!(Hello::parse(&twice), Err(HelloError::Illegal(_))));
    let psk_first = message(&[(41, b""), (21, b"")]);
    assert!(matches!(Hello::parse(&psk_first), Err(HelloError::Illegal(_))));
    let many: Vec<(u16, &[u8])> = (100..228).map(|kind| (kind, b"".as_slice())).collect();
    assert_eq!(Hello::parse(&message(&many)).map(|hello| hello.extensions), Ok(128));
    let more: Vec<(u16, &[u8])> = (100..229).map(|kind| (kind, b"".as_slice())).collect();
    assert!(matches!(Hello::parse(&message(&more)), Err(HelloError::Malformed(_))));
    let malformed: [(u16, &[u8]); 8] = [
        (10, &[0, 3, 0, 29, 0]),
        (10, &[0, 0]),
        (13, &[0, 2, 4, 3, 9]),
        (16, &[0, 3, 5, b'a', b'b']),
        (16, &[0, 1, 0]),
        (28, &[1]),
        (43, &[]),
        (1, &[]),
    ];
    for extension in malformed {
        let message = message(&[extension]);
        assert!(matches!(Hello::parse(&message), Err(HelloError::Malformed(_))), "{extension:?}");
    }
}

#[test]
fn a_truncated_or_longer_message_is_malformed() {
    for records in [tls12(), tls13()] {
        let message = &records[5..];
        for length in 0..message.len() {
            Hello::parse(&message[..length]).expect_err("truncated");
            // Also with a message length that fits, so that inner lengths are what is wrong.
            if length >= 4 {
                let mut cut = message[..length].to_vec();
                cut[1..4]
                    .copy_from_slice(&u32::try_from(length - 4).expect("short").to_be_bytes()[1..]);
                if let Ok(hello) = Hello::parse(&cut) {
                    assert_eq!(hello.extensions, 0, "cut at {length}");
                }
            }
        }
        Hello::parse(&[message, &[0]].concat()).expect_err("longer");
    }
}

#[test]
fn every_split_of_the_stream_gives_the_same_message() {
    for stream in [tls12(), tls13()] {
        let trailing = [stream.as_slice(), b"next"].concat();
        for split in 0..=stream.len() {
            let mut reader = HelloReader::new();
            let mut consumed = 0;
            for part in [&trailing[..split], &trailing[split..]] {
                match reader.feed(part).expect("a good hello") {
                    Progress::NeedMore => consumed += part.len(),
                    Progress::Complete { consumed: of_part } => consumed += of_part,
                }
            }
            assert_eq!(consumed, stream.len());
            assert_eq!(reader.message(), &stream[5..]);
            assert_eq!(reader.reframed(), stream);
            assert_eq!(reader.feed(b"more"), Ok(Progress::Complete { consumed: 0 }));
        }
    }
}

#[test]
fn a_message_in_records_of_any_size_becomes_the_same_hello_for_the_tls_library() {
    let ca = Ca::new();
    let issued = ca.issue(&rcgen::PKCS_ECDSA_P256_SHA256);
    let server_config = Arc::new(issued.server(Arc::new(ring::default_provider())));
    let client_config = Arc::new(ca.client(ring::default_provider()));
    for size in [1, 2, 3, 4, 5, 100, 16384] {
        let (mut client, mut server) =
            (testing::client(&client_config), testing::server(&server_config));
        let mut sent = Vec::new();
        client.write_tls(&mut sent).expect("in memory");
        let mut reader = HelloReader::new();
        let stream = records(&sent[5..], size);
        let (last, before) = stream.split_last().expect("not empty");
        for byte in before {
            assert_eq!(reader.feed(&[*byte]), Ok(Progress::NeedMore));
        }
        assert_eq!(reader.feed(&[*last]), Ok(Progress::Complete { consumed: 1 }));
        assert_eq!(reader.reframed(), sent);
        server.read_tls(&mut reader.reframed().as_slice()).expect("in memory");
        server.process_new_packets().expect("a good hello");
        testing::handshake(&mut client, &mut server).expect("same transcript on both sides");
    }
}

#[test]
fn the_longest_hello_is_taken_and_a_longer_one_is_not() {
    let longest = padded(MAX_MESSAGE);
    let mut reader = HelloReader::new();
    for chunk in records(&longest, 1000).chunks(1460) {
        reader.feed(chunk).expect("a good hello");
        assert!(reader.buffered() <= (2 * reader.message().len()).max(MIN_CAPACITY));
    }
    assert_eq!(reader.message(), longest);
    assert_eq!(reader.buffered(), MAX_MESSAGE);
    assert_eq!(Hello::parse(reader.message()).map(|hello| hello.extensions), Ok(1));
    let reframed = reader.reframed();
    assert_eq!(reframed.len(), MAX_MESSAGE + 5 * RECORD_HEADER);
    let mut again = HelloReader::new();
    assert_eq!(again.feed(&reframed), Ok(Progress::Complete { consumed: reframed.len() }));
    assert_eq!(again.message(), longest);

    let mut reader = HelloReader::new();
    assert_eq!(reader.feed(&[22, 3, 1, 0, 4, 1, 1, 0]), Ok(Progress::NeedMore));
    assert_eq!(reader.feed(&[0]), Err(HelloError::TooLarge));
    assert_eq!(reader.feed(&[0]), Err(HelloError::TooLarge));
    assert_eq!(reader.buffered(), 0);
}

#[test]
fn an_announced_length_costs_no_memory() {
    let mut reader = HelloReader::new();
    assert_eq!(reader.buffered(), 0);
    assert_eq!(reader.feed(&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff]), Ok(Progress::NeedMore));
    assert_eq!(reader.buffered(), MIN_CAPACITY);
}

#[test]
fn broken_records_are_refused() {
    let with_more = records(&[&message(&[])[..], &[0]].concat(), MAX_RECORD);
    let interrupted = [&[22, 3, 1, 0, 1, 1][..], &[23, 3, 3, 0, 1, 0]].concat();
    let alert_between = [&[22, 3, 1, 0, 1, 1][..], &[21, 3, 3, 0, 2, 2, 70]].concat();
    let empty_between = [&[22, 3, 1, 0, 1, 1][..], &[22, 3, 1, 0, 0]].concat();
    let cases: [(&[u8], u8); 8] = [
        (&[22, 3, 1, 0, 0], alert::DECODE_ERROR),
        (&empty_between, alert::DECODE_ERROR),
        (&[22, 3, 1, 0x40, 1], alert::RECORD_OVERFLOW),
        (&[22, 2, 0, 0, 9], alert::DECODE_ERROR),
        (&[22, 3, 1, 0, 4, 2, 0, 0, 0], alert::UNEXPECTED_MESSAGE),
        (&with_more, alert::UNEXPECTED_MESSAGE),
        (&interrupted, alert::UNEXPECTED_MESSAGE),
        (&[21, 3, 1, 0, 3, 2, 70], alert::UNEXPECTED_MESSAGE),
    ];
    for (stream, alert) in cases {
        let error = read(stream).expect_err("refused");
        assert_eq!(error.alert(), Some(alert), "{stream:?}: {error}");
    }
    let alert = Stray::Alert { level: 2, description: 70 };
    assert_eq!(read(&alert_between), Err(HelloError::NotTls(alert)));
    assert!(read(&tls13()).is_ok());
}

#[test]
fn what_is_not_tls_is_named() {
    let cases: [(&[u8], Stray); 13] = [
        (b"GET / HTTP/1.1\r\n", Stray::Http),
        (b"OPTIONS * HTTP/1.1\r\n", Stray::Http),
        (b"PRI * HTTP/2.0\r\n", Stray::Http),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Stray::Ssh),
        (b"PROXY TCP4 10.0.0.1", Stray::ProxyProtocol),
        (b"\r\n\r\n\0\r\nQUIT\n\x21", Stray::ProxyProtocol),
        (b"REGISTER sip:example", Stray::Text),
        (b"P-Header: x", Stray::Text),
        (b"\r\n\r\nhello", Stray::Text),
        (&[0x80, 0x2e, 1, 9, 9], Stray::Binary),
        (&[0x80, 0x2e, 4], Stray::Binary),
        (&[4, 1, 0, 0], Stray::Binary),
        (&[21, 3, 1, 0, 2, 2, 48], Stray::Alert { level: 2, description: 48 }),
    ];
    for (stream, stray) in cases {
        let mut reader = HelloReader::new();
        let first = stream.iter().find_map(|byte| reader.feed(&[*byte]).err());
        assert_eq!(first, Some(HelloError::NotTls(stray)), "byte by byte");
        assert_eq!(read(stream), Err(HelloError::NotTls(stray)), "at once");
        assert_eq!(HelloError::NotTls(stray).alert(), None);
    }
    let text = HelloError::NotTls(Stray::Alert { level: 2, description: 48 }).to_string();
    assert_eq!(text, "not a TLS ClientHello: alert unknown_ca");
}

#[test]
fn a_legacy_version_offers_tls12_and_never_tls13() {
    for (version, tls12) in [(0x0302_u16, false), (0x0303, true), (0x0304, true), (0x0400, true)] {
        let mut message = message(&[]);
        message[4..6].copy_from_slice(&version.to_be_bytes());
        let hello = Hello::parse(&message).expect("any version is well-formed");
        assert_eq!((hello.offers_tls12(), hello.offers_tls13()), (tls12, false), "{version:#x}");
    }
    // With the list, nothing but the list counts.
    let listed = message(&[(43, &[4, 3, 5, 3, 4])]);
    let hello = Hello::parse(&listed).expect("a good hello");
    assert_eq!((hello.offers_tls12(), hello.offers_tls13()), (false, true));
}

/// As far as the peek decides it, every case of the corpus ends as it says.
#[test]
fn the_corpus_gets_its_verdicts() {
    for case in tlsgate_corpus::corpus() {
        let mut reader = HelloReader::new();
        let verdict = match reader.feed(&case.stream) {
            Ok(Progress::NeedMore) => Ok(false),
            Ok(Progress::Complete { .. }) => reader.hello().map(|_| true),
            Err(error) => Err(error),
        };
        let (reason, alert) = match verdict {
            Ok(false) => ("hello_eof", "-"),
            // What follows is for the policy and the TLS library to say.
            Ok(true) => {
                let early = ["hello_eof", "hello_malformed", "hello_too_large", "ssl2"];
                assert!(!early.contains(&&*case.outcome.reason), "{} is taken", case.name);
                continue;
            }
            Err(HelloError::TooLarge) => ("hello_too_large", "decode_error"),
            Err(HelloError::Ssl2) => ("ssl2", "-"),
            Err(error) => ("hello_malformed", error.alert().map_or("-", alert::alert_name)),
        };
        let said = (&*case.outcome.reason, &*case.outcome.alert);
        assert_eq!((reason, alert), said, "{}: {verdict:?}", case.name);
    }
}

/// A hello in two records, divided at every byte, with an empty record between them or none.
#[test]
fn two_records_divided_anywhere_are_one_hello() {
    let hello = tlsgate_corpus::hello::Hello::tls13().message();
    for cut in 1..hello.len() {
        let (first, second) = hello.split_at(cut);
        let [first, second] = [first, second].map(|body| records(body, MAX_RECORD));
        let mut reader = HelloReader::new();
        let stream = [&first[..], &second].concat();
        assert_eq!(reader.feed(&stream), Ok(Progress::Complete { consumed: stream.len() }));
        assert_eq!(reader.message(), hello, "cut at {cut}");
        let with_empty = [&first[..], &[22, 3, 1, 0, 0], &second].concat();
        assert_eq!(read(&with_empty), Err(HelloError::Malformed("empty handshake record")));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(stream in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut reader = HelloReader::new();
        for chunk in stream.chunks(7) {
            if reader.feed(chunk).is_err() {
                break;
            }
        }
        let _ = Hello::parse(&stream);
        let mut framed = stream;
        framed.splice(0..0, [1, 0, 0, 0]);
        let length = u16::try_from(framed.len() - 4).expect("short").to_be_bytes();
        framed[2..4].copy_from_slice(&length);
        let _ = Hello::parse(&framed);
    }

    #[test]
    fn mutations_never_panic_and_agree_however_the_stream_is_cut(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        size in 1..600_usize,
        cut in 1..300_usize,
    ) {
        let mut stream = records(&tls13()[5..], size);
        for (position, value) in changes {
            *position.get_mut(&mut stream) = value;
        }
        let mut whole = HelloReader::new();
        let at_once = whole.feed(&stream);
        let mut pieces = HelloReader::new();
        let mut in_pieces = Ok(Progress::NeedMore);
        let mut consumed = 0;
        for piece in stream.chunks(cut) {
            in_pieces = pieces.feed(piece);
            match in_pieces {
                Ok(Progress::NeedMore) => consumed += piece.len(),
                Ok(Progress::Complete { consumed: of_piece }) => {
                    consumed += of_piece;
                    in_pieces = Ok(Progress::Complete { consumed });
                    break;
                }
                Err(_) => break,
            }
        }
        prop_assert_eq!(at_once, in_pieces);
        prop_assert_eq!(whole.message(), pieces.message());
        if let Ok(hello) = Hello::parse(whole.message()) {
            prop_assert!(hello.alpn.iter().count() <= 256);
            prop_assert!(hello.extensions <= 128);
        }
    }
}

#[test]
fn peers_say_how_small_records_must_be() {
    use tlsgate_corpus::hello::Hello as Written;
    let size_limit = |limit: u16| (28, limit.to_be_bytes().to_vec());
    let fragment = |code| (1, vec![code]);
    for (said, most) in [
        (vec![], None),
        (vec![size_limit(16_385)], None),
        (vec![size_limit(16_384)], Some(16_383)),
        (vec![size_limit(64)], Some(63)),
        (vec![size_limit(63)], None),
        (vec![fragment(1)], Some(512)),
        (vec![fragment(4)], Some(4096)),
        (vec![fragment(5)], None),
        (vec![fragment(1), size_limit(2001)], Some(2000)),
        (vec![fragment(1), size_limit(16_385)], None),
    ] {
        let mut hello = Written::tls13();
        said.iter().for_each(|(kind, body)| hello.add(*kind, body));
        let message = hello.message();
        assert_eq!(Hello::parse(&message).expect("well-formed").max_content(), most, "{said:?}");
    }
}
