//! Cells on a row's own route.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tlsgate_corpus::hello::Hello;

use super::super::case::Case;
use super::super::common::offers::{PROTOCOL_VERSION, old_hello, says};
use super::super::common::traffic::exchange;
use super::super::common::{Tried, usual_client};
use super::super::component::{BLOCK, Manner};
use super::super::estate::{Estate, Row};
use super::super::pki::{Leaf, pki};
use super::super::script::{End, Speech, noise};
use super::super::stream::{Stream, VERSIONS, client};
use super::Stage;
use crate::support::client::{connect_plain, dial};
use crate::support::sized;

/// A third of the vendor's keep-alive time: a host that answers later is taken for dead.
const ALIVE: Duration = Duration::from_secs(3);

impl Stage<'_> {
    fn case(&self) -> &Case {
        &self.row.case
    }

    fn place(&self, what: &str) -> String {
        format!("{}: {what}", self.row.case)
    }

    fn connect(&self, manner: Manner) -> Stream {
        self.row.component.be(manner);
        open(self.row, self.identity)
    }

    /// Everything that its protocol has to say, in its newest version of TLS.
    pub(super) fn speeches(&self) {
        for speech in self.case().speeches() {
            self.speech(speech);
        }
    }

    fn speech(&self, speech: Speech) {
        let mut stream = self.connect(Manner::Speak(speech));
        let said = speech.speak(&mut stream, End::Client).and_then(|()| stream.end());
        said.unwrap_or_else(|error| panic!("{}: {error}", self.place(&format!("{speech:?}"))));
        assert_eq!(stream.read(&mut [0; 1]).expect("an orderly end"), 0);
    }

    /// All connect, get a batch, vanish, and connect again at the same time.
    pub(super) fn many_subscribers(&self) {
        self.row.component.be(Manner::Echo);
        herd(self.row, self.identity, sized(2_000, 16));
    }

    pub(super) fn several(&self) {
        self.row.component.be(Manner::Echo);
        herd(self.row, self.identity, 4);
    }

    pub(super) fn untrusted_gateway(&self) {
        let tls = client(pki().strange_roots(), Some(self.identity), &VERSIONS, None);
        let tried = Tried::at(self.row.route.entrance, Some(&tls));
        let (peer, _) = tried.fails(&self.place("an unknown CA"));
        let line = self.served.line(&self.row.route.listener, peer);
        assert_eq!(line.text("alert_received"), "unknown_ca", "{line:?}");
        self.works();
    }

    /// What is no TLS is closed in order, and the component hears nothing of it.
    pub(super) fn plaintext(&self) {
        let before = self.row.component.sources().len();
        for bytes in
            [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"EHLO a\r\nSTARTTLS\r\n", &[0; 12]]
        {
            self.assert_no_tls(bytes);
        }
        assert_eq!(self.row.component.sources().len(), before, "{}", self.place("plaintext"));
        self.works();
    }

    fn assert_no_tls(&self, bytes: &[u8]) {
        let mut stream = connect_plain(self.row.route.entrance);
        let peer = stream.local_addr().expect("connected");
        stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        assert!(ended.is_ok(), "{}: {ended:?}", self.place("a clean close"));
        assert!(answer.is_empty(), "{}: {answer:?}", self.place("an answer"));
        // The gateway waits for the end of its peer, too.
        drop(stream);
        let line = self.served.line(&self.row.route.listener, peer);
        line.assert_ended("hello_malformed", "downstream", "hello");
    }

    /// The extended request of RFC 4511 section 4.14.
    pub(super) fn starttls_to_ldaps(&self) {
        let before = self.row.component.sources().len();
        let mut request = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x16".to_vec();
        request.extend_from_slice(b"1.3.6.1.4.1.1466.20037");
        self.assert_no_tls(&request);
        assert_eq!(self.row.component.sources().len(), before, "{}", self.place("StartTLS"));
        self.works();
    }

    /// Both at the same time, on one port.
    pub(super) fn tls_and_plaintext(&self) {
        let mut with = self.connect(Manner::Echo);
        let mut without = Stream::connect(self.row.route.entrance, None).expect("plaintext");
        for _ in 0..3 {
            for stream in [&mut with, &mut without] {
                let echoed = exchange(stream, b"on one port");
                echoed.unwrap_or_else(|error| panic!("{}: {error}", self.place("one port")));
            }
        }
        let peer = without.local();
        without.end().expect("an open socket");
        assert_eq!(without.read(&mut [0; 1]).expect("an orderly end"), 0);
        let line = self.served.line(&self.row.route.listener, peer);
        assert_eq!(line.text("downstream_security"), "plaintext");
    }

    /// TLS that begins inside a conversation in plaintext belongs to the two ends.
    pub(super) fn in_band_upgrade(&self) {
        let speech = Speech::PostgresTls;
        self.row.component.be(Manner::Speak(speech));
        let mut stream = Stream::connect(self.row.route.entrance, None).expect("plaintext");
        speech.speak(&mut stream, End::Client).expect("the ends' own TLS goes through");
    }

    /// Much, all of it, in order.
    pub(super) fn bulk(&self, size: usize) {
        let mut stream = self.connect(Manner::Tell(size));
        stream.write_all(b"all of it\n").and_then(|()| stream.flush()).expect("sent");
        let block = noise(BLOCK, 3);
        let mut heard = vec![0; block.len()];
        let mut left = size;
        while left > 0 {
            let part = left.min(block.len());
            stream.read_exact(&mut heard[..part]).expect("more of it");
            assert!(heard[..part] == block[..part], "{}", self.place("other bytes"));
            left -= part;
        }
    }

    /// A poller is answered through reloads and a storm of handshakes.
    pub(super) fn host_alive(&self) {
        let mut poller = self.connect(Manner::Echo);
        let done = AtomicBool::new(false);
        let longest = thread::scope(|scope| {
            scope.spawn(|| {
                herd(self.row, self.identity, sized(2_000, 16));
                done.store(true, Ordering::Release);
            });
            let mut longest = Duration::ZERO;
            let mut is_reloaded = false;
            while !done.load(Ordering::Acquire) || !is_reloaded {
                let asked = Instant::now();
                exchange(&mut poller, b"alive?").expect("an answer");
                longest = longest.max(asked.elapsed());
                if !is_reloaded {
                    is_reloaded = self.served.gateway.reload();
                }
            }
            longest
        });
        assert!(longest < ALIVE, "{}: answered after {longest:?}", self.place("alive"));
    }

    /// Messages of a telephony server, as fast as they go; in full size at 2,000 a second with their
    /// added delay.
    pub(super) fn message_rate(&self) {
        let count = sized(20_000, 200);
        let mut through = self.connect(Manner::Echo);
        let (rate, through) = ping(&mut through, count);
        let tls = self.case().combination.has_upstream_tls();
        assert!(rate > sized(2_000.0, 200.0), "{}: {rate} messages a second", self.place("rate"));
        if crate::support::is_full() && !tls {
            let mut direct = Stream::connect(self.row.component.address(), None).expect("up");
            let (_, direct) = ping(&mut direct, count);
            let added = through.saturating_sub(direct);
            assert!(added < Duration::from_millis(1), "{}: {added:?}", self.place("added at p99"));
        }
    }

    pub(super) fn no_client_certificate(&self) {
        let tls = client(pki().roots(), None, &VERSIONS, None);
        let tried = Tried::at(self.row.route.entrance, Some(&tls));
        let (peer, _) = tried.fails(&self.place("without a certificate"));
        let line = self.served.line(&self.row.route.listener, peer);
        line.assert_ended("client_certificate_missing", "downstream", "handshake");
        self.works();
    }

    /// RC4 and 3DES.
    pub(super) fn old_suites_only(&self) {
        let mut hello = Hello::tls12();
        hello.suites = vec![0, 5, 0, 4, 0, 10, 0xc0, 0x11, 0xc0, 0x12];
        let (peer, _) = says(self.row.route.entrance, &hello.stream());
        let line = self.served.line(&self.row.route.listener, peer);
        line.assert_ended("no_shared_parameters", "downstream", "handshake");
        assert_eq!(line.text("alert_sent"), "handshake_failure", "{line:?}");
        self.works();
    }

    /// Refused, with the reason; serving it is for a gateway that speaks TLS 1.0.
    pub(super) fn tls10_hello(&self) {
        let (peer, answer) = says(self.row.route.entrance, &old_hello([3, 1]).stream());
        assert!(answer.ends_with(&PROTOCOL_VERSION), "{}", self.place("TLS 1.0"));
        let line = self.served.line(&self.row.route.listener, peer);
        line.assert_ended("version_mismatch", "downstream", "handshake");
        assert_eq!(line.text("alert_sent"), "protocol_version", "{line:?}");
        self.works();
    }

    /// What two ends say in TLS of their own, of whatever version, comes out as it went in.
    pub(super) fn unchanged(&self) {
        self.row.component.be(Manner::Echo);
        let mut stream = Stream::connect(self.row.route.entrance, None).expect("plaintext");
        let hello = old_hello([3, 1]).stream();
        exchange(&mut stream, &hello).expect("the same bytes");
    }

    /// The control: the usual client is served.
    fn works(&self) {
        self.row.component.be(Manner::Echo);
        let tls = usual_client(&self.case().combination, self.identity);
        Tried::at(self.row.route.entrance, tls.as_ref()).succeeds(&self.place("the usual client"));
    }
}

