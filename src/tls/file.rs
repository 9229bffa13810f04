//! Files that the configuration names, and what is wrong with them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

/// Longest file that is read if nothing else is said; bundles of public CAs have a quarter of it.
const USUAL: Limit = Limit { mib: 1, allowed: "files up to 1 MiB" };

/// The longest file that is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) mib: u16,
    /// Says so to people.
    pub(super) allowed: &'static str,
}

/// Something about a file that the configuration names which keeps it from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// The file that has the problem.
    pub file: PathBuf,
    /// Line of the configuration that names the file; zero where that is not known.
    pub line: usize,
    /// Key of the configuration that names the file.
    pub key: &'static str,
    pub found: String,
    pub allowed: &'static str,
    /// What to do about it.
    pub hint: String,
}

/// A file that the configuration names.
pub(super) struct NamedFile<'a> {
    pub(super) file: &'a Path,
    /// Line of the configuration that names it; zero where that is not known.
    pub(super) line: usize,
    /// Key that names it.
    pub(super) key: &'static str,
}

/// What counts in the place of files, by path.
pub type Replaced = HashMap<PathBuf, Arc<Zeroizing<Vec<u8>>>>;

thread_local! {
    /// What counts during a call of [`with_replaced`].
    static REPLACED: RefCell<Replaced> = RefCell::default();
}

/// Calls `read`, for which files are as `replaced` has them. Whoever reads files is called on this
/// thread, deep below, and need not know. Who gives us such content has proved that it may, so
/// nobody looks at a file's mode.
pub fn with_replaced<T>(replaced: Replaced, read: impl FnOnce() -> T) -> T {
    /// Also when `read` panics.
    struct Restore(Replaced);
    impl Drop for Restore {
        fn drop(&mut self) {
            REPLACED.set(std::mem::take(&mut self.0));
        }
    }
    let _restore = Restore(REPLACED.replace(replaced));
    read()
}

impl NamedFile<'_> {
    pub(super) fn problem(
        &self,
        found: impl Into<String>,
        allowed: &'static str,
        hint: impl Into<String>,
    ) -> FileProblem {
        let (file, found, hint) = (self.file.to_owned(), found.into(), hint.into());
        FileProblem { file, line: self.line, key: self.key, found, allowed, hint }
    }

    fn unreadable(&self, error: &io::Error) -> FileProblem {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "Check the path; relative ones start at the directory of the configuration."
            }
            io::ErrorKind::PermissionDenied => "Let the user that tlsgate runs as read it.",
            _ => "Check the file.",
        };
        self.problem(error.to_string(), "a file that can be read", hint)
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, FileProblem> {
        self.read_up_to(USUAL)
    }

    /// As [`read`](Self::read), of a file that may be longer.
    pub(super) fn read_up_to(&self, limit: Limit) -> Result<Vec<u8>, FileProblem> {
        match self.replaced() {
            Some(content) => self.take_some(&content[..], content.len() as u64, limit),
            None => self.open().and_then(|file| self.read_some(file, limit)),
        }
    }

    /// As [`read`](Self::read), of a file whose mode must be as [`check_mode`](Self::check_mode) has
    /// it.
    pub(super) fn read_secret(
        &self,
        group: Option<u32>,
        allowed: &'static str,
    ) -> Result<Zeroizing<Vec<u8>>, FileProblem> {
        if self.replaced().is_some() {
            return self.read().map(Zeroizing::new);
        }
        // One handle for both, so that what is checked is what is read.
        let file = self.open()?;
        self.check_mode(&file, group, allowed)?;
        self.read_some(file, USUAL).map(Zeroizing::new)
    }

    fn replaced(&self) -> Option<Arc<Zeroizing<Vec<u8>>>> {
        REPLACED.with_borrow(|replaced| replaced.get(self.file).cloned())
    }

    fn open(&self) -> Result<File, FileProblem> {
        File::open(self.file).map_err(|error| self.unreadable(&error))
    }

    fn read_some(&self, file: File, limit: Limit) -> Result<Vec<u8>, FileProblem> {
        let size = file.metadata().map_err(|error| self.unreadable(&error))?.len();
        self.take_some(file, size, limit)
    }

    fn take_some(&self, from: impl Read, size: u64, limit: Limit) -> Result<Vec<u8>, FileProblem> {
        let most = u64::from(limit.mib) << 20;
        // All memory at once: growing would leave copies of a private key behind.
        let capacity = usize::try_from(size.min(most) + 1).expect("below 2^36 + 2");
        let mut bytes = Vec::with_capacity(capacity);
        from.take(most + 1).read_to_end(&mut bytes).map_err(|error| self.unreadable(&error))?;
        if bytes.len() as u64 > most {
            let found = format!("over {} MiB", limit.mib);
            return Err(self.problem(found, limit.allowed, "Check the path."));
        }
        Ok(bytes)
    }

    /// Something secret is for its owner to read and, where there is one, for `group`.
    /// `allowed` says so to people.
    fn check_mode(
        &self,
        file: &File,
        group: Option<u32>,
        allowed: &'static str,
    ) -> Result<(), FileProblem> {
        let metadata = file.metadata().map_err(|error| self.unreadable(&error))?;
        let (mode, of_file) = (metadata.mode() & 0o777, metadata.gid());
        let for_others = mode & 0o007 != 0;
        let for_group = mode & 0o020 != 0 || (mode & 0o050 != 0 && group != Some(of_file));
        if !for_others && !for_group {
            return Ok(());
        }
        let to_whom = if for_others { "everybody" } else { "a group that may not read it" };
        let found = format!("mode {mode:04o}, group {of_file}: open to {to_whom}");
        let change = if group == Some(of_file) { "640" } else { "600" };
        let hint = format!("`chmod {change} {}`", self.file.display());
        Err(self.problem(found, allowed, hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replaces_a_file_counts_during_the_call_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("server.key");
        let named = NamedFile { file: &path, line: 1, key: "certificate_key" };
        let content = |text: &str| Arc::new(Zeroizing::new(text.as_bytes().to_vec()));
        let replaced = Replaced::from([(path.clone(), content("put"))]);
        let read =
            || (named.read().ok(), named.read_secret(None, "").map(|secret| secret.to_vec()).ok());
        assert_eq!(read(), (None, None));
        let put = Some(b"put".to_vec());
        assert_eq!(with_replaced(replaced.clone(), read), (put.clone(), put.clone()));
        std::fs::write(&path, "a file").expect("a writable directory");
        // The mode of the file does not matter where it is not read.
        assert_eq!(with_replaced(replaced, read), (put.clone(), put));
        assert_eq!(named.read().expect("a file"), b"a file");
        let long =
            Replaced::from([(path.clone(), Arc::new(Zeroizing::new(vec![0; (1 << 20) + 1])))]);
        let problem = with_replaced(long, || named.read()).expect_err("too long");
        assert_eq!(problem.found, "over 1 MiB");
    }
}
