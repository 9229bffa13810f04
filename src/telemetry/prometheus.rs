//! A [`Snapshot`] in the Prometheus text exposition format, version 0.0.4.
//!
//! Phase times are exported as histograms with the fixed buckets of [`bounds`], counted from the
//! fine histograms (a bucket may include values up to 0.8 % above its bound; sum and count are
//! exact). There are no quantile gauges: quantiles cannot be added up over machines, buckets can.
//! Ready-made percentiles are in the status.

mod dates;
mod shared;

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::counters::{AcceptError, ProxyHeader, Refusal, Unterminated};
use super::headroom::Headroom;
use super::histograms::Phase;
use super::names::{self, Metric};
use super::snapshot::{Latency, ListenerView, ShardView, Snapshot, Span, UpstreamFacts, bounds};
use crate::admission::Shed;
use crate::config::model::Revalidate;
use crate::conn::outcome::{Cause, Reason, Shown};
use crate::conn::stale::StaleCause;
use crate::engine::Side;
use crate::tls::resumption::{Epoch, Rank, Refusals, TicketStats, UpstreamStats};
use crate::upstream::Figures;

pub use dates::write_traffic;

/// Content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole text.
pub fn render(snapshot: &Snapshot) -> String {
    let mut text = String::with_capacity(16 * 1024);
    write_process(&mut text, snapshot);
    write_listeners(&mut text, snapshot);
    write_endpoints(&mut text, &snapshot.facts.upstreams);
    for phase in Phase::ALL {
        write_phase(&mut text, snapshot, phase);
    }
    write_totals(&mut text, snapshot);
    write_shards(&mut text, snapshot);
    write_headroom(&mut text, snapshot);
    shared::write(&mut text, &snapshot.shared);
    write_refusals(&mut text, &names::SESSIONS_REJECTED, &snapshot.facts.sessions_rejected);
    write_upstream_sessions(&mut text, &snapshot.facts.upstream_sessions);
    write_tickets(&mut text, &snapshot.facts.tickets);
    text
}

/// Appends a family with one sample and no labels.
pub fn write_single(text: &mut String, metric: &Metric, value: impl Display) {
    write_family(text, metric);
    write_sample(text, metric.name, &[], value);
}

fn write_process(text: &mut String, snapshot: &Snapshot) {
    let facts = &snapshot.facts;
    write_family(text, &names::BUILD_INFO);
    write_sample(text, names::BUILD_INFO.name, &[("version", facts.version)], 1);
    write_family(text, &names::ENGINE_INFO);
    let labels = [("engine", facts.engine), ("reason", &facts.engine_reason)];
    write_sample(text, names::ENGINE_INFO.name, &labels, 1);
    write_single(text, &names::SHARDS, snapshot.shards.len());
    write_single(text, &names::PROCESS_START, Milliseconds(facts.started_unix_ms));
    let process = &facts.process;
    for (metric, value) in [
        (names::PROCESS_OPEN_FDS, process.open_fds),
        (names::PROCESS_MAX_FDS, process.max_fds),
        (names::PROCESS_RESIDENT, process.resident_bytes),
        (names::HEAP_LIVE, process.heap_bytes),
    ] {
        if let Some(value) = value {
            write_single(text, &metric, value);
        }
    }
    write_config(text, snapshot);
    dates::write(text, facts);
}

fn write_config(text: &mut String, snapshot: &Snapshot) {
    let config = &snapshot.facts.config;
    write_single(text, &names::CONFIG_GENERATION, config.generation);
    write_single(text, &names::CONFIG_LOADED, Milliseconds(config.loaded_unix_ms));
    write_family(text, &names::CONFIG_RELOADS);
    for (result, count) in [("taken", config.reloads), ("refused", config.reload_failures)] {
        write_sample(text, names::CONFIG_RELOADS.name, &[("result", result)], count);
    }
    write_family(text, &names::GENERATION_OPEN);
    for (generation, connections) in &snapshot.generations {
        let labels = [("generation", &*generation.to_string())];
        write_sample(text, names::GENERATION_OPEN.name, &labels, connections);
    }
}

