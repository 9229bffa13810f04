//! Which system calls there are: what a gateway, or the legacy lane's child, does once it has started.
//! By seccomp(2), for all of its threads at once.
//!
//! Any other call is answered as by a kernel that does not have it (ENOSYS). Nothing is killed for it:
//! a library that tries something newer falls back, and a list that misses something costs what it
//! was for instead of every connection. Whoever has taken the process over gains as little from it.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, apply_filter_all_threads,
};

/// Those that are good with whatever arguments.
#[rustfmt::skip]
const CALLS: &[c_long] = &[
    // Sockets that are there.
    libc::SYS_getpeername, libc::SYS_getsockname, libc::SYS_getsockopt, libc::SYS_recvfrom,
    libc::SYS_recvmsg, libc::SYS_sendmsg, libc::SYS_sendto, libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Engines. A ring is made at start, and restricted then: none comes later.
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_eventfd2,
    libc::SYS_io_uring_enter, libc::SYS_pipe2, libc::SYS_ppoll,
    // Descriptors.
    libc::SYS_close, libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl, libc::SYS_fstat,
    libc::SYS_lseek, libc::SYS_pread64, libc::SYS_read, libc::SYS_readv, libc::SYS_write,
    libc::SYS_writev,
    // Memory.
    libc::SYS_brk, libc::SYS_madvise, libc::SYS_mremap, libc::SYS_munmap,
    // Threads and time.
    libc::SYS_clock_getres, libc::SYS_clock_gettime, libc::SYS_clock_nanosleep, libc::SYS_exit,
    libc::SYS_exit_group, libc::SYS_futex, libc::SYS_gettimeofday, libc::SYS_nanosleep,
    libc::SYS_restart_syscall, libc::SYS_rseq, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn, libc::SYS_sched_getaffinity, libc::SYS_sched_yield,
    libc::SYS_set_robust_list, libc::SYS_sigaltstack,
    // Questions.
    libc::SYS_capget, libc::SYS_getegid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getpid,
    libc::SYS_getrandom, libc::SYS_getrusage, libc::SYS_gettid, libc::SYS_getuid,
    libc::SYS_sysinfo, libc::SYS_uname,
];

/// Older forms of some of them, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// Those that reach something which is not open yet, by an address or a path: for the gateway alone.
/// Which files, says landlock.
#[rustfmt::skip]
const REACHING: &[c_long] = &[
    libc::SYS_accept4, libc::SYS_bind, libc::SYS_connect, libc::SYS_faccessat,
    libc::SYS_faccessat2, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown,
    libc::SYS_fchownat, libc::SYS_getcwd, libc::SYS_getdents64, libc::SYS_listen,
    libc::SYS_newfstatat, libc::SYS_openat, libc::SYS_readlinkat, libc::SYS_renameat2,
    libc::SYS_sendmmsg, libc::SYS_statx, libc::SYS_umask, libc::SYS_unlinkat,
];
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER_REACHING: &[c_long] = &[
    libc::SYS_access, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_lstat,
    libc::SYS_open, libc::SYS_readlink, libc::SYS_rename, libc::SYS_stat, libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_REACHING: &[c_long] = &[libc::SYS_renameat];

/// Whose system calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Gateway,
    /// Has what it works with, and reaches for nothing.
    Child,
}

/// Who is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    All,
    This,
}

/// Leaves these calls alone, from now on and for good.
///
/// # Errors
/// Why there is no filter.
pub(super) fn enter(role: Role, threads: Threads) -> Result<String, String> {
    let apply = match threads {
        Threads::All => apply_filter_all_threads,
        Threads::This => apply_filter,
    };
    let rules = rules(role).map_err(|error| error.to_string())?;
    let count = rules.len();
    let program = compiled(rules).map_err(|error| error.to_string())?;
    apply(&program).map_err(|error| error.to_string())?;
    Ok(format!("seccomp, {count} system calls"))
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn rules(role: Role) -> Result<Rules, seccompiler::BackendError> {
    let (mut free, mut limited) = ([CALLS, OLDER].concat(), limited());
    if role == Role::Gateway {
        free.extend([REACHING, OLDER_REACHING].concat());
        limited.push((libc::SYS_socket, sockets()));
    }
    let mut rules: Rules = free.into_iter().map(|call| (call, Vec::new())).collect();
    for (call, ways) in limited {
        let ways = ways.into_iter().map(|conditions| {
            let conditions = conditions.into_iter().map(Condition::compiled);
            SeccompRule::new(conditions.collect::<Result<_, _>>()?)
        });
        rules.insert(call, ways.collect::<Result<_, _>>()?);
    }
    Ok(rules)
}

fn compiled(rules: Rules) -> Result<BpfProgram, seccompiler::BackendError> {
    let refused = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let target: TargetArch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, refused, SeccompAction::Allow, target)?.try_into()
}

