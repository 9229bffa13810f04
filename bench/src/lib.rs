//! Measuring tools for TLS gateways: plaintext backends, a TLS client that makes load and times
//! it, and an account of what a process spent.
//!
//! Nothing here depends on the gateway: a tool that measures must not share its bugs.

pub mod backend;
pub mod capacity;
pub mod client;
pub mod content;
pub mod floor;
pub mod frame;
pub mod hlog;
mod mix;
pub mod objective;
pub mod page;
pub mod priority;
pub mod procstat;
pub mod scenario;
pub mod units;
