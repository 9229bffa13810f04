//! TLS towards the peer that connects, and towards the component: reading hellos, who we are, how
//! peers may come back.

pub mod alert;
pub mod client_config;
pub mod error;
pub mod file;
pub mod hello;
pub mod identity;
pub mod lane;
pub mod modern;
pub mod openssl;
mod prf;
pub mod profile;
pub mod provider;
pub mod record;
pub mod remote;
pub mod resumption;
pub mod server_config;
pub mod tls_conn;
pub mod trust;
pub mod weak;

pub use profile::{ClientProfile, ServerProfile};

#[cfg(test)]
pub(crate) mod testing;
