//! The keys of all tickets, for the process: secrets, and the epochs that keys are made for.
//!
//! **Epochs.** Time is cut into epochs as long as the lifetime of sessions, counted from 1970, so
//! that nodes with the same secret and lifetime agree on them without talking. A ticket is made
//! with the key of the current epoch and read with those of the previous, the current and the next
//! one. That is enough: what is younger than one epoch was made in this one or the previous one,
//! and a clock that is ahead by up to an epoch makes tickets of the next one. So no ticket
//! outlives the keys that read it, and no key reads for longer than three epochs.
//!
//! **Random secrets.** Where no file gives secrets, each epoch has a random one of its own, and
//! that of the epoch before last is forgotten: later, nobody can read what was recorded.
//!
//! Shards hold what they derived (`Tickets`) and ask with one atomic load whether it still holds.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use zeroize::Zeroizing;

use super::counters::{Counters, Refusal, TicketStats};
use super::epoch_keys::{EpochKeys, NAME};
use super::key_names::KeyNames;
use super::secrets::{SECRET_BYTES, Secret, Secrets};
use super::{Clock, DomainId};

/// First byte of an export.
const EXPORT_VERSION: u8 = 1;

/// Ticket keys of all domains. One for the life of the process; reloads change what is in it.
pub struct TicketKeys {
    settings: RwLock<Arc<Settings>>,
    /// Of the settings, to be compared without the lock.
    version: AtomicU64,
    clock: Clock,
    counters: Counters,
    /// Of all domains.
    names: Mutex<KeyNames>,
}

/// What keys are derived from; never empty of secrets.
pub(super) struct Settings {
    pub(super) version: u64,
    /// In seconds; of tickets and of epochs; not zero.
    pub(super) lifetime: u32,
    /// The first makes tickets.
    pub(super) secrets: Vec<Secret>,
    /// The epoch for which the first one was made, where secrets are random.
    random_since: Option<u64>,
}

/// An export that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not exported by this version of tlsgate")]
pub struct BadExport;

impl TicketKeys {
    /// Keys from a random secret, for tickets that live for `lifetime`, 1 s to 7 days (RFC 8446
    /// §4.6.1).
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(lifetime: Duration, clock: Clock) -> Result<Arc<Self>, rustls::Error> {
        let lifetime = seconds(lifetime);
        let settings = Settings::random(lifetime, clock.now())?;
        Ok(Arc::new(Self {
            settings: RwLock::new(Arc::new(settings)),
            version: AtomicU64::new(0),
            clock,
            counters: Counters::default(),
            names: Mutex::default(),
        }))
    }

    /// Changes secrets and lifetime; shards notice with their next ticket. `None` stands for
    /// random ones and keeps those that there are. Tickets that were made with another lifetime or
    /// with a secret that is gone are refused from now on.
    ///
    /// # Errors
    /// When the system has no random numbers; nothing is changed then.
    pub fn set(&self, secrets: Option<Secrets>, lifetime: Duration) -> Result<(), rustls::Error> {
        let lifetime = seconds(lifetime);
        let now = self.clock.now();
        let mut slot = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        let settings = match secrets {
            Some(secrets) => {
                Settings { version: 0, lifetime, secrets: secrets.into_vec(), random_since: None }
            }
            None if slot.random_since.is_none() => Settings::random(lifetime, now)?,
            None if slot.lifetime == lifetime => return Ok(()),
            None => Settings {
                version: 0,
                lifetime,
                secrets: slot.secrets.clone(),
                random_since: Some(now / u64::from(lifetime)),
            },
        };
        if settings.lifetime != slot.lifetime || settings.secrets != slot.secrets {
            self.replace(&mut slot, settings);
        }
        Ok(())
    }

    /// How long a ticket may be used, in seconds.
    pub fn lifetime(&self) -> u32 {
        self.read().lifetime
    }

    /// The counters of all domains; not one moment for all of them.
    pub fn stats(&self) -> TicketStats {
        self.counters.read()
    }

    /// What another process needs to read the tickets of this one: the secrets, where they are
    /// random. Those of a file are left out: the other process reads the file.
    pub fn export(&self) -> Zeroizing<Vec<u8>> {
        let settings = self.read();
        let secrets: &[Secret] = settings.random_since.map_or(&[], |_| &settings.secrets);
        // All memory at once: growing would leave copies behind.
        let size = 1 + 4 + 8 + secrets.len() * SECRET_BYTES;
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        bytes.push(EXPORT_VERSION);
        bytes.extend_from_slice(&settings.lifetime.to_be_bytes());
        bytes.extend_from_slice(&settings.random_since.unwrap_or_default().to_be_bytes());
        for secret in secrets {
            bytes.extend_from_slice(secret.bytes());
        }
        bytes
    }

