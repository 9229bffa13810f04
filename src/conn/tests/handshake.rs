//! The handshake, and dialling beside or behind it.

use std::time::Duration;

use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256};
use rustls::AlertDescription;

use super::rig::*;
use crate::conn::Input;
use crate::conn::outcome::{Cause, Reason, Stage};
use crate::engine::{CloseMode, Operation};
use crate::tls::alert;
use crate::tls::testing::NAME;

/// Up to where the server's flight waits for the upstream.
fn held() -> (Rig, Client) {
    let (mut rig, mut client) = (Rig::new(policy()), Client::new());
    client.run(&mut rig);
    assert_eq!(rig.dialled, [0]);
    assert!(rig.down.sending.is_none() && rig.down.outbound.is_empty(), "the flight is held");
    (rig, client)
}

#[test]
fn both_versions_full() {
    for (version, name) in
        [(&rustls::version::TLS13, "TLSv1.3"), (&rustls::version::TLS12, "TLSv1.2")]
    {
        let (mut rig, mut client) = established(policy(), Client::version(version));
        client.write(b"ping");
        client.run(&mut rig);
        assert_eq!(rig.up.outbound, b"ping");
        rig.up.inbound = b"pong".to_vec();
        client.run(&mut rig);
        assert_eq!(client.received, b"pong");
        rig.input(Input::Stop(Reason::Stopped));
        let outcome = rig.outcome();
        let tls = outcome.tls.expect("the handshake is done");
        assert_eq!((tls.version, tls.resumed), (name, false));
        assert_eq!((outcome.bytes.received, outcome.bytes.sent), (4, 4));
        assert_eq!(outcome.stage, Stage::Relay);
        assert!(outcome.phases.connect.is_some() && outcome.phases.first_byte.is_some());
    }
}

#[test]
fn the_flight_waits_until_the_upstream_is_connected() {
    let (mut rig, mut client) = held();
    rig.pass(Duration::from_secs(1));
    client.run(&mut rig);
    assert!(rig.down.outbound.is_empty());
    rig.connected();
    client.run(&mut rig);
    assert!(!client.tls.is_handshaking());
}

#[test]
fn a_refused_upstream_is_told_by_alert() {
    let (mut rig, mut client) = held();
    rig.refused();
    client.run(&mut rig);
    let alert = AlertDescription::InternalError;
    assert_eq!(client.error, Some(rustls::Error::AlertReceived(alert)));
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::UpstreamRefused, Cause::Upstream));
    assert_eq!((outcome.stage, outcome.upstream), (Stage::Handshake, Some(0)));
    assert_eq!(outcome.alert_sent, Some(alert::INTERNAL_ERROR));
}

#[test]
fn the_second_endpoint_is_dialled_when_the_first_refuses() {
    let (mut rig, mut client) = (Rig::new(two_upstreams()), Client::new());
    client.run(&mut rig);
    rig.refused();
    assert!(rig.up.closing, "the first socket goes before the second comes");
    client.run(&mut rig);
    assert_eq!(rig.dialled, [0, 1]);
    rig.connected();
    client.run(&mut rig);
    assert!(!client.tls.is_handshaking());
    rig.input(Input::Stop(Reason::Stopped));
    assert_eq!(rig.outcome().upstream, Some(1));
}

#[test]
fn the_second_endpoint_is_dialled_when_the_first_does_not_answer() {
    let (mut rig, mut client) = (Rig::new(two_upstreams()), Client::new());
    client.run(&mut rig);
    rig.pass(CONNECT);
    client.run(&mut rig);
    assert_eq!(rig.dialled, [0, 1]);
    rig.refused();
    client.run(&mut rig);
    assert!(matches!(client.error, Some(rustls::Error::AlertReceived(_))));
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.upstream), (Reason::UpstreamRefused, Some(1)));
}

#[test]
fn what_was_already_decrypted_survives_a_second_attempt() {
    let (mut rig, mut client) = (
        Rig::new(with(crate::policy::Route {
            connect: crate::config::model::ConnectWhen::AfterHandshake,
            ..two_endpoints()
        })),
        Client::new(),
    );
    client.write(b"early bird");
    client.run(&mut rig);
    assert!(!client.tls.is_handshaking(), "done before the upstream is dialled");
    rig.refused();
    client.run(&mut rig);
    rig.connected();
    client.run(&mut rig);
    assert_eq!(rig.up.outbound, b"early bird");
}

