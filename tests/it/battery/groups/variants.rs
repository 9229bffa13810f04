//! Cells that need another route than the row's own: a backup, another certificate, a list of
//! revoked ones, a source, another mode. All of them are on one more gateway.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use tlsgate::catalogue::Mode;
use toml::Table;

use super::super::case::Case;
use super::super::common::{Tried, set, usual_client, variant};
use super::super::component::{Component, Manner};
use super::super::estate::{Bench, Route, Row, Served, component_of};
use super::super::pki::{Fault, Leaf, pki};
use super::super::script::{End, Speech};
use super::super::stream::{Stream, VERSIONS, server, trusting};
use super::is_about;
use crate::support::backend::Backend;
use crate::support::{Engine, SOON, wait_until};

/// Where a fixed source is, on this machine.
const SOURCE: &str = "127.0.0.7";

/// Routes by row and word, and what is behind them.
pub(super) struct Variants {
    served: Served,
    routes: BTreeMap<(usize, &'static str), Prepared>,
    revoked: Leaf,
    _old: Backend,
}

/// What a cell needs besides the row's own component.
struct Prepared {
    route: Route,
    /// The same without the fault, or the row's own.
    control: Option<Route>,
    components: Vec<Component>,
}

const WORDS: [&str; 9] = [
    "every-row",
    "control-server-pair",
    "switchover",
    "certificate-of-another-host",
    "revoked",
    "source-port",
    "source-port-taken",
    "tls-from-the-first-byte",
    "modern-client-old-server",
];

impl Variants {
    pub(super) fn start(engine: Engine, cases: &[Case]) -> Self {
        let mut bench = Bench::new(engine);
        let directory = bench.certificates();
        let revoked = pki().leaf("revoked");
        pki().faulty("elsewhere", Some(Fault::WrongName)).write(&directory, "elsewhere");
        pki().leaf("both roles").write(&directory, "both");
        fs::write(directory.join("ca.crl"), pki().crl(&[&revoked], 2099)).expect("writable");
        let old = Backend::start(|stream| {
            // The other end refuses it.
            let _ended = speak_tls10(stream);
        });
        let mut routes = BTreeMap::new();
        for case in cases {
            for word in WORDS {
                let mut words = case.must_succeed.iter().chain(&case.must_fail);
                if words.any(|one| one == word) && is_about(word, case) {
                    let prepared = prepare(&mut bench, case, word, old.address());
                    routes.insert((case.number, word), prepared);
                }
            }
        }
        Self { served: bench.start(), routes, revoked, _old: old }
    }

