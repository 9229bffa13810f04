//! Telling the service manager how things stand.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// It serves; also the end of a reload.
    Ready,
    /// A reload has begun.
    Reloading,
    /// It is about to end.
    Stopping,
    /// One line for people.
    Status(&'a str),
    /// Another process is the service now.
    MainPid(u32),
    /// It is alive.
    Watchdog,
}

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// The service manager that the environment names (`NOTIFY_SOCKET`).
    pub fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Self(None) };
        match connect(&name) {
            Ok(way) => Self(Some(way)),
            Err(error) => {
                tracing::warn!(%error, socket = %name.display(), "cannot notify the service manager");
                Self(None)
            }
        }
    }

    /// Nobody is told anything.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Tells all of it at once. A service manager that does not listen is no reason to end.
    pub fn tell(&self, states: &[State<'_>]) {
        let Some((socket, address)) = &self.0 else { return };
        let message: String = states.iter().map(State::to_string).collect();
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!(%error, "cannot notify the service manager");
        }
    }
}

impl fmt::Display for State<'_> {
    /// One line each, or two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => writeln!(f, "READY=1"),
            Self::Reloading => {
                // systemd must be able to tell this reload from the one before (253 and newer).
                let now = monotonic().as_micros();
                writeln!(f, "RELOADING=1\nMONOTONIC_USEC={now}")
            }
            Self::Stopping => writeln!(f, "STOPPING=1"),
            Self::Status(text) => writeln!(f, "STATUS={}", text.lines().next().unwrap_or_default()),
            Self::MainPid(pid) => writeln!(f, "MAINPID={pid}"),
            Self::Watchdog => writeln!(f, "WATCHDOG=1"),
        }
    }
}

/// The address is a path, or a name behind "@" that has no file (unix(7), abstract).
fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor \"@\"")),
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that is behind must not hold the gateway up for long.
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}

/// CLOCK_MONOTONIC, which std's clock does not show.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_lines_of_its_own() {
        let text = |state: State<'_>| state.to_string();
        assert_eq!(text(State::Ready), "READY=1\n");
        assert_eq!(text(State::Stopping), "STOPPING=1\n");
        assert_eq!(text(State::MainPid(17)), "MAINPID=17\n");
        assert_eq!(text(State::Watchdog), "WATCHDOG=1\n");
        // What would look like another line is cut off.
        assert_eq!(text(State::Status("drains\nREADY=1")), "STATUS=drains\n");
        let reloading = text(State::Reloading);
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("two lines");
        assert!(time.trim_end().parse::<u64>().expect("microseconds") > 0);
    }

    #[test]
    fn datagrams_go_to_paths_and_to_names_without_a_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("notify");
        let hidden = format!("tlsgate-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&hidden).expect("a short name");
        let cases = [
            (UnixDatagram::bind(&path), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name), format!("@{hidden}").into()),
        ];
        for (manager, name) in cases {
            let manager = manager.expect("a new address");
            let notifier = Notifier(Some(connect(&name).expect("an address")));
            notifier.tell(&[State::MainPid(5), State::Status("serves")]);
            let mut message = [0; 100];
            let length = manager.recv(&mut message).expect("a datagram");
            assert_eq!(&message[..length], b"MAINPID=5\nSTATUS=serves\n");
        }
        assert!(connect(OsStr::new("vsock:2:1")).is_err());
    }
}
