//! A link between a peer whose TLS is a toy, and a session as a connection has it.

use std::io::ErrorKind;

use proptest::collection::vec;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::lane::Profile;
use crate::lane::toy::{ALERT, CLOSE, GREETING, Toys, WRONG};
use crate::tls::remote::RemoteConn;

/// What a link does with its sockets.
struct Rig {
    link: Link,
    now: Time,
    pool: Pool,
    sides: [Seen; 2],
    finished: bool,
}

#[derive(Default)]
struct Seen {
    sent: Vec<u8>,
    sending: Option<Buf>,
    /// The other end does not take what is sent.
    blocked: bool,
    receiving: bool,
    shut: bool,
    closed: Option<CloseMode>,
}

const PEER: Side = Side::Downstream;
const SHARD: Side = Side::Upstream;

impl Rig {
    fn new() -> Self {
        let now = Time::ZERO;
        Self::of(Link::new(Arc::new(Toys), now), Pool::new(16 << 20, 4))
    }

    fn of(link: Link, pool: Pool) -> Self {
        let sides = [Seen::default(), Seen::default()];
        let mut rig = Self { link, now: Time::ZERO, pool, sides, finished: false };
        rig.settle();
        rig
    }

    /// As the server, with the handshake done.
    fn established() -> Self {
        let mut rig = Self::new();
        rig.says(SHARD, &Frame::Hello { hello: b"hello".to_vec(), rest: Vec::new() }.encode());
        rig.says(PEER, &[GREETING]);
        assert!(!rig.link.is_handshaking());
        rig
    }

    fn side(&mut self, side: Side) -> &mut Seen {
        &mut self.sides[usize::from(side == SHARD)]
    }

    fn input(&mut self, input: Input) {
        self.link.handle(input, self.now, &self.pool);
        self.settle();
    }

    /// What is sent is taken at once, unless it is blocked.
    fn settle(&mut self) {
        loop {
            while let Some(action) = self.link.poll_action(&self.pool) {
                self.do_it(action);
                if self.finished {
                    return;
                }
            }
            let mut sent = false;
            for side in Side::ALL {
                let seen = self.side(side);
                if let Some(buf) = seen.sending.take_if(|_| !seen.blocked) {
                    seen.sent.extend(buf.to_vec());
                    self.link.handle(Input::Sent(side), self.now, &self.pool);
                    sent = true;
                }
            }
            if !sent {
                return;
            }
        }
    }

    fn do_it(&mut self, action: Action) {
        match action {
            Action::Receive(side, _) => {
                let seen = self.side(side);
                assert!(!std::mem::replace(&mut seen.receiving, true) && seen.closed.is_none());
            }
            Action::Send(side, buf) => {
                let seen = self.side(side);
                assert!(!seen.shut && seen.closed.is_none() && !buf.is_empty());
                assert!(seen.sending.replace(buf).is_none(), "one send at a time");
            }
            Action::ShutdownWrite(side) => {
                let seen = self.side(side);
                assert!(seen.sending.is_none() && seen.closed.is_none());
                assert!(!std::mem::replace(&mut seen.shut, true));
            }
            Action::Close(side, mode) => {
                let seen = self.side(side);
                assert!(seen.closed.replace(mode).is_none(), "closed once");
                (seen.receiving, seen.sending) = (false, None);
                self.link.handle(Input::Closed(side), self.now, &self.pool);
            }
            Action::Finish => self.finished = true,
        }
    }

    /// Bytes from one side, as far as it is listened to; returns how many.
    fn says(&mut self, side: Side, bytes: &[u8]) -> usize {
        let mut said = 0;
        for part in bytes.chunks(BufClass::Message.plaintext_max()) {
            if !std::mem::take(&mut self.side(side).receiving) {
                break;
            }
            let mut buf = self.pool.take(BufClass::Message);
            buf.append(part);
            said += part.len();
            self.input(Input::Received(side, buf));
        }
        said
    }

    fn fin(&mut self, side: Side) {
        assert!(std::mem::take(&mut self.side(side).receiving), "it is listened to");
        self.input(Input::ReceiveClosed(side));
    }

    fn fails(&mut self, side: Side, operation: Operation, kind: ErrorKind) {
        self.side(side).receiving &= operation != Operation::Receive;
        self.side(side).sending.take_if(|_| operation == Operation::Send);
        self.input(Input::Failed(side, operation, kind.into()));
    }