    pub(super) fn assert(&self, word: &str, row: &Row, identity: &Leaf) {
        let place = format!("{}: {word}", row.case);
        let mut all = self.routes.iter();
        let found = all.find(|((number, known), _)| *number == row.case.number && *known == word);
        let (_, prepared) = found.unwrap_or_else(|| panic!("{place}: not prepared"));
        let cell = Cell { served: &self.served, row, identity, prepared, place: &place };
        match word {
            "every-row" => cell.both_roles(),
            "control-server-pair" | "switchover" => cell.switches(),
            "certificate-of-another-host" => cell.another_host(),
            "revoked" => cell.revoked(&self.revoked),
            "source-port" => cell.source(),
            "source-port-taken" => cell.source_taken(),
            "tls-from-the-first-byte" => cell.first_byte(),
            _ => cell.old_server(),
        }
    }
}

fn prepare(bench: &mut Bench, case: &Case, word: &'static str, old: SocketAddr) -> Prepared {
    let name = variant(case, word);
    let control_name = variant(case, &format!("{word}.not"));
    let none = |route: Route| Prepared { route, control: None, components: Vec::new() };
    let own = component_of(case);
    let add = |bench: &mut Bench, name: &str, upstream: SocketAddr, change: &dyn Fn(&mut Table)| {
        bench.add(case, name, upstream, change)
    };
    let mut prepared = match word {
        "every-row" => none(add(bench, &name, own.address(), &|one| certificate(one, "both"))),
        "control-server-pair" | "switchover" => {
            let primary = component_of(case);
            let backups = component_of(case);
            let with_backup = |one: &mut Table| {
                if one["mode"].as_str() != Some("pair_entry") {
                    let address = backups.address().to_string();
                    one.insert("backup".to_owned(), address.into());
                }
            };
            let route = add(bench, &name, primary.address(), &with_backup);
            let components = vec![primary, backups];
            return Prepared { components, ..none(route) };
        }
        "certificate-of-another-host" if case.combination.has_upstream_tls() => {
            let leaf = pki().faulty("elsewhere", Some(Fault::WrongName));
            let elsewhere = Component::start(Some(server(&leaf, false, &VERSIONS)));
            let route = add(bench, &name, elsewhere.address(), &|_| ());
            Prepared { components: vec![elsewhere], ..none(route) }
        }
        "certificate-of-another-host" => {
            none(add(bench, &name, own.address(), &|one| certificate(one, "elsewhere")))
        }
        "revoked" => none(add(bench, &name, own.address(), &|one| {
            set(one, "tls", "crl_files", "certificates/ca.crl");
        })),
        "source-port" | "source-port-taken" => {
            let source = if word == "source-port" { SOURCE } else { "client_port" };
            let backend = component_of(case);
            let route = add(bench, &name, backend.address(), &|one| {
                let value = if source == SOURCE {
                    toml::Value::from(vec![source])
                } else {
                    toml::Value::from(source)
                };
                one.insert("upstream_source".to_owned(), value);
            });
            return Prepared { route, control: None, components: vec![backend] };
        }
        "tls-from-the-first-byte" => {
            let tls = server(&pki().leaf("database"), false, &VERSIONS);
            let database = Component::start(Some(tls));
            let route = bench.add_as(case, &name, database.address(), Mode::Bridge);
            Prepared { components: vec![database], ..none(route) }
        }
        _ => none(add(bench, &name, old, &|_| ())),
    };
    let control = add(bench, &control_name, own.address(), &|_| ());
    prepared.control = Some(control);
    prepared.components.push(own);
    prepared
}

fn certificate(listener: &mut Table, stem: &str) {
    set(listener, "tls", "certificate", format!("certificates/{stem}.pem"));
    set(listener, "tls", "certificate_key", format!("certificates/{stem}.key"));
}

struct Cell<'a> {
    served: &'a Served,
    row: &'a Row,
    identity: &'a Leaf,
    prepared: &'a Prepared,
    place: &'a str,
}

