//! A component as a process of its own, to be killed and started again on the same port.

use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;

use super::ports::free_port;
use super::process::{Process, bench_program};
use super::{SOON, wait_until};

/// An echo of the measuring tool.
pub(crate) struct Component {
    address: SocketAddr,
    process: Option<Process>,
}

impl Component {
    pub(crate) fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut component = Self { address, process: None };
        component.start_again();
        component
    }

    /// Without a chance to say goodbye: its connections are reset, and nobody listens any more.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// To the process, which must be running.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    pub(crate) fn start_again(&mut self) {
        let listen = self.address.to_string();
        let arguments = ["backend", "--mode", "echo", "--listen", &listen];
        let mut process = Process::start(Command::new(bench_program()).args(arguments));
        wait_until("the component", SOON, || {
            assert!(process.poll().is_none(), "{:?}", process.stderr());
            process.stdout().iter().any(|line| line.starts_with("listening on "))
        });
        self.process = Some(process);
    }

    /// Of its process, while it runs.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// As in a configuration.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
