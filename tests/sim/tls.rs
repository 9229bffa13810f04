//! TLS of which lengths and outcomes follow from the seed alone.
//!
//! Keys are fixed and signatures Ed25519, so always 64 bytes; time is the virtual one; rustls'
//! random numbers come from a seed. What ring and aws-lc-rs draw by themselves (private keys of key
//! shares, ticket keys and nonces) has fixed lengths, and nobody looks at it.

use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ED25519,
    SerialNumber,
};
use rustls::client::Resumption as ClientResumption;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, NamedGroup, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use tempfile::TempDir;
use tlsgate::config::model::{
    self, CertificateFiles, ClientCert, CrlPolicy, DownstreamTls, RecordLayer, ResumptionMode,
    Revalidate, TlsVersion, TrustFile,
};
use tlsgate::engine::sim::network::SimClock;
use tlsgate::engine::sim::rng::Rng;
use tlsgate::tls::client_config::{ClientSettings, client_config};
use tlsgate::tls::identity::{Identities, load};
use tlsgate::tls::resumption::{Binding, Clock, Domain, DomainParts, PolicyId, Resumption};
use tlsgate::tls::server_config::server_config;
use tlsgate::tls::{ClientProfile, ServerProfile};

use crate::plan::ComponentPlan;

/// The name on the certificate.
pub(crate) const NAME: &str = "component.example";

/// What one listener's TLS is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerTls {
    /// Which of two certificates for the same name.
    pub(crate) certificate: usize,
    pub(crate) strict_sni: bool,
    pub(crate) client_cert: ClientCert,
    pub(crate) resumption: ResumptionMode,
    pub(crate) min_version: TlsVersion,
    pub(crate) max_version: TlsVersion,
    /// Speaks X25519 only, so that peers who guess another group have to try again.
    pub(crate) one_group: bool,
}

/// What a client's TLS is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientTls {
    pub(crate) version: Option<TlsVersion>,
    /// Offers a share of P-256 first.
    pub(crate) guesses_wrong: bool,
    pub(crate) certificate: bool,
}

/// Makes the TLS of both sides for one run.
pub(crate) struct Maker {
    clock: SimClock,
    records: RecordLayer,
    resumption: Resumption,
    /// With a cache of sessions each.
    clients: Vec<(ClientTls, Arc<ClientConfig>)>,
    components: Vec<(ComponentTls, Arc<ServerConfig>)>,
}

/// Version, and whether it is a stranger.
type ComponentTls = (Option<TlsVersion>, bool);

impl Maker {
    /// Also makes the random numbers of this thread start from `seed`.
    pub(crate) fn new(seed: u64, lifetime: Duration, clock: SimClock) -> Self {
        RANDOM.with_borrow_mut(|random| *random = Rng::new(seed));
        let limits = model::Resumption {
            max_entries: 10_000,
            max_bytes: 64 << 20,
            lifetime,
            ticket_secret: None,
            ticket_secret_line: 0,
        };
        let time = SimTime(clock.clone());
        let clock_of_sessions = Clock::new(move || time.seconds());
        let resumption = Resumption::new(&limits, clock_of_sessions).expect("randomness");
        let records = if seed % 4 == 3 { RecordLayer::Rustls } else { RecordLayer::Own };
        Self { clock, records, resumption, clients: Vec::new(), components: Vec::new() }
    }

    pub(crate) fn server(
        &self,
        listener: &str,
        wanted: &ServerTls,
        revalidate: Revalidate,
    ) -> ServerProfile {
        let tls = DownstreamTls { revalidate, ..section(wanted) };
        let identities = PKI.identities(wanted);
        let provider = provider(|group| !wanted.one_group || group == NamedGroup::X25519);
        let parts = DomainParts {
            policy: PolicyId { listener, rule: "" },
            names: &identities.names(),
            client_cert: wanted.client_cert,
            trusted: identities.trust.trusted(),
            options: &identities.trust.options(),
        };
        let binding = Binding::new(&parts, identities.trust.crl_epoch());
        let domain = Domain::new(wanted.resumption, binding, &self.resumption);
        let config = server_config(&tls, identities, &domain, &provider).expect("versions");
        let mut config = Arc::unwrap_or_clone(config);
        config.time_provider = Arc::new(SimTime(self.clock.clone()));
        ServerProfile::new(Arc::new(config), identities, &tls).recorded_by(self.records)
    }