impl Cell<'_> {
    fn tried(&self, route: &Route) -> Tried {
        Tried::at(route.entrance, usual_client(&self.row.case.combination, self.identity).as_ref())
    }

    /// The usual client is served where there is no fault.
    fn control(&self) {
        if let Some(control) = &self.prepared.control {
            self.tried(control).succeeds(&format!("{}: without the fault", self.place));
        }
    }

    /// The certificate that the gateway listens with serves a client, too.
    fn both_roles(&self) {
        let leaf = pki().leaf("both roles");
        let tls = trusting(Some(&leaf));
        let peer = Tried::at(self.prepared.route.entrance, Some(&tls)).succeeds(self.place);
        let line = self.served.line(&self.prepared.route.listener, peer);
        assert_eq!(line.text("downstream_security"), "mutual", "{line:?}");
        self.control();
    }

    /// The primary answers, and once it is down the backup does, at once.
    fn switches(&self) {
        let Prepared { route, components, .. } = self.prepared;
        for component in components {
            let begin = std::time::Instant::now();
            let peer = self.tried(route).succeeds(self.place);
            let took = begin.elapsed();
            // Clients retry after 10 s.
            assert!(took < std::time::Duration::from_secs(2), "{}: {took:?}", self.place);
            let address = component.address().to_string();
            match &route.exit {
                None => {
                    let line = self.served.line(&route.listener, peer);
                    assert_eq!(line.text("upstream"), address, "{line:?}");
                }
                Some((exit, _)) => wait_until("the other gateway goes there", SOON, || {
                    let lines = self.served.gateway.lines();
                    let mut of_exit = lines.iter().filter(|line| line.text("listener") == exit);
                    of_exit.any(|line| line.text("upstream") == address)
                }),
            }
            component.stop();
        }
    }

    fn another_host(&self) {
        let route = &self.prepared.route;
        let (peer, _) = self.tried(route).fails(self.place);
        let line = self.served.line(&route.listener, peer);
        if self.row.case.combination.has_upstream_tls() {
            assert_eq!(line.text("reason"), "upstream_certificate_invalid", "{line:?}");
            assert!(line.text("detail").starts_with("wrong_name"), "{line:?}");
        } else {
            line.assert_ended("alert_received", "downstream", "handshake");
            assert_eq!(line.text("alert_received"), "bad_certificate", "{line:?}");
        }
        self.control();
    }

    fn revoked(&self, revoked: &Leaf) {
        let route = &self.prepared.route;
        let tls = trusting(Some(revoked));
        let (peer, _) = Tried::at(route.entrance, Some(&tls)).fails(self.place);
        let line = self.served.line(&route.listener, peer);
        line.assert_ended("client_certificate_invalid", "downstream", "handshake");
        assert!(line.text("detail").starts_with("revoked"), "{line:?}");
        // Without the list it is let in, and with the list others are.
        let control = self.prepared.control.as_ref().expect("one without the list");
        Tried::at(control.entrance, Some(&tls)).succeeds(self.place);
        self.tried(route).succeeds(self.place);
    }

    /// The component sees the address that firewalls know.
    fn source(&self) {
        self.tried(&self.prepared.route).succeeds(self.place);
        let seen = self.prepared.components[0].sources();
        let last = seen.last().expect("a connection");
        assert_eq!(last.ip().to_string(), SOURCE, "{}", self.place);
    }

    /// The client's own port towards the component is taken: told, and not waited for.
    fn source_taken(&self) {
        let Prepared { route, components, .. } = self.prepared;
        let free = bound(None);
        let own = free.local_addr().ok().and_then(|own| own.as_socket()).expect("bound");
        self.through(free, route).unwrap_or_else(|error| panic!("{}: {error}", self.place));
        assert_eq!(components[0].sources().last(), Some(&own), "{}: its own port", self.place);
        let taken = bound(None);
        let own = taken.local_addr().ok().and_then(|own| own.as_socket()).expect("bound");
        let other = bound(Some(own));
        other.connect(&components[0].address().into()).expect("the component is up");
        let ended = self.through(taken, route);
        assert!(ended.is_err(), "{}: {ended:?}", self.place);
        let line = self.served.line(&route.listener, own);
        assert_eq!(line.text("reason"), "source_collision", "{line:?}");
    }

    fn through(&self, socket: Socket, route: &Route) -> io::Result<()> {
        socket.connect(&route.entrance.into())?;
        let tls = usual_client(&self.row.case.combination, self.identity);
        let mut stream = Stream::over(TcpStream::from(socket), tls.as_ref())?;
        stream.write_all(b"word")?;
        stream.flush()?;
        stream.read_exact(&mut [0; 4])
    }

    /// A database with TLS from the first byte is bridged.
    fn first_byte(&self) {
        let Prepared { route, components, .. } = self.prepared;
        components[0].be(Manner::Speak(Speech::Tns));
        let mut stream =
            Stream::connect(route.entrance, Some(&trusting(None))).expect("a handshake");
        Speech::Tns.speak(&mut stream, End::Client).expect("a database");
        stream.end().expect("an open socket");
        assert_eq!(stream.read(&mut [0; 1]).expect("an orderly end"), 0);
        let line = self.served.line(&route.listener, stream.local());
        assert_eq!(line.text("upstream_security"), "server", "{line:?}");
    }

    /// A server of TLS 1.0 is refused, with the reason; 10 MB go to one of today.
    fn old_server(&self) {
        let route = &self.prepared.route;
        let (peer, _) = self.tried(route).fails(self.place);
        let line = self.served.line(&route.listener, peer);
        assert_eq!(line.text("cause"), "upstream", "{line:?}");
        assert_eq!(line.text("reason"), "upstream_incompatible", "{line:?}");
        let control = self.prepared.control.as_ref().expect("one of today");
        let tls = usual_client(&self.row.case.combination, self.identity);
        let mut stream = Stream::connect(control.entrance, tls.as_ref()).expect("a handshake");
        let mail = super::super::script::noise(crate::support::sized(10 << 20, 1 << 20), 9);
        super::super::common::traffic::exchange(&mut stream, &mail).expect("the whole mail");
    }
}

/// A socket of a port that others may have, too, towards somebody else.
fn bound(to: Option<SocketAddr>) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an open socket");
    let address = to.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 3], 0)));
    socket.bind(&address.into()).expect("a free port");
    socket
}

/// A ServerHello of TLS 1.0, whatever was offered.
fn speak_tls10(mut stream: TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; 5])?;
    let mut hello = vec![2, 0, 0, 38, 3, 1];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0xc0, 0x13, 0]);
    stream.write_all(&tlsgate_corpus::hello::record(22, &hello))?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}
