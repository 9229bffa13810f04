//! However the peer's stream is cut, and whatever records its messages are in, the session says the
//! same, and carries no more than it must; with rustls' record layer and with ours.

mod foreign;
mod placed;

use std::io::{Read, Write};

use proptest::prelude::*;
use rcgen::PKCS_ED25519;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{Connection, SupportedProtocolVersion};

use super::*;
use crate::conn::outcome::Reason;
use crate::tls::alert;
use crate::tls::hello::{HelloReader, Progress};
use crate::tls::provider::provider;
use crate::tls::record::Role;
use crate::tls::testing::{self, Ca, NAME};

/// What happens after the handshake.
#[derive(Clone, Debug)]
enum Step {
    /// The peer says so many bytes.
    Says(usize),
    UpdatesKeys,
    /// We do.
    Answers(usize),
    Rests,
}

/// A session of ours and its peer, and how its streams are cut.
#[derive(Clone, Debug)]
struct Course {
    /// Which end we are.
    role: Role,
    version: &'static SupportedProtocolVersion,
    /// The client has a certificate to show, which makes its flight long.
    mutual: bool,
    /// Longest record that the peer makes, header included.
    fragment: usize,
    /// Most content of a record that it takes from a server.
    most: Option<u16>,
    steps: Vec<Step>,
    /// Lengths of the pieces that we get, over and over.
    cuts: Vec<usize>,
    layer: RecordLayer,
}

/// What came out of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// By us.
    plaintext: Vec<u8>,
    /// By the peer, to the end.
    answer: Vec<u8>,
    facts: String,
}

/// Our end.
struct Ours {
    tls: ModernConn,
    pool: Pool,
    plaintext: VecDeque<Buf>,
    records: VecDeque<Buf>,
}

fn course() -> impl Strategy<Value = Course> {
    let role = prop_oneof![Just(Role::Server), Just(Role::Client)];
    let version = prop_oneof![Just(&rustls::version::TLS12), Just(&rustls::version::TLS13)];
    let step = prop_oneof![
        4 => (0..40_000_usize).prop_map(Step::Says),
        3 => (0..40_000_usize).prop_map(Step::Answers),
        1 => Just(Step::UpdatesKeys),
        1 => Just(Step::Rests),
    ];
    let cut = prop_oneof![1..8_usize, 1..600_usize, 1..20_000_usize];
    let fragment = prop_oneof![32..100_usize, 100..16_389_usize];
    let most = prop_oneof![Just(None), (63..2000_u16).prop_map(Some)];
    let steps = prop::collection::vec(step, 0..8);
    let cuts = prop::collection::vec(cut, 1..12);
    (role, version, any::<bool>(), fragment, most, steps, cuts).prop_map(
        |(role, version, mutual, fragment, most, steps, cuts)| Course {
            role,
            version,
            mutual,
            fragment,
            most,
            steps,
            cuts,
            layer: RecordLayer::Own,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn neither_cuts_nor_layers_make_a_difference(course in course()) {
        let whole = Course { cuts: vec![usize::MAX], ..course.clone() };
        let said: usize = course.steps.iter().map(Step::length).sum();
        let seen = run(&course);
        prop_assert_eq!(seen.plaintext.len(), said);
        prop_assert!(seen == run(&whole));
        let reference = Course { layer: RecordLayer::Rustls, ..course.clone() };
        prop_assert!(seen == run(&reference));
        prop_assert_eq!(seen.plaintext, counting(said));
    }
}

impl Step {
    fn length(&self) -> usize {
        match self {
            Self::Says(length) => *length,
            _ => 0,
        }
    }
}

fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|position| u8::try_from(position % 251).expect("below 251")).collect()
}

