//! Restart without a gap: a running process starts its successor and hands over to it.
//!
//! ```text
//!  old                                     new
//!   │  starts it, one end of a channel ──►  │
//!   │  hello, sockets, ticket keys     ──►  │  reads the configuration, makes its workers
//!   │                       ◄── prepared    │
//!   │  sessions                        ──►  │
//!   │                          ◄── ready    │  could serve
//!   │  serve (the point of no return)  ──►  │  listens
//!   │                        ◄── serving    │  serves
//!   │  stops accepting, released       ──►  │  is the main process
//!   │  drains, ends                         │
//! ```
//!
//! Invariants:
//! - A listening socket is one object in the kernel that both processes hold. Nobody closes its
//!   accept queue, so no connection is lost, whichever of the two accepts it.
//! - Until it serves, the new process can fail in any way: the old one has given nothing up and
//!   goes on.
//! - The new process accepts nothing before it may serve, so it can be killed without harm until
//!   then. After that it is ended only if it does not come to serve: when the old process is told
//!   to end meanwhile, it waits and passes that on.
//! - Nothing that comes over the channel is trusted to be well-formed or to come in time.

pub mod channel;
pub mod predecessor;
pub mod program;
pub mod successor;
pub mod wire;

pub use predecessor::{Group, HandOver, Offer, Successor, spawn};
pub use program::Program;
pub use successor::{Inheritance, InheritedGroup, Predecessor};
pub use wire::{Opaque, Purpose};

/// Names the descriptor of the successor's end of the channel.
pub const CHANNEL_VARIABLE: &str = "TLSGATE_HANDOVER";

#[cfg(test)]
mod tests;
