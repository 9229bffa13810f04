//! A fatal alert of our choice in a session that is up.
//!
//! rustls sends those alone that it comes upon itself. Its keys can be had, for those who let the
//! kernel encrypt, and with them one more record is sealed: the last of the session.

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};

const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;
const FATAL: u8 = 2;

/// The record with the alert, `sequence` records after the first that these keys are for. `None`
/// for a cipher that rustls did not have when this was written.
pub(super) fn seal(
    version: ProtocolVersion,
    (sequence, secrets): (u64, &ConnectionTrafficSecrets),
    description: u8,
) -> Option<Vec<u8>> {
    use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
    let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
        Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
        Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
        Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
        _ => return None,
    };
    let mut nonce: [u8; 12] = iv.as_ref().try_into().ok()?;
    for (byte, part) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
        *byte ^= part;
    }
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
    let tag = algorithm.tag_len();
    let (mut record, content) = if version == ProtocolVersion::TLSv1_3 {
        // RFC 8446 §5.2: the real type goes with the content.
        (header(APPLICATION_DATA, 3 + tag)?.to_vec(), &[FATAL, description, ALERT][..])
    } else if *algorithm == CHACHA20_POLY1305 {
        // RFC 7905 §2
        (header(ALERT, 2 + tag)?.to_vec(), &[FATAL, description][..])
    } else {
        // RFC 5288 §3: the part of the nonce that is not of the key is sent.
        let header = header(ALERT, 8 + 2 + tag)?;
        ([&header[..], &nonce[4..]].concat(), &[FATAL, description][..])
    };
    let aad = if version == ProtocolVersion::TLSv1_3 {
        record.clone()
    } else {
        // RFC 5246 §6.2.3.3
        [&sequence.to_be_bytes()[..], &[ALERT, 3, 3, 0, 2]].concat()
    };
    let mut sealed = content.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).ok()?;
    record.append(&mut sealed);
    Some(record)
}

/// Of a record whose body has this length.
fn header(content_type: u8, length: usize) -> Option<[u8; 5]> {
    let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
    Some([content_type, 3, 3, high, low])
}
