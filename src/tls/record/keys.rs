//! The keys of one direction: records are sealed and opened where they lie.

use std::ops::Range;

use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::cipher::{Cipher, EXPLICIT_NONCE, TAG, Version};
use super::error::{Exhausted, RecordError};
use super::{HEADER, MAX_CONTENT, content, header, schedule};

/// What protects one direction of a session, from here on.
pub struct Keys {
    cipher: Cipher,
    key: Zeroizing<[u8; MAX_KEY]>,
    iv: Zeroizing<[u8; NONCE]>,
    /// What the next key will come from, in TLS 1.3.
    traffic: Zeroizing<[u8; MAX_HASH]>,
    /// Of the next record.
    sequence: u64,
    /// Of the cipher, that were sealed; where nobody has counted, full-size records were.
    blocks: u64,
    /// Big, and quickly made again: on the heap, while it is used.
    expanded: Option<Box<LessSafeKey>>,
}

impl Keys {
    /// `key` is as long as the cipher's, `traffic` the traffic secret that it comes from: as long as
    /// the hash of the suite in TLS 1.3, empty in TLS 1.2. `sequence` is that of the next record.
    /// `None` where a length is another.
    pub fn new(
        cipher: Cipher,
        key: &[u8],
        iv: &[u8],
        traffic: &[u8],
        sequence: u64,
    ) -> Option<Self> {
        let hash = match cipher.version {
            Version::Tls12 => 0,
            Version::Tls13 => ring::hkdf::KeyType::len(&cipher.hkdf()),
        };
        if key.len() != cipher.key_length() || iv.len() != NONCE || traffic.len() != hash {
            return None;
        }
        let mut keys = Self {
            cipher,
            key: Zeroizing::new([0; MAX_KEY]),
            iv: Zeroizing::new([0; NONCE]),
            traffic: Zeroizing::new([0; MAX_HASH]),
            sequence,
            blocks: sequence.saturating_mul(FULL),
            expanded: None,
        };
        keys.key[..key.len()].copy_from_slice(key);
        keys.iv.copy_from_slice(iv);
        keys.traffic[..hash].copy_from_slice(traffic);
        Some(keys)
    }

    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// How many records they will still protect. The limit is one of blocks, said in full-size records:
    /// in TLS 1.2, where it is the end of the session, small ones count for what they are.
    pub fn remaining(&self) -> u64 {
        let limit = self.cipher.limit();
        match self.cipher.version {
            Version::Tls13 => limit.saturating_sub(self.sequence),
            Version::Tls12 => limit.saturating_mul(FULL).saturating_sub(self.blocks) / FULL,
        }
    }

    /// Forgets what is quickly made again.
    pub fn rest(&mut self) {
        self.expanded = None;
    }

    /// Goes on to the next keys, which end with nothing in common with these (RFC 8446 §7.2).
    pub fn update(&mut self) {
        debug_assert!(self.cipher.version == Version::Tls13, "TLS 1.2 has no key update");
        self.traffic = schedule::next(self.cipher, &self.traffic);
        (self.key, self.iv) = schedule::keys(self.cipher, &self.traffic);
        self.sequence = 0;
        self.blocks = 0;
        self.expanded = None;
    }

    /// Makes a record of `record`, whose content is between [`Cipher::head`] and [`Cipher::tail`].
    ///
    /// # Errors
    /// When there is no sequence number any more. That is not the limit of the cipher, which
    /// [`Keys::remaining`] tells.
    pub fn seal(&mut self, content_type: u8, record: &mut [u8]) -> Result<(), Exhausted> {
        let next = self.sequence.checked_add(1).ok_or(Exhausted)?;
        let cipher = self.cipher;
        let nonce = self.nonce();
        let body = record.len() - HEADER;
        let (head, rest) = record.split_at_mut(cipher.head());
        let (sealed, tag) = rest.split_at_mut(rest.len() - TAG);
        debug_assert!(sealed.len() <= MAX_CONTENT + 1, "a record's content is at most 2^14 bytes");
        let sealing = Nonce::assume_unique_for_key(nonce);
        let made = match cipher.version {
            Version::Tls13 => {
                let header = header(content::APPLICATION_DATA, body);
                head.copy_from_slice(&header);
                *sealed.last_mut().expect("the tail has room for it") = content_type;
                self.expanded().seal_in_place_separate_tag(sealing, Aad::from(header), sealed)
            }
            Version::Tls12 => {
                let header = header(content_type, body);
                head[..HEADER].copy_from_slice(&header);
                if cipher.sends_nonce() {
                    head[HEADER..].copy_from_slice(&nonce[NONCE - EXPLICIT_NONCE..]);
                }
                let aad = aad_tls12(self.sequence, header, sealed.len());
                self.expanded().seal_in_place_separate_tag(sealing, Aad::from(aad), sealed)
            }
        };
        tag.copy_from_slice(made.map_err(|_| Exhausted)?.as_ref());
        self.sequence = next;
        self.blocks = self.blocks.saturating_add(sealed.len().div_ceil(BLOCK) as u64 + 1);
        Ok(())
    }

