//! Who may start a handshake now.

pub mod hello_budget;
