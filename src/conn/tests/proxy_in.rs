//! A trusted sender in front, which says where connections are from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::component::*;
use super::rig::*;
use crate::admission::hello_budget::HelloBudget;
use crate::config::model::{ProxyIn, ProxyVersions};
use crate::conn::outcome::{Cause, Outcome, Reason, Stage};
use crate::conn::{Connection, Input};
use crate::engine::CloseMode;
use crate::policy::rules::RuleSpec;
use crate::policy::{ListenerPolicy, Outcome as Leads, Rules};
use crate::proxy::{Addresses, Header, Tlvs};

/// The rig's peer.
const SENDER: &str = "198.51.100.7/32";
const CLIENT: &str = "203.0.113.9:5061";

fn believing(versions: ProxyVersions, trusted: &str, policy: ListenerPolicy) -> ListenerPolicy {
    let trusted = vec![Some(trusted.parse().expect("a range"))];
    ListenerPolicy { proxy_in: Some(ProxyIn { versions, trusted }), ..policy }
}

fn any(policy: ListenerPolicy) -> ListenerPolicy {
    believing(ProxyVersions::Any, SENDER, policy)
}

fn client() -> SocketAddr {
    CLIENT.parse().expect("an address")
}

fn header() -> Header {
    let addresses = Addresses::inet(client(), ([192, 0, 2, 1], 443).into());
    let tlvs = Tlvs { unique_id: Some(b"id".to_vec()), ..Tlvs::default() };
    Header { addresses, tlvs }
}

fn v1() -> Vec<u8> {
    let mut bytes = Vec::new();
    header().encode_v1(&mut bytes);
    bytes
}

fn v2(header: &Header) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes).expect("not long");
    bytes
}

/// What becomes of a connection that says this much, and then leaves.
fn said(policy: ListenerPolicy, bytes: &[u8]) -> Outcome {
    let mut rig = Rig::new(policy);
    rig.down.inbound = bytes.to_vec();
    rig.down.inbound_fin = true;
    rig.outcome()
}

#[test]
fn tls_goes_on_behind_a_header_in_any_pieces() {
    for bytes in [v1(), v2(&header())] {
        for piece in [1, 5, 40, usize::MAX] {
            let (mut rig, mut client) = (Rig::new(any(policy())), Client::new());
            rig.down.inbound = [bytes.clone(), client.records()].concat();
            while rig.deliver(DOWN, piece) {}
            assert_eq!(rig.hellos.total(), 0, "the budget is given back");
            rig.connected();
            client.run(&mut rig);
            client.write(b"hello");
            client.run(&mut rig);
            assert_eq!(rig.up.outbound, b"hello", "in pieces of {piece}");
            rig.input(Input::Stop(Reason::Stopped));
            let outcome = rig.outcome();
            assert_eq!(outcome.source, Some(self::client()));
            assert_eq!(outcome.peer, Some((IpAddr::from([198, 51, 100, 7]), 40_000)));
            assert_eq!(outcome.bytes.received, 5, "the header is none of it");
        }
    }
}

#[test]
fn what_does_not_end_here_goes_on_behind_a_header_too() {
    let mut rig = Rig::new(any(originate()));
    assert_eq!(rig.dialled, [0; 0], "where it is from decides first");
    rig.down.inbound = [v1(), b"GET /".to_vec()].concat();
    rig.settle();
    let mut component = Component::new();
    rig.connected();
    component.run(&mut rig);
    assert_eq!(component.received, b"GET /");
    let mut rig = Rig::new(any(detect()));
    rig.down.inbound = [v1(), b"GET /".to_vec()].concat();
    rig.settle();
    rig.connected();
    rig.settle();
    assert_eq!(rig.up.outbound, b"GET /");
    let (mut rig, mut client) = (Rig::new(any(passthrough())), Client::new());
    rig.hellos = HelloBudget::new(64 * 1024, 64 * 1024);
    let hello = client.records();
    rig.down.inbound = [v2(&header()), hello.clone()].concat();
    while rig.deliver(DOWN, 9) {}
    rig.connected();
    rig.settle();
    assert!(rig.up.outbound == hello);
}

/// LOCAL and UNKNOWN are about the sender itself.
#[test]
fn a_header_without_an_address_leaves_the_peers() {
    let local = v2(&Header { addresses: Addresses::Local, ..Header::default() });
    let unspecified = v2(&Header::default());
    let path = Addresses::Unix { source: b"/a".to_vec(), destination: b"/b".to_vec() };
    let unix = v2(&Header { addresses: path, ..Header::default() });
    for bytes in [local, unspecified, unix, b"PROXY UNKNOWN\r\n".to_vec()] {
        let mut rig = Rig::new(any(policy()));
        rig.down.inbound = [bytes, Client::new().records()].concat();
        rig.settle();
        assert_eq!(rig.dialled, [0]);
        rig.input(Input::Stop(Reason::Stopped));
        let outcome = rig.outcome();
        assert_eq!(outcome.source, None);
        assert!(outcome.peer.is_some());
    }
}

