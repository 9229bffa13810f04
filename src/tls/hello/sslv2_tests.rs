use super::super::{HelloError, HelloReader, MIN_CAPACITY, Progress};

fn read(stream: &[u8]) -> Result<Progress, HelloError> {
    HelloReader::new().feed(stream)
}

/// A ClientHello in the format of SSL 2 with these cipher specs and bytes behind them.
fn sslv2(version: [u8; 2], specs: &[u8], session: &[u8], challenge: &[u8]) -> Vec<u8> {
    let length = |list: &[u8]| u16::try_from(list.len()).expect("short").to_be_bytes();
    let lengths = [length(specs), length(session), length(challenge)].concat();
    let body = [&[1], &version[..], &lengths, specs, session, challenge].concat();
    let [high, low] = length(&body);
    [&[0x80 | high, low], &*body].concat()
}

#[test]
fn the_format_of_ssl_2_is_read_and_kept_as_it_came() {
    // Of SSL 2 itself, of TLS.
    let specs = [1, 0, 0x80, 0, 0, 0x35, 0, 0, 0x2f];
    for (challenge, session) in [(&[9; 32][..], &[][..]), (&[9; 16], &[5; 16])] {
        let bytes = sslv2([3, 1], &specs, session, challenge);
        for size in [1, 2, 7, bytes.len()] {
            let mut reader = HelloReader::new();
            let mut progress = Ok(Progress::NeedMore);
            for piece in [&*bytes, b"more"].concat().chunks(size) {
                if progress == Ok(Progress::NeedMore) {
                    progress = reader.feed(piece);
                }
            }
            assert!(matches!(progress, Ok(Progress::Complete { .. })), "{progress:?}");
            let hello = reader.hello().expect("well-formed");
            assert!(hello.is_sslv2_format);
            assert_eq!(hello.cipher_suites.iter().collect::<Vec<_>>(), [0x35, 0x2f]);
            assert_eq!((hello.newest_version(), hello.extensions), (Some(0x0301), 0));
            assert_eq!(reader.reframed(), bytes, "as it came");
            assert!(reader.buffered() >= bytes.len());
        }
    }
    let mut reader = HelloReader::new();
    let at_once = [sslv2([3, 1], &specs, &[], &[9; 32]), b"more".to_vec()].concat();
    let consumed = at_once.len() - 4;
    assert_eq!(reader.feed(&at_once), Ok(Progress::Complete { consumed }));
}

#[test]
fn ssl_2_itself_is_refused_at_its_first_bytes() {
    assert_eq!(read(&[0x80, 0x2e, 1, 0, 2]), Err(HelloError::Ssl2));
    assert_eq!(HelloError::Ssl2.alert(), None);
    // Nothing but suites of SSL 2.
    assert_eq!(read(&sslv2([3, 1], &[1, 0, 0x80], &[], &[9; 32])), Err(HelloError::Ssl2));
}

#[test]
fn the_format_of_ssl_2_has_its_lengths_checked() {
    let specs = [0, 0, 0x2f];
    for bytes in [
        sslv2([3, 1], &[], &[], &[9; 32]),
        sslv2([3, 1], &specs[..2], &[], &[9; 32]),
        sslv2([3, 1], &specs, &[5; 15], &[9; 32]),
        sslv2([3, 1], &specs, &[], &[9; 15]),
        sslv2([3, 1], &specs, &[], &[9; 33]),
        [&[0x80, 45, 1, 3, 1, 0, 3, 0, 0, 0, 32][..], &specs, &[9; 33]].concat(),
        vec![0x80, 3, 1, 3, 1],
        vec![0x80, 4, 1, 3, 1, 0],
    ] {
        assert!(matches!(read(&bytes), Err(HelloError::Malformed(_))), "{bytes:x?}");
    }
    // An announced length costs no memory.
    let mut reader = HelloReader::new();
    assert_eq!(reader.feed(&[0xff, 0xff, 1, 3, 1, 0]), Ok(Progress::NeedMore));
    assert!(reader.buffered() <= MIN_CAPACITY);
}
