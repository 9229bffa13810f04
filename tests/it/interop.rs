//! Other projects' TLS proxies on either side of the gateway: HAProxy, nginx, stunnel and Envoy
//! speak mutual TLS with it, as the client in front and as the server behind. All of them resume
//! sessions and pass half-closed connections on; nginx says no close_notify.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::ca::{Ca, Files, KeyKind, NAME, ca};
use crate::support::client::{
    TlsStream, Version, close_notify, config, connect_plain, try_connect,
};
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::log::Line;
use crate::support::peers::{Peer, Program, Relay, Role};
use crate::support::{Engine, engines};

/// How much goes each way.
const SIZE: usize = 1 << 20;
/// How much goes before it must have come back, where both ways are used at the same time: less
/// than anybody on the way holds.
const PIECE: usize = 1 << 14;

/// First byte of a connection, which tells the component what to do.
const ECHO: u8 = b'E';
const AFTER_THE_END: u8 = b'A';

/// What all connections of a check need.
struct Place {
    program: Program,
    /// Sends everything back: at once, or after the peer's end.
    component: Backend,
    _directory: TempDir,
    /// Of the checks' authority.
    ca: PathBuf,
    /// Of an authority that signed nothing here.
    other_ca: PathBuf,
    /// The peer's certificate and the gateway's, good for client and server.
    peer: Files,
    gateway: Files,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Orderly,
    /// Without close_notify.
    Truncated,
}

/// A connection to the first of those in front of the component.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

#[test]
#[ignore = "run by tests/run"]
fn interop_haproxy() {
    check(Program::Haproxy);
}

#[test]
#[ignore = "run by tests/run"]
fn interop_nginx() {
    check(Program::Nginx);
}

#[test]
#[ignore = "run by tests/run"]
fn interop_stunnel() {
    check(Program::Stunnel);
}

#[test]
#[ignore = "run by tests/run"]
fn interop_envoy() {
    check(Program::Envoy);
}

/// Both sides, both versions, both engines; prints a row for each.
fn check(program: Program) {
    if !program.is_installed() {
        return;
    }
    let place = Place::new(program);
    let mut table = String::new();
    for version in Version::BOTH {
        let server = place.server(version);
        for engine in engines() {
            let mut row = |side, mode, done: &str| {
                let (peer, number) = (program.name(), program.version());
                let (version, engine) = (version.name(), engine.name());
                writeln!(
                    table,
                    "{peer:8} {number:8} {version} {engine:8} {side:9} {mode:10} {done}"
                )
                .expect("a String");
            };
            row("in front", "terminate", in_front(&place, engine, version));
            row("in front", "terminate", no_certificate_in_front(&place, engine, version));
            for mode in ["originate", "bridge"] {
                row("behind", mode, behind(&place, engine, version, mode, &server));
                row("behind", mode, refusals_behind(&place, engine, mode, &server));
            }
        }
    }
    println!("{table}");
}

/// The peer as the client, with a certificate.
fn in_front(place: &Place, engine: Engine, version: Version) -> &'static str {
    let mut gateway = place.demanding(engine);
    let peer = place.client(&gateway, version, Some(&place.peer));
    for (resumed, exchange) in [(false, echo as fn(Stream) -> End), (true, half_close)] {
        let end = exchange(Stream::Plain(connect_plain(peer.address())));
        assert_eq!(end, End::Orderly);
        let line = gateway.next_line();
        assert_eq!(line.text("tls_version"), version.name(), "{line:?}");
        assert_eq!(line.is_resumed(), resumed, "{line:?}");
        assert_eq!(line.text("downstream_security"), "mutual", "{line:?}");
        assert_eq!(line.text("client_subject"), "CN=peer", "{line:?}");
        assert_eq!(line.number("bytes_received"), 1 + SIZE as u64, "{line:?}");
        assert_eq!(line.number("bytes_sent"), SIZE as u64, "{line:?}");
    }
    "mutual, 1 MiB both ways; resumed, half-closed"
}