#[test]
fn the_header_of_others_is_not_even_read() {
    let policy = believing(ProxyVersions::Any, "203.0.113.0/24", policy());
    let rig = Rig::new(policy);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    let outcome = rig.outcome();
    let ended = (outcome.reason, outcome.cause, outcome.source);
    assert_eq!(ended, (Reason::ProxyUntrusted, Cause::Policy, None));
}

/// The kernel tells no address of a peer that has gone before it was accepted.
#[test]
fn who_has_gone_already_is_nobodys_liar() {
    for trusted in [Some(None), Some(Some(SENDER.parse().expect("a range"))), None] {
        let proxy_in =
            trusted.map(|trusted| ProxyIn { versions: ProxyVersions::Any, trusted: vec![trusted] });
        let mut rig = Rig::unseen(ListenerPolicy { proxy_in, ..originate() });
        rig.connection = Connection::new(Arc::clone(rig.connection.policy()), None, rig.now);
        rig.connection.arrived(Some(([192, 0, 2, 1], 443).into()), String::new());
        rig.input(Input::Accepted);
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.cause), (Reason::Reset, Cause::Downstream));
    }
}

/// Whoever may open the socket.
#[test]
fn unix_sockets_are_believed_by_name() {
    for (unix, reason) in [(true, Reason::Stopped), (false, Reason::ProxyUntrusted)] {
        let trusted = vec![if unix { None } else { Some(SENDER.parse().expect("a range")) }];
        let proxy_in = Some(ProxyIn { versions: ProxyVersions::Any, trusted });
        let mut rig = Rig::unseen(ListenerPolicy { proxy_in, ..originate() });
        rig.connection = Connection::new(Arc::clone(rig.connection.policy()), None, rig.now);
        rig.input(Input::Accepted);
        rig.down.inbound = v1();
        rig.settle();
        if unix {
            rig.input(Input::Stop(Reason::Stopped));
        }
        let outcome = rig.outcome();
        assert_eq!((outcome.reason, outcome.source), (reason, unix.then(client)));
    }
}

#[test]
fn what_is_no_header_is_refused_by_its_own_name() {
    let hello = Client::new().records();
    let cut = v2(&header())[..20].to_vec();
    let too_long = [&v2(&header())[..14], &[0xff, 0xff]].concat();
    let (one, two) = (ProxyVersions::One, ProxyVersions::Two);
    for (versions, bytes, reason) in [
        (ProxyVersions::Any, hello, Reason::ProxyMissing),
        (two, v1(), Reason::ProxyMissing),
        (one, v2(&header()), Reason::ProxyMissing),
        (one, b"PROXY TCP4 a b c d\r\n".to_vec(), Reason::ProxyMalformed),
        (two, too_long, Reason::ProxyMalformed),
        (two, cut, Reason::ProxyEof),
        (one, Vec::new(), Reason::ProxyEof),
    ] {
        let outcome = said(believing(versions, SENDER, policy()), &bytes);
        let ended = (outcome.reason, outcome.cause, outcome.stage);
        assert_eq!(ended, (reason, Cause::Downstream, Stage::Proxy));
        assert_eq!(outcome.detail.is_some(), reason == Reason::ProxyMalformed);
    }
    let mut rig = Rig::new(any(originate()));
    rig.down.inbound = b"PROXY ".to_vec();
    rig.settle();
    rig.pass(HANDSHAKE);
    assert_eq!(rig.down.closed, Some(CloseMode::Reset));
    assert_eq!(rig.outcome().reason, Reason::ProxyTimeout);
}

#[test]
fn a_header_that_is_not_done_counts_as_a_hello_does() {
    let others = vec![(0xe0, vec![0; 4000])];
    let long = v2(&Header { tlvs: Tlvs { others, ..Tlvs::default() }, ..header() });
    let outcome = said(any(policy()), &long[..3000]);
    assert_eq!((outcome.reason, outcome.stage), (Reason::HelloMemory, Stage::Proxy));
    let mut rig = Rig::new(any(policy()));
    rig.down.inbound = long[..1500].to_vec();
    while rig.deliver(DOWN, 100) {}
    assert_eq!(rig.hellos.total(), 1500);
    rig.input(Input::Stop(Reason::Stopped));
    assert_eq!(rig.outcome().reason, Reason::Stopped);
}

/// The first look, too, waits for the header.
#[test]
fn rules_go_by_where_the_header_says() {
    let denies = |source: &str| {
        let source = vec![source.parse().expect("a range")];
        let spec = RuleSpec { name: "out".into(), line: 1, source, ..RuleSpec::default() };
        let rules = Rules::compile(vec![spec], vec![Leads::Deny]).expect("one rule");
        any(ListenerPolicy { rules: Arc::new(rules), ..originate() })
    };
    let outcome = said(denies("203.0.113.0/24"), &v1());
    assert_eq!((outcome.reason, outcome.stage), (Reason::PolicyDenied, Stage::Hello));
    let mut rig = Rig::new(denies(SENDER));
    rig.down.inbound = v1();
    rig.settle();
    assert_eq!(rig.dialled, [0], "the sender is nobody");
    rig.input(Input::Stop(Reason::Stopped));
    assert_eq!(rig.outcome().source, Some(client()));
}