fn run(course: &Course) -> Seen {
    let (mut ours, mut peer) = Ours::meet(course);
    let mut cuts = course.cuts.iter().copied().cycle();
    let (mut said, mut answered) = (0, Vec::new());
    ours.converse(&mut peer, &mut cuts, &mut answered);
    assert!(!peer.is_handshaking() && !ours.tls.is_handshaking());
    let is_own = matches!(ours.tls.layer, Layer::Own(_));
    assert_eq!(is_own, course.layer == RecordLayer::Own);
    for step in &course.steps {
        match step {
            Step::Says(length) => {
                peer.set_buffer_limit(None);
                let all = counting(said + length);
                peer.writer().write_all(&all[said..]).expect("without a limit");
                said += length;
            }
            Step::UpdatesKeys => {
                // TLS 1.2 has none.
                let _refused = peer.refresh_traffic_keys();
            }
            Step::Answers(length) => ours.says(&counting(*length)),
            Step::Rests => ours.tls.rest(),
        }
        ours.converse(&mut peer, &mut cuts, &mut answered);
    }
    peer.send_close_notify();
    ours.converse(&mut peer, &mut cuts, &mut answered);
    assert!(ours.tls.peer_has_closed());
    ours.end(peer, answered)
}

/// The configurations of a client and its server.
fn configurations(course: &Course) -> (ClientConfig, ServerConfig) {
    let ca = Ca::new();
    let [server, own] = [ca.issue(&PKCS_ED25519), ca.issue(&PKCS_ED25519)];
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[course.version])
        .expect("a version of the provider");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()), provider());
    let verifier = verifier.allow_unauthenticated().build().expect("one root");
    let server = builder
        .with_client_cert_verifier(verifier)
        .with_single_cert(server.chain(), server.private_key())
        .expect("key and certificate match");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[course.version])
        .expect("a version of the provider")
        .with_root_certificates(ca.roots());
    let client = if course.mutual {
        builder.with_client_auth_cert(own.chain(), own.private_key()).expect("they match")
    } else {
        builder.with_no_client_auth()
    };
    (client, server)
}

impl Ours {
    fn meet(course: &Course) -> (Self, Connection) {
        let (mut client, mut server) = configurations(course);
        match course.role {
            Role::Server => {
                client.max_fragment_size = Some(course.fragment);
                let mut peer = testing::client(&Arc::new(client));
                let ours = Self::accept(server, &mut peer, course);
                (ours, peer.into())
            }
            Role::Client => {
                server.max_fragment_size = Some(course.fragment);
                (client.enable_secret_extraction, client.key_log) = (true, key_log());
                let peer = testing::server(&Arc::new(server));
                (Self::connect(client, course.layer), peer.into())
            }
        }
    }

    fn of(tls: ModernConn) -> Self {
        let pool = Pool::new(64 << 20, 4);
        Self { tls, pool, plaintext: VecDeque::new(), records: VecDeque::new() }
    }

    /// The server, with the client's hello, put together as the gateway does it.
    fn accept(
        mut config: ServerConfig,
        client: &mut rustls::ClientConnection,
        course: &Course,
    ) -> Self {
        config.key_log = key_log();
        let tls = ModernConn::new(Arc::new(config), course.layer, course.most);
        let mut ours = Self::of(tls.expect("a valid configuration"));
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("in memory");
        let mut reader = HelloReader::new();
        assert_eq!(reader.feed(&hello), Ok(Progress::Complete { consumed: hello.len() }));
        let Self { tls, pool, plaintext, records } = &mut ours;
        let mut output = Output { pool, plaintext, records };
        tls.start(&mut reader.reframed(), &mut output).expect("a good hello");
        ours
    }

    fn connect(config: ClientConfig, layer: RecordLayer) -> Self {
        let (pool, mut records) = (Pool::new(64 << 20, 4), VecDeque::new());
        let name = NAME.try_into().expect("a DNS name");
        let tls = ModernConn::connect(Arc::new(config), name, layer, (&pool, &mut records));
        Self { records, pool, ..Self::of(tls.expect("a valid configuration")) }
    }

