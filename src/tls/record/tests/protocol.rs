//! What is said besides data.

use super::*;

const TLS12: Cipher = CIPHERS[0];
const TLS13: Cipher = CIPHERS[3];

/// We, as `role`, and the peer's keys: to write with, to read with.
struct Scene {
    ours: Records,
    theirs: Keys,
    heard: Keys,
    tickets: Vec<Vec<u8>>,
}

impl Scene {
    fn new(cipher: Cipher, role: Role) -> Self {
        Self::at(cipher, role, 0, 0)
    }

    /// With these numbers of the next record that we read, and write.
    fn at(cipher: Cipher, role: Role, read: u64, write: u64) -> Self {
        let ours = Records::new(role, keys(cipher, 1, read), keys(cipher, 2, write));
        let (theirs, heard) = (keys(cipher, 1, read), keys(cipher, 2, write));
        Self { ours, theirs, heard, tickets: Vec::new() }
    }

    fn says(&mut self, content_type: u8, content: &[u8]) -> Result<Opened, RecordError> {
        let mut record = seal(&mut self.theirs, content_type, content);
        let tickets = &mut self.tickets;
        self.ours.open(&mut record, &mut |ticket| {
            tickets.push(ticket.to_vec());
            Ok(())
        })
    }

    /// What the peer hears of all that is owed.
    fn owed(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut heard = Vec::new();
        while let Some(record) = self.ours.owed().expect("numbers") {
            heard.push(self.hears(&record));
            if heard.last().is_some_and(|(_, content)| content[0] == 24) {
                self.heard.update();
            }
        }
        heard
    }

    fn hears(&mut self, record: &[u8]) -> (u8, Vec<u8>) {
        let mut record = record.to_vec();
        let (content_type, range) = self.heard.open(&mut record).expect("the same keys");
        (content_type, record[range].to_vec())
    }

    fn updates(&mut self, request: u8) -> Result<Opened, RecordError> {
        let result = self.says(22, &[24, 0, 0, 1, request]);
        self.theirs.update();
        result
    }
}

fn unexpected(what: &'static str) -> Result<Opened, RecordError> {
    Err(RecordError::Unexpected(what))
}

#[test]
fn data_is_passed_on_in_place() {
    for cipher in CIPHERS {
        for role in [Role::Server, Role::Client] {
            let mut scene = Scene::new(cipher, role);
            let range = cipher.head()..cipher.head() + 5;
            assert_eq!(scene.says(23, b"hello"), Ok(Opened::Data(range)));
            let mut sealed = record(cipher, b"there");
            assert!(scene.ours.before(1).expect("fresh keys").is_none());
            scene.ours.seal(&mut sealed).expect("fresh keys");
            assert_eq!(scene.hears(&sealed), (23, b"there".to_vec()));
        }
    }
}

#[test]
fn a_peer_updates_its_keys_and_is_answered_once() {
    let mut scene = Scene::new(TLS13, Role::Server);
    for request in [0, 1, 1, 0, 1] {
        assert_eq!(scene.updates(request), Ok(Opened::Nothing));
    }
    assert_eq!(scene.owed(), [(22, vec![24, 0, 0, 1, 0])]);
    assert_eq!(scene.says(23, b"on"), Ok(Opened::Data(5..7)));
    let mut sealed = record(TLS13, b"on");
    scene.ours.seal(&mut sealed).expect("new keys");
    assert_eq!(scene.hears(&sealed), (23, b"on".to_vec()));
}

#[test]
fn key_updates_without_data_are_counted() {
    let mut scene = Scene::new(TLS13, Role::Client);
    for _ in 0..3 {
        for _ in 0..32 {
            assert_eq!(scene.updates(1), Ok(Opened::Nothing));
        }
        assert_eq!(scene.says(23, b"data"), Ok(Opened::Data(5..9)));
    }
    for _ in 0..32 {
        assert_eq!(scene.updates(0), Ok(Opened::Nothing));
    }
    assert_eq!(scene.updates(0), unexpected("too many key updates"));
}

#[test]
fn bad_key_updates_end_the_session() {
    let malformed = |what| Err(RecordError::Malformed(what));
    let cases: [(&[u8], _); 5] = [
        (&[24, 0, 0, 1, 2], Err(RecordError::Illegal("request in a key update"))),
        (&[24, 0, 0, 0], malformed("key update")),
        (&[24, 0, 0, 2, 0, 0], malformed("handshake message: it is too long")),
        (&[24, 0, 0, 1, 0, 24], unexpected("a message behind a key update in its record")),
        (&[], unexpected("an empty handshake record")),
    ];
    for (content, expected) in cases {
        assert_eq!(Scene::new(TLS13, Role::Server).says(22, content), expected);
    }
    let none = unexpected("a message that has no place here");
    assert_eq!(Scene::new(TLS12, Role::Server).says(22, &[24, 0, 0, 1, 0]), none);
}

