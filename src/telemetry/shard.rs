//! A shard's own telemetry: it writes here, and hands over on request.
//!
//! No method but [`ShardTelemetry::set_listeners`] allocates, and none locks or shares memory. What
//! a shard hands over travels in a [`ShardSnapshot`] that goes back and forth between it and the
//! aggregator, so both keep writing into memory they already have.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counters::{
    AcceptError, EngineCounters, ListenerCounters, ProxyHeader, Refusal, ShardCounters,
    Unterminated, is_handshake_stage,
};
use super::headroom::{Gauge, Headroom, Look};
use super::histograms::{HistogramSet, Kind, Phase};
use crate::admission::Shed;
use crate::config::model::TlsVersion;
use crate::conn::outcome::{Outcome, PhaseTimes, Reason, Shown};
use crate::conn::stale::Stale;
use crate::time::Time;
use crate::tls::lane::Choice;

/// Names of the listeners, by listener index.
///
/// An index keeps its name for the life of the process: a later list only appends.
pub type ListenerNames = Arc<[Arc<str>]>;

/// Values of one shard that go up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardGauges {
    pub open_connections: u64,
    /// Connections whose handshake is not done.
    pub handshakes_in_flight: u64,
    /// Steps of handshakes that wait for their turn.
    pub handshakes_waiting: u64,
    /// How long the oldest of them has waited, in microseconds.
    pub handshakes_waiting_us: u64,
    /// The longest that a step has taken since the start, in microseconds.
    pub handshake_step_longest_us: u64,
    /// Bytes of receive and send buffers in use.
    pub buffer_bytes: u64,
}

/// What a shard hands over: totals so far, and histograms since the last time.
#[derive(Clone, Debug, Default)]
pub struct ShardSnapshot {
    pub shard: usize,
    pub names: ListenerNames,
    pub counters: ShardCounters,
    pub gauges: ShardGauges,
    pub headroom: Option<Headroom>,
    /// Open connections by generation of the configuration, in no order.
    pub generations: Vec<(u64, u64)>,
    pub interval: HistogramSet,
}

/// Counters, gauges and histograms of one shard, written by that shard only.
///
/// Methods that name a listener the shard does not know count it as
/// [`ShardCounters::unattributed`] and do nothing else.
#[derive(Debug)]
pub struct ShardTelemetry {
    shard: usize,
    names: ListenerNames,
    counters: ShardCounters,
    gauges: ShardGauges,
    effort: Gauge,
    headroom: Option<Headroom>,
    generations: Vec<(u64, u64)>,
    interval: HistogramSet,
}

impl ShardTelemetry {
    pub fn new(shard: usize, names: ListenerNames) -> Self {
        let mut telemetry = Self {
            shard,
            names: ListenerNames::default(),
            counters: ShardCounters::default(),
            gauges: ShardGauges::default(),
            effort: Gauge::default(),
            headroom: None,
            generations: Vec::new(),
            interval: HistogramSet::default(),
        };
        telemetry.set_listeners(names);
        telemetry
    }

    /// Takes a longer list of listeners. Names that are there already keep their index.
    pub fn set_listeners(&mut self, names: ListenerNames) {
        debug_assert!(names.starts_with(&self.names), "the list of listeners only grows");
        self.counters.listeners.resize_with(names.len(), ListenerCounters::default);
        self.interval.grow(names.len());
        self.names = names;
    }

    /// A socket became a connection.
    pub fn on_accept(&mut self, listener: usize) {
        if let Some(counters) = self.listener(listener) {
            counters.accepted += 1;
            self.gauges.open_connections += 1;
            self.gauges.handshakes_in_flight += 1;
        }
    }

    /// An accepted socket was closed before it became a connection.
    pub fn on_refused(&mut self, refusal: Refusal) {
        self.counters.refused[refusal as usize] += 1;
    }

    /// A handshake is not done.
    pub fn on_shed(&mut self, why: Shed) {
        self.counters.shed[why as usize] += 1;
    }

    /// accept(2) failed.
    pub fn on_accept_error(&mut self, error: AcceptError) {
        self.counters.accept_errors[error as usize] += 1;
    }

    /// A trusted sender has said where a connection is from.
    pub fn on_proxy_header(&mut self, listener: usize, said: ProxyHeader) {
        if let Some(counters) = self.listener(listener) {
            counters.proxy_headers[said as usize] += 1;
        }
    }

    /// A component was told less than was to be said, for lack of room in the header.
    pub fn on_proxy_header_cut(&mut self, listener: usize) {
        if let Some(counters) = self.listener(listener) {
            counters.proxy_headers_cut += 1;
        }
    }

