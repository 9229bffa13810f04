//! From the ClientHello to the peer's Finished, while the upstream is being dialled.

use std::sync::Arc;
use std::time::Duration;

use super::dial::Failure;
use super::outcome::{Cause, Client, Reason, Shown};
use super::side::Output;
use super::{Connection, Context, Phase};
use crate::admission::Shed;
use crate::buf::Buf;
use crate::config::model::{ConnectWhen, TlsVersion};
use crate::engine::{CloseMode, Side};
use crate::policy::{self, Decision};
use crate::time::Time;
use crate::tls::error::TlsError;
use crate::tls::hello::Hello;
use crate::tls::trust::{ClientVerdict, Peer};

impl Connection {
    pub(super) fn on_handshake_bytes(&mut self, buf: Buf, cx: &mut Context<'_>) {
        self.relay_from(Side::Downstream, buf, cx);
        if self.downstream.has_keys() && self.ending.is_none() {
            self.established(cx);
        }
    }

    pub(super) fn handshake_eof(&mut self, cx: &mut Context<'_>) {
        if let Some(Err(error)) = self.downstream.tls.as_mut().map(|tls| tls.end_of_stream()) {
            return self.tls_failed(Side::Downstream, error, cx);
        }
        self.end_now(Reason::HandshakeEof, Cause::Downstream, CloseMode::Fin, cx);
    }

    pub(super) fn handshake_timeout(&mut self, cx: &mut Context<'_>) {
        if self.hello_waits() {
            return self.shed(Shed::Late, cx);
        }
        if self.holds_flight() {
            // The peer has done its part.
            // The upstream had no time of its own yet: nothing speaks against it.
            let failure = Failure::of(self.what_takes_so_long());
            return self.end_undialled(failure, cx);
        }
        let reason = match &self.phase {
            Phase::Hello(opening) if opening.awaits_first_byte(&self.policy) => {
                Reason::DetectTimeout
            }
            Phase::Introduction(_) => Reason::ProxyTimeout,
            _ => Reason::HandshakeTimeout,
        };
        self.end_now(reason, Cause::Downstream, CloseMode::Reset, cx);
    }

    /// True while the server's flight waits for the upstream: a handshake is not completed in
    /// front of a component that is down, or is not the one that it should be.
    pub(super) fn holds_flight(&self) -> bool {
        matches!(self.phase, Phase::Handshake(_))
            && self.route.connect == ConnectWhen::AfterHello
            && !self.upstream.is_ready()
            && !self.dial.waits()
    }

    /// True while tickets are all that waits for the peer: they go with what the component says first,
    /// if that comes soon. A segment of their own costs as much as the request's. Nothing goes alone
    /// to a peer that sends no more: it may have closed its socket, which RST would tell us. When buffers
    /// run short nothing waits: the component would not be received from meanwhile.
    pub(super) fn holds_tickets(&mut self, cx: &Context<'_>) -> bool {
        self.tickets_wait = self.tickets_wait
            && !self.downstream.has_plaintext()
            && self.downstream.output == Output::Open
            && !cx.pool.is_tight()
            && (self.downstream.ended || cx.now < self.tickets_until());
        self.tickets_wait
    }

    /// When the wait is over.
    pub(super) fn tickets_deadline(&self) -> Option<Time> {
        (self.tickets_wait && !self.downstream.ended).then(|| self.tickets_until())
    }

    fn tickets_until(&self) -> Time {
        self.phase_since + COMPANY
    }

    /// Ends the connection after a failure of a TLS session, with the alert that is queued.
    pub(super) fn tls_failed(&mut self, side: Side, error: TlsError, cx: &mut Context<'_>) {
        if side == Side::Upstream {
            return self.upstream_tls_failed(Failure::of_tls(error), cx);
        }
        let cause = match error.reason {
            Reason::Internal | Reason::LegacyBusy | Reason::LegacyDied => Cause::Local,
            _ => Cause::Downstream,
        };
        self.end(error.reason, cause, cx)
            .detail(&error.detail)
            .alert_sent(error.alert_sent)
            .alert_received(error.alert_received)
            .reset_upstream()
            .flush_downstream(cx.now);
    }

    fn upstream_tls_failed(&mut self, failure: Failure, cx: &mut Context<'_>) {
        if self.dial.is_under_way() {
            // It may have keys, and have said something, but nobody has seen yet who it is.
            self.downstream.inlet().clear();
            return self.on_attempt_failed(failure, cx);
        }
        let shaking = matches!(self.phase, Phase::Handshake(_));
        let ending = self.end(failure.reason(), failure.cause(), cx);
        ending.upstream_failure(&failure).flush_upstream(cx.now);
        if shaking {
            return ending.close_downstream(CloseMode::Reset);
        }
        // As after a reset: what it had said before is still delivered.
        ending.flush_downstream_then_reset(cx.now);
    }

