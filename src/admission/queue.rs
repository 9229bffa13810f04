//! Steps of handshakes that wait, by class; in a class the oldest is first.

use std::collections::VecDeque;

use super::Class;
use crate::time::Time;

/// Queues of tickets. Whoever does not wait any more is not looked for: its ticket is dropped when
/// its turn comes, and counts for nothing until then.
#[derive(Debug)]
pub(super) struct Queue<T> {
    classes: [Row<T>; Class::ALL.len()],
    /// Tickets of a class, those that count for nothing included.
    most: usize,
    /// Tickets given out by class since one was given out by age.
    by_class: u8,
}

#[derive(Debug)]
struct Row<T> {
    tickets: VecDeque<(T, Time)>,
    /// Those that count.
    waiting: usize,
}

impl<T: Copy> Queue<T> {
    /// At most `most` tickets of a class, so that none takes the room of another.
    pub(super) fn new(most: usize) -> Self {
        let row = || Row { tickets: VecDeque::with_capacity(KEPT), waiting: 0 };
        Self { classes: std::array::from_fn(|_| row()), most, by_class: 0 }
    }

    /// False when there is no room.
    #[must_use]
    pub(super) fn push(&mut self, ticket: T, class: Class, now: Time) -> bool {
        let row = &mut self.classes[class as usize];
        // What has begun is never lost for lack of room: there is one of it for each connection.
        if class != Class::Begun && row.tickets.len() >= self.most {
            return false;
        }
        row.tickets.push_back((ticket, now));
        row.waiting += 1;
        true
    }

    /// The next, with when it came: what has begun, else the first of the best class. But one in
    /// [`SHARE`] is the oldest of any class, because a peer says itself which it is of: without it, those
    /// who claim to resume could keep all others out. None of the legacy lane, unless its turn has come.
    pub(super) fn pop(&mut self, may_be_legacy: bool) -> Option<(T, Class)> {
        let waits = |class: &Class| {
            let is_due = may_be_legacy || *class != Class::Legacy;
            is_due && !self.classes[*class as usize].tickets.is_empty()
        };
        let mut class = Class::ALL.into_iter().find(waits)?;
        if class != Class::Begun {
            self.by_class += 1;
            if self.by_class == SHARE {
                self.by_class = 0;
                let oldest = Class::ALL.into_iter().filter(waits);
                class = oldest.min_by_key(|class| self.first(*class))?;
            }
        }
        let (ticket, _) = self.classes[class as usize].tickets.pop_front()?;
        self.shrink(class);
        Some((ticket, class))
    }

    /// The first of any class that came before `before`; of those that have begun, none.
    pub(super) fn pop_older(&mut self, before: Time) -> Option<(T, Class)> {
        for class in Class::ALL.into_iter().filter(|class| *class != Class::Begun) {
            if self.first(class).is_some_and(|since| since < before) {
                let (ticket, _) = self.classes[class as usize].tickets.pop_front()?;
                self.shrink(class);
                return Some((ticket, class));
            }
        }
        None
    }

    /// One of those that waited does not any more, because it was done, or because it is gone.
    pub(super) fn done_waiting(&mut self, class: Class) {
        let row = &mut self.classes[class as usize];
        debug_assert!(row.waiting > 0, "it waited");
        row.waiting = row.waiting.saturating_sub(1);
    }

    pub(super) fn waiting(&self, class: Class) -> usize {
        self.classes[class as usize].waiting
    }

    /// Nothing waits that could have its turn now, whatever the rate of the legacy lane.
    pub(super) fn is_empty_but_for_legacy(&self) -> bool {
        let (_legacy, others) = self.classes.split_last().expect("as many as classes");
        others.iter().all(|row| row.tickets.is_empty())
    }

    /// When the first of a class came; it may be one that has left.
    pub(super) fn first(&self, class: Class) -> Option<Time> {
        self.classes[class as usize].tickets.front().map(|(_, since)| *since)
    }

    /// When the oldest came. One that has left counts until its ticket is dropped.
    pub(super) fn oldest(&self) -> Option<Time> {
        let fronts = self.classes.iter().filter(|row| row.waiting > 0);
        fronts.filter_map(|row| row.tickets.front().map(|(_, since)| *since)).min()
    }

