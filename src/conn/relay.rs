//! Both directions, each with half-close, backpressure and its own end.

use std::io;
use std::time::Duration;

use super::dial::Failure;
use super::ending::Ending;
use super::outcome::{Cause, Reason};
use super::{Connection, Context, Phase};
use crate::buf::{Buf, Layout, enqueue};
use crate::engine::{CloseMode, Side};
use crate::time::Time;
use crate::tls::error::TlsError;
use crate::tls::tls_conn::Output;

impl Connection {
    /// Passes on what came from `side`, decrypted where TLS is spoken; counts what came out.
    pub(super) fn relay_from(&mut self, side: Side, buf: Buf, cx: &mut Context<'_>) {
        let (from, to) = self.ends(side);
        let before = to.queued();
        let received = match &mut from.tls {
            Some(tls) => {
                let plaintext = to.inlet();
                let mut output = Output { pool: cx.pool, plaintext, records: &mut from.queue };
                tls.receive(buf, &mut output).map(|()| tls.peer_has_closed())
            }
            None => {
                enqueue(to.inlet(), buf);
                Ok(false)
            }
        };
        let plaintext = (to.queued() - before) as u64;
        if from.output.is_ended() {
            // Whatever TLS would still say, such as an alert, FIN has gone out.
            from.queue.clear();
        }
        self.count(side, plaintext, cx);
        match received {
            Err(error) => self.tls_failed(side, error, cx),
            Ok(true) => self.has_ended(side),
            Ok(false) => {}
        }
    }

    /// From the upstream: the rest of its handshake, or what it has to say.
    pub(super) fn receive_from_upstream(&mut self, buf: Buf, cx: &mut Context<'_>) {
        let was_ready = self.upstream.is_ready();
        self.relay_from(Side::Upstream, buf, cx);
        if !was_ready && self.upstream.is_ready() && self.ending.is_none() {
            self.upstream_is_secured(cx);
        }
    }

    /// FIN. Without close_notify where TLS is spoken it is maybe an attacker's (RFC 8446 §6.1):
    /// what came before it is delivered, the other side gets a FIN without close_notify, too, and
    /// the outcome says truncated.
    pub(super) fn relay_eof(&mut self, side: Side, cx: &mut Context<'_>) {
        if let Some(tls) = &mut self.side_mut(side).tls
            && !tls.peer_has_closed()
        {
            if let Err(error) = tls.end_of_stream() {
                return self.tls_failed(side, error, cx);
            }
            self.truncated.get_or_insert(side);
        }
        self.has_ended(side);
    }

    /// The upstream's FIN.
    pub(super) fn upstream_eof(&mut self, cx: &mut Context<'_>) {
        if self.upstream.is_ready() {
            return self.relay_eof(Side::Upstream, cx);
        }
        if let Some(Err(error)) = self.upstream.tls.as_mut().map(|tls| tls.end_of_stream()) {
            return self.tls_failed(Side::Upstream, error, cx);
        }
        self.on_attempt_failed(Failure::of(Reason::UpstreamHandshakeEof), cx);
    }

