//! Names and what they stand for: a hash table that never changes.
//!
//! A probe costs two reads of memory: a slot of eight bytes, and the record that it points to,
//! which holds the name and its value side by side. The hash is SipHash-1-3 with a random key.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Two numbers, which mean what the table's owner says.
pub(super) type Value = (u32, u32);

/// Keys are a number and a name, so that one table holds several kinds of names.
#[derive(Debug)]
pub(super) struct NameTable {
    slots: Box<[Slot]>,
    /// `tag 4 │ value 8 │ length 2 │ name`, one after the other.
    records: Box<[u8]>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Lower half of the hash; the upper one decides where the slot is.
    check: u32,
    /// Where its record starts; [`EMPTY`] if it has none.
    record: u32,
}

const EMPTY: u32 = u32::MAX;
const HEAD: usize = 14;
/// Slots for every three names. Linear probing at a load of 3/5 reads 3.6 slots for a name that is
/// not there; at 3/4 it would be 8.5, more than a cache line holds.
const SLOTS_PER_3: usize = 5;

impl Default for NameTable {
    fn default() -> Self {
        Self { slots: Box::default(), records: Box::default(), hasher: RandomState::new() }
    }
}

impl NameTable {
    /// A table of names, each there once.
    ///
    /// `None` if they are more than its numbers can count: 4 GiB of records, or a name over 64 KiB.
    pub(super) fn new(names: &[(u32, &[u8], Value)]) -> Option<Self> {
        let mut table = Self::default();
        let bytes = names.iter().map(|(_, name, _)| HEAD + name.len()).sum();
        let mut records = Vec::with_capacity(bytes);
        let mut placed = Vec::with_capacity(names.len());
        for &(tag, name, value) in names {
            let record = u32::try_from(records.len()).ok().filter(|record| *record != EMPTY)?;
            placed.push((table.hash(tag, name), record));
            for number in [tag, value.0, value.1] {
                records.extend_from_slice(&number.to_ne_bytes());
            }
            records.extend_from_slice(&u16::try_from(name.len()).ok()?.to_ne_bytes());
            records.extend_from_slice(name);
        }
        if placed.is_empty() {
            return Some(table);
        }
        // In the order of their places, memory is written from one end to the other.
        placed.sort_unstable();
        let empty = Slot { check: 0, record: EMPTY };
        table.slots = vec![empty; (placed.len() * SLOTS_PER_3).div_ceil(3) + 1].into();
        for (hash, record) in placed {
            let mut at = table.place(hash);
            while table.slots[at].record != EMPTY {
                at = table.next(at);
            }
            table.slots[at] = Slot { check: check(hash), record };
        }
        table.records = records.into();
        Some(table)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn find(&self, tag: u32, name: &[u8]) -> Option<Value> {
        if self.is_empty() {
            return None;
        }
        let hash = self.hash(tag, name);
        let mut at = self.place(hash);
        // Ends: there are more slots than names.
        loop {
            let slot = self.slots[at];
            if slot.record == EMPTY {
                return None;
            }
            if slot.check == check(hash)
                && let Some(value) = self.read(slot.record, tag, name)
            {
                return Some(value);
            }
            at = self.next(at);
        }
    }

    /// The value of a record, if it has this key.
    fn read(&self, record: u32, tag: u32, name: &[u8]) -> Option<Value> {
        let record = self.records.get(record as usize..)?;
        let (head, rest) = record.split_first_chunk::<HEAD>()?;
        let number =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = usize::from(u16::from_ne_bytes([head[12], head[13]]));
        let same = number(0) == tag && length == name.len() && rest.get(..length)? == name;
        same.then(|| (number(4), number(8)))
    }

    fn hash(&self, tag: u32, name: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(tag);
        hasher.write(name);
        hasher.finish()
    }

    /// Slot where the search for a hash begins: slots times hash / 2⁶⁴.
    #[expect(clippy::cast_possible_truncation, reason = "less than the number of slots")]
    fn place(&self, hash: u64) -> usize {
        let product = u128::from(hash) * self.slots.len() as u128;
        (product >> 64) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "half of it is meant")]
fn check(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        let names: Vec<String> = (0..5000).map(|number| format!("n{number}")).collect();
        let entries = names.iter().zip(0..).map(|(name, at)| (at % 3, name.as_bytes(), (at, !at)));
        let entries: Vec<_> = entries.collect();
        let table = NameTable::new(&entries).expect("few");
        for (name, at) in names.iter().zip(0u32..) {
            assert_eq!(table.find(at % 3, name.as_bytes()), Some((at, !at)));
            assert_eq!(table.find(at % 3 + 1, name.as_bytes()), None);
            assert_eq!(table.find(at % 3, format!("{name}x").as_bytes()), None);
        }
    }

    #[test]
    fn a_table_of_one_and_one_of_none() {
        let table = NameTable::new(&[(7, b"".as_slice(), (1, 2))]).expect("few");
        assert_eq!(table.find(7, b""), Some((1, 2)));
        assert_eq!(table.find(7, b"a"), None);
        assert_eq!(NameTable::default().find(7, b""), None);
    }
}
