//! The generators: how they are started, and what a sample of one is.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde::Serialize;
use tlsgate_bench::procstat::{self, Usage};

use super::server::{GROUP, SUITE_12, SUITE_13, Server};
use super::tally::Tally;
use super::test::Test;
use crate::measure::affinity;
use crate::measure::load::Unit;
use crate::measure::process::program;
use crate::measure::rounds::{self, Measurement};
use crate::measure::sample::{Sample, busy_time, float};
use crate::measure::scratch::Scratch;

/// How much longer than its load a generator may take to end.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(5);

/// Who makes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Tool {
    /// `tlsgate-bench load`.
    Own,
    /// wrk, or `openssl s_time`.
    Independent,
}

impl rounds::Server for Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Own => "tlsgate-bench load",
            Self::Independent => "wrk, openssl s_time",
        }
    }
}

/// What all of them are started with.
pub(super) struct Stage<'run> {
    /// This program.
    pub(super) own: &'run Path,
    pub(super) server: &'run Server,
    pub(super) scratch: &'run Scratch,
    /// The CPU of the generators.
    pub(super) cpu: usize,
}

impl Tool {
    pub(super) const BOTH: [Self; 2] = [Self::Own, Self::Independent];

    /// Loads the server for `length`, or for up to two seconds longer; none when nothing was done.
    ///
    /// # Errors
    /// What went wrong, also when the server counted something else.
    pub(super) fn sample(
        self,
        test: Test,
        stage: &Stage<'_>,
        length: Duration,
    ) -> Result<Option<Sample>, String> {
        let seconds = length.as_secs().max(1);
        let commands = match (self, test) {
            (Self::Own, _) => vec![own(test, stage, length)?],
            (Self::Independent, Test::Requests) => vec![wrk(stage, seconds)?],
            (Self::Independent, _) => {
                let one = |_| s_time(test, stage, seconds);
                (0..test.at_a_time()).map(one).collect::<Result<_, _>>()?
            }
        };
        let before = (stage.server.counts()?, busy_time(stage.cpu)?);
        let run = Run::carry_out(commands, stage, length)?;
        let after = (stage.server.counts()?, busy_time(stage.cpu)?);
        let mut tallies = run.said.iter().map(|text| match (self, test) {
            (Self::Own, _) => Tally::of_own(text, test),
            (Self::Independent, Test::Requests) => Tally::of_wrk(text),
            (Self::Independent, _) => Tally::of_s_time(text, test),
        });
        let first = tallies.next().expect("at least one generator")?;
        let tally = tallies.try_fold(first, |sum, tally| Ok::<_, String>(sum.and(tally?)))?;
        tally.compare(after.0.since(before.0, test), test)?;
        let (wall, cpu) = (tally.wall.unwrap_or(run.wall), run.used.user + run.used.system);
        if tally.done == 0 || cpu.is_zero() {
            return Ok(None);
        }
        let foreign = after.1.saturating_sub(before.1).saturating_sub(cpu);
        Ok(Some(Sample {
            units: float(tally.done),
            cpu,
            wall,
            user_share: run.used.user.as_secs_f64() / cpu.as_secs_f64(),
            foreign_share: foreign.as_secs_f64() / run.wall.as_secs_f64(),
            cost: test.unit().quote(cpu, float(tally.done)),
        }))
    }
}

