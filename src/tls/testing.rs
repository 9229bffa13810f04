//! What the tests of this module share: certificates, and handshakes in memory.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SignatureAlgorithm};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use tempfile::TempDir;

use super::resumption::Attempt;
use crate::config::model::{
    CertificateFiles, ClientCert, CrlPolicy, DownstreamTls, ResumptionMode, Revalidate, TlsVersion,
    TrustFile,
};

/// The name on the certificates of [`Ca::issue`] and that clients ask for.
pub(crate) const NAME: &str = "component.example";

/// A certificate authority of the test's own.
pub(crate) struct Ca {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: rcgen::Certificate,
}

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub(crate) fn issue(&self, algorithm: &'static SignatureAlgorithm) -> Issued {
        let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a DNS name");
        self.issue_with(&params, algorithm)
    }

    pub(crate) fn issue_with(
        &self,
        params: &CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Issued {
        let key = KeyPair::generate_for(algorithm).expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Issued { certificate, key }
    }

    /// An RSA key comes from the openssl command, because ring does not make any.
    pub(crate) fn issue_rsa(&self) -> Issued {
        self.issue_rsa_with(&CertificateParams::new(vec![NAME.to_owned()]).expect("a DNS name"))
    }

    pub(crate) fn issue_rsa_with(&self, params: &CertificateParams) -> Issued {
        let output = Command::new("openssl")
            .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
            .output()
            .expect("the openssl command is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let pem = String::from_utf8(output.stdout).expect("PEM is text");
        let key = KeyPair::from_pem(&pem).expect("a PKCS #8 key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Issued { certificate, key }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a valid root");
        roots
    }

    pub(crate) fn client(&self, provider: CryptoProvider) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("versions of the provider")
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }
}

impl Issued {
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub(crate) fn server(&self, provider: Arc<CryptoProvider>) -> ServerConfig {
        self.server_of(provider, rustls::ALL_VERSIONS)
    }

    pub(crate) fn server_of(
        &self,
        provider: Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions of the provider")
            .with_no_client_auth()
            .with_single_cert(self.chain(), self.private_key())
            .expect("key and certificate match")
    }
}

/// A directory with certificate files.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode set");
        path
    }

    /// A file of CAs, as the configuration names it.
    pub(crate) fn trusted(&self, pem: &str) -> Vec<TrustFile> {
        vec![TrustFile { path: self.write("ca.pem", pem, 0o644), line: 0 }]
    }

    pub(crate) fn issued(&self, name: &str, issued: &Issued) -> CertificateFiles {
        CertificateFiles {
            certificate: self.write(&format!("{name}.pem"), &issued.certificate.pem(), 0o644),
            certificate_key: self.write(&format!("{name}.key"), &issued.key.serialize_pem(), 0o600),
            certificate_line: 7,
            certificate_key_line: 8,
            ocsp_file: None,
            ocsp_file_line: 0,
        }
    }
}

/// A listener with these certificates and nothing special.
pub(crate) fn tls(certificates: Vec<CertificateFiles>) -> DownstreamTls {
    DownstreamTls {
        certificates,
        key_group: None,
        key_group_line: 0,
        strict_sni: false,
        alpn: Vec::new(),
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        ciphers: Vec::new(),
        client_cert: ClientCert::None,
        trusted_ca: Vec::new(),
        crls: CrlPolicy::default(),
        revalidate: Revalidate::default(),
        resumption: ResumptionMode::Off,
        tls13_tickets: 0,
        compat12: None,
        legacy: None,
    }
}

pub(crate) fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = NAME.try_into().expect("a DNS name");
    ClientConnection::new(Arc::clone(config), name).expect("a valid configuration")
}

/// A client that resumption knows of from its first message on.
pub(crate) fn client_of(config: &Arc<ClientConfig>, attempt: &mut Attempt) -> ClientConnection {
    attempt.run(None, || client(config))
}

pub(crate) fn server(config: &Arc<ServerConfig>) -> ServerConnection {
    ServerConnection::new(Arc::clone(config)).expect("a valid configuration")
}

/// Carries records to and fro until both have nothing to say, session tickets included.
///
/// # Errors
/// The first error of either side; the other side's comes from the alert, if at all.
pub(crate) fn handshake(
    client: &mut ClientConnection,
    server: &mut ServerConnection,
) -> Result<(), rustls::Error> {
    handshake_of(client, &mut Attempt::new(), server, &mut Attempt::new())
}

/// [`handshake`], of connections that are known to resumption.
pub(crate) fn handshake_of(
    client: &mut ClientConnection,
    client_attempt: &mut Attempt,
    server: &mut ServerConnection,
    server_attempt: &mut Attempt,
) -> Result<(), rustls::Error> {
    while client.wants_write() || server.wants_write() {
        let mut records = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut records).expect("in memory");
        }
        let mut unread = records.as_slice();
        while !unread.is_empty() {
            server.read_tls(&mut unread).expect("in memory");
            server_attempt.run(server.handshake_kind(), || server.process_new_packets())?;
        }
        records.clear();
        while server.wants_write() {
            server.write_tls(&mut records).expect("in memory");
        }
        let mut unread = records.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).expect("in memory");
            client_attempt.run(client.handshake_kind(), || client.process_new_packets())?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}
