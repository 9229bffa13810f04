//! Accepting in the simulation: late, in bursts, failing, and going on after a pause.

use std::io;

use super::agenda::Task;
use super::ports::{Port, Socket};
use super::trace::What;
use super::{Event, ListenerId, Outside, SimEngine, Stream};
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Listener {
    port: Port,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    On,
    Paused,
    Closing,
}

impl<O: Outside> SimEngine<O> {
    pub(super) fn add_listener(&mut self, id: ListenerId, mut socket: Socket) -> io::Result<()> {
        let started = self.network.now() > Time::ZERO;
        if started && self.network.rng.chance(self.network.hostility.exhaustion) {
            // The socket goes with the error.
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let port = socket.port;
        socket.dropped = None;
        self.did(What::DoListen { listener: id, port });
        let index = id.0 as usize;
        if self.listeners.len() <= index {
            self.listeners.resize_with(index + 1, || None);
        }
        if self.listeners[index].is_some() {
            self.network.find(format!("{id:?} is in use"));
        }
        self.listeners[index] = Some(Listener { port, state: State::On });
        self.network.ports[port.0].listener = Some(index);
        self.network.schedule(Task::Accept(index));
        Ok(())
    }

    pub(super) fn pause_listener(&mut self, id: ListenerId) {
        self.did(What::DoPause { listener: id });
        if let Some(entry) = self.listener(id)
            && entry.state == State::On
        {
            entry.state = State::Paused;
        }
    }

    pub(super) fn resume_listener(&mut self, id: ListenerId) {
        self.did(What::DoResume { listener: id });
        if let Some(entry) = self.listener(id)
            && entry.state == State::Paused
        {
            entry.state = State::On;
            self.network.schedule(Task::Accept(id.0 as usize));
        }
    }

    pub(super) fn begin_to_end_listener(&mut self, id: ListenerId) {
        self.did(What::DoCloseListener { listener: id });
        match self.listener(id) {
            Some(entry) if entry.state != State::Closing => {
                entry.state = State::Closing;
                if self.network.rng.chance(self.network.hostility.prompt) {
                    self.end_listener(id.0 as usize);
                } else {
                    self.network.schedule(Task::EndListener(id.0 as usize));
                }
            }
            _ => self.network.find(format!("{id:?} is closed twice")),
        }
    }

    pub(super) fn try_accept(&mut self, index: usize) {
        let Some(Some(entry)) = self.listeners.get(index) else { return };
        let port = entry.port;
        if entry.state != State::On {
            return;
        }
        let burst = self.network.rng.chance(self.network.hostility.burst);
        while !self.network.ports[port.0].waiting.is_empty() {
            if self.network.rng.chance(self.network.hostility.accept_failure) {
                return self.fail_to_accept(index, port);
            }
            self.accept(index);
            if !burst {
                return self.network.schedule(Task::Accept(index));
            }
        }
    }

    fn fail_to_accept(&mut self, index: usize, port: Port) {
        if let Some(Some(entry)) = self.listeners.get_mut(index) {
            entry.state = State::Paused;
        }
        let errno = *self.network.rng.pick(&ACCEPT_ERRORS);
        let queue = &mut self.network.ports[port.0];
        if errno == libc::ECONNABORTED
            && let Some((wire, _)) = queue.waiting.pop_front()
        {
            self.network.turn_away(wire);
        }
        let (listener, error) = (id(index), io::Error::from_raw_os_error(errno));
        self.completions.push(Event::AcceptFailed { listener, error });
    }

    /// Takes what waits, lets nothing more in, and closes the socket.
    pub(super) fn end_listener(&mut self, index: usize) {
        let Some(entry) = self.listeners.get_mut(index).and_then(Option::take) else { return };
        let port = entry.port;
        // Put back for as long as it is accepted from.
        self.listeners[index] = Some(entry);
        while !self.network.ports[port.0].waiting.is_empty() {
            if self.network.rng.chance(self.network.hostility.exhaustion) {
                break;
            }
            self.accept(index);
        }
        self.listeners[index] = None;
        // Without descriptors to accept them with, the rest goes with the socket.
        self.network.close_port(port);
        self.completions.push(Event::ListenerClosed { listener: id(index) });
    }

    fn accept(&mut self, index: usize) {
        let Some(Some(entry)) = self.listeners.get(index) else { return };
        let Some((wire, peer)) = self.network.ports[entry.port.0].waiting.pop_front() else {
            return;
        };
        self.network.descriptors += 1;
        let stream = Stream { wire, dropped: Some(self.network.dropped.clone()) };
        let nameless = self.network.rng.chance(self.network.hostility.nameless);
        let peer = (!nameless).then_some(peer);
        self.completions.push(Event::Accepted { listener: id(index), stream, peer });
    }

    fn listener(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.listeners.get_mut(id.0 as usize)?.as_mut()
    }
}

fn id(index: usize) -> ListenerId {
    ListenerId(u32::try_from(index).expect("made from a u32"))
}

const ACCEPT_ERRORS: [i32; 5] =
    [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ECONNABORTED, libc::EPERM];
