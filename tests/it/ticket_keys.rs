//! Tickets are good on every node that has the same secret, over epochs, restarts and a roll.
//!
//! Nodes whose clocks differ: libfaketime moves what the gateway reads as the time of day; the
//! monotonic clock, by which its engine and its deadlines go, stays as it is.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::{ClientSessionStore, Resumption};
use rustls::{ClientConfig, HandshakeKind};
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::ca::NAME;
use crate::support::client::{Version, config, connect};
use crate::support::gateway::{Gateway, Setup};
use crate::support::offers::Offers;
use crate::support::process::{gateway_program, run, run_with_input};
use crate::support::{Engine, SOON, engines, has_tool, sized};

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
const BODY: &str = "the component's answer";
/// By which the clocks of the nodes are ahead, in seconds: two of them differ by ten.
const SHIFTS: [i64; 3] = [0, 5, -5];
/// Of tickets and epochs, in seconds: ten for the clocks, four for a ticket to be offered, and
/// two for clocks that are read in whole seconds.
const LIFETIME: u64 = 16;
/// How long after its full handshake a session is given up: renewals do not make it younger.
const GIVEN_UP: u64 = 1_000;
/// How long a ticket is kept now and then before it is offered.
const KEPT: Duration = Duration::from_millis(2_500);
const EPOCHS: [&str; 3] = ["previous", "current", "next"];
const ACCEPTED: &str = "tlsgate_tickets_accepted_total";
const REJECTED: &str = "tlsgate_tickets_rejected_total";

/// A gateway, the file with its secrets, and by how much its clock is ahead.
struct Node {
    gateway: Gateway,
    secrets: PathBuf,
    shift: i64,
    /// What it counted before it was restarted.
    before: Counts,
}

/// Tickets, as a gateway counts them.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// In the order of [`EPOCHS`].
    accepted: [u64; 3],
    rejected: u64,
}

impl Counts {
    fn of(gateway: &Gateway) -> Self {
        let metrics = gateway.metrics();
        Self {
            accepted: EPOCHS.map(|epoch| metrics.count(ACCEPTED, &[("epoch", epoch)])),
            rejected: metrics.count(REJECTED, &[]),
        }
    }

    fn plus(self, other: Self) -> Self {
        let mut accepted = self.accepted;
        accepted.iter_mut().zip(other.accepted).for_each(|(sum, more)| *sum += more);
        Self { accepted, rejected: self.rejected + other.rejected }
    }
}

impl Node {
    fn restart(&mut self) {
        self.before = self.before.plus(Counts::of(&self.gateway));
        self.gateway.stop_and_start();
    }

    fn counts(&self) -> Counts {
        self.before.plus(Counts::of(&self.gateway))
    }

    /// Gives it other secrets, by a reload or a restart.
    fn roll(&mut self, secrets: &[&str], reloads: bool) {
        write_secrets(&self.secrets, secrets);
        if reloads {
            assert!(self.gateway.reload(), "{}", self.gateway.stderr());
        } else {
            self.restart();
        }
    }
}

fn write_secrets(file: &Path, secrets: &[&str]) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(file);
    let text = format!("# one on each line\n{}\n", secrets.join("\n"));
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("a writable directory");
}

/// What `tlsgate secret` prints.
fn fresh_secret() -> String {
    let ended = run(Command::new(gateway_program()).arg("secret"), SOON);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    ended.stdout.trim().to_owned()
}

/// A client that offers the ticket of its last connection in the next one, wherever that goes.
struct Client {
    engine: Engine,
    version: Version,
    config: Arc<ClientConfig>,
    offers: Arc<Offers>,
    /// Which node made the ticket it has, and when.
    ticket: Option<(usize, Moment)>,
    /// When its full handshake was, in milliseconds since 1970.
    born: u64,
    turns: usize,
    offered: u64,
    resumed: u64,
    /// Resumptions by the epoch that their key must have had for the node; see [`EPOCHS`].
    expected: [u64; 3],
    /// Those that were so close to the turn of an epoch that the client cannot tell.
    unclear: u64,
}

/// From before a connection to after it, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Moment(u64, u64);

impl Moment {
    /// The epoch by a clock that is ahead by `shift` seconds, if it is one.
    fn epoch(self, shift: i64) -> Option<u64> {
        let epoch = |ms: u64| ms.checked_add_signed(shift * 1_000).map(|ms| ms / 1_000 / LIFETIME);
        epoch(self.0).filter(|start| Some(*start) == epoch(self.1))
    }
}

