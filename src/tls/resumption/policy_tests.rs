//! Sessions made under one policy and offered under another, with rustls on both sides.

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, PKCS_ECDSA_P256_SHA256, RevokedCertParams,
    SerialNumber,
};
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{Resumption as ClientResumption, Tls12Resumption};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerified;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, HandshakeKind};

use x509_parser::parse_x509_certificate;

use super::tests::{LIFETIME, TestClock, limits};
use super::*;
use crate::config::model::{ClientCert, CrlUnknown, DownstreamTls, TlsVersion, TrustFile};
use crate::tls::identity::Identities;
use crate::tls::provider::provider;
use crate::tls::server_config::server_config;
use crate::tls::testing::{self, Ca, Files, Issued};

/// One way to come back.
#[derive(Clone, Copy, Debug)]
struct Way {
    mode: ResumptionMode,
    version: TlsVersion,
    tls12: Tls12Resumption,
}

const WAYS: [Way; 5] = {
    use ResumptionMode::{Store, Tickets};
    use TlsVersion::{V1_2, V1_3};
    let (ids, tickets) = (Tls12Resumption::SessionIdOnly, Tls12Resumption::SessionIdOrTickets);
    [
        Way { mode: Store, version: V1_2, tls12: ids },
        Way { mode: Tickets, version: V1_2, tls12: ids },
        Way { mode: Tickets, version: V1_2, tls12: tickets },
        Way { mode: Store, version: V1_3, tls12: tickets },
        Way { mode: Tickets, version: V1_3, tls12: tickets },
    ]
};

/// What a session is bound to, as far as it differs here.
#[derive(Clone)]
struct Policy {
    listener: &'static str,
    rule: &'static str,
    names: &'static [&'static str],
    client_cert: ClientCert,
    trusted: Vec<CertificateDer<'static>>,
    options: &'static [&'static str],
    crl_epoch: Arc<CrlEpoch>,
}

/// Two CAs, a client of the first one, and a process.
struct Scene {
    ca: Ca,
    other_ca: Ca,
    client: Issued,
    server: Issued,
    files: Files,
    clock: TestClock,
    resumption: Resumption,
}

impl Scene {
    fn new() -> Self {
        let (ca, clock) = (Ca::new(), TestClock::new());
        let resumption = Resumption::new(&limits(1000, 1 << 20), clock.clock());
        Self {
            client: ca.issue(&PKCS_ECDSA_P256_SHA256),
            server: ca.issue(&PKCS_ECDSA_P256_SHA256),
            other_ca: Ca::new(),
            ca,
            files: Files::new(),
            clock,
            resumption: resumption.expect("random numbers"),
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            listener: "sip",
            rule: "",
            names: &[testing::NAME],
            client_cert: ClientCert::Optional,
            trusted: vec![self.ca.certificate.der().clone()],
            options: &["crl_unknown=deny"],
            crl_epoch: Arc::default(),
        }
    }

    /// The first one, and others that differ from it in one item each.
    fn policies(&self) -> Vec<Policy> {
        let base = self.policy();
        let both = [&self.ca, &self.other_ca].map(|ca| ca.certificate.der().clone());
        let crls = |list: &[&str]| Arc::new(CrlEpoch::new(CrlDigest::of(list)));
        vec![
            Policy { listener: "sips", ..base.clone() },
            Policy { rule: "abroad", ..base.clone() },
            Policy { names: &[testing::NAME, "other.example"], ..base.clone() },
            Policy { client_cert: ClientCert::Required, ..base.clone() },
            Policy { client_cert: ClientCert::None, ..base.clone() },
            Policy { client_cert: ClientCert::Report, ..base.clone() },
            Policy { trusted: both.to_vec(), ..base.clone() },
            Policy { options: &["crl_unknown=allow"], ..base.clone() },
            Policy { crl_epoch: crls(&["one"]), ..base.clone() },
            Policy { crl_epoch: crls(&["one", "two"]), ..base.clone() },
            base,
        ]
    }

