//! Whether the files that a configuration names have changed since they were read.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Config;
use crate::config::model::{CertificateFiles, TrustFile};

/// The files that a configuration names.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    /// When one changes, all are read again.
    pub(super) certificates: Stamps,
    /// Lists of revoked certificates that are swapped one by one, with `crl_watch`.
    pub(super) crls: Stamps,
    /// Until the next look at the certificates.
    left: Duration,
}

/// Files as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

/// What differs when a file was written or replaced. `None` stands for a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also when its owner or mode changed.
    changed: (i64, i64),
}

impl Watched {
    /// The files as they are now. Taken before the files are read, so that no change is missed.
    pub(super) fn of(config: &Config) -> Self {
        let mut files: Vec<&PathBuf> = config.resumption.ticket_secret.iter().collect();
        let mut crls: Vec<&PathBuf> = Vec::new();
        let own = config.listeners.iter().map(|one| (&one.tls, &one.upstream_tls));
        let rules = config.listeners.iter().flat_map(|listener| &listener.rules);
        for (tls, upstream_tls) in own.chain(rules.map(|one| (&one.tls, &one.upstream_tls))) {
            if let Some(tls) = tls {
                add(&tls.certificates, &tls.trusted_ca, &mut files);
                crls.extend(tls.crls.files.iter().map(|file| &file.path));
            }
            if let Some(tls) = upstream_tls {
                add(tls.certificate.as_slice(), &tls.trusted_ca, &mut files);
                crls.extend(tls.crls.files.iter().map(|file| &file.path));
            }
        }
        let gateway = &config.gateway;
        if gateway.crl_watch.is_none() {
            files.append(&mut crls);
        }
        Self {
            certificates: Stamps::of(files),
            crls: Stamps::of(crls),
            left: gateway.certificate_watch.unwrap_or_default(),
        }
    }

    /// All of them, by the paths that the configuration has.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let all = self.certificates.0.iter().chain(&self.crls.0);
        all.map(|(file, _)| file.as_path())
    }

    /// Whether it is time to look at the certificates, which is every `interval`, now that so much
    /// time has `passed`.
    pub(super) fn is_time(&mut self, interval: Duration, passed: Duration) -> bool {
        self.left = self.left.saturating_sub(passed);
        let is_time = self.left.is_zero();
        if is_time {
            self.left = interval;
        }
        is_time
    }
}

impl Stamps {
    fn of(mut files: Vec<&PathBuf>) -> Self {
        files.sort_unstable();
        files.dedup();
        Self(files.into_iter().map(|file| (file.clone(), Stamp::of(file))).collect())
    }

    /// The files that are not as they were. From now on, they are to be as they are now.
    pub(super) fn renew(&mut self) -> HashSet<PathBuf> {
        let mut changed = HashSet::new();
        for (file, stamp) in &mut self.0 {
            let now = Stamp::of(file);
            if *stamp != now {
                *stamp = now;
                changed.insert(file.clone());
            }
        }
        changed
    }

    /// The first file that is not as it was.
    pub(super) fn changed(&self) -> Option<&Path> {
        let changed = self.0.iter().find(|(file, stamp)| Stamp::of(file) != *stamp);
        changed.map(|(file, _)| file.as_path())
    }
}

/// The files of one side.
fn add<'a>(
    certificates: &'a [CertificateFiles],
    trusted_ca: &'a [TrustFile],
    files: &mut Vec<&'a PathBuf>,
) {
    for certificate in certificates {
        files.extend([&certificate.certificate, &certificate.certificate_key]);
        files.extend(&certificate.ocsp_file);
    }
    files.extend(trusted_ca.iter().map(|file| &file.path));
}

impl Stamp {
    /// Follows links: certificates are often replaced by turning a link.
    pub(super) fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_replacing_a_file_is_seen() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        let text = "[[listener]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\n\
                    upstream = \"127.0.0.1:2\"\n[listener.tls]\ncertificate = \"cert\"\n\
                    certificate_key = \"key\"\nclient_cert = \"required\"\ntrusted_ca = \"ca\"\n\
                    [resumption]\nticket_secret = \"secret\"\n";
        let name = path("tlsgate.toml").display().to_string();
        let config = crate::config::parse(&name, text).unwrap_or_else(|found| panic!("{found}"));
        for name in ["cert-1", "cert-2", "key", "ca", "secret"] {
            fs::write(path(name), name).expect("a writable directory");
        }
        std::os::unix::fs::symlink(path("cert-1"), path("cert")).expect("a link");
        let changes: [(&str, &dyn Fn()); 6] = [
            ("secret", &|| fs::write(path("secret"), "another secret").expect("written")),
            ("key", &|| fs::write(path("key"), "longer than before").expect("written")),
            ("ca", &|| {
                fs::write(path("ca.new"), "ca").expect("written");
                fs::rename(path("ca.new"), path("ca")).expect("replaced");
            }),
            ("cert", &|| {
                std::os::unix::fs::symlink(path("cert-2"), path("link")).expect("a link");
                fs::rename(path("link"), path("cert")).expect("turned");
            }),
            ("key", &|| {
                let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                fs::set_permissions(path("key"), private).expect("ours");
            }),
            ("key", &|| fs::remove_file(path("key")).expect("removed")),
        ];
        for (file, change) in changes {
            let before = Watched::of(&config).certificates;
            assert_eq!(before.changed(), None);
            change();
            assert_eq!(before.changed(), Some(path(file).as_path()));
        }
    }
}
