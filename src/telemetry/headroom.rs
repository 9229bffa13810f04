//! How much more a shard could take, from what its thread did with its time. No clocks: it is told
//! what the kernel's account of the thread said, and when.
//!
//! A shard's load is the share of time in which its thread ran, or would have run had it had its
//! CPU: whatever is started in the kernel on its behalf included, which no clock around the turn
//! could tell from waiting, since io_uring sends and waits in one call. The account is looked at
//! when a shard hands over, once a second: turns read no clock for it. CPU time alone would show
//! room where neighbours have taken the CPU.
//!
//! A queue does not wait for its server to be used up. For one server whose work comes at random,
//! 99 of 100 wait no longer than w(ρ) = s·(1 + c)/2·ln(100ρ)/(1 − ρ) at the load ρ, where s is what a
//! piece of work takes and c its variance over its squared mean. Nine times what an answer takes
//! when nothing else is done, R, is reached where 1 − ρ = (1 + c)/2·ln(100ρ)/9·s/R: at 0.95 for
//! messages, whose work is a small part of R, and at 0.86 for handshakes, whose work is half of it.
//! [`KNEE`] is within 6 % of both.

use std::time::Duration;

use serde::Serialize;

use crate::time::Time;

/// The load at which answers take ten times as long as when there is none. See the module.
pub const KNEE: f64 = 0.9;
/// The least time that a figure is about, but for the first ones after the start.
const WINDOW: Duration = Duration::from_secs(1);
/// A shorter time than this says nothing: the account is up to date to some milliseconds.
const SHORTEST: Duration = Duration::from_millis(100);

/// What a shard could still take, and what that was told from. Shares are 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Headroom {
    /// The share of what can be done before answers become slow that is not asked for: 0 from
    /// [`KNEE`] on.
    pub headroom: f64,
    /// The share of time in which the thread ran.
    pub busy: f64,
    /// The share in which it would have run, had others not had its CPU.
    pub starved: f64,
    /// CPU time of an event, in microseconds; none where nothing happened.
    pub event_cost_us: Option<f64>,
    /// The time that this is about, in seconds.
    pub covers_seconds: f64,
}

/// What the account said, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub at: Time,
    /// On a CPU since the start.
    pub ran: Duration,
    /// Waiting for one since the start.
    pub waited: Duration,
    /// Events handled since the start.
    pub events: u64,
}

/// Two earlier looks, so that readers who come often do not make the time too short.
#[derive(Debug, Default)]
pub struct Gauge {
    older: Option<Look>,
    newer: Option<Look>,
}

impl Gauge {
    /// What has become of the thread's time since a look that is [`WINDOW`] old or older, or since the
    /// first one. None until that says something.
    pub fn look(&mut self, now: Look) -> Option<Headroom> {
        let newer = *self.newer.get_or_insert(now);
        let older = *self.older.get_or_insert(now);
        if now.at - newer.at < WINDOW {
            return Headroom::between(&older, &now);
        }
        (self.older, self.newer) = (Some(newer), Some(now));
        Headroom::between(&newer, &now)
    }
}

impl Headroom {
    fn between(older: &Look, now: &Look) -> Option<Self> {
        let time = now.at - older.at;
        if time < SHORTEST {
            return None;
        }
        let ran = now.ran.saturating_sub(older.ran);
        let share = |of: Duration| (of.as_secs_f64() / time.as_secs_f64()).min(1.0);
        let (busy, starved) = (share(ran), share(now.waited.saturating_sub(older.waited)));
        let events = now.events.saturating_sub(older.events);
        Some(Self {
            headroom: (1.0 - (busy + starved) / KNEE).max(0.0),
            busy,
            starved,
            event_cost_us: (events > 0).then(|| ran.as_secs_f64() * 1e6 / events as f64),
            covers_seconds: time.as_secs_f64(),
        })
    }

    /// What holds for the node: a connection stays on its shard, so the one that has the least decides.
    pub fn least(of: impl IntoIterator<Item = Self>) -> Option<Self> {
        of.into_iter().min_by(|one, other| one.headroom.total_cmp(&other.headroom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look after so many milliseconds, of which it ran and waited for some.
    fn look(at: u64, ran: u64, waited: u64, events: u64) -> Look {
        let millis = Duration::from_millis;
        Look { at: Time::ZERO + millis(at), ran: millis(ran), waited: millis(waited), events }
    }

    fn near(one: f64, other: f64) {
        assert!((one - other).abs() < 1e-9, "{one} is not {other}");
    }

    #[test]
    fn it_falls_in_a_straight_line_and_is_nothing_from_the_knee_on() {
        let of = |ran, waited| {
            let mut gauge = Gauge::default();
            assert_eq!(gauge.look(look(0, 0, 0, 0)), None);
            gauge.look(look(2_000, ran, waited, 1_000)).expect("two seconds").headroom
        };
        near(of(0, 0), 1.0);
        near(of(900, 0), 0.5);
        near(of(450, 450), 0.5);
        near(of(1_800, 0), 0.0);
        near(of(2_000, 0), 0.0);
        near(of(100, 1_900), 0.0);
    }

    #[test]
    fn the_cost_of_an_event_is_what_was_run_for_it() {
        let mut gauge = Gauge::default();
        gauge.look(look(0, 5_000, 100, 50));
        let found = gauge.look(look(1_000, 5_250, 150, 10_050)).expect("a second");
        near(found.event_cost_us.expect("events"), 25.0);
        near(found.busy, 0.25);
        near(found.starved, 0.05);
        near(found.covers_seconds, 1.0);
        let found = gauge.look(look(2_000, 5_250, 150, 10_050)).expect("a second");
        assert_eq!(found.event_cost_us, None, "nothing happened");
        near(found.headroom, 1.0);
    }

    #[test]
    fn who_reads_often_reads_about_a_second_all_the_same() {
        let mut gauge = Gauge::default();
        // Busy for two seconds, then idle.
        for at in (0..=5_000).step_by(50) {
            let Some(found) = gauge.look(look(at, at.min(2_000), 0, at)) else {
                assert!(at < 100, "{at}");
                continue;
            };
            assert!(at < 1_000 || (1.0..2.0).contains(&found.covers_seconds), "{at}: {found:?}");
            if at <= 2_000 {
                near(found.headroom, 0.0);
            }
            if at >= 4_000 {
                near(found.headroom, 1.0);
            }
        }
    }

    #[test]
    fn what_the_kernel_counts_late_does_no_harm() {
        let mut gauge = Gauge::default();
        gauge.look(look(0, 100, 100, 10));
        let found = gauge.look(look(1_000, 90, 90, 5)).expect("a second");
        assert_eq!((found.busy, found.starved, found.event_cost_us), (0.0, 0.0, None));
        let found = gauge.look(look(2_000, 5_000, 90, 5)).expect("a second");
        assert_eq!((found.busy, found.headroom), (1.0, 0.0));
    }

    #[test]
    fn the_node_has_what_its_busiest_shard_has() {
        let with = |headroom| Headroom { headroom, ..Headroom::default() };
        assert_eq!(Headroom::least([]), None);
        assert_eq!(Headroom::least([with(0.7), with(0.2), with(0.5)]), Some(with(0.2)));
    }
}