    /// A socket error, which goes on to the other side as RST.
    pub(super) fn on_failed(&mut self, side: Side, error: &io::Error, cx: &mut Context<'_>) {
        let reason = Reason::of_socket_error(error);
        match side {
            Side::Downstream if self.has_said_close_notify() => {
                // It did not stay for the rest: its right. Of a plaintext peer, nobody knows what
                // it meant: behind RST, the kernel tells of FIN, too.
                let ending = self.end(Reason::Finished, Cause::Downstream, cx);
                ending.detail(error).reset_upstream().close_downstream(CloseMode::Reset);
            }
            side if self.side(side).is_passed() && !self.side(side).ended => {
                // What happens to the peer's socket, the child tells in a frame.
                let reason = Reason::LegacyDied;
                self.tls_failed(side, TlsError { reason, ..TlsError::local(error) }, cx);
            }
            Side::Downstream => {
                let ending = self.end(reason, Cause::Downstream, cx);
                ending.detail(error).reset_upstream().close_downstream(CloseMode::Reset);
            }
            Side::Upstream if !self.upstream.is_ready() => {
                let failure = Failure::of_io(Reason::UpstreamHandshakeEof, error);
                self.on_attempt_failed(failure, cx);
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
        let reason = if self.truncated.is_some() { Reason::Truncated } else { Reason::Finished };
        let cause = match self.truncated.or(self.first_ended) {
            Some(Side::Upstream) => Cause::Upstream,
            _ => Cause::Downstream,
        };
        self.end(reason, cause, cx).close_downstream(CloseMode::Fin);
    }

    pub(super) fn relay_deadline(&self) -> Option<Time> {
        let own = [self.idle_deadline(), self.half_close_deadline(), self.tickets_deadline()];
        own.into_iter().flatten().min()
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
        // Nobody was in the middle of anything, so this may look orderly.
        self.end_in_order(Reason::IdleTimeout, Cause::Policy, cx);
    }

    /// Ends both sides behind what waits for them: close_notify where TLS is spoken, and FIN.
    pub(super) fn end_in_order(
        &mut self,
        reason: Reason,
        cause: Cause,
        cx: &mut Context<'_>,
    ) -> &mut Ending {
        for side in [Side::Downstream, Side::Upstream] {
            let state = self.side_mut(side);
            state.output.end_when_empty();
            // Failing to say so leaves a plain FIN.
            let _unsaid = state.seal(true, cx.pool);
        }
        let told = self.upstream.is_ready() && self.upstream.backlog() > 0;
        let ending = self.end(reason, cause, cx);
        if told {
            ending.flush_upstream(cx.now);
        }
        ending.flush_downstream(cx.now);
        ending
    }

    /// As [`Self::end_in_order`], where either side may be in the middle of something: what still
    /// comes from the component is read and dropped, as from the peer.
    pub(super) fn part_in_order(&mut self, reason: Reason, cause: Cause, cx: &mut Context<'_>) {
        let (is_ready, now) = (self.upstream.is_ready(), cx.now);
        let ending = self.end_in_order(reason, cause, cx);
        if is_ready {
            ending.linger_upstream(now);
        }
    }

    /// Backpressure: a side is read only while the other keeps up.
    pub(super) fn may_receive(&mut self, side: Side, cx: &Context<'_>) -> bool {
        if self.waits_with(side) {
            return false;
        }
        match (side, &self.phase) {
            // What it says before it is told who comes is not looked at: nobody has proved anything.
            (Side::Upstream, _) if !self.upstream.is_ready() => return !self.dial.waits(),
            (Side::Downstream, Phase::Relay) => {
                // Nothing is asked of a plaintext peer before there is somebody to tell it to.
                if !self.downstream.is_secure() && !self.upstream.is_ready() {
                    return false;
                }
            }
            (Side::Upstream, Phase::Relay) => {}
            (side, _) => return side == Side::Downstream,
        }
        let backlog = self.side(side.other()).backlog();
        // When buffers run short, every connection may hold only what it is sending.
        let (high, low) = if cx.pool.is_tight() { (1, 0) } else { (HIGH_WATER, LOW_WATER) };
        let state = self.side_mut(side);
        if backlog >= high {
            state.paused = true;
        } else if backlog <= low {
            state.paused = false;
        }
        !state.paused
    }

    /// Plaintext that the other side seals is received so that it need not be copied for that.
    pub(super) fn receive_layout(&self, side: Side) -> Layout {
        // What comes from a peer before is looked at, not passed on.
        let is_passed_on = side == Side::Upstream || matches!(self.phase, Phase::Relay);
        let is_sealed = !self.side(side).is_secure() && self.side(side.other()).is_secure();
        if is_passed_on && is_sealed { Layout::Spaced } else { Layout::Contiguous }
    }

    pub(super) fn note_first_byte(&mut self, time: Duration, cx: &mut Context<'_>) {
        if self.times.first_byte.is_none() {
            self.times.first_byte = Some(time);
            cx.telemetry.on_first_byte(self.policy.index, self.resumed, time);
        }
    }

    fn count(&mut self, side: Side, bytes: u64, cx: &mut Context<'_>) {
        match side {
            Side::Downstream => {
                self.bytes.received += bytes;
                cx.telemetry.on_received(self.policy.index, bytes);
            }
            Side::Upstream => {
                if bytes > 0 && matches!(self.phase, Phase::Relay) {
                    self.note_first_byte(cx.now - self.phase_since, cx);
                }
                self.bytes.sent += bytes;
                cx.telemetry.on_sent(self.policy.index, bytes);
            }
        }
    }

    fn has_said_close_notify(&self) -> bool {
        self.downstream.tls.as_ref().is_some_and(|tls| tls.peer_has_closed())
    }

    /// No more comes from `side`.
    fn has_ended(&mut self, side: Side) {
        self.first_ended.get_or_insert(side);
        self.side_mut(side).ended = true;
        self.side_mut(side.other()).output.end_when_empty();
    }

    fn idle_deadline(&self) -> Option<Time> {
        self.policy.timeouts.idle.map(|idle| self.last_activity + idle)
    }

    fn half_close_deadline(&self) -> Option<Time> {
        (self.downstream.ended || self.upstream.ended)
            .then(|| self.last_activity + self.policy.timeouts.half_close)
    }
}

/// Bytes waiting for one side above which the other is not read: two bulk buffers, so that one is
/// filled while the other is sent.
const HIGH_WATER: usize = 256 * 1024;
/// Bytes below which it is read again: one of them is left, sealed.
const LOW_WATER: usize = 129 * 1024;
