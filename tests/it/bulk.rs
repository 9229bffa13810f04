//! Much data, both directions at once, and nothing lost: SHA-256 on both ends.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use ring::digest::{Context, Digest, SHA256};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;
use tlsgate_bench::backend::{Address, Backend as Component, Mode};
use tlsgate_bench::content;

use crate::support::backend::Backend;
use crate::support::client::{TlsStream, Version, config, connect, local};
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::run;
use crate::support::{engines, sized};

const MIB: u64 = 1024 * 1024;
const PARALLEL: usize = 16;
const DIGEST: usize = 32;
const PIECE: u64 = 64 * 1024;
/// Longest time without any progress.
const STALL: Duration = Duration::from_secs(60);

#[test]
#[ignore = "run by tests/run"]
fn bulk_256mb() {
    for engine in engines() {
        for version in Version::BOTH {
            let alone = sized(256, 64) * MIB;
            let each = sized(256, 8) * MIB;
            let backend = component(alone);
            let gateway = Setup::new(engine, backend.address()).start();
            transfer(&gateway, version, alone, 0);
            drop(gateway);
            let backend = component(each);
            let gateway = Setup::new(engine, backend.address()).start();
            std::thread::scope(|scope| {
                for number in 0..PARALLEL {
                    let gateway = &gateway;
                    scope.spawn(move || transfer(gateway, version, each, number as u64));
                }
            });
            gateway.wait_until_idle();
            let metrics = gateway.metrics();
            let parallel = PARALLEL as u64;
            let received = metrics.count("tlsgate_received_bytes_total", &[]);
            let sent = metrics.count("tlsgate_sent_bytes_total", &[]);
            assert_eq!(received, parallel * each, "{engine:?} {version:?}");
            assert_eq!(sent, parallel * (each + DIGEST as u64), "{engine:?} {version:?}");
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

/// One connection that uploads and downloads `bytes` at the same time.
fn transfer(gateway: &Gateway, version: Version, bytes: u64, number: u64) {
    let mut stream = connect(gateway.address(), &config(version));
    // Every connection has other bytes, so that mixing them up would be seen.
    let offset = number * 7919;
    let (sent, download) = exchange(&mut stream, offset, bytes)
        .unwrap_or_else(|error| panic!("{version:?} connection {number}: {error}"));
    let (body, trailer) = download;
    assert_eq!(body.as_ref(), digest_of_content(1, bytes).as_ref(), "the download of {number}");
    assert_eq!(trailer, sent.as_ref(), "the upload of {number}");
    let line = gateway.line_of(local(&stream));
    line.assert_ended("finished", "downstream", "relay");
    assert_eq!(line.number("bytes_received"), bytes);
    assert_eq!(line.number("bytes_sent"), bytes + DIGEST as u64);
}

/// Sends `bytes` of content from `offset` on and close_notify, and reads to the other side's.
/// Returns the digest of what was sent, and the digest and the trailer of what came.
fn exchange(
    stream: &mut TlsStream,
    offset: u64,
    bytes: u64,
) -> io::Result<(Digest, (Digest, Vec<u8>))> {
    stream.sock.set_nonblocking(true)?;
    let (mut sent, mut upload) = (0, Context::new(&SHA256));
    let (mut come, mut download, mut trailer) = (0, Context::new(&SHA256), Vec::new());
    let mut is_closed = false;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while sent < bytes {
            let piece = content::at(offset + sent, PIECE.min(bytes - sent));
            let taken = stream.conn.writer().write(piece)?;
            upload.update(&piece[..taken]);
            sent += taken as u64;
            if taken < piece.len() {
                break;
            }
        }
        if sent == bytes && !is_closed {
            stream.conn.send_close_notify();
            is_closed = true;
        }
        while stream.conn.wants_write() && would_block(stream.conn.write_tls(&mut stream.sock))? {}
        let arrived = would_block(stream.conn.read_tls(&mut stream.sock))?;
        stream.conn.process_new_packets().map_err(io::Error::other)?;
        loop {
            let length = match stream.conn.reader().read(&mut buffer) {
                Ok(0) => return Ok((upload.finish(), (download.finish(), trailer))),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let rest = usize::try_from(bytes - come).unwrap_or(usize::MAX).min(length);
            download.update(&buffer[..rest]);
            trailer.extend_from_slice(&buffer[rest..length]);
            come += rest as u64;
        }
        // With room in the socket and more to send there is nothing to wait for.
        if !arrived && (is_closed || stream.conn.wants_write()) {
            wait(stream)?;
        }
    }
}

/// Waits until the socket has something to read, or room for what is to be written.
fn wait(stream: &TlsStream) -> io::Result<()> {
    let mut interest = PollFlags::IN;
    interest.set(PollFlags::OUT, stream.conn.wants_write());
    let mut polled = [PollFd::new(&stream.sock, interest)];
    let timeout = Timespec::try_from(STALL).expect("a minute");
    match poll(&mut polled, Some(&timeout))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Whether bytes moved; an error when the stream broke.
fn would_block(result: io::Result<usize>) -> io::Result<bool> {
    match result {
        Ok(length) => Ok(length > 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
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
