//! What the checks share: the gateway as a process, peers, backends, and waiting with a deadline.

pub(crate) mod backend;
pub(crate) mod browser;
pub(crate) mod ca;
pub(crate) mod client;
pub(crate) mod component;
pub(crate) mod gateway;
pub(crate) mod holdings;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod offers;
pub(crate) mod old_peers;
pub(crate) mod openssl;
pub(crate) mod own_network;
pub(crate) mod peers;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod session;
pub(crate) mod succession;
pub(crate) mod tls_component;
pub(crate) mod way;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once, on a slow and busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The I/O engine that the gateway is told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Uring,
    Epoll,
    /// io_uring with a thread of the kernel that submits, and busy polling.
    Polled,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uring | Self::Polled => "io_uring",
            Self::Epoll => "epoll",
        }
    }

    /// What the table `gateway` says besides.
    pub(crate) fn settings(self) -> String {
        match self {
            Self::Uring | Self::Epoll => String::new(),
            Self::Polled => polling("20ms", Duration::from_micros(100)),
        }
    }
}

/// Settings for polling, with the submitting threads on the CPU that workers are on last.
pub(crate) fn polling(sqpoll: &str, busy: Duration) -> String {
    let cores = core_affinity::get_core_ids().expect("Linux tells");
    let last = cores.last().expect("this runs on one").id;
    format!("sqpoll = {sqpoll:?}\nsqpoll_cpus = [{last}]\nbusy_poll = {}\n", busy.as_micros())
}

/// The engines that this machine allows. Asks the kernel, not the gateway, so that a gateway that
/// cannot use io_uring is not excused. `TLSGATE_ENGINE` asks for one of them, or for "polled".
pub(crate) fn engines() -> Vec<Engine> {
    let wanted = std::env::var("TLSGATE_ENGINE").ok();
    if wanted.as_deref() == Some("polled") {
        return vec![Engine::Polled];
    }
    let mut engines = possible_engines();
    engines.retain(|engine| wanted.as_deref().is_none_or(|wanted| wanted == engine.name()));
    assert!(!engines.is_empty(), "TLSGATE_ENGINE is none of the engines of this machine");
    engines
}

fn possible_engines() -> Vec<Engine> {
    match io_uring::IoUring::new(8) {
        Ok(_) => vec![Engine::Uring, Engine::Epoll],
        Err(error) => {
            println!("note: no io_uring on this machine ({error}): with epoll only");
            vec![Engine::Epoll]
        }
    }
}

/// Whether the full sizes were asked for.
pub(crate) fn is_full() -> bool {
    std::env::var_os("TLSGATE_FULL").is_some_and(|value| value == "1")
}

/// The size for this run.
pub(crate) fn sized<T>(full: T, reduced: T) -> T {
    if is_full() { full } else { reduced }
}

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within `limit`; the message has `what`.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks until it is so.
///
/// # Panics
/// As [`wait_for`].
pub(crate) fn wait_until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    wait_for(what, limit, || is_so().then_some(()));
}

/// Asks until the answer has been the same for `calm`; returns it.
///
/// # Panics
/// When it keeps changing for longer than `limit`.
pub(crate) fn settled<T: PartialEq + Copy>(
    what: &str,
    calm: Duration,
    limit: Duration,
    mut ask: impl FnMut() -> T,
) -> T {
    let mut last = (ask(), Instant::now());
    wait_for(what, limit, || {
        let now = ask();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() >= calm).then_some(now)
    })
}

/// Whether a program is installed; says that the check is skipped when it is not.
pub(crate) fn has_tool(name: &str) -> bool {
    let found = find_tool(name).is_some();
    if !found {
        skip(&format!("the program {name} is not installed"));
    }
    found
}

/// Says that the check did not run. `tests/run` reads this line.
pub(crate) fn skip(why: &str) {
    println!("SKIPPED: {why}");
}

/// Says that the check cannot run on this machine, whatever is installed.
pub(crate) fn skip_impossible(why: &str) {
    println!("SKIPPED, not possible here: {why}");
}

fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}
