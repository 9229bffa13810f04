//! Results as tables and as a record, and whether they are as they should be.

use std::path::{Path, PathBuf};

use super::test::Test;
use super::tool::Tool;
use super::{Results, Settings};
use crate::measure::output::{Parts, Style, by_server, dash, headed, per_second, quote, remarks};
use crate::measure::record::{Conduct, Record, samples};
use crate::measure::rounds::Measurement;
use crate::measure::statistics::Quartiles;
use crate::measure::summary::{figure, paired, paired_by};

/// How far a rate may be from the independent tool's, where the server is the limit.
const AGREEMENT: f64 = 0.10;

/// All tables, each under its heading.
pub(crate) fn render(results: &Results, style: Style) -> String {
    let Results { samples, settings: Settings { tests, .. }, .. } = results;
    let of = |cell: &dyn Fn(Test, Tool) -> String| by_server(tests, &Tool::BOTH, cell);
    let costs = |test, tool| quote(figure(samples, (test, tool), |row| row.sample.cost));
    let rates = |test: Test, tool| match figure(samples, (test, tool), |row| row.sample.rate()) {
        Some(rate) => {
            format!("{} [{:.0}–{:.0}]", per_second(test.unit(), rate.median), rate.low, rate.high)
        }
        None => dash(),
    };
    let shares = |test, tool| {
        let share = |what: fn(&crate::measure::sample::Sample) -> f64| {
            figure(samples, (test, tool), |row| what(&row.sample) * 100.0)
        };
        match (share(|sample| sample.user_share), share(|sample| sample.saturation())) {
            (Some(user), Some(whole)) => format!("{:.0} %, {:.0} %", user.median, whole.median),
            _ => dash(),
        }
    };
    let parts = [
        ("CPU time of the generator, user and system: median [quartiles]", of(&costs)),
        ("Rate: median [quartiles]", of(&rates)),
        ("Part of the CPU time in user mode, and of its CPU that the generator used", of(&shares)),
        ("This generator over the independent one, medians of per-round ratios", ratios(results)),
    ];
    let foreign = Quartiles::of(samples.iter().map(|row| row.sample.foreign_share));
    headed(parts, style)
        + &remarks(foreign, &[], &results.failures).replace("servers'", "generators'")
}

/// Tests whose rates do not agree, or that cost more than with the independent tool.
pub(crate) fn missed(results: &Results) -> Vec<String> {
    let verdicts = results.settings.tests.iter().flat_map(|test| {
        let [rate, cost] = verdicts(results, *test);
        [("the rate", rate), ("the CPU time", cost)].map(|(what, met)| (*test, what, met))
    });
    let missed = verdicts.filter(|(_, _, met)| *met == Some(false));
    missed.map(|(test, what, _)| format!("{}: {what}", test.name())).collect()
}

/// Whether rate and cost are as they should be; none where that is not asked, or nothing is known.
fn verdicts(results: &Results, test: Test) -> [Option<bool>; 2] {
    let agrees = |ratio: Quartiles| (ratio.median - 1.0).abs() <= AGREEMENT;
    let rate = rate_ratio(results, test).filter(|_| test.saturates()).map(agrees);
    [rate, cost_ratio(results, test).map(|ratio| ratio.median <= 1.0)]
}

fn rate_ratio(results: &Results, test: Test) -> Option<Quartiles> {
    let [own, other] = Tool::BOTH.map(|tool| (test, tool));
    paired_by(&results.samples, &own, &[other], |row| row.sample.rate())
}

fn cost_ratio(results: &Results, test: Test) -> Option<Quartiles> {
    let [own, other] = Tool::BOTH.map(|tool| (test, tool));
    paired(&results.samples, own, other)
}

fn ratios(results: &Results) -> Parts {
    let head = ["measurement", "rate", "within 10 %", "CPU time", "at most as much"];
    let word = |met: Option<bool>| match met {
        None => dash(),
        Some(true) => "met".to_owned(),
        Some(false) => "NOT MET".to_owned(),
    };
    let row = |test: &Test| {
        let [rate, cost] = verdicts(results, *test);
        vec![
            test.name().to_owned(),
            quote(rate_ratio(results, *test)),
            word(rate),
            quote(cost_ratio(results, *test)),
            word(cost),
        ]
    };
    (head.map(str::to_owned).to_vec(), results.settings.tests.iter().map(row).collect())
}

/// Writes the record below `parent` and returns its directory, named after day and machine.
///
/// # Errors
/// Which file could not be written, for the user to read.
pub(crate) fn write_record(results: &Results, parent: &Path) -> Result<PathBuf, String> {
    let Settings { rounds, sample, server_cpu, load_cpu, .. } = results.settings;
    let record = Record {
        name: &format!("{}-generator-{}", results.machine.date, results.machine.slug()),
        title: "The load generator beside wrk and openssl s_time",
        how_to_read: HOW_TO_READ,
        summary: &render(results, Style::Markdown),
        raw: &samples(&results.samples),
        more: &[],
    };
    let conduct = Conduct { rounds, sample: Some(sample), server_cpu, load_cpu };
    record.write(&results.machine, &conduct, parent)
}

const HOW_TO_READ: &str = "## How to read it

`summary.md` has the tables, `raw.csv` every sample.

- All load the same nginx, with one worker, which answers by itself. It has an RSA key of 2048 bits,
  one suite for each version and the group X25519, and resumes by tickets.
- **CPU time** is that of the generator's processes, user and system, from their start to their end, to
  clock ticks of mostly 10 ms. What a server would take is not in it.
- **Requests** are HTTP/1.1 with the same headers over connections that stay, in TLS 1.3. wrk has one
  thread, and so has `load`. **Handshakes** are those of TLS 1.2; nothing is said over them. Nobody verifies
  certificates. s_time has one connection at a time, so there are as many of them as clients.
- **Rates** must agree where the server is the limit. With one handshake at a time, the rate is also that of
  the generator.
- Each count is compared with the server's own; a sample whose counts differ is a failure. s_time closes
  without a close_notify, `load` with one.
- Samples take turns, in opposite order every other round, and ratios are of the same round: the speed
  of a virtual machine's CPU changes by a factor of two within minutes.
";
