//! Connections driven by hand: no sockets, a virtual clock, real TLS peers.

mod bridge;
mod component;
mod ending;
mod handshake;
mod hello;
pub(crate) mod judged;
mod originate;
mod proxy_in;
mod proxy_out;
mod random;
mod relay;
mod remote;
mod revalidate;
pub(crate) mod rig;
mod rules;
mod sources;
mod steps;
mod tickets;
mod unterminated;
pub(crate) mod weak;
