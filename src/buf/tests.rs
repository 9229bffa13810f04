//! Buffers beside a model: a list of pieces.

use proptest::prelude::*;

use super::*;

#[test]
fn a_dropped_buffer_is_the_next_one_taken() {
    let pool = Pool::new(1 << 20, 1);
    let mut first = pool.copy_of(b"somebody's");
    let address = first.memory_mut().as_ptr();
    drop(first);
    let mut next = pool.take(BufClass::Message);
    assert_eq!(next.memory_mut().as_ptr(), address);
    assert!(next.is_empty() && next.count() == 0);
}

#[test]
fn the_limit_stops_receiving_but_not_passing_on() {
    let pool = Pool::new(2 * BufClass::Message.capacity(), 0);
    let held = [BufClass::Message; 2].map(|class| pool.try_take(class).expect("two fit"));
    assert!(pool.try_take(BufClass::Message).is_none());
    drop(pool.take(BufClass::Message));
    drop(held);
    assert_eq!(pool.bytes_in_use(), 0);
    assert!(pool.try_take(BufClass::Message).is_some());
}

#[test]
fn bulk_leaves_room_for_messages() {
    let pool = Pool::new(8 * BufClass::Bulk.capacity(), 0);
    let bulk: Vec<_> = std::iter::from_fn(|| pool.try_take(BufClass::Bulk)).collect();
    assert_eq!(bulk.len(), 7);
    assert!(pool.try_take(BufClass::Message).is_some());
}

#[test]
fn what_is_appended_has_room_around_it() {
    let pool = Pool::new(1 << 20, 0);
    for class in BufClass::ALL {
        let mut buf = pool.take(class);
        buf.append(&vec![7; class.plaintext_max()]);
        let (before, after) = buf.room(0);
        assert!(before >= HEADROOM && after >= TAILROOM, "{class:?}: {before}, {after}");
    }
}

#[test]
fn a_receive_fills_its_layout() {
    let pool = Pool::new(1 << 20, 0);
    for class in BufClass::ALL {
        for layout in [Layout::Contiguous, Layout::Spaced] {
            let most = class.receive_max(layout);
            for len in [0, 1, 16_383, 16_384, 16_385, most - 1, most] {
                let len = len.min(most);
                let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
                let mut buf = pool.take(class);
                buf.fill(layout, &bytes);
                assert!(buf.to_vec() == bytes);
                assert_eq!(buf.len(), len);
                is_sealable(&buf, layout);
            }
        }
    }
}

fn is_sealable(buf: &Buf, layout: Layout) {
    match layout {
        Layout::Contiguous => assert!(buf.count() <= 1),
        Layout::Spaced => {
            assert!(buf.parts().all(|part| part.len() <= RECORD_PLAINTEXT));
            for index in 0..buf.count() {
                let (before, after) = buf.room(index);
                // The gap is the head of one and the tail of another.
                let between = index + 1 < buf.count();
                let after = if between { after - HEADROOM } else { after };
                assert!(before >= HEADROOM && after >= TAILROOM);
            }
        }
    }
}

#[test]
fn a_record_grows_out_of_its_plaintext() {
    let pool = Pool::new(1 << 20, 0);
    let mut buf = pool.take(BufClass::Bulk);
    buf.set_received(Layout::Spaced, 40_000);
    for index in 0..buf.count() {
        let range = buf.range(index);
        buf.replace_range(index, range.start - 5..range.end + 17);
    }
    assert_eq!((buf.count(), buf.len()), (3, 40_000 + 3 * 22));
}

#[test]
#[should_panic(expected = "assertion failed")]
fn a_range_does_not_reach_into_another() {
    let pool = Pool::new(1 << 20, 0);
    let mut buf = pool.take(BufClass::Message);
    buf.set_range(100..200);
    buf.push_range(205..300);
    buf.replace_range(0, 100..206);
}

#[test]
fn more_ranges_than_may_be_move_together() {
    let pool = Pool::new(1 << 20, 0);
    let mut buf = pool.take(BufClass::Message);
    for (number, at) in (0..200_u8).zip((0..).step_by(20)) {
        buf.memory_mut()[at..at + 10].fill(number);
        buf.push_range(at..at + 10);
    }
    let expected: Vec<u8> = (0..200).flat_map(|number| [number; 10]).collect();
    assert_eq!(buf.count(), MAX_RANGES);
    assert!(buf.to_vec() == expected);
    assert!(buf.contiguous() == expected);
    assert_eq!(buf.count(), 1);
}

#[test]
fn small_messages_share_a_buffer_and_large_ones_do_not() {
    let pool = Pool::new(1 << 20, 0);
    let mut queue = VecDeque::new();
    for _ in 0..8 {
        enqueue(&mut queue, pool.copy_of(&[1; 500]));
    }
    assert_eq!(queue.iter().map(Buf::len).collect::<Vec<_>>(), [4000]);
    let (_, room) = queue[0].room(0);
    assert!(room >= TAILROOM);
    enqueue(&mut queue, pool.copy_of(&[2; 2000]));
    enqueue(&mut queue, pool.copy_of(&[3; 500]));
    assert_eq!(queue.iter().map(Buf::len).collect::<Vec<_>>(), [4000, 2500]);
}

#[derive(Clone, Debug)]
enum Step {
    /// A gap, and data behind it.
    Push(usize, usize),
    Append(usize),
    Advance(usize),
    Join,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40_usize, 0..60_usize).prop_map(|(gap, len)| Step::Push(gap, len)),
        2 => (0..60_usize).prop_map(Step::Append),
        3 => any::<usize>().prop_map(Step::Advance),
        1 => Just(Step::Join),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_list_of_bytes(steps in prop::collection::vec(step(), 0..200)) {
        let pool = Pool::new(1 << 20, 0);
        let mut buf = pool.take(BufClass::Message);
        let mut model: Vec<u8> = Vec::new();
        let mut bytes = (0..=250_u8).cycle();
        for step in steps {
            let room = buf.tail_mut().len();
            match step {
                Step::Push(gap, len) if gap + len <= room => {
                    let at = buf.class().capacity() - room + gap;
                    for byte in &mut buf.memory_mut()[at..at + len] {
                        *byte = bytes.next().expect("endless");
                        model.push(*byte);
                    }
                    buf.push_range(at..at + len);
                }
                Step::Append(len) if len <= room => {
                    let new: Vec<u8> = bytes.by_ref().take(len).collect();
                    buf.append(&new);
                    model.extend(new);
                }
                Step::Push(..) | Step::Append(_) => {}
                Step::Advance(len) => {
                    let len = len % (model.len() + 1);
                    buf.advance(len);
                    model.drain(..len);
                }
                Step::Join => {
                    prop_assert_eq!(&*buf.contiguous(), &model[..]);
                    prop_assert!(buf.count() <= 1);
                }
                Step::Clear => {
                    buf.clear();
                    model.clear();
                }
            }
            prop_assert_eq!(buf.to_vec(), &model[..]);
            prop_assert_eq!(buf.len(), model.len());
            prop_assert!(buf.count() <= MAX_RANGES);
            prop_assert!(buf.parts().all(|part| !part.is_empty()));
        }
    }
}
