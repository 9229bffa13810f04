//! Looks at upstreams without being asked for: checks their addresses, and looks their names up
//! again. On one thread of its own, off the shards and off the loop that takes orders.
//!
//! What it finds out is published in each endpoint's [`Presence`], where shards read it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::group::{Group, Probe};
use super::health::Transition;
use super::presence::{Destination, Presence};
use super::probe::{self, Failure};
use super::resolver::{LookUpError, Name, Resolver};
use super::settings::HealthSettings;
use crate::engine::Address;

/// Owner of the thread, which ends with it.
#[derive(Debug)]
pub struct Lookout {
    groups: Option<watch::Sender<Vec<Arc<Group>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Lookout {
    /// Looks at nothing yet.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(resolver: Resolver) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_LOOK_UPS)
            .thread_name("lookout-resolver")
            .build()?;
        let (groups, changes) = watch::channel(Vec::new());
        let thread = Builder::new().name("lookout".to_owned()).spawn(move || {
            runtime.block_on(run(changes, resolver));
            // A look-up cannot be called off: not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { groups: Some(groups), thread: Some(thread) })
    }

    /// Looks at these groups from now on, and at nothing else. What is looked at in the same way as
    /// before goes on as it was.
    pub fn watch(&self, groups: Vec<Arc<Group>>) {
        if let Some(sender) = &self.groups {
            sender.send_replace(groups);
        }
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        // Closing the channel is the word to stop.
        drop(self.groups.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the lookout's thread panicked");
        }
    }
}

async fn run(mut changes: watch::Receiver<Vec<Arc<Group>>>, resolver: Resolver) {
    let places = Arc::new(Semaphore::new(MAX_CHECKS));
    let mut checks = Running::default();
    let mut look_ups = Running::default();
    while changes.changed().await.is_ok() {
        let groups = changes.borrow_and_update().clone();
        let gone = checks.follow(CheckJob::all(&groups), |job| {
            tokio::spawn(check_on(job, Arc::clone(&places))).abort_handle()
        });
        for job in gone {
            job.forget();
        }
        let _gone = look_ups.follow(LookUpJob::all(&groups), |job| {
            tokio::spawn(look_up_again(job, resolver.clone())).abort_handle()
        });
    }
}

/// Something that is done over and over.
trait Job: Clone + Send + 'static {
    /// What it is about, one job each.
    type Key: Hash + Eq;
    fn key(&self) -> Self::Key;
    /// Whether it is done in the same way.
    fn is_same(&self, other: &Self) -> bool;
}

/// The jobs that run.
struct Running<J: Job>(HashMap<J::Key, (J, AbortHandle)>);

impl<J: Job> Default for Running<J> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<J: Job> Running<J> {
    /// Ends what is not wanted, or not in this way, and starts what does not run. Returns jobs that
    /// nothing has taken the place of.
    fn follow(&mut self, wanted: Vec<J>, start: impl Fn(J) -> AbortHandle) -> Vec<J> {
        let wanted: HashMap<J::Key, J> = wanted.into_iter().map(|job| (job.key(), job)).collect();
        let mut gone = Vec::new();
        self.0.retain(|key, (job, task)| {
            let next = wanted.get(key);
            let stays = next.is_some_and(|next| next.is_same(job));
            if !stays {
                task.abort();
            }
            if next.is_none() {
                gone.push(job.clone());
            }
            stays
        });
        for (key, job) in wanted {
            self.0.entry(key).or_insert_with(|| (job.clone(), start(job)));
        }
        gone
    }
}

/// To check an endpoint at all its addresses.
#[derive(Clone)]
struct CheckJob {
    group: Arc<str>,
    endpoint: Arc<str>,
    presence: Arc<Presence>,
    probe: Probe,
    greeting: Arc<[u8]>,
    settings: HealthSettings,
}

impl CheckJob {
    fn all(groups: &[Arc<Group>]) -> Vec<Self> {
        let mut jobs = Vec::new();
        for group in groups {
            let Some(settings) = group.checks else { continue };
            jobs.extend(group.endpoints.iter().map(|endpoint| Self {
                group: Arc::clone(&group.name),
                endpoint: Arc::clone(&endpoint.name),
                presence: Arc::clone(&endpoint.presence),
                probe: endpoint.probe.clone(),
                greeting: Arc::clone(&endpoint.greeting),
                settings,
            }));
        }
        jobs
    }

    fn forget(&self) {
        for destination in self.presence.destinations().iter() {
            destination.health.forget();
        }
    }

