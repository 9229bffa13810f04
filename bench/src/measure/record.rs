//! A run as a directory of files, to be kept: conditions, tables, every sample.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::machine::Machine;
use super::rounds::{Measurement, Row, Server};

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
    /// Further files by their names.
    pub(crate) more: &'a [(String, String)],
}

/// How samples were taken.
pub(crate) struct Conduct {
    pub(crate) rounds: u32,
    /// Length of each sample's load, where all are as long.
    pub(crate) sample: Option<Duration>,
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
        let more = self.more.iter().map(|(name, text)| (&**name, &**text));
        for (name, text) in files.into_iter().chain(more) {
            let path = directory.join(name);
            fs::write(&path, text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(directory)
    }

    fn conditions(&self, machine: &Machine, conduct: &Conduct) -> String {
        let Machine { date, cpu, cpus, memory_gib, kernel, distribution, .. } = machine;
        let Conduct { rounds, sample, server_cpu, load_cpu } = conduct;
        let sample = sample
            .map_or_else(String::new, |length| format!(" of samples of {} ms", length.as_millis()));
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

{rounds} rounds{sample}; servers on CPU {server_cpu}, client and backend on CPU {load_cpu}.

{}",
            self.title,
            machine.congestion_control,
            machine.commit,
            machine.command_line,
            self.how_to_read,
        )
    }
}

/// Every sample as CSV.
pub(crate) fn samples<T: Measurement, K: Server>(rows: &[Row<T, K>]) -> String {
    let mut text = String::from(
        "round,position,test,target,units,cpu_ns,wall_ns,user_share,foreign_share,cost,cost_unit,\
         speed_before,speed_after\n",
    );
    for row in rows {
        let sample = &row.sample;
        text += &format!(
            "{},{},{},{},{},{},{},{:.3},{:.3},{:.4},{},{:.0},{:.0}\n",
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
            row.speed[0],
            row.speed[1],
        );
    }
    text
}
