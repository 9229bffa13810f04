//! Names → addresses, by the resolver of the C library: it blocks for as long as it likes, cannot be
//! called off, and does not say how long its answers are good for.
//!
//! So it is asked on threads that nobody waits for longer than they said, and of which there is a
//! limited number, however often somebody gives up waiting.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: threads with a deadline on the real clock"
)]

use std::collections::{HashSet, VecDeque};
use std::fmt::{self, Debug, Display, Formatter};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// A name to look up, with the port that goes with its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub host: Arc<str>,
    pub port: u16,
}

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub enum LookUpError {
    #[error("{0}")]
    Failed(#[from] io::Error),
    #[error("it has no address")]
    NoAddress,
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
    #[error("{MAX_THREADS} earlier look-ups have no answer yet")]
    Busy,
}

/// Who knows names. May block.
pub trait LookUp: Send + Sync {
    /// # Errors
    /// When there is no answer, or none that is an address.
    fn look_up(&self, name: &Name) -> io::Result<Vec<SocketAddr>>;
}

/// getaddrinfo: /etc/hosts, DNS, and what else nsswitch.conf names.
struct System;

/// See the module. Clones share the limit.
#[derive(Clone)]
pub struct Resolver {
    knows: Arc<dyn LookUp>,
    threads: Arc<AtomicUsize>,
}

impl Resolver {
    /// The system's.
    pub fn system() -> Self {
        Self::new(Arc::new(System))
    }

    pub fn new(knows: Arc<dyn LookUp>) -> Self {
        Self { knows, threads: Arc::default() }
    }

    /// Looks one name up, for as long as that takes. Each address is there once.
    ///
    /// # Errors
    /// When there is no address.
    pub fn look_up(&self, name: &Name) -> Result<Vec<SocketAddr>, LookUpError> {
        let mut addresses = self.knows.look_up(name)?;
        // A file of hosts may say a thing twice.
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        if addresses.is_empty() { Err(LookUpError::NoAddress) } else { Ok(addresses) }
    }

    /// Looks names up side by side, and waits for all answers together no longer than `patience`.
    /// The results are in the order of the names.
    pub fn look_up_all(
        &self,
        names: &[Name],
        patience: Duration,
    ) -> Vec<Result<Vec<SocketAddr>, LookUpError>> {
        let deadline = Instant::now() + patience;
        let mut results: Vec<_> = names.iter().map(|_| None).collect();
        let waiting = Arc::new(Mutex::new((0..).zip(names.iter().cloned()).collect()));
        let (sender, answers) = channel();
        let wanted = names.len().min(MAX_AT_ONCE);
        let started = (0..wanted).filter(|_| self.start(&waiting, &sender)).count();
        drop(sender);
        let mut missing = if started == 0 { 0 } else { names.len() };
        while missing > 0 {
            // Fails at the deadline, or when a thread has panicked.
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((position, result)) = answers.recv_timeout(left) else { break };
            results[position] = Some(result);
            missing -= 1;
        }
        // Who comes back too late finds nothing more to do.
        waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let unanswered = || match started {
            0 => LookUpError::Busy,
            _ => LookUpError::TooSlow(patience),
        };
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(unanswered()))).collect()
    }

    /// Starts a thread that looks up what waits. False when there are too many.
    fn start(&self, waiting: &Waiting, answers: &Sender<Answer>) -> bool {
        let Some(place) = Place::take(&self.threads) else { return false };
        let (resolver, waiting, answers) = (self.clone(), Arc::clone(waiting), answers.clone());
        let work = move || {
            let _place = place;
            let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            while let Some((position, name)) = next() {
                let result = resolver.look_up(&name);
                if answers.send((position, result)).is_err() {
                    // Nobody waits any more.
                    break;
                }
            }
        };
        Builder::new().name("resolver".to_owned()).spawn(work).is_ok()
    }
}

type Waiting = Arc<Mutex<VecDeque<(usize, Name)>>>;
type Answer = (usize, Result<Vec<SocketAddr>, LookUpError>);

/// One of the threads that there may be.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(threads: &Arc<AtomicUsize>) -> Option<Self> {
        if threads.fetch_add(1, Ordering::Relaxed) < MAX_THREADS {
            return Some(Self(Arc::clone(threads)));
        }
        threads.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LookUp for System {
    fn look_up(&self, name: &Name) -> io::Result<Vec<SocketAddr>> {
        Ok((&*name.host, name.port).to_socket_addrs()?.collect())
    }
}

