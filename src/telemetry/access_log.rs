//! The access log: one structured line per connection.
//!
//! Shards choose which connections get a line, and hand records to a bounded queue without waiting; a
//! thread of its own turns them into lines and writes them, those of 2 ms together. A record that
//! finds the queue full is dropped and counted, and so is a line that the target does not take: the
//! log never slows a connection down.

mod choice;
mod line;
mod message;
pub(crate) mod rfc3339;
mod target;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, park_timeout};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::shared::SharedCounters;
use crate::config::model::{self, LogFormat};
use crate::conn::outcome::{Outcome, Reason};
pub use choice::Sample;
use choice::{Limit, News, Watch};
use line::Fields;
pub use target::Target;
use target::{Open, Output};

/// Records that may wait for the writer, over all shards. A record takes about 350 bytes, all of
/// them allocated at start.
const QUEUE: usize = 4_096;
/// How long records gather before they are written: waking the writer for each would cost a shard
/// more than all else that it does for the log. What comes meanwhile has to fit into the queue.
const GATHERING: Duration = Duration::from_millis(2);
/// How long the end of the program waits for a target that does not take lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What is known about a connection that has ended.
#[derive(Clone, Debug)]
pub struct AccessRecord {
    /// When it ended, in milliseconds since 1970.
    pub unix_time_ms: u64,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Name of the rule that it followed, else the listener's.
    pub route: Arc<str>,
    /// Generation of the configuration that it was admitted under.
    pub generation: u64,
    /// The upstream endpoint as configured, once one was chosen.
    pub upstream: Option<Arc<str>>,
    pub outcome: Outcome,
    /// Unique within the shard.
    pub connection: u64,
    pub shard: usize,
    /// How many connections it stands for, itself included.
    pub weight: u32,
}

/// The shards' way to the log. Clones share the queue.
#[derive(Clone, Debug)]
pub struct AccessSender {
    queue: SyncSender<Message>,
    orders: Arc<Orders>,
    shared: Arc<SharedCounters>,
}

/// Owner of the writer; writes what is queued and stops it when dropped.
#[derive(Debug)]
pub struct AccessLog {
    sender: AccessSender,
    /// Never carries a message: it is closed when the writer has ended.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the queue's memory is allocated once, a box would be allocated per connection"
)]
enum Message {
    Record(AccessRecord),
    /// Makes a waiting writer look at its orders. When the queue is full it will look anyway.
    Wake,
}

/// Orders that must arrive even when the queue is full, and which lines are wanted.
#[derive(Debug, Default)]
struct Orders {
    reopen: AtomicBool,
    stop: AtomicBool,
    /// Set while there is no target: nobody need make a record.
    off: AtomicBool,
    /// Where to write from now on.
    target: Mutex<Option<Target>>,
    sample: AtomicU32,
    limit: Limit,
}

impl Orders {
    fn thin_out(&self, log: &model::AccessLog) {
        self.sample.store(log.sample, Ordering::Relaxed);
        self.limit.set(log.limit);
    }
}

impl AccessSender {
    /// Whether there is a target.
    pub fn is_on(&self) -> bool {
        !self.orders.off.load(Ordering::Relaxed)
    }

    /// How many connections a line about this one would stand for; `None` where it gets none, which
    /// is counted. `sample` is the shard's own, `now` the time since 1970.
    pub fn choose(&self, sample: &mut Sample, outcome: &Outcome, now: Duration) -> Option<u32> {
        let mut weight = 1;
        if outcome.reason == Reason::Finished {
            weight = self.orders.sample.load(Ordering::Relaxed);
            if !sample.takes(weight) {
                self.shared.access_log_suppressed_sample.increment();
                return None;
            }
        }
        if self.orders.limit.takes(now) {
            return Some(weight);
        }
        self.shared.access_log_suppressed_rate.increment();
        if self.orders.limit.suppress() {
            self.wake();
        }
        None
    }

    /// Queues a record, or drops and counts it when the queue is full or the writer is gone.
    pub fn send(&self, record: AccessRecord) {
        if self.queue.try_send(Message::Record(record)).is_err() {
            self.shared.access_log_dropped_queue.increment();
        }
    }

