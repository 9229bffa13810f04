//! Who is let in, in handshakes: by the trust that rustls' sessions have, with the same words.

use openssl::hash::MessageDigest;
use rustls::pki_types::ServerName;

use super::*;
use crate::tls::provider::provider;
use crate::tls::testing::Files;
use crate::tls::trust::{
    CertificateProblem, ClientTrust, ClientTrustSettings, CrlPolicy, Loader, NameMatch,
    ServerTrust, ServerTrustSettings, Strength, TrustFile, Verify,
};

fn files(ca: &Ca) -> (Files, Vec<TrustFile>) {
    let files = Files::new();
    let trusted = files.trusted(&ca.pem());
    (files, trusted)
}

fn server_trust(ca: &Ca, verify: Verify, strength: Strength) -> ServerTrust {
    let (_kept, trusted_ca) = files(ca);
    let settings = ServerTrustSettings {
        verify,
        name_match: NameMatch::San,
        trusted_ca,
        crls: CrlPolicy::default(),
        pins: vec![[1; 32]],
    };
    Loader::new(provider()).server_of(&settings, strength).expect("good files")
}

fn client_trust(ca: &Ca, client_cert: ClientCert, strength: Strength) -> ClientTrust {
    let (_kept, trusted_ca) = files(ca);
    let settings = ClientTrustSettings { client_cert, trusted_ca, crls: CrlPolicy::default() };
    Loader::new(provider()).client_of(&settings, strength).expect("good files")
}

/// What comes of a client that verifies a server with this certificate, as `name`.
fn meet(
    (lane, version): (Lane, TlsVersion),
    shown: Identity,
    trust: ServerTrust,
    name: &'static str,
) -> (Result<(), TlsError>, Result<(), TlsError>) {
    let mut spec = client_spec(lane);
    spec.parameters = only(version, spec.parameters);
    spec.trusted = trust.trusted().iter().map(|ca| ca.to_vec()).collect();
    let mut accepting = server_spec(lane, shown);
    accepting.parameters.max_version = TlsVersion::V1_3;
    let verifier = Verifier::Server(trust, ServerName::try_from(name).expect("a name"));
    let mut ours = End::client(&client(&spec), Some(verifier));
    let mut theirs = End::server(&server(&accepting), None);
    let (at_client, at_server) = converse(&mut ours, &mut theirs);
    assert_eq!(at_client.is_ok(), !ours.tls.is_handshaking());
    (at_client, at_server)
}

#[test]
fn servers_are_who_their_certificates_say() {
    use CertificateProblem::{UnknownCa, WrongName, WrongPin};
    let (ca, other) = (Ca::usual(), Ca::usual());
    for (lane, version) in [
        (Lane::Legacy, TlsVersion::V1_0),
        (Lane::Compat12, TlsVersion::V1_2),
        (Lane::Legacy, TlsVersion::V1_3),
    ] {
        for (verify, by, name, expected) in [
            (Verify::Full, &ca, NAME, None),
            (Verify::Full, &ca, "elsewhere.example", Some((WrongName, 40))),
            (Verify::Chain, &ca, "elsewhere.example", None),
            (Verify::Chain, &other, NAME, Some((UnknownCa, 48))),
            (Verify::Pin, &ca, NAME, Some((WrongPin, 48))),
            (Verify::None, &other, NAME, None),
        ] {
            let trust = server_trust(&ca, verify, Strength::Usual);
            let (at_client, at_server) = meet((lane, version), by.issue(NAME), trust, name);
            let Some((problem, alert)) = expected else {
                at_client.expect("a good server");
                at_server.expect("a good client");
                continue;
            };
            let error = at_client.expect_err("not that one");
            assert_eq!(error.reason, Reason::ClientCertificateInvalid, "{error:?}");
            // Both CAs have the same name, so that what is wrong is the signature.
            let found = error.certificate.expect("said what is wrong");
            let is_signature = found == CertificateProblem::BadSignature && problem == UnknownCa;
            assert!(found == problem || is_signature, "{found:?} {verify:?}");
            if version != TlsVersion::V1_3 && !is_signature {
                assert_eq!(error.alert_sent, Some(alert), "{verify:?} {error:?}");
            }
            assert_eq!(error.of_upstream().reason, Reason::UpstreamCertificateInvalid);
            let told = at_server.expect_err("told so");
            assert_eq!(told.reason, Reason::AlertReceived);
        }
    }
}

