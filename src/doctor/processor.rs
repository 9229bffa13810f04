//! CPUs: what they can do for cryptography, how fast they are let run, and who may use them.

use std::collections::BTreeSet;

use super::facts::{Cpus, Facts, cpu_list, show};
use super::finding::{Finding, Level, Verdict};
use super::needs::Needs;

/// Workers and the CPUs that they may run on.
pub(super) fn affinity(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let (Some(allowed), Some(online)) = (facts.allowed(), facts.online()) else {
        return Err("the affinity of the process cannot be read".to_owned());
    };
    let found =
        format!("{} worker(s) on CPU {} of {}", needs.workers, show(&allowed), show(&online));
    if needs.workers > allowed.len() {
        return Finding::new(Level::Warning, found)
            .advise(format!("workers = {}, or more CPUs", allowed.len()))
            .why(
                "workers are pinned: two on one CPU wait for each other, and each message of one \
                 waits for a turn of the other",
            )
            .command(format!("taskset -pc {} PID, or CPUAffinity= in the unit", show(&online)))
            .alone();
    }
    if allowed.len() < online.len() {
        return Finding::new(Level::Advice, found)
            .advise("all CPUs, unless the others are somebody else's")
            .why("full handshakes are limited by CPUs: each gives some thousands a second")
            .command(format!("taskset -pc {} PID, or CPUAffinity= in the unit", show(&online)))
            .alone();
    }
    Finding::ok(found).alone()
}

/// A quota of the cgroup throttles.
pub(super) fn quota(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let Some(quota) = facts.quota() else { return Finding::ok("no quota").alone() };
    let found = format!("{quota:.2} CPUs for {} worker(s)", needs.workers);
    #[expect(clippy::cast_precision_loss, reason = "a machine has few workers")]
    let is_enough = quota >= needs.workers as f64;
    if is_enough {
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Warning, found)
        .advise(
            "as many workers as the quota has whole CPUs, or CPUWeight= in the place of a quota",
        )
        .why(
            "when the quota of a period is used up, all threads stop until the next one: of 100 ms \
             by default, which every connection waits for (cgroup v2, cpu.max)",
        )
        .command("systemctl set-property tlsgate.service CPUQuota=")
        .alone()
}

/// AES with carry-less multiplication: AES-GCM in hardware.
pub(super) fn aes(facts: &Facts<'_>, _: &Needs) -> Verdict {
    feature(
        facts,
        &[("aes", "aes"), ("pclmulqdq", "pmull")],
        Level::Warning,
        "AES-GCM without instructions for it takes ten times the time and more; peers that put \
         ChaCha20-Poly1305 first get it (1.75 GB/s a core, AES-128-GCM with AES-NI 4.7)",
    )
}

/// Four blocks at once.
pub(super) fn wide_aes(facts: &Facts<'_>, _: &Needs) -> Verdict {
    if is_arm(facts) {
        return Err("a matter of x86".to_owned());
    }
    feature(
        facts,
        &[("vaes", ""), ("vpclmulqdq", "")],
        Level::Advice,
        "without VAES AES-GCM encrypts 4 to 5 GB/s a core in place of twice as much; half of bulk \
         is copying, so that is a fourth of its cost. Nothing but another machine changes it",
    )
}

/// Long multiplication for RSA and elliptic curves.
pub(super) fn multiplication(facts: &Facts<'_>, _: &Needs) -> Verdict {
    if is_arm(facts) {
        return Err("a matter of x86".to_owned());
    }
    feature(
        facts,
        &[("adx", ""), ("bmi2", "")],
        Level::Advice,
        "key exchange and signatures are half of a full handshake, and have no fast form without \
         MULX and ADX. Nothing but another machine changes it",
    )
}

pub(super) fn sha(facts: &Facts<'_>, _: &Needs) -> Verdict {
    feature(
        facts,
        &[("sha_ni", "sha2")],
        Level::Advice,
        "SHA-256 without instructions for it: 3.2 µs for a KiB, some 13 % of a full handshake. \
         Nothing but another machine changes it; short chains of certificates help",
    )
}

