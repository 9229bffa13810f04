//! The aggregator's memory: what shards handed over, merged. No clocks, threads or channels.
//!
//! Two windows are kept besides the totals, 10 s and 60 s. A window is two copies: one that is
//! written, and the one written before it. When the written copy is as old as the window is long,
//! the other one is emptied and takes its place. A reader gets both together, so a window holds
//! everything since the rotation before last: at least its length (once the process is that old),
//! at most twice its length and a tick. The snapshot says how much it is exactly.
//!
//! Copies are made when the first value arrives: phases that never happen take no memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::headroom::Headroom;
use super::histograms::{HistogramSet, Kind, MAX_SETS, Phase, PhaseHistogram};
use super::names::OTHER_LISTENERS;
use super::past::{Heat, Past};
use super::shard::ShardSnapshot;
use super::shared::SharedValues;
use super::snapshot::{
    Digest, Facts, HeatMap, Latency, ListenerView, ShardView, Snapshot, Span, Totals, bounds,
};
use crate::time::Time;

/// Lengths of the windows, in the order of [`Span::ALL`] after the total.
const WINDOWS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

pub(super) struct Merge {
    started: Time,
    shards: Vec<ShardState>,
    listeners: Vec<ListenerState>,
    by_name: HashMap<Arc<str>, usize>,
    rotations: [Rotation; WINDOWS.len()],
    past: Past,
}

/// The last report of a shard; its histograms are empty, having been merged.
struct ShardState {
    answered: Time,
    ended: bool,
    missed: u64,
    last: ShardSnapshot,
}

/// When the two copies of a window began.
#[derive(Clone, Copy)]
struct Rotation {
    current: Time,
    previous: Time,
}

struct ListenerState {
    name: Arc<str>,
    cells: [[PhaseState; Phase::ALL.len()]; Kind::ALL.len()],
    /// Of both kinds together.
    heat: [Option<Heat>; Phase::ALL.len()],
}

#[derive(Default)]
struct PhaseState {
    total: Option<PhaseHistogram<u64>>,
    windows: [WindowState; WINDOWS.len()],
}

#[derive(Default)]
struct WindowState {
    current: Option<PhaseHistogram<u32>>,
    previous: Option<PhaseHistogram<u32>>,
}

impl Merge {
    pub(super) fn new(shards: usize, now: Time) -> Self {
        let shard = || ShardState {
            answered: now,
            ended: false,
            missed: 0,
            last: ShardSnapshot::default(),
        };
        Self {
            started: now,
            shards: std::iter::repeat_with(shard).take(shards).collect(),
            listeners: Vec::new(),
            by_name: HashMap::new(),
            rotations: [Rotation { current: now, previous: now }; WINDOWS.len()],
            past: Past::new(now),
        }
    }

    /// Takes over what a shard handed over, and leaves `report` with empty histograms, ready to be
    /// sent again. Ignores a report of a shard that does not exist.
    pub(super) fn absorb(&mut self, report: &mut ShardSnapshot, now: Time) {
        self.rotate(now);
        for position in 0..report.interval.sets().len() {
            let name = match report.names.get(position) {
                Some(name) if position < MAX_SETS => Arc::clone(name),
                _ => Arc::from(OTHER_LISTENERS),
            };
            let listener = self.listener_index(name);
            self.listeners[listener].add(&report.interval, position, self.past.growing());
        }
        report.interval.clear();
        if let Some(shard) = self.shards.get_mut(report.shard) {
            shard.answered = now;
            shard.last.counters.copy_from(&report.counters);
            shard.last.names.clone_from(&report.names);
            shard.last.gauges = report.gauges;
            shard.last.headroom = report.headroom;
            shard.last.generations.clone_from(&report.generations);
        }
    }

    /// A second is over: what came with it is kept for a while.
    pub(super) fn end_moment(&mut self, unix_ms: u64) {
        let Some(answered) = self.shards.iter().map(|shard| shard.answered).max() else { return };
        let shards = self.shards.iter().map(|shard| &shard.last);
        if self.past.end_moment(shards, answered, unix_ms) {
            let column = self.past.growing();
            let heats = self.listeners.iter_mut().flat_map(|listener| &mut listener.heat);
            heats.flatten().for_each(|heat| heat.begin(column));
        }
    }

