//! Which program a restart starts: the file that stands where this process's program stood.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A path and the arguments that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
}

impl Program {
    /// The program and arguments that this process was started with. To be asked at start, while
    /// the file is still the one that was started.
    pub fn of_this_process() -> Self {
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_default();
        let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        let own = identity(Path::new(EXE));
        let candidates = candidates(
            &name,
            &env::current_dir().unwrap_or_default(),
            &env::var_os("PATH").unwrap_or_default(),
        );
        let path = candidates.into_iter().find(|path| own.is_some() && identity(path) == own);
        // Without /proc, the name is all there is.
        let path = path.unwrap_or_else(|| undeleted(fs::read_link(EXE).unwrap_or(name.into())));
        Self { path, arguments: arguments.collect() }
    }
}

/// Where a shell finds `name`. The name is preferred to what the kernel says, because it may lead
/// through a symbolic link that an upgrade points elsewhere.
fn candidates(name: &OsStr, directory: &Path, search: &OsStr) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.as_bytes().contains(&b'/') {
        return vec![directory.join(name).components().collect()];
    }
    env::split_paths(search).map(|folder| directory.join(folder).join(name)).collect()
}

/// The kernel adds a word to the path of a file that is gone (proc_pid_exe(5)): what stands there
/// now is what an upgrade put there.
fn undeleted(link: PathBuf) -> PathBuf {
    match link.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => PathBuf::from(OsStr::from_bytes(path)),
        None => link,
    }
}

const EXE: &str = "/proc/self/exe";

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str) -> Vec<PathBuf> {
        candidates(OsStr::new(name), Path::new("/srv/gateway"), OsStr::new("/usr/bin:local"))
    }

    #[test]
    fn names_are_looked_up_as_a_shell_does() {
        assert_eq!(found("/opt/tlsgate"), [Path::new("/opt/tlsgate")]);
        assert_eq!(found("target/tlsgate"), [Path::new("/srv/gateway/target/tlsgate")]);
        let in_path = [Path::new("/usr/bin/tlsgate"), Path::new("/srv/gateway/local/tlsgate")];
        assert_eq!(found("tlsgate"), in_path);
        assert!(found("").is_empty());
    }

    #[test]
    fn a_replaced_file_is_known_by_its_path() {
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(undeleted(path("/usr/bin/tlsgate (deleted)")), path("/usr/bin/tlsgate"));
        assert_eq!(undeleted(path("/usr/bin/tlsgate")), path("/usr/bin/tlsgate"));
    }

    #[test]
    fn this_process_is_the_program_that_cargo_started() {
        let program = Program::of_this_process();
        let file = fs::metadata(&program.path).expect("it is there");
        let own = fs::metadata(EXE).expect("it is there");
        assert_eq!((file.dev(), file.ino()), (own.dev(), own.ino()));
        assert_eq!(program.arguments, env::args_os().skip(1).collect::<Vec<_>>());
    }
}