/// What holds for an argument, by its position.
#[derive(Clone, Copy)]
enum Condition {
    Is(u8, i32),
    /// Of these bits of it, those are set.
    Has(u8, i32, i32),
    IsNull(u8),
}

impl Condition {
    fn compiled(self) -> Result<SeccompCondition, seccompiler::BackendError> {
        use SeccompCmpArgLen::{Dword, Qword};
        use SeccompCmpOp::{Eq, MaskedEq};
        let bits = |bits: i32| u64::from(bits.cast_unsigned());
        match self {
            Self::Is(argument, value) => SeccompCondition::new(argument, Dword, Eq, bits(value)),
            Self::Has(argument, mask, value) => {
                SeccompCondition::new(argument, Dword, MaskedEq(bits(mask)), bits(value))
            }
            Self::IsNull(argument) => SeccompCondition::new(argument, Qword, Eq, 0),
        }
    }
}

/// Calls that are good with some arguments: in one of these ways.
fn limited() -> Vec<(c_long, Vec<Vec<Condition>>)> {
    use Condition::{Has, Is, IsNull};
    let any_of = |argument, values: &[i32]| -> Vec<Vec<Condition>> {
        values.iter().map(|value| vec![Is(argument, *value)]).collect()
    };
    let own = std::process::id().cast_signed();
    vec![
        (libc::SYS_socketpair, any_of(0, &[libc::AF_UNIX])),
        // Threads, and no processes. What clone3(2) is asked for cannot be looked at: without it, the C
        // library makes this call.
        (libc::SYS_clone, vec![vec![Has(0, libc::CLONE_THREAD, libc::CLONE_THREAD)]]),
        // What was written is not run: code comes from files alone, which modules of look-ups do.
        (
            libc::SYS_mmap,
            vec![vec![Has(2, libc::PROT_EXEC, 0)], vec![Has(3, libc::MAP_ANONYMOUS, 0)]],
        ),
        (libc::SYS_mprotect, vec![vec![Has(2, libc::PROT_EXEC, 0)]]),
        (libc::SYS_ioctl, any_of(1, &IOCTLS)),
        // The names of threads.
        (libc::SYS_prctl, any_of(0, &[libc::PR_SET_NAME])),
        // A question, without new limits.
        (libc::SYS_prlimit64, vec![vec![IsNull(2)]]),
        // abort(3).
        (libc::SYS_tgkill, any_of(0, &[own])),
    ]
}

/// No raw ones. The C library asks for this machine's addresses by NETLINK_ROUTE.
fn sockets() -> Vec<Vec<Condition>> {
    use Condition::{Has, Is};
    let kinds = [libc::SOCK_STREAM, libc::SOCK_DGRAM];
    let internet = [libc::AF_INET, libc::AF_INET6]
        .into_iter()
        .flat_map(|family| kinds.map(|kind| vec![Is(0, family), Has(1, SOCKET_KIND, kind)]));
    let others =
        [vec![Is(0, libc::AF_UNIX)], vec![Is(0, libc::AF_NETLINK), Is(2, libc::NETLINK_ROUTE)]];
    internet.chain(others).collect()
}

/// FIONBIO, FIONREAD, and TCGETS, which asks whether something is a terminal (ioctl_list(2)).
const IOCTLS: [i32; 3] = [0x5421, 0x541b, 0x5401];
/// The bits of a socket's type that are no flags (linux/net.h, SOCK_TYPE_MASK).
const SOCKET_KIND: i32 = 0xf;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_some_of_the_gateways_calls_and_reaches_for_nothing() {
        let [gateway, child] = [Role::Gateway, Role::Child].map(|role| rules(role).expect("rules"));
        assert!(child.keys().all(|call| gateway.contains_key(call)));
        for call in [libc::SYS_openat, libc::SYS_connect, libc::SYS_socket, libc::SYS_bind] {
            assert!(gateway.contains_key(&call) && !child.contains_key(&call), "{call}");
        }
        for rules in [gateway, child] {
            let length = compiled(rules).expect("a program").len();
            // The kernel takes 4,096 instructions (BPF_MAXINSNS).
            assert!(length < 1_024, "{length}");
        }
    }
}