    /// The memory of a storm goes with it.
    fn shrink(&mut self, class: Class) {
        let tickets = &mut self.classes[class as usize].tickets;
        if tickets.is_empty() && tickets.capacity() > KEPT {
            *tickets = VecDeque::with_capacity(KEPT);
        }
    }
}

/// See [`Queue::pop`].
pub(super) const SHARE: u8 = 4;
/// Room for this many tickets of a class is kept.
const KEPT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn is_empty(queue: &Queue<u64>) -> bool {
        Class::ALL.into_iter().all(|class| queue.first(class).is_none())
    }

    #[test]
    fn classes_go_in_order_and_the_oldest_of_a_class_first() {
        let mut queue = Queue::new(10);
        for (ticket, class) in
            [(1, Class::Legacy), (2, Class::Full), (3, Class::Mutual), (4, Class::Full)]
        {
            assert!(queue.push(ticket, class, at(ticket)));
        }
        assert!(queue.push(5, Class::Resumed, at(5)) && queue.push(6, Class::Begun, at(6)));
        assert_eq!(queue.oldest(), Some(at(1)));
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop(true)).map(|(it, _)| it).collect();
        // The fourth of those that have not begun is the oldest of all.
        assert_eq!(order, [6, 5, 2, 4, 1, 3]);
        assert!(is_empty(&queue));
    }

    #[test]
    fn the_legacy_lane_waits_for_its_rate() {
        let mut queue = Queue::new(10);
        for (ticket, class) in [(1, Class::Legacy), (2, Class::Full), (3, Class::Full)] {
            assert!(queue.push(ticket, class, at(ticket)));
        }
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop(false)).map(|(it, _)| it).collect();
        assert_eq!(order, [2, 3]);
        assert!(queue.is_empty_but_for_legacy() && queue.first(Class::Legacy) == Some(at(1)));
        assert_eq!(queue.pop(true), Some((1, Class::Legacy)));
    }

    #[test]
    fn nobody_is_kept_out_by_a_better_class() {
        let mut queue = Queue::new(1000);
        assert!(queue.push(0, Class::Mutual, at(0)));
        for ticket in 1..1000 {
            assert!(queue.push(ticket, Class::Resumed, at(ticket)));
        }
        let served = (0..).find(|_| queue.pop(true).is_some_and(|(ticket, _)| ticket == 0));
        assert_eq!(served, Some(usize::from(SHARE) - 1));
    }

    #[test]
    fn the_old_are_found_in_every_class_but_what_has_begun() {
        let mut queue = Queue::new(10);
        for (ticket, class) in [(1, Class::Begun), (2, Class::Mutual), (3, Class::Full)] {
            assert!(queue.push(ticket, class, at(ticket)));
        }
        assert_eq!(queue.pop_older(at(3)), Some((2, Class::Mutual)));
        assert_eq!(queue.pop_older(at(3)), None);
        assert_eq!(queue.pop_older(at(9)), Some((3, Class::Full)));
        assert_eq!(queue.pop_older(at(9)), None);
    }

    #[test]
    fn it_is_bounded_and_gives_its_memory_back() {
        let mut queue = Queue::new(100);
        for ticket in 0..100 {
            assert!(queue.push(ticket, Class::Full, at(ticket)));
        }
        assert!(!queue.push(100, Class::Full, at(100)));
        assert!(queue.push(100, Class::Resumed, at(100)), "others have room of their own");
        assert!(queue.push(100, Class::Begun, at(100)), "what has begun is not lost");
        while queue.pop(true).is_some() {}
        assert!(queue.classes.iter().all(|row| row.tickets.capacity() <= KEPT));
    }

    #[test]
    fn who_has_left_does_not_count() {
        let mut queue = Queue::new(2);
        assert!(queue.push(1, Class::Full, at(1)));
        queue.done_waiting(Class::Full);
        assert_eq!((queue.waiting(Class::Full), queue.oldest()), (0, None));
        assert!(!is_empty(&queue), "its ticket is there until its turn comes");
    }
}
