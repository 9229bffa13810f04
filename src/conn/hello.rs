//! Until the ClientHello is complete, or it is clear that none will come: little memory, no TLS
//! work.

use std::sync::Arc;

use super::outcome::{Cause, Reason};
use super::revalidate::{Grounds, Said};
use super::{Connection, Context, Phase};
use crate::admission::Class;
use crate::buf::{Buf, BufClass, enqueue};
use crate::config::model::ClientCert;
use crate::engine::{CloseMode, Side};
use crate::policy::{self, Decision, Downstream, ListenerPolicy, Route, Verdict};
use crate::telemetry::Unterminated;
use crate::tls::ServerProfile;
use crate::tls::alert;
use crate::tls::hello::{HelloError, HelloReader, MAX_MESSAGE, Progress};
use crate::tls::lane::{Lane, NoLane};
use crate::tls::tls_conn::Output;

/// What has come of the ClientHello.
#[derive(Debug, Default)]
pub(super) struct Opening {
    reader: HelloReader,
    /// Something has come.
    begun: bool,
    /// Bytes of the budget for unfinished hellos that this one holds.
    charged: usize,
    /// For passing through: the bytes as they came.
    unread: Vec<u8>,
}

/// A ClientHello that is needed again.
pub(super) struct Kept {
    /// Present where the policy is asked again when the handshake is done.
    pub(super) reader: Option<HelloReader>,
    /// As [`Opening::charged`].
    pub(super) charged: usize,
}

/// What the ClientHello leads to.
enum Next {
    /// With whether the peer comes back with a session.
    Follow(Arc<Route>, Verdict, bool),
    Deny,
}

impl Opening {
    /// True while `policy` has not seen whether this is TLS or plaintext.
    pub(super) fn awaits_first_byte(&self, policy: &ListenerPolicy) -> bool {
        policy.downstream == Downstream::Detect && !self.begun
    }
}

impl Connection {
    /// The first look at the policy; a plaintext peer has no other.
    pub(super) fn first_look(&mut self, cx: &mut Context<'_>) {
        let Decision::Follow(route) = self.policy.at_accept(self.source()) else {
            return self.deny(cx);
        };
        let route = Arc::clone(route);
        self.follow(route);
        if self.policy.downstream == Downstream::Plaintext {
            return match self.route.allows_upstream(self.source()) {
                Ok(()) => self.leave_unterminated(Unterminated::Plaintext, cx),
                Err(why) => self.has_no_lane(why, cx),
            };
        }
        self.phase = Phase::Hello(Box::default());
    }

    pub(super) fn on_hello_bytes(&mut self, mut buf: Buf, cx: &mut Context<'_>) {
        let Phase::Hello(opening) = &mut self.phase else { return };
        if opening.awaits_first_byte(&self.policy) && !is_tls(buf.first(), &self.policy) {
            return self.on_plaintext(buf, cx);
        }
        opening.begun = true;
        match opening.reader.feed(buf.contiguous()) {
            Ok(Progress::NeedMore) => self.on_part_of_hello(&buf, cx),
            Ok(Progress::Complete { consumed }) => self.on_hello(buf, consumed, cx),
            Err(error) => self.hello_failed(error, cx),
        }
    }

    /// Plaintext where TLS could have come: rules about more than the source do not count.
    fn on_plaintext(&mut self, buf: Buf, cx: &mut Context<'_>) {
        let Decision::Follow(route) = self.policy.plaintext(self.source()) else {
            return self.end_now(Reason::PolicyDenied, Cause::Policy, CloseMode::Reset, cx);
        };
        let route = Arc::clone(route);
        self.follow(route);
        if let Err(why) = self.route.allows_upstream(self.source()) {
            return self.has_no_lane(why, cx);
        }
        self.leave_unterminated(Unterminated::Plaintext, cx);
        self.queue_upstream(buf, cx);
    }

    /// A rule turns the peer away: told by alert as long as it reads plaintext ones.
    pub(super) fn deny(&mut self, cx: &mut Context<'_>) {
        let (reason, cause) = (Reason::PolicyDenied, Cause::Policy);
        match self.phase {
            Phase::Hello(_) => self.end_with_alert(reason, cause, alert::ACCESS_DENIED, cx),
            // In TLS, there is no saying why: rustls sends no alert of our choice.
            _ => self.end_now(reason, cause, CloseMode::Reset, cx),
        }
    }

    pub(super) fn hello_eof(&mut self, cx: &mut Context<'_>) {
        self.end_now(Reason::HelloEof, Cause::Downstream, CloseMode::Fin, cx);
    }

