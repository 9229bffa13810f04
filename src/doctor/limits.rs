//! What a process may have: descriptors, locked memory, core dumps, memory, low ports.

use super::facts::{Facts, Limit};
use super::finding::{Finding, Level, Verdict};
use super::needs::Needs;

pub(super) const NO_LIMITS: &str = "the limits of the process cannot be read";

pub(super) fn open_files(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let Some((_, hard)) = facts.limit("Max open files") else { return Err(NO_LIMITS.to_owned()) };
    let Limit::At(descriptors) = hard else { return Finding::ok("unlimited").alone() };
    let room = descriptors.saturating_sub(needs.own_descriptors) / 2;
    let found = format!("{descriptors}, which is room for {room} connections");
    let (wanted, level) = match needs.descriptors() {
        Some(wanted) => (wanted, Level::Warning),
        None => (needs.own_descriptors + 2 * USUAL_CONNECTIONS, Level::Advice),
    };
    if descriptors >= wanted {
        return Finding::ok(found).alone();
    }
    // Room for a few hundred is nobody's wish, whatever the configuration leaves open.
    let level = if room < FEW_CONNECTIONS { Level::Warning } else { level };
    let command = format!(
        "prlimit --nofile={wanted} --pid PID, or in the shell that starts it: ulimit -n {wanted}"
    );
    Finding::new(level, found)
        .advise(format!("at least {wanted}"))
        .why(
            "a connection has two descriptors; at the limit no more are accepted, and peers wait in \
             the accept queue",
        )
        .unit("LimitNOFILE", wanted.to_string(), &command)
        .alone()
}

/// The whole system's descriptors.
pub(super) fn file_max(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let Some(most) = facts.sysctl("fs.file-max").and_then(|text| text.parse::<u64>().ok()) else {
        return Err("fs.file-max cannot be read".to_owned());
    };
    let used = facts.text("/proc/sys/fs/file-nr");
    let used = used.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let used = used.unwrap_or(0);
    let wanted = used + needs.descriptors().unwrap_or(needs.own_descriptors);
    let found = format!("{used} of {most} in use");
    if most >= wanted {
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Failure, found)
        .advise(format!("at least {wanted}"))
        .why("at the limit every open, accept and connect of the machine fails (ENFILE)")
        .sysctl("fs.file-max", wanted.to_string())
        .alone()
}

pub(super) fn locked_memory(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    use crate::config::model::EngineChoice;
    let Some((_, hard)) = facts.limit("Max locked memory") else {
        return Err(NO_LIMITS.to_owned());
    };
    if needs.engine == EngineChoice::Epoll || hard >= Limit::At(USUAL_MEMLOCK) {
        return Finding::ok(format!("{hard} bytes")).alone();
    }
    Finding::new(Level::Advice, format!("{hard} bytes"))
        .advise(format!("at least {USUAL_MEMLOCK}"))
        .why(
            "less than the kernel's own default since Linux 5.16. Rings count against it before 5.12 \
             and where a kernel was changed so; then setting one up fails (ENOMEM) and epoll serves, \
             with 9 % more CPU for a handshake and for a round trip (bench/runs/2026-11-22)",
        )
        .unit(
            "LimitMEMLOCK",
            USUAL_MEMLOCK.to_string(),
            &format!("prlimit --memlock={USUAL_MEMLOCK} --pid PID"),
        )
        .alone()
}

pub(super) fn core_dumps(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let Some((soft, hard)) = facts.limit("Max core file size") else {
        return Err(NO_LIMITS.to_owned());
    };
    let suid_dumpable = facts.sysctl("fs.suid_dumpable").unwrap_or_default();
    if soft == Limit::At(0) && suid_dumpable != "1" {
        return Finding::ok(format!("none (soft limit 0, hard limit {hard})")).alone();
    }
    let found = match soft {
        Limit::At(0) => {
            "fs.suid_dumpable = 1: programs with privileges dump for everybody".to_owned()
        }
        size => format!("up to {size} bytes"),
    };
    Finding::new(Level::Warning, found)
        .advise("0")
        .why("a core dump has private keys and ticket keys in it, and outlives the process")
        .unit("LimitCORE", "0", "prlimit --core=0 --pid PID")
        .alone()
}

