//! Where connections to components come from: several addresses, their ports, and clients' own.

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeFrom;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::support::backend::{Backend, echo, reset};
use crate::support::ca::NAME;
use crate::support::client::{
    TlsStream, Version, assert_echo, close, config, connection, dial, handshake,
};
use crate::support::gateway::{Gateway, LISTENER, Setup};
use crate::support::own_network::{OwnNetwork, in_a_network_of_its_own, ip};
use crate::support::process::{gateway_program, run};
use crate::support::{Engine, SOON, engines, wait_until};
use crate::upstream::one;

/// A component that echoes, and remembers who came.
struct Component {
    address: SocketAddr,
    peers: Arc<Mutex<Vec<SocketAddr>>>,
    _backend: Backend,
}

impl Component {
    fn start(address: &str) -> Self {
        Self::behind_firewall(address, |_| true)
    }

    /// Resets whom the firewall does not let through.
    fn behind_firewall(
        address: &str,
        lets: impl Fn(SocketAddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let peers = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&peers);
        let backend = Backend::serve(listener, move |stream| {
            // Whoever has gone already was not served.
            let Ok(peer) = stream.peer_addr() else { return };
            if !lets(peer) {
                return reset(stream);
            }
            seen.lock().expect("no panics").push(peer);
            // The peer's errors are what some checks are about.
            let _ended = echo(stream);
        });
        Self { address, peers, _backend: backend }
    }

    /// Who came since the last time.
    fn take_peers(&self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.peers.lock().expect("no panics"))
    }

    /// The last bytes of their addresses.
    fn take_sources(&self) -> Vec<u8> {
        let last = |peer: SocketAddr| match peer.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        self.take_peers().into_iter().map(last).collect()
    }
}

/// Failed attempts at the component of the only listener, by reason.
fn failures(gateway: &Gateway, reason: &str) -> u64 {
    let labels = [("listener", LISTENER), ("reason", reason)];
    gateway.metrics().count("tlsgate_upstream_failures_total", &labels)
}

#[test]
#[ignore = "run by tests/run"]
fn source_addresses_take_turns() {
    for engine in engines() {
        let component = Component::start("127.0.0.1:0");
        let setup = Setup::new(engine, component.address);
        let sources = "upstream_source = [\"127.0.0.2\", \"127.0.0.3\", \"127.0.0.4\"]";
        let gateway = setup.listener(sources).start();
        for _ in 0..9 {
            one(gateway.address()).expect("it serves");
        }
        assert_eq!(component.take_sources(), [2, 3, 4, 2, 3, 4, 2, 3, 4], "{engine:?}");
        gateway.rewrite(|text| text.replace("[\"127.0.0.2\", \"127.0.0.3\", ", "[\"127.0.0.9\", "));
        assert!(gateway.reload());
        for _ in 0..4 {
            one(gateway.address()).expect("it serves");
        }
        assert_eq!(component.take_sources(), [9, 4, 9, 4], "{engine:?}");
    }
}

const PORTS: std::ops::RangeInclusive<u16> = 40_000..=40_063;

#[test]
#[ignore = "run by tests/run"]
fn ports_run_out_and_fail_over() {
    for engine in engines() {
        in_a_network_of_its_own(|| ports_run_out(engine));
    }
}

