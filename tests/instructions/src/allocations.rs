//! What is done for each message and each byte of a connection that is up allocates nothing: neither
//! the turns of the shard, nor the record layer, nor the buffers in between.
//!
//! Alone in its program, as what other threads allocate would count, too.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::operation::Talk;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Messages until queues and buffers have the size that they stay at.
const WARM: u32 = 8;
const MESSAGES: u32 = 200;
/// One for a small buffer, one for a record, and one for several buffers.
const LENGTHS: [usize; 3] = [100, 16 * 1024, 300_000];

#[test]
fn messages_allocate_nothing() {
    for tls12 in [false, true] {
        let mut talk = Talk::begin(tls12);
        for length in LENGTHS {
            let message = vec![0x5a; length];
            let (mut turns, mut allocations) = (0, 0);
            for number in 0..WARM + MESSAGES {
                talk.both_ways(&message, |turn| {
                    let region = Region::new(ALLOCATOR);
                    turn();
                    let change = region.change();
                    if number >= WARM {
                        turns += 1;
                        allocations += change.allocations + change.reallocations;
                    }
                });
            }
            assert!(turns >= 2 * MESSAGES);
            assert_eq!(allocations, 0, "{length} bytes, TLS 1.2: {tls12}, in {turns} turns");
        }
    }
}
