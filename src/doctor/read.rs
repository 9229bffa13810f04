//! The edge: reads files, asks the kernel and the resolver.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::facts::{Access, Clock, Ends, FileFacts, FileKind, Live, Tree};
use super::fix::Written;
use crate::config::model::{
    CertificateFiles, Config, CrlExpired, CrlPolicy, Endpoint, EngineChoice, TrustFile,
};
use crate::engine::probe;
use crate::sandbox::{self, Part};
use crate::sys;
use crate::upstream::resolver::{Name, Resolver};

/// A folder in whose place others have `/`.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Whether it is the machine itself.
    pub fn is_machine(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where a path of the machine is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Writes a file in one step: others see it whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub fn write(&self, file: &Written) -> io::Result<PathBuf> {
        let path = self.path(file.path);
        let folder = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder)?;
        let mut name = path.clone().into_os_string();
        name.push(".new");
        let mut new = fs::File::create(&name)?;
        new.write_all(file.text.as_bytes())?;
        new.set_permissions(Permissions::from_mode(0o644))?;
        new.sync_all()?;
        fs::rename(&name, &path)?;
        Ok(path)
    }
}

impl Tree for Root {
    fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.path(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }
}

/// Asks the kernel.
pub fn live() -> Live {
    let chosen = probe::choose(EngineChoice::Uring);
    let rings = chosen.as_ref().ok().and_then(|chosen| Part::rings(chosen.restricted.as_ref()));
    let sandbox = sandbox::probe().into_iter().chain(rings).collect();
    let ring = chosen.map(drop);
    // The words are about a configuration that demands it, which this may not be.
    let ring = ring.map_err(|why| why.split_once(": ").map_or(why.clone(), |it| it.1.to_owned()));
    let clock =
        sys::clock::state().map(|(is_synchronised, error_us)| Clock { is_synchronised, error_us });
    Live { ring, sandbox, clock }
}

/// Looks the names of upstreams up, for five seconds at most.
pub fn look_up(config: &Config) -> Vec<(String, Result<usize, String>)> {
    let rules = config.listeners.iter().flat_map(|listener| &listener.rules);
    let of_rules = rules.filter_map(|rule| rule.upstreams.as_ref()).flatten();
    let own = config.listeners.iter().flat_map(|one| one.upstreams.iter().chain(&one.backups));
    let mut names: Vec<Name> = own
        .chain(of_rules)
        .filter_map(|upstream| match &upstream.endpoint {
            Endpoint::Name(host, port) => {
                Some(Name { host: Arc::from(host.as_str()), port: *port })
            }
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    let answers = Resolver::system().look_up_all(&names, PATIENCE);
    let answers = answers.into_iter().map(|answer| match answer {
        Ok(addresses) => Ok(addresses.len()),
        Err(error) => Err(error.to_string()),
    });
    names.iter().map(Name::to_string).zip(answers).collect()
}

/// Reads what the configuration names; each file once.
pub fn named_files(config: &Config) -> Vec<FileFacts> {
    let mut files: BTreeMap<(PathBuf, bool), FileFacts> = BTreeMap::new();
    let mut add = |path: &Path, kind: FileKind| {
        let is_key = matches!(kind, FileKind::Key { .. });
        files.entry((path.to_owned(), is_key)).or_insert_with(|| read(path, kind));
    };
    for listener in &config.listeners {
        let own = (&listener.tls, &listener.upstream_tls);
        let rules = listener.rules.iter().map(|rule| (&rule.tls, &rule.upstream_tls));
        for (tls, upstream_tls) in std::iter::once(own).chain(rules) {
            if let Some(tls) = tls {
                let lanes = [
                    tls.compat12.as_ref().and_then(|lane| lane.certificate.as_ref()),
                    tls.legacy.as_ref().and_then(|lane| lane.certificate.as_ref()),
                ];
                let own = tls.certificates.iter().chain(lanes.into_iter().flatten());
                own.for_each(|pair| add_pair(&mut add, pair, tls.key_group.as_ref()));
                add_trust(&mut add, &tls.trusted_ca, &tls.crls);
            }
            if let Some(tls) = upstream_tls {
                let own = tls.certificate.iter();
                own.for_each(|pair| add_pair(&mut add, pair, tls.key_group.as_ref()));
                add_trust(&mut add, &tls.trusted_ca, &tls.crls);
            }
        }
    }
    if let Some(secret) = &config.resumption.ticket_secret {
        add(secret, FileKind::Key { group: None });
    }
    files.into_values().collect()
}

fn add_pair(
    add: &mut impl FnMut(&Path, FileKind),
    pair: &CertificateFiles,
    group: Option<&String>,
) {
    add(&pair.certificate, FileKind::Certificate);
    add(&pair.certificate_key, FileKind::Key { group: group.cloned() });
}

fn add_trust(add: &mut impl FnMut(&Path, FileKind), cas: &[TrustFile], crls: &CrlPolicy) {
    cas.iter().for_each(|file| add(&file.path, FileKind::Ca));
    let rejects = crls.rules.expired == CrlExpired::Reject;
    crls.files.iter().for_each(|file| add(&file.path, FileKind::Crl { rejects }));
}

fn read(path: &Path, kind: FileKind) -> FileFacts {
    let words = |error: io::Error| error.to_string();
    let access = fs::metadata(path)
        .map_err(words)
        .map(|metadata| Access { mode: metadata.mode() & 0o777, group: metadata.gid() });
    let ends = match kind {
        // Nothing of a key is read.
        FileKind::Key { .. } => Ok(Vec::new()),
        FileKind::Certificate | FileKind::Ca => {
            fs::read(path).map_err(words).and_then(|bytes| certificates(&bytes))
        }
        FileKind::Crl { .. } => fs::read(path).map_err(words).and_then(|bytes| lists(&bytes)),
    };
    FileFacts { path: path.display().to_string(), kind, access, ends }
}

fn certificates(pem: &[u8]) -> Result<Vec<Ends>, String> {
    let all = CertificateDer::pem_slice_iter(pem).map(|der| {
        let der = der.map_err(|error| format!("damaged PEM: {error}"))?;
        let parsed = X509Certificate::from_der(&der);
        let (_, parsed) = parsed.map_err(|_| "a certificate that cannot be read".to_owned())?;
        Ok(Ends {
            what: parsed.subject().to_string(),
            from: parsed.validity().not_before.timestamp(),
            until: parsed.validity().not_after.timestamp(),
        })
    });
    some(all.collect::<Result<_, String>>()?, "no certificate in it")
}

/// PEM, or else one list in DER.
fn lists(bytes: &[u8]) -> Result<Vec<Ends>, String> {
    let found = CertificateRevocationListDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    let mut all = found.map_err(|error| format!("damaged PEM: {error}"))?;
    if all.is_empty() {
        all.push(CertificateRevocationListDer::from(bytes));
    }
    let all = all.iter().map(|der| {
        let parsed = CertificateRevocationList::from_der(der);
        let (_, parsed) = parsed.map_err(|_| "a list that cannot be read".to_owned())?;
        let until = parsed.next_update().ok_or("a list without nextUpdate")?;
        Ok(Ends {
            what: parsed.issuer().to_string(),
            from: parsed.last_update().timestamp(),
            until: until.timestamp(),
        })
    });
    all.collect()
}

fn some(all: Vec<Ends>, otherwise: &str) -> Result<Vec<Ends>, String> {
    if all.is_empty() { Err(otherwise.to_owned()) } else { Ok(all) }
}

/// For all look-ups together.
const PATIENCE: Duration = Duration::from_secs(5);
