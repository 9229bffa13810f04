//! From the ClientHello to the peer's Finished, while the upstream is being dialled.

use super::outcome::{Cause, Reason};
use super::{Connection, Context, Phase};
use crate::buf::Buf;
use crate::config::model::ConnectWhen;
use crate::engine::CloseMode;
use crate::tls::error::TlsError;
use crate::tls::tls_conn::Output;

impl Connection {
    pub(super) fn on_handshake_bytes(&mut self, buf: Buf, cx: &mut Context<'_>) {
        self.receive_tls(buf, cx);
        let done = self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking());
        if done && self.ending.is_none() {
            self.established(cx);
        }
    }

    pub(super) fn handshake_eof(&mut self, cx: &mut Context<'_>) {
        self.end_now(Reason::HandshakeEof, Cause::Downstream, CloseMode::Fin, cx);
    }

    pub(super) fn handshake_timeout(&mut self, cx: &mut Context<'_>) {
        if self.holds_flight() {
            // The peer has done its part.
            return self.give_up_dialling(Reason::UpstreamTimeout, None, cx);
        }
        self.end_now(Reason::HandshakeTimeout, Cause::Downstream, CloseMode::Reset, cx);
    }

    /// True while the server's flight waits for the upstream: a handshake is not completed in
    /// front of a component that is down.
    pub(super) fn holds_flight(&self) -> bool {
        matches!(self.phase, Phase::Handshake)
            && self.route.connect == ConnectWhen::AfterHello
            && !self.upstream.is_open()
    }

    /// Decrypts `buf` towards the upstream; counts what came out.
    pub(super) fn receive_tls(&mut self, buf: Buf, cx: &mut Context<'_>) {
        let Some(tls) = &mut self.tls else { return };
        let before = self.upstream.queued();
        let mut output = Output {
            pool: cx.pool,
            plaintext: &mut self.upstream.queue,
            records: &mut self.downstream.queue,
        };
        let received = tls.receive(buf, &mut output);
        let closed = tls.peer_has_closed();
        let plaintext = (self.upstream.queued() - before) as u64;
        self.bytes.received += plaintext;
        cx.telemetry.on_received(self.policy.index, plaintext);
        if self.downstream.output.is_ended() {
            // Whatever TLS would still say, such as an alert, FIN has gone out.
            self.downstream.queue.clear();
        }
        if let Err(error) = received {
            return self.tls_failed(error, cx);
        }
        if closed {
            self.downstream_ended();
        }
    }

    /// Ends the connection after a failure of the TLS session, with the alert that is queued.
    pub(super) fn tls_failed(&mut self, error: TlsError, cx: &mut Context<'_>) {
        let cause = match error.reason {
            Reason::Internal => Cause::Local,
            _ => Cause::Downstream,
        };
        self.end(error.reason, cause, cx)
            .detail(&error.detail)
            .alert_sent(error.alert_sent)
            .alert_received(error.alert_received)
            .reset_upstream()
            .flush_downstream(cx.now);
    }

    fn established(&mut self, cx: &mut Context<'_>) {
        let Some(tls) = &self.tls else { return };
        let facts = tls.facts();
        self.phase = Phase::Relay;
        self.times.handshake = Some(cx.now - self.phase_since);
        self.phase_since = cx.now;
        cx.telemetry.on_handshake(self.policy.index, facts.resumed, &self.times);
        if let Some(connect) = self.times.connect {
            cx.telemetry.on_connect(self.policy.index, facts.resumed, connect);
        }
        self.facts = Some(facts);
        self.dial_after_handshake();
    }
}
