//! The process that starts others for the gateway, outside of its sandbox.
//!
//! What is started from inside inherits the sandbox: a successor could read no folder that the first
//! process of its line could not, and each would have one filter more. So the gateway starts one
//! small process before it has met a peer, and itself none from then on. What may be started is said
//! when that process is; later the gateway only says which, and gives a socket for it.
//!
//! ```text
//!  gateway                                     starter
//!   │  kind; socket for it, end of a line ──►   │   over the channel, one for all
//!   │                     ◄── started, failed   │   over the line, one for each
//!   │  signals                            ──►   │
//!   │                               ◄── ended   │
//! ```
//!
//! It ends with the gateway. What it has started does not.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use socket2::SockRef;

use crate::sys::packets::{self, invalid_data};
use crate::sys::program::leave_signals;

/// What can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It leads a process group of its own.
    Successor,
    LegacyChild,
}

/// The way to the starter. Clones are the same.
#[derive(Clone, Debug)]
pub struct Starter {
    channel: Arc<OwnedFd>,
}

/// A process that the starter has started.
#[derive(Debug)]
pub struct Started {
    pid: u32,
    line: OwnedFd,
}

impl Starter {
    /// Starts `program`, which is this one, once more, with arguments that have it call [`serve`]. To be
    /// called while this process still has all that those which are started later shall have.
    ///
    /// # Errors
    /// When there are no processes or descriptors left.
    pub fn launch<'a>(
        program: &Path,
        arguments: impl IntoIterator<Item = &'a OsStr>,
    ) -> io::Result<Self> {
        let (ours, theirs) = packets::pair(ROOM)?;
        SockRef::from(&ours).set_write_timeout(Some(PATIENCE))?;
        // Also when its file has been replaced; the name, where there is no /proc.
        let own = Path::new("/proc/self/exe");
        let mut command = Command::new(if own.exists() { own } else { program });
        command.arg0("tlsgate").args(arguments).stdin(theirs).spawn()?;
        Ok(Self { channel: Arc::new(ours) })
    }

    /// Has a process started, with `socket`.
    ///
    /// # Errors
    /// Why it could not be started, or that the starter has gone.
    pub fn start(&self, kind: Kind, socket: OwnedFd) -> io::Result<Started> {
        let (line, theirs) = packets::pair(ROOM)?;
        let passed = [socket.as_fd(), theirs.as_fd()];
        packets::send(&self.channel, &[kind as u8], &passed, SendFlags::empty())
            .map_err(or_gone)?;
        // The starter has them now: when it closes them, that is an end.
        drop((socket, theirs));
        match hear(&line, PATIENCE)? {
            Word::Started(pid) => Ok(Started { pid, line }),
            Word::Failed(errno) => Err(io::Error::from_raw_os_error(errno)),
            Word::Ended(_) => Err(invalid_data("the starter spoke out of turn")),
        }
    }

    /// A starter on a thread of a test.
    #[cfg(test)]
    pub(crate) fn on_a_thread(start: impl Start + Send + 'static) -> Self {
        let (ours, theirs) = packets::pair(ROOM).expect("a socket pair");
        std::thread::spawn(move || run(&theirs, start));
        Self { channel: Arc::new(ours) }
    }
}

impl Started {
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Its exit status, if it ends within `limit`, or the starter.
    pub fn wait_within(&self, limit: Duration) -> Option<ExitStatus> {
        match hear(&self.line, limit) {
            Ok(Word::Ended(status)) => Some(ExitStatus::from_raw(status)),
            _ => None,
        }
    }

    /// Has a signal sent to it: TERM, INT, or KILL, which is for all of its process group if it leads one.
    ///
    /// # Errors
    /// When the starter has gone, or it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let number = u8::try_from(signal.as_raw()).map_err(invalid_data)?;
        packets::send(&self.line, &[number], &[], SendFlags::empty()).map_err(or_gone)
    }
}

/// How a process of a kind is started, with a socket.
pub trait Start: Fn(Kind, OwnedFd) -> io::Result<Child> {}
impl<F: Fn(Kind, OwnedFd) -> io::Result<Child>> Start for F {}

