//! The end: flush what is owed, close both sockets, say once how it came to this.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use super::dial::Failure;
use super::outcome::{Cause, Outcome, Reason, Stage};
use super::security::Agreed;
use super::side::Socket;
use super::{Action, Connection, Context, Farewell, Input, Phase};
use crate::buf::{BufClass, Layout};
use crate::engine::{CloseMode, Side};
use crate::time::Time;

/// A connection that is on its way out.
#[derive(Debug)]
pub(super) struct Ending {
    stage: Stage,
    reason: Reason,
    cause: Cause,
    detail: Option<Arc<str>>,
    alert_sent: Option<u8>,
    alert_received: Option<u8>,
    upstream_alert_sent: Option<u8>,
    upstream_alert_received: Option<u8>,
    downstream: Leave,
    upstream: Leave,
    /// What was agreed on, where a session has ended before its connection.
    agreed: Option<Box<Agreed>>,
    /// In a handshake in which it was the peer that waited: for its turn, or for the component.
    waited: bool,
    /// The outcome was handed out.
    finished: bool,
    since: Time,
}

/// How a socket leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Now(CloseMode),
    /// After the queue.
    Flushed {
        deadline: Time,
        then: Then,
    },
}

#[derive(Clone, Copy, Debug)]
enum Then {
    /// FIN, then read and drop until the peer's FIN, because closing with bytes unread would send
    /// RST, which can destroy what the peer has not read yet (RFC 9293 §3.10.4), such as an alert.
    Linger,
    /// At once. RST where it came from the other side; for the upstream, mostly FIN: it is alone in
    /// having to read what it is told.
    Close(CloseMode),
}

impl Ending {
    pub(super) fn deadline(&self) -> Option<Time> {
        [self.downstream, self.upstream].into_iter().filter_map(Leave::deadline).min()
    }

    pub(super) fn detail(&mut self, detail: &dyn Display) -> &mut Self {
        self.detail = Some(detail.to_string().into());
        self
    }

    pub(super) fn alert_sent(&mut self, description: Option<u8>) -> &mut Self {
        self.alert_sent = description;
        self
    }

    pub(super) fn alert_received(&mut self, description: Option<u8>) -> &mut Self {
        self.alert_received = description;
        self
    }

    /// What went wrong with the upstream.
    pub(super) fn upstream_failure(&mut self, failure: &Failure) -> &mut Self {
        self.detail.clone_from(&failure.detail);
        self.upstream_alert_sent = failure.alert_sent;
        self.upstream_alert_received = failure.alert_received;
        self
    }

    pub(super) fn upstream_alert_sent(&mut self, description: u8) -> &mut Self {
        self.upstream_alert_sent = Some(description);
        self
    }

    pub(super) fn at(&mut self, stage: Stage) -> &mut Self {
        self.stage = stage;
        self
    }

    pub(super) fn agreed(&mut self, agreed: Agreed) -> &mut Self {
        self.agreed = Some(Box::new(agreed));
        self
    }

    pub(super) fn reset_upstream(&mut self) -> &mut Self {
        self.upstream = Leave::Now(CloseMode::Reset);
        self
    }

    pub(super) fn flush_upstream(&mut self, now: Time) -> &mut Self {
        let then = Then::Close(CloseMode::Fin);
        self.upstream = Leave::Flushed { deadline: now + LINGER, then };
        self
    }

    /// As [`Self::flush_upstream`], and reads what still comes, as from the peer.
    pub(super) fn linger_upstream(&mut self, now: Time) {
        self.upstream = Leave::Flushed { deadline: now + LINGER, then: Then::Linger };
    }

    pub(super) fn close_downstream(&mut self, mode: CloseMode) {
        self.downstream = Leave::Now(mode);
    }

    pub(super) fn flush_downstream(&mut self, now: Time) {
        self.downstream = Leave::Flushed { deadline: now + LINGER, then: Then::Linger };
    }

    pub(super) fn flush_downstream_then_reset(&mut self, now: Time) {
        let then = Then::Close(CloseMode::Reset);
        self.downstream = Leave::Flushed { deadline: now + LINGER, then };
    }

    fn leave(&mut self, side: Side) -> &mut Leave {
        match side {
            Side::Downstream => &mut self.downstream,
            Side::Upstream => &mut self.upstream,
        }
    }
}

impl Leave {
    fn deadline(self) -> Option<Time> {
        match self {
            Self::Flushed { deadline, .. } => Some(deadline),
            Self::Now(_) => None,
        }
    }
}

