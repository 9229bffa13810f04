//! One pinned thread and what it owns.

pub mod slots;
pub mod wheel;
