//! The control socket: one request and one answer for each connection, as lines of JSON.
//!
//! The socket's file belongs to the user that the gateway runs as and has mode 0600, so nobody
//! else but root can use it. Requests are served one after the other, by a thread of its own.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::Explained;
use super::bind::remove_stale;
use super::orders::Order;
use crate::audit::query::MAX_ROWS;
use crate::audit::{Query, Report};

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Read the configuration file again.
    Reload,
    /// Tell what was seen in live traffic.
    Audit { query: Box<Query> },
    /// Explain a connection that is open, by worker and number.
    Explain { connection: String },
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Response {
    Done {
        /// Of the configuration that runs now.
        generation: u64,
        warnings: Vec<String>,
    },
    Audited {
        report: Box<Report>,
    },
    Explained {
        explained: Box<Explained>,
    },
    /// Nothing has changed.
    Refused {
        error: String,
    },
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

impl Control {
    /// Listens on `path`, and turns what is asked into orders.
    ///
    /// # Errors
    /// When the socket cannot be bound, or somebody listens on it already.
    pub fn start(path: &Path, orders: SyncSender<Order>) -> io::Result<Self> {
        Self::start_at(path, None, orders)
    }

    /// As [`Control::start`] while the process that is to be followed listens on `path`: the file
    /// of this one stands beside it until [`Control::appear`].
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn start_beside(path: &Path, orders: SyncSender<Order>) -> io::Result<Self> {
        let beside = path.with_file_name(format!(".{}", std::process::id()));
        Self::start_at(path, Some(beside), orders)
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

    fn start_at(
        path: &Path,
        beside: Option<PathBuf>,
        orders: SyncSender<Order>,
    ) -> io::Result<Self> {
        let own = beside.as_deref().unwrap_or(path);
        let listener = bind(own)?;
        let file = identity(own)?;
        std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                // A peer that leaves or is too slow has nobody to be told but itself.
                let _served = stream.and_then(|stream| serve(stream, &orders));
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
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file is made with the mode of the socket (unix(7)), so there is no moment without it.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn serve(mut stream: UnixStream, orders: &SyncSender<Order>) -> io::Result<()> {
    stream.set_write_timeout(Some(REQUEST))?;
    let line = read_line(&stream)?;
    let response = match serde_json::from_slice(&line) {
        Ok(Request::Reload) => reload(orders),
        Ok(Request::Audit { query }) => audit(orders, query),
        Ok(Request::Explain { connection }) => explain(orders, connection),
        Err(error) => {
            let there_is = "there are \"reload\", \"audit\", \"explain\"";
            Response::Refused { error: format!("not a request: {error}; {there_is}") }
        }
    };
    let mut answer = serde_json::to_vec(&response)?;
    answer.push(b'\n');
    stream.write_all(&answer)
}

/// What the peer says in time, up to the end of a line.
#[expect(clippy::disallowed_methods, reason = "an edge: how long a peer is waited for")]
fn read_line(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + REQUEST;
    let (mut line, mut part) = (Vec::new(), [0; 512]);
    while !line.contains(&b'\n') && line.len() < LONGEST_REQUEST {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => break,
            length => line.extend_from_slice(&part[..length]),
        }
    }
    Ok(line)
}

fn reload(orders: &SyncSender<Order>) -> Response {
    let (reply, answer) = sync_channel(1);
    let asked = orders.send(Order::Reload(Some(reply)));
    match asked.ok().and_then(|()| answer.recv().ok()) {
        Some(Ok(reloaded)) => {
            Response::Done { generation: reloaded.generation, warnings: reloaded.warnings }
        }
        Some(Err(error)) => Response::Refused { error },
        None => going_down(),
    }
}

fn audit(orders: &SyncSender<Order>, mut query: Box<Query>) -> Response {
    query.limit = query.limit.min(MAX_ROWS);
    let (reply, answer) = sync_channel(1);
    let asked = orders.send(Order::Audit(query, reply));
    match asked.ok().and_then(|()| answer.recv().ok()) {
        Some(report) => Response::Audited { report: Box::new(report) },
        None => going_down(),
    }
}

fn explain(orders: &SyncSender<Order>, connection: String) -> Response {
    let (reply, answer) = sync_channel(1);
    let asked = orders.send(Order::Explain(connection, reply));
    match asked.ok().and_then(|()| answer.recv().ok()) {
        Some(Ok(explained)) => Response::Explained { explained: Box::new(explained) },
        Some(Err(error)) => Response::Refused { error },
        None => going_down(),
    }
}

fn going_down() -> Response {
    Response::Refused { error: "the gateway is going down".to_owned() }
}

/// How long a peer may take to say what it wants, and to read the answer.
const REQUEST: Duration = Duration::from_secs(1);
/// How long an answer may take: certificates are read and names looked up meanwhile.
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes.
const LONGEST_REQUEST: usize = 4 * 1024;
/// Bytes: as many rows of an audit as there may be, of about a kilobyte each.
const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;
const BACKLOG: i32 = 16;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::app::Reloaded;
    use crate::app::orders::queue;
    use crate::audit::Section;
    use crate::audit::report::{Surroundings, put_together};

    #[test]
    fn what_is_asked_becomes_an_order_and_its_answer_comes_back() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("control");
        let (orders, inbox) = queue();
        let control = Control::start(&path, orders).expect("a free path");
        assert_eq!(fs::metadata(&path).expect("bound").mode() & 0o777, 0o600);
        let gateway = std::thread::spawn(move || {
            let answers = [
                Ok(Reloaded { generation: 2, warnings: vec!["hm".to_owned()] }),
                Err("line 7".to_owned()),
            ];
            for answer in answers {
                let Ok(Order::Reload(Some(asker))) = inbox.recv() else { panic!("another order") };
                asker.send(answer).expect("it waits");
            }
        });
        let warnings = vec!["hm".to_owned()];
        let done = Response::Done { generation: 2, warnings };
        assert_eq!(ask(&path, &Request::Reload).expect("an answer"), done);
        let refused = Response::Refused { error: "line 7".to_owned() };
        assert_eq!(ask(&path, &Request::Reload).expect("an answer"), refused);
        gateway.join().expect("all was asked");
        // The gateway has gone, and the thread of the socket has not noticed yet.
        let Response::Refused { error } = ask(&path, &Request::Reload).expect("an answer") else {
            panic!("nobody is there to do it")
        };
        assert_eq!(error, "the gateway is going down");
        drop(control);
        assert!(!path.exists());
    }

    #[test]
    fn questions_are_answered_too_and_within_limits() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("control");
        let (orders, inbox) = queue();
        let _control = Control::start(&path, orders).expect("a free path");
        let gateway = std::thread::spawn(move || {
            let Ok(Order::Audit(query, asker)) = inbox.recv() else { panic!("another order") };
            let around = Surroundings {
                now: 9,
                generation: 4,
                workers: 0,
                autodetect: Vec::new(),
                lanes: Vec::new(),
            };
            asker.send(put_together(&query, &[], &around)).expect("it waits");
            let Ok(Order::Explain(id, asker)) = inbox.recv() else { panic!("another order") };
            asker.send(Err(format!("no {id}"))).expect("it waits");
            query.limit
        });
        let query = Box::new(Query { limit: usize::MAX, ..Query::of(Section::Pairs) });
        let Response::Audited { report } =
            ask(&path, &Request::Audit { query }).expect("an answer")
        else {
            panic!("it was asked for a report")
        };
        assert_eq!((report.generation, report.taken_unix), (4, 9));
        assert!(report.pairs.expect("asked for").is_empty());
        let request = Request::Explain { connection: "0/7".to_owned() };
        let refused = Response::Refused { error: "no 0/7".to_owned() };
        assert_eq!(ask(&path, &request).expect("an answer"), refused);
        assert_eq!(gateway.join().expect("all was asked"), MAX_ROWS);
    }

    #[test]
    fn a_successor_takes_the_path_over_without_a_gap() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("control");
        let (old_orders, old_inbox) = queue();
        let (new_orders, new_inbox) = queue();
        let old = Control::start(&path, old_orders).expect("a free path");
        let gave_up = Control::start_beside(&path, new_orders.clone()).expect("a free path");
        drop(gave_up);
        let mut new = Control::start_beside(&path, new_orders).expect("a free path");
        // Until it appears, the old one is asked; from then on, the new one.
        for (inbox, appears) in [(&old_inbox, false), (&new_inbox, true)] {
            if appears {
                new.appear().expect("a writable directory");
            }
            let asked = std::thread::scope(|scope| {
                let asked = scope.spawn(|| ask(&path, &Request::Reload));
                let Ok(Order::Reload(Some(asker))) = inbox.recv() else { panic!("another order") };
                asker.send(Err("line 7".to_owned())).expect("it waits");
                asked.join().expect("no panic")
            });
            assert_eq!(asked.expect("an answer"), Response::Refused { error: "line 7".to_owned() });
        }
        drop(old);
        assert!(path.exists(), "the file is another's");
        drop(new);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }

    #[test]
    fn what_is_left_to_a_successor_is_there_until_that_takes_its_place() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("control");
        let (orders, _inbox) = queue();
        let mut old = Control::start(&path, orders.clone()).expect("a free path");
        let mut new = Control::start_beside(&path, orders).expect("a free name");
        old.leave();
        drop(old);
        assert!(path.exists(), "there is no moment without a file");
        new.appear().expect("renamed");
        assert_eq!(identity(&path).expect("it is there"), new.file);
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn nonsense_is_refused_and_a_second_gateway_too() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("control");
        let (orders, _inbox) = queue();
        let _control = Control::start(&path, orders.clone()).expect("a free path");
        let error = Control::start(&path, orders).expect_err("somebody is there");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        for nonsense in ["\n", "{}\n", "{\"verb\":\"stop\"}\n", "\u{0}", &"x".repeat(10_000)] {
            let mut stream = UnixStream::connect(&path).expect("it listens");
            // It may have answered and gone before all was written.
            let _written = stream.write_all(nonsense.as_bytes());
            let _closed = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = String::new();
            // Bytes that were not read make the answer end in a reset.
            let _reset = stream.read_to_string(&mut answer);
            assert!(answer.starts_with("{\"result\":\"refused\""), "{nonsense:.20}: {answer}");
        }
    }
}
