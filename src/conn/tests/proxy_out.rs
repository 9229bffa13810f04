//! What a component is told of a connection, before anything else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::ClientConfig;

use super::component::*;
use super::rig::*;
use crate::config::model::{ProxyIn, ProxyOut, ProxyVersions};
use crate::conn::Input;
use crate::conn::outcome::{Cause, Outcome, Reason};
use crate::engine::CloseMode;
use crate::policy::{ListenerPolicy, Route};
use crate::proxy::{Addresses, Header, Progress, Reader, TlsInfo, Tlvs};
use crate::tls::provider::provider;
use crate::tls::testing::NAME;

const V2: ProxyOut = ProxyOut::Two { client_cert: false, checksum: true };

/// The policy, whose component is told.
fn tells(how: ProxyOut, policy: ListenerPolicy) -> ListenerPolicy {
    let route = Route { proxy_out: Some(how), ..(**policy.route()).clone() };
    ListenerPolicy { routes: vec![Arc::new(route)], introduces: true, ..policy }
}

fn ours() -> SocketAddr {
    ([192, 0, 2, 200], 5061).into()
}

fn told(mut policy: ListenerPolicy, trusted: bool) -> Rig {
    if trusted {
        let trusted = vec![Some("198.51.100.7".parse().expect("the rig's peer"))];
        policy.proxy_in = Some(ProxyIn { versions: ProxyVersions::Any, trusted });
    }
    let mut rig = Rig::unseen(policy);
    rig.connection.arrived(Some(ours()), "id-1".to_owned());
    rig.input(Input::Accepted);
    rig
}

/// Takes the header off what the component got.
fn header(rig: &mut Rig) -> Header {
    match Reader::new().feed(&rig.up.outbound) {
        Ok(Progress::Complete { consumed, header }) => {
            rig.up.outbound.drain(..consumed);
            *header
        }
        other => panic!("{other:?} in {:?}", rig.up.outbound),
    }
}

fn stopped(mut rig: Rig) -> Outcome {
    rig.input(Input::Stop(Reason::Stopped));
    rig.outcome()
}

fn addresses() -> Addresses {
    Addresses::inet(SocketAddr::new(IpAddr::from([198, 51, 100, 7]), 40_000), ours())
}

/// Its handshake can be done before or after the component is connected, and it may speak at once.
#[test]
fn facts_of_the_handshake_come_first_whoever_is_first() {
    for late in [false, true] {
        let policy = if late { after_handshake() } else { policy() };
        let (mut rig, mut client) = (told(tells(V2, policy), false), Client::new());
        client.run(&mut rig);
        rig.connected();
        assert_eq!(rig.up.sending.is_some(), late, "nothing to tell yet");
        client.write(b"ping");
        client.run(&mut rig);
        let header = header(&mut rig);
        assert_eq!(rig.up.outbound, b"ping");
        assert_eq!(header.addresses, addresses());
        let Tlvs { checksum, authority, unique_id, tls, alpn, .. } = header.tlvs;
        assert!(checksum);
        assert_eq!(authority.as_deref(), Some(NAME));
        assert_eq!((unique_id.as_deref(), alpn), (Some(b"id-1".as_slice()), None));
        let tls = tls.expect("TLS ends here");
        assert!(tls.is_tls && !tls.cert_on_connection && !tls.is_verified());
        assert_eq!(tls.version.as_deref(), Some("TLSv1.3"));
        assert_eq!(tls.cipher.as_deref(), Some("TLS_AES_256_GCM_SHA384"));
        rig.up.inbound = b"pong".to_vec();
        client.run(&mut rig);
        rig.settle();
        client.run(&mut rig);
        assert_eq!(client.received, b"pong");
        let outcome = stopped(rig);
        assert_eq!(outcome.unique_id.as_deref(), Some("id-1"));
        assert_eq!(outcome.bytes.received, 4, "the header is none of it");
    }
}

#[test]
fn who_has_shown_a_certificate_is_told() {
    let issued = ca().issue(&PKCS_ECDSA_P256_SHA256);
    let identity = issued.chain()[0].to_vec();
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_root_certificates(ca().roots())
        .with_client_auth_cert(issued.chain(), issued.private_key())
        .expect("they match");
    for client_cert in [false, true] {
        let how = ProxyOut::Two { client_cert, checksum: false };
        let (mut rig, mut client) = (told(tells(how, mutual()), false), Client::of(&client));
        client.run(&mut rig);
        rig.connected();
        client.run(&mut rig);
        assert_eq!(client.error, None);
        let tls = header(&mut rig).tlvs.tls.expect("TLS ends here");
        assert!(tls.cert_on_connection && tls.cert_at_origin && tls.is_verified());
        assert_eq!(tls.common_name.as_deref(), Some("rcgen self signed cert"));
        let told = tls.client_cert.as_deref();
        assert_eq!(told, client_cert.then_some(identity.as_slice()));
        stopped(rig);
    }
}

