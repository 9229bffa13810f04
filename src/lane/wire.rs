//! What the gateway and the child say to each other over their channel: one message per packet. Pure.
//!
//! A packet is a kind, one byte, and the fields of that kind in order. Nothing may follow.

use zeroize::Zeroizing;

use super::ProfileId;
use crate::fields::{Reader, Short, Writer};
use crate::handover::Opaque;
use crate::sys::packets::MAX_PACKET;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Gateway, first.
    Begin(Begin),
    /// Gateway: a profile of so many bytes follows, in chunks.
    Profile { id: ProfileId, length: u32 },
    /// Gateway: the next bytes of a profile.
    Chunk(Opaque),
    /// Gateway: nothing new comes for this profile.
    Retire(ProfileId),
    /// A shard: a connection to be spoken to by this profile. Its socket comes with the packet, and
    /// our end of the pair behind it.
    Connection(ProfileId),
    /// Child: it works, from here on without privileges.
    Ready,
    /// Child, last: why it does not.
    Failed(String),
}

/// What the child works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Use io_uring where that works.
    pub uring: bool,
    pub limits: Limits,
}

/// How much there may be at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections.
    pub links: u32,
    /// Connections whose handshake is not done.
    pub handshakes: u32,
    /// Bytes of buffers.
    pub buffer_memory: u64,
}

/// Why a packet is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a packet that ends too early")]
    Short,
    #[error("a packet that goes on after its end")]
    Trailing,
    #[error("a packet of unknown kind {0}")]
    UnknownKind(u8),
    #[error("a packet with a field that has no meaning")]
    BadField,
}

/// Longest chunk of a profile and longest text, in bytes.
pub const MAX_CHUNK: usize = MAX_PACKET - 64;

impl Message {
    /// The packet. Chunks and texts longer than [`MAX_CHUNK`] make one that is refused.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Writer::new();
        match self {
            Self::Begin(Begin { uring, limits }) => {
                out.byte(1);
                out.byte(u8::from(*uring));
                out.number(limits.links);
                out.number(limits.handshakes);
                out.array(limits.buffer_memory.to_be_bytes());
            }
            Self::Profile { id, length } => {
                out.byte(2);
                out.array(id.0);
                out.number(*length);
            }
            Self::Chunk(bytes) => {
                out.byte(3);
                out.bytes(bytes.as_bytes());
            }
            Self::Retire(id) => {
                out.byte(4);
                out.array(id.0);
            }
            Self::Connection(id) => {
                out.byte(5);
                out.array(id.0);
            }
            Self::Ready => out.byte(6),
            Self::Failed(text) => {
                out.byte(7);
                out.bytes(text.as_bytes());
            }
        }
        out.0
    }

    /// The message of a packet.
    ///
    /// # Errors
    /// When it is not one that [`Message::encode`] makes.
    pub fn decode(packet: &[u8]) -> Result<Self, WireError> {
        let mut input = Reader(packet);
        let message = match input.byte()? {
            1 => Self::Begin(Begin {
                uring: match input.byte()? {
                    0 => false,
                    1 => true,
                    _ => return Err(WireError::BadField),
                },
                limits: Limits {
                    links: input.number()?,
                    handshakes: input.number()?,
                    buffer_memory: u64::from_be_bytes(input.array()?),
                },
            }),
            2 => Self::Profile { id: ProfileId(input.array()?), length: input.number()? },
            3 => Self::Chunk(Opaque::new(input.bytes()?)),
            4 => Self::Retire(ProfileId(input.array()?)),
            5 => Self::Connection(ProfileId(input.array()?)),
            6 => Self::Ready,
            7 => {
                let text = input.bytes()?.to_vec();
                Self::Failed(String::from_utf8(text).map_err(|_| WireError::BadField)?)
            }
            kind => return Err(WireError::UnknownKind(kind)),
        };
        if input.0.is_empty() { Ok(message) } else { Err(WireError::Trailing) }
    }

    /// How many descriptors come with it.
    pub const fn descriptors(&self) -> usize {
        match self {
            Self::Connection(_) => 2,
            _ => 0,
        }
    }
}

impl From<Short> for WireError {
    fn from(Short: Short) -> Self {
        Self::Short
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn messages() -> impl Strategy<Value = Message> {
        let id = || any::<[u8; 32]>().prop_map(ProfileId);
        let begin = (any::<bool>(), any::<u32>(), any::<u32>(), any::<u64>()).prop_map(
            |(uring, links, handshakes, buffer_memory)| {
                let limits = Limits { links, handshakes, buffer_memory };
                Message::Begin(Begin { uring, limits })
            },
        );
        prop_oneof![
            begin,
            (id(), any::<u32>()).prop_map(|(id, length)| Message::Profile { id, length }),
            vec(any::<u8>(), 0..300).prop_map(|bytes| Message::Chunk(Opaque::new(&bytes))),
            id().prop_map(Message::Retire),
            id().prop_map(Message::Connection),
            Just(Message::Ready),
            ".{0,300}".prop_map(Message::Failed),
        ]
    }

    proptest! {
        #[test]
        fn messages_come_back(message in messages()) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn a_part_of_a_packet_is_none(message in messages(), cut: prop::sample::Index) {
            let packet = message.encode();
            let cut = cut.index(packet.len());
            prop_assert_eq!(Message::decode(&packet[..cut]), Err(WireError::Short));
        }

        #[test]
        fn a_packet_with_more_behind_it_is_none(message in messages(), more in vec(any::<u8>(), 1..9)) {
            let mut packet = message.encode();
            packet.extend_from_slice(&more);
            prop_assert_eq!(Message::decode(&packet), Err(WireError::Trailing));
        }

        /// What is understood is what would have been sent.
        #[test]
        fn garbage_is_refused_or_exact(packet in vec(any::<u8>(), 0..200), kind in 0_u8..9) {
            let mut packet = packet;
            if let Some(first) = packet.first_mut() {
                *first = kind;
            }
            if let Ok(message) = Message::decode(&packet) {
                prop_assert_eq!(&*message.encode(), &packet);
            }
        }
    }

    #[test]
    fn profiles_are_not_shown() {
        let shown = format!("{:?}", Message::Chunk(Opaque::new(b"a key")));
        assert_eq!(shown, "Chunk(Opaque(5 bytes))");
    }

    #[test]
    fn the_longest_chunk_fits_a_packet() {
        assert!(Message::Chunk(Opaque::new(&[7; MAX_CHUNK])).encode().len() <= MAX_PACKET);
    }
}
