//! What a node spends: CPU time of each operation, memory, and what workers lose to each other.
//!
//! CPU times are parts that add up: a full handshake with an RSA key and a client certificate costs
//! `full_tls13` + `rsa2048` + `mutual_full`. So few figures cover all combinations, and a fit can
//! find them from mixes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::number::{Checks, float};
use super::{FORMAT, Problem};

/// Longest CPU time of one operation, in µs, that is taken for one.
const MAX_MICROS: f64 = 1e6;
/// Most memory of a connection or a node, in bytes.
const MAX_BYTES: f64 = 1e13;
/// Bytes that fit one record (RFC 8446 section 5.1).
pub const RECORD_BYTES: f64 = 16_384.0;

/// A figure with its standard error, both in the unit of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The best estimate.
    pub value: f64,
    /// One standard deviation of it.
    pub error: f64,
    /// Nobody measured it: a guess, or taken from elsewhere.
    #[serde(default, skip_serializing_if = "is_false")]
    pub assumed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A part of what operations cost in CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// A connection with a full TLS 1.2 handshake, P-256 certificate, X25519 or P-256: accept,
    /// handshake, dial, close.
    FullTls12,
    /// The same with TLS 1.3.
    FullTls13,
    /// A connection with a resumed TLS 1.2 handshake.
    ResumedTls12,
    /// The same with TLS 1.3 (psk_dhe_ke).
    ResumedTls13,
    /// What an RSA key of 2,048 bits adds to a full handshake.
    Rsa2048,
    /// What a client certificate adds to a full handshake.
    MutualFull,
    /// What a client certificate of the session adds to a resumed handshake.
    MutualResumed,
    /// What X25519MLKEM768 adds to a handshake.
    Mlkem768,
    /// A message in one direction, its record and system calls included.
    Message,
    /// Each record beyond a message's first, and each record of bulk.
    Record,
    /// A byte from component to peer.
    ByteDown,
    /// A byte from peer to component.
    ByteUp,
}

impl Cost {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 12] = [
        Self::FullTls12,
        Self::FullTls13,
        Self::ResumedTls12,
        Self::ResumedTls13,
        Self::Rsa2048,
        Self::MutualFull,
        Self::MutualResumed,
        Self::Mlkem768,
        Self::Message,
        Self::Record,
        Self::ByteDown,
        Self::ByteUp,
    ];

    /// The key in the file.
    pub fn key(self) -> &'static str {
        match self {
            Self::FullTls12 => "full_tls12",
            Self::FullTls13 => "full_tls13",
            Self::ResumedTls12 => "resumed_tls12",
            Self::ResumedTls13 => "resumed_tls13",
            Self::Rsa2048 => "rsa2048",
            Self::MutualFull => "mutual_full",
            Self::MutualResumed => "mutual_resumed",
            Self::Mlkem768 => "mlkem768",
            Self::Message => "message",
            Self::Record => "record",
            Self::ByteDown => "byte_down",
            Self::ByteUp => "byte_up",
        }
    }
}

/// Where the figures are from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Day, as 2026-11-22.
    pub date: String,
    /// The CPU's name and the number of CPUs.
    pub machine: String,
    /// Its kernel.
    pub kernel: String,
    /// Which server, and its version.
    pub server: String,
    /// Signatures per second of the speed probe while it was measured; 0 when not known.
    #[serde(default)]
    pub speed: f64,
    /// Part by which the CPU's speed differs from time to time, which all CPU times share.
    #[serde(default)]
    pub speed_spread: f64,
}

/// What workers lose to each other, after the universal scalability law (Gunther, 1993): N workers
/// do the work of N / (1 + serial·(N−1) + coherence·N·(N−1)) that are alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contention {
    /// The part that only one can do at a time.
    pub serial: Figure,
    /// The part that each pair costs.
    pub coherence: Figure,
}

impl Contention {
    /// By how much an operation takes longer with `workers`, at least 1.
    pub fn slowdown(&self, workers: usize) -> f64 {
        let others = float(workers.saturating_sub(1));
        1.0 + others * (self.serial.value + self.coherence.value * float(workers))
    }
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Of an idle connection: the process's, and the kernel's for both sockets where it is known.
    pub connection: Figure,
    /// Of a process without connections.
    pub node: Figure,
}

/// Who is next when a worker is busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discipline {
    /// Messages before handshakes, without interrupting what has begun: this gateway.
    #[default]
    MessagesFirst,
    /// Whoever came first.
    Fifo,
}

/// What waiting depends on besides the costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Who is next.
    pub discipline: Discipline,
    /// Variance over squared mean of the CPU time of operations of one kind; 0 when all take the
    /// same, 1 as of an exponential distribution.
    pub variability: Figure,
    /// What the long waits are beside those of the queue.
    #[serde(default)]
    pub tail: Tail,
}

/// How many times as long as by the queue it is that 99 of 100 wait no longer than: measured, since a
/// worker is not quite a queue, nor are operations of one piece.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Of messages.
    pub message: Figure,
    /// Of handshakes.
    pub handshake: Figure,
}

impl Default for Tail {
    fn default() -> Self {
        let as_the_queue = Figure { value: 1.0, error: 0.2, assumed: true };
        Self { message: as_the_queue, handshake: as_the_queue }
    }
}

/// A node, as a file holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeModel {
    /// [`FORMAT`].
    pub format: u32,
    /// Where the figures are from.
    pub origin: Origin,
    /// What workers lose to each other.
    #[serde(default)]
    pub contention: Contention,
    /// Memory.
    pub memory: Memory,
    /// What waiting depends on.
    #[serde(default)]
    pub queue: Queue,
    /// CPU time in µs of one worker that is alone. Those that are missing cannot be planned with.
    pub cpu_us: BTreeMap<Cost, Figure>,
}

