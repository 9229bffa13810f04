//! Which files can be opened: those in the folders that were named at start, and what the C library
//! reads to look names up. By landlock(7), for the calling thread and those that it starts.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, make_bitflags, path_beneath_rules,
};

/// A file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    pub access: Access,
}

/// What is done with a file, and with others that come to stand in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    /// Created, and written to at its end.
    Log,
    /// Created as a unix socket, removed and renamed.
    Socket,
}

/// Folders, with links followed, and what may be done there. A file that is no regular one stands for
/// itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Folders(Vec<(PathBuf, Access)>);

impl Folders {
    /// Those of the places: where each stands, and where it leads if it is a link. So a link can be
    /// turned to another file of the same folder.
    pub(super) fn of(places: &[Place]) -> Self {
        let mut all = Vec::new();
        for Place { path, access } in places {
            let is_special =
                fs::metadata(path).is_ok_and(|it| !it.is_file()) && *access == Access::Log;
            let named = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
            let led_to = fs::canonicalize(path).ok();
            let folders = match led_to {
                Some(file) if is_special => [Some(file), None],
                file => [named, file.and_then(|file| file.parent().map(Path::to_owned))],
            };
            all.extend(folders.into_iter().flatten().map(|folder| (folder, *access)));
        }
        all.sort_unstable_by(|a, b| (&a.0, a.1 as u8).cmp(&(&b.0, b.1 as u8)));
        all.dedup();
        Self(all)
    }

    /// Whether a place can be used. One that is not there at all is somebody else's to report.
    pub(super) fn have(&self, place: &Place) -> bool {
        let real = fs::canonicalize(&place.path).ok().or_else(|| {
            let folder = fs::canonicalize(place.path.parent()?).ok()?;
            Some(folder.join(place.path.file_name()?))
        });
        let is_within = |real: &PathBuf| {
            self.0
                .iter()
                .any(|(folder, access)| *access == place.access && real.starts_with(folder))
        };
        real.as_ref().is_none_or(is_within)
    }

    pub(super) fn with(&self, access: Access) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(move |(_, of)| *of == access).map(|(folder, _)| folder.as_path())
    }
}

/// Keeps this thread, and all that it starts, to the folders and the system's own. Returns how far
/// the kernel does that.
///
/// # Errors
/// Why it does not.
pub(super) fn enter(folders: &Folders) -> Result<String, String> {
    try_enter(folders).map_err(|error| error.to_string()).and_then(|status| status)
}

fn try_enter(folders: &Folders) -> Result<Result<String, String>, landlock::RulesetError> {
    let rules = |access: Access| path_beneath_rules(folders.with(access), access.flags());
    let status = Ruleset::default()
        // Whatever of it the kernel knows.
        .handle_access(AccessFs::from_all(KNOWN))?
        .create()?
        .add_rules(rules(Access::Read))?
        .add_rules(rules(Access::Log))?
        .add_rules(rules(Access::Socket))?
        .add_rules(path_beneath_rules(system(), Access::Read.flags()))?
        .restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            Err("the kernel has landlock, and it is not switched on (lsm= on its command line)"
                .to_owned())
        }
        (RulesetStatus::NotEnforced, _) => {
            Err("the kernel, or a container's seccomp profile, has no landlock (Linux 5.13)"
                .to_owned())
        }
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            Ok(format!("landlock, version {effective_abi}"))
        }
        (_, LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) => {
            Err("landlock does not say what it does".to_owned())
        }
    })
}

impl Access {
    fn flags(self) -> BitFlags<AccessFs> {
        match self {
            Self::Read => make_bitflags!(AccessFs::{ReadFile | ReadDir}),
            Self::Log => make_bitflags!(AccessFs::{WriteFile | MakeReg}),
            Self::Socket => make_bitflags!(AccessFs::{MakeSock | RemoveFile}),
        }
    }
}

/// What is read besides what the configuration names. Whoever is not root may read no secret in /etc,
/// and sees files there that have been replaced. To root all of /etc would be open: it has these
/// files alone, as they are now.
fn system() -> Vec<PathBuf> {
    let names = ETC.map(|name| Path::new("/etc").join(name));
    let etc = match rustix::process::geteuid().is_root() {
        true => names.to_vec(),
        false => vec![PathBuf::from("/etc")],
    };
    let led_to = names.iter().filter_map(|name| fs::canonicalize(name).ok());
    // Where resolv.conf is a link, its maker replaces the file that it leads to.
    let beside = led_to
        .filter(|file| !file.starts_with("/etc"))
        .filter_map(|file| file.parent().map(Path::to_owned));
    let beside: Vec<PathBuf> = beside.collect();
    etc.into_iter().chain(beside).chain(SYSTEM.map(PathBuf::from)).collect()
}

/// Of the C library's look-ups, and users and groups of the configuration.
const ETC: [&str; 9] = [
    "resolv.conf",
    "hosts",
    "nsswitch.conf",
    "host.conf",
    "gai.conf",
    "services",
    "passwd",
    "group",
    "ld.so.cache",
];

/// What this process looks up of itself and of the network; modules of nsswitch.conf, and what these
/// read. Landlock itself keeps other processes' memory closed (ptrace(2)).
const SYSTEM: [&str; 9] = [
    "/proc",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/run/systemd/machines",
    "/run/nscd",
    "/var/lib/sss",
];

/// What of landlock is known here: Linux 6.10. A later kernel knows more, which is not asked for.
const KNOWN: ABI = ABI::V5;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place(path: &Path, access: Access) -> Place {
        Place { path: path.to_owned(), access }
    }

    #[test]
    fn folders_are_where_files_stand_and_where_they_lead() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        for folder in ["live", "archive", "other", "log"] {
            fs::create_dir(at(folder)).expect("a writable directory");
        }
        for file in ["archive/1.pem", "archive/2.pem", "other/3.pem", "live/plain.pem"] {
            fs::write(at(file), "").expect("a writable directory");
        }
        symlink("../archive/1.pem", at("live/cert.pem")).expect("a link");
        let named = [
            place(&at("live/cert.pem"), Access::Read),
            place(&at("log/access.log"), Access::Log),
            place(Path::new("/dev/null"), Access::Log),
        ];
        let folders = Folders::of(&named);
        let has = |name: &str, access| folders.have(&place(&at(name), access));
        assert!(named.iter().all(|place| folders.have(place)));
        assert!(has("archive/2.pem", Access::Read), "the link is turned");
        assert!(has("live/plain.pem", Access::Read), "a file takes its place");
        assert!(has("log/other.log", Access::Log));
        assert!(!has("other/3.pem", Access::Read));
        assert!(!has("live/new.log", Access::Log), "what is read is not written");
        assert!(!has("log/a.sock", Access::Socket));
        assert!(has("nowhere/4.pem", Access::Read), "reading it says more");
        assert!(!folders.have(&place(Path::new("/dev/zero"), Access::Log)));
        symlink("../other/3.pem", at("live/out.pem")).expect("a link");
        assert!(!has("live/out.pem", Access::Read), "it leads out");
    }
}
