//! Deadlines of one shard: a hierarchical timer wheel with at most one deadline per slot index.
//!
//! Setting and cancelling are O(1) and allocate nothing once [`Wheel::ensure`] has seen the
//! index: entries are nodes of intrusive circular lists. Nothing stale stays behind: replacing or
//! cancelling a deadline takes its node out of its list.
//!
//! Invariants, with `current` the tick that the wheel has been advanced to:
//! - Time is rounded so that nothing fires early: deadlines up to a tick, `now` down.
//! - A node on level `n` has the same digits (base 64) as `current` above digit `n`, and a larger
//!   digit `n`. So all of a level is due before anything on the level above. The top level is a
//!   ring instead: it holds what is 1 to 63 of its slots away, and parks what is farther in the
//!   last one, to be sorted again when that slot comes up.
//! - A list's bit in `occupied` is set exactly when the list is not empty.

use std::time::Duration;

use crate::time::Time;

/// A tick that suits network timeouts: one wake-up serves all deadlines within it.
pub const TICK: Duration = Duration::from_millis(4);

/// The largest slot index a wheel takes.
pub const MAX_INDEX: u32 = u32::MAX - LISTS - 1;

/// Levels; with ticks of 4 ms they span 256 ms, 16 s, 17 min, 18 h and 49 days.
const LEVELS: u32 = 5;
const TOP: u32 = LEVELS - 1;
/// Slots of one level, as a power of two and as a count.
const BITS: u32 = 6;
const SLOTS: u32 = 1 << BITS;
/// The list of nodes that are due; the lists before it are those of the levels.
const DUE: u32 = LEVELS * SLOTS;
/// Lists, and so nodes that head a list; the node of an index comes after all of them.
const LISTS: u32 = DUE + 1;
/// `Node::list` of a node that is in no list.
const IDLE: u32 = u32::MAX;

/// Deadlines keyed by slot index. See the module for how it works.
#[derive(Debug)]
pub struct Wheel {
    /// Nanoseconds per tick, at least 1.
    tick: u64,
    /// Ticks since [`Time::ZERO`] that have been dealt with.
    current: u64,
    /// One bit per slot, for each level.
    occupied: [u64; LEVELS as usize],
    /// Heads of the lists, then one node per index.
    nodes: Vec<Node>,
}

/// Neighbours in a circular list; a head that is its own neighbour heads an empty list.
#[derive(Clone, Copy, Debug)]
struct Node {
    previous: u32,
    next: u32,
    list: u32,
    /// In ticks, rounded up.
    deadline: u64,
}

