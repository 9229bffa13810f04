//! The end: flush what is owed, close both sockets, say once how it came to this.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use super::outcome::{Cause, Outcome, Reason, Stage};
use super::side::Socket;
use super::{Action, Connection, Context, Input, Phase};
use crate::buf::BufClass;
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
    downstream: Leave,
    upstream: CloseMode,
    /// The outcome was handed out.
    finished: bool,
}

/// How the downstream socket leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Now(CloseMode),
    /// After the queue: RST, as it came from the upstream; or FIN, then read and drop until the
    /// peer's FIN, because closing with bytes unread would send RST, which can destroy what the
    /// peer has not read yet (RFC 9293 §3.10.4), such as an alert.
    Flushed {
        deadline: Time,
        then: CloseMode,
    },
}

impl Ending {
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.downstream {
            Leave::Flushed { deadline, .. } => Some(deadline),
            Leave::Now(_) => None,
        }
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

    pub(super) fn reset_upstream(&mut self) -> &mut Self {
        self.upstream = CloseMode::Reset;
        self
    }

    pub(super) fn close_downstream(&mut self, mode: CloseMode) {
        self.downstream = Leave::Now(mode);
    }

    pub(super) fn flush_downstream(&mut self, now: Time) {
        self.downstream = Leave::Flushed { deadline: now + LINGER, then: CloseMode::Fin };
    }

    pub(super) fn flush_downstream_then_reset(&mut self, now: Time) {
        self.downstream = Leave::Flushed { deadline: now + LINGER, then: CloseMode::Reset };
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
        self.release_hello(cx);
        self.times.lifetime = cx.now - self.accepted_at;
        self.upstream.queue.clear();
        self.ending.insert(Box::new(Ending {
            stage,
            reason,
            cause,
            detail: None,
            alert_sent: None,
            alert_received: None,
            downstream: Leave::Now(CloseMode::Fin),
            upstream: CloseMode::Fin,
            finished: false,
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

    pub(super) fn stage(&self) -> Stage {
        match self.phase {
            Phase::Hello { .. } => Stage::Hello,
            Phase::Handshake => Stage::Handshake,
            Phase::Relay if !self.upstream.is_open() => Stage::Connecting,
            Phase::Relay => Stage::Relay,
        }
    }

    pub(super) fn handle_ending(&mut self, input: Input, cx: &mut Context<'_>) {
        match input {
            Input::Closed(side) => return self.on_closed(side),
            Input::ReceiveClosed(Side::Downstream) => self.downstream.ended = true,
            Input::Failed(Side::Downstream, ..) => {
                return self.leave_now(CloseMode::Reset);
            }
            Input::Stop(_) => return self.leave_now(CloseMode::Fin),
            _ => {}
        }
        let owed = self.downstream.backlog() > 0;
        let leave = self.ending.as_mut().map(|ending| &mut ending.downstream);
        let Some(Leave::Flushed { deadline, .. }) = leave else { return };
        match input {
            // Progress earns more time.
            Input::Sent(Side::Downstream) => *deadline = cx.now + LINGER,
            Input::Deadline if *deadline <= cx.now => {
                self.leave_now(if owed { CloseMode::Reset } else { CloseMode::Fin });
            }
            _ => {}
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

    pub(super) fn poll_ending(&mut self) -> Option<Action> {
        if self.ending.is_none() && self.dial.take_discard() {
            self.upstream.socket = Socket::Closing;
            return Some(Action::Close(Side::Upstream, CloseMode::Reset));
        }
        let ending = self.ending.as_mut()?;
        if matches!(self.upstream.socket, Socket::Dialling | Socket::Open) {
            self.upstream.socket = Socket::Closing;
            return Some(Action::Close(Side::Upstream, ending.upstream));
        }
        let leave = ending.downstream;
        if self.downstream.is_open() {
            return match leave {
                Leave::Now(mode) => Some(self.close_downstream(mode)),
                Leave::Flushed { then, .. } => self.poll_flush(then),
            };
        }
        if self.upstream.is_gone() && self.downstream.is_gone() && !ending.finished {
            ending.finished = true;
            return Some(Action::Finish(Box::new(self.outcome()?)));
        }
        None
    }

    fn poll_flush(&mut self, then: CloseMode) -> Option<Action> {
        let state = &mut self.downstream;
        if state.sending > 0 {
            return None;
        }
        if let Some(buf) = state.next_to_send() {
            return Some(Action::Send(Side::Downstream, buf));
        }
        if state.ended || then == CloseMode::Reset {
            return Some(self.close_downstream(then));
        }
        if !state.output.is_ended() {
            state.output.end();
            return Some(Action::ShutdownWrite(Side::Downstream));
        }
        if !state.receiving {
            state.receiving = true;
            return Some(Action::Receive(Side::Downstream, BufClass::Message));
        }
        None
    }

    fn close_downstream(&mut self, mode: CloseMode) -> Action {
        self.downstream.socket = Socket::Closing;
        self.downstream.queue.clear();
        // Nothing is waited for any more but the socket.
        self.leave_now(mode);
        Action::Close(Side::Downstream, mode)
    }

    fn leave_now(&mut self, mode: CloseMode) {
        if let Some(ending) = &mut self.ending {
            ending.downstream = Leave::Now(mode);
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        let ending = self.ending.as_ref()?;
        Some(Outcome {
            listener: self.policy.index,
            peer: self.peer.map(|peer| (peer.ip(), peer.port())),
            stage: ending.stage,
            reason: ending.reason,
            cause: ending.cause,
            detail: ending.detail.clone(),
            tls: self.facts.clone(),
            sni: self.sni.clone(),
            alert_sent: ending.alert_sent,
            alert_received: ending.alert_received,
            upstream: self.dial.endpoint(),
            bytes: self.bytes,
            phases: self.times,
        })
    }
}

/// How long a peer may take to read the last bytes.
const LINGER: Duration = Duration::from_secs(1);