impl Connection {
    /// Starts the end. Both sockets close at once, with FIN, unless the returned ending is told
    /// otherwise.
    pub(super) fn end(
        &mut self,
        reason: Reason,
        cause: Cause,
        cx: &mut Context<'_>,
    ) -> &mut Ending {
        debug_assert!(self.ending.is_none(), "a connection ends once");
        let stage = self.stage();
        let waited = self.hello_waits() || self.holds_flight();
        self.release_hello(cx);
        self.forget_waiting(cx);
        self.times.lifetime = cx.now - self.accepted_at;
        for side in [&mut self.downstream, &mut self.upstream] {
            // What came just now is still owed, if there are keys for it.
            let _unsealed = side.seal(false, cx.pool);
            side.clear_plaintext();
        }
        self.ending.insert(Box::new(Ending {
            stage,
            reason,
            cause,
            detail: None,
            alert_sent: None,
            alert_received: None,
            upstream_alert_sent: None,
            upstream_alert_received: None,
            downstream: Leave::Now(CloseMode::Fin),
            upstream: Leave::Now(CloseMode::Fin),
            agreed: None,
            waited,
            finished: false,
            since: cx.now,
        }))
    }

    /// Ends with nothing left to say to the peer.
    pub(super) fn end_now(
        &mut self,
        reason: Reason,
        cause: Cause,
        downstream: CloseMode,
        cx: &mut Context<'_>,
    ) {
        self.end(reason, cause, cx).reset_upstream().close_downstream(downstream);
    }

    /// Ends with a plaintext alert, before there are keys.
    pub(super) fn end_with_alert(
        &mut self,
        reason: Reason,
        cause: Cause,
        description: u8,
        cx: &mut Context<'_>,
    ) {
        self.queue_alert(description, cx);
        let ending = self.end(reason, cause, cx);
        ending.alert_sent(Some(description)).flush_downstream(cx.now);
    }

    /// The gateway goes down. Without close_notify, because neither side has said that it is done.
    pub(super) fn stop(&mut self, reason: Reason, cx: &mut Context<'_>) {
        self.end_now(reason, Cause::Local, CloseMode::Fin, cx);
    }

    /// An operator wants it to end. Before it relays, there is nothing to end in order.
    pub(super) fn dismiss(&mut self, how: Farewell, cx: &mut Context<'_>) {
        match how {
            Farewell::InOrder if matches!(self.phase, Phase::Relay) => {
                self.part_in_order(Reason::Dismissed, Cause::Local, cx);
            }
            Farewell::InOrder => self.stop(Reason::Dismissed, cx),
            Farewell::AtOnce => {
                self.end_now(Reason::Dismissed, Cause::Local, CloseMode::Reset, cx);
            }
        }
    }

