//! A CA and a certificate for the run: one certificate in the chain.

use std::path::PathBuf;

use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::scratch::Scratch;

/// The name in the certificate.
pub(crate) const SERVER_NAME: &str = "localhost";

/// What servers present and clients trust.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) ca_pem: String,
    /// The file of `ca_pem`.
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Certificate and key in one file.
    pub(crate) combined: PathBuf,
}

impl Identity {
    /// Makes one with a P-256 key and writes its files, whose names begin with `prefix`.
    ///
    /// # Errors
    /// What failed, for the user to read.
    pub(crate) fn ecdsa(scratch: &Scratch, prefix: &str) -> Result<Self, String> {
        Self::new(scratch, prefix, KeyPair::generate)
    }

    /// The same with an RSA key of 2048 bits, which ring does not make.
    ///
    /// # Errors
    /// What failed, for the user to read.
    pub(crate) fn rsa(scratch: &Scratch, prefix: &str) -> Result<Self, String> {
        let key = Rsa::generate(2048).and_then(PKey::from_rsa);
        let pem = key.and_then(|key| key.private_key_to_pem_pkcs8());
        let pem = pem.map_err(|error| error.to_string())?;
        let pem = String::from_utf8(pem).map_err(|error| error.to_string())?;
        Self::new(scratch, prefix, || KeyPair::from_pem(&pem))
    }

    fn new(
        scratch: &Scratch,
        prefix: &str,
        key: impl FnOnce() -> Result<KeyPair, rcgen::Error>,
    ) -> Result<Self, String> {
        let (ca_pem, certificate, key) =
            key().and_then(|key| generate(prefix, key)).map_err(|error| error.to_string())?;
        let write = |name: &str, text: &str| scratch.write(&format!("{prefix}{name}"), text);
        Ok(Self {
            ca: write("ca.pem", &ca_pem)?,
            ca_pem,
            combined: write("combined.pem", &format!("{certificate}{key}"))?,
            certificate: write("certificate.pem", &certificate)?,
            key: write("key.pem", &key)?,
        })
    }
}

fn generate(prefix: &str, key: KeyPair) -> Result<(String, String, String), rcgen::Error> {
    let mut ca = CertificateParams::new(Vec::new())?;
    // OpenSSL finds an issuer by its name.
    ca.distinguished_name.push(DnType::CommonName, format!("{prefix}bench"));
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);
    let leaf = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
    let certificate = leaf.signed_by(&key, &issuer)?.pem();
    Ok((ca_pem, certificate, key.serialize_pem()))
}