    /// Goes on with the keys that another process exported. Returns whether it does: it does not
    /// where either has its secrets from a file, or where the lifetimes differ.
    ///
    /// # Errors
    /// When `bytes` are not an export; nothing is changed then.
    pub fn import(&self, bytes: &[u8]) -> Result<bool, BadExport> {
        let (head, rest) = bytes.split_first_chunk::<13>().ok_or(BadExport)?;
        let [version, l0, l1, l2, l3, since @ ..] = *head;
        let (secrets, rest) = rest.as_chunks::<SECRET_BYTES>();
        if version != EXPORT_VERSION || !rest.is_empty() || secrets.len() > Settings::MAX_RANDOM {
            return Err(BadExport);
        }
        let lifetime = u32::from_be_bytes([l0, l1, l2, l3]);
        let mut slot = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        if secrets.is_empty() || slot.random_since.is_none() || lifetime != slot.lifetime {
            return Ok(false);
        }
        let settings = Settings {
            version: 0,
            lifetime,
            secrets: secrets.iter().map(Secret::from_bytes).collect(),
            // Not in the future, or the secret would never be renewed.
            random_since: Some(
                u64::from_be_bytes(since).min(self.clock.now() / u64::from(lifetime)),
            ),
        };
        self.replace(&mut slot, settings);
        Ok(true)
    }

    /// The keys of `domain` around `now`.
    pub(super) fn derive(&self, domain: &DomainId, now: u64) -> EpochKeys {
        let keys = EpochKeys::new(&self.settings(now), domain, now);
        let (names, end) = keys.names();
        self.names.lock().unwrap_or_else(PoisonError::into_inner).note(domain, names, end, now);
        keys
    }

    /// Why `domain` has no key of this name.
    pub(super) fn why_unknown(&self, name: &[u8; NAME], domain: &DomainId) -> Refusal {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match names.domain(name) {
            Some(owner) if owner != *domain => Refusal::OtherDomain,
            _ => Refusal::UnknownKey,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The version of the settings that hold now.
    pub(super) fn version(&self) -> u64 {
        // Who sees a new version finds its settings, or newer ones, behind the lock.
        self.version.load(Ordering::Acquire)
    }

    /// The settings for keys of the epoch that `now` is in.
    pub(super) fn settings(&self, now: u64) -> Arc<Settings> {
        let settings = self.read();
        if !settings.is_due(now) {
            return settings;
        }
        let mut slot = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster.
        if slot.is_due(now) {
            match slot.renewed(now) {
                Ok(settings) => self.replace(&mut slot, settings),
                // Handshakes fail then, and say so. The old secret is as good as it was.
                Err(_no_random_numbers) => {}
            }
        }
        Arc::clone(&slot)
    }

    fn read(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, slot: &mut Arc<Settings>, mut settings: Settings) {
        settings.version = slot.version + 1;
        self.version.store(settings.version, Ordering::Release);
        *slot = Arc::new(settings);
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.read();
        formatter
            .debug_struct("TicketKeys")
            .field("lifetime", &settings.lifetime)
            .field("secrets", &settings.secrets.len())
            .field("random", &settings.random_since.is_some())
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Random secrets at a time: that of this epoch and that of the one before.
    const MAX_RANDOM: usize = 2;

    fn random(lifetime: u32, now: u64) -> Result<Self, rustls::Error> {
        let since = now / u64::from(lifetime);
        let secrets = vec![Secret::random()?];
        Ok(Self { version: 0, lifetime, secrets, random_since: Some(since) })
    }

    /// Whether the first secret is a random one of an earlier epoch.
    fn is_due(&self, now: u64) -> bool {
        self.random_since.is_some_and(|since| now / u64::from(self.lifetime) > since)
    }

    /// With a new secret before the last one, if that is the previous epoch's.
    fn renewed(&self, now: u64) -> Result<Self, rustls::Error> {
        let mut settings = Self::random(self.lifetime, now)?;
        let previous = (now / u64::from(self.lifetime)).checked_sub(1);
        if self.random_since == previous {
            settings.secrets.extend(self.secrets.first().cloned());
        }
        Ok(settings)
    }
}

fn seconds(lifetime: Duration) -> u32 {
    u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).max(1)
}