/// A component hears of TLS of ours once it knows whose it is.
#[test]
fn a_bridge_waits_with_its_own_handshake() {
    let (mut rig, mut client) = (told(tells(V2, bridge()), false), Client::new());
    client.run(&mut rig);
    assert!(client.tls.is_handshaking(), "the flight waits for the component");
    rig.connected();
    assert!(rig.up.receiving.is_none() && rig.up.sending.is_none(), "which waits for the peer");
    // However long that takes: it is nothing to the component.
    rig.pass(CONNECT + Duration::from_secs(1));
    client.run(&mut rig);
    assert!(!client.tls.is_handshaking());
    assert_eq!(header(&mut rig).tlvs.tls.and_then(|tls| tls.version).as_deref(), Some("TLSv1.3"));
    let mut component = Component::new();
    client.write(b"ping");
    run_both(&mut rig, &mut client, &mut component);
    assert_eq!(component.received, b"ping");
    let outcome = stopped(rig);
    assert!(outcome.upstream_tls.is_some());
    assert!(outcome.phases.upstream_handshake.is_some_and(|time| time < CONNECT));
}

#[test]
fn each_attempt_tells_anew() {
    let upstream_tls = Some(profile(&[&stranger(), &dialler(ca().roots(), |_| ())]));
    let policy = with(Route { upstream_tls, ..two_endpoints() });
    let (mut rig, mut client) = (told(tells(V2, policy), false), Client::new());
    client.run(&mut rig);
    rig.connected();
    client.run(&mut rig);
    assert_eq!(header(&mut rig).addresses, addresses());
    // The first is not trusted.
    Component::new().run(&mut rig);
    rig.connected();
    rig.settle();
    assert_eq!(rig.dialled, [0, 1]);
    assert_eq!(header(&mut rig).addresses, addresses());
    let mut component = Component::new();
    client.write(b"ping");
    run_both(&mut rig, &mut client, &mut component);
    assert_eq!(component.received, b"ping");
    stopped(rig);
}

#[test]
fn a_component_that_is_down_still_looks_so() {
    let (mut rig, mut client) = (told(tells(V2, bridge()), false), Client::new());
    client.run(&mut rig);
    rig.refused();
    client.run(&mut rig);
    assert!(client.tls.is_handshaking() && client.error.is_some(), "it is told by alert");
    rig.down.inbound_fin = true;
    assert_eq!(rig.outcome().reason, Reason::UpstreamRefused);
    // One that is late with its own handshake, once it was its turn.
    let (mut rig, mut client) = (told(tells(V2, bridge()), false), Client::new());
    client.run(&mut rig);
    rig.connected();
    client.run(&mut rig);
    rig.pass(CONNECT);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    assert_eq!(rig.outcome().reason, Reason::UpstreamHandshakeTimeout);
    // A peer that does not go on is late itself.
    let (mut rig, mut client) = (told(tells(V2, bridge()), false), Client::new());
    client.exchange(&mut rig);
    rig.settle();
    rig.connected();
    rig.settle();
    rig.pass(HANDSHAKE);
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::HandshakeTimeout, Cause::Downstream));
}

/// Version 1 has no facts of a handshake: a component gets it, and TLS, as soon as it is connected.
#[test]
fn version_1_waits_for_nobody() {
    let (mut rig, mut client) = (told(tells(ProxyOut::One, bridge()), false), Client::new());
    client.run(&mut rig);
    rig.connected();
    rig.settle();
    let line = b"PROXY TCP4 198.51.100.7 192.0.2.200 40000 5061\r\n";
    assert!(rig.up.outbound.starts_with(line));
    rig.up.outbound.drain(..line.len());
    let mut component = Component::new();
    component.run(&mut rig);
    assert!(client.tls.is_handshaking() && !component.tls.is_handshaking());
    run_both(&mut rig, &mut client, &mut component);
    assert!(!client.tls.is_handshaking());
    assert_eq!(stopped(rig).unique_id, None, "nobody was told");
}

