//! Whether the files of certificates, keys and CAs have changed since they were read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;

/// The files that a configuration names, as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

/// What differs when a file was written or replaced. `None` stands for a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamps {
    /// The files as they are now. Taken before the files are read, so that no change is missed.
    pub(super) fn of(config: &Config) -> Self {
        let mut files: Vec<&PathBuf> = Vec::new();
        for listener in &config.listeners {
            for certificate in &listener.tls.certificates {
                files.extend([&certificate.certificate, &certificate.certificate_key]);
            }
            files.extend(&listener.tls.trusted_ca);
        }
        files.sort_unstable();
        files.dedup();
        Self(files.into_iter().map(|file| (file.clone(), Stamp::of(file))).collect())
    }

    /// The first file that is not as it was.
    pub(super) fn changed(&self) -> Option<&Path> {
        let changed = self.0.iter().find(|(file, stamp)| Stamp::of(file) != *stamp);
        changed.map(|(file, _)| file.as_path())
    }
}

impl Stamp {
    /// Follows links: certificates are often replaced by turning a link.
    fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}