    fn wake(&self) {
        match self.queue.try_send(Message::Wake) {
            // Full: the writer is busy and looks at its orders before the next record.
            // Disconnected: it has ended.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

impl AccessLog {
    /// Opens the target and starts the writer.
    ///
    /// # Errors
    /// When the file cannot be opened for appending, or the thread cannot be created.
    pub fn start(
        log: &model::AccessLog,
        format: LogFormat,
        shared: Arc<SharedCounters>,
    ) -> io::Result<Self> {
        let this = Self::start_with(Target::open(log, format)?, shared, QUEUE)?;
        this.thin_out(log);
        Ok(this)
    }

    fn start_with(
        target: Target,
        shared: Arc<SharedCounters>,
        capacity: usize,
    ) -> io::Result<Self> {
        let (queue, inbox) = sync_channel(capacity);
        let (end, ended) = sync_channel(0);
        let orders = Arc::new(Orders::default());
        orders.off.store(target.is_off, Ordering::Relaxed);
        let mut writer = Writer {
            open: target.open,
            output: target.output,
            shared: Arc::clone(&shared),
            orders: Arc::clone(&orders),
            scratch: Vec::with_capacity(1_024),
            watch: Watch::default(),
            is_failing: false,
        };
        let thread = Builder::new().name("access-log".to_owned()).spawn(move || {
            writer.run(&inbox, capacity);
            drop(end);
        })?;
        let sender = AccessSender { queue, orders, shared };
        Ok(Self { sender, ended, thread: Some(thread) })
    }

    /// Follows what is said about which connections get a line.
    pub fn thin_out(&self, log: &model::AccessLog) {
        self.sender.orders.thin_out(log);
    }

    /// Writes to another target from the next line on.
    pub fn retarget(&self, target: Target) {
        let orders = &self.sender.orders;
        orders.off.store(target.is_off, Ordering::Relaxed);
        *orders.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
        self.wake();
    }

    pub fn sender(&self) -> AccessSender {
        self.sender.clone()
    }

    /// Opens a file target again, after it was renamed by log rotation. Returns at once. Should the
    /// file not open, the writer says so and keeps the old one.
    pub fn reopen(&self) {
        self.sender.orders.reopen.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        self.sender.wake();
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.sender.orders.stop.store(true, Ordering::Release);
        self.wake();
        let Some(thread) = self.thread.take() else { return };
        if self.ended.recv_timeout(LAST_LINES) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the access log does not take lines; the last ones are lost");
        } else if thread.join().is_err() {
            tracing::error!("the access log's writer panicked");
        }
    }
}

struct Writer {
    open: Open,
    output: Output,
    shared: Arc<SharedCounters>,
    orders: Arc<Orders>,
    scratch: Vec<u8>,
    watch: Watch,
    /// Whether the last write failed: only the first failure of a row is told.
    is_failing: bool,
}

impl Writer {
    fn run(&mut self, inbox: &Receiver<Message>, capacity: usize) {
        loop {
            let message = match inbox.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Empty) => {
                    // Told by it, and tried again with the next lines.
                    let _failed = self.flush();
                    match self.wait(inbox) {
                        Ok(first) => {
                            // An order ends it early.
                            park_timeout(GATHERING);
                            first
                        }
                        Err(RecvTimeoutError::Timeout) => Message::Wake,
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
                Err(TryRecvError::Disconnected) => break,
            };
            self.follow_orders();
            self.write(message);
            if self.orders.limit.is_missing_some() {
                let news = self.watch.look(&self.orders.limit, since_1970());
                self.tell(news);
            }
            if self.orders.stop.load(Ordering::Acquire) {
                // What is queued now is written; what still comes after that is not waited for.
                for message in inbox.try_iter().take(capacity) {
                    self.write(message);
                }
                break;
            }
        }
        let news = self.watch.close(&self.orders.limit);
        self.tell(news);
        self.give_up_rest();
    }

    /// The next message; until a row of suppressed lines may be over, while there is one.
    fn wait(&self, inbox: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        if self.watch.is_on() {
            return inbox.recv_timeout(choice::CALM);
        }
        inbox.recv().map_err(|_ended| RecvTimeoutError::Disconnected)
    }

    fn follow_orders(&mut self) {
        let target = self.orders.target.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Target { open, output, .. }) = target {
            self.open = open;
            self.change_output(output);
        }
        if self.orders.reopen.swap(false, Ordering::AcqRel) {
            match (self.open)() {
                Ok(output) => self.change_output(output),
                Err(error) => tracing::error!(%error, "the access log cannot be opened again"),
            }
        }
    }

    fn change_output(&mut self, output: Output) {
        self.give_up_rest();
        self.output = output;
    }

    /// Writes what is collected, and counts the lines that the target does not take even now.
    fn give_up_rest(&mut self) {
        if let Err(error) = self.flush() {
            self.lose(&error, self.output.held());
        }
    }

    fn write(&mut self, message: Message) {
        let Message::Record(record) = message else { return };
        self.take(&Fields::of(&record));
    }

    fn take(&mut self, fields: &Fields<'_>) {
        let result = self.output.take(fields, &mut self.scratch);
        if let Err(error) = &result {
            self.lose(error, 1);
        }
        self.note(&result);
    }

    /// Says that lines are being left out, and how many were.
    fn tell(&mut self, news: Option<News>) {
        match news {
            None => {}
            Some(News::Began) => {
                tracing::warn!("the access log is at its limit: lines are left out");
            }
            Some(News::Missing { lines, began }) => {
                tracing::warn!(
                    lines,
                    "lines were left out of the access log, which was at its limit"
                );
                self.take(&Fields::suppressed(millis(since_1970()), lines, millis(began)));
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.output.flush();
        self.note(&result);
        result
    }

    fn lose(&self, error: &io::Error, lines: usize) {
        let counter = match error.kind() {
            io::ErrorKind::WouldBlock => &self.shared.access_log_dropped_blocked,
            _ => &self.shared.access_log_dropped_failed,
        };
        counter.add(u64::try_from(lines).unwrap_or(u64::MAX));
    }

    fn note(&mut self, result: &io::Result<()>) {
        match result {
            Ok(()) => self.is_failing = false,
            Err(error) => {
                if !self.is_failing {
                    tracing::error!(%error, "the access log cannot be written");
                }
                self.is_failing = true;
            }
        }
    }
}

/// Time since 1970.
#[expect(clippy::disallowed_methods, reason = "an edge: the time of a log line")]
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "access_log/tests.rs"]
mod tests;
