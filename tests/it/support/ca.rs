//! Certificates of the checks' own.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The name that clients ask for unless a check is about names.
pub(crate) const NAME: &str = "localhost";

/// A certificate authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// Files of a certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) der: Vec<u8>,
}

/// A client's certificate; all of them have one key.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) der: Vec<u8>,
}

/// Kind of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Ecdsa,
    Rsa,
}

/// The authority of this run.
pub(crate) fn ca() -> &'static Ca {
    static CA: OnceLock<Ca> = OnceLock::new();
    CA.get_or_init(Ca::new)
}

impl Ca {
    /// Another one than [`ca`], which nobody trusts unless told to.
    pub(crate) fn new() -> Self {
        Self::named("tlsgate checks")
    }

    /// Another one, of this name.
    pub(crate) fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("signed");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// The certificate of the authority itself, as PEM.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A list that revokes these certificates, as PEM.
    pub(crate) fn crl(&self, revoked: &[&Files]) -> String {
        let revoked: Vec<&[u8]> = revoked.iter().map(|files| files.der.as_slice()).collect();
        self.crl_of(&revoked)
    }

    /// The same, of certificates in DER.
    pub(crate) fn crl_of(&self, revoked: &[&[u8]]) -> String {
        self.crl_for(revoked, None)
    }

    /// The same, which expires in so many days.
    pub(crate) fn crl_for(&self, revoked: &[&[u8]], days: Option<u64>) -> String {
        let serial = |der: &[u8]| {
            let (_, parsed) = X509Certificate::from_der(der).expect("a certificate of ours");
            SerialNumber::from_slice(&parsed.serial.to_bytes_be())
        };
        let day = |year| rcgen::date_time_ymd(year, 1, 1);
        let revoked = revoked.iter().map(|der| RevokedCertParams {
            serial_number: serial(der),
            revocation_time: day(2020),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: day(2020),
            next_update: days.map_or(day(2099), |days| day(1970) + since_1970(days)),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("signed").pem().expect("PEM")
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a valid root");
        roots
    }

    /// A client's certificate.
    pub(crate) fn client(&self, name: &str) -> Client {
        self.client_with(name, |_| {})
    }

    /// One that is valid for so long from now on, give or take a second.
    pub(crate) fn client_for(&self, time: Duration) -> Client {
        self.client_with("short-lived", |params| {
            params.not_after = (SystemTime::now() + time).into();
        })
    }

    fn client_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Client {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        // By default it follows from the key, which all have.
        params.serial_number = Some(NEXT.fetch_add(1, Ordering::Relaxed).into());
        change(&mut params);
        let certificate = params.signed_by(client_key(), &self.issuer).expect("signed");
        Client { der: certificate.der().to_vec() }
    }

    /// Writes a certificate for `names` (DNS names or IP addresses) and its key into `directory`.
    pub(crate) fn issue(
        &self,
        directory: &Path,
        stem: &str,
        kind: KeyKind,
        names: &[&str],
    ) -> Files {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).expect("good names");
        self.issue_with(directory, stem, kind, params)
    }

    /// As [`Ca::issue`], which expires in `days`.
    pub(crate) fn issue_for(&self, directory: &Path, stem: &str, days: u64) -> Files {
        let mut params = CertificateParams::new(vec![format!("{stem}.test")]).expect("a name");
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(days);
        self.issue_with(directory, stem, KeyKind::Ecdsa, params)
    }

    /// As [`Ca::issue`], which has expired long ago.
    pub(crate) fn issue_expired(&self, directory: &Path, stem: &str) -> Files {
        let mut params = CertificateParams::new(vec![format!("{stem}.test")]).expect("a name");
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.issue_with(directory, stem, KeyKind::Ecdsa, params)
    }

    fn issue_with(
        &self,
        directory: &Path,
        stem: &str,
        kind: KeyKind,
        mut params: CertificateParams,
    ) -> Files {
        params.distinguished_name.push(DnType::CommonName, stem);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = match kind {
            KeyKind::Ecdsa => KeyPair::generate().expect("a key"),
            KeyKind::Rsa => rsa_key(),
        };
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let files = Files {
            certificate: directory.join(format!("{stem}.pem")),
            key: directory.join(format!("{stem}.key")),
            der: certificate.der().to_vec(),
        };
        fs::write(&files.certificate, certificate.pem()).expect("a writable directory");
        write_private(&files.key, &key.serialize_pem());
        files
    }
}

impl Client {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(client_key().serialize_der()).into()
    }
}

/// Serial number of the next client's certificate.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn client_key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate().expect("a key"))
}

impl Files {
    /// As a table of the configuration.
    pub(crate) fn table(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!("{{ certificate = \"{certificate}\", certificate_key = \"{key}\" }}")
    }
}

/// Up to so many days from now, and an hour.
fn since_1970(days: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Duration::from_secs(now.as_secs() + days * 24 * 3600 + 3600)
}

/// ring makes no RSA keys, the openssl command does.
fn rsa_key() -> KeyPair {
    let output = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output()
        .expect("the openssl command is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    KeyPair::from_pem(&String::from_utf8(output.stdout).expect("PEM is text")).expect("a key")
}

fn write_private(path: &Path, pem: &str) {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(pem.as_bytes())).expect("a writable directory");
}
