//! The connection slots of one thread: opens, drives and closes connections, and books what comes
//! of them. Which slot does what when is the worker's business.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mio::{Registry, Token};

use super::connection::{Connection, Done, Established, Outcome};
use super::exchange::Template;
use super::failure::{ErrorKind, Failure};
use super::gate::Desk;
use super::plan::{Plan, Workload};
use super::session::Handshake;
use super::share::Share;
use super::timeline::Recorder;
use super::tls::{Connector, TlsSetup};
use super::transport::Transport;

/// Bytes read at once.
const SCRATCH: usize = 256 * 1024;

/// What a slot is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Getting ready; not an operation.
    Prepare,
    /// An operation, when it should have started, and whether it is to resume a session.
    Operation { intended: Instant, resumes: bool },
}

/// A slot that has ended its task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) slot: usize,
    pub(super) task: Task,
    pub(super) failed: bool,
}

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    task: Option<Task>,
    /// With the sessions to resume, one store per slot.
    connector: Option<Connector>,
    /// The handshake of the current operation was not the kind that was wanted.
    not_resumed: bool,
    /// It is in the queue of those that can go on.
    queued: bool,
}

pub(super) struct Slots<'run> {
    plan: &'run Plan,
    target: SocketAddr,
    tls: Option<TlsSetup>,
    template: Template,
    registry: Registry,
    slots: Vec<Slot>,
    /// Slots that can go on without a new event, each at most once.
    ready: VecDeque<usize>,
    ended: Vec<Ended>,
    busy: usize,
    number: u64,
    scratch: Box<[u8]>,
    desk: &'run Desk,
    pub(super) recorder: Recorder,
}

impl<'run> Slots<'run> {
    /// Those of a thread; its number makes its echoes differ from those of others.
    pub(super) fn new(
        plan: &'run Plan,
        share: Share,
        tls: Option<TlsSetup>,
        template: Template,
        registry: Registry,
        desk: &'run Desk,
    ) -> Self {
        Self {
            plan,
            target: share.target,
            tls,
            template,
            registry,
            slots: (0..share.connections).map(|_| Slot::default()).collect(),
            ready: VecDeque::new(),
            ended: Vec::new(),
            busy: 0,
            number: (share.number as u64) << 40,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            desk,
            recorder: Recorder::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Slots that have a task.
    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    /// Whether a slot could go on without an event of its socket.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.ended.is_empty()
    }

    pub(super) fn is_connected(&self, slot: usize) -> bool {
        self.slots[slot].connection.is_some()
    }

    /// Takes the slots whose tasks have ended since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Gives a slot without a task one, connecting first where there is no connection.
    pub(super) fn start(&mut self, slot: usize, task: Task) {
        debug_assert!(self.slots[slot].task.is_none(), "one task at a time");
        self.slots[slot].task = Some(task);
        self.slots[slot].not_resumed = false;
        self.busy += 1;
        if self.slots[slot].connection.is_some() {
            self.begin(slot);
            self.drive(slot);
        } else if let Err(failure) = self.connect(slot) {
            self.fail(slot, &failure);
        }
    }

    /// Goes on with the slots that were ready before this call.
    pub(super) fn drive_ready(&mut self) {
        for _ in 0..self.ready.len() {
            if let Some(slot) = self.ready.pop_front() {
                self.slots[slot].queued = false;
                self.drive(slot);
            }
        }
    }

    /// Goes on with a slot whose socket has news; `hung_up` when the peer sends no more.
    pub(super) fn event(&mut self, slot: usize, hung_up: bool) {
        if let Some(Slot { connection: Some(connection), .. }) = self.slots.get_mut(slot) {
            connection.event(hung_up);
            self.drive(slot);
        }
    }

    /// Goes on with one slot; harmless when there is nothing to do.
    fn drive(&mut self, slot: usize) {
        loop {
            let Some(Slot { connection: Some(connection), .. }) = self.slots.get_mut(slot) else {
                return;
            };
            match connection.drive(&mut self.scratch) {
                Ok(Outcome::Waiting) => return,
                Ok(Outcome::Turn) => {
                    if !std::mem::replace(&mut self.slots[slot].queued, true) {
                        self.ready.push_back(slot);
                    }
                    return;
                }
                Ok(Outcome::Established(established)) => {
                    if !self.established(slot, &established) {
                        return;
                    }
                }
                Ok(Outcome::Done(done)) => return self.done(slot, &done),
                Err(failure) => return self.fail(slot, &failure),
            }
        }
    }

    /// Ends every task that is overdue.
    pub(super) fn expire(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let connection = self.slots[slot].connection.as_ref();
            if let Some(failure) = connection.and_then(|connection| connection.overdue(now)) {
                self.fail(slot, &failure);
            }
        }
    }

