//! The one place where what shards measured comes together.
//!
//! One thread asks each shard about once a second, and whenever somebody reads, to hand over. Each
//! shard has one [`ShardSnapshot`] that travels: to ask is to send it, to answer is to send it
//! back, so there is never more than one request per shard under way. A reader gets a snapshot in
//! which each shard was asked after the reader came, or, where a shard did not answer within
//! [`DEADLINE`], what that shard said last; this is counted per shard. A shard that ends in order
//! says so, with its last report, and is not asked again.

#![expect(clippy::disallowed_methods, reason = "an edge: a thread with a clock of its own")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::merge::Merge;
use super::shard::ShardSnapshot;
use super::shared::SharedCounters;
use super::snapshot::{Facts, Snapshot};
use crate::time::Time;

/// Time between two requests to a shard when nobody reads.
pub const TICK: Duration = Duration::from_secs(1);
/// How long a reader waits for shards.
pub const DEADLINE: Duration = Duration::from_millis(250);
/// Readers that may wait at the same time.
pub const MAX_READERS: usize = 128;
/// How much longer than [`DEADLINE`] a reader waits for the aggregator itself.
const GRACE: Duration = Duration::from_secs(2);

/// The way to a shard's mailbox.
pub trait ShardPort: Send {
    /// Asks the shard to call [`super::ShardTelemetry::hand_over`] with `report` and to send it
    /// back through its [`AnswerSender`]. Must not block.
    ///
    /// # Errors
    /// Gives `report` back when the mailbox is full or the shard is gone.
    fn request(&self, report: Box<ShardSnapshot>) -> Result<(), Box<ShardSnapshot>>;
}

/// Makes the facts of a snapshot; called on the aggregator's thread, once per snapshot.
pub type FactsSource = Box<dyn Fn() -> Facts + Send>;

/// Where shards send what they were asked for.
#[derive(Clone, Debug)]
pub struct AnswerSender(SyncSender<Message>);

/// The other end of [`AnswerSender`], for [`Aggregator::start`].
#[derive(Debug)]
pub struct Inbox {
    sender: SyncSender<Message>,
    receiver: Receiver<Message>,
}

/// Why there is no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("more than {MAX_READERS} readers wait for the telemetry aggregator")]
    Busy,
    #[error("the telemetry aggregator does not answer")]
    NoAnswer,
}

/// Owner of the aggregator's thread; stops it when dropped.
#[derive(Debug)]
pub struct Aggregator {
    handle: AggregatorHandle,
    thread: Option<JoinHandle<()>>,
}

/// A reader's way to the aggregator.
#[derive(Clone, Debug)]
pub struct AggregatorHandle {
    sender: SyncSender<Message>,
    readers: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Message {
    Answer(Box<ShardSnapshot>),
    /// The last answer of a shard.
    Ended(Box<ShardSnapshot>),
    Read(Reader),
    Stop,
}

/// Somebody who waits for a snapshot.
#[derive(Debug)]
struct Reader {
    came: Instant,
    /// When the aggregator took notice; shards have [`DEADLINE`] from then on.
    seen: Instant,
    reply: SyncSender<Arc<Snapshot>>,
    _place: Place,
}

/// Makes the way on which `shards` shards answer.
pub fn answer_channel(shards: usize) -> (AnswerSender, Inbox) {
    // Room for all that can be under way, so that no sender ever waits: one answer per shard and
    // its last one, the readers, and the word to stop.
    let (sender, receiver) = sync_channel(2 * shards + MAX_READERS + 1);
    (AnswerSender(sender.clone()), Inbox { sender, receiver })
}

impl AnswerSender {
    /// Sends the report that was asked for back. Never blocks: see [`answer_channel`]. When the
    /// aggregator is gone, the report is dropped, for there is nobody left to read it.
    pub fn send(&self, report: Box<ShardSnapshot>) {
        drop(self.0.try_send(Message::Answer(report)));
    }

    /// Sends the last report of a shard that ends in order. One that ends otherwise says nothing,
    /// and is stuck to whoever looks.
    pub fn end(&self, report: Box<ShardSnapshot>) {
        drop(self.0.try_send(Message::Ended(report)));
    }
}

impl Aggregator {
    /// Starts the thread. `ports` is in the order of shard numbers.
    ///
    /// # Errors
    /// When the thread cannot be created.
    pub fn start(
        inbox: Inbox,
        ports: Vec<Box<dyn ShardPort>>,
        facts: FactsSource,
        shared: Arc<SharedCounters>,
    ) -> io::Result<Self> {
        Self::start_with_tick(inbox, ports, facts, shared, TICK)
    }

    fn start_with_tick(
        inbox: Inbox,
        ports: Vec<Box<dyn ShardPort>>,
        facts: FactsSource,
        shared: Arc<SharedCounters>,
        tick: Duration,
    ) -> io::Result<Self> {
        let handle = AggregatorHandle { sender: inbox.sender, readers: Arc::default() };
        let receiver = inbox.receiver;
        let origin = Instant::now();
        let shards = ports.into_iter().map(Shard::new).collect::<Vec<_>>();
        let merge = Merge::new(shards.len(), Time::ZERO);
        let readers = Vec::new();
        let mut worker = Worker { origin, shards, merge, readers, facts, shared };
        let thread = Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || worker.run(&receiver, tick))?;
        Ok(Self { handle, thread: Some(thread) })
    }

    pub fn handle(&self) -> AggregatorHandle {
        self.handle.clone()
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        // Fails only when the thread has ended by itself.
        drop(self.handle.sender.send(Message::Stop));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the telemetry aggregator panicked");
        }
    }
}

