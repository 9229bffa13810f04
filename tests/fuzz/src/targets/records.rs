//! The record layer: a peer that has the keys and says anything with them.
//!
//! The first byte is the cipher and which end we are; then come steps. What is not sealed with the
//! keys never opens; data come out as they went in; whatever we say can be read by a peer that
//! follows our key updates; nothing that is asked for often is answered often.

use tlsgate::tls::record::{
    Aead, Cipher, Keys, MAX_CONTENT, Opened, RecordError, Records, Role, Version, content,
};
use tlsgate_corpus::rng::Rng;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "records",
    about: "Records of a peer that has the keys, TLS 1.2 and 1.3",
    seeds,
    generate,
    run,
    bounded: 4_000,
};

/// A step: its kind, a content type, a length, and as many bytes.
const STEPS: u8 = 6;
const KEY_UPDATE: u8 = 24;
const CHACHA: Cipher = Cipher { version: Version::Tls13, aead: Aead::ChaCha20Poly1305 };

struct Scene {
    ours: Records,
    /// The peer's: to write with, to read with.
    theirs: Keys,
    heard: Keys,
    /// Of handshake messages, what the peer has said and is not whole.
    message: Vec<u8>,
    tickets: usize,
}

fn run(input: &[u8]) {
    let Some((first, mut script)) = input.split_first() else { return };
    let mut scene = Scene::new(*first);
    while let [kind, content_type, length, rest @ ..] = script {
        let length = usize::from(*length).min(rest.len());
        let (bytes, after) = rest.split_at(length);
        script = after;
        let goes_on = match kind % STEPS {
            0 => scene.peer_says(content::APPLICATION_DATA, bytes),
            1 => scene.peer_says(content::HANDSHAKE, bytes),
            2 => scene.peer_says(*content_type, bytes),
            3 => scene.somebody_says(bytes),
            4 => scene.we_say(bytes),
            _ => {
                scene.ours.rest();
                true
            }
        };
        if !goes_on {
            return;
        }
    }
}

impl Scene {
    fn new(choice: u8) -> Self {
        let version = if choice & 1 == 0 { Version::Tls12 } else { Version::Tls13 };
        let aead = [Aead::Aes128Gcm, Aead::Aes256Gcm, Aead::ChaCha20Poly1305];
        let cipher = Cipher { version, aead: aead[usize::from(choice >> 2) % 3] };
        let role = if choice & 2 == 0 { Role::Server } else { Role::Client };
        // Some are near the end of their keys.
        let sequence = if choice & 0x80 == 0 { 0 } else { cipher.limit() - 40 };
        let keys = |seed| keys(cipher, seed, sequence);
        let ours = Records::new(role, keys(1), keys(2));
        Self { ours, theirs: keys(1), heard: keys(2), message: Vec::new(), tickets: 0 }
    }

    /// In a record that is sealed as it should be. False when the session is over.
    fn peer_says(&mut self, content_type: u8, said: &[u8]) -> bool {
        let cipher = self.ours.cipher();
        let mut record = placed(cipher, said);
        if self.theirs.seal(content_type, &mut record).is_err() {
            return false;
        }
        let tickets = &mut self.tickets;
        let opened = self.ours.open(&mut record, &mut |_| {
            *tickets += 1;
            Ok(())
        });
        match opened {
            Ok(Opened::Data(range)) => {
                assert!(!said.is_empty() && content_type != content::HANDSHAKE);
                // In TLS 1.3, zeros as content type make padding of what is before them.
                assert!(said.starts_with(&record[range.clone()]));
                let is_padded = cipher.version == Version::Tls13 && content_type == 0;
                assert_eq!(range.len() == said.len(), !is_padded);
            }
            Ok(Opened::Nothing) if content_type == content::HANDSHAKE => self.follow(said),
            Ok(Opened::Nothing) => {
                // Padded messages are followed by nobody here.
                if content_type == 0 && self.is_update(said) {
                    return false;
                }
            }
            Ok(Opened::Closed) => return false,
            Err(error) => {
                assert_ne!(error, RecordError::BadMac, "it was sealed as it should be");
                let fatal = self.ours.fatal(error.alert().unwrap_or(80)).expect("a number");
                self.hear(&fatal);
                return false;
            }
        }
        self.hear_what_is_owed();
        true
    }

    /// In bytes that are not sealed.
    fn somebody_says(&mut self, bytes: &[u8]) -> bool {
        let mut record = bytes.to_vec();
        let opened = self.ours.open(&mut record, &mut |_| panic!("a ticket out of nothing"));
        assert!(opened.is_err(), "{opened:?}");
        false
    }

