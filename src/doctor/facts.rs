//! What is known of the machine: texts of the kernel's below a root, and what only asking it tells.

use std::collections::BTreeSet;
use std::fmt;

use crate::sandbox::Part;

/// Files below a root: the machine's own, or recorded ones.
pub trait Tree {
    /// The text of a file; `None` when it is not there or cannot be read.
    fn text(&self, path: &str) -> Option<String>;
    /// What is in a folder, sorted; nothing when it is not there.
    fn names(&self, folder: &str) -> Vec<String>;
}

/// Everything that checks look at.
pub struct Facts<'a> {
    pub tree: &'a dyn Tree,
    /// Whose limits, affinity and cgroup count: `self`, or the id of a process.
    pub process: String,
    /// What the kernel answers. `None` where the root is not this machine's.
    pub live: Option<Live>,
    /// What the configuration names.
    pub files: Vec<FileFacts>,
    /// Names of upstreams, and how many addresses each has, or why none.
    pub names: Vec<(String, Result<usize, String>)>,
    /// Unix time.
    pub now: i64,
}

/// What only asking tells.
#[derive(Clone, Debug)]
pub struct Live {
    /// Whether a ring with provided buffers can be had; if not, why.
    pub ring: Result<(), String>,
    /// What can be limited, and how far.
    pub sandbox: Vec<Part>,
    /// `None` where the kernel does not say.
    pub clock: Option<Clock>,
}

/// What the kernel thinks of its clock (adjtimex(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub is_synchronised: bool,
    /// Microseconds that it may be off.
    pub error_us: u64,
}

/// A file that the configuration names.
#[derive(Clone, Debug)]
pub struct FileFacts {
    pub path: String,
    pub kind: FileKind,
    /// Permission bits and owners; or why it cannot be read.
    pub access: Result<Access, String>,
    /// What ends in it; empty for keys.
    pub ends: Result<Vec<Ends>, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A chain that we show.
    Certificate,
    /// Only for its owner and, with a name, for that group.
    Key {
        group: Option<String>,
    },
    Ca,
    /// Whether an expired list refuses those whom it is about (`crl_expired`).
    Crl {
        rejects: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Bits of chmod(1).
    pub mode: u32,
    pub group: u32,
}

/// A certificate or a list of revoked ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Subject, or the list's issuer.
    pub what: String,
    /// Unix time: notBefore, or thisUpdate.
    pub from: i64,
    /// Unix time: notAfter, or nextUpdate.
    pub until: i64,
}

/// A limit of a process (getrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limit {
    At(u64),
    Unlimited,
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(number) => number.fmt(formatter),
            Self::Unlimited => formatter.write_str("unlimited"),
        }
    }
}

/// Numbers of CPUs.
pub(super) type Cpus = BTreeSet<u32>;

