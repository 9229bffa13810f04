//! Both ends of a session, each cipher, and what peers may and may not do.

mod protocol;
mod vectors;

use super::*;

const CIPHERS: [Cipher; 6] = [
    Cipher { version: Version::Tls12, aead: Aead::Aes128Gcm },
    Cipher { version: Version::Tls12, aead: Aead::Aes256Gcm },
    Cipher { version: Version::Tls12, aead: Aead::ChaCha20Poly1305 },
    Cipher { version: Version::Tls13, aead: Aead::Aes128Gcm },
    Cipher { version: Version::Tls13, aead: Aead::Aes256Gcm },
    Cipher { version: Version::Tls13, aead: Aead::ChaCha20Poly1305 },
];

/// Keys that differ by `seed`.
fn keys(cipher: Cipher, seed: u8, sequence: u64) -> Keys {
    let hash = match (cipher.version, cipher.aead) {
        (Version::Tls12, _) => 0,
        (Version::Tls13, Aead::Aes256Gcm) => 48,
        (Version::Tls13, _) => 32,
    };
    let key = vec![seed; cipher.key_length()];
    Keys::new(cipher, &key, &[seed ^ 0x55; 12], &vec![seed; hash], sequence).expect("lengths")
}

/// A record with this content, at its place.
fn record(cipher: Cipher, content: &[u8]) -> Vec<u8> {
    [&vec![0; cipher.head()][..], content, &vec![0; cipher.tail()]].concat()
}

fn seal(keys: &mut Keys, content_type: u8, content: &[u8]) -> Vec<u8> {
    let mut record = record(keys.cipher(), content);
    keys.seal(content_type, &mut record).expect("a sequence number");
    record
}

fn counting(length: usize) -> Vec<u8> {
    (0..=255).cycle().take(length).collect()
}

#[test]
fn what_was_sealed_is_opened() {
    for cipher in CIPHERS {
        let (mut write, mut read) = (keys(cipher, 1, 0), keys(cipher, 1, 0));
        for (length, content_type) in [(0, 23), (1, 22), (2, 21), (100, 23), (MAX_CONTENT, 23)] {
            let content = counting(length);
            let mut record = seal(&mut write, content_type, &content);
            assert_eq!(record.len(), length + cipher.head() + cipher.tail());
            let [kind, 3, 3, high, low, ..] = record[..] else { panic!("{cipher:?}") };
            assert_eq!(usize::from(u16::from_be_bytes([high, low])), record.len() - HEADER);
            assert_eq!(kind, if cipher.version == Version::Tls13 { 23 } else { content_type });
            let (opened, range) = read.open(&mut record).expect("the same keys");
            assert_eq!((opened, &record[range]), (content_type, &content[..]), "{cipher:?}");
        }
    }
}

#[test]
fn a_rest_makes_no_difference() {
    for cipher in CIPHERS {
        let (mut write, mut read) = (keys(cipher, 1, 7), keys(cipher, 1, 7));
        for _ in 0..3 {
            let mut record = seal(&mut write, 23, b"before and after");
            read.open(&mut record).expect("the same keys");
            write.rest();
            read.rest();
        }
    }
}

#[test]
fn padding_is_dropped() {
    let cipher = CIPHERS[3];
    let (mut write, mut read) = (keys(cipher, 1, 0), keys(cipher, 1, 0));
    // What is sealed as content of type zero is content, type and padding to the reader.
    for padding in [1, 255, MAX_CONTENT - 6] {
        let padded = [&b"hello\x17"[..], &vec![0; padding - 1]].concat();
        let mut record = seal(&mut write, 0, &padded);
        assert_eq!(read.open(&mut record), Ok((23, 5..10)));
        assert_eq!(&record[5..10], b"hello");
    }
    let mut record = seal(&mut write, 0, &[0; 9]);
    let untyped = Err(RecordError::Unexpected("a record without content type"));
    assert_eq!(read.open(&mut record), untyped);
}

#[test]
fn whatever_was_changed_does_not_authenticate() {
    for cipher in CIPHERS {
        let sealed = seal(&mut keys(cipher, 1, 0), 23, b"as it was said");
        // The header of TLS 1.3 counts as it came, that of TLS 1.2 without the length.
        for position in (0..3).chain(5..sealed.len()) {
            let mut record = sealed.clone();
            record[position] ^= 4;
            let opened = keys(cipher, 1, 0).open(&mut record);
            assert_eq!(opened, Err(RecordError::BadMac), "{cipher:?} at {position}");
        }
        for (seed, sequence) in [(2, 0), (1, 1)] {
            let opened = keys(cipher, seed, sequence).open(&mut sealed.clone());
            // With GCM in TLS 1.2, the number is in the data that is authenticated.
            assert_eq!(opened, Err(RecordError::BadMac), "{cipher:?} {seed} {sequence}");
        }
        for length in 0..sealed.len() {
            let opened = keys(cipher, 1, 0).open(&mut sealed[..length].to_vec());
            assert_eq!(opened, Err(RecordError::BadMac), "{cipher:?} {length}");
        }
    }
}

#[test]
fn records_have_a_longest() {
    for cipher in CIPHERS {
        let mut long = vec![23; HEADER + cipher.max_body() + 1];
        assert_eq!(keys(cipher, 1, 0).open(&mut long), Err(RecordError::Overflow));
        let mut short = vec![23; HEADER + cipher.max_body()];
        assert_eq!(keys(cipher, 1, 0).open(&mut short), Err(RecordError::BadMac));
    }
}

#[test]
fn a_sequence_number_is_used_once() {
    for cipher in CIPHERS {
        let mut last = keys(cipher, 1, u64::MAX);
        assert_eq!(last.seal(23, &mut record(cipher, b"no")), Err(Exhausted));
        assert_eq!(last.open(&mut record(cipher, b"no")), Err(RecordError::BadMac));
        let mut keys = keys(cipher, 1, 0);
        let [first, second] = [(); 2].map(|()| seal(&mut keys, 23, b"the same"));
        assert_ne!(first, second);
    }
}

#[test]
fn lengths_of_keys_are_those_of_the_cipher() {
    for cipher in CIPHERS {
        let hash = if cipher.version == Version::Tls12 { 0 } else { 32 };
        let wrong = [(31, 12, hash), (cipher.key_length(), 8, hash), (cipher.key_length(), 12, 1)];
        for (key, iv, traffic) in wrong {
            let keys = Keys::new(cipher, &vec![0; key], &vec![0; iv], &vec![0; traffic], 0);
            assert!(keys.is_none(), "{cipher:?} {key} {iv} {traffic}");
        }
    }
}
