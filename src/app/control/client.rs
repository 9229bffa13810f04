//! One who asks: read within limits, looked at whether it may, answered.

#![expect(clippy::disallowed_methods, reason = "an edge: how long a peer is waited for")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::who::Levels;
use super::{Asked, Caller, Level, Request, Response};
use crate::app::orders::Order;

/// Where requests go, and who may ask them.
#[derive(Clone)]
pub(super) struct Desk {
    orders: SyncSender<Order>,
    levels: Arc<Levels>,
    /// Held once more by each who is served.
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
        let (most, busy) = match caller.level {
            Level::User => (MOST_USERS, Arc::strong_count(&self.places) - 1),
            Level::Operator | Level::Admin => (MOST, Arc::strong_count(&self.places) - 1),
        };
        if busy >= most {
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
    let line = read_line(stream)?;
    let response = match serde_json::from_slice::<Request>(&line) {
        Ok(request) if caller.level < request.needs() => {
            let (what, needs) = (request.in_words(), request.needs().as_str());
            tracing::warn!(%caller, what, needs, "refused at the control socket");
            let level = caller.level.as_str();
            Response::refused(format!("\"{what}\" is for level {needs}, and yours is {level}"))
        }
        Ok(request) => ask_gateway(request, caller, orders),
        Err(error) => Response::refused(format!("not a request: {error}")),
    };
    say(stream, &response)
}

fn ask_gateway(request: Request, caller: Caller, orders: &SyncSender<Order>) -> Response {
    if request.needs() > Level::User {
        tracing::info!(%caller, what = request.in_words(), "told at the control socket");
    }
    let (reply, answer) = sync_channel(1);
    let asked = orders.send(Order::Asked(Box::new(Asked { request, reply })));
    asked.ok().and_then(|()| answer.recv().ok()).unwrap_or_else(Response::going_down)
}

/// What the peer says in time, up to the end of a line.
fn read_line(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + REQUEST;
    let (mut line, mut part) = (Vec::new(), [0; 512]);
    while !line.contains(&b'\n') && line.len() < LONGEST_REQUEST {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut part)? {
            0 => break,
            length => line.extend_from_slice(&part[..length]),
        }
    }
    Ok(line)
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

/// Those that are served at the same time, and those among them that may only look: there is always
/// room for somebody who has something to do.
const MOST: usize = 8;
const MOST_USERS: usize = 4;
/// How long a peer may take to say what it wants.
const REQUEST: Duration = Duration::from_secs(1);
/// How long it may take to read the answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes.
const LONGEST_REQUEST: usize = 4 * 1024;
