//! What each thread of a run does of the whole.

use std::net::SocketAddr;

use super::plan::Plan;

/// The part of a plan that falls to one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Of the thread among those of its flow, below `threads`.
    pub(super) number: usize,
    /// All that the flow has.
    pub(super) threads: usize,
    /// Of the thread among those of all flows.
    pub(super) desk: usize,
    /// Its connections.
    pub(super) connections: usize,
    /// The number of the first of them among those of the flow.
    pub(super) first: usize,
    /// Operations that it may start; any number when none.
    pub(super) count: Option<u64>,
    /// What it is pinned to.
    pub(super) cpu: Option<usize>,
    /// Where it connects.
    pub(super) target: SocketAddr,
}

impl Share {
    /// The share of thread `number`, below `plan.threads`, with `desk`; threads of all flows take `targets`
    /// in turn, and CPUs.
    pub(super) fn of(plan: &Plan, targets: &[SocketAddr], number: usize, desk: usize) -> Self {
        let (threads, concurrency) = (plan.threads, plan.pace.concurrency());
        let split = |whole: u64| {
            let (threads, number) = (threads as u64, number as u64);
            whole / threads + u64::from(number < whole % threads)
        };
        let connections = concurrency / threads + usize::from(number < concurrency % threads);
        let first = concurrency / threads * number + number.min(concurrency % threads);
        let cpu = plan.cpus.get(desk % plan.cpus.len().max(1)).copied();
        let target = targets.get(desk % targets.len().max(1)).copied().unwrap_or(plan.target);
        let count = plan.stop.count.map(split);
        Self { number, threads, desk, connections, first, count, cpu, target }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::{Pace, Stop, Workload};

    const TICK: Duration = Duration::from_millis(50);

    #[test]
    fn shares_add_up_to_the_plan() {
        let plan = Plan {
            target: "127.0.0.1:1".parse().expect("an address"),
            tls: None,
            workload: Workload::Handshakes { resumed: 0.0 },
            pace: Pace::Closed { concurrency: 10 },
            stop: Stop { after: TICK, count: Some(101) },
            timeout: TICK,
            threads: 4,
            cpus: vec![7, 8],
        };
        let shares: Vec<Share> =
            (0..4).map(|number| Share::of(&plan, &[], number, number)).collect();
        let connections: Vec<usize> = shares.iter().map(|share| share.connections).collect();
        assert_eq!(connections, [3, 3, 2, 2]);
        let first: Vec<usize> = shares.iter().map(|share| share.first).collect();
        assert_eq!(first, [0, 3, 6, 8]);
        assert_eq!(shares.iter().filter_map(|share| share.count).sum::<u64>(), 101);
        assert_eq!(
            shares.iter().map(|share| share.cpu).collect::<Vec<_>>(),
            [Some(7), Some(8), Some(7), Some(8)]
        );
        let targets = ["127.0.0.1:2", "127.0.0.1:3"].map(|text| text.parse().expect("an address"));
        let target = |desk| Share::of(&plan, &targets, 0, desk).target.port();
        assert_eq!([0, 1, 2, 3].map(target), [2, 3, 2, 3]);
        assert_eq!(shares[3].target, plan.target);
        assert_eq!(Share::of(&Plan { cpus: Vec::new(), ..plan }, &[], 1, 1).cpu, None);
    }
}
