//! Histogram logs (.hlog): what HdrHistogram's own tools, and others, read.
//!
//! A line for each second and phase. Values are nanoseconds. The whole operation (`total`) has no
//! tag, so that tools which know none find it; the others are tagged by [`Phase::name`].

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use crate::client::{Phase, Report};

/// Nanoseconds in the unit of the log's column of maxima, as in logs of other tools.
const MILLISECOND: f64 = 1e6;

/// Writes the timeline of `report`.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
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
    for (number, interval) in &report.timeline {
        let since = Duration::from_secs(number - first);
        for (phase, packed) in &interval.phases {
            let latency = packed.unpack().map_err(io::Error::other)?;
            let tag = match phase {
                Phase::Total => None,
                phase => Tag::new(phase.name()),
            };
            let written = log.write_histogram(latency.histogram(), since, second, tag);
            written.map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => {
                    io::Error::other(format!("{error:?}"))
                }
            })?;
        }
    }
    out.flush()
}
