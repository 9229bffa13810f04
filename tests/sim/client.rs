//! Peers: real TLS clients, of all manners.

use std::io::{Read, Write};

use rustls::{AlertDescription, ClientConnection, Error};
use tlsgate::engine::sim::network::{FarRead, Network, WireId};
use tlsgate::engine::sim::rng::Rng;

use crate::content::Content;
use crate::plan::{ClientPlan, Finish, Speech};
use crate::tls::{Maker, NAME, certificate_number};

/// One peer and what it has seen.
pub(crate) struct Client {
    pub(crate) plan: ClientPlan,
    number: usize,
    rng: Rng,
    tls: Option<ClientConnection>,
    /// What is left of its introduction, which counts as nothing that it says.
    introduction: Vec<u8>,
    /// Bytes for the wire.
    pending: Vec<u8>,
    /// Bytes that went on the wire.
    pub(crate) sent: usize,
    /// Plaintext handed to TLS.
    pub(crate) uploaded: usize,
    /// Plaintext that came.
    pub(crate) received: usize,
    /// Bytes that came on the wire.
    pub(crate) wire_received: usize,
    pub(crate) close_sent: bool,
    /// It closed in the middle of its handshake.
    hasty: bool,
    pub(crate) fin_sent: bool,
    pub(crate) close_seen: bool,
    pub(crate) fin_seen: bool,
    /// Which certificate it was shown.
    pub(crate) certificate: Option<usize>,
    /// Why TLS failed.
    pub(crate) error: Option<Error>,
    /// Has said all it is going to say.
    finished: bool,
    /// Does nothing any more.
    over: bool,
}

impl Client {
    pub(crate) fn new(plan: ClientPlan, number: usize, rng: Rng, maker: &mut Maker) -> Self {
        let mut client = Self {
            number,
            rng,
            tls: None,
            introduction: plan.introduction.iter().flat_map(|one| one.bytes.clone()).collect(),
            pending: Vec::new(),
            sent: 0,
            uploaded: 0,
            received: 0,
            wire_received: 0,
            close_sent: false,
            hasty: false,
            fin_sent: false,
            close_seen: false,
            fin_seen: false,
            certificate: None,
            error: None,
            finished: false,
            over: false,
            plan,
        };
        match client.plan.speech.clone() {
            Speech::Stray(bytes) => client.pending = bytes,
            Speech::Plaintext => {}
            Speech::Tls { tls, name } => client.tls = Some(maker.client(tls, name)),
            Speech::Fragments { tls, size } => {
                client.tls = Some(maker.client(tls, NAME));
                client.collect_records();
                client.pending = fragments(&client.pending, size);
            }
        }
        client
    }

    /// One turn: reads, writes, and ends when it is time to.
    pub(crate) fn step(&mut self, wire: WireId, network: &mut Network) {
        if self.over {
            return;
        }
        let read = self.read(wire, network);
        self.speak();
        let written = self.write(wire, network);
        self.finish_when_due(wire, network);
        let done = self.finished && self.pending.is_empty() && self.introduction.is_empty();
        // Without TLS, there is no other way to say that there is no more.
        let with_fin = match self.plan.finish {
            Finish::CloseAndFin => true,
            Finish::Close => matches!(self.plan.speech, Speech::Plaintext),
            _ => false,
        };
        if done && !self.over && with_fin && !self.fin_sent {
            network.shut_down(wire);
            self.fin_sent = true;
        }
        if !self.over && (self.error.is_some() || self.fin_seen && !self.plan.stubborn) && done {
            self.leave(wire, network);
        }
        if !self.over && (read || written) {
            network.wake_far_in(wire, self.rng.time(self.plan.manner.pace));
        }
    }

