//! TCP: ports, queues, congestion control, and what was lost so far.

use super::facts::Facts;
use super::finding::{Finding, Level, Verdict};
use super::needs::Needs;

/// Ports towards components.
pub(super) fn local_ports(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let Some((low, high)) = range(facts) else {
        return Err("net.ipv4.ip_local_port_range cannot be read".to_owned());
    };
    let ports = u32::from(high.saturating_sub(low)) + 1;
    let Some(wanted) = needs.towards_one else {
        return Finding::ok(format!("{ports}, and no number of connections to compare with"))
            .alone();
    };
    let found = format!("{ports} for {wanted} connections to the busiest upstream");
    if ports >= wanted {
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Warning, found)
        .advise("a wider range, several sources (upstream_source), several upstreams, or a unix socket")
        .why(
            "a connection to one address from one source takes a port, and dialling fails when there \
             is none left (EADDRNOTAVAIL); /metrics tells how many are left while it runs",
        )
        .sysctl("net.ipv4.ip_local_port_range", WIDE_RANGE)
        .alone()
}

/// Ports that listeners want, and that the kernel may give to whoever dials first.
pub(super) fn reserved_ports(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let Some((low, high)) = range(facts) else {
        return Err("net.ipv4.ip_local_port_range cannot be read".to_owned());
    };
    let reserved = facts.sysctl("net.ipv4.ip_local_reserved_ports").unwrap_or_default();
    let is_reserved = |port: u16| {
        reserved.split(',').any(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let bounds = first.trim().parse::<u16>().ok().zip(last.trim().parse::<u16>().ok());
            bounds.is_some_and(|(first, last)| (first..=last).contains(&port))
        })
    };
    let open =
        needs.listened.iter().filter(|port| (low..=high).contains(*port) && !is_reserved(**port));
    let open: Vec<String> = open.map(u16::to_string).collect();
    if open.is_empty() {
        return Finding::ok(format!("no listener between {low} and {high}")).alone();
    }
    let own = open.join(",");
    let value = if reserved.is_empty() { own.clone() } else { format!("{reserved},{own}") };
    Finding::new(Level::Advice, format!("{own} between {low} and {high}"))
        .advise("to reserve them")
        .why(
            "any program's connection may have the port when the gateway starts, which then cannot \
             bind it (exit code 4)",
        )
        .sysctl("net.ipv4.ip_local_reserved_ports", value)
        .alone()
}

pub(super) fn congestion_control(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let Some(found) = facts.sysctl("net.ipv4.tcp_congestion_control") else {
        return Err("net.ipv4.tcp_congestion_control cannot be read".to_owned());
    };
    let pacing = facts.sysctl("net.core.default_qdisc").unwrap_or_default();
    match found.as_str() {
        "cubic" | "dctcp" => Finding::ok(found).alone(),
        "bbr" if pacing == "fq" => Finding::ok("bbr, paced by fq").alone(),
        "bbr" => Finding::new(Level::Advice, "bbr without the queue discipline fq")
            .advise("cubic within a data centre; bbr with fq over lossy networks")
            .why(
                "without fq each connection is paced by a timer of its own (tcp_bbr.c), which shows \
                 in profiles of bulk beside copying",
            )
            .sysctl("net.core.default_qdisc", "fq")
            .alone(),
        _ => Finding::new(Level::Advice, found)
            .advise("cubic")
            .why("RFC 9438: others need minutes to fill a fast path again after one loss")
            .sysctl("net.ipv4.tcp_congestion_control", "cubic")
            .alone(),
    }
}

/// Accept queues that were full since the machine, or the network namespace, began.
pub(super) fn accept_queues(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let (Some(overflows), Some(drops)) =
        (counter(facts, "ListenOverflows"), counter(facts, "ListenDrops"))
    else {
        return Err("/proc/net/netstat cannot be read".to_owned());
    };
    let found = format!("{overflows} overflows, {drops} SYNs dropped since the start");
    if overflows == 0 {
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Advice, found)
        .advise("longer queues, or whatever was slow to accept faster")
        .why(
            "each is a peer that waited a second or more; which program's queue it was is not told",
        )
        .command("ss -ltn: Recv-Q is what waits, Send-Q the limit")
        .alone()
}

/// Packets that receiving has lost or put off, over all CPUs.
pub(super) fn receiving(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let Some(text) = facts.text("/proc/net/softnet_stat") else {
        return Err("/proc/net/softnet_stat cannot be read".to_owned());
    };
    let mut sums = [0u64; 3];
    for line in text.lines() {
        let columns = line.split_ascii_whitespace().map(|word| u64::from_str_radix(word, 16));
        for (sum, column) in sums.iter_mut().zip(columns) {
            *sum += column.unwrap_or(0);
        }
    }
    let [packets, dropped, squeezed] = sums;
    let found = format!("{packets} packets, {dropped} dropped, {squeezed} rounds cut short");
    // One in ten thousand is felt in the percentile beyond that.
    if dropped * 10_000 <= packets {
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Warning, found)
        .advise("net.core.netdev_max_backlog four times as long, or more queues")
        .why("a dropped packet is a retransmission: 200 ms at least (RTO, tcp(7))")
        .sysctl("net.core.netdev_max_backlog", "4000")
        .alone()
}

pub(super) fn connection_tracking(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let number = |key: &str| facts.sysctl(key)?.parse::<u64>().ok();
    let (Some(used), Some(most)) =
        (number("net.netfilter.nf_conntrack_count"), number("net.netfilter.nf_conntrack_max"))
    else {
        return Err("connections are not tracked".to_owned());
    };
    let found = format!("{used} of {most} entries in use");
    if used * 5 < most * 4 {
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Warning, found)
        .advise("twice as many, or no tracking for the gateway's ports")
        .why("packets of new connections are dropped when the table is full")
        .sysctl("net.netfilter.nf_conntrack_max", (2 * most).to_string())
        .alone()
}

/// A counter of /proc/net/netstat: a line of names, then a line of values.
fn counter(facts: &Facts<'_>, name: &str) -> Option<u64> {
    let text = facts.text("/proc/net/netstat")?;
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let position = names.split_ascii_whitespace().position(|word| word == name);
        if let Some(position) = position {
            return values.split_ascii_whitespace().nth(position)?.parse().ok();
        }
    }
    None
}

fn range(facts: &Facts<'_>) -> Option<(u16, u16)> {
    let text = facts.sysctl("net.ipv4.ip_local_port_range")?;
    let (low, high) = text.split_once(' ')?;
    Some((low.parse().ok()?, high.parse().ok()?))
}

/// 55,000 ports, which leaves those below for listeners.
const WIDE_RANGE: &str = "10000 64999";
