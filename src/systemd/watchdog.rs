//! The watchdog: the service manager restarts a service that has stopped saying that it is alive.
//!
//! It is told only while every shard answers, so that a shard that hangs is a reason to restart.

use std::env;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::notify::{Notifier, State};

/// Owner of the thread that reports; ends it when dropped.
#[derive(Debug)]
pub struct Watchdog {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// How often the service manager that the environment names wants a sign of life; `None` if it
    /// does not, or if it wants that of another process.
    pub fn interval() -> Option<Duration> {
        let read = |name| env::var(name).ok();
        interval(read("WATCHDOG_USEC").as_deref(), read("WATCHDOG_PID").as_deref())
    }

    /// Asks `is_alive` twice in each `interval`, and passes a yes on. It may block for as long as
    /// shards are given to answer.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(
        interval: Duration,
        notifier: Arc<Notifier>,
        is_alive: impl Fn() -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let thread = Builder::new().name("watchdog".to_owned()).spawn(move || {
            let mut was_alive = true;
            loop {
                let alive = is_alive();
                if alive {
                    notifier.tell(&[State::Watchdog]);
                } else if was_alive {
                    tracing::error!("a worker does not answer: the watchdog is not told so");
                }
                was_alive = alive;
                if stopped.recv_timeout(interval / 2) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Closing the channel is the word to stop.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watchdog's thread panicked");
        }
    }
}

fn interval(microseconds: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(std::process::id())) {
        return None;
    }
    let interval = Duration::from_micros(microseconds?.parse().ok()?);
    (!interval.is_zero()).then_some(interval)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_interval_is_that_of_this_process() {
        let own = std::process::id().to_string();
        let second = Some(Duration::from_secs(1));
        assert_eq!(interval(Some("1000000"), None), second);
        assert_eq!(interval(Some("1000000"), Some(&own)), second);
        for (microseconds, pid) in [
            (Some("1000000"), Some("1")),
            (Some("1000000"), Some("none")),
            (Some("0"), None),
            (Some("soon"), None),
            (None, None),
        ] {
            assert_eq!(interval(microseconds, pid), None, "{microseconds:?} {pid:?}");
        }
    }

    #[test]
    fn it_asks_again_and_again_and_ends_with_its_owner() {
        let asked = Arc::new(AtomicU32::new(0));
        let dead = Arc::new(AtomicBool::new(false));
        let (count, answer) = (Arc::clone(&asked), Arc::clone(&dead));
        let watchdog =
            Watchdog::start(Duration::from_millis(4), Arc::new(Notifier::none()), move || {
                count.fetch_add(1, Ordering::Relaxed);
                !answer.load(Ordering::Relaxed)
            })
            .expect("a thread");
        let wait_for = |more: u32| {
            let wanted = asked.load(Ordering::Relaxed) + more;
            while asked.load(Ordering::Relaxed) < wanted {
                std::thread::yield_now();
            }
        };
        wait_for(3);
        dead.store(true, Ordering::Relaxed);
        wait_for(3);
        drop(watchdog);
        assert_eq!(Arc::strong_count(&asked), 1, "the thread has ended");
    }
}