/// The peer as the client, without a certificate: it does not get through.
fn no_certificate_in_front(place: &Place, engine: Engine, version: Version) -> &'static str {
    let mut gateway = place.demanding(engine);
    let peer = place.client(&gateway, version, None);
    assert_fails(Stream::Plain(connect_plain(peer.address())));
    gateway.next_line().assert_ended("client_certificate_missing", "downstream", "handshake");
    "no certificate: refused by us"
}

/// The peer as the server, which demands a certificate.
fn behind(
    place: &Place,
    engine: Engine,
    version: Version,
    mode: &str,
    peer: &Peer,
) -> &'static str {
    let setup = place.showing(place.dialling(engine, mode, peer, NAME));
    let mut gateway = setup.upstream_tls("trusted_ca = \"ca.pem\"").start();
    // nginx leaves with FIN alone, and we say so to whoever speaks TLS with us.
    let is_cut = place.program == Program::Nginx;
    let expected = if is_cut && mode == "bridge" { End::Truncated } else { End::Orderly };
    for (resumed, exchange) in [(false, echo as fn(Stream) -> End), (true, half_close)] {
        let end = exchange(dial(&gateway, mode, version).expect("a handshake"));
        assert_eq!(end, expected);
        let line = gateway.next_line();
        assert_eq!(line.text("reason"), if is_cut { "truncated" } else { "finished" }, "{line:?}");
        assert_eq!(line.text("upstream_tls_version"), version.name(), "{line:?}");
        assert_eq!(line.value("upstream_resumed"), resumed, "{line:?}");
        assert_eq!(line.text("upstream_security"), "mutual", "{line:?}");
        assert_eq!(line.text("upstream_subject"), "CN=peer", "{line:?}");
    }
    "mutual, 1 MiB both ways; resumed, half-closed"
}

/// The peer as the server: neither side takes what is not right.
fn refusals_behind(place: &Place, engine: Engine, mode: &str, peer: &Peer) -> &'static str {
    let other_ca = format!("trusted_ca = {:?}", place.other_ca);
    for (trusted, name) in [("trusted_ca = \"ca.pem\"", "other.test"), (&other_ca, NAME)] {
        let setup = place.showing(place.dialling(engine, mode, peer, name));
        let line = refused(setup.upstream_tls(trusted).start(), mode);
        assert_eq!(line.text("reason"), "upstream_certificate_invalid", "{line:?}");
    }
    let setup = place.dialling(engine, mode, peer, NAME).upstream_tls("trusted_ca = \"ca.pem\"");
    let line = refused(setup.start(), mode);
    // nginx lets the handshake through and then closes the connection.
    if place.program == Program::Nginx {
        assert_eq!(line.number("bytes_sent"), 0, "{line:?}");
    } else {
        assert_eq!(line.text("reason"), "upstream_alert", "{line:?}");
    }
    "other CA, other name: refused by us; no certificate: by it"
}

/// A connection through a gateway that leads nowhere.
fn refused(mut gateway: Gateway, mode: &str) -> Line {
    if let Ok(stream) = dial(&gateway, mode, Version::V13) {
        assert_fails(stream);
    }
    gateway.next_line()
}