fn write_listeners(text: &mut String, snapshot: &Snapshot) {
    let listeners = &snapshot.listeners;
    let mut per_listener = |metric: &Metric, value: &dyn Fn(usize) -> u64| {
        write_family(text, metric);
        for (position, view) in listeners.iter().enumerate() {
            write_sample(text, metric.name, &[("listener", &view.name)], value(position));
        }
    };
    per_listener(&names::ACCEPTED, &|i| listeners[i].counters.accepted);
    per_listener(&names::PROXY_HEADERS_CUT, &|i| listeners[i].counters.proxy_headers_cut);
    per_listener(&names::OPEN, &|i| listeners[i].counters.open());
    per_listener(&names::RECEIVED_BYTES, &|i| listeners[i].counters.bytes_received);
    per_listener(&names::SENT_BYTES, &|i| listeners[i].counters.bytes_sent);
    per_listener(&names::RECEIVED_MESSAGES, &|i| listeners[i].counters.messages_received);
    per_listener(&names::SENT_MESSAGES, &|i| listeners[i].counters.messages_sent);

    write_family(text, &names::HANDSHAKES);
    for view in listeners {
        let counters = &view.counters;
        for (kind, value) in
            [("full", counters.handshakes_full), ("resumed", counters.handshakes_resumed)]
        {
            let labels = [("listener", &*view.name), ("kind", kind)];
            write_sample(text, names::HANDSHAKES.name, &labels, value);
        }
    }
    write_family(text, &names::LANE_HANDSHAKES);
    for view in listeners {
        for (lane, version, why, count) in view.counters.lanes.iter() {
            let labels = [
                ("listener", &*view.name),
                ("lane", lane.as_str()),
                ("version", version.as_str()),
                ("reason", why.as_str()),
            ];
            write_sample(text, names::LANE_HANDSHAKES.name, &labels, count);
        }
    }
    write_family(text, &names::HANDSHAKE_FAILURES);
    for view in listeners {
        for reason in Reason::ALL {
            let labels = [("listener", &*view.name), ("reason", reason.as_str())];
            let value = view.counters.handshake_failures(reason);
            write_sample(text, names::HANDSHAKE_FAILURES.name, &labels, value);
        }
    }
    write_family(text, &names::PROXY_HEADERS);
    for view in listeners {
        for said in ProxyHeader::ALL {
            let labels = [("listener", &*view.name), ("source", said.as_str())];
            let value = view.counters.proxy_headers[said as usize];
            write_sample(text, names::PROXY_HEADERS.name, &labels, value);
        }
    }
    write_upstreams(text, listeners);
    write_closed(text, listeners);
}

fn write_closed(text: &mut String, listeners: &[ListenerView]) {
    write_family(text, &names::CLOSED);
    for view in listeners {
        for reason in Reason::ALL {
            for cause in Cause::ALL {
                let value = view.counters.closed(reason, cause);
                if value > 0 {
                    let labels = [
                        ("listener", &*view.name),
                        ("reason", reason.as_str()),
                        ("cause", cause.as_str()),
                    ];
                    write_sample(text, names::CLOSED.name, &labels, value);
                }
            }
        }
    }
}

fn write_upstreams(text: &mut String, listeners: &[ListenerView]) {
    write_family(text, &names::UNTERMINATED);
    for view in listeners {
        for what in Unterminated::ALL {
            let labels = [("listener", &*view.name), ("downstream", what.as_str())];
            let value = view.counters.unterminated[what as usize];
            write_sample(text, names::UNTERMINATED.name, &labels, value);
        }
    }
    write_family(text, &names::CLIENT_CERTIFICATES);
    for view in listeners {
        for shown in Shown::all() {
            let value = view.counters.clients[shown.index()];
            if value > 0 {
                let labels = [("listener", &*view.name), ("certificate", shown.as_str())];
                write_sample(text, names::CLIENT_CERTIFICATES.name, &labels, value);
            }
        }
    }
    write_stale(text, listeners);
    write_family(text, &names::UPSTREAM_HANDSHAKES);
    for view in listeners {
        let counters = &view.counters;
        let [full, resumed] =
            [counters.upstream_handshakes_full, counters.upstream_handshakes_resumed];
        for (kind, value) in [("full", full), ("resumed", resumed)] {
            let labels = [("listener", &*view.name), ("kind", kind)];
            write_sample(text, names::UPSTREAM_HANDSHAKES.name, &labels, value);
        }
    }
    write_family(text, &names::UPSTREAM_FAILURES);
    for view in listeners {
        for reason in Reason::ALL {
            let value = view.counters.upstream_failures(reason);
            if value > 0 {
                let labels = [("listener", &*view.name), ("reason", reason.as_str())];
                write_sample(text, names::UPSTREAM_FAILURES.name, &labels, value);
            }
        }
    }
}

