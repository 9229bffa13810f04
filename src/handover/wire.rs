//! What a process and its successor say to each other: one message per packet. Pure.
//!
//! A packet is a kind, one byte, and the fields of that kind in order: numbers in network order,
//! texts and bytes behind their length. Nothing may follow. [`Message::Hello`] keeps its form in
//! every version of the protocol, so that two versions can tell that they differ.

use std::fmt;

use zeroize::Zeroizing;

use crate::fields::{Reader, Short, Writer};
pub use crate::sys::packets::{MAX_DESCRIPTORS, MAX_PACKET};

/// Version of everything but [`Message::Hello`].
pub const PROTOCOL: u16 = 2;
/// Longest [`Opaque`] and longest text in a packet, in bytes.
pub const MAX_CHUNK: usize = MAX_PACKET - 64;

/// One packet. What it says comes from the running process ("old") or its successor ("new").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Old, first: which protocol it speaks and which tlsgate it is.
    Hello { protocol: u16, version: String },
    /// Old: as many listening sockets as come with the packet, for group number `group`. A group
    /// is what one listener has; packets of a group follow each other.
    Sockets { group: u32, purpose: Purpose, address: Vec<u8>, count: u8 },
    /// Old: a piece of the ticket keys.
    TicketKeys(Opaque),
    /// Old: that was all that the new one needs to start.
    Offered,
    /// New: configuration, certificates and threads are fit; the sessions may come.
    Prepared,
    /// Old: a piece of the session store.
    Sessions(Opaque),
    /// Old: those were all sessions.
    SessionsEnd,
    /// New: it can serve as soon as it may. It has taken the groups of these numbers; the others
    /// are for the old one to close.
    Ready { taken: Vec<u32> },
    /// Old: it may. From here on, the old one does not end the new one because it ends itself.
    Serve,
    /// New, last: it serves.
    Serving,
    /// New, last: why it cannot serve.
    Failed(String),
    /// Old, last: it has stopped accepting, the new one is the main process.
    Released,
}

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A listener's; its address is that of the configuration.
    Listener,
    /// The admin port.
    Admin,
}

/// Bytes that nobody may see: wiped when dropped, not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Opaque(Zeroizing<Vec<u8>>);

/// Why a packet is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a packet of more than {MAX_PACKET} bytes")]
    TooLong,
    #[error("a packet that ends too early")]
    Short,
    #[error("a packet that goes on after its end")]
    Trailing,
    #[error("a packet of unknown kind {0}")]
    UnknownKind(u8),
    #[error("a packet with a field that has no meaning")]
    BadField,
}

impl Message {
    /// The packet.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when a field is longer than [`MAX_CHUNK`].
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, WireError> {
        let mut out = Writer::new();
        out.byte(self.kind());
        match self {
            Self::Hello { protocol, version } => {
                out.array(protocol.to_be_bytes());
                out.bytes(version.as_bytes());
            }
            Self::Sockets { group, purpose, address, count } => {
                out.number(*group);
                out.byte(*purpose as u8);
                out.bytes(address);
                out.byte(*count);
            }
            Self::TicketKeys(opaque) | Self::Sessions(opaque) => out.bytes(&opaque.0),
            Self::Ready { taken } => {
                out.number(u32::try_from(taken.len()).map_err(|_| WireError::TooLong)?);
                taken.iter().for_each(|group| out.number(*group));
            }
            Self::Failed(text) => out.bytes(text.as_bytes()),
            Self::Offered
            | Self::Prepared
            | Self::SessionsEnd
            | Self::Serve
            | Self::Serving
            | Self::Released => {}
        }
        if out.0.len() > MAX_PACKET { Err(WireError::TooLong) } else { Ok(out.0) }
    }

    /// The message of a packet.
    ///
    /// # Errors
    /// When it is not one that [`Message::encode`] makes.
    pub fn decode(packet: &[u8]) -> Result<Self, WireError> {
        if packet.len() > MAX_PACKET {
            return Err(WireError::TooLong);
        }
        let mut input = Reader(packet);
        let message = match input.byte()? {
            1 => Self::Hello {
                protocol: u16::from_be_bytes(input.array()?),
                version: text(input.bytes()?)?,
            },
            2 => Self::Sockets {
                group: input.number()?,
                purpose: Purpose::from_byte(input.byte()?)?,
                address: input.bytes()?.to_vec(),
                count: input.byte()?,
            },
            3 => Self::TicketKeys(Opaque::new(input.bytes()?)),
            4 => Self::Offered,
            5 => Self::Prepared,
            6 => Self::Sessions(Opaque::new(input.bytes()?)),
            7 => Self::SessionsEnd,
            8 => {
                let count = input.number()?;
                Self::Ready { taken: (0..count).map(|_| input.number()).collect::<Result<_, _>>()? }
            }
            9 => Self::Failed(text(input.bytes()?)?),
            10 => Self::Released,
            11 => Self::Serve,
            12 => Self::Serving,
            kind => return Err(WireError::UnknownKind(kind)),
        };
        if input.0.is_empty() { Ok(message) } else { Err(WireError::Trailing) }
    }