fn open(row: &Row, identity: &Leaf) -> Stream {
    let tls = usual_client(&row.case.combination, identity);
    Stream::connect(row.route.entrance, tls.as_ref())
        .unwrap_or_else(|error| panic!("{}: {error}", row.case))
}

/// One of many, from an address of theirs: the log knows others by their ports.
fn one_of_many(row: &Row, identity: &Leaf) -> Stream {
    let tls = usual_client(&row.case.combination, identity);
    let from = SocketAddr::from(([127, 0, 0, 8], 0));
    dial(from, row.route.entrance)
        .and_then(|socket| Stream::over(socket, tls.as_ref()))
        .unwrap_or_else(|error| panic!("{}: {error}", row.case))
}

/// That many at once, twice, the second time right after the first have vanished.
fn herd(row: &Row, identity: &Leaf, size: usize) {
    const THREADS: usize = 4;
    for _ in 0..2 {
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let mut all: Vec<Stream> =
                        (0..size / THREADS).map(|_| one_of_many(row, identity)).collect();
                    for stream in &mut all {
                        let batch = exchange(stream, &noise(2_000, 5));
                        batch.unwrap_or_else(|error| panic!("{}: {error}", row.case));
                    }
                });
            }
        });
    }
}

/// Messages a second, and the delay at p99.
fn ping(stream: &mut Stream, count: usize) -> (f64, Duration) {
    let message = noise(200, 6);
    let begin = Instant::now();
    let mut delays: Vec<Duration> = (0..count)
        .map(|_| {
            let sent = Instant::now();
            exchange(stream, &message).expect("an echo");
            sent.elapsed()
        })
        .collect();
    delays.sort_unstable();
    let rate = f64::from(u32::try_from(count).expect("thousands")) / begin.elapsed().as_secs_f64();
    (rate, delays[count * 99 / 100])
}

impl Estate {
    /// Every desktop logs in over all its connections at once.
    pub(super) fn desktop_login(&self, identity: &Leaf) {
        let of_desktop: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| row.case.must_succeed.iter().any(|word| word == "login"))
            .collect();
        assert!(of_desktop.len() >= 6, "the desktop's connections");
        for row in &of_desktop {
            row.component.be(Manner::Echo);
        }
        thread::scope(|scope| {
            for _ in 0..sized(200, 4) {
                scope.spawn(|| {
                    let mut all: Vec<Stream> =
                        of_desktop.iter().map(|row| one_of_many(row, identity)).collect();
                    for stream in &mut all {
                        exchange(stream, b"login").expect("an answer");
                    }
                });
            }
        });
    }
}