    fn passes(&mut self, time: Duration) {
        self.now = self.now + time;
        while self.link.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.input(Input::Deadline);
        }
    }

    /// What the shard was told so far.
    fn told(&mut self) -> (Vec<Frame>, Vec<u8>) {
        let (mut frames, mut data) = (Vec::new(), Vec::new());
        let (sent, mut reader) = (self.side(SHARD).sent.clone(), FrameReader::default());
        let mut bytes = &sent[..];
        while let Some(part) = reader.next(&mut bytes).expect("frames") {
            match part {
                Part::Data(part) => data.extend_from_slice(part),
                Part::Frame(frame) => frames.push(frame),
            }
        }
        (frames, data)
    }

    /// What it was told last.
    fn last_frame(&mut self) -> Frame {
        self.told().0.pop().expect("a frame")
    }

    fn failure(&mut self) -> Failed {
        match self.last_frame() {
            Frame::Failed(failed) => failed,
            other => panic!("{other:?} instead of a failure"),
        }
    }
}

fn data(bytes: &[u8]) -> Vec<u8> {
    let pool = Pool::new(1 << 20, 0);
    let mut queue = VecDeque::new();
    queue_data(&mut queue, &pool, bytes);
    queue.iter().flat_map(|buf| buf.to_vec()).collect()
}

#[test]
fn what_is_agreed_on_and_said_is_told() {
    let mut rig = Rig::new();
    assert_eq!(rig.says(PEER, b"early"), 0, "nobody has said what to speak");
    let hello = Frame::Hello { hello: b"hello".to_vec(), rest: vec![GREETING, b'x'] };
    rig.says(SHARD, &hello.encode());
    assert_eq!(rig.side(PEER).sent, b"hello");
    let established = Frame::Established(Box::new(Established {
        version: 0x0301,
        suite: 0x002f,
        group: Some("secp256r1".to_owned()),
        alpn: Some(b"toy".to_vec()),
        resumed: true,
        shown: false,
        certificates: vec![vec![1, 2, 3]],
    }));
    assert_eq!(rig.told(), (vec![established], b"x".to_vec()));
    rig.says(SHARD, &data(b"answer"));
    assert_eq!(rig.side(PEER).sent, b"helloanswer");
    rig.says(PEER, &[b'y', CLOSE, b'z']);
    assert_eq!((rig.last_frame(), rig.told().1), (Frame::CloseNotify, b"xy".to_vec()));
}

#[test]
fn the_client_begins() {
    let mut rig = Rig::new();
    rig.says(SHARD, &Frame::Start.encode());
    assert_eq!(rig.side(PEER).sent, b"hello");
    assert!(rig.link.is_handshaking());
}

#[test]
fn an_orderly_end_is_one_on_both_sides() {
    let mut rig = Rig::established();
    rig.says(PEER, &[CLOSE]);
    rig.fin(PEER);
    rig.says(SHARD, &[data(b"last"), Frame::CloseNotify.encode(), Frame::Fin.encode()].concat());
    assert!(rig.side(PEER).sent.ends_with(&[b"last"[..].to_vec(), vec![CLOSE]].concat()));
    assert_eq!(rig.side(PEER).closed, Some(CloseMode::Fin));
    rig.fin(SHARD);
    assert!(rig.finished);
}

#[test]
fn a_truncated_stream_is_told_and_goes_on_the_other_way() {
    let mut rig = Rig::established();
    rig.says(PEER, b"half a wor");
    rig.fin(PEER);
    assert_eq!(rig.last_frame(), Frame::Fin);
    assert!(rig.side(SHARD).shut);
    rig.says(SHARD, &data(b"still"));
    assert!(rig.side(PEER).sent.ends_with(b"still"));
    rig.says(SHARD, &Frame::Fin.encode());
    assert_eq!(rig.side(PEER).closed, Some(CloseMode::Fin));
    rig.fin(SHARD);
    assert!(rig.finished);
}

#[test]
fn a_shard_that_leaves_without_a_word_resets_the_peer() {
    for failed in [false, true] {
        let mut rig = Rig::established();
        rig.says(SHARD, &data(b"delivered"));
        if failed {
            rig.fails(SHARD, Operation::Receive, ErrorKind::ConnectionReset);
        } else {
            rig.fin(SHARD);
        }
        assert!(rig.side(PEER).sent.ends_with(b"delivered"));
        assert_eq!(rig.side(PEER).closed, Some(CloseMode::Reset));
        assert!(rig.finished);
    }
}

