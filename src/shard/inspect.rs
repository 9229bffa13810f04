//! What a shard lets those see that prove it.

use super::Shard;
use crate::audit::{Part, ShardCensus};
use crate::engine::Engine;
use crate::telemetry::ShardTelemetry;

impl<E: Engine> Shard<E> {
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// Everything else is dropped.
    pub fn into_engine(self) -> E {
        self.engine
    }

    pub fn telemetry(&self) -> &ShardTelemetry {
        &self.telemetry
    }

    /// Connections that hold a slot.
    pub fn open_connections(&self) -> usize {
        self.slots.len()
    }

    /// The generations that live: number and open connections of each.
    pub fn generations(&mut self) -> Vec<(u64, u64)> {
        self.generations.connections().collect()
    }

    /// All that was seen in live traffic.
    pub fn census(&self) -> ShardCensus {
        self.census.report(Part::All, self.now)
    }

    /// Bytes that unfinished hellos are charged with.
    pub fn hello_bytes(&self) -> usize {
        self.hellos.total()
    }

    /// Steps of handshakes that wait, and handshakes in progress.
    pub fn handshakes(&self) -> (usize, u32) {
        (self.handshakes.waiting(), self.handshakes.in_progress())
    }
}