/// `features` are pairs of names in /proc/cpuinfo, x86's and ARM's.
fn feature(facts: &Facts<'_>, features: &[(&str, &str)], level: Level, why: &str) -> Verdict {
    let Some(has) = flags(facts) else { return Err("/proc/cpuinfo has no flags".to_owned()) };
    let names = features.iter().map(|(x86, arm)| if is_arm(facts) { *arm } else { *x86 });
    let (there, missing): (Vec<_>, Vec<_>) = names.partition(|name| has.contains(*name));
    if missing.is_empty() {
        return Finding::ok(there.join(", ")).alone();
    }
    Finding::new(level, format!("no {}", missing.join(", ")))
        .advise("a CPU that has it, or a virtual one that passes it on (host-passthrough)")
        .why(why)
        .alone()
}

fn flags(facts: &Facts<'_>) -> Option<BTreeSet<String>> {
    let text = facts.text("/proc/cpuinfo")?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, flags) = lines.find(|(name, _)| matches!(name.trim(), "flags" | "Features"))?;
    Some(flags.split_ascii_whitespace().map(str::to_owned).collect())
}

fn is_arm(facts: &Facts<'_>) -> bool {
    facts.text("/proc/cpuinfo").is_some_and(|text| text.contains("\nFeatures"))
}

/// Who decides about the clock rate.
pub(super) fn frequency(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let governors = cpus(facts).into_iter().filter_map(|cpu| {
        facts.text(&format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"))
    });
    let governors: BTreeSet<String> = governors.collect();
    if governors.is_empty() {
        return Err("no governor: the host or the firmware decides".to_owned());
    }
    let all = governors.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    // "schedutil" follows the scheduler within a tick.
    if governors.iter().all(|name| matches!(name.as_str(), "performance" | "schedutil")) {
        return Finding::ok(all).alone();
    }
    Finding::new(Level::Advice, all)
        .advise("performance")
        .why(
            "the rate rises some ten milliseconds after the load did: the first handshakes of a \
             storm run at the lowest one (cpufreq, \"ondemand\", sampling_rate)",
        )
        .command("cpupower frequency-set -g performance")
        .alone()
}

/// Two hardware threads that share a core.
pub(super) fn siblings(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let allowed = facts.allowed().or_else(|| facts.online()).unwrap_or_default();
    let mut cores: BTreeSet<Cpus> = BTreeSet::new();
    for cpu in cpus(facts) {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        cores.extend(facts.text(&path).and_then(|text| cpu_list(&text)));
    }
    if cores.is_empty() {
        return Err("the topology cannot be read".to_owned());
    }
    // Those that workers are on by default: the first allowed ones.
    let used: Cpus = allowed.into_iter().take(needs.workers).collect();
    let shared = cores.iter().filter(|core| core.intersection(&used).count() > 1).count();
    let is_threaded = cores.iter().any(|core| core.len() > 1);
    let found = match is_threaded {
        true => {
            format!("{} cores with threads that share them; {shared} have two workers", cores.len())
        }
        false => format!("{} cores, none shared", cores.len()),
    };
    // Two workers on each core are the right thing to do with all CPUs.
    let idle = cores.iter().filter(|core| core.is_disjoint(&used)).count();
    if shared == 0 || idle == 0 {
        return Finding::ok(found).alone();
    }
    let firsts: Cpus = cores.iter().filter_map(|core| core.first().copied()).collect();
    Finding::new(Level::Advice, format!("{found}, {idle} have none"))
        .advise("a core for each worker, before any gets two")
        .why(
            "two threads of a core share its units for AES and multiplication: together they give 1.1 \
             to 1.4 times what one does, and each is slower",
        )
        .command(format!("CPUAffinity={} in the unit", show(&firsts)))
        .alone()
}

fn cpus(facts: &Facts<'_>) -> Cpus {
    facts.online().unwrap_or_default()
}
