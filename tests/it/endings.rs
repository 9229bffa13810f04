//! How connections end: each way is told apart, seen in the access log, and felt by both sides.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::backend::{Backend, Silent, dead_address};
use crate::support::ca::NAME;
use crate::support::client::{TlsStream, Version, close_notify, config, connect, try_connect};
use crate::support::gateway::Setup;
use crate::support::log::Line;
use crate::support::session::{assert_echo, close, end, local, reset};
use crate::support::way::each_way;
use crate::support::{SOON, engines, wait_until};

/// What a component must show when it is down: within a second.
const DOWN: Duration = Duration::from_secs(1);
const MIB: usize = 1024 * 1024;

/// Both ways of dialling the component.
const DIALS: [&str; 2] = ["after_hello", "after_handshake"];

#[test]
#[ignore = "run by tests/run"]
fn endings_dead_upstream() {
    for engine in engines() {
        for dial in DIALS {
            let setup = Setup::new(engine, dead_address());
            let mut gateway = setup.listener(&format!("connect = {dial:?}")).start();
            for version in Version::BOTH {
                let begin = Instant::now();
                assert_closed(try_connect(gateway.address(), &config(version), NAME));
                let took = begin.elapsed();
                assert!(took < DOWN, "{engine:?} {version:?} {dial}: {took:?}");
                assert_down(&gateway.next_line(), "upstream_refused", dial);
            }
        }
    }
}

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn endings_silent_upstream() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let silent = Silent::start();
    for engine in engines() {
        for dial in DIALS {
            let setup = Setup::new(engine, silent.address()).timeouts("connect = \"2s\"");
            let mut gateway = setup.listener(&format!("connect = {dial:?}")).start();
            let mut took = Vec::new();
            // The second connection comes when the component is known to be down.
            for _ in 0..2 {
                let begin = Instant::now();
                let config = config(Version::V13);
                assert_closed(try_connect(gateway.address(), &config, NAME));
                took.push(begin.elapsed());
                assert_down(&gateway.next_line(), "upstream_timeout", dial);
            }
            let place = format!("{engine:?} {dial}: {took:?}");
            assert!(took[0] >= TIMEOUT && took[0] < TIMEOUT + DOWN, "{place}");
            assert!(took[1] < DOWN, "{place}");
        }
    }
}

/// With the handshake held back for the component, the peer must not get one.
fn assert_down(line: &Line, reason: &str, dial: &str) {
    if dial == "after_hello" {
        line.assert_ended(reason, "upstream", "handshake");
        assert_eq!(line.text("alert_sent"), "internal_error", "{line:?}");
    } else {
        line.assert_ended(reason, "upstream", "connecting");
    }
}

