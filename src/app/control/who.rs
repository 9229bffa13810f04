//! Who asks at the control socket, and what they may do there.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::process::geteuid;

use crate::config::model::Admin;
use crate::sys::socket::{peer_credentials, peer_groups};
use crate::tls::identity::account_number;

/// What somebody may do; each level may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Look.
    User,
    /// Change what runs: reload, drain, close, switch upstreams.
    Operator,
    /// Replace keys and whom is trusted.
    Admin,
}

/// Who has which level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    operators: Accounts,
    admins: Accounts,
    nobody: Nobody,
}

/// The numbers that the kernel shows in the place of accounts that have none in this user namespace
/// (user_namespaces(7), "Unmapped user and group IDs"). Whoever has one may be anybody. `None` where
/// each account has a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Nobody {
    user: Option<u32>,
    group: Option<u32>,
}

/// Users and groups, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Accounts {
    users: Vec<u32>,
    groups: Vec<u32>,
}

/// Somebody who asks, as the kernel says when they connect.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub level: Level,
    user: u32,
    group: u32,
    /// 0 where it has no number here.
    process: i32,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl Levels {
    /// As the configuration says, with the numbers that this machine gives to its names.
    ///
    /// # Errors
    /// When it has no such user or group, or does not say.
    pub(super) fn of(admin: &Admin) -> io::Result<Self> {
        Ok(Self {
            operators: Accounts::of(&admin.control_operators)?,
            admins: Accounts::of(&admin.control_admins)?,
            nobody: Nobody::here(),
        })
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(super) fn caller(&self, stream: &UnixStream) -> io::Result<Caller> {
        let libc::ucred { uid: user, gid: group, pid: process } = peer_credentials(stream.as_fd())?;
        let mut groups = peer_groups(stream.as_fd())?;
        groups.push(group);
        let level = self.level(user, &groups, geteuid().as_raw());
        Ok(Caller { level, user, group, process })
    }

    fn level(&self, user: u32, groups: &[u32], own: u32) -> Level {
        let user = Some(user).filter(|user| Some(*user) != self.nobody.user);
        let groups = groups.iter().filter(|group| Some(**group) != self.nobody.group);
        let groups: Vec<u32> = groups.copied().collect();
        if user == Some(ROOT) || user == Some(own) || self.admins.have(user, &groups) {
            Level::Admin
        } else if self.operators.have(user, &groups) {
            Level::Operator
        } else {
            Level::User
        }
    }
}

impl Accounts {
    fn of(names: &[String]) -> io::Result<Self> {
        let mut all = Self::default();
        for name in names {
            match name.strip_prefix("group:") {
                Some(group) => all.groups.push(number(group, GROUPS)?),
                None => all.users.push(number(name, USERS)?),
            }
        }
        Ok(all)
    }

    fn have(&self, user: Option<u32>, groups: &[u32]) -> bool {
        user.is_some_and(|user| self.users.contains(&user))
            || groups.iter().any(|group| self.groups.contains(group))
    }
}

impl Nobody {
    /// As the kernel says for this process. Where it does not, the usual numbers are nobody's.
    fn here() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Self {
            user: stand_in(&read("/proc/self/uid_map"), &read("/proc/sys/kernel/overflowuid")),
            group: stand_in(&read("/proc/self/gid_map"), &read("/proc/sys/kernel/overflowgid")),
        }
    }
}

/// The number in the place of those that the map leaves out; `None` where it leaves out nobody.
fn stand_in(map: &str, overflow: &str) -> Option<u32> {
    let lengths = map.lines().filter_map(|line| line.split_whitespace().nth(2));
    let mapped: u64 = lengths.filter_map(|length| length.parse::<u64>().ok()).sum();
    // The last number is nobody's: (uid_t) -1.
    (mapped < u64::from(u32::MAX)).then(|| overflow.trim().parse().unwrap_or(OVERFLOW))
}

/// The number of a group.
///
/// # Errors
/// As [`Levels::of`].
pub(super) fn group_number(name: &str) -> io::Result<u32> {
    number(name, GROUPS)
}

fn number(name: &str, file: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text =
        fs::read(file).map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
    account_number(&String::from_utf8_lossy(&text), name)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{file} has no \"{name}\"")))
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, user, group, process } = self;
        write!(formatter, "user {user}, group {group}, process {process} ({})", level.as_str())
    }
}

const ROOT: u32 = 0;
/// DEFAULT_OVERFLOWUID (linux/highuid.h).
const OVERFLOW: u32 = 65_534;
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_level_counts_and_everybody_else_may_look() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let admin = Admin {
            listen: None,
            control: None,
            control_group: None,
            control_operators: names(&["group:50", "7", "8"]),
            control_admins: names(&["8", "group:60"]),
        };
        let levels = Levels::of(&admin).expect("numbers need no look-up");
        for (user, groups, level) in [
            (0, &[][..], Level::Admin),
            (99, &[], Level::Admin),
            (7, &[], Level::Operator),
            (8, &[50], Level::Admin),
            (9, &[1, 50], Level::Operator),
            (9, &[50, 60], Level::Admin),
            // A group is no user.
            (50, &[7, 8], Level::User),
        ] {
            assert_eq!(levels.level(user, groups, 99), level, "{user} {groups:?}");
        }
    }

    #[test]
    fn who_has_no_number_here_is_nobody_of_ours() {
        let accounts = || Accounts { users: vec![65_534], groups: vec![65_534] };
        let nobody = Nobody { user: Some(65_534), group: Some(65_534) };
        let levels = Levels { operators: Accounts::default(), admins: accounts(), nobody };
        assert_eq!(levels.level(65_534, &[65_534], 65_534), Level::User);
        assert_eq!(levels.level(0, &[65_534], 65_534), Level::Admin);
        // Where everybody has a number, that one is an account like all others.
        let levels = Levels { nobody: Nobody::default(), ..levels };
        assert_eq!(levels.level(65_534, &[], 7), Level::Admin);
        assert_eq!(levels.level(1, &[65_534], 7), Level::Admin);
    }

    #[test]
    fn a_map_says_whether_somebody_is_left_out() {
        let whole = "         0          0 4294967295\n";
        assert_eq!(stand_in(whole, "65534\n"), None);
        // In two pieces, as root of a namespace may write it.
        assert_eq!(stand_in("0 0 1\n1 1 4294967294\n", "65534\n"), None);
        assert_eq!(stand_in("0 100000 65536\n", "65534\n"), Some(65_534));
        assert_eq!(stand_in("65534 1000 1\n", "4242\n"), Some(4_242));
        assert_eq!(stand_in("", ""), Some(65_534));
    }

    #[test]
    fn names_are_looked_up_and_unknown_ones_refused() {
        assert_eq!(number("root", USERS).expect("every machine has one"), 0);
        assert_eq!(group_number("root").expect("every machine has one"), 0);
        let error = number("nobody-of-this-name", USERS).expect_err("there is none");
        assert!(error.to_string().contains("nobody-of-this-name"), "{error}");
    }

    #[test]
    fn a_caller_is_who_the_kernel_says() {
        let (here, _there) = UnixStream::pair().expect("two sockets");
        let caller = Levels::default().caller(&here).expect("a unix socket");
        assert_eq!(caller.level, Level::Admin, "of our own");
        assert_eq!(u32::try_from(caller.process), Ok(std::process::id()));
    }
}
