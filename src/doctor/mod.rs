//! Whether the machine is fit for what a configuration and a profile ask of it.
//!
//! Facts go in, findings come out: each check is a function of texts that the kernel shows
//! ([`Facts`]) and of what is asked ([`Needs`]). So a check of memory nodes runs on a machine that
//! has one node, from recorded files. `read` is the edge.

mod facts;
mod files;
mod finding;
mod fix;
mod limits;
mod needs;
mod network;
mod placement;
mod polling;
mod processor;
mod profile;
mod read;
mod ring;
mod sandbox;
mod sysctl;
mod system;
#[cfg(test)]
mod tests;

pub use facts::{Facts, Live, Tree};
pub use finding::{Finding, Fix, Level, Report, Unchecked};
pub use fix::{Written, files as fixes};
pub use needs::Needs;
pub use profile::{PROFILES, Profile, Setting};
pub use read::{Root, live, look_up, named_files};

use finding::Verdict;

/// Looks at everything. Findings are those of all checks, the worst first.
pub fn examine(facts: &Facts<'_>, needs: &Needs) -> Report {
    let mut report = Report::default();
    let checks = CHECKS.iter().map(|(name, check)| (*name, check(facts, needs)));
    let rules = sysctl::RULES.iter().map(|rule| (rule.key, sysctl::judge(rule, facts, needs)));
    for (check, verdict) in checks.chain(rules) {
        match verdict {
            Ok(findings) => {
                report.checks += 1;
                report.findings.extend(findings.into_iter().map(|it| Finding { check, ..it }));
            }
            Err(why) => report.unchecked.push(Unchecked { check, why }),
        }
    }
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    report
}

type Check = fn(&Facts<'_>, &Needs) -> Verdict;

/// Every check but those of single settings ([`sysctl::RULES`]).
const CHECKS: &[(&str, Check)] = &[
    ("open_files", limits::open_files),
    ("file_max", limits::file_max),
    ("locked_memory", limits::locked_memory),
    ("core_dumps", limits::core_dumps),
    ("memory", limits::memory),
    ("low_ports", limits::low_ports),
    ("client_sources", limits::client_sources),
    ("io_uring", ring::availability),
    ("sandbox", sandbox::parts),
    ("kernel", system::kernel),
    ("kernel_tls", system::kernel_tls),
    ("clock", system::clock),
    ("clock_source", system::clock_source),
    ("entropy", system::entropy),
    ("huge_pages", system::huge_pages),
    ("swap", system::swap),
    ("affinity", processor::affinity),
    ("cpu_quota", processor::quota),
    ("cpu_aes", processor::aes),
    ("cpu_wide_aes", processor::wide_aes),
    ("cpu_multiplication", processor::multiplication),
    ("cpu_sha", processor::sha),
    ("polling", polling::cpus),
    ("frequency", processor::frequency),
    ("siblings", processor::siblings),
    ("numa_nodes", placement::nodes),
    ("numa_balancing", placement::balancing),
    ("interrupts", placement::interrupts),
    ("receive_queues", placement::queues),
    ("local_ports", network::local_ports),
    ("reserved_ports", network::reserved_ports),
    ("congestion_control", network::congestion_control),
    ("accept_queues", network::accept_queues),
    ("receiving", network::receiving),
    ("connection_tracking", network::connection_tracking),
    ("certificates", files::certificates),
    ("certificate_authorities", files::authorities),
    ("revocation_lists", files::revocation_lists),
    ("private_keys", files::private_keys),
    ("upstream_names", files::names),
    ("resolver", files::resolver),
];
