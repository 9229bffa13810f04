//! Both directions, each with half-close, backpressure and its own end.

use std::io;

use super::outcome::{Cause, Reason};
use super::{Connection, Context, Phase};
use crate::buf::Buf;
use crate::engine::{CloseMode, Side};
use crate::time::Time;

impl Connection {
    pub(super) fn relay_from_upstream(&mut self, buf: &Buf, cx: &mut Context<'_>) {
        let Some(tls) = &mut self.tls else { return };
        let sealed = tls.seal(buf, cx.pool, &mut self.downstream.queue);
        if self.times.first_byte.is_none() {
            let first_byte = cx.now - self.phase_since;
            self.times.first_byte = Some(first_byte);
            cx.telemetry.on_first_byte(self.policy.index, self.resumed(), first_byte);
        }
        self.bytes.sent += buf.len() as u64;
        cx.telemetry.on_sent(self.policy.index, buf.len() as u64);
        if let Err(error) = sealed {
            self.tls_failed(error, cx);
        }
    }

    /// FIN without close_notify: maybe an attacker's (RFC 8446 §6.1). What came before it is
    /// delivered, the upstream gets its FIN, and the outcome says truncated.
    pub(super) fn downstream_eof(&mut self) {
        self.truncated = true;
        self.downstream_ended();
    }

    /// No more comes from downstream.
    pub(super) fn downstream_ended(&mut self) {
        self.first_ended.get_or_insert(Side::Downstream);
        self.downstream.ended = true;
        self.upstream.output.end_when_empty();
    }

    /// The upstream's FIN becomes close_notify and FIN.
    pub(super) fn upstream_eof(&mut self, cx: &mut Context<'_>) {
        self.first_ended.get_or_insert(Side::Upstream);
        self.upstream.ended = true;
        let Some(tls) = &mut self.tls else { return };
        match tls.close_notify(cx.pool, &mut self.downstream.queue) {
            Ok(()) => self.downstream.output.end_when_empty(),
            Err(error) => self.tls_failed(error, cx),
        }
    }

    /// A socket error, which goes on to the other side as RST.
    pub(super) fn on_failed(&mut self, side: Side, error: &io::Error, cx: &mut Context<'_>) {
        let reason = reset_reason(error);
        match side {
            Side::Downstream if self.downstream.ended && !self.truncated => {
                // It had said close_notify and did not stay for the rest: its right.
                let ending = self.end(Reason::Finished, Cause::Downstream, cx);
                ending.detail(error).reset_upstream().close_downstream(CloseMode::Reset);
            }
            Side::Downstream => {
                let ending = self.end(reason, Cause::Downstream, cx);
                ending.detail(error).reset_upstream().close_downstream(CloseMode::Reset);
            }
            Side::Upstream if self.upstream.ended => {
                // It had sent everything; only what it should still receive is lost.
                let ending = self.end(reason, Cause::Upstream, cx);
                ending.detail(error).flush_downstream(cx.now);
            }
            Side::Upstream => {
                // What it had said before, such as an early refusal, is still delivered.
                let ending = self.end(reason, Cause::Upstream, cx);
                ending.detail(error).flush_downstream_then_reset(cx.now);
            }
        }
    }

    /// Both directions have ended in order.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>) {
        let reason = if self.truncated { Reason::Truncated } else { Reason::Finished };
        let cause = match self.first_ended {
            Some(Side::Upstream) if !self.truncated => Cause::Upstream,
            _ => Cause::Downstream,
        };
        self.end(reason, cause, cx).close_downstream(CloseMode::Fin);
    }

    pub(super) fn relay_deadline(&self) -> Option<Time> {
        [self.idle_deadline(), self.half_close_deadline()].into_iter().flatten().min()
    }

    pub(super) fn relay_timeout(&mut self, cx: &mut Context<'_>) {
        let is_due = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= cx.now);
        if is_due(self.half_close_deadline()) {
            let cause = if self.downstream.ended { Cause::Upstream } else { Cause::Downstream };
            let ending = self.end(Reason::HalfCloseTimeout, cause, cx);
            ending.reset_upstream().close_downstream(CloseMode::Reset);
            return;
        }
        if !is_due(self.idle_deadline()) {
            return;
        }
        if self.downstream.ended || self.upstream.ended {
            // The other side was in the middle of something: it must not look orderly.
            let ending = self.end(Reason::IdleTimeout, Cause::Policy, cx);
            ending.reset_upstream().close_downstream(CloseMode::Reset);
            return;
        }
        if let Some(tls) = &mut self.tls {
            // Nobody was in the middle of anything, so this may look orderly. Failing to say so
            // leaves a plain FIN.
            let _unsaid = tls.close_notify(cx.pool, &mut self.downstream.queue);
        }
        self.end(Reason::IdleTimeout, Cause::Policy, cx).flush_downstream(cx.now);
    }

    fn idle_deadline(&self) -> Option<Time> {
        self.policy.timeouts.idle.map(|idle| self.last_activity + idle)
    }

    fn half_close_deadline(&self) -> Option<Time> {
        (self.downstream.ended || self.upstream.ended)
            .then(|| self.last_activity + self.policy.timeouts.half_close)
    }

    /// Backpressure: a side is read only while the other keeps up.
    pub(super) fn may_receive(&mut self, side: Side, cx: &Context<'_>) -> bool {
        if !matches!(self.phase, Phase::Relay) {
            return side == Side::Downstream;
        }
        let backlog = self.side(side.other()).backlog();
        // When buffers run short, every connection may hold only what it is sending.
        let high = if cx.pool.is_tight() { 1 } else { HIGH_WATER };
        let state = self.side_mut(side);
        if backlog >= high {
            state.paused = true;
        } else if backlog <= LOW_WATER.min(high / 2) {
            state.paused = false;
        }
        !state.paused
    }

    pub(super) fn resumed(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.resumed)
    }
}

/// Which word an errno deserves.
fn reset_reason(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        Some(libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH) => Reason::Vanished,
        _ => Reason::Reset,
    }
}

/// Bytes waiting for one side above which the other is not read: two bulk buffers, so that one is
/// filled while the other is sent.
const HIGH_WATER: usize = 128 * 1024;
/// Bytes below which it is read again.
const LOW_WATER: usize = 64 * 1024;