    fn established(&mut self, cx: &mut Context<'_>) {
        let Some(tls) = &self.downstream.tls else { return };
        self.news = true;
        self.resumed = tls.is_resumed();
        self.times.handshake = Some(cx.now - self.phase_since);
        self.phase_since = cx.now;
        // What is queued behind a handshake of TLS 1.3 is tickets; in TLS 1.2 it is the handshake's end.
        self.tickets_wait = tls.version() == Some(TlsVersion::V1_3) && self.downstream.queued() > 0;
        cx.telemetry.on_handshake(self.policy.index, self.resumed, &self.times);
        if let (Some(choice), Some(version)) = (self.lane(true), tls.version()) {
            cx.telemetry.on_lane(self.policy.index, choice, version);
        }
        if let (true, Some(connect)) = (self.upstream.is_ready(), self.times.connect) {
            cx.telemetry.on_connect(self.policy.index, self.resumed, connect);
        }
        let hello = match std::mem::replace(&mut self.phase, Phase::Relay) {
            Phase::Handshake(hello) => hello,
            _ => None,
        };
        self.forget_hello(hello.as_ref().map_or(0, |hello| hello.charged), cx);
        if self.bytes.sent > 0 {
            // The upstream spoke while the handshake was running.
            self.note_first_byte(Duration::ZERO, cx);
        }
        let client = match self.meet_client(cx) {
            Ok(client) => client,
            Err(refusal) => return self.end_now_with(refusal, cx),
        };
        if let Some(reader) = hello.and_then(|hello| hello.reader)
            && self.is_denied(reader.message(), client.as_deref())
        {
            return self.deny(cx);
        }
        self.upstream_may_begin(cx);
        self.dial_after_handshake();
    }

    /// Learns what the peer has shown. Returns who it is, if that is proved: nobody is who an
    /// unverified certificate says.
    ///
    /// # Errors
    /// When a session that was resumed is one of a client that is not trusted any more.
    fn meet_client(&mut self, cx: &mut Context<'_>) -> Result<Option<Arc<Peer>>, Arc<str>> {
        let Some(tls) = &self.downstream.tls else { return Ok(None) };
        let profile = self.route.tls.as_ref();
        let Some(verification) =
            profile.and_then(|side| side.judge(tls.lane(), tls.peer_certificates()))
        else {
            return Ok(None);
        };
        let shown = match &verification.verdict {
            ClientVerdict::Anonymous => Shown::Nothing,
            ClientVerdict::Verified => Shown::Verified,
            ClientVerdict::Failed(rejection) => Shown::Bad(rejection.problem),
        };
        let identity = verification.shown();
        let subject = identity.map(|identity| identity.subject.as_str().into());
        let serial = identity.map(|identity| identity.serial.as_str().into());
        self.grounds().shown = Some(Box::new(Client { shown, subject, serial }));
        cx.telemetry.on_client(self.policy.index, shown);
        if let Some(path) = verification.peer.as_deref().and_then(Peer::path) {
            self.grounds().client = Some(Arc::clone(path));
        }
        match verification.refusal() {
            Some(rejection) => Err(Arc::clone(&rejection.text)),
            None if verification.authorized().is_some() => Ok(verification.peer),
            None => Ok(None),
        }
    }

    fn end_now_with(&mut self, why: Arc<str>, cx: &mut Context<'_>) {
        let (reason, cause) = (Reason::ClientCertificateInvalid, Cause::Downstream);
        self.end_now(reason, cause, CloseMode::Reset, cx);
        if let Some(ending) = &mut self.ending {
            ending.detail(&why);
        }
    }

    /// Asks the policy about who the peer is; follows another route if that is still possible.
    fn is_denied(&mut self, hello: &[u8], client: Option<&Peer>) -> bool {
        // It was read when it came.
        let Ok(hello) = Hello::parse(hello) else { return true };
        let facts = policy::facts(self.source(), &hello);
        let identity = client.map(|peer| &peer.identity);
        match self.policy.after_handshake(&facts, identity) {
            Decision::Deny => true,
            // Too late for another one.
            Decision::Follow(_) if self.dial.has_begun() => false,
            Decision::Follow(route) => {
                let route = Arc::clone(route);
                let is_open = route.allows_upstream(self.source()).is_ok();
                self.follow(route);
                !is_open
            }
        }
    }
}

/// How long tickets wait for company. GnuTLS waits for them for 60 ms when it is asked for its session.
const COMPANY: Duration = Duration::from_millis(20);
