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
use super::flow::{Flow, Wants};
use super::gate::Desk;
use super::hello::{Hello, OddSession, Pacing};
use super::plan::Workload;
use super::session::Handshake;
use super::share::Share;
use super::timeline::Recorder;
use super::tls::{Connector, TlsSetup};
use super::transport::{Tls, Transport};

/// Bytes read at once.
const SCRATCH: usize = 256 * 1024;

/// What a slot is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Getting ready; not an operation.
    Prepare,
    /// An operation, when it should have started, whether it is to resume a session, and the number of
    /// the attempt, from 1 on.
    Operation { intended: Instant, resumes: bool, attempt: u32 },
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
    flow: &'run Flow,
    target: SocketAddr,
    tls: Option<TlsSetup>,
    template: Template,
    registry: Registry,
    slots: Vec<Slot>,
    /// The number of the first slot among those of all threads of the flow.
    first_client: usize,
    /// Slots that can go on without a new event, each at most once.
    ready: VecDeque<usize>,
    ended: Vec<Ended>,
    /// Slots that lost their connections while they had no task.
    lost: Vec<usize>,
    busy: usize,
    number: u64,
    scratch: Box<[u8]>,
    desk: &'run Desk,
    pub(super) recorder: Recorder,
}

impl<'run> Slots<'run> {
    /// Those of a thread; its number makes its echoes differ from those of others.
    pub(super) fn new(
        flow: &'run Flow,
        share: Share,
        tls: Option<TlsSetup>,
        template: Template,
        registry: Registry,
        desk: &'run Desk,
    ) -> Self {
        Self {
            flow,
            target: share.target,
            tls,
            template,
            registry,
            slots: (0..share.connections).map(|_| Slot::default()).collect(),
            first_client: share.first,
            ready: VecDeque::new(),
            ended: Vec::new(),
            lost: Vec::new(),
            busy: 0,
            number: (share.desk as u64) << 40,
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

    pub(super) fn is_busy(&self, slot: usize) -> bool {
        self.slots[slot].task.is_some()
    }

    pub(super) fn is_connected(&self, slot: usize) -> bool {
        self.slots[slot].connection.is_some()
    }

    /// Takes the slots whose tasks have ended since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Takes the slots that lost connections which are to come back.
    pub(super) fn take_lost(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.lost)
    }

    /// Gives a slot without a task one, connecting first where there is no connection, or where a new
    /// one is wanted.
    pub(super) fn start(&mut self, slot: usize, task: Task) {
        debug_assert!(self.slots[slot].task.is_none(), "one task at a time");
        self.slots[slot].task = Some(task);
        self.slots[slot].not_resumed = false;
        self.busy += 1;
        if matches!(self.flow.plan.workload, Workload::Reconnect { .. }) {
            // As if the other end had gone: there is nobody to say goodbye to.
            self.disconnect(slot);
        }
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

    /// Goes on with a slot whose socket has news: see [`Transport::event`].
    pub(super) fn event(&mut self, slot: usize, readable: bool, hung_up: bool) {
        if let Some(Slot { connection: Some(connection), .. }) = self.slots.get_mut(slot) {
            connection.event(readable, hung_up);
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

    /// Ends every task that is overdue, and goes on with what is slow on purpose.
    pub(super) fn expire(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let Some(connection) = self.slots[slot].connection.as_ref() else { continue };
            if let Some(failure) = connection.overdue(now) {
                self.fail(slot, &failure);
            } else if connection.is_paced() {
                self.drive(slot);
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
        let client = self.first_client + slot;
        let tls = match &self.tls {
            None => None,
            Some(setup) if self.wants_session(slot) => {
                let own = &mut self.slots[slot].connector;
                let own = own.get_or_insert_with(|| setup.with_own_sessions(client));
                // Whoever comes back may find nobody, and try again.
                Some(match self.flow.plan.workload {
                    Workload::Reconnect { .. } => Tls::Later(own.clone()),
                    _ => Tls::Made(own.session()?),
                })
            }
            Some(setup) => Some(Tls::Made(setup.without_resumption(client).session()?)),
        };
        let tls = match (tls, self.flow.hello) {
            (Some(Tls::Made(mut usual)), Hello::Odd(odd)) => {
                Some(Tls::Made(Box::new(OddSession::new(odd, &mut *usual)?)))
            }
            (tls, _) => tls,
        };
        let source = self.flow.sources.get(client % self.flow.sources.len().max(1)).copied();
        let pacing = Pacing::new(self.flow.hello);
        let wants_alpn = self.flow.plan.tls.as_ref().is_some_and(|tls| !tls.alpn.is_empty());
        let transport =
            Transport::connect(self.target, source, &self.registry, Token(slot), tls, pacing)?;
        let connection = Connection::new(transport, self.flow.plan.timeout, wants_alpn);
        self.slots[slot].connection = Some(connection);
        self.desk.open.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the connection that a slot opens now resumes a session, or gets the first one to resume.
    fn wants_session(&self, slot: usize) -> bool {
        match (self.flow.plan.workload, self.slots[slot].task) {
            (_, Some(Task::Operation { resumes, .. })) => resumes,
            (workload, _) => workload.resumed() > 0.0,
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
        let (task, workload) = (self.slots[slot].task, self.flow.plan.workload);
        let report = &mut self.recorder.current;
        report.connections += 1;
        // Those of a storm are what is measured, not those before it.
        let is_timed =
            task != Some(Task::Prepare) || !matches!(workload, Workload::Reconnect { .. });
        if is_timed {
            report.connect.record(established.connect);
        }
        let (count, latency) = match established.kind {
            None => (&mut 0, None),
            Some(Handshake::Resumed) => {
                (&mut report.handshakes_resumed, Some(&mut report.handshake_resumed))
            }
            Some(Handshake::Full) => {
                self.slots[slot].not_resumed =
                    matches!(task, Some(Task::Operation { resumes: true, .. }));
                (&mut report.handshakes_full, Some(&mut report.handshake_full))
            }
        };
        *count += 1;
        if let Some(latency) = latency.filter(|_| is_timed) {
            latency.record(established.handshake);
        }
        // What is to be resumed later has come when the first answer has: tickets of TLS 1.3 come before it
        // (RFC 8446 section 4.6.1).
        let is_ready = workload.keeps_connections() && workload.resumed() <= 0.0;
        if task == Some(Task::Prepare) && is_ready {
            self.end(slot, false);
            return false;
        }
        self.begin(slot);
        true
    }

    fn done(&mut self, slot: usize, done: &Done) {
        if !self.flow.plan.workload.keeps_connections()
            && let Some(connection) = self.disconnect(slot)
            && let Err(failure) = connection.close()
        {
            return self.fail(slot, &failure);
        }
        let Slot { task: Some(Task::Operation { intended, resumes, .. }), not_resumed, .. } =
            self.slots[slot]
        else {
            return self.end(slot, false);
        };
        if self.flow.wants == Wants::Refusal {
            let detail = "the server served whom it should have refused";
            return self.fail(slot, &Failure::new(ErrorKind::Admitted, detail));
        }
        // Whoever comes back takes what it gets.
        if not_resumed && !matches!(self.flow.plan.workload, Workload::Reconnect { .. }) {
            let detail = "the server made a full handshake";
            return self.fail(slot, &Failure::new(ErrorKind::NotResumed, detail));
        }
        let report = &mut self.recorder.current;
        report.done += 1;
        report.resumed += u64::from(resumes && !not_resumed);
        report.bytes_sent += done.sent;
        report.bytes_received += done.received;
        if let Some(first_byte) = done.first_byte {
            report.first_byte.record(first_byte);
        }
        report.total.record(intended.elapsed());
        self.desk.done.fetch_add(1, Ordering::Relaxed);
        self.end(slot, false);
    }

    fn fail(&mut self, slot: usize, failure: &Failure) {
        // Dropping it closes the socket; there is nobody to say goodbye to.
        self.disconnect(slot);
        let report = &mut self.recorder.current;
        match (self.slots[slot].task, self.flow.plan.workload) {
            (Some(Task::Operation { intended, .. }), _)
                if self.flow.wants == Wants::Refusal && failure.is_refusal() =>
            {
                report.done += 1;
                report.total.record(intended.elapsed());
                self.desk.done.fetch_add(1, Ordering::Relaxed);
                return self.end(slot, false);
            }
            (Some(task), _) if self.flow.wait_behind(task).is_some() => {
                report.fail_for_now(failure);
            }
            (None, Workload::Reconnect { within: Some(_), .. }) => {
                report.lost += 1;
                self.lost.push(slot);
            }
            _ => {
                report.fail(failure);
                self.desk.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
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
