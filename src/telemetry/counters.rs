//! Counters of one shard: plain numbers, one writer, no atomics.
//!
//! Everything here only grows for the life of the process. Sums over shards, over stages and over
//! causes are made by readers; a shard keeps each fact once.

use std::ops::AddAssign;

use serde::Serialize;

use crate::admission::Shed;
use crate::config::model::{Revalidate, TlsVersion};
use crate::conn::outcome::{Cause, Outcome, Reason, Shown, Stage};
use crate::conn::stale::StaleCause;
use crate::engine::Side;
use crate::tls::lane::{Choice, Lane, Why};

const REASONS: usize = Reason::ALL.len();
const CAUSES: usize = Cause::ALL.len();
/// Number of values of [`Stage`]; pinned by a test.
const STAGES: usize = 5;

/// Why an accepted socket was closed before it became a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `max_connections` was reached.
    ConnectionLimit,
    /// The gateway drains.
    Draining,
    /// Admission turned it away: [`ShardCounters::shed`] says why.
    Overload,
}

impl Refusal {
    pub const ALL: [Self; 3] = [Self::ConnectionLimit, Self::Draining, Self::Overload];

    /// Label value in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionLimit => "connection_limit",
            Self::Draining => "draining",
            Self::Overload => "overload",
        }
    }
}

/// What accept(2) failed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// The process has no descriptor left (EMFILE).
    Emfile,
    /// The system has no descriptor left (ENFILE).
    Enfile,
    /// ENOMEM or ENOBUFS.
    NoMemory,
    /// The peer left before it was accepted (ECONNABORTED).
    Aborted,
    Other,
}

impl AcceptError {
    pub const ALL: [Self; 5] =
        [Self::Emfile, Self::Enfile, Self::NoMemory, Self::Aborted, Self::Other];

    /// The kind that an errno belongs to.
    pub const fn from_errno(errno: i32) -> Self {
        match errno {
            libc::EMFILE => Self::Emfile,
            libc::ENFILE => Self::Enfile,
            libc::ENOMEM | libc::ENOBUFS => Self::NoMemory,
            libc::ECONNABORTED => Self::Aborted,
            _ => Self::Other,
        }
    }

    /// Label value in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emfile => "emfile",
            Self::Enfile => "enfile",
            Self::NoMemory => "nomem",
            Self::Aborted => "aborted",
            Self::Other => "other",
        }
    }
}

/// What a peer speaks whose TLS does not end here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unterminated {
    /// No TLS.
    Plaintext,
    /// TLS that is relayed unread.
    Passthrough,
}

impl Unterminated {
    pub const ALL: [Self; 2] = [Self::Plaintext, Self::Passthrough];

    /// Label value in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Passthrough => "passthrough",
        }
    }
}

/// What the header of the PROXY protocol says of where a connection is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// An address.
    Source,
    /// From the sender itself, such as its health checks.
    Local,
    /// Nothing that is an IP address.
    Unknown,
}

impl ProxyHeader {
    pub const ALL: [Self; 3] = [Self::Source, Self::Local, Self::Unknown];

    /// Label value in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "address",
            Self::Local => "local",
            Self::Unknown => "unknown",
        }
    }
}

/// What one shard counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardCounters {
    pub refused: [u64; Refusal::ALL.len()],
    /// Handshakes that were not done, whether or not the socket had become a connection.
    pub shed: [u64; Shed::ALL.len()],
    pub accept_errors: [u64; AcceptError::ALL.len()],
    /// Connections closed because memory for unfinished ClientHellos was used up
    /// ([`Reason::HelloMemory`]).
    pub hello_memory_refusals: u64,
    /// Events that named a listener the shard does not know. A bug of ours: always zero.
    pub unattributed: u64,
    pub engine: EngineCounters,
    /// By listener index.
    pub listeners: Vec<ListenerCounters>,
}

/// What the engine of one shard did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineCounters {
    /// Waits for events.
    pub turns: u64,
    /// Events handled.
    pub events: u64,
    /// System calls that enter the kernel for I/O (io_uring_enter, or epoll_wait and its calls).
    pub system_calls: u64,
    /// Completions that did not fit into the ring (`cq_overflow`).
    pub ring_overflows: u64,
    /// Receives that found no buffer and had to wait.
    pub buffer_starvation: u64,
}

