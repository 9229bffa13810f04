use proptest::prelude::*;

use super::*;
use crate::conn::outcome::{Cause, PhaseTimes, Reason, Stage};
use crate::telemetry::counters::{AcceptError, Refusal};
use crate::telemetry::shard::ShardTelemetry;
use crate::telemetry::shard::tests::{names, outcome};

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn micros(value: u64) -> Duration {
    Duration::from_micros(value)
}

fn hand_over(merge: &mut Merge, shard: &mut ShardTelemetry, now: Time) {
    let mut report = ShardSnapshot::default();
    shard.hand_over(&mut report);
    merge.absorb(&mut report, now);
}

fn snapshot(merge: &mut Merge, now: Time) -> Snapshot {
    merge.snapshot(Facts::default(), SharedValues::default(), 0, now)
}

fn digest(snapshot: &Snapshot, listener: &str, kind: Kind, phase: Phase, span: Span) -> Digest {
    let found = snapshot.latencies.iter().find(|latency| {
        &*latency.listener == listener && latency.kind == kind && latency.phase == phase
    });
    found.expect("every listener has every kind and phase").spans[span as usize]
}

#[test]
fn sums_over_shards_are_exact() {
    let names = names(&["sip", "tds"]);
    let mut merge = Merge::new(3, Time::ZERO);
    let mut shards: Vec<_> =
        (0..3).map(|shard| ShardTelemetry::new(shard, Arc::clone(&names))).collect();
    let mut rounds = 0;
    // Several hand-overs each, reusing one report: nothing may be counted twice or lost.
    let mut report = ShardSnapshot::default();
    for second in 0..5 {
        for (number, shard) in shards.iter_mut().enumerate() {
            let weight = u64::try_from(number).expect("small") + 1;
            for _ in 0..weight {
                rounds += 1;
                drive(shard, second);
            }
            shard.hand_over(&mut report);
            merge.absorb(&mut report, at(second));
        }
    }
    assert_eq!(rounds, 30);

    let picture = snapshot(&mut merge, at(5));
    let sip = &picture.listener("sip").expect("listed").counters;
    assert_eq!(sip.accepted, 60);
    assert_eq!(sip.handshakes_full, 30);
    assert_eq!(sip.bytes_received, 300);
    assert_eq!(sip.bytes_sent, 3_000);
    assert_eq!(sip.closed(Reason::Finished, Cause::Upstream), 30);
    assert_eq!(sip.handshake_failures(Reason::HelloEof), 0);
    assert_eq!(sip.open(), 30);
    let tds = &picture.listener("tds").expect("listed").counters;
    assert_eq!(tds.handshake_failures(Reason::HelloEof), 30);
    assert_eq!((tds.accepted, tds.open()), (30, 0));
    assert_eq!(picture.totals.refused[Refusal::ConnectionLimit as usize], 30);
    assert_eq!(picture.totals.accept_errors[AcceptError::Emfile as usize], 30);
    assert_eq!(picture.totals.engine.turns, 30);
    assert_eq!(picture.totals.gauges.open_connections, 30);
    assert_eq!(picture.totals.gauges.handshakes_in_flight, 30);

    // 100, 101, ... 104 µs, 6 times each; below 256 µs every microsecond has its own cell.
    let handshakes = digest(&picture, "sip", Kind::Full, Phase::Handshake, Span::Total);
    assert_eq!(handshakes.count, 30);
    assert_eq!(handshakes.sum, micros(30 * 102));
    assert_eq!(handshakes.quantiles[0], micros(102));
    assert_eq!(handshakes.max, micros(104));
    assert_eq!(digest(&picture, "sip", Kind::Resumed, Phase::Handshake, Span::Total).count, 0);
    assert_eq!(digest(&picture, "sip", Kind::Full, Phase::Lifetime, Span::Total).count, 30);
}

fn drive(shard: &mut ShardTelemetry, second: u64) {
    shard.on_accept(0);
    shard.on_accept(0);
    let times = PhaseTimes { handshake: Some(micros(100 + second)), ..PhaseTimes::default() };
    shard.on_handshake(0, false, &times);
    shard.on_received(0, 10);
    shard.on_sent(0, 100);
    shard.on_close(&outcome(0, Stage::Relay, Reason::Finished, Cause::Upstream));
    shard.on_accept(1);
    shard.on_close(&outcome(1, Stage::Hello, Reason::HelloEof, Cause::Downstream));
    shard.on_refused(Refusal::ConnectionLimit);
    shard.on_accept_error(AcceptError::Emfile);
    shard.engine().turns += 1;
}

