//! Records are opened and sealed where they lie.

use super::*;
use crate::buf::Layout;
use crate::tls::record::{Aead, Cipher, Keys, Opened, RecordError, Records, Version};

/// A session of ours with a peer, after their handshake.
fn up(role: Role, version: &'static SupportedProtocolVersion) -> (Ours, Connection) {
    let (mut ours, mut peer) = Ours::meet(&plain(role, version));
    ours.converse(&mut peer, &mut std::iter::repeat(usize::MAX), &mut Vec::new());
    (ours, peer)
}

fn place(buf: &mut Buf) -> *const u8 {
    buf.memory_mut().as_ptr()
}

/// As an engine receives it from a plaintext side.
fn spaced(pool: &Pool, bytes: &[u8]) -> Buf {
    let mut buf = pool.take(BufClass::Bulk);
    buf.fill(Layout::Spaced, bytes);
    buf
}

/// What came out of the peer's records, and where they were received.
fn opened(ours: &mut Ours, peer: &mut Connection, length: usize) -> (Buf, *const u8) {
    peer.set_buffer_limit(None);
    peer.writer().write_all(&counting(length)).expect("without a limit");
    let mut wire = Vec::new();
    peer.write_tls(&mut wire).expect("in memory");
    let mut received = ours.pool.copy_of(&wire);
    let memory = place(&mut received);
    let Ours { tls, pool, plaintext, records } = ours;
    let mut output = Output { pool, plaintext, records };
    tls.receive(received, &mut output).expect("good records");
    (plaintext.pop_front().expect("data"), memory)
}

#[test]
fn what_has_room_is_sealed_in_its_place() {
    for version in rustls::ALL_VERSIONS {
        let (mut ours, mut peer) = up(Role::Server, version);
        for length in [1, 100, 16_384, 16_385, 131_072] {
            let mut plaintext = spaced(&ours.pool, &counting(length));
            let memory = place(&mut plaintext);
            let Ours { tls, pool, records, .. } = &mut ours;
            tls.seal(plaintext, pool, records).expect("keys");
            let sealed = records.back_mut().expect("what was sealed");
            assert_eq!(place(sealed), memory, "{version:?} {length}");
            let parts = length.div_ceil(16_384);
            assert_eq!(sealed.count(), parts);
            assert!(ours.answer(&mut peer) == counting(length), "{version:?} {length}");
        }
    }
}

#[test]
fn what_was_opened_in_its_place_is_sealed_there_for_the_other_side() {
    for from in rustls::ALL_VERSIONS {
        for to in rustls::ALL_VERSIONS {
            let (mut down, mut client) = up(Role::Server, from);
            let (mut up, mut component) = up(Role::Client, to);
            let (mut opened, memory) = opened(&mut down, &mut client, 60_000);
            assert_eq!((place(&mut opened), opened.count()), (memory, 4), "{from:?}");
            up.tls.seal(opened, &up.pool, &mut up.records).expect("keys");
            // From 5 + 17 bytes around a record to 13 + 16 there is no room between records.
            let is_wider = u16::from(to.version) < u16::from(from.version);
            let sealed = up.records.back_mut().expect("what was sealed");
            assert_eq!(place(sealed) == memory, !is_wider, "{from:?} {to:?}");
            assert!(up.answer(&mut component) == counting(60_000), "{from:?} {to:?}");
        }
    }
}

/// One small record in a message's buffer has room on both sides, whatever its versions are.
#[test]
fn a_message_is_never_copied() {
    for from in rustls::ALL_VERSIONS {
        for to in rustls::ALL_VERSIONS {
            let (mut down, mut client) = up(Role::Server, from);
            let (mut up, mut component) = up(Role::Client, to);
            let (opened, memory) = opened(&mut down, &mut client, 2000);
            up.tls.seal(opened, &up.pool, &mut up.records).expect("keys");
            let sealed = up.records.back_mut().expect("what was sealed");
            assert_eq!(place(sealed), memory, "{from:?} {to:?}");
            assert!(up.answer(&mut component) == counting(2000), "{from:?} {to:?}");
        }
    }
}

