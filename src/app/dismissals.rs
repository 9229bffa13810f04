//! Connections that operators have end: what was ordered, and how far it is.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Gateway;
use crate::conn::Farewell;
use crate::shard::dismiss::Dismissal;
use crate::shard::filter::Filter;
use crate::shard::mailbox::Command;
use crate::shard::pace::Pace;

/// What was ordered lately, the newest last.
#[derive(Debug, Default)]
pub(super) struct Dismissals {
    count: u64,
    known: VecDeque<Ordered>,
}

#[derive(Debug)]
struct Ordered {
    number: u64,
    farewell: Farewell,
    rate: Option<NonZeroU32>,
    dismissal: Arc<Dismissal>,
    /// Shards that could not be told.
    missed: u32,
}

/// How far one is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DismissalRow {
    pub number: u64,
    /// Which connections, in words.
    pub connections: String,
    pub farewell: Farewell,
    /// A second; none is as many as can.
    pub rate: Option<NonZeroU32>,
    /// Connections that were open when it was ordered.
    pub meant: u64,
    /// Those of them that it has ended; others end by themselves.
    pub ended: u64,
    /// Workers that are not through with it.
    pub workers_busy: u32,
    /// Workers that were too busy to be told.
    pub workers_missing: u32,
}

impl Gateway {
    /// Has the connections end that `filter` means, from now on, and returns how far that is.
    ///
    /// # Errors
    /// When it means all of them, or too many are under way.
    pub(super) fn dismiss(
        &mut self,
        filter: Filter,
        farewell: Farewell,
        (rate, jitter): (Option<NonZeroU32>, u8),
    ) -> Result<DismissalRow, String> {
        if filter.is_empty() {
            return Err("say which connections: all of them end with the process".to_owned());
        }
        let known = &mut self.dismissals.known;
        if known.iter().filter(|one| one.dismissal.progress().busy > 0).count() >= MOST_BUSY {
            return Err(format!("{MOST_BUSY} drains are under way: wait, or call one off"));
        }
        let pace = rate.map(|rate| Pace::new(rate, jitter));
        let shards = u32::try_from(self.workers.len()).expect("a worker is a thread");
        let dismissal = Arc::new(Dismissal::new(filter, farewell, pace, shards));
        let mut missed = 0;
        for worker in &self.workers {
            if !worker.send(Command::Dismiss(dismissal.part())) {
                missed += 1;
            }
        }
        let dismissals = &mut self.dismissals;
        dismissals.count += 1;
        let ordered = Ordered { number: dismissals.count, farewell, rate, dismissal, missed };
        let row = ordered.row();
        dismissals.known.push_back(ordered);
        if dismissals.known.len() > MOST_KNOWN {
            // Those that are busy are fewer.
            let over = dismissals.known.iter().position(|one| one.dismissal.progress().busy == 0);
            over.and_then(|over| dismissals.known.remove(over));
        }
        Ok(row)
    }

    /// How far this one is, or all that are known.
    pub(super) fn dismissals(&self, number: Option<u64>) -> Vec<DismissalRow> {
        let known = self.dismissals.known.iter();
        known
            .filter(|one| number.is_none_or(|number| one.number == number))
            .map(Ordered::row)
            .collect()
    }

    /// Nobody else goes of this one.
    ///
    /// # Errors
    /// When it is not known.
    pub(super) fn call_off(&self, number: u64) -> Result<DismissalRow, String> {
        let known = self.dismissals.known.iter().find(|one| one.number == number);
        let ordered = known.ok_or_else(|| format!("no drain or close has number {number}"))?;
        ordered.dismissal.call_off();
        Ok(ordered.row())
    }
}

impl Ordered {
    fn row(&self) -> DismissalRow {
        let progress = self.dismissal.progress();
        DismissalRow {
            number: self.number,
            connections: self.dismissal.filter().to_string(),
            farewell: self.farewell,
            rate: self.rate,
            meant: progress.meant,
            ended: progress.ended,
            workers_busy: progress.busy,
            workers_missing: self.missed,
        }
    }
}

/// Under way at the same time.
const MOST_BUSY: usize = 8;
/// Kept to be told of.
const MOST_KNOWN: usize = 32;
