//! The handshakes of one shard: how many there may be, and whose turn it is.

use std::net::IpAddr;
use std::time::Duration;

use super::estimates::Estimates;
use super::queue::{self, Queue};
use super::rate::Rate;
use super::sources::Sources;
use super::storm::{Over, Storm};
use super::{Class, Shed};
use crate::config::model::HandshakeLimits;
use crate::time::Time;

/// A handshake in progress, by whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shaking {
    /// Ours: in the modern lane, or in the lane `compat12`.
    Here,
    /// The legacy lane's child's.
    Legacy,
    /// Ours, and it is the component that is waited for. There is nothing to do, so these have a limit
    /// of their own, which is wide: one component that hangs should not close the listeners of others.
    Held,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// The step may be done.
    Do(T, Class),
    /// It has waited for too long.
    Late(T),
}

/// See the module. `T` stands for a connection.
#[derive(Debug)]
pub struct Handshakes<T> {
    limits: HandshakeLimits,
    queue: Queue<T>,
    estimates: Estimates,
    sources: Sources,
    legacy_rate: Option<Rate>,
    storm: Storm,
    in_progress: u32,
    legacy_in_progress: u32,
    held: u32,
}

impl<T: Copy> Handshakes<T> {
    pub fn new(limits: HandshakeLimits) -> Self {
        Self {
            // Twice: tickets of those who have left wait, too.
            queue: Queue::new(2 * limits.in_progress as usize),
            estimates: Estimates::new(),
            sources: Sources::new(limits.source_failures),
            legacy_rate: limits.legacy_rate.map(Rate::new),
            storm: Storm::default(),
            in_progress: 0,
            legacy_in_progress: 0,
            held: 0,
            limits,
        }
    }

    /// Whether it makes sense to listen to a peer that has just connected, and will want a handshake.
    ///
    /// # Errors
    /// Why not: it would be refused later, too, whatever it says.
    pub fn may_come(&self, source: Option<IpAddr>, now: Time) -> Result<(), Shed> {
        if source.is_some_and(|source| self.sources.is_away(source, now)) {
            return Err(Shed::Source);
        }
        if self.is_full() {
            return Err(Shed::InProgress);
        }
        self.is_in_time(Class::Resumed)
    }

    /// A peer's ClientHello is complete: a handshake begins, and its first step waits.
    ///
    /// # Errors
    /// Why it does not begin.
    pub fn begin(
        &mut self,
        ticket: T,
        class: Class,
        source: Option<IpAddr>,
        now: Time,
    ) -> Result<Shaking, Shed> {
        if source.is_some_and(|source| self.sources.is_away(source, now)) {
            return Err(Shed::Source);
        }
        if self.is_full() {
            return Err(Shed::InProgress);
        }
        if class == Class::Legacy && self.legacy_in_progress >= self.limits.legacy_in_progress {
            return Err(Shed::LegacyInProgress);
        }
        self.is_in_time(class)?;
        let rate = self.legacy_rate.as_ref().filter(|_| class == Class::Legacy);
        let due = rate.map(|rate| rate.due(self.queue.waiting(class), now));
        if due.is_some_and(|due| due > now + self.limits.queue_timeout / 2) {
            return Err(Shed::LegacyRate);
        }
        if !self.queue.push(ticket, class, now) {
            return Err(Shed::Queue);
        }
        let begun = if class == Class::Legacy { Shaking::Legacy } else { Shaking::Here };
        self.count(begun);
        Ok(begun)
    }

    /// What came behind the ClientHello, or from a component in its handshake, waits.
    pub fn go_on(&mut self, ticket: T, now: Time) {
        let _has_room = self.queue.push(ticket, Class::Begun, now);
    }

    /// What is to be done next, if anything waits. A ticket may be one that does not wait any more.
    pub fn next(&mut self, now: Time) -> Option<Next<T>> {
        if let Some(before) = now.as_nanos().checked_sub(nanos(self.limits.queue_timeout))
            && let Some((ticket, _)) = self.queue.pop_older(Time::from_nanos(before))
        {
            return Some(Next::Late(ticket));
        }
        let (ticket, class) = self.queue.pop(self.legacy_due(now) <= now)?;
        Some(Next::Do(ticket, class))
    }

