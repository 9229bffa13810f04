//! The PROXY protocol towards us: who is believed, and what HAProxy, nginx and stunnel say.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, SockAddr, Socket, Type};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::ca::{Files, KeyKind, NAME, ca};
use crate::support::client::{
    Version, assert_echo, close, config, connect, connect_plain, connection, handshake, local,
    try_connect,
};
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::own_network::OwnNetwork;
use crate::support::peers::{Peer, Program};
use crate::support::proxy::{Decoder, bytes, known_client, text};
use crate::support::{Engine, SOON, engines, has_tool, wait_until};

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

/// Takes plaintext, and tells the component what it was told.
fn passes_on(engine: Engine, version: &str, component: SocketAddr) -> Gateway {
    let setup = Setup::new(engine, component)
        .listener("mode = \"autodetect\"\nautodetect_until = \"2099-12-31\"")
        .listener("first_speaker = \"client\"\nproxy_trusted = [\"127.0.0.1\"]")
        .listener(&format!("proxy_in = \"{version}\"\nproxy_out = \"v2\""))
        .listener("proxy_out_client_cert = true\nproxy_out_checksum = true");
    setup.tls("client_cert = \"optional\"\ntrusted_ca = \"ca.pem\"").start()
}

/// One way that HAProxy sends headers.
struct Way {
    server: &'static str,
    /// Of version 2, and what it says of TLS.
    values: &'static [&'static str],
    tls: &'static [&'static str],
}

const WAYS: [Way; 6] = [
    Way { server: "send-proxy", values: &[], tls: &[] },
    Way { server: "send-proxy-v2", values: &["alpn"], tls: &[] },
    Way { server: "send-proxy-v2-ssl", values: &["alpn"], tls: &["version"] },
    Way { server: "send-proxy-v2-ssl-cn", values: &["alpn"], tls: &["version", "cn"] },
    Way {
        server: "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,\
                 authority,crc32c,unique-id",
        values: &["alpn", "authority", "unique_id"],
        tls: &["version", "cn", "cipher", "sig_alg", "key_alg"],
    },
    // From a network namespace, whose name is sent, too.
    Way { server: "send-proxy-v2", values: &["alpn"], tls: &[] },
];

/// Position of the way whose clients are in another network.
const FROM_ELSEWHERE: usize = 5;

/// HAProxy with a port for each way, in front of the gateway: it ends TLS and asks for certificates.
/// One also checks that the gateway is there, and one is in another network.
fn haproxy(gateway: &Gateway, server: &Files, elsewhere: &OwnNetwork) -> (Peer, Vec<u16>) {
    let beside = format!("{}.key", server.certificate.display());
    std::fs::copy(&server.key, beside).expect("a writable directory");
    let ports: Vec<u16> = WAYS.iter().map(|_| free_port()).collect();
    let mut config = String::new();
    for (position, (way, port)) in WAYS.iter().zip(&ports).enumerate() {
        // With an answer: HAProxy resets others as soon as they are connected.
        let (checks, checked) = match position {
            4 => (
                "option tcp-check\n    tcp-check send ping\n    tcp-check expect string ping",
                "check check-send-proxy inter 100",
            ),
            _ => ("", ""),
        };
        let network = match position {
            FROM_ELSEWHERE => format!("namespace {}", elsewhere.name),
            _ => String::new(),
        };
        config += &format!(
            "listen way{position}
    bind 127.0.0.1:{port} {network} ssl crt {} ca-file {} verify optional alpn sip/2
    unique-id-format way{position}-%rt
    {checks}
    server gateway {} {} {checked}
",
            server.certificate.display(),
            gateway.ca_file().display(),
            gateway.address(),
            way.server,
        );
    }
    (Program::Haproxy.start(&config, &ports[..FROM_ELSEWHERE]), ports)
}