    /// False when there was nothing.
    fn read(&mut self, wire: WireId, network: &mut Network) -> bool {
        let most = self.rng.between(1, self.plan.manner.portion);
        match network.read(wire, most) {
            FarRead::Data(data) => {
                self.wire_received += data.len();
                match self.plan.speech {
                    Speech::Plaintext => self.hear(&data, network),
                    _ => self.take(&data, network),
                }
                true
            }
            FarRead::Nothing => false,
            FarRead::Fin => {
                if !self.fin_seen {
                    network.note(format!("client {} sees FIN", self.number));
                }
                self.fin_seen = true;
                false
            }
            FarRead::Reset => {
                network.note(format!("client {} is reset", self.number));
                self.over = true;
                false
            }
        }
    }

    fn take(&mut self, mut data: &[u8], network: &mut Network) {
        let Some(tls) = &mut self.tls else { return };
        if self.error.is_some() {
            return;
        }
        if self.close_seen {
            return network.find(format!("client {} gets bytes after close_notify", self.number));
        }
        let mut plaintext = Vec::new();
        while !data.is_empty() && !self.close_seen {
            tls.read_tls(&mut data).expect("in memory");
            match tls.process_new_packets() {
                Ok(state) => {
                    self.close_seen = state.peer_has_closed();
                    let mut part = vec![0; state.plaintext_bytes_to_read()];
                    tls.reader().read_exact(&mut part).expect("as announced");
                    plaintext.extend_from_slice(&part);
                }
                Err(error) => {
                    network.note(format!("client {} fails: {error}", self.number));
                    if self.plan.is_honest() && !self.hasty && !is_deserved(&error) {
                        network.find(format!("client {} is wronged: {error}", self.number));
                    }
                    self.error = Some(error);
                    self.finished = true;
                    break;
                }
            }
        }
        let shown = tls.peer_certificates().and_then(|chain| chain.first());
        self.certificate = self.certificate.or_else(|| certificate_number(shown?));
        self.hear(&plaintext, network);
        if self.close_seen {
            network.note(format!("client {} sees close_notify", self.number));
        }
    }

    fn hear(&mut self, plaintext: &[u8], network: &mut Network) {
        let content = match self.plan.component.echo {
            true => Content::upload(self.number),
            false => Content::download(self.number),
        };
        if !content.is_at(self.received, plaintext) {
            network.find(format!(
                "client {} gets wrong bytes in {} from {} on",
                self.number,
                plaintext.len(),
                self.received
            ));
        }
        self.received += plaintext.len();
    }

    /// Turns plaintext into records.
    fn speak(&mut self) {
        if matches!(self.plan.speech, Speech::Plaintext) && !self.finished {
            let left = self.plan.upload - self.uploaded;
            if self.pending.is_empty() && left > 0 {
                let part = left.min(self.rng.between(1, self.plan.manner.portion));
                self.pending = Content::upload(self.number).bytes(self.uploaded, part);
            }
            return;
        }
        let Some(tls) = &mut self.tls else { return };
        if !self.finished && !tls.is_handshaking() && self.pending.is_empty() {
            let left = self.plan.upload - self.uploaded;
            let part = left.min(self.rng.between(1, self.plan.manner.portion));
            if part > 0 {
                let bytes = Content::upload(self.number).bytes(self.uploaded, part);
                let taken = tls.writer().write(&bytes).expect("in memory");
                self.uploaded += taken;
            }
            if self.plan.updates_keys && self.rng.chance(20) {
                // TLS 1.2 has none.
                let _unsupported = tls.refresh_traffic_keys();
            }
        }
        self.collect_records();
    }

    fn collect_records(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        while tls.wants_write() {
            tls.write_tls(&mut self.pending).expect("in memory");
        }
    }

    /// False when nothing could be written.
    fn write(&mut self, wire: WireId, network: &mut Network) -> bool {
        let mut len = self.pending.len().min(self.rng.between(1, self.plan.manner.portion));
        if let Some(cut) = self.plan.cut.filter(|_| self.cuts_hard()) {
            len = len.min(cut.saturating_sub(self.sent));
        }
        if self.fin_sent || self.over {
            return false;
        }
        if !self.introduction.is_empty() {
            return self.introduce(wire, network);
        }
        if len == 0 {
            return false;
        }
        let mut bytes = self.pending[..len].to_vec();
        if let Some(corrupt) = self.plan.corrupt
            && let Some(byte) = corrupt.checked_sub(self.sent).and_then(|at| bytes.get_mut(at))
        {
            *byte ^= 0x41;
        }
        let Some(written) = network.write(wire, &bytes) else {
            // It will see the RST.
            self.pending.clear();
            return false;
        };
        self.pending.drain(..written);
        self.sent += written;
        if matches!(self.plan.speech, Speech::Plaintext) {
            self.uploaded += written;
        }
        written > 0
    }

