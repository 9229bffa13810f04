//! Steps of handshakes: they take long, so what they need waits here until the shard says that it is
//! their turn.

use std::collections::VecDeque;

use super::outcome::{Cause, Reason};

use super::{Connection, Context, Phase};
use crate::admission::{Class, Shaking, Shed};
use crate::buf::{Buf, enqueue};
use crate::engine::{CloseMode, Side};
use crate::time::Time;
use crate::tls::hello::HelloReader;
use crate::tls::lane::Lane;

/// What waits for its turn.
pub(super) struct Waiting {
    class: Class,
    /// The ClientHello, as long as no TLS library has seen it.
    hello: Option<HelloReader>,
    /// Bytes of the budget for hellos that it holds: of the shard's part, since no peer can help it.
    charged: usize,
    /// Behind the ClientHello.
    downstream: VecDeque<Buf>,
    upstream: VecDeque<Buf>,
}

impl Waiting {
    fn begun() -> Self {
        Self {
            class: Class::Begun,
            hello: None,
            charged: 0,
            downstream: VecDeque::new(),
            upstream: VecDeque::new(),
        }
    }

    fn received(&mut self, side: Side) -> &mut VecDeque<Buf> {
        match side {
            Side::Downstream => &mut self.downstream,
            Side::Upstream => &mut self.upstream,
        }
    }
}

impl Connection {
    /// The class of the step that waits, if one does. The caller MUST see to it that
    /// [`Input::Step`](super::Input::Step) or [`Input::Shed`](super::Input::Shed) follows.
    pub fn waits_for_turn(&self) -> Option<Class> {
        self.waiting.as_ref().map(|waiting| waiting.class)
    }

    /// Whose handshake with the peer is in progress, from the complete ClientHello on.
    pub fn is_shaking(&self) -> Option<Shaking> {
        if self.ending.is_some() || !matches!(self.phase, Phase::Handshake(_)) {
            return None;
        }
        if self.lane(true).is_some_and(|choice| choice.lane == Lane::Legacy) {
            return Some(Shaking::Legacy);
        }
        let is_held = self.waiting.is_none() && self.holds_flight();
        Some(if is_held { Shaking::Held } else { Shaking::Here })
    }

    /// The ClientHello is complete, and `rest` came behind it.
    pub(super) fn wait_with_hello(
        &mut self,
        class: Class,
        hello: HelloReader,
        rest: Buf,
        cx: &mut Context<'_>,
    ) {
        let charged = hello.buffered();
        if !cx.hellos.change(None, 0, charged) {
            return self.end_now(Reason::HelloMemory, Cause::Policy, CloseMode::Reset, cx);
        }
        let mut waiting = Waiting { class, hello: Some(hello), charged, ..Waiting::begun() };
        if !rest.is_empty() {
            waiting.downstream.push_back(rest);
        }
        self.waiting = Some(Box::new(waiting));
    }

    /// Whether bytes from `side` are for a handshake whose library is in this process.
    pub(super) fn is_step(&self, side: Side) -> bool {
        match side {
            Side::Downstream => {
                let tls = self.downstream.tls.as_ref();
                matches!(self.phase, Phase::Handshake(_))
                    && tls.is_none_or(|tls| tls.remote().is_none())
            }
            Side::Upstream => {
                let tls = self.upstream.tls.as_ref();
                tls.is_some_and(|tls| tls.is_handshaking() && tls.remote().is_none())
            }
        }
    }

    /// Bytes for a handshake have come.
    pub(super) fn wait_with(&mut self, side: Side, buf: Buf) {
        let waiting = self.waiting.get_or_insert_with(|| Box::new(Waiting::begun()));
        enqueue(waiting.received(side), buf);
    }

    /// True while nothing more is read from `side`. Beside a ClientHello that waits, a receive is
    /// outstanding, which tells when the peer has left; the legacy lane's socket is passed without one.
    pub(super) fn waits_with(&mut self, side: Side) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let is_legacy = side == Side::Downstream && waiting.class == Class::Legacy;
        is_legacy || !waiting.received(side).is_empty()
    }

    /// True while no TLS library has seen the ClientHello.
    pub(super) fn hello_waits(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.hello.is_some())
    }

    /// Its turn has come.
    pub(super) fn step(&mut self, cx: &mut Context<'_>) {
        let Some(mut waiting) = self.take_waiting(cx) else { return };
        if let Some(hello) = waiting.hello.take() {
            self.start_handshake(hello, cx);
        }
        for buf in waiting.downstream {
            if self.ending.is_none() {
                self.take_received(Side::Downstream, buf, cx);
            }
        }
        for buf in waiting.upstream {
            if self.ending.is_none() && !self.dial.discards() {
                self.take_received(Side::Upstream, buf, cx);
            }
        }
    }

    /// True when the time for handshakes has passed and its turn has not come.
    pub fn is_late(&self, now: Time) -> bool {
        self.ending.is_none() && self.hello_waits() && self.handshake_ends() <= now
    }

    /// It is not done: as if nobody had been there.
    pub(super) fn shed(&mut self, why: Shed, cx: &mut Context<'_>) {
        cx.telemetry.on_shed(why);
        self.end_now(Reason::Overloaded, Cause::Local, CloseMode::Reset, cx);
        if let Some(ending) = &mut self.ending {
            ending.detail(&why);
        }
    }

    /// What waits will not be done.
    pub(super) fn forget_waiting(&mut self, cx: &mut Context<'_>) {
        let _dropped = self.take_waiting(cx);
    }

    /// What an upstream has said that is given up is nothing to the next one.
    pub(super) fn forget_waiting_upstream(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        waiting.upstream.clear();
        if waiting.hello.is_none() && waiting.downstream.is_empty() {
            self.waiting = None;
        }
    }

    fn take_waiting(&mut self, cx: &mut Context<'_>) -> Option<Box<Waiting>> {
        let waiting = self.waiting.take()?;
        if waiting.charged > 0 {
            let released = cx.hellos.change(None, waiting.charged, 0);
            debug_assert!(released, "shrinking is always allowed");
        }
        Some(waiting)
    }
}
