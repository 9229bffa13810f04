//! TLS towards the peer that connects: reading its hello, who we are, how it may come back.

pub mod alert;
pub mod hello;
pub mod identity;
pub mod provider;
pub mod resumption;
pub mod server_config;

#[cfg(test)]
mod testing;