    /// Until nobody has anything to say. What the peer hears goes into `answered`.
    fn converse(
        &mut self,
        peer: &mut Connection,
        cuts: &mut impl Iterator<Item = usize>,
        answered: &mut Vec<u8>,
    ) {
        while peer.wants_write() || !self.records.is_empty() {
            let mut flight = Vec::new();
            while peer.wants_write() {
                peer.write_tls(&mut flight).expect("in memory");
            }
            self.receive(&flight, cuts);
            answered.extend(self.answer(peer));
        }
    }

    /// Takes a flight in pieces. Between flights nothing is carried.
    fn receive(&mut self, mut flight: &[u8], cuts: &mut impl Iterator<Item = usize>) {
        while !flight.is_empty() {
            let most = BufClass::Bulk.plaintext_max();
            let length = cuts.next().expect("for ever").min(flight.len()).min(most);
            let (piece, rest) = flight.split_at(length);
            flight = rest;
            let Self { tls, pool, plaintext, records } = self;
            let mut output = Output { pool, plaintext, records };
            tls.receive(pool.copy_of(piece), &mut output).expect("a good stream");
            let carried = tls.carry.bytes.len();
            assert!(carried <= MAX_CARRY, "{carried} bytes carried");
            // Data does not wait: only what is missing of one record may be there.
            if !tls.is_handshaking() {
                assert!(carried < HEADER + (1 << 14) + 2048, "{carried} bytes carried");
            }
        }
        assert!(self.tls.carry.is_empty(), "carried between flights");
        if self.tls.records == RecordLayer::Rustls || self.tls.is_handshaking() {
            assert_eq!(self.tls.carry.bytes.capacity(), 0, "memory kept at rest");
        }
    }

    fn says(&mut self, bytes: &[u8]) {
        let Self { tls, pool, records, .. } = self;
        for part in bytes.chunks(BufClass::Bulk.plaintext_max()) {
            tls.seal(pool.copy_of(part), pool, records).expect("keys");
        }
    }

    /// Gives the peer what it is sent; it must like it.
    fn answer(&mut self, peer: &mut Connection) -> Vec<u8> {
        let mut heard = Vec::new();
        for record in self.records.drain(..).map(|buf| buf.to_vec()) {
            let mut unread = &record[..];
            while !unread.is_empty() {
                peer.read_tls(&mut unread).expect("in memory");
                let state = peer.process_new_packets().expect("a good answer");
                let start = heard.len();
                heard.resize(start + state.plaintext_bytes_to_read(), 0);
                peer.reader().read_exact(&mut heard[start..]).expect("as announced");
            }
        }
        heard
    }

    /// Says something back, and close_notify.
    fn end(mut self, mut peer: Connection, mut answer: Vec<u8>) -> Seen {
        self.says(&counting(100_000));
        self.tls.close_notify(&self.pool, &mut self.records).expect("keys");
        answer.extend(self.answer(&mut peer));
        self.tls.rest();
        assert_eq!(self.tls.carry.bytes.capacity(), 0, "memory kept at rest");
        let facts = self.tls.facts();
        Seen {
            plaintext: self.plaintext.iter().flat_map(Buf::to_vec).collect(),
            answer,
            facts: format!("{} {} {:?}", facts.version, facts.cipher_suite, facts.group),
        }
    }
}

