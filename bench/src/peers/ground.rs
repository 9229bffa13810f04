//! What all targets of a run stand on: keys, a component behind them, and places for their files.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::target::{Identities, Stage};
use crate::measure::affinity;
use crate::measure::process::{Process, free_address};
use crate::measure::scratch::Scratch;

/// It ends, and its files go, when dropped.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The component.
    pub(crate) behind: Process,
    identities: Identities,
    backend: SocketAddr,
    front: SocketAddr,
    // The last to go: the others have their files in it.
    scratch: Scratch,
}

impl Ground {
    /// Makes it, with the component on `load_cpu`, and this thread: it reads what processes have used,
    /// which it should not do on the CPU where they are measured.
    ///
    /// # Errors
    /// What failed, for the user to read.
    pub(crate) fn new(load_cpu: usize) -> Result<Self, String> {
        let io = |error: std::io::Error| error.to_string();
        let scratch = Scratch::new().map_err(io)?;
        let identities = Identities::new(&scratch)?;
        affinity::pin(load_cpu)
            .map_err(|error| format!("cannot run on CPU {load_cpu}: {error}"))?;
        let (behind, backend) = component("backend", load_cpu, &scratch)?;
        let front = free_address()?;
        Ok(Self { behind, identities, backend, front, scratch })
    }

    /// Where targets are started, on `cpu`.
    pub(crate) fn stage<'run>(&'run self, gateway: &'run Path, cpu: usize) -> Stage<'run> {
        let Self { identities, backend, front, scratch, .. } = self;
        Stage { gateway, cpu, backend: *backend, front: *front, identities, scratch }
    }
}

/// A component on `cpu`, and where it listens.
///
/// # Errors
/// Why it does not, for the user to read.
pub(crate) fn component(
    name: &str,
    cpu: usize,
    scratch: &Scratch,
) -> Result<(Process, SocketAddr), String> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command.args(["backend", "--listen", &address.to_string(), "--mode", "sniff"]);
    Ok((Process::serve(name, command, &[cpu], &[address], scratch)?, address))
}