fn write_stale(text: &mut String, listeners: &[ListenerView]) {
    write_family(text, &names::STALE);
    for view in listeners {
        let labels = [("listener", &*view.name)];
        write_sample(text, names::STALE.name, &labels, view.counters.stale_open);
    }
    write_family(text, &names::STALE_FOUND);
    for view in listeners {
        for (side, counts) in Side::ALL.into_iter().zip(&view.counters.stale) {
            for (cause, counts) in StaleCause::all().zip(counts) {
                for (fate, value) in Revalidate::ALL.into_iter().zip(counts) {
                    let labels = [
                        ("listener", &*view.name),
                        ("side", side.as_str()),
                        ("cause", cause.as_str()),
                        ("revalidate", fate.as_str()),
                    ];
                    if *value > 0 {
                        write_sample(text, names::STALE_FOUND.name, &labels, value);
                    }
                }
            }
        }
    }
}

fn write_endpoints(text: &mut String, upstreams: &[UpstreamFacts]) {
    write_family(text, &names::UPSTREAM_UP);
    for upstream in upstreams {
        let up = u8::from(upstream.figures.addresses_down < upstream.figures.addresses);
        let [route, endpoint] = upstream_labels(upstream);
        let labels = [route, endpoint, ("role", upstream.role.as_str())];
        write_sample(text, names::UPSTREAM_UP.name, &labels, up);
    }
    let single: [(&Metric, Figure); 4] = [
        (&names::UPSTREAM_CONNECTIONS, |figures| figures.connections.into()),
        (&names::UPSTREAM_CONNECT_FAILURES, |figures| figures.connect_failures),
        (&names::UPSTREAM_EJECTIONS, |figures| figures.ejections),
        (&names::UPSTREAM_LOOK_UP_FAILURES, |figures| figures.look_up_failures),
    ];
    for (metric, value) in single {
        write_family(text, metric);
        for upstream in upstreams {
            let value = value(&upstream.figures);
            write_sample(text, metric.name, &upstream_labels(upstream), value);
        }
    }
    let up: Figure = |figures| (figures.addresses - figures.addresses_down) as u64;
    let down: Figure = |figures| figures.addresses_down as u64;
    let left_out: Figure = |figures| figures.addresses_left_out as u64;
    let states = [("up", up), ("down", down), ("left_out", left_out)];
    write_by(text, &names::UPSTREAM_ADDRESSES, upstreams, "state", &states);
    let passed: Figure = |figures| figures.checks_passed;
    let failed: Figure = |figures| figures.checks_failed;
    let results = [("passed", passed), ("failed", failed)];
    write_by(text, &names::UPSTREAM_CHECKS, upstreams, "result", &results);
    write_family(text, &names::UPSTREAM_PORTS_LEFT);
    for upstream in upstreams {
        let [route, endpoint] = upstream_labels(upstream);
        for (address, left) in &upstream.ports_left {
            let labels = [route, endpoint, ("address", &address.to_string())];
            write_sample(text, names::UPSTREAM_PORTS_LEFT.name, &labels, *left);
        }
    }
}

type Figure = fn(&Figures) -> u64;

fn write_by(
    text: &mut String,
    metric: &Metric,
    upstreams: &[UpstreamFacts],
    label: &str,
    values: &[(&str, Figure)],
) {
    write_family(text, metric);
    for upstream in upstreams {
        let [route, endpoint] = upstream_labels(upstream);
        for (word, value) in values {
            let labels = [route, endpoint, (label, *word)];
            write_sample(text, metric.name, &labels, value(&upstream.figures));
        }
    }
}

