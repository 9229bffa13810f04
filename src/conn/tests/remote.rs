//! The lane whose TLS another process speaks: when it is passed the socket, and what it is told.

use rcgen::PKCS_ECDSA_P256_SHA256;

use super::rig::*;
use crate::config::date::Date;
use crate::config::model::{DownstreamTls, Legacy, TlsVersion, WeakSuite};
use crate::conn::Input;
use crate::conn::outcome::{Cause, Reason};
use crate::engine::{CloseMode, Operation};
use crate::lane::frame::{Established, Failed, Frame};
use crate::lane::{Door, Unpassed};
use crate::policy::{ListenerPolicy, Route};
use crate::tls::ServerProfile;
use crate::tls::identity::{load, load_weak};
use crate::tls::lane::Lane;
use crate::tls::provider::provider;
use crate::tls::resumption::{Domain, DomainId, DomainParts, PolicyId};
use crate::tls::server_config::server_config;
use crate::tls::testing::{self, Files};
use crate::tls::weak::{self, WeakServer, WeakServers};

fn legacy() -> ListenerPolicy {
    let files = Files::new();
    let issued = files.issued("server", &ca().issue(&PKCS_ECDSA_P256_SHA256));
    let lane = Legacy {
        until: Date::parse("2099-12-31").expect("a date"),
        allow_from: vec!["198.51.100.0/24".parse().expect("a range")],
        suites: vec![WeakSuite::named("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA").expect("weak")],
        certificate: Some(issued.clone()),
    };
    let tls = testing::tls(vec![issued.clone()]);
    let tls = DownstreamTls { legacy: Some(lane), min_version: TlsVersion::V1_0, ..tls };
    let identities = load(&tls, &provider()).expect("files of our own");
    let config = server_config(&tls, &identities, &Domain::Off, &provider()).expect("versions");
    let identity = load_weak(&issued, ("certificate", "certificate_key"), (None, 0));
    let domain = DomainId::new(&DomainParts {
        policy: PolicyId { listener: "test", rule: "" },
        names: &identities.names(),
        client_cert: tls.client_cert,
        trusted: &[],
        options: &identities.trust.options(),
    });
    let kept = (&domain, std::time::Duration::from_secs(600));
    let (identity, _) = identity.expect("files of our own");
    let trust = identities.trust.clone();
    let spec = weak::server_spec(Lane::Legacy, &tls, vec![identity], &trust, kept);
    let places = (&WeakServers::default(), &Door::default());
    let lane = WeakServer::new(spec, &tls, trust, places).expect("usable");
    let profile = ServerProfile::new(config, &identities, &tls).with_lanes(None, Some(lane));
    with(Route { tls: Some(profile), ..route() })
}

/// A ClientHello of TLS 1.0 that offers the suite, and a byte behind it.
fn hello() -> Vec<u8> {
    let body = [&[3, 1][..], &[7; 32], &[0, 0, 2, 0xc0, 0x09, 1, 0]].concat();
    let length = u8::try_from(body.len()).expect("short");
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body, &[99]].concat()
}

/// A connection that waits for its component.
fn waiting() -> Rig {
    let mut rig = Rig::new(legacy());
    rig.down.inbound = hello();
    rig.settle();
    rig
}

/// One that the child has, and has established.
fn established() -> Rig {
    let mut rig = waiting();
    rig.connected();
    rig.settle();
    let agreed = Established { version: 0x0301, suite: 0xc009, ..Established::default() };
    says(&mut rig, &[Frame::Established(Box::new(agreed)).encode(), data(b"request")]);
    rig.down.outbound.clear();
    rig
}

fn says(rig: &mut Rig, frames: &[Vec<u8>]) {
    rig.down.inbound.extend(frames.concat());
    rig.settle();
}

fn data(bytes: &[u8]) -> Vec<u8> {
    [&[3, 0, 0, u8::try_from(bytes.len()).expect("short")][..], bytes].concat()
}

#[test]
fn the_socket_is_passed_when_the_component_is_there() {
    let mut rig = waiting();
    assert!(rig.passed.is_empty() && rig.down.receiving.is_none() && rig.down.outbound.is_empty());
    rig.connected();
    rig.settle();
    assert_eq!(rig.passed, [DOWN]);
    let (hello, rest) = (hello()[..hello().len() - 1].to_vec(), vec![99]);
    assert_eq!(rig.down.outbound, Frame::Hello { hello, rest }.encode());
    let mut rig = established();
    assert_eq!(rig.up.outbound, b"request");
    rig.up.inbound.extend(b"answer");
    rig.settle();
    assert_eq!(rig.down.outbound, data(b"answer"));
}

