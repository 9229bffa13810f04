//! The example files, for tests.

use super::demand::Demand;
use super::model::NodeModel;

pub(super) const MODEL: &str = include_str!("../../capacity/node.toml");
pub(super) const OBSERVATIONS: &str = include_str!("../../capacity/observations.toml");
pub(super) const DEMAND: &str = include_str!("../../capacity/demand.toml");

pub(super) fn model() -> NodeModel {
    NodeModel::parse(MODEL).expect("the example")
}

pub(super) fn demand() -> Demand {
    Demand::parse(DEMAND).expect("the example")
}