#[test]
fn keys_are_changed_before_they_are_used_up() {
    let mut scene = Scene::at(TLS13, Role::Server, 0, (1 << 24) - 3);
    assert!(scene.ours.before(1).expect("two more").is_none());
    let mut sealed = record(TLS13, b"last");
    scene.ours.seal(&mut sealed).expect("the last but two");
    scene.hears(&sealed);
    // Two are left, and one of them is for the update.
    let update = scene.ours.before(2).expect("there are others").expect("first");
    assert_eq!(scene.hears(&update), (22, vec![24, 0, 0, 1, 1]));
    scene.heard.update();
    assert!(scene.ours.before(2).expect("fresh keys").is_none());
    let mut sealed = record(TLS13, b"first");
    scene.ours.seal(&mut sealed).expect("fresh keys");
    assert_eq!(scene.hears(&sealed), (23, b"first".to_vec()));
}

#[test]
fn in_tls_1_2_keys_end_with_close_notify() {
    for (cipher, limit) in [(TLS12, 1 << 24), (CIPHERS[2], u64::MAX - (1 << 16))] {
        let mut scene = Scene::at(cipher, Role::Server, 0, limit - 1);
        assert!(scene.ours.before(1).expect("one more").is_none());
        assert_eq!(scene.ours.before(2).map(|_| ()), Err(Exhausted));
        let mut sealed = record(cipher, b"last");
        scene.ours.seal(&mut sealed).expect("the last");
        scene.hears(&sealed);
        assert_eq!(scene.ours.seal(&mut record(cipher, b"none")), Err(Exhausted));
        let close = scene.ours.close_notify().expect("alerts are always sent");
        assert_eq!(scene.hears(&close), (21, vec![1, 0]));
    }
}

#[test]
fn a_peer_that_does_not_change_its_keys_is_asked_to() {
    let mut scene = Scene::at(TLS13, Role::Client, (1 << 24) - (1 << 20) - 1, 0);
    assert_eq!(scene.says(23, b"data"), Ok(Opened::Data(5..9)));
    assert_eq!(scene.owed(), [(22, vec![24, 0, 0, 1, 1])]);
    assert_eq!(scene.says(23, b"data"), Ok(Opened::Data(5..9)));
    assert_eq!(scene.owed(), []);
}

#[test]
fn alerts_mean_what_they_mean_in_their_version() {
    let (closed, nothing) = (Ok(Opened::Closed), Ok(Opened::Nothing));
    let alert = |description| Err(RecordError::Alert(description));
    let cases: [(Cipher, &[u8], _); 10] = [
        (TLS13, &[1, 0], closed.clone()),
        (TLS13, &[2, 0], closed.clone()),
        (TLS13, &[1, 90], nothing.clone()),
        (TLS13, &[1, 40], alert(40)),
        (TLS13, &[2, 40], alert(40)),
        (TLS12, &[1, 0], closed),
        (TLS12, &[1, 100], nothing),
        (TLS12, &[2, 40], alert(40)),
        (TLS12, &[3, 40], Err(RecordError::Illegal("level of alerts"))),
        (TLS12, &[2], Err(RecordError::Malformed("alert"))),
    ];
    for (cipher, content, expected) in cases {
        let said = Scene::new(cipher, Role::Server).says(21, content);
        assert_eq!(said, expected, "{cipher:?} {content:?}");
    }
}

#[test]
fn useless_records_are_counted() {
    for (cipher, content_type, content, most, excess) in [
        (TLS13, 23, &[][..], 32, "too many empty records"),
        (TLS12, 23, &[], 32, "too many empty records"),
        (TLS13, 21, &[1, 90], 4, "too many warnings"),
        (TLS12, 21, &[1, 90], 4, "too many warnings"),
        (TLS12, 22, &[1, 0, 0, 0], 1, "too many renegotiation requests"),
    ] {
        let mut scene = Scene::new(cipher, Role::Server);
        for _ in 0..most {
            assert_eq!(scene.says(content_type, content), Ok(Opened::Nothing));
        }
        assert_eq!(scene.says(content_type, content), unexpected(excess));
    }
}