    /// When there is something to be done next, `now` at the latest if it is to be done at once.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        if !self.queue.is_empty_but_for_legacy() {
            return Some(now);
        }
        let late = self.queue.first(Class::Legacy)? + self.limits.queue_timeout;
        Some(self.legacy_due(now).min(late))
    }

    /// A connection does not wait any more: it had its turn, or is gone.
    pub fn waits_no_more(&mut self, class: Class) {
        self.queue.done_waiting(class);
    }

    /// A handshake is over, however it went.
    pub fn over(&mut self, shaking: Shaking) {
        for counter in self.counters(shaking).into_iter().flatten() {
            debug_assert!(*counter > 0, "it was in progress");
            *counter = counter.saturating_sub(1);
        }
    }

    /// A handshake in progress waits for its component now, or does not any more.
    pub fn becomes(&mut self, was: Shaking, is: Shaking) {
        self.over(was);
        self.count(is);
    }

    /// One of this source's is done.
    pub fn succeeded(&mut self, source: Option<IpAddr>) {
        source.into_iter().for_each(|source| self.sources.succeeded(source));
    }

    /// One of this source's has come to nothing, by its own doing.
    pub fn failed(&mut self, source: Option<IpAddr>, now: Time) {
        source.into_iter().for_each(|source| self.sources.failed(source, now));
    }

    /// A step has taken so long, until now.
    pub fn took(&mut self, class: Class, time: Duration, now: Time) {
        self.estimates.step(class, time);
        let rate = self.legacy_rate.as_mut().filter(|_| class == Class::Legacy);
        rate.into_iter().for_each(|rate| rate.take(now));
    }

    /// A turn has taken `whole`, until now, and its steps had `stepped` of that.
    pub fn turned(&mut self, whole: Duration, stepped: Duration, now: Time) {
        if !self.is_idle(now) {
            self.estimates.turn(whole, stepped);
        }
    }

    /// One was refused, or dropped; true when it is the first after a calm.
    pub fn shed(&mut self, now: Time) -> bool {
        self.storm.shed(now)
    }

    /// Once, when nothing was shed any more for 10 seconds.
    pub fn storm_is_over(&mut self, now: Time) -> Option<Over> {
        self.storm.over(now)
    }

    /// Nothing is to be done now.
    pub fn is_idle(&self, now: Time) -> bool {
        self.next_deadline(now).is_none_or(|due| due > now)
    }

    /// Steps that wait.
    pub fn waiting(&self) -> usize {
        Class::ALL.into_iter().map(|class| self.queue.waiting(class)).sum()
    }

    /// How long the oldest of them has waited.
    pub fn age(&self, now: Time) -> Duration {
        self.queue.oldest().map_or(Duration::ZERO, |since| now - since)
    }

    /// Handshakes in progress, those that wait included.
    pub fn in_progress(&self) -> u32 {
        self.in_progress
    }

    /// The longest that a step has taken.
    pub fn longest_step(&self) -> Duration {
        self.estimates.longest()
    }

    /// When the legacy lane may begin one more.
    fn legacy_due(&self, now: Time) -> Time {
        self.legacy_rate.as_ref().map_or(now, |rate| rate.due(0, now))
    }

    fn is_full(&self) -> bool {
        let most = self.limits.in_progress;
        self.in_progress >= most || self.held >= most.saturating_mul(HELD)
    }

    fn count(&mut self, shaking: Shaking) {
        self.counters(shaking).into_iter().flatten().for_each(|counter| *counter += 1);
    }

    /// What a handshake is counted by.
    fn counters(&mut self, shaking: Shaking) -> [Option<&mut u32>; 2] {
        match shaking {
            Shaking::Here => [Some(&mut self.in_progress), None],
            Shaking::Legacy => [Some(&mut self.in_progress), Some(&mut self.legacy_in_progress)],
            Shaking::Held => [Some(&mut self.held), None],
        }
    }

    /// Whether one more of this class would have its turn in half of the time: estimates are what
    /// they are, and who is let in should be served.
    fn is_in_time(&self, class: Class) -> Result<(), Shed> {
        let estimate = |class| self.estimates.of(class, self.queue.waiting(class));
        let before = Class::ALL.into_iter().filter(|before| *before <= class);
        let ahead = before.map(estimate).fold(Duration::ZERO, Duration::saturating_add);
        // However much better classes wait, it has the share that goes by age.
        let ahead = ahead.min(estimate(class).saturating_mul(u32::from(queue::SHARE)));
        if ahead <= self.limits.queue_timeout / 2 { Ok(()) } else { Err(Shed::Queue) }
    }
}

