//! The keys of one domain around the current epoch, derived from every secret.

use ring::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use zeroize::Zeroizing;

use super::DomainId;
use super::counters::{Epoch, Rank};
use super::keys::Settings;

/// Bytes of a key's name. A collision costs a decryption that fails, nothing else.
pub(super) const NAME: usize = 8;
const KEY: usize = 32;
const LABEL: &[u8] = b"tlsgate ticket key, version 2";

/// Three keys for each secret; the first of all makes tickets.
pub(super) struct EpochKeys {
    /// Of the settings that they were derived from.
    version: u64,
    pub(super) lifetime: u32,
    epoch: u64,
    keys: Vec<EpochKey>,
}

/// A key, and what its use says.
pub(super) struct EpochKey {
    /// Derived beside the key, so it tells neither secret nor epoch nor domain.
    pub(super) name: [u8; NAME],
    pub(super) key: LessSafeKey,
    pub(super) epoch: Epoch,
    pub(super) rank: Rank,
}

impl EpochKeys {
    /// Derives the keys of the epochs around `now`, Unix time in seconds.
    pub(super) fn new(settings: &Settings, domain: &DomainId, now: u64) -> Self {
        let epoch = now / u64::from(settings.lifetime);
        let numbers = [
            (Some(epoch), Epoch::Current),
            (epoch.checked_sub(1), Epoch::Previous),
            (epoch.checked_add(1), Epoch::Next),
        ];
        let mut keys = Vec::with_capacity(settings.secrets.len() * numbers.len());
        let ranks = std::iter::once(Rank::First).chain(std::iter::repeat(Rank::Older));
        for (secret, rank) in settings.secrets.iter().zip(ranks) {
            for (number, epoch) in numbers {
                let Some(number) = number else { continue };
                let info: [&[u8]; 4] = [
                    LABEL,
                    domain.bytes(),
                    // With the length of epochs, so that a number never means two times.
                    &settings.lifetime.to_be_bytes(),
                    &number.to_be_bytes(),
                ];
                let mut derived = Zeroizing::new([0; KEY + NAME]);
                secret.derive(&info, &mut derived[..]);
                let (key, name) = derived.split_at(KEY);
                let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes");
                let name = name.try_into().expect("8 bytes");
                keys.push(EpochKey { name, key: LessSafeKey::new(key), epoch, rank });
            }
        }
        Self { version: settings.version, lifetime: settings.lifetime, epoch, keys }
    }

    /// Whether these are the keys for the settings of `version` at `now`.
    pub(super) fn are_for(&self, version: u64, now: u64) -> bool {
        self.version == version && self.epoch == now / u64::from(self.lifetime)
    }

    /// The names of all keys, and the second from which none of them reads tickets.
    pub(super) fn names(&self) -> (impl Iterator<Item = [u8; NAME]>, u64) {
        let end = self.epoch.saturating_add(3).saturating_mul(u64::from(self.lifetime));
        (self.keys.iter().map(|key| key.name), end)
    }

    /// The key that makes tickets.
    pub(super) fn maker(&self) -> &EpochKey {
        self.keys.first().expect("there is a secret, and each has a key of the current epoch")
    }

    /// The key with this name. Always looks at all of them.
    pub(super) fn named(&self, name: &[u8; NAME]) -> Option<&EpochKey> {
        self.keys.iter().fold(None, |found, key| if key.name == *name { Some(key) } else { found })
    }
}
