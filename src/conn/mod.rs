//! One connection: a downstream socket, its upstream socket, and the TLS between them.
//!
//! Pure: events and time go in by [`Connection::handle`], operations come out of
//! [`Connection::poll_action`]. After every `handle`, the caller MUST take actions until there are
//! none, then read [`Connection::next_deadline`] and call `handle(Input::Deadline)` when it has
//! passed. The last action is [`Action::Finish`].
//!
//! Phases: (proxy_in →) hello → handshake → relay, and from any of them → ending. One file each. Where the peer's
//! TLS does not end here, there is no handshake, and where it speaks none, no hello. Meanwhile the
//! upstream is dialled and, where TLS is spoken to it, its handshake done (dial).

mod dial;
mod ending;
mod handshake;
mod hello;
pub mod outcome;
mod proxy_in;
mod proxy_out;
mod relay;
mod revalidate;
pub mod security;
mod side;
pub mod stale;
mod steps;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admission::Shed;
use crate::admission::hello_budget::HelloBudget;
use crate::buf::{Buf, BufClass, Layout, Pool};
use crate::config::model::Revalidate;
use crate::engine::{CloseMode, Operation, Side, Source};
use crate::lane::{Profile, Unpassed};
use crate::policy::{Downstream, ListenerPolicy, Route};
use crate::telemetry::ShardTelemetry;
use crate::time::Time;
use crate::tls::alert;
use crate::upstream::{Destination, Upstreams};
use dial::{Dial, Failure};
use ending::Ending;
use hello::{Kept, Opening};
use outcome::{ByteCounts, Cause, Outcome, PhaseTimes, Reason};
use proxy_in::{Introduction, Proxy};
use revalidate::{Grounds, Said};
use side::SideState;
use steps::Waiting;

/// What happened to a connection.
#[derive(Debug)]
pub enum Input {
    /// The first input: its downstream socket can be used.
    Accepted,
    /// The upstream is connected.
    Connected,
    Received(Side, Buf),
    /// The peer's FIN.
    ReceiveClosed(Side),
    Sent(Side),
    Failed(Side, Operation, io::Error),
    Closed(Side),
    /// The time that [`Connection::next_deadline`] gave has come.
    Deadline,
    /// The step of a handshake that waits ([`Connection::waits_for_turn`]) has its turn.
    Step,
    /// It has none, for this reason.
    Shed(Shed),
    /// The gateway goes down now, for this reason.
    Stop(Reason),
    /// It is stale, and ends now: in order, or at once.
    Expelled(Revalidate),
    /// An operator wants it to end.
    Dismissed(Farewell),
}

/// How a connection is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Farewell {
    /// Behind what was received up to then, with close_notify and FIN on both sides.
    InOrder,
    /// With RST.
    AtOnce,
}

impl Input {
    /// Tells of the upstream's socket, and not that it has closed.
    fn is_of_upstream(&self) -> bool {
        matches!(
            self,
            Self::Connected
                | Self::Received(Side::Upstream, _)
                | Self::ReceiveClosed(Side::Upstream)
                | Self::Sent(Side::Upstream)
                | Self::Failed(Side::Upstream, ..)
        )
    }
}

/// What is to be done for it.
#[derive(Debug)]
pub enum Action {
    /// Dial this endpoint of the route's group, at this address, from there.
    Connect {
        endpoint: usize,
        to: Arc<Destination>,
        source: Source,
    },
    Receive(Side, BufClass, Layout),
    Send(Side, Buf),
    ShutdownWrite(Side),
    Close(Side, CloseMode),
    /// Pass this side's socket to the child, for TLS by this profile, and put our end of a pair that
    /// leads there in its place. How that went is for [`Connection::passed`].
    HandOver(Side, Arc<Profile>),
    /// Both sockets are closed: log, count and forget the connection.
    Finish(Box<Outcome>),
}

