//! A trace told connection by connection, and whether each deadline came in time.

use std::collections::BTreeMap;
use std::time::Duration;

use tlsgate::conn::outcome::{Reason, Stage};
use tlsgate::engine::sim::LATE;
use tlsgate::engine::sim::network::WireId;
use tlsgate::engine::sim::trace::{Standing, What};
use tlsgate::engine::{CloseMode, Operation, Side, SocketId};
use tlsgate::shard::wheel::TICK;
use tlsgate::time::Time;

use crate::outside::Given;
use crate::plan::Order;
use crate::run::{Finish, Run};

/// What happened to one connection.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) wire: WireId,
    pub(crate) accepted: Time,
    /// When bytes moved, or the upstream was connected.
    activity: Vec<Time>,
    /// When the gateway could first know that a direction had ended.
    pub(crate) half_closed: Option<Time>,
    /// When the last endpoint was dialled.
    pub(crate) dialled: Option<Time>,
    /// The same from its first source: others may have only what is left of its time.
    pub(crate) first_dialled: Option<Time>,
    /// The source had no port left: the next one has what is left of the time.
    next_source: bool,
    /// The dialling that is under way, and the longest there was.
    dialling: Option<Time>,
    longest_dial: Duration,
    /// The kernel gave up on an endpoint.
    pub(crate) dial_timed_out: bool,
    /// When the downstream was asked to close, and the last send on it ended.
    closed: Option<Time>,
    last_sent: Option<Time>,
    /// It was reset with bytes owed to a peer that had not failed.
    cut_short: bool,
    down_failed: bool,
    /// What both sockets were at when each was asked to close.
    pub(crate) at_close: [Option<[Standing; 2]>; 2],
    /// When the upstream was asked to close.
    pub(crate) upstream_closed: Option<Time>,
    /// Bytes that the upstream's socket was given to send.
    pub(crate) sent_up: u64,
}

/// All lives and their ends.
pub(crate) struct Told<'a> {
    pub(crate) lives: Vec<(Life, &'a Finish)>,
    pub(crate) findings: Vec<String>,
}

impl Life {
    fn new(wire: WireId, accepted: Time) -> Self {
        Self {
            wire,
            accepted,
            activity: vec![accepted],
            half_closed: None,
            dialled: None,
            first_dialled: None,
            next_source: false,
            dialling: None,
            longest_dial: Duration::ZERO,
            dial_timed_out: false,
            closed: None,
            last_sent: None,
            cut_short: false,
            down_failed: false,
            at_close: [None, None],
            upstream_closed: None,
            sent_up: 0,
        }
    }

    /// The last time that bytes moved before `time`.
    pub(crate) fn last_activity_before(&self, time: Time) -> Time {
        self.activity.iter().copied().filter(|at| *at < time).max().unwrap_or(self.accepted)
    }

    fn last_activity_until(&self, time: Time) -> Time {
        self.activity.iter().copied().filter(|at| *at <= time).max().unwrap_or(self.accepted)
    }
}

/// Reads the trace of a run.
pub(crate) fn tell<'a>(given: &[Given], run: &'a Run) -> Told<'a> {
    let mut teller = Teller {
        slack: TICK + LATE + longest_turn(run) * 2,
        cut: cut(given, run),
        open: BTreeMap::new(),
        findings: Vec::new(),
    };
    let mut lives = Vec::new();
    let mut finishes = run.finishes.iter().peekable();
    let mut closed_last = None;
    for (position, entry) in run.trace.iter().enumerate() {
        if let Some(finish) = finishes.next_if(|finish| finish.position == position) {
            match closed_last.and_then(|slot| teller.open.remove(&slot)) {
                Some(life) => {
                    teller.check_deadlines(&life, finish);
                    lives.push((life, finish));
                }
                None => teller.findings.push("a connection finished that was not open".to_owned()),
            }
        }
        if let What::GotClosed { socket } = &entry.what {
            closed_last = Some(socket.slot);
        }
        teller.read(entry.at, &entry.what);
    }
    if !teller.open.is_empty() {
        teller.findings.push(format!("{} connections without an outcome", teller.open.len()));
    }
    Told { lives, findings: teller.findings }
}

struct Teller {
    /// How late a deadline may be: a tick of the wheel, the waking of a thread, the turn that was
    /// under way and the one that it is found in.
    slack: Duration,
    /// When a drain ends, or a stop comes.
    cut: Option<Time>,
    /// By slot.
    open: BTreeMap<u32, Life>,
    findings: Vec<String>,
}

