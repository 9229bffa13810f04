//! The operations, each on a connection of the product's with a kernel made of byte queues.

use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;

use clap::ValueEnum;
use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::ClientConnection;
use tlsgate::engine::Side;
use tlsgate::policy::rules::RuleTable;
use tlsgate_corpus::rng::Rng;
use tlsgate_fuzz::kernel::Kernel;
use tlsgate_fuzz::world::World;

use crate::rules;
use crate::turn::Loop;

/// The function within which callgrind counts.
pub(crate) const COUNTED: &str = "operation::counted";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Operation {
    /// A full handshake of TLS 1.3 with P-256 and X25519, from the first byte to the component.
    FullHandshake13,
    /// The same, resumed.
    ResumedHandshake13,
    FullHandshake12,
    ResumedHandshake12,
    /// 16 KiB from the component to the peer: received, sealed and sent.
    Seal16384,
    Seal100,
    /// 16 KiB from the peer to the component: received, opened and sent.
    Open16384,
    Open100,
    /// 100 bytes from the peer to the component and 100 back, as a shard relays them: two turns of its
    /// loop, four events.
    TurnBothWays,
    /// By SNI, source, ALPN and version in a table of 10,000 rules.
    PolicyLookup,
}

impl Operation {
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("none is hidden");
        value.get_name().to_owned()
    }

    /// Does it so often, each time within [`counted`].
    pub(crate) fn repeat(self, times: u32) {
        match self {
            Self::FullHandshake13 => handshakes(times, false, true),
            Self::ResumedHandshake13 => handshakes(times, false, false),
            Self::FullHandshake12 => handshakes(times, true, true),
            Self::ResumedHandshake12 => handshakes(times, true, false),
            Self::Seal16384 => to_peer(times, 16 * 1024),
            Self::Seal100 => to_peer(times, 100),
            Self::Open16384 => to_component(times, 16 * 1024),
            Self::Open100 => to_component(times, 100),
            Self::TurnBothWays => both_ways(times),
            Self::PolicyLookup => lookups(times),
        }
    }
}

/// Not inlined: callgrind looks for its name.
#[inline(never)]
fn counted(operation: &mut dyn FnMut()) {
    operation();
}

fn uncounted(operation: &mut dyn FnMut()) {
    operation();
}

/// A connection and the client at its other end.
struct Pair {
    kernel: Kernel,
    client: ClientConnection,
}

impl Pair {
    fn new(world: &World, tls12: bool, forgetful: bool) -> Self {
        let kernel = Kernel::new(world.policy(), 0, MEMORY);
        Self { kernel, client: world.client(tls12, false, forgetful) }
    }

    /// The whole handshake, the component's connection included. What is done for the client is not
    /// part of `watched`.
    fn shake_hands(&mut self, watched: fn(&mut dyn FnMut())) {
        while self.client.is_handshaking() || self.client.wants_write() {
            self.client_speaks();
            let kernel = &mut self.kernel;
            watched(&mut || {
                kernel.settle();
                kernel.connected();
                kernel.settle();
            });
            self.client_reads();
        }
    }

    /// Tickets come with what the component says first.
    fn hear_tickets(&mut self) {
        self.component_says(b"welcome");
        self.relay(uncounted);
        self.client_reads();
    }

    /// What came in goes out at the other end.
    fn relay(&mut self, watched: fn(&mut dyn FnMut())) {
        let kernel = &mut self.kernel;
        watched(&mut || kernel.settle());
    }

    fn client_speaks(&mut self) {
        let inbound = &mut self.kernel.socket(Side::Downstream).inbound;
        while self.client.wants_write() {
            self.client.write_tls(inbound).expect("a Vec takes everything");
        }
    }

    /// What the client has heard.
    fn client_reads(&mut self) -> Vec<u8> {
        let outbound = std::mem::take(&mut self.kernel.socket(Side::Downstream).outbound);
        read(&mut self.client, &outbound)
    }

    fn component_says(&mut self, bytes: &[u8]) {
        self.kernel.socket(Side::Upstream).inbound.extend_from_slice(bytes);
    }
}

