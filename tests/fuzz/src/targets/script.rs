//! Whole connections: the input is a program of what the kernel, the peer, the component and the
//! clock do, in an order that no kernel would keep to.
//!
//! The first byte says which listener, which version of TLS, and whether the program begins with
//! the handshake done. Then one byte for what happens, and the bytes that it takes. What the peer
//! and the component send counts up, so that what arrives can be checked to be a beginning of it.

use std::io::{Read, Write};
use std::time::Duration;

use rustls::ClientConnection;
use tlsgate::conn::Input;
use tlsgate::conn::outcome::{Outcome, Reason};
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
    let mut kernel = Kernel::new(0, 64 << 20);
    let downstream = kernel.socket(Side::Downstream);
    downstream.inbound.extend_from_slice(stream);
    downstream.inbound_fin = true;
    kernel.settle();
    kernel.connected();
    kernel.outcome()
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
    world.check_streams();
    world.kernel.outcome();
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
    client: ClientConnection,
    failed: bool,
    /// Bytes of plaintext that each has said and heard.
    client_said: usize,
    client_heard: usize,
    component_said: usize,
    component_heard: usize,
}

impl Peers {
    fn new(head: u8) -> Self {
        let listener = usize::from(head & 7) % world::listeners().len();
        // The smaller memory is tight most of the time.
        let memory = if head & 0x20 == 0 { 64 << 20 } else { 128 << 10 };
        let mut peers = Self {
            kernel: Kernel::new(listener, memory),
            client: world::client(head & 0x10 != 0),
            failed: false,
            client_said: 0,
            client_heard: 0,
            component_said: 0,
            component_heard: 0,
        };
        if head & 0x40 != 0 {
            for _ in 0..3 {
                peers.exchange();
                peers.kernel.settle();
                peers.kernel.connected();
            }
        }
        peers
    }

    fn step(&mut self, program: &mut Program<'_>) {
        let kernel = &mut self.kernel;
        match program.byte() % 32 {
            0..=4 => self.exchange(),
            5..=9 => drop(kernel.deliver(program.side(), 1 + 2 * program.number())),
            10 | 11 => drop(kernel.deliver(program.side(), usize::from(program.byte() % 20))),
            12..=15 => drop(kernel.sent(program.side())),
            16 => drop(kernel.closed(program.side())),
            17 | 18 => drop(kernel.connected()),
            19 => {
                let errno = ERRORS[usize::from(program.byte()) % ERRORS.len()];
                kernel.fail(Side::Upstream, Operation::Connect, errno);
            }
            20 | 21 => self.client_says(program.number()),
            22 => drop(self.client.refresh_traffic_keys()),
            23 => self.client.send_close_notify(),
            24 | 25 => self.component_says(4 * program.number()),
            26 => kernel.socket(program.side()).inbound_fin = true,
            27 => {
                // Not TLS, or TLS of somebody else.
                let socket = kernel.socket(Side::Downstream);
                if !socket.inbound_fin {
                    socket.inbound.extend_from_slice(program.bytes());
                }
            }
            28 => {
                let side = program.side();
                let send = program.byte().is_multiple_of(2);
                let operation = if send { Operation::Send } else { Operation::Receive };
                let errno = ERRORS[usize::from(program.byte()) % ERRORS.len()];
                kernel.fail(side, operation, errno);
            }
            29 => kernel.pass(Duration::from_millis(u64::from(program.byte()))),
            30 => kernel.pass(Duration::from_millis(8 * program.number() as u64)),
            _ => {
                if program.byte().is_multiple_of(8) {
                    let reason = if program.side() == Side::Upstream {
                        Reason::Drained
                    } else {
                        Reason::Stopped
                    };
                    kernel.input(Input::Stop(reason));
                } else {
                    kernel.settle();
                }
            }
        }
    }

    fn client_says(&mut self, length: usize) {
        if self.failed || self.client_said + length > MAX_SAID {
            return;
        }
        self.client.set_buffer_limit(None);
        let data = counting(self.client_said, length);
        self.client.writer().write_all(&data).expect("without a limit");
        self.client_said += length;
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
        let bytes = std::mem::take(&mut self.kernel.socket(Side::Downstream).outbound);
        let mut unread = bytes.as_slice();
        let mut closed = false;
        while !unread.is_empty() && !self.failed && !closed {
            self.client.read_tls(&mut unread).expect("in memory");
            let Ok(state) = self.client.process_new_packets() else {
                self.failed = true;
                break;
            };
            closed = state.peer_has_closed();
            let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut plaintext).expect("as announced");
            let expected = counting(self.client_heard, plaintext.len());
            assert!(plaintext == expected, "the client gets something else");
            self.client_heard += plaintext.len();
        }
        let socket = self.kernel.socket(Side::Downstream);
        while self.client.wants_write() {
            let mut records = Vec::new();
            self.client.write_tls(&mut records).expect("in memory");
            if !socket.inbound_fin {
                socket.inbound.extend(records);
            }
        }
    }

    /// What arrived is a beginning of what was said.
    fn check_streams(&mut self) {
        self.exchange();
        let heard = std::mem::take(&mut self.kernel.socket(Side::Upstream).outbound);
        let expected = counting(self.component_heard, heard.len());
        assert!(heard == expected, "the component gets something else");
        self.component_heard += heard.len();
        assert!(self.component_heard <= self.client_said, "the component gets more");
        assert!(self.client_heard <= self.component_said, "the client gets more");
    }
}

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
        b"\0\0\x05\0\xff\xff\x11\x0c\0\0\x05\0\xff\xff\x14\0\x40\0\x05\0\xff\xff\x0d\x01\x18\x10\0\
          \x05\x01\xff\xff\x0c\0\0\x17\0\x05\0\xff\xff\x1f\x01"
            .to_vec(),
    ];
    // With the handshake done, on every listener, in both versions, with much memory and little.
    for head in 0x40..0x80 {
        seeds.push([&[head][..], b"\x14\x7f\0\0\x05\0\xff\xff\x18\x7f\0\x05\x01\xff\xff"].concat());
    }
    // Hellos as programs: their bytes as what the peer sends.
    for case in tlsgate_corpus::corpus() {
        let mut program = vec![0];
        for piece in case.stream.chunks(255).take(8) {
            program.extend([27, u8::try_from(piece.len()).expect("a short piece")]);
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
            program.extend([27, u8::try_from(piece.len()).expect("a short piece")]);
            program.extend_from_slice(piece);
            program.extend([5, 0, 0xff, 0xff]);
        }
    }
    for _ in 0..rng.below(MAX_STEPS) {
        program.push(rng.byte());
    }
    program
}