#[test]
fn windows_hold_at_least_their_length_and_forget() {
    let mut merge = Merge::new(1, Time::ZERO);
    let mut shard = ShardTelemetry::new(0, names(&["a"]));
    let connects = |merge: &mut Merge, second: u64| {
        let picture = snapshot(merge, at(second));
        Span::ALL.map(|span| digest(&picture, "a", Kind::Full, Phase::Connect, span).count)
    };
    for second in 1..=70 {
        shard.on_connect(0, false, micros(10));
        hand_over(&mut merge, &mut shard, at(second));
        let [total, short, long] = connects(&mut merge, second);
        assert_eq!(total, second);
        assert!(short >= second.min(10) && short <= 20, "{short} in 10 s at {second}");
        assert!(long >= second.min(60) && long <= 120, "{long} in 60 s at {second}");
    }
    let picture = snapshot(&mut merge, at(75));
    assert_eq!(picture.covers, [75, 15, 75].map(Duration::from_secs));
    // Silence: the short window is empty after at most two lengths, the total stays.
    for second in 71..=90 {
        hand_over(&mut merge, &mut shard, at(second));
    }
    assert_eq!(connects(&mut merge, 90), [70, 0, 70]);
    for second in 91..=190 {
        hand_over(&mut merge, &mut shard, at(second));
    }
    assert_eq!(connects(&mut merge, 190), [70, 0, 0]);
}

#[test]
fn shards_with_different_lists_meet_by_name() {
    let mut merge = Merge::new(2, Time::ZERO);
    let mut old = ShardTelemetry::new(0, names(&["a"]));
    let mut new = ShardTelemetry::new(1, names(&["a", "b"]));
    old.on_accept(0);
    new.on_accept(0);
    new.on_accept(1);
    new.on_connect(1, true, micros(7));
    hand_over(&mut merge, &mut old, at(1));
    hand_over(&mut merge, &mut new, at(1));
    old.set_listeners(names(&["a", "b"]));
    old.on_accept(1);
    old.on_connect(1, true, micros(7));
    hand_over(&mut merge, &mut old, at(2));
    let picture = snapshot(&mut merge, at(2));
    assert_eq!(picture.listeners.len(), 2);
    assert_eq!(picture.listener("a").map(|view| view.counters.accepted), Some(2));
    assert_eq!(picture.listener("b").map(|view| view.counters.accepted), Some(2));
    assert_eq!(digest(&picture, "b", Kind::Resumed, Phase::Connect, Span::Total).count, 2);
    assert!(picture.listener("c").is_none());
}

#[test]
fn listeners_without_a_set_are_shown_together() {
    let list: Vec<String> = (0..MAX_SETS + 3).map(|number| format!("l{number}")).collect();
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let mut merge = Merge::new(1, Time::ZERO);
    let mut shard = ShardTelemetry::new(0, names(&list));
    for listener in 0..list.len() {
        shard.on_accept(listener);
        shard.on_connect(listener, false, micros(5));
    }
    hand_over(&mut merge, &mut shard, at(1));
    let picture = snapshot(&mut merge, at(1));
    assert_eq!(picture.listeners.len(), list.len(), "counters are kept for each");
    assert_eq!(digest(&picture, "l63", Kind::Full, Phase::Connect, Span::Total).count, 1);
    assert_eq!(digest(&picture, OTHER_LISTENERS, Kind::Full, Phase::Connect, Span::Total).count, 3);
    let rows = picture.rows();
    assert_eq!(rows.len(), (MAX_SETS + 1) * Span::ALL.len(), "only phases that happened");
}

#[test]
fn silent_shards_are_seen() {
    let mut merge = Merge::new(2, Time::ZERO);
    let mut shard = ShardTelemetry::new(0, names(&["a"]));
    hand_over(&mut merge, &mut shard, at(4));
    merge.count_missed(1);
    let picture = snapshot(&mut merge, at(6));
    assert_eq!(picture.shards[0].answered_ago, Duration::from_secs(2));
    assert_eq!(picture.shards[1].answered_ago, Duration::from_secs(6));
    assert_eq!((picture.shards[0].missed, picture.shards[1].missed), (0, 1));
    assert_eq!(picture.stuck(Duration::from_secs(5)), [1]);
}

/// What happens to a shard in the property below.
#[derive(Clone, Debug)]
enum Step {
    Measures { shard: usize, listener: usize, resumed: bool, micros: u64 },
    HandsOver(usize),
    Passes(u64),
}