#[test]
fn what_does_not_end_here_is_told_of_too() {
    let (mut rig, mut client) = (told(tells(V2, passthrough()), false), Client::new());
    client.run(&mut rig);
    rig.connected();
    rig.settle();
    let Header { tlvs, .. } = header(&mut rig);
    assert_eq!((tlvs.authority.as_deref(), tlvs.tls), (Some(NAME), None));
    assert_eq!(rig.up.outbound[0], 22, "the hello is behind it");
    stopped(rig);
    let mut rig = told(tells(V2, originate()), false);
    rig.connected();
    rig.settle();
    let Header { tlvs, .. } = header(&mut rig);
    assert_eq!((tlvs.authority, tlvs.tls), (None, None));
    let mut component = Component::new();
    component.run(&mut rig);
    assert!(!component.tls.is_handshaking());
    stopped(rig);
}

fn said() -> Header {
    let tls = TlsInfo { is_tls: true, common_name: Some("phone".into()), ..TlsInfo::default() };
    let tlvs = Tlvs {
        unique_id: Some(b"theirs\n".to_vec()),
        authority: Some("asked.example".into()),
        tls: Some(TlsInfo { client_cert: Some(vec![0x30; 100]), ..tls }),
        netns: Some("blue".into()),
        others: vec![(0xe0, b"more".to_vec())],
        ..Tlvs::default()
    };
    let source = SocketAddr::new(IpAddr::from([203, 0, 113, 9]), 1000);
    Header { addresses: Addresses::inet(source, ([192, 0, 2, 1], 443).into()), tlvs }
}

/// In a chain of gateways, what the first one knows reaches the component.
#[test]
fn what_a_trusted_sender_said_goes_on() {
    for client_cert in [false, true] {
        let how = ProxyOut::Two { client_cert, checksum: false };
        let mut rig = told(tells(how, originate()), true);
        said().encode_v2(&mut rig.down.inbound).expect("not long");
        rig.settle();
        rig.connected();
        rig.settle();
        let mut expected = said();
        expected.tlvs.netns = None;
        if let Some(tls) = expected.tlvs.tls.as_mut().filter(|_| !client_cert) {
            tls.client_cert = None;
        }
        assert_eq!(header(&mut rig), expected);
        assert_eq!(stopped(rig).unique_id.as_deref(), Some("theirs\\n"));
    }
    // Of TLS that ends here, we know better.
    let (mut rig, mut client) = (told(tells(V2, policy()), true), Client::new());
    said().encode_v2(&mut rig.down.inbound).expect("not long");
    client.run(&mut rig);
    rig.connected();
    client.run(&mut rig);
    let Header { addresses, tlvs } = header(&mut rig);
    assert_eq!(addresses, said().addresses);
    assert_eq!(tlvs.authority.as_deref(), Some(NAME));
    assert_eq!(tlvs.tls.and_then(|tls| tls.common_name), None);
    assert_eq!(tlvs.unique_id, said().tlvs.unique_id);
    stopped(rig);
}

#[test]
fn what_has_no_room_is_left_out_and_counted() {
    let text = "x".repeat(8130);
    for (said, left) in [
        (TlsInfo { client_cert: Some(vec![0; 16_250]), ..TlsInfo::default() }, true),
        (
            TlsInfo { common_name: Some(text.clone()), cipher: Some(text), ..TlsInfo::default() },
            false,
        ),
    ] {
        let how = ProxyOut::Two { client_cert: true, checksum: true };
        let mut rig = told(tells(how, originate()), true);
        rig.hellos = crate::admission::hello_budget::HelloBudget::new(1 << 20, 1 << 20);
        let sent = Header { tlvs: Tlvs { tls: Some(said), ..Tlvs::default() }, ..self::said() };
        sent.encode_v2(&mut rig.down.inbound).expect("just so");
        // With our own id, it is too long.
        let unique_id = "i".repeat(128);
        rig.connection.arrived(Some(ours()), unique_id.clone());
        rig.settle();
        rig.connected();
        rig.settle();
        let Header { addresses, tlvs } = header(&mut rig);
        assert_eq!((addresses, tlvs.tls.is_some()), (sent.addresses, left));
        assert_eq!(tlvs.unique_id, Some(unique_id.into_bytes()));
        assert_eq!(rig.telemetry.counters().listeners[0].proxy_headers_cut, 1);
        stopped(rig);
    }
}