/// What one shard counted about one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerCounters {
    /// Sockets that became connections.
    pub accepted: u64,
    /// Headers of the PROXY protocol that were read.
    pub proxy_headers: [u64; ProxyHeader::ALL.len()],
    /// Headers for components that were too long for all there was to say.
    pub proxy_headers_cut: u64,
    pub handshakes_full: u64,
    pub handshakes_resumed: u64,
    /// Finished handshakes by lane, version of TLS and why it was that lane.
    pub lanes: LaneCounters,
    /// Connections without a handshake of ours with the peer.
    pub unterminated: [u64; Unterminated::ALL.len()],
    /// Peers that were asked for a certificate, by [`Shown::index`].
    pub clients: [u64; Shown::COUNT],
    /// Open connections that would not be admitted any more.
    pub stale_open: u64,
    /// Such connections as they were found, by side, [`StaleCause::index`] and what was to become
    /// of them.
    pub stale: [[[u64; Revalidate::ALL.len()]; StaleCause::COUNT]; Side::ALL.len()],
    pub upstream_handshakes_full: u64,
    pub upstream_handshakes_resumed: u64,
    /// Plaintext bytes from downstream to upstream.
    pub bytes_received: u64,
    /// Plaintext bytes from upstream to downstream.
    pub bytes_sent: u64,
    /// Pieces that these came in, each relayed at once: where components exchange short messages,
    /// one piece is one message.
    pub messages_received: u64,
    pub messages_sent: u64,
    /// Attempts at an upstream that failed, whether or not another one did not.
    upstream_failures: [u64; REASONS],
    ended: [[[u64; CAUSES]; REASONS]; STAGES],
}

/// Finished handshakes by lane, version and reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters([[[u64; Why::ALL.len()]; TlsVersion::ALL.len()]; Lane::ALL.len()]);

impl LaneCounters {
    pub fn count(&mut self, choice: Choice, version: TlsVersion) {
        self.0[choice.lane as usize][version as usize][choice.why as usize] += 1;
    }

    /// Those that have happened.
    pub fn iter(&self) -> impl Iterator<Item = (Lane, TlsVersion, Why, u64)> + '_ {
        let lanes = Lane::ALL.into_iter().zip(&self.0);
        let versions = lanes.flat_map(|(lane, by_version)| {
            TlsVersion::ALL
                .into_iter()
                .zip(by_version)
                .map(move |(version, row)| (lane, version, row))
        });
        let cells = versions.flat_map(|(lane, version, row)| {
            Why::ALL.into_iter().zip(row).map(move |(why, count)| (lane, version, why, *count))
        });
        cells.filter(|(.., count)| *count > 0)
    }
}

impl AddAssign<&Self> for LaneCounters {
    fn add_assign(&mut self, other: &Self) {
        let cells = self.0.iter_mut().flatten().flatten();
        for (own, other) in cells.zip(other.0.iter().flatten().flatten()) {
            *own += other;
        }
    }
}

impl Default for ListenerCounters {
    fn default() -> Self {
        Self {
            accepted: 0,
            proxy_headers: [0; ProxyHeader::ALL.len()],
            proxy_headers_cut: 0,
            handshakes_full: 0,
            handshakes_resumed: 0,
            lanes: LaneCounters::default(),
            unterminated: [0; Unterminated::ALL.len()],
            clients: [0; Shown::COUNT],
            stale_open: 0,
            stale: [[[0; Revalidate::ALL.len()]; StaleCause::COUNT]; Side::ALL.len()],
            upstream_handshakes_full: 0,
            upstream_handshakes_resumed: 0,
            bytes_received: 0,
            bytes_sent: 0,
            messages_received: 0,
            messages_sent: 0,
            upstream_failures: [0; REASONS],
            ended: [[[0; CAUSES]; REASONS]; STAGES],
        }
    }
}

/// True where a connection that ended at `stage` ended without a finished handshake.
pub const fn is_handshake_stage(stage: Stage) -> bool {
    matches!(stage, Stage::Proxy | Stage::Hello | Stage::Handshake)
}

const fn stage_index(stage: Stage) -> usize {
    match stage {
        Stage::Proxy => 0,
        Stage::Hello => 1,
        Stage::Handshake => 2,
        Stage::Connecting => 3,
        Stage::Relay => 4,
    }
}

const fn cause_index(cause: Cause) -> usize {
    match cause {
        Cause::Downstream => 0,
        Cause::Upstream => 1,
        Cause::Policy => 2,
        Cause::Local => 3,
    }
}

impl ListenerCounters {
    /// Counts the end of a connection.
    pub fn count_end(&mut self, outcome: &Outcome) {
        let by_reason = &mut self.ended[stage_index(outcome.stage)];
        by_reason[outcome.reason.index()][cause_index(outcome.cause)] += 1;
    }

    /// Counts a failed attempt at an upstream.
    pub fn count_upstream_failure(&mut self, reason: Reason) {
        self.upstream_failures[reason.index()] += 1;
    }

    /// Attempts at an upstream that failed for this reason.
    pub fn upstream_failures(&self, reason: Reason) -> u64 {
        self.upstream_failures[reason.index()]
    }

    /// Connections that ended for this reason and by this cause, whatever their stage.
    pub fn closed(&self, reason: Reason, cause: Cause) -> u64 {
        self.ended.iter().map(|by_reason| by_reason[reason.index()][cause_index(cause)]).sum()
    }

