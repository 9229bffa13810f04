//! tlsgate: a TLS gateway for machines that talk to machines.
//!
//! Data flows one way: accept → policy → handshake → relay → close. ARCHITECTURE.md is the map.

#![deny(unsafe_code)]

pub mod admission;
pub mod buf;
pub mod config;
pub mod conn;
pub mod engine;
pub mod policy;
pub mod shard;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod upstream;
