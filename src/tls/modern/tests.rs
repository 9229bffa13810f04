//! However the peer's stream is cut, and whatever records its messages are in, the session says the
//! same, and carries no more than it must.

use std::io::{Read, Write};

use proptest::prelude::*;
use rcgen::PKCS_ED25519;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion};

use super::*;
use crate::tls::hello::{HelloReader, Progress};
use crate::tls::provider::provider;
use crate::tls::testing::{self, Ca};

/// What the client does after the handshake.
#[derive(Clone, Debug)]
enum Step {
    Says(usize),
    UpdatesKeys,
}

/// A client and its server, and how their streams are cut.
#[derive(Clone, Debug)]
struct Course {
    version: &'static SupportedProtocolVersion,
    /// The client has a certificate to show, which makes its flight long.
    mutual: bool,
    /// Longest record that the client makes, header included.
    fragment: usize,
    steps: Vec<Step>,
    /// Lengths of the pieces that the server gets, over and over.
    cuts: Vec<usize>,
}

/// What came out of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// By the server.
    plaintext: Vec<u8>,
    /// By the client, of what the server said to the end.
    answer: Vec<u8>,
    facts: String,
}

struct Server {
    tls: ModernConn,
    pool: Pool,
    plaintext: VecDeque<Buf>,
    records: VecDeque<Buf>,
}

fn course() -> impl Strategy<Value = Course> {
    let version = prop_oneof![Just(&rustls::version::TLS12), Just(&rustls::version::TLS13)];
    let step =
        prop_oneof![4 => (0..40_000_usize).prop_map(Step::Says), 1 => Just(Step::UpdatesKeys)];
    let cut = prop_oneof![1..8_usize, 1..600_usize, 1..20_000_usize];
    let fragment = prop_oneof![32..100_usize, 100..16_389_usize];
    let steps = prop::collection::vec(step, 0..8);
    let cuts = prop::collection::vec(cut, 1..12);
    (version, any::<bool>(), fragment, steps, cuts).prop_map(
        |(version, mutual, fragment, steps, cuts)| Course {
            version,
            mutual,
            fragment,
            steps,
            cuts,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn cuts_make_no_difference(course in course()) {
        let whole = Course { cuts: vec![usize::MAX], ..course.clone() };
        let said: usize = course.steps.iter().map(Step::length).sum();
        let seen = run(&course);
        prop_assert_eq!(seen.plaintext.len(), said);
        prop_assert!(seen == run(&whole));
        prop_assert_eq!(seen.plaintext, counting(said));
    }
}

impl Step {
    fn length(&self) -> usize {
        match self {
            Self::Says(length) => *length,
            Self::UpdatesKeys => 0,
        }
    }
}

fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|position| u8::try_from(position % 251).expect("below 251")).collect()
}

fn run(course: &Course) -> Seen {
    let (mut client, config) = peers(course);
    let mut cuts = course.cuts.iter().copied().cycle();
    let mut server = Server::accept(config, &mut client);
    let mut said = 0;
    let mut steps = course.steps.iter();
    loop {
        let handshaking = client.is_handshaking() || server.tls.is_handshaking();
        while client.wants_write() {
            let mut flight = Vec::new();
            client.write_tls(&mut flight).expect("in memory");
            server.receive(&flight, &mut cuts);
        }
        server.answer(&mut client);
        if handshaking {
            continue;
        }
        match steps.next() {
            Some(Step::Says(length)) => {
                client.set_buffer_limit(None);
                let all = counting(said + length);
                client.writer().write_all(&all[said..]).expect("without a limit");
                said += length;
            }
            Some(Step::UpdatesKeys) => {
                // TLS 1.2 has none.
                let _refused = client.refresh_traffic_keys();
            }
            None => break,
        }
    }
    server.end(client)
}

fn peers(course: &Course) -> (ClientConnection, Arc<ServerConfig>) {
    let ca = Ca::new();
    let [server, own] = [ca.issue(&PKCS_ED25519), ca.issue(&PKCS_ED25519)];
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[course.version])
        .expect("a version of the provider");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()), provider());
    let verifier = verifier.allow_unauthenticated().build().expect("one root");
    let config = builder
        .with_client_cert_verifier(verifier)
        .with_single_cert(server.chain(), server.private_key())
        .expect("key and certificate match");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[course.version])
        .expect("a version of the provider")
        .with_root_certificates(ca.roots());
    let mut client = if course.mutual {
        builder.with_client_auth_cert(own.chain(), own.private_key()).expect("they match")
    } else {
        builder.with_no_client_auth()
    };
    client.max_fragment_size = Some(course.fragment);
    (testing::client(&Arc::new(client)), Arc::new(config))
}