    /// The handshake is done. Records the phases `hello` and `handshake`.
    pub fn on_handshake(&mut self, listener: usize, resumed: bool, times: &PhaseTimes) {
        let Some(counters) = self.listener(listener) else { return };
        match Kind::of(resumed) {
            Kind::Full => counters.handshakes_full += 1,
            Kind::Resumed => counters.handshakes_resumed += 1,
        }
        self.gauges.handshakes_in_flight = self.gauges.handshakes_in_flight.saturating_sub(1);
        if let Some(hello) = times.hello {
            self.record(listener, resumed, Phase::Hello, hello);
        }
        if let Some(handshake) = times.handshake {
            self.record(listener, resumed, Phase::Handshake, handshake);
        }
    }

    /// A handshake is done in this lane, at this version.
    pub fn on_lane(&mut self, listener: usize, choice: Choice, version: TlsVersion) {
        if let Some(counters) = self.listener(listener) {
            counters.lanes.count(choice, version);
        }
    }

    /// The peer's TLS, if it speaks any, does not end here: instead of [`Self::on_handshake`].
    pub fn on_unterminated(&mut self, listener: usize, what: Unterminated) {
        let Some(counters) = self.listener(listener) else { return };
        counters.unterminated[what as usize] += 1;
        self.gauges.handshakes_in_flight = self.gauges.handshakes_in_flight.saturating_sub(1);
    }

    /// A peer that was asked for a certificate has shown this.
    pub fn on_client(&mut self, listener: usize, shown: Shown) {
        if let Some(counters) = self.listener(listener) {
            counters.clients[shown.index()] += 1;
        }
    }

    /// A connection was judged again: `found` is wrong with it, and was not `before`.
    pub fn on_stale(&mut self, listener: usize, before: Option<&Stale>, found: Option<&Stale>) {
        let Some(counters) = self.listener(listener) else { return };
        if let Some(Stale { side, cause, fate, .. }) = found {
            counters.stale[*side as usize][cause.index()][*fate as usize] += 1;
        }
        counters.stale_open += u64::from(found.is_some());
        counters.stale_open -= u64::from(before.is_some());
    }

    /// The handshake with an upstream is done.
    pub fn on_upstream_handshake(&mut self, listener: usize, resumed: bool) {
        let Some(counters) = self.listener(listener) else { return };
        match Kind::of(resumed) {
            Kind::Full => counters.upstream_handshakes_full += 1,
            Kind::Resumed => counters.upstream_handshakes_resumed += 1,
        }
    }

    /// An attempt at an upstream has failed.
    pub fn on_upstream_failure(&mut self, listener: usize, reason: Reason) {
        if let Some(counters) = self.listener(listener) {
            counters.count_upstream_failure(reason);
        }
    }

    /// The upstream is connected and the handshake is done: called at the later of the two, since
    /// only then it is known whether the handshake was resumed.
    pub fn on_connect(&mut self, listener: usize, resumed: bool, time: Duration) {
        if self.listener(listener).is_some() {
            self.record(listener, resumed, Phase::Connect, time);
        }
    }

    /// The first byte from the upstream arrived, this long after the handshake.
    pub fn on_first_byte(&mut self, listener: usize, resumed: bool, time: Duration) {
        if self.listener(listener).is_some() {
            self.record(listener, resumed, Phase::FirstByte, time);
        }
    }

    /// Plaintext bytes went from downstream to upstream, as one piece. Counted as they flow, because
    /// a connection may live for weeks; [`Self::on_close`] adds none.
    pub fn on_received(&mut self, listener: usize, bytes: u64) {
        if let Some(counters) = self.listener(listener) {
            counters.bytes_received += bytes;
            counters.messages_received += u64::from(bytes > 0);
        }
    }

    /// Plaintext bytes went from upstream to downstream. See [`Self::on_received`].
    pub fn on_sent(&mut self, listener: usize, bytes: u64) {
        if let Some(counters) = self.listener(listener) {
            counters.bytes_sent += bytes;
            counters.messages_sent += u64::from(bytes > 0);
        }
    }

