//! Dialling the upstream: when, whom, how often, how long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::ending::LINGER;
use super::outcome::{Cause, Reason};
use super::side::Socket;
use super::{Action, Connection, Context, Phase};
use crate::config::model::ConnectWhen;
use crate::engine::{CloseMode, Side, Source};
use crate::time::Time;
use crate::tls::alert;
use crate::tls::error::TlsError;
use crate::tls::trust::Peer;
use crate::upstream::{Attempts, Choice, Destination, Occupied, Request};

/// How far dialling is.
#[derive(Debug, Default)]
pub(super) struct Dial {
    wanted: bool,
    /// Present from the first failure until an endpoint is ready.
    retry: Option<Box<Retry>>,
    target: Target,
    started_at: Option<Time>,
    connected_at: Option<Time>,
    deadline: Option<Time>,
    /// Connected, and it cannot be said yet who the peer is: its handshake is not done. The deadline
    /// waits, too.
    waits: bool,
    discard: Discard,
}

/// What was dialled last.
#[derive(Debug, Default)]
enum Target {
    #[default]
    None,
    /// Not ready yet.
    UnderWay(Box<Choice>),
    /// Small, as it is kept for as long as the connection lasts.
    Reached { endpoint: u32, occupied: Occupied },
}

/// What was tried in vain, and what is dialled once the failed socket is closed.
#[derive(Debug, Default)]
struct Retry {
    tried: Attempts,
    next: Option<Choice>,
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
        self.deadline.filter(|_| !self.waits)
    }

    /// True while the upstream has to be told first what is not known yet.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// The endpoint dialled last.
    pub(super) fn endpoint(&self) -> Option<usize> {
        match &self.target {
            Target::None => None,
            Target::UnderWay(choice) => Some(choice.endpoint),
            Target::Reached { endpoint, .. } => Some(*endpoint as usize),
        }
    }

    /// Its address.
    pub(super) fn destination(&self) -> Option<&Arc<Destination>> {
        match &self.target {
            Target::None => None,
            Target::UnderWay(choice) => Some(&choice.destination),
            Target::Reached { occupied, .. } => Some(occupied.destination()),
        }
    }

    /// True once an endpoint is, or was, dialled.
    pub(super) fn has_begun(&self) -> bool {
        self.wanted || self.endpoint().is_some()
    }

    /// True from the first dial until an endpoint is ready, and known to be who it should be.
    pub(super) fn is_under_way(&self) -> bool {
        self.choice().is_some()
    }

    /// What is being dialled.
    fn choice(&self) -> Option<&Choice> {
        match &self.target {
            Target::UnderWay(choice) => Some(choice),
            _ => None,
        }
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

    /// Unless that was done before.
    pub(super) fn dial_after_handshake(&mut self) {
        self.dial.wanted |= !self.dial.has_begun();
    }

    /// Dials, if it is time to.
    pub(super) fn poll_dial(&mut self, cx: &mut Context<'_>) -> Option<Action> {
        if !self.dial.wanted || self.upstream.socket != Socket::Absent {
            return None;
        }
        let next = self.dial.retry.as_mut().and_then(|retry| retry.next.take());
        let next = next.or_else(|| self.choose_endpoint(cx));
        self.dial.wanted = false;
        let Some(choice) = next else {
            // Only where connections come from the client's address, which is of another family.
            let nowhere =
                Failure { detail: Some(NO_SOURCE.into()), ..Failure::of(Reason::SourceExhausted) };
            self.give_up_dialling(nowhere, cx);
            return None;
        };
        let (endpoint, source) = (choice.endpoint, choice.source);
        let to = Arc::clone(&choice.destination);
        self.dial.started_at.get_or_insert(cx.now);
        self.dial.deadline = Some(cx.now + choice.timeout);
        self.dial.target = Target::UnderWay(Box::new(choice));
        self.upstream.socket = Socket::Dialling;
        Some(Action::Connect { endpoint, to, source })
    }

    fn choose_endpoint(&self, cx: &mut Context<'_>) -> Option<Choice> {
        let nothing = Attempts::default();
        let request = Request {
            client: self.source_address(),
            patience: self.policy.timeouts.connect,
            tried: self.dial.retry.as_ref().map_or(&nothing, |retry| &retry.tried),
        };
        cx.upstreams.choose(self.route.group, &request, cx.now)
    }

    /// An attempt under way did not connect.
    pub(super) fn on_connect_failed(&mut self, error: &io::Error, cx: &mut Context<'_>) {
        let source = self.dial.choice().map_or(Source::Any, |choice| choice.source);
        self.on_attempt_failed(Failure::of_io(classify(error, source), error), cx);
    }

    pub(super) fn on_connected(&mut self, cx: &mut Context<'_>) {
        self.upstream.socket = Socket::Open;
        self.last_activity = cx.now;
        self.times.connect = self.dial.started_at.map(|started_at| cx.now - started_at);
        self.dial.connected_at = Some(cx.now);
        if self.lacks_facts() {
            self.dial.waits = true;
        } else {
            self.introduce(cx);
            self.begin_upstream_tls(cx);
        }
        if self.route.upstream_tls.is_none() {
            self.upstream_is_ready(cx);
        }
    }

    /// The peer's handshake is done: what waited for it goes on.
    pub(super) fn upstream_may_begin(&mut self, cx: &mut Context<'_>) {
        if !std::mem::take(&mut self.dial.waits) {
            return;
        }
        let waited = self.dial.connected_at.map_or(Duration::ZERO, |at| cx.now - at);
        self.dial.connected_at = Some(cx.now);
        self.dial.deadline = self.dial.deadline.map(|deadline| deadline + waited);
        self.introduce(cx);
        self.begin_upstream_tls(cx);
    }

    fn begin_upstream_tls(&mut self, cx: &mut Context<'_>) {
        let (Some(profile), Some(endpoint)) = (&self.route.upstream_tls, self.dial.endpoint())
        else {
            return;
        };
        match profile.connect(endpoint, cx.pool, &mut self.upstream.queue) {
            Ok(tls) => self.upstream.speak(tls),
            Err(error) => self.on_attempt_failed(Failure::of_tls(error), cx),
        }
    }

    /// The handshake with the upstream is done.
    pub(super) fn upstream_is_secured(&mut self, cx: &mut Context<'_>) {
        if let Err(failure) = self.meet_component() {
            // What it has said already is not for the peer, whoever is dialled next.
            self.downstream.inlet().clear();
            return self.on_attempt_failed(failure, cx);
        }
        let Some(tls) = &self.upstream.tls else { return };
        cx.telemetry.on_upstream_handshake(self.policy.index, tls.is_resumed());
        self.forget_said();
        self.times.upstream_handshake = self.dial.connected_at.map(|at| cx.now - at);
        self.upstream_is_ready(cx);
    }

    /// Judges the component: in a handshake that was resumed, rustls has asked nobody.
    fn meet_component(&mut self) -> Result<(), Failure> {
        let (Some(tls), Some(profile), Some(endpoint)) =
            (&self.upstream.tls, &self.route.upstream_tls, self.dial.endpoint())
        else {
            return Ok(());
        };
        let judged = profile.judge(endpoint, tls.peer_certificates()).map_err(|why| {
            let reason = Reason::UpstreamCertificateInvalid;
            Failure { detail: Some(why.text), ..Failure::of(reason) }
        })?;
        let peer = judged.and_then(|known| known.peer);
        if let Some(path) = peer.as_deref().and_then(Peer::path) {
            self.grounds().component = Some(Arc::clone(path));
        }
        Ok(())
    }

    fn upstream_is_ready(&mut self, cx: &mut Context<'_>) {
        self.news = true;
        self.report_endpoint(true, cx);
        if let Target::UnderWay(choice) = std::mem::take(&mut self.dial.target) {
            let Choice { endpoint, occupied, .. } = *choice;
            let endpoint = u32::try_from(endpoint).expect("a route has a few");
            self.dial.target = Target::Reached { endpoint, occupied };
        }
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
        self.forget_waiting_upstream();
        if is_of_ours(failure.reason) {
            return self.give_up_dialling(failure, cx);
        }
        self.report_failure(failure.reason, cx);
        if let Target::UnderWay(failed) = &self.dial.target {
            let tried = &mut self.dial.retry.get_or_insert_default().tried;
            if is_of_source(failure.reason) {
                let left = self.dial.deadline.map_or(Duration::ZERO, |until| until - cx.now);
                cx.upstreams.report_used_up(self.route.group, failed, cx.now);
                tried.add_source(failed, left);
            } else {
                tried.add(failed.endpoint, Arc::clone(&failed.destination));
            }
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
        self.dial.waits = false;
        self.dial.wanted = true;
    }

    fn report_failure(&self, reason: Reason, cx: &mut Context<'_>) {
        cx.telemetry.on_upstream_failure(self.policy.index, reason);
        if whose(reason) == Cause::Upstream {
            self.report_endpoint(false, cx);
        }
    }

    fn report_endpoint(&self, up: bool, cx: &mut Context<'_>) {
        if let Some(Choice { endpoint, destination, .. }) = self.dial.choice() {
            cx.upstreams.report(self.route.group, *endpoint, destination, up, cx.now);
        }
    }
}

/// Why nothing can be dialled.
const NO_SOURCE: &str = "the client has no address of the family of an upstream";

/// Whose fault a failed attempt is: what we lack says nothing about the endpoint.
fn whose(reason: Reason) -> Cause {
    match reason {
        Reason::UpstreamResources => Cause::Local,
        reason if is_of_ours(reason) || is_of_source(reason) => Cause::Local,
        _ => Cause::Upstream,
    }
}

/// Whether no other endpoint would do better.
fn is_of_ours(reason: Reason) -> bool {
    use Reason::{Internal, LegacyBusy, LegacyDied, LegacyDown};
    matches!(reason, Internal | LegacyDown | LegacyBusy | LegacyDied)
}

/// Whether an attempt failed because of where it came from.
fn is_of_source(reason: Reason) -> bool {
    matches!(reason, Reason::SourceExhausted | Reason::SourceCollision)
}

/// Which word a connect error deserves.
fn classify(error: &io::Error, source: Source) -> Reason {
    match error.raw_os_error() {
        // Of a client's own port: another connection has it.
        Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE) if source.has_port() => {
            Reason::SourceCollision
        }
        Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE) => Reason::SourceExhausted,
        // EAGAIN and ENOENT: a unix socket whose queue is full, or that is not there.
        Some(libc::ECONNREFUSED | libc::ECONNRESET | libc::ENOENT | libc::EAGAIN) => {
            Reason::UpstreamRefused
        }
        Some(libc::ETIMEDOUT) => Reason::UpstreamTimeout,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            Reason::UpstreamResources
        }
        _ => Reason::UpstreamUnreachable,
    }
}