    fn file(&self, name: &str, content: &str) -> TrustFile {
        TrustFile { path: self.files.write(name, content, 0o644), line: 1 }
    }

    fn identities(&self, policy: &Policy, way: Way) -> (DownstreamTls, Identities) {
        let mut tls = testing::tls(vec![self.files.issued("server", &self.server)]);
        (tls.min_version, tls.max_version) = (way.version, way.version);
        (tls.tls13_tickets, tls.client_cert) = (1, policy.client_cert);
        // The domain alone is to tell policies apart, so all of them take what any of them takes.
        let pem = [&self.ca, &self.other_ca].map(|ca| ca.certificate.pem()).concat();
        tls.trusted_ca = vec![self.file("ca.pem", &pem)];
        let identities = crate::tls::identity::load(&tls, &provider()).expect("good files");
        (tls, identities)
    }

    fn domain(&self, policy: &Policy, way: Way) -> Domain {
        let parts = DomainParts {
            policy: PolicyId { listener: policy.listener, rule: policy.rule },
            names: &policy.names.iter().copied().collect(),
            client_cert: policy.client_cert,
            trusted: &policy.trusted,
            options: &policy.options.iter().copied().collect(),
        };
        let binding = Binding::new(&parts, Arc::clone(&policy.crl_epoch));
        Domain::new(way.mode, binding, &self.resumption)
    }

    fn server(&self, policy: &Policy, way: Way) -> Arc<ServerConfig> {
        let (tls, identities) = self.identities(policy, way);
        let config = server_config(&tls, &identities, &self.domain(policy, way), &provider());
        config.expect("a good configuration")
    }