    /// The gateway as a client of components, with a cache of sessions for each endpoint.
    pub(crate) fn dialler(&self, endpoints: usize) -> ClientProfile {
        let endpoint = |_| {
            let settings = ClientSettings {
                min_version: TlsVersion::V1_2,
                max_version: TlsVersion::V1_3,
                alpn: Vec::new(),
                send_sni: true,
                identity: None,
                resumption: ClientResumption::in_memory_sessions(64),
            };
            let roots = Arc::new(PKI.roots());
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider(|_| true));
            let verifier = verifier.build().expect("a root");
            let config = client_config(settings, verifier, &provider(|_| true)).expect("versions");
            let mut config = Arc::unwrap_or_clone(config);
            config.time_provider = Arc::new(SimTime(self.clock.clone()));
            (Arc::new(config), NAME.try_into().expect("a DNS name"))
        };
        ClientProfile::new((0..endpoints).map(endpoint).collect()).recorded_by(self.records)
    }

    /// A session of a component.
    pub(crate) fn component(&mut self, plan: &ComponentPlan) -> ServerConnection {
        let wanted = (plan.version, plan.stranger);
        let known = self.components.iter().find(|(of, _)| *of == wanted);
        let config = match known {
            Some((_, config)) => Arc::clone(config),
            None => {
                let config = Arc::new(self.component_config(wanted));
                self.components.push((wanted, Arc::clone(&config)));
                config
            }
        };
        ServerConnection::new(config).expect("a configuration that can be used")
    }

    fn component_config(&self, (version, stranger): ComponentTls) -> ServerConfig {
        let time = Arc::new(SimTime(self.clock.clone()));
        let (certificate, key) = if stranger { &PKI.stranger } else { &PKI.component };
        let key = PrivatePkcs8KeyDer::from(key.clone());
        let mut config = ServerConfig::builder_with_details(provider(|_| true), time)
            .with_protocol_versions(versions(version))
            .expect("versions of the provider")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .expect("a pair");
        config.send_half_rtt_data = true;
        config
    }

    /// A session of a client; clients of one kind know each other's tickets.
    pub(crate) fn client(&mut self, wanted: ClientTls, name: &str) -> ClientConnection {
        let known = self.clients.iter().find(|(of, _)| *of == wanted);
        let config = match known {
            Some((_, config)) => Arc::clone(config),
            None => {
                let config = Arc::new(self.client_config(wanted));
                self.clients.push((wanted, Arc::clone(&config)));
                config
            }
        };
        let name = name.to_owned().try_into().expect("a DNS name");
        ClientConnection::new(config, name).expect("a configuration that can be used")
    }

    fn client_config(&self, wanted: ClientTls) -> ClientConfig {
        let mut provider = Arc::unwrap_or_clone(provider(|group| {
            group == NamedGroup::X25519 || wanted.guesses_wrong && group == NamedGroup::secp256r1
        }));
        if wanted.guesses_wrong {
            provider.kx_groups.reverse();
        }
        let time = Arc::new(SimTime(self.clock.clone()));
        let builder = ClientConfig::builder_with_details(Arc::new(provider), time)
            .with_protocol_versions(versions(wanted.version))
            .expect("versions of the provider")
            .with_root_certificates(PKI.roots());
        let mut config = if wanted.certificate {
            let key = PrivatePkcs8KeyDer::from(PKI.client_key.clone());
            builder.with_client_auth_cert(vec![PKI.client.clone()], key.into()).expect("a pair")
        } else {
            builder.with_no_client_auth()
        };
        config.resumption = ClientResumption::in_memory_sessions(64);
        config
    }
}

fn versions(only: Option<TlsVersion>) -> &'static [&'static SupportedProtocolVersion] {
    static TLS12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
    static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    match only {
        None => rustls::ALL_VERSIONS,
        Some(TlsVersion::V1_2) => &TLS12,
        Some(_) => &TLS13,
    }
}

/// The virtual clock as rustls sees it.
#[derive(Debug)]
struct SimTime(SimClock);

impl SimTime {
    fn seconds(&self) -> u64 {
        EPOCH + self.0.now().as_nanos() / 1_000_000_000
    }
}

impl TimeProvider for SimTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.seconds())))
    }
}

/// Unix time at which runs begin.
const EPOCH: u64 = 1_900_000_000;

/// The gateway's provider, but for its random numbers and groups.
fn provider(groups: impl Fn(NamedGroup) -> bool) -> Arc<CryptoProvider> {
    let mut provider = (*tlsgate::tls::provider::provider()).clone();
    provider.kx_groups.retain(|group| groups(group.name()));
    provider.secure_random = &SeededRandom;
    Arc::new(provider)
}

thread_local! {
    static RANDOM: RefCell<Rng> = const { RefCell::new(Rng::new(0)) };
}

/// Not random at all.
#[derive(Debug)]
struct SeededRandom;

impl SecureRandom for SeededRandom {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        RANDOM.with_borrow_mut(|random| {
            for chunk in buf.chunks_mut(8) {
                chunk.copy_from_slice(&random.number().to_be_bytes()[..chunk.len()]);
            }
        });
        Ok(())
    }
}

