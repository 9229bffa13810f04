//! What readers of the admin port and the aggregator ask the process for.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Compiled;
use crate::admin::{Lifecycle, StatusSource};
use crate::engine::probe::Chosen;
use crate::sys::heap;
use crate::telemetry::{
    AggregatorHandle, CertificateFacts, Facts, ListenerFacts, ProcessFigures, ReadError,
    SharedCounters, Snapshot,
};
use crate::tls::resumption::Resumption;

/// What a [`Status`] is made of.
pub(super) struct StatusParts {
    pub(super) engine: Chosen,
    pub(super) listeners: Vec<ListenerFacts>,
    pub(super) compiled: Compiled,
    pub(super) shared: Arc<SharedCounters>,
}

/// The process, for readers.
#[derive(Debug)]
pub(super) struct Status {
    started_unix_ms: u64,
    engine: Chosen,
    reason: Arc<str>,
    listeners: Vec<ListenerFacts>,
    certificates: Vec<CertificateFacts>,
    resumption: Resumption,
    shared: Arc<SharedCounters>,
    lifecycle: AtomicU8,
    aggregator: OnceLock<AggregatorHandle>,
}

impl Status {
    #[expect(clippy::disallowed_methods, reason = "an edge: the start of the process")]
    pub(super) fn new(parts: StatusParts) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            reason: parts.engine.reason.as_str().into(),
            engine: parts.engine,
            listeners: parts.listeners,
            certificates: parts.compiled.certificates,
            resumption: parts.compiled.resumption,
            shared: parts.shared,
            lifecycle: AtomicU8::new(Lifecycle::Starting as u8),
            aggregator: OnceLock::new(),
        }
    }

    pub(super) fn set_lifecycle(&self, lifecycle: Lifecycle) {
        self.lifecycle.store(lifecycle as u8, Ordering::Release);
    }

    /// The aggregator is started after what it reads.
    pub(super) fn set_aggregator(&self, aggregator: AggregatorHandle) {
        let first = self.aggregator.set(aggregator).is_ok();
        debug_assert!(first, "set once, at start");
    }

    /// Called by the aggregator, once per snapshot.
    pub(super) fn facts(&self) -> Facts {
        self.refresh_shared();
        Facts {
            version: env!("CARGO_PKG_VERSION"),
            engine: self.engine.engine.as_str(),
            engine_reason: Arc::clone(&self.reason),
            started_unix_ms: self.started_unix_ms,
            listeners: self.listeners.clone(),
            certificates: self.certificates.clone(),
            tickets: self.resumption.keys.stats(),
            process: ProcessFigures::read(heap::live_bytes()),
        }
    }

    fn refresh_shared(&self) {
        let store = self.resumption.store.stats();
        self.shared.session_hits.set(store.hits);
        self.shared.session_misses.set(store.misses);
        self.shared.session_evictions.set(store.evicted);
        self.shared.session_entries.set(store.entries);
        self.shared.session_bytes.set(store.bytes);
    }
}

impl StatusSource for Status {
    fn snapshot(&self) -> Result<Arc<Snapshot>, ReadError> {
        self.aggregator.get().ok_or(ReadError::NoAnswer)?.snapshot()
    }

    fn lifecycle(&self) -> Lifecycle {
        const ALL: [Lifecycle; 3] =
            [Lifecycle::Starting, Lifecycle::Accepting, Lifecycle::Draining];
        ALL[usize::from(self.lifecycle.load(Ordering::Acquire))]
    }
}
