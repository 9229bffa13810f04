//! What connections are driven against: listeners compiled from a configuration, as the gateway
//! does it, and clients that trust them.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519, SignatureAlgorithm,
};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tlsgate::app;
use tlsgate::policy::Policy;

/// The name on the certificate, and that clients ask for.
const NAME: &str = "localhost";

/// Listeners by what is special about them; the first has everything as by default.
const LISTENERS: [(&str, &str, &str); 6] = [
    ("plain", "\"127.0.0.1:5060\"", ""),
    ("strict", "\"127.0.0.1:5060\"", "strict_sni = true"),
    // Asks for a client certificate, and dials while the handshake runs nevertheless.
    ("mutual", "\"127.0.0.1:5060\"", "client_cert = \"required\"\ntrusted_ca = \"ca.pem\""),
    ("late", "\"127.0.0.1:5060\"", ""),
    ("two", "[\"127.0.0.1:5060\", \"127.0.0.2:5060\"]", ""),
    ("late-two", "[\"127.0.0.1:5060\", \"127.0.0.2:5060\"]", ""),
];

/// See the module.
pub struct World {
    policy: Arc<Policy>,
    tls12: Arc<ClientConfig>,
    tls13: Arc<ClientConfig>,
}

/// What inputs are tried on. Made once: keys take time. They are Ed25519, whose signatures all have one
/// length, so that an input that found something finds it again.
pub(crate) static WORLD: LazyLock<World> = LazyLock::new(|| World::new(&PKCS_ED25519));

/// Whether this listener takes nobody without a certificate.
pub(crate) fn wants_certificate(listener: usize) -> bool {
    LISTENERS[listener].0 == "mutual"
}

impl World {
    /// With keys of this kind.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(keys: &'static SignatureAlgorithm) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let roots = certificates(directory.path(), keys);
        let file = directory.path().join("tlsgate.toml");
        fs::write(&file, configuration()).expect("a writable directory");
        let app::Loaded { compiled, .. } =
            app::load(&file).unwrap_or_else(|error| panic!("{error}"));
        let client = |version| {
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[version])
                .expect("a version of the provider")
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            Arc::new(config)
        };
        Self {
            policy: compiled.policy,
            tls12: client(&rustls::version::TLS12),
            tls13: client(&rustls::version::TLS13),
        }
    }

    /// The policy with all listeners.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// A client that has not begun, and resumes the sessions of others before it unless it is
    /// `forgetful`. With small records, its messages take several.
    ///
    /// # Panics
    /// Never: the configuration is valid.
    pub fn client(&self, tls12: bool, small_records: bool, forgetful: bool) -> ClientConnection {
        let config = if tls12 { &self.tls12 } else { &self.tls13 };
        let mut config = Arc::clone(config);
        if small_records {
            Arc::make_mut(&mut config).max_fragment_size = Some(40);
        }
        if forgetful {
            Arc::make_mut(&mut config).resumption = Resumption::disabled();
        }
        let name = NAME.try_into().expect("a DNS name");
        ClientConnection::new(config, name).expect("a valid configuration")
    }
}

fn configuration() -> String {
    let listener = |(port, (name, upstream, tls)): (u16, &(&str, &str, &str))| {
        let connect = if name.starts_with("late") { "after_handshake" } else { "after_hello" };
        format!(
            "[[listener]]\nname = \"{name}\"\nlisten = \"127.0.0.1:{port}\"\n\
             upstream = {upstream}\nconnect = \"{connect}\"\n[listener.tls]\n\
             certificate = \"server.pem\"\ncertificate_key = \"server.key\"\n{tls}\n\
             [listener.timeouts]\nidle = \"5m\"\n"
        )
    };
    (20_000..).zip(&LISTENERS).map(listener).collect()
}

/// Writes an authority's and a server's certificate; returns the authority as clients know it.
fn certificates(directory: &Path, keys: &'static SignatureAlgorithm) -> RootCertStore {
    let key = KeyPair::generate_for(keys).expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("signed");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate_for(keys).expect("a key");
    let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a DNS name");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    write(&directory.join("ca.pem"), &authority.pem());
    write(&directory.join("server.pem"), &certificate.pem());
    write(&directory.join("server.key"), &key.serialize_pem());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("a valid root");
    roots
}

fn write(path: &Path, content: &str) {
    use std::io::Write;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes())).expect("a writable directory");
}