/// Certificates that are the same in every process.
struct Pki {
    ca: CertificateDer<'static>,
    client: CertificateDer<'static>,
    client_key: Vec<u8>,
    servers: [CertificateDer<'static>; 2],
    /// Components that speak TLS, with their keys: one that is trusted, one that is not.
    component: (CertificateDer<'static>, Vec<u8>),
    stranger: (CertificateDer<'static>, Vec<u8>),
    /// With what of [`ServerTls`] they are for.
    identities: Vec<((usize, bool, ClientCert), Identities)>,
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let mut params = params(1, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = fixed_key(1);
    let ca = params.self_signed(&key).expect("signed");
    let issuer = Issuer::new(params, key);
    let issue = |number: u8, name: &str| {
        let key = fixed_key(number);
        let certificate = self::params(number, &[name]).signed_by(&key, &issuer).expect("signed");
        (certificate, key)
    };
    let servers = [issue(2, NAME), issue(3, NAME)];
    let (client, client_key) = issue(4, "peer.example");
    let (component, component_key) = issue(5, NAME);
    let stranger_key = fixed_key(6);
    let mut stranger = self::params(6, &[NAME]);
    stranger.distinguished_name.push(DnType::CommonName, "somebody else");
    let stranger = stranger.self_signed(&stranger_key).expect("signed");
    let mut identities = Vec::new();
    for (number, (server, key)) in servers.iter().enumerate() {
        let files = Files::new(&ca, server, key);
        for strict in [false, true] {
            for client_cert in [ClientCert::None, ClientCert::Optional, ClientCert::Required] {
                let key = (number, strict, client_cert);
                identities.push((key, files.load(strict, client_cert)));
            }
        }
    }
    Pki {
        ca: ca.der().clone(),
        client: client.der().clone(),
        client_key: client_key.serialize_der(),
        component: (component.der().clone(), component_key.serialize_der()),
        stranger: (stranger.der().clone(), stranger_key.serialize_der()),
        servers: servers.map(|(certificate, _)| certificate.der().clone()),
        identities,
    }
});

/// Which of the two certificates this is.
pub(crate) fn certificate_number(certificate: &CertificateDer<'_>) -> Option<usize> {
    PKI.servers.iter().position(|server| server == certificate)
}

impl Pki {
    fn identities(&self, wanted: &ServerTls) -> &Identities {
        let key = (wanted.certificate, wanted.strict_sni, wanted.client_cert);
        let found = self.identities.iter().find(|(of, _)| *of == key);
        &found.expect("made for all").1
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).expect("a root of ours");
        roots
    }
}

/// The gateway reads certificates from files.
struct Files {
    directory: TempDir,
    server: CertificateFiles,
    ca: PathBuf,
}

impl Files {
    fn new(ca: &Certificate, server: &Certificate, key: &KeyPair) -> Self {
        let directory = TempDir::new().expect("a directory");
        let write = |name: &str, text: String, mode| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode set");
            path
        };
        let server = CertificateFiles {
            certificate: write("server.pem", server.pem(), 0o644),
            certificate_key: write("server.key", key.serialize_pem(), 0o600),
            certificate_line: 1,
            certificate_key_line: 2,
            ocsp_file: None,
            ocsp_file_line: 0,
        };
        let ca = write("ca.pem", ca.pem(), 0o644);
        Self { directory, server, ca }
    }

    fn load(&self, strict_sni: bool, client_cert: ClientCert) -> Identities {
        assert!(self.directory.path().exists());
        let mut tls = section(&ServerTls {
            certificate: 0,
            strict_sni,
            client_cert,
            resumption: ResumptionMode::Off,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            one_group: false,
        });
        tls.certificates = vec![self.server.clone()];
        tls.trusted_ca = match client_cert {
            ClientCert::None => Vec::new(),
            _ => vec![TrustFile { path: self.ca.clone(), line: 0 }],
        };
        load(&tls, &provider(|_| true)).expect("files of our own")
    }
}

/// The section of the configuration, without files: those are read once.
fn section(wanted: &ServerTls) -> DownstreamTls {
    DownstreamTls {
        certificates: Vec::new(),
        key_group: None,
        key_group_line: 0,
        strict_sni: wanted.strict_sni,
        alpn: Vec::new(),
        min_version: wanted.min_version,
        max_version: wanted.max_version,
        ciphers: Vec::new(),
        client_cert: wanted.client_cert,
        trusted_ca: Vec::new(),
        crls: CrlPolicy::default(),
        revalidate: Revalidate::default(),
        resumption: wanted.resumption,
        tls13_tickets: 2,
        compat12: None,
        legacy: None,
    }
}

fn params(number: u8, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("DNS names");
    params.serial_number = Some(SerialNumber::from(u64::from(number)));
    params
}

/// An Ed25519 key (RFC 8410 §7) that is no secret.
fn fixed_key(number: u8) -> KeyPair {
    const PREFIX: [u8; 16] =
        [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = PrivatePkcs8KeyDer::from([&PREFIX[..], &[number; 32]].concat());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).expect("a key")
}
