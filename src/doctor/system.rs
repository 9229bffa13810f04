//! The kernel, its clock, its random numbers and its memory.

use super::facts::Facts;
use super::finding::{Finding, Level, Verdict};
use super::needs::Needs;

pub(super) fn kernel(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let Some((major, minor)) = version(facts) else {
        return Err("/proc/sys/kernel/osrelease cannot be read".to_owned());
    };
    let found = facts.sysctl("kernel.osrelease").unwrap_or_default();
    if (major, minor) >= (6, 1) {
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Advice, found)
        .advise("6.1 or newer")
        .why(
            "provided buffers come with 5.19, task work that waits for its thread with 6.1: before \
             it completions interrupt whoever runs (io_uring_setup(2), IORING_SETUP_DEFER_TASKRUN)",
        )
        .alone()
}

/// Major and minor number of the kernel's release.
pub(super) fn version(facts: &Facts<'_>) -> Option<(u32, u32)> {
    let release = facts.sysctl("kernel.osrelease")?;
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// TLS in the kernel: not used, so nothing is lost.
pub(super) fn kernel_tls(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let ulp = facts.sysctl("net.ipv4.tcp_available_ulp").unwrap_or_default();
    let is_loaded = ulp.split(' ').any(|one| one == "tls");
    let release = facts.sysctl("kernel.osrelease").unwrap_or_default();
    let modules = facts.text(&format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    let found = match (is_loaded, modules.contains("/tls.ko")) {
        (true, _) => "loaded",
        (false, true) => "a module that is not loaded",
        (false, false) => "not there",
    };
    Finding::ok(format!("{found}; records are encrypted by the gateway itself")).alone()
}

/// Whether the clock is right.
pub(super) fn clock(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let Some(clock) = facts.live.as_ref().and_then(|live| live.clock) else {
        return Err("only the running kernel says whether its clock is synchronised".to_owned());
    };
    if clock.is_synchronised {
        return Finding::ok(format!("synchronised, within {} ms", clock.error_us / 1000)).alone();
    }
    Finding::new(Level::Warning, "not synchronised")
        .advise("chrony or systemd-timesyncd")
        .why(
            "certificates and CRLs are judged by it, tickets of other nodes are refused when it is off \
             by more than their lifetime, and logs of two machines cannot be put together \
             (adjtimex(2), STA_UNSYNC)",
        )
        .command("timedatectl set-ntp true")
        .alone()
}

pub(super) fn clock_source(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let Some(found) = facts.text(&format!("{folder}/current_clocksource")) else {
        return Err("the source of the clock cannot be read".to_owned());
    };
    if matches!(
        found.as_str(),
        "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page"
    ) {
        return Finding::ok(found).alone();
    }
    let is_there = facts.text(&format!("{folder}/available_clocksource")).unwrap_or_default();
    let better = ["tsc", "kvm-clock"].into_iter().find(|one| is_there.contains(one));
    let finding = Finding::new(Level::Warning, found)
        .advise(better.unwrap_or("tsc, or kvm-clock"))
        .why(
            "the clock is read after every event: from user space in 25 ns, with hpet or acpi_pm by a \
             system call and the bus in a microsecond and more (vdso(7))",
        );
    match better {
        Some(better) => finding.command(format!("echo {better} >{folder}/current_clocksource")),
        None => finding,
    }
    .alone()
}

pub(super) fn entropy(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let Some(bits) = facts.number("/proc/sys/kernel/random/entropy_avail") else {
        return Err("/proc/sys/kernel/random/entropy_avail cannot be read".to_owned());
    };
    let found = format!("{bits} bits");
    // 256 is the whole pool since Linux 5.18.
    if bits >= 128 {
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Warning, found)
        .advise("256")
        .why(
            "getrandom(2) waits until the kernel has gathered enough: the gateway starts no sooner, \
             in a virtual machine without virtio-rng or RDRAND by minutes",
        )
        .command("a virtio-rng device for the virtual machine")
        .alone()
}

pub(super) fn huge_pages(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let Some(text) = facts.text("/sys/kernel/mm/transparent_hugepage/enabled") else {
        return Err("this kernel has none".to_owned());
    };
    let chosen = text.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
    if chosen != "always" {
        return Finding::ok(chosen).alone();
    }
    Finding::new(Level::Advice, chosen)
        .advise("madvise")
        .why(
            "sparse tables and buffers take 2 MiB where 4 KiB would do, and compacting memory stops \
             threads; no gain was measured from huge pages (ARCHITECTURE, Speed)",
        )
        .command("echo madvise >/sys/kernel/mm/transparent_hugepage/enabled")
        .alone()
}

/// Memory that may be written to a disk.
pub(super) fn swap(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let Some(total) = facts.memory("SwapTotal") else {
        return Err("/proc/meminfo cannot be read".to_owned());
    };
    let swappiness = facts.sysctl("vm.swappiness").and_then(|text| text.parse::<u32>().ok());
    let swappiness = swappiness.unwrap_or(60);
    if total == 0 {
        return Finding::ok("none").alone();
    }
    let found = format!("{} MiB, vm.swappiness = {swappiness}", total >> 20);
    if swappiness <= 10 {
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Advice, found)
        .advise("vm.swappiness = 10, or MemorySwapMax=0 for the service")
        .why(
            "what rests is written out first, sessions and keys with it: the first message after a \
             night waits for the disk, which keeps secrets",
        )
        .sysctl("vm.swappiness", "10")
        .alone()
}
