//! The command line: flags to plans, reports to text.

pub(crate) mod backend;
mod calibrate;
pub(crate) mod capacity;
pub(crate) mod compare;
pub(crate) mod generator;
pub(crate) mod lanes;
mod live;
pub(crate) mod load;
pub(crate) mod merge;
mod outcome;
pub(crate) mod peers;
mod plan;
pub(crate) mod relay;
mod run;
mod scenario;
pub(crate) mod scenarios;
mod table;
mod verify;
