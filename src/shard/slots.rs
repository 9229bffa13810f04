//! The shard's table of connections: numbered slots with generations.
//!
//! A [`SlotId`] that has outlived its value finds nothing, even when its slot is used again, so
//! completions that arrive late cannot touch another connection. The number of values is
//! limited by the capacity given at the start; the table never moves or grows beyond it.

/// Names a value for as long as it is in its table.
///
/// A generation comes back after 2^32 uses of one slot; an id must not be kept that long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId {
    /// Position in the table, below its capacity; free for use in other tables (timer wheel).
    pub index: u32,
    /// Counts how often the slot was used before.
    pub generation: u32,
}

/// A table of at most `capacity` values.
#[derive(Debug)]
pub struct Slots<T> {
    /// Slots that have been used at least once.
    slots: Vec<Slot<T>>,
    capacity: u32,
    len: u32,
    /// The free slot to use next: the one freed last, whose memory is warm.
    free: Option<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    /// Of the value it holds or, when free, of the next one.
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Value(T),
    Free { next: Option<u32> },
}

impl<T> Slots<T> {
    /// An empty table. Its memory is reserved here and touched as slots come into use.
    pub fn new(capacity: u32) -> Self {
        Self { slots: Vec::with_capacity(capacity as usize), capacity, len: 0, free: None }
    }

    /// Adds a value; `None`, and the value dropped, when the table is full.
    pub fn insert(&mut self, value: T) -> Option<SlotId> {
        let index = if let Some(index) = self.free {
            let slot = &mut self.slots[index as usize];
            let Content::Free { next } =
                std::mem::replace(&mut slot.content, Content::Value(value))
            else {
                unreachable!("the free list holds free slots only")
            };
            self.free = next;
            index
        } else {
            let index =
                u32::try_from(self.slots.len()).ok().filter(|next| *next < self.capacity)?;
            self.slots.push(Slot { generation: 0, content: Content::Value(value) });
            index
        };
        self.len += 1;
        Some(SlotId { index, generation: self.slots[index as usize].generation })
    }

    /// The value, unless it has been removed.
    pub fn get(&self, id: SlotId) -> Option<&T> {
        match self.slots.get(id.index as usize)? {
            Slot { generation, content: Content::Value(value) } if *generation == id.generation => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The value, unless it has been removed.
    pub fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        match self.slots.get_mut(id.index as usize)? {
            Slot { generation, content: Content::Value(value) } if *generation == id.generation => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The id of the value that is at `index` now.
    pub fn id_at(&self, index: u32) -> Option<SlotId> {
        match self.slots.get(index as usize)? {
            Slot { generation, content: Content::Value(_) } => {
                Some(SlotId { index, generation: *generation })
            }
            _ => None,
        }
    }

    /// Takes a value out and frees its slot.
    pub fn remove(&mut self, id: SlotId) -> Option<T> {
        self.get(id)?;
        let slot = &mut self.slots[id.index as usize];
        let freed = Content::Free { next: self.free };
        let Content::Value(value) = std::mem::replace(&mut slot.content, freed) else {
            unreachable!("the slot was found to hold a value")
        };
        slot.generation = slot.generation.wrapping_add(1);
        self.free = Some(id.index);
        self.len -= 1;
        Some(value)
    }

    /// Slots that have been used at least once: indexes are below that.
    pub fn used(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("the capacity is a u32")
    }

    /// Values in the table.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// Most values the table takes.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// All values, by index. Takes time for every slot ever used.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &T)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| match &slot.content {
            Content::Value(value) => Some((SlotId { index, generation: slot.generation }, value)),
            Content::Free { .. } => None,
        })
    }

    /// All values, by index. Takes time for every slot ever used.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SlotId, &mut T)> {
        (0..).zip(&mut self.slots).filter_map(|(index, slot)| match &mut slot.content {
            Content::Value(value) => Some((SlotId { index, generation: slot.generation }, value)),
            Content::Free { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slots = Slots::new(1);
        let first = slots.insert("first").expect("room");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second").expect("room");
        assert_eq!(first.index, second.index);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(slots.id_at(second.index), Some(second));
    }

    #[test]
    fn a_full_table_refuses_and_does_not_grow() {
        let mut slots = Slots::new(3);
        let memory = slots.slots.as_ptr();
        let ids: Vec<SlotId> = (0..3).map(|value| slots.insert(value).expect("room")).collect();
        assert_eq!(slots.insert(9), None);
        assert!(slots.is_full());
        slots.remove(ids[1]).expect("present");
        assert_eq!(slots.insert(9).map(|id| id.index), Some(1));
        assert_eq!(slots.slots.as_ptr(), memory);
        assert_eq!(Slots::new(0).insert(1), None);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(
            capacity in 0..20_u32,
            steps in prop::collection::vec((any::<bool>(), any::<usize>()), 0..200),
        ) {
            let mut slots = Slots::new(capacity);
            let mut model = BTreeMap::new();
            let mut given: Vec<SlotId> = Vec::new();
            for (insert, number) in steps {
                if insert {
                    match slots.insert(number) {
                        Some(id) => {
                            prop_assert!(!given.contains(&id));
                            prop_assert!(id.index < capacity);
                            given.push(id);
                            model.insert(id, number);
                        }
                        None => prop_assert_eq!(model.len(), slots.capacity()),
                    }
                } else if let Some(position) = number.checked_rem(given.len()) {
                    let id = given[position];
                    prop_assert_eq!(slots.remove(id), model.remove(&id));
                }
                prop_assert_eq!(slots.len(), model.len());
                prop_assert_eq!(slots.is_empty(), model.is_empty());
                for id in &given {
                    prop_assert_eq!(slots.get(*id), model.get(id));
                    prop_assert_eq!(slots.get_mut(*id).copied(), model.get(id).copied());
                }
                let all: BTreeMap<SlotId, usize> = slots.iter().map(|(id, value)| (id, *value)).collect();
                prop_assert_eq!(&all, &model);
                prop_assert_eq!(slots.iter_mut().count(), model.len());
            }
        }
    }
}
