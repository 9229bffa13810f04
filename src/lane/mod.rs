//! The legacy lane's child: a process of its own that speaks the TLS which this one will not.
//!
//! ```text
//!  shard                                        child
//!   │  the peer's socket, one end of a pair ──►  │   over the channel, one for all
//!   │  hello or start, data, close_notify   ──►  │ ◄──► peer, in TLS
//!   │   ◄── established, data, close_notify      │   over the pair, one for each
//! ```
//!
//! Invariants:
//! - The child is a TLS engine and nothing else: it dials nobody, logs nothing, and knows no policy
//!   and no upstream. It has the keys of its own lane, and no other key, ticket or session.
//! - It runs without privileges, and ends with the process that started it.
//! - A connection's socket is passed once, whole, before a byte was sent on it; from then on only
//!   the child touches it.
//! - Whoever cannot be passed at once is refused: nothing waits for the child.
//! - Neither side trusts the other to be well-formed or to come in time.

pub mod channel;
pub mod child;
mod end;
pub mod frame;
pub mod link;
mod sandbox;
pub mod sessions;
#[cfg(test)]
pub(crate) mod toy;
pub mod wire;

pub use channel::Door;

use std::fmt;

use zeroize::Zeroizing;

/// All that the child is told about one side of a route: identities, versions, lists, trust.
#[derive(PartialEq, Eq)]
pub struct Profile {
    id: ProfileId,
    /// As `tls::openssl` writes it. There are keys in it.
    description: Zeroizing<Vec<u8>>,
}

/// Names a profile by its content, so that one that is not changed stays itself in a configuration
/// that is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileId(pub(crate) [u8; 32]);

/// Why a connection was not passed to the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpassed {
    /// There is none, or it does not take sockets.
    Down,
    /// It does not keep up with those that it was passed.
    Busy,
}

impl Profile {
    pub fn new(description: Zeroizing<Vec<u8>>) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, &description);
        let id = ProfileId(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"));
        Self { id, description }
    }

    pub fn id(&self) -> ProfileId {
        self.id
    }

    pub(crate) fn description(&self) -> &[u8] {
        &self.description
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({:?}, {} bytes)", self.id, self.description.len())
    }
}

impl fmt::Debug for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