impl NodeModel {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read or is not a model; with its name.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        super::read(path, Self::parse)
    }

    /// Reads and checks a file's text.
    ///
    /// # Errors
    /// Keys, types and values that are not allowed, with what is.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let model: Self = super::parse(text)?;
        model.check()?;
        Ok(model)
    }

    /// The file's text, which [`Self::parse`] reads.
    ///
    /// # Errors
    /// When a value is not allowed, so that it cannot be read again.
    pub fn to_text(&self) -> Result<String, Problem> {
        self.check()?;
        toml::to_string(self).map_err(|error| Problem::new(error.to_string()))
    }

    /// The figure of a cost.
    ///
    /// # Errors
    /// When it is missing: what to do.
    pub fn cost(&self, cost: Cost) -> Result<f64, Problem> {
        // Nobody measures records apart who has measured bulk in records of one size.
        let missing = if cost == Cost::Record { Some(0.0) } else { None };
        self.cpu_us.get(&cost).map(|figure| figure.value).or(missing).ok_or_else(|| {
            let key = cost.key();
            Problem::new(format!(
                "the model has no cpu_us.{key}: measure it, or write {key} = {{ value = .., error \
                 = .., assumed = true }}"
            ))
        })
    }

    /// Every figure that is a guess, by its key.
    pub fn assumed(&self) -> Vec<String> {
        let named = self.figures().into_iter().filter(|(_, figure)| figure.assumed);
        named.map(|(key, _)| key).collect()
    }

    fn figures(&self) -> Vec<(String, Figure)> {
        let others = [
            ("contention.serial", self.contention.serial),
            ("contention.coherence", self.contention.coherence),
            ("memory.connection", self.memory.connection),
            ("memory.node", self.memory.node),
            ("queue.variability", self.queue.variability),
            ("queue.tail.message", self.queue.tail.message),
            ("queue.tail.handshake", self.queue.tail.handshake),
        ];
        let costs = self.cpu_us.iter();
        let costs = costs.map(|(cost, figure)| (format!("cpu_us.{}", cost.key()), *figure));
        others.into_iter().map(|(key, figure)| (key.to_owned(), figure)).chain(costs).collect()
    }

    fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        if self.format != FORMAT {
            checks.0.push(format!("format = {} is not allowed: {FORMAT}", self.format));
        }
        checks.range("origin.speed", self.origin.speed, 0.0, 1e9);
        checks.range("origin.speed_spread", self.origin.speed_spread, 0.0, 1.0);
        for (key, figure) in self.figures() {
            let high = match key.split_once('.') {
                Some(("contention", _)) => 1.0,
                Some(("memory", _)) => MAX_BYTES,
                Some(("queue", _)) => 100.0,
                _ => MAX_MICROS,
            };
            checks.range(&format!("{key}.value"), figure.value, 0.0, high);
            checks.range(&format!("{key}.error"), figure.error, 0.0, high);
        }
        Problem::unless_empty(checks.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{MODEL, model};
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let model = model();
        let text = model.to_text().expect("good values");
        assert_eq!(NodeModel::parse(&text).expect("its own text"), model);
        assert!(Cost::ALL.iter().all(|cost| model.cpu_us.contains_key(cost)), "{text}");
        for cost in Cost::ALL {
            assert!(text.contains(&format!("[cpu_us.{}]", cost.key())), "{text}");
        }
    }

    #[test]
    fn mistakes_name_key_value_and_what_is_allowed() {
        let said = |from: &str, to: &str| {
            assert!(MODEL.contains(from), "{from}");
            NodeModel::parse(&MODEL.replacen(from, to, 1)).expect_err(to).to_string()
        };
        let text = said("format = 1", "format = 2");
        assert_eq!(text, "format = 2: this program knows 1");
        assert_eq!(said("format = 1\n", ""), "format is missing: say format = 1");
        let text = said("full_tls13 = { value = 204", "full_tls13 = { value = -204");
        assert_eq!(text, "cpu_us.full_tls13.value = -204 is not allowed: 0 to 1000000");
        let text = said("full_tls13 =", "full_tls14 =");
        assert!(text.contains("line ") && text.contains("full_tls14"), "{text}");
        assert!(text.contains("full_tls13"), "what is allowed: {text}");
        let text = said("serial = { value = 0.02", "serial = { value = nan");
        assert!(text.contains("contention.serial.value = NaN is not allowed: 0 to 1"), "{text}");
        let mut model = model();
        model.cpu_us.remove(&Cost::Rsa2048);
        let text = model.cost(Cost::Rsa2048).expect_err("gone").to_string();
        assert!(text.contains("no cpu_us.rsa2048"), "{text}");
        model.cpu_us.remove(&Cost::Record);
        assert_eq!(model.cost(Cost::Record), Ok(0.0));
        let text = NodeModel::load(Path::new("/nowhere/model.toml")).expect_err("no file");
        assert!(text.to_string().starts_with("/nowhere/model.toml: "), "{text}");
    }

    #[test]
    fn contention_is_the_universal_scalability_law() {
        let mut contention = Contention::default();
        assert!((contention.slowdown(64) - 1.0).abs() < 1e-12);
        contention.serial.value = 0.05;
        contention.coherence.value = 0.001;
        assert!((contention.slowdown(1) - 1.0).abs() < 1e-12);
        assert!((contention.slowdown(8) - (1.0 + 0.35 + 0.056)).abs() < 1e-12);
    }
}