#[test]
fn sha1_and_short_keys_are_for_the_legacy_lane() {
    for ca in [
        Ca::old(),
        Ca::new(1024, MessageDigest::sha256()),
        Ca::new(1024, MessageDigest::sha512()),
        Ca::new(2048, MessageDigest::sha1()),
    ] {
        let weak = server_trust(&ca, Verify::Full, Strength::Weak);
        let version = TlsVersion::V1_0;
        let (at_client, at_server) = meet((Lane::Legacy, version), ca.issue(NAME), weak, NAME);
        at_client.expect("SHA-1 and 1,024 bits count");
        at_server.expect("a good client");
        let usual = server_trust(&ca, Verify::Full, Strength::Usual);
        let (at_client, _) = meet((Lane::Legacy, version), ca.issue(NAME), usual, NAME);
        let error = at_client.expect_err("too weak");
        assert!(error.certificate.is_some(), "{error:?}");
        // The chain is judged again after the handshake, and later: as in it.
        let leaf = rustls::pki_types::CertificateDer::from(ca.issue(NAME).chain.remove(0));
        let weak = server_trust(&ca, Verify::Full, Strength::Weak);
        let name = ServerName::try_from(NAME).expect("a name");
        let judged = weak.judge(std::slice::from_ref(&leaf), &name, now()).expect("good");
        let mut path = judged.peer.expect("readable").path().cloned();
        weak.recheck(&[leaf], &mut path, &name, now()).expect("still good");
    }
    let short = Ca::new(768, MessageDigest::sha256());
    let weak = server_trust(&short, Verify::Full, Strength::Weak);
    let (at_client, _) = meet((Lane::Legacy, TlsVersion::V1_0), short.issue(NAME), weak, NAME);
    at_client.expect_err("768 bits are too few for anybody");
}

#[test]
fn clients_are_asked_as_the_configuration_says() {
    use ClientCert::{None as Nothing, Optional, Report, Required};
    let (ca, other) = (Ca::usual(), Ca::usual());
    for version in [TlsVersion::V1_0, TlsVersion::V1_2] {
        for (asked, shown, expected) in [
            (Nothing, Some(&ca), Ok(false)),
            (Optional, None, Ok(false)),
            (Optional, Some(&ca), Ok(true)),
            (Optional, Some(&other), Err(Reason::ClientCertificateInvalid)),
            (Required, Some(&ca), Ok(true)),
            (Required, None, Err(Reason::ClientCertificateMissing)),
            (Required, Some(&other), Err(Reason::ClientCertificateInvalid)),
            (Report, None, Ok(false)),
            (Report, Some(&other), Ok(true)),
        ] {
            let mut spec = client_spec(Lane::Legacy);
            spec.parameters = only(version, spec.parameters);
            spec.identity = shown.map(|ca| ca.issue("client.example"));
            let mut accepting = server_spec(Lane::Legacy, ca.issue(NAME));
            accepting.client_cert = asked;
            accepting.trusted = vec![ca.der()];
            let verifier = (asked != Nothing)
                .then(|| Verifier::Client(client_trust(&ca, asked, Strength::Usual)));
            let mut theirs = End::client(&client(&spec), None);
            let mut ours = End::server(&server(&accepting), verifier);
            let (at_client, at_server) = converse(&mut theirs, &mut ours);
            let context = format!("{asked:?} {}", shown.is_some());
            match expected {
                Ok(is_shown) => {
                    at_server.expect(&context);
                    at_client.expect(&context);
                    assert_eq!(!ours.tls.peer_certificates().is_empty(), is_shown, "{context}");
                    assert_eq!(theirs.tls.has_shown_certificate(), is_shown, "{context}");
                }
                Err(reason) => {
                    let error = at_server.expect_err(&context);
                    assert_eq!(error.reason, reason, "{context}: {error:?}");
                    assert!(error.certificate.is_some(), "{context}");
                    assert!(at_client.is_err(), "{context}");
                }
            }
        }
    }
}

#[test]
fn whether_a_certificate_was_shown_is_known_in_tls13_too() {
    let ca = Ca::usual();
    for (asked, identity, expected) in [
        (ClientCert::Optional, true, true),
        (ClientCert::Optional, false, false),
        (ClientCert::None, true, false),
    ] {
        let mut spec = client_spec(Lane::Legacy);
        spec.parameters = only(TlsVersion::V1_3, spec.parameters);
        spec.identity = identity.then(|| ca.issue("client.example"));
        let mut accepting = server_spec(Lane::Legacy, ca.issue(NAME));
        accepting.parameters.max_version = TlsVersion::V1_3;
        accepting.client_cert = asked;
        let (theirs, _ours) = pair(&client(&spec), &server(&accepting));
        assert_eq!(theirs.tls.has_shown_certificate(), expected, "{asked:?} {identity}");
    }
}
