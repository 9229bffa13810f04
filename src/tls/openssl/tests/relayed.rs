//! However the stream is cut, the session says the same, ends as it should, and keeps nothing.

use super::*;

fn ends(version: TlsVersion) -> (End, End) {
    let ca = Ca::usual();
    let mut spec = client_spec(Lane::Legacy);
    spec.parameters = only(version, spec.parameters);
    let mut accepting = server_spec(Lane::Legacy, ca.issue(NAME));
    accepting.parameters.max_version = TlsVersion::V1_3;
    pair(&client(&spec), &server(&accepting))
}

const VERSIONS: [TlsVersion; 4] =
    [TlsVersion::V1_0, TlsVersion::V1_1, TlsVersion::V1_2, TlsVersion::V1_3];

#[test]
fn cuts_make_no_difference() {
    for version in VERSIONS {
        let (mut client, mut server) = ends(version);
        let sent: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        for piece in [1, 7, 4096, 20_000, usize::MAX] {
            let length = if piece < 100 { 20_000 } else { sent.len() };
            client.seal(&sent[..length]);
            let records = client.said();
            server.hear(&records, piece).expect("good records");
            assert!(server.heard() == sent[..length], "{version:?} in pieces of {piece}");
        }
    }
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let ca = Ca::usual();
    let server = super::server(&server_spec(Lane::Legacy, ca.issue(NAME)));
    let mut theirs = End::client(&client(&client_spec(Lane::Legacy)), None);
    let mut ours = End::server(&server, None);
    while theirs.tls.is_handshaking() || ours.tls.is_handshaking() {
        let (up, down) = (theirs.said(), ours.said());
        assert!(!up.is_empty() || !down.is_empty(), "nobody waits for ever");
        ours.hear(&up, 1).expect("a good client");
        theirs.hear(&down, 1).expect("a good server");
    }
}

#[test]
fn one_direction_may_end_before_the_other() {
    for version in VERSIONS {
        let (mut client, mut server) = ends(version);
        client.seal(b"the last");
        let End { tls, pool, records, .. } = &mut client;
        tls.close_notify(pool, records).expect("keys");
        assert!(client.tls.has_closed());
        server.hear(&client.said(), usize::MAX).expect("an orderly end");
        assert_eq!(server.heard(), b"the last");
        assert!(server.tls.peer_has_closed() && !server.tls.has_closed());
        server.seal(&[5; 50_000]);
        let End { tls, pool, records, .. } = &mut server;
        tls.close_notify(pool, records).expect("keys");
        client.hear(&server.said(), usize::MAX).expect("the rest, and an end");
        assert_eq!(client.heard(), [5; 50_000], "{version:?}");
        assert!(client.tls.peer_has_closed());
        // What comes behind it is nobody's.
        client.hear(b"garbage", usize::MAX).expect("unread");
    }
}

#[test]
fn after_close_notify_not_even_an_alert_is_said() {
    let (mut client, mut server) = ends(TlsVersion::V1_2);
    let End { tls, pool, records, .. } = &mut server;
    tls.close_notify(pool, records).expect("keys");
    server.said();
    client.seal(b"good");
    let mut records = client.said();
    *records.last_mut().expect("a record") ^= 1;
    let error = server.hear(&records, usize::MAX).expect_err("damaged");
    assert_eq!((error.reason, error.alert_sent), (Reason::BadRecord, None));
    assert!(server.said().is_empty());
}

#[test]
fn an_idle_session_holds_no_buffer() {
    let (mut client, mut server) = ends(TlsVersion::V1_0);
    client.seal(&[1; 40_000]);
    server.hear(&client.said(), usize::MAX).expect("good records");
    server.heard();
    assert_eq!((client.pool.bytes_in_use(), server.pool.bytes_in_use()), (0, 0));
}

/// 200 KiB of a handshake message that never ends.
#[test]
fn a_message_that_is_too_long_is_not_kept() {
    let ca = Ca::usual();
    let mut spec = server_spec(Lane::Legacy, ca.issue(NAME));
    spec.client_cert = ClientCert::Optional;
    let mut ours = End::server(&server(&spec), None);
    let mut theirs = End::client(&client(&client_spec(Lane::Legacy)), None);
    ours.hear(&theirs.said(), usize::MAX).expect("a good hello");
    // Certificate of 200 KiB (RFC 5246 §7.4.2).
    let record = |body: &[u8]| {
        let [high, low] = u16::try_from(body.len()).expect("a record").to_be_bytes();
        [&[22, 3, 3, high, low], body].concat()
    };
    let first = record(&[&[11, 3, 0x20, 0][..], &[0; 1000]].concat());
    let error = ours.hear(&first, usize::MAX).expect_err("too long");
    assert_eq!(error.reason, Reason::ProtocolViolation, "{error:?}");
    assert!(error.alert_sent.is_some());
}

#[test]
fn an_alert_can_be_said_in_place_of_a_flight() {
    let ca = Ca::usual();
    let server = super::server(&server_spec(Lane::Legacy, ca.issue(NAME)));
    for version in [TlsVersion::V1_0, TlsVersion::V1_1, TlsVersion::V1_2] {
        let mut spec = client_spec(Lane::Legacy);
        spec.parameters = only(version, spec.parameters);
        let mut theirs = End::client(&client(&spec), None);
        let mut ours = End::server(&server, None);
        ours.hear(&theirs.said(), usize::MAX).expect("a good hello");
        let alert = ours.tls.first_alert(80);
        let error = theirs.hear(&alert, usize::MAX).expect_err("told so");
        assert_eq!(error.alert_received, Some(80), "{version:?} {error:?}");
    }
}