/// With every suite and both layers, behind what was said before.
#[test]
fn an_alert_of_our_choice_is_the_last_word() {
    let ca = Ca::new();
    let issued = [ca.issue(&PKCS_ED25519), ca.issue_rsa()];
    for suite in &provider().cipher_suites {
        for layer in [RecordLayer::Own, RecordLayer::Rustls] {
            let is_rsa = format!("{:?}", suite.suite()).contains("_RSA_");
            let only = CryptoProvider { cipher_suites: vec![*suite], ..(*provider()).clone() };
            let versions = [suite.version()];
            let config = issued[usize::from(is_rsa)].server_of(Arc::new(only), &versions);
            let mut client = testing::client(&Arc::new(ca.client((*provider()).clone())));
            let course = Course { layer, ..plain(Role::Server, suite.version()) };
            let mut ours = Ours::accept(config, &mut client, &course);
            let mut client = Connection::from(client);
            ours.converse(&mut client, &mut std::iter::repeat(usize::MAX), &mut Vec::new());
            ours.says(b"until now");
            let mut wire: Vec<u8> = ours.records.iter().flat_map(Buf::to_vec).collect();
            wire.extend(Box::new(ours.tls).last_alert(44).expect("a session that is up"));
            let mut unread = &wire[..];
            while !unread.is_empty() {
                client.read_tls(&mut unread).expect("in memory");
            }
            let error = client.process_new_packets().expect_err("the alert");
            let revoked = rustls::AlertDescription::CertificateRevoked;
            assert_eq!(error, rustls::Error::AlertReceived(revoked), "{:?}", suite.suite());
            let mut heard = [0; 9];
            client.reader().read_exact(&mut heard).expect("what was said before");
            assert_eq!(&heard, b"until now");
        }
    }
}

/// Nothing special.
fn plain(role: Role, version: &'static SupportedProtocolVersion) -> Course {
    Course {
        role,
        version,
        mutual: false,
        fragment: 16_389,
        most: None,
        steps: Vec::new(),
        cuts: vec![usize::MAX],
        layer: RecordLayer::Own,
    }
}

/// Both layers see the same in what is wrong, and say the same about it.
#[test]
fn bad_records_end_sessions_alike() {
    for version in rustls::ALL_VERSIONS {
        for role in [Role::Server, Role::Client] {
            for closed in [false, true] {
                let [own, rustls] = [RecordLayer::Own, RecordLayer::Rustls].map(|layer| {
                    let course = Course { layer, ..plain(role, version) };
                    let (mut ours, mut peer) = Ours::meet(&course);
                    ours.converse(&mut peer, &mut std::iter::repeat(usize::MAX), &mut Vec::new());
                    if closed {
                        ours.tls.close_notify(&ours.pool, &mut ours.records).expect("keys");
                        ours.answer(&mut peer);
                    }
                    peer.writer().write_all(b"good").expect("in memory");
                    let mut wire = Vec::new();
                    peer.write_tls(&mut wire).expect("in memory");
                    wire.extend([&[23, 3, 3, 0, 40][..], &[9; 40]].concat());
                    let Ours { tls, pool, plaintext, records } = &mut ours;
                    let mut output = Output { pool, plaintext, records };
                    let error = tls.receive(pool.copy_of(&wire), &mut output);
                    let error = error.expect_err("it is bad");
                    assert_eq!(plaintext.iter().map(Buf::len).sum::<usize>(), 4);
                    let said = records.iter().map(Buf::len).sum::<usize>();
                    (error.reason, error.alert_sent, said)
                });
                assert_eq!(own, rustls, "{version:?} {role:?}");
                assert_eq!(own.1.is_none(), closed);
            }
        }
    }
}

#[test]
fn nobody_waits_for_a_record_that_is_too_long() {
    for version in rustls::ALL_VERSIONS {
        let (mut ours, mut peer) = Ours::meet(&plain(Role::Server, version));
        ours.converse(&mut peer, &mut std::iter::repeat(usize::MAX), &mut Vec::new());
        let Ours { tls, pool, plaintext, records } = &mut ours;
        let mut output = Output { pool, plaintext, records };
        for (bytes, is_bad) in [(&[23, 3, 3][..], false), (&[0x48], false), (&[1], true)] {
            let error = tls.receive(pool.copy_of(bytes), &mut output).err();
            assert_eq!(error.is_some(), is_bad, "{version:?} {bytes:?}");
            if let Some(error) = error {
                let overflow = (Reason::BadRecord, Some(alert::RECORD_OVERFLOW));
                assert_eq!((error.reason, error.alert_sent), overflow);
            }
        }
    }
}

#[test]
fn a_session_without_rustls_is_small() {
    assert!(size_of::<ModernConn>() <= 440, "{}", size_of::<ModernConn>());
}
