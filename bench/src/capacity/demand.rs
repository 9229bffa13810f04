//! What is to be served: flows of connections, and what is to hold.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Problem;
use super::number::{Checks, float};
use super::profile::{Known, Profile, profiles};

/// Most flows, and most events.
const MAX_PARTS: usize = 256;
/// Longest that an event may take, in seconds.
const MAX_SECONDS: f64 = 3_600.0;

/// A version that can be planned with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// The key of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Key {
    /// ECDSA on P-256.
    P256,
    /// RSA with 2,048 bits.
    Rsa2048,
}

/// The key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// X25519.
    X25519,
    /// X25519MLKEM768, only with TLS 1.3.
    X25519Mlkem768,
}

/// How a flow does TLS.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The version.
    pub version: Version,
    /// The server's key.
    pub key: Key,
    /// The key exchange.
    pub group: Group,
    /// Whether peers show a certificate.
    pub mutual: bool,
    /// Part of the handshakes that resume a session, 0 to 1.
    pub resumed: f64,
}

/// Connections that do the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flow {
    /// Its name, unique in a demand.
    pub name: String,
    /// How it does TLS.
    pub tls: Tls,
    /// Connections at a time.
    pub connections: f64,
    /// New connections per second.
    pub rate: f64,
    /// Messages per second and connection, from the component and from the peer.
    pub messages: [f64; 2],
    /// Bytes of a message, in these directions.
    pub sizes: [f64; 2],
    /// Bytes at the beginning of a connection, in these directions.
    pub start: [f64; 2],
    /// Seconds within which all come back that have lost their connections.
    pub spread: f64,
    /// Seconds until one that was refused tries again.
    pub retry: f64,
}

/// Nodes that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Workers of a node, each with a core.
    pub workers: usize,
    /// Memory of a node in GiB.
    pub memory_gib: f64,
    /// Most nodes that may be planned.
    #[serde(default = "sixty_four")]
    pub max_nodes: usize,
    /// Sites over which nodes are spread evenly.
    #[serde(default = "one")]
    pub sites: usize,
    /// Seconds that a ClientHello may wait before it is refused.
    #[serde(default = "one_second")]
    pub admission_wait: f64,
}

fn sixty_four() -> usize {
    64
}

fn one() -> usize {
    1
}

fn one_second() -> f64 {
    1.0
}

/// What is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// Milliseconds that 99 of 100 messages may be in the gateway.
    pub p99_ms: Option<f64>,
    /// The same while those of an event come back, and handshakes take all that messages leave.
    pub storm_p99_ms: Option<f64>,
    /// Part of the CPU that is to stay free, 0 to 1.
    #[serde(default)]
    pub headroom: f64,
    /// Nodes that may be lost while the objectives hold, and events come.
    #[serde(default)]
    pub spare_nodes: usize,
    /// Seconds until those of a lost node are connected again.
    pub reconnect: Option<f64>,
    /// Part of the models, drawn by their errors, in which all of this is to hold; 0.5 to 0.99.
    #[serde(default = "nine_in_ten")]
    pub confidence: f64,
}

fn nine_in_ten() -> f64 {
    0.9
}

/// What an event takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lost {
    /// A component behind the gateway: all of its connections end, all nodes stay.
    #[default]
    Component,
    /// One node.
    Node,
    /// One site with all its nodes.
    Site,
}

/// Many lose their connections at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// The flows that come back; all when empty.
    #[serde(default)]
    pub flows: Vec<String>,
    /// Part that can resume; as their flows when missing.
    pub resumed: Option<f64>,
    /// Seconds after which all are to be connected again.
    pub within: Option<f64>,
    /// What was lost.
    #[serde(default)]
    pub lost: Lost,
}

/// A demand, with what profiles say put in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Demand {
    /// What arrivals are drawn with where the demand is carried out.
    pub seed: u64,
    /// The nodes.
    pub node: Node,
    /// What is to hold.
    pub objectives: Objectives,
    /// Who connects.
    pub flows: Vec<Flow>,
    /// What is to be survived.
    pub events: Vec<Event>,
}

