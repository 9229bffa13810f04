//! The demo's state directory. A file there is whole or absent: it is written beside, then renamed.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Failure;

/// Mode of files that hold a private key.
pub(super) const PRIVATE: u32 = 0o600;
/// Mode of the others.
pub(super) const PUBLIC: u32 = 0o644;

/// Where the state is when nobody says: the XDG base directory specification ignores relative
/// paths. `variable` reads the environment.
pub(super) fn default_directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(base.join("tlsgate/demo"))
}

/// Makes the directory for its owner alone; one that is there stays as it is.
pub(super) fn make_directory(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Failure::File { path: path.to_owned(), source })
}

/// Writes a file of this mode, whatever was there before.
pub(super) fn write(path: &Path, content: &str, mode: u32) -> Result<(), Failure> {
    try_write(path, content, mode).map_err(|source| Failure::File { path: path.to_owned(), source })
}

fn try_write(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // One that an interrupted run left behind may have another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(content.as_bytes())?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory(state: Option<&str>, home: Option<&str>) -> Option<PathBuf> {
        default_directory(|name| match name {
            "XDG_STATE_HOME" => state.map(OsString::from),
            "HOME" => home.map(OsString::from),
            _ => None,
        })
    }

    #[test]
    fn the_directory_follows_xdg() {
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(directory(Some("/s"), Some("/h")), at("/s/tlsgate/demo"));
        assert_eq!(directory(Some("s"), Some("/h")), at("/h/.local/state/tlsgate/demo"));
        assert_eq!(directory(None, Some("")), None);
    }

    #[test]
    fn files_get_their_mode_whatever_was_there() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("a/b");
        make_directory(&directory).expect("made");
        make_directory(&directory).expect("there already");
        let mode =
            |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        let file = directory.join("key");
        fs::write(&file, "old").expect("written");
        fs::write(directory.join("key.new"), "of an interrupted run").expect("written");
        write(&file, "new", PRIVATE).expect("written");
        assert_eq!(fs::read_to_string(&file).expect("readable"), "new");
        assert_eq!(mode(&file), 0o600);
        assert!(!directory.join("key.new").exists());
    }
}
