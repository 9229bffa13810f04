//! The running process's part: start the successor, give it everything, wait until it serves.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;

use super::CHANNEL_VARIABLE;
use super::channel::{Channel, interrupt};
use super::program::Program;
use super::wire::{MAX_DESCRIPTORS, Message, Opaque, PROTOCOL, Purpose};
use crate::sandbox::{Kind, Started, Starter};

/// What a successor gets.
pub struct Offer {
    pub groups: Vec<Group>,
    pub ticket_keys: Vec<Opaque>,
    /// Pieces of the session store, from the moment on when the successor asks for them.
    pub sessions: Box<dyn FnMut() -> Option<Opaque> + Send>,
}

/// The listening sockets of one listener, or of the admin port.
#[derive(Debug)]
pub struct Group {
    pub purpose: Purpose,
    /// Tells the successor which of its listeners they are for: the listen address as the
    /// configuration has it.
    pub address: Vec<u8>,
    pub sockets: Vec<Arc<OwnedFd>>,
}

/// A successor that serves.
#[derive(Debug)]
pub struct Successor {
    pub pid: u32,
    /// Which groups of the offer it has taken.
    pub taken: Vec<u32>,
    process: Started,
    channel: Channel,
}

impl Successor {
    /// Tells it that it is the main process now, and passes a signal on that was for the service.
    pub fn release(mut self, signal: Option<Signal>) {
        let told = self.channel.send(&Message::Released, &[]);
        let passed = signal.map(|signal| self.process.signal(signal));
        if let Err(error) = told.and(passed.transpose().map(drop)) {
            tracing::warn!(%error, pid = self.pid, "the new process has gone");
        }
    }
}

/// A hand-over under way, on a thread of its own. It is given up when this is dropped.
#[derive(Debug)]
pub struct HandOver {
    channel: OwnedFd,
    decision: Arc<OnceLock<Decision>>,
    thread: Option<JoinHandle<()>>,
}

/// Made once: by the thread when the successor is ready, or by whoever gives up before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Serve,
    GiveUp,
}

impl HandOver {
    /// Has `program` started as the successor. It has `limit` to be ready; `done` is told when it
    /// serves, or told why it does not, in which case it has been killed.
    ///
    /// # Errors
    /// When there are no descriptors or threads left; `done` is not called.
    pub fn start(
        (starter, program): (Starter, Program),
        offer: Offer,
        limit: Duration,
        done: impl FnOnce(Result<Successor, String>) + Send + 'static,
    ) -> io::Result<Self> {
        let (channel, theirs) = Channel::pair()?;
        let handle = channel.handle()?;
        let decision = Arc::new(OnceLock::new());
        let decided = Arc::clone(&decision);
        let thread = Builder::new().name("handover".to_owned()).spawn(move || {
            done(hand_over((&starter, &program), offer, channel, theirs, (limit, &decided)));
        })?;
        Ok(Self { channel: handle, decision, thread: Some(thread) })
    }

    /// Gives up, unless the successor may serve already: it is killed, then `done` is told. Does
    /// not wait for that. Returns whether it was given up.
    pub fn abort(&self) -> bool {
        let gives_up = *self.decision.get_or_init(|| Decision::GiveUp) == Decision::GiveUp;
        if gives_up {
            interrupt(&self.channel);
        }
        gives_up
    }

    /// Cleans up after `done` was told.
    pub fn finish(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that hands over panicked");
        }
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.abort();
            self.join();
        }
    }
}

fn hand_over(
    (starter, program): (&Starter, &Program),
    offer: Offer,
    mut channel: Channel,
    theirs: OwnedFd,
    (limit, decision): (Duration, &OnceLock<Decision>),
) -> Result<Successor, String> {
    channel.set_limit(Some(limit));
    let path = program.path.display();
    let process = starter.start(Kind::Successor, theirs);
    let process = process.map_err(|error| format!("cannot start {path}: {error}"))?;
    let pid = process.id();
    tracing::info!(pid, program = %path, "restarting: started the new process");
    let taken = match converse(&mut channel, offer) {
        Ok(taken) => taken,
        Err(ended) => return Err(explain(ended, &process, "ready", limit)),
    };
    if *decision.get_or_init(|| Decision::Serve) == Decision::GiveUp {
        let ended = io::Error::from(io::ErrorKind::UnexpectedEof).into();
        return Err(explain(ended, &process, "ready", limit));
    }
    channel.set_limit(Some(SERVE));
    if let Err(ended) = let_serve(&mut channel) {
        return Err(explain(ended, &process, "serving", SERVE));
    }
    channel.set_limit(Some(FAREWELL));
    Ok(Successor { pid, taken, process, channel })
}