fn upstream_labels(upstream: &UpstreamFacts) -> [(&str, &str); 2] {
    [("route", &upstream.route), ("upstream", &upstream.endpoint)]
}

fn write_phase(text: &mut String, snapshot: &Snapshot, phase: Phase) {
    let metric = names::phase_metric(phase);
    write_family(text, &metric);
    for latency in snapshot.latencies.iter().filter(|latency| latency.phase == phase) {
        write_histogram(text, &metric, latency);
    }
}

fn write_histogram(text: &mut String, metric: &Metric, latency: &Latency) {
    let bucket = format!("{}_bucket", metric.name);
    let (listener, kind) = (("listener", &*latency.listener), ("kind", latency.kind.as_str()));
    let total = &latency.spans[Span::Total as usize];
    for (bound, count) in bounds(latency.phase).iter().zip(&latency.buckets) {
        let bound = bound.as_secs_f64().to_string();
        write_sample(text, &bucket, &[listener, kind, ("le", &bound)], count);
    }
    write_sample(text, &bucket, &[listener, kind, ("le", "+Inf")], total.count);
    let sum = total.sum.as_secs_f64();
    write_sample(text, &format!("{}_sum", metric.name), &[listener, kind], sum);
    write_sample(text, &format!("{}_count", metric.name), &[listener, kind], total.count);
}

fn write_totals(text: &mut String, snapshot: &Snapshot) {
    let totals = &snapshot.totals;
    write_family(text, &names::REFUSED);
    for refusal in Refusal::ALL {
        let value = totals.refused[refusal as usize];
        write_sample(text, names::REFUSED.name, &[("cause", refusal.as_str())], value);
    }
    write_family(text, &names::SHED);
    for why in Shed::ALL {
        let value = totals.shed[why as usize];
        write_sample(text, names::SHED.name, &[("cause", why.as_str())], value);
    }
    write_family(text, &names::ACCEPT_ERRORS);
    for error in AcceptError::ALL {
        let value = totals.accept_errors[error as usize];
        write_sample(text, names::ACCEPT_ERRORS.name, &[("kind", error.as_str())], value);
    }
    write_single(text, &names::HELLO_MEMORY_REFUSALS, totals.hello_memory_refusals);
    write_single(text, &names::UNATTRIBUTED, totals.unattributed);
}

fn write_shards(text: &mut String, snapshot: &Snapshot) {
    let mut per_shard = |metric: &Metric, value: &dyn Fn(&ShardView) -> String| {
        write_per_shard(text, snapshot, metric, &|view| Some(value(view)));
    };
    per_shard(&names::SHARD_CONNECTIONS, &|view| view.gauges.open_connections.to_string());
    per_shard(&names::SHARD_HANDSHAKES, &|view| view.gauges.handshakes_in_flight.to_string());
    let seconds = |micros: u64| Duration::from_micros(micros).as_secs_f64().to_string();
    per_shard(&names::SHARD_WAITING, &|view| view.gauges.handshakes_waiting.to_string());
    per_shard(&names::SHARD_WAITING_AGE, &|view| seconds(view.gauges.handshakes_waiting_us));
    per_shard(&names::SHARD_LONGEST_STEP, &|view| seconds(view.gauges.handshake_step_longest_us));
    per_shard(&names::SHARD_BUFFERS, &|view| view.gauges.buffer_bytes.to_string());
    per_shard(&names::SHARD_ANSWER_AGE, &|view| view.answered_ago.as_secs_f64().to_string());
    per_shard(&names::SHARD_MISSED, &|view| view.missed.to_string());
    per_shard(&names::ENGINE_TURNS, &|view| view.engine.turns.to_string());
    per_shard(&names::ENGINE_EVENTS, &|view| view.engine.events.to_string());
    per_shard(&names::ENGINE_SYSTEM_CALLS, &|view| view.engine.system_calls.to_string());
    per_shard(&names::RING_OVERFLOWS, &|view| view.engine.ring_overflows.to_string());
    per_shard(&names::BUFFER_STARVATION, &|view| view.engine.buffer_starvation.to_string());
}