    /// Connections that ended at this stage for this reason, whatever the cause.
    pub fn ended_at(&self, stage: Stage, reason: Reason) -> u64 {
        self.ended[stage_index(stage)][reason.index()].iter().sum()
    }

    /// Connections that ended for this reason before their handshake was done.
    pub fn handshake_failures(&self, reason: Reason) -> u64 {
        let stages = [Stage::Proxy, Stage::Hello, Stage::Handshake];
        stages.into_iter().map(|stage| self.ended_at(stage, reason)).sum()
    }

    /// Connections that ended before their handshake was done.
    pub fn handshakes_failed(&self) -> u64 {
        Reason::ALL.into_iter().map(|reason| self.handshake_failures(reason)).sum()
    }

    /// Connections that ended.
    pub fn closed_total(&self) -> u64 {
        self.ended.iter().flatten().flatten().sum()
    }

    /// Connections that are open: those accepted that have not ended.
    pub fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.closed_total())
    }
}

impl ShardCounters {
    /// Takes over all values; allocates only when there are more listeners than before.
    pub fn copy_from(&mut self, other: &Self) {
        let Self {
            refused,
            shed,
            accept_errors,
            hello_memory_refusals,
            unattributed,
            engine,
            listeners,
        } = self;
        *refused = other.refused;
        *shed = other.shed;
        *accept_errors = other.accept_errors;
        *hello_memory_refusals = other.hello_memory_refusals;
        *unattributed = other.unattributed;
        *engine = other.engine;
        listeners.clone_from(&other.listeners);
    }
}

impl AddAssign<&Self> for ListenerCounters {
    fn add_assign(&mut self, other: &Self) {
        self.accepted += other.accepted;
        for (own, other) in self.proxy_headers.iter_mut().zip(&other.proxy_headers) {
            *own += other;
        }
        self.proxy_headers_cut += other.proxy_headers_cut;
        self.handshakes_full += other.handshakes_full;
        self.handshakes_resumed += other.handshakes_resumed;
        self.lanes += &other.lanes;
        for (own, other) in self.unterminated.iter_mut().zip(&other.unterminated) {
            *own += other;
        }
        for (own, other) in self.clients.iter_mut().zip(&other.clients) {
            *own += other;
        }
        self.stale_open += other.stale_open;
        let stale = self.stale.iter_mut().flatten().flatten();
        for (own, other) in stale.zip(other.stale.iter().flatten().flatten()) {
            *own += other;
        }
        self.upstream_handshakes_full += other.upstream_handshakes_full;
        self.upstream_handshakes_resumed += other.upstream_handshakes_resumed;
        for (own, other) in self.upstream_failures.iter_mut().zip(&other.upstream_failures) {
            *own += other;
        }
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.messages_received += other.messages_received;
        self.messages_sent += other.messages_sent;
        let cells = self.ended.iter_mut().flatten().flatten();
        for (cell, value) in cells.zip(other.ended.iter().flatten().flatten()) {
            *cell += value;
        }
    }
}

impl AddAssign for EngineCounters {
    fn add_assign(&mut self, other: Self) {
        self.turns += other.turns;
        self.events += other.events;
        self.system_calls += other.system_calls;
        self.ring_overflows += other.ring_overflows;
        self.buffer_starvation += other.buffer_starvation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_and_stage_has_its_own_cell() {
        for (position, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause_index(cause), position);
        }
        let stages =
            [Stage::Proxy, Stage::Hello, Stage::Handshake, Stage::Connecting, Stage::Relay];
        assert_eq!(stages.len(), STAGES);
        for (position, stage) in stages.into_iter().enumerate() {
            assert_eq!(stage_index(stage), position);
        }
    }

    #[test]
    fn every_lane_version_and_reason_has_its_own_cell() {
        let mut counters = LaneCounters::default();
        let (mut expected, mut times) = (Vec::new(), 0);
        for lane in Lane::ALL {
            for version in TlsVersion::ALL {
                for why in Why::ALL {
                    times += 1;
                    (0..times).for_each(|_| counters.count(Choice { lane, why }, version));
                    expected.push((lane, version, why, times));
                }
            }
        }
        assert!(counters.iter().eq(expected.iter().copied()));
        let again = counters.clone();
        counters += &again;
        assert!(counters.iter().zip(expected).all(|(sum, one)| sum.3 == 2 * one.3));
        assert_eq!(LaneCounters::default().iter().count(), 0);
    }

    #[test]
    fn errno_kinds() {
        assert_eq!(AcceptError::from_errno(libc::EMFILE), AcceptError::Emfile);
        assert_eq!(AcceptError::from_errno(libc::ENFILE), AcceptError::Enfile);
        assert_eq!(AcceptError::from_errno(libc::ENOBUFS), AcceptError::NoMemory);
        assert_eq!(AcceptError::from_errno(libc::ECONNABORTED), AcceptError::Aborted);
        assert_eq!(AcceptError::from_errno(libc::EPERM), AcceptError::Other);
    }
}
