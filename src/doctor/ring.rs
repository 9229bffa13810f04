//! Whether io_uring can be had, and what keeps it away.

use super::facts::Facts;
use super::finding::{Finding, Level, Verdict};
use super::needs::Needs;
use crate::config::model::EngineChoice;

const COST: &str = "epoll serves instead: 9 % more CPU for a handshake and for a round trip (medians, \
                    bench/runs/2026-11-22), 4.9 system calls for a message and its answer in place of \
                    0.6";

pub(super) fn availability(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    if needs.engine == EngineChoice::Epoll {
        return Finding::ok("not wanted: engine = \"epoll\"").alone();
    }
    let restrictions = restrictions(facts);
    let failed = match facts.live.as_ref().map(|live| &live.ring) {
        Some(Ok(())) => return Finding::ok("a ring with provided buffers can be had").alone(),
        Some(Err(why)) => Some(why.clone()),
        // Elsewhere, or another process's: what is set has to do.
        None if restrictions.is_empty() => return Finding::ok("nothing restricts it").alone(),
        None => None,
    };
    let level = match needs.engine {
        EngineChoice::Uring => Level::Failure,
        _ => Level::Warning,
    };
    let mut found: Vec<String> = failed.into_iter().collect();
    found.extend(restrictions.iter().map(|one| one.what.to_owned()));
    let finding = Finding::new(level, found.join("; ")).why(COST);
    let Some(first) = restrictions.first() else {
        return finding.advise("another kernel or container").alone();
    };
    let finding = finding.advise(first.way_out);
    match first.sysctl {
        Some((key, value)) => finding.sysctl(key, value),
        None => finding.command(first.command),
    }
    .alone()
}

/// Something that may keep a process from io_uring.
struct Restriction {
    what: &'static str,
    way_out: &'static str,
    command: &'static str,
    sysctl: Option<(&'static str, &'static str)>,
}

/// Those that are in force, the surest first.
fn restrictions(facts: &Facts<'_>) -> Vec<Restriction> {
    const CAP_SYS_ADMIN: u32 = 21;
    let mut all = Vec::new();
    let is_old = super::system::version(facts).is_some_and(|version| version < (5, 19));
    if is_old {
        all.push(Restriction {
            what: "a kernel before Linux 5.19, whose rings have no provided buffers",
            way_out: "a newer kernel",
            command: "uname -r",
            sysctl: None,
        });
    }
    let disabled = facts.sysctl("kernel.io_uring_disabled").unwrap_or_default();
    let may_all_the_same = facts.has_capability(CAP_SYS_ADMIN) == Some(true) || is_in_group(facts);
    if disabled == "2" || disabled == "1" && !may_all_the_same {
        all.push(Restriction {
            what: match disabled.as_str() {
                "2" => "kernel.io_uring_disabled = 2: for nobody",
                _ => {
                    "kernel.io_uring_disabled = 1: only for CAP_SYS_ADMIN and the group of \
                      kernel.io_uring_group"
                }
            },
            way_out: "0, or 1 with kernel.io_uring_group set to the group that tlsgate runs as",
            command: "",
            sysctl: Some(("kernel.io_uring_disabled", "0")),
        });
    }
    // A gateway that runs has a filter of its own, from after its rings were made.
    let is_own = facts.process != "self";
    if !is_own && facts.status("Seccomp").as_deref() == Some("2") {
        all.push(Restriction {
            what: "a seccomp filter is on this process",
            way_out: "io_uring_setup, io_uring_enter and io_uring_register in the filter",
            command: "SystemCallFilter=@system-service io_uring_setup io_uring_enter \
                      io_uring_register in the unit; in a container, --security-opt seccomp=FILE \
                      (tuning/container)",
            sysctl: None,
        });
    }
    all
}

/// Whether one of the process's groups is that of kernel.io_uring_group; -1 is nobody's.
fn is_in_group(facts: &Facts<'_>) -> bool {
    let Some(group) = facts.sysctl("kernel.io_uring_group") else { return false };
    let own = ["Gid", "Groups"].into_iter().filter_map(|field| facts.status(field));
    own.collect::<Vec<_>>().iter().any(|ids| ids.split_whitespace().any(|id| id == group))
}