impl Demand {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense; with its name, and what to change.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        super::read(path, Self::parse)
    }

    /// Reads and checks a file's text.
    ///
    /// # Errors
    /// Keys, types and values that are not allowed, with what is.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let file: File = super::parse(text)?;
        let mut checks = Checks::default();
        let flows = file.flow.iter().enumerate().filter_map(|(number, part)| {
            let place = format!("flow {} ({})", number + 1, part.name);
            part.flow(file.tls, &place, &mut checks)
        });
        let flows = flows.collect();
        let File { seed, node, objectives, event: events, .. } = file;
        let demand = Self { seed, node, objectives, flows, events };
        demand.check(file.flow.len(), &mut checks);
        Problem::unless_empty(checks.0)?;
        Ok(demand)
    }

    /// The same with `factor` times the connections of every flow.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let mut scaled = self.clone();
        for flow in &mut scaled.flows {
            flow.connections *= factor;
            flow.rate *= factor;
        }
        scaled
    }

    /// Connections at a time.
    pub fn connections(&self) -> f64 {
        self.flows.iter().map(|flow| flow.connections).sum()
    }

    fn check(&self, flows: usize, checks: &mut Checks) {
        let Node { workers, memory_gib, max_nodes, sites, admission_wait } = self.node;
        checks.range("node.workers", float(workers), 1.0, 1024.0);
        checks.positive("node.memory_gib", memory_gib, 1e6);
        checks.range("node.max_nodes", float(max_nodes), 1.0, 1024.0);
        checks.range("node.sites", float(sites), 1.0, 64.0);
        checks.positive("node.admission_wait", admission_wait, 60.0);
        let objectives = &self.objectives;
        checks.range("objectives.headroom", objectives.headroom, 0.0, 0.95);
        checks.range("objectives.spare_nodes", float(objectives.spare_nodes), 0.0, 64.0);
        checks.range("objectives.confidence", objectives.confidence, 0.5, 0.99);
        let times = [("p99_ms", objectives.p99_ms), ("storm_p99_ms", objectives.storm_p99_ms)];
        for (key, time) in times {
            if let Some(time) = time {
                checks.positive(&format!("objectives.{key}"), time, 60_000.0);
            }
        }
        if let Some(reconnect) = objectives.reconnect {
            checks.positive("objectives.reconnect", reconnect, MAX_SECONDS);
        }
        let parts = [("flow", flows, 1), ("event", self.events.len(), 0)];
        for (key, count, least) in parts {
            if !(least..=MAX_PARTS).contains(&count) {
                checks.0.push(format!(
                    "{count} times [[{key}]] is not allowed: {least} to {MAX_PARTS}"
                ));
            }
        }
        let mut names = BTreeSet::new();
        for flow in self.flows.iter().filter(|flow| !names.insert(flow.name.as_str())) {
            checks.0.push(format!("two flows have the name {}: give each its own", flow.name));
        }
        for event in &self.events {
            self.check_event(event, checks);
        }
    }

    fn check_event(&self, event: &Event, checks: &mut Checks) {
        let place = format!("event {}", event.name);
        if let Some(resumed) = event.resumed {
            checks.range(&format!("{place}: resumed"), resumed, 0.0, 1.0);
        }
        if let Some(within) = event.within {
            checks.positive(&format!("{place}: within"), within, MAX_SECONDS);
        }
        let known: Vec<&str> = self.flows.iter().map(|flow| flow.name.as_str()).collect();
        for name in event.flows.iter().filter(|name| !known.contains(&name.as_str())) {
            checks.0.push(format!("{place}: there is no flow {name}: {}", known.join(", ")));
        }
        if event.lost == Lost::Site && self.node.sites < 2 {
            checks.0.push(format!("{place}: lost = \"site\" needs node.sites of at least 2"));
        }
    }
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "format")]
    _format: u32,
    #[serde(default)]
    seed: u64,
    tls: Tls,
    node: Node,
    objectives: Objectives,
    #[serde(default)]
    flow: Vec<FlowPart>,
    #[serde(default)]
    event: Vec<Event>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowPart {
    name: String,
    profile: Option<String>,
    count: f64,
    rate: Option<f64>,
    lifetime: Option<f64>,
    messages_down: Option<f64>,
    messages_up: Option<f64>,
    size_down: Option<f64>,
    size_up: Option<f64>,
    start_down: Option<f64>,
    start_up: Option<f64>,
    spread: Option<f64>,
    retry: Option<f64>,
    version: Option<Version>,
    key: Option<Key>,
    group: Option<Group>,
    mutual: Option<bool>,
    resumed: Option<f64>,
}

