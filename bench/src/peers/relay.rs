//! The floor of what a gateway does besides TLS: a relay that reads as much as there is into one
//! large buffer, and writes it on.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX - 1);
/// Read at once.
const CHUNK: usize = 256 * 1024;

/// One socket, and what is to be sent on it.
struct Side {
    socket: TcpStream,
    /// What did not fit the socket: the other side is not read until it has gone.
    waiting: Vec<u8>,
    /// Something may be there to read.
    readable: bool,
    /// Its peer's FIN or reset is there, behind what is still to be read; no event will tell again.
    hung_up: bool,
    /// Its peer sends no more, or it cannot be read any more.
    ended: bool,
}

impl Side {
    fn new(socket: TcpStream) -> Self {
        Self { socket, waiting: Vec::new(), readable: false, hung_up: false, ended: false }
    }
}

/// Relays what is accepted at `listen` to `to` until it is killed.
///
/// # Errors
/// Those of listening and waiting; what happens to a connection ends that connection.
pub(crate) fn forever(listen: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let mut listener = TcpListener::bind(listen)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; CHUNK];
    // Two to a connection: its sides have neighbouring tokens.
    let mut connections: Vec<Option<[Side; 2]>> = Vec::new();
    let mut free = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((client, _)) = listener.accept() {
                    let slot = free.pop().unwrap_or(connections.len());
                    if slot == connections.len() {
                        connections.push(None);
                    }
                    match open(&poll, client, to, slot) {
                        Ok(sides) => connections[slot] = Some(sides),
                        Err(_) => free.push(slot),
                    }
                }
                continue;
            }
            let (slot, side) = (event.token().0 / 2, event.token().0 % 2);
            // Gone, if an event before this one has ended it.
            let Some(sides) = &mut connections[slot] else { continue };
            sides[side].readable |= event.is_readable();
            sides[side].hung_up |= event.is_read_closed();
            let goes_on = relay(sides, 0, &mut buffer).and_then(|()| relay(sides, 1, &mut buffer));
            let is_over = sides.iter().all(|side| side.ended && side.waiting.is_empty());
            if goes_on.is_err() || is_over {
                connections[slot] = None;
                free.push(slot);
            }
        }
    }
}

fn open(poll: &Poll, client: TcpStream, to: SocketAddr, slot: usize) -> io::Result<[Side; 2]> {
    let mut sides = [Side::new(client), Side::new(TcpStream::connect(to)?)];
    for (index, side) in sides.iter_mut().enumerate() {
        side.socket.set_nodelay(true)?;
        let (token, interest) = (Token(slot * 2 + index), Interest::READABLE | Interest::WRITABLE);
        poll.registry().register(&mut side.socket, token, interest)?;
    }
    Ok(sides)
}

/// Moves what there is from one side to the other.
fn relay(sides: &mut [Side; 2], from: usize, buffer: &mut [u8]) -> io::Result<()> {
    let [first, second] = sides;
    let (from, to) = if from == 0 { (first, second) } else { (second, first) };
    if !to.waiting.is_empty() {
        let sent = unless_blocked(to.socket.write(&to.waiting))?;
        to.waiting.drain(..sent);
        if to.waiting.is_empty() && from.ended {
            to.socket.shutdown(std::net::Shutdown::Write)?;
        }
    }
    while from.readable && to.waiting.is_empty() && !from.ended {
        let count = match from.socket.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                from.readable = false;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if count == 0 {
            from.ended = true;
            return to.socket.shutdown(std::net::Shutdown::Write);
        }
        // A short read emptied the socket: more will come with an event (epoll(7)).
        from.readable = count == buffer.len() || from.hung_up;
        let sent = unless_blocked(to.socket.write(&buffer[..count]))?;
        to.waiting.extend_from_slice(&buffer[sent..count]);
    }
    Ok(())
}

/// 0 where the socket takes nothing now, also because it is not connected yet.
fn unless_blocked(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
            Ok(0)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tlsgate_bench::backend::{Address, Backend, Mode};
    use tlsgate_bench::client::{Stop, Workload, run};

    use super::*;
    use crate::measure::affinity;
    use crate::measure::load::plan;
    use crate::measure::process::free_address;

    #[test]
    fn every_byte_comes_through_and_every_connection_ends() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let backend = Backend::start(any, Mode::Sniff).expect("a backend");
        let Address::Tcp(behind) = backend.address().clone() else { panic!("a TCP address") };
        let listen = free_address().expect("a port");
        std::thread::spawn(move || forever(listen, behind));
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(listen).is_err() {
            assert!(std::time::Instant::now() < deadline, "the relay does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        let loads = [
            (Workload::Handshakes { resumed: 0.0 }, 200),
            (Workload::Messages { size: 3_000_000, per_connection_rate: None }, 8),
            (Workload::BulkUp { bytes: 5_000_000 }, 8),
            (Workload::BulkDown { bytes: 5_000_000 }, 8),
        ];
        for (workload, count) in loads {
            let stop = Stop { after: Duration::from_secs(30), count: Some(count) };
            let plan = plan(listen, None, (workload, 4), stop, &[affinity::some_cpu()]);
            let report = run(&plan, |_| {});
            let report = report.expect("a report");
            let found = (report.done, report.error_count());
            assert_eq!(found, (count, 0), "{workload:?}: {:?}", report.errors);
        }
    }
}