impl Debug for Resolver {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let threads = self.threads.load(Ordering::Relaxed);
        out.debug_struct("Resolver").field("threads", &threads).finish_non_exhaustive()
    }
}

impl Display for Name {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

/// Look-ups of one question at the same time.
const MAX_AT_ONCE: usize = 8;
/// Threads of all questions, most of which wait for a resolver that does not answer.
const MAX_THREADS: usize = 2 * MAX_AT_ONCE;

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// Knows hosts that are numbers; does not answer about "silent" until it is told to.
    #[derive(Default)]
    struct Script {
        may_answer: AtomicBool,
    }

    impl LookUp for Script {
        fn look_up(&self, name: &Name) -> io::Result<Vec<SocketAddr>> {
            if &*name.host == "silent" {
                while !self.may_answer.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
            }
            if &*name.host == "empty" {
                return Ok(Vec::new());
            }
            let last = name.host.parse::<u8>().map_err(io::Error::other)?;
            Ok(vec![([192, 0, 2, last], name.port).into(); 2])
        }
    }

    fn name(host: &str) -> Name {
        Name { host: host.into(), port: 5060 }
    }

    fn names(hosts: &[&str]) -> Vec<Name> {
        hosts.iter().map(|host| name(host)).collect()
    }

    #[test]
    fn each_name_gets_its_own_answer() {
        let resolver = Resolver::new(Arc::new(Script::default()));
        let hosts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let mut names: Vec<Name> = hosts.iter().map(|host| name(host)).collect();
        names.push(name("wrong"));
        names.push(name("empty"));
        let answers = resolver.look_up_all(&names, SOON);
        for (last, answer) in (0..100).zip(&answers) {
            let expected = SocketAddr::from(([192, 0, 2, last], 5060));
            assert_eq!(answer.as_ref().expect("known"), &[expected]);
        }
        assert!(matches!(answers[100], Err(LookUpError::Failed(_))));
        assert!(matches!(answers[101], Err(LookUpError::NoAddress)));
        assert!(resolver.look_up_all(&[], SOON).is_empty());
    }

    #[test]
    fn a_resolver_that_hangs_is_waited_for_no_longer_than_said_and_by_few_threads() {
        let script = Arc::new(Script::default());
        let resolver = Resolver::new(Arc::clone(&script) as _);
        let started = Instant::now();
        let patience = Duration::from_millis(50);
        let answers = resolver.look_up_all(&names(&["silent", "7"]), patience);
        assert!(matches!(answers[0], Err(LookUpError::TooSlow(_))));
        assert!(answers[1].is_ok(), "one that hangs holds up no other");
        let mut questions = 1;
        while !matches!(
            resolver.look_up_all(&names(&["silent"; 8]), Duration::from_millis(1))[..],
            [Err(LookUpError::Busy), ..]
        ) {
            questions += 1;
            assert!(questions < 10, "threads without end");
        }
        assert!(started.elapsed() < SOON);
        assert_eq!(resolver.threads.load(Ordering::Relaxed), MAX_THREADS);
        script.may_answer.store(true, Ordering::Release);
        while resolver.threads.load(Ordering::Relaxed) > 0 {
            assert!(started.elapsed() < SOON, "threads end with their answer");
            std::thread::yield_now();
        }
    }

    /// Fails, by never ending, when look-ups wait for each other.
    struct Together(Barrier);

    impl LookUp for Together {
        fn look_up(&self, name: &Name) -> io::Result<Vec<SocketAddr>> {
            self.0.wait();
            Ok(vec![([127, 0, 0, 1], name.port).into()])
        }
    }

    #[test]
    fn look_ups_run_side_by_side() {
        let resolver = Resolver::new(Arc::new(Together(Barrier::new(MAX_AT_ONCE))));
        let answers = resolver.look_up_all(&names(&["a"; MAX_AT_ONCE]), SOON);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    #[test]
    fn the_system_knows_localhost() {
        let addresses = Resolver::system().look_up(&name("localhost")).expect("in /etc/hosts");
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    }
}
