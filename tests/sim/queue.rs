//! Nobody is left in an accept queue while there is room.

use std::collections::BTreeMap;
use std::time::Duration;

use tlsgate::engine::ListenerId;
use tlsgate::engine::sim::network::WireId;
use tlsgate::engine::sim::trace::What;
use tlsgate::time::Time;

use crate::outside::Given;
use crate::plan::{Order, Plan};
use crate::run::Run;

/// Adds to `findings` what the trace of `run` shows; true when an accept failed because a peer had
/// left, while there was no room for others. `given` are the orders that were given.
pub(crate) fn check(plan: &Plan, given: &[Given], run: &Run, findings: &mut Vec<String>) -> bool {
    let mut aborted_when_full = false;
    let mut given = given.iter().peekable();
    let mut finishes = run.finishes.iter().peekable();
    let mut waiting: BTreeMap<WireId, Time> = BTreeMap::new();
    let (mut open, mut others) = (0, 0);
    // Whether the shard has paused accepting, and was resuming it in the entry before. Room that
    // other shards have taken it does not know of before.
    let (mut paused, mut resumed) = (false, false);
    // A listener that was opened, in the entry before, while accepting pauses.
    let mut opened: Option<ListenerId> = None;
    // The last time that there was a reason to let peers wait.
    let mut full = Time::ZERO;
    for (position, entry) in run.trace.iter().enumerate() {
        while let Some(given) = given.next_if(|given| given.position <= position) {
            match given.order {
                Order::OthersCome(count) => others += count,
                Order::OthersGo(count) => others -= count,
                _ => {}
            }
        }
        let is_full = open >= plan.capacity || open + others >= plan.max_connections;
        if is_full {
            full = entry.at;
        }
        let resumes = matches!(entry.what, What::DoResume { .. });
        let ends = finishes.next_if(|finish| finish.position == position).is_some();
        // What ends a connection also resumes, just before that is told.
        if resumed && !resumes {
            paused = false;
            if is_full && !ends {
                findings.push(format!("accepts at {:?} though there is no room", entry.at));
            }
        }
        if let Some(listener) = opened.take()
            && entry.what != (What::DoPause { listener })
        {
            findings.push(format!("{listener:?} accepts at {:?} while others pause", entry.at));
        }
        open -= u32::from(ends);
        resumed = paused && resumes;
        match &entry.what {
            What::Queued { wire } => drop(waiting.insert(*wire, entry.at)),
            What::DoAdopt { .. } => open += 1,
            What::DoPause { .. } => paused = true,
            What::DoListen { listener, .. } if paused => opened = Some(*listener),
            What::GotAcceptFailed { errno, .. } => {
                full = entry.at;
                aborted_when_full |= is_full && paused && *errno == libc::ECONNABORTED;
            }
            What::GotAccepted { wire, .. } => {
                let since = waiting.remove(wire).unwrap_or(entry.at).max(full);
                if entry.at > since + LONG {
                    let waited = entry.at - since;
                    findings.push(format!("{wire:?} waited for {waited:?} though there was room"));
                }
            }
            _ => {}
        }
    }
    aborted_when_full
}

/// More than accepting pauses, and than a slow kernel needs for all that wait.
const LONG: Duration = Duration::from_secs(8);