/// What the starter does, with standard input as its channel, until the gateway has gone.
///
/// # Errors
/// When it cannot work.
pub fn serve(start: impl Start) -> io::Result<()> {
    leave_signals()?;
    let channel = io::stdin().as_fd().try_clone_to_owned()?;
    run(&channel, start)
}

fn run(channel: &OwnedFd, start: impl Start) -> io::Result<()> {
    let mut processes: Vec<Process> = Vec::new();
    loop {
        let mut polled = vec![PollFd::new(channel, PollFlags::IN)];
        for Process { pidfd, line, .. } in &processes {
            // Where the line has ended, what stands in its place says nothing new.
            let line = line.as_ref().unwrap_or(pidfd);
            polled.extend([pidfd, line].map(|one| PollFd::new(one, PollFlags::IN)));
        }
        match poll(&mut polled, None) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let mut next = || ready.next().unwrap_or_default();
        let is_asked = next();
        processes.retain_mut(|process| {
            let (has_ended, is_told) = (next(), next());
            if is_told {
                process.follow();
            }
            !(has_ended && process.report())
        });
        if is_asked {
            match follow(channel, processes.len(), &start) {
                Ok(process) => processes.extend(process),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Follows what the gateway asks for, where there are so many already.
fn follow(channel: &OwnedFd, count: usize, start: &impl Start) -> io::Result<Option<Process>> {
    let mut packet = [0; PACKET];
    let (length, sockets) = packets::receive(channel, &mut packet)?;
    let kind = Kind::ALL.into_iter().find(|kind| packet[..length] == [*kind as u8]);
    let (Some(kind), Ok([socket, line])) = (kind, <[OwnedFd; 2]>::try_from(sockets)) else {
        return Err(invalid_data("not what a gateway asks for"));
    };
    let process = match count {
        ..MOST => start(kind, socket).and_then(|child| Process::new(kind, child)),
        _ => Err(Errno::AGAIN.into()),
    };
    match process {
        Ok(process) => {
            say(&line, Word::Started(process.child.id()));
            Ok(Some(Process { line: Some(line), ..process }))
        }
        Err(error) => {
            say(&line, Word::Failed(error.raw_os_error().unwrap_or(libc::EIO)));
            Ok(None)
        }
    }
}

/// One that the starter has started.
struct Process {
    child: Child,
    pidfd: OwnedFd,
    leads_group: bool,
    /// To the gateway, while that listens.
    line: Option<OwnedFd>,
}

impl Process {
    fn new(kind: Kind, mut child: Child) -> io::Result<Self> {
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => {
                Ok(Self { child, pidfd, leads_group: kind == Kind::Successor, line: None })
            }
            Err(error) => {
                child.kill().and_then(|()| child.wait())?;
                Err(error.into())
            }
        }
    }

    /// Passes a signal on.
    fn follow(&mut self) {
        let Some(line) = &self.line else { return };
        let mut packet = [0; PACKET];
        let signal = match packets::receive(line, &mut packet) {
            Ok((1, _)) => SIGNALS.into_iter().find(|one| one.as_raw() == i32::from(packet[0])),
            _ => None,
        };
        let Some(signal) = signal else {
            self.line = None;
            return;
        };
        // It was not waited for yet, so that its number is its own.
        let pid = Pid::from_child(&self.child);
        // Fails only when it, or all of the group, has ended, which is told.
        let _ended = match signal {
            Signal::KILL if self.leads_group => kill_process_group(pid, signal),
            signal => kill_process(pid, signal),
        };
    }

    /// Tells its end to who still listens. False if it has not ended.
    fn report(&mut self) -> bool {
        if self.line.is_none() {
            // A successor that was let go: who adopts it when this process ends is told.
            return true;
        }
        let Ok(Some(status)) = self.child.try_wait() else { return false };
        self.line.iter().for_each(|line| say(line, Word::Ended(status.into_raw())));
        true
    }
}

/// What is said over a line.
#[derive(Clone, Copy)]
enum Word {
    /// Its process.
    Started(u32),
    /// The error's number.
    Failed(i32),
    /// Its status, as wait(2) has it.
    Ended(i32),
}

fn say(line: &OwnedFd, word: Word) {
    let (kind, number) = match word {
        Word::Started(pid) => (0, pid.cast_signed()),
        Word::Failed(errno) => (1, errno),
        Word::Ended(status) => (2, status),
    };
    let [a, b, c, d] = number.to_le_bytes();
    // Nobody has to listen.
    let _gone = packets::send(line, &[kind, a, b, c, d], &[], SendFlags::DONTWAIT);
}

fn hear(line: &OwnedFd, limit: Duration) -> io::Result<Word> {
    SockRef::from(line).set_read_timeout(Some(limit))?;
    let mut packet = [0; PACKET];
    let (length, _) = packets::receive(line, &mut packet).map_err(or_gone)?;
    let &[kind, a, b, c, d] = &packet[..length] else { return Err(invalid_data("not a word")) };
    let number = i32::from_le_bytes([a, b, c, d]);
    match kind {
        0 => Ok(Word::Started(number.cast_unsigned())),
        1 => Ok(Word::Failed(number)),
        2 => Ok(Word::Ended(number)),
        _ => Err(invalid_data("not a word")),
    }
}

fn or_gone(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            io::Error::new(error.kind(), "the process that starts others has gone")
        }
        _ => error,
    }
}

impl Kind {
    const ALL: [Self; 2] = [Self::Successor, Self::LegacyChild];
}

/// Those that are passed on.
const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::KILL];
/// Longest of what is said here, and one byte more.
const PACKET: usize = 8;
/// In packets of the longest kind, of which there are none here.
const ROOM: usize = 1;
/// Processes at the same time: a child, a successor, and those that are on their way out.
const MOST: usize = 8;
/// How long the starter may take to start something, even where the disk is slow.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn starter() -> Starter {
        Starter::on_a_thread(|kind, socket: OwnedFd| match kind {
            Kind::Successor => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", "read line; exit 7"]).process_group(0).stdin(socket).spawn()
            }
            Kind::LegacyChild => Command::new("/nonexistent").spawn(),
        })
    }

    fn socket() -> (OwnedFd, OwnedFd) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        (ours.into(), theirs.into())
    }

    #[test]
    fn what_is_started_has_its_socket_and_its_end_is_told() {
        let starter = starter();
        let ((first, theirs), (_second, others)) = (socket(), socket());
        let ends = starter.start(Kind::Successor, theirs).expect("there is a shell");
        let killed = starter.start(Kind::Successor, others).expect("there is a shell");
        assert_ne!(ends.id(), killed.id());
        assert_eq!(ends.wait_within(Duration::from_millis(20)), None);
        rustix::io::write(&first, b"\n").expect("it reads");
        assert_eq!(ends.wait_within(PATIENCE).and_then(|status| status.code()), Some(7));
        killed.signal(Signal::KILL).expect("it lives");
        assert_eq!(killed.wait_within(PATIENCE).and_then(|status| status.signal()), Some(9));
        let error = starter.start(Kind::LegacyChild, socket().1).expect_err("no such program");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let starter = starter();
        let mut sockets = Vec::new();
        let mut start = || {
            let (ours, theirs) = socket();
            sockets.push(ours);
            starter.start(Kind::Successor, theirs)
        };
        let all: Vec<Started> = (0..MOST).map(|_| start().expect("there is room")).collect();
        assert_eq!(start().expect_err("too many").kind(), io::ErrorKind::WouldBlock);
        drop(sockets);
        assert!(all.iter().all(|one| one.wait_within(PATIENCE).is_some()));
        starter.start(Kind::Successor, socket().1).expect("there is room again");
    }

    #[test]
    fn who_asks_for_something_else_ends_it() {
        for packet in [&b"\x07"[..], b"\0\0", b"\0"] {
            let starter = starter();
            packets::send(&starter.channel, packet, &[], SendFlags::empty()).expect("it reads");
            let error = starter.start(Kind::Successor, socket().1).expect_err("it has gone");
            assert!(error.to_string().contains("has gone"), "{packet:?}: {error}");
        }
    }
}