impl Wheel {
    /// An empty wheel. `tick` is the resolution, at least one nanosecond; see [`TICK`].
    pub fn new(now: Time, tick: Duration) -> Self {
        let tick = u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX).max(1);
        let nodes =
            (0..LISTS).map(|list| Node { previous: list, next: list, list, deadline: 0 }).collect();
        Self { tick, current: now.as_nanos() / tick, occupied: [0; LEVELS as usize], nodes }
    }

    /// Makes room for `index` and all below it, so that [`Self::set`] need not allocate.
    ///
    /// # Panics
    /// If `index` is over [`MAX_INDEX`].
    pub fn ensure(&mut self, index: u32) {
        assert!(index <= MAX_INDEX, "a wheel holds indexes up to {MAX_INDEX}, not {index}");
        let needed = (LISTS + index) as usize + 1;
        if self.nodes.len() < needed {
            self.nodes.resize(needed, Node { previous: IDLE, next: IDLE, list: IDLE, deadline: 0 });
        }
    }

    /// Sets the deadline of `index`, replacing the one it has.
    ///
    /// # Panics
    /// If `index` is over [`MAX_INDEX`].
    pub fn set(&mut self, index: u32, deadline: Time) {
        self.ensure(index);
        let node = LISTS + index;
        self.unlink(node);
        self.nodes[node as usize].deadline = deadline.as_nanos().div_ceil(self.tick);
        self.link(node);
    }

    /// Forgets the deadline of `index`, if it has one.
    pub fn cancel(&mut self, index: u32) {
        if self.is_set(index) {
            self.unlink(LISTS + index);
        }
    }

    /// Whether `index` has a deadline that has not been handed out yet.
    pub fn is_set(&self, index: u32) -> bool {
        let node = index.checked_add(LISTS).and_then(|node| self.nodes.get(node as usize));
        node.is_some_and(|node| node.list != IDLE)
    }

    /// When to call [`Self::pop_expired`] next; `None` when no deadline is set.
    ///
    /// Never later than a tick after the earliest deadline. It can be earlier than that deadline,
    /// when the wheel wants to sort a slot of a higher level first; that happens at most four
    /// times per deadline (and once per 48 days for those beyond the horizon).
    pub fn next_deadline(&self) -> Option<Time> {
        let tick = if self.is_empty_list(DUE) { self.next_event()?.0 } else { self.current };
        Some(Time::from_nanos(tick.saturating_mul(self.tick)))
    }

    /// Takes out one index whose deadline has come by `now`; call until it returns `None`.
    ///
    /// An index is handed out never before its deadline and, if this is called often enough, at
    /// most one tick after it; deadlines of different ticks come out in order. Time must not go
    /// backwards: an earlier `now` than before counts as that one.
    pub fn pop_expired(&mut self, now: Time) -> Option<u32> {
        let target = now.as_nanos() / self.tick;
        loop {
            let first = self.nodes[DUE as usize].next;
            if first != DUE {
                self.unlink(first);
                return Some(first - LISTS);
            }
            match self.next_event() {
                Some((tick, list)) if tick <= target => {
                    self.current = tick;
                    self.sort_list(list);
                }
                _ => {
                    self.current = self.current.max(target);
                    return None;
                }
            }
        }
    }

    /// The earliest slot that holds something: the tick it starts at, and its list.
    fn next_event(&self) -> Option<(u64, u32)> {
        let level = (0..LEVELS).find(|&level| self.occupied[level as usize] != 0)?;
        let bits = self.occupied[level as usize];
        let here = self.current >> (BITS * level);
        // Distance to the next occupied slot. Below the top there is no wrapping around, because
        // occupied slots are ahead of the current one.
        let ahead = bits.rotate_right(digit(here)).trailing_zeros();
        let slot = here + u64::from(ahead);
        Some((slot << (BITS * level), level * SLOTS + digit(slot)))
    }

    /// Moves the nodes of a level's list to where they belong now.
    fn sort_list(&mut self, list: u32) {
        loop {
            let node = self.nodes[list as usize].next;
            if node == list {
                break;
            }
            self.unlink(node);
            self.link(node);
        }
    }

    /// The list for a deadline, seen from the current tick.
    fn list_for(&self, deadline: u64) -> u32 {
        if deadline <= self.current {
            return DUE;
        }
        let highest_difference = (deadline ^ self.current).ilog2();
        let level = (highest_difference / BITS).min(TOP);
        let mut slot = deadline >> (BITS * level);
        if level == TOP {
            let here = self.current >> (BITS * TOP);
            slot = slot.min(here + u64::from(SLOTS - 1));
        }
        level * SLOTS + digit(slot)
    }

    /// Appends a node to the list that its deadline belongs to.
    fn link(&mut self, node: u32) {
        let list = self.list_for(self.nodes[node as usize].deadline);
        let last = self.nodes[list as usize].previous;
        self.nodes[last as usize].next = node;
        self.nodes[list as usize].previous = node;
        let this = &mut self.nodes[node as usize];
        (this.previous, this.next, this.list) = (last, list, list);
        if list != DUE {
            self.occupied[(list / SLOTS) as usize] |= 1 << (list % SLOTS);
        }
    }

    /// Takes a node out of its list, if it is in one.
    fn unlink(&mut self, node: u32) {
        let this = &mut self.nodes[node as usize];
        let Node { previous, next, list, .. } = *this;
        if list == IDLE {
            return;
        }
        this.list = IDLE;
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        if list != DUE && self.is_empty_list(list) {
            self.occupied[(list / SLOTS) as usize] &= !(1 << (list % SLOTS));
        }
    }

    fn is_empty_list(&self, list: u32) -> bool {
        self.nodes[list as usize].next == list
    }
}

