//! Checks on recorded and on broken machines.

use std::collections::BTreeMap;
use std::path::Path;

use super::facts::{Access, Clock, Ends, FileFacts, FileKind, cpu_list, cpu_mask, show};
use super::*;
use crate::config;
use crate::config::model::EngineChoice;
use crate::sandbox::Part;

/// The machine of tests/doctor, with files changed or, with an empty text, removed.
struct Machine {
    root: Root,
    changed: BTreeMap<String, String>,
}

impl Machine {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor/two-sockets");
        Self { root: Root::new(root), changed: BTreeMap::new() }
    }

    fn with(mut self, path: &str, text: &str) -> Self {
        self.changed.insert(path.to_owned(), text.to_owned());
        self
    }

    fn sysctl(self, key: &str, value: &str) -> Self {
        self.with(&format!("/proc/sys/{}", key.replace('.', "/")), value)
    }

    /// A line of the process's limits or status.
    fn line(self, file: &str, from: &str, to: &str) -> Self {
        let path = format!("/proc/self/{file}");
        let text = self.text(&path).expect("recorded");
        assert!(text.contains(from), "{path} has {from}");
        let text = text.replace(from, to);
        self.with(&path, &text)
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            tree: self,
            process: "self".to_owned(),
            live: Some(Live {
                ring: Ok(()),
                sandbox: vec![part(Ok("landlock, version 5"))],
                clock: Some(Clock { is_synchronised: true, error_us: 4_000 }),
            }),
            files: Vec::new(),
            names: Vec::new(),
            now: NOW,
        }
    }

    /// What is not in order.
    fn found(&self, config: &str) -> Vec<(&'static str, Level)> {
        wrong(&self.report(&self.facts(), config))
    }

    fn report(&self, facts: &Facts<'_>, config: &str) -> Report {
        examine(facts, &needs(facts, config, None))
    }
}

