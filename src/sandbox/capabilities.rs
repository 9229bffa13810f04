//! Which capabilities stay: those that a configuration needs while it runs, of those that there are.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};

/// Listening on ports below 1024, also those of a later configuration. The others are those by which
/// root reads and writes files of others, and gives the control socket to a group: which files, says
/// [`files`](super::files).
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER);

/// Gives up the others, for this thread and those that it starts. Where `keeps_sources`, some route
/// dials from its clients' addresses (IP_TRANSPARENT, ip(7)), for which CAP_NET_RAW is enough. Returns
/// what there is then.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn reduce(keeps_sources: bool) -> io::Result<String> {
    let held = capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            // The kernel knows fewer than there are bits.
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability)?;
            }
        }
    }
    clear_ambient_capability_set()?;
    let kept = remaining(held.permitted, keeps_sources);
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    let names: Vec<String> = kept.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect();
    Ok(if names.is_empty() { "none".to_owned() } else { names.join(" ") })
}

fn remaining(held: CapabilitySet, keeps_sources: bool) -> CapabilitySet {
    let transparent = [CapabilitySet::NET_RAW, CapabilitySet::NET_ADMIN];
    let transparent = transparent.into_iter().find(|one| keeps_sources && held.contains(*one));
    held & (KEPT | transparent.unwrap_or(CapabilitySet::empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_sockets_are_for_those_who_keep_sources() {
        let (raw, admin) = (CapabilitySet::NET_RAW, CapabilitySet::NET_ADMIN);
        let bind = CapabilitySet::NET_BIND_SERVICE;
        let all = CapabilitySet::all();
        assert_eq!(remaining(all, false), KEPT);
        assert_eq!(remaining(all, true), KEPT | raw);
        assert_eq!(remaining(bind | admin, true), bind | admin);
        assert_eq!(remaining(bind | raw | admin, false), bind);
        assert_eq!(remaining(CapabilitySet::empty(), true), CapabilitySet::empty());
    }

    #[test]
    fn what_is_given_up_is_gone_and_cannot_be_won_back() {
        let thread = std::thread::spawn(|| {
            let before = capabilities(None).expect("the kernel says").permitted;
            let told = reduce(false).expect("allowed to everybody");
            let after = capabilities(None).expect("the kernel says");
            assert_eq!(after.permitted, before & KEPT);
            assert_eq!(after.effective, after.permitted);
            assert!(after.inheritable.is_empty());
            assert_eq!(
                told.contains("net_bind_service"),
                before.contains(CapabilitySet::NET_BIND_SERVICE)
            );
            let more = CapabilitySets { permitted: before | CapabilitySet::SYS_ADMIN, ..after };
            assert!(set_capabilities(None, more).is_err());
        });
        thread.join().expect("no panic");
    }
}
