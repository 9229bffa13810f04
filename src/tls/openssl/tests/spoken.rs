//! What is spoken, with whom, and what is said when it is not.

use std::sync::Arc;

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::tls::openssl::spec::{Malformed, Spec};
use crate::tls::provider::provider;
use crate::tls::testing;

#[test]
fn every_version_is_spoken_in_both_roles() {
    let ca = Ca::usual();
    for (lane, version, name) in [
        (Lane::Legacy, TlsVersion::V1_0, "TLSv1"),
        (Lane::Legacy, TlsVersion::V1_1, "TLSv1.1"),
        (Lane::Legacy, TlsVersion::V1_2, "TLSv1.2"),
        (Lane::Legacy, TlsVersion::V1_3, "TLSv1.3"),
        (Lane::Compat12, TlsVersion::V1_2, "TLSv1.2"),
    ] {
        let mut spec = client_spec(lane);
        spec.parameters = only(version, spec.parameters);
        let mut accepting = server_spec(lane, ca.issue(NAME));
        accepting.parameters.max_version = TlsVersion::V1_3;
        let (mut client, mut server) = pair(&client(&spec), &super::server(&accepting));
        for end in [&client, &server] {
            assert_eq!(end.tls.facts().version, name);
            assert_eq!(end.tls.version(), Some(version));
            assert_eq!(end.tls.lane(), lane);
            assert_eq!(end.tls.facts().group, Some("X25519"), "{name}");
        }
        assert_eq!(client.tls.suite(), server.tls.suite());
        client.seal(b"to the server");
        server.seal(b"to the client");
        let (at_client, at_server) = converse(&mut client, &mut server);
        assert!(at_client.is_ok() && at_server.is_ok());
        assert_eq!(server.heard(), b"to the server");
        assert_eq!(client.heard(), b"to the client");
    }
}

#[test]
fn every_suite_is_spoken() {
    let ca = Ca::usual();
    let server = super::server(&server_spec(Lane::Legacy, ca.issue(NAME)));
    for name in &SUITES[1..] {
        if name.contains("ECDSA") {
            continue;
        }
        let mut spec = client_spec(Lane::Legacy);
        (spec.parameters.suites, _) = suites([*name]);
        let (client, server) = pair(&client(&spec), &server);
        assert_eq!(client.tls.facts().cipher_suite, *name);
        assert_eq!(server.tls.facts().cipher_suite, *name);
        let has_group = name.contains("ECDHE");
        assert_eq!(server.tls.facts().group.is_some(), has_group, "{name}");
    }
}

#[test]
fn rustls_clients_are_spoken_to() {
    let ca = testing::Ca::new();
    let issued = ca.issue(&PKCS_ECDSA_P256_SHA256);
    let identity = Identity {
        names: vec![NAME.to_owned()],
        chain: vec![issued.certificate.der().to_vec()],
        key: Zeroizing::new(issued.key.serialize_der()),
    };
    for lane in [Lane::Compat12, Lane::Legacy] {
        let mut spec = server_spec(lane, identity.clone());
        spec.parameters.alpn = vec![b"sip/2".to_vec(), b"other".to_vec()];
        let server = super::server(&spec);
        for (alpn, agreed) in [(vec![], None), (vec!["none", "other", "sip/2"], Some("sip/2"))] {
            let mut config = ca.client((*provider()).clone());
            config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
            let mut theirs = testing::client(&Arc::new(config));
            let mut ours = End::server(&server, None);
            say(&mut theirs, b"a question");
            let (heard, done) = converse_with_rustls(&mut theirs, &mut ours);
            heard.expect("a good server");
            done.expect("a good client");
            assert_eq!(ours.heard(), b"a question");
            assert_eq!(ours.tls.facts().alpn.as_deref(), agreed);
            ours.seal(&vec![9; 100_000]);
            let (heard, _) = converse_with_rustls(&mut theirs, &mut ours);
            assert_eq!(heard.expect("good records"), vec![9; 100_000]);
        }
        let mut config = ca.client((*provider()).clone());
        config.alpn_protocols = vec![b"nobody's".to_vec()];
        let mut theirs: ClientConnection = testing::client(&Arc::new(config));
        let (refused, done) = converse_with_rustls(&mut theirs, &mut End::server(&server, None));
        assert!(refused.expect_err("no protocol").contains("NoApplicationProtocol"));
        let error = done.expect_err("no protocol");
        assert_eq!((error.reason, error.alert_sent), (Reason::NoSharedAlpn, Some(120)));
    }
}

#[test]
fn rustls_servers_are_spoken_to_in_the_best_version_that_both_have() {
    let ca = testing::Ca::new();
    let config = Arc::new(ca.issue(&PKCS_ECDSA_P256_SHA256).server(provider()));
    for (lane, max, agreed) in [
        (Lane::Compat12, TlsVersion::V1_2, "TLSv1.2"),
        (Lane::Compat12, TlsVersion::V1_3, "TLSv1.3"),
        (Lane::Legacy, TlsVersion::V1_3, "TLSv1.3"),
    ] {
        let mut spec = client_spec(lane);
        spec.parameters.max_version = max;
        let mut ours = End::client(&client(&spec), None);
        let mut theirs: ServerConnection = testing::server(&config);
        let (heard, done) = converse_with_rustls(&mut theirs, &mut ours);
        heard.expect("a good client");
        done.expect("a good server");
        assert_eq!(theirs.server_name(), Some(NAME));
        say(&mut theirs, b"welcome");
        ours.seal(b"thank you");
        let (heard, _) = converse_with_rustls(&mut theirs, &mut ours);
        assert_eq!(heard.expect("good records"), b"thank you");
        assert_eq!(ours.heard(), b"welcome");
        assert_eq!(ours.tls.facts().version, agreed);
    }
}

