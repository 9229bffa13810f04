//! What a process and its descendants have used, read from `/proc`: CPU time, memory, descriptors.
//!
//! CPU time comes from two files. `/proc/PID/task/*/schedstat` counts nanoseconds on a CPU, of
//! live threads only (it includes io_uring worker threads). `/proc/PID/stat` counts user and
//! system clock ticks, of all threads that ever lived. So [`Usage::on_cpu`] is the precise figure
//! for a server whose threads stay, and the ticks give the split between user and kernel.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::ops::AddAssign;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most processes that one tree may have; a deeper or wider tree is an error, not a long loop.
const MAX_PROCESSES: usize = 4096;

/// Usage of one process, or the sum over a process tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processes that were added up.
    pub processes: u64,
    /// Live threads.
    pub threads: u64,
    /// Time in user mode; resolution one clock tick, usually 10 ms.
    pub user: Duration,
    /// Time in the kernel; resolution one clock tick.
    pub system: Duration,
    /// Time on a CPU of all live threads; resolution one nanosecond.
    pub on_cpu: Duration,
    /// Resident set in bytes; pages shared between processes count in each of them.
    pub rss: u64,
    /// Proportional set in bytes; a page shared by n processes counts 1/n in each.
    pub pss: u64,
    /// Open file descriptors.
    pub descriptors: u64,
}

impl Usage {
    /// What was used since `earlier`: the difference of the times. Memory, descriptors and counts
    /// are levels and keep the values of `self`.
    ///
    /// A process that ended in between takes its share away; differences never go below zero.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            on_cpu: self.on_cpu.saturating_sub(earlier.on_cpu),
            ..*self
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.processes += other.processes;
        self.threads += other.threads;
        self.user += other.user;
        self.system += other.system;
        self.on_cpu += other.on_cpu;
        self.rss += other.rss;
        self.pss += other.pss;
        self.descriptors += other.descriptors;
    }
}

/// Usage of process `pid` alone.
///
/// # Errors
/// `NotFound` when there is no such process, `PermissionDenied` when it belongs to someone else,
/// `InvalidData` when the kernel's files do not look as documented in proc(5).
pub fn process(pid: u32) -> Result<Usage> {
    let base = format!("/proc/{pid}");
    let stat = Stat::parse(&fs::read_to_string(format!("{base}/stat"))?)
        .ok_or_else(|| malformed("stat"))?;
    let (rss, pss) = memory(&fs::read_to_string(format!("{base}/smaps_rollup"))?)
        .ok_or_else(|| malformed("smaps_rollup"))?;
    let (threads, on_cpu) = thread_times(Path::new(&format!("{base}/task")))?;
    Ok(Usage {
        processes: 1,
        threads,
        user: stat.user,
        system: stat.system,
        on_cpu,
        rss,
        pss,
        descriptors: fs::read_dir(format!("{base}/fd"))?.count() as u64,
    })
}

/// CPU time that process `pid` has used, without its memory: a look at memory stops the process
/// for a while, this does not. The other fields are zero.
///
/// # Errors
/// As [`process`].
pub fn cpu_time(pid: u32) -> Result<Usage> {
    let base = format!("/proc/{pid}");
    let stat = Stat::parse(&fs::read_to_string(format!("{base}/stat"))?)
        .ok_or_else(|| malformed("stat"))?;
    let (threads, on_cpu) = thread_times(Path::new(&format!("{base}/task")))?;
    let Stat { user, system, .. } = stat;
    Ok(Usage { processes: 1, threads, user, system, on_cpu, ..Usage::default() })
}

/// Bytes of memory that process `pid` has resident. The kernel's count of them is a little behind, and
/// reading it disturbs nobody.
///
/// # Errors
/// As [`process`].
pub fn resident(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: Option<u64> =
        text.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
    Ok(pages.ok_or_else(|| malformed("statm"))? * rustix::param::page_size() as u64)
}

/// The ids of process `pid` and of all its descendants, parents before their children.
///
/// # Errors
/// As [`tree`].
pub fn family(pid: u32) -> Result<Vec<u32>> {
    let mut family = vec![pid];
    family.extend(descendants(pid)?);
    Ok(family)
}

