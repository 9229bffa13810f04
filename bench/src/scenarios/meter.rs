//! What a server uses, over all processes that it has in a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use tlsgate_bench::procstat;

use crate::measure::sample::busy_time;

/// What was used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Used {
    /// CPU time, of all threads, in user mode and in the kernel.
    pub(crate) cpu: Duration,
    /// How long that took.
    pub(crate) wall: Duration,
    /// Bytes that were resident, at most.
    pub(crate) resident: u64,
    /// Part of the time in which the server's CPU was busy with something else.
    pub(crate) foreign_share: f64,
}

/// Looks at processes from time to time.
pub(super) struct Meter {
    began: Instant,
    /// What had been used before, and how long the CPU had been busy.
    before: [Duration; 2],
    on: usize,
    used: BTreeMap<u32, Duration>,
    resident: u64,
}

impl Meter {
    /// Begins with these processes on this CPU.
    ///
    /// # Errors
    /// When the kernel does not say what CPUs do.
    pub(super) fn new(pids: &[u32], on: usize) -> Result<Self, String> {
        let (began, before) = (Instant::now(), [Duration::ZERO, busy_time(on)?]);
        let mut meter = Self { began, before, on, used: BTreeMap::new(), resident: 0 };
        meter.look(pids);
        meter.before[0] = meter.cpu();
        Ok(meter)
    }

    /// Takes note of what processes have used. What one that has ended has used since the last look is
    /// not seen.
    pub(super) fn look(&mut self, pids: &[u32]) {
        let mut resident = 0;
        for pid in pids {
            if let Ok(usage) = procstat::cpu_time(*pid) {
                let known = self.used.entry(*pid).or_default();
                // Threads that have ended are not in it.
                *known = usage.on_cpu.max(*known);
            }
            resident += procstat::resident(*pid).unwrap_or(0);
        }
        self.resident = self.resident.max(resident);
    }

    /// What was used up to now.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn total(&self) -> Result<Used, String> {
        let (cpu, wall) = (self.cpu() - self.before[0], self.began.elapsed());
        let busy = busy_time(self.on)?.saturating_sub(self.before[1]).saturating_sub(cpu);
        let foreign_share = busy.as_secs_f64() / wall.as_secs_f64();
        Ok(Used { cpu, wall, resident: self.resident, foreign_share })
    }

    fn cpu(&self) -> Duration {
        self.used.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::affinity;

    #[test]
    fn work_counts_from_the_first_look_on_and_stays_when_its_process_has_gone() {
        let own = std::process::id();
        let mut meter = Meter::new(&[own], affinity::some_cpu()).expect("begun");
        let before = meter.total().expect("a total").cpu;
        while meter.total().expect("a total").cpu < before + Duration::from_millis(20) {
            meter.look(&[own]);
        }
        meter.look(&[u32::MAX]);
        let used = meter.total().expect("a total");
        assert!(used.cpu >= Duration::from_millis(20) && used.resident > 1 << 20, "{used:?}");
    }
}