/// The lowest digit, base 64.
fn digit(ticks: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "masked to six bits")]
    {
        (ticks & u64::from(SLOTS - 1)) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TICK_NANOS: u64 = 4_000_000;

    fn drain(wheel: &mut Wheel, now: Time) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop_expired(now)).collect()
    }

    #[test]
    fn fires_in_order_and_not_early() {
        let mut wheel = Wheel::new(Time::ZERO, TICK);
        wheel.set(1, Time::ZERO + Duration::from_secs(5));
        wheel.set(0, Time::ZERO + Duration::from_millis(5));
        assert_eq!(drain(&mut wheel, Time::ZERO + Duration::from_millis(5)), Vec::<u32>::new());
        assert_eq!(drain(&mut wheel, Time::ZERO + Duration::from_millis(8)), [0]);
        assert_eq!(drain(&mut wheel, Time::ZERO + Duration::from_millis(4_999)), Vec::<u32>::new());
        assert_eq!(drain(&mut wheel, Time::ZERO + Duration::from_secs(5)), [1]);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn replacing_and_cancelling_leave_nothing_behind() {
        let mut wheel = Wheel::new(Time::from_nanos(77), TICK);
        for seconds in 1..1000 {
            wheel.set(3, Time::ZERO + Duration::from_secs(seconds));
        }
        wheel.cancel(3);
        wheel.cancel(3);
        wheel.cancel(u32::MAX);
        assert!(!wheel.is_set(3));
        assert_eq!(wheel.occupied, [0; LEVELS as usize]);
        assert_eq!(drain(&mut wheel, Time::from_nanos(u64::MAX)), Vec::<u32>::new());
    }

    #[test]
    fn setting_after_ensure_does_not_grow() {
        let mut wheel = Wheel::new(Time::ZERO, TICK);
        wheel.ensure(999);
        let nodes = wheel.nodes.len();
        (0..1000).for_each(|index| wheel.set(index, Time::from_nanos(u64::from(index) << 30)));
        assert_eq!(wheel.nodes.len(), nodes);
    }

    #[test]
    fn a_deadline_beyond_the_horizon_is_parked_and_not_lost() {
        let year = Duration::from_secs(365 * 24 * 3600);
        // From just below a turn of the top level, so that parking wraps around.
        let start = Time::from_nanos(((63 << 24) + 5) * TICK_NANOS);
        let mut wheel = Wheel::new(start, TICK);
        wheel.set(0, start + year);
        wheel.set(1, Time::from_nanos(u64::MAX));
        let mut wakes = 0;
        loop {
            let next = wheel.next_deadline().expect("still set");
            wakes += 1;
            if let Some(index) = wheel.pop_expired(next) {
                assert_eq!(index, 0);
                assert!(next >= start + year && next.since(start + year) <= TICK);
                break;
            }
        }
        assert!(wakes < 16, "{wakes} wake-ups for one timer");
        assert!(wheel.is_set(1));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u64),
        Cancel(u32),
        Advance(u64),
        /// Sleep for as long as the wheel says.
        Sleep,
    }

    /// Nanoseconds of every magnitude, up to half the clock's range.
    fn span() -> impl Strategy<Value = u64> {
        (0..63_u32, any::<u64>()).prop_map(|(magnitude, value)| value >> (magnitude + 1))
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..24_u32, span()).prop_map(|(index, after)| Step::Set(index, after)),
            2 => (0..24_u32, 0..600 * TICK_NANOS).prop_map(|(index, after)| Step::Set(index, after)),
            2 => (0..30_u32).prop_map(Step::Cancel),
            2 => (0..300 * TICK_NANOS).prop_map(Step::Advance),
            1 => span().prop_map(Step::Advance),
            4 => Just(Step::Sleep),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn behaves_like_a_sorted_map(start in span(), steps in prop::collection::vec(step(), 1..120)) {
            let mut now = Time::from_nanos(start);
            let mut wheel = Wheel::new(now, TICK);
            let mut model: BTreeMap<u32, Time> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(index, after) => {
                        let deadline = now + Duration::from_nanos(after);
                        wheel.set(index, deadline);
                        model.insert(index, deadline);
                    }
                    Step::Cancel(index) => {
                        wheel.cancel(index);
                        model.remove(&index);
                    }
                    Step::Advance(nanos) => now = now + Duration::from_nanos(nanos),
                    Step::Sleep => now = wheel.next_deadline().map_or(now, |next| next.max(now)),
                }
                let mut last = 0;
                for index in drain(&mut wheel, now) {
                    let deadline = model.remove(&index).expect("fired what is not set");
                    prop_assert!(deadline <= now, "{index} fired early");
                    let tick = deadline.as_nanos().div_ceil(TICK_NANOS);
                    prop_assert!(last <= tick, "{index} fired after a later one");
                    last = tick;
                }
                for (index, deadline) in &model {
                    prop_assert!(wheel.is_set(*index));
                    let late = now.since(*deadline);
                    prop_assert!(late < TICK, "{index} is {late:?} late");
                }
                let earliest = model.values().min();
                prop_assert_eq!(wheel.next_deadline().is_some(), earliest.is_some());
                if let (Some(next), Some(earliest)) = (wheel.next_deadline(), earliest) {
                    prop_assert!(next.since(*earliest) < TICK, "next_deadline is late");
                }
            }
        }
    }
}
