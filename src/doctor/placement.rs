//! What is near to what: nodes of memory, network cards, and who handles their interrupts.

use super::facts::{Cpus, Facts, cpu_list, cpu_mask, show};
use super::finding::{Finding, Level, Verdict};
use super::needs::Needs;

const REMOTE: &str = "memory of another node takes 1.5 to 2 times as long (ACPI SLIT 20 or 21 \
                      against 10), and each message is touched by card, kernel and worker";

/// Workers on several nodes.
pub(super) fn nodes(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let nodes = facts.nodes();
    let with_cpus: Vec<_> = nodes.iter().filter(|(_, cpus)| !cpus.is_empty()).collect();
    match with_cpus[..] {
        [] => return Err("there is no topology of nodes".to_owned()),
        [_] => return Finding::ok("one node").alone(),
        _ => {}
    }
    let used = used(facts, needs);
    let crossed: Vec<_> = with_cpus.iter().filter(|(_, cpus)| !cpus.is_disjoint(&used)).collect();
    let found = format!("workers on {} of {} nodes", crossed.len(), with_cpus.len());
    let [(first, cpus), _, ..] = &crossed[..] else { return Finding::ok(found).alone() };
    let near = cards_of(facts).into_iter().find_map(|(_, node)| node);
    let (node, cpus) = match near.and_then(|near| nodes.iter().find(|(node, _)| *node == near)) {
        Some((node, cpus)) => (node, cpus),
        None => (first, cpus),
    };
    if needs.workers > cpus.len() {
        // One node is not enough for them.
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Advice, found)
        .advise(format!("all on node {node}, CPUs {}", show(cpus)))
        .why(REMOTE)
        .command(format!(
            "NUMAPolicy=bind, NUMAMask={node} and CPUAffinity={} in the unit",
            show(cpus)
        ))
        .alone()
}

/// The kernel's own moving of pages.
pub(super) fn balancing(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let Some(value) = facts.sysctl("kernel.numa_balancing") else {
        return Err("this kernel has none".to_owned());
    };
    if value == "0" || facts.nodes().len() < 2 {
        return Finding::ok(value).alone();
    }
    Finding::new(Level::Advice, value)
        .advise("0")
        .why(
            "pages are unmapped now and then to see who uses them: faults, for threads that are \
             pinned and stay where their memory is (sysctl/kernel, numa_balancing)",
        )
        .sysctl("kernel.numa_balancing", "0")
        .alone()
}

/// Interrupts of network cards: near the card, and spread.
pub(super) fn interrupts(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let nodes = facts.nodes();
    let mut findings = Vec::new();
    for (card, node) in cards_of(facts) {
        let interrupts = interrupts_of(facts, &card);
        if interrupts.is_empty() {
            continue;
        }
        let handlers: Cpus = interrupts.iter().flat_map(|(_, cpus)| cpus.clone()).collect();
        let found = format!("{card}: {} interrupts on CPU {}", interrupts.len(), show(&handlers));
        let near = node.and_then(|node| nodes.iter().find(|(number, _)| *number == node));
        let near = near.filter(|_| nodes.len() > 1);
        let first = interrupts[0].0;
        if let Some((node, cpus)) = near.filter(|(_, cpus)| !handlers.is_subset(cpus)) {
            findings.push(
                Finding::new(Level::Warning, format!("{found}; the card is on node {node}"))
                    .advise(format!("CPU {} for all of them", show(cpus)))
                    .why(REMOTE)
                    .command(format!(
                        "echo {} >/proc/irq/{first}/smp_affinity_list, and so for each",
                        show(cpus)
                    )),
            );
        } else if handlers.len() == 1 && interrupts.len() > 2 && needs.workers > 1 {
            findings.push(
                Finding::new(Level::Advice, found)
                    .advise("one CPU for each queue")
                    .why(
                        "one CPU takes in what all workers wait for: it is full long before they \
                         are",
                    )
                    .command(format!("echo N >/proc/irq/{first}/smp_affinity_list, another CPU for each; or irqbalance")),
            );
        } else {
            findings.push(Finding::ok(found));
        }
    }
    match findings.is_empty() {
        true => Err("no card whose interrupts are known".to_owned()),
        false => Ok(findings),
    }
}