/// The same suites and group as the server, and no verification, as the others.
fn own(test: Test, stage: &Stage<'_>, length: Duration) -> Result<Command, String> {
    let (version, suite, kind, said) = match test.unit() {
        Unit::Handshake => ("1.2", SUITE_12[0], "handshakes", "none"),
        Unit::RoundTrip | Unit::Gigabyte => ("1.3", SUITE_13, "messages", "http"),
    };
    let address = stage.server.address;
    let more = match test.unit() {
        Unit::Handshake => format!("resumed = {}", u8::from(test.resumes())),
        Unit::RoundTrip | Unit::Gigabyte => format!("host = \"{address}\""),
    };
    let text = format!(
        "format = 1
duration = \"{}ms\"
[target.server]
address = \"{address}\"
# No name is sent.
server_name = \"{}\"
trust = \"any\"
tls = \"{version}\"
suites = [\"{suite}\"]
groups = [\"{GROUP}\"]
[[flow]]
name = \"flow\"
kind = \"{kind}\"
payload = \"{said}\"
connections = {}
{more}
",
        length.as_millis(),
        address.ip(),
        test.at_a_time(),
    );
    let file = stage.scratch.write("own.toml", &text)?;
    let mut command = Command::new(stage.own);
    command.args(["load", "--json", "-", "--scenario"]).arg(file);
    Ok(command)
}

fn wrk(stage: &Stage<'_>, seconds: u64) -> Result<Command, String> {
    let mut command = Command::new(program("wrk")?);
    command.args(["-t", "1", "-c", &Test::Requests.at_a_time().to_string()]);
    command.args(["-d", &format!("{seconds}s"), "-H", "User-Agent: tlsgate-bench"]);
    command.arg(format!("https://{}/", stage.server.address));
    Ok(command)
}

fn s_time(test: Test, stage: &Stage<'_>, seconds: u64) -> Result<Command, String> {
    let mut command = Command::new(program("openssl")?);
    command.args(["s_time", "-connect", &stage.server.address.to_string(), "-tls1_2"]);
    command.args(["-cipher", SUITE_12[1], "-time", &seconds.to_string()]);
    command.arg(if test.resumes() { "-reuse" } else { "-new" });
    Ok(command)
}

/// Names and versions of the independent tools that `tests` need.
///
/// # Errors
/// When one is not installed.
pub(super) fn versions(tests: &[Test]) -> Result<Vec<(String, String)>, String> {
    if tests.iter().any(|test| *test != Test::Requests) {
        program("openssl")?;
    }
    if !tests.contains(&Test::Requests) {
        return Ok(Vec::new());
    }
    // It tells its version and then that it lacks a URL, which is an error.
    let told = Command::new(program("wrk")?).arg("-v").output();
    let told = told.map_err(|error| format!("wrk does not start: {error}"))?;
    let text = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    Ok(vec![("wrk".to_owned(), line)])
}

/// Generators that have run at the same time.
struct Run {
    said: Vec<String>,
    used: Usage,
    wall: Duration,
}

impl Run {
    /// Runs `commands` on the generators' CPU until all have ended.
    fn carry_out(
        commands: Vec<Command>,
        stage: &Stage<'_>,
        length: Duration,
    ) -> Result<Self, String> {
        let io = |error: std::io::Error| format!("a generator: {error}");
        let paths = |number: usize| {
            ["out", "err"].map(|what| stage.scratch.path(&format!("generator-{number}.{what}")))
        };
        let mut started = Started(Vec::new());
        let since = Instant::now();
        for (number, mut command) in commands.into_iter().enumerate() {
            let [out, err] = paths(number).map(File::create);
            command.stdin(Stdio::null()).stdout(out.map_err(io)?).stderr(err.map_err(io)?);
            started.0.push(affinity::spawn_on(&[stage.cpu], &mut command).map_err(io)?);
        }
        let deadline = since + length + PATIENCE;
        let mut used = Usage::default();
        for child in &started.0 {
            used += used_by(child, deadline)?;
        }
        let wall = since.elapsed();
        let mut said = Vec::new();
        for (number, child) in started.0.iter_mut().enumerate() {
            let [out, err] = paths(number).map(fs::read_to_string);
            let status = child.wait().map_err(io)?;
            if !status.success() {
                return Err(format!("{status}: {}", err.map_err(io)?.trim_end()));
            }
            said.push(out.map_err(io)?);
        }
        Ok(Self { said, used, wall })
    }
}

/// Processes that end at the latest when this is dropped.
struct Started(Vec<Child>);

impl Drop for Started {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Both fail when it has ended and been waited for, which is what is wanted.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// CPU time of a child, all its threads, once it has ended. It is not waited for: then it would be gone.
fn used_by(child: &Child, deadline: Instant) -> Result<Usage, String> {
    let io = |error: std::io::Error| format!("a generator: {error}");
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        let ended = waitid(WaitId::Pid(Pid::from_child(child)), options);
        if ended.map_err(|errno| io(errno.into()))?.is_some() {
            return procstat::cpu_time(child.id()).map_err(io);
        }
        if Instant::now() > deadline {
            return Err("it does not end".to_owned());
        }
        std::thread::sleep(TICK);
    }
}
