//! tlsgate: a TLS gateway for machines that talk to machines.
//!
//! Data flows one way: accept → policy → handshake → relay → close. ARCHITECTURE.md is the map.

#![deny(unsafe_code)]

pub mod admin;
pub mod admission;
pub mod app;
pub mod audit;
pub mod buf;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod conn;
pub mod doctor;
pub mod engine;
mod fields;
pub mod genesys;
pub mod handover;
pub mod lane;
pub mod policy;
pub mod proxy;
pub mod sandbox;
pub mod shard;
pub mod sys;
pub mod systemd;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod upstream;