impl Tree for Machine {
    fn text(&self, path: &str) -> Option<String> {
        match self.changed.get(path) {
            Some(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            None => self.root.text(path),
        }
    }

    fn names(&self, folder: &str) -> Vec<String> {
        self.root.names(folder)
    }
}

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 3600;
/// A configuration that the machine is fit for, once the card's interrupts are near it.
const MODEST: &str = "[gateway]\nworkers = 8\nmax_connections = 20000";

fn needs(facts: &Facts<'_>, gateway: &str, profile: Option<&'static Profile>) -> Needs {
    let text = format!(
        "{gateway}\n[[listener]]\nname = \"a\"\nlisten = \"0.0.0.0:5061\"\n\
         upstream = \"127.0.0.1:5060\"\n[listener.tls]\ncertificate = \"a.pem\"\n\
         certificate_key = \"a.key\"\n"
    );
    let config = config::parse("a", &text).unwrap_or_else(|found| panic!("{found}"));
    Needs::of(Some(&config), profile, facts, |workers, _| 100 + workers as u64)
}

fn wrong(report: &Report) -> Vec<(&'static str, Level)> {
    let wrong = report.findings.iter().filter(|finding| finding.level > Level::Ok);
    wrong.map(|finding| (finding.check, finding.level)).collect()
}

/// Interrupts and workers at the card's own node.
fn near() -> Machine {
    let machine = (120..128).fold(Machine::new(), |machine, number| {
        let cpu = (number - 112).to_string();
        machine.with(&format!("/proc/irq/{number}/effective_affinity_list"), &cpu)
    });
    machine
        .line("status", "Cpus_allowed_list:\t0-31", "Cpus_allowed_list:\t8-15")
        .with("/sys/devices/system/cpu/online", "8-15")
        .sysctl("kernel.numa_balancing", "0")
}

#[test]
fn a_machine_in_order_has_nothing_to_be_told() {
    let machine = near();
    let report = machine.report(&machine.facts(), MODEST);
    assert_eq!(wrong(&report), [], "{report:#?}");
    assert!(report.checks >= 50, "{} checks", report.checks);
    assert_eq!(report.worst(), Level::Ok);
}

#[test]
fn interrupts_and_workers_far_from_their_card_are_found() {
    let machine = Machine::new();
    // Twelve would fit the threads of one socket; in order, they are spread over two.
    let report = machine.report(&machine.facts(), "[gateway]\nworkers = 12");
    let of = |check| report.findings.iter().find(|finding| finding.check == check).expect("found");
    let interrupts = of("interrupts");
    assert_eq!(interrupts.level, Level::Warning);
    assert!(interrupts.found.contains("ens1f0: 8 interrupts on CPU 0-7"), "{interrupts:?}");
    assert!(interrupts.found.contains("the card is on node 1"), "{interrupts:?}");
    assert_eq!(interrupts.advised.as_deref(), Some("CPU 8-15,24-31 for all of them"));
    let nodes = of("numa_nodes");
    assert_eq!(nodes.level, Level::Advice);
    assert_eq!(nodes.found, "workers on 2 of 2 nodes");
    let command = nodes.command.as_deref().expect("a command");
    assert!(command.contains("NUMAMask=1") && command.contains("CPUAffinity=8-15,24-31"));
    assert_eq!(of("numa_balancing").level, Level::Advice);

    // All of one card's queues on one CPU; and fewer queues than workers.
    let one = (120..128).fold(near(), |machine, number| {
        machine.with(&format!("/proc/irq/{number}/effective_affinity_list"), "9")
    });
    assert_eq!(one.found(MODEST), [("interrupts", Level::Advice)]);
    assert_eq!(
        near().found("[gateway]\nworkers = 9\nmax_connections = 20000"),
        [("affinity", Level::Warning), ("receive_queues", Level::Advice)]
    );
    let spread = near().with("/sys/class/net/ens1f0/queues/rx-0/rps_cpus", "0000,0000ffff");
    let wide = "[gateway]\nworkers = 9\nmax_connections = 20000";
    assert_eq!(spread.found(wide), [("affinity", Level::Warning)]);
    // Workers on threads of cores that others have none of.
    let threads = near().with("/sys/devices/system/cpu/online", "8-15,24-31").line(
        "status",
        "Cpus_allowed_list:\t8-15",
        "Cpus_allowed_list:\t8-9,24-25",
    );
    let found = threads.found("[gateway]\nworkers = 4\nmax_connections = 20000");
    assert_eq!(found, [("affinity", Level::Advice), ("siblings", Level::Advice)]);
}

#[test]
fn each_broken_setting_is_named() {
    for (key, value, level) in [
        ("net.core.somaxconn", "128", Level::Warning),
        ("net.ipv4.tcp_max_syn_backlog", "128", Level::Advice),
        ("net.ipv4.tcp_syncookies", "0", Level::Warning),
        ("net.ipv4.tcp_fin_timeout", "600", Level::Advice),
        ("net.ipv4.tcp_tw_reuse", "0", Level::Advice),
        ("net.ipv4.tcp_keepalive_time", "5", Level::Warning),
        ("net.ipv4.tcp_keepalive_intvl", "1000", Level::Warning),
        ("net.ipv4.tcp_keepalive_probes", "1", Level::Warning),
        ("net.ipv4.tcp_rmem", "4096 16384 65536", Level::Advice),
        ("net.ipv4.tcp_wmem", "4096 16384 65536", Level::Advice),
        ("net.ipv4.tcp_window_scaling", "0", Level::Warning),
        ("net.ipv4.tcp_abort_on_overflow", "1", Level::Warning),
        ("net.core.netdev_budget", "10", Level::Advice),
        ("net.core.busy_poll", "50", Level::Advice),
        ("fs.nr_open", "1024", Level::Warning),
        ("vm.overcommit_memory", "2", Level::Advice),
        ("kernel.yama.ptrace_scope", "0", Level::Advice),
    ] {
        assert_eq!(near().sysctl(key, value).found(MODEST), [(key, level)]);
    }
}

#[test]
fn each_fault_of_the_machine_is_named() {
    for (machine, check, level) in [
        (near().sysctl("fs.file-max", "5000"), "file_max", Level::Failure),
        (near().line("limits", "524288", "4096"), "open_files", Level::Warning),
        (
            near().line("limits", "8388608              8388608", "0 0"),
            "locked_memory",
            Level::Advice,
        ),
        (near().line("limits", "size        0 ", "size unlimited "), "core_dumps", Level::Warning),
        (
            near().with("/proc/meminfo", "MemAvailable: 100000 kB\nSwapTotal: 0 kB"),
            "memory",
            Level::Warning,
        ),
        (
            near().with("/proc/meminfo", "MemAvailable: 120331000 kB\nSwapTotal: 4096 kB"),
            "swap",
            Level::Advice,
        ),
        (near().sysctl("kernel.osrelease", "5.15.0-1"), "kernel", Level::Advice),
        (
            near().sysctl("net.ipv4.tcp_congestion_control", "reno"),
            "congestion_control",
            Level::Advice,
        ),
        (
            near().sysctl("net.ipv4.tcp_congestion_control", "bbr"),
            "congestion_control",
            Level::Advice,
        ),
        (
            near().with("/proc/net/netstat", "TcpExt: ListenDrops ListenOverflows\nTcpExt: 9 7"),
            "accept_queues",
            Level::Advice,
        ),
        (
            near().with("/proc/net/softnet_stat", "00002710 00000002 00000000"),
            "receiving",
            Level::Warning,
        ),
    ] {
        assert_eq!(machine.found(MODEST), [(check, level)]);
    }
}

#[test]
fn each_fault_of_cpus_and_clocks_is_named() {
    for (machine, check, level) in [
        (
            near().with("/proc/cpuinfo", "flags : pclmulqdq bmi2 adx sha_ni vaes vpclmulqdq"),
            "cpu_aes",
            Level::Warning,
        ),
        (
            near().with("/proc/cpuinfo", "flags : aes pclmulqdq bmi2 adx sha_ni"),
            "cpu_wide_aes",
            Level::Advice,
        ),
        (
            near().with("/proc/cpuinfo", "flags : aes pclmulqdq adx sha_ni vaes vpclmulqdq"),
            "cpu_multiplication",
            Level::Advice,
        ),
        (
            near().with("/proc/cpuinfo", "flags : aes pclmulqdq bmi2 adx vaes vpclmulqdq"),
            "cpu_sha",
            Level::Advice,
        ),
        (
            near().with("/sys/devices/system/cpu/cpu9/cpufreq/scaling_governor", "powersave"),
            "frequency",
            Level::Advice,
        ),
        (
            near().with("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
            "clock_source",
            Level::Warning,
        ),
        (
            near().with("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
            "huge_pages",
            Level::Advice,
        ),
        (near().sysctl("kernel.random.entropy_avail", "12"), "entropy", Level::Warning),
        (
            near().with("/sys/fs/cgroup/system.slice/tlsgate.service/cpu.max", "150000 100000"),
            "cpu_quota",
            Level::Warning,
        ),
    ] {
        assert_eq!(machine.found(MODEST), [(check, level)]);
    }
}

#[test]
fn threads_that_poll_need_cpus_of_their_own() {
    let polling =
        |rest: &str| format!("[gateway]\nmax_connections = 20000\nsqpoll = \"20ms\"\n{rest}");
    let level = |machine: Machine, rest: &str| {
        let report = machine.report(&machine.facts(), &polling(rest));
        let found: Vec<_> = report.findings.iter().filter(|it| it.check == "polling").collect();
        found.iter().map(|finding| (finding.level, finding.found.clone())).collect::<Vec<_>>()
    };
    // Half of the eight that there are.
    let halves = "workers on CPU 8-11, sqpoll on CPU 12-15".to_owned();
    assert_eq!(level(near(), ""), [(Level::Ok, halves)]);
    let short = level(near(), "workers = 5");
    assert!(
        short[0].0 == Level::Failure && short[0].1.contains("8 CPU(s), 5 worker(s)"),
        "{short:?}"
    );
    let shared = level(near(), "workers = 2\nsqpoll_cpus = [9, 20]");
    let levels: Vec<Level> = shared.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::Failure, Level::Warning], "{shared:?}");
    let old = near().sysctl("kernel.osrelease", "6.1.0-18-amd64");
    assert_eq!(level(old, "busy_poll = 50")[0].0, Level::Advice);
}

#[test]
fn ports_are_compared_with_connections() {
    let narrow = near().sysctl("net.ipv4.ip_local_port_range", "40000 40100");
    let both = [("local_ports", Level::Warning), ("net.ipv4.ip_local_port_range", Level::Warning)];
    assert_eq!(narrow.found(MODEST), both);
    let many = "[gateway]\nworkers = 8\nmax_connections = 40000";
    assert_eq!(near().found(many), [("local_ports", Level::Warning)]);
    let wide = near().sysctl("net.ipv4.ip_local_port_range", "2000 64999");
    assert_eq!(wide.found(many), [("reserved_ports", Level::Advice)]);
    let reserved = near()
        .sysctl("net.ipv4.ip_local_port_range", "2000 64999")
        .sysctl("net.ipv4.ip_local_reserved_ports", "2049,5060-5061");
    assert_eq!(reserved.found(many), []);
    let untracked = near()
        .sysctl("net.netfilter.nf_conntrack_count", "65000")
        .sysctl("net.netfilter.nf_conntrack_max", "65536");
    assert_eq!(untracked.found(MODEST), [("connection_tracking", Level::Warning)]);
}

#[test]
fn what_blocks_io_uring_is_named() {
    let filtered = |machine: Machine| machine.line("status", "Seccomp:\t0", "Seccomp:\t2");
    for (machine, expected) in [
        (near().sysctl("kernel.io_uring_disabled", "2"), "kernel.io_uring_disabled = 2"),
        (near().sysctl("kernel.io_uring_disabled", "1"), "kernel.io_uring_disabled = 1"),
        (filtered(near()), "a seccomp filter is on this process"),
    ] {
        let mut facts = machine.facts();
        facts.live =
            Some(Live { ring: Err("forbidden".to_owned()), sandbox: Vec::new(), clock: None });
        let report = machine.report(&facts, MODEST);
        let found = report.findings.iter().find(|finding| finding.check == "io_uring");
        let found = found.expect("looked at");
        assert_eq!(found.level, Level::Warning);
        let blocked = found.found.starts_with("forbidden; ") && found.found.contains(expected);
        assert!(blocked, "{}", found.found);
        // Recorded elsewhere, it is known without having been tried.
        facts.live = None;
        assert_eq!(machine.report(&facts, MODEST).worst(), Level::Warning, "{expected}");
        // Demanded, nothing starts; not wanted, nothing is missing.
        let mut needs = needs(&facts, MODEST, None);
        needs.engine = EngineChoice::Uring;
        assert_eq!(examine(&facts, &needs).worst(), Level::Failure);
        needs.engine = EngineChoice::Epoll;
        assert_eq!(examine(&facts, &needs).worst(), Level::Ok);
    }
    // The group may, and so may who has the capability.
    let group =
        near().sysctl("kernel.io_uring_disabled", "1").sysctl("kernel.io_uring_group", "997");
    let mut facts = group.facts();
    facts.live = None;
    assert_eq!(group.report(&facts, MODEST).worst(), Level::Ok);
}

fn part(holds: Result<&str, &str>) -> Part {
    Part { what: "files", holds: holds.map(str::to_owned).map_err(str::to_owned) }
}

#[test]
fn what_the_sandbox_lacks_is_named() {
    let machine = near();
    let off = format!("{MODEST}\nsandbox = \"off\"");
    assert_eq!(machine.found(&off), [("sandbox", Level::Advice)]);
    let mut facts = machine.facts();
    facts.live.as_mut().expect("this machine").sandbox.push(part(Err("no landlock")));
    let report = machine.report(&facts, MODEST);
    assert_eq!(wrong(&report), [("sandbox", Level::Advice)]);
    let found = report.findings.iter().find(|finding| finding.check == "sandbox");
    assert_eq!(found.expect("found").found, "files: not limited (no landlock)");
    // A gateway has a filter of its own, which keeps it from no ring that it has.
    let status = machine.text("/proc/self/status").expect("recorded");
    let filtered = status.replace("Seccomp:\t0", "Seccomp:\t2");
    let running = machine.with("/proc/7/status", &filtered);
    let mut facts = running.facts();
    (facts.live, facts.process) = (None, "7".to_owned());
    assert!(!wrong(&running.report(&facts, MODEST)).iter().any(|(check, _)| *check == "io_uring"));
}

#[test]
fn files_are_judged_by_dates_and_modes() {
    let machine = near();
    let file = |kind: FileKind, mode, ends: &[(i64, i64)]| FileFacts {
        path: "a".to_owned(),
        kind,
        access: Ok(Access { mode, group: 115 }),
        ends: Ok(ends
            .iter()
            .map(|(from, until)| Ends {
                what: "CN=a".to_owned(),
                from: NOW + from * DAY,
                until: NOW + until * DAY,
            })
            .collect()),
    };
    let key = |group: Option<&str>| FileKind::Key { group: group.map(str::to_owned) };
    let (certificate, ca) = (|| FileKind::Certificate, || FileKind::Ca);
    let list = |rejects| FileKind::Crl { rejects };
    for (file, check, level) in [
        (file(certificate(), 0o644, &[(-300, 60)]), "certificates", Level::Ok),
        (file(certificate(), 0o644, &[(-300, 29)]), "certificates", Level::Warning),
        (file(certificate(), 0o644, &[(-300, 60), (-300, -1)]), "certificates", Level::Failure),
        (file(certificate(), 0o644, &[(2, 60)]), "certificates", Level::Failure),
        (file(ca(), 0o644, &[(-300, -1)]), "certificate_authorities", Level::Warning),
        (file(list(true), 0o644, &[(-3, 4)]), "revocation_lists", Level::Ok),
        (file(list(true), 0o644, &[(-69, 1)]), "revocation_lists", Level::Warning),
        (file(list(true), 0o644, &[(-8, -1)]), "revocation_lists", Level::Failure),
        (file(list(false), 0o644, &[(-8, -1)]), "revocation_lists", Level::Warning),
        (file(key(None), 0o600, &[]), "private_keys", Level::Ok),
        (file(key(None), 0o644, &[]), "private_keys", Level::Failure),
        (file(key(None), 0o640, &[]), "private_keys", Level::Failure),
        (file(key(Some("ssl-cert")), 0o640, &[]), "private_keys", Level::Ok),
        (file(key(Some("ssl-cert")), 0o660, &[]), "private_keys", Level::Failure),
    ] {
        let mut facts = machine.facts();
        let what = format!("{file:?}");
        facts.files = vec![file];
        let report = machine.report(&facts, MODEST);
        let found: Vec<_> = report.findings.iter().filter(|it| it.check == check).collect();
        assert_eq!((found.len(), found[0].level), (1, level), "{what}");
        assert_eq!(report.worst(), level, "{what}");
    }
    let mut facts = machine.facts();
    facts.names = vec![("here:1".into(), Ok(2)), ("nowhere:1".into(), Err("no".into()))];
    assert_eq!(wrong(&machine.report(&facts, MODEST)), [("upstream_names", Level::Failure)]);
}

#[test]
fn a_profile_asks_for_more() {
    let machine = near();
    let facts = machine.facts();
    let profile = Profile::named("many-idle").expect("it is there");
    let report = examine(&facts, &needs(&facts, "", Some(profile)));
    let of = |check| report.findings.iter().find(|finding| finding.check == check).expect("found");
    let somaxconn = of("net.core.somaxconn");
    assert_eq!(somaxconn.advised.as_deref(), Some("at least 16384"));
    assert!(somaxconn.why.as_deref().expect("why").contains("Accept queues"), "the profile's own");
    assert_eq!(of("open_files").level, Level::Ok, "524,288 are enough for 100,000 connections");
    assert_eq!(of("local_ports").level, Level::Warning);
}

#[test]
fn fixes_are_kept_and_nothing_of_others_is_overwritten() {
    let machine = near().sysctl("net.core.somaxconn", "128").line("limits", "524288", "4096");
    let report = machine.report(&machine.facts(), MODEST);
    let files = fixes(&report, &machine).expect("nobody's files");
    let [sysctl, unit] = &files[..] else { panic!("{files:?}") };
    assert_eq!(sysctl.path, "/etc/sysctl.d/90-tlsgate.conf");
    assert!(sysctl.text.contains("\n# It was: 128\n# listen(2)"), "{}", sysctl.text);
    assert!(sysctl.text.ends_with("\nnet.core.somaxconn = 4096\n"), "{}", sysctl.text);
    assert!(unit.text.contains("[Service]\n") && unit.text.ends_with("\nLimitNOFILE = 40108\n"));

    // Another run, when that has taken effect and something else is wrong.
    let again = near()
        .with(sysctl.path, &sysctl.text)
        .sysctl("net.core.somaxconn", "4096")
        .sysctl("net.ipv4.tcp_syncookies", "0");
    let files = fixes(&again.report(&again.facts(), MODEST), &again).expect("its own file");
    let [sysctl] = &files[..] else { panic!("{files:?}") };
    for line in ["net.core.somaxconn = 4096", "# It was: 128", "net.ipv4.tcp_syncookies = 1"] {
        assert_eq!(sysctl.text.matches(line).count(), 1, "{line}: {}", sysctl.text);
    }
    let others = again.with("/etc/sysctl.d/90-tlsgate.conf", "net.core.somaxconn = 1\n");
    let error = fixes(&others.report(&others.facts(), MODEST), &others).expect_err("not ours");
    assert!(error.contains("90-tlsgate.conf"), "{error}");
    assert_eq!(fixes(&near().report(&near().facts(), MODEST), &near()), Ok(Vec::new()));
}

#[test]
fn what_is_not_in_order_comes_with_reason_and_command() {
    let mut machine = Machine::new().line("limits", "524288", "100");
    for rule in sysctl::RULES {
        machine = machine.sysctl(rule.key, "99999999999 0");
    }
    let report = machine.report(&machine.facts(), "");
    let wrong = report.findings.iter().filter(|finding| finding.level > Level::Ok);
    assert!(wrong.clone().count() > 25, "{report:#?}");
    for finding in wrong {
        let has_all =
            finding.advised.is_some() && finding.why.is_some() && finding.command.is_some();
        assert!(has_all && !finding.found.is_empty(), "{finding:?}");
    }
}

#[test]
fn lists_and_masks_of_cpus() {
    let cpus = |all: &[u32]| Some(all.iter().copied().collect());
    assert_eq!(cpu_list("0-2,8\n"), cpus(&[0, 1, 2, 8]));
    assert_eq!(cpu_list(""), cpus(&[]));
    assert_eq!(cpu_list("0-99999999"), None);
    assert_eq!(cpu_list("x"), None);
    assert_eq!(cpu_mask("00000001,80000001"), cpus(&[0, 31, 32]));
    assert_eq!(show(&cpu_list("0,1,2,8,10-11").expect("a list")), "0-2,8,10-11");
}