#[test]
fn renegotiation_is_declined() {
    for (role, hello) in [(Role::Server, &[1, 0, 0, 2, 3, 3][..]), (Role::Client, &[0, 0, 0, 0])] {
        let mut scene = Scene::new(TLS12, role);
        assert_eq!(scene.says(22, hello), Ok(Opened::Nothing));
        assert_eq!(scene.owed(), [(21, vec![1, 100])]);
        assert_eq!(scene.says(23, b"on"), Ok(Opened::Data(13..15)));
    }
}

#[test]
fn tickets_come_in_any_records() {
    let ticket = [&[4, 0, 1, 0][..], &[7; 256]].concat();
    let three = ticket.repeat(3);
    for piece in [1, 3, 5, 100, 259, 260, 261, 780] {
        let mut scene = Scene::new(TLS13, Role::Client);
        for part in three.chunks(piece) {
            assert_eq!(scene.says(22, part), Ok(Opened::Nothing));
        }
        assert_eq!(scene.tickets, vec![vec![7; 256]; 3], "{piece}");
        assert!(scene.ours.is_aligned());
    }
    let mut scene = Scene::new(TLS13, Role::Client);
    assert_eq!(scene.says(22, &ticket[..9]), Ok(Opened::Nothing));
    assert!(!scene.ours.is_aligned());
    assert_eq!(scene.says(23, b"data"), unexpected("data inside of a handshake message"));
    let longer = [4, 1, 0, 0];
    let too_long = RecordError::Malformed("handshake message: it is too long");
    assert_eq!(Scene::new(TLS13, Role::Client).says(22, &longer), Err(too_long));
    let no_place = unexpected("a message that has no place here");
    assert_eq!(Scene::new(TLS13, Role::Server).says(22, &ticket), no_place);
}

#[test]
fn other_records_have_no_place() {
    let no_place = unexpected("a record of a type that has no place here");
    for cipher in [TLS12, TLS13] {
        for content_type in [19, 20, 24, 255] {
            let mut scene = Scene::new(cipher, Role::Server);
            assert_eq!(scene.says(content_type, &[1]), no_place);
        }
    }
    let mut scene = Scene::new(TLS13, Role::Server);
    let mut plain = [20, 3, 3, 0, 1, 1];
    let unprotected = unexpected("a record without protection");
    assert_eq!(scene.ours.open(&mut plain, &mut |_| Ok(())), unprotected);
    assert_eq!(scene.ours.open(&mut [], &mut |_| Ok(())), Err(RecordError::BadMac));
}

#[test]
fn what_cannot_become_a_record_is_not_waited_for() {
    let unexpected = |what| Err(RecordError::Unexpected(what));
    let unprotected = unexpected("a record without protection");
    let unknown = unexpected("a record of a type that has no place here");
    let malformed = |what| Err(RecordError::Malformed(what));
    let cases: [(&[u8], _, _); 10] = [
        (&[], Ok(None), Ok(None)),
        (&[23], Ok(None), Ok(None)),
        (&[22], Ok(None), unprotected),
        (&[20, 3, 3, 0, 1], Ok(Some(6)), unprotected),
        (&[19], unknown, unprotected),
        (b"2", unknown, unprotected),
        (&[23, 3, 1, 0, 9, 1], Ok(Some(14)), Ok(Some(14))),
        (
            &[23, 4, 3, 0, 9],
            malformed("record: its version is unknown"),
            malformed("record: its version is unknown"),
        ),
        (&[22, 3, 3, 0, 0], malformed("record: it is empty"), unprotected),
        (&[23, 3, 3, 0x48, 1], Err(RecordError::Overflow), Err(RecordError::Overflow)),
    ];
    let [tls12, tls13] = [TLS12, TLS13].map(|cipher| Scene::new(cipher, Role::Server).ours);
    for (data, in_tls12, in_tls13) in cases {
        assert_eq!((tls12.length(data), tls13.length(data)), (in_tls12, in_tls13), "{data:?}");
    }
    assert_eq!(tls12.length(&[23, 3, 3, 0x48, 0]), Ok(Some(18_437)));
    assert_eq!(tls13.length(&[23, 3, 3, 0x41, 1]), Err(RecordError::Overflow));
    assert_eq!(tls13.length(&[23, 3, 3, 0x41, 0]), Ok(Some(16_645)));
}

#[test]
fn the_last_word_is_an_alert() {
    for cipher in CIPHERS {
        let mut scene = Scene::new(cipher, Role::Server);
        let record = scene.ours.fatal(44).expect("a number");
        assert_eq!(scene.hears(&record), (21, vec![2, 44]));
    }
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<Records>() <= 280, "{}", size_of::<Records>());
}