/// Of those that may be in progress, so many times as many may wait for components: each holds its
/// flight, about 4 KiB.
const HELD: u32 = 4;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HandshakeLimits = HandshakeLimits {
        in_progress: 8,
        queue_timeout: Duration::from_millis(100),
        source_failures: Some(2),
        legacy_in_progress: 2,
        legacy_rate: Some(40),
    };

    fn source(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// Handshakes whose steps take 10 ms each.
    fn slow(limits: HandshakeLimits) -> Handshakes<u32> {
        let mut handshakes = Handshakes::new(limits);
        for class in Class::ALL {
            (0..100).for_each(|_| handshakes.took(class, Duration::from_millis(10), at(0)));
        }
        handshakes
    }

    #[test]
    fn what_cannot_be_done_in_time_is_refused_at_once_by_class() {
        let mut handshakes = slow(HandshakeLimits { in_progress: 100, ..LIMITS });
        let mut begin = |class| {
            (0..100).take_while(|it| handshakes.begin(*it, class, None, at(0)).is_ok()).count()
        };
        // Half of 100 ms, and the one that goes over it.
        assert_eq!(begin(Class::Mutual), 6);
        assert_eq!(begin(Class::Mutual), 0);
        assert_eq!(begin(Class::Full), 6, "the lower class does not count");
        assert_eq!(begin(Class::Resumed), 6);
        assert_eq!(handshakes.may_come(None, at(0)), Err(Shed::Queue), "whatever it will say");
        assert_eq!(handshakes.waiting(), 18);
    }

    #[test]
    fn who_has_waited_for_too_long_is_dropped_before_anything_is_done() {
        let mut handshakes: Handshakes<u32> = Handshakes::new(LIMITS);
        assert_eq!(handshakes.begin(1, Class::Full, None, at(0)), Ok(Shaking::Here));
        handshakes.go_on(2, at(0));
        assert_eq!(handshakes.begin(3, Class::Resumed, None, at(50)), Ok(Shaking::Here));
        assert_eq!(handshakes.age(at(101)), Duration::from_millis(101));
        assert_eq!(handshakes.next(at(101)), Some(Next::Late(1)));
        assert_eq!(handshakes.next(at(101)), Some(Next::Do(2, Class::Begun)));
        assert_eq!(handshakes.next(at(101)), Some(Next::Do(3, Class::Resumed)));
        assert_eq!(handshakes.next(at(101)), None);
    }

    #[test]
    fn as_many_as_may_be_in_progress() {
        let mut handshakes: Handshakes<u32> = Handshakes::new(LIMITS);
        for it in 0..8 {
            assert_eq!(handshakes.begin(it, Class::Full, None, at(0)), Ok(Shaking::Here));
            handshakes.next(at(0)).expect("it waits");
            handshakes.waits_no_more(Class::Full);
        }
        assert_eq!(handshakes.may_come(None, at(0)), Err(Shed::InProgress));
        assert_eq!(handshakes.begin(8, Class::Resumed, None, at(0)), Err(Shed::InProgress));
        handshakes.over(Shaking::Here);
        assert_eq!(handshakes.begin(8, Class::Resumed, None, at(0)), Ok(Shaking::Here));
    }

    #[test]
    fn who_waits_for_a_component_keeps_nobody_out_up_to_a_limit() {
        let mut handshakes: Handshakes<u32> = Handshakes::new(LIMITS);
        for it in 0..8 * HELD {
            assert_eq!(handshakes.begin(it, Class::Full, None, at(0)), Ok(Shaking::Here));
            handshakes.next(at(0)).expect("it waits");
            handshakes.waits_no_more(Class::Full);
            handshakes.becomes(Shaking::Here, Shaking::Held);
        }
        assert_eq!(handshakes.in_progress(), 0);
        assert_eq!(handshakes.begin(0, Class::Full, None, at(0)), Err(Shed::InProgress));
        // Components are there again: what is in progress is done, and nobody new comes meanwhile.
        (0..8 * HELD).for_each(|_| handshakes.becomes(Shaking::Held, Shaking::Here));
        assert_eq!(handshakes.may_come(None, at(0)), Err(Shed::InProgress));
        (0..8 * HELD).for_each(|_| handshakes.over(Shaking::Here));
        assert_eq!((handshakes.in_progress(), handshakes.may_come(None, at(0))), (0, Ok(())));
    }

    fn legacy(handshakes: &mut Handshakes<u32>, ticket: u32) -> Result<Shaking, Shed> {
        handshakes.begin(ticket, Class::Legacy, None, at(0))
    }

    fn done(handshakes: &mut Handshakes<u32>, next: Next<u32>, at: Time) {
        let Next::Do(_, class) = next else { panic!("in time") };
        handshakes.waits_no_more(class);
        handshakes.took(class, Duration::ZERO, at);
    }

    #[test]
    fn the_legacy_lane_has_limits_of_its_own() {
        let mut handshakes: Handshakes<u32> = Handshakes::new(LIMITS);
        for ticket in 0..2 {
            assert_eq!(legacy(&mut handshakes, ticket), Ok(Shaking::Legacy));
            let next = handshakes.next(at(0)).expect("two may come at once");
            done(&mut handshakes, next, at(0));
        }
        assert_eq!(legacy(&mut handshakes, 2), Err(Shed::LegacyInProgress));
        handshakes.over(Shaking::Legacy);
        assert_eq!(legacy(&mut handshakes, 2), Ok(Shaking::Legacy));
        assert!(handshakes.next(at(0)).is_none() && handshakes.is_idle(at(0)), "it waits");
        assert_eq!(handshakes.next_deadline(at(0)), Some(at(25)));
        assert_eq!(handshakes.begin(3, Class::Full, None, at(0)), Ok(Shaking::Here));
        assert_eq!(handshakes.next_deadline(at(0)), Some(at(0)));
        assert_eq!(handshakes.next(at(0)), Some(Next::Do(3, Class::Full)));
        assert_eq!(handshakes.next(at(24)), None);
        assert_eq!(handshakes.next(at(25)), Some(Next::Do(2, Class::Legacy)));
        assert_eq!(handshakes.next_deadline(at(25)), None);
    }

    #[test]
    fn who_would_wait_too_long_for_the_legacy_lane_does_not_begin() {
        let limits = HandshakeLimits { legacy_in_progress: 8, ..LIMITS };
        let mut handshakes: Handshakes<u32> = Handshakes::new(limits);
        let begun = (0..8).take_while(|it| legacy(&mut handshakes, *it).is_ok()).count();
        // Two at once, one after 25 ms, one after 50, which is half of the time that there is.
        assert_eq!(begun, 4);
        assert_eq!(legacy(&mut handshakes, 9), Err(Shed::LegacyRate));
        for _ in 0..2 {
            let next = handshakes.next(at(0)).expect("due");
            done(&mut handshakes, next, at(0));
        }
        assert_eq!(handshakes.next(at(101)), Some(Next::Late(2)), "nobody has looked for so long");
    }

    #[test]
    fn a_source_that_fails_stays_away_and_others_come() {
        let mut handshakes: Handshakes<u32> = Handshakes::new(LIMITS);
        (0..2).for_each(|_| handshakes.failed(source(1), at(0)));
        assert_eq!(handshakes.may_come(source(1), at(1)), Err(Shed::Source));
        assert_eq!(handshakes.begin(1, Class::Resumed, source(1), at(1)), Err(Shed::Source));
        assert_eq!(handshakes.may_come(source(2), at(1)), Ok(()));
        assert_eq!(handshakes.may_come(None, at(1)), Ok(()));
        handshakes.succeeded(source(1));
        assert_eq!(handshakes.may_come(source(1), at(1)), Ok(()));
    }

    proptest! {
        /// Nobody is done twice, forgotten, or done after its time, whatever comes in which order.
        #[test]
        fn each_that_waits_comes_out_once(
            steps in prop::collection::vec((0..6_usize, 0..30_u64), 0..300),
        ) {
            let mut handshakes: Handshakes<u32> = Handshakes::new(LIMITS);
            let mut inside = std::collections::BTreeMap::new();
            let (mut now, mut ticket) = (0, 0);
            for (what, passes) in steps {
                now += passes;
                ticket += 1;
                if let Some(class) = Class::ALL.get(what) {
                    let is_in = *class == Class::Begun || {
                        handshakes.begin(ticket, *class, None, at(now)).is_ok()
                    };
                    if *class == Class::Begun {
                        handshakes.go_on(ticket, at(now));
                    }
                    if is_in {
                        inside.insert(ticket, (*class, now));
                    }
                } else {
                    let best = inside.values().map(|(class, _)| *class).min();
                    let oldest = inside.values().map(|(_, since)| *since).min();
                    match handshakes.next(at(now)) {
                        Some(Next::Do(it, class)) => {
                            let (was, since) = inside.remove(&it).expect("it is in");
                            prop_assert_eq!(was, class);
                            prop_assert!(Some(class) == best || Some(since) == oldest);
                            prop_assert!(best != Some(Class::Begun) || class == Class::Begun);
                            prop_assert!(class == Class::Begun || now - since <= 100);
                            handshakes.waits_no_more(class);
                            if class != Class::Begun {
                                let legacy = class == Class::Legacy;
                                handshakes.over(if legacy { Shaking::Legacy } else { Shaking::Here });
                            }
                        }
                        Some(Next::Late(it)) => {
                            let (class, since) = inside.remove(&it).expect("it is in");
                            prop_assert!(class != Class::Begun && now - since > 100);
                            handshakes.waits_no_more(class);
                            let legacy = class == Class::Legacy;
                            handshakes.over(if legacy { Shaking::Legacy } else { Shaking::Here });
                        }
                        None => prop_assert!(inside.is_empty()),
                    }
                }
                let begun = inside.values().filter(|(class, _)| *class != Class::Begun).count();
                prop_assert_eq!(handshakes.waiting(), inside.len());
                prop_assert_eq!(handshakes.in_progress() as usize, begun);
                prop_assert!(begun <= 8);
            }
        }
    }
}