    /// Ends every task, for want of time.
    pub(super) fn abandon(&mut self) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].task.is_some() {
                let detail = "the operation was not over when the run had to end";
                self.fail(slot, &Failure::new(ErrorKind::ExchangeTimeout, detail));
            }
        }
    }

    fn connect(&mut self, slot: usize) -> Result<(), Failure> {
        let tls = match &self.tls {
            None => None,
            Some(setup) if self.wants_session(slot) => {
                let own = &mut self.slots[slot].connector;
                Some(own.get_or_insert_with(|| setup.with_own_sessions()).session()?)
            }
            Some(setup) => Some(setup.without_resumption().session()?),
        };
        let wants_alpn = self.plan.tls.as_ref().is_some_and(|tls| !tls.alpn.is_empty());
        let transport = Transport::connect(self.target, &self.registry, Token(slot), tls)?;
        let connection = Connection::new(transport, self.plan.timeout, wants_alpn);
        self.slots[slot].connection = Some(connection);
        self.desk.open.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the connection that a slot opens now resumes a session, or gets the first one to resume.
    fn wants_session(&self, slot: usize) -> bool {
        match (self.plan.workload, self.slots[slot].task) {
            (Workload::Handshakes { .. }, Some(Task::Operation { resumes, .. })) => resumes,
            (Workload::Handshakes { resumed }, _) => resumed > 0.0,
            _ => false,
        }
    }

    fn begin(&mut self, slot: usize) {
        self.number += 1;
        let exchange = self.template.exchange(self.number);
        if let Some(connection) = &mut self.slots[slot].connection {
            connection.begin(exchange);
        }
    }

    /// Books a new connection; returns whether its slot goes on with an exchange.
    fn established(&mut self, slot: usize, established: &Established) -> bool {
        let report = &mut self.recorder.current;
        report.connections += 1;
        report.connect.record(established.connect);
        match established.kind {
            None => {}
            Some(Handshake::Resumed) => {
                report.handshakes_resumed += 1;
                report.handshake_resumed.record(established.handshake);
            }
            Some(Handshake::Full) => {
                report.handshakes_full += 1;
                report.handshake_full.record(established.handshake);
                let task = self.slots[slot].task;
                self.slots[slot].not_resumed =
                    matches!(task, Some(Task::Operation { resumes: true, .. }));
            }
        }
        let only_connect = self.plan.workload.keeps_connections();
        if self.slots[slot].task == Some(Task::Prepare) && only_connect {
            self.end(slot, false);
            return false;
        }
        self.begin(slot);
        true
    }

    fn done(&mut self, slot: usize, done: &Done) {
        if !self.plan.workload.keeps_connections()
            && let Some(connection) = self.disconnect(slot)
            && let Err(failure) = connection.close()
        {
            return self.fail(slot, &failure);
        }
        let Slot { task: Some(Task::Operation { intended, resumes }), not_resumed, .. } =
            self.slots[slot]
        else {
            return self.end(slot, false);
        };
        if not_resumed {
            let detail = "the server made a full handshake";
            return self.fail(slot, &Failure::new(ErrorKind::NotResumed, detail));
        }
        let report = &mut self.recorder.current;
        report.done += 1;
        report.resumed += u64::from(resumes);
        report.bytes_sent += done.sent;
        report.bytes_received += done.received;
        report.first_byte.record(done.first_byte);
        report.total.record(intended.elapsed());
        self.desk.done.fetch_add(1, Ordering::Relaxed);
        self.end(slot, false);
    }

    fn fail(&mut self, slot: usize, failure: &Failure) {
        self.recorder.current.fail(failure);
        self.desk.errors.fetch_add(1, Ordering::Relaxed);
        // Dropping it closes the socket; there is nobody to say goodbye to.
        self.disconnect(slot);
        self.end(slot, true);
    }

    fn disconnect(&mut self, slot: usize) -> Option<Connection> {
        let connection = self.slots[slot].connection.take()?;
        self.desk.open.fetch_sub(1, Ordering::Relaxed);
        Some(connection)
    }

    /// Frees the slot. One without a task lost an idle connection: there is nothing to end.
    fn end(&mut self, slot: usize, failed: bool) {
        if let Some(task) = self.slots[slot].task.take() {
            self.busy -= 1;
            self.ended.push(Ended { slot, task, failed });
        }
    }
}