    /// True where a handshake has come to nothing by the peer's doing, and it did not leave because it
    /// had to wait.
    pub fn has_failed(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| {
            (ending.stage, ending.cause) == (Stage::Handshake, Cause::Downstream) && !ending.waited
        })
    }

    pub(super) fn stage(&self) -> Stage {
        match self.phase {
            Phase::Introduction(_) => Stage::Proxy,
            Phase::Accepted | Phase::Hello(_) => Stage::Hello,
            Phase::Handshake(_) => Stage::Handshake,
            Phase::Relay if !self.upstream.is_ready() => Stage::Connecting,
            Phase::Relay => Stage::Relay,
        }
    }

    pub(super) fn handle_ending(&mut self, input: Input, cx: &mut Context<'_>) {
        match input {
            Input::Closed(side) => self.on_closed(side),
            Input::ReceiveClosed(side) => self.side_mut(side).ended = true,
            Input::Failed(side, ..) => self.leave_now(side, CloseMode::Reset),
            Input::Stop(_) => {
                self.leave_now(Side::Downstream, CloseMode::Fin);
                self.leave_now(Side::Upstream, CloseMode::Fin);
            }
            // Progress earns more time.
            Input::Sent(side) => {
                if let Some(Leave::Flushed { deadline, .. }) = self.leave(side) {
                    *deadline = cx.now + LINGER;
                }
            }
            Input::Deadline => {
                for side in [Side::Downstream, Side::Upstream] {
                    self.leave_when_due(side, cx.now);
                }
            }
            Input::Accepted
            | Input::Connected
            | Input::Received(..)
            | Input::Step
            | Input::Shed(_)
            | Input::Expelled(_)
            | Input::Dismissed(_) => {}
        }
    }

    fn leave_when_due(&mut self, side: Side, now: Time) {
        let owed = self.side(side).backlog() > 0;
        let due = self.leave(side).and_then(|leave| leave.deadline());
        if due.is_some_and(|deadline| deadline <= now) {
            self.leave_now(side, if owed { CloseMode::Reset } else { CloseMode::Fin });
        }
    }

    pub(super) fn on_closed(&mut self, side: Side) {
        let state = self.side_mut(side);
        state.socket = Socket::Closed;
        state.receiving = false;
        state.sending = 0;
        if self.ending.is_none() {
            // Only a failed attempt to dial closes a socket before the end.
            debug_assert!(side == Side::Upstream);
            self.redial();
        }
    }

    pub(super) fn poll_ending(&mut self, cx: &Context<'_>) -> Option<Action> {
        self.ending.as_ref()?;
        for side in [Side::Upstream, Side::Downstream] {
            self.leave_passed(side);
            let leave = *self.leave(side)?;
            match (self.side(side).socket, leave) {
                (Socket::Open, Leave::Flushed { then, .. }) => {
                    if let Some(action) = self.poll_flush(side, then, cx) {
                        return Some(action);
                    }
                }
                (Socket::Dialling, Leave::Flushed { .. }) => {
                    return Some(self.close(side, CloseMode::Reset));
                }
                (Socket::Dialling | Socket::Open, Leave::Now(mode)) => {
                    return Some(self.close(side, mode));
                }
                (Socket::Absent | Socket::Closing | Socket::Closed, _) => {
                    self.side_mut(side).clear();
                }
            }
        }
        let ending = self.ending.as_mut()?;
        if self.upstream.is_gone() && self.downstream.is_gone() && !ending.finished {
            ending.finished = true;
            return Some(Action::Finish(Box::new(self.outcome()?)));
        }
        None
    }

    /// Closing the way to the child looks like RST there: an end in order is told before.
    fn leave_passed(&mut self, side: Side) {
        let owes = self.side(side).is_open() && self.side(side).owes_fin();
        let Some(ending) = self.ending.as_mut().filter(|_| owes) else { return };
        let deadline = ending.since + LINGER;
        let leave = ending.leave(side);
        if matches!(leave, Leave::Now(CloseMode::Fin)) {
            *leave = Leave::Flushed { deadline, then: Then::Close(CloseMode::Fin) };
            self.side_mut(side).clear();
        }
    }

    fn poll_flush(&mut self, side: Side, then: Then, cx: &Context<'_>) -> Option<Action> {
        let state = self.side_mut(side);
        if state.sending > 0 {
            return None;
        }
        if let Some(buf) = state.next_to_send() {
            return Some(Action::Send(side, buf));
        }
        if state.owes_fin() && !matches!(then, Then::Close(CloseMode::Reset)) {
            return state.take_fin(cx.pool).map(|fin| Action::Send(side, fin));
        }
        match then {
            Then::Close(mode) => return Some(self.close(side, mode)),
            Then::Linger if state.ended => return Some(self.close(side, CloseMode::Fin)),
            Then::Linger => {}
        }
        if !state.output.is_ended() {
            state.output.end();
            return Some(Action::ShutdownWrite(side));
        }
        if !state.receiving {
            state.receiving = true;
            return Some(Action::Receive(side, BufClass::Message, Layout::Contiguous));
        }
        None
    }

    fn close(&mut self, side: Side, mode: CloseMode) -> Action {
        let state = self.side_mut(side);
        state.socket = Socket::Closing;
        state.clear();
        // Nothing is waited for any more but the socket.
        self.leave_now(side, mode);
        Action::Close(side, mode)
    }

    fn leave(&mut self, side: Side) -> Option<&mut Leave> {
        Some(self.ending.as_mut()?.leave(side))
    }

    fn leave_now(&mut self, side: Side, mode: CloseMode) {
        if let Some(leave) = self.leave(side) {
            *leave = Leave::Now(mode);
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        let ending = self.ending.as_ref()?;
        let agreed = ending.agreed.as_deref().cloned().unwrap_or_else(|| self.agreed());
        let lane = self.lane(agreed.tls.is_some());
        Some(Outcome {
            listener: self.policy.index,
            peer: self.peer.map(|peer| (peer.ip(), peer.port())),
            source: self.proxied_source(),
            unique_id: self.unique_id(),
            stage: ending.stage,
            reason: ending.reason,
            cause: ending.cause,
            detail: ending.detail.clone(),
            stale: self.stale().map(|stale| stale.cause),
            tls: agreed.tls,
            client: self.client().cloned().map(Box::new),
            downstream_security: agreed.downstream,
            upstream_tls: agreed.upstream_tls,
            upstream_security: agreed.upstream,
            sni: self.sni.clone(),
            lane,
            alert_sent: ending.alert_sent,
            alert_received: ending.alert_received,
            upstream_alert_sent: ending.upstream_alert_sent,
            upstream_alert_received: ending.upstream_alert_received,
            upstream: self.dial.endpoint(),
            bytes: self.bytes,
            phases: self.times,
        })
    }
}

/// How long a peer may take to read the last bytes.
pub(super) const LINGER: Duration = Duration::from_secs(1);
