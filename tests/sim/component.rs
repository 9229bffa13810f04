//! Components: servers of all manners, in plaintext or in TLS.

use std::io::{Read, Write};
use std::net::SocketAddr;

use rustls::{Error, ServerConnection};
use tlsgate::engine::sim::network::{FarRead, Network, WireId};
use tlsgate::engine::sim::rng::Rng;
use tlsgate::proxy::{Progress, Reader};

use crate::content::Content;
use crate::plan::{ComponentEnd, ComponentPlan};

/// One component's connection and what it has seen.
pub(crate) struct Component {
    /// Number of the client it serves.
    pub(crate) client: usize,
    plan: ComponentPlan,
    rng: Rng,
    tls: Option<ServerConnection>,
    /// What it is told first, and whose connection that must be.
    introduction: Option<(Reader, SocketAddr)>,
    /// Records for the wire.
    pending: Vec<u8>,
    /// Plaintext that came, and that was said.
    pub(crate) received: usize,
    pub(crate) written: usize,
    /// Bytes on the wire.
    pub(crate) wire_received: usize,
    pub(crate) wire_written: usize,
    pub(crate) close_seen: bool,
    pub(crate) fin_seen: bool,
    pub(crate) fin_sent: bool,
    /// Why TLS failed.
    pub(crate) error: Option<Error>,
    finished: bool,
    over: bool,
}

impl Component {
    pub(crate) fn new(
        client: usize,
        plan: ComponentPlan,
        rng: Rng,
        tls: Option<ServerConnection>,
        told: Option<SocketAddr>,
    ) -> Self {
        Self {
            client,
            plan,
            rng,
            tls,
            introduction: told.map(|source| (Reader::new(), source)),
            pending: Vec::new(),
            received: 0,
            written: 0,
            wire_received: 0,
            wire_written: 0,
            close_seen: false,
            fin_seen: false,
            fin_sent: false,
            error: None,
            finished: false,
            over: false,
        }
    }

    /// Has sent FIN, or closed.
    pub(crate) fn has_left(&self) -> bool {
        self.fin_sent || self.over
    }

    /// One turn: reads, writes, and ends when it is time to.
    pub(crate) fn step(&mut self, wire: WireId, network: &mut Network) {
        if self.over || self.plan.mute && self.tls.is_some() {
            return;
        }
        let read = self.read(wire, network);
        let written = self.write(wire, network);
        self.end_when_due(wire, network);
        self.part(wire, network);
        if !self.over && self.fin_seen && self.fin_sent {
            network.close(wire);
            self.over = true;
        }
        if !self.over && (read || written) {
            network.wake_far_in(wire, self.rng.time(self.plan.manner.pace));
        }
    }

    fn read(&mut self, wire: WireId, network: &mut Network) -> bool {
        if self.finished && self.plan.end == ComponentEnd::Stay {
            return false;
        }
        match network.read(wire, self.rng.between(1, self.plan.manner.portion)) {
            FarRead::Data(data) => {
                let data = self.after_introduction(&data, network);
                self.wire_received += data.len();
                match self.tls.is_some() {
                    true => self.decrypt(data, network),
                    false => self.hear(data, network),
                }
                true
            }
            FarRead::Nothing => false,
            FarRead::Fin => {
                if !self.fin_seen {
                    network.note(format!("component of client {} sees FIN", self.client));
                }
                self.fin_seen = true;
                false
            }
            FarRead::Reset => {
                network.note(format!("component of client {} is reset", self.client));
                self.over = true;
                false
            }
        }
    }

