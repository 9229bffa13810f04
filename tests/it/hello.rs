//! The first bytes of a peer: large, in crumbs, not TLS at all, or too many at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::backend::Backend;
use crate::support::ca::NAME;
use crate::support::client::{
    Version, assert_echo, close, config, connect, connect_plain, connection, handshake, local,
};
use crate::support::gateway::Setup;
use crate::support::{SOON, engines, wait_until};

const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const MAX_RECORD: usize = 16 * 1024;
/// Longest body of a ClientHello that is taken; the message has 4 bytes more.
const MAX_BODY: usize = 0xffff;
/// A fatal alert `decode_error`.
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

#[test]
#[ignore = "run by tests/run"]
fn hello_of_64_kib() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        for version in Version::BOTH {
            for body in [1_000, MAX_RECORD, MAX_BODY - 1, MAX_BODY] {
                let message = padded(&message(version), body);
                let (mut stream, _) = send(gateway.address(), &records(&message, MAX_RECORD));
                let mut answer = [0; 6];
                stream.read_exact(&mut answer).expect("an answer");
                let kinds = (answer[0], answer[5]);
                assert_eq!(kinds, (HANDSHAKE, SERVER_HELLO), "{engine:?} {version:?} {body}");
            }
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn hello_too_large() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        // Announces a body of 64 KiB, one more than there may be.
        let mut message = padded(&message(Version::V13), MAX_BODY);
        message[1..4].copy_from_slice(&[1, 0, 0]);
        let (stream, peer) = send(gateway.address(), &records(&message, 1024)[..5 + 1024]);
        assert_eq!(rest(stream), DECODE_ERROR, "{engine:?}");
        let line = gateway.line_of(peer);
        line.assert_ended("hello_too_large", "downstream", "hello");
        assert_eq!(line.text("alert_sent"), "decode_error");
        assert_eq!(line.text("event"), "handshake_failed");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn hello_in_single_bytes() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        for version in Version::BOTH {
            // One byte in each TCP segment, in the whole handshake.
            let mut stream = connect_plain(gateway.address());
            let mut tls = connection(&config(version), NAME);
            while tls.is_handshaking() {
                let mut flight = Vec::new();
                while tls.wants_write() {
                    tls.write_tls(&mut flight).expect("in memory");
                }
                for byte in flight {
                    stream.write_all(&[byte]).expect("sent");
                }
                if tls.is_handshaking() {
                    tls.read_tls(&mut stream).expect("an answer");
                    tls.process_new_packets().expect("a good answer");
                }
            }
            let mut stream = handshake(stream, tls).expect("done already");
            assert_echo(&mut stream, b"in crumbs");
            close(stream);
            // One byte of the ClientHello in each record.
            let mut stream = connect_plain(gateway.address());
            let mut tls = connection(&config(version), NAME);
            let mut hello = Vec::new();
            tls.write_tls(&mut hello).expect("in memory");
            stream.write_all(&records(&hello[5..], 1)).expect("sent");
            let mut stream = handshake(stream, tls).unwrap_or_else(|error| {
                panic!("{engine:?} {version:?}: records of one byte: {error}")
            });
            assert_echo(&mut stream, b"in splinters");
            close(stream);
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn hello_that_is_not_tls() {
    let backend = Backend::echo();
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let plaintexts: [(&[u8], &str); 3] =
        [(http, "HTTP"), (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"), (&[0; 64], "")];
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        for (bytes, word) in plaintexts {
            let (stream, peer) = send(gateway.address(), bytes);
            assert_eq!(rest(stream), b"", "no alert for those who do not speak TLS");
            let line = gateway.line_of(peer);
            line.assert_ended("hello_malformed", "downstream", "hello");
            assert!(line.text("detail").contains(word), "{line:?}");
        }
        let metrics = gateway.metrics();
        let labels = [("reason", "hello_malformed")];
        let count = metrics.count("tlsgate_handshake_failures_total", &labels);
        assert_eq!(count, 3, "{engine:?}");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn hello_memory_of_a_source() {
    const ANNOUNCED: usize = 60_000;
    const SENT: usize = 20_000;
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address());
        let gateway = setup.gateway("hello_memory_per_source = \"64KiB\"").start();
        let message = padded(&message(Version::V13), ANNOUNCED);
        let part = &records(&message, MAX_RECORD)[..SENT];
        let unfinished: Vec<_> = (0..12).map(|_| send(gateway.address(), part)).collect();
        let refused = |gateway: &crate::support::gateway::Gateway| {
            gateway.metrics().count("tlsgate_hello_memory_refusals_total", &[])
        };
        // Each takes between what was sent and twice that: one to three have room.
        wait_until("the rest is refused", SOON, || refused(&gateway) >= 9);
        assert!(refused(&gateway) <= 11, "{engine:?}: {}", refused(&gateway));
        for line in gateway.at_least(1) {
            line.assert_ended("hello_memory", "policy", "hello");
        }
        drop(unfinished);
        gateway.wait_until_idle();
        // All of it is there again.
        let (stream, _) = send(gateway.address(), part);
        let mut stream_of_other = connect(gateway.address(), &config(Version::V13));
        assert_echo(&mut stream_of_other, b"as before");
        let peer = local(&stream_of_other);
        close(stream_of_other);
        gateway.line_of(peer).assert_ended("finished", "downstream", "relay");
        drop(stream);
    }
}

/// The ClientHello of a client, without record headers.
fn message(version: Version) -> Vec<u8> {
    let mut hello = Vec::new();
    connection(&config(version), NAME).write_tls(&mut hello).expect("in memory");
    hello.split_off(5)
}

/// The ClientHello with a padding extension (RFC 7685), so that its body has `body` bytes.
fn padded(message: &[u8], body: usize) -> Vec<u8> {
    const HEADER: usize = 4;
    const EXTENSION_HEADER: usize = 4;
    let mut padded = message.to_vec();
    let padding = body - (message.len() - HEADER) - EXTENSION_HEADER;
    let extensions = extensions_at(message);
    let length = usize::from(u16::from_be_bytes([message[extensions], message[extensions + 1]]));
    padded.extend_from_slice(&[0, 21]);
    padded.extend_from_slice(&two_bytes(padding));
    padded.resize(HEADER + body, 0);
    let length = two_bytes(length + EXTENSION_HEADER + padding);
    padded[extensions..extensions + 2].copy_from_slice(&length);
    padded[1] = 0;
    padded[2..4].copy_from_slice(&two_bytes(body));
    padded
}

/// Where the length of the extensions stands (RFC 8446 section 4.1.2).
fn extensions_at(message: &[u8]) -> usize {
    let session = 4 + 2 + 32;
    let suites = session + 1 + usize::from(message[session]);
    let suites_length = usize::from(u16::from_be_bytes([message[suites], message[suites + 1]]));
    let compressions = suites + 2 + suites_length;
    compressions + 1 + usize::from(message[compressions])
}

/// The message in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for body in message.chunks(size) {
        bytes.extend_from_slice(&[HANDSHAKE, 3, 1]);
        bytes.extend_from_slice(&two_bytes(body.len()));
        bytes.extend_from_slice(body);
    }
    bytes
}

fn two_bytes(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("fits the field").to_be_bytes()
}

fn send(address: SocketAddr, bytes: &[u8]) -> (TcpStream, SocketAddr) {
    let mut stream = connect_plain(address);
    let peer = stream.local_addr().expect("connected");
    // The gateway may have heard enough before it has read everything.
    let _sent = stream.write_all(bytes);
    (stream, peer)
}

/// What comes until the other side ends, in order or by RST.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("after {bytes:?}: {error}"),
    }
}
