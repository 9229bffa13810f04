//! The legacy lane's child: started when a configuration wants it, again when it has ended, with
//! the profiles of what runs.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::SockRef;

use super::limits;
use super::workers::Plan;
use crate::engine::EngineLimits;
use crate::engine::epoll::EpollEngine;
use crate::engine::uring::UringEngine;
use crate::lane::channel::{receive, send};
use crate::lane::child::Host;
use crate::lane::wire::{Begin, Message};
use crate::lane::{Door, child, sessions};
use crate::sandbox::{Kind, Role, Sandbox, Started, Starter, Threads};
use crate::sys::packets;
use crate::telemetry::SharedCounters;

/// What the child does: see [`child::serve`].
///
/// # Errors
/// As that.
pub fn serve_lane() -> io::Result<()> {
    child::serve(&Engines, sessions::read)
}

struct Engines;

impl Host for Engines {
    fn run(&self, begin: &Begin, child: child::Child) -> io::Result<()> {
        let limits = EngineLimits {
            connections: begin.limits.links,
            buffer_memory: usize::try_from(begin.limits.buffer_memory).unwrap_or(usize::MAX),
        };
        // Where this user may not have what the gateway's may.
        match begin.uring.then(|| UringEngine::new(limits)) {
            Some(Ok(engine)) => close_sandbox().and_then(|()| child.run(engine)),
            _ => {
                let engine = EpollEngine::new(limits)?;
                close_sandbox().and_then(|()| child.run(engine))
            }
        }
    }
}

/// The child may have the gateway's user: without a filter, it could read the gateway's keys.
fn close_sandbox() -> io::Result<()> {
    let part = Sandbox::default().close(Role::Child, Threads::All);
    part.holds.map(drop).map_err(io::Error::other)
}

/// Sees to it that there is a child while one is wanted. It ends with this.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Without it, there is no child.
    starter: Option<Starter>,
    door: Door,
    begin: Begin,
    counters: Arc<SharedCounters>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: bool,
    /// It is known whether a child that is wanted could be started.
    settled: bool,
    ends: bool,
    /// Of the child that there is.
    channel: Option<Arc<OwnedFd>>,
}