#[test]
#[ignore = "run by tests/run"]
fn proxy_in_everything_haproxy_sends() {
    if !Program::Haproxy.is_installed() || !has_tool("python3") {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let server = ca().issue(directory.path(), "balancer", KeyKind::Rsa, &[NAME, "127.0.0.1"]);
    let phone = ca().issue(directory.path(), "phone-7", KeyKind::Ecdsa, &["phone-7.test"]);
    let elsewhere = match OwnNetwork::new() {
        Ok(network) => network,
        Err(why) => return println!("{why}"),
    };
    let decoder = Decoder::start(None);
    for engine in engines() {
        let gateway = passes_on(engine, "any", decoder.address());
        let (_haproxy, ports) = haproxy(&gateway, &server, &elsewhere);
        for (position, (way, port)) in WAYS.iter().zip(ports).enumerate() {
            let at = SocketAddr::from(([127, 0, 0, 1], port));
            let tried = || try_connect(at, &known_client(&phone, "sip/2"), NAME);
            let stream = match position {
                FROM_ELSEWHERE => elsewhere.inside(tried),
                _ => tried(),
            };
            let mut stream = stream.expect("HAProxy shakes hands");
            assert_echo(&mut stream, b"through both");
            let client = local(&stream);
            drop(stream);
            let header = decoder.header_of(client);
            assert_eq!(header["destination"], json!([at.ip().to_string(), port]), "{header}");
            read_as_sent(way, &header);
            wait_until("the log has where it was from", SOON, || {
                let lines = gateway.lines();
                lines.iter().any(|line| line.value("source") == &json!(client.to_string()))
            });
        }
        // Its health checks say LOCAL.
        let headers =
            |said| gateway.metrics().count("tlsgate_proxy_headers_total", &[("source", said)]);
        wait_until("health checks", SOON, || headers("local") >= 3);
        assert_eq!(headers("address"), WAYS.len() as u64);
        let closed = gateway.metrics();
        let closed =
            |reason| closed.count("tlsgate_connections_closed_total", &[("reason", reason)]);
        assert_eq!((closed("proxy_missing"), closed("proxy_malformed")), (0, 0));
    }
}

/// What HAProxy said has gone on to the component.
fn read_as_sent(way: &Way, header: &Value) {
    for value in way.values {
        let said = text(&header[*value]);
        match *value {
            "alpn" => assert_eq!(said, "sip/2"),
            "authority" => assert_eq!(said, NAME),
            _ => assert!(said.starts_with("way4-"), "{said}"),
        }
    }
    // Ours, where none was given.
    assert!(!bytes(&header["unique_id"]).is_empty(), "{header}");
    for value in way.tls {
        let said = text(&header["ssl"][*value]);
        let expected = match *value {
            "version" => "TLSv1.3",
            "cn" => "phone-7",
            "cipher" => "TLS_AES_256_GCM_SHA384",
            "sig_alg" => "ecdsa-with-SHA256",
            _ => "RSA2048",
        };
        assert_eq!(said, expected, "{value}: {header}");
    }
    assert_eq!(header["ssl"].is_null(), way.tls.is_empty(), "{header}");
    if !way.tls.is_empty() {
        assert_eq!((&header["ssl"]["client"], &header["ssl"]["verify"]), (&json!(7), &json!(0)));
    }
}

/// Both say version 1, and nothing else: nginx in front of TLS that it does not read, stunnel in front
/// of what it has decrypted.
#[test]
#[ignore = "run by tests/run"]
fn proxy_in_v1_of_nginx_and_stunnel() {
    if !Program::Nginx.is_installed() || !Program::Stunnel.is_installed() || !has_tool("python3") {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let server = ca().issue(directory.path(), "balancer", KeyKind::Rsa, &[NAME, "127.0.0.1"]);
    let decoder = Decoder::start(None);
    for engine in engines() {
        let gateway = passes_on(engine, "v1", decoder.address());
        let (plain, secure) = (free_port(), free_port());
        let to = gateway.address();
        let config =
            format!("server {{ listen 127.0.0.1:{plain}; proxy_pass {to}; proxy_protocol on; }}");
        let nginx = Program::Nginx.start(&config, &[plain]);
        let config = format!(
            "[relay]\naccept = 127.0.0.1:{secure}\nconnect = {to}\nprotocol = proxy\ncert = {}\nkey = {}\n",
            server.certificate.display(),
            server.key.display(),
        );
        let stunnel = Program::Stunnel.start(&config, &[secure]);
        let mut stream = connect(nginx.address(), &self::config(Version::V13));
        assert_echo(&mut stream, b"TLS behind a header");
        let client = local(&stream);
        assert_eq!(text(&decoder.header_of(client)["ssl"]["version"]), "TLSv1.3");
        close(stream);
        let mut stream = connect(stunnel.address(), &self::config(Version::V13));
        assert_echo(&mut stream, b"plaintext behind a header");
        let header = decoder.header_of(local(&stream));
        assert_eq!(header["destination"], json!(["127.0.0.1", secure]));
        assert!(header["ssl"].is_null(), "{header}");
        // Plaintext through nginx.
        let mut stream = connect_plain(nginx.address());
        stream.write_all(b"in plaintext").expect("sent");
        stream.read_exact(&mut [0; 12]).expect("its echo");
        decoder.header_of(stream.local_addr().expect("connected"));
    }
}
