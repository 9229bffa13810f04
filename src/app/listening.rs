//! What the process listens on, over all workers, and how that changes with the configuration.
//!
//! A listening socket stays as long as its address stays in the configuration: nobody who connects
//! to it meanwhile is turned away. The gateway keeps a second descriptor of each, for options that
//! a new configuration changes.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::SockRef;

use super::bind::{self, BindError};
use crate::config::model::{Keepalive, ListenAddress, Listener};
use crate::engine::socket::{self, set_tcp_options};
use crate::shard::mailbox::BoundId;
use crate::telemetry::ListenerFacts;

/// Every address that is bound.
#[derive(Debug, Default)]
pub(super) struct Listening {
    addresses: Vec<BoundAddress>,
    /// Sockets bound since the start.
    count: u64,
}

/// One address of the configuration and its sockets.
#[derive(Debug)]
struct BoundAddress {
    listen: ListenAddress,
    /// The address it really got, as text.
    actual: String,
    sockets: Vec<BoundSocket>,
}

#[derive(Debug)]
struct BoundSocket {
    id: BoundId,
    socket: OwnedFd,
}

/// What a configuration needs that is not bound yet: bound, but not listened on by any worker.
#[derive(Debug)]
pub(super) struct Change {
    added: Vec<BoundAddress>,
    /// By worker.
    open: Vec<Vec<(BoundId, socket::Listener)>>,
    count: u64,
}

/// What workers are to be told about a change.
#[derive(Debug)]
pub(super) struct Assignment {
    /// By worker: sockets that are new.
    pub(super) open: Vec<Vec<(BoundId, socket::Listener)>>,
    /// Which listener of the configuration each socket serves.
    pub(super) serves: Arc<[(BoundId, usize)]>,
    /// The listeners, with the addresses they really got.
    pub(super) facts: Vec<ListenerFacts>,
}

impl Listening {
    /// Binds the addresses of `listeners` that are not bound yet, a socket for each worker.
    ///
    /// # Errors
    /// What the kernel said; nothing has changed.
    pub(super) fn prepare(
        &self,
        listeners: &[Listener],
        workers: usize,
    ) -> Result<Change, BindError> {
        let mut change = Change {
            added: Vec::new(),
            open: (0..workers).map(|_| Vec::new()).collect(),
            count: self.count,
        };
        for listener in listeners.iter().filter(|listener| !self.has(&listener.listen)) {
            change.bind(listener, workers)?;
        }
        Ok(change)
    }

    /// Takes over what was prepared, and lets go of what `listeners` do not name any more.
    pub(super) fn commit(&mut self, change: Change, listeners: &[Listener]) -> Assignment {
        let wanted: HashSet<&ListenAddress> = listeners.iter().map(|one| &one.listen).collect();
        // Before the workers close theirs: the last descriptor is what empties the accept queue.
        self.addresses.retain(|bound| wanted.contains(&bound.listen));
        for listener in listeners {
            self.set_options(listener);
        }
        self.addresses.extend(change.added);
        self.count = change.count;
        let mut serves = Vec::new();
        let mut facts = Vec::new();
        for (position, listener) in listeners.iter().enumerate() {
            let bound = self.find(&listener.listen).expect("bound before, or just now");
            serves.extend(bound.sockets.iter().map(|socket| (socket.id, position)));
            let (name, address) = (listener.name.as_str().into(), bound.actual.clone());
            facts.push(ListenerFacts { name, address });
        }
        Assignment { open: change.open, serves: serves.into(), facts }
    }

    fn has(&self, address: &ListenAddress) -> bool {
        self.find(address).is_some()
    }

    fn find(&self, address: &ListenAddress) -> Option<&BoundAddress> {
        self.addresses.iter().find(|bound| bound.listen == *address)
    }

    /// Connections that are accepted from now on inherit the options of `listener`.
    fn set_options(&self, listener: &Listener) {
        let Some(bound) = self.find(&listener.listen) else { return };
        for BoundSocket { socket, .. } in &bound.sockets {
            if let Err(error) = change_tcp_options(socket, &listener.keepalive) {
                let listener = &listener.name;
                tracing::warn!(%listener, %error, "keepalive of the listening socket stays as it was");
            }
        }
    }
}

impl Change {
    fn bind(&mut self, listener: &Listener, workers: usize) -> Result<(), BindError> {
        let bound = bind::bind(listener, workers)?;
        let mut sockets = Vec::with_capacity(workers);
        for (worker, socket) in bound.listeners.into_iter().enumerate() {
            let id = BoundId(self.count);
            self.count += 1;
            let second = socket.socket.try_clone();
            let second = second.map_err(|error| bind::failure(listener, error))?;
            sockets.push(BoundSocket { id, socket: second });
            self.open[worker].push((id, socket));
        }
        let listen = listener.listen.clone();
        self.added.push(BoundAddress { listen, actual: bound.address, sockets });
        Ok(())
    }
}

/// As [`set_tcp_options`], on a socket that may have had others. Unix sockets have none.
fn change_tcp_options(socket: &OwnedFd, keepalive: &Keepalive) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if socket.local_addr()?.as_socket().is_none() {
        return Ok(());
    }
    socket.set_keepalive(keepalive.idle.is_some())?;
    socket.set_tcp_user_timeout(None)?;
    set_tcp_options(&socket, keepalive)
}