    /// A connection ended: once for each [`Self::on_accept`]. Records its lifetime if its handshake
    /// was done or not needed. The stage must be past the handshake if and only if
    /// [`Self::on_handshake`] or [`Self::on_unterminated`] was called.
    pub fn on_close(&mut self, outcome: &Outcome) {
        let Some(counters) = self.listener(outcome.listener) else { return };
        counters.count_end(outcome);
        counters.stale_open -= u64::from(outcome.stale.is_some());
        if outcome.reason == Reason::HelloMemory {
            self.counters.hello_memory_refusals += 1;
        }
        let gauges = &mut self.gauges;
        gauges.open_connections = gauges.open_connections.saturating_sub(1);
        if is_handshake_stage(outcome.stage) {
            gauges.handshakes_in_flight = gauges.handshakes_in_flight.saturating_sub(1);
        } else {
            let lifetime = outcome.phases.lifetime;
            let resumed = outcome.tls.as_ref().is_some_and(|tls| tls.resumed);
            self.record(outcome.listener, resumed, Phase::Lifetime, lifetime);
        }
    }

    /// The engine's counters, for the shard to add to or to set.
    pub fn engine(&mut self) -> &mut EngineCounters {
        &mut self.counters.engine
    }

    /// Steps of handshakes that wait now, how long the oldest has, and the longest that one has taken.
    pub fn set_handshakes(&mut self, waiting: usize, oldest: Duration, longest: Duration) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.gauges.handshakes_waiting = waiting as u64;
        self.gauges.handshakes_waiting_us = micros(oldest);
        self.gauges.handshake_step_longest_us = micros(longest);
    }

    /// What the shard's thread has done with its time up to now: on a CPU, and waiting for one.
    pub fn set_effort(&mut self, at: Time, ran: Duration, waited: Duration) {
        let events = self.counters.engine.events;
        self.headroom = self.effort.look(Look { at, ran, waited, events });
    }

    /// Bytes of receive and send buffers in use now.
    pub fn set_buffer_bytes(&mut self, bytes: u64) {
        self.gauges.buffer_bytes = bytes;
    }

    /// Open connections now by generation of the configuration.
    pub fn set_generations(&mut self, generations: impl Iterator<Item = (u64, u64)>) {
        self.generations.clear();
        self.generations.extend(generations);
    }

    pub fn gauges(&self) -> ShardGauges {
        self.gauges
    }

    pub fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    /// Writes what was measured into `report` and starts an empty interval with the histograms that
    /// `report` brought. They must be empty.
    ///
    /// Allocates only if `report` has seen fewer listeners or generations than this shard: once
    /// after start and once after each longer list.
    pub fn hand_over(&mut self, report: &mut ShardSnapshot) {
        report.shard = self.shard;
        report.names.clone_from(&self.names);
        report.counters.copy_from(&self.counters);
        report.gauges = self.gauges;
        report.headroom = self.headroom;
        report.generations.clone_from(&self.generations);
        report.interval.grow(self.names.len());
        std::mem::swap(&mut self.interval, &mut report.interval);
    }

    fn listener(&mut self, listener: usize) -> Option<&mut ListenerCounters> {
        let counters = self.counters.listeners.get_mut(listener);
        if counters.is_none() {
            self.counters.unattributed += 1;
        }
        counters
    }

    fn record(&mut self, listener: usize, resumed: bool, phase: Phase, time: Duration) {
        self.interval.record(listener, Kind::of(resumed), phase, time);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::conn::outcome::{ByteCounts, Cause, Stage, TlsFacts};

    /// List of listeners for tests.
    pub(crate) fn names(list: &[&str]) -> ListenerNames {
        list.iter().map(|name| Arc::from(*name)).collect()
    }

    /// An outcome for tests: with a full handshake once `stage` is past it.
    pub(crate) fn outcome(listener: usize, stage: Stage, reason: Reason, cause: Cause) -> Outcome {
        let tls = TlsFacts {
            version: "TLSv1.3",
            cipher_suite: "TLS_AES_128_GCM_SHA256",
            group: Some("X25519"),
            alpn: None,
            resumed: false,
        };
        Outcome {
            listener,
            peer: None,
            source: None,
            unique_id: None,
            stage,
            reason,
            cause,
            stale: None,
            detail: None,
            tls: (!is_handshake_stage(stage)).then_some(tls),
            client: None,
            downstream_security: None,
            upstream_tls: None,
            upstream_security: None,
            sni: None,
            lane: (!is_handshake_stage(stage)).then(Choice::default),
            alert_sent: None,
            alert_received: None,
            upstream_alert_sent: None,
            upstream_alert_received: None,
            upstream: None,
            bytes: ByteCounts::default(),
            phases: PhaseTimes { lifetime: Duration::from_millis(250), ..PhaseTimes::default() },
        }
    }

    #[test]
    fn gauges_follow_connections() {
        let mut telemetry = ShardTelemetry::new(0, names(&["a"]));
        telemetry.on_accept(0);
        telemetry.on_accept(0);
        telemetry.on_accept(0);
        assert_eq!(telemetry.gauges().open_connections, 3);
        assert_eq!(telemetry.gauges().handshakes_in_flight, 3);
        telemetry.on_handshake(0, false, &PhaseTimes::default());
        assert_eq!(telemetry.gauges().handshakes_in_flight, 2);
        telemetry.on_close(&outcome(0, Stage::Hello, Reason::HelloMemory, Cause::Policy));
        assert_eq!(telemetry.gauges().handshakes_in_flight, 1);
        telemetry.on_close(&outcome(0, Stage::Relay, Reason::Finished, Cause::Downstream));
        assert_eq!(telemetry.gauges().handshakes_in_flight, 1);
        assert_eq!(telemetry.gauges().open_connections, 1);

        let listener = &telemetry.counters().listeners[0];
        assert_eq!(listener.open(), 1);
        assert_eq!(listener.closed(Reason::Finished, Cause::Downstream), 1);
        assert_eq!(listener.closed(Reason::Finished, Cause::Upstream), 0);
        assert_eq!(listener.handshake_failures(Reason::HelloMemory), 1);
        assert_eq!(listener.handshake_failures(Reason::Finished), 0);
        assert_eq!(telemetry.counters().hello_memory_refusals, 1);
    }

    #[test]
    fn hand_over_swaps_histograms_and_copies_totals() {
        let mut telemetry = ShardTelemetry::new(7, names(&["a", "b"]));
        let times = PhaseTimes {
            hello: Some(Duration::from_micros(100)),
            handshake: Some(Duration::from_micros(200)),
            ..PhaseTimes::default()
        };
        telemetry.on_accept(1);
        telemetry.on_handshake(1, true, &times);
        telemetry.on_connect(1, true, Duration::from_micros(50));
        telemetry.on_first_byte(1, true, Duration::from_micros(60));
        telemetry.on_received(1, 10);
        telemetry.on_sent(1, 20);
        telemetry.on_refused(Refusal::Draining);
        telemetry.on_accept_error(AcceptError::Enfile);
        telemetry.engine().turns += 5;

        let mut report = ShardSnapshot::default();
        telemetry.hand_over(&mut report);
        assert_eq!(report.shard, 7);
        assert_eq!(report.counters, *telemetry.counters());
        assert_eq!(report.counters.listeners[1].bytes_sent, 20);
        assert_eq!(report.counters.accept_errors[AcceptError::Enfile as usize], 1);
        let histograms = &report.interval.sets()[1];
        for phase in [Phase::Hello, Phase::Handshake, Phase::Connect, Phase::FirstByte] {
            assert_eq!(histograms.of(Kind::Resumed, phase).count(), 1, "{phase:?}");
            assert_eq!(histograms.of(Kind::Full, phase).count(), 0, "{phase:?}");
        }
        report.interval.clear();
        let memory = report.counters.listeners.as_ptr();
        telemetry.hand_over(&mut report);
        assert_eq!(report.counters.listeners.as_ptr(), memory, "written into the same memory");
        assert!(report.interval.sets()[1].of(Kind::Resumed, Phase::Hello).is_empty());
        assert_eq!(report.counters.listeners[1].handshakes_resumed, 1, "totals stay");
    }

    #[test]
    fn unknown_listener_is_counted_and_harmless() {
        let mut telemetry = ShardTelemetry::new(0, names(&["a"]));
        telemetry.on_accept(1);
        telemetry.on_connect(9, false, Duration::ZERO);
        telemetry.on_close(&outcome(1, Stage::Relay, Reason::Reset, Cause::Upstream));
        assert_eq!(telemetry.counters().unattributed, 3);
        assert_eq!(telemetry.gauges(), ShardGauges::default());
    }

    #[test]
    fn more_listeners_keep_what_was_counted() {
        let mut telemetry = ShardTelemetry::new(0, names(&["a"]));
        let mut report = ShardSnapshot::default();
        telemetry.hand_over(&mut report);
        telemetry.on_accept(0);
        telemetry.set_listeners(names(&["a", "b"]));
        telemetry.on_accept(1);
        telemetry.on_connect(1, false, Duration::from_micros(9));
        telemetry.hand_over(&mut report);
        assert_eq!(report.counters.listeners[0].accepted, 1);
        assert_eq!(report.counters.listeners[1].accepted, 1);
        telemetry.on_connect(1, false, Duration::from_micros(9));
        report.interval.clear();
        telemetry.hand_over(&mut report);
        assert_eq!(report.interval.sets()[1].of(Kind::Full, Phase::Connect).count(), 1);
    }
}
