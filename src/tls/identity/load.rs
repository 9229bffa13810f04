//! Reads certificate and key files and checks that they can be used together.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

use super::{Identities, Identity, SniResolver};
use crate::config::model::{CertificateFiles, DownstreamTls, UpstreamTls};
use crate::tls::file::{FileProblem, NamedFile};
use crate::tls::lane::Keys;
use crate::tls::openssl::spec;
use crate::tls::trust::{ClientTrustSettings, Loader, PeerIdentity, certificates, load_staple};

const GROUPS: &str = "/etc/group";
const KEY_MODES: &str = "mode 0600 or 0400, or 0640 or 0440 with the group of `key_group`";

/// Schemes that keys are probed for.
const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// As [`load_with`], for one listener alone.
///
/// # Errors
/// Every problem found, not just the first.
pub fn load(
    tls: &DownstreamTls,
    provider: &Arc<CryptoProvider>,
) -> Result<Identities, Vec<FileProblem>> {
    load_with(tls, provider, &mut Loader::new(Arc::clone(provider)))
}

/// Reads all files that the TLS section of a listener names; CAs and CRLs that `loader` has not
/// read yet.
///
/// # Errors
/// Every problem found, not just the first.
pub fn load_with(
    tls: &DownstreamTls,
    provider: &CryptoProvider,
    loader: &mut Loader,
) -> Result<Identities, Vec<FileProblem>> {
    let mut problems = Vec::new();
    let mut keep = |problem| problems.push(problem);
    let key_group = match find_key_group(tls.key_group.as_deref(), tls.key_group_line) {
        Ok(group) => group,
        Err(problem) => {
            keep(problem);
            None
        }
    };
    let mut list = Vec::new();
    for files in &tls.certificates {
        match load_identity(files, key_group, provider) {
            Ok(identity) => list.push(identity),
            Err(found) => found.into_iter().for_each(&mut keep),
        }
    }
    match loader.client(&ClientTrustSettings::of(tls)) {
        Ok(trust) if problems.is_empty() => {
            let resolver = Arc::new(SniResolver::new(&list, tls.strict_sni));
            Ok(Identities { list, resolver, verifier: trust.verifier(), trust })
        }
        Ok(_) => Err(problems),
        Err(found) => {
            problems.extend(found);
            Err(problems)
        }
    }
}

/// Reads the certificate that components are shown; there must be one.
///
/// # Errors
/// Every problem found.
pub fn load_shown(
    tls: &UpstreamTls,
    provider: &CryptoProvider,
) -> Result<Option<Identity>, Vec<FileProblem>> {
    let Some(files) = &tls.certificate else { return Ok(None) };
    let key_group = find_key_group(tls.key_group.as_deref(), tls.key_group_line)
        .map_err(|problem| vec![problem])?;
    load_identity(files, key_group, provider).map(Some)
}

/// Reads a certificate with its key for a lane of OpenSSL's, which may be weaker than rustls takes
/// them. `keys` are what the configuration calls the two files. The identity is for those who tell of
/// certificates: it signs nothing.
///
/// # Errors
/// Every problem found.
pub fn load_weak(
    files: &CertificateFiles,
    keys: (&'static str, &'static str),
    (key_group, line): (Option<&str>, usize),
) -> Result<(spec::Identity, Identity), Vec<FileProblem>> {
    let (certificate, key) = named_files(files, keys);
    let key_group = find_key_group(key_group, line).map_err(|problem| vec![problem])?;
    let chain = certificate.read().and_then(|bytes| certificates(&certificate, &bytes));
    let secret = read_key(&key, key_group, "a private key in PEM: RSA or ECDSA");
    let (chain, secret) = match (chain, secret) {
        (Ok(chain), Ok(secret)) => (chain, Zeroizing::new(secret)),
        (chain, secret) => return Err([chain.err(), secret.err()].into_iter().flatten().collect()),
    };
    let certified = CertifiedKey::new(chain, Arc::new(KeptElsewhere));
    let told = describe(&certificate, &certified).map_err(|problem| vec![problem])?;
    let told = told(Arc::new(certified));
    let identity = spec::Identity {
        names: told.names.clone(),
        chain: told.key.cert.iter().map(|one| one.to_vec()).collect(),
        key: Zeroizing::new(secret.secret_der().to_vec()),
    };
    match identity.key_fits() {
        Ok(true) => Ok((identity, told)),
        Ok(false) => Err(vec![anothers_key(&certificate, &key)]),
        Err(_) => Err(vec![unsupported_key(&key, "a private key that OpenSSL reads")]),
    }
}

