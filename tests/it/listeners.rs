//! Where the gateway listens and dials: IPv6, unix sockets, and sockets that it inherits.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustls::Stream;

use crate::support::backend::Backend;
use crate::support::ca::NAME;
use crate::support::client::{Version, assert_echo, close, config, connect, connection};
use crate::support::engines;
use crate::support::gateway::{Setup, free_port};

#[test]
#[ignore = "run by tests/run"]
fn listeners_of_every_kind() {
    let backend = Backend::echo();
    for engine in engines() {
        let ipv6 = format!("[::1]:{}", free_port());
        let inherited = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // The gateway has it under the same number.
        fcntl_setfd(&inherited, FdFlags::empty()).expect("an open socket");
        let setup = Setup::new(engine, backend.address()).workers(2);
        let component = setup.directory().join("component.sock");
        serve_echo(&component);
        let socket = setup.directory().join("gateway.sock");
        let unix = |path: &Path| format!("unix:{}", path.display());
        let tcp = backend.address().to_string();
        let gateway = setup
            .another("ipv6", &ipv6, &unix(&component))
            .another("unix", &unix(&socket), &tcp)
            .another("inherited", &format!("fd:{}", inherited.as_raw_fd()), &tcp)
            .start();
        let inherited = inherited.local_addr().expect("bound");
        for version in Version::BOTH {
            for address in [ipv6.parse().expect("an address"), inherited, gateway.address()] {
                // Several, so that both workers get their turn.
                for _ in 0..8 {
                    let mut stream = connect(address, &config(version));
                    assert_echo(&mut stream, b"hello");
                    close(stream);
                }
            }
            for _ in 0..8 {
                echo_over_unix(&socket, version).expect("an echo");
            }
        }
        gateway.wait_until_idle();
        let metrics = gateway.metrics();
        for listener in ["main", "ipv6", "unix", "inherited"] {
            let labels = [("listener", listener), ("reason", "finished")];
            let finished = metrics.count("tlsgate_connections_closed_total", &labels);
            assert_eq!(finished, 16, "{engine:?} {listener}");
        }
    }
}

/// One connection over a unix socket, in order from beginning to end.
fn echo_over_unix(path: &Path, version: Version) -> io::Result<()> {
    let mut socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut tls = connection(&config(version), NAME);
    let mut stream = Stream::new(&mut tls, &mut socket);
    stream.write_all(b"hello")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"hello");
    stream.conn.send_close_notify();
    stream.flush()?;
    assert_eq!(stream.read(&mut answer)?, 0, "close_notify");
    Ok(())
}

/// A component on a unix socket, which sends back what it gets.
fn serve_echo(path: &Path) {
    let listener = UnixListener::bind(path).expect("a new path");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepted");
            thread::spawn(move || {
                let mut back = stream.try_clone().expect("a descriptor");
                // Ends when either side is gone.
                let _end = io::copy(&mut stream, &mut back);
            });
        }
    });
}