impl Facts<'_> {
    pub(super) fn text(&self, path: &str) -> Option<String> {
        self.tree.text(path).map(|text| text.trim_end().to_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// A setting of the kernel, in words with single spaces; `None` where this kernel or network
    /// namespace has none.
    pub(super) fn sysctl(&self, key: &str) -> Option<String> {
        let text = self.tree.text(&format!("/proc/sys/{}", key.replace('.', "/")))?;
        Some(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Soft and hard limit of the process; `name` as in /proc/self/limits.
    pub(super) fn limit(&self, name: &str) -> Option<(Limit, Limit)> {
        let text = self.text(&format!("/proc/{}/limits", self.process))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut words = line.split_ascii_whitespace().map(|word| match word {
            "unlimited" => Some(Limit::Unlimited),
            number => number.parse().ok().map(Limit::At),
        });
        Some((words.next()??, words.next()??))
    }

    /// A line of /proc/self/status.
    pub(super) fn status(&self, field: &str) -> Option<String> {
        let text = self.text(&format!("/proc/{}/status", self.process))?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| *name == field).map(|(_, value)| value.trim().to_owned())
    }

    /// Whether the process has a capability (linux/capability.h).
    pub(super) fn has_capability(&self, number: u32) -> Option<bool> {
        let bits = u64::from_str_radix(&self.status("CapEff")?, 16).ok()?;
        Some(bits & (1 << number) != 0)
    }

    /// CPUs that the process may run on.
    pub(super) fn allowed(&self) -> Option<Cpus> {
        cpu_list(&self.status("Cpus_allowed_list")?)
    }

    pub(super) fn online(&self) -> Option<Cpus> {
        cpu_list(&self.text("/sys/devices/system/cpu/online")?)
    }

    /// CPUs' worth of time that the cgroup may use; `None` without a quota.
    pub(super) fn quota(&self) -> Option<f64> {
        // Every group up to the root counts: the tightest holds.
        let of = |quota: f64, period: f64| (quota > 0.0 && period > 0.0).then_some(quota / period);
        let second = self.up(&self.group("")).into_iter().filter_map(|folder| {
            let text = self.text(&format!("{folder}/cpu.max"))?;
            let (quota, period) = text.split_once(' ')?;
            of(quota.parse().ok()?, period.parse().ok()?)
        });
        let first = self.up(&self.group("cpu")).into_iter().filter_map(|folder| {
            let number = |name: &str| self.text(&format!("{folder}/{name}"))?.parse().ok();
            of(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
        });
        second.chain(first).min_by(f64::total_cmp)
    }

    /// Bytes of memory that the cgroup may use; `None` without a limit.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        let second = self.up(&self.group("")).into_iter();
        let second = second.filter_map(|folder| self.number(&format!("{folder}/memory.max")));
        let first = self.up(&self.group("memory")).into_iter();
        let first =
            first.filter_map(|folder| self.number(&format!("{folder}/memory.limit_in_bytes")));
        // Version 1 says "no limit" by a number that no machine has.
        second.chain(first).filter(|bytes| *bytes < 1 << 62).min()
    }

    /// A line of /proc/meminfo, in bytes.
    pub(super) fn memory(&self, field: &str) -> Option<u64> {
        let text = self.text("/proc/meminfo")?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(name, _)| *name == field)?;
        let kilobytes: u64 = value.split_ascii_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// How many workers there are by default: one for each CPU that affinity and quota allow.
    pub fn default_workers(&self) -> usize {
        let allowed = self.allowed().or_else(|| self.online()).map_or(1, |cpus| cpus.len());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a quota is a small positive number"
        )]
        let quota = self.quota().map_or(usize::MAX, |cpus| cpus.floor() as usize);
        allowed.min(quota).max(1)
    }

    /// Nodes of memory, each with its CPUs.
    pub(super) fn nodes(&self) -> Vec<(u32, Cpus)> {
        let folder = "/sys/devices/system/node";
        let names = self.tree.names(folder).into_iter();
        let mut nodes: Vec<(u32, Cpus)> = names
            .filter_map(|name| {
                let number = name.strip_prefix("node")?.parse().ok()?;
                let cpus = self.text(&format!("{folder}/{name}/cpulist"))?;
                Some((number, cpu_list(&cpus)?))
            })
            .collect();
        nodes.sort_unstable();
        nodes
    }

    /// Network cards: interfaces with a device behind them.
    pub(super) fn cards(&self) -> Vec<String> {
        let all = self.tree.names("/sys/class/net").into_iter();
        all.filter(|name| !self.tree.names(&format!("/sys/class/net/{name}/device")).is_empty())
            .collect()
    }

    /// The cgroup of the process in a hierarchy of version 1, or in that of version 2 (no name), as
    /// a folder.
    fn group(&self, controller: &str) -> Option<(String, String)> {
        let text = self.text(&format!("/proc/{}/cgroup", self.process))?;
        let path = text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let controllers = parts.nth(1)?;
            controllers.split(',').any(|one| one == controller).then(|| parts.next())?
        })?;
        let mount = match controller {
            "" => "/sys/fs/cgroup".to_owned(),
            one => format!("/sys/fs/cgroup/{one}"),
        };
        Some((mount, path.trim_end_matches('/').to_owned()))
    }

    /// A cgroup's folder, and those above it.
    fn up(&self, group: &Option<(String, String)>) -> Vec<String> {
        let Some((mount, path)) = group else { return Vec::new() };
        let mut folders = Vec::new();
        let mut rest = path.as_str();
        loop {
            folders.push(format!("{mount}{rest}"));
            let Some((above, _)) = rest.rsplit_once('/') else { break };
            rest = above;
        }
        folders
    }
}

/// CPUs in the kernel's notation of lists, such as `0-3,8`.
pub(super) fn cpu_list(text: &str) -> Option<Cpus> {
    let mut cpus = Cpus::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        // A machine that says more is not one.
        if last >= MOST_CPUS {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// CPUs in the kernel's notation of masks: words of 32 bits in hex, the highest first.
pub(super) fn cpu_mask(text: &str) -> Option<Cpus> {
    let mut cpus = Cpus::new();
    for (base, word) in (0..).step_by(32).zip(text.trim().rsplit(',')) {
        let bits = u32::from_str_radix(word, 16).ok()?;
        cpus.extend((0..32).filter(|bit| bits & (1 << bit) != 0).map(|bit| base + bit));
    }
    Some(cpus)
}

/// As people write it: `0-3,8`.
pub(super) fn show(cpus: &Cpus) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let ranges = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    ranges.collect::<Vec<_>>().join(",")
}

/// What the largest kernels are built for (CONFIG_NR_CPUS).
const MOST_CPUS: u32 = 8192;