impl Client {
    fn new(engine: Engine, version: Version) -> Self {
        let offers = Arc::new(Offers::new());
        let mut config = (*config(version)).clone();
        config.resumption = Resumption::store(Arc::clone(&offers) as Arc<dyn ClientSessionStore>);
        Self {
            engine,
            version,
            config: Arc::new(config),
            offers,
            ticket: None,
            born: 0,
            turns: 0,
            offered: 0,
            resumed: 0,
            expected: [0; 3],
            unclear: 0,
        }
    }

    /// One connection with a request; returns whether a ticket was taken. The new ticket comes
    /// before the answer.
    fn visit(&mut self, nodes: &[Node], target: usize) -> bool {
        let address = nodes[target].gateway.address();
        let before = self.offers.count();
        let start = unix_ms();
        let mut stream = connect(address, &self.config);
        let now = Moment(start, unix_ms());
        let is_resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        let offered = self.offers.count() - before;
        assert!(offered <= 1 && (offered == 1 || !is_resumed), "{:?}", self.version);
        self.offered += offered;
        if is_resumed {
            self.resumed += 1;
            let (maker, made) = self.ticket.expect("a ticket was offered");
            match (made.epoch(nodes[maker].shift), now.epoch(nodes[target].shift)) {
                (Some(made), Some(read)) if made + 1 == read => self.expected[0] += 1,
                (Some(made), Some(read)) if made == read => self.expected[1] += 1,
                (Some(made), Some(read)) if made == read + 1 => self.expected[2] += 1,
                (Some(made), Some(read)) => panic!("made in epoch {made}, taken in {read}"),
                _ => self.unclear += 1,
            }
        } else {
            self.born = start;
        }
        let mut answer = Vec::new();
        stream.write_all(REQUEST).expect("sent");
        stream.read_to_end(&mut answer).expect("an answer, and close_notify");
        assert!(String::from_utf8_lossy(&answer).ends_with(BODY));
        self.ticket = Some((target, now));
        is_resumed
    }

    /// A full handshake with the node it was at.
    fn begin_anew(&mut self, nodes: &[Node]) {
        self.offers.forget();
        let last = self.ticket.map_or(0, |(node, _)| node);
        assert!(!self.visit(nodes, last), "nothing was offered");
    }

