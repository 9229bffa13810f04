use proptest::prelude::*;
use rustls::server::StoresServerSessions;

use super::*;
use crate::tls::resumption::Attempt;
use crate::tls::resumption::tests::{LIFETIME, TestClock, binding, domain, store};

/// The value that was stored under `key`.
fn value(key: u8) -> Vec<u8> {
    vec![key; usize::from(key)]
}

fn move_all(from: &Arc<SessionStore>, to: &SessionStore, chunk_bytes: usize) -> usize {
    from.export(chunk_bytes)
        .map(|chunk| {
            assert!(chunk.len() <= chunk_bytes && chunk.capacity() == chunk_bytes);
            to.import(&chunk).expect("a chunk of our own")
        })
        .sum()
}

#[test]
fn ages_and_the_order_of_use_move_along() {
    let clock = TestClock::new();
    let old = store(3, 1 << 20, &clock);
    let sessions = domain(&old, 1);
    assert!(sessions.put(vec![1], vec![1]));
    clock.pass(LIFETIME - 1);
    assert!(sessions.put(vec![2], vec![2]) && sessions.put(vec![3], vec![3]));
    assert!(sessions.get(&[1]).is_some(), "used last");

    let new = store(3, 1 << 20, &clock);
    assert_eq!(move_all(&old, &new, 4096), 3);
    assert_eq!(move_all(&old, &new, 4096), 0, "all of them are there");
    assert_eq!(old.stats().entries, 3, "the old store keeps them");
    let sessions = domain(&new, 1);
    assert!(sessions.put(vec![4], vec![4]));
    assert_eq!(sessions.get(&[2]), None, "was the least recently used one");
    assert_eq!(sessions.get(&[1]), Some(vec![1]));
    clock.pass(1);
    assert_eq!(sessions.get(&[1]), None, "as old as in the old store");
    assert_eq!(sessions.get(&[3]), Some(vec![3]));
    // What is too old stays behind.
    let third = store(3, 1 << 20, &clock);
    assert_eq!(move_all(&old, &third, 4096), 2);
}

#[test]
fn a_smaller_store_keeps_its_limits() {
    let clock = TestClock::new();
    let (old, new) = (store(5_000, 1 << 24, &clock), store(4, 1 << 20, &clock));
    for key in 0..50 {
        assert!(domain(&old, 1).put(vec![key], value(key)));
    }
    assert_eq!(move_all(&old, &new, 200), 50);
    assert_eq!((new.stats().entries, new.stats().evicted), (4, 46));
    // An entry that fits into no chunk stays behind.
    let chunk_bytes = 1 + FIXED + 1 + 30;
    assert_eq!(move_all(&old, &store(5_000, 1 << 24, &clock), chunk_bytes), 31);
}

#[test]
fn a_session_of_the_future_is_one_of_now() {
    let (old_clock, new_clock) = (TestClock::new(), TestClock::new());
    let (old, new) = (store(4, 1 << 20, &old_clock), store(4, 1 << 20, &new_clock));
    old_clock.pass(LIFETIME);
    assert!(domain(&old, 1).put(vec![1], vec![1]));
    assert_eq!(move_all(&old, &new, 200), 1);
    new_clock.pass(LIFETIME);
    assert_eq!(domain(&new, 1).get(&[1]), None);
}

/// Renewed sessions stay what they were.
#[test]
fn origins_move_along() {
    let clock = TestClock::new();
    let (old, new) = (store(4, 1 << 20, &clock), store(4, 1 << 20, &clock));
    let sessions = domain(&old, 1);
    assert!(sessions.put(vec![1], vec![1]));
    clock.pass(LIFETIME - 1);
    let renewed = old.domain(binding(1));
    let mut attempt = Attempt::new();
    let renew = || renewed.get(&[1]).is_some() && renewed.put(vec![2], vec![2]);
    assert!(attempt.run(None, renew));
    assert_eq!(move_all(&old, &new, 4096), 2);
    assert_eq!(domain(&new, 1).get(&[2]), Some(vec![2]));
    clock.pass(1);
    assert_eq!(domain(&new, 1).get(&[2]), None);
    assert_eq!(new.stats().rejected.of(Refusal::AbsoluteLifetime), 1);
}

/// A process of the version before, which wrote: 1, domain 16, made 8, id length 1, value length 4,
/// id, value.
#[test]
fn sessions_of_the_former_format_are_refused_and_counted() {
    let store = store(4, 1 << 20, &TestClock::new());
    let now = 1_000_000_u64.to_be_bytes();
    let entry = [&[7; 16][..], &now, &[1], &[0, 0, 0, 1], &[9], &[9]].concat();
    for entries in [0, 1, 4] {
        assert_eq!(store.import(&[vec![1], entry.repeat(entries)].concat()), Err(BadChunk));
    }
    let stats = store.stats();
    assert_eq!((stats.entries, stats.rejected.of(Refusal::OtherFormat)), (0, 3));
    assert_eq!(store.import(&[3]), Err(BadChunk));
    assert_eq!(store.stats().rejected.of(Refusal::Malformed), 1);
}

proptest! {
    #[test]
    fn everything_arrives(
        keys in prop::collection::btree_set((0..3_u8, any::<u8>()), 0..60),
        chunk_bytes in 400..2_000_usize,
    ) {
        let clock = TestClock::new();
        let (old, new) = (store(1_000, 1 << 22, &clock), store(1_000, 1 << 22, &clock));
        for &(of, key) in &keys {
            prop_assert!(domain(&old, of).put(vec![of, key], value(key)));
        }
        prop_assert_eq!(move_all(&old, &new, chunk_bytes), keys.len());
        for &(of, key) in &keys {
            prop_assert_eq!(domain(&new, of).take(&[of, key]), Some(value(key)));
        }
        prop_assert_eq!(new.stats().entries, 0);
    }

    #[test]
    fn garbage_is_refused_and_never_panics(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        as_ours in any::<bool>(),
    ) {
        let store = store(4, 1 << 20, &TestClock::new());
        if let (true, Some(first)) = (as_ours, bytes.first_mut()) {
            *first = VERSION;
        }
        let taken = store.import(&bytes);
        prop_assert!(taken.is_err() || bytes[0] == VERSION);
        prop_assert!(store.stats().entries <= 4);
    }

    #[test]
    fn a_chunk_cut_short_is_refused(cut in 1..400_usize) {
        let clock = TestClock::new();
        let old = store(10, 1 << 20, &clock);
        for key in 60..64 {
            prop_assert!(domain(&old, 1).put(vec![key], value(key)));
        }
        let chunk = old.export(4096).next().expect("there are sessions");
        let length = cut % chunk.len();
        // Between two entries, it is a chunk of fewer.
        let size = |key: u8| FIXED + 1 + usize::from(key);
        let ends = [1, size(60), size(61), size(62)];
        let ends = ends.iter().scan(0, |end, size| { *end += size; Some(*end) });
        let is_whole = ends.into_iter().any(|end| end == length);
        let taken = store(10, 1 << 20, &clock).import(&chunk[..length]);
        prop_assert_eq!(taken.is_ok(), is_whole);
    }
}
