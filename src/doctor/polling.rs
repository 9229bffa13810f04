//! CPUs for latency: those of the kernel's threads that submit for workers.

use super::facts::{Cpus, Facts, show};
use super::finding::{Finding, Level, Verdict};
use super::needs::Needs;
use super::system;
use crate::config::model::EngineChoice;

const SHARED: &str = "a thread that polls never gives its CPU away: what shares it waits for the end of the \
                      scheduler's slice, some milliseconds, at each message";

/// `sqpoll` and `busy_poll`.
pub(super) fn cpus(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let polling = &needs.polling;
    if polling.words().is_empty() || needs.engine == EngineChoice::Epoll {
        return Finding::ok("not wanted").alone();
    }
    let allowed = facts.allowed().or_else(|| facts.online()).unwrap_or_default();
    let all: Vec<u32> = allowed.iter().copied().collect();
    let threads = match polling.places(&all, needs.workers) {
        Ok(places) => places.into_iter().collect::<Cpus>(),
        Err(why) => {
            return Finding::new(Level::Failure, why)
                .advise(format!("workers = {}, or more CPUs", (all.len() / 2).max(1)))
                .why("without them the gateway does not start")
                .command("workers = N in [gateway], or CPUAffinity= in the unit")
                .alone();
        }
    };
    let workers: Cpus = all.into_iter().take(needs.workers).collect();
    let found = format!("workers on CPU {}, sqpoll on CPU {}", show(&workers), show(&threads));
    let foreign: Cpus = threads.difference(&allowed).copied().collect();
    let shared: Cpus = threads.intersection(&workers).copied().collect();
    let mut findings = Vec::new();
    if !foreign.is_empty() {
        findings.push(
            Finding::new(Level::Failure, format!("{found}; CPU {} is not allowed", show(&foreign)))
                .advise(format!("some of CPU {}", show(&allowed)))
                .why("the kernel refuses the ring, and the gateway does not start")
                .command("sqpoll_cpus = [...] in [gateway], or CPUAffinity= in the unit"),
        );
    }
    if !shared.is_empty() {
        findings.push(
            Finding::new(Level::Warning, format!("{found}; both on CPU {}", show(&shared)))
                .advise("a CPU for each")
                .why(SHARED)
                .command("sqpoll_cpus = [...] in [gateway], or fewer workers"),
        );
    }
    if polling.busy_poll.is_some() && system::version(facts).is_some_and(|it| it < (6, 9)) {
        findings.push(
            Finding::new(
                Level::Advice,
                "a kernel before Linux 6.9, which does not poll cards for a ring",
            )
            .advise("a newer kernel")
            .why("workers look for news all the same, which comes by the card's interrupts")
            .command("uname -r"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(found));
    }
    Ok(findings)
}
