//! What the process listens on, over all workers, and how that changes with the configuration.
//!
//! A listening socket stays as long as its address stays in the configuration: nobody who connects
//! to it meanwhile is turned away. The gateway keeps a second descriptor of each, for options that
//! a new configuration changes, and for the process that takes over at a restart.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::bind::{self, BindError, Bound, SocketFile};
use crate::config::model::{ListenAddress, Listener};
use crate::engine::socket;
use crate::handover::{Group, InheritedGroup, Purpose};
use crate::shard::mailbox::BoundId;
use crate::systemd::Activation;
use crate::telemetry::ListenerFacts;

/// Every address that is bound.
#[derive(Debug, Default)]
pub(super) struct Listening {
    addresses: Vec<BoundAddress>,
    /// Sockets bound since the start.
    count: u64,
    /// What systemd passed.
    passed: Activation,
}

/// One address of the configuration and its sockets.
#[derive(Debug)]
struct BoundAddress {
    listen: ListenAddress,
    /// Which of the listeners with that address it is for: several may leave the port to the
    /// kernel.
    number: usize,
    /// The address it really got, as text.
    actual: String,
    sockets: Vec<BoundSocket>,
}

#[derive(Debug)]
struct BoundSocket {
    /// The same for every worker that has it.
    id: BoundId,
    socket: Arc<OwnedFd>,
}

/// What a configuration needs that is not bound yet: bound, but not listened on by any worker.
#[derive(Debug)]
pub(super) struct Change {
    added: Vec<BoundAddress>,
    /// By worker.
    open: Vec<Vec<(BoundId, socket::Listener)>>,
    count: u64,
    /// Numbers of the groups of a predecessor's sockets that are among them.
    pub(super) taken: Vec<u32>,
    /// Of unix sockets; removed again when this comes to nothing.
    files: Vec<SocketFile>,
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
    /// Nothing yet. `passed` is what systemd passed.
    pub(super) fn new(passed: Activation) -> Self {
        Self { passed, ..Self::default() }
    }

    /// Binds the addresses of `listeners` that are not bound yet, for so many workers; those that
    /// are among `inherited` are taken from there, and the rest of that is closed.
    ///
    /// # Errors
    /// What the kernel said; nothing has changed.
    pub(super) fn prepare(
        &self,
        listeners: &[Listener],
        workers: usize,
        mut inherited: Vec<InheritedGroup>,
    ) -> Result<Change, BindError> {
        let mut change = Change {
            added: Vec::new(),
            open: (0..workers).map(|_| Vec::new()).collect(),
            count: self.count,
            taken: Vec::new(),
            files: Vec::new(),
        };
        let ours = self.addresses.iter().flat_map(|bound| &bound.sockets);
        let ours = ours.map(|socket| socket.socket.as_ref());
        let theirs = inherited.iter().flat_map(|group| &group.sockets);
        let ports: HashSet<u16> = ours.chain(theirs).filter_map(bind::port).collect();
        for (listener, number) in numbered(listeners) {
            if self.find(&listener.listen, number).is_some() {
                continue;
            }
            let key = bind::key(&listener.listen);
            let group = inherited.extract_if(.., |group| group.address == key).next();
            let bound = match group {
                Some(group) => {
                    change.taken.push(group.number);
                    bind::adopt(listener, workers, group.sockets)?
                }
                None => bind::bind(listener, workers, &self.passed, &ports)?,
            };
            change.add(listener, number, bound)?;
        }
        Ok(change)
    }