fn write_headroom(text: &mut String, snapshot: &Snapshot) {
    write_family(text, &names::HEADROOM);
    if let Some(least) = &snapshot.totals.headroom {
        write_sample(text, names::HEADROOM.name, &[], least.headroom);
    }
    let mut per_shard = |metric: &Metric, value: &dyn Fn(&Headroom) -> Option<f64>| {
        let of = |view: &ShardView| value(view.headroom.as_ref()?).map(|value| value.to_string());
        write_per_shard(text, snapshot, metric, &of);
    };
    per_shard(&names::SHARD_HEADROOM, &|of| Some(of.headroom));
    per_shard(&names::SHARD_BUSY, &|of| Some(of.busy));
    per_shard(&names::SHARD_STARVED, &|of| Some(of.starved));
    per_shard(&names::SHARD_EVENT_COST, &|of| of.event_cost_us.map(|micros| micros / 1e6));
}

/// A sample for each shard that has a value.
fn write_per_shard(
    text: &mut String,
    snapshot: &Snapshot,
    metric: &Metric,
    value: &dyn Fn(&ShardView) -> Option<String>,
) {
    write_family(text, metric);
    for (shard, view) in snapshot.shards.iter().enumerate() {
        if let Some(value) = value(view) {
            write_sample(text, metric.name, &[("shard", &shard.to_string())], value);
        }
    }
}

fn write_upstream_sessions(text: &mut String, stats: &UpstreamStats) {
    for (metric, value) in [
        (names::UPSTREAM_SESSION_SERVERS, stats.servers),
        (names::UPSTREAM_SESSIONS_STORED, stats.stored),
        (names::UPSTREAM_SESSIONS_OFFERED, stats.offered),
        (names::UPSTREAM_SESSION_EVICTIONS, stats.evicted),
    ] {
        write_single(text, &metric, value);
    }
    write_refusals(text, &names::UPSTREAM_SESSIONS_REJECTED, &stats.rejected);
}

fn write_refusals(text: &mut String, metric: &Metric, refusals: &Refusals) {
    write_family(text, metric);
    for (cause, value) in refusals.iter() {
        write_sample(text, metric.name, &[("cause", cause.as_str())], value);
    }
}

fn write_tickets(text: &mut String, tickets: &TicketStats) {
    write_single(text, &names::TICKETS_ISSUED, tickets.issued);
    write_family(text, &names::TICKETS_ACCEPTED);
    for epoch in Epoch::ALL {
        for rank in Rank::ALL {
            let labels = [("epoch", epoch.as_str()), ("secret", rank.as_str())];
            let value = tickets.accepted[epoch as usize][rank as usize];
            write_sample(text, names::TICKETS_ACCEPTED.name, &labels, value);
        }
    }
    write_family(text, &names::TICKETS_REJECTED);
    for (cause, epoch, value) in tickets.rejected() {
        let labels = [("cause", cause), ("epoch", epoch.map_or("unknown", Epoch::as_str))];
        write_sample(text, names::TICKETS_REJECTED.name, &labels, value);
    }
}

/// Milliseconds written as seconds, without the rounding of floating point.
struct Milliseconds(u64);

impl Display for Milliseconds {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

fn write_family(text: &mut String, metric: &Metric) {
    text.push_str("# HELP ");
    text.push_str(metric.name);
    text.push(' ');
    push_escaped(text, metric.help, false);
    text.push_str("\n# TYPE ");
    text.push_str(metric.name);
    text.push(' ');
    text.push_str(metric.kind.as_str());
    text.push('\n');
}

fn write_sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    text.push_str(name);
    for (position, (label, content)) in labels.iter().enumerate() {
        text.push(if position == 0 { '{' } else { ',' });
        text.push_str(label);
        text.push_str("=\"");
        push_escaped(text, content, true);
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    writeln!(text, " {value}").expect("writing to a String cannot fail");
}

/// Backslash and line feed are escaped everywhere, double quotes in label values only.
fn push_escaped(text: &mut String, content: &str, is_label: bool) {
    for character in content.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if is_label => text.push_str("\\\""),
            _ => text.push(character),
        }
    }
}

#[cfg(test)]
#[path = "prometheus_tests.rs"]
mod tests;
