//! The way between the two processes: a pair of connected sockets that keep packets apart.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use socket2::SockRef;
use zeroize::Zeroizing;

use super::wire::Message;
use crate::sys::packets::{self, MAX_PACKET, invalid_data};

/// One end. Every call ends by the deadline, if there is one.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    deadline: Option<Instant>,
}

impl Channel {
    /// Two ends. Neither is inherited by programs that are started.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        // Room for some packets.
        let (ours, theirs) = packets::pair(4)?;
        Ok((Self::new(ours), theirs))
    }

    /// An end without a deadline.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, deadline: None }
    }

    /// From now on, everything together may take this long; `None` is no limit.
    #[expect(clippy::disallowed_methods, reason = "an edge: a deadline between two processes")]
    pub fn set_limit(&mut self, limit: Option<Duration>) {
        self.deadline = limit.map(|limit| Instant::now() + limit);
    }

    /// Another handle of this end, for [`interrupt`] from another thread.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Sends a message, and sockets with it.
    ///
    /// # Errors
    /// `InvalidInput` when it is too long, `TimedOut` at the deadline, `BrokenPipe` when the other
    /// process has gone.
    pub fn send(&mut self, message: &Message, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let packet = message.encode().map_err(invalid)?;
        SockRef::from(&self.socket).set_write_timeout(self.time_left()?)?;
        packets::send(&self.socket, &packet, sockets, SendFlags::empty()).map_err(or_timed_out)
    }

    /// The next message and the sockets that came with it.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other process has gone, `TimedOut` at the deadline, `InvalidData`
    /// when it is not a message.
    pub fn receive(&mut self) -> io::Result<(Message, Vec<OwnedFd>)> {
        let mut packet = Zeroizing::new(vec![0; MAX_PACKET]);
        SockRef::from(&self.socket).set_read_timeout(self.time_left()?)?;
        let (length, sockets) =
            packets::receive(&self.socket, &mut packet).map_err(or_timed_out)?;
        let message = Message::decode(&packet[..length]).map_err(invalid_data)?;
        let expected = match &message {
            Message::Sockets { count, .. } => usize::from(*count),
            _ => 0,
        };
        if sockets.len() != expected {
            return Err(invalid_data(format!("{} sockets instead of {expected}", sockets.len())));
        }
        Ok((message, sockets))
    }

    /// For the socket calls: `None` is no limit.
    #[expect(clippy::disallowed_methods, reason = "an edge: a deadline between two processes")]
    fn time_left(&self) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        let left = deadline.saturating_duration_since(Instant::now());
        // The kernel takes zero for no limit.
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Makes the thread that waits on this end, and the other process, see the end of the channel.
pub fn interrupt(handle: &OwnedFd) {
    // Fails only when the other process has gone, which ends the channel just as well.
    let _gone = rustix::net::shutdown(handle, rustix::net::Shutdown::Both);
}

/// The time limit of a socket passes as EAGAIN (socket(7), SO_RCVTIMEO).
fn or_timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use super::super::wire::{MAX_DESCRIPTORS, Opaque, Purpose};
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().expect("a socket pair");
        (ours, Channel::new(theirs))
    }

    fn sockets(count: u8) -> Message {
        Message::Sockets { group: 1, purpose: Purpose::Listener, address: b"a".to_vec(), count }
    }

    #[test]
    fn as_many_sockets_as_the_kernel_passes_arrive_and_are_the_same() {
        let (mut ours, mut theirs) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let passed = vec![listener.as_fd(); MAX_DESCRIPTORS];
        let message = sockets(u8::try_from(MAX_DESCRIPTORS).expect("it is 253"));
        ours.send(&message, &passed).expect("sent");
        let (received, mut copies) = theirs.receive().expect("received");
        assert_eq!((received, copies.len()), (message.clone(), MAX_DESCRIPTORS));
        let copy = TcpListener::from(copies.pop().expect("the last"));
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        assert_eq!(address(&copy), address(&listener));
        let flags = rustix::io::fcntl_getfd(&copies[0]).expect("open");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let too_many = vec![listener.as_fd(); MAX_DESCRIPTORS + 1];
        assert_eq!(
            ours.send(&message, &too_many).map_err(|error| error.kind()),
            Err(ErrorKind::InvalidInput)
        );
    }

    #[test]
    fn the_longest_packet_passes() {
        let (mut ours, mut theirs) = pair();
        let message = Message::Sessions(Opaque::new(&[7; super::super::wire::MAX_CHUNK]));
        ours.send(&message, &[]).expect("sent");
        assert_eq!(theirs.receive().expect("received").0, message);
    }

    #[test]
    fn sockets_that_were_not_announced_are_refused() {
        let (mut ours, mut theirs) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        for (message, passed) in
            [(sockets(2), vec![listener.as_fd()]), (Message::Offered, vec![listener.as_fd()])]
        {
            ours.send(&message, &passed).expect("sent");
            let refused = theirs.receive().map_err(|error| error.kind());
            assert_eq!(refused.map(|_| ()), Err(ErrorKind::InvalidData), "{message:?}");
        }
    }

    #[test]
    fn garbage_and_long_packets_are_refused() {
        let (ours, mut theirs) = pair();
        for packet in [vec![99; 10], vec![4; MAX_PACKET + 1]] {
            rustix::net::send(&ours, &packet, SendFlags::empty()).expect("sent");
            let refused = theirs.receive().map_err(|error| error.kind());
            assert_eq!(refused.map(|_| ()), Err(ErrorKind::InvalidData));
        }
    }

    #[test]
    fn the_end_of_the_other_is_seen_and_the_deadline_holds() {
        let (mut ours, theirs) = pair();
        ours.set_limit(Some(Duration::from_millis(20)));
        let late = ours.receive().map_err(|error| error.kind());
        assert_eq!(late.map(|_| ()), Err(ErrorKind::TimedOut));
        ours.set_limit(None);
        drop(theirs);
        let gone = ours.receive().map_err(|error| error.kind());
        assert_eq!(gone.map(|_| ()), Err(ErrorKind::UnexpectedEof));
        assert_eq!(
            ours.send(&Message::Offered, &[]).map_err(|error| error.kind()),
            Err(ErrorKind::BrokenPipe)
        );
    }

    #[test]
    fn a_full_way_does_not_hold_up_past_the_deadline() {
        let (mut ours, _theirs) = pair();
        let message = Message::Sessions(Opaque::new(&[7; 60_000]));
        ours.set_limit(Some(Duration::from_millis(20)));
        let kind = loop {
            if let Err(error) = ours.send(&message, &[]) {
                break error.kind();
            }
        };
        assert_eq!(kind, ErrorKind::TimedOut);
    }

    #[test]
    fn a_wait_can_be_interrupted() {
        let (mut ours, _theirs) = pair();
        let handle = ours.handle().expect("a descriptor");
        let waiter = std::thread::spawn(move || ours.receive().map_err(|error| error.kind()));
        interrupt(&handle);
        let ended = waiter.join().expect("no panic").map(|_| ());
        assert_eq!(ended, Err(ErrorKind::UnexpectedEof));
    }
}