    /// A list of the first CA's, with these serial numbers.
    fn crl(&self, serials: impl Iterator<Item = SerialNumber>) -> String {
        let date = rcgen::date_time_ymd;
        let revoked = |serial_number| RevokedCertParams {
            serial_number,
            revocation_time: date(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date(2020, 1, 1),
            next_update: date(4000, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.ca.issuer).expect("signed").pem().expect("PEM")
    }

    /// A client with a cache of sessions, and with a certificate.
    fn client(&self, way: Way) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions of the provider")
            .with_root_certificates(self.ca.roots())
            .with_client_auth_cert(self.client.chain(), self.client.private_key())
            .expect("key and certificate match");
        config.resumption = ClientResumption::in_memory_sessions(8).tls12_resumption(way.tls12);
        Arc::new(config)
    }

    /// Refusals of tickets and of stored sessions.
    fn refusals(&self) -> Vec<(Refusal, u64)> {
        let (tickets, store) =
            (self.resumption.keys.stats().refused, self.resumption.store.stats().rejected);
        tickets.iter().zip(store.iter()).map(|((cause, a), (_, b))| (cause, a + b)).collect()
    }
}

fn serial(issued: &Issued) -> SerialNumber {
    let (_, parsed) = parse_x509_certificate(issued.certificate.der()).expect("of our own");
    SerialNumber::from_slice(parsed.raw_serial())
}

/// Whether the handshake is a resumption, and why not.
fn resumes(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (bool, Option<Refusal>) {
    let (mut client, mut server) = (testing::client(client), testing::server(server));
    let (mut one, mut other) = (Attempt::new(), Attempt::new());
    testing::handshake_of(&mut client, &mut one, &mut server, &mut other).expect("they agree");
    (server.handshake_kind() == Some(HandshakeKind::Resumed), other.refused())
}

#[test]
fn no_session_crosses_from_any_policy_to_any_other() {
    for way in WAYS {
        let scene = Scene::new();
        let policies = scene.policies();
        let servers: Vec<_> = policies.iter().map(|policy| scene.server(policy, way)).collect();
        let mut crossed = 0;
        for (from, made_by) in servers.iter().enumerate() {
            for (to, offered_to) in servers.iter().enumerate() {
                let case = format!("{way:?} from {from} to {to}");
                let client = scene.client(way);
                assert_eq!(resumes(&client, made_by), (false, None), "{case}: first");
                let before = scene.refusals();
                let second = resumes(&client, offered_to);
                if from == to {
                    assert_eq!((second, scene.refusals()), ((true, None), before), "{case}");
                    continue;
                }
                // The last three differ in nothing but CRLs.
                let cause = match (from.min(to), from.max(to)) {
                    (8.., 8..) => Refusal::CrlEpoch,
                    _ => Refusal::OtherDomain,
                };
                assert_eq!(second, (false, Some(cause)), "{case}");
                let counted =
                    before.into_iter().map(|(of, count)| (of, count + u64::from(of == cause)));
                assert_eq!(scene.refusals(), counted.collect::<Vec<_>>(), "{case}");
                // What the client has now is a session of the other policy.
                assert_eq!(resumes(&client, offered_to), (true, None), "{case}: third");
                crossed += 1;
            }
        }
        assert_eq!(crossed, 110);
    }
}

/// CRLs change while a configuration is in use.
#[test]
fn a_session_dies_with_its_crls_and_comes_back_with_none() {
    for way in WAYS {
        let scene = Scene::new();
        let policy = scene.policy();
        let (server, client) = (scene.server(&policy, way), scene.client(way));
        assert!(!resumes(&client, &server).0);
        assert!(resumes(&client, &server).0, "{way:?}");
        policy.crl_epoch.set(CrlDigest::of(&["revoked"]));
        assert_eq!(resumes(&client, &server), (false, Some(Refusal::CrlEpoch)), "{way:?}");
        assert!(resumes(&client, &server).0, "{way:?}: made under the new ones");
        // Another node, or a later configuration, with the same CRLs.
        let node = Policy { crl_epoch: Arc::new(CrlEpoch::new(policy.crl_epoch.get())), ..policy };
        assert!(resumes(&client, &scene.server(&node, way)).0, "{way:?}");
    }
}

/// Checks clients as another verifier does, while CRLs are swapped.
#[derive(Debug)]
struct Swapped(Arc<dyn ClientCertVerifier>, Arc<CrlEpoch>);

impl ClientCertVerifier for Swapped {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.1.set(CrlDigest::of(&["revoked"]));
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A session belongs to the CRLs that its client was checked by, not to those that there are when
/// its ticket is made.
#[test]
fn crls_swapped_in_mid_handshake_make_no_session_of_theirs() {
    for way in WAYS {
        let scene = Scene::new();
        let policy = scene.policy();
        let (domain, client) = (scene.domain(&policy, way), scene.client(way));
        let (_, identities) = scene.identities(&policy, way);
        let verifier = Swapped(identities.trust.verifier(), Arc::clone(&policy.crl_epoch));
        let version = match way.version {
            TlsVersion::V1_2 => &rustls::version::TLS12,
            _ => &rustls::version::TLS13,
        };
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version of the provider")
            .with_client_cert_verifier(domain.noting(Arc::new(verifier)))
            .with_cert_resolver(identities.resolver);
        domain.apply(&mut server, 1);
        let server = Arc::new(server);
        assert_eq!(resumes(&client, &server), (false, None), "{way:?}");
        assert_eq!(policy.crl_epoch.get(), CrlDigest::of(&["revoked"]));
        assert_eq!(resumes(&client, &server), (false, Some(Refusal::CrlEpoch)), "{way:?}");
        assert_eq!(resumes(&client, &server), (true, None), "{way:?}: checked by the new ones");
    }
}

/// With CRL files that change under a verifier of the product's own: a client that was revoked
/// shakes hands in full, and fails; another one only shakes hands in full.
#[test]
fn a_client_that_was_revoked_does_not_resume() {
    for way in WAYS {
        let scene = Scene::new();
        let revoked = |serials: &[&Issued]| scene.crl(serials.iter().map(|issued| serial(issued)));
        let policy = Policy { client_cert: ClientCert::Required, ..scene.policy() };
        let (mut tls, _) = scene.identities(&policy, way);
        tls.crls.files = vec![scene.file("crl.pem", &revoked(&[]))];
        // Of the other CA, there is no list.
        tls.crls.rules.unknown = CrlUnknown::Allow;
        let identities = crate::tls::identity::load(&tls, &provider()).expect("good files");
        let trust = &identities.trust;
        let policy = Policy { crl_epoch: trust.crl_epoch(), ..policy };
        let domain = scene.domain(&policy, way);
        let server = server_config(&tls, &identities, &domain, &provider());
        let (server, client) = (server.expect("a good configuration"), scene.client(way));
        assert!(!resumes(&client, &server).0 && resumes(&client, &server).0, "{way:?}");
        scene.file("crl.pem", &revoked(&[&scene.server]));
        assert!(trust.crls().expect("a list").reload().changed);
        assert_eq!(resumes(&client, &server), (false, Some(Refusal::CrlEpoch)), "{way:?}");
        assert!(resumes(&client, &server).0, "{way:?}: somebody else was revoked");
        scene.file("crl.pem", &revoked(&[&scene.server, &scene.client]));
        assert!(trust.crls().expect("a list").reload().changed);
        let (mut one, mut other) = (testing::client(&client), testing::server(&server));
        let failed = testing::handshake(&mut one, &mut other).expect_err("it was revoked");
        assert!(matches!(failed, rustls::Error::InvalidCertificate(_)), "{way:?}: {failed}");
    }
}

#[test]
fn renewals_never_pass_the_bound_of_the_first_handshake() {
    for way in WAYS {
        let scene = Scene::new();
        let (server, client) = (scene.server(&scene.policy(), way), scene.client(way));
        for round in 0..2 {
            assert!(!resumes(&client, &server).0, "{way:?}: round {round}");
            for renewal in 1..100 {
                scene.clock.pass(LIFETIME / 100);
                assert!(resumes(&client, &server).0, "{way:?}: {round}, {renewal}");
            }
            scene.clock.pass(LIFETIME / 100 - 1);
            assert!(resumes(&client, &server).0, "{way:?}: the last second");
            scene.clock.pass(1);
            // A TLS 1.2 id is not renewed: the entry itself is too old.
            let (renewed, cause) = resumes(&client, &server);
            let by_id =
                way.version == TlsVersion::V1_2 && way.tls12 == Tls12Resumption::SessionIdOnly;
            let expected = if by_id { Refusal::Expired } else { Refusal::AbsoluteLifetime };
            assert_eq!((renewed, cause), (false, Some(expected)), "{way:?}");
            scene.clock.pass(LIFETIME);
        }
    }
}

/// Seconds that a session is still good for: clients forget it then, and their clock is the real one.
const PATIENCE: u64 = 60;

/// What goes to another process are stored sessions and the secrets of tickets.
#[test]
fn a_successor_keeps_to_the_same_bounds() {
    for way in WAYS {
        let scene = Scene::new();
        let policy = scene.policy();
        let client = scene.client(way);
        assert!(!resumes(&client, &scene.server(&policy, way)).0);
        scene.clock.pass(LIFETIME - PATIENCE);
        assert!(resumes(&client, &scene.server(&policy, way)).0);
        let old = scene.resumption.clone();
        let resumption = Resumption::new(&limits(1000, 1 << 20), scene.clock.clock());
        let scene = Scene { resumption: resumption.expect("random numbers"), ..scene };
        assert_eq!(scene.resumption.keys.import(&old.keys.export()), Ok(true));
        for chunk in old.store.export(1 << 16) {
            scene.resumption.store.import(&chunk).expect("a chunk of our own");
        }
        assert!(resumes(&client, &scene.server(&policy, way)).0, "{way:?}");
        policy.crl_epoch.set(CrlDigest::of(&["revoked"]));
        let revoked = resumes(&client, &scene.server(&policy, way));
        assert_eq!(revoked, (false, Some(Refusal::CrlEpoch)), "{way:?}");
        policy.crl_epoch.set(CrlDigest::default());
        assert!(!resumes(&client, &scene.server(&policy, way)).0, "{way:?}: of the other epoch");
        scene.clock.pass(PATIENCE);
        assert!(resumes(&client, &scene.server(&policy, way)).0, "{way:?}: a new beginning");
    }
}
