//! tlsgate: a TLS gateway for machines that talk to machines.
//!
//! Data flows one way: accept → policy → handshake → relay → close. ARCHITECTURE.md is the map.

#![deny(unsafe_code)]

pub mod admin;
pub mod buf;
pub mod config;
pub mod conn;
pub mod shard;
pub mod telemetry;
pub mod time;
pub mod tls;
