//! Settings of the kernel: each is a check by its own name.

use super::facts::Facts;
use super::finding::{Finding, Level, Verdict};
use super::needs::Needs;
use super::profile::Setting;

/// A setting, and how it should be.
pub(super) struct Rule {
    pub(super) key: &'static str,
    test: Test,
    level: Level,
    /// What is wanted; `None` is whatever it is, unless a profile says otherwise.
    wanted: fn(&Needs) -> Option<String>,
    why: &'static str,
}

/// How what is found is compared with what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Exactly,
    AtLeast,
    AtMost,
    /// From the first wanted number to the second.
    Within,
    /// The last of several numbers is at least the last wanted.
    LastAtLeast,
    /// A range with at least as many numbers as that wanted.
    RangeOf,
}

/// What a profile says of the setting goes before what the rule says.
pub(super) fn judge(rule: &Rule, facts: &Facts<'_>, needs: &Needs) -> Verdict {
    let Some(found) = facts.sysctl(rule.key) else {
        return Err("this kernel or network namespace does not have it".to_owned());
    };
    let of_profile = needs.profile.map(|profile| profile.settings_of_kernel()).unwrap_or_default();
    let of_profile = of_profile.into_iter().find(|setting| setting.key == rule.key);
    let own = (rule.wanted)(needs);
    let Some(wanted) = stricter(rule.test, own, of_profile.as_ref()) else {
        return Finding::ok(found).alone();
    };
    if rule.test.holds(&found, &wanted) {
        return Finding::ok(found).alone();
    }
    let why = match of_profile {
        Some(setting) if setting.value == wanted => setting.why,
        _ => rule.why.to_owned(),
    };
    let value = rule.test.value(&found, &wanted);
    Finding::new(rule.level, found)
        .advise(rule.test.words(&wanted))
        .why(why)
        .sysctl(rule.key, value)
        .alone()
}

/// The profile's, unless what the configuration asks for is more.
fn stricter(test: Test, own: Option<String>, profile: Option<&Setting>) -> Option<String> {
    match (own, profile) {
        (Some(own), Some(setting)) if test.is_growing() && test.holds(&own, setting.value) => {
            Some(own)
        }
        (_, Some(setting)) => Some(setting.value.to_owned()),
        (own, None) => own,
    }
}

impl Test {
    /// Whether more is always good enough.
    fn is_growing(self) -> bool {
        matches!(self, Self::AtLeast | Self::LastAtLeast | Self::RangeOf)
    }

    /// What cannot be read as numbers does not hold.
    fn holds(self, found: &str, wanted: &str) -> bool {
        let (found_numbers, wanted_numbers) = (numbers(found), numbers(wanted));
        match (self, &found_numbers[..], &wanted_numbers[..]) {
            (Self::Exactly, ..) => found == wanted,
            (Self::AtLeast, [found], [wanted]) => found >= wanted,
            (Self::AtMost, [found], [wanted]) => found <= wanted,
            (Self::Within, [found], [only]) => found == only,
            (Self::Within, [found], [least, most]) => (least..=most).contains(&found),
            (Self::LastAtLeast, [.., found], [.., wanted]) => found >= wanted,
            (Self::RangeOf, [low, high], [from, to]) => {
                high.saturating_sub(*low) >= to.saturating_sub(*from)
            }
            _ => false,
        }
    }

    fn words(self, wanted: &str) -> String {
        match self {
            Self::Exactly => wanted.to_owned(),
            Self::AtLeast => format!("at least {wanted}"),
            Self::AtMost => format!("at most {wanted}"),
            Self::Within if first(wanted) == wanted => wanted.to_owned(),
            Self::Within => format!("{} to {}", first(wanted), last(wanted)),
            Self::LastAtLeast => format!("up to {} at least", last(wanted)),
            Self::RangeOf => format!("as wide as {} to {}", first(wanted), last(wanted)),
        }
    }

