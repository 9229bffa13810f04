//! One pinned thread and what it owns.

pub mod wheel;
