//! The backends as a plain socket sees them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tlsgate_bench::backend::{Address, Backend, Mode};
use tlsgate_bench::content;

const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));

fn start(mode: Mode) -> Backend {
    let any: Address = "127.0.0.1:0".parse().expect("an address");
    Backend::start(any, mode).expect("a backend")
}

fn connect(backend: &Backend) -> TcpStream {
    let address = backend.tcp_address().expect("a TCP backend");
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(TIMEOUT).expect("a timeout");
    stream.set_write_timeout(TIMEOUT).expect("a timeout");
    stream
}

fn read_exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut data = vec![0; count];
    stream.read_exact(&mut data).expect("so many bytes");
    data
}

fn read_to_end(mut stream: impl Read) -> Vec<u8> {
    let mut data = Vec::new();
    stream.read_to_end(&mut data).expect("an orderly end");
    data
}

/// Sends `data`, ends the direction, and returns everything that comes back.
fn send_and_finish(mut stream: TcpStream, data: &[u8]) -> Vec<u8> {
    let mut writer = stream.try_clone().expect("a second handle");
    let data = data.to_vec();
    let writing = std::thread::spawn(move || {
        writer.write_all(&data).expect("send");
        writer.shutdown(Shutdown::Write).expect("finish");
    });
    let answer = read_to_end(&mut stream);
    writing.join().expect("the writer");
    answer
}

#[test]
fn echo_sends_everything_back_after_a_half_close() {
    for mode in [Mode::Echo, Mode::Sniff] {
        let backend = start(mode);
        let data: Vec<u8> = content::at(0, 65_000).repeat(50);
        let answer = send_and_finish(connect(&backend), &data);
        assert!(answer == data, "{} of {} bytes", answer.len(), data.len());
        assert!(send_and_finish(connect(&backend), b"").is_empty());
    }
}

#[test]
fn echo_stops_reading_when_nobody_takes_the_answers() {
    let backend = start(Mode::Echo);
    let mut stream = connect(&backend);
    stream.set_nonblocking(true).expect("non-blocking");
    // Socket buffers of both ends and the backend's own limit: far below this on any system.
    const UNBOUNDED: usize = 256 * 1024 * 1024;
    let mut sent = 0;
    let mut blocked_since = Instant::now();
    while blocked_since.elapsed() < Duration::from_millis(300) {
        match stream.write(content::at(sent as u64, 65_000)) {
            Ok(count) => {
                sent += count;
                blocked_since = Instant::now();
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        assert!(sent < UNBOUNDED, "the backend stores without limit");
    }
    stream.set_nonblocking(false).expect("blocking");
    stream.shutdown(Shutdown::Write).expect("finish");
    let answer = read_to_end(&mut stream);
    assert_eq!(answer.len(), sent);
    assert!(content::matches(0, &answer));
}

#[test]
fn http_keeps_the_connection_until_told_otherwise() {
    let backend = start(Mode::Sniff);
    let mut stream = connect(&backend);
    stream.write_all(b"GET /bytes/1000000 HTTP/1.1\r\n\r\n").expect("send");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read_exactly(&mut stream, 1));
    }
    assert!(head.starts_with(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n"));
    assert!(content::matches(0, &read_exactly(&mut stream, 1_000_000)));
    stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("send");
    let answer = read_to_end(&mut stream);
    assert!(answer.ends_with(b"tlsgate-bench backend\n"), "{}", answer.escape_ascii());
}

#[test]
fn requests_before_a_half_close_are_all_answered() {
    let backend = start(Mode::Http);
    let requests = b"GET /bytes/300000 HTTP/1.1\r\n\r\n".repeat(20);
    let answer = send_and_finish(connect(&backend), &requests);
    let heads = answer.windows(15).filter(|window| window == b"HTTP/1.1 200 OK").count();
    assert_eq!(heads, 20);
    assert!(answer.len() > 20 * 300_000);
    assert!(content::matches(0, &answer[answer.len() - 300_000..]));
}

#[test]
fn a_greeter_speaks_first_then_echoes() {
    let backend = start(Mode::Greeter { banner: b"220 ready\r\n".to_vec() });
    let mut stream = connect(&backend);
    assert_eq!(read_exactly(&mut stream, 11), b"220 ready\r\n");
    assert_eq!(send_and_finish(stream, b"and now"), b"and now");
}

#[test]
fn a_source_sends_its_bytes_then_finishes_and_still_listens() {
    let backend = start(Mode::Source { bytes: 3_000_000 });
    let mut stream = connect(&backend);
    let data = read_to_end(&mut stream);
    assert_eq!(data.len(), 3_000_000);
    assert!(content::matches(0, &data));
    stream.write_all(content::at(0, 65_000)).expect("the other direction is still open");
    assert!(read_to_end(connect(&start(Mode::Source { bytes: 0 }))).is_empty());
}

#[test]
fn discard_takes_everything_and_closes_when_the_peer_does() {
    let backend = start(Mode::Discard);
    let data = content::at(0, 65_000).repeat(20);
    assert!(send_and_finish(connect(&backend), &data).is_empty());
}

#[test]
fn many_connections_are_served_and_counted_and_cut_off_by_drop() {
    let backend = start(Mode::Echo);
    let mut streams: Vec<TcpStream> = (0..256).map(|_| connect(&backend)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(content::at(number as u64, 100)).expect("send");
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        assert!(content::matches(number as u64, &read_exactly(stream, 100)));
    }
    let counters = backend.counters();
    assert_eq!((counters.accepted, counters.open), (256, 256));
    assert_eq!((counters.refused, counters.failed), (0, 0));
    drop(backend);
    for stream in &mut streams {
        assert!(!matches!(stream.read(&mut [0]), Ok(1)), "the backend is gone");
    }
}

#[test]
fn a_unix_socket_serves_and_its_file_goes_with_the_backend() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("backend.sock");
    let backend = Backend::start(Address::Unix(path.clone()), Mode::Echo).expect("a backend");
    assert_eq!(backend.address().to_string(), format!("unix:{}", path.display()));
    let mut stream = UnixStream::connect(&path).expect("connect");
    stream.set_read_timeout(TIMEOUT).expect("a timeout");
    stream.write_all(b"over a file").expect("send");
    assert_eq!(read_exactly(&mut stream, 11), b"over a file");
    assert!(Backend::start(Address::Unix(path.clone()), Mode::Echo).is_err(), "it is in use");
    drop(backend);
    assert!(!path.exists());
}
