//! Dialling the upstream: when, whom, how often, how long.

use std::io;
use std::sync::Arc;

use super::ending::LINGER;
use super::outcome::{Cause, Reason};
use super::side::Socket;
use super::{Action, Connection, Context, Phase};
use crate::config::model::ConnectWhen;
use crate::engine::{CloseMode, Side};
use crate::time::Time;
use crate::tls::alert;
use crate::tls::error::TlsError;
use crate::upstream::{Attempts, Choice, Destination, Occupied, Request};

/// How far dialling is.
#[derive(Debug, Default)]
pub(super) struct Dial {
    wanted: bool,
    /// Present from the first failure until an endpoint is ready.
    retry: Option<Box<Retry>>,
    /// What was dialled last.
    current: Option<Dialled>,
    started_at: Option<Time>,
    connected_at: Option<Time>,
    deadline: Option<Time>,
    discard: Discard,
}

/// What was tried in vain, and what is dialled once the failed socket is closed.
#[derive(Debug, Default)]
struct Retry {
    tried: Attempts,
    next: Option<Choice>,
}

/// Counts as a connection to the endpoint.
#[derive(Debug)]
struct Dialled {
    endpoint: usize,
    to: Arc<Destination>,
    _occupied: Occupied,
}

/// The failed socket must be closed before the next attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Discard {
    #[default]
    No,
    /// When the alert that says why is on its way.
    Flushed,
    Now,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    reason: Reason,
    pub(super) detail: Option<Arc<str>>,
    pub(super) alert_sent: Option<u8>,
    pub(super) alert_received: Option<u8>,
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

    /// Its address.
    pub(super) fn destination(&self) -> Option<&Arc<Destination>> {
        self.current.as_ref().map(|current| &current.to)
    }

    /// True once an endpoint is, or was, dialled.
    pub(super) fn has_begun(&self) -> bool {
        self.wanted || self.current.is_some()
    }

    /// True while a failed socket waits to be closed: what comes of it is nothing to us.
    pub(super) fn discards(&self) -> bool {
        self.discard != Discard::No
    }
}

impl Failure {
    pub(super) fn of(reason: Reason) -> Self {
        Self { reason, detail: None, alert_sent: None, alert_received: None }
    }

    pub(super) fn of_io(reason: Reason, error: &io::Error) -> Self {
        Self { detail: Some(error.to_string().into()), ..Self::of(reason) }
    }

    pub(super) fn of_tls(error: TlsError) -> Self {
        let TlsError { reason, detail, alert_sent, alert_received, .. } = error.of_upstream();
        Self { reason, detail: Some(detail), alert_sent, alert_received }
    }

    pub(super) fn reason(&self) -> Reason {
        self.reason
    }

    pub(super) fn cause(&self) -> Cause {
        whose(self.reason)
    }
}