#[test]
fn an_upstream_that_does_not_answer_times_out() {
    let (mut rig, mut client) = held();
    rig.pass(CONNECT - Duration::from_nanos(1));
    assert_eq!(rig.up.closed, None);
    rig.pass(Duration::from_nanos(1));
    client.run(&mut rig);
    assert!(matches!(client.error, Some(rustls::Error::AlertReceived(_))));
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::UpstreamTimeout, Cause::Upstream));
}

#[test]
fn after_the_handshake_a_refused_upstream_resets() {
    let (mut rig, mut client) = (Rig::new(after_handshake()), Client::new());
    client.run(&mut rig);
    assert!(!client.tls.is_handshaking());
    assert_eq!(rig.dialled, [0]);
    rig.refused();
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.stage), (Reason::UpstreamRefused, Stage::Connecting));
    assert!(outcome.tls.is_some());
}

#[test]
fn a_handshake_that_stops_half_way_times_out() {
    let (mut rig, mut client) = held();
    rig.connected();
    rig.settle();
    client.exchange(&mut rig);
    rig.down.inbound.clear();
    rig.pass(HANDSHAKE);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    assert_eq!(rig.up.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::HandshakeTimeout, Cause::Downstream));
    assert_eq!(outcome.stage, Stage::Handshake);
}

/// The peer has done its part; that the time ran out is the upstream's doing.
#[test]
fn time_that_runs_out_while_dialling_is_the_upstreams() {
    let mut patient = policy();
    patient.timeouts.connect = HANDSHAKE * 2;
    let (mut rig, mut client) = (Rig::new(patient), Client::new());
    client.run(&mut rig);
    rig.pass(HANDSHAKE);
    client.run(&mut rig);
    assert!(matches!(client.error, Some(rustls::Error::AlertReceived(_))), "{:?}", client.error);
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::UpstreamTimeout, Cause::Upstream));
}

#[test]
fn leaving_while_the_upstream_is_dialled() {
    let (mut rig, _client) = held();
    rig.down.inbound_fin = true;
    rig.settle();
    assert_eq!(rig.up.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::HandshakeEof, Cause::Downstream));
}

#[test]
fn a_reset_in_the_handshake() {
    let (mut rig, mut client) = held();
    rig.connected();
    rig.settle();
    client.exchange(&mut rig);
    rig.fail(DOWN, Operation::Receive, libc::ECONNRESET);
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.stage), (Reason::Reset, Stage::Handshake));
}

#[test]
fn stop_while_dialling_and_while_discarding() {
    let (mut rig, _client) = held();
    rig.input(Input::Stop(Reason::Drained));
    assert_eq!(rig.outcome().reason, Reason::Drained);

    let (mut rig, mut client) = (Rig::new(two_upstreams()), Client::new());
    client.run(&mut rig);
    rig.refused();
    rig.input(Input::Stop(Reason::Stopped));
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.stage), (Reason::Stopped, Stage::Handshake));
}

/// Something that is not the client's second flight, where that should come.
#[test]
fn garbage_in_the_handshake_is_answered_by_one_alert() {
    for (garbage, sent) in [
        (vec![0; 40], AlertDescription::DecodeError),
        // An encrypted record that cannot be opened.
        ([&[23, 3, 3, 0, 32][..], &[7; 32]].concat(), AlertDescription::BadRecordMac),
    ] {
        let (mut rig, mut client) = held();
        rig.connected();
        client.exchange(&mut rig);
        rig.settle();
        client.exchange(&mut rig);
        rig.down.inbound = garbage;
        rig.settle();
        client.exchange(&mut rig);
        assert_eq!(client.error, Some(rustls::Error::AlertReceived(sent)));
        assert!(rig.down.shut);
        assert_eq!(rig.up.closed, Some(CloseMode::Reset));
        rig.down.inbound_fin = true;
        let outcome = rig.outcome();
        assert_eq!(outcome.cause, Cause::Downstream);
        assert!(matches!(outcome.reason, Reason::ProtocolViolation | Reason::BadRecord));
    }
}

#[test]
fn a_client_without_the_certificate_it_needs_is_told_so() {
    let (mut rig, mut client) = (Rig::new(mutual()), Client::new());
    client.run(&mut rig);
    rig.connected();
    client.run(&mut rig);
    let alert = AlertDescription::CertificateRequired;
    assert_eq!(client.error, Some(rustls::Error::AlertReceived(alert)));
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!(outcome.reason, Reason::ClientCertificateMissing);
    assert_eq!(outcome.alert_sent, Some(116));
}

