//! What a result depends on besides the code: the machine, and who took part.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::process::find_program;

/// Nothing in it tells whose machine it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Day of the run, in UTC.
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) distribution: String,
    /// Frequency governor; none where the machine does not show one, as in most virtual machines.
    pub(crate) governor: Option<String>,
    pub(crate) virtualised: bool,
    pub(crate) congestion_control: String,
    /// Name and version of everybody who took part.
    pub(crate) versions: Vec<(String, String)>,
    /// Commit of the working directory, and whether files differed from it.
    pub(crate) commit: String,
    pub(crate) dirty: bool,
    pub(crate) command_line: String,
}

impl Machine {
    /// Looks around. What cannot be found out is "unknown".
    pub(crate) fn look(gateway: &Path) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let uname = rustix::system::uname();
        let known = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
        Self {
            date: known(first_line("date", &["-u", "+%F"])),
            cpu: known(field("model name")),
            cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: rustix::system::sysinfo().totalram.div_ceil(1 << 30),
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            distribution: known(os_release()),
            governor: file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            virtualised: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            congestion_control: known(file("/proc/sys/net/ipv4/tcp_congestion_control")),
            versions: versions(gateway),
            commit: known(first_line("git", &["rev-parse", "HEAD"])),
            dirty: first_line("git", &["status", "--porcelain", "--untracked-files=no"]).is_some(),
            command_line: command_line(std::env::args()),
        }
    }

    /// A name for the machine that does not say whose it is: `amd-epyc-2-cpus`.
    pub(crate) fn slug(&self) -> String {
        let text = format!("{} {} cpus", self.cpu, self.cpus).to_ascii_lowercase();
        let words = text.split(|sign: char| !sign.is_ascii_alphanumeric());
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }
}

/// The name, the program, the arguments that make it tell, and a word of the line that tells.
type Teller<'a> = (&'static str, &'a str, &'static [&'static str], &'static str);

fn versions(gateway: &Path) -> Vec<(String, String)> {
    let gateway = gateway.display().to_string();
    let tellers: [Teller<'_>; 10] = [
        ("tlsgate", &gateway, &["version"], ""),
        ("haproxy", "haproxy", &["-v"], "version"),
        ("haproxy's TLS library", "haproxy", &["-vv"], "Running on OpenSSL"),
        ("nginx", "nginx", &["-V"], "version"),
        ("nginx' TLS library", "nginx", &["-V"], "built with OpenSSL"),
        ("hitch", "hitch", &["--version"], "hitch"),
        ("stunnel", "stunnel", &["-version"], "stunnel 5"),
        ("stunnel's TLS library", "stunnel", &["-version"], "with OpenSSL"),
        ("envoy", "envoy", &["--version"], "version"),
        ("library of the system's OpenSSL", "openssl", &["version"], "OpenSSL"),
    ];
    let told = |(name, program, arguments, word): Teller<'_>| {
        let program = match program.contains('/') {
            true => program.to_owned(),
            false => find_program(program)?.display().to_string(),
        };
        let text = output(&program, arguments)?;
        let line = text.lines().find(|line| line.contains(word))?.trim();
        // Some tell where they are.
        let line = line.rsplit_once("/envoy  ").map_or(line, |(_, version)| version);
        Some((name.to_owned(), line.to_owned()))
    };
    let own = openssl::version::version().to_owned();
    let own = ("OpenSSL of tlsgate and of the client".to_owned(), own);
    tellers.into_iter().filter_map(told).chain([own]).collect()
}

/// Standard output and then standard error of a program that succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    Some(output(program, arguments)?.lines().next()?.to_owned())
}

fn file(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn os_release() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// The command line, with absolute paths cut down to their last part.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let short = |argument: String| match argument.rsplit_once('/') {
        Some((directory, name)) if directory.starts_with('/') || argument.contains("=/") => {
            name.to_owned()
        }
        _ => argument,
    };
    arguments.map(short).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_does_not_tell_where_it_was_made() {
        let line = ["/home/me/target/release/tlsgate-bench", "peers", "--out", "bench/runs"];
        let line = command_line(line.into_iter().map(str::to_owned));
        assert_eq!(line, "tlsgate-bench peers --out bench/runs");
        let machine = Machine::look(Path::new("/does/not/exist"));
        assert!(machine.slug().ends_with("-cpus"), "{}", machine.slug());
        assert!(machine.cpus > 0 && machine.kernel.starts_with("Linux"), "{machine:?}");
    }
}