#[test]
fn what_is_not_shared_has_its_reason_and_its_alert() {
    let ca = Ca::usual();
    let compat = super::server(&server_spec(Lane::Compat12, ca.issue(NAME)));
    let mut old = client_spec(Lane::Legacy);
    old.parameters = only(TlsVersion::V1_0, old.parameters);
    let mut strange = client_spec(Lane::Legacy);
    (strange.parameters.suites, _) = suites(["TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"]);
    strange.parameters.max_version = TlsVersion::V1_2;
    for (spec, expected, alert) in
        [(old, Reason::VersionMismatch, 70), (strange, Reason::NoSharedParameters, 40)]
    {
        let (mut theirs, mut ours) =
            (End::client(&client(&spec), None), End::server(&compat, None));
        let (at_client, at_server) = converse(&mut theirs, &mut ours);
        let error = at_server.expect_err("nothing shared");
        assert_eq!((error.reason, error.alert_sent), (expected, Some(alert)), "{error:?}");
        let error = at_client.expect_err("told so");
        assert_eq!((error.reason, error.alert_received), (Reason::AlertReceived, Some(alert)));
        assert_eq!(error.of_upstream().reason, Reason::UpstreamAlert);
    }
}

#[test]
fn damage_is_noticed() {
    let ca = Ca::usual();
    let server = super::server(&server_spec(Lane::Legacy, ca.issue(NAME)));
    for version in [TlsVersion::V1_0, TlsVersion::V1_2] {
        let mut spec = client_spec(Lane::Legacy);
        spec.parameters = only(version, spec.parameters);
        let (mut theirs, mut ours) = pair(&client(&spec), &server);
        theirs.seal(b"something");
        let mut records = theirs.said();
        *records.last_mut().expect("a record") ^= 1;
        let error = ours.hear(&records, usize::MAX).expect_err("damaged");
        assert_eq!((error.reason, error.alert_sent), (Reason::BadRecord, Some(20)), "{error:?}");
        assert!(ours.heard().is_empty());
        assert!(!ours.said().is_empty(), "an alert");
    }
    let mut ours = End::server(&server, None);
    let error = ours.hear(b"GET / HTTP/1.0\r\n\r\n", usize::MAX).expect_err("not TLS");
    assert!(matches!(error.reason, Reason::ProtocolViolation | Reason::VersionMismatch));
}

#[test]
fn the_certificate_is_the_one_for_the_name() {
    let ca = Ca::usual();
    let mut spec = server_spec(Lane::Compat12, ca.issue("default.example"));
    spec.identities.push(ca.issue("*.wild.example"));
    spec.identities.push(ca.issue("a.wild.example"));
    let server = super::server(&spec);
    for (sni, expected) in [
        (None, 0),
        (Some("elsewhere.example"), 0),
        (Some("b.wild.example"), 1),
        (Some("B.Wild.Example."), 1),
        (Some("a.wild.example"), 2),
        (Some("c.b.wild.example"), 0),
        (Some(".wild.example"), 0),
    ] {
        let mut theirs = End::client(&client(&client_spec(Lane::Compat12)), None);
        let mut ours = End::of(server.accept(sni, None, now()).expect("memory"));
        converse(&mut theirs, &mut ours).0.expect("a good server");
        let shown = theirs.tls.peer_certificates().first().expect("shown").to_vec();
        assert_eq!(shown, spec.identities[expected].chain[0], "{sni:?}");
    }
}

#[test]
fn a_specification_survives_its_bytes() {
    let ca = Ca::usual();
    let mut spec = server_spec(Lane::Legacy, ca.issue(NAME));
    spec.parameters.alpn = vec![b"one".to_vec(), b"two".to_vec()];
    spec.trusted = vec![ca.der()];
    (spec.client_cert, spec.sessions) = (ClientCert::Report, Sessions::Tickets);
    let client = client_spec(Lane::Compat12);
    let wrong = ClientSpec { sni: None, ..client.clone() };
    for spec in [
        Spec::Server(spec.clone()),
        Spec::Client(ClientSpec { identity: Some(ca.issue(NAME)), ..client }),
        Spec::Client(wrong),
    ] {
        let bytes = spec.encode();
        let again = Spec::decode(&bytes).expect("its bytes");
        assert!(again == spec);
        assert_eq!(again.digest(), spec.digest());
        for cut in 0..bytes.len() {
            assert_eq!(Spec::decode(&bytes[..cut]).err(), Some(Malformed), "{cut}");
        }
        assert!(Spec::decode(&[&bytes[..], &[0]].concat()).is_err(), "something behind it");
    }
    assert!(!format!("{:?}", spec.identities[0]).contains("48"), "a key in a log");
    let wrong = Identity { key: ca.issue(NAME).key, ..ca.issue(NAME) };
    let refused = Server::new(server_spec(Lane::Legacy, wrong)).expect_err("another's key");
    assert!(refused.to_string().contains("key values mismatch"), "{refused}");
}