    /// Opens a whole record, header included: its content type, and where its content is now.
    ///
    /// # Errors
    /// [`RecordError::Overflow`], [`RecordError::BadMac`], and [`RecordError::Unexpected`] for
    /// one without a type.
    pub fn open(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), RecordError> {
        let next = self.sequence.checked_add(1).ok_or(RecordError::BadMac)?;
        let cipher = self.cipher;
        let (head, sealed) =
            record.split_at_mut_checked(cipher.head()).ok_or(RecordError::BadMac)?;
        let header = [head[0], head[1], head[2], head[3], head[4]];
        if head.len() - HEADER + sealed.len() > cipher.max_body() {
            return Err(RecordError::Overflow);
        }
        let length = sealed.len().checked_sub(TAG).ok_or(RecordError::BadMac)?;
        let mut nonce = self.nonce();
        if cipher.sends_nonce() {
            nonce[..NONCE - EXPLICIT_NONCE].copy_from_slice(&self.iv[..NONCE - EXPLICIT_NONCE]);
            nonce[NONCE - EXPLICIT_NONCE..].copy_from_slice(&head[HEADER..]);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = match cipher.version {
            Version::Tls13 => self.expanded().open_in_place(nonce, Aad::from(header), sealed),
            Version::Tls12 => {
                let aad = aad_tls12(self.sequence, header, length);
                self.expanded().open_in_place(nonce, Aad::from(aad), sealed)
            }
        };
        let plain = opened.map_err(|_| RecordError::BadMac)?;
        self.sequence = next;
        let (content_type, length) = match cipher.version {
            Version::Tls12 => (header[0], plain.len()),
            Version::Tls13 => inner(plain)?,
        };
        if length > MAX_CONTENT {
            return Err(RecordError::Overflow);
        }
        Ok((content_type, cipher.head()..cipher.head() + length))
    }

    /// RFC 8446 §5.3; the same in TLS 1.2 with ChaCha20-Poly1305 (RFC 7905 §2), and a choice of ours
    /// with GCM, where the sender chooses (RFC 5288 §3).
    fn nonce(&self) -> [u8; NONCE] {
        let mut nonce = *self.iv;
        for (byte, part) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= part;
        }
        nonce
    }

    fn expanded(&mut self) -> &LessSafeKey {
        let (cipher, key) = (self.cipher, &self.key);
        self.expanded.get_or_insert_with(|| {
            let key = UnboundKey::new(cipher.algorithm(), &key[..cipher.key_length()]);
            Box::new(LessSafeKey::new(key.expect("as long as the cipher's")))
        })
    }
}

/// The type of a TLSInnerPlaintext and the length of its content: what is before zeros and type.
fn inner(plain: &[u8]) -> Result<(u8, usize), RecordError> {
    // RFC 8446 §5.4: padding does not make records longer.
    if plain.len() > MAX_CONTENT + 1 {
        return Err(RecordError::Overflow);
    }
    let end = plain.iter().rposition(|byte| *byte != 0);
    let end = end.ok_or(RecordError::Unexpected("a record without content type"))?;
    Ok((plain[end], end))
}

/// RFC 5246 §6.2.3.3: sequence number, type, version, length of the content.
fn aad_tls12(sequence: u64, record: [u8; HEADER], length: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&sequence.to_be_bytes());
    aad[8..].copy_from_slice(&header(record[0], length));
    aad[9..11].copy_from_slice(&record[1..3]);
    aad
}

/// Bytes of a block of AES.
const BLOCK: usize = 16;
/// Blocks of a full-size record, and the one that its tag takes.
const FULL: u64 = (MAX_CONTENT / BLOCK) as u64 + 2;
/// Longest key.
pub(super) const MAX_KEY: usize = 32;
/// Bytes of a nonce and of an initialization vector.
pub(super) const NONCE: usize = 12;
/// Longest hash.
pub(super) const MAX_HASH: usize = 48;