/// Of a peer that asks for keys again and again and reads nothing, one answer waits.
#[test]
fn a_peer_that_reads_nothing_is_owed_one_key_update() {
    let (mut ours, mut peer) = up(Role::Server, &rustls::version::TLS13);
    let update = |ours: &mut Ours, peer: &mut Connection| {
        peer.refresh_traffic_keys().expect("TLS 1.3");
        peer.writer().write_all(b"x").expect("in memory");
        let mut wire = Vec::new();
        while peer.wants_write() {
            peer.write_tls(&mut wire).expect("in memory");
        }
        ours.receive(&wire, &mut std::iter::repeat(usize::MAX));
        ours.records.iter().map(Buf::len).sum::<usize>()
    };
    let one = update(&mut ours, &mut peer);
    assert_eq!(one, 27, "a key update");
    for _ in 0..100 {
        assert_eq!(update(&mut ours, &mut peer), one);
    }
    // The rest of what is owed comes before data.
    ours.answer(&mut peer);
    ours.says(b"data");
    assert_eq!(ours.records.iter().map(Buf::len).sum::<usize>(), one + 5 + 4 + 17);
    assert_eq!(ours.answer(&mut peer), b"data");
}

#[test]
fn records_are_as_small_as_the_peer_wants_them() {
    for version in rustls::ALL_VERSIONS {
        for layer in [RecordLayer::Own, RecordLayer::Rustls] {
            let course = Course { most: Some(500), layer, ..plain(Role::Server, version) };
            let (mut ours, mut peer) = Ours::meet(&course);
            let longest = |ours: &Ours| {
                let wire: Vec<u8> = ours.records.iter().flat_map(Buf::to_vec).collect();
                let mut rest = &wire[..];
                let mut longest = 0;
                while let Some(length) = whole_record(rest) {
                    longest = longest.max(length);
                    rest = &rest[length..];
                }
                longest
            };
            // The handshake, as far as it is in the open, and data.
            assert!(longest(&ours) <= 500 + HEADER + 17, "{version:?} {layer:?}");
            ours.converse(&mut peer, &mut std::iter::repeat(usize::MAX), &mut Vec::new());
            ours.says(&counting(70_000));
            assert!(longest(&ours) <= 500 + 13 + 17, "{version:?} {layer:?}");
            assert!(ours.answer(&mut peer) == counting(70_000));
        }
    }
}

/// What is at the end of its keys goes on with others, or says that it ends.
#[test]
fn keys_are_not_used_for_too_long() {
    for version in [Version::Tls12, Version::Tls13] {
        let cipher = Cipher { version, aead: Aead::Aes128Gcm };
        let traffic = vec![3; if version == Version::Tls13 { 32 } else { 0 }];
        let keys = |sequence| {
            let keys = Keys::new(cipher, &[1; 16], &[2; 12], &traffic, sequence);
            keys.expect("lengths of AES-128")
        };
        let near = (1 << 24) - 2;
        let records = Records::new(Role::Server, keys(0), keys(near));
        let mut session = Traffic::new(records, None, MAX_CONTENT);
        let mut peer = Records::new(Role::Client, keys(near), keys(0));
        let pool = Pool::new(64 << 20, 4);
        let mut queue = VecDeque::new();
        session.seal(spaced(&pool, b"the last"), &pool, &mut queue).expect("keys");
        let sealed = session.seal(spaced(&pool, &counting(40_000)), &pool, &mut queue);
        let said: Vec<u8> = queue.iter().flat_map(Buf::to_vec).collect();
        let mut heard = Vec::new();
        let mut rest = said;
        let mut end = Ok(());
        while let Some(length) = whole_record(&rest) {
            let mut record: Vec<u8> = rest.drain(..length).collect();
            match peer.open(&mut record, &mut |_| Ok(())) {
                Ok(Opened::Data(range)) => heard.extend_from_slice(&record[range]),
                Ok(_) => {}
                Err(error) => end = Err(error),
            }
        }
        if version == Version::Tls13 {
            assert!(sealed.is_ok() && end.is_ok());
            assert!(heard == [b"the last", &counting(40_000)[..]].concat());
        } else {
            let alert_sent = sealed.expect_err("there are no other keys").alert_sent;
            assert_eq!(alert_sent, Some(alert::INTERNAL_ERROR));
            assert_eq!(end, Err(RecordError::Alert(alert::INTERNAL_ERROR)));
            assert_eq!(heard, b"the last");
        }
    }
}
