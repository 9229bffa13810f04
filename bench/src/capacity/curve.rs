//! What becomes of a plan as the demand grows.

use super::Problem;
use super::demand::Demand;
use super::model::NodeModel;
use super::number::float;
use super::plan::{CPU, look, needed};

/// Points of a curve of what so many nodes do.
const POINTS: usize = 48;
/// Points of the curve of nodes, each of which is a plan of its own.
const PLANS: usize = 16;
/// How far a demand that takes next to nothing is looked at.
const FARTHEST: f64 = 100.0;

/// One figure over the demand, as times what is planned for.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What it is.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// What it may be at most; none when it is only to be known.
    pub limit: Option<f64>,
    /// Times the demand, and the figure; without those that never end.
    pub points: Vec<[f64; 2]>,
}

/// Everything that is to hold or to be known with `nodes` nodes, up to where their CPU is used up, and
/// then how many nodes would be needed.
///
/// # Errors
/// When the model lacks a figure.
pub fn curves(model: &NodeModel, demand: &Demand, nodes: usize) -> Result<Vec<Curve>, Problem> {
    let now = look(model, demand, nodes)?;
    // The CPU is used in proportion to the demand.
    let last = (100.0 / now[CPU].found.max(100.0 / FARTHEST)).min(FARTHEST);
    let mut curves: Vec<Curve> = now
        .into_iter()
        .map(|objective| Curve {
            name: objective.name,
            unit: objective.unit,
            limit: objective.limit,
            points: Vec::new(),
        })
        .collect();
    for times in places(last, POINTS) {
        let looked = look(model, &demand.scaled(times), nodes)?;
        for (curve, objective) in curves.iter_mut().zip(looked) {
            if objective.found.is_finite() {
                curve.points.push([times, objective.found]);
            }
        }
    }
    let mut of_nodes = Curve {
        name: "nodes that are needed".to_owned(),
        unit: "nodes",
        limit: Some(float(nodes)),
        points: Vec::new(),
    };
    for times in places(last, PLANS) {
        let Some(needed) = needed(model, &demand.scaled(times))? else { break };
        of_nodes.points.push([times, float(needed)]);
    }
    curves.push(of_nodes);
    Ok(curves)
}

/// Equal steps up to `last`, which is one of them.
fn places(last: f64, count: usize) -> impl Iterator<Item = f64> {
    (1..=count).map(move |step| last * float(step) / float(count))
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{demand, model};
    use super::*;

    #[test]
    fn curves_go_through_what_is_planned_and_end_where_the_cpu_does() {
        let (model, demand) = (model(), demand());
        let curves = curves(&model, &demand, 3).expect("all figures");
        let looked = look(&model, &demand, 3).expect("all figures");
        assert_eq!(curves.len(), looked.len() + 1);
        for curve in &curves {
            assert!(!curve.points.is_empty(), "{}", curve.name);
            assert!(curve.points.is_sorted_by(|one, other| one[0] < other[0]), "{}", curve.name);
            assert!(curve.points.iter().flatten().all(|value| value.is_finite()), "{}", curve.name);
        }
        let cpu = &curves[CPU];
        let [times, used] = *cpu.points.last().expect("points");
        // Whole connections count for more where there are few.
        assert!((85.0..101.0).contains(&used), "{used} % at {times}");
        let by_one = looked[CPU].found;
        for [times, used] in &cpu.points {
            let is_near = (0.85..1.05).contains(&(used / times / by_one));
            assert!(is_near || *times < 1.0, "{used} % at {times}");
        }
        let nodes = curves.last().expect("of nodes");
        assert!(nodes.points.is_sorted_by(|one, other| one[1] <= other[1]), "{nodes:?}");
    }
}
