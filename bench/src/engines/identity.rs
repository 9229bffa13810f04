//! A CA and a certificate for the run: P-256, one certificate in the chain.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::scratch::Scratch;

/// The name in the certificate.
pub(crate) const SERVER_NAME: &str = "localhost";

/// What servers present and clients trust.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) ca_pem: String,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Certificate and key in one file.
    pub(crate) combined: PathBuf,
}

impl Identity {
    /// Makes one and writes its files.
    ///
    /// # Errors
    /// What failed, for the user to read.
    pub(crate) fn new(scratch: &Scratch) -> Result<Self, String> {
        let (ca_pem, certificate, key) = generate().map_err(|error| error.to_string())?;
        Ok(Self {
            ca_pem,
            combined: scratch.write("combined.pem", &format!("{certificate}{key}"))?,
            certificate: scratch.write("certificate.pem", &certificate)?,
            key: scratch.write("key.pem", &key)?,
        })
    }
}

fn generate() -> Result<(String, String, String), rcgen::Error> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);
    let leaf = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?.pem();
    Ok((ca_pem, certificate, key.serialize_pem()))
}
