//! Tickets of TLS 1.3 do not go alone, if there is company.

use std::time::Duration;

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::{AlertDescription, Error};

use super::rig::*;
use crate::config::model::{self, DownstreamTls, ResumptionMode, Revalidate};
use crate::conn::Input;
use crate::policy::{ListenerPolicy, Route};
use crate::tls::ServerProfile;
use crate::tls::identity::load;
use crate::tls::provider::provider;
use crate::tls::resumption::{Binding, Clock, Domain, DomainParts, PolicyId, Resumption};
use crate::tls::server_config::server_config;
use crate::tls::testing::{self, Files};

/// Sends one ticket to each peer.
fn policy() -> ListenerPolicy {
    let files = Files::new();
    let issued = files.issued("server", &ca().issue(&PKCS_ECDSA_P256_SHA256));
    let tls = DownstreamTls { tls13_tickets: 1, ..testing::tls(vec![issued]) };
    let identities = load(&tls, &provider()).expect("files of our own");
    let parts = DomainParts {
        policy: PolicyId { listener: "test", rule: "" },
        names: &identities.names(),
        client_cert: tls.client_cert,
        trusted: &[],
        options: &identities.trust.options(),
    };
    let limits = model::Resumption {
        max_entries: 1000,
        max_bytes: 1 << 20,
        lifetime: Duration::from_secs(600),
        ticket_secret: None,
        ticket_secret_line: 0,
    };
    let resumption = Resumption::new(&limits, Clock::new(|| 1_000_000)).expect("random numbers");
    let binding = Binding::new(&parts, identities.trust.crl_epoch());
    let domain = Domain::new(ResumptionMode::Tickets, binding, &resumption);
    let config = server_config(&tls, &identities, &domain, &provider()).expect("versions");
    with(Route { tls: Some(ServerProfile::new(config, &identities, &tls)), ..route() })
}

fn held() -> (Rig, Client) {
    let (mut rig, mut client) = established(policy(), Client::version(&rustls::version::TLS13));
    client.run(&mut rig);
    assert!(rig.down.sending.is_none() && rig.down.outbound.is_empty(), "they wait");
    (rig, client)
}

#[test]
fn they_go_with_what_the_component_says_first() {
    let (mut rig, mut client) = held();
    client.write(b"ping");
    client.run(&mut rig);
    rig.up.inbound = b"pong".to_vec();
    rig.deliver(UP, usize::MAX);
    let sent = rig.down.sending.as_ref().expect("both").len();
    let record = 5 + 4 + 1 + 16;
    assert!(sent > record + 100, "{sent} bytes: the ticket is there");
    assert!(rig.sent(DOWN) && !rig.sent(DOWN), "in one piece");
    client.run(&mut rig);
    assert_eq!(client.received, b"pong");
    assert_eq!(client.tls.tls13_tickets_received(), 1);
}

#[test]
fn they_go_alone_when_nobody_comes() {
    let (mut rig, mut client) = held();
    rig.pass(Duration::from_millis(19));
    assert!(rig.down.sending.is_none());
    rig.pass(Duration::from_millis(1));
    assert!(rig.down.sending.is_some());
    client.run(&mut rig);
    assert_eq!(client.tls.tls13_tickets_received(), 1);
    rig.pass(Duration::from_millis(100));
    assert!(rig.down.sending.is_none() && rig.finished.is_none());
}

#[test]
fn they_do_not_go_alone_to_a_peer_that_sends_no_more() {
    let (mut rig, mut client) = held();
    client.write(b"bye");
    client.close();
    client.exchange(&mut rig);
    rig.settle();
    rig.pass(Duration::from_secs(1));
    assert!(rig.down.sending.is_none() && rig.down.outbound.is_empty());
    assert_eq!(rig.up.outbound, b"bye");
    rig.up.inbound_fin = true;
    client.run(&mut rig);
    assert!(client.peer_closed);
    assert_eq!(client.tls.tls13_tickets_received(), 1);
}

#[test]
fn they_go_before_the_end() {
    let (mut rig, mut client) = held();
    rig.up.inbound_fin = true;
    client.run(&mut rig);
    assert!(client.peer_closed);
    assert_eq!(client.tls.tls13_tickets_received(), 1);
}

#[test]
fn they_go_before_the_alert_of_who_is_expelled() {
    let (mut rig, mut client) = held();
    let tls = mutual_profile(Revalidate::Close);
    let demanding = with(Route { tls: Some(tls), ..route() });
    let fate = rig.connection.revalidate(Some(&demanding), &mut rig.telemetry);
    assert_eq!(fate, Revalidate::Close);
    rig.input(Input::Expelled(fate));
    client.run(&mut rig);
    let required = AlertDescription::CertificateRequired;
    assert_eq!(client.error, Some(Error::AlertReceived(required)));
    assert_eq!(client.tls.tls13_tickets_received(), 1);
    rig.down.inbound_fin = true;
    assert_eq!(rig.outcome().alert_sent, Some(116));
}