impl Supervisor {
    /// A child is started, and waited for as in [`Supervisor::follow`], if one is wanted.
    ///
    /// # Errors
    /// When there are no threads left.
    pub(super) fn start(plan: &Plan, counters: Arc<SharedCounters>) -> io::Result<Self> {
        let begin = limits::of_lane(plan.engine, &plan.gateway, plan.max_connections);
        let (starter, door) = (plan.starter.clone(), plan.door.clone());
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { starter, door, begin, counters, state, changed });
        let own = Arc::clone(&shared);
        let thread = Builder::new().name("lane".to_owned()).spawn(move || own.run())?;
        let supervisor = Self { shared, thread: Some(thread) };
        supervisor.follow();
        Ok(supervisor)
    }

    /// A configuration is about to be served: the child gets its profiles, and is started before if
    /// there is none, for which this waits a few seconds.
    pub(super) fn follow(&self) {
        let shared = &self.shared;
        if shared.door.is_wanted() {
            let mut state = shared.lock();
            state.wanted = true;
            shared.changed.notify_all();
            let unsettled = |state: &mut State| !state.settled;
            let waited = shared.changed.wait_timeout_while(state, START, unsettled);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        shared.update();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.ends = true;
            if let Some(channel) = &state.channel {
                interrupt(channel);
            }
            self.shared.changed.notify_all();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps the legacy lane's child panicked");
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut pause = FIRST_PAUSE;
        while self.wait_until_wanted() {
            let began = now();
            let ended = self.keep_one();
            self.settle();
            match ended {
                Ok(()) => continue,
                Err(reason) if self.lock().ends => {
                    tracing::debug!(%reason, "the legacy lane's child has ended");
                    return;
                }
                Err(reason) => {
                    self.counters.legacy_deaths.increment();
                    if began.elapsed() > LONGEST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                    tracing::error!(%reason, again_in = ?pause, "the legacy lane's child has ended");
                }
            }
            let ends = |state: &mut State| !state.ends;
            let waited = self.changed.wait_timeout_while(self.lock(), pause, ends);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// False when there is nothing more to wait for.
    fn wait_until_wanted(&self) -> bool {
        let idle = |state: &mut State| !state.wanted && !state.ends;
        let waited = self.changed.wait_while(self.lock(), idle);
        !waited.unwrap_or_else(PoisonError::into_inner).ends
    }

    /// From the start of a child to its end. `Ok` when it is not wanted any more.
    fn keep_one(&self) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let (ours, theirs) = packets::pair(PACKETS).map_err(text)?;
        let ours = Arc::new(ours);
        {
            let mut state = self.lock();
            if state.ends {
                return Ok(());
            }
            state.channel = Some(Arc::clone(&ours));
        }
        let starter = self.starter.as_ref().ok_or("this command does not start one")?;
        let child = starter.start(Kind::LegacyChild, theirs);
        let child = child.map_err(|error| format!("it cannot be started: {error}"))?;
        let result = self.converse(&ours, child.id());
        self.door.close();
        self.counters.legacy_up.set(0);
        self.lock().channel = None;
        interrupt(&ours);
        let status = end(&child);
        result.map_err(|reason| format!("{reason} ({status})"))
    }

    fn converse(&self, channel: &Arc<OwnedFd>, pid: u32) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let limit = |limit| SockRef::from(&**channel).set_read_timeout(Some(limit));
        SockRef::from(&**channel).set_write_timeout(Some(START)).map_err(text)?;
        limit(START).map_err(text)?;
        send(channel, &Message::Begin(self.begin)).map_err(text)?;
        match receive(channel).map_err(text)?.0 {
            Message::Ready => {}
            Message::Failed(reason) => return Err(reason),
            other => return Err(format!("it said {other:?} out of turn")),
        }
        self.door.open(channel).map_err(text)?;
        self.counters.legacy_up.set(1);
        self.counters.legacy_starts.increment();
        tracing::info!(pid, "the legacy lane's child is ready");
        self.settle();
        limit(LOOK).map_err(text)?;
        loop {
            match receive(channel) {
                Ok((Message::Failed(reason), _)) => return Err(reason),
                Ok((other, _)) => return Err(format!("it said {other:?} out of turn")),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.is_done() {
                        return Ok(());
                    }
                    self.door.update().map_err(text)?;
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err("it has gone".to_owned());
                }
                Err(error) => return Err(text(error)),
            }
        }
    }

    /// True when no configuration and no connection has a profile any more.
    fn is_done(&self) -> bool {
        let mut state = self.lock();
        if !self.door.is_wanted() {
            state.wanted = false;
            state.settled = false;
        }
        !state.wanted
    }

    fn settle(&self) {
        let mut state = self.lock();
        state.settled = state.wanted;
        self.changed.notify_all();
    }

    /// Tells the child of new profiles. One that does not listen is ended.
    fn update(&self) {
        if let Err(error) = self.door.update() {
            tracing::error!(%error, "the legacy lane's child does not take profiles");
            if let Some(channel) = &self.lock().channel {
                interrupt(channel);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For the starter. The program that runs, also when its file was replaced meanwhile. It inherits
/// nothing but the way to where panics are told, and ends with the thread that has started it
/// (prctl(2), PR_SET_PDEATHSIG).
pub(super) fn spawn(channel: OwnedFd) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg(child::VERB)
        .env_clear()
        .stdin(channel)
        .stdout(Stdio::null())
        .spawn()
}

/// Waits for the end of a child whose channel is closed, which may still have to flush what it owes.
fn end(child: &Started) -> String {
    let status = child.wait_within(PARTING).or_else(|| {
        // Fails when it has ended.
        let _ended = child.signal(Signal::KILL);
        child.wait_within(PARTING)
    });
    status.map_or_else(|| "how it ended is not known".to_owned(), |status| status.to_string())
}

/// Makes both ends see the end of the channel.
fn interrupt(channel: &OwnedFd) {
    // Fails only when the other end has gone, which ends the channel just as well.
    let _gone = rustix::net::shutdown(channel, rustix::net::Shutdown::Both);
}

#[expect(clippy::disallowed_methods, reason = "an edge: how long a process has lived")]
fn now() -> Instant {
    Instant::now()
}

/// How long a child may take to be ready, and to take what it is told.
const START: Duration = Duration::from_secs(5);
/// How long it may take to end: longer than it lingers.
const PARTING: Duration = Duration::from_secs(2);
/// How often it is looked at whether profiles have been forgotten.
const LOOK: Duration = Duration::from_secs(5);
/// Before the first new start, and the longest of the pauses, which double.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Of room in the channel: some hundred connections.
const PACKETS: usize = 4;