fn handshakes(times: u32, tls12: bool, forgetful: bool) {
    let world = World::new(&PKCS_ECDSA_P256_SHA256);
    // The first has nothing to resume, and seeds aws-lc's random numbers, which takes longer than ten.
    let mut first = Pair::new(&world, tls12, forgetful);
    first.shake_hands(uncounted);
    first.hear_tickets();
    for _ in 0..times {
        let mut pair = Pair::new(&world, tls12, forgetful);
        pair.shake_hands(counted);
        pair.hear_tickets();
        let kind = pair.client.handshake_kind().expect("it is done");
        assert_eq!(kind == rustls::HandshakeKind::Resumed, !forgetful, "{kind:?}");
    }
}

fn established() -> Pair {
    let world = World::new(&PKCS_ECDSA_P256_SHA256);
    let mut pair = Pair::new(&world, false, true);
    pair.shake_hands(uncounted);
    pair
}

fn to_peer(times: u32, length: usize) {
    let mut pair = established();
    let message = vec![0x5a; length];
    for turn in 0..WARM + times {
        pair.component_says(&message);
        pair.relay(if turn < WARM { uncounted } else { counted });
        assert_eq!(pair.client_reads(), message);
    }
}

fn to_component(times: u32, length: usize) {
    let mut pair = established();
    let message = vec![0x5a; length];
    for turn in 0..WARM + times {
        pair.client.writer().write_all(&message).expect("a buffer without a limit");
        pair.client_speaks();
        pair.relay(if turn < WARM { uncounted } else { counted });
        let heard = std::mem::take(&mut pair.kernel.socket(Side::Upstream).outbound);
        assert_eq!(heard, message);
    }
}

fn both_ways(times: u32) {
    let mut talk = Talk::begin(false);
    for turn in 0..WARM + times {
        let watched = if turn < WARM { uncounted } else { counted };
        talk.both_ways(&[0x5a; 100], watched);
    }
}

/// A connection of a shard, and both ends of it.
pub(crate) struct Talk {
    client: ClientConnection,
    shard: Loop,
}

impl Talk {
    /// Shakes hands.
    pub(crate) fn begin(tls12: bool) -> Self {
        let world = World::new(&PKCS_ECDSA_P256_SHA256);
        let client = world.client(tls12, false, true);
        let shard = Loop::new(Arc::clone(world.policy()), MEMORY);
        let mut talk = Self { client, shard };
        talk.client.set_buffer_limit(None);
        while talk.client.is_handshaking() || talk.client.wants_write() {
            talk.speak();
            talk.shard.turn();
            talk.hear();
        }
        talk
    }

    /// From the peer to the component, and back: only the shard's turns are `watched`.
    pub(crate) fn both_ways(&mut self, message: &[u8], mut watched: impl FnMut(&mut dyn FnMut())) {
        self.client.writer().write_all(message).expect("a buffer without a limit");
        self.speak();
        let mut heard = Vec::new();
        while heard.len() < message.len() {
            watched(&mut || self.shard.turn());
            heard.extend(self.shard.hears(Side::Upstream));
        }
        assert_eq!(heard, message);
        self.shard.says(Side::Upstream, message);
        heard.clear();
        while heard.len() < message.len() {
            watched(&mut || self.shard.turn());
            heard.extend(self.hear());
        }
        assert_eq!(heard, message);
    }

    fn speak(&mut self) {
        let mut inbound = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut inbound).expect("a Vec takes everything");
        }
        self.shard.says(Side::Downstream, &inbound);
    }

    /// What the client has heard.
    fn hear(&mut self) -> Vec<u8> {
        read(&mut self.client, &self.shard.hears(Side::Downstream))
    }
}

/// Gives it records; returns what was in them.
fn read(client: &mut ClientConnection, mut unread: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !unread.is_empty() {
        client.read_tls(&mut unread).expect("a slice");
        let state = client.process_new_packets().expect("a server that speaks TLS");
        let start = heard.len();
        heard.resize(start + state.plaintext_bytes_to_read(), 0);
        client.reader().read_exact(&mut heard[start..]).expect("as announced");
    }
    heard
}

fn lookups(times: u32) {
    let mut rng = Rng::new(1);
    let specs = rules::specs(RULES, &mut rng);
    let table = RuleTable::compile(&specs).expect("no two rules are the same");
    for connection in rules::connections(&specs, times as usize, &mut rng) {
        let facts = connection.facts();
        counted(&mut || {
            black_box(table.lookup(black_box(&facts)));
        });
    }
}

/// More than anything here holds.
const MEMORY: usize = 64 << 20;
/// Until buffers have the size that they stay at.
const WARM: u32 = 8;
const RULES: usize = 10_000;
