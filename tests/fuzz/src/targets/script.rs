//! Whole connections: the input is a program of what the kernel, the peer, the component and the
//! clock do, in an order that no kernel would keep to.
//!
//! The first byte says which listener, which version of TLS, what records, and whether the program
//! begins with the handshake done. Then one byte for what happens, and the bytes that it takes. What
//! the peer and the component send counts up, so that what arrives can be checked to be a beginning
//! of it. When nothing went wrong and both sides end in order, it must be all of it.

use std::io::{Read, Write};
use std::time::Duration;

use rustls::ClientConnection;
use tlsgate::config::model::ConnectWhen;
use tlsgate::conn::outcome::{Outcome, Reason};
use tlsgate::conn::{Farewell, Input};
use tlsgate::engine::{Operation, Side};
use tlsgate_corpus::mutate;
use tlsgate_corpus::rng::Rng;

use super::Target;
use crate::kernel::Kernel;
use crate::world;

pub(super) const TARGET: Target = Target {
    name: "script",
    about: "a connection driven by a program of completions, peers and time",
    seeds,
    generate,
    run,
    bounded: 700,
};

/// Longer programs are cut.
const MAX_STEPS: usize = 400;
/// Most bytes that a side says in one program.
const MAX_SAID: usize = 1 << 20;

/// How a connection ends whose peer sends `stream` and FIN, and whose component connects.
pub fn outcome_of(stream: &[u8]) -> Outcome {
    let mut kernel = Kernel::new(world::WORLD.policy(), 0, 64 << 20);
    let downstream = kernel.socket(Side::Downstream);
    downstream.inbound.extend_from_slice(stream);
    downstream.inbound_fin = true;
    kernel.settle();
    kernel.connected();
    kernel.finish().0
}

fn run(program: &[u8]) {
    let mut program = Program(program);
    let mut world = Peers::new(program.byte());
    for _ in 0..MAX_STEPS {
        if program.0.is_empty() || world.kernel.is_finished() {
            break;
        }
        world.step(&mut program);
    }
    world.end();
}

/// What is left of the input; zeroes behind its end.
struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    fn side(&mut self) -> Side {
        if self.byte().is_multiple_of(2) { Side::Downstream } else { Side::Upstream }
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}

/// A connection, the TLS client at one side of it, and the component at the other.
struct Peers {
    kernel: Kernel,
    client: Client,
    /// Bytes.
    component_said: usize,
    /// Nothing has happened that ends the connection or loses data.
    tame: bool,
    /// Endpoints that may still refuse before the last one has.
    spare_endpoints: usize,
}

struct Client {
    tls: ClientConnection,
    failed: bool,
    /// It said close_notify.
    closed: bool,
    /// It did so in the handshake.
    closed_early: bool,
    /// Bytes of plaintext.
    said: usize,
    heard: usize,
    /// Requests to change keys.
    updates: usize,
}

impl Peers {
    fn new(head: u8) -> Self {
        let listener = usize::from(head & 7) % world::WORLD.policy().listeners.len();
        // The smaller memory is tight most of the time.
        let memory = if head & 0x20 == 0 { 64 << 20 } else { 128 << 10 };
        let tls = world::WORLD.client(head & 0x10 != 0, head & 0x08 != 0, false);
        let client = Client {
            tls,
            failed: false,
            closed: false,
            closed_early: false,
            said: 0,
            heard: 0,
            updates: 0,
        };
        let kernel = Kernel::new(world::WORLD.policy(), listener, memory);
        // A client without a certificate is shown the door there.
        let tame = !world::wants_certificate(listener);
        let spare_endpoints =
            world::WORLD.policy().listeners[listener].route().upstreams.endpoints.len() - 1;
        let mut peers = Self { kernel, client, component_said: 0, tame, spare_endpoints };
        if head & 0x40 != 0 {
            // Where the component is dialled after the handshake, it may be left to the program.
            let policy = &world::WORLD.policy().listeners[listener];
            let connects = head & 0x80 == 0 || policy.route().connect == ConnectWhen::AfterHello;
            for _ in 0..5 {
                peers.exchange();
                peers.kernel.settle();
                if connects {
                    peers.kernel.connected();
                }
            }
            assert!(!peers.tame || !peers.client.tls.is_handshaking(), "nothing was in the way");
        }
        peers
    }

