//! How servers are measured side by side, because machines are noisy and numbers travel further
//! than their conditions: all servers run at once, pinned to one CPU with one worker each; backend
//! and client share another CPU, where a process of lowest priority keeps a hyper-thread sibling
//! from ever being idle. Short samples take turns over the servers, in opposite order every other
//! round, and a probe says how fast the CPU is before and after each. Only what was measured in the
//! same round is compared: ratios are medians of per-round ratios.

pub(crate) mod affinity;
pub(crate) mod identity;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod output;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod rounds;
pub(crate) mod sample;
pub(crate) mod scratch;
pub(crate) mod spin;
pub(crate) mod statistics;
pub(crate) mod summary;