impl Place {
    fn new(program: Program) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let written = |name: &str, authority: &Ca| {
            let path = directory.path().join(name);
            std::fs::write(&path, authority.pem()).expect("a writable directory");
            path
        };
        let issue =
            |stem: &str| ca().issue(directory.path(), stem, KeyKind::Ecdsa, &[NAME, "127.0.0.1"]);
        Self {
            program,
            component: Backend::start(|stream| {
                // Whoever is there may be cut off: the client says so.
                let _ended = serve(stream);
            }),
            ca: written("ca.pem", ca()),
            other_ca: written("other.pem", &Ca::new()),
            peer: issue("peer"),
            gateway: issue("gateway"),
            _directory: directory,
        }
    }

    /// A gateway that demands a certificate of its peers.
    fn demanding(&self, engine: Engine) -> Gateway {
        let setup = Setup::new(engine, self.component.address()).tls("client_cert = \"required\"");
        setup.tls("trusted_ca = \"ca.pem\"").start()
    }

    /// A gateway in front of a TLS server that should have this name.
    fn dialling(&self, engine: Engine, mode: &str, peer: &Peer, name: &str) -> Setup {
        let setup = Setup::new(engine, peer.address()).listener(&format!("mode = {mode:?}"));
        let setup = setup.upstream_tls(&format!("server_name = {name:?}"));
        if mode == "bridge" { setup } else { setup.without_tls() }
    }

    /// It shows the gateway's certificate.
    fn showing(&self, setup: Setup) -> Setup {
        let setup = setup.upstream_tls(&format!("certificate = {:?}", self.gateway.certificate));
        setup.upstream_tls(&format!("certificate_key = {:?}", self.gateway.key))
    }

    /// The peer as a TLS client.
    fn client(&self, gateway: &Gateway, version: Version, identity: Option<&Files>) -> Peer {
        let role = Role::Client { name: NAME, identity };
        self.relay(gateway.address(), version, role)
    }

    /// The peer as a TLS server that demands a certificate.
    fn server(&self, version: Version) -> Peer {
        let role = Role::Server { identity: &self.peer };
        self.relay(self.component.address(), version, role)
    }

    fn relay(&self, to: SocketAddr, version: Version, role: Role<'_>) -> Peer {
        self.program.relay(&Relay { listen: free_port(), to, version, ca: &self.ca, role })
    }
}

/// A connection to the gateway, of the kind that the mode takes.
fn dial(gateway: &Gateway, mode: &str, version: Version) -> io::Result<Stream> {
    match mode {
        "bridge" => {
            let stream = try_connect(gateway.address(), &config(version), NAME)?;
            Ok(Stream::Tls(Box::new(stream)))
        }
        _ => Ok(Stream::Plain(connect_plain(gateway.address()))),
    }
}

/// The component's part.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut first = [0];
    stream.read_exact(&mut first)?;
    match first[0] {
        ECHO => {
            let mut buffer = vec![0; PIECE];
            loop {
                match stream.read(&mut buffer)? {
                    0 => return stream.shutdown(Shutdown::Write),
                    length => stream.write_all(&buffer[..length])?,
                }
            }
        }
        _ => {
            let mut all = Vec::new();
            stream.read_to_end(&mut all)?;
            stream.write_all(&all)?;
            stream.shutdown(Shutdown::Write)
        }
    }
}

/// A megabyte each way, a piece at a time.
fn echo(mut stream: Stream) -> End {
    let mut answer = vec![0; PIECE];
    stream.write_all(&[ECHO]).expect("sent");
    for piece in bytes().chunks(PIECE) {
        stream.write_all(piece).and_then(|()| stream.flush()).expect("sent");
        stream.read_exact(&mut answer).expect("an answer");
        assert!(answer == piece, "the echo is another one");
    }
    stream.end().expect("an open connection");
    let (rest, end) = stream.rest();
    assert_eq!(rest.len(), 0, "more than was sent");
    end
}

/// A megabyte, then the end, then the same megabyte back.
fn half_close(mut stream: Stream) -> End {
    let bytes = bytes();
    let sent = stream.write_all(&[AFTER_THE_END]).and_then(|()| stream.write_all(&bytes));
    sent.and_then(|()| stream.end()).expect("sent");
    let (answer, end) = stream.rest();
    assert!(answer == bytes, "{} bytes, which are not those that were sent", answer.len());
    end
}

/// Nothing comes back.
fn assert_fails(mut stream: Stream) {
    // What is written may go nowhere.
    let _written = stream.write_all(&[ECHO, b'?']).and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let _ended = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"", "it got through");
}

/// Of which no two pieces are equal.
fn bytes() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..SIZE / 8).flat_map(|_| next()).collect()
}

impl Stream {
    /// What still comes, and how it ends.
    ///
    /// # Panics
    /// When the connection fails.
    fn rest(&mut self) -> (Vec<u8>, End) {
        let mut rest = Vec::new();
        let end = match self.read_to_end(&mut rest) {
            Ok(_) => End::Orderly,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => End::Truncated,
            Err(error) => panic!("after {} bytes: {error}", rest.len()),
        };
        (rest, end)
    }

    /// Nothing more will be sent; the other side may go on.
    fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => {
                close_notify(stream);
                Ok(())
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