    fn introduce(&mut self, wire: WireId, network: &mut Network) -> bool {
        let len = self.introduction.len().min(self.rng.between(1, self.plan.manner.portion));
        let written = network.write(wire, &self.introduction[..len]);
        // It will see the RST.
        let written = written.unwrap_or(self.introduction.len());
        self.introduction.drain(..written);
        written > 0
    }

    /// Whether the cut leaves a record unfinished.
    fn cuts_hard(&self) -> bool {
        use Finish::{Close, CloseAndFin, CloseAndLeave};
        !matches!(self.plan.finish, Close | CloseAndFin | CloseAndLeave)
    }

    fn finish_when_due(&mut self, wire: WireId, network: &mut Network) {
        let cut = self.plan.cut.is_some_and(|cut| self.sent >= cut);
        let said = match &self.tls {
            Some(tls) => !tls.is_handshaking() && self.uploaded == self.plan.upload,
            None => match self.plan.speech {
                Speech::Plaintext => self.uploaded == self.plan.upload,
                _ => true,
            },
        };
        let said = said && self.pending.is_empty() && self.introduction.is_empty();
        if self.finished || self.over || !(cut || said) {
            return;
        }
        self.finished = true;
        network.note(format!("client {}: {:?}", self.number, self.plan.finish));
        match self.plan.finish {
            Finish::Close | Finish::CloseAndFin => self.close_tls(wire, network),
            Finish::CloseAndLeave => {
                self.close_tls(wire, network);
                self.leave(wire, network);
            }
            Finish::Truncate => {
                self.pending.clear();
                network.shut_down(wire);
                self.fin_sent = true;
            }
            Finish::Reset => {
                network.reset(wire);
                self.over = true;
            }
            Finish::Vanish { notice } => {
                network.vanish(wire, notice);
                self.over = true;
            }
            Finish::Stay => self.pending.clear(),
        }
    }

    fn leave(&mut self, wire: WireId, network: &mut Network) {
        network.close(wire);
        (self.fin_sent, self.over) = (true, true);
    }

    fn close_tls(&mut self, wire: WireId, network: &mut Network) {
        if let Some(tls) = &mut self.tls {
            self.hasty = tls.is_handshaking();
            tls.send_close_notify();
            self.close_sent = true;
        }
        self.collect_records();
        if self.plan.babbles {
            self.pending.extend_from_slice(&[0x17; 50]);
        }
        // What there is no room for now goes with the next turn.
        self.write(wire, network);
    }
}

/// Whether a client that breaks no rule may come to this: it asked for what it does not get.
fn is_deserved(error: &Error) -> bool {
    use AlertDescription::{
        AccessDenied, CertificateRequired, HandshakeFailure, InternalError, ProtocolVersion,
        UnrecognisedName,
    };
    match error {
        Error::AlertReceived(alert) => matches!(
            alert,
            AccessDenied
                | CertificateRequired
                | HandshakeFailure
                | InternalError
                | ProtocolVersion
                | UnrecognisedName
        ),
        Error::InvalidCertificate(_) => true,
        _ => false,
    }
}

/// The same handshake message in records of at most `size` bytes.
fn fragments(records: &[u8], size: usize) -> Vec<u8> {
    let [kind, major, minor, _, _, message @ ..] = records else { return Vec::new() };
    let mut fragments = Vec::new();
    for part in message.chunks(size) {
        let length = u16::try_from(part.len()).expect("a part of a record");
        fragments.extend_from_slice(&[*kind, *major, *minor]);
        fragments.extend_from_slice(&length.to_be_bytes());
        fragments.extend_from_slice(part);
    }
    fragments
}