    /// [`Message::Failed`] with as much of `text` as fits.
    pub fn failed(text: &str) -> Self {
        let mut end = text.len().min(MAX_CHUNK);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self::Failed(text[..end].to_owned())
    }

    /// What it is, for messages about messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Sockets { .. } => "sockets",
            Self::TicketKeys(_) => "ticket keys",
            Self::Offered => "offered",
            Self::Prepared => "prepared",
            Self::Sessions(_) => "sessions",
            Self::SessionsEnd => "end of sessions",
            Self::Ready { .. } => "ready",
            Self::Serve => "serve",
            Self::Serving => "serving",
            Self::Failed(_) => "failed",
            Self::Released => "released",
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => 1,
            Self::Sockets { .. } => 2,
            Self::TicketKeys(_) => 3,
            Self::Offered => 4,
            Self::Prepared => 5,
            Self::Sessions(_) => 6,
            Self::SessionsEnd => 7,
            Self::Ready { .. } => 8,
            Self::Failed(_) => 9,
            Self::Released => 10,
            Self::Serve => 11,
            Self::Serving => 12,
        }
    }
}

impl From<Short> for WireError {
    fn from(Short: Short) -> Self {
        Self::Short
    }
}

impl Purpose {
    fn from_byte(byte: u8) -> Result<Self, WireError> {
        match byte {
            0 => Ok(Self::Listener),
            1 => Ok(Self::Admin),
            _ => Err(WireError::BadField),
        }
    }
}

impl Opaque {
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Zeroizing<Vec<u8>>> for Opaque {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Opaque({} bytes)", self.0.len())
    }
}

fn text(bytes: &[u8]) -> Result<String, WireError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| WireError::BadField)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn messages() -> impl Strategy<Value = Message> {
        let bytes = || vec(any::<u8>(), 0..300);
        let opaque = || bytes().prop_map(|bytes| Opaque::new(&bytes));
        let purpose = prop_oneof![Just(Purpose::Listener), Just(Purpose::Admin)];
        prop_oneof![
            (any::<u16>(), ".{0,40}")
                .prop_map(|(protocol, version)| Message::Hello { protocol, version }),
            (any::<u32>(), purpose, bytes(), any::<u8>()).prop_map(
                |(group, purpose, address, count)| Message::Sockets {
                    group,
                    purpose,
                    address,
                    count
                }
            ),
            opaque().prop_map(Message::TicketKeys),
            Just(Message::Offered),
            Just(Message::Prepared),
            opaque().prop_map(Message::Sessions),
            Just(Message::SessionsEnd),
            vec(any::<u32>(), 0..100).prop_map(|taken| Message::Ready { taken }),
            ".{0,300}".prop_map(Message::Failed),
            Just(Message::Released),
            Just(Message::Serve),
            Just(Message::Serving),
        ]
    }

    proptest! {
        #[test]
        fn messages_come_back(message in messages()) {
            let packet = message.encode().expect("short enough");
            prop_assert_eq!(Message::decode(&packet), Ok(message));
        }

        #[test]
        fn a_part_of_a_packet_is_none(message in messages(), cut: prop::sample::Index) {
            let packet = message.encode().expect("short enough");
            let cut = cut.index(packet.len());
            prop_assert_eq!(Message::decode(&packet[..cut]), Err(WireError::Short));
        }

        #[test]
        fn a_packet_with_more_behind_it_is_none(message in messages(), more in vec(any::<u8>(), 1..9)) {
            let mut packet = message.encode().expect("short enough");
            packet.extend_from_slice(&more);
            prop_assert_eq!(Message::decode(&packet), Err(WireError::Trailing));
        }

        /// What is understood is what would have been sent: there is one packet for a message.
        #[test]
        fn garbage_is_refused_or_exact(packet in vec(any::<u8>(), 0..200), kind in 0_u8..14) {
            let mut packet = packet;
            if let Some(first) = packet.first_mut() {
                *first = kind;
            }
            if let Ok(message) = Message::decode(&packet) {
                let encoded = message.encode().expect("it came in a packet");
                prop_assert_eq!(&*encoded, &packet);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let chunk = |length: usize| Message::Sessions(Opaque::new(&vec![7; length])).encode();
        assert!(chunk(MAX_CHUNK).is_ok());
        assert_eq!(chunk(MAX_PACKET), Err(WireError::TooLong));
        assert_eq!(Message::decode(&[4; MAX_PACKET + 1]), Err(WireError::TooLong));
        let many = Message::Ready { taken: vec![0; MAX_PACKET] };
        assert_eq!(many.encode(), Err(WireError::TooLong));
        // A count that promises more than the packet holds takes no memory for it.
        assert_eq!(Message::decode(&[8, 0xff, 0xff, 0xff, 0xff]), Err(WireError::Short));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let text = "ü".repeat(MAX_PACKET);
        let Message::Failed(cut) = Message::failed(&text) else { panic!("a reason") };
        assert_eq!(cut.len(), MAX_CHUNK - MAX_CHUNK % 2);
        assert!(Message::Failed(cut).encode().is_ok());
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", Message::TicketKeys(Opaque::new(b"secret")));
        assert_eq!(shown, "TicketKeys(Opaque(6 bytes))");
    }
}
