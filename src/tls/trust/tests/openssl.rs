//! Certificates, CRLs and OCSP responses as the openssl command makes them.

use std::path::Path;
use std::process::Command;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::*;
use crate::tls::file::NamedFile;

const CONFIGURATION: &str = "
[req]
distinguished_name = name
[name]
[ca]
default_ca = own
[own]
database = index.txt
serial = serial
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
policy = any
default_startdate = 20290101000000Z
default_enddate = 20310101000000Z
[any]
countryName = optional
organizationName = optional
commonName = supplied
[root]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:false
extendedKeyUsage = clientAuth,serverAuth
subjectAltName = DNS:component.example
authorityKeyIdentifier = keyid,issuer:always
[list]
authorityKeyIdentifier = keyid
";

/// A directory in which openssl is a CA.
struct Openssl(TempDir);

impl Openssl {
    /// `key` is what `openssl req -newkey` takes.
    fn new(key: &[&str]) -> Self {
        let own = Self(TempDir::new().expect("a directory"));
        std::fs::write(own.path("openssl.cnf"), CONFIGURATION).expect("written");
        std::fs::write(own.path("index.txt"), "").expect("written");
        std::fs::write(own.path("serial"), "00F1").expect("written");
        let subject = "/C=DE/O=Example/CN=Openssl Root";
        let root = ["req", "-x509", "-nodes", "-days", "9000", "-extensions", "root"];
        let files = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", subject, "-newkey"];
        own.run(&[&root[..], &files, key].concat());
        own
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str) -> TrustFile {
        TrustFile { path: self.path(name), line: 1 }
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .env("OPENSSL_CONF", "openssl.cnf")
            .output()
            .expect("the openssl command is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A certificate and key of this name.
    fn issue(&self, name: &str) -> Arc<CertifiedKey> {
        let [key, request, certificate] =
            ["key", "csr", "pem"].map(|kind| format!("{name}.{kind}"));
        let subject = format!("/O=Example/CN={name}");
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let files = ["-keyout", &key, "-out", &request, "-subj", &subject];
        self.run(&[&["req", "-nodes"][..], &curve, &files].concat());
        let files = ["-in", &request, "-out", &certificate];
        self.run(&[&["ca", "-batch", "-notext", "-extensions", "leaf"][..], &files].concat());
        let certificate = CertificateDer::from_pem_file(self.path(&certificate)).expect("PEM");
        let key = PrivateKeyDer::from_pem_file(self.path(&key)).expect("PEM");
        let key = provider().key_provider.load_private_key(key).expect("a good key");
        Arc::new(CertifiedKey::new(vec![certificate], key))
    }

    fn revoke(&self, name: &str, reason: &[&str]) {
        let certificate = format!("{name}.pem");
        self.run(&[&["ca", "-revoke", &certificate][..], reason].concat());
    }

    fn list(&self, name: &str, options: &[&str]) -> TrustFile {
        let dates = ["-crl_lastupdate", "20291224000000Z", "-crl_nextupdate", "20300201000000Z"];
        self.run(&[&["ca", "-gencrl", "-out", name][..], &dates, options].concat());
        self.file(name)
    }

    fn require(&self, list: TrustFile) -> Result<ClientTrust, Vec<FileProblem>> {
        super::load(&ClientTrustSettings {
            client_cert: ClientCert::Required,
            trusted_ca: vec![self.file("ca.pem")],
            crls: crls(vec![list]),
        })
    }
}

const P256: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: [&str; 1] = ["rsa:2048"];

#[test]
fn lists_of_versions_one_and_two_in_every_encoding_and_signature() {
    for (key, sigopts) in [
        (&P256[..], &[&[][..]][..]),
        (&RSA, &[&[], &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"]]),
    ] {
        let own = Openssl::new(key);
        let (good, bad) = (own.issue("good"), own.issue("bad"));
        own.revoke("bad", &[]);
        for (number, sigopt) in sigopts.iter().enumerate() {
            // Without extensions, as openssl's own configuration has it, that is version 1.
            let one = own.list(&format!("one{number}.pem"), sigopt);
            let options = [&["-crlexts", "list"], *sigopt].concat();
            let two = own.list(&format!("two{number}.pem"), &options);
            let der = format!("der{number}");
            let input = two.path.display().to_string();
            own.run(&["crl", "-in", &input, "-outform", "DER", "-out", &der]);
            for list in [one, two, own.file(&der)] {
                let trust = own.require(list).expect("good files");
                let set = trust.crls().expect("configured").current();
                let facts = &set.facts()[0];
                assert_eq!(facts.issuer, "CN=Openssl Root,O=Example,C=DE");
                assert_eq!((facts.revoked, facts.next_update), (1, NOW + 31 * DAY));
                let known = connect(&trust, Some(&good)).expect("good");
                assert_eq!(known.authorized().expect("verified").subject, "CN=good,O=Example");
                assert_eq!(refused(&trust, &bad).problem, CertificateProblem::Revoked);
            }
        }
    }
}

#[test]
fn reasons_and_lists_without_entries_and_weak_ones() {
    let own = Openssl::new(&RSA);
    let (good, bad) = (own.issue("good"), own.issue("bad"));
    let empty = own.require(own.list("empty.pem", &[])).expect("good files");
    assert_eq!(empty.crls().expect("configured").current().facts()[0].revoked, 0);
    connect(&empty, Some(&bad)).expect("not revoked yet");

    own.revoke("bad", &["-crl_CA_compromise", "20291220000000Z"]);
    let list = own.list("reasons.pem", &["-crlexts", "list"]);
    let trust = own.require(list).expect("good files");
    assert_eq!(refused(&trust, &bad).problem, CertificateProblem::Revoked);
    connect(&trust, Some(&good)).expect("good");

    let weak = own.list("weak.pem", &["-md", "sha1"]);
    let found = own.require(weak).expect_err("too weak");
    assert!(found[0].found.contains("an algorithm that is too weak"), "{found:?}");
}

/// The response for a certificate of `own`.
fn response(own: &Openssl, name: &str) -> Vec<u8> {
    let certificate = format!("{name}.pem");
    let ask = ["ocsp", "-issuer", "ca.pem", "-cert", &certificate, "-reqout", "request"];
    own.run(&[&ask[..], &["-no_nonce"]].concat());
    let signer = ["-rsigner", "ca.pem", "-rkey", "ca.key", "-CA", "ca.pem", "-ndays", "7"];
    let files = ["-index", "index.txt", "-reqin", "request", "-respout", "response"];
    own.run(&[&["ocsp"][..], &signer, &files].concat());
    std::fs::read(own.path("response")).expect("was made")
}

fn staple(path: &Path, leaf: &CertificateDer<'_>) -> Result<OcspFacts, String> {
    let named = NamedFile { file: path, line: 5, key: "ocsp_file" };
    let (bytes, facts) = load_staple(&named, leaf).map_err(|problem| problem.found)?;
    assert_eq!(bytes, std::fs::read(path).expect("is there"));
    Ok(facts)
}

#[test]
fn staples_are_for_their_certificate_and_whole() {
    let own = Openssl::new(&P256);
    let (one, two) = (own.issue("one"), own.issue("two"));
    let file = own.path("staple");
    let write = |bytes: &[u8]| std::fs::write(&file, bytes).expect("written");
    let good = response(&own, "one");
    write(&good);
    let facts = staple(&file, &one.cert[0]).expect("about it");
    assert_eq!(facts.status, OcspStatus::Good);
    assert_eq!(facts.next_update, Some(facts.this_update + 7 * DAY));
    let other = staple(&file, &two.cert[0]).expect_err("about another");
    assert_eq!(other, "an OCSP response for another certificate");
    // Another CA has given the same number away.
    let elsewhere = Ca::root("Elsewhere").leaf(serial(0xf1));
    let other = staple(&file, elsewhere.certificate.der()).expect_err("about another");
    assert_eq!(other, "an OCSP response for another certificate");
    for end in 0..good.len() {
        write(&good[..end]);
        assert!(staple(&file, &one.cert[0]).is_err(), "{end}");
    }
    // responseStatus tryLater
    write(&[0x30, 3, 0x0a, 1, 3]);
    let failed = staple(&file, &one.cert[0]).expect_err("no response");
    assert_eq!(failed, "an OCSP response that says that the responder failed");
    own.revoke("two", &[]);
    write(&response(&own, "two"));
    let facts = staple(&file, &two.cert[0]).expect("about it");
    assert_eq!(facts.status, OcspStatus::Revoked);
}

#[test]
fn a_staple_is_sent_with_its_certificate() {
    let own = Openssl::new(&P256);
    let shown = own.issue("one");
    let bytes = response(&own, "one");
    std::fs::write(own.path("staple"), &bytes).expect("written");
    let key = own.path("one.key");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).expect("mode set");
    let mut files = crate::config::model::CertificateFiles {
        certificate: own.path("one.pem"),
        certificate_key: key,
        certificate_line: 1,
        certificate_key_line: 2,
        ocsp_file: Some(own.path("staple")),
        ocsp_file_line: 3,
    };
    let load = |files| crate::tls::identity::load(&testing::tls(vec![files]), &provider());
    let identities = load(files.clone()).expect("good files");
    assert_eq!(identities.list[0].staple.expect("is there").status, OcspStatus::Good);

    let mut settings = server_settings(Verify::Full, vec![own.file("ca.pem")]);
    settings.name_match = NameMatch::SanOrCn;
    let trust = Loader::new(provider()).server(&settings).expect("good files");
    for version in VERSIONS {
        let server_config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version of the provider")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identities.resolver) as _);
        let seen = Arc::new(Seen { inner: trust.verifier(name(NAME)), staple: Default::default() });
        let client_config = client_config(Arc::clone(&seen) as _, None, &[version], now());
        let mut client = testing::client(&Arc::new(client_config));
        testing::handshake(&mut client, &mut testing::server(&Arc::new(server_config)))
            .expect("they agree");
        assert_eq!(*seen.staple.lock().expect("no thread panicked"), bytes);
    }

    let other = own.issue("two");
    assert_ne!(other.cert, shown.cert);
    files.certificate = own.path("two.pem");
    files.certificate_key = own.path("two.key");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&files.certificate_key, mode).expect("mode set");
    let problems = load(files).expect_err("of another certificate");
    assert_eq!((problems[0].key, problems[0].line), ("ocsp_file", 3));
}

/// Keeps the OCSP response that a server sent.
#[derive(Debug)]
struct Seen {
    inner: Arc<dyn ServerCertVerifier>,
    staple: std::sync::Mutex<Vec<u8>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &rustls::pki_types::ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, Error> {
        *self.staple.lock().expect("no thread panicked") = staple.to_vec();
        self.inner.verify_server_cert(leaf, others, name, staple, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
