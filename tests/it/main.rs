//! What the gateway must show, against the built program: each test is one named check.
//!
//! The checks are marked `ignore` because they take the whole machine: `tests/run` builds the
//! program and runs them one by one. By hand:
//! `cargo test --release --test it -- --ignored --exact endings::endings_truncated`.
//!
//! Environment: `TLSGATE_BIN` is the program (default: the one cargo built), `TLSGATE_BENCH_BIN`
//! the measuring tool (default: beside the program), `TLSGATE_FULL=1` asks for the full sizes,
//! `TLSGATE_ENGINE` for one engine (default: both).
//! A check that cannot run prints a line that starts with `SKIPPED` and says why.

#![allow(clippy::disallowed_methods, reason = "tests watch real processes on the real clock")]

mod access_log;
mod audit;
mod battery;
mod bulk;
mod capacity;
mod clients;
mod command_line;
mod completions;
mod container;
mod control;
#[path = "../mistakes/corpus.rs"]
mod corpus;
mod demo;
mod doctor;
mod drain;
mod endings;
mod endings_network;
mod endings_resources;
mod engine_fallback;
mod flood;
mod headroom;
mod hello;
mod idle_memory;
mod interop;
mod lanes;
mod legacy_child;
mod listeners;
mod load;
mod malformed;
mod modes;
mod package;
mod page;
mod policy;
mod prometheus;
mod proxy_in;
mod proxy_out;
mod records;
mod reload;
mod replaced;
mod restart;
mod revalidate;
mod sandbox;
mod scale;
mod scenario;
mod selection;
mod stop;
mod storm;
mod support;
mod systemd;
mod telemetry;
mod ticket_keys;
mod uccx;
mod upstream;
mod upstream_health;
mod upstream_sources;
mod upstream_tls;