    /// Gives back what an unfinished hello held; called when the phase ends, however it ends.
    pub(super) fn release_hello(&mut self, cx: &mut Context<'_>) {
        let charged = match &mut self.phase {
            Phase::Introduction(introduction) => std::mem::take(&mut introduction.charged),
            Phase::Hello(opening) => std::mem::take(&mut opening.charged),
            Phase::Handshake(Some(kept)) => std::mem::take(&mut kept.charged),
            _ => 0,
        };
        self.forget_hello(charged, cx);
    }

    /// Gives back what a hello held.
    pub(super) fn forget_hello(&self, charged: usize, cx: &mut Context<'_>) {
        if charged > 0 {
            let released = cx.hellos.change(self.source(), charged, 0);
            debug_assert!(released, "shrinking is always allowed");
        }
    }

    fn on_part_of_hello(&mut self, buf: &Buf, cx: &mut Context<'_>) {
        let source = self.source();
        let Phase::Hello(opening) = &mut self.phase else { return };
        if self.policy.downstream == Downstream::Passthrough {
            if opening.unread.len() + buf.len() > MAX_UNREAD {
                return self.hello_failed(HelloError::TooLarge, cx);
            }
            buf.parts().for_each(|part| opening.unread.extend_from_slice(part));
        }
        let held = opening.reader.buffered() + opening.unread.capacity();
        if cx.hellos.change(source, opening.charged, held) {
            opening.charged = held;
        } else {
            self.end_now(Reason::HelloMemory, Cause::Policy, CloseMode::Reset, cx);
        }
    }

    /// The ClientHello is complete with the first `consumed` bytes of `buf`.
    fn on_hello(&mut self, mut buf: Buf, consumed: usize, cx: &mut Context<'_>) {
        let next = match self.look_into_hello() {
            Ok(next) => next,
            Err(error) => return self.hello_failed(error, cx),
        };
        if matches!(next, Next::Deny) {
            return self.deny(cx);
        }
        self.release_hello(cx);
        let Phase::Hello(opening) = std::mem::replace(&mut self.phase, Phase::Handshake(None))
        else {
            return;
        };
        self.times.hello = Some(cx.now - self.phase_since);
        self.phase_since = cx.now;
        let Next::Follow(route, verdict, resumes) = next else { return };
        self.follow(route);
        match verdict {
            Verdict::Admit(_) if self.policy.downstream == Downstream::Passthrough => {
                self.leave_unterminated(Unterminated::Passthrough, cx);
                self.pass_through(&opening.unread, buf, cx);
            }
            Verdict::Admit(choice) => {
                self.take_lane(choice);
                buf.advance(consumed);
                let class = self.class_of(choice.lane, resumes);
                self.wait_with_hello(class, opening.reader, buf, cx);
            }
            Verdict::NoLane(why) => self.has_no_lane(why, cx),
            Verdict::UnrecognizedName => {
                let reason = Reason::UnrecognizedName;
                self.end_with_alert(reason, Cause::Policy, alert::UNRECOGNIZED_NAME, cx);
            }
        }
    }

    /// The second look at the policy.
    fn look_into_hello(&mut self) -> Result<Next, HelloError> {
        let Phase::Hello(opening) = &self.phase else { return Ok(Next::Deny) };
        let hello = opening.reader.hello()?;
        self.sni = hello.sni.map(|sni| sni.bytes.escape_ascii().to_string().into());
        let facts = policy::facts(self.source(), &hello);
        self.said = Said::of(&facts);
        if let Some(alpn) = Grounds::alpn_of(&facts) {
            self.grounds.get_or_insert_default().alpn = alpn;
        }
        Ok(match self.policy.after_hello(&facts) {
            Decision::Deny => Next::Deny,
            Decision::Follow(route) => {
                let verdict = route.admit(&hello, self.source());
                Next::Follow(Arc::clone(route), verdict, hello.wants_to_resume())
            }
        })
    }

    /// Nothing that is open here speaks with this peer, or with the component for it.
    fn has_no_lane(&mut self, why: NoLane, cx: &mut Context<'_>) {
        let reason = why.reason();
        let (cause, description) = match why {
            // SSL 3 has no alert about versions (RFC 6101 §5.4.2).
            NoLane::Ssl3 => (Cause::Downstream, alert::HANDSHAKE_FAILURE),
            NoLane::Format | NoLane::Version => (Cause::Downstream, alert::PROTOCOL_VERSION),
            NoLane::Source | NoLane::Over => (Cause::Policy, alert::ACCESS_DENIED),
        };
        if self.downstream.is_secure() {
            self.end_with_alert(reason, cause, description, cx);
        } else {
            self.end_now(reason, cause, CloseMode::Reset, cx);
        }
        if let Some(ending) = &mut self.ending {
            ending.detail(&why);
        }
    }

