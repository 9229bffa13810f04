//! Much data, both directions at once, and nothing lost: SHA-256 on both ends.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use ring::digest::{Context, Digest, SHA256};
use rustix::event::PollFlags;
use rustls::crypto::ring as provider;
use tempfile::TempDir;
use tlsgate_bench::backend::{Address, Backend as Component, Mode};
use tlsgate_bench::content;

use crate::support::backend::Backend;
use crate::support::ca::NAME;
use crate::support::client::{Version, config_of, connect};
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::run;
use crate::support::session::{Session, local, wait};
use crate::support::way::{Way, each_way};
use crate::support::{engines, sized};

const MIB: u64 = 1024 * 1024;
const PARALLEL: usize = 16;
const DIGEST: usize = 32;
const PIECE: u64 = 64 * 1024;

#[test]
#[ignore = "run by tests/run"]
fn bulk_256mb() {
    let alone = sized(256, 32) * MIB;
    let backend = component(alone);
    each_way(backend.address(), |gateway, way| transfer(gateway, way, alone, 0));
    let bytes = sized(256, 8) * MIB;
    let backend = component(bytes);
    each_way(backend.address(), |gateway, way| {
        let gateway = &*gateway;
        let count = |name: &str| gateway.metrics().count(name, &[]);
        let totals =
            || ["received", "sent"].map(|way| count(&format!("tlsgate_{way}_bytes_total")));
        let [received, sent] = totals();
        std::thread::scope(|scope| {
            for number in 0..PARALLEL {
                scope.spawn(move || transfer(gateway, way, bytes, number as u64));
            }
        });
        gateway.wait_until_idle();
        let parallel = PARALLEL as u64;
        let expected = [received + parallel * bytes, sent + parallel * (bytes + DIGEST as u64)];
        assert_eq!(totals(), expected, "{way:?}");
    });
}

