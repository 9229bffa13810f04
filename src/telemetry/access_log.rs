//! The access log: one structured line per connection.
//!
//! Shards hand records to a bounded queue without waiting; a thread of its own turns them into
//! lines and writes them, those of 2 ms together. A record that finds the queue full is dropped and
//! counted, and so is a line that the target does not take: the log never slows a connection down.

mod line;
pub(crate) mod rfc3339;

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, park_timeout};
use std::time::Duration;

use super::shared::SharedCounters;
use crate::config::model::{self, LogFormat};
use crate::conn::outcome::Outcome;

/// Records that may wait for the writer, over all shards. A record takes about 350 bytes, all of
/// them allocated at start.
const QUEUE: usize = 4_096;
/// Bytes collected before they are written: more than the longest line, so that a line is either
/// taken as a whole or not at all.
const BUFFER: usize = 64 * 1_024;
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

/// Orders that must arrive even when the queue is full.
#[derive(Debug, Default)]
struct Orders {
    reopen: AtomicBool,
    stop: AtomicBool,
    /// Set while there is no target: nobody need make a record.
    off: AtomicBool,
    /// Where to write from now on.
    target: Mutex<Option<Target>>,
}

/// An open target, and how to open it again.
pub struct Target {
    open: Open,
    output: Output,
    /// Nothing is written there.
    is_off: bool,
}

type Output = Box<dyn Write + Send>;

/// Opens the target; called again for each reopening.
type Open = Box<dyn FnMut() -> io::Result<Output> + Send>;

impl AccessSender {
    /// Whether there is a target.
    pub fn is_on(&self) -> bool {
        !self.orders.off.load(Ordering::Relaxed)
    }

    /// Queues a record, or drops and counts it when the queue is full or the writer is gone.
    pub fn send(&self, record: AccessRecord) {
        if self.queue.try_send(Message::Record(record)).is_err() {
            self.shared.access_log_dropped.increment();
        }
    }
}

impl AccessLog {
    /// Opens the target and starts the writer.
    ///
    /// # Errors
    /// When the file cannot be opened for appending, or the thread cannot be created.
    pub fn start(
        target: &model::AccessLog,
        format: LogFormat,
        shared: Arc<SharedCounters>,
    ) -> io::Result<Self> {
        Self::start_with(Self::open(target)?, format, shared, QUEUE)
    }

    fn start_with(
        target: Target,
        format: LogFormat,
        shared: Arc<SharedCounters>,
        capacity: usize,
    ) -> io::Result<Self> {
        let (queue, inbox) = sync_channel(capacity);
        let (end, ended) = sync_channel(0);
        let orders = Arc::new(Orders::default());
        orders.off.store(target.is_off, Ordering::Relaxed);
        let mut writer = Writer {
            open: target.open,
            output: BufWriter::with_capacity(BUFFER, target.output),
            format,
            shared: Arc::clone(&shared),
            orders: Arc::clone(&orders),
            line: Vec::with_capacity(1_024),
            is_failing: false,
        };
        let thread = Builder::new().name("access-log".to_owned()).spawn(move || {
            writer.run(&inbox, capacity);
            drop(end);
        })?;
        let sender = AccessSender { queue, orders, shared };
        Ok(Self { sender, ended, thread: Some(thread) })
    }

    /// Opens a target.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(target: &model::AccessLog) -> io::Result<Target> {
        let is_off = *target == model::AccessLog::Off;
        Ok(Target { is_off, ..Target::open(open(target))? })
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
        match self.sender.queue.try_send(Message::Wake) {
            // Full: the writer is busy and looks at its orders before the next record.
            // Disconnected: it has ended.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
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

impl Target {
    fn open(mut open: Open) -> io::Result<Self> {
        let output = open()?;
        Ok(Self { open, output, is_off: false })
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Target")
    }
}

/// How to open `target`.
fn open(target: &model::AccessLog) -> Open {
    match target {
        model::AccessLog::Off => Box::new(|| Ok(Box::new(io::sink()))),
        model::AccessLog::Stdout => Box::new(|| Ok(Box::new(io::stdout()))),
        model::AccessLog::Stderr => Box::new(|| Ok(Box::new(io::stderr()))),
        model::AccessLog::File(path) => {
            let path = path.clone();
            Box::new(move || {
                // Peer addresses are personal data: not for everybody on the machine.
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o640);
                Ok(Box::new(options.open(&path)?))
            })
        }
    }
}

struct Writer {
    open: Open,
    output: BufWriter<Output>,
    format: LogFormat,
    shared: Arc<SharedCounters>,
    orders: Arc<Orders>,
    line: Vec<u8>,
    /// Whether the last write failed: only the first failure of a row is told.
    is_failing: bool,
}

impl Writer {
    fn run(&mut self, inbox: &Receiver<Message>, capacity: usize) {
        loop {
            let message = match inbox.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Empty) => {
                    self.flush();
                    let Ok(first) = inbox.recv() else { break };
                    // An order ends it early.
                    park_timeout(GATHERING);
                    first
                }
                Err(TryRecvError::Disconnected) => break,
            };
            self.follow_orders();
            self.write(message);
            if self.orders.stop.load(Ordering::Acquire) {
                // What is queued now is written; what still comes after that is not waited for.
                for message in inbox.try_iter().take(capacity) {
                    self.write(message);
                }
                break;
            }
        }
        self.give_up_rest();
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
        self.output = BufWriter::with_capacity(BUFFER, output);
    }

    /// Writes what is collected, and counts the lines that the target does not take even now.
    fn give_up_rest(&mut self) {
        self.flush();
        let lines = self.output.buffer().iter().filter(|byte| **byte == b'\n').count();
        self.shared.access_log_dropped.add(u64::try_from(lines).unwrap_or(u64::MAX));
    }

    fn write(&mut self, message: Message) {
        let Message::Record(record) = message else { return };
        self.line.clear();
        line::write(&mut self.line, &record, self.format);
        // A line that does not fit behind a buffer that cannot be written is lost as a whole.
        let result = self.output.write_all(&self.line);
        if result.is_err() {
            self.shared.access_log_dropped.increment();
        }
        self.note(result);
    }

    fn flush(&mut self) {
        let result = self.output.flush();
        self.note(result);
    }

    fn note(&mut self, result: io::Result<()>) {
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

#[cfg(test)]
#[path = "access_log/tests.rs"]
mod tests;
