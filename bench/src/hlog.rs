//! Histogram logs (.hlog): what HdrHistogram's own tools, and others, read.
//!
//! A line for each second and phase. Values are nanoseconds. The whole operation (`total`) has no
//! tag, so that tools which know none find it; the others are tagged by [`Phase::name`]. Those of a
//! flow are tagged by its name and that of the phase: `agents.total`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use crate::client::{Phase, Report};

/// Nanoseconds in the unit of the log's column of maxima, as in logs of other tools.
const MILLISECOND: f64 = 1e6;

/// Writes the timeline of `report`, and of the flows that it is the sum of, with their names.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, flows: &[(&str, &Report)], out: &mut impl Write) -> io::Result<()> {
    let second = Duration::from_secs(1);
    let first = report.timeline.keys().next().copied().unwrap_or_default();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(first);
    // The readers of other languages want to be told the version before anything else.
    out.write_all(b"#[Histogram log format version 1.3]\n")?;
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("Logged by tlsgate-bench; values are nanoseconds")
        .with_start_time(start)
        .with_max_value_divisor(MILLISECOND)
        .begin_log_with(out, &mut serializer)?;
    // Readers expect the lines in the order of time.
    let all = || {
        std::iter::once((None, report)).chain(flows.iter().map(|(name, flow)| (Some(*name), *flow)))
    };
    let seconds: BTreeSet<u64> =
        all().flat_map(|(_, report)| report.timeline.keys()).copied().collect();
    for number in seconds {
        let since = Duration::from_secs(number.saturating_sub(first));
        for (flow, report) in all() {
            let Some(interval) = report.timeline.get(&number) else { continue };
            for (phase, packed) in &interval.phases {
                let latency = packed.unpack().map_err(io::Error::other)?;
                let tag = tag(flow, *phase);
                let tag = tag.as_deref().and_then(Tag::new);
                let written = log.write_histogram(latency.histogram(), since, second, tag);
                written.map_err(|error| match error {
                    IntervalLogWriterError::IoError(error) => error,
                    IntervalLogWriterError::SerializeError(error) => {
                        io::Error::other(format!("{error:?}"))
                    }
                })?;
            }
        }
    }
    out.flush()
}

fn tag(flow: Option<&str>, phase: Phase) -> Option<String> {
    match (flow, phase) {
        (None, Phase::Total) => None,
        (None, phase) => Some(phase.name().to_owned()),
        (Some(flow), phase) => Some(format!("{flow}.{}", phase.name())),
    }
}