    /// What follows the header, which must be right.
    fn after_introduction<'a>(&mut self, data: &'a [u8], network: &mut Network) -> &'a [u8] {
        let Some((reader, source)) = &mut self.introduction else { return data };
        match reader.feed(data) {
            Ok(Progress::NeedMore) => &[],
            Ok(Progress::Complete { consumed, header })
                if header.addresses.source() == Some(*source) =>
            {
                self.introduction = None;
                &data[consumed..]
            }
            other => {
                network.find(format!("the component of client {} is told {other:?}", self.client));
                self.introduction = None;
                &[]
            }
        }
    }

    fn decrypt(&mut self, mut data: &[u8], network: &mut Network) {
        while !data.is_empty() && self.error.is_none() && !self.close_seen {
            let Some(tls) = &mut self.tls else { return };
            tls.read_tls(&mut data).expect("in memory");
            match tls.process_new_packets() {
                Ok(state) => {
                    self.close_seen = state.peer_has_closed();
                    let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
                    tls.reader().read_exact(&mut plaintext).expect("as announced");
                    self.hear(&plaintext, network);
                }
                Err(error) => {
                    network.note(format!("component of client {} fails: {error}", self.client));
                    self.error = Some(error);
                    self.finished = true;
                }
            }
        }
    }

    fn hear(&mut self, data: &[u8], network: &mut Network) {
        if !Content::upload(self.client).is_at(self.received, data) {
            network.find(format!(
                "the component of client {} gets wrong bytes in {} from {} on",
                self.client,
                data.len(),
                self.received
            ));
        }
        self.received += data.len();
    }

    fn write(&mut self, wire: WireId, network: &mut Network) -> bool {
        if self.fin_sent || self.over {
            return false;
        }
        if !self.finished && self.pending.is_empty() {
            self.say();
        }
        let Some(tls) = &mut self.tls else { return self.send(wire, network) };
        while tls.wants_write() {
            tls.write_tls(&mut self.pending).expect("in memory");
        }
        self.send(wire, network)
    }

    /// Says more, if there is more to say now.
    fn say(&mut self) {
        let (content, ready) = match self.plan.echo {
            true => (Content::upload(self.client), self.received),
            false if self.plan.eager || self.received > 0 || self.fin_seen || self.close_seen => {
                (Content::download(self.client), self.plan.download)
            }
            false => return,
        };
        let len = (ready - self.written).min(self.rng.between(1, self.plan.manner.portion));
        if len == 0 {
            return;
        }
        let bytes = content.bytes(self.written, len);
        match &mut self.tls {
            None => self.pending = bytes,
            Some(tls) if tls.is_handshaking() => {}
            Some(tls) => self.written += tls.writer().write(&bytes).expect("in memory"),
        }
    }

    fn send(&mut self, wire: WireId, network: &mut Network) -> bool {
        let len = self.pending.len().min(self.rng.between(1, self.plan.manner.portion));
        if len == 0 {
            return false;
        }
        let Some(written) = network.write(wire, &self.pending[..len]) else {
            // After RST there is nothing to do but to see it.
            self.pending.clear();
            return false;
        };
        match self.tls.is_some() {
            true => drop(self.pending.drain(..written)),
            false => {
                // It decides anew what to say.
                self.pending.clear();
                self.written += written;
            }
        }
        self.wire_written += written;
        written > 0
    }

    fn end_when_due(&mut self, wire: WireId, network: &mut Network) {
        let moved = match self.tls {
            None => self.received + self.written,
            // It may be in the handshake.
            Some(_) => self.wire_received + self.wire_written,
        };
        let cut = self.plan.cut.is_some_and(|cut| moved >= cut);
        let heard_all = self.fin_seen || self.close_seen;
        let said = match self.plan.echo {
            true => heard_all && self.written == self.received,
            false => self.written == self.plan.download,
        };
        let shaking = self.tls.as_ref().is_some_and(|tls| tls.is_handshaking());
        let said = said && !shaking && self.pending.is_empty();
        let waits = self.plan.end == ComponentEnd::FinAfterFin && !heard_all;
        if self.finished || self.over || !(cut || said) || waits {
            return;
        }
        self.finished = true;
        network.note(format!("component of client {}: {:?}", self.client, self.plan.end));
        match self.plan.end {
            ComponentEnd::Fin | ComponentEnd::FinAfterFin | ComponentEnd::Close => {
                if let Some(tls) = &mut self.tls
                    && !self.plan.truncates
                    && !tls.is_handshaking()
                {
                    tls.send_close_notify();
                }
                self.write(wire, network);
            }
            ComponentEnd::Reset => {
                network.reset(wire);
                self.over = true;
            }
            ComponentEnd::Vanish { notice } => {
                network.vanish(wire, notice);
                self.over = true;
            }
            ComponentEnd::Stay => {}
        }
    }

    /// Closes when all that was to be said is on the wire.
    fn part(&mut self, wire: WireId, network: &mut Network) {
        if !self.finished || self.over || self.fin_sent || !self.pending.is_empty() {
            return;
        }
        match self.plan.end {
            _ if self.error.is_some() => {
                network.close(wire);
                self.over = true;
            }
            ComponentEnd::Fin | ComponentEnd::FinAfterFin => {
                network.shut_down(wire);
                self.fin_sent = true;
            }
            ComponentEnd::Close => {
                network.close(wire);
                self.over = true;
            }
            ComponentEnd::Reset | ComponentEnd::Vanish { .. } | ComponentEnd::Stay => {}
        }
    }
}
