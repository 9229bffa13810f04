//! Which engine runs here, and why.

use std::io;

use super::{EngineLimits, uring::UringEngine};
use crate::config::model::EngineChoice;

/// The engine that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub engine: EngineKind,
    /// A sentence for the log, the metrics and `tlsgate version -v`.
    pub reason: String,
    /// Whether rings take the engine's operations alone, or why not; `None` without rings.
    pub restricted: Option<Result<(), String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    Uring,
    Epoll,
}

impl EngineKind {
    /// Label value in metrics and word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Chooses by trying: a ring with provided buffers is set up and dropped again.
///
/// # Errors
/// When `io_uring` is demanded and does not work here; the text says why and what to do.
pub fn choose(choice: EngineChoice) -> Result<Chosen, String> {
    let epoll = |reason: String| Chosen { engine: EngineKind::Epoll, reason, restricted: None };
    if choice == EngineChoice::Epoll {
        return Ok(epoll("configured".to_owned()));
    }
    match (try_uring(), choice) {
        (Ok(restricted), choice) => {
            let reason = match choice {
                EngineChoice::Uring => "configured",
                _ => "io_uring works on this kernel",
            };
            let (engine, restricted) = (EngineKind::Uring, Some(restricted));
            Ok(Chosen { engine, reason: reason.to_owned(), restricted })
        }
        (Err(error), EngineChoice::Uring) => {
            Err(format!("engine = \"io_uring\" cannot be used here: {}", explain(&error)))
        }
        (Err(error), _) => Ok(epoll(explain(&error))),
    }
}

/// Whether its operations can be restricted, where there is a ring.
fn try_uring() -> io::Result<Result<(), String>> {
    let limits = EngineLimits { connections: 1, buffer_memory: 16 << 20 };
    let engine = UringEngine::new(limits)?;
    Ok(engine.unrestricted().map_or(Ok(()), |why| Err(why.to_string())))
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "io_uring is forbidden: a container's seccomp profile blocks it, or \
                              sysctl kernel.io_uring_disabled is set"
            .to_owned(),
        Some(libc::ENOSYS) => "this kernel or sandbox has no io_uring".to_owned(),
        Some(libc::EINVAL) => {
            "this kernel's io_uring lacks provided buffer rings (Linux 5.19)".to_owned()
        }
        Some(libc::ENOMEM) => "not enough locked memory for io_uring: raise `ulimit -l`".to_owned(),
        _ => format!("io_uring could not be set up: {error}"),
    }
}