/// Queues for receiving, in the card (RSS) or by the kernel (RPS).
pub(super) fn queues(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let mut findings = Vec::new();
    for card in facts.cards() {
        let folder = format!("/sys/class/net/{card}/queues");
        let queues = facts.tree.names(&folder).into_iter().filter(|name| name.starts_with("rx-"));
        let queues: Vec<String> = queues.collect();
        if queues.is_empty() {
            continue;
        }
        let steered: Cpus = queues
            .iter()
            .filter_map(|queue| cpu_mask(&facts.text(&format!("{folder}/{queue}/rps_cpus"))?))
            .flatten()
            .collect();
        let spread = queues.len().max(steered.len());
        let found = match steered.len() {
            0 => format!("{card}: {} queue(s)", queues.len()),
            _ => format!("{card}: {} queue(s), spread over CPU {}", queues.len(), show(&steered)),
        };
        if spread >= needs.workers.min(ENOUGH_QUEUES) {
            findings.push(Finding::ok(found));
            continue;
        }
        let mask = (1u64 << needs.workers.min(63)) - 1;
        findings.push(
            Finding::new(Level::Advice, found)
                .advise(format!("{} queues, or RPS over as many CPUs", needs.workers.min(ENOUGH_QUEUES)))
                .why(
                    "TCP's receiving side runs on the CPU that a queue's interrupt comes to; with one \
                     queue that is one CPU for all workers (networking/scaling)",
                )
                .command(format!(
                    "ethtool -L {card} combined {}, or echo {mask:x} >{folder}/rx-0/rps_cpus",
                    needs.workers.min(ENOUGH_QUEUES)
                )),
        );
    }
    match findings.is_empty() {
        true => Err("there is no network card".to_owned()),
        false => Ok(findings),
    }
}

/// CPUs that workers are pinned to: the first that are allowed.
fn used(facts: &Facts<'_>, needs: &Needs) -> Cpus {
    let allowed = facts.allowed().or_else(|| facts.online()).unwrap_or_default();
    allowed.into_iter().take(needs.workers).collect()
}

/// Network cards, each with its node; -1 is a device that is near to none.
fn cards_of(facts: &Facts<'_>) -> Vec<(String, Option<u32>)> {
    let node = |card: &str| {
        let mut nodes = DEVICE
            .iter()
            .filter_map(|folder| facts.text(&format!("/sys/class/net/{card}/{folder}/numa_node")));
        nodes.next()?.parse().ok()
    };
    facts.cards().into_iter().map(|card| (card.clone(), node(&card))).collect()
}

/// Interrupts of a card, each with the CPUs that handle it.
fn interrupts_of(facts: &Facts<'_>, card: &str) -> Vec<(u32, Cpus)> {
    let names =
        |folder: &str| facts.tree.names(&format!("/sys/class/net/{card}/{folder}/msi_irqs"));
    let names = DEVICE.iter().map(|folder| names(folder)).find(|names| !names.is_empty());
    let numbers = names.unwrap_or_default().into_iter().filter_map(|name| name.parse().ok());
    let handlers = |number: u32| {
        // What is in effect, and on older kernels what is allowed.
        let effective = format!("/proc/irq/{number}/effective_affinity_list");
        let text = facts.text(&effective).filter(|text| !text.is_empty());
        let text = text.or_else(|| facts.text(&format!("/proc/irq/{number}/smp_affinity_list")));
        Some((number, cpu_list(&text?)?))
    };
    numbers.filter_map(handlers).filter(|(_, cpus)| !cpus.is_empty()).collect()
}

/// Where a card's device is; that of a virtual one (virtio) is in the folder of its PCI device.
const DEVICE: [&str; 2] = ["device", "device/.."];
/// Queues beyond which receiving is not what is short.
const ENOUGH_QUEUES: usize = 16;
