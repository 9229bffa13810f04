//! Connections driven by hand: no sockets, a virtual clock, a real TLS client.

mod ending;
mod handshake;
mod hello;
mod random;
mod relay;
pub(crate) mod rig;