/// A key that OpenSSL has.
#[derive(Debug)]
struct KeptElsewhere;

impl SigningKey for KeptElsewhere {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        None
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Anonymous
    }
}

fn named_files<'a>(
    files: &'a CertificateFiles,
    (certificate, key): (&'static str, &'static str),
) -> (NamedFile<'a>, NamedFile<'a>) {
    let certificate =
        NamedFile { file: &files.certificate, line: files.certificate_line, key: certificate };
    let key = NamedFile { file: &files.certificate_key, line: files.certificate_key_line, key };
    (certificate, key)
}

fn anothers_key(certificate: &NamedFile<'_>, key: &NamedFile<'_>) -> FileProblem {
    let hint = format!(
        "Compare `openssl x509 -pubkey -noout -in {}` with `openssl pkey -pubout -in {}`.",
        certificate.file.display(),
        key.file.display()
    );
    let allowed = "the key of the first certificate in `certificate`";
    key.problem("the key of another certificate", allowed, hint)
}

fn unreadable(certificate: &NamedFile<'_>) -> FileProblem {
    let found = "a certificate that cannot be read";
    certificate.problem(found, "X.509 certificates in PEM", "Ask for the certificate again.")
}

fn unsupported_key(named: &NamedFile<'_>, allowed: &'static str) -> FileProblem {
    let hint =
        format!("`openssl pkey -noout -text -in {}` shows what it is.", named.file.display());
    named.problem("a key of a type or size that is not supported", allowed, hint)
}

fn load_identity(
    files: &CertificateFiles,
    key_group: Option<u32>,
    provider: &CryptoProvider,
) -> Result<Identity, Vec<FileProblem>> {
    let (certificate, key) = named_files(files, ("certificate", "certificate_key"));
    let chain = certificate.read().and_then(|bytes| certificates(&certificate, &bytes));
    let signing_key = load_key(&key, key_group, provider);
    let (chain, signing_key) = match (chain, signing_key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let mut certified = CertifiedKey::new(chain, signing_key);
    let identity = describe(&certificate, &certified).map_err(|problem| vec![problem])?;
    certified.keys_match().map_err(|_| vec![anothers_key(&certificate, &key)])?;
    let staple = match &files.ocsp_file {
        Some(path) => {
            let file = NamedFile { file: path, line: files.ocsp_file_line, key: "ocsp_file" };
            let leaf = certified.cert.first().expect("a chain is not empty");
            let (response, facts) = load_staple(&file, leaf).map_err(|problem| vec![problem])?;
            certified.ocsp = Some(response);
            Some(facts)
        }
        None => None,
    };
    Ok(Identity { staple, ..identity(Arc::new(certified)) })
}

/// Reads what the log and the resolver need from the first certificate of the chain.
fn describe(
    named: &NamedFile<'_>,
    certified: &CertifiedKey,
) -> Result<impl FnOnce(Arc<CertifiedKey>) -> Identity + use<>, FileProblem> {
    let first = certified.cert.first().map_or(&[][..], |certificate| certificate);
    let (_, parsed) = X509Certificate::from_der(first).map_err(|_| unreadable(named))?;
    let names = names(&parsed);
    let subject = parsed.subject().to_string();
    let serial = parsed.raw_serial_as_string();
    let not_before = parsed.validity().not_before.timestamp();
    let not_after = parsed.validity().not_after.timestamp();
    let schemes =
        SCHEMES.into_iter().filter(|s| certified.key.choose_scheme(&[*s]).is_some()).collect();
    let (certificate, line) = (named.file.to_owned(), named.line);
    Ok(move |key| Identity {
        certificate,
        line,
        names,
        subject,
        serial,
        not_before,
        not_after,
        staple: None,
        key,
        schemes,
    })
}

/// SHA-256 of the public key (SubjectPublicKeyInfo) of the first certificate; `None` when it cannot be
/// read.
pub fn public_key(files: &CertificateFiles) -> Option<[u8; 32]> {
    PeerIdentity::of(&leaf(files)?).map(|identity| identity.spki)
}

/// Which kinds of keys the compat12 and the legacy lane have: their own certificates', else those of
/// the modern lane. None, where a file cannot be read, which its user reports.
pub fn keys(tls: &DownstreamTls, identities: &Identities) -> (Keys, Keys) {
    let modern = identities.list.iter().map(|identity| identity.key.key.algorithm());
    let modern = modern.fold(Keys::default(), Keys::with);
    let own = |files: &Option<CertificateFiles>| files.as_ref().map_or(modern, key_of);
    let compat12 = tls.compat12.as_ref().map(|lane| own(&lane.certificate));
    let legacy = tls.legacy.as_ref().map(|lane| own(&lane.certificate));
    (compat12.unwrap_or_default(), legacy.unwrap_or_default())
}

fn key_of(files: &CertificateFiles) -> Keys {
    let Some(leaf) = leaf(files) else { return Keys::default() };
    let Ok((_, parsed)) = X509Certificate::from_der(&leaf) else { return Keys::default() };
    match parsed.public_key().parsed() {
        Ok(PublicKey::RSA(_)) => Keys::default().with(SignatureAlgorithm::RSA),
        Ok(PublicKey::EC(_)) => Keys::default().with(SignatureAlgorithm::ECDSA),
        _ => Keys::default(),
    }
}

/// The first certificate of a file.
fn leaf(files: &CertificateFiles) -> Option<CertificateDer<'static>> {
    let named =
        NamedFile { file: &files.certificate, line: files.certificate_line, key: "certificate" };
    let chain = named.read().and_then(|bytes| certificates(&named, &bytes));
    chain.ok()?.into_iter().next()
}

