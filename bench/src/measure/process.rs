//! A server process of the run: started on its CPU, waited for, ended with the run.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};
use tlsgate_bench::{priority, procstat};

use super::affinity;
use super::scratch::Scratch;

/// How long a server may take to listen, and to end: some need many seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(10);
/// Most bytes of a log that an error message quotes.
const QUOTED: usize = 600;

#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` on `cpus` and waits until it accepts connections on all `addresses`.
    ///
    /// # Errors
    /// What the process said when it ended instead.
    pub(crate) fn serve(
        name: &str,
        command: Command,
        cpus: &[usize],
        addresses: &[SocketAddr],
        scratch: &Scratch,
    ) -> Result<Self, String> {
        let log = scratch.path(&format!("{name}.log"));
        let said = |error: io::Error| format!("cannot start {name}: {error}");
        let output = File::create(&log).map_err(said)?;
        let mut command = bound_to_this(&command);
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(said)?).stderr(output);
        let mut process = Self { child: affinity::spawn_on(cpus, &mut command).map_err(said)? };
        let deadline = Instant::now() + PATIENCE;
        let mut missing = addresses.iter();
        let mut next = missing.next();
        while let Some(address) = next {
            if TcpStream::connect(address).is_ok() {
                next = missing.next();
                continue;
            }
            let ended = process.child.try_wait().map_err(said)?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(&log).unwrap_or_default();
                let end = log.trim_end();
                let from = end.char_indices().rev().take(QUOTED).last().map_or(0, |(at, _)| at);
                return Err(format!("{name} does not listen on {address}: {}", &end[from..]));
            }
            std::thread::sleep(TICK);
        }
        Ok(process)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Those of kill(2).
    pub(crate) fn signal(&self, which: Signal) -> Result<(), String> {
        signal(&self.child, which)
            .map_err(|error| format!("signal to process {}: {error}", self.child.id()))
    }

    /// It and its descendants end at once, as in a crash; they are gone when this returns.
    ///
    /// # Errors
    /// When they cannot be found.
    pub(crate) fn crash(mut self) -> Result<(), String> {
        let family = self.family(1)?;
        for pid in family.iter().filter_map(|pid| pid_of(*pid)) {
            // Fails when it has ended by itself.
            kill_process(pid, Signal::KILL).ok();
        }
        // A parent first: what is left of its children comes to this process or to init.
        self.child.wait().map_err(|error| error.to_string())?;
        family[1..].iter().for_each(|pid| await_end(*pid));
        Ok(())
    }

    /// It comes first on its CPU from now on, or is like others again.
    ///
    /// # Errors
    /// As [`priority::raise`].
    pub(crate) fn raise(&self, is_first: bool) -> Result<(), String> {
        priority::raise(self.child.id(), is_first)
    }

    /// It and its descendants, once there are `members`: a master listens before it has workers.
    ///
    /// # Errors
    /// When they do not come, and as [`procstat::family`].
    pub(crate) fn family(&self, members: usize) -> Result<Vec<u32>, String> {
        let id = self.child.id();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let family = procstat::family(id).map_err(|error| format!("process {id}: {error}"))?;
            if family.len() >= members {
                return Ok(family);
            }
            if Instant::now() > deadline {
                return Err(format!("process {id} has no worker process"));
            }
            std::thread::sleep(TICK);
        }
    }
}

/// The same command, which also ends when this program is killed and cannot end it, where
/// util-linux has setpriv(1).
fn bound_to_this(command: &Command) -> Command {
    let (program, arguments) = (command.get_program(), command.get_args());
    let changed = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut bound = match find_program("setpriv") {
        Some(setpriv) => {
            let mut bound = Command::new(setpriv);
            bound.args(["--pdeathsig", "TERM"]).arg(program);
            bound
        }
        None => Command::new(program),
    };
    bound.args(arguments).envs(changed);
    bound
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // By TERM first: a master that is killed leaves its workers behind.
        signal(&self.child, Signal::TERM).ok();
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
        // Fails when it has ended, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until a process that is to end has done so; one that has become this process's child is reaped.
pub(crate) fn await_end(pid: u32) {
    let Some(pid) = pid_of(pid) else { return };
    let deadline = Instant::now() + PATIENCE;
    // It cannot be waited for while it is another's child.
    while !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(Some(_)))
        && test_kill_process(pid).is_ok()
        && Instant::now() < deadline
    {
        std::thread::sleep(TICK);
    }
}

pub(crate) fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Sends a signal to a child that has not been waited for.
///
/// # Errors
/// Those of kill(2).
pub(crate) fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    Ok(kill_process(Pid::from_child(child), signal)?)
}

/// The path of a program in the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    // Servers are often outside of the search path of people who are not root.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    let candidates = std::env::split_paths(&path).chain(more);
    candidates.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// The same, where it must be there.
///
/// # Errors
/// When it is not.
pub(crate) fn program(name: &str) -> Result<PathBuf, String> {
    find_program(name).ok_or_else(|| format!("{name} is not installed"))
}

/// A TCP port of the loopback address that was free a moment ago.
///
/// # Errors
/// Those of bind(2).
pub(crate) fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no free port: {error}"))
}
