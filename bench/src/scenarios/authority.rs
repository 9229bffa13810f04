//! The CA of clients, with a list of the certificates that it has revoked.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::measure::scratch::Scratch;

/// Names of the CA's files, as scenarios have them.
const CERTIFICATE: &str = "clients-ca.pem";
const KEY: &str = "clients-ca.key";
/// Name of the list's file.
const LIST: &str = "clients.crl";

/// A CA and its files.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: PathBuf,
    /// The list.
    pub(super) list: PathBuf,
    revoked: u32,
}

impl Authority {
    /// Makes one that has revoked so many certificates, none of them of a client of the run.
    ///
    /// # Errors
    /// What failed, for the user to read.
    pub(super) fn new(scratch: &Scratch, revoked: u32) -> Result<Self, String> {
        let text = |error: rcgen::Error| error.to_string();
        let mut params = CertificateParams::new(Vec::new()).map_err(text)?;
        params.distinguished_name.push(DnType::CommonName, "bench clients");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(text)?;
        let certificate = params.self_signed(&key).map_err(text)?.pem();
        scratch.write(KEY, &key.serialize_pem())?;
        let certificate = scratch.write(CERTIFICATE, &certificate)?;
        let issuer = Issuer::new(params, key);
        let authority = Self { issuer, certificate, list: scratch.path(LIST), revoked };
        authority.issue(scratch, 1)?;
        Ok(authority)
    }

    /// Puts a list with this number in the place of the one before, which is there until then.
    ///
    /// # Errors
    /// What failed, for the user to read.
    pub(super) fn issue(&self, scratch: &Scratch, number: u64) -> Result<(), String> {
        let revoked = |serial: u32| RevokedCertParams {
            // As long as serial numbers at random are.
            serial_number: SerialNumber::from([&[0x5a; 16][..], &serial.to_be_bytes()].concat()),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2049, 1, 1),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: (0..self.revoked).map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let text = list.signed_by(&self.issuer).and_then(|list| list.pem());
        let next = scratch.write("next.crl", &text.map_err(|error| error.to_string())?)?;
        fs::rename(next, &self.list).map_err(|error| format!("{}: {error}", self.list.display()))
    }
}

#[cfg(test)]
mod tests {
    use openssl::x509::{CrlStatus, X509, X509Crl};

    use super::*;

    #[test]
    fn a_list_has_its_certificates_and_is_signed() {
        let scratch = Scratch::new().expect("a directory");
        let authority = Authority::new(&scratch, 26_000).expect("made");
        let read = |path: &PathBuf| fs::read(path).expect("a file");
        let ca = X509::from_pem(&read(&authority.certificate)).expect("PEM");
        let list = X509Crl::from_pem(&read(&authority.list)).expect("PEM");
        assert!(list.verify(&ca.public_key().expect("a key")).expect("a signature"));
        let bytes = list.to_der().expect("DER").len();
        assert!((1_000_000..1_100_000).contains(&bytes), "{bytes}");
        assert!(matches!(list.get_by_cert(&ca), CrlStatus::NotRevoked));
        assert_eq!(list.get_revoked().map_or(0, |revoked| revoked.len()), 26_000);
    }
}