/// The connection fails in the handshake, or breaks off right behind it.
fn assert_closed(connected: io::Result<TlsStream>) {
    if let Ok(mut stream) = connected {
        let read = stream.read(&mut [0; 1]);
        assert!(read.is_err(), "closed without close_notify, not {read:?}");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn endings_server_first() {
    let backend = Backend::start(|mut stream| {
        let _sent = stream.write_all(b"220 ready\r\n");
        let _ended = stream.read_to_end(&mut Vec::new());
    });
    each_way(backend.address(), |gateway, way| {
        let mut stream = way.connect(gateway);
        let mut banner = [0; 11];
        stream.read_exact(&mut banner).expect("the banner comes without asking");
        assert_eq!(&banner, b"220 ready\r\n");
        let peer = local(&*stream);
        close(stream);
        gateway.line_of(peer).assert_ended("finished", "downstream", "relay");
    });
}

#[test]
#[ignore = "run by tests/run"]
fn endings_half_close_downstream_first() {
    // Answers only when it has read everything: after the client's close_notify.
    let backend = Backend::start(|mut stream| {
        let mut question = Vec::new();
        let _read = stream.read_to_end(&mut question);
        let _sent = stream.write_all(&vec![b'a'; MIB + question.len()]);
    });
    each_way(backend.address(), |gateway, way| {
        for with_fin in [false, true] {
            let mut stream = way.connect(gateway);
            stream.write_all(b"question").expect("sent");
            end(&mut *stream);
            if with_fin {
                stream.socket().shutdown(Shutdown::Write).expect("an open socket");
            }
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("everything, and close_notify");
            assert_eq!(answer.len(), MIB + 8);
            let line = gateway.line_of(local(&*stream));
            line.assert_ended("finished", "downstream", "relay");
            assert_eq!(
                (line.number("bytes_received"), line.number("bytes_sent")),
                (8, (MIB + 8) as u64)
            );
        }
    });
}

#[test]
#[ignore = "run by tests/run"]
fn endings_half_close_upstream_first() {
    let (sender, received) = channel();
    let backend = Backend::start(move |mut stream| {
        let _sent =
            stream.write_all(b"that is all").and_then(|()| stream.shutdown(Shutdown::Write));
        let mut rest = Vec::new();
        let result = stream.read_to_end(&mut rest);
        sender.send(result.map(|_| rest.len())).expect("somebody waits");
    });
    each_way(backend.address(), |gateway, way| {
        let mut stream = way.connect(gateway);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("close_notify behind the last byte");
        assert_eq!(answer, b"that is all");
        stream.write_all(&vec![b'q'; MIB]).expect("its own direction is open");
        end(&mut *stream);
        let got = received.recv_timeout(SOON).expect("the component ends");
        assert_eq!(got.expect("a FIN, no RST"), MIB);
        gateway.line_of(local(&*stream)).assert_ended("finished", "upstream", "relay");
    });
}

#[test]
#[ignore = "run by tests/run"]
fn endings_half_close_timeout() {
    // Never closes its direction.
    let backend = Backend::start(|mut stream| {
        let _read = stream.read_to_end(&mut Vec::new());
        // Ends with the connection: nothing is to be read behind a FIN, so the error is asked for.
        wait_until("the gateway gives up", SOON, || !matches!(stream.take_error(), Ok(None)));
    });
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).timeouts("half_close = \"1s\"");
        let gateway = setup.start();
        let mut stream = connect(gateway.address(), &config(Version::V13));
        close_notify(&mut stream);
        let line = gateway.line_of(local(&stream));
        line.assert_ended("half_close_timeout", "upstream", "relay");
        let lived = Duration::from_micros(line.number("lifetime_us"));
        assert!(lived >= DOWN && lived < 3 * DOWN, "{engine:?}: {lived:?}");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn endings_idle_timeout() {
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).timeouts("idle = \"1s\"");
        let gateway = setup.start();
        let mut stream = connect(gateway.address(), &config(Version::V13));
        assert_echo(&mut stream, b"still here");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("an orderly end");
        gateway.line_of(local(&stream)).assert_ended("idle_timeout", "policy", "relay");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn endings_truncated() {
    let (sender, received) = channel();
    let backend = Backend::start(move |mut stream| {
        let mut all = Vec::new();
        let result = stream.read_to_end(&mut all).map(|_| all);
        sender.send(result).expect("somebody waits");
    });
    each_way(backend.address(), |gateway, way| {
        let mut stream = way.connect(gateway);
        stream.write_all(b"and then").expect("sent");
        let peer = local(&*stream);
        stream.socket().shutdown(Shutdown::Write).expect("an open socket");
        let got = received.recv_timeout(SOON).expect("the component ends");
        assert_eq!(got.expect("a FIN, no RST"), b"and then", "nothing that came is lost");
        // Without TLS, FIN is the orderly end.
        let reason = if way.has_tls() { "truncated" } else { "finished" };
        gateway.line_of(peer).assert_ended(reason, "downstream", "relay");
    });
}

#[test]
#[ignore = "run by tests/run"]
fn endings_reset_by_downstream() {
    let (backend, errors) = reports_end();
    each_way(backend.address(), |gateway, way| {
        let mut stream = way.connect(gateway);
        assert_echo(&mut *stream, b"x");
        let peer = local(&*stream);
        reset(stream);
        let error = errors.recv_timeout(SOON).expect("the component ends");
        assert_eq!(error, Some(ErrorKind::ConnectionReset), "RST goes on");
        gateway.line_of(peer).assert_ended("reset", "downstream", "relay");
    });
}

#[test]
#[ignore = "run by tests/run"]
fn endings_reset_by_upstream() {
    let backend = Backend::start(|mut stream| {
        let mut byte = [0; 1];
        if stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte)).is_ok() {
            // The second byte says that the first was answered.
            let _read = stream.read_exact(&mut byte);
            reset(Box::new(stream));
        }
    });
    each_way(backend.address(), |gateway, way| {
        let mut stream = way.connect(gateway);
        assert_echo(&mut *stream, b"x");
        stream.write_all(b"y").expect("sent");
        let read = stream.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::ConnectionReset), "RST goes on");
        gateway.line_of(local(&*stream)).assert_ended("reset", "upstream", "relay");
    });
}

#[test]
#[ignore = "run by tests/run"]
fn endings_in_the_handshake() {
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).timeouts("handshake = \"1s\"");
        let gateway = setup.start();
        // Nothing at all, then a FIN.
        let silent = TcpStream::connect(gateway.address()).expect("it accepts");
        let peer = silent.local_addr().expect("connected");
        drop(silent);
        gateway.line_of(peer).assert_ended("hello_eof", "downstream", "hello");
        // Nothing at all, and no FIN either.
        let silent = TcpStream::connect(gateway.address()).expect("it accepts");
        let peer = silent.local_addr().expect("connected");
        let line = gateway.line_of(peer);
        line.assert_ended("handshake_timeout", "downstream", "hello");
        assert_eq!(line.text("event"), "handshake_failed");
        let lived = Duration::from_micros(line.number("lifetime_us"));
        assert!(lived >= DOWN && lived < 2 * DOWN, "{engine:?}: {lived:?}");
    }
}

/// An echo that reports how each of its connections ended.
fn reports_end() -> (Backend, Receiver<Option<ErrorKind>>) {
    let (sender, receiver) = channel();
    let backend = Backend::start(move |mut stream| {
        let mut buffer = [0; 4096];
        let end = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break None,
                Err(error) => break Some(error.kind()),
                Ok(length) => {
                    if let Err(error) = stream.write_all(&buffer[..length]) {
                        break Some(error.kind());
                    }
                }
            }
        };
        sender.send(end).expect("somebody waits");
    });
    (backend, receiver)
}
