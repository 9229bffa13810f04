use std::sync::Mutex;

use super::*;
use crate::telemetry::shard::ShardTelemetry;
use crate::telemetry::shard::tests::names;

/// A shard that answers on the spot, from a telemetry that the test also writes to.
struct PromptPort {
    telemetry: Arc<Mutex<ShardTelemetry>>,
    answers: AnswerSender,
}

impl ShardPort for PromptPort {
    fn request(&self, mut report: Box<ShardSnapshot>) -> Result<(), Box<ShardSnapshot>> {
        self.telemetry.lock().expect("no test panics with it").hand_over(&mut report);
        self.answers.send(report);
        Ok(())
    }
}

/// A shard that keeps what it gets until the test lets it answer.
struct HeldPort {
    held: SyncSender<Box<ShardSnapshot>>,
}

impl ShardPort for HeldPort {
    fn request(&self, report: Box<ShardSnapshot>) -> Result<(), Box<ShardSnapshot>> {
        self.held.try_send(report).map_err(|error| match error {
            std::sync::mpsc::TrySendError::Full(report)
            | std::sync::mpsc::TrySendError::Disconnected(report) => report,
        })
    }
}

fn telemetry(shard: usize) -> Arc<Mutex<ShardTelemetry>> {
    Arc::new(Mutex::new(ShardTelemetry::new(shard, names(&["sip"]))))
}

fn accept(telemetry: &Mutex<ShardTelemetry>) {
    telemetry.lock().expect("no test panics with it").on_accept(0);
}

fn facts() -> FactsSource {
    Box::new(|| Facts { version: "test", ..Facts::default() })
}

fn accepted(snapshot: &Snapshot) -> u64 {
    snapshot.listener("sip").map_or(0, |view| view.counters.accepted)
}

/// Ticks that never come: only readers make the aggregator ask.
const NEVER: Duration = Duration::from_secs(3_600);

#[test]
fn a_read_is_fresh_and_sums_all_shards() {
    let (answers, inbox) = answer_channel(2);
    let shards = [telemetry(0), telemetry(1)];
    let ports = shards.iter().map(|telemetry| {
        let port = PromptPort { telemetry: Arc::clone(telemetry), answers: answers.clone() };
        Box::new(port) as Box<dyn ShardPort>
    });
    let shared = Arc::new(SharedCounters::default());
    let counters = Arc::clone(&shared);
    let aggregator = Aggregator::start_with_tick(inbox, ports.collect(), facts(), counters, NEVER)
        .expect("thread starts");
    let handle = aggregator.handle();
    for round in 1..=50 {
        accept(&shards[0]);
        accept(&shards[1]);
        accept(&shards[1]);
        shared.session_hits.increment();
        let snapshot = handle.snapshot().expect("answers");
        assert_eq!(accepted(&snapshot), 3 * round);
        assert_eq!(snapshot.shared.session_hits, round);
        assert_eq!(snapshot.facts.version, "test");
        assert!(snapshot.shards.iter().all(|shard| shard.missed == 0));
    }
    drop(aggregator);
    assert_eq!(handle.snapshot().expect_err("stopped"), ReadError::NoAnswer);
}