fn ports_run_out(engine: Engine) {
    let range = format!("{} {}", PORTS.start(), PORTS.end());
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).expect("our own network");
    let component = Component::start("127.0.0.1:500");
    let other = Component::start("127.0.0.1:501");
    let sources = "upstream_source = [\"127.0.0.2\", \"127.0.0.3\"]";
    let gateway = Setup::new(engine, component.address).listener(sources).start();
    let of_upstream = |metric: &str| {
        gateway.metrics().count(&format!("tlsgate_upstream_{metric}"), &[("route", LISTENER)])
    };
    assert_eq!(of_upstream("ports_left"), 128, "of two sources");
    // Another program takes every port of the first source, which the estimate does not know of.
    let first = occupy(2, &component);
    assert_eq!(of_upstream("ports_left"), 128);
    let begin = Instant::now();
    for _ in 0..10 {
        one(gateway.address()).expect("from the second source");
    }
    // It is asked once a second.
    let most = begin.elapsed().as_secs() + 2;
    assert_eq!(component.take_sources(), [3; 10], "{engine:?}");
    let failed = failures(&gateway, "source_exhausted");
    assert!((1..=most).contains(&failed), "{engine:?}: {failed} of {most}");
    assert_eq!((of_upstream("connect_failures_total"), of_upstream("ejections_total")), (0, 0));

    let before = gateway.lines().len();
    let (mut second, mut numbers) = (Vec::new(), 1..);
    // Those of before are in TIME_WAIT for a second, until the kernel uses them again.
    wait_until("every port is in use", SOON, || {
        second.extend(until_refused(&gateway, &mut numbers));
        second.len() == PORTS.len()
    });
    wait_until("a line about it", SOON, || gateway.lines().len() > before);
    let line = &gateway.lines()[before];
    line.assert_ended("source_exhausted", "local", "handshake");
    assert!(line.text("detail").contains("Cannot assign requested address"), "{line:?}");
    let status = gateway.status();
    let left = &status["upstreams"][0]["ports_left"]["127.0.0.1:500"];
    assert_eq!(*left, PORTS.len(), "{engine:?}: {status}");
    component.take_peers();

    let both = "upstream = [\"127.0.0.1:500\", \"127.0.0.1:501\"]";
    gateway.rewrite(|text| text.replace("upstream = \"127.0.0.1:500\"", both));
    assert!(gateway.reload());
    for _ in 0..4 {
        one(gateway.address()).expect("the other component");
    }
    assert_eq!(other.take_peers().len(), 4, "{engine:?}");
    assert_eq!(component.take_peers(), []);
    drop((first, second));
    wait_until("ports that come back are used", SOON, || {
        one(gateway.address()).expect("either component");
        !component.take_peers().is_empty()
    });
}

/// Every port of a source towards a component.
fn occupy(last: u8, component: &Component) -> Vec<TcpStream> {
    let dial = |()| dial(([127, 0, 0, last], 0).into(), component.address).ok();
    let occupied: Vec<_> = std::iter::repeat(()).map_while(dial).collect();
    assert_eq!(occupied.len(), PORTS.len());
    wait_until("all of them are there", SOON, || {
        component.peers.lock().expect("no panics").len() == PORTS.len()
    });
    component.take_peers();
    occupied
}

/// Clients until one is not served. Each is from an address of its own, as these have few ports, too.
fn until_refused(gateway: &Gateway, numbers: &mut RangeFrom<u16>) -> Vec<TlsStream> {
    let client = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let from = ([127, 1, high, low], 0).into();
        let stream = dial(from, gateway.address()).expect("it accepts");
        handshake(stream, connection(&config(Version::V13), NAME)).ok()
    };
    numbers.map_while(client).collect()
}

/// A host of clients, the gateway's, and a cable between them.
struct Hosts {
    gateway: OwnNetwork,
    clients: OwnNetwork,
}

/// The client's end of the cable; the gateway has those before and after it.
const CLIENT: [u8; 4] = [10, 9, 0, 2];
/// That the firewall lets through.
const PORT: u16 = 4_711;

impl Hosts {
    fn new() -> Result<Self, String> {
        let hosts = Self { gateway: OwnNetwork::new()?, clients: OwnNetwork::new()? };
        let there = hosts.clients.name.as_str();
        hosts.gateway.inside(|| {
            for line in [
                format!("link add near type veth peer name far netns {there}"),
                "addr add 10.9.0.1/24 dev near".to_owned(),
                "addr add 10.9.0.3/24 dev near".to_owned(),
                "link set near up".to_owned(),
                format!("-n {there} addr add 10.9.0.2/24 dev far"),
                format!("-n {there} link set far up"),
                // What the component answers to clients comes to the gateway.
                "route add local 10.9.0.2/32 dev lo table 100".to_owned(),
                "rule add ipproto tcp sport 500-501 to 10.9.0.2 lookup 100".to_owned(),
            ] {
                ip(&line);
            }
            for device in ["all", "lo"] {
                let path = format!("/proc/sys/net/ipv4/conf/{device}/rp_filter");
                fs::write(path, "0").expect("our own network");
            }
        });
        Ok(hosts)
    }

    /// A handshake with the gateway at this address of its, from the client's port.
    fn connect(&self, gateway: &Gateway, last: u8, port: u16) -> io::Result<TlsStream> {
        let to = SocketAddr::from(([10, 9, 0, last], gateway.port()));
        let stream = self.clients.inside(|| dial((CLIENT, port).into(), to))?;
        stream.set_read_timeout(Some(SOON))?;
        handshake(stream, connection(&config(Version::V13), NAME))
    }
}

