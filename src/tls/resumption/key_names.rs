//! Whose the keys of tickets are, by name: only to say, and count, why a ticket was refused.

use std::collections::HashMap;

use super::DomainId;
use super::epoch_keys::NAME;

/// Names of keys that may still be on tickets, of all domains. Beyond its limit, a ticket of
/// another domain counts as one with an unknown key.
#[derive(Debug, Default)]
pub(super) struct KeyNames {
    owners: HashMap<[u8; NAME], Owner>,
    /// The second at which old names are looked for next.
    sweep_at: u64,
}

#[derive(Debug)]
struct Owner {
    domain: DomainId,
    /// The second from which the key reads no tickets.
    end: u64,
}

/// About 4 MiB. One secret and three epochs of 20,000 domains.
const MAX_NAMES: usize = 60_000;

impl KeyNames {
    /// Notes the names of the keys of `domain`, which read no tickets from the second `end` on.
    pub(super) fn note(
        &mut self,
        domain: &DomainId,
        names: impl Iterator<Item = [u8; NAME]>,
        end: u64,
        now: u64,
    ) {
        if now >= self.sweep_at {
            self.owners.retain(|_, owner| owner.end > now);
            // Once for all domains, which renew their keys at about the same time.
            self.sweep_at = now.saturating_add(end.saturating_sub(now) / 3);
        }
        for name in names {
            if self.owners.len() < MAX_NAMES || self.owners.contains_key(&name) {
                self.owners.insert(name, Owner { domain: *domain, end });
            }
        }
    }

    pub(super) fn domain(&self, name: &[u8; NAME]) -> Option<DomainId> {
        self.owners.get(name).map(|owner| owner.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> [u8; NAME] {
        number.to_be_bytes()
    }

    #[test]
    fn names_are_known_until_their_end_and_are_bounded() {
        let [one, two] = [1, 2].map(|byte| DomainId::from_bytes([byte; DomainId::LENGTH]));
        let mut names = KeyNames::default();
        names.note(&one, (0..3).map(name), 300, 0);
        names.note(&two, (3..6).map(name), 300, 0);
        assert_eq!(
            [0, 4, 6].map(|number| names.domain(&name(number))),
            [Some(one), Some(two), None]
        );
        names.note(&two, (6..8).map(name), 600, 300);
        assert_eq!([0, 4, 6].map(|number| names.domain(&name(number))), [None, None, Some(two)]);
        names.note(&one, (8..MAX_NAMES + 7).map(name), 700, 301);
        assert_eq!(names.owners.len(), MAX_NAMES);
        assert_eq!(names.domain(&name(MAX_NAMES + 6)), None);
    }
}
