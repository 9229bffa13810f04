//! Dialling the upstream: when, whom, how often, how long.

use std::io;
use std::sync::Arc;

use super::outcome::{Cause, Reason};
use super::side::{SideState, Socket};
use super::{Action, Connection, Context, Phase};
use crate::config::model::ConnectWhen;
use crate::engine::CloseMode;
use crate::time::Time;
use crate::tls::alert;
use crate::upstream::{Attempts, Choice, Request};

/// How far dialling is.
#[derive(Debug, Default)]
pub(super) struct Dial {
    wanted: bool,
    tried: Attempts,
    /// What is dialled next, once the failed socket is closed.
    next: Option<Box<Choice>>,
    /// Where it goes: counts as a connection there.
    current: Option<Choice>,
    started_at: Option<Time>,
    deadline: Option<Time>,
    /// The failed socket must be closed before the next attempt.
    discard: bool,
}

impl Dial {
    /// When the attempt under way is given up.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// The endpoint dialled last.
    pub(super) fn endpoint(&self) -> Option<usize> {
        self.current.as_ref().map(|current| current.endpoint)
    }

    /// True when a failed socket waits to be closed; asked once.
    pub(super) fn take_discard(&mut self) -> bool {
        std::mem::take(&mut self.discard)
    }
}

impl Connection {
    pub(super) fn dial_after_hello(&mut self) {
        self.dial.wanted = self.route.connect == ConnectWhen::AfterHello;
    }

    pub(super) fn dial_after_handshake(&mut self) {
        self.dial.wanted |= self.route.connect == ConnectWhen::AfterHandshake;
    }

    /// Dials, if it is time to.
    pub(super) fn poll_dial(&mut self, cx: &mut Context<'_>) -> Option<Action> {
        if !self.dial.wanted || self.upstream.socket != Socket::Absent {
            return None;
        }
        let next = self.dial.next.take().map(|next| *next);
        let next = next.or_else(|| self.choose_endpoint(cx));
        let choice = next.expect("a first attempt always has an endpoint to try");
        let (endpoint, to) = (choice.endpoint, Arc::clone(&choice.destination));
        self.dial.wanted = false;
        self.dial.started_at.get_or_insert(cx.now);
        self.dial.deadline = Some(cx.now + choice.timeout);
        self.dial.current = Some(choice);
        self.upstream.socket = Socket::Dialling;
        Some(Action::Connect { endpoint, to })
    }

    fn choose_endpoint(&self, cx: &mut Context<'_>) -> Option<Choice> {
        let request = Request {
            source: self.peer.map(|peer| peer.ip()),
            patience: self.policy.timeouts.connect,
            tried: &self.dial.tried,
        };
        cx.upstreams.choose(self.route.group, &request, cx.now)
    }

    pub(super) fn on_connected(&mut self, cx: &mut Context<'_>) {
        self.report_endpoint(true, cx);
        self.dial.deadline = None;
        self.upstream.socket = Socket::Open;
        self.last_activity = cx.now;
        let time = self.dial.started_at.map(|started_at| cx.now - started_at);
        self.times.connect = time;
        if let (Phase::Relay, Some(time)) = (&self.phase, time) {
            cx.telemetry.on_connect(self.policy.index, self.resumed(), time);
        }
    }

    /// Tries the next endpoint, or gives up.
    pub(super) fn on_connect_failed(
        &mut self,
        reason: Reason,
        error: Option<&io::Error>,
        cx: &mut Context<'_>,
    ) {
        self.report_failure(reason, cx);
        if let Some(failed) = &self.dial.current {
            self.dial.tried.add(failed.endpoint, Arc::clone(&failed.destination));
        }
        self.dial.next = self.choose_endpoint(cx).map(Box::new);
        if self.dial.next.is_some() {
            self.dial.deadline = None;
            self.dial.discard = true;
            return;
        }
        self.end_undialled(reason, error, cx);
    }

    /// Makes the upstream's being down visible to the peer at once.
    pub(super) fn give_up_dialling(
        &mut self,
        reason: Reason,
        error: Option<&io::Error>,
        cx: &mut Context<'_>,
    ) {
        self.report_failure(reason, cx);
        self.end_undialled(reason, error, cx);
    }

    fn end_undialled(&mut self, reason: Reason, error: Option<&io::Error>, cx: &mut Context<'_>) {
        self.dial.deadline = None;
        let cause = match reason {
            Reason::UpstreamResources => Cause::Local,
            _ => Cause::Upstream,
        };
        let holds_flight = self.holds_flight();
        if holds_flight {
            // Nothing was sent yet, so the peer still reads plaintext alerts.
            self.queue_alert(alert::INTERNAL_ERROR, cx);
        }
        let ending = self.end(reason, cause, cx);
        if let Some(error) = error {
            ending.detail(error);
        }
        if holds_flight {
            ending.alert_sent(Some(alert::INTERNAL_ERROR)).flush_downstream(cx.now);
        } else {
            ending.close_downstream(CloseMode::Reset);
        }
    }

    /// A socket that is not the connection's last has closed: dial again.
    pub(super) fn redial(&mut self) {
        let queue = std::mem::take(&mut self.upstream.queue);
        let output = self.upstream.output;
        self.upstream = SideState::absent();
        self.upstream.queue = queue;
        self.upstream.output = output;
        self.dial.wanted = true;
    }

    fn report_failure(&self, reason: Reason, cx: &mut Context<'_>) {
        if reason != Reason::UpstreamResources {
            self.report_endpoint(false, cx);
        }
    }

    fn report_endpoint(&self, up: bool, cx: &mut Context<'_>) {
        if let Some(Choice { endpoint, destination, .. }) = &self.dial.current {
            cx.upstreams.report(self.route.group, *endpoint, destination, up, cx.now);
        }
    }
}

/// Which word a connect error deserves.
pub(super) fn classify(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        // EAGAIN and ENOENT: a unix socket whose queue is full, or that is not there.
        Some(libc::ECONNREFUSED | libc::ECONNRESET | libc::ENOENT | libc::EAGAIN) => {
            Reason::UpstreamRefused
        }
        Some(libc::ETIMEDOUT) => Reason::UpstreamTimeout,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => {
            Reason::UpstreamResources
        }
        _ => Reason::UpstreamUnreachable,
    }
}
