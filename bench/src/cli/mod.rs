//! The command line: flags to plans, reports to text.

pub(crate) mod backend;
pub(crate) mod engines;
pub(crate) mod lanes;
pub(crate) mod load;
mod plan;
mod table;