    /// All addresses at the same time, as far as there are places.
    async fn check(&self, places: &Arc<Semaphore>) {
        let mut under_way = JoinSet::new();
        for destination in self.presence.destinations().iter() {
            let (job, places) = (self.clone(), Arc::clone(places));
            let destination = Arc::clone(destination);
            under_way.spawn(async move {
                // Never closed, so this does not fail.
                let _place = places.acquire().await;
                let (probe, patience) = ((&job.probe, &*job.greeting), job.settings.timeout);
                let result = probe::check(&destination.address, probe, patience).await;
                job.record(&destination, result);
            });
        }
        while let Some(ended) = under_way.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a check broke");
            }
        }
    }

    fn record(&self, destination: &Destination, result: Result<(), Failure>) {
        let transition = destination.health.record(result.is_ok(), &self.settings);
        // Behind what it leads to: whoever sees the count sees that, too.
        self.presence.count_check(result.is_ok());
        let Self { group, endpoint, .. } = self;
        let address = &destination.address;
        match (transition, result) {
            (Some(Transition::WentDown), Err(reason)) => {
                tracing::warn!(route = %group, %endpoint, %address, %reason, "upstream is down");
            }
            (Some(Transition::CameUp), _) => {
                tracing::info!(route = %group, %endpoint, %address, "upstream is up again");
            }
            _ => {}
        }
    }
}

impl Job for CheckJob {
    type Key = *const Presence;

    fn key(&self) -> Self::Key {
        Arc::as_ptr(&self.presence)
    }

    fn is_same(&self, other: &Self) -> bool {
        let is_same_probe = match (&self.probe, &other.probe) {
            (Probe::Tcp, Probe::Tcp) => true,
            (Probe::Tls(one, name), Probe::Tls(other, its_name)) => {
                Arc::ptr_eq(one, other) && name == its_name
            }
            _ => false,
        };
        is_same_probe && self.settings == other.settings && self.greeting == other.greeting
    }
}

async fn check_on(job: CheckJob, places: Arc<Semaphore>) {
    let time = job.settings.interval;
    sleep(share(time, &job.endpoint)).await;
    let mut ticks = interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        job.check(&places).await;
    }
}

/// To look a name up, for every endpoint that has it.
#[derive(Clone)]
struct LookUpJob {
    name: Name,
    interval: Duration,
    presences: Vec<Arc<Presence>>,
}

impl LookUpJob {
    /// One for each name, as often as the most impatient of its groups wants it.
    fn all(groups: &[Arc<Group>]) -> Vec<Self> {
        let mut jobs: HashMap<&Name, Self> = HashMap::new();
        for group in groups {
            let Some(interval) = group.resolve_interval else { continue };
            for endpoint in &group.endpoints {
                let Some(name) = &endpoint.look_up else { continue };
                let new = || Self { name: name.clone(), interval, presences: Vec::new() };
                let job = jobs.entry(name).or_insert_with(new);
                job.interval = job.interval.min(interval);
                job.presences.push(Arc::clone(&endpoint.presence));
            }
        }
        jobs.into_values().collect()
    }

    /// Returns whether there was an answer.
    fn take(
        &self,
        result: Result<Vec<std::net::SocketAddr>, LookUpError>,
        failed_before: bool,
    ) -> bool {
        let name = &self.name;
        match result {
            Ok(addresses) => {
                let text = format!("{addresses:?}");
                let addresses: Vec<Address> = addresses.into_iter().map(Address::Tcp).collect();
                let set = |presence: &Arc<Presence>| presence.set_addresses(&addresses);
                // All of them: no short cut at the first.
                if self.presences.iter().map(set).fold(false, |any, one| any | one) {
                    tracing::info!(%name, addresses = text, "upstream has other addresses");
                } else if failed_before {
                    tracing::info!(%name, "upstream's name is resolved again");
                }
                true
            }
            Err(error) => {
                for presence in &self.presences {
                    presence.count_look_up_failure();
                }
                if !failed_before {
                    tracing::warn!(%name, %error, "upstream's name is not resolved: its last addresses stay");
                }
                false
            }
        }
    }
}

impl Job for LookUpJob {
    type Key = Name;

    fn key(&self) -> Name {
        self.name.clone()
    }

    fn is_same(&self, other: &Self) -> bool {
        let pointers = |job: &Self| job.presences.iter().map(Arc::as_ptr).collect::<Vec<_>>();
        self.interval == other.interval && pointers(self) == pointers(other)
    }
}

async fn look_up_again(job: LookUpJob, resolver: Resolver) {
    sleep(share(job.interval, &job.name)).await;
    let mut failed = false;
    loop {
        let (resolver, name) = (resolver.clone(), job.name.clone());
        match spawn_blocking(move || resolver.look_up(&name)).await {
            Ok(result) => failed = !job.take(result, failed),
            Err(error) => tracing::error!(%error, "a look-up broke"),
        }
        sleep(job.interval).await;
    }
}

/// Part of a time, another one for each `of` and process: what starts together is spread out.
fn share(time: Duration, of: &impl Hash) -> Duration {
    let random = RandomState::new().hash_one(of);
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(random % nanos)
}

/// Checks at the same time: each is a connection, and a handshake on this one thread.
const MAX_CHECKS: usize = 64;
/// Look-ups at the same time, each on a thread that waits for the resolver.
const MAX_LOOK_UPS: usize = 8;

#[cfg(test)]
#[path = "lookout_tests.rs"]
#[expect(clippy::disallowed_methods, reason = "these tests watch a thread on the real clock")]
mod tests;