    fn we_say(&mut self, bytes: &[u8]) -> bool {
        let cipher = self.ours.cipher();
        loop {
            match self.ours.before(1) {
                Ok(Some(record)) => self.hear(&record),
                Ok(None) => break,
                Err(_) => {
                    assert_eq!(cipher.version, Version::Tls12, "there are other keys");
                    let close = self.ours.close_notify().expect("alerts are always sent");
                    self.hear(&close);
                    return false;
                }
            }
        }
        let mut record = placed(cipher, bytes);
        self.ours.seal(&mut record).expect("there is room for it");
        let (content_type, range) = self.heard.open(&mut record).expect("the keys are ours");
        assert_eq!((content_type, &record[range]), (content::APPLICATION_DATA, bytes));
        true
    }

    fn hear_what_is_owed(&mut self) {
        let mut count = 0;
        while let Some(record) = self.ours.owed().expect("a number") {
            self.hear(&record);
            count += 1;
        }
        assert!(count <= 2, "{count} records at once");
    }

    fn hear(&mut self, record: &[u8]) {
        let mut record = record.to_vec();
        let (content_type, range) = self.heard.open(&mut record).expect("the keys are ours");
        if content_type == content::HANDSHAKE {
            assert_eq!(record[range.clone()][..4], [KEY_UPDATE, 0, 0, 1]);
            self.heard.update();
        }
        assert!(range.len() <= MAX_CONTENT);
    }

    /// What the peer does after what it has said in handshake messages.
    fn follow(&mut self, said: &[u8]) {
        self.message.extend_from_slice(said);
        while let [kind, high, middle, low, body @ ..] = &self.message[..] {
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if body.len() < length {
                break;
            }
            if *kind == KEY_UPDATE {
                self.theirs.update();
            }
            self.message.drain(..4 + length);
        }
        assert_eq!(self.ours.is_aligned(), self.message.is_empty());
    }

    /// Whether handshake messages are in a padded record.
    fn is_update(&self, said: &[u8]) -> bool {
        let end = said.iter().rposition(|byte| *byte != 0);
        end.is_some_and(|end| said[end] == content::HANDSHAKE)
    }
}

fn keys(cipher: Cipher, seed: u8, sequence: u64) -> Keys {
    let hash = match (cipher.version, cipher.aead) {
        (Version::Tls12, _) => 0,
        (Version::Tls13, Aead::Aes256Gcm) => 48,
        (Version::Tls13, _) => 32,
    };
    let (key, traffic) = (vec![seed; cipher.key_length()], vec![seed; hash]);
    Keys::new(cipher, &key, &[seed; 12], &traffic, sequence).expect("lengths of the cipher")
}

/// A record with this content, at its place.
fn placed(cipher: Cipher, content: &[u8]) -> Vec<u8> {
    [&vec![0; cipher.head()][..], content, &vec![0; cipher.tail()]].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let steps = [
        step(0, 0, b"data"),
        step(1, 0, &[KEY_UPDATE, 0, 0, 1, 1]),
        step(1, 0, &[KEY_UPDATE, 0, 0, 1, 0]),
        step(1, 0, &[4, 0, 0, 3, 1, 2, 3]),
        step(1, 0, &[1, 0, 0, 1, 3]),
        step(1, 0, &[0, 0, 0, 0]),
        step(2, content::ALERT, &[1, 90]),
        step(2, content::ALERT, &[2, 40]),
        step(2, 0, b"padded\x17\0\0"),
        step(3, 0, &record_of_somebody()),
        step(4, 0, b"ours"),
        step(5, 0, b""),
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for choice in (0..12).chain(128..140) {
        for step in &steps {
            let script = [&steps[0][..], step, &steps[0], step, &steps[10]].concat();
            seeds.push([&[choice][..], &script].concat());
        }
    }
    seeds
}

/// Sealed with keys that are nobody's.
fn record_of_somebody() -> Vec<u8> {
    let mut record = placed(CHACHA, b"mine");
    keys(CHACHA, 9, 0).seal(content::APPLICATION_DATA, &mut record).expect("a number");
    record
}

fn step(kind: u8, content_type: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("steps are short");
    [&[kind, content_type, length][..], bytes].concat()
}

fn generate(rng: &mut Rng) -> Vec<u8> {
    let mut input = vec![rng.byte()];
    for _ in 0..rng.below(90) {
        let (kind, content_type) = (rng.byte() % STEPS, rng.byte());
        let bytes = match rng.below(6) {
            0 => vec![KEY_UPDATE, 0, 0, 1, rng.byte() % 3],
            1 => [vec![4, 0, 0, 9], rng.bytes(9)].concat(),
            2 => vec![1 + rng.byte() % 2, *rng.pick(&[0, 90, 100, 40])],
            _ => rng.bytes(200),
        };
        // Once somebody else has spoken, it is over: seldom.
        let kind = if kind == 3 && !rng.one_in(20) { 0 } else { kind };
        input.extend(step(kind, content_type, &bytes));
    }
    input
}