    /// How much there is to do for the peer, and how much would be lost.
    fn class_of(&self, lane: Lane, resumes: bool) -> Class {
        let is_asked = |tls: &ServerProfile| tls.client_cert() != ClientCert::None;
        match lane {
            Lane::Legacy => Class::Legacy,
            _ if resumes => Class::Resumed,
            _ if self.route.tls.as_ref().is_some_and(is_asked) => Class::Mutual,
            _ => Class::Full,
        }
    }

    pub(super) fn start_handshake(&mut self, reader: HelloReader, cx: &mut Context<'_>) {
        let profile = self.route.tls.as_ref().expect("a hello is only taken where TLS may end");
        let lane = self.lane(true).unwrap_or_default().lane;
        let max_content = reader.hello().ok().and_then(|hello| hello.max_content());
        let mut tls = match profile.accept(lane, self.sni.as_deref(), max_content) {
            Ok(tls) => tls,
            Err(error) => return self.tls_failed(Side::Downstream, error, cx),
        };
        let mut message = reader.reframed();
        let is_asked_again = self.policy.asks_for_identity();
        // The child gets it when the upstream does not have to be waited for any more.
        if is_asked_again || tls.remote().is_some() {
            let charged = reader.buffered();
            if !cx.hellos.change(self.source(), 0, charged) {
                return self.end_now(Reason::HelloMemory, Cause::Policy, CloseMode::Reset, cx);
            }
            let reader = is_asked_again.then_some(reader);
            self.phase = Phase::Handshake(Some(Box::new(Kept { reader, charged })));
        }
        let mut output = Output {
            pool: cx.pool,
            plaintext: self.upstream.inlet(),
            records: &mut self.downstream.queue,
        };
        let started = tls.start(&mut message, &mut output);
        self.downstream.speak(tls);
        match started {
            Ok(()) => self.dial_after_hello(),
            Err(mut error) => {
                if error.reason == Reason::NoSharedParameters && error.alert_sent.is_none() {
                    // rustls says nothing about a key that cannot sign for a TLS 1.2 peer.
                    self.queue_alert(alert::HANDSHAKE_FAILURE, cx);
                    error.alert_sent = Some(alert::HANDSHAKE_FAILURE);
                }
                self.tls_failed(Side::Downstream, error, cx);
            }
        }
    }

    /// There is nothing to shake hands about on this side: relays, once the upstream is ready.
    fn leave_unterminated(&mut self, what: Unterminated, cx: &mut Context<'_>) {
        self.release_hello(cx);
        self.phase = Phase::Relay;
        self.downstream.set_secure(false);
        cx.telemetry.on_unterminated(self.policy.index, what);
        self.dial();
    }

    /// The bytes that were read to see where they go: `before`, and those of `last`.
    fn pass_through(&mut self, before: &[u8], last: Buf, cx: &mut Context<'_>) {
        for part in before.chunks(BufClass::Bulk.plaintext_max()) {
            self.queue_upstream(cx.pool.copy_of(part), cx);
        }
        self.queue_upstream(last, cx);
    }

    /// Queues what the peer said before the upstream was dialled.
    fn queue_upstream(&mut self, buf: Buf, cx: &mut Context<'_>) {
        let bytes = buf.len() as u64;
        enqueue(self.upstream.inlet(), buf);
        self.bytes.received += bytes;
        cx.telemetry.on_received(self.policy.index, bytes);
    }

    fn hello_failed(&mut self, error: HelloError, cx: &mut Context<'_>) {
        let reason = match error {
            HelloError::TooLarge => Reason::HelloTooLarge,
            HelloError::Ssl2 => Reason::Ssl2,
            _ => Reason::HelloMalformed,
        };
        let alert = error.alert();
        if let Some(description) = alert {
            self.queue_alert(description, cx);
        }
        self.end(reason, Cause::Downstream, cx)
            .detail(&error)
            .alert_sent(alert)
            .flush_downstream(cx.now);
    }

    /// Queues an alert for a peer without keys, in place of whatever waited.
    pub(super) fn queue_alert(&mut self, description: u8, cx: &Context<'_>) {
        self.downstream.clear();
        self.downstream.tell_early(description, cx.pool);
    }
}

/// Whether what comes first, where plaintext could come, is TLS: a record of its handshake, or, where
/// a lane takes it, a ClientHello in the format of SSL 2, of which enough is here to tell.
fn is_tls(first: &[u8], policy: &ListenerPolicy) -> bool {
    match *first {
        [HANDSHAKE_RECORD, ..] => true,
        [0x80..=0xff, _, 1, 3, ..] => policy.has_legacy_lane(),
        _ => false,
    }
}

/// What TLS begins with (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// Most bytes kept for passing through: a ClientHello in records of which half is overhead.
const MAX_UNREAD: usize = 2 * MAX_MESSAGE;