    /// Takes over what was prepared, and lets go of what `listeners` do not name any more.
    pub(super) fn commit(&mut self, change: Change, listeners: &[Listener]) -> Assignment {
        let wanted: HashSet<_> =
            numbered(listeners).map(|(one, number)| (&one.listen, number)).collect();
        // Before the workers close theirs: the last descriptor is what empties the accept queue.
        self.addresses.retain(|bound| wanted.contains(&(&bound.listen, bound.number)));
        self.change(listeners, bind::set_keepalive);
        self.addresses.extend(change.added);
        change.files.into_iter().for_each(SocketFile::keep);
        self.count = change.count;
        let mut serves = Vec::new();
        let mut facts = Vec::new();
        for (position, (listener, number)) in numbered(listeners).enumerate() {
            let bound = self.find(&listener.listen, number).expect("bound before, or just now");
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

    /// Makes all sockets listen: some of those beside a predecessor's may not do so yet.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn listen(&self, listeners: &[Listener]) -> Result<(), BindError> {
        for (listener, number) in numbered(listeners) {
            let bound = self.find(&listener.listen, number);
            for BoundSocket { socket, .. } in bound.into_iter().flat_map(|bound| &bound.sockets) {
                bind::listen(listener, socket)?;
            }
        }
        Ok(())
    }

    /// Gives all sockets the options that the configuration says: those that were taken from a
    /// predecessor have its options until this.
    pub(super) fn set_options(&self, listeners: &[Listener]) {
        self.change(listeners, bind::set_options);
    }

    /// What a successor gets: a group for each address.
    pub(super) fn groups(&self) -> Vec<Group> {
        let group = |bound: &BoundAddress| Group {
            purpose: Purpose::Listener,
            address: bind::key(&bound.listen),
            sockets: bound.sockets.iter().map(|socket| Arc::clone(&socket.socket)).collect(),
        };
        self.addresses.iter().map(group).collect()
    }

    /// Every socket.
    pub(super) fn sockets(&self) -> Arc<[BoundId]> {
        let sockets = self.addresses.iter().flat_map(|bound| &bound.sockets);
        sockets.map(|socket| socket.id).collect()
    }

    /// The sockets of the groups that a successor has taken.
    pub(super) fn sockets_of(&self, taken: &[u32]) -> Arc<[BoundId]> {
        let numbers = taken.iter().filter_map(|number| usize::try_from(*number).ok());
        let taken = numbers.filter_map(|number| self.addresses.get(number));
        taken.flat_map(|bound| &bound.sockets).map(|socket| socket.id).collect()
    }

    fn find(&self, address: &ListenAddress, number: usize) -> Option<&BoundAddress> {
        let is_it = |bound: &&BoundAddress| bound.listen == *address && bound.number == number;
        self.addresses.iter().find(is_it)
    }

    /// Connections that are accepted from now on inherit the options.
    fn change(&self, listeners: &[Listener], set: fn(&Listener, &OwnedFd) -> io::Result<()>) {
        for (listener, number) in numbered(listeners) {
            let bound = self.find(&listener.listen, number);
            for BoundSocket { socket, .. } in bound.into_iter().flat_map(|bound| &bound.sockets) {
                if let Err(error) = set(listener, socket) {
                    let listener = &listener.name;
                    tracing::warn!(%listener, %error, "options of the listening socket stay as they were");
                }
            }
        }
    }
}

impl Change {
    fn add(&mut self, listener: &Listener, number: usize, bound: Bound) -> Result<(), BindError> {
        let Bound { sockets, shared, address, file } = bound;
        self.files.extend(file);
        let mut kept = Vec::with_capacity(sockets.len());
        for (position, socket) in sockets.into_iter().enumerate() {
            let id = BoundId(self.count);
            self.count += 1;
            let workers = self.open.len();
            let for_worker = position % workers;
            let whose = if shared { 0..workers } else { for_worker..for_worker + 1 };
            for worker in &mut self.open[whose] {
                let copy = socket.try_clone().map_err(|error| bind::failure(listener, error))?;
                worker.push((id, socket::Listener { socket: copy, shared }));
            }
            kept.push(BoundSocket { id, socket: Arc::new(socket) });
        }
        let listen = listener.listen.clone();
        self.added.push(BoundAddress { listen, number, actual: address, sockets: kept });
        Ok(())
    }
}

/// Listeners, and how many with the same address are before each.
fn numbered(listeners: &[Listener]) -> impl Iterator<Item = (&Listener, usize)> {
    let mut seen: HashMap<&ListenAddress, usize> = HashMap::new();
    listeners.iter().map(move |listener| {
        let count = seen.entry(&listener.listen).or_default();
        *count += 1;
        (listener, *count - 1)
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::atomic::{AtomicU8, Ordering};

    use socket2::{Domain, SockRef, Socket, Type};

    use super::*;

    /// Listeners on these addresses.
    fn listeners(addresses: &[SocketAddr]) -> Vec<Listener> {
        let one = |(number, address): (usize, &SocketAddr)| {
            let name = format!("n{number}");
            format!(
                "[[listener]]\nname = \"{name}\"\nlisten = \"{address}\"\n\
                 upstream = \"127.0.0.1:2\"\n[listener.tls]\ncertificate = \"a\"\n\
                 certificate_key = \"b\"\n"
            )
        };
        let text: String = addresses.iter().enumerate().map(one).collect();
        let config = crate::config::parse("a.toml", &text);
        config.unwrap_or_else(|diagnostics| panic!("{diagnostics}")).listeners
    }

    /// Addresses that nobody else uses, not even to dial from.
    fn free_addresses<const N: usize>() -> [SocketAddr; N] {
        static CALLS: AtomicU8 = AtomicU8::new(65);
        let [.., high, low] = std::process::id().to_be_bytes();
        let ours = [127, CALLS.fetch_add(1, Ordering::Relaxed), high, low];
        let any = SocketAddr::from((ours, 0));
        let sockets = [(); N].map(|()| TcpListener::bind(any).expect("a free port"));
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
        let change = listening.prepare(&before, 2, Vec::new()).expect("free ports");
        let first = listening.commit(change, &before);
        assert_eq!(first.open.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(first.serves.len(), 4);

        let change = listening.prepare(&after, 2, Vec::new()).expect("free ports");
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
    fn listeners_that_leave_the_port_to_the_kernel_have_one_each() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let three = listeners(&[any, any, any]);
        let mut listening = Listening::default();
        let change = listening.prepare(&three, 1, Vec::new()).expect("free ports");
        let first = listening.commit(change, &three);
        let ports: HashSet<&str> = first.facts.iter().map(|facts| facts.address.as_str()).collect();
        assert_eq!((ports.len(), first.serves.len()), (3, 3));
        let two = &three[..2];
        let change = listening.prepare(two, 1, Vec::new()).expect("nothing to bind");
        let second = listening.commit(change, two);
        assert_eq!(second.facts, first.facts[..2]);
        assert_eq!(second.serves, first.serves[..2].into());
    }

    /// What `listening` has, as a successor gets it.
    fn inherited(listening: &Listening) -> Vec<InheritedGroup> {
        let copy = |socket: &Arc<OwnedFd>| socket.try_clone().expect("a descriptor");
        let groups = listening.groups().into_iter().zip(0..);
        let inherit = groups.map(|(group, number)| InheritedGroup {
            number,
            purpose: group.purpose,
            address: group.address,
            sockets: group.sockets.iter().map(copy).collect(),
        });
        inherit.collect()
    }

    #[test]
    fn a_successor_has_every_socket_whatever_its_number_of_workers() {
        let [a, b, c] = free_addresses();
        let (before, after) = (listeners(&[a, b]), listeners(&[c, b]));
        let mut old = Listening::default();
        let change = old.prepare(&before, 2, Vec::new()).expect("free ports");
        let old_sockets = old.commit(change, &before).open;
        // Sockets for `b` on each worker.
        for (workers, expected) in [(1, vec![2]), (2, vec![1, 1]), (3, vec![1, 1, 1])] {
            let mut new = Listening::default();
            let change = new.prepare(&after, workers, inherited(&old)).expect("free ports");
            assert_eq!(change.taken, [1], "{workers} workers");
            assert_eq!(old.sockets_of(&change.taken).len(), 2);
            let assignment = new.commit(change, &after);
            let is_b = |id: &BoundId| assignment.serves.contains(&(*id, 1));
            let for_b =
                |worker: &Vec<(BoundId, _)>| worker.iter().filter(|(id, _)| is_b(id)).count();
            let counts: Vec<usize> = assignment.open.iter().map(for_b).collect();
            assert_eq!(counts, expected, "{workers} workers");
            // Nothing goes to the sockets that were added until they are made to listen.
            let listens = |worker: &Vec<(BoundId, socket::Listener)>| {
                let sockets = worker.iter().filter(|(id, _)| is_b(id));
                let listens = sockets.filter(|(_, listener)| {
                    rustix::net::sockopt::socket_acceptconn(&listener.socket).expect("a socket")
                });
                listens.count()
            };
            assert_eq!(assignment.open.iter().map(listens).sum::<usize>(), 2);
            new.listen(&after).expect("the port is ours");
            assert_eq!(assignment.open.iter().map(listens).sum::<usize>(), workers.max(2));
        }
        drop((old, old_sockets));
        assert!(!is_open(a) && !is_open(b), "nobody holds them any more");
    }

    #[test]
    fn sockets_of_a_predecessor_keep_their_options_until_it_is_followed() {
        let [a] = free_addresses();
        let mut before = listeners(&[a]);
        before[0].keepalive.idle = None;
        let mut old = Listening::default();
        let change = old.prepare(&before, 1, Vec::new()).expect("a free port");
        let old_sockets = old.commit(change, &before).open;
        let socket = SockRef::from(&old_sockets[0][0].1.socket);
        let keeps_alive = || socket.keepalive().expect("an open socket");
        let mut after = before.clone();
        after[0].keepalive.idle = Some(std::time::Duration::from_secs(77));
        let mut new = Listening::default();
        let change = new.prepare(&after, 2, inherited(&old)).expect("free ports");
        new.commit(change, &after);
        new.listen(&after).expect("the port is ours");
        assert!(!keeps_alive());
        new.set_options(&after);
        assert!(keeps_alive());
    }

    #[test]
    fn an_inherited_socket_must_listen() {
        let [a] = free_addresses();
        let before = listeners(&[a]);
        let not_listening = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let group = InheritedGroup {
            number: 0,
            purpose: Purpose::Listener,
            address: bind::key(&before[0].listen),
            sockets: vec![not_listening.into()],
        };
        let error = Listening::default().prepare(&before, 1, vec![group]).expect_err("it does not");
        assert_eq!(error.error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn when_one_cannot_be_bound_none_is() {
        let [a, b] = free_addresses();
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = (taken.local_addr().expect("bound"), taken);
        let mut listening = Listening::default();
        let before = listeners(&[a]);
        let change = listening.prepare(&before, 1, Vec::new()).expect("a free port");
        let assignment = listening.commit(change, &before);
        let error =
            listening.prepare(&listeners(&[b, taken.0]), 1, Vec::new()).expect_err("it is taken");
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
        let change = listening.prepare(&before, 1, Vec::new()).expect("a free port");
        let assignment = listening.commit(change, &before);
        let socket = SockRef::from(&assignment.open[0][0].1.socket);
        assert!(!socket.keepalive().expect("an open socket"));
        for seconds in [Some(77), None] {
            let mut after = before.clone();
            after[0].keepalive.idle = seconds.map(std::time::Duration::from_secs);
            let change = listening.prepare(&after, 1, Vec::new()).expect("nothing to bind");
            listening.commit(change, &after);
            assert_eq!(socket.keepalive().expect("an open socket"), seconds.is_some());
        }
    }
}
