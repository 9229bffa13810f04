//! What readers of the admin port and the aggregator ask the process for.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Compiled;
use super::audit::Auditor;
use crate::admin::{Lifecycle, StatusSource};
use crate::audit::lanes::Opening;
use crate::audit::report::Traffic;
use crate::audit::{Inventory, Part};
use crate::config::date::Date;
use crate::engine::probe::Chosen;
use crate::sandbox::{self, Sandbox};
use crate::sys::heap;
use crate::telemetry::{
    AggregatorHandle, CertificateFacts, ConfigFacts, CrlSwaps, Facts, ListenerFacts,
    ProcessFigures, ReadError, SharedCounters, Snapshot, UpstreamFacts,
};
use crate::tls::resumption::Resumption;
use crate::tls::trust::{CrlFacts, SharedCrls};
use crate::upstream::Group;
use crate::upstream::local_ports::LocalPorts;

/// What a [`Status`] is made of.
pub(super) struct StatusParts {
    pub(super) engine: Chosen,
    pub(super) listeners: Vec<ListenerFacts>,
    pub(super) compiled: Compiled,
    pub(super) resumption: Resumption,
    pub(super) shared: Arc<SharedCounters>,
}

/// The process, for readers.
#[derive(Debug)]
pub(super) struct Status {
    started_unix_ms: u64,
    engine: Chosen,
    reason: Arc<str>,
    sandbox: OnceLock<Arc<str>>,
    running: RwLock<Running>,
    resumption: Resumption,
    shared: Arc<SharedCounters>,
    lifecycle: AtomicU8,
    aggregator: OnceLock<AggregatorHandle>,
    auditor: OnceLock<Auditor>,
}

/// What the configuration that runs brought, and how it went with those that were to follow it.
#[derive(Debug)]
struct Running {
    config: ConfigFacts,
    listeners: Vec<ListenerFacts>,
    certificates: Vec<CertificateFacts>,
    crls: Vec<Arc<SharedCrls>>,
    crl_swaps: CrlSwaps,
    autodetect: Vec<(Arc<str>, Option<Date>)>,
    lanes: Vec<Opening>,
    upstreams: Vec<Arc<Group>>,
}

impl Status {
    pub(super) fn new(parts: StatusParts) -> Self {
        let StatusParts { engine, listeners, compiled, resumption, shared } = parts;
        let started_unix_ms = unix_now_ms();
        let config = ConfigFacts {
            generation: compiled.policy.generation,
            loaded_unix_ms: started_unix_ms,
            ..ConfigFacts::default()
        };
        let running = Running {
            config,
            listeners,
            upstreams: compiled.policy.groups(),
            certificates: compiled.certificates,
            crls: compiled.crls,
            autodetect: compiled.autodetect,
            lanes: compiled.lanes,
            crl_swaps: CrlSwaps::default(),
        };
        Self {
            started_unix_ms,
            reason: engine.reason.as_str().into(),
            engine,
            sandbox: OnceLock::new(),
            running: RwLock::new(running),
            resumption,
            shared,
            lifecycle: AtomicU8::new(Lifecycle::Starting as u8),
            aggregator: OnceLock::new(),
            auditor: OnceLock::new(),
        }
    }

    /// A new configuration runs.
    pub(super) fn set_running(&self, compiled: Compiled, listeners: Vec<ListenerFacts>) {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        running.config.generation = compiled.policy.generation;
        running.config.loaded_unix_ms = unix_now_ms();
        running.config.reloads += 1;
        running.config.last_failure = None;
        running.listeners = listeners;
        running.upstreams = compiled.policy.groups();
        running.certificates = compiled.certificates;
        running.crls = compiled.crls;
        running.autodetect = compiled.autodetect;
        let before = std::mem::replace(&mut running.lanes, compiled.lanes);
        for opening in &mut running.lanes {
            let same = before.iter().find(|one| one.is_same(opening));
            opening.since = same.map_or(opening.since, |one| one.since);
        }
    }

    /// A new configuration was refused.
    pub(super) fn count_refused(&self, why: &str) {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        running.config.reload_failures += 1;
        running.config.last_failure = Some(why.into());
    }

    /// Lists of revoked certificates that changed were taken, or refused.
    pub(super) fn count_crls(&self, taken: bool) {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        let swaps = &mut running.crl_swaps;
        *(if taken { &mut swaps.taken } else { &mut swaps.refused }) += 1;
    }

    pub(super) fn shared(&self) -> Arc<SharedCounters> {
        Arc::clone(&self.shared)
    }

    /// Every listener with the address it really got.
    pub(super) fn listeners(&self) -> Vec<ListenerFacts> {
        self.running().listeners.clone()
    }

    fn running(&self) -> RwLockReadGuard<'_, Running> {
        self.running.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_lifecycle(&self, lifecycle: Lifecycle) {
        self.lifecycle.store(lifecycle as u8, Ordering::Release);
    }