impl AggregatorHandle {
    /// A fresh snapshot. Blocks for up to [`DEADLINE`] while shards answer.
    ///
    /// # Errors
    /// [`ReadError::Busy`] when too many wait already, [`ReadError::NoAnswer`] when the aggregator
    /// has stopped.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, ReadError> {
        let place = Place::take(&self.readers)?;
        let (reply, answer) = sync_channel(1);
        let came = Instant::now();
        let reader = Reader { came, seen: came, reply, _place: place };
        self.sender.try_send(Message::Read(reader)).map_err(|_| ReadError::NoAnswer)?;
        answer.recv_timeout(DEADLINE + GRACE).map_err(|_| ReadError::NoAnswer)
    }
}

/// One of [`MAX_READERS`] places. It travels with the reader, so that a reader that has given up
/// keeps its place in the channel until the aggregator has seen it.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(readers: &Arc<AtomicUsize>) -> Result<Self, ReadError> {
        let place = Self(Arc::clone(readers));
        if readers.fetch_add(1, Ordering::Relaxed) < MAX_READERS {
            Ok(place)
        } else {
            Err(ReadError::Busy)
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Shard {
    port: Box<dyn ShardPort>,
    /// Here while the shard is not being asked.
    report: Option<Box<ShardSnapshot>>,
    /// When it was last asked.
    asked: Option<Instant>,
    /// When the request was made that it last answered.
    answered: Option<Instant>,
    /// It has nothing more to say.
    ended: bool,
}

impl Shard {
    fn new(port: Box<dyn ShardPort>) -> Self {
        Self { port, report: Some(Box::default()), asked: None, answered: None, ended: false }
    }

    fn request(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        if let Some(report) = self.report.take() {
            self.asked = Some(now);
            self.report = self.port.request(report).err();
        }
    }

    fn is_fresh(&self, since: Instant) -> bool {
        self.ended || self.answered.is_some_and(|answered| answered >= since)
    }
}

struct Worker {
    origin: Instant,
    shards: Vec<Shard>,
    merge: Merge,
    readers: Vec<Reader>,
    facts: FactsSource,
    shared: Arc<SharedCounters>,
}

impl Worker {
    fn run(&mut self, inbox: &Receiver<Message>, tick: Duration) {
        let mut next_tick = self.origin;
        loop {
            let now = Instant::now();
            if now >= next_tick {
                self.tick(now);
                next_tick = now + tick;
            }
            self.serve(now);
            let deadlines = self.readers.iter().map(|reader| reader.seen + DEADLINE);
            let wake = deadlines.fold(next_tick, Instant::min);
            let first = match inbox.recv_timeout(wake.saturating_duration_since(now)) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // All that is there, before a deadline is looked at: should this thread have been late,
            // no shard is blamed for it.
            let limit = self.shards.len() + MAX_READERS;
            for message in first.into_iter().chain(inbox.try_iter().take(limit)) {
                match message {
                    Message::Answer(report) => self.take(report),
                    Message::Ended(report) => self.end(report),
                    Message::Read(reader) => {
                        self.readers.push(Reader { seen: Instant::now(), ..reader });
                    }
                    Message::Stop => return,
                }
            }
        }
    }

    /// Asks every shard; one that has not answered what it was asked before is counted.
    fn tick(&mut self, now: Instant) {
        self.merge.end_moment(unix_ms());
        for (number, shard) in self.shards.iter_mut().enumerate() {
            if shard.asked.is_some_and(|asked| now >= asked + DEADLINE)
                && shard.answered != shard.asked
            {
                self.merge.count_missed(number);
            }
            shard.request(now);
        }
    }

    fn take(&mut self, mut report: Box<ShardSnapshot>) {
        let now = Time::ZERO + self.origin.elapsed();
        self.merge.absorb(&mut report, now);
        if let Some(shard) = self.shards.get_mut(report.shard) {
            shard.answered = shard.asked;
            shard.report = Some(report);
        }
    }

    fn end(&mut self, report: Box<ShardSnapshot>) {
        let number = report.shard;
        self.take(report);
        self.merge.end(number);
        if let Some(shard) = self.shards.get_mut(number) {
            shard.ended = true;
        }
    }

    /// Asks shards on behalf of waiting readers, and answers the readers that need not wait longer.
    fn serve(&mut self, now: Instant) {
        let Some(newest) = self.readers.iter().map(|reader| reader.came).max() else { return };
        for shard in &mut self.shards {
            // A shard whose mailbox was full is asked again with the next message or tick.
            if !shard.is_fresh(newest) {
                shard.request(now);
            }
        }
        let shards = &self.shards;
        let is_done = |reader: &Reader| {
            now >= reader.seen + DEADLINE || shards.iter().all(|shard| shard.is_fresh(reader.came))
        };
        let done: Vec<_> = self.readers.extract_if(.., |reader| is_done(reader)).collect();
        let Some(oldest) = done.iter().map(|reader| reader.came).min() else { return };
        for (number, shard) in self.shards.iter().enumerate() {
            if !shard.is_fresh(oldest) {
                self.merge.count_missed(number);
            }
        }
        let snapshot = Arc::new(self.snapshot());
        for reader in done {
            // A reader that has given up no longer listens.
            drop(reader.reply.try_send(Arc::clone(&snapshot)));
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let now = Time::ZERO + self.origin.elapsed();
        self.merge.snapshot((self.facts)(), self.shared.read(), unix_ms(), now)
    }
}

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "aggregator_tests.rs"]
mod tests;