    fn step(&mut self, program: &mut Program<'_>) {
        let kernel = &mut self.kernel;
        let step = program.byte() % 32;
        self.tame &= step <= LAST_TAME;
        match step {
            0..=4 => self.exchange(),
            5..=9 => drop(kernel.deliver(program.side(), 1 + 2 * program.number())),
            10 | 11 => drop(kernel.deliver(program.side(), usize::from(program.byte() % 20))),
            12..=15 => drop(kernel.sent(program.side())),
            16 => drop(kernel.closed(program.side())),
            17 | 18 => drop(kernel.connected()),
            19 | 20 => self.client.says(program.number()),
            21 => {
                // The server puts up with 32 in a row.
                self.tame &= self.client.updates < 32;
                self.client.updates += 1;
                // TLS 1.2 has none, and nobody has in the handshake.
                let _refused = self.client.tls.refresh_traffic_keys();
            }
            22 => {
                if self.client.tls.is_handshaking() {
                    // It is the end; what waits for the handshake may never be sent.
                    self.tame = false;
                    self.client.closed_early = true;
                }
                self.client.tls.send_close_notify();
                self.client.closed = true;
            }
            23 | 24 => self.component_says(4 * program.number()),
            25 => kernel.settle(),
            LAST_TAME => {
                let errno = ERRORS[usize::from(program.byte()) % ERRORS.len()];
                if kernel.fail(Side::Upstream, Operation::Connect, errno) {
                    self.spare_endpoints =
                        self.spare_endpoints.checked_sub(1).unwrap_or_else(|| {
                            self.tame = false;
                            0
                        });
                }
            }
            27 => kernel.socket(program.side()).inbound_fin = true,
            28 => {
                // Not TLS, or TLS of somebody else.
                let socket = kernel.socket(Side::Downstream);
                if !socket.inbound_fin {
                    socket.inbound.extend_from_slice(program.bytes());
                }
            }
            29 => {
                let errno = ERRORS[usize::from(program.byte()) % ERRORS.len()];
                let send = program.byte().is_multiple_of(2);
                let operation = if send { Operation::Send } else { Operation::Receive };
                kernel.fail(program.side(), operation, errno);
            }
            30 => {
                let unit = if program.byte().is_multiple_of(2) { 1 } else { 500 };
                kernel.pass(Duration::from_millis(unit * u64::from(program.byte())));
            }
            _ => {
                let input = match program.byte() % 4 {
                    0 => Input::Stop(Reason::Stopped),
                    1 => Input::Stop(Reason::Drained),
                    2 => Input::Dismissed(Farewell::InOrder),
                    _ => Input::Dismissed(Farewell::AtOnce),
                };
                kernel.input(input);
            }
        }
    }

    fn component_says(&mut self, length: usize) {
        let socket = self.kernel.socket(Side::Upstream);
        if !socket.inbound_fin && self.component_said + length <= MAX_SAID {
            socket.inbound.extend(counting(self.component_said, length));
            self.component_said += length;
        }
    }

    /// Moves bytes both ways between the client and the kernel.
    fn exchange(&mut self) {
        let socket = self.kernel.socket(Side::Downstream);
        self.client.hears(&std::mem::take(&mut socket.outbound));
        while self.client.tls.wants_write() {
            let mut records = Vec::new();
            self.client.tls.write_tls(&mut records).expect("in memory");
            if !socket.inbound_fin {
                socket.inbound.extend(records);
            }
        }
    }

    /// Ends, and checks that what arrived is a beginning of what was said, or all of it.
    fn end(mut self) {
        self.exchange();
        let is_tame = self.tame && !self.client.tls.is_handshaking();
        if is_tame {
            self.part();
            assert!(self.kernel.is_finished(), "both sides have ended, and nothing moves");
        }
        let Self { kernel, mut client, component_said, .. } = self;
        let (outcome, [records, heard]) = kernel.finish();
        client.hears(&records);
        assert!(heard == counting(0, heard.len()), "the component gets something else");
        assert!(heard.len() <= client.said, "the component gets more");
        assert!(client.heard <= component_said, "the client gets more");
        assert!(!is_tame || outcome.reason == Reason::Finished, "{outcome:?}");
        // With a detail, one side was gone before the other had said everything.
        if outcome.reason == Reason::Finished && outcome.detail.is_none() {
            let whole = heard.len() == client.said || client.closed_early;
            assert!(whole, "the component misses something");
            assert_eq!(client.heard, component_said, "the client misses something");
        }
    }