impl Teller {
    fn read(&mut self, at: Time, what: &What) {
        match what {
            What::DoAdopt { socket, wire, .. } => {
                let before = self.open.insert(socket.slot, Life::new(*wire, at));
                if before.is_some() {
                    self.findings.push(format!("slot {} is in use", socket.slot));
                }
            }
            What::DoConnect { socket, .. } => {
                self.with(*socket, |life| {
                    life.first_dialled =
                        life.first_dialled.filter(|_| life.next_source).or(Some(at));
                    (life.dialled, life.dialling, life.sent_up) = (Some(at), Some(at), 0);
                });
            }
            What::GotConnected { socket } => {
                self.end_dialling(*socket, at);
                self.with(*socket, |life| life.activity.push(at));
            }
            What::GotFailed { socket, operation: Operation::Connect, errno } => {
                self.end_dialling(*socket, at);
                self.with(*socket, |life| {
                    life.dial_timed_out |= *errno == libc::ETIMEDOUT;
                    life.next_source = matches!(*errno, libc::EADDRNOTAVAIL | libc::EADDRINUSE);
                });
            }
            What::GotReceived { socket, .. } => self.with(*socket, |life| life.activity.push(at)),
            What::GotSent { socket } => self.with(*socket, |life| {
                life.activity.push(at);
                if socket.side == Side::Downstream {
                    life.last_sent = Some(at);
                }
            }),
            What::GotReceiveClosed { socket } => self.with(*socket, |life| {
                life.half_closed.get_or_insert(at);
            }),
            What::DoShutdown { socket } if socket.side == Side::Upstream => {
                self.with(*socket, |life| {
                    life.half_closed.get_or_insert(at);
                });
            }
            What::DoSend { socket, len } if socket.side == Side::Upstream => {
                self.with(*socket, |life| life.sent_up += *len as u64);
            }
            What::GotFailed { socket, .. } if socket.side == Side::Downstream => {
                self.with(*socket, |life| life.down_failed = true);
            }
            What::DoClose { socket, standing, how } => {
                if socket.side == Side::Upstream {
                    self.end_dialling(*socket, at);
                }
                self.with(*socket, |life| {
                    life.at_close[usize::from(socket.side == Side::Upstream)] = Some(*standing);
                    if socket.side == Side::Upstream {
                        life.upstream_closed = Some(at);
                    } else {
                        life.closed = Some(at);
                        let owed = standing[0].sending && !life.down_failed;
                        life.cut_short = owed && *how == CloseMode::Reset;
                    }
                });
            }
            _ => {}
        }
    }

    fn with(&mut self, socket: SocketId, tell: impl FnOnce(&mut Life)) {
        match self.open.get_mut(&socket.slot) {
            Some(life) => tell(life),
            None => self.findings.push(format!("{socket:?} belongs to no connection")),
        }
    }

    fn end_dialling(&mut self, socket: SocketId, at: Time) {
        if let Some(life) = self.open.get_mut(&socket.slot)
            && let Some(began) = life.dialling.take()
        {
            life.longest_dial = life.longest_dial.max(at - began);
        }
    }

    /// Nothing lived longer than its deadlines allow.
    fn check_deadlines(&mut self, life: &Life, finish: &Finish) {
        let outcome = &finish.outcome;
        let timeouts = &finish.policy.timeouts;
        let ended = life.accepted + outcome.phases.lifetime;
        let mut limits = vec![];
        if matches!(outcome.stage, Stage::Proxy | Stage::Hello | Stage::Handshake) {
            limits.push(("handshake", life.accepted + timeouts.handshake));
        } else {
            let phases = [outcome.phases.hello, outcome.phases.handshake];
            let handshake: Duration = phases.into_iter().flatten().sum();
            let quiet = life.last_activity_until(ended).max(life.accepted + handshake);
            limits.extend(timeouts.idle.map(|idle| ("idle", quiet + idle)));
            if let Some(half_closed) = life.half_closed.filter(|at| *at <= ended) {
                limits.push(("half-close", quiet.max(half_closed) + timeouts.half_close));
            }
        }
        limits.extend(self.cut.map(|cut| ("drain", cut.max(life.accepted))));
        for (name, limit) in limits {
            if ended > limit + self.slack {
                let late = ended - limit;
                self.findings.push(format!("{name} deadline missed by {late:?}: {outcome:?}"));
            }
        }
        let dialled = life.longest_dial;
        if dialled > timeouts.connect + self.slack {
            self.findings.push(format!("dialled for {dialled:?}: {outcome:?}"));
        }
        // Where the component is told first who comes, its handshake waits for the peer's.
        let waits = finish.policy.introduces.then_some(outcome.phases.handshake).flatten();
        let known =
            waits.map(|time| life.accepted + outcome.phases.hello.unwrap_or_default() + time);
        let begun = life.dialled.map(|dialled| known.map_or(dialled, |known| known.max(dialled)));
        if outcome.reason == Reason::UpstreamHandshakeTimeout
            && let Some(dialled) = begun
            && ended > dialled + timeouts.connect + self.slack
        {
            let late = ended - dialled;
            self.findings.push(format!("upstream's handshake took {late:?}: {outcome:?}"));
        }
        let Some(closed) = life.closed else { return };
        let since = life.last_sent.map_or(ended, |sent| sent.max(ended));
        if life.cut_short && closed > ended && closed < since + LINGER {
            let early = since + LINGER - closed;
            self.findings.push(format!("cut {early:?} before its time: {outcome:?}"));
        }
        if closed > since + LINGER + self.slack {
            let late = closed - since;
            self.findings.push(format!("lingered for {late:?}: {outcome:?}"));
        }
    }
}

/// When everything is to end, as the shard was told: a later drain takes the place of an earlier
/// one that has not ended.
fn cut(given: &[Given], run: &Run) -> Option<Time> {
    let woken = |from: usize| {
        let entries = run.trace[from..].iter();
        entries.filter(|entry| entry.what == What::GotWoken).map(|entry| entry.at).next()
    };
    given.iter().fold(None, |cut, given| {
        let (woken, order) = (woken(given.position), given.order);
        let told = match order {
            Order::Drain { patience } => woken.map(|at| at + patience),
            Order::Stop => woken,
            _ => None,
        };
        match (cut, told) {
            (Some(cut), Some(told)) if Some(cut) <= woken || matches!(order, Order::Stop) => {
                Some(told.min(cut))
            }
            (cut, told) => told.or(cut),
        }
    })
}

/// The longest time that the shard did not look at its timers.
fn longest_turn(run: &Run) -> Duration {
    let mut longest = Duration::ZERO;
    let mut began = Time::ZERO;
    for entry in &run.trace {
        match &entry.what {
            What::Turn { .. } => began = entry.at,
            What::DoWait { .. } => longest = longest.max(entry.at - began),
            _ => {}
        }
    }
    longest
}

/// `LINGER` in conn/ending.
const LINGER: Duration = Duration::from_secs(1);