impl FlowPart {
    /// With what its profile says; none when something is missing.
    fn flow(&self, tls: Tls, place: &str, checks: &mut Checks) -> Option<Flow> {
        let profile = match &self.profile {
            None => None,
            Some(wanted) => {
                let found = profiles().iter().find(|profile| profile.name == *wanted);
                if found.is_none() {
                    checks
                        .0
                        .push(format!("{place}: profile = \"{wanted}\" is not known: P1 to P13"));
                    return None;
                }
                found
            }
        };
        let tls = self.tls(tls, place, checks);
        let of = |own: Option<f64>, known: fn(&Profile) -> Known, otherwise: f64| {
            own.or(profile.map(|profile| known(profile).0)).unwrap_or(otherwise)
        };
        let connections = self.count * profile.map_or(1.0, |profile| profile.per_unit.0);
        let lifetime = self.lifetime.or(profile.map(|profile| profile.lifetime.0));
        let Some(rate) = self.rate.or(lifetime.map(|lifetime| connections / lifetime)) else {
            checks.0.push(format!("{place}: say profile, rate (connections a second) or lifetime"));
            return None;
        };
        let flow = Flow {
            name: self.name.clone(),
            tls,
            connections,
            rate,
            messages: [
                of(self.messages_down, |profile| profile.messages_down, 0.0),
                of(self.messages_up, |profile| profile.messages_up, 0.0),
            ],
            sizes: [
                of(self.size_down, |profile| profile.size_down, 100.0),
                of(self.size_up, |profile| profile.size_up, 100.0),
            ],
            start: [
                of(self.start_down, |profile| profile.start_down, 0.0),
                of(self.start_up, |profile| profile.start_up, 0.0),
            ],
            spread: of(self.spread, |profile| profile.spread, 1.0),
            retry: of(self.retry, |profile| profile.retry, 10.0),
        };
        self.check(&flow, place, checks);
        Some(flow)
    }

    fn tls(&self, common: Tls, place: &str, checks: &mut Checks) -> Tls {
        let tls = Tls {
            version: self.version.unwrap_or(common.version),
            key: self.key.unwrap_or(common.key),
            group: self.group.unwrap_or(common.group),
            mutual: self.mutual.unwrap_or(common.mutual),
            resumed: self.resumed.unwrap_or(common.resumed),
        };
        checks.range(&format!("{place}: resumed"), tls.resumed, 0.0, 1.0);
        if tls.version == Version::V12 && tls.group == Group::X25519Mlkem768 {
            checks.0.push(format!("{place}: group = \"x25519mlkem768\" needs version = \"1.3\""));
        }
        tls
    }

