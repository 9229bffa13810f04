//! TLS towards the peer that connects: reading its hello, who we are, how it may come back.

pub mod alert;
pub mod error;
pub mod file;
pub mod hello;
pub mod identity;
pub mod profile;
pub mod provider;
pub mod resumption;
pub mod server_config;
pub mod tls_conn;
pub mod trust;

pub use profile::ServerProfile;

#[cfg(test)]
pub(crate) mod testing;
