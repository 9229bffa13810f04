//! Predicted beside measured, as a table.

use comfy_table::Table;
use tlsgate_bench::capacity::mix::Kind;

use super::{EXHAUSTED, Results, Verified};
use crate::measure::output::{dash, digits, filled};

/// What is good: how far saturation, and headroom's end, may be off.
const NEAR: f64 = 0.1;
/// How wide an interval may be.
const WIDE: f64 = 2.0;

/// Everything, for people.
pub(crate) fn render(results: &Results) -> String {
    let mut text = format!("{}\n\n{}\n\n{}\n", rates(results), latencies(results), spent(results));
    let count = |is_good: &dyn Fn(&Verified) -> bool| {
        results.mixes.iter().filter(|mix| is_good(mix)).count()
    };
    let all = results.mixes.len();
    text += &format!(
        "Saturation within 10 %: {} of {all}; p99 of all kinds in intervals at most a factor {WIDE} wide: \
         {} of {all}; headroom's end within 10 % of the knee: {} of {all}\n",
        count(&|mix| off(mix.median(|run| run.saturation), mix.predicted)),
        count(&|mix| Kind::ALL.iter().all(|kind| holds(mix, *kind).unwrap_or(true))),
        count(&|mix| off(end(mix), mix.median(|run| run.knee).unwrap_or(0.0))),
    );
    text += "Rates are operations per second of all kinds, by a CPU as fast as the model's; p99 at 70 % of \
             the predicted saturation, from intended starts: unloaded, as measured, and what the model \
             says that waiting adds.\n";
    for mix in &results.mixes {
        if mix.median(|run| run.client).is_some_and(|client| client >= EXHAUSTED) {
            text += &format!(
                "WARNING: {}: the client may have been the limit, not the server: more work for the \
                 server in each operation, or a faster CPU for the client (--load-cpu)\n",
                mix.name
            );
        }
    }
    results.failures.iter().for_each(|failure| text += &format!("FAILED: {failure}\n"));
    text
}

/// Whether a median is within 10 % of what it should be.
fn off(found: Option<f64>, should: f64) -> bool {
    found.is_some_and(|found| should > 0.0 && (found / should - 1.0).abs() <= NEAR)
}

/// Where the gateway says that it has nothing left.
fn end(mix: &Verified) -> Option<f64> {
    mix.median(|run| run.spent.unwrap_or(f64::NAN)).filter(|spent| spent.is_finite())
}

/// Whether p99 of a kind is as predicted; none when the mix has none of it.
fn holds(mix: &Verified, kind: Kind) -> Option<bool> {
    let (_, [low, high], measured) = mix.p99(kind)?;
    Some((low..=high).contains(&measured) && high / low <= WIDE)
}

fn rates(results: &Results) -> Table {
    let head = ["mix", "seed", "saturation predicted", "measured", "ratio", "client busy", "runs"];
    let rows = results.mixes.iter().map(|mix| {
        let measured = mix.median(|run| run.saturation);
        vec![
            mix.name.clone(),
            mix.seed.to_string(),
            digits(mix.predicted),
            known(measured),
            known(measured.map(|measured| mix.predicted / measured)),
            mix.median(|run| run.client).map_or_else(dash, |busy| format!("{:.0} %", busy * 100.0)),
            mix.runs.len().to_string(),
        ]
    });
    filled(&head, rows.collect())
}

fn latencies(results: &Results) -> Table {
    let head = ["mix", "p99 at 70 % of", "predicted, ms", "90 % interval", "measured", "holds"];
    let rows = results.mixes.iter().flat_map(|mix| {
        Kind::ALL.into_iter().filter_map(|kind| {
            let (predicted, [low, high], measured) = mix.p99(kind)?;
            let millis = |seconds: f64| {
                if seconds.is_finite() { digits(seconds * 1e3) } else { "never".to_owned() }
            };
            Some(vec![
                mix.name.clone(),
                kind.name().to_owned(),
                millis(predicted),
                format!("{}–{}", millis(low), millis(high)),
                millis(measured),
                if holds(mix, kind)? { "yes" } else { "no" }.to_owned(),
            ])
        })
    });
    filled(&head, rows.collect())
}

fn spent(results: &Results) -> Table {
    let head = ["mix", "knee, measured", "headroom's end", "ratio", "headroom at 70 %"];
    let rows = results.mixes.iter().map(|mix| {
        let (knee, end) = (mix.median(|run| run.knee), end(mix));
        let loaded = mix.median(|run| run.loaded.headroom.unwrap_or(f64::NAN));
        vec![
            mix.name.clone(),
            known(knee),
            known(end),
            known(end.zip(knee).map(|(end, knee)| end / knee)),
            known(loaded.filter(|loaded| loaded.is_finite())),
        ]
    });
    filled(&head, rows.collect())
}

fn known(number: Option<f64>) -> String {
    number.map_or_else(dash, digits)
}
