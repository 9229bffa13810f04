//! What the child gives up before it touches a byte of anybody's.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, nice, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// Gives up root, every capability, and what could win them back. To be called while the process has
/// one thread: the calls are for the one that makes them, and those that it starts. System calls, which
/// engines take some more of, follow when there is one (`app/legacy`).
///
/// # Errors
/// Something is still there; the process must not go on.
pub(super) fn enter() -> io::Result<()> {
    set_no_new_privs(true)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A flood of handshakes takes the time that the shards leave.
    nice(NICE)?;
    let held = capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            // The kernel knows fewer than there are bits.
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability)?;
            }
        }
    }
    if held.effective.contains(CapabilitySet::SETGID) {
        set_thread_groups(&[])?;
        let nobody = Gid::from_raw(NOBODY);
        set_thread_res_gid(nobody, nobody, nobody)?;
    }
    if held.effective.contains(CapabilitySet::SETUID) {
        let nobody = Uid::from_raw(NOBODY);
        set_thread_res_uid(nobody, nobody, nobody)?;
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    // Behind the change of user, which resets both.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::geteuid().is_root() || capabilities(None)?.permitted != none {
        return Err(io::Error::other("the process is still privileged"));
    }
    Ok(())
}

/// User and group `nobody`, on every Linux (the kernel's own overflow id).
const NOBODY: u32 = 65_534;
/// Of a CPU that a shard wants, too, it gets a tenth (sched(7), weights).
const NICE: i32 = 10;
