//! The way to the child: one channel for all, over which shards pass it connections.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use zeroize::Zeroizing;

use super::wire::{MAX_CHUNK, Message};
use super::{Profile, ProfileId, Unpassed};
use crate::handover::Opaque;
use crate::sys::packets::{self, MAX_PACKET, invalid_data};

/// What shards knock at. Handles of one door are the same; there is a child behind it, or not.
#[derive(Clone, Debug, Default)]
pub struct Door(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// While there is a child that takes connections.
    channel: RwLock<Option<Arc<OwnedFd>>>,
    profiles: Mutex<Vec<Known>>,
}

/// A profile that was asked for.
#[derive(Debug)]
struct Known {
    id: ProfileId,
    profile: Weak<Profile>,
    /// The child has it.
    told: bool,
}

impl Door {
    /// The profile of this description, which is the same as long as anybody has it.
    pub fn profile(&self, description: Zeroizing<Vec<u8>>) -> Arc<Profile> {
        let profile = Profile::new(description);
        let mut known = self.known();
        let same = known.iter().find(|known| known.id == profile.id);
        if let Some(same) = same.and_then(|known| known.profile.upgrade()) {
            return same;
        }
        let profile = Arc::new(profile);
        // One of the same name that nobody has any more is retired before this one is told.
        known.push(Known { id: profile.id, profile: Arc::downgrade(&profile), told: false });
        profile
    }

    /// True when some configuration, or connection, has a profile.
    pub(crate) fn is_wanted(&self) -> bool {
        self.known().iter().any(|known| known.profile.strong_count() > 0)
    }

    /// True while a child takes connections.
    pub fn is_open(&self) -> bool {
        self.channel().is_some()
    }