/// Usage of process `pid` and of all its descendants.
///
/// Descendants that end while they are read are left out.
///
/// # Errors
/// As [`process`], for `pid` itself; `Other` when the tree has more than 4096 processes.
pub fn tree(pid: u32) -> Result<Usage> {
    let mut sum = process(pid)?;
    for descendant in descendants(pid)? {
        match process(descendant) {
            Ok(usage) => sum += usage,
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

/// Time that the hypervisor has given to others while these CPUs had something to do, since they were
/// started: a pause of theirs that no scheduler can help. Resolution one clock tick.
///
/// # Errors
/// When `/proc/stat` cannot be read, or does not look as documented in proc(5).
pub fn stolen(cpus: &[usize]) -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let of = |cpu: &usize| {
        let name = format!("cpu{cpu} ");
        let line = text.lines().find_map(|line| line.strip_prefix(name.as_str()))?;
        // user, nice, system, idle, iowait, irq, softirq, steal.
        line.split_ascii_whitespace().nth(7)?.parse().ok().map(ticks)
    };
    let times: Option<Vec<Duration>> = cpus.iter().map(of).collect();
    times.map(|times| times.iter().sum()).ok_or_else(|| malformed("stat of a CPU"))
}

/// The process ids of all descendants of `pid`, parents before their children.
fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(candidate) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        match fs::read_to_string(format!("/proc/{candidate}/stat")) {
            Ok(text) => {
                let stat = Stat::parse(&text).ok_or_else(|| malformed("stat"))?;
                parents.push((stat.parent, candidate));
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    below(pid, &parents)
}

/// The descendants of `pid`, given pairs of a parent and its child.
fn below(pid: u32, parents: &[(u32, u32)]) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut unvisited = vec![pid];
    while let Some(parent) = unvisited.pop() {
        for (_, child) in parents.iter().filter(|(of, _)| *of == parent) {
            found.push(*child);
            unvisited.push(*child);
        }
        if found.len() > MAX_PROCESSES {
            return Err(Error::other(format!(
                "process {pid} has over {MAX_PROCESSES} descendants"
            )));
        }
    }
    Ok(found)
}

/// Number of live threads and the nanoseconds that they spent on a CPU.
fn thread_times(tasks: &Path) -> Result<(u64, Duration)> {
    let mut threads = 0;
    let mut total = 0;
    for task in fs::read_dir(tasks)? {
        match fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => {
                total += first_number(&text).ok_or_else(|| malformed("schedstat"))?;
                threads += 1;
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((threads, Duration::from_nanos(total)))
}

/// The fields of `/proc/PID/stat` that matter here (proc(5), fields 4, 14 and 15).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    user: Duration,
    system: Duration,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The command name is in parentheses and may itself hold blanks and parentheses.
        let after_name = text.get(text.rfind(')')? + 1..)?;
        let mut fields = after_name.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let user = fields.nth(9)?.parse().ok()?;
        let system = fields.next()?.parse().ok()?;
        Some(Self { parent, user: ticks(user), system: ticks(system) })
    }
}

fn ticks(count: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_nanos(count.saturating_mul(1_000_000_000 / per_second))
}

/// Resident and proportional set in bytes.
fn memory(rollup: &str) -> Option<(u64, u64)> {
    let kibibytes = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        first_number(line).map(|number| number * 1024)
    };
    Some((kibibytes("Rss:")?, kibibytes("Pss:")?))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// A thread or process that ended between two looks: open fails with ENOENT, read with ESRCH.
fn is_gone(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn malformed(file: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("cannot understand /proc/PID/{file}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_hostile_command_name_does_not_shift_the_fields() {
        let text = "77 (a) 1 (b) S 42 7 7 0 -1 0 1 2 3 4 150 50 0 0 20 0 3 0 1";
        let stat = Stat::parse(text).expect("well-formed");
        let tick = ticks(1);
        assert_eq!(stat, Stat { parent: 42, user: tick * 150, system: tick * 50 });
        assert_eq!(Stat::parse("77 (a"), None);
    }

    #[test]
    fn busy_work_shows_up_as_time_on_a_cpu() {
        let mut child =
            Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("start sh");
        let deadline = Instant::now() + Duration::from_secs(20);
        let used = loop {
            let used = process(child.id());
            let enough = |used: &Usage| used.on_cpu > Duration::from_millis(50);
            if used.as_ref().map_or(true, enough) || Instant::now() > deadline {
                break used;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        child.kill().expect("stop sh");
        child.wait().expect("reap sh");
        let used = used.expect("usage of the child");
        assert!(used.on_cpu > Duration::from_millis(50), "{used:?}");
        assert!(used.user + used.system > Duration::ZERO, "{used:?}");
        assert!(used.rss >= used.pss && used.pss > 0, "{used:?}");
        assert!(used.threads == 1 && used.descriptors >= 3, "{used:?}");
    }

    #[test]
    fn what_is_stolen_of_a_cpu_is_told() {
        let before = stolen(&[0]).expect("there is one");
        assert!(stolen(&[0]).expect("there is one") >= before);
        assert!(stolen(&[usize::MAX]).is_err());
    }

    #[test]
    fn a_child_is_part_of_the_tree() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("start sleep");
        let own = std::process::id();
        let (sum, family, time) = (tree(own), family(own), cpu_time(own));
        child.kill().expect("stop sleep");
        child.wait().expect("reap sleep");
        assert!(sum.expect("tree").processes >= 2);
        assert!(resident(own).expect("memory") > 1 << 20);
        let family = family.expect("family");
        assert!(family.first() == Some(&own) && family.contains(&child.id()), "{family:?}");
        let time = time.expect("time");
        assert!(time.on_cpu > Duration::ZERO && time.rss == 0, "{time:?}");
    }

    #[test]
    fn a_family_is_complete_and_has_a_limit() {
        let parents = [(1, 2), (1, 9), (2, 3), (3, 4), (9, 10)];
        let mut found = below(2, &parents).expect("a small family");
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
        assert!(below(4, &parents).expect("no children").is_empty());
        // A pid that was reused while the list was read can look like its own ancestor.
        assert!(below(1, &[(1, 2), (2, 1)]).is_err());
    }

    #[test]
    fn a_process_that_does_not_exist_is_not_found() {
        let error = process(u32::MAX).expect_err("no such process");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