/// Subject of a certificate, as in `CN=component.example`; `None` when it cannot be read.
pub fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.subject().to_string())
}

/// RFC 9525 §2 and, for old certificates, RFC 6125 §6.4.4: the common name counts only where there
/// is no subject alternative name.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let normal = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    match certificate.subject_alternative_name() {
        Ok(Some(extension)) => {
            let dns = extension.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(normal(name)),
                _ => None,
            });
            dns.collect()
        }
        Ok(None) => {
            let common = certificate.subject().iter_common_name();
            common.filter_map(|name| name.as_str().ok()).map(normal).collect()
        }
        // Given twice: peers refuse such a certificate, whatever the name.
        Err(_) => Vec::new(),
    }
}

fn load_key(
    named: &NamedFile<'_>,
    key_group: Option<u32>,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, FileProblem> {
    let allowed = "a private key in PEM: RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, Ed25519";
    let key = read_key(named, key_group, allowed)?;
    // Wipes the key's DER encoding when done.
    let loaded = provider.key_provider.load_private_key(key);
    loaded.map_err(|_| unsupported_key(named, allowed))
}

fn read_key(
    named: &NamedFile<'_>,
    key_group: Option<u32>,
    allowed: &'static str,
) -> Result<PrivateKeyDer<'static>, FileProblem> {
    let bytes = named.read_secret(key_group, KEY_MODES)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let encrypted = bytes.windows(9).any(|word| word == b"ENCRYPTED");
        let found = match error {
            _ if encrypted => "an encrypted private key",
            pem::Error::NoItemsFound => "no private key",
            // The text of other errors may quote the file, which is secret.
            _ => "damaged PEM",
        };
        let hint = if encrypted {
            format!("Decrypt it: `openssl pkey -in {} -out <file>`.", named.file.display())
        } else {
            "It starts with -----BEGIN PRIVATE KEY----- (or EC, or RSA).".to_owned()
        };
        named.problem(found, allowed, hint)
    })
}

/// The number of the group that may read keys, if there is one.
fn find_key_group(name: Option<&str>, line: usize) -> Result<Option<u32>, FileProblem> {
    let Some(name) = name else { return Ok(None) };
    let named = NamedFile { file: Path::new(GROUPS), line, key: "key_group" };
    let text = String::from_utf8_lossy(&named.read()?).into_owned();
    account_number(&text, name).map(Some).ok_or_else(|| {
        let hint = format!("Create it: `groupadd --system {name}`.");
        named.problem(format!("no group `{name}`"), "a group of this machine", hint)
    })
}

/// The number of a user or a group, from text in the format of passwd(5) or group(5):
/// `name:password:number`, and more.
pub fn account_number(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
pub(super) fn identity_for_tests(issued: &crate::tls::testing::Issued) -> Identity {
    let provider = crate::tls::provider::provider();
    let certified = CertifiedKey::from_der(issued.chain(), issued.private_key(), &provider)
        .expect("key and certificate match");
    let named = NamedFile { file: Path::new("test.pem"), line: 1, key: "certificate" };
    let identity = describe(&named, &certified).expect("a good certificate");
    identity(Arc::new(certified))
}