    /// A shard has answered for the last time.
    pub(super) fn end(&mut self, shard: usize) {
        if let Some(state) = self.shards.get_mut(shard) {
            state.ended = true;
        }
    }

    /// A shard did not answer in time.
    pub(super) fn count_missed(&mut self, shard: usize) {
        if let Some(state) = self.shards.get_mut(shard) {
            state.missed += 1;
        }
    }

    pub(super) fn snapshot(
        &mut self,
        facts: Facts,
        shared: SharedValues,
        taken_unix_ms: u64,
        now: Time,
    ) -> Snapshot {
        self.rotate(now);
        let mut covers = [now - self.started; Span::ALL.len()];
        for (cover, rotation) in covers[1..].iter_mut().zip(self.rotations) {
            *cover = now - rotation.previous;
        }
        Snapshot {
            taken_unix_ms,
            shards: self.shards.iter().map(|shard| shard.view(now)).collect(),
            listeners: self.sum_listeners(&facts),
            totals: self.sum_totals(),
            generations: self.sum_generations(),
            latencies: self.listeners.iter().flat_map(ListenerState::latencies).collect(),
            covers,
            moments: self.past.moments(),
            growing: self.past.growing(),
            heat: self.listeners.iter().flat_map(|state| state.heat_maps(&self.past)).collect(),
            shared,
            facts,
        }
    }

    /// Listeners that run come first and in their order, then those that are gone.
    fn sum_listeners(&self, facts: &Facts) -> Vec<ListenerView> {
        let mut views: Vec<ListenerView> = Vec::new();
        let mut by_name: HashMap<Arc<str>, usize> = HashMap::new();
        let mut position_of = |views: &mut Vec<ListenerView>, name: &Arc<str>| {
            *by_name.entry(Arc::clone(name)).or_insert_with(|| {
                views.push(ListenerView { name: Arc::clone(name), ..ListenerView::default() });
                views.len() - 1
            })
        };
        for listener in &facts.listeners {
            position_of(&mut views, &listener.name);
        }
        for shard in &self.shards {
            for (name, counters) in shard.last.names.iter().zip(&shard.last.counters.listeners) {
                let position = position_of(&mut views, name);
                views[position].counters += counters;
            }
        }
        views
    }

    fn sum_totals(&self) -> Totals {
        let known = self.shards.iter().filter(|shard| !shard.ended);
        let headroom = Headroom::least(known.filter_map(|shard| shard.last.headroom));
        let mut totals = Totals { headroom, ..Totals::default() };
        for ShardState { last, .. } in &self.shards {
            for (sum, value) in totals.refused.iter_mut().zip(last.counters.refused) {
                *sum += value;
            }
            for (sum, value) in totals.shed.iter_mut().zip(last.counters.shed) {
                *sum += value;
            }
            for (sum, value) in totals.accept_errors.iter_mut().zip(last.counters.accept_errors) {
                *sum += value;
            }
            totals.hello_memory_refusals += last.counters.hello_memory_refusals;
            totals.unattributed += last.counters.unattributed;
            totals.engine += last.counters.engine;
            totals.gauges.open_connections += last.gauges.open_connections;
            totals.gauges.handshakes_in_flight += last.gauges.handshakes_in_flight;
            totals.gauges.handshakes_waiting += last.gauges.handshakes_waiting;
            let longest = |most: &mut u64, of: u64| *most = of.max(*most);
            longest(&mut totals.gauges.handshakes_waiting_us, last.gauges.handshakes_waiting_us);
            let step = last.gauges.handshake_step_longest_us;
            longest(&mut totals.gauges.handshake_step_longest_us, step);
            totals.gauges.buffer_bytes += last.gauges.buffer_bytes;
        }
        totals
    }

    fn sum_generations(&self) -> Vec<(u64, u64)> {
        let mut sums = BTreeMap::new();
        for (generation, connections) in self.shards.iter().flat_map(|s| &s.last.generations) {
            *sums.entry(*generation).or_default() += connections;
        }
        sums.into_iter().collect()
    }