/// Every suite of the modern lane, through a gateway that ends TLS, and through one before it that
/// speaks TLS on both sides, of either version: what is received in any of their records is sent in
/// any other.
#[test]
#[ignore = "run by tests/run"]
fn bulk_each_suite() {
    let bytes = sized(256, 4) * MIB;
    let backend = component(bytes);
    for engine in engines() {
        for layer in ["own", "rustls"] {
            let layer_line = format!("record_layer = {layer:?}");
            let inner = Setup::new(engine, backend.address()).gateway(&layer_line).start();
            let outer = Version::BOTH.map(|version| {
                let version = format!("max_version = {0:?}\nmin_version = {0:?}", version.number());
                let setup = Setup::new(engine, inner.address()).gateway(&layer_line);
                let trust = format!("trusted_ca = \"ca.pem\"\nserver_name = {NAME:?}");
                let setup = setup.listener("mode = \"bridge\"").upstream_tls(&trust);
                setup.upstream_tls(&version).start()
            });
            for suite in provider::default_provider().cipher_suites {
                if format!("{:?}", suite.suite()).contains("_RSA_") {
                    // Its records are those of ECDSA.
                    continue;
                }
                println!("{engine:?} {layer} {:?}", suite.suite());
                for gateway in outer.iter().chain([&inner]) {
                    let session = connect(gateway.address(), &config_of(suite));
                    transfer_on(gateway, Box::new(session), bytes, 0);
                }
            }
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn bulk_curl() {
    let bytes = sized(256, 64) * MIB;
    for engine in engines() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let component = Component::start(Address::Tcp(any), Mode::Http).expect("a free port");
        let Address::Tcp(address) = *component.address() else { unreachable!("asked for TCP") };
        let gateway = Setup::new(engine, address).start();
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("body");
        let curl = |path: &str, options: &[&str]| {
            let port = gateway.port();
            let mut command = Command::new("curl");
            command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert"]);
            command.arg(gateway.ca_file());
            command.args(["--resolve", &format!("localhost:{port}:127.0.0.1")]).args(options);
            let url = format!("https://localhost:{port}{path}");
            let ended = run(command.arg(url), Duration::from_secs(300));
            assert_eq!(ended.code(), 0, "{}", ended.stderr);
            ended.stdout
        };
        let name = file.to_str().expect("a temporary path is UTF-8");
        curl(&format!("/bytes/{bytes}"), &["--output", name]);
        let expected = digest_of_content(0, bytes);
        assert_eq!(digest_of_file(&file), expected.as_ref(), "{engine:?}: the download");
        let upload = format!("@{name}");
        let answer = curl("/sink", &["--data-binary", &upload, "--header", "Expect:"]);
        let expected = format!("{bytes} {:016x}", content::checksum(bytes));
        assert_eq!(answer.trim(), expected, "{engine:?}: the upload");
    }
}

fn transfer(gateway: &Gateway, way: Way, bytes: u64, number: u64) {
    transfer_on(gateway, way.connect(gateway), bytes, number);
}

/// One connection that uploads and downloads `bytes` at the same time.
fn transfer_on(gateway: &Gateway, mut session: Box<dyn Session>, bytes: u64, number: u64) {
    // Every connection has other bytes, so that mixing them up would be seen.
    let offset = number * 7919;
    let (sent, download) = exchange(&mut *session, offset, bytes)
        .unwrap_or_else(|error| panic!("connection {number}: {error}"));
    let (body, trailer) = download;
    assert_eq!(body.as_ref(), digest_of_content(1, bytes).as_ref(), "the download of {number}");
    assert_eq!(trailer, sent.as_ref(), "the upload of {number}");
    let line = gateway.line_of(local(&*session));
    line.assert_ended("finished", "downstream", "relay");
    assert_eq!(line.number("bytes_received"), bytes);
    assert_eq!(line.number("bytes_sent"), bytes + DIGEST as u64);
}

/// Sends `bytes` of content from `offset` on and the end, and reads to the other side's end.
/// Returns the digest of what was sent, and the digest and the trailer of what came.
fn exchange(
    session: &mut dyn Session,
    offset: u64,
    bytes: u64,
) -> io::Result<(Digest, (Digest, Vec<u8>))> {
    session.socket().set_nonblocking(true)?;
    let (mut sent, mut upload) = (0, Context::new(&SHA256));
    let (mut come, mut download, mut trailer) = (0, Context::new(&SHA256), Vec::new());
    let mut is_closed = false;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut is_full = false;
        while sent < bytes {
            let piece = content::at(offset + sent, PIECE.min(bytes - sent));
            let taken = session.push(piece)?;
            is_full = taken == 0;
            if is_full {
                break;
            }
            upload.update(&piece[..taken]);
            sent += taken as u64;
        }
        if sent == bytes && !is_closed {
            is_closed = session.end()?;
            is_full = !is_closed;
        }
        is_full |= !session.send()?;
        let mut has_come = false;
        while let Some(length) = session.pull(&mut buffer)? {
            if length == 0 {
                return Ok((upload.finish(), (download.finish(), trailer)));
            }
            let rest = usize::try_from(bytes - come).unwrap_or(usize::MAX).min(length);
            download.update(&buffer[..rest]);
            trailer.extend_from_slice(&buffer[rest..length]);
            come += rest as u64;
            has_come = true;
        }
        // With room in the socket and more to send there is nothing to wait for.
        if !has_come && (is_closed || is_full) {
            let mut interest = PollFlags::IN;
            interest.set(PollFlags::OUT, is_full);
            wait(&[(session.socket(), interest)])?;
        }
    }
}

/// Sends `bytes` of content from offset 1 on while it reads to the end, then the SHA-256 of what
/// it read.
fn component(bytes: u64) -> Backend {
    Backend::start(move |stream| {
        let reader = stream.try_clone().expect("a descriptor");
        let hashed = std::thread::spawn(move || hash_to_end(reader));
        // A broken connection is seen by the client, which compares digests.
        let _sent = send_content(stream, bytes, || hashed.join().expect("no panic"));
    })
}

fn send_content(
    mut stream: TcpStream,
    bytes: u64,
    trailer: impl FnOnce() -> io::Result<Digest>,
) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes {
        let piece = content::at(1 + sent, PIECE.min(bytes - sent));
        stream.write_all(piece)?;
        sent += piece.len() as u64;
    }
    stream.write_all(trailer()?.as_ref())?;
    stream.shutdown(Shutdown::Write)
}

fn hash_to_end(mut stream: TcpStream) -> io::Result<Digest> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(context.finish()),
            length => context.update(&buffer[..length]),
        }
    }
}

fn digest_of_content(offset: u64, bytes: u64) -> Digest {
    let mut context = Context::new(&SHA256);
    let mut done = 0;
    while done < bytes {
        let piece = content::at(offset + done, PIECE.min(bytes - done));
        context.update(piece);
        done += piece.len() as u64;
    }
    context.finish()
}

fn digest_of_file(path: &std::path::Path) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    let mut file = fs::File::open(path).expect("written by curl");
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).expect("readable") {
            0 => return context.finish().as_ref().to_vec(),
            length => context.update(&buffer[..length]),
        }
    }
}