const SHARDS: usize = 3;
const LISTENERS: [&str; 2] = ["a", "b"];

fn step() -> impl Strategy<Value = Step> {
    let measures = (0..SHARDS, 0..LISTENERS.len(), any::<bool>(), 0..30_u32, any::<u64>());
    prop_oneof![
        6 => measures.prop_map(|(shard, listener, resumed, magnitude, value)| {
            Step::Measures { shard, listener, resumed, micros: value >> (34 + magnitude) }
        }),
        3 => (0..SHARDS).prop_map(Step::HandsOver),
        2 => (1..8_u64).prop_map(Step::Passes),
        1 => (8..200_u64).prop_map(Step::Passes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// However shards take turns, all together is as recorded in one histogram, and a window
    /// holds what came in the time that it says it covers.
    #[test]
    fn shards_in_any_order_are_as_one(steps in prop::collection::vec(step(), 1..100)) {
        let mut merge = Merge::new(SHARDS, Time::ZERO);
        let mut shards: Vec<_> =
            (0..SHARDS).map(|shard| ShardTelemetry::new(shard, names(&LISTENERS))).collect();
        // Measured and not handed over; then by time of arrival.
        let mut waiting = vec![Vec::new(); SHARDS];
        let mut arrived = Vec::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Measures { shard, listener, resumed, micros: value } => {
                    shards[shard].on_connect(listener, resumed, micros(value));
                    waiting[shard].push((listener, resumed, value));
                    continue;
                }
                Step::HandsOver(shard) => {
                    hand_over(&mut merge, &mut shards[shard], at(now));
                    arrived.extend(waiting[shard].drain(..).map(|value| (now, value)));
                }
                Step::Passes(seconds) => {
                    now += seconds;
                    continue;
                }
            }
            let picture = snapshot(&mut merge, at(now));
            for (span, cover) in Span::ALL.into_iter().zip(picture.covers) {
                let since = at(now - cover.as_secs());
                compare(&picture, span, |arrival| at(arrival) >= since, &arrived)?;
            }
        }
    }
}

/// Each digest of the span against one histogram of the values that arrived in it.
fn compare(
    picture: &Snapshot,
    span: Span,
    is_in: impl Fn(u64) -> bool,
    arrived: &[(u64, (usize, bool, u64))],
) -> Result<(), TestCaseError> {
    for (index, name) in LISTENERS.iter().enumerate() {
        if !picture.latencies.iter().any(|latency| &*latency.listener == *name) {
            prop_assert!(arrived.is_empty());
            continue;
        }
        for kind in Kind::ALL {
            let mut one = PhaseHistogram::<u64>::new(Phase::Connect);
            let of_kind = |resumed: &bool| Kind::of(*resumed) == kind;
            for (arrival, (listener, resumed, value)) in arrived {
                if *listener == index && of_kind(resumed) && is_in(*arrival) {
                    one.record(micros(*value));
                }
            }
            let digest = digest(picture, name, kind, Phase::Connect, span);
            prop_assert_eq!(digest, Digest::of(&one), "{} {:?} {:?}", name, kind, span);
        }
    }
    Ok(())
}

#[test]
fn moments_and_columns_are_of_all_shards() {
    let names = names(&["sip", "tds"]);
    let mut merge = Merge::new(2, Time::ZERO);
    let mut shards: Vec<_> =
        (0..2).map(|shard| ShardTelemetry::new(shard, Arc::clone(&names))).collect();
    for second in 1..=6 {
        for shard in &mut shards {
            drive(shard, 0);
            hand_over(&mut merge, shard, at(second));
        }
        merge.end_moment(1_000 * second);
    }
    let picture = snapshot(&mut merge, at(6));
    assert_eq!((picture.moments.len(), picture.growing), (6, 1));
    for moment in &picture.moments {
        let counts = (moment.accepted, moment.handshakes_full, moment.handshake_failures);
        assert_eq!(counts, (6, 2, 2));
        assert_eq!((moment.bytes_received, moment.messages), (20, 4));
    }
    let of_sip = |phase| {
        let mut maps = picture.heat.iter();
        maps.find(|map| &*map.listener == "sip" && map.phase == phase).expect("it has values")
    };
    // 100 µs, in the second band; five moments are a column.
    let columns = &of_sip(Phase::Handshake).columns;
    assert_eq!((columns.len(), columns[0][1], columns[1][1]), (2, 10, 2));
    assert!(picture.heat.iter().all(|map| &*map.listener == "sip"), "tds has no values");
}
