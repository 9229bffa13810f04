//! A run as a directory of files, to be kept: conditions, tables, every sample.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::machine::Machine;
use super::output::{Style, render};
use super::rounds::{Measurement, Row, Server};
use super::{Results, Settings};

/// Writes the record below `parent` and returns its directory, named after day and machine.
///
/// # Errors
/// Which file could not be written, for the user to read.
pub(crate) fn write(results: &Results, parent: &Path) -> Result<PathBuf, String> {
    let Settings { rounds, sample, server_cpu, load_cpu, .. } = results.settings;
    let conduct = Conduct { rounds, sample, server_cpu, load_cpu };
    let record = Record {
        name: &format!("{}-{}", results.machine.date, results.machine.slug()),
        title: "tlsgate and its peers",
        how_to_read: HOW_TO_READ,
        summary: &render(results, Style::Markdown),
        raw: &samples(&results.samples),
    };
    record.write(&results.machine, &conduct, parent)
}

/// What is written.
pub(crate) struct Record<'a> {
    /// Of the directory.
    pub(crate) name: &'a str,
    pub(crate) title: &'a str,
    pub(crate) how_to_read: &'a str,
    /// The tables, as Markdown.
    pub(crate) summary: &'a str,
    /// Every sample, as CSV.
    pub(crate) raw: &'a str,
}

/// How samples were taken.
pub(crate) struct Conduct {
    pub(crate) rounds: u32,
    pub(crate) sample: Duration,
    pub(crate) server_cpu: usize,
    pub(crate) load_cpu: usize,
}

impl Record<'_> {
    /// Writes it below `parent` and returns its directory.
    ///
    /// # Errors
    /// Which file could not be written, for the user to read.
    pub(crate) fn write(
        &self,
        machine: &Machine,
        conduct: &Conduct,
        parent: &Path,
    ) -> Result<PathBuf, String> {
        let directory = parent.join(self.name);
        fs::create_dir_all(&directory)
            .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
        let files = [
            ("README.md", &*self.conditions(machine, conduct)),
            ("summary.md", &*format!("# Results\n\n{}", self.summary)),
            ("raw.csv", self.raw),
        ];
        for (name, text) in files {
            let path = directory.join(name);
            fs::write(&path, text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(directory)
    }

    fn conditions(&self, machine: &Machine, conduct: &Conduct) -> String {
        let Machine { date, cpu, cpus, memory_gib, kernel, distribution, .. } = machine;
        let Conduct { rounds, sample, server_cpu, load_cpu } = conduct;
        let dirty = if machine.dirty { ", with changes" } else { "" };
        let governor = machine.governor.as_deref().unwrap_or("not visible");
        let virtualised = if machine.virtualised { "yes" } else { "no" };
        let versions: String = machine
            .versions
            .iter()
            .map(|(name, version)| format!("| {name} | {version} |\n"))
            .collect();
        format!(
            "# {}, {date}

| | |
|---|---|
| CPU | {cpu}, {cpus} CPUs |
| memory | {memory_gib} GiB |
| virtual machine | {virtualised} |
| frequency governor | {governor} |
| kernel | {kernel} |
| distribution | {distribution} |
| TCP congestion control | {} |
| commit | {}{dirty} |
{versions}
Command: `{}`

{rounds} rounds of samples of {} ms; servers on CPU {server_cpu}, client and backend on CPU {load_cpu}.

{}",
            self.title,
            machine.congestion_control,
            machine.commit,
            machine.command_line,
            sample.as_millis(),
            self.how_to_read,
        )
    }
}

const HOW_TO_READ: &str = "## How to read it

`summary.md` has the tables, `raw.csv` every sample.

- **Cost** is CPU time of the server's process (user and kernel, all threads, io_uring's workers
  included) per unit of work: what a core is worth. It is not latency and not a rate.
- **Ratios** are what can be trusted: each compares two servers in the same round, and the median
  over rounds is quoted. Absolute costs move with the machine's mood; on a virtual machine by a
  factor of two within minutes.
- All servers run at once with one worker each, pinned to one CPU. The samples of a round take
  turns; every other round goes through them backwards. Client and backend share another CPU,
  where a process of lowest priority takes all idle time, so that a hyper-thread sibling is always
  equally busy.
- **Share of its CPU**: below 100 % the client, the backend or waiting was the limit. The cost is
  then still what the server spent, with smaller batches than under full load.
- A **handshake** is: connect, handshake, 100-byte echo through the backend, close_notify, close.
  Resumed ones use tickets; in TLS 1.3 with a new key exchange (psk_dhe_ke).
- **Bulk** is 4 connections with bodies of 16 MiB, content checked; 1 GB is 10^9 bytes. A
  **round trip** is 100 bytes to the backend and back: two messages.
- TLS: X25519, ECDSA P-256, AES-128-GCM-SHA256, one certificate; the client verifies it. The peers
  have the settings of their packages apart from that.
- **System calls** come from runs with few and with many round trips; the difference is quoted.
  The kernel's count (tracepoint raw_syscalls:sys_enter) hardly disturbs; strace slows servers
  down so much that batches grow, and serves to tell which calls they are. The own count is the
  gateway's metric tlsgate_engine_system_calls_total.
- **Memory** is the growth of the process's proportional set (PSS) from after a warm-up of 100
  connections, per connection, in a new process each. The kernel's socket memory is not in it.
";

/// Every sample as CSV.
pub(crate) fn samples<T: Measurement, K: Server>(rows: &[Row<T, K>]) -> String {
    let mut text = String::from(
        "round,position,test,target,units,cpu_ns,wall_ns,user_share,foreign_share,cost,cost_unit\n",
    );
    for row in rows {
        let sample = &row.sample;
        text += &format!(
            "{},{},{},{},{},{},{},{:.3},{:.3},{:.4},{}\n",
            row.round,
            row.position,
            row.test.name().replace(',', ""),
            row.target.name(),
            sample.units,
            sample.cpu.as_nanos(),
            sample.wall.as_nanos(),
            sample.user_share,
            sample.foreign_share,
            sample.cost,
            row.test.unit().cost(),
        );
    }
    text
}
