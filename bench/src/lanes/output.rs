//! Results as tables and as a record.

use std::path::{Path, PathBuf};

use super::Results;
use super::target::Kind;
use super::test::Test;
use crate::measure::output::{Parts, Style, by_server, dash, headed, per_second, quote, remarks};
use crate::measure::record::{Conduct, Record, samples};
use crate::measure::rounds::Measurement;
use crate::measure::statistics::Quartiles;
use crate::measure::summary::{figure, paired};

/// Whom costs are compared with.
const REFERENCE: Kind = Kind::IoUring;

/// All tables, each under its heading.
pub(crate) fn render(results: &Results, style: Style) -> String {
    let parts = [
        ("Cost: median [quartiles]", costs(results)),
        ("Cost relative to tlsgate io_uring, median of per-round ratios", ratios(results)),
        ("Share of its CPU that the server used, and rate", saturation(results)),
    ];
    let foreign = Quartiles::of(results.samples.iter().map(|row| row.sample.foreign_share));
    headed(parts, style) + &remarks(foreign, &results.left_out, &results.failures)
}

/// Writes the record below `parent` and returns its directory, named after day and machine.
///
/// # Errors
/// Which file could not be written, for the user to read.
pub(crate) fn write_record(results: &Results, parent: &Path) -> Result<PathBuf, String> {
    let super::Settings { rounds, sample, server_cpu, load_cpu, .. } = results.settings;
    let record = Record {
        name: &format!("{}-lanes-{}", results.machine.date, results.machine.slug()),
        title: "Old TLS: the lanes of tlsgate, stunnel and HAProxy",
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

- **Cost** is CPU time of the server's processes (user and kernel, all threads) per unit of work: for
  tlsgate that of the gateway and of the child process in which the lane `legacy` runs. It is not
  latency and not a rate.
- **Ratios** are what can be trusted: each compares two servers in the same round, and the median
  over rounds is quoted. Absolute costs move with the machine's mood; on a virtual machine by a
  factor of two within minutes.
- All servers run at once, pinned to one CPU: tlsgate with one worker and the child, HAProxy with one
  thread, stunnel with its thread for each connection, whose times are read to a clock tick because
  its threads end. The samples of a round take turns; every other round goes through them backwards.
  Client and backend share another CPU, where a process of lowest priority takes all idle time.
- TLS 1.0 runs in the lane `legacy`, TLS 1.2 with CBC and static RSA in `compat12`, both of one
  listener. All servers have the same suites (AES-128-CBC with SHA-1), group (P-256), kind of
  key (RSA, 2048 bits) and OpenSSL's security level 0. All have OpenSSL, though not the same one (see
  above). The peers have the settings of their packages apart from that.
- A **handshake** is: connect, handshake, 100-byte echo through the backend, close_notify, close.
  The client verifies the certificate, and that it resumed where it should.
- **As client** the load comes in plaintext, and the server that is measured speaks TLS with one that
  has nothing but this version: an HAProxy on the other CPU, in front of the backend. Everybody
  verifies its chain; nobody resumes, because the lanes do not.
- **Bulk** is 4 connections with bodies of 16 MiB, content checked; 1 GB is 10^9 bytes.
";

fn costs(results: &Results) -> Parts {
    let cell = |test, kind| quote(figure(&results.samples, (test, kind), |row| row.sample.cost));
    by_server(&results.settings.tests, &kinds(results), cell)
}

fn ratios(results: &Results) -> Parts {
    if !kinds(results).contains(&REFERENCE) {
        return (Vec::new(), Vec::new());
    }
    let cell = |test, kind| quote(paired(&results.samples, (test, kind), (test, REFERENCE)));
    by_server(&results.settings.tests, &kinds(results), cell)
}

fn saturation(results: &Results) -> Parts {
    let cell = |test: Test, kind| {
        let share = figure(&results.samples, (test, kind), |row| row.sample.saturation() * 100.0);
        let rate = figure(&results.samples, (test, kind), |row| row.sample.rate());
        match (share, rate) {
            (Some(share), Some(rate)) => {
                format!("{:.0} %, {}", share.median, per_second(test.unit(), rate.median))
            }
            _ => dash(),
        }
    };
    by_server(&results.settings.tests, &kinds(results), cell)
}

/// The servers that were measured, in order.
fn kinds(results: &Results) -> Vec<Kind> {
    let was_measured = |kind: &Kind| results.samples.iter().any(|row| row.target == *kind);
    Kind::ALL.into_iter().filter(was_measured).collect()
}