#[test]
fn what_a_shard_said_before_it_left_is_read_though_it_hears_nothing() {
    let mut rig = Rig::established();
    rig.side(SHARD).blocked = true;
    rig.says(PEER, b"nobody reads this");
    rig.fails(SHARD, Operation::Send, ErrorKind::BrokenPipe);
    rig.says(SHARD, &[data(b"last"), Frame::CloseNotify.encode(), Frame::Fin.encode()].concat());
    assert!(rig.side(PEER).sent.ends_with(&[b"last"[..].to_vec(), vec![CLOSE]].concat()));
    rig.fin(SHARD);
    assert_eq!(rig.side(PEER).closed, None, "the peer may read it");
    rig.passes(LINGER);
    assert_eq!(rig.side(PEER).closed, Some(CloseMode::Fin));
    assert!(rig.finished);
}

#[test]
fn a_failure_is_told_to_both() {
    let mut rig = Rig::established();
    rig.says(PEER, &[b'x', WRONG, b'y']);
    assert!(rig.side(PEER).sent.ends_with(&[ALERT]));
    assert!(rig.side(PEER).shut);
    assert_eq!(rig.told().1, b"x");
    let failed = rig.failure();
    let said = (failed.reason.as_str(), failed.detail.as_str(), failed.alert_sent);
    assert_eq!(said, ("protocol_violation", "a byte that is wrong", Some(10)));
    rig.says(SHARD, &data(b"nobody hears this"));
    rig.fin(SHARD);
    assert_eq!(rig.side(PEER).closed, None, "it may still read the alert");
    rig.fin(PEER);
    assert!(rig.finished);
}

#[test]
fn a_reset_is_told() {
    let mut rig = Rig::established();
    rig.says(PEER, b"x");
    rig.fails(PEER, Operation::Receive, ErrorKind::ConnectionReset);
    assert_eq!((rig.failure().reason.as_str(), rig.told().1), ("reset", b"x".to_vec()));
    assert_eq!(rig.side(PEER).closed, Some(CloseMode::Reset));
    rig.fin(SHARD);
    assert!(rig.finished);
}

/// Behind close_notify or FIN the shard reads nothing more; that its sends fail is what it notices.
#[test]
fn a_reset_behind_the_end_closes_the_way() {
    for by_fin in [false, true] {
        let mut rig = Rig::established();
        if by_fin {
            rig.fin(PEER);
        } else {
            rig.says(PEER, &[b'x', CLOSE]);
        }
        let before = rig.last_frame();
        rig.fails(PEER, Operation::Send, ErrorKind::ConnectionReset);
        assert_eq!(rig.last_frame(), before);
        assert!(rig.side(SHARD).closed.is_some());
        assert!(rig.finished);
    }
}

#[test]
fn an_alert_is_the_last_word() {
    for (established, expected) in [(true, vec![ALERT, 44]), (false, plaintext_alert(44).to_vec())]
    {
        let mut rig = Rig::new();
        let greeting = if established { vec![GREETING] } else { Vec::new() };
        let hello = Frame::Hello { hello: b"h".to_vec(), rest: greeting };
        rig.says(SHARD, &[hello.encode(), Frame::Alert(44).encode(), data(b"no")].concat());
        assert_eq!(rig.side(PEER).sent[1..], expected);
        assert!(rig.side(PEER).shut);
        rig.passes(LINGER);
        rig.fin(SHARD);
        assert!(rig.finished);
    }
}

#[test]
fn a_peer_that_does_not_read_holds_its_shard_back_and_the_end_is_noticed() {
    let mut rig = Rig::established();
    rig.side(PEER).blocked = true;
    let much = data(&vec![7; 3 * HIGH_WATER]);
    let taken = rig.says(SHARD, &much);
    assert!(taken < HIGH_WATER + 8 * 1024, "{taken}");
    assert!(!rig.side(SHARD).receiving);
    let before = rig.told().0.len();
    rig.passes(LOOK);
    assert_eq!(rig.last_frame(), Frame::Nothing);
    rig.passes(LOOK);
    assert_eq!(rig.told().0.len(), before + 2, "one each time");
    // The next one finds nobody.
    rig.side(SHARD).blocked = true;
    rig.passes(LOOK);
    rig.fails(SHARD, Operation::Send, ErrorKind::BrokenPipe);
    assert_eq!(rig.side(PEER).closed, None);
    rig.passes(LINGER);
    assert_eq!(rig.side(PEER).closed, Some(CloseMode::Reset));
    assert!(rig.finished);
}

