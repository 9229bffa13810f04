//! Fuzz targets of tlsgate, and what runs them: CONTRIBUTING.md, "Fuzzing".

#![deny(unsafe_code)]

pub mod kernel;
pub mod runner;
pub mod targets;
pub mod world;
