//! The demo's certificates: a CA for clients to trust, and what the gateway presents.
//!
//! The CA's private key is never stored: nobody can issue a second certificate that those who trust
//! the demo's CA would accept. A new server certificate therefore comes with a new CA.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

use super::{Failure, files};
use crate::tls::provider::provider;

/// Names of the files in the state directory.
pub(super) const CA: &str = "ca.pem";
pub(super) const CERTIFICATE: &str = "server.pem";
pub(super) const KEY: &str = "server.key";

/// Names on the server's certificate.
const NAMES: [&str; 4] = ["localhost", "*.demo.test", "127.0.0.1", "::1"];
/// What a client must be able to ask for.
const ASKED: [&str; 4] = ["localhost", "any.demo.test", "127.0.0.1", "::1"];

const DAY: i64 = 86_400;
/// How long new certificates are valid, in seconds.
const VALID: i64 = 90 * DAY;
/// Clocks of clients may be a little behind.
const BACKDATED: i64 = 3_600;
/// Certificates that end sooner are made anew.
const LEFT: i64 = DAY;

/// What is in the state directory now.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) ca_pem: String,
    /// Why they were made anew; none where those of an earlier run are good.
    pub(super) made_because: Option<String>,
}

/// Certificates and key as PEM.
struct Pem {
    ca: String,
    certificate: String,
    key: String,
}

impl Certificates {
    /// Keeps the certificates of an earlier run while they are good for another day, or else makes
    /// new ones. `now` is Unix time in seconds.
    pub(super) fn keep_or_make(directory: &Path, now: i64) -> Result<Self, Failure> {
        let kept = Pem::read(directory).and_then(|pem| {
            pem.check(now)?;
            Ok(pem)
        });
        match kept {
            Ok(pem) => Ok(Self { ca_pem: pem.ca, made_because: None }),
            Err(reason) => {
                let pem = Pem::make(now)?;
                pem.write(directory)?;
                Ok(Self { ca_pem: pem.ca, made_because: Some(reason) })
            }
        }
    }
}

impl Pem {
    fn read(directory: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            fs::read_to_string(directory.join(name)).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => format!("there was no {name}"),
                _ => format!("{name}: {error}"),
            })
        };
        let pem = Self { ca: read(CA)?, certificate: read(CERTIFICATE)?, key: read(KEY)? };
        let metadata = fs::metadata(directory.join(KEY)).map_err(|error| error.to_string())?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(format!("others could read {KEY}"));
        }
        Ok(pem)
    }

    /// The CA's file comes last: until then its readers trust none of the new files.
    fn write(&self, directory: &Path) -> Result<(), Failure> {
        files::write(&directory.join(KEY), &self.key, files::PRIVATE)?;
        files::write(&directory.join(CERTIFICATE), &self.certificate, files::PUBLIC)?;
        files::write(&directory.join(CA), &self.ca, files::PUBLIC)
    }

    fn make(now: i64) -> Result<Self, rcgen::Error> {
        let ca_key = KeyPair::generate()?;
        let mut ca = params(&[], now)?;
        ca.distinguished_name.push(DnType::CommonName, "tlsgate demo CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_certificate = ca.self_signed(&ca_key)?;

        let key = KeyPair::generate()?;
        let mut server = params(&NAMES, now)?;
        server.distinguished_name.push(DnType::CommonName, NAMES[0]);
        server.is_ca = IsCa::ExplicitNoCa;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key))?;
        Ok(Self {
            ca: ca_certificate.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Would a client that trusts the CA accept the certificate under all names, now and until
    /// [`LEFT`] has passed, and does the key belong to it? If not: what is wrong.
    fn check(&self, now: i64) -> Result<(), String> {
        let certificate = parse_certificate(CERTIFICATE, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| format!("{KEY}: {error}"))?;
        // Compares the public keys.
        CertifiedKey::from_der(vec![certificate.clone()], key, &provider())
            .map_err(|error| format!("{KEY}: {error}"))?;
        let mut roots = RootCertStore::empty();
        roots.add(parse_certificate(CA, &self.ca)?).map_err(|error| format!("{CA}: {error}"))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| format!("{CA}: {error}"))?;
        for (name, time) in ASKED.into_iter().flat_map(|name| [(name, now), (name, now + LEFT)]) {
            let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
            let time = UnixTime::since_unix_epoch(since_epoch(time));
            verifier
                .verify_server_cert(&certificate, &[], &name, &[], time)
                .map_err(|error| format!("{CERTIFICATE}: {error}"))?;
        }
        Ok(())
    }
}