    /// The value to set.
    fn value(self, found: &str, wanted: &str) -> String {
        match self {
            Self::Within if numbers(found) < numbers(first(wanted)) => first(wanted).to_owned(),
            Self::Within => last(wanted).to_owned(),
            _ => wanted.to_owned(),
        }
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn first(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

fn last(text: &str) -> &str {
    text.rsplit(' ').next().unwrap_or_default()
}

const fn rule(
    key: &'static str,
    test: Test,
    level: Level,
    wanted: fn(&Needs) -> Option<String>,
    why: &'static str,
) -> Rule {
    Rule { key, test, level, wanted, why }
}

macro_rules! always {
    ($value:literal) => {
        |_: &Needs| Some($value.to_owned())
    };
}

/// Why values for keepalive matter to a gateway that sets its own.
const KEEPALIVE: &str = "the gateway sets its own (listener.keepalive), but components beside it that only switch \
     keepalive on have this one: too long keeps connections of peers that are gone, too short wakes \
     every silent peer (tcp(7); RFC 1122 §4.2.3.6 wants two hours at least as the default)";
/// Why windows need room.
const WINDOW: &str = "a connection cannot have more on its way than this: 4 MiB are 335 Mbit/s at \
                      100 ms (bytes / round trip); a socket that rests takes none of it (tcp(7))";

pub(super) const RULES: &[Rule] = &[
    rule(
        "net.core.somaxconn",
        Test::AtLeast,
        Level::Warning,
        |needs| Some(needs.backlog.to_string()),
        "listen(2) cuts listener.backlog to this; who does not fit waits a second for its next SYN \
         (RFC 6298 §2.1), twice as long each time",
    ),
    rule(
        "net.ipv4.tcp_max_syn_backlog",
        Test::AtLeast,
        Level::Advice,
        |needs| Some(needs.backlog.min(4096).to_string()),
        "without SYN cookies, SYNs beyond three quarters of it are dropped \
         (tcp_conn_request, net/ipv4/tcp_input.c)",
    ),
    rule(
        "net.ipv4.tcp_syncookies",
        Test::Exactly,
        Level::Warning,
        always!("1"),
        "0 lets a flood of SYNs keep everybody out; 2 gives cookies to all, which costs options of \
         TCP where there are no timestamps (ip-sysctl)",
    ),
    rule(
        "net.ipv4.ip_local_port_range",
        Test::RangeOf,
        Level::Warning,
        |_| Some("32768 60999".to_owned()),
        "each connection to an address of a component over TCP takes a port; fewer than the \
         kernel's own 28,232 run out sooner, and dialling fails with EADDRNOTAVAIL",
    ),
    rule(
        "net.ipv4.tcp_fin_timeout",
        Test::AtMost,
        Level::Advice,
        always!("60"),
        "how long the kernel keeps a socket whose peer does not answer our FIN; the gateway itself \
         waits a second",
    ),
    rule(
        "net.ipv4.tcp_tw_reuse",
        Test::Within,
        Level::Advice,
        always!("1 2"),
        "with 0, a port to a component is taken for 60 s after its connection: 28,232 ports are 470 \
         connections a second (TIME_WAIT, RFC 9293 §3.4.2)",
    ),
    rule(
        "net.ipv4.tcp_max_tw_buckets",
        Test::AtLeast,
        Level::Advice,
        always!("32768"),
        "beyond it connections skip TIME_WAIT, and late segments meet their successors \
         (RFC 1337)",
    ),
    rule(
        "net.ipv4.tcp_timestamps",
        Test::Within,
        Level::Advice,
        always!("1 2"),
        "without timestamps neither ports in TIME_WAIT can be used again nor SYN cookies keep \
         window scaling (RFC 7323)",
    ),
    rule(
        "net.ipv4.tcp_keepalive_time",
        Test::Within,
        Level::Warning,
        always!("60 7200"),
        KEEPALIVE,
    ),
    rule("net.ipv4.tcp_keepalive_intvl", Test::Within, Level::Warning, always!("5 75"), KEEPALIVE),
    rule("net.ipv4.tcp_keepalive_probes", Test::Within, Level::Warning, always!("3 9"), KEEPALIVE),
    rule(
        "net.ipv4.tcp_retries2",
        Test::AtLeast,
        Level::Advice,
        always!("8"),
        "how long a connection outlives a network that is away: RFC 1122 §4.2.3.5 wants 100 s, \
         which are 8",
    ),
    rule(
        "net.ipv4.tcp_rmem",
        Test::LastAtLeast,
        Level::Advice,
        always!("4096 131072 6291456"),
        WINDOW,
    ),
    rule(
        "net.ipv4.tcp_wmem",
        Test::LastAtLeast,
        Level::Advice,
        always!("4096 16384 4194304"),
        WINDOW,
    ),
    rule(
        "net.ipv4.tcp_window_scaling",
        Test::Exactly,
        Level::Warning,
        always!("1"),
        "without it 64 KiB are on their way at most: 5 Mbit/s at 100 ms (RFC 7323 §2)",
    ),
    rule(
        "net.ipv4.tcp_sack",
        Test::Exactly,
        Level::Advice,
        always!("1"),
        "without it a lost segment costs a round trip for each further one (RFC 2018)",
    ),
    rule(
        "net.ipv4.tcp_slow_start_after_idle",
        Test::Exactly,
        Level::Advice,
        |_| None,
        "a connection that rested begins again with 10 segments (RFC 2861, RFC 6928)",
    ),
    rule(
        "net.ipv4.tcp_abort_on_overflow",
        Test::Exactly,
        Level::Warning,
        always!("0"),
        "1 resets peers while the accept queue is full, which a moment later it may not be",
    ),
    rule(
        "net.core.netdev_max_backlog",
        Test::AtLeast,
        Level::Advice,
        always!("1000"),
        "packets beyond it are dropped before TCP sees them (softnet_stat, second column)",
    ),
    rule(
        "net.core.netdev_budget",
        Test::AtLeast,
        Level::Advice,
        always!("300"),
        "packets that one round of receiving may take: less leaves the card waiting \
         (softnet_stat, third column)",
    ),
    rule(
        "net.core.busy_poll",
        Test::Exactly,
        Level::Advice,
        |needs| (!needs.is_for("low-latency")).then(|| "0".to_owned()),
        "each wait for sockets spins for so many microseconds first: CPU time that handshakes want",
    ),
    rule(
        "net.core.busy_read",
        Test::Exactly,
        Level::Advice,
        |needs| (!needs.is_for("low-latency")).then(|| "0".to_owned()),
        "each blocking receive spins for so many microseconds first",
    ),
    rule(
        "fs.nr_open",
        Test::AtLeast,
        Level::Warning,
        |needs| needs.descriptors().map(|count| count.to_string()),
        "no process can be given more descriptors than this, whatever LimitNOFILE says",
    ),
    rule(
        "net.netfilter.nf_conntrack_max",
        Test::AtLeast,
        Level::Warning,
        |needs| needs.connections.map(|count| (2 * u64::from(count)).to_string()),
        "each connection on either side takes an entry; packets that find none free are dropped, \
         and the log says \"nf_conntrack: table full\"",
    ),
    rule(
        "vm.overcommit_memory",
        Test::Within,
        Level::Advice,
        always!("0 1"),
        "with 2, memory is refused while much of it is free, and a new process (USR2) may not start",
    ),
    rule(
        "kernel.yama.ptrace_scope",
        Test::AtLeast,
        Level::Advice,
        always!("1"),
        "with 0, any process of the same user can read the gateway's memory, keys included \
         (ptrace(2))",
    ),
    rule(
        "kernel.randomize_va_space",
        Test::Exactly,
        Level::Warning,
        always!("2"),
        "addresses that can be guessed make a memory error an entry",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::profile::PROFILES;

    #[test]
    fn every_setting_of_a_profile_has_its_rule() {
        for profile in PROFILES {
            for Setting { key, value, why, .. } in profile.settings_of_kernel() {
                let rule = RULES.iter().find(|rule| rule.key == key);
                let rule = rule.unwrap_or_else(|| panic!("{}: no rule for {key}", profile.name));
                assert!(rule.test.holds(value, value), "{}: {key} = {value}", profile.name);
                assert!(!why.is_empty(), "{}: {key} has no reason", profile.name);
            }
        }
    }

    #[test]
    fn comparisons() {
        for (test, found, wanted, holds) in [
            (Test::AtLeast, "128", "4096", false),
            (Test::AtLeast, "4096", "4096", true),
            (Test::AtLeast, "", "1", false),
            (Test::AtMost, "61", "60", false),
            (Test::Within, "0", "1 2", false),
            (Test::Within, "2", "1 2", true),
            (Test::LastAtLeast, "4096 16384 65536", "4096 16384 4194304", false),
            (Test::LastAtLeast, "1 2 4194304", "4096 16384 4194304", true),
            (Test::RangeOf, "40000 40100", "32768 60999", false),
            (Test::RangeOf, "10000 64999", "32768 60999", true),
        ] {
            assert_eq!(test.holds(found, wanted), holds, "{test:?} {found} {wanted}");
        }
        assert_eq!(Test::Within.value("1", "60 7200"), "60");
        assert_eq!(Test::Within.value("99999", "60 7200"), "7200");
    }
}
