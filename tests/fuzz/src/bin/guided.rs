//! One target under libFuzzer, which `tests/fuzz/guided` builds and runs: CONTRIBUTING.md,
//! "Fuzzing". The target's name is in `TLSGATE_FUZZ_TARGET`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tlsgate_fuzz::targets::{Target, find};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("TLSGATE_FUZZ_TARGET").unwrap_or_default();
    find(&name).unwrap_or_else(|| panic!("TLSGATE_FUZZ_TARGET={name}: no such target"))
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));
