//! One who asks: read within limits, looked at whether it may, answered.

#![expect(clippy::disallowed_methods, reason = "an edge: how long a peer is waited for")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::who::Levels;
use super::{Asked, Caller, Level, Request, Response};
use crate::app::orders::Order;

/// Where requests go, and who may ask them.
#[derive(Clone)]
pub(super) struct Desk {
    orders: SyncSender<Order>,
    levels: Arc<Levels>,
    /// Held here, and once more for each who is served.
    places: Arc<()>,
}

impl Desk {
    pub(super) fn new(orders: SyncSender<Order>, levels: Levels) -> Self {
        Self { orders, levels: Arc::new(levels), places: Arc::default() }
    }

    /// Serves a peer on a thread of its own, if there is room for one more.
    ///
    /// # Errors
    /// When the peer has gone, or there is no thread to be had.
    pub(super) fn receive(&self, stream: UnixStream) -> io::Result<()> {
        let caller = self.levels.caller(&stream)?;
        let most = if caller.level == Level::User { MOST_USERS } else { MOST };
        if Arc::strong_count(&self.places) > most {
            tracing::warn!(%caller, "refused at the control socket: it is busy");
            return say(&stream, &Response::refused("the control socket is busy: try again"));
        }
        let (orders, place) = (self.orders.clone(), Arc::clone(&self.places));
        std::thread::Builder::new().name("control-peer".to_owned()).spawn(move || {
            // A peer that leaves or is too slow has nobody to be told but itself.
            let _served = serve(&stream, &orders, caller);
            drop(place);
        })?;
        Ok(())
    }
}

fn serve(stream: &UnixStream, orders: &SyncSender<Order>, caller: Caller) -> io::Result<()> {
    let (line, rest) = read_line(stream)?;
    let response = match serde_json::from_slice::<Request>(&line) {
        Ok(request) if caller.level < request.needs() => {
            let (what, needs) = (request.in_words(), request.needs().as_str());
            tracing::warn!(%caller, what, needs, "refused at the control socket");
            let level = caller.level.as_str();
            Response::refused(format!("\"{what}\" is for level {needs}, and yours is {level}"))
        }
        Ok(request) if request.content_length() > LONGEST_CONTENT => {
            Response::refused(format!("more than {LONGEST_CONTENT} bytes"))
        }
        Ok(request) => {
            let content = read_content(stream, &rest, request.content_length())?;
            ask_gateway(request, content, caller, orders)
        }
        Err(error) => Response::refused(format!("not a request: {error}")),
    };
    say(stream, &response)
}

fn ask_gateway(
    request: Request,
    content: Zeroizing<Vec<u8>>,
    caller: Caller,
    orders: &SyncSender<Order>,
) -> Response {
    if request.needs() > Level::User {
        tracing::info!(%caller, what = request.in_words(), "told at the control socket");
    }
    let (reply, answer) = sync_channel(1);
    let asked = orders.send(Order::Asked(Box::new(Asked { request, content, reply })));
    asked.ok().and_then(|()| answer.recv().ok()).unwrap_or_else(Response::going_down)
}

/// What the peer says in time, up to the end of a line, and what has come behind it, which may be of a
/// key.
fn read_line(mut stream: &UnixStream) -> io::Result<(Vec<u8>, Zeroizing<Vec<u8>>)> {
    let deadline = Instant::now() + REQUEST;
    let mut part = Zeroizing::new([0; 512]);
    let mut line = Vec::new();
    while line.len() < LONGEST_REQUEST {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let length = match stream.read(&mut part[..])? {
            0 => break,
            length => length,
        };
        let mut halves = part[..length].splitn(2, |byte| *byte == b'\n');
        line.extend_from_slice(halves.next().unwrap_or_default());
        if let Some(rest) = halves.next() {
            return Ok((line, Zeroizing::new(rest.to_vec())));
        }
    }
    Ok((line, Zeroizing::default()))
}

/// As many bytes as were announced, of which some have come.
fn read_content(
    mut stream: &UnixStream,
    begun: &[u8],
    length: usize,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let deadline = Instant::now() + CONTENT;
    // All memory at once: growing would leave copies behind.
    let mut content = Zeroizing::new(vec![0; length]);
    let mut filled = begun.len().min(length);
    content[..filled].copy_from_slice(&begun[..filled]);
    while filled < length {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut content[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => filled += more,
        }
    }
    Ok(content)
}

/// One who does not read holds its place for so long only.
fn say(mut stream: &UnixStream, response: &Response) -> io::Result<()> {
    let mut answer = serde_json::to_vec(response)?;
    answer.push(b'\n');
    let deadline = Instant::now() + ANSWER;
    let mut rest = &answer[..];
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(rest)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            length => rest = &rest[length..],
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Those that are served at the same time, and those up to which somebody is who may only look: there is
/// always room for somebody who has something to do.
const MOST: usize = 8;
const MOST_USERS: usize = 4;
/// How long a peer may take to say what it wants.
const REQUEST: Duration = Duration::from_secs(1);
/// How long it may take to send a file.
const CONTENT: Duration = Duration::from_secs(10);
/// How long it may take to read the answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes of a file.
const LONGEST_CONTENT: usize = 16 << 20;
/// Bytes of a line.
const LONGEST_REQUEST: usize = 4 * 1024;
