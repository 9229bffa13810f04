//! A run as a directory of files, to be kept.

use std::path::{Path, PathBuf};

use super::output::render;
use super::{Results, Settings, plots};
use crate::measure::output::Style;
use crate::measure::record::{Conduct, Record, samples};

/// Writes the record below `parent` and returns its directory, named after day and machine.
///
/// # Errors
/// Which file could not be written, for the user to read.
pub(crate) fn write(results: &Results, parent: &Path) -> Result<PathBuf, String> {
    let Settings { rounds, sample, server_cpu, load_cpu, .. } = results.settings;
    let mut files = plots::all(results)?;
    let images: String = files.iter().map(|(name, _)| format!("![{name}]({name})\n\n")).collect();
    let json = serde_json::to_string(results).map_err(|error| error.to_string())?;
    files.push(("results.json".to_owned(), json + "\n"));
    let record = Record {
        name: &format!("{}-peers-{}", results.machine.date, results.machine.slug()),
        title: "tlsgate and its peers",
        how_to_read: HOW_TO_READ,
        summary: &format!("{}\n{images}", render(results, Style::Markdown)),
        raw: &samples(&results.samples),
        more: &files,
    };
    let conduct = Conduct { rounds, sample: Some(sample), server_cpu, load_cpu };
    record.write(&results.machine, &conduct, parent)
}

const HOW_TO_READ: &str = "## How to read it

`summary.md` has the tables and plots, `raw.csv` every sample, `results.json` all of it.

- **Cost** is CPU time of the server's processes (user and kernel, all threads, io_uring's workers
  included) per unit of work: what a core is worth. It is not latency and not a rate.
- **Ratios** are what can be trusted: each compares two servers in the same round, and the median
  over rounds decides. Absolute costs move with the machine's mood; on a virtual machine by a factor
  of two within minutes. A probe (P-256 signatures for 20 ms) is taken before and after each sample,
  on the servers' CPU; the ratio *by CPU speed* has its changes taken out, and corrects too much where
  the kernel does most of the work.
- The **best peer** of a figure is the one with the lowest median cost.
- All servers run at once with one worker each, pinned to one CPU. The samples of a round take
  turns; every other round goes through them backwards. A sample during which others used more than
  15 % of the servers' CPU is taken again. Client and backend share another CPU, where a process of
  lowest priority takes all idle time, so that a hyper-thread sibling is always equally busy.
- **Share of its CPU**: below 100 % the client, the backend or waiting was the limit. The cost is
  then still what the server spent, with smaller batches than under full load.
- A **handshake** is: connect, handshake, 100-byte echo through the backend, close_notify, close.
  Resumed ones use tickets; in TLS 1.3 with a new key exchange (psk_dhe_ke). Where handshakes are counted,
  the client checks no certificate and no signature, and all its connections have one key share of
  X25519: else it, and not the server, were the limit of the fastest servers, which would then wait, wake
  up and find little to do.
- **Bulk** is 4 connections with bodies of 16 MiB, content checked; 1 GB is 10^9 bytes. A
  **round trip** is 100 bytes to the backend and back: two messages.
- **Floors**: *TLS in memory* is the server's part of the same handshake by rustls without sockets
  (ring, key exchange by aws-lc-rs), for bulk AES-128-GCM of ring on records of 16 KiB, for a round
  trip on two of 100 bytes. *plain relay* is a relay of this program without TLS, which reads and
  writes up to 256 KiB at once; its figure for the TLS 1.3 full handshake is that for a connection
  of any kind.

## How all are set up

- TLS: X25519, AES-128-GCM-SHA256, one certificate in the chain (ECDSA P-256, or RSA of 2,048 bits
  where that is said). Sessions live for 6 hours, and one ticket is sent after
  a full handshake of TLS 1.3, except by Envoy, whose BoringSSL sends two, and hitch, whose sessions
  live as long as OpenSSL has it. X25519MLKEM768 is measured where there is a library that has it.
- tlsgate has its shipped defaults: telemetry, the admin port and the access log are on, the log goes
  to a file. Set are the number of workers, the engine, `drain_timeout` (so that a run ends at once)
  and, where the gateway begins TLS, `upstream_tls.resumption = false`: nobody resumes there.
- The peers have the settings of their packages apart from that, no access log, and limits that are
  high enough for this.
- **originate**: the load comes in plaintext, and the server that is measured speaks TLS with an
  HAProxy on the other CPU, in front of the backend. **pair**: plaintext, mutual TLS 1.3 between two
  listeners of the same server, plaintext; the cost is that of both ends.

## The other figures

- **Latency** is measured in an open loop, from the intended start; all rounds together.
- **Memory** is by how much the process's proportional set (PSS) grows from few idle connections to
  many, per connection, in a new process each. The kernel's socket memory is not in it.
- A **storm** is three times as many full handshakes with an RSA certificate as the server has done
  in a closed loop, each given up after 2 s, while, then as in the storm, 200 connections exchange 50
  messages a second each. 4,000 handshakes are under way at most; *not-started* are those beyond, *begun* are all others.
  What completes is a whole handshake and an echo, as above; it is counted in the whole seconds of the
  storm. The goal for the flows is their p99 without a storm and two of the longest steps of a handshake
  in memory. Storms over the servers take turns; of several, medians [quartiles] count. *Stolen* is what
  the hypervisor has given to others meanwhile: a pause of 20 ms is a message's wait, too.
- **Two workers**: client, backend and gateway are on both CPUs, and a process of lowest priority on
  each; with one worker, it is on the servers' CPU.
- **Instructions** are counted by callgrind over all threads of the gateway, with few and with many
  units; the difference is quoted.
- **System calls** come from runs with few and with many round trips; the difference is quoted.
  The kernel's count (tracepoint raw_syscalls:sys_enter) hardly disturbs; strace slows servers
  down so much that batches grow, and serves to tell which calls they are. The own count is the
  gateway's metric tlsgate_engine_system_calls_total.
";

#[cfg(test)]
mod tests {
    use super::super::target::Kind;
    use super::super::test::Test;
    use super::super::test_data::{results, row};
    use super::*;

    #[test]
    fn a_record_has_every_sample_every_failure_and_what_draws_it() {
        let samples = vec![
            row(0, Test::RoundTrips50, Kind::IoUring, 10.0),
            row(0, Test::RoundTrips1000, Kind::IoUring, 15.0),
        ];
        let results = results(samples);
        let text = render(&results, Style::Terminal);
        assert!(text.contains("1.50 [1.50–1.50]") && text.contains("FAILED: something"), "{text}");
        let parent = tempfile::tempdir().expect("a directory");
        let directory = write(&results, parent.path()).expect("written");
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("a file");
        assert_eq!(read("raw.csv").lines().count(), 3);
        assert!(read("README.md").contains(&results.machine.commit));
        let summary = read("summary.md");
        assert!(summary.contains("| round trips, 50 connections"), "{summary}");
        assert!(summary.contains("![round-trips.svg](round-trips.svg)"), "{summary}");
        assert!(read("round-trips.svg").starts_with("<svg"));
        let json: serde_json::Value = serde_json::from_str(&read("results.json")).expect("JSON");
        assert_eq!(json["samples"][1]["test"], "round-trips-1000");
    }
}
