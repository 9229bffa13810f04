//! Files that the configuration names, and what is wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

    pub(super) fn open(&self) -> Result<File, FileProblem> {
        File::open(self.file).map_err(|error| self.unreadable(&error))
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, FileProblem> {
        self.open().and_then(|file| self.read_from(file))
    }

    pub(super) fn read_from(&self, file: File) -> Result<Vec<u8>, FileProblem> {
        self.read_some(file, USUAL)
    }

    /// As [`read`](Self::read), of a file that may be longer.
    pub(super) fn read_up_to(&self, limit: Limit) -> Result<Vec<u8>, FileProblem> {
        self.open().and_then(|file| self.read_some(file, limit))
    }

    fn read_some(&self, file: File, limit: Limit) -> Result<Vec<u8>, FileProblem> {
        let most = u64::from(limit.mib) << 20;
        // All memory at once: growing would leave copies of a private key behind.
        let size = file.metadata().map_err(|error| self.unreadable(&error))?.len();
        let capacity = usize::try_from(size.min(most) + 1).expect("below 2^36 + 2");
        let mut bytes = Vec::with_capacity(capacity);
        file.take(most + 1).read_to_end(&mut bytes).map_err(|error| self.unreadable(&error))?;
        if bytes.len() as u64 > most {
            let found = format!("over {} MiB", limit.mib);
            return Err(self.problem(found, limit.allowed, "Check the path."));
        }
        Ok(bytes)
    }

    /// Something secret is for its owner to read and, where there is one, for `group`.
    /// `allowed` says so to people.
    pub(super) fn check_mode(
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