/// Runs a check on both engines; says so where it cannot be.
fn between_hosts(check: impl Fn(&Hosts, Engine) + Sync) {
    for engine in engines() {
        match Hosts::new() {
            Ok(hosts) => hosts.gateway.inside(|| check(&hosts, engine)),
            Err(why) => println!("{why}"),
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn client_address_and_port_are_kept() {
    between_hosts(|hosts, engine| {
        let is_known = |peer: SocketAddr| peer == (CLIENT, PORT).into();
        let component = Component::behind_firewall("127.0.0.1:500", is_known);
        let setup = Setup::new(engine, component.address).listen_ip("0.0.0.0");
        let gateway = setup.listener("upstream_source = \"client_port\"").start();
        for port in [PORT, PORT] {
            let mut stream = hosts.connect(&gateway, 1, port).expect("the firewall knows it");
            assert_echo(&mut stream, b"through the firewall");
            close(stream);
            gateway.wait_until_idle();
        }
        assert_eq!(component.take_peers(), [(CLIENT, PORT).into(); 2], "{engine:?}");
        assert_eq!(gateway.status()["upstreams"][0]["ports_left"], serde_json::json!({}));
        let turned_away = |port, why| {
            // Before or after the handshake with the gateway.
            if let Ok(mut stream) = hosts.connect(&gateway, 1, port) {
                let read = stream.read(&mut [0]);
                assert!(!matches!(read, Ok(1..)), "{engine:?}: {why}: {read:?}");
            }
            let line = gateway.line_of((CLIENT, port).into());
            assert_eq!(line.text("cause"), "upstream", "{engine:?}: {why}: {line:?}");
        };
        turned_away(PORT + 1, "another port");
        gateway.rewrite(|text| text.replace("client_port", "client"));
        assert!(gateway.reload());
        turned_away(PORT + 2, "the kernel's port");
        gateway.rewrite(|text| text.replace("upstream_source = \"client\"", ""));
        assert!(gateway.reload());
        turned_away(PORT + 3, "the gateway's own address");
        assert_eq!(component.take_peers(), []);
    });
}

#[test]
#[ignore = "run by tests/run"]
fn source_port_collision_is_reported() {
    between_hosts(|hosts, engine| {
        let component = Component::start("127.0.0.1:500");
        let other = Component::start("127.0.0.1:501");
        let setup = Setup::new(engine, component.address).listen_ip("0.0.0.0");
        let gateway = setup.listener("upstream_source = \"client_port\"").start();
        let mut first = hosts.connect(&gateway, 1, PORT).expect("the port is free");
        assert_echo(&mut first, b"first");
        // From the same port to another address of the gateway: towards the component, these two
        // would be one.
        hosts.connect(&gateway, 3, PORT).expect_err("the port is taken");
        let line = gateway.line_of((CLIENT, PORT).into());
        line.assert_ended("source_collision", "local", "handshake");
        assert_eq!(failures(&gateway, "source_collision"), 1, "{engine:?}");
        assert_eq!(gateway.metrics().count("tlsgate_upstream_ejections_total", &[]), 0);
        assert_echo(&mut first, b"goes on");

        gateway.rewrite(|text| {
            let line = "upstream_source = \"client_port\"";
            text.replace(line, &format!("{line}\nbackup = \"127.0.0.1:501\""))
        });
        assert!(gateway.reload());
        let mut second = hosts.connect(&gateway, 3, PORT).expect("towards another component");
        assert_echo(&mut second, b"second");
        assert_eq!(other.take_peers(), [(CLIENT, PORT).into()], "{engine:?}");
        assert_eq!(failures(&gateway, "source_collision"), 2, "{engine:?}");
        assert_echo(&mut first, b"still goes on");
        close(second);
        close(first);
    });
}

#[test]
#[ignore = "run by tests/run"]
fn client_source_needs_a_capability() {
    let component = Component::start("127.0.0.1:0");
    let setup = Setup::new(engines()[0], component.address);
    let mut setup = setup.listener("upstream_source = \"client\"");
    let file = setup.write().file;
    let check = |without: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", without, "--inh-caps", without]);
        run(command.arg(gateway_program()).args(["check", "-c"]).arg(&file), SOON)
    };
    let ended = check("-net_admin,-net_raw");
    assert_ne!(ended.code(), 0, "{ended:?}");
    for words in
        ["listener[main].upstream_source: needs a capability", "setcap cap_net_raw", "Ambient"]
    {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    if rustix::process::geteuid().is_root() {
        let ended = check("-net_admin");
        assert_eq!(ended.code(), 0, "either of them is enough: {}", ended.stderr);
    }
}