    fn check(&self, flow: &Flow, place: &str, checks: &mut Checks) {
        let mut range = |key: &str, value, low, high| {
            checks.range(&format!("{place}: {key}"), value, low, high);
        };
        range("count", self.count, 1.0, 1e8);
        range("rate", flow.rate, 0.0, 1e7);
        for (at, direction) in ["down", "up"].into_iter().enumerate() {
            range(&format!("messages_{direction}"), flow.messages[at], 0.0, 1e7);
            range(&format!("size_{direction}"), flow.sizes[at], 1.0, 1e10);
            range(&format!("start_{direction}"), flow.start[at], 0.0, 1e12);
        }
        range("spread", flow.spread, 0.0, MAX_SECONDS);
        range("retry", flow.retry, 0.001, MAX_SECONDS);
        if let Some(lifetime) = self.lifetime {
            range("lifetime", lifetime, 0.001, 1e9);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::Basis;
    use super::super::test_data::{DEMAND, demand};
    use super::*;

    #[test]
    fn profiles_are_all_there_and_say_what_they_stand_on() {
        let names: Vec<String> = (1..=13).map(|number| format!("P{number}")).collect();
        assert_eq!(
            profiles().iter().map(|profile| &profile.name).collect::<Vec<_>>(),
            names.iter().collect::<Vec<_>>()
        );
        for profile in profiles() {
            let text = format!("name='a'\nprofile='{}'\ncount=10", profile.name);
            let part: FlowPart = toml::from_str(&text).expect("a flow");
            let mut checks = Checks::default();
            let flow = part.flow(demand().flows[0].tls, "it", &mut checks).expect("complete");
            assert!(checks.0.is_empty(), "{:?}", checks.0);
            assert!((flow.rate - flow.connections / profile.lifetime.0).abs() < 1e-12);
        }
        assert!(profiles().iter().any(|profile| profile.messages_down.1 == Basis::Sourced));
    }

    #[test]
    fn the_example_is_read() {
        let demand = demand();
        let flow = |name: &str| demand.flows.iter().find(|flow| flow.name == name).expect(name);
        assert!((flow("interactions").connections - 30_000.0).abs() < 1e-9);
        assert!((flow("monitoring").rate - 20.0).abs() < 1e-9);
        assert!((demand.connections() - 60_290.0).abs() < 1e-9, "{}", demand.connections());
        let twice = demand.scaled(2.0);
        assert!((twice.connections() - 2.0 * 60_290.0).abs() < 1e-9);
        assert!((twice.flows[0].messages[0] - demand.flows[0].messages[0]).abs() < 1e-12);
    }

    #[test]
    fn mistakes_say_where_what_and_what_instead() {
        let said = |from: &str, to: &str| {
            assert!(DEMAND.contains(from), "{from}");
            Demand::parse(&DEMAND.replacen(from, to, 1)).expect_err(to).to_string()
        };
        for (from, to, expected) in [
            ("\"P1\"", "\"P99\"", "flow 1 (agents): profile = \"P99\" is not known: P1 to P13"),
            ("resumed = 0.9", "resumed = 1.9", "resumed = 1.9 is not allowed: 0 to 1"),
            ("headroom = 0.3", "headroom = 1", "objectives.headroom = 1 is not allowed: 0 to 0.95"),
            ("count = 10000", "count = 0", "flow 1 (agents): count = 0 is not allowed: 1 to"),
            ("rate = 20", "# none", "flow 8 (monitoring): say profile, rate"),
            ("[\"agents\", ", "[\"nobody\", ", "there is no flow nobody: agents, statistics"),
            ("within = 10", "within = 10\nlost = \"site\"", "needs node.sites of at least 2"),
            ("name = \"statistics\"", "name = \"agents\"", "two flows have the name agents"),
            ("workers = 4", "workers = 0", "node.workers = 0 is not allowed: 1 to 1024"),
            ("storm_p99_ms = 10", "storm_p99_ms = -1", "objectives.storm_p99_ms = -1 is not"),
            ("\np99_ms = 1 ", "\np99_ms = 0 ", "objectives.p99_ms = 0 is not allowed: above 0 to"),
            ("\"x25519\" ", "\"x448\" ", "x25519mlkem768"),
            ("version = \"1.3\"", "version = \"1.1\"", "`1.2`"),
            ("\np99_ms", "\np98_ms", "storm_p99_ms"),
            ("format = 1", "format = 7", "format = 7: this program knows 1"),
        ] {
            let text = said(from, to);
            assert!(text.contains(expected), "{to}: {text}");
        }
        let text = said(
            "version = \"1.3\"     # 1.2 or 1.3\nkey = \"p256\"        # p256 or rsa2048\ngroup = \"x25519\" ",
            "version='1.2'\nkey='p256'\ngroup='x25519mlkem768' ",
        );
        assert!(text.contains("needs version = \"1.3\""), "{text}");
    }
}
