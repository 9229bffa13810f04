//! Which engine runs, on how many workers, and where the kernel's threads that submit for them are.

use super::default_count;
use crate::config::model::Gateway;
use crate::engine::probe::{self, Chosen, EngineKind};
use crate::engine::uring::{Polling, Submitter};

/// The engine, and what each worker spends for latency: the reason says whether it can.
///
/// # Errors
/// When the engine cannot be had, or there are not enough CPUs; a sentence.
pub(super) fn choose(gateway: &Gateway) -> Result<(Chosen, Vec<Polling>), String> {
    let mut chosen = probe::choose(gateway.engine)?;
    let wanted = &gateway.polling;
    let is_possible = chosen.engine == EngineKind::Uring;
    let words = wanted.words();
    if !words.is_empty() {
        let not = if is_possible { "" } else { "not: " };
        chosen.reason = format!("{}; {not}{words}", chosen.reason);
    }
    let said = gateway.workers.map(usize::from);
    if !is_possible {
        let count = said.unwrap_or_else(default_count);
        return Ok((chosen, vec![Polling::default(); count]));
    }
    let count = said.unwrap_or_else(|| wanted.workers_on(default_count()));
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let cpus: Vec<u32> = cores.iter().filter_map(|core| core.id.try_into().ok()).collect();
    let places = wanted.places(&cpus, count)?;
    let of = |worker: usize| Polling {
        submitter: wanted.sqpoll.map(|idle| Submitter { cpu: places.get(worker).copied(), idle }),
        busy: wanted.busy_poll.unwrap_or_default(),
    };
    Ok((chosen, (0..count).map(of).collect()))
}
