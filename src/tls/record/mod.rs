//! The record layer of TLS 1.2 and 1.3 after the handshake: what a session is, once its keys are
//! known.
//!
//! Pure, and knows no buffers: a record is opened and sealed where it lies, in a slice that has
//! room for what protects it ([`Cipher::head`] before the content, [`Cipher::tail`] behind it).
//! [`Records`] is the protocol: alerts, key updates, tickets, limits. `keys` is the cryptography.
//!
//! Invariants:
//! - A sequence number is used once for a key; a key is used for no more records than its cipher
//!   stands (RFC 8446 §5.5).
//! - Content is given out of records that authenticate, and of nothing else.
//! - What is kept of a peer's incomplete message is at most [`MAX_MESSAGE`] bytes, and grows with
//!   what came; what is owed to a peer that does not read is one record of each kind.
//! - Secrets are wiped when they are done with. Expanded keys, which ring does not wipe, are gone
//!   with [`Records::rest`].

mod cipher;
mod error;
mod keys;
mod messages;
mod schedule;
mod session;

pub use cipher::{Aead, Cipher, Version};
pub use error::{Exhausted, RecordError};
pub use keys::Keys;
pub use messages::MAX_MESSAGE;
pub use session::{Opened, Records, Role, Short};

/// Bytes of a record's header (RFC 8446 §5.1).
pub const HEADER: usize = 5;
/// Most content of a record.
pub const MAX_CONTENT: usize = 1 << 14;

/// Content types (RFC 8446 appendix B.1).
pub mod content {
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    pub const ALERT: u8 = 21;
    pub const HANDSHAKE: u8 = 22;
    pub const APPLICATION_DATA: u8 = 23;
}

/// The header of a record whose body, behind the header, has this length: at most 2^16 − 1.
fn header(content_type: u8, body: usize) -> [u8; HEADER] {
    let [.., high, low] = body.to_be_bytes();
    [content_type, 3, 3, high, low]
}

#[cfg(test)]
mod tests;