/// What a connection borrows from its shard.
pub struct Context<'a> {
    pub now: Time,
    pub pool: &'a Pool,
    pub upstreams: &'a mut Upstreams,
    pub hellos: &'a mut HelloBudget,
    pub telemetry: &'a mut ShardTelemetry,
}

/// See the module.
pub struct Connection {
    policy: Arc<ListenerPolicy>,
    route: Arc<Route>,
    peer: Option<SocketAddr>,
    /// Where the PROXY protocol is spoken, on either side.
    proxy: Option<Box<Proxy>>,
    accepted_at: Time,
    /// When the phase that is now running began.
    phase_since: Time,
    /// When bytes last moved, either way.
    last_activity: Time,
    phase: Phase,
    downstream: SideState,
    upstream: SideState,
    dial: Dial,
    waiting: Option<Box<Waiting>>,
    ending: Option<Box<Ending>>,
    /// Which side was the first to send no more.
    first_ended: Option<Side>,
    /// Whose TCP stream ended without close_notify.
    truncated: Option<Side>,
    sni: Option<Arc<str>>,
    /// The handshake with the peer was an abbreviated one.
    resumed: bool,
    said: Said,
    grounds: Option<Box<Grounds>>,
    /// See [`Connection::take_news`].
    news: bool,
    /// It was to be judged before it was there: see [`Connection::is_overdue`].
    put_off: bool,
    /// See [`Connection::holds_tickets`].
    tickets_wait: bool,
    bytes: ByteCounts,
    times: PhaseTimes,
}

enum Phase {
    /// Nobody has looked at it yet.
    Accepted,
    Introduction(Box<Introduction>),
    Hello(Box<Opening>),
    /// With the ClientHello, if the policy is to be asked again when it is over.
    Handshake(Option<Box<Kept>>),
    Relay,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(policy: Arc<ListenerPolicy>, peer: Option<SocketAddr>, now: Time) -> Self {
        let route = Arc::clone(policy.route());
        let secure = policy.downstream != Downstream::Plaintext;
        Self {
            policy,
            route,
            peer,
            proxy: None,
            accepted_at: now,
            phase_since: now,
            last_activity: now,
            phase: Phase::Accepted,
            downstream: SideState::open(secure),
            upstream: SideState::absent(),
            dial: Dial::default(),
            waiting: None,
            ending: None,
            first_ended: None,
            truncated: None,
            sni: None,
            resumed: false,
            said: Said::default(),
            grounds: None,
            news: false,
            put_off: false,
            tickets_wait: false,
            bytes: ByteCounts::default(),
            times: PhaseTimes::default(),
        }
    }

    /// What the connection was admitted under.
    pub fn policy(&self) -> &Arc<ListenerPolicy> {
        &self.policy
    }

    /// Where it goes, as far as that is known by now.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// True once it is on its way out.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Takes one event.
    pub fn handle(&mut self, input: Input, cx: &mut Context<'_>) {
        match &input {
            Input::Received(side, _)
            | Input::ReceiveClosed(side)
            | Input::Failed(side, Operation::Receive, _) => {
                self.side_mut(*side).receiving = false;
            }
            Input::Sent(side) => {
                self.side_mut(*side).sending = 0;
                self.last_activity = cx.now;
            }
            Input::Failed(side, Operation::Send, _) => self.side_mut(*side).sending = 0,
            _ => {}
        }
        if self.ending.is_some() {
            return self.handle_ending(input, cx);
        }
        if self.dial.discards() && input.is_of_upstream() {
            return;
        }
        match input {
            Input::Accepted => self.on_accepted(cx),
            Input::Received(side, buf) => {
                if !self.side(side).is_sign_of_life(&buf) {
                    self.last_activity = cx.now;
                }
                self.side_mut(side).note_received(&buf);
                self.on_received(side, buf, cx);
            }
            Input::ReceiveClosed(side) => self.on_receive_closed(side, cx),
            Input::Connected => self.on_connected(cx),
            Input::Failed(_, Operation::Connect, error) => self.on_connect_failed(&error, cx),
            Input::Failed(side, _, error) => self.on_failed(side, &error, cx),
            Input::Closed(side) => self.on_closed(side),
            Input::Deadline => self.on_deadline(cx),
            Input::Step => self.step(cx),
            Input::Shed(why) => self.shed(why, cx),
            Input::Stop(reason) => self.stop(reason, cx),
            Input::Expelled(how) => self.expel(how, cx),
            Input::Dismissed(how) => self.dismiss(how, cx),
            Input::Sent(_) => {}
        }
    }