#[test]
fn a_component_that_is_down_is_told_without_the_child() {
    let mut rig = waiting();
    rig.input(Input::Failed(UP, Operation::Connect, std::io::ErrorKind::ConnectionRefused.into()));
    rig.settle();
    assert_eq!((rig.passed.len(), &rig.down.outbound[..]), (0, &[21, 3, 3, 0, 2, 2, 80][..]));
}

#[test]
fn who_cannot_be_passed_is_refused_by_alert() {
    for (why, reason) in
        [(Unpassed::Down, Reason::LegacyDown), (Unpassed::Busy, Reason::LegacyBusy)]
    {
        let mut rig = waiting();
        rig.door = Err(why);
        rig.connected();
        rig.settle();
        assert_eq!(rig.down.outbound, [21, 3, 3, 0, 2, 2, 80]);
        rig.down.inbound_fin = true;
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (reason, Cause::Local));
        assert_eq!(outcome.alert_sent, Some(80));
    }
}

#[test]
fn an_orderly_end_is_told_in_frames() {
    let mut rig = established();
    says(&mut rig, &[Frame::CloseNotify.encode()]);
    assert!(rig.up.shut);
    rig.up.inbound.extend(b"bye");
    rig.up.inbound_fin = true;
    rig.settle();
    let end = [data(b"bye"), Frame::CloseNotify.encode(), Frame::Fin.encode()].concat();
    assert_eq!(rig.down.outbound, end);
    assert_eq!((rig.down.shut, rig.down.closed), (false, Some(CloseMode::Fin)));
    assert_eq!(rig.outcome().reason, Reason::Finished);
}

#[test]
fn a_truncated_stream_goes_on_the_other_way() {
    let mut rig = established();
    says(&mut rig, &[Frame::Fin.encode()]);
    rig.down.inbound_fin = true;
    rig.settle();
    assert!(rig.up.shut);
    rig.up.inbound.extend(b"rest");
    rig.up.inbound_fin = true;
    rig.settle();
    let end = [data(b"rest"), Frame::CloseNotify.encode(), Frame::Fin.encode()].concat();
    assert_eq!(rig.down.outbound, end);
    assert_eq!(rig.outcome().reason, Reason::Truncated);
}

#[test]
fn a_reset_is_told_by_silence() {
    let mut rig = established();
    rig.input(Input::Failed(UP, Operation::Receive, std::io::ErrorKind::ConnectionReset.into()));
    rig.settle();
    assert_eq!((&rig.down.outbound[..], rig.down.closed), (&[][..], Some(CloseMode::Reset)));
    assert_eq!(rig.outcome().reason, Reason::Reset);
}

#[test]
fn a_stop_is_an_end() {
    let mut rig = established();
    rig.input(Input::Stop(Reason::Stopped));
    rig.settle();
    assert_eq!(rig.down.outbound, Frame::Fin.encode());
    assert_eq!(rig.outcome().reason, Reason::Stopped);
}

#[test]
fn the_end_of_the_child_is_its_own() {
    for (reset, sends) in [(false, false), (true, false), (true, true)] {
        let mut rig = established();
        if reset {
            let operation = if sends { Operation::Send } else { Operation::Receive };
            rig.down.receiving = rig.down.receiving.filter(|_| sends);
            rig.input(Input::Failed(DOWN, operation, std::io::ErrorKind::BrokenPipe.into()));
        }
        rig.down.inbound_fin = true;
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::LegacyDied, Cause::Local));
    }
}

#[test]
fn what_the_child_says_of_a_peer_is_the_peers() {
    let mut rig = established();
    let failed = Failed { reason: "reset".to_owned(), ..Failed::default() };
    says(&mut rig, &[data(b"!"), Frame::Failed(failed).encode()]);
    rig.down.inbound_fin = true;
    let outcome = rig.outcome();
    assert_eq!((outcome.reason, outcome.cause), (Reason::Reset, Cause::Downstream));
    assert_eq!(outcome.bytes.received, 8);
}