/// A certificate message in many records, as peers with small fragments or long chains send it,
/// in pieces that leave every number of records incomplete.
#[test]
fn a_certificate_in_many_records_is_put_together() {
    for version in rustls::ALL_VERSIONS {
        for (fragment, piece) in
            [(64, 1), (64, 7), (100, 99), (100, 250), (300, 4096), (64, 100_000)]
        {
            let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a DNS name");
            // Makes the certificate longer than a few records.
            params.subject_alt_names.extend((0..60).map(|number| {
                let name = format!("component-{number}.example").try_into().expect("ASCII");
                rcgen::SanType::DnsName(name)
            }));
            let issued = ca().issue_with(&params, &PKCS_ECDSA_P256_SHA256);
            let mut config =
                rustls::ClientConfig::builder_with_provider(crate::tls::provider::provider())
                    .with_protocol_versions(&[version])
                    .expect("a version of the provider")
                    .with_root_certificates(ca().roots())
                    .with_client_auth_cert(issued.chain(), issued.private_key())
                    .expect("key and certificate match");
            config.max_fragment_size = Some(fragment);
            let (mut rig, mut client) = (Rig::new(mutual()), Client::of(&config));
            for _ in 0..10 {
                client.exchange(&mut rig);
                while rig.deliver(DOWN, piece) || rig.sent(DOWN) || rig.connected() {}
            }
            assert_eq!(client.error, None, "{fragment} {piece} {:?}", version.version);
            assert!(!client.tls.is_handshaking() && rig.finished.is_none());
            client.write(b"with certificate");
            client.run(&mut rig);
            assert_eq!(rig.up.outbound, b"with certificate", "{fragment} {piece}");
        }
    }
}

#[test]
fn a_client_that_does_not_trust_us_says_so() {
    for version in rustls::ALL_VERSIONS {
        let config = rustls::ClientConfig::builder_with_provider(crate::tls::provider::provider())
            .with_protocol_versions(&[version])
            .expect("a version of the provider")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let (mut rig, mut client) = (Rig::new(policy()), Client::of(&config));
        client.run(&mut rig);
        rig.connected();
        client.run(&mut rig);
        assert!(matches!(client.error, Some(rustls::Error::InvalidCertificate(_))));
        rig.down.inbound_fin = true;
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::AlertReceived, Cause::Downstream));
        // unknown_ca
        assert_eq!((outcome.alert_received, outcome.alert_sent), (Some(48), None));
    }
}

/// A message in records that are mostly overhead: what it may take up is bounded.
#[test]
fn a_message_in_too_many_records_ends_the_session() {
    let (mut rig, mut client) = (Rig::new(mutual()), Client::version(&rustls::version::TLS12));
    client.run(&mut rig);
    rig.connected();
    rig.settle();
    // A certificate message of 65,535 bytes, one byte a record.
    let header = [11, 0, 0xff, 0xff];
    let body = header.into_iter().chain(std::iter::repeat(0)).take(40_000);
    rig.down.inbound = body.flat_map(|byte| [22, 3, 3, 0, 1, byte]).collect();
    rig.settle();
    assert!(rig.down.inbound.len() < 40_000 * 6 - 100_000);
    rig.down.inbound.clear();
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::ProtocolViolation, Cause::Downstream));
}

/// By alert where the peer reads one, and by nothing that looks like an end.
#[test]
fn whom_a_rule_turns_away_is_told_so() {
    let mut rig = Rig::new(policy());
    rig.down.inbound = vec![22, 3, 1];
    rig.settle();
    rig.with_context(|connection, context| connection.deny(context));
    rig.settle();
    assert_eq!(rig.down.outbound, alert::plaintext_alert(alert::ACCESS_DENIED));
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::PolicyDenied, Cause::Policy));
    assert_eq!((outcome.stage, outcome.alert_sent), (Stage::Hello, Some(49)));

    let (mut rig, mut client) = established(after_handshake(), Client::new());
    rig.with_context(|connection, context| connection.deny(context));
    client.exchange(&mut rig);
    assert!(!client.peer_closed);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    assert_eq!(rig.outcome().reason, Reason::PolicyDenied);
}