impl Connection {
    pub(super) fn dial(&mut self) {
        self.dial.wanted = true;
    }

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
        let next = self.dial.retry.as_mut().and_then(|retry| retry.next.take());
        let next = next.or_else(|| self.choose_endpoint(cx));
        let choice = next.expect("a first attempt always has an endpoint to try");
        let Choice { endpoint, destination: to, timeout, occupied } = choice;
        self.dial.wanted = false;
        self.dial.started_at.get_or_insert(cx.now);
        self.dial.deadline = Some(cx.now + timeout);
        self.dial.current = Some(Dialled { endpoint, to: Arc::clone(&to), _occupied: occupied });
        self.upstream.socket = Socket::Dialling;
        Some(Action::Connect { endpoint, to })
    }

    fn choose_endpoint(&self, cx: &mut Context<'_>) -> Option<Choice> {
        let nothing = Attempts::default();
        let request = Request {
            source: self.peer.map(|peer| peer.ip()),
            patience: self.policy.timeouts.connect,
            tried: self.dial.retry.as_ref().map_or(&nothing, |retry| &retry.tried),
        };
        cx.upstreams.choose(self.route.group, &request, cx.now)
    }

    pub(super) fn on_connected(&mut self, cx: &mut Context<'_>) {
        self.upstream.socket = Socket::Open;
        self.last_activity = cx.now;
        self.times.connect = self.dial.started_at.map(|started_at| cx.now - started_at);
        self.dial.connected_at = Some(cx.now);
        let (Some(profile), Some(endpoint)) = (&self.route.upstream_tls, self.dial.endpoint())
        else {
            return self.upstream_is_ready(cx);
        };
        match profile.connect(endpoint, cx.pool, &mut self.upstream.queue) {
            Ok(tls) => self.upstream.tls = Some(Box::new(tls)),
            Err(error) => self.on_attempt_failed(Failure::of_tls(error), cx),
        }
    }

    /// The handshake with the upstream is done.
    pub(super) fn upstream_is_secured(&mut self, cx: &mut Context<'_>) {
        let Some(tls) = &self.upstream.tls else { return };
        cx.telemetry.on_upstream_handshake(self.policy.index, tls.is_resumed());
        self.times.upstream_handshake = self.dial.connected_at.map(|at| cx.now - at);
        self.upstream_is_ready(cx);
    }

    fn upstream_is_ready(&mut self, cx: &mut Context<'_>) {
        self.report_endpoint(true, cx);
        self.dial.retry = None;
        self.dial.deadline = None;
        if let (Phase::Relay, Some(time)) = (&self.phase, self.times.connect) {
            cx.telemetry.on_connect(self.policy.index, self.resumed, time);
        }
    }

    /// What an attempt under way has not done in its time.
    pub(super) fn on_dial_deadline(&mut self, cx: &mut Context<'_>) {
        if self.dial.discards() {
            self.dial.discard = Discard::Now;
            self.dial.deadline = None;
            return;
        }
        let failure = Failure::of(self.what_takes_so_long());
        self.on_attempt_failed(failure, cx);
    }

    /// The word for an upstream that is not ready when it should be.
    pub(super) fn what_takes_so_long(&self) -> Reason {
        match self.upstream.socket {
            Socket::Open => Reason::UpstreamHandshakeTimeout,
            _ => Reason::UpstreamTimeout,
        }
    }

    /// Tries the next endpoint, or gives up. Nothing was relayed yet.
    pub(super) fn on_attempt_failed(&mut self, failure: Failure, cx: &mut Context<'_>) {
        if failure.reason == Reason::Internal {
            return self.give_up_dialling(failure, cx);
        }
        self.report_failure(failure.reason, cx);
        if let Some(failed) = &self.dial.current {
            let retry = self.dial.retry.get_or_insert_default();
            retry.tried.add(failed.endpoint, Arc::clone(&failed.to));
        }
        let Some(next) = self.choose_endpoint(cx) else { return self.end_undialled(failure, cx) };
        self.dial.retry.get_or_insert_default().next = Some(next);
        let tells = failure.alert_sent.is_some();
        self.dial.discard = if tells { Discard::Flushed } else { Discard::Now };
        self.dial.deadline = tells.then(|| cx.now + LINGER);
    }

    /// Makes the upstream's being down visible to the peer at once.
    pub(super) fn give_up_dialling(&mut self, failure: Failure, cx: &mut Context<'_>) {
        self.report_failure(failure.reason, cx);
        self.end_undialled(failure, cx);
    }

    /// Ends without the upstream.
    pub(super) fn end_undialled(&mut self, failure: Failure, cx: &mut Context<'_>) {
        self.dial.deadline = None;
        let holds_flight = self.holds_flight();
        if holds_flight {
            // Nothing was sent yet, so the peer still reads plaintext alerts.
            self.queue_alert(alert::INTERNAL_ERROR, cx);
        }
        let ending = self.end(failure.reason, failure.cause(), cx);
        ending.upstream_failure(&failure);
        if failure.alert_sent.is_some() {
            ending.flush_upstream(cx.now);
        }
        if holds_flight {
            ending.alert_sent(Some(alert::INTERNAL_ERROR)).flush_downstream(cx.now);
        } else {
            ending.close_downstream(CloseMode::Reset);
        }
    }

    /// Closes a failed socket.
    pub(super) fn poll_discard(&mut self) -> Option<Action> {
        let upstream = &mut self.upstream;
        if upstream.is_gone() || upstream.socket == Socket::Closing {
            return None;
        }
        match self.dial.discard {
            Discard::No => return None,
            Discard::Flushed if upstream.sending > 0 => return None,
            Discard::Flushed => {
                if let Some(buf) = upstream.next_to_send() {
                    return Some(Action::Send(Side::Upstream, buf));
                }
            }
            Discard::Now => {}
        }
        let how = match self.dial.discard {
            Discard::Flushed => CloseMode::Fin,
            _ => CloseMode::Reset,
        };
        self.dial.deadline = None;
        upstream.socket = Socket::Closing;
        Some(Action::Close(Side::Upstream, how))
    }

    /// A socket that is not the connection's last has closed: dial again.
    pub(super) fn redial(&mut self) {
        self.upstream = self.upstream.redialled();
        self.dial.discard = Discard::No;
        self.dial.wanted = true;
    }

    fn report_failure(&self, reason: Reason, cx: &mut Context<'_>) {
        cx.telemetry.on_upstream_failure(self.policy.index, reason);
        if whose(reason) == Cause::Upstream {
            self.report_endpoint(false, cx);
        }
    }

    fn report_endpoint(&self, up: bool, cx: &mut Context<'_>) {
        if let Some(Dialled { endpoint, to, .. }) = &self.dial.current {
            cx.upstreams.report(self.route.group, *endpoint, to, up, cx.now);
        }
    }
}

/// Whose fault a failed attempt is: what we lack says nothing about the endpoint.
fn whose(reason: Reason) -> Cause {
    match reason {
        Reason::UpstreamResources | Reason::SourceExhausted | Reason::Internal => Cause::Local,
        _ => Cause::Upstream,
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
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            Reason::UpstreamResources
        }
        // Of a client's own port: another connection has it.
        Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE) => Reason::SourceExhausted,
        _ => Reason::UpstreamUnreachable,
    }
}
