//! What systemd gives a service and wants to be told (sd_notify(3), sd_listen_fds(3)).
//!
//! Without systemd, nothing here does anything. No library: the protocols are a datagram with
//! lines of text, and three variables of the environment.

pub mod activation;
pub mod notify;
pub mod watchdog;

pub use activation::Activation;
pub use notify::{Notifier, State};
pub use watchdog::Watchdog;
