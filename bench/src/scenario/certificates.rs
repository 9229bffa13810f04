//! Certificates for the clients of a flow, signed by a CA of files.

use std::fs;
use std::path::Path;

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

use super::target::Certificates;
use crate::client::Identity;

/// How long certificates are good, and the CA.
const DAYS: u32 = 30;
const CA_DAYS: u32 = 3650;
const DAY: i64 = 24 * 3600;

/// Makes them: P-256, for clients, called after the flow and their numbers. The CA is made, too, when
/// neither of its files is there.
///
/// # Errors
/// What is wrong with the CA's files.
pub(super) fn make(flow: &str, wanted: &Certificates) -> Result<Vec<Identity>, String> {
    let (ca, ca_key) = authority(&wanted.ca, &wanted.ca_key)?;
    let failed = |error: ErrorStack| format!("certificates of {flow}: {error}");
    (0..wanted.count)
        .map(|number| {
            let key = key().map_err(failed)?;
            let name = format!("{flow}-{number}");
            let certificate =
                certificate(&name, &key, Some((&ca, &ca_key)), wanted.expired).map_err(failed)?;
            identity(&certificate, &key).map_err(failed)
        })
        .collect()
}

fn authority(certificate: &Path, key: &Path) -> Result<(X509, PKey<Private>), String> {
    let failed =
        |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    if !certificate.exists() && !key.exists() {
        let made = self::key().and_then(|key| {
            let ca = self::certificate("tlsgate-bench clients", &key, None, false)?;
            identity(&ca, &key)
        });
        let made = made.map_err(|error| failed(certificate, &error))?;
        write_secret(key, &made.key).map_err(|error| failed(key, &error))?;
        fs::write(certificate, &made.certificate).map_err(|error| failed(certificate, &error))?;
    }
    let read = |path: &Path| fs::read(path).map_err(|error| failed(path, &error));
    let ca = X509::from_pem(&read(certificate)?).map_err(|error| failed(certificate, &error))?;
    let ca_key = PKey::private_key_from_pem(&read(key)?).map_err(|error| failed(key, &error))?;
    if !ca.public_key().is_ok_and(|public| public.public_eq(&ca_key)) {
        return Err(failed(key, &format!("this is not the key of {}", certificate.display())));
    }
    Ok((ca, ca_key))
}

/// For its owner only, from the beginning.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn identity(certificate: &X509, key: &PKey<Private>) -> Result<Identity, ErrorStack> {
    let text = |pem: Vec<u8>| String::from_utf8(pem).expect("PEM is ASCII");
    Ok(Identity {
        certificate: text(certificate.to_pem()?),
        key: text(key.private_key_to_pem_pkcs8()?),
    })
}

/// One of a client, or of a CA where nobody else signs it.
fn certificate(
    name: &str,
    key: &PKey<Private>,
    signer: Option<(&X509, &PKey<Private>)>,
    expired: bool,
) -> Result<X509, ErrorStack> {
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, name)?;
    let subject = subject.build();
    let mut serial = BigNum::new()?;
    // RFC 5280 §4.1.2.2: at most 20 bytes and positive.
    serial.rand(159, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*Asn1Integer::from_bn(&serial)?)?;
    builder.set_subject_name(&subject)?;
    builder.set_pubkey(key)?;
    builder.set_issuer_name(signer.map_or(&*subject, |(ca, _)| ca.subject_name()))?;
    let now = i64::try_from(unix_now()).unwrap_or(i64::MAX);
    let (begin, days) = if expired { (now - 2 * DAY, 1) } else { (now - DAY, DAYS + 1) };
    let days = if signer.is_none() { CA_DAYS } else { days };
    builder.set_not_before(&*Asn1Time::from_unix(begin)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(begin + i64::from(days) * DAY)?)?;
    if signer.is_some() {
        builder.append_extension(ExtendedKeyUsage::new().client_auth().build()?)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    } else {
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build()?;
        builder.append_extension(usage)?;
    }
    builder.sign(signer.map_or(key, |(_, ca_key)| ca_key), MessageDigest::sha256())?;
    Ok(builder.build())
}

fn unix_now() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn clients_have_certificates_of_their_own_from_one_authority() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut wanted = Certificates {
            count: 5,
            ca: directory.path().join("ca.pem"),
            ca_key: directory.path().join("ca.key"),
            expired: false,
        };
        let made = make("agents", &wanted).expect("made");
        let ca = X509::from_pem(&fs::read(&wanted.ca).expect("made, too")).expect("PEM");
        let public = ca.public_key().expect("a key");
        let names: BTreeSet<String> = made
            .iter()
            .map(|identity| {
                let leaf = X509::from_pem(identity.certificate.as_bytes()).expect("PEM");
                assert!(leaf.verify(&public).expect("a signature"));
                let now = Asn1Time::days_from_now(0).expect("now");
                assert!(*leaf.not_after() > now && *leaf.not_before() < now);
                format!("{:?}", leaf.subject_name())
            })
            .collect();
        assert_eq!(names.len(), 5);
        wanted.expired = true;
        let expired = make("late", &wanted).expect("from the same authority");
        let leaf = X509::from_pem(expired[0].certificate.as_bytes()).expect("PEM");
        assert!(*leaf.not_after() < Asn1Time::days_from_now(0).expect("now"));
        assert!(leaf.verify(&public).expect("a signature"));
        fs::remove_file(&wanted.ca_key).expect("it was there");
        assert!(make("late", &wanted).expect_err("no key").contains("ca.key"));
    }
}
