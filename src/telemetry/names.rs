//! Every metric name, once: with its type and the help text that goes with it.
//!
//! Names follow the Prometheus conventions: base units (seconds, bytes), counters end in `_total`.
//! The figures of the process have the names that all client libraries give them.

use super::histograms::Phase;

/// Type of a metric family in the text exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
}

impl MetricType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricType,
    pub help: &'static str,
}

/// Stands for the listeners that share one set of histograms. Not a valid listener name.
pub const OTHER_LISTENERS: &str = "(other)";

/// Defines the constants and the list of all of them.
macro_rules! metrics {
    ($($constant:ident = $kind:ident, $name:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric =
                Metric { name: $name, kind: MetricType::$kind, help: $help };
        )*
        /// Every metric.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD_INFO = Gauge, "tlsgate_build_info", "Version that runs; always 1.";
    ENGINE_INFO = Gauge, "tlsgate_engine_info", "I/O engine that runs and why it was chosen; always 1.";
    SHARDS = Gauge, "tlsgate_shards", "Worker threads.";
    PROCESS_START = Gauge, "process_start_time_seconds", "Start of the process, in seconds since 1970.";
    PROCESS_OPEN_FDS = Gauge, "process_open_fds", "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge, "process_max_fds", "Limit on open file descriptors.";
    PROCESS_RESIDENT = Gauge, "process_resident_memory_bytes", "Physical memory in use.";
    HEAP_LIVE = Gauge, "tlsgate_heap_live_bytes", "Heap bytes allocated and not freed.";

    CONFIG_GENERATION = Gauge, "tlsgate_config_generation", "Generation of the configuration that runs; the first is 1.";
    CONFIG_LOADED = Gauge, "tlsgate_config_loaded_timestamp_seconds", "When the configuration that runs was loaded, in seconds since 1970.";
    CONFIG_RELOADS = Counter, "tlsgate_config_reloads_total", "Configurations loaded while running, by result; a refused one leaves the old one running.";
    GENERATION_OPEN = Gauge, "tlsgate_generation_connections_open", "Open connections by the generation of the configuration that they were admitted under.";

    ACCEPTED = Counter, "tlsgate_connections_accepted_total", "Sockets that became connections.";
    OPEN = Gauge, "tlsgate_connections_open", "Connections that are open.";
    REFUSED = Counter, "tlsgate_connections_refused_total", "Sockets closed before they became connections, by cause.";
    SHED = Counter, "tlsgate_handshakes_shed_total", "Handshakes that were not done because there was more to do than could be done in time, or for their limits, by what gave way.";
    ACCEPT_ERRORS = Counter, "tlsgate_accept_errors_total", "Failures of accept, by kind.";
    PROXY_HEADERS = Counter, "tlsgate_proxy_headers_total", "Headers of the PROXY protocol that were read, by what they say of where the connection is from: an address, local (the sender itself), or nothing that is known.";
    PROXY_HEADERS_CUT = Counter, "tlsgate_proxy_headers_cut_total", "Headers of the PROXY protocol for components that were too long with everything, and left something out: the client's certificate first.";
    CLOSED = Counter, "tlsgate_connections_closed_total", "Connections that ended, by reason and by who caused it; pairs that never happened are left out.";
    HANDSHAKES = Counter, "tlsgate_handshakes_total", "Finished handshakes, full or resumed.";
    LANE_HANDSHAKES = Counter, "tlsgate_lane_handshakes_total", "Finished handshakes by the lane that the peer took, the version of TLS, and what the modern lane lacks for it (able: nothing); those that never happened are left out.";
    HANDSHAKE_FAILURES = Counter, "tlsgate_handshake_failures_total", "Connections that ended before their handshake was done, by reason.";
    UNTERMINATED = Counter, "tlsgate_connections_unterminated_total", "Connections without a handshake between the peer and the gateway: peers that speak plaintext, and TLS that is passed through.";
    CLIENT_CERTIFICATES = Counter, "tlsgate_client_certificates_total", "Peers that were asked for a certificate, by what they have shown: none, verified, or what is wrong with it.";
    STALE = Gauge, "tlsgate_connections_stale", "Open connections that would not be admitted any more.";
    STALE_FOUND = Counter, "tlsgate_connections_stale_total", "Connections found that would not be admitted any more, by side, cause, and what revalidate says is to become of them; those that never happened are left out.";
    UPSTREAM_HANDSHAKES = Counter, "tlsgate_upstream_handshakes_total", "Finished handshakes with upstreams, full or resumed.";
    UPSTREAM_FAILURES = Counter, "tlsgate_upstream_failures_total", "Attempts at an upstream that failed, by reason, whether or not another endpoint took the connection; reasons that never happened are left out.";
    RECEIVED_BYTES = Counter, "tlsgate_received_bytes_total", "Bytes relayed from downstream to upstream, in plaintext but for what is passed through.";
    SENT_BYTES = Counter, "tlsgate_sent_bytes_total", "Bytes relayed from upstream to downstream, in plaintext but for what is passed through.";
    RECEIVED_MESSAGES = Counter, "tlsgate_received_messages_total", "Pieces of data relayed from downstream to upstream: messages, where components exchange short ones.";
    SENT_MESSAGES = Counter, "tlsgate_sent_messages_total", "Pieces of data relayed from upstream to downstream.";
    HELLO_MEMORY_REFUSALS = Counter, "tlsgate_hello_memory_refusals_total", "Connections closed because memory for unfinished ClientHellos was used up.";

    HELLO_SECONDS = Histogram, "tlsgate_hello_seconds", "Accept to the last byte of the ClientHello.";
    HANDSHAKE_SECONDS = Histogram, "tlsgate_handshake_seconds", "Last byte of the ClientHello to the end of the handshake.";
    CONNECT_SECONDS = Histogram, "tlsgate_connect_seconds", "Dialling the upstream to connected.";
    FIRST_BYTE_SECONDS = Histogram, "tlsgate_first_byte_seconds", "End of the handshake, or accept where there is none, to the first byte from the upstream.";
    LIFETIME_SECONDS = Histogram, "tlsgate_connection_lifetime_seconds", "Accept to the end, of connections whose handshake was done or not needed.";

    SHARD_CONNECTIONS = Gauge, "tlsgate_shard_connections_open", "Connections open on a shard.";
    SHARD_HANDSHAKES = Gauge, "tlsgate_handshakes_in_flight", "Connections of a shard whose handshake is not done.";
    SHARD_WAITING = Gauge, "tlsgate_handshake_steps_waiting", "Steps of handshakes that wait for their turn on a shard.";
    SHARD_WAITING_AGE = Gauge, "tlsgate_handshake_steps_waiting_seconds", "How long the oldest of the steps that wait on a shard has waited.";
    SHARD_LONGEST_STEP = Gauge, "tlsgate_handshake_step_longest_seconds", "The longest that one step of a handshake has taken on a shard since the start.";
    HEADROOM = Gauge, "tlsgate_headroom_ratio", "Share of what can be done before answers become slow that is not asked for, over the last second or two: that of the shard that has the least, 0 to 1.";
    SHARD_HEADROOM = Gauge, "tlsgate_shard_headroom_ratio", "The same of each shard.";
    SHARD_BUSY = Gauge, "tlsgate_shard_busy_ratio", "Share of time in which a shard's thread ran, over the last second or two.";
    SHARD_STARVED = Gauge, "tlsgate_shard_starved_ratio", "Share of time in which a shard's thread would have run, had others not had its CPU, over the last second or two.";
    SHARD_EVENT_COST = Gauge, "tlsgate_shard_event_cost_seconds", "CPU time of an event of a shard, over the last second or two; absent where there was none.";
    SHARD_BUFFERS = Gauge, "tlsgate_buffer_bytes", "Receive and send buffers in use on a shard.";
    SHARD_ANSWER_AGE = Gauge, "tlsgate_shard_answer_age_seconds", "Time since a shard last handed over its telemetry.";
    SHARD_MISSED = Counter, "tlsgate_shard_missed_collections_total", "Times a shard did not hand over its telemetry in time.";
    ENGINE_TURNS = Counter, "tlsgate_engine_turns_total", "Waits for events.";
    ENGINE_EVENTS = Counter, "tlsgate_engine_events_total", "Events handled.";
    ENGINE_SYSTEM_CALLS = Counter, "tlsgate_engine_system_calls_total", "System calls of the engine.";
    RING_OVERFLOWS = Counter, "tlsgate_engine_ring_overflows_total", "Completions that did not fit into the ring.";
    BUFFER_STARVATION = Counter, "tlsgate_engine_buffer_starvation_total", "Receives that found no buffer.";
    UNATTRIBUTED = Counter, "tlsgate_unattributed_events_total", "Events of a listener that the shard does not know; a bug if not zero.";

    SESSION_HITS = Counter, "tlsgate_session_store_hits_total", "Sessions found in the session store.";
    SESSION_MISSES = Counter, "tlsgate_session_store_misses_total", "Sessions looked for and not found in the session store.";
    SESSION_EVICTIONS = Counter, "tlsgate_session_store_evictions_total", "Sessions pushed out of the session store by newer ones.";
    SESSION_ENTRIES = Gauge, "tlsgate_session_store_entries", "Sessions in the session store.";
    SESSION_BYTES = Gauge, "tlsgate_session_store_bytes", "Memory of the sessions in the session store.";
    SESSIONS_REJECTED = Counter, "tlsgate_session_store_rejected_total", "Sessions found in the session store that may not be resumed, by cause.";
    TICKETS_ISSUED = Counter, "tlsgate_tickets_issued_total", "Tickets sent.";
    TICKETS_ACCEPTED = Counter, "tlsgate_tickets_accepted_total", "Tickets that a peer came back with and that were good, by the epoch of their key and by the secret it was derived from: the first, which makes tickets, or an older one.";
    TICKETS_REJECTED = Counter, "tlsgate_tickets_rejected_total", "Tickets that a peer came back with and that were not good, by cause and, for those that had expired, by the epoch of their key.";
    UPSTREAM_SESSION_SERVERS = Gauge, "tlsgate_upstream_session_servers", "Servers of components of which sessions are kept.";
    UPSTREAM_SESSIONS_STORED = Counter, "tlsgate_upstream_sessions_stored_total", "Sessions and tickets that components gave.";
    UPSTREAM_SESSIONS_OFFERED = Counter, "tlsgate_upstream_sessions_offered_total", "Handshakes with components that offered a session.";
    UPSTREAM_SESSION_EVICTIONS = Counter, "tlsgate_upstream_session_evictions_total", "Servers of components whose sessions were forgotten for those of others.";
    UPSTREAM_SESSIONS_REJECTED = Counter, "tlsgate_upstream_sessions_rejected_total", "Sessions with components that were kept and not offered, by cause.";
    UPSTREAM_UP = Gauge, "tlsgate_upstream_up", "1 while an upstream has an address that checks have not found down, else 0.";
    UPSTREAM_CONNECTIONS = Gauge, "tlsgate_upstream_connections", "Connections to an upstream that are open or being dialled.";
    UPSTREAM_PORTS_LEFT = Gauge, "tlsgate_upstream_ports_left", "Connections that there are still local ports for towards an address of an upstream, over all sources: an estimate that knows nothing of other programs.";
    UPSTREAM_ADDRESSES = Gauge, "tlsgate_upstream_addresses", "Addresses of an upstream, by what checks have found; left_out are those of a name beyond the limit.";
    UPSTREAM_CONNECT_FAILURES = Counter, "tlsgate_upstream_connect_failures_total", "Attempts to connect to an upstream that failed.";
    UPSTREAM_EJECTIONS = Counter, "tlsgate_upstream_ejections_total", "Times that a shard took an address of an upstream out because connecting failed.";
    UPSTREAM_CHECKS = Counter, "tlsgate_upstream_checks_total", "Checks of the addresses of an upstream, by result.";
    UPSTREAM_LOOK_UP_FAILURES = Counter, "tlsgate_upstream_look_up_failures_total", "Look-ups of an upstream's name that failed; its last addresses stay.";
    CRL_NEXT_UPDATE = Gauge, "tlsgate_crl_next_update_seconds", "When a list of revoked certificates expires (nextUpdate), in seconds since 1970.";
    CRL_SWAPS = Counter, "tlsgate_crl_swaps_total", "Lists of revoked certificates read again because their files changed, by result; of a refused file, the list from before counts on.";
    CERTIFICATE_NOT_AFTER = Gauge, "tlsgate_certificate_not_after_seconds", "End of validity of a certificate, in seconds since 1970.";
    PEER_CERTIFICATE_NOT_AFTER = Gauge, "tlsgate_peer_certificate_not_after_seconds", "End of validity of the certificate that expires first among those that peers (downstream) and components (upstream) have shown in open connections or within a day, in seconds since 1970.";
    OCSP_THIS_UPDATE = Gauge, "tlsgate_ocsp_this_update_seconds", "When the OCSP response that is sent with a certificate was made (thisUpdate), in seconds since 1970.";
    OCSP_NEXT_UPDATE = Gauge, "tlsgate_ocsp_next_update_seconds", "When the OCSP response that is sent with a certificate expires (nextUpdate), in seconds since 1970.";
    AUTODETECT_PLAINTEXT_LAST = Gauge, "tlsgate_autodetect_plaintext_last_timestamp_seconds", "When a connection of plaintext came or went last where TLS could have come, in seconds since 1970; absent where there was none.";
    AUTODETECT_PLAINTEXT_OPEN = Gauge, "tlsgate_autodetect_plaintext_connections_open", "Open connections of plaintext where TLS could have come.";
    AUDIT_EVICTED = Counter, "tlsgate_audit_rows_evicted_total", "Rows of the audit that made room for others.";
    AUDIT_LUMPED = Counter, "tlsgate_audit_connections_without_row_total", "Connections that found no row in the audit because all had open connections.";
    ACCESS_LOG_DROPPED = Counter, "tlsgate_access_log_dropped_lines_total", "Access-log lines lost, by cause: too many waited (queue), the target did not take them in time (blocked), or it failed.";
    ACCESS_LOG_SUPPRESSED = Counter, "tlsgate_access_log_suppressed_lines_total", "Access-log lines that were not to be, by what the configuration has for it: another line stands for the connection (sample), or there were too many (rate).";
    LEGACY_UP = Gauge, "tlsgate_legacy_child_up", "1 while the process of the legacy lane takes connections, else 0.";
    LEGACY_STARTS = Counter, "tlsgate_legacy_child_starts_total", "Processes of the legacy lane that were started and ready.";
    LEGACY_DEATHS = Counter, "tlsgate_legacy_child_deaths_total", "Processes of the legacy lane that ended by themselves or could not be started; each is followed by another one, with back-off.";
    CONTROL_REFUSED = Counter, "tlsgate_control_refused_total", "Requests at the control socket that were refused because too many were being served, or because who asked may not.";
    ADMIN_REFUSED = Counter, "tlsgate_admin_connections_refused_total", "Connections to the admin port closed at once because too many were open.";
}

/// The histogram family of a phase.
pub const fn phase_metric(phase: Phase) -> Metric {
    match phase {
        Phase::Hello => HELLO_SECONDS,
        Phase::Handshake => HANDSHAKE_SECONDS,
        Phase::Connect => CONNECT_SECONDS,
        Phase::FirstByte => FIRST_BYTE_SECONDS,
        Phase::Lifetime => LIFETIME_SECONDS,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = HashSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(metric.name.chars().all(is_word), "{}", metric.name);
            let prefix = metric.name.starts_with("tlsgate_") || metric.name.starts_with("process_");
            assert!(prefix, "{}", metric.name);
            let is_total = metric.name.ends_with("_total");
            assert_eq!(is_total, metric.kind == MetricType::Counter, "{}", metric.name);
            if metric.kind == MetricType::Histogram {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
            }
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
