use std::net::TcpListener;

use super::*;
use crate::client::{Plan, Stop};

/// A turn that comes only after the end: operations that started, and those missing.
fn late(pace: Pace) -> (usize, u64) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let plan = Plan {
        target: listener.local_addr().expect("an address"),
        tls: None,
        workload: Workload::Handshakes { resumed: 0.0 },
        pace,
        stop: Stop { after: Duration::from_secs(20), count: None },
        timeout: Duration::from_secs(10),
        threads: 1,
        cpus: Vec::new(),
    };
    let flow = Flow::alone(plan);
    let gate = Gate::new(1);
    let template = Template::new(&flow.plan.workload, None);
    let share = Share::of(&flow.plan, &[], 0, 0);
    let mut worker = Worker::new(&flow, share, None, template, &gate).expect("a worker");
    worker.step(Instant::now());
    let Inner::Measuring { end: Some(end) } = worker.stage else {
        panic!("it has nothing to prepare: {:?}", worker.stage);
    };
    // All that has started is over, so every slot is free.
    worker.slots.abandon();
    worker.collect();
    worker.step(end + TICK);
    assert!(matches!(worker.stage, Inner::Draining { .. }), "{:?}", worker.stage);
    let missing = worker.slots.recorder.current.errors_of(ErrorKind::NotStarted);
    (worker.slots.busy(), missing)
}

#[test]
fn what_was_due_before_the_end_starts_after_it_where_a_connection_is_free() {
    // Due at 0 s, 5 s, 10 s and 15 s; not at 20 s, which is the end.
    let arrivals = Arrivals::even(0.2);
    assert_eq!(late(Pace::Open { arrivals, concurrency: 8 }), (3, 0));
    assert_eq!(late(Pace::Open { arrivals, concurrency: 2 }), (2, 1));
    assert_eq!(late(Pace::Closed { concurrency: 2 }), (0, 0));
}
