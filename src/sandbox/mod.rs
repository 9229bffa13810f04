//! What keeps a gateway where it is, should somebody take it over: no file, system call or capability
//! but those that it needs.
//!
//! In two steps, because they bind differently. Files and capabilities are a matter of each thread,
//! which those inherit that it starts: so first of all, on the only one that there is
//! ([`Sandbox::enter`]). System calls are a matter of all threads, and starting takes more of them
//! than serving: so last of all ([`Sandbox::close`]). Operations of io_uring, which are no system
//! calls, are restricted where rings are made (`engine/uring`).
//!
//! Nothing here can be undone. What the kernel lacks is left out and told.

mod calls;
mod capabilities;
mod files;
pub mod starter;

use std::fmt;
use std::thread;

pub use calls::{Role, Threads};
use files::Folders;
pub use files::{Access, Place};
pub use starter::{Kind, Started, Starter};

/// What holds.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    /// `None` is all of them.
    folders: Option<Folders>,
    parts: Vec<Part>,
}

/// One thing that is limited, and by what, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub what: &'static str,
    pub holds: Result<String, String>,
}

impl Sandbox {
    /// The first step: of this thread, and of those that it starts from now on, files are the places
    /// and others in their folders. `keeps_sources` as some route dials from its clients' addresses.
    pub fn enter(places: &[Place], keeps_sources: bool) -> Self {
        let folders = Folders::of(places);
        let files = files::enter(&folders);
        let mut sandbox = Self { folders: files.is_ok().then_some(folders), parts: Vec::new() };
        sandbox.add("files", files);
        let capabilities = capabilities::reduce(keeps_sources).map_err(|error| error.to_string());
        sandbox.add("capabilities", capabilities);
        sandbox
    }

    /// The second step: system calls are those of somebody in this role who serves. Returns that part.
    pub fn close(&mut self, role: Role, threads: Threads) -> Part {
        self.add("system calls", calls::enter(role, threads))
    }

    /// Whether a place can still be used. One that is not there is for who uses it to report.
    pub fn has(&self, place: &Place) -> bool {
        self.folders.as_ref().is_none_or(|folders| folders.have(place))
    }

    /// Where places of this access can be.
    pub fn folders(&self, access: Access) -> Vec<String> {
        let folders = self.folders.iter().flat_map(|folders| folders.with(access));
        folders.map(|folder| folder.display().to_string()).collect()
    }

    /// What is limited, and what is not though it should be.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn add(&mut self, what: &'static str, holds: Result<String, String>) -> Part {
        let part = Part { what, holds };
        self.parts.push(part.clone());
        part
    }
}

/// What of it can be had here: by trying, on a thread that ends then.
///
/// # Panics
/// When there are no threads left.
pub fn probe() -> Vec<Part> {
    let tried = thread::spawn(|| {
        let mut sandbox = Sandbox::enter(&[], false);
        sandbox.close(Role::Gateway, Threads::This);
        sandbox.parts
    });
    tried.join().expect("what it tries does not panic")
}

impl Part {
    /// Of what the probe of engines has found: nothing, where there are no rings.
    pub fn rings(restricted: Option<&Result<(), String>>) -> Option<Self> {
        let by = |()| "restrictions of io_uring".to_owned();
        restricted.map(|holds| Self { what: "rings", holds: holds.clone().map(by) })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holds {
            Ok(by) => write!(formatter, "{}: {by}", self.what),
            Err(why) => write!(formatter, "{}: not limited ({why})", self.what),
        }
    }
}