    /// From node to node, until then.
    fn travel(&mut self, nodes: &[Node], until_ms: u64) {
        while unix_ms() < until_ms {
            if unix_ms() > self.born + GIVEN_UP {
                self.offers.forget();
            }
            self.visit(nodes, self.turns % nodes.len());
            self.turns += 1;
            let is_kept = self.turns.is_multiple_of(25);
            std::thread::sleep(if is_kept { KEPT } else { Duration::from_millis(20) });
        }
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("milliseconds fit for a while")
}

/// The library that moves the clock. The program beside it would stand between us and the
/// gateway's signals, so it only says which one it is.
pub(crate) fn clock_library() -> Option<String> {
    if !has_tool("faketime") {
        return None;
    }
    let ended =
        run(Command::new("faketime").args(["-m", "-f", "+1s", "printenv", "LD_PRELOAD"]), SOON);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    Some(ended.stdout.trim().to_owned())
}

/// A node with its own certificate.
fn setup(engine: Engine, upstream: SocketAddr, secrets: &Path, lifetime: u64) -> Setup {
    Setup::new(engine, upstream)
        .resumption(&format!("lifetime = \"{lifetime}s\""))
        .resumption(&format!("ticket_secret = \"{}\"", secrets.display()))
}

fn start(setup: Setup, secrets: PathBuf, shift: i64) -> Node {
    let started = unix_ms();
    let gateway = setup.start();
    let shown = gateway.status()["started_unix_ms"].as_u64().expect("a number");
    let real = shown.checked_add_signed(-shift * 1_000).expect("after 1970");
    assert!((started..=unix_ms()).contains(&real), "its clock is not ahead by {shift} s");
    Node { gateway, secrets, shift, before: Counts::default() }
}

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn resumption_across_nodes() {
    let Some(library) = clock_library() else { return };
    let backend = Backend::http(BODY);
    let directory = TempDir::new().expect("a temporary directory");
    let file = directory.path().join("ticket.secret");
    write_secrets(&file, &[&fresh_secret()]);
    let groups = engines().into_iter().map(|engine| {
        let nodes = SHIFTS.map(|shift| {
            let setup = setup(engine, backend.address(), &file, LIFETIME)
                .environment("LD_PRELOAD", &library)
                .environment("FAKETIME", &format!("{shift:+}s"))
                .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            start(setup, file.clone(), shift)
        });
        let clients: Vec<Client> = (0..sized(3, 1))
            .flat_map(|_| Version::BOTH.map(|version| Client::new(engine, version)))
            .collect();
        (nodes, clients)
    });
    let mut groups: Vec<_> = groups.collect();
    let turns = sized(10, 3);
    let begin = unix_ms();
    let end = (begin / 1_000 / LIFETIME + turns) * LIFETIME * 1_000 + 1_000;
    travel(&mut groups, begin + (end - begin) / 2);
    for (nodes, clients) in &mut groups {
        clients.iter_mut().for_each(|client| client.begin_anew(nodes));
        clients.iter_mut().for_each(|client| _ = client.visit(nodes, 0));
        nodes[0].restart();
        for client in clients {
            assert!(client.visit(nodes, 0), "{:?} after a restart", client.version);
        }
    }
    travel(&mut groups, end);
    for (nodes, clients) in &groups {
        judge(nodes, clients);
        openssl_moves_on(nodes);
    }
}

type Group = ([Node; 3], Vec<Client>);

fn travel(groups: &mut [Group], until_ms: u64) {
    std::thread::scope(|scope| {
        for (nodes, clients) in groups {
            for client in clients {
                let nodes = &*nodes;
                scope.spawn(move || client.travel(nodes, until_ms));
            }
        }
    });
}

/// What the clients saw against what the gateways counted.
fn judge(nodes: &[Node], clients: &[Client]) {
    for client in clients {
        let Client { engine, version, offered, resumed, expected, unclear, .. } = client;
        println!(
            "{engine:?} {version:?}: {offered} offered, {resumed} resumed, by epoch {expected:?}, \
             {unclear} at a turn"
        );
        assert!(*offered >= 100, "{offered} offers say little");
        assert!(resumed * 100 >= offered * 99, "{resumed} of {offered} were taken");
    }
    let sum = |of: fn(&Client) -> u64| clients.iter().map(of).sum::<u64>();
    let counts = nodes.iter().map(Node::counts).fold(Counts::default(), Counts::plus);
    println!("gateways: {counts:?}");
    assert_eq!(counts.accepted.iter().sum::<u64>(), sum(|client| client.resumed));
    assert_eq!(counts.rejected, sum(|client| client.offered - client.resumed));
    let unclear = sum(|client| client.unclear);
    for (position, epoch) in EPOCHS.into_iter().enumerate() {
        let expected: u64 = clients.iter().map(|client| client.expected[position]).sum();
        let counted = counts.accepted[position];
        assert!(expected > 0, "no ticket was of the {epoch} epoch");
        assert!((expected..=expected + unclear).contains(&counted), "{epoch}: {counted}");
    }
}

/// Another implementation takes the tickets of one node to the others.
fn openssl_moves_on(nodes: &[Node]) {
    if !has_tool("openssl") {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    for version in Version::BOTH {
        let session = directory.path().join(version.name());
        let connect = |node: &Node, option: &str| {
            let flag = if version == Version::V12 { "-tls1_2" } else { "-tls1_3" };
            let ended = run_with_input(
                Command::new("openssl")
                    .args(["s_client", "-ign_eof", "-verify_return_error", flag])
                    .args(["-connect", &node.gateway.address().to_string()])
                    .args(["-servername", NAME, "-CAfile"])
                    .arg(node.gateway.ca_file())
                    .arg(option)
                    .arg(&session),
                REQUEST,
                SOON,
            );
            assert!(ended.stdout.contains(BODY), "{}\n{}", ended.stdout, ended.stderr);
            ended.stdout.contains("Reused, TLSv1.")
        };
        assert!(!connect(&nodes[0], "-sess_out"));
        for node in &nodes[1..] {
            assert!(connect(node, "-sess_in"), "{version:?} by {}", node.shift);
        }
    }
}

/// The steps of the document, on three nodes: the new secret second, then first, and after a
/// lifetime alone. One node reloads, the others restart.
#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn ticket_secret_is_rolled() {
    const LIFETIME: u64 = 6;
    let backend = Backend::http(BODY);
    for engine in engines() {
        let directory = TempDir::new().expect("a temporary directory");
        let [old, new] = [fresh_secret(), fresh_secret()];
        let mut nodes: Vec<Node> = (0..3)
            .map(|number| {
                let file = directory.path().join(number.to_string());
                write_secrets(&file, &[&old]);
                start(setup(engine, backend.address(), &file, LIFETIME), file, 0)
            })
            .collect();
        let mut clients: Vec<Client> = (0..4)
            .flat_map(|_| Version::BOTH.map(|version| Client::new(engine, version)))
            .collect();
        for (position, client) in clients.iter_mut().enumerate() {
            assert!(!client.visit(&nodes, position % 3), "nothing to resume yet");
        }
        for secrets in [&[old.as_str(), new.as_str()][..], &[&new, &old]] {
            for position in 0..3 {
                clients.iter_mut().for_each(|client| client.begin_anew(&nodes));
                nodes[position].roll(secrets, position == 1);
                resume_everywhere(&nodes, &mut clients, "a step");
            }
        }
        assert!(older(&nodes) > 0, "the old secret was needed until now");
        // As long as tickets of the old secret may be about.
        let end = unix_ms() + LIFETIME * 1_000;
        while unix_ms() < end {
            for client in &mut clients {
                if unix_ms() > client.born + GIVEN_UP {
                    client.begin_anew(&nodes);
                }
            }
            resume_everywhere(&nodes, &mut clients, "the old secret's last lifetime");
            std::thread::sleep(Duration::from_millis(500));
        }
        clients.iter_mut().for_each(|client| client.begin_anew(&nodes));
        let counted = older(&nodes);
        resume_everywhere(&nodes, &mut clients, "the old secret has nothing left to do");
        assert_eq!(older(&nodes), counted);
        for position in 0..3 {
            clients.iter_mut().for_each(|client| client.begin_anew(&nodes));
            nodes[position].roll(&[&new], position == 1);
            resume_everywhere(&nodes, &mut clients, "the old secret goes");
        }
        let (offered, resumed) = clients.iter().fold((0, 0), |(offered, resumed), client| {
            (offered + client.offered, resumed + client.resumed)
        });
        println!("{engine:?}: {resumed} of {offered} resumed");
        assert_eq!(resumed, offered);
    }
}

/// A client that comes back again and again shakes hands in full once per lifetime.
#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn renewals_do_not_make_sessions_younger() {
    const LIFETIME: u64 = 3;
    let backend = Backend::http(BODY);
    for engine in engines() {
        let nodes = ["tickets", "store"].map(|mode| {
            let setup = Setup::new(engine, backend.address())
                .tls(&format!("resumption = \"{mode}\""))
                .resumption(&format!("lifetime = \"{LIFETIME}s\""));
            start(setup, PathBuf::new(), 0)
        });
        std::thread::scope(|scope| {
            for node in &nodes {
                for version in Version::BOTH {
                    scope.spawn(move || {
                        let mut client = Client::new(engine, version);
                        let end = unix_ms() + 3 * LIFETIME * 1_000;
                        while unix_ms() < end {
                            client.visit(std::slice::from_ref(node), 0);
                            // The gateway's clock is read in whole seconds.
                            let age = unix_ms() - client.born;
                            assert!(age <= (LIFETIME + 1) * 1_000, "{engine:?} {version:?} {age}");
                            std::thread::sleep(Duration::from_millis(100));
                        }
                        let (offered, resumed) = (client.offered, client.resumed);
                        assert!(resumed >= 20 && offered > resumed, "{resumed} of {offered}");
                    });
                }
            }
        });
        let [tickets, store] = &nodes;
        let count =
            |node: &Node, name, cause| node.gateway.metrics().count(name, &[("cause", cause)]);
        assert!(count(tickets, REJECTED, "absolute_lifetime") >= 4, "{engine:?}");
        let rejected = "tlsgate_session_store_rejected_total";
        assert!(count(store, rejected, "absolute_lifetime") >= 2, "{engine:?}: TLS 1.3");
        assert!(
            count(store, rejected, "expired") >= 2,
            "{engine:?}: TLS 1.2, which renews nothing"
        );
    }
}

/// Every client goes from where it was to all nodes, one way round or the other, and its ticket is
/// taken each time.
fn resume_everywhere(nodes: &[Node], clients: &mut [Client], place: &str) {
    for (position, client) in clients.iter_mut().enumerate() {
        let last = client.ticket.map_or(0, |(node, _)| node);
        let stride = if position % 4 < 2 { 1 } else { nodes.len() - 1 };
        for step in 1..=nodes.len() {
            let target = (last + step * stride) % nodes.len();
            assert!(client.visit(nodes, target), "{place}: {:?} {target}", client.version);
        }
    }
}

/// Tickets that were read with a secret that is not the first.
fn older(nodes: &[Node]) -> u64 {
    let count = |node: &Node| node.gateway.metrics().count(ACCEPTED, &[("secret", "older")]);
    nodes.iter().map(count).sum()
}
