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

    /// Lets go of sockets that no worker has.
    pub(super) fn close(&mut self, sockets: &[BoundId]) {
        for address in &mut self.addresses {
            address.sockets.retain(|socket| !sockets.contains(&socket.id));
        }
        self.addresses.retain(|address| !address.sockets.is_empty());
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

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    /// Listeners on these addresses.
    fn listeners(addresses: &[SocketAddr]) -> Vec<Listener> {
        let one = |address: &SocketAddr| {
            let name = address.port();
            format!(
                "[[listener]]\nname = \"{name}\"\nlisten = \"{address}\"\n\
                 upstream = \"127.0.0.1:2\"\n[listener.tls]\ncertificate = \"a\"\n\
                 certificate_key = \"b\"\n"
            )
        };
        let text: String = addresses.iter().map(one).collect();
        let config = crate::config::parse("a.toml", &text);
        config.unwrap_or_else(|diagnostics| panic!("{diagnostics}")).listeners
    }

    fn free_addresses<const N: usize>() -> [SocketAddr; N] {
        let sockets = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        sockets.map(|socket| socket.local_addr().expect("bound"))
    }

    fn is_open(address: SocketAddr) -> bool {
        TcpStream::connect(address).is_ok()
    }

    #[test]
    fn sockets_stay_as_long_as_their_address_stays() {
        let [a, b, c] = free_addresses();
        let mut listening = Listening::default();
        let (before, after) = (listeners(&[a, b]), listeners(&[c, b]));
        let change = listening.prepare(&before, 2).expect("free ports");
        let first = listening.commit(change, &before);
        assert_eq!(first.open.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(first.serves.len(), 4);

        let change = listening.prepare(&after, 2).expect("free ports");
        let second = listening.commit(change, &after);
        assert_eq!(second.open.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
        let positions = |assignment: &Assignment, position| {
            let serving = assignment.serves.iter().filter(|(_, at)| *at == position);
            serving.map(|(id, _)| *id).collect::<Vec<_>>()
        };
        assert_eq!(positions(&first, 1), positions(&second, 1), "the same sockets");
        let new: Vec<BoundId> = second.open.iter().flatten().map(|(id, _)| *id).collect();
        assert_eq!(positions(&second, 0), new);
        assert!(first.serves.iter().all(|(id, _)| !new.contains(id)), "no id is used again");
        // What the gateway keeps does not hold open what the workers have closed.
        drop(first.open);
        assert!(!is_open(a) && is_open(b) && is_open(c));
    }

    #[test]
    fn when_one_cannot_be_bound_none_is() {
        let [a, b] = free_addresses();
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = (taken.local_addr().expect("bound"), taken);
        let mut listening = Listening::default();
        let before = listeners(&[a]);
        let change = listening.prepare(&before, 1).expect("a free port");
        let assignment = listening.commit(change, &before);
        let error = listening.prepare(&listeners(&[b, taken.0]), 1).expect_err("it is taken");
        assert_eq!(error.error.kind(), io::ErrorKind::AddrInUse);
        assert!(!is_open(b) && is_open(a));
        drop(assignment);
    }

    #[test]
    fn keepalive_changes_on_sockets_that_stay() {
        let [a] = free_addresses();
        let mut before = listeners(&[a]);
        before[0].keepalive.idle = None;
        let mut listening = Listening::default();
        let change = listening.prepare(&before, 1).expect("a free port");
        let assignment = listening.commit(change, &before);
        let socket = SockRef::from(&assignment.open[0][0].1.socket);
        assert!(!socket.keepalive().expect("an open socket"));
        for seconds in [Some(77), None] {
            let mut after = before.clone();
            after[0].keepalive.idle = seconds.map(std::time::Duration::from_secs);
            let change = listening.prepare(&after, 1).expect("nothing to bind");
            listening.commit(change, &after);
            assert_eq!(socket.keepalive().expect("an open socket"), seconds.is_some());
        }
    }
}