    fn listener_index(&mut self, name: Arc<str>) -> usize {
        if let Some(index) = self.by_name.get(&name) {
            return *index;
        }
        let index = self.listeners.len();
        self.listeners.push(ListenerState {
            name: Arc::clone(&name),
            cells: Default::default(),
            heat: Default::default(),
        });
        self.by_name.insert(name, index);
        index
    }

    fn rotate(&mut self, now: Time) {
        for (window, length) in WINDOWS.into_iter().enumerate() {
            let rotation = self.rotations[window];
            let age = now - rotation.current;
            if age < length {
                continue;
            }
            let cells = self.listeners.iter_mut().flat_map(|state| state.cells.iter_mut());
            for cell in cells.flatten() {
                cell.windows[window].rotate();
            }
            self.rotations[window] = Rotation { current: now, previous: rotation.current };
        }
    }
}

impl ShardState {
    fn view(&self, now: Time) -> ShardView {
        ShardView {
            answered_ago: if self.ended { Duration::ZERO } else { now - self.answered },
            ended: self.ended,
            missed: self.missed,
            engine: self.last.counters.engine,
            gauges: self.last.gauges,
            headroom: self.last.headroom.filter(|_| !self.ended),
        }
    }
}

impl ListenerState {
    fn add(&mut self, interval: &HistogramSet, position: usize, column: u64) {
        let Some(set) = interval.sets().get(position) else { return };
        for kind in Kind::ALL {
            for phase in Phase::ALL {
                let histogram = set.of(kind, phase);
                if !histogram.is_empty() {
                    self.cells[kind as usize][phase as usize].add(histogram, phase);
                    let heat = self.heat[phase as usize].get_or_insert_with(Heat::new);
                    heat.add(column, phase, histogram);
                }
            }
        }
    }

    fn heat_maps(&self, past: &Past) -> impl Iterator<Item = HeatMap> {
        let growing = past.growing();
        Phase::ALL.into_iter().zip(&self.heat).filter_map(move |(phase, heat)| {
            let columns = heat.as_ref()?.columns(growing);
            Some(HeatMap { listener: Arc::clone(&self.name), phase, columns })
        })
    }

    fn latencies(&self) -> impl Iterator<Item = Latency> + '_ {
        let pairs = Kind::ALL.into_iter().flat_map(|kind| Phase::ALL.map(|phase| (kind, phase)));
        pairs.map(|(kind, phase)| {
            let cell = &self.cells[kind as usize][phase as usize];
            let bounds = bounds(phase);
            let [short, long] = &cell.windows;
            Latency {
                listener: Arc::clone(&self.name),
                kind,
                phase,
                spans: [
                    cell.total.as_ref().map(Digest::of).unwrap_or_default(),
                    short.digest(phase),
                    long.digest(phase),
                ],
                buckets: match &cell.total {
                    Some(total) => total.counts_up_to(bounds),
                    None => vec![0; bounds.len()],
                },
            }
        })
    }
}

impl PhaseState {
    fn add(&mut self, histogram: &PhaseHistogram<u32>, phase: Phase) {
        self.total.get_or_insert_with(|| PhaseHistogram::new(phase)).add(histogram);
        for window in &mut self.windows {
            window.current.get_or_insert_with(|| PhaseHistogram::new(phase)).add(histogram);
            // Made with the first, so that memory at rest is the same from then on.
            window.previous.get_or_insert_with(|| PhaseHistogram::new(phase));
        }
    }
}

impl WindowState {
    fn rotate(&mut self) {
        std::mem::swap(&mut self.current, &mut self.previous);
        if let Some(histogram) = &mut self.current {
            histogram.clear();
        }
    }

    fn digest(&self, phase: Phase) -> Digest {
        match (&self.current, &self.previous) {
            (None, None) => Digest::default(),
            (Some(only), None) | (None, Some(only)) => Digest::of(only),
            (Some(current), Some(previous)) => {
                let mut both = PhaseHistogram::<u64>::new(phase);
                both.add(current);
                both.add(previous);
                Digest::of(&both)
            }
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