    /// The next operation to start, until `None`.
    pub fn poll_action(&mut self, cx: &mut Context<'_>) -> Option<Action> {
        if self.ending.is_none() {
            if let Some(action) = self.poll_dial(cx) {
                return Some(action);
            }
            if let Some(action) = self.poll_discard() {
                return Some(action);
            }
            for side in [Side::Downstream, Side::Upstream] {
                if let Some(action) = self.poll_side(side, cx) {
                    return Some(action);
                }
            }
        }
        // Polling a side may have been what ended the connection.
        self.poll_ending(cx)
    }

    /// What became of [`Action::HandOver`].
    pub fn passed(&mut self, side: Side, result: Result<(), Unpassed>, cx: &mut Context<'_>) {
        if !self.policy.asks_for_identity() {
            self.release_hello(cx);
        }
        let reason = match result {
            Ok(()) => return self.side_mut(side).passed(cx.pool),
            Err(Unpassed::Down) => Reason::LegacyDown,
            Err(Unpassed::Busy) => Reason::LegacyBusy,
        };
        if self.ending.is_some() {
            return;
        }
        match side {
            Side::Downstream => {
                self.end_with_alert(reason, Cause::Local, alert::INTERNAL_ERROR, cx);
            }
            Side::Upstream => self.on_attempt_failed(Failure::of(reason), cx),
        }
    }

    /// When [`Input::Deadline`] is due; may have passed already.
    pub fn next_deadline(&self) -> Option<Time> {
        if let Some(ending) = &self.ending {
            return ending.deadline();
        }
        let phase = match self.phase {
            Phase::Relay => self.relay_deadline(),
            _ => Some(self.handshake_ends()),
        };
        [phase, self.dial.deadline()].into_iter().flatten().min()
    }

    /// Gives back memory that is quickly made again, if nothing has moved for so long. False while it
    /// has.
    pub fn rest_after(&mut self, idle: Duration, now: Time) -> bool {
        if now.since(self.last_activity) < idle {
            return false;
        }
        self.downstream.rest();
        self.upstream.rest();
        true
    }

    /// Whether it relays, nothing waits to be sent, and nothing has moved for so long.
    pub fn is_quiet(&self, idle: Duration, now: Time) -> bool {
        let is_idle = self.is_settled() && now.since(self.last_activity) >= idle;
        is_idle && self.downstream.backlog() == 0 && self.upstream.backlog() == 0
    }

    fn on_received(&mut self, side: Side, buf: Buf, cx: &mut Context<'_>) {
        if self.is_step(side) {
            return self.wait_with(side, buf);
        }
        self.take_received(side, buf, cx);
    }

    fn take_received(&mut self, side: Side, buf: Buf, cx: &mut Context<'_>) {
        match (side, &self.phase) {
            (Side::Upstream, _) => self.receive_from_upstream(buf, cx),
            (Side::Downstream, Phase::Introduction(_)) => self.on_introduction_bytes(buf, cx),
            (Side::Downstream, Phase::Accepted | Phase::Hello(_)) => self.on_hello_bytes(buf, cx),
            (Side::Downstream, Phase::Handshake(_)) => self.on_handshake_bytes(buf, cx),
            (Side::Downstream, Phase::Relay) => self.relay_from(Side::Downstream, buf, cx),
        }
    }