pub(super) fn memory(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let Some(available) = facts.memory("MemAvailable") else {
        return Err("/proc/meminfo cannot be read".to_owned());
    };
    let limit = facts.memory_limit();
    let room = limit.unwrap_or(u64::MAX).min(available);
    let connections = u64::from(needs.connections.unwrap_or(0));
    let resting = connections * (CONNECTION + KERNEL);
    let found = format!(
        "{} MiB to be had{}",
        room >> 20,
        limit.filter(|limit| *limit < available).map_or("", |_| " (limit of the cgroup)")
    );
    if room >= resting + needs.buffers {
        return Finding::ok(found).alone();
    }
    let level = if room < resting { Level::Warning } else { Level::Advice };
    Finding::new(level, found)
        .advise(format!(
            "{} MiB: {} for connections that rest, {} for buffers when all are in use",
            (resting + needs.buffers) >> 20,
            resting >> 20,
            needs.buffers >> 20
        ))
        .why(
            "when memory runs out, a process is killed, and that may be this one. A connection that \
             rests takes 1.3 KiB here and 7.3 KiB of the kernel's (idle_memory; slab of two sockets)",
        )
        .command("lower gateway.max_connections or gateway.buffer_memory, or raise MemoryMax=")
        .alone()
}

/// Ports below the first that everybody may listen on.
pub(super) fn low_ports(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    const CAP_NET_BIND_SERVICE: u32 = 10;
    let Some(may) = facts.has_capability(CAP_NET_BIND_SERVICE) else {
        return Err("the status of the process cannot be read".to_owned());
    };
    let first = facts.sysctl("net.ipv4.ip_unprivileged_port_start");
    let first: u16 = first.and_then(|text| text.parse().ok()).unwrap_or(1024);
    let low: Vec<String> =
        needs.listened.iter().filter(|port| **port < first).map(u16::to_string).collect();
    if low.is_empty() {
        return Finding::ok(format!("no listener below {first}")).alone();
    }
    let found = format!("listeners on {}", low.join(", "));
    if may {
        return Finding::ok(format!("{found}, with CAP_NET_BIND_SERVICE")).alone();
    }
    Finding::new(Level::Failure, format!("{found}, without CAP_NET_BIND_SERVICE"))
        .advise("the capability, and no other")
        .why("bind(2) fails below net.ipv4.ip_unprivileged_port_start, and the gateway does not start")
        .unit(
            "AmbientCapabilities",
            "CAP_NET_BIND_SERVICE",
            "setcap cap_net_bind_service=+ep /usr/bin/tlsgate",
        )
        .alone()
}

/// Connections that come from their client's address.
pub(super) fn client_sources(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    const CAP_NET_ADMIN: u32 = 12;
    const CAP_NET_RAW: u32 = 13;
    if !needs.spoofs {
        return Finding::ok("no route keeps its clients' addresses").alone();
    }
    let raw = facts.has_capability(CAP_NET_RAW);
    let Some(may) = raw.zip(facts.has_capability(CAP_NET_ADMIN)).map(|(raw, admin)| raw || admin)
    else {
        return Err("the status of the process cannot be read".to_owned());
    };
    if may {
        return Finding::ok("CAP_NET_RAW is there").alone();
    }
    Finding::new(Level::Failure, "upstream_source = \"client\" without CAP_NET_RAW")
        .advise("CAP_NET_RAW in AmbientCapabilities= and CapabilityBoundingSet=")
        .why("IP_TRANSPARENT needs it (ip(7)); without it the configuration is refused")
        .command("systemctl edit tlsgate")
        .alone()
}

/// Where a configuration does not say how many connections there are to be: enough for most.
const USUAL_CONNECTIONS: u64 = 10_000;
/// Fewer is a shell's default, which nobody has chosen.
const FEW_CONNECTIONS: u64 = 1_000;
/// MLOCK_LIMIT of the kernel since Linux 5.16 (uapi/linux/resource.h).
const USUAL_MEMLOCK: u64 = 8 << 20;
/// Bytes of the process for a connection that rests (the check `idle_memory`).
const CONNECTION: u64 = 1_331;
/// Bytes of the kernel's for its two sockets: half of what four take.
const KERNEL: u64 = 7_475;
