//! A network whose routes and limits nobody else has: a network namespace. `tests/engines` has this
//! file, too.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The namespace; it goes when dropped, and with it what is in it.
pub(crate) struct OwnNetwork {
    pub(crate) name: String,
}

impl OwnNetwork {
    /// One with a loopback device. Needs root.
    ///
    /// # Errors
    /// Why that is not possible here, as the line that says so.
    pub(crate) fn new() -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tlsgate-{}-{number}", std::process::id());
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(format!(
                    "SKIPPED, not possible here: a network namespace: {}",
                    why.trim()
                ));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err("SKIPPED: the program ip is not installed".to_owned());
            }
            Err(error) => panic!("{error}"),
        }
        let network = Self { name };
        network.inside(|| ip("link set lo up"));
        Ok(network)
    }

    /// Does something there, on a thread of its own: threads and processes that it starts are there,
    /// too, and so are sockets that it makes, for as long as they live.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace =
                    fs::File::open(format!("/run/netns/{}", self.name)).expect("just made");
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), network).expect("root may");
                work()
            });
            inside.join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for OwnNetwork {
    fn drop(&mut self) {
        let removed = Command::new("ip").args(["netns", "del", &self.name]).status();
        // Not on top of what a check found out.
        assert!(thread::panicking() || removed.is_ok_and(|status| status.success()));
    }
}

/// Runs `test` in a network of its own; says so where there can be none.
pub(crate) fn in_a_network_of_its_own(test: impl FnOnce() + Send) {
    match OwnNetwork::new() {
        Ok(network) => network.inside(test),
        Err(why) => println!("{why}"),
    }
}

/// Runs `ip` in the namespace of this thread.
pub(crate) fn ip(arguments: &str) {
    let output =
        Command::new("ip").args(arguments.split(' ')).output().expect("it was found before");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
