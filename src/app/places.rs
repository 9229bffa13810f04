//! Where the files of a configuration are, for the sandbox.

use std::path::{Path, PathBuf};

use super::sides::Owner;
use crate::config::model::{
    CertificateFiles, Config, CrlPolicy, Destination, ListenAddress, SourceSettings, TrustFile,
};
use crate::config::{Diagnostic, Diagnostics};
use crate::sandbox::{Access, Place, Sandbox};

/// A place and what names it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    place: Place,
    /// 1-based; 0 where no line does.
    line: usize,
    key: String,
}

/// All of them that a running gateway reads or makes anew, with the configuration's own.
pub(super) fn named(file: &Path, config: &Config) -> Vec<Named> {
    let mut all = Vec::new();
    add(&mut all, (file, Access::Read), (0, String::new()));
    if let Destination::File(path) = &config.log.access.to {
        add(&mut all, (path, Access::Log), (config.log.access.line, "log.access".to_owned()));
    }
    if let Some(path) = &config.resumption.ticket_secret {
        let line = config.resumption.ticket_secret_line;
        add(&mut all, (path, Access::Read), (line, "resumption.ticket_secret".to_owned()));
    }
    for listener in &config.listeners {
        let own = Owner::listener(listener);
        if let ListenAddress::Unix(path) = &listener.listen {
            add(&mut all, (path, Access::Socket), (listener.listen_line, own.path("listen")));
        }
        let sides = (own, &listener.tls, &listener.upstream_tls);
        let rules = listener.rules.iter();
        let rules = rules.map(|rule| (own.rule(rule), &rule.tls, &rule.upstream_tls));
        for (owner, tls, upstream_tls) in std::iter::once(sides).chain(rules) {
            if let Some(tls) = tls {
                let lanes = [
                    tls.compat12.as_ref().and_then(|lane| lane.certificate.as_ref()),
                    tls.legacy.as_ref().and_then(|lane| lane.certificate.as_ref()),
                ];
                let certificates = tls.certificates.iter().chain(lanes.into_iter().flatten());
                add_side(&mut all, &owner.path("tls"), certificates, (&tls.trusted_ca, &tls.crls));
            }
            if let Some(tls) = upstream_tls {
                let certificates = tls.certificate.iter();
                let trust = (&tls.trusted_ca[..], &tls.crls);
                add_side(&mut all, &owner.path("upstream_tls"), certificates, trust);
            }
        }
    }
    all
}

/// What the sandbox of a process that starts with this configuration has of files.
pub(super) fn at_start(file: &Path, config: &Config) -> Vec<Place> {
    let control = config.admin.control.iter();
    let control = control.map(|path| Place { path: path.clone(), access: Access::Socket });
    named(file, config).into_iter().map(|named| named.place).chain(control).collect()
}

/// Whether some route dials from where its clients are.
pub(super) fn keeps_sources(config: &Config) -> bool {
    let rules = config.listeners.iter().flat_map(|one| &one.rules);
    let all = config.listeners.iter().map(|one| &one.source);
    let mut all = all.chain(rules.filter_map(|rule| rule.source.as_ref()));
    all.any(|source| matches!(source, SourceSettings::Client { .. }))
}

/// What this configuration names that the sandbox has no access to.
///
/// # Errors
/// All of it, and what to do.
pub(super) fn check(
    sandbox: &Sandbox,
    (name, file): (&str, &Path),
    config: &Config,
) -> Result<(), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    for Named { place, line, key } in named(file, config) {
        if sandbox.has(&place) {
            continue;
        }
        diagnostics.push(Diagnostic {
            file: name.to_owned(),
            line,
            column: 1,
            key,
            message: "is outside of the folders that this process has kept".to_owned(),
            found: place.path.display().to_string(),
            allowed: match sandbox.folders(place.access).as_slice() {
                [] => "none, as none was named for that".to_owned(),
                folders => folders.join(", "),
            },
            hint: "It gave up all others when it started (gateway.sandbox). Use one of these, or \
                   restart: after USR2, the new process has the folders that its configuration names."
                .to_owned(),
        });
    }
    if diagnostics.is_empty() { Ok(()) } else { Err(diagnostics) }
}

fn add_side<'a>(
    all: &mut Vec<Named>,
    table: &str,
    certificates: impl Iterator<Item = &'a CertificateFiles>,
    (cas, crls): (&[TrustFile], &CrlPolicy),
) {
    let mut read = |path: &Path, line: usize, key: &str| {
        add(all, (path, Access::Read), (line, format!("{table}.{key}")));
    };
    for files in certificates {
        read(&files.certificate, files.certificate_line, "certificate");
        read(&files.certificate_key, files.certificate_key_line, "certificate_key");
        let ocsp: Option<&PathBuf> = files.ocsp_file.as_ref();
        ocsp.into_iter().for_each(|path| read(path, files.ocsp_file_line, "ocsp_file"));
    }
    cas.iter().for_each(|file| read(&file.path, file.line, "trusted_ca"));
    crls.files.iter().for_each(|file| read(&file.path, file.line, "crl_files"));
}

fn add(all: &mut Vec<Named>, (path, access): (&Path, Access), (line, key): (usize, String)) {
    // A name without a folder is in the current one.
    let path = if path.parent() == Some(Path::new("")) {
        Path::new(".").join(path)
    } else {
        path.to_owned()
    };
    all.push(Named { place: Place { path, access }, line, key });
}