#[test]
fn a_shard_that_does_not_read_holds_its_peer_back() {
    let mut rig = Rig::established();
    rig.side(SHARD).blocked = true;
    let taken = rig.says(PEER, &vec![7; 3 * HIGH_WATER]);
    assert!((HIGH_WATER..HIGH_WATER + 8 * 1024).contains(&taken), "{taken}");
    rig.side(SHARD).blocked = false;
    rig.settle();
    assert!(rig.side(PEER).receiving);
}

#[test]
fn who_is_refused_is_told_by_alert() {
    let pool = Pool::new(16 << 20, 4);
    let why = (Reason::LegacyBusy, 80);
    let link = Link::refused(Arc::new(Toys), why, (Time::ZERO, &pool));
    let mut rig = Rig::of(link, pool);
    assert!(!rig.link.is_handshaking());
    assert_eq!(rig.side(PEER).sent, plaintext_alert(80));
    assert_eq!(rig.failure().reason, "legacy_busy");
    rig.says(SHARD, &Frame::Start.encode());
    rig.fin(SHARD);
    rig.fin(PEER);
    assert!(rig.finished);
}

#[test]
fn data_before_keys_and_frames_out_of_turn_end_the_session() {
    let hello = Frame::Hello { hello: b"h".to_vec(), rest: Vec::new() }.encode();
    for wrong in [
        data(b"early"),
        [&hello[..], &data(b"early")].concat(),
        [&hello[..], &hello].concat(),
        [&hello[..], &Frame::CloseNotify.encode()].concat(),
        Frame::Fin.encode(),
        Frame::Nothing.encode(),
        Frame::Established(Box::default()).encode(),
        vec![99, 0, 0, 0],
    ] {
        let mut rig = Rig::new();
        rig.says(SHARD, &wrong);
        assert_eq!(rig.failure().reason, "internal", "{wrong:?}");
        rig.fin(SHARD);
        rig.passes(LINGER);
        assert!(rig.finished);
    }
}

proptest! {
    #[test]
    fn garbage_from_the_shard_ends_in_order(garbage in vec(any::<u8>(), 0..300), kind in 0_u8..12) {
        let mut rig = Rig::new();
        let mut garbage = garbage;
        if let Some(first) = garbage.first_mut() {
            *first = kind;
        }
        rig.says(SHARD, &garbage);
        rig.says(PEER, &garbage);
        if rig.side(SHARD).receiving {
            rig.fin(SHARD);
        }
        for _ in 0..3 {
            rig.passes(LINGER);
        }
        prop_assert!(rig.finished);
    }

    /// However what the link says is cut on its way, a connection's session says what the peer said.
    #[test]
    fn a_session_hears_what_the_peer_says(text in vec(0_u8..0xfd, 0..600), cut in 1_usize..50) {
        let mut rig = Rig::established();
        for part in text.chunks(cut) {
            rig.says(PEER, part);
        }
        rig.says(PEER, &[CLOSE]);
        let profile = Profile::new(Zeroizing::new(Vec::new()));
        let mut session = RemoteConn::accept(Arc::new(profile));
        let (mut plaintext, mut records) = (VecDeque::new(), VecDeque::new());
        for part in rig.side(SHARD).sent.chunks(cut) {
            let pool = Pool::new(1 << 20, 0);
            let mut buf = pool.take(BufClass::Message);
            buf.append(part);
            let mut output =
                Output { pool: &pool, plaintext: &mut plaintext, records: &mut records };
            session.receive(buf, &mut output).expect("frames");
        }
        let heard: Vec<u8> = plaintext.iter().flat_map(|buf| buf.to_vec()).collect();
        prop_assert_eq!(heard, text);
        prop_assert!(session.peer_has_closed() && !session.is_handshaking());
        prop_assert_eq!(session.facts().version, "TLSv1");
        prop_assert_eq!(session.facts().group, Some("secp256r1"));
        prop_assert_eq!(session.peer_certificates().len(), 1);
    }
}
