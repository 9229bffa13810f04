//! Components behind the gateway: a thread for each connection, with whatever manners a check
//! needs. Those that must carry thousands of connections come from the measuring tool instead.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::{SOON, wait_until};

/// Longest time that a backend waits for the gateway.
const PATIENCE: Duration = Duration::from_secs(60);

/// Listens on a port of its own and serves until dropped.
pub(crate) struct Backend {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Serves each connection with `serve`, on a thread of its own.
    pub(crate) fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self::serve(listener, serve)
    }

    /// As [`Backend::start`], with a listener that is there already.
    pub(crate) fn serve(
        listener: TcpListener,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = Arc::new(serve);
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let serve = Arc::clone(&serve);
                stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
                stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// Sends everything back; its FIN follows the peer's.
    pub(crate) fn echo() -> Self {
        Self::start(|stream| {
            // The peer's errors are what some checks are about.
            let _ended = echo(stream);
        })
    }

    /// Answers every HTTP request with `body` and closes.
    pub(crate) fn http(body: &'static str) -> Self {
        Self::start(move |stream| {
            let _ended = answer_http(stream, body);
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Backend {
    /// Accepts nothing from now on; connections go on. Returns when others are refused.
    pub(crate) fn stop(&self) {
        self.wake_to_stop();
        wait_until("the listener is closed", SOON, || TcpStream::connect(self.address).is_err());
    }

    fn wake_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
        // Fails when the thread has ended.
        let _woken = TcpStream::connect(self.address);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.wake_to_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("accepting does not panic");
        }
    }
}

/// Sends everything back; FIN follows the peer's.
///
/// # Errors
/// Those of the peer.
pub(crate) fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.shutdown(Shutdown::Write),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn answer_http(mut stream: TcpStream, body: &str) -> io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&buffer[..length]),
        }
    }
    let length = body.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Where nobody listens.
pub(crate) fn dead_address() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a free port");
    let address = socket.local_addr().expect("bound").as_socket().expect("of TCP");
    // Bound for as long as the checks run, so that nobody else gets the port and listens there.
    std::mem::forget(socket);
    address
}

/// Where SYNs get no answer: a listener whose accept queue is full, and stays so.
pub(crate) struct Silent {
    listener: Socket,
    queued: Vec<TcpStream>,
}

impl Silent {
    pub(crate) fn start() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        listener.bind(&SockAddr::from(any)).expect("a free port");
        listener.listen(0).expect("a bound socket can listen");
        let mut silent = Self { listener, queued: Vec::new() };
        let address = silent.address();
        // Fills the queue: the first connection that gets no answer proves that it is full.
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
            silent.queued.push(stream);
            assert!(silent.queued.len() < 100, "the accept queue does not fill");
        }
        silent
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.listener.local_addr().expect("bound");
        address.as_socket().expect("an IP address")
    }
}

/// Closes with RST.
pub(crate) fn reset(stream: TcpStream) {
    let socket = Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).expect("an open socket");
    drop(socket);
}