#[test]
fn a_silent_shard_costs_a_deadline_and_is_counted_and_its_late_answer_is_not_lost() {
    let (answers, inbox) = answer_channel(2);
    let (prompt, late) = (telemetry(0), telemetry(1));
    let (held, requests) = sync_channel(1);
    let port = PromptPort { telemetry: Arc::clone(&prompt), answers: answers.clone() };
    let ports: Vec<Box<dyn ShardPort>> = vec![Box::new(port), Box::new(HeldPort { held })];
    let aggregator = Aggregator::start_with_tick(inbox, ports, facts(), Arc::default(), NEVER)
        .expect("thread starts");
    let handle = aggregator.handle();
    accept(&prompt);
    accept(&late);

    let began = Instant::now();
    let snapshot = handle.snapshot().expect("answers");
    assert!(began.elapsed() >= DEADLINE, "waited for the silent shard");
    assert_eq!(accepted(&snapshot), 1, "what shard 1 said last was nothing");
    assert_eq!((snapshot.shards[0].missed, snapshot.shards[1].missed), (0, 1));
    let [first, second] = snapshot.shards[..] else { panic!("two shards") };
    assert!(second.answered_ago > first.answered_ago, "{second:?} never answered");

    // It wakes up; the next read has what both counted.
    let answer = |mut report: Box<ShardSnapshot>| {
        late.lock().expect("no test panics with it").hand_over(&mut report);
        answers.send(report);
    };
    answer(requests.recv().expect("was asked"));
    let reader = std::thread::spawn({
        let handle = handle.clone();
        move || handle.snapshot().expect("answers")
    });
    answer(requests.recv().expect("is asked again for the second reader"));
    let snapshot = reader.join().expect("reader ends");
    assert_eq!(accepted(&snapshot), 2);
    assert_eq!(snapshot.shards[1].missed, 1);
    assert!(snapshot.stuck(Duration::from_secs(5)).is_empty());
}

#[test]
fn ticks_collect_without_readers_and_count_silent_shards() {
    let (answers, inbox) = answer_channel(2);
    let prompt = telemetry(0);
    let (held, _requests) = sync_channel(1);
    let port = PromptPort { telemetry: Arc::clone(&prompt), answers };
    let ports: Vec<Box<dyn ShardPort>> = vec![Box::new(port), Box::new(HeldPort { held })];
    let tick = DEADLINE;
    let aggregator = Aggregator::start_with_tick(inbox, ports, facts(), Arc::default(), tick)
        .expect("thread starts");
    std::thread::sleep(tick * 5);
    let snapshot = aggregator.handle().snapshot().expect("answers");
    assert_eq!(snapshot.shards[0].missed, 0);
    assert!(snapshot.shards[1].missed >= 3, "{:?}", snapshot.shards[1]);
}

#[test]
fn a_shard_that_has_ended_is_not_missed() {
    let (answers, inbox) = answer_channel(2);
    let (prompt, done) = (telemetry(0), telemetry(1));
    let (held, requests) = sync_channel(1);
    let port = PromptPort { telemetry: prompt, answers: answers.clone() };
    let ports: Vec<Box<dyn ShardPort>> = vec![Box::new(port), Box::new(HeldPort { held })];
    let tick = DEADLINE;
    let aggregator = Aggregator::start_with_tick(inbox, ports, facts(), Arc::default(), tick)
        .expect("thread starts");
    // It has been asked, and ends without having looked.
    requests.recv().expect("was asked");
    accept(&done);
    let mut last = Box::default();
    done.lock().expect("no test panics with it").hand_over(&mut last);
    answers.end(last);
    drop(requests);
    std::thread::sleep(tick * 4);
    let began = Instant::now();
    let snapshot = aggregator.handle().snapshot().expect("answers");
    assert!(began.elapsed() < DEADLINE, "nobody waits for it");
    assert_eq!(accepted(&snapshot), 1, "its last report counts");
    let view = snapshot.shards[1];
    assert!(view.ended && !snapshot.shards[0].ended);
    assert_eq!((view.missed, view.answered_ago), (0, Duration::ZERO));
    assert!(snapshot.stuck(tick * 2).is_empty());
}

#[test]
fn readers_beyond_the_limit_are_turned_away() {
    let readers = Arc::new(AtomicUsize::new(0));
    let places: Vec<_> = (0..MAX_READERS).map(|_| Place::take(&readers)).collect();
    assert!(places.iter().all(Result::is_ok));
    assert_eq!(Place::take(&readers).err(), Some(ReadError::Busy));
    drop(places);
    assert_eq!(readers.load(Ordering::Relaxed), 0);
    assert!(Place::take(&readers).is_ok());
}
