//! The control socket: one request and one answer for each connection, as lines of JSON.
//!
//! Who may connect is said by the mode and the group of its file, and what they may do there by their
//! level ([`who`]), which the kernel's word on who they are decides. Requests become orders, which
//! are followed one after the other.

mod answers;
mod client;
mod request;
#[cfg(test)]
mod tests;
pub mod who;

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};
use zeroize::Zeroizing;

use super::bind::remove_stale;
pub use super::dismissals::DismissalRow;
use super::orders::Order;
use crate::config::model::Admin;
use crate::telemetry::SharedCounters;
use client::Desk;
pub use request::{Request, Response, UpstreamChange, What};
use who::{Caller, Level, Levels, group_number};

/// A request that its caller may ask, and where the answer goes.
pub struct Asked {
    pub request: Request,
    /// What followed its line.
    pub content: Zeroizing<Vec<u8>>,
    pub reply: SyncSender<Response>,
}

/// Without the content, which may be a key.
impl fmt::Debug for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Asked").field("request", &self.request).finish_non_exhaustive()
    }
}

/// A running control socket; its file is removed when this is dropped, unless it was left to a
/// successor or another process has put its own there.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    /// Where its file is until it appears at the path.
    beside: Option<PathBuf>,
    /// Device and inode of its file.
    file: (u64, u64),
    is_left: bool,
}

/// Who is told what is asked, and where it is counted what was refused.
pub type Told = (SyncSender<Order>, Arc<SharedCounters>);

impl Control {
    /// Listens on `path` for those that `admin` names, and turns what is asked into orders.
    ///
    /// # Errors
    /// When the socket cannot be bound, somebody listens on it already, or a user or group is not
    /// known.
    pub fn start(path: &Path, admin: &Admin, told: Told) -> io::Result<Self> {
        Self::start_at(path, None, admin, told)
    }

    /// As [`Control::start`] while the process that is to be followed listens on `path`: the file
    /// of this one stands beside it until [`Control::appear`].
    ///
    /// # Errors
    /// When the socket cannot be bound, or a user or group is not known.
    pub fn start_beside(path: &Path, admin: &Admin, told: Told) -> io::Result<Self> {
        let beside = path.with_file_name(format!(".{}", std::process::id()));
        Self::start_at(path, Some(beside), admin, told)
    }

    /// Takes the path over; there is no moment without a file.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn appear(&mut self) -> io::Result<()> {
        if let Some(beside) = &self.beside {
            fs::rename(beside, &self.path)?;
            self.beside = None;
        }
        Ok(())
    }

    /// Leaves the file where it is, for a successor that puts its own there at any moment: looking
    /// whose it is and removing it would be two steps, and the other could come between them.
    pub fn leave(&mut self) {
        self.is_left = true;
    }

    #[expect(clippy::disallowed_methods, reason = "an edge: a lack of descriptors has no event")]
    fn start_at(
        path: &Path,
        beside: Option<PathBuf>,
        admin: &Admin,
        told: Told,
    ) -> io::Result<Self> {
        let group = admin.control_group.as_deref().map(group_number).transpose()?;
        let desk = Desk::new(told, Levels::of(admin)?);
        let own = beside.as_deref().unwrap_or(path);
        let listener = bind(own, group)?;
        let file = identity(own)?;
        std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                match stream {
                    // A peer that has gone has nobody to be told but itself.
                    Ok(stream) => drop(desk.receive(stream)),
                    Err(error) => {
                        tracing::warn!(%error, "the control socket cannot accept");
                        std::thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
        })?;
        Ok(Self { path: path.to_owned(), beside, file, is_left: false })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let own = self.beside.as_ref().unwrap_or(&self.path);
        if !self.is_left && identity(own).is_ok_and(|file| file == self.file) {
            // The next start removes it, if this cannot.
            let _left_behind = fs::remove_file(own);
        }
    }
}

/// Asks the gateway whose control socket is at `path`.
///
/// # Errors
/// When nobody listens there, or the answer does not come or make sense.
pub fn ask(path: &Path, request: &Request) -> io::Result<Response> {
    ask_with(path, request, &[])
}

/// As [`ask`], with bytes that follow the request.
///
/// # Errors
/// As [`ask`].
pub fn ask_with(path: &Path, request: &Request, content: &[u8]) -> io::Result<Response> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    // A gateway that refuses does not read all of it, and says why.
    let sent = stream.write_all(&line).and_then(|()| stream.write_all(content));
    let mut answer = String::new();
    let received = stream.take(LONGEST_ANSWER).read_to_string(&mut answer);
    match serde_json::from_str(&answer) {
        Ok(response) => Ok(response),
        Err(error) => {
            sent.and(received)?;
            Err(error.into())
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn bind(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file is made with the mode of the socket (unix(7)), so there is no moment in which it is
    // for more than it should be. The umask may have taken more.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How long an answer may take: certificates are read and names looked up meanwhile.
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes: as many rows of an audit as there may be, of about a kilobyte each.
const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;
/// Pause after accept failed, so that a lack of descriptors does not make the thread spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 16;