    fn on_receive_closed(&mut self, side: Side, cx: &mut Context<'_>) {
        match (side, &self.phase) {
            (Side::Downstream, Phase::Introduction(_)) => self.introduction_eof(cx),
            (Side::Downstream, Phase::Accepted | Phase::Hello(_)) => self.hello_eof(cx),
            (Side::Downstream, Phase::Handshake(_)) => self.handshake_eof(cx),
            (Side::Downstream, Phase::Relay) => self.relay_eof(Side::Downstream, cx),
            (Side::Upstream, _) => self.upstream_eof(cx),
        }
    }

    fn on_deadline(&mut self, cx: &mut Context<'_>) {
        if self.dial.deadline().is_some_and(|deadline| deadline <= cx.now) {
            return self.on_dial_deadline(cx);
        }
        if matches!(self.phase, Phase::Relay) {
            return self.relay_timeout(cx);
        }
        if self.handshake_ends() <= cx.now {
            self.handshake_timeout(cx);
        }
    }

    /// When everything before the relay must be over.
    fn handshake_ends(&self) -> Time {
        self.accepted_at + self.policy.timeouts.handshake
    }

    fn poll_side(&mut self, side: Side, cx: &mut Context<'_>) -> Option<Action> {
        if self.ending.is_some() || side == Side::Upstream && self.dial.discards() {
            return None;
        }
        let waits = side == Side::Downstream && self.holds_tickets(cx);
        let parting = self.truncated != Some(side.other());
        if let Err(error) = self.side_mut(side).seal(parting, cx.pool) {
            self.tls_failed(side, error, cx);
            return None;
        }
        if !self.side(side).is_open() {
            return None;
        }
        let held = waits || side == Side::Downstream && self.holds_flight();
        if !held && self.side(side).sending == 0 {
            let state = self.side_mut(side);
            if let Some(buf) = state.next_to_send() {
                return Some(Action::Send(side, buf));
            }
            if let Some(profile) = state.wants_child() {
                return Some(Action::HandOver(side, Arc::clone(profile)));
            }
            if !state.output.is_open() {
                let action = self.poll_end_of_output(side, cx);
                if action.is_some() || self.ending.is_some() {
                    return action;
                }
            }
        }
        let state = self.side(side);
        // What is to be passed is passed with all that is in it.
        if state.receiving || state.ended || state.wants_child().is_some() {
            return None;
        }
        if !self.may_receive(side, cx) {
            return None;
        }
        let layout = self.receive_layout(side);
        let state = self.side_mut(side);
        state.receiving = true;
        Some(Action::Receive(side, state.receive_class(), layout))
    }

    /// The queue of `side` is empty, and nothing more will be in it.
    fn poll_end_of_output(&mut self, side: Side, cx: &mut Context<'_>) -> Option<Action> {
        let other = self.side(side.other());
        // What tells the child of an end is sent, too.
        let last_output = other.output.is_ended() && other.sending == 0;
        let state = self.side_mut(side);
        let may_end = state.output.is_ending() && state.is_ready();
        if may_end && state.owes_fin() {
            return state.take_fin(cx.pool).map(|fin| Action::Send(side, fin));
        }
        if may_end {
            state.output.end();
        }
        if state.output.is_ended() && last_output {
            // Closing both sockets sends this FIN, too.
            self.finish(cx);
            return None;
        }
        may_end.then_some(Action::ShutdownWrite(side))
    }

    /// Sends the connection this way; nothing was dialled yet.
    fn follow(&mut self, route: Arc<Route>) {
        self.upstream.set_secure(route.upstream_tls.is_some());
        self.route = route;
    }

    fn ends(&mut self, from: Side) -> (&mut SideState, &mut SideState) {
        match from {
            Side::Downstream => (&mut self.downstream, &mut self.upstream),
            Side::Upstream => (&mut self.upstream, &mut self.downstream),
        }
    }

    fn side(&self, side: Side) -> &SideState {
        match side {
            Side::Downstream => &self.downstream,
            Side::Upstream => &self.upstream,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut SideState {
        match side {
            Side::Downstream => &mut self.downstream,
            Side::Upstream => &mut self.upstream,
        }
    }
}