fn params(names: &[&str], now: i64) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    // The default holds a name of the library's own.
    params.distinguished_name = rcgen::DistinguishedName::new();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(now - BACKDATED);
    params.not_after = epoch + since_epoch(now + VALID);
    Ok(params)
}

fn parse_certificate(name: &str, pem: &str) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("{name}: {error}"))
}

/// `unix` in seconds; a clock before 1970 counts as 1970.
fn since_epoch(unix: i64) -> Duration {
    Duration::from_secs(u64::try_from(unix).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use tempfile::TempDir;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// A directory with certificates made at [`NOW`].
    fn made() -> TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Certificates::keep_or_make(directory.path(), NOW).expect("made");
        assert_eq!(first.made_because.as_deref(), Some("there was no ca.pem"));
        directory
    }

    fn reason(directory: &TempDir, now: i64) -> Option<String> {
        Certificates::keep_or_make(directory.path(), now).expect("kept or made").made_because
    }

    #[test]
    fn good_certificates_are_kept() {
        let directory = made();
        let file = |name| fs::read_to_string(directory.path().join(name)).expect("readable");
        let before = [CA, CERTIFICATE, KEY].map(file);
        assert_eq!(reason(&directory, NOW), None);
        assert_eq!(reason(&directory, NOW + VALID - LEFT - 1), None);
        assert_eq!([CA, CERTIFICATE, KEY].map(file), before);
    }

    #[test]
    fn certificates_that_end_within_a_day_are_made_anew() {
        let directory = made();
        let late = NOW + VALID - LEFT + 1;
        let because = reason(&directory, late).expect("made anew");
        assert!(because.contains("expired"), "{because}");
        assert_eq!(reason(&directory, late), None);
    }

    #[test]
    fn certificates_of_the_future_are_made_anew() {
        let directory = made();
        let because = reason(&directory, NOW - 2 * BACKDATED).expect("made anew");
        assert!(because.contains("not valid yet"), "{because}");
    }

    #[test]
    fn files_that_do_not_belong_together_are_made_anew() {
        for name in [CA, CERTIFICATE, KEY] {
            let (directory, other) = (made(), made());
            fs::copy(other.path().join(name), directory.path().join(name)).expect("copied");
            assert!(reason(&directory, NOW).is_some(), "{name}");
            assert_eq!(reason(&directory, NOW), None, "{name}");
        }
    }

    #[test]
    fn broken_and_readable_files_are_made_anew() {
        let directory = made();
        fs::write(directory.path().join(CERTIFICATE), "no PEM").expect("written");
        assert!(reason(&directory, NOW).is_some());
        let key = directory.path().join(KEY);
        fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("changed");
        assert_eq!(reason(&directory, NOW).as_deref(), Some("others could read server.key"));
        let mode = fs::metadata(&key).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, files::PRIVATE);
    }

    #[test]
    fn the_certificate_is_an_end_entity_for_servers() {
        let pem = Pem::make(NOW).expect("made");
        let der = parse_certificate(CERTIFICATE, &pem.certificate).expect("PEM");
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).expect("X.509");
        let constraints = certificate.basic_constraints().expect("well formed").expect("present");
        assert!(!constraints.value.ca);
        let usage = certificate.extended_key_usage().expect("well formed").expect("present");
        assert!(usage.value.server_auth && !usage.value.client_auth && !usage.value.any);
        let key = certificate.public_key().parsed().expect("a known algorithm");
        assert_eq!(key.key_size(), 256);
    }
}
