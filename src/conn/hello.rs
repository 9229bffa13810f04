//! Until the ClientHello is complete: little memory, no TLS work.

use super::outcome::{Cause, Reason};
use super::{Connection, Context, Phase};
use crate::buf::{Buf, BufClass};
use crate::engine::CloseMode;
use crate::policy::{Facts, Verdict};
use crate::tls::alert;
use crate::tls::hello::{Hello, HelloError, Progress};
use crate::tls::tls_conn::Output;

impl Connection {
    pub(super) fn on_hello_bytes(&mut self, mut buf: Buf, cx: &mut Context<'_>) {
        let Phase::Hello { reader, charged } = &mut self.phase else { return };
        let source = self.peer.map(|peer| peer.ip());
        match reader.feed(&buf) {
            Ok(Progress::NeedMore) => {
                let held = reader.buffered();
                if cx.hellos.change(source, *charged, held) {
                    *charged = held;
                } else {
                    self.end_now(Reason::HelloMemory, Cause::Policy, CloseMode::Reset, cx);
                }
            }
            Ok(Progress::Complete { consumed }) => {
                buf.advance(consumed);
                let mut message = reader.reframed();
                self.on_hello(&mut message, buf, cx);
            }
            Err(error) => self.hello_failed(error, cx),
        }
    }

    pub(super) fn hello_eof(&mut self, cx: &mut Context<'_>) {
        self.end_now(Reason::HelloEof, Cause::Downstream, CloseMode::Fin, cx);
    }

    /// Gives back what an unfinished hello held; called when the phase ends, however it ends.
    pub(super) fn release_hello(&mut self, cx: &mut Context<'_>) {
        if let Phase::Hello { charged, .. } = &mut self.phase
            && *charged > 0
        {
            let released = cx.hellos.change(self.peer.map(|peer| peer.ip()), *charged, 0);
            debug_assert!(released, "shrinking is always allowed");
            *charged = 0;
        }
    }

    /// `message` is the ClientHello in fresh records, `rest` what came behind it.
    fn on_hello(&mut self, message: &mut [u8], rest: Buf, cx: &mut Context<'_>) {
        let Phase::Hello { reader, .. } = &self.phase else { return };
        let hello = match Hello::parse(reader.message()) {
            Ok(hello) => hello,
            Err(error) => return self.hello_failed(error, cx),
        };
        self.sni = hello.sni.map(|sni| sni.bytes.escape_ascii().to_string().into());
        let facts = Facts {
            server_name: hello.sni.and_then(|sni| sni.dns_name()),
            tls12: hello.offers_tls12(),
            tls13: hello.offers_tls13(),
        };
        let verdict = self.route.admit(&facts);
        self.release_hello(cx);
        self.phase = Phase::Handshake;
        self.times.hello = Some(cx.now - self.phase_since);
        self.phase_since = cx.now;
        match verdict {
            Verdict::Admit => self.start_handshake(message, rest, cx),
            Verdict::VersionMismatch => {
                let reason = Reason::VersionMismatch;
                self.end_with_alert(reason, Cause::Downstream, alert::PROTOCOL_VERSION, cx);
            }
            Verdict::UnrecognizedName => {
                let reason = Reason::UnrecognizedName;
                self.end_with_alert(reason, Cause::Policy, alert::UNRECOGNIZED_NAME, cx);
            }
        }
    }

    fn start_handshake(&mut self, message: &mut [u8], rest: Buf, cx: &mut Context<'_>) {
        let profile = self.route.tls.as_ref().expect("a hello is only read where TLS ends");
        let mut tls = match profile.accept() {
            Ok(tls) => Box::new(tls),
            Err(error) => return self.tls_failed(error, cx),
        };
        let mut output = Output {
            pool: cx.pool,
            plaintext: &mut self.upstream.queue,
            records: &mut self.downstream.queue,
        };
        let started = tls.start(message, &mut output);
        self.tls = Some(tls);
        match started {
            Ok(()) => {
                self.dial_after_hello();
                if !rest.is_empty() {
                    self.on_handshake_bytes(rest, cx);
                }
            }
            Err(mut error) => {
                if error.reason == Reason::NoSharedParameters && error.alert_sent.is_none() {
                    // rustls says nothing about a key that cannot sign for a TLS 1.2 peer.
                    self.queue_alert(alert::HANDSHAKE_FAILURE, cx);
                    error.alert_sent = Some(alert::HANDSHAKE_FAILURE);
                }
                self.tls_failed(error, cx);
            }
        }
    }

    fn hello_failed(&mut self, error: HelloError, cx: &mut Context<'_>) {
        let reason = match error {
            HelloError::TooLarge => Reason::HelloTooLarge,
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

    /// Queues a plaintext alert in place of whatever waited.
    pub(super) fn queue_alert(&mut self, description: u8, cx: &Context<'_>) {
        let record = alert::plaintext_alert(description);
        let mut buf = cx.pool.take(BufClass::Message);
        buf.tail_mut()[..record.len()].copy_from_slice(&record);
        buf.extend(record.len());
        self.downstream.queue.clear();
        self.downstream.queue.push_back(buf);
    }
}
