//! Components: plaintext servers, of all manners.

use tlsgate::engine::sim::network::{FarRead, Network, WireId};
use tlsgate::engine::sim::rng::Rng;

use crate::content::Content;
use crate::plan::{ComponentEnd, ComponentPlan};

/// One component's connection and what it has seen.
pub(crate) struct Component {
    /// Number of the client it serves.
    pub(crate) client: usize,
    plan: ComponentPlan,
    rng: Rng,
    pub(crate) received: usize,
    pub(crate) written: usize,
    pub(crate) fin_seen: bool,
    pub(crate) fin_sent: bool,
    finished: bool,
    over: bool,
}

impl Component {
    pub(crate) fn new(client: usize, plan: ComponentPlan, rng: Rng) -> Self {
        Self {
            client,
            plan,
            rng,
            received: 0,
            written: 0,
            fin_seen: false,
            fin_sent: false,
            finished: false,
            over: false,
        }
    }

    /// One turn: reads, writes, and ends when it is time to.
    pub(crate) fn step(&mut self, wire: WireId, network: &mut Network) {
        if self.over {
            return;
        }
        let read = self.read(wire, network);
        let written = self.write(wire, network);
        self.end_when_due(wire, network);
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
                if !Content::upload(self.client).is_at(self.received, &data) {
                    network.find(format!(
                        "the component of client {} gets wrong bytes in {} from {} on",
                        self.client,
                        data.len(),
                        self.received
                    ));
                }
                self.received += data.len();
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

    fn write(&mut self, wire: WireId, network: &mut Network) -> bool {
        if self.fin_sent || self.finished || self.over {
            return false;
        }
        let (content, ready) = match self.plan.echo {
            true => (Content::upload(self.client), self.received),
            false if self.plan.eager || self.received > 0 || self.fin_seen => {
                (Content::download(self.client), self.plan.download)
            }
            false => return false,
        };
        let len = (ready - self.written).min(self.rng.between(1, self.plan.manner.portion));
        if len == 0 {
            return false;
        }
        // After RST there is nothing to do but to see it.
        let written = network.write(wire, &content.bytes(self.written, len)).unwrap_or(0);
        self.written += written;
        written > 0
    }

    fn end_when_due(&mut self, wire: WireId, network: &mut Network) {
        let cut = self.plan.cut.is_some_and(|cut| self.received + self.written >= cut);
        let said = match self.plan.echo {
            true => self.fin_seen && self.written == self.received,
            false => self.written == self.plan.download,
        };
        let waits = self.plan.end == ComponentEnd::FinAfterFin && !self.fin_seen;
        if self.finished || self.over || !(cut || said) || waits {
            return;
        }
        self.finished = true;
        network.note(format!("component of client {}: {:?}", self.client, self.plan.end));
        match self.plan.end {
            ComponentEnd::Fin | ComponentEnd::FinAfterFin => {
                network.shut_down(wire);
                self.fin_sent = true;
            }
            ComponentEnd::Close => {
                network.close(wire);
                self.over = true;
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
}
