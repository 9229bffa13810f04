//! How fast a CPU is right now: a fixed piece of work, timed. A virtual machine's neighbours make
//! it up to twice as slow from one second to the next, and nothing else shows it.

use std::time::Duration;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustix::time::{ClockId, clock_gettime};

use super::affinity;

/// How long one look takes of the CPU.
const LENGTH: Duration = Duration::from_millis(20);

/// Signs with a P-256 key on one CPU.
pub(crate) struct Probe {
    cpu: usize,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Probe {
    /// # Errors
    /// When there is no randomness for a key.
    pub(crate) fn new(cpu: usize) -> Result<Self, String> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let no_key = "cannot make a key for the speed probe";
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| no_key)?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random);
        Ok(Self { cpu, key: key.map_err(|_| no_key)?, random })
    }

    /// Signatures per second of CPU time, now: a server that still clears up behind a load shares the CPU,
    /// and does not make it slower.
    ///
    /// # Errors
    /// When it may not run there, or signing fails.
    pub(crate) fn speed(&self) -> Result<f64, String> {
        affinity::on(self.cpu, || {
            let start = used();
            let mut count = 0.0;
            while used().saturating_sub(start) < LENGTH {
                self.key.sign(&self.random, b"speed").map_err(|_| "the speed probe cannot sign")?;
                count += 1.0;
            }
            Ok(count / used().saturating_sub(start).as_secs_f64())
        })
    }
}

/// CPU time of this thread.
pub(crate) fn used() -> Duration {
    // Negative in no case: it counts from 0.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_is_there_has_a_speed_and_others_have_none() {
        let probe = Probe::new(affinity::some_cpu()).expect("a key");
        assert!(probe.speed().expect("a speed") > 10.0);
        let nowhere = Probe { cpu: rustix::thread::CpuSet::MAX_CPU, ..probe };
        assert!(nowhere.speed().expect_err("no such CPU").contains("CPU"));
    }
}