/// How a conversation ended that came to nothing.
#[derive(Debug)]
pub(super) enum Ended {
    /// The successor's own words.
    Said(String),
    Broken(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Until the successor is ready; returns which groups it has taken.
pub(super) fn converse(channel: &mut Channel, mut offer: Offer) -> Result<Vec<u32>, Ended> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let hello = Message::Hello { protocol: PROTOCOL, version };
    // What it says is read even when it no longer listens: it may have said why.
    if let Err(error) = send_offer(channel, &hello, &offer) {
        return Err(match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                listen(channel).map_or_else(|ended| ended, |_| Ended::Broken(error))
            }
            _ => Ended::Broken(error),
        });
    }
    match listen(channel)? {
        Message::Prepared => {}
        other => return Err(unexpected(&other)),
    }
    while let Some(piece) = (offer.sessions)() {
        channel.send(&Message::Sessions(piece), &[])?;
    }
    channel.send(&Message::SessionsEnd, &[])?;
    match listen(channel)? {
        Message::Ready { taken } => Ok(taken),
        other => Err(unexpected(&other)),
    }
}

/// Until the successor serves.
pub(super) fn let_serve(channel: &mut Channel) -> Result<(), Ended> {
    channel.send(&Message::Serve, &[])?;
    match listen(channel)? {
        Message::Serving => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn send_offer(channel: &mut Channel, hello: &Message, offer: &Offer) -> io::Result<()> {
    channel.send(hello, &[])?;
    for (number, group) in offer.groups.iter().enumerate() {
        let number = u32::try_from(number).map_err(io::Error::other)?;
        for sockets in group.sockets.chunks(MAX_DESCRIPTORS) {
            let message = Message::Sockets {
                group: number,
                purpose: group.purpose,
                address: group.address.clone(),
                count: u8::try_from(sockets.len()).map_err(io::Error::other)?,
            };
            let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
            channel.send(&message, &sockets)?;
        }
    }
    for piece in &offer.ticket_keys {
        channel.send(&Message::TicketKeys(piece.clone()), &[])?;
    }
    channel.send(&Message::Offered, &[])
}

/// The successor's next word.
fn listen(channel: &mut Channel) -> Result<Message, Ended> {
    match channel.receive()?.0 {
        Message::Failed(text) => Err(Ended::Said(text)),
        message => Ok(message),
    }
}

fn unexpected(message: &Message) -> Ended {
    Ended::Broken(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it said \"{}\" out of turn", message.name()),
    ))
}

/// Starts the successor in a process group of its own, so that all that it starts can be ended
/// with it. For the starter.
///
/// # Errors
/// When there is no such program, or it may not be started.
pub fn spawn(program: &Program, theirs: OwnedFd) -> io::Result<Child> {
    // It is inherited by what is started from here until it is dropped: the successor alone.
    fcntl_setfd(&theirs, FdFlags::empty())?;
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).process_group(0).stdin(Stdio::null());
    command.env(CHANNEL_VARIABLE, theirs.as_raw_fd().to_string());
    // Both are the number of the process that systemd started. Without it, what systemd says holds
    // for whoever reads it (sd_watchdog_enabled(3)), and the sockets that systemd passed are
    // inherited under the same numbers.
    command.env_remove("WATCHDOG_PID").env_remove("LISTEN_PID");
    command.spawn()
}

/// Ends the successor and says what became of it.
fn explain(ended: Ended, process: &Started, goal: &str, limit: Duration) -> String {
    let status = match ended {
        // It is about to end by itself: its exit status may say more than the broken channel.
        Ended::Said(_) => None,
        Ended::Broken(_) => process.wait_within(BRIEFLY),
    };
    if status.is_none() {
        end(process);
    }
    match (ended, status) {
        (Ended::Said(text), _) => text,
        (Ended::Broken(_), Some(status)) => format!("it ended ({status}) before it was {goal}"),
        (Ended::Broken(error), None) => match error.kind() {
            io::ErrorKind::TimedOut => format!("it was not {goal} within {limit:?}"),
            io::ErrorKind::UnexpectedEof => "it was given up".to_owned(),
            _ => format!("the conversation with it broke: {error}"),
        },
    }
}

fn end(process: &Started) {
    // Fails when it has ended.
    let _ended = process.signal(Signal::KILL);
    if process.wait_within(SERVE).is_none() {
        tracing::warn!(pid = process.id(), "the new process does not end");
    }
}

/// How long a successor that is ready may take to serve: its workers are given five seconds for it.
const SERVE: Duration = Duration::from_secs(10);
/// How long one that is about to end may take for it.
const BRIEFLY: Duration = Duration::from_millis(500);
/// How long the last word may take.
const FAREWELL: Duration = Duration::from_secs(1);
