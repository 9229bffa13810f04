//! Certificates of the battery: a root, an intermediate below it, and leaves with every fault.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The name and the address that components and gateways have.
pub(super) const NAME: &str = "localhost";
pub(super) const ADDRESS: &str = "127.0.0.1";

/// What may be wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    UnknownCa,
    Expired,
    NotYetValid,
    WrongName,
    Revoked,
    MissingIntermediate,
    /// For servers where clients' are asked for, and the other way round.
    WrongUsage,
}

/// Who signs.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate with the chain that is sent along, and its key.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) chain_pem: String,
    key: KeyPair,
    serial: SerialNumber,
}

/// The battery's own authorities.
pub(super) struct Pki {
    pub(super) root: Authority,
    pub(super) intermediate: Authority,
    stranger: Authority,
}

pub(super) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let root = Authority::root("battery root");
        let intermediate = root.below("battery intermediate");
        Pki { root, intermediate, stranger: Authority::root("a stranger's root") }
    })
}

impl Pki {
    /// A good one for both roles.
    pub(super) fn leaf(&self, subject: &str) -> Leaf {
        self.faulty(subject, None)
    }

    /// One with a fault. Whether it is revoked is said by a list: [`Pki::crl`].
    pub(super) fn faulty(&self, subject: &str, fault: Option<Fault>) -> Leaf {
        let name = if fault == Some(Fault::WrongName) { "elsewhere.test" } else { NAME };
        let address = if fault == Some(Fault::WrongName) { "127.0.0.99" } else { ADDRESS };
        self.named(subject, &[name, address], fault)
    }

    /// One for these names.
    pub(super) fn named(&self, subject: &str, names: &[&str], fault: Option<Fault>) -> Leaf {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("good names");
        params.distinguished_name.push(DnType::CommonName, subject);
        params.extended_key_usages = match fault {
            // Neither: for signing code.
            Some(Fault::WrongUsage) => vec![ExtendedKeyUsagePurpose::CodeSigning],
            _ => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        match fault {
            Some(Fault::Expired) => params.not_after = date_time_ymd(2021, 1, 1),
            Some(Fault::NotYetValid) => params.not_before = date_time_ymd(2090, 1, 1),
            _ => {}
        }
        let serial = SerialNumber::from(next_serial());
        params.serial_number = Some(serial.clone());
        let key = KeyPair::generate().expect("a key");
        let signer = match fault {
            Some(Fault::UnknownCa) => &self.stranger,
            _ => &self.intermediate,
        };
        let leaf = params.signed_by(&key, &signer.issuer).expect("signed");
        let above = match fault {
            Some(Fault::UnknownCa | Fault::MissingIntermediate) => None,
            _ => Some(&self.intermediate.certificate),
        };
        let all = || std::iter::once(&leaf).chain(above);
        let chain = all().map(|one| one.der().clone()).collect();
        Leaf { chain, chain_pem: all().map(rcgen::Certificate::pem).collect(), key, serial }
    }

    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.certificate.der().clone()).expect("a valid root");
        roots
    }

    /// Trust in somebody else.
    pub(super) fn strange_roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.stranger.certificate.der().clone()).expect("a valid root");
        roots
    }

    /// The lists of both authorities as PEM, good until a year; these leaves are revoked.
    pub(super) fn crl(&self, revoked: &[&Leaf], until: i32) -> String {
        self.root.crl(&[], until) + &self.intermediate.crl(revoked, until)
    }
}

impl Authority {
    fn root(name: &str) -> Self {
        let (params, key) = Self::parts(name);
        let certificate = params.self_signed(&key).expect("signed");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn below(&self, name: &str) -> Self {
        let (params, key) = Self::parts(name);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn parts(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params, KeyPair::generate().expect("a key"))
    }

    pub(super) fn pem(&self) -> String {
        self.certificate.pem()
    }

    fn crl(&self, revoked: &[&Leaf], until: i32) -> String {
        let revoked = revoked.iter().map(|leaf| RevokedCertParams {
            serial_number: leaf.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("signed").pem().expect("PEM")
    }
}

impl Leaf {
    /// Its serial number as the gateway writes it.
    pub(super) fn serial_as_logged(&self) -> String {
        let bytes = self.serial.to_bytes();
        let digits = bytes.iter().skip_while(|byte| **byte == 0);
        digits.map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// Writes `stem.pem` and `stem.key`.
    pub(super) fn write(&self, directory: &Path, stem: &str) {
        fs::write(directory.join(format!("{stem}.pem")), &self.chain_pem).expect("writable");
        let key = directory.join(format!("{stem}.key"));
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(key);
        let written = file.and_then(|mut file| {
            std::io::Write::write_all(&mut file, self.key.serialize_pem().as_bytes())
        });
        written.expect("a writable directory");
    }
}

fn next_serial() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0x5eed_0000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