    /// A pair of sockets for a connection and the child.
    ///
    /// # Errors
    /// When there is no child, or there are no descriptors left.
    pub fn pair(&self) -> Result<(OwnedFd, OwnedFd), Unpassed> {
        if !self.is_open() {
            return Err(Unpassed::Down);
        }
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|_exhausted| Unpassed::Down)
    }

    /// Passes a connection: its socket, and the child's end of the pair. Does not wait.
    ///
    /// # Errors
    /// The child does not have it.
    pub fn pass(
        &self,
        profile: &Profile,
        socket: &OwnedFd,
        pair: &OwnedFd,
    ) -> Result<(), Unpassed> {
        let channel = self.channel().ok_or(Unpassed::Down)?;
        let packet = Message::Connection(profile.id).encode();
        packets::send(channel, &packet, &[socket.as_fd(), pair.as_fd()], SendFlags::DONTWAIT)
            .map_err(|error| match error.raw_os_error() {
                // Too many descriptors are on their way: it does not keep up either.
                Some(libc::EAGAIN | libc::ETOOMANYREFS) => Unpassed::Busy,
                _ => Unpassed::Down,
            })
    }

    /// A child is behind `channel`, which has not been told any profile: it is, and then takes
    /// connections.
    ///
    /// # Errors
    /// When it cannot be told; then the door stays closed.
    pub(crate) fn open(&self, channel: &Arc<OwnedFd>) -> io::Result<()> {
        self.known().iter_mut().for_each(|known| known.told = false);
        self.tell(channel)?;
        *self.0.channel.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(channel));
        Ok(())
    }

    /// No child takes connections any more.
    pub(crate) fn close(&self) {
        *self.0.channel.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Tells the child, if there is one, which profiles are new and which nobody has any more.
    ///
    /// # Errors
    /// As [`Door::open`].
    pub(crate) fn update(&self) -> io::Result<()> {
        self.channel().map_or(Ok(()), |channel| self.tell(&channel))
    }

    fn tell(&self, channel: &OwnedFd) -> io::Result<()> {
        let mut known = self.known();
        for gone in known.extract_if(.., |known| known.profile.strong_count() == 0) {
            if gone.told {
                send(channel, &Message::Retire(gone.id))?;
            }
        }
        for known in known.iter_mut().filter(|known| !known.told) {
            let Some(profile) = known.profile.upgrade() else { continue };
            let description = profile.description();
            let length = u32::try_from(description.len()).map_err(io::Error::other)?;
            send(channel, &Message::Profile { id: known.id, length })?;
            for chunk in description.chunks(MAX_CHUNK) {
                send(channel, &Message::Chunk(Opaque::new(chunk)))?;
            }
            known.told = true;
        }
        Ok(())
    }

    fn channel(&self) -> Option<Arc<OwnedFd>> {
        self.0.channel.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Vec<Known>> {
        self.0.profiles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a message without descriptors, and waits for room.
///
/// # Errors
/// When the other end has gone.
pub(crate) fn send(channel: impl AsFd, message: &Message) -> io::Result<()> {
    packets::send(channel, &message.encode(), &[], SendFlags::empty())
}

/// The next message, and what came with it.
///
/// # Errors
/// `UnexpectedEof` when the other end has gone, `InvalidData` when it is no message.
pub(crate) fn receive(channel: impl AsFd) -> io::Result<(Message, Vec<OwnedFd>)> {
    let mut packet = Zeroizing::new(vec![0; MAX_PACKET]);
    let (length, descriptors) = packets::receive(channel, &mut packet)?;
    let message = Message::decode(&packet[..length]).map_err(invalid_data)?;
    if descriptors.len() != message.descriptors() {
        return Err(invalid_data(format!("{} descriptors with {message:?}", descriptors.len())));
    }
    Ok((message, descriptors))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn profile(door: &Door, text: &str) -> Arc<Profile> {
        door.profile(Zeroizing::new(text.as_bytes().to_vec()))
    }

    /// A door with a child behind it, played by the test.
    fn open(door: &Door) -> OwnedFd {
        let (ours, theirs) = packets::pair(4).expect("a socket pair");
        door.open(&Arc::new(ours)).expect("there is room");
        theirs
    }

    /// What the child hears of a profile.
    fn told(child: &OwnedFd) -> (ProfileId, Vec<u8>) {
        let (Message::Profile { id, length }, _) = receive(child).expect("a message") else {
            panic!("a profile is told first")
        };
        let mut description = Vec::new();
        while description.len() < length as usize {
            let (Message::Chunk(chunk), _) = receive(child).expect("a message") else {
                panic!("chunks follow")
            };
            description.extend_from_slice(chunk.as_bytes());
        }
        (id, description)
    }

    fn is_quiet(child: &OwnedFd) -> bool {
        rustix::net::recv(child, &mut [0; 1], rustix::net::RecvFlags::DONTWAIT).is_err()
    }

    #[test]
    fn a_profile_is_told_once_and_retired_when_nobody_has_it() {
        let door = Door::default();
        assert!(!door.is_wanted());
        let long = "x".repeat(3 * MAX_CHUNK);
        let first = profile(&door, &long);
        let child = open(&door);
        assert_eq!(told(&child), (first.id(), long.clone().into_bytes()));
        assert!(Arc::ptr_eq(&first, &profile(&door, &long)), "the same content is the same");
        let second = profile(&door, "second");
        door.update().expect("there is room");
        assert_eq!(told(&child), (second.id(), b"second".to_vec()));
        door.update().expect("there is room");
        assert!(is_quiet(&child));
        drop(second);
        door.update().expect("there is room");
        let (retired, _) = receive(&child).expect("a message");
        assert_eq!(retired, Message::Retire(profile(&Door::default(), "second").id()));
        // It comes back.
        let second = profile(&door, "second");
        door.update().expect("there is room");
        assert_eq!(told(&child).0, second.id());
        drop((first, second));
        assert!(!door.is_wanted());
    }

    #[test]
    fn a_new_child_is_told_all_that_is_still_wanted() {
        let door = Door::default();
        let [kept, gone] = ["kept", "gone"].map(|text| profile(&door, text));
        let child = open(&door);
        assert_eq!([told(&child).0, told(&child).0], [kept.id(), gone.id()]);
        door.close();
        drop((child, gone));
        let child = open(&door);
        assert_eq!(told(&child).0, kept.id());
        assert!(is_quiet(&child));
    }

    #[test]
    fn connections_are_passed_or_refused_at_once() {
        let door = Door::default();
        let wanted = profile(&door, "a");
        let socket: OwnedFd = TcpListener::bind("127.0.0.1:0").expect("a free port").into();
        let (_, pair) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
        let pair = OwnedFd::from(pair);
        assert_eq!(door.pair().map(|_| ()), Err(Unpassed::Down));
        assert_eq!(door.pass(&wanted, &socket, &pair), Err(Unpassed::Down));
        let child = open(&door);
        door.pair().expect("descriptors");
        door.pass(&wanted, &socket, &pair).expect("there is room");
        told(&child);
        let (message, passed) = receive(&child).expect("a message");
        assert_eq!((message, passed.len()), (Message::Connection(wanted.id()), 2));
        let refused = loop {
            if let Err(refused) = door.pass(&wanted, &socket, &pair) {
                break refused;
            }
        };
        assert_eq!(refused, Unpassed::Busy);
        drop(child);
        assert_eq!(door.pass(&wanted, &socket, &pair), Err(Unpassed::Down));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let (ours, theirs) = packets::pair(4).expect("a socket pair");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let connection = Message::Connection(ProfileId([7; 32])).encode();
        for (packet, descriptors) in [
            (&b"\x63garbage"[..], &[][..]),
            (&connection, &[socket.as_fd()]),
            (&Message::Ready.encode(), &[socket.as_fd()]),
        ] {
            packets::send(&ours, packet, descriptors, SendFlags::empty()).expect("sent");
            let refused = receive(&theirs).map_err(|error| error.kind()).map(|_| ());
            assert_eq!(refused, Err(io::ErrorKind::InvalidData));
        }
        drop(ours);
        let ended = receive(&theirs).map_err(|error| error.kind()).map(|_| ());
        assert_eq!(ended, Err(io::ErrorKind::UnexpectedEof));
    }
}