    /// Both sides say that they are done, and no time passes.
    fn part(&mut self) {
        if !self.client.closed {
            self.client.tls.send_close_notify();
        }
        self.kernel.socket(Side::Upstream).inbound_fin = true;
        for _ in 0..100 {
            self.exchange();
            self.kernel.settle();
            self.kernel.connected();
        }
    }
}

impl Client {
    fn says(&mut self, length: usize) {
        if self.failed || self.closed || self.said + length > MAX_SAID {
            return;
        }
        self.tls.set_buffer_limit(None);
        let data = counting(self.said, length);
        self.tls.writer().write_all(&data).expect("without a limit");
        self.said += length;
    }

    fn hears(&mut self, mut records: &[u8]) {
        let mut ended = false;
        while !records.is_empty() && !self.failed && !ended {
            self.tls.read_tls(&mut records).expect("in memory");
            let Ok(state) = self.tls.process_new_packets() else {
                self.failed = true;
                break;
            };
            ended = state.peer_has_closed();
            let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut plaintext).expect("as announced");
            let expected = counting(self.heard, plaintext.len());
            assert!(plaintext == expected, "the client gets something else");
            self.heard += plaintext.len();
        }
    }
}

/// Steps up to this one lose nothing.
const LAST_TAME: u8 = 26;

/// Errors of sockets: those that have a word of their own, and one that has not.
const ERRORS: [i32; 6] = [
    104, // ECONNRESET
    110, // ETIMEDOUT
    111, // ECONNREFUSED
    113, // EHOSTUNREACH
    24,  // EMFILE
    5,   // EIO
];

/// `length` bytes from position `from` on of a stream whose period is no power of two.
fn counting(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|position| (position % 251).to_le_bytes()[0]).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        // A handshake step by step, a message each way, and an orderly end.
        b"\0\0\x05\0\xff\xff\x11\x0c\0\0\x05\0\xff\xff\x13\0\x40\0\x05\0\xff\xff\x0d\x01\x17\x10\0\
          \x05\x01\xff\xff\x0c\0\0\x16\0\x05\0\xff\xff\x19"
            .to_vec(),
    ];
    // With the handshake done, on every listener, in both versions, with much memory and little.
    for head in (0x40..0x80).chain(0xc0..=0xff) {
        seeds.push([&[head][..], b"\x13\x7f\0\0\x05\0\xff\xff\x17\x7f\0\x05\x01\xff\xff"].concat());
    }
    // Hellos as programs: their bytes as what the peer sends.
    for case in tlsgate_corpus::corpus() {
        let mut program = vec![0];
        for piece in case.stream.chunks(255).take(8) {
            program.extend([28, u8::try_from(piece.len()).expect("a short piece")]);
            program.extend_from_slice(piece);
            program.extend([5, 0, 0xff, 0xff]);
        }
        seeds.push(program);
    }
    seeds
}

fn generate(rng: &mut Rng) -> Vec<u8> {
    let mut program = vec![rng.byte()];
    if rng.one_in(4) {
        for piece in mutate::hello(rng).chunks(255).take(20) {
            program.extend([28, u8::try_from(piece.len()).expect("a short piece")]);
            program.extend_from_slice(piece);
            program.extend([5, 0, 0xff, 0xff]);
        }
    }
    if rng.one_in(2) {
        // Tame, with the handshake done.
        program[0] |= 0x40;
        (0..rng.below(MAX_STEPS / 2)).for_each(|_| program.extend(tame_step(rng)));
    } else {
        (0..rng.below(MAX_STEPS)).for_each(|_| program.push(rng.byte()));
    }
    program
}

/// A step with the bytes that it takes.
fn tame_step(rng: &mut Rng) -> Vec<u8> {
    let step = rng.byte() % (LAST_TAME + 1);
    let length = [rng.byte() >> rng.below(8), rng.byte()];
    match step {
        5..=9 => vec![step, rng.byte(), length[0], length[1]],
        10 | 11 => vec![step, rng.byte(), rng.byte()],
        12..=16 => vec![step, rng.byte()],
        19 | 20 | 23 | 24 => vec![step, length[0], length[1]],
        LAST_TAME => vec![step, rng.byte()],
        _ => vec![step],
    }
}