    /// The aggregator is started after what it reads.
    pub(super) fn set_aggregator(&self, aggregator: AggregatorHandle) {
        let first = self.aggregator.set(aggregator).is_ok();
        debug_assert!(first, "set once, at start");
    }

    /// What the process has given up, once that is all.
    pub(super) fn set_sandbox(&self, held: &Sandbox) {
        let rings = sandbox::Part::rings(self.engine.restricted.as_ref());
        let parts: Vec<_> = held.parts().iter().chain(&rings).map(ToString::to_string).collect();
        let first = self.sandbox.set(parts.join("; ").into()).is_ok();
        debug_assert!(first, "set once, at start");
    }

    /// A sentence about that.
    pub(super) fn sandbox(&self) -> Arc<str> {
        self.sandbox.get().cloned().unwrap_or_else(|| "off".into())
    }

    /// The workers are started after what they are told by.
    pub(super) fn set_auditor(&self, auditor: Auditor) {
        let first = self.auditor.set(auditor).is_ok();
        debug_assert!(first, "set once, at start");
    }

    pub(super) fn auditor(&self) -> Option<&Auditor> {
        self.auditor.get()
    }

    /// Of the configuration that runs.
    pub(super) fn generation(&self) -> u64 {
        self.running().config.generation
    }

    /// Its certificates and CRLs; each once, whoever names it.
    pub(super) fn material(&self) -> (BTreeSet<CertificateFacts>, BTreeSet<CrlFacts>) {
        let running = self.running();
        let crls = crl_facts(&running.crls);
        (running.certificates.iter().cloned().collect(), crls.into_iter().collect())
    }

    /// Its autodetect listeners, with their last day, and the days up to it.
    pub(super) fn autodetect(&self, now: i64) -> Vec<(Arc<str>, Option<String>, Option<i64>)> {
        let last = |(name, until): &(Arc<str>, Option<Date>)| {
            let days = until.and_then(|until| until.days_left(now));
            (Arc::clone(name), until.map(|until| until.to_string()), days)
        };
        self.running().autodetect.iter().map(last).collect()
    }

    /// Lanes weaker than the modern one that it opens.
    pub(super) fn weak_lanes(&self) -> Vec<Opening> {
        self.running().lanes.clone()
    }

    /// Called by the aggregator, once per snapshot.
    pub(super) fn facts(&self) -> Facts {
        let running = self.running();
        self.refresh_shared();
        Facts {
            version: env!("CARGO_PKG_VERSION"),
            engine: self.engine.engine.as_str(),
            engine_reason: Arc::clone(&self.reason),
            sandbox: self.sandbox(),
            started_unix_ms: self.started_unix_ms,
            config: running.config.clone(),
            listeners: running.listeners.clone(),
            certificates: running.certificates.clone(),
            crls: crl_facts(&running.crls),
            crl_swaps: running.crl_swaps,
            upstreams: upstream_facts(&running.upstreams),
            tickets: self.resumption.keys.stats(),
            upstream_sessions: self.resumption.upstream.stats(),
            sessions_rejected: self.resumption.store.stats().rejected,
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

    fn traffic(&self, part: Part) -> Traffic {
        self.seen(part)
    }

    fn inventory(&self) -> Inventory {
        self.everything()
    }

    fn lifecycle(&self) -> Lifecycle {
        const ALL: [Lifecycle; 3] =
            [Lifecycle::Starting, Lifecycle::Accepting, Lifecycle::Draining];
        ALL[usize::from(self.lifecycle.load(Ordering::Acquire))]
    }
}

/// Of the lists that count now.
pub(super) fn crl_facts(crls: &[Arc<SharedCrls>]) -> Vec<CrlFacts> {
    crls.iter().flat_map(|list| list.current().facts().to_vec()).collect()
}

fn upstream_facts(groups: &[Arc<Group>]) -> Vec<UpstreamFacts> {
    let ports = local_ports();
    let remaining = ports.map(|ports| ports.remaining(groups));
    let mut seen = HashSet::new();
    let endpoints = groups.iter().flat_map(|group| group.endpoints.iter().map(move |e| (group, e)));
    // A configuration may name an endpoint twice, so that it gets twice its share.
    let endpoints =
        endpoints.filter(|(group, endpoint)| seen.insert((&group.name, &endpoint.name)));
    let facts = endpoints.map(|(group, endpoint)| UpstreamFacts {
        route: Arc::clone(&group.name),
        endpoint: Arc::clone(&endpoint.name),
        role: endpoint.role,
        figures: endpoint.presence.figures(),
        ports_left: remaining
            .as_ref()
            .map(|remaining| remaining.towards(group, endpoint))
            .unwrap_or_default(),
    });
    facts.collect()
}

/// What the kernel gives to sockets that dial; `None` where it does not say.
fn local_ports() -> Option<LocalPorts> {
    let [range, reserved] = ["ip_local_port_range", "ip_local_reserved_ports"]
        .map(|name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok());
    LocalPorts::parse(&range?, &reserved?)
}

#[expect(clippy::disallowed_methods, reason = "an edge: when things of the process happened")]
fn unix_now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
