//! CPU time that is spent to answer sooner.

use std::time::Duration;

/// `sqpoll`, `sqpoll_cpus` and `busy_poll`: for io_uring alone, and nothing of it by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polling {
    /// Each worker has a thread of the kernel that submits for it, and sleeps after so long without work.
    pub sqpoll: Option<Duration>,
    /// CPUs of these threads, in turn; none are those behind the workers' own.
    pub sqpoll_cpus: Vec<u32>,
    /// How long a worker looks for news before it sleeps.
    pub busy_poll: Option<Duration>,
}

impl Polling {
    /// How many workers there are on so many CPUs where nobody says: a thread that polls has a CPU of
    /// its own.
    pub fn workers_on(&self, cpus: usize) -> usize {
        let left = match (self.sqpoll, self.sqpoll_cpus.len()) {
            (None, _) => cpus,
            (Some(_), 0) => cpus / 2,
            (Some(_), named) => cpus.saturating_sub(named),
        };
        left.max(1)
    }

    /// The CPU of each worker's polling thread, where workers have the first of `cpus`; none without
    /// `sqpoll`.
    ///
    /// # Errors
    /// When there are not enough, and nobody has said that they be shared; a sentence.
    pub fn places(&self, cpus: &[u32], workers: usize) -> Result<Vec<u32>, String> {
        if self.sqpoll.is_none() {
            return Ok(Vec::new());
        }
        if !self.sqpoll_cpus.is_empty() {
            return Ok(self.sqpoll_cpus.iter().copied().cycle().take(workers).collect());
        }
        match cpus.get(workers..2 * workers) {
            Some(behind) => Ok(behind.to_vec()),
            None => Err(format!(
                "sqpoll needs a CPU for each worker besides its own: {} CPU(s), {workers} worker(s). \
                 Lower workers, or name CPUs in sqpoll_cpus, which are shared then",
                cpus.len()
            )),
        }
    }

    /// What is on, for the log; empty where nothing is.
    pub fn words(&self) -> String {
        let sqpoll = self.sqpoll.map(|_| "threads of the kernel submit (sqpoll)".to_owned());
        let busy = self.busy_poll.map(|busy| format!("busy polling for {busy:?}"));
        sqpoll.into_iter().chain(busy).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polling(sqpoll_cpus: &[u32]) -> Polling {
        let sqpoll_cpus = sqpoll_cpus.to_vec();
        Polling { sqpoll: Some(Duration::from_secs(1)), sqpoll_cpus, busy_poll: None }
    }

    #[test]
    fn a_thread_that_polls_has_a_cpu_of_its_own() {
        let none = Polling::default();
        assert_eq!((none.workers_on(4), none.places(&[0], 4)), (4, Ok(Vec::new())));
        let cpus = [0, 1, 4, 5];
        let behind = polling(&[]);
        assert_eq!([1, 2, 4, 5].map(|cpus| behind.workers_on(cpus)), [1, 1, 2, 2]);
        assert_eq!(behind.places(&cpus, 2), Ok(vec![4, 5]));
        let error = behind.places(&cpus, 3).expect_err("six are needed");
        assert!(error.contains("4 CPU(s), 3 worker(s)"), "{error}");
    }

    #[test]
    fn cpus_that_are_named_are_shared() {
        let named = polling(&[7, 6]);
        assert_eq!([1, 2, 8].map(|cpus| named.workers_on(cpus)), [1, 1, 6]);
        assert_eq!(named.places(&[0], 3), Ok(vec![7, 6, 7]));
    }
}
