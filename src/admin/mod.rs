//! The admin port: health, metrics, status and a page over HTTP, on a thread of its own.
//!
//! Read only, and nothing here touches a shard: everything comes from a [`StatusSource`]. The port
//! has limits of its own (connections, header size and time, connection lifetime), so that a peer
//! of it cannot take what the gateway needs.

pub mod page;
mod routes;
mod status;

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::audit::report::Traffic;
use crate::audit::{Inventory, Part};
use crate::telemetry::{ReadError, Snapshot};

/// Pause after accept failed, so that a lack of descriptors does not make the thread spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a response may take to end after its connection's lifetime is over.
const LAST_RESPONSE: Duration = Duration::from_secs(10);
/// How long the end of the program waits for the last reads.
const STOP: Duration = Duration::from_secs(1);
/// How long a connection that was accepted before the port was retired may take to send a request.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// Threads that wait for snapshots; the aggregator answers all of them together.
const READERS: usize = 8;
/// How long such a thread waits for the next reader: nothing is kept from one scrape to the next.
const READER_KEPT: Duration = Duration::from_secs(1);
/// Longest request line and headers, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Where the admin port has its answers from.
pub trait StatusSource {
    /// A fresh snapshot. May block for as long as shards are given to answer.
    ///
    /// # Errors
    /// When the aggregator does not answer.
    fn snapshot(&self) -> Result<Arc<Snapshot>, ReadError>;

    /// What live traffic has shown. May block as [`StatusSource::snapshot`].
    fn traffic(&self, part: Part) -> Traffic;

    /// The same at a glance: who talks to whom, and what expires. May block as well.
    fn inventory(&self) -> Inventory;

    /// Must not block.
    fn lifecycle(&self) -> Lifecycle;
}

/// What `/status` tells. May block as [`StatusSource::snapshot`].
///
/// # Errors
/// When the aggregator does not answer.
pub fn status_of(source: &dyn StatusSource) -> Result<serde_json::Value, ReadError> {
    let traffic = source.traffic(Part::All);
    let snapshot = source.snapshot()?;
    Ok(status::value(&snapshot, &traffic, source.lifecycle()))
}

/// What the gateway is doing with new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    Starting,
    Accepting,
    Draining,
}

impl Lifecycle {
    /// Word in `/readyz` and `/status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Accepting => "accepting",
            Self::Draining => "draining",
        }
    }
}

/// Owner of the admin port; closes it when dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    /// A second descriptor of the listening socket, for a successor.
    socket: Option<Arc<OwnedFd>>,
    /// Lets accepting begin.
    open: Option<oneshot::Sender<()>>,
    accepting: AbortHandle,
    /// Set when open connections are to end with the response under way.
    retired: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What one peer, and all together, may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at the same time; further ones are closed at once and counted.
    connections: usize,
    /// From accept, or from the last response, to the end of the next request's headers.
    header: Duration,
    /// From accept to the last request of a connection.
    lifetime: Duration,
}

const LIMITS: Limits =
    Limits { connections: 64, header: Duration::from_secs(5), lifetime: Duration::from_secs(60) };

impl Admin {
    /// Gets ready to serve on `listener`, on a thread of its own. It accepts nothing before
    /// [`Admin::open`].
    ///
    /// # Errors
    /// When the socket cannot be watched or the thread cannot be created.
    pub fn start(
        listener: TcpListener,
        source: Arc<dyn StatusSource + Send + Sync>,
    ) -> io::Result<Self> {
        Self::start_with(listener, source, LIMITS)
    }

    fn start_with(
        listener: TcpListener,
        source: Arc<dyn StatusSource + Send + Sync>,
        limits: Limits,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let socket = Some(Arc::new(listener.try_clone()?.into()));
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(READERS)
            .thread_keep_alive(READER_KEPT)
            .thread_name("admin-reader")
            .build()?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let (retired, retirement) = watch::channel(false);
        let refused = Arc::new(AtomicU64::new(0));
        let router = routes::router(source, Arc::clone(&refused));
        let places = Arc::new(Semaphore::new(limits.connections));
        let last = last_connections(limits.connections, Arc::clone(&places), retirement.clone());
        let service = Service { router, limits, retirement };
        let (open, opened) = oneshot::channel();
        let accepting = async move {
            if opened.await.is_ok() {
                accept(listener, service, places, refused).await;
            }
        };
        let accepting = runtime.spawn(accepting).abort_handle();
        let thread = Builder::new().name("admin".to_owned()).spawn(move || {
            // An error says that the owner is gone without a word: a reason to stop as well.
            drop(runtime.block_on(stopped));
            runtime.block_on(last);
            runtime.shutdown_timeout(STOP);
        })?;
        let (open, stop, thread) = (Some(open), Some(stop), Some(thread));
        Ok(Self { address, socket, open, accepting, retired, stop, thread })
    }

    /// Accepts from now on.
    pub fn open(&mut self) {
        if let Some(open) = self.open.take() {
            // Fails only when it was retired before.
            let _retired = open.send(());
        }
    }

    /// The listening socket, for a successor; `None` once it is retired.
    pub fn socket(&self) -> Option<Arc<OwnedFd>> {
        self.socket.clone()
    }

    /// Accepts nothing more and closes the listening socket. Connections end with the response
    /// under way, or with that to a request that comes at once; the owner's end waits for that.
    pub fn retire(&mut self) {
        self.socket = None;
        self.accepting.abort();
        self.retired.send_replace(true);
    }

    /// The address that is really bound: the port is known even if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // Closing the channel is the word to stop.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin port's thread panicked");
        }
    }
}

/// What each connection is served with.
#[derive(Clone)]
struct Service {
    router: Router,
    limits: Limits,
    retirement: watch::Receiver<bool>,
}

/// Waits for the connections of a port that is retired.
async fn last_connections(most: usize, places: Arc<Semaphore>, retirement: watch::Receiver<bool>) {
    let is_retired = *retirement.borrow();
    if is_retired {
        let all = u32::try_from(most).unwrap_or(u32::MAX);
        // Those that take longer are cut off.
        let _in_time = timeout(2 * LAST_REQUEST, places.acquire_many(all)).await;
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    service: Service,
    places: Arc<Semaphore>,
    refused: Arc<AtomicU64>,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let service = service.clone();
        tokio::spawn(async move {
            serve(stream, service).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, service: Service) {
    let Service { router, limits, mut retirement } = service;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let end = {
        let mut time_to_go = pin!(timeout(limits.lifetime, retired(&mut retirement)));
        poll_fn(|context| match connection.as_mut().poll(context) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending => time_to_go.as_mut().poll(context).map(|_| None),
        })
        .await
    };
    let end = match end {
        Some(end) => Ok(end),
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_RESPONSE, connection).await
        }
    };
    match end {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin port broke"),
        Err(_) => tracing::debug!("a connection to the admin port took too long"),
    }
}

async fn retired(retirement: &mut watch::Receiver<bool>) {
    // An error says that the owner is gone, which ends everything.
    if retirement.wait_for(|retired| *retired).await.is_ok() {
        sleep(LAST_REQUEST).await;
    }
}

#[cfg(test)]
mod tests;
