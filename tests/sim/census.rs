//! The audit: everybody who got through a handshake, or needed none, is in it, once.

use std::sync::mpsc::Receiver;

use tlsgate::audit::ShardCensus;

use crate::outside::World;
use crate::run::{Books, Run};

pub(crate) fn check(world: &World, books: &Books, run: &Run, findings: &mut Vec<String>) {
    let known = run.finishes.iter().filter(|finish| finish.outcome.downstream_security.is_some());
    let (seen, open) = sums(&books.census);
    for (what, told, expected) in
        [("connections", seen, known.count() as u64), ("open connections", open, 0)]
    {
        if told != expected {
            findings.push(format!("the audit knows {told} {what}, and not {expected}"));
        }
    }
    for (census, live) in world.given.iter().filter_map(|given| given.answers.as_ref()) {
        // A shard that had ended answers nothing.
        let answers = census.try_recv().ok().zip(Receiver::try_recv(live).ok());
        let Some((census, live)) = answers else { continue };
        let (_, open) = sums(&census);
        let settled = live.iter().filter(|one| one.downstream.is_some()).count() as u64;
        if open > settled {
            findings.push(format!("the audit has {open} open connections of {settled}"));
        }
    }
}

/// Connections, and those that are open.
fn sums(census: &ShardCensus) -> (u64, u64) {
    let rows = census.pairs.iter();
    let (seen, open) = rows
        .fold((0, 0), |(seen, open), (_, counts)| (seen + counts.connections, open + counts.open));
    let others = census.others;
    (seen + others.lumped.connections + others.evicted_connections, open + others.lumped.open)
}