impl Server {
    /// Starts with the client's hello, put together as the gateway does it.
    fn accept(config: Arc<ServerConfig>, client: &mut ClientConnection) -> Self {
        let mut server = Self {
            tls: ModernConn::new(config).expect("a valid configuration"),
            pool: Pool::new(64 << 20, 4),
            plaintext: VecDeque::new(),
            records: VecDeque::new(),
        };
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("in memory");
        let mut reader = HelloReader::new();
        assert_eq!(reader.feed(&hello), Ok(Progress::Complete { consumed: hello.len() }));
        let Self { tls, pool, plaintext, records } = &mut server;
        let mut output = Output { pool, plaintext, records };
        tls.start(&mut reader.reframed(), &mut output).expect("a good hello");
        server
    }

    /// Takes a flight in pieces. Between flights nothing is carried.
    fn receive(&mut self, mut flight: &[u8], cuts: &mut impl Iterator<Item = usize>) {
        while !flight.is_empty() {
            let most = BufClass::Bulk.plaintext_max();
            let length = cuts.next().expect("for ever").min(flight.len()).min(most);
            let (piece, rest) = flight.split_at(length);
            flight = rest;
            let Self { tls, pool, plaintext, records } = self;
            let mut buf = pool.take(BufClass::Bulk);
            buf.append(piece);
            let mut output = Output { pool, plaintext, records };
            tls.receive(buf, &mut output).expect("a good stream");
            let carried = tls.carry.bytes.len();
            assert!(carried <= MAX_CARRY, "{carried} bytes carried");
            // Data does not wait: only what is missing of one record may be there.
            if !tls.is_handshaking() {
                assert!(carried < HEADER + (1 << 14) + 2048, "{carried} bytes carried");
            }
        }
        assert_eq!(self.tls.carry.bytes.capacity(), 0, "memory kept at rest");
    }

    /// Gives the client what it is sent; it must like it.
    fn answer(&mut self, client: &mut ClientConnection) -> Vec<u8> {
        let mut heard = Vec::new();
        for record in self.records.drain(..) {
            let mut unread = &record.to_vec()[..];
            while !unread.is_empty() {
                client.read_tls(&mut unread).expect("in memory");
                let state = client.process_new_packets().expect("a good answer");
                let start = heard.len();
                heard.resize(start + state.plaintext_bytes_to_read(), 0);
                client.reader().read_exact(&mut heard[start..]).expect("as announced");
            }
        }
        heard
    }

    /// Says something back, and close_notify.
    fn end(mut self, mut client: ClientConnection) -> Seen {
        let Self { tls, pool, records, .. } = &mut self;
        for part in counting(100_000).chunks(BufClass::Bulk.plaintext_max()) {
            tls.seal(pool.copy_of(part), pool, records).expect("keys");
        }
        tls.close_notify(pool, records).expect("keys");
        let answer = self.answer(&mut client);
        let facts = self.tls.facts();
        Seen {
            plaintext: self.plaintext.iter().flat_map(Buf::to_vec).collect(),
            answer,
            facts: format!("{} {} {:?}", facts.version, facts.cipher_suite, facts.group),
        }
    }
}

/// With every suite, behind what was said before.
#[test]
fn an_alert_of_our_choice_is_the_last_word() {
    let ca = Ca::new();
    let issued = [ca.issue(&PKCS_ED25519), ca.issue_rsa()];
    for suite in &provider().cipher_suites {
        let is_rsa = format!("{:?}", suite.suite()).contains("_RSA_");
        let only = CryptoProvider { cipher_suites: vec![*suite], ..(*provider()).clone() };
        let versions = [suite.version()];
        let mut config = issued[usize::from(is_rsa)].server_of(Arc::new(only), &versions);
        config.enable_secret_extraction = true;
        let mut client = testing::client(&Arc::new(ca.client((*provider()).clone())));
        let mut server = Server::accept(Arc::new(config), &mut client);
        server.answer(&mut client);
        while client.wants_write() || server.tls.is_handshaking() {
            let mut flight = Vec::new();
            client.write_tls(&mut flight).expect("in memory");
            server.receive(&flight, &mut std::iter::repeat(usize::MAX));
            server.answer(&mut client);
        }
        let Server { tls, pool, mut records, .. } = server;
        let mut tls = tls;
        tls.seal(pool.copy_of(b"until now"), &pool, &mut records).expect("keys");
        let mut wire: Vec<u8> = records.iter().flat_map(Buf::to_vec).collect();
        wire.extend(Box::new(tls).last_alert(44).expect("a session that is up"));
        let mut unread = &wire[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).expect("in memory");
        }
        let error = client.process_new_packets().expect_err("the alert");
        let expected = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRevoked);
        assert_eq!(error, expected, "{:?}", suite.suite());
        let mut heard = [0; 9];
        client.reader().read_exact(&mut heard).expect("what was said before");
        assert_eq!(&heard, b"until now");
    }
}
