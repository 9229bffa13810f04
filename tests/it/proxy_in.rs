//! The PROXY protocol towards us: who is believed, and what HAProxy, nginx and stunnel say.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::backend::Backend;
use crate::support::ca::NAME;
use crate::support::client::{Version, assert_echo, close, config, connection, handshake};
use crate::support::engines;
use crate::support::gateway::Setup;

/// Who is believed.
const BALANCER: [u8; 4] = [127, 0, 0, 2];
/// A header, and the client that it tells of.
const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n";
const CLIENT: &str = "192.0.2.7:40000";

/// Connects from this address of the loopback device.
fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = SocketAddr::new(IpAddr::from(from), 0);
    socket.bind(&SockAddr::from(from)).expect("all of 127.0.0.0/8 is ours");
    socket.connect(&SockAddr::from(to)).expect("somebody listens");
    socket.into()
}

#[test]
#[ignore = "run by tests/run"]
fn proxy_in_untrusted_is_refused() {
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address());
        let setup = setup.listener("proxy_in = \"any\"\nproxy_trusted = [\"127.0.0.2\"]");
        let gateway = setup.start();
        // Not the balancer: reset, whatever it says.
        let mut stream = connect_from([127, 0, 0, 1], gateway.address());
        let liar = stream.local_addr().expect("connected");
        let met = stream.write_all(HEADER).and_then(|()| stream.read(&mut [0; 1]));
        assert_eq!(met.expect_err("no answer").kind(), ErrorKind::ConnectionReset);
        let line = gateway.line_of(liar);
        line.assert_ended("proxy_untrusted", "policy", "hello");
        assert!(line.value("source").is_null(), "{line:?}");
        // The balancer, which says nothing.
        let mut stream = connect_from(BALANCER, gateway.address());
        let silent = stream.local_addr().expect("connected");
        stream.write_all(b"\x16\x03\x01\x02\x00").expect("sent");
        let read = stream.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::ConnectionReset));
        gateway.line_of(silent).assert_ended("proxy_missing", "downstream", "proxy");
        // The balancer, as it should be.
        let mut stream = connect_from(BALANCER, gateway.address());
        let balancer = stream.local_addr().expect("connected");
        stream.write_all(HEADER).expect("sent");
        let tls = connection(&config(Version::V13), NAME);
        let mut stream = handshake(stream, tls).expect("a handshake");
        assert_echo(&mut stream, b"behind the header");
        close(stream);
        let line = gateway.line_of(balancer);
        line.assert_ended("finished", "downstream", "relay");
        assert_eq!(line.text("source"), CLIENT);
        let metrics = gateway.metrics();
        let closed =
            |reason| metrics.count("tlsgate_connections_closed_total", &[("reason", reason)]);
        assert_eq!((closed("proxy_untrusted"), closed("proxy_missing")), (1, 1));
        let headers = |said| metrics.count("tlsgate_proxy_headers_total", &[("source", said)]);
        assert_eq!((headers("address"), headers("local"), headers("unknown")), (1, 0, 0));
    }
}
