//! A connection between a TLS client and a component, with a kernel made of two byte queues.
//!
//! The kernel here does nothing by itself: every completion is asked for, in any order. It checks
//! the engine's contract from the other side: one receive and one send at a time, on sockets that
//! are open, and nothing after Finish.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion};

use crate::admission::hello_budget::HelloBudget;
use crate::buf::{Buf, BufClass, Layout, Pool};
use crate::config::model::{
    ClientCert, ConnectWhen, DownstreamTls, Keepalive, Revalidate, Timeouts,
};
use crate::conn::outcome::Outcome;
use crate::conn::{Action, Connection, Context, Input};
use crate::engine::{Address, CloseMode, Operation, Side, Source};
use crate::lane::Unpassed;
use crate::policy::{Downstream, ListenerPolicy, Route};
use crate::telemetry::ShardTelemetry;
use crate::time::Time;
use crate::tls::ServerProfile;
use crate::tls::identity::load;
use crate::tls::provider::provider;
use crate::tls::resumption::Domain;
use crate::tls::server_config::server_config;
use crate::tls::testing::{self, Ca, Files, NAME};
use crate::upstream::{Group, Upstreams};

pub(super) const DOWN: Side = Side::Downstream;
pub(super) const UP: Side = Side::Upstream;

pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
pub(crate) const CONNECT: Duration = Duration::from_secs(2);
pub(super) const HALF_CLOSE: Duration = Duration::from_secs(60);
pub(super) const IDLE: Duration = Duration::from_secs(300);
/// Bytes of unfinished hellos for all sources together, and for one.
pub(super) const HELLOS: (usize, usize) = (64 * 1024, 2048);

/// Who the tests are, made once: keys take time.
struct World {
    ca: Ca,
    plain: ServerProfile,
    strict: ServerProfile,
    mutual: [ServerProfile; Revalidate::ALL.len()],
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (ca, files) = (Ca::new(), Files::new());
    let mut tls = testing::tls(vec![files.issued("server", &ca.issue(&PKCS_ECDSA_P256_SHA256))]);
    let profile = |tls: &DownstreamTls| {
        let identities = load(tls, &provider()).expect("files of our own");
        let config = server_config(tls, &identities, &Domain::Off, &provider()).expect("versions");
        ServerProfile::new(config, &identities, tls)
    };
    let plain = profile(&tls);
    let strict = profile(&DownstreamTls { strict_sni: true, ..tls.clone() });
    tls.client_cert = ClientCert::Required;
    tls.trusted_ca = files.trusted(&ca.certificate.pem());
    let mutual =
        Revalidate::ALL.map(|revalidate| profile(&DownstreamTls { revalidate, ..tls.clone() }));
    World { ca, plain, strict, mutual }
});

pub(crate) fn policy() -> ListenerPolicy {
    ListenerPolicy {
        generation: 1,
        position: 0,
        index: 0,
        name: "test".into(),
        downstream: Downstream::Tls,
        proxy_in: None,
        introduces: false,
        timeouts: Timeouts {
            handshake: HANDSHAKE,
            connect: CONNECT,
            half_close: HALF_CLOSE,
            idle: Some(IDLE),
        },
        keepalive: Keepalive {
            idle: None,
            interval: Duration::from_secs(1),
            probes: 1,
            user_timeout: Duration::ZERO,
        },
        routes: vec![Arc::new(route())],
        rules: Arc::default(),
    }
}

pub(crate) fn route() -> Route {
    Route {
        name: "test".into(),
        group: 0,
        tls: Some(WORLD.plain.clone()),
        upstream_tls: None,
        connect: ConnectWhen::AfterHello,
        proxy_out: None,
        upstreams: endpoints(&[1]),
    }
}

/// A listener with this route.
pub(crate) fn with(route: Route) -> ListenerPolicy {
    ListenerPolicy { routes: vec![Arc::new(route)], ..policy() }
}

pub(crate) fn strict() -> ListenerPolicy {
    with(Route { tls: Some(WORLD.strict.clone()), ..route() })
}

/// Asks for a client certificate, and dials while the handshake runs nevertheless.
pub(super) fn mutual() -> ListenerPolicy {
    with(Route { tls: Some(mutual_profile(Revalidate::Keep)), ..route() })
}

pub(super) fn mutual_profile(revalidate: Revalidate) -> ServerProfile {
    WORLD.mutual[revalidate as usize].clone()
}

pub(super) fn after_handshake() -> ListenerPolicy {
    with(Route { connect: ConnectWhen::AfterHandshake, ..route() })
}

pub(super) fn two_upstreams() -> ListenerPolicy {
    with(two_endpoints())
}

pub(super) fn two_endpoints() -> Route {
    Route { upstreams: endpoints(&[1, 2]), ..route() }
}

pub(super) fn endpoints(last_octets: &[u8]) -> Arc<Group> {
    let address = |last: &u8| Address::Tcp(([192, 0, 2, *last], 5060).into());
    Group::plain("test", &last_octets.iter().map(address).collect::<Vec<_>>())
}

pub(super) fn ca() -> &'static Ca {
    &WORLD.ca
}

/// The fake kernel's idea of one socket.
#[derive(Default)]
pub(super) struct Socket {
    pub(super) open: bool,
    pub(super) dialling: bool,
    pub(super) closing: bool,
    pub(super) receiving: Option<(BufClass, Layout)>,
    pub(super) sending: Option<Buf>,
    /// FIN went out.
    pub(super) shut: bool,
    pub(super) closed: Option<CloseMode>,
    /// From the peer, not yet received.
    pub(super) inbound: Vec<u8>,
    /// The peer's FIN is behind `inbound`.
    pub(super) inbound_fin: bool,
    /// What the peer got and has not looked at.
    pub(super) outbound: Vec<u8>,
}

/// See the module.
pub(super) struct Rig {
    pub(super) connection: Connection,
    pub(super) now: Time,
    pub(super) pool: Pool,
    pub(super) hellos: HelloBudget,
    pub(super) down: Socket,
    pub(super) up: Socket,
    /// Endpoints dialled, and from where.
    pub(super) dialled: Vec<usize>,
    pub(super) sources: Vec<Source>,
    pub(super) finished: Option<Box<Outcome>>,
    /// What becomes of sockets that are handed over, and which were.
    pub(super) door: Result<(), Unpassed>,
    pub(super) passed: Vec<Side>,
    upstreams: Upstreams,
    pub(super) telemetry: ShardTelemetry,
    /// Steps of handshakes are done at once.
    pub(super) has_turns: bool,
}

impl Rig {
    pub(super) fn new(policy: ListenerPolicy) -> Self {
        let mut rig = Self::unseen(policy);
        rig.input(Input::Accepted);
        rig
    }

    pub(super) fn unseen(policy: ListenerPolicy) -> Self {
        let policy = Arc::new(policy);
        let now = Time::from_nanos(1_000_000_000);
        let peer = Some(([198, 51, 100, 7], 40_000).into());
        Self {
            connection: Connection::new(Arc::clone(&policy), peer, now),
            now,
            pool: Pool::new(64 << 20, 8),
            hellos: HelloBudget::new(HELLOS.0, HELLOS.1),
            down: Socket { open: true, ..Socket::default() },
            up: Socket::default(),
            dialled: Vec::new(),
            sources: Vec::new(),
            finished: None,
            door: Ok(()),
            passed: Vec::new(),
            upstreams: Upstreams::new(vec![Arc::clone(&policy.route().upstreams)], 0),
            telemetry: ShardTelemetry::new(0, Arc::from([Arc::clone(&policy.name)])),
            has_turns: true,
        }
    }

    pub(super) fn socket(&mut self, side: Side) -> &mut Socket {
        match side {
            Side::Downstream => &mut self.down,
            Side::Upstream => &mut self.up,
        }
    }

    /// One input and all the actions it leads to.
    pub(super) fn input(&mut self, input: Input) {
        self.with_context(|connection, context| connection.handle(input, context));
    }

    /// Does something with the connection, and all the actions it leads to.
    pub(super) fn with_context(&mut self, handle: impl FnOnce(&mut Connection, &mut Context<'_>)) {
        let mut actions = Vec::new();
        let mut context = Context {
            now: self.now,
            pool: &self.pool,
            upstreams: &mut self.upstreams,
            hellos: &mut self.hellos,
            telemetry: &mut self.telemetry,
        };
        handle(&mut self.connection, &mut context);
        while self.has_turns && self.connection.waits_for_turn().is_some() {
            self.connection.handle(Input::Step, &mut context);
        }
        while let Some(action) = self.connection.poll_action(&mut context) {
            if let Action::HandOver(side, _) = action {
                self.passed.push(side);
                self.connection.passed(side, self.door, &mut context);
                continue;
            }
            actions.push(action);
            assert!(actions.len() < 100, "actions without end: {actions:?}");
        }
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        assert!(self.finished.is_none(), "{action:?} after Finish");
        match action {
            Action::Connect { endpoint, source, .. } => {
                assert!(!self.up.open && !self.up.closing && !self.up.dialling, "dials twice");
                self.up = Socket { dialling: true, ..Socket::default() };
                self.dialled.push(endpoint);
                self.sources.push(source);
            }
            Action::Receive(side, class, layout) => {
                let socket = self.socket(side);
                assert!(socket.open && !socket.closing, "receives on a socket that is not open");
                assert!(socket.receiving.replace((class, layout)).is_none(), "two receives");
            }
            Action::Send(side, buf) => {
                let socket = self.socket(side);
                assert!(socket.open && !socket.closing, "sends on a socket that is not open");
                assert!(!socket.shut, "sends after FIN");
                assert!(!buf.is_empty(), "sends nothing");
                assert!(socket.sending.replace(buf).is_none(), "two sends");
            }
            Action::ShutdownWrite(side) => {
                let socket = self.socket(side);
                assert!(socket.open && !socket.closing, "FIN on a socket that is not open");
                assert!(socket.sending.is_none(), "FIN before the last send is done");
                assert!(!std::mem::replace(&mut socket.shut, true), "FIN twice");
            }
            Action::Close(side, mode) => {
                let socket = self.socket(side);
                assert!(socket.open || socket.dialling, "closes what is not open");
                assert!(!std::mem::replace(&mut socket.closing, true), "closes twice");
                socket.closed = Some(mode);
                (socket.receiving, socket.sending) = (None, None);
            }
            Action::HandOver(..) => unreachable!("answered at once"),
            Action::Finish(outcome) => {
                assert!(!self.down.open && !self.up.open && !self.up.dialling, "still open");
                self.finished = Some(outcome);
            }
        }
    }

    /// Lets the receive of `side` complete with up to `max` bytes, or FIN. False when it cannot.
    pub(super) fn deliver(&mut self, side: Side, max: usize) -> bool {
        let Some(mut buf) = self.received(side, max) else { return false };
        let input = match buf.take() {
            Some(buf) => Input::Received(side, buf),
            None => Input::ReceiveClosed(side),
        };
        self.input(input);
        true
    }

    fn received(&mut self, side: Side, max: usize) -> Option<Option<Buf>> {
        let pool = self.pool.clone();
        let socket = self.socket(side);
        let (class, layout) = socket.receiving?;
        let len = socket.inbound.len().min(max).min(class.receive_max(layout));
        if len == 0 {
            let fin = socket.inbound.is_empty() && socket.inbound_fin;
            return fin.then(|| {
                socket.receiving = None;
                None
            });
        }
        socket.receiving = None;
        let mut buf = pool.take(class);
        buf.fill(layout, &socket.inbound[..len]);
        socket.inbound.drain(..len);
        Some(Some(buf))
    }

    /// Lets the send of `side` complete. False when there is none.
    pub(super) fn sent(&mut self, side: Side) -> bool {
        let socket = self.socket(side);
        let Some(buf) = socket.sending.take() else { return false };
        socket.outbound.extend(buf.to_vec());
        drop(buf);
        self.input(Input::Sent(side));
        true
    }

    /// Lets the dialling succeed. False when none is under way.
    pub(super) fn connected(&mut self) -> bool {
        if !self.up.dialling || self.up.closing {
            return false;
        }
        (self.up.dialling, self.up.open) = (false, true);
        self.input(Input::Connected);
        true
    }

    /// Lets the dialling fail. The socket still has to be closed.
    pub(super) fn refused(&mut self) -> bool {
        if !self.up.dialling || self.up.closing {
            return false;
        }
        self.fail(UP, Operation::Connect, libc::ECONNREFUSED);
        true
    }

    pub(super) fn fail(&mut self, side: Side, operation: Operation, errno: i32) {
        let socket = self.socket(side);
        match operation {
            Operation::Receive => socket.receiving = None,
            Operation::Send => socket.sending = None,
            Operation::Connect => {}
        }
        let error = std::io::Error::from_raw_os_error(errno);
        self.input(Input::Failed(side, operation, error));
    }

    /// Lets the closing of `side` complete. False when it is not being closed.
    pub(super) fn closed(&mut self, side: Side) -> bool {
        let socket = self.socket(side);
        if !socket.closing {
            return false;
        }
        (socket.closing, socket.open, socket.dialling) = (false, false, false);
        self.input(Input::Closed(side));
        true
    }

    /// Passes time and, when it is due, the deadline.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let mut due = 0;
        while self.connection.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.input(Input::Deadline);
            due += 1;
            assert!(due < 4, "a deadline that stays due spins");
        }
    }

    /// Everything but dialling completes until nothing more can.
    pub(super) fn settle(&mut self) {
        let moves = |rig: &mut Self, side| {
            rig.deliver(side, usize::MAX) | rig.sent(side) | rig.closed(side)
        };
        while moves(self, DOWN) | moves(self, UP) {}
    }
}

/// The TLS client.
pub(crate) struct Client {
    pub(crate) tls: ClientConnection,
    /// Plaintext that came.
    pub(super) received: Vec<u8>,
    pub(super) peer_closed: bool,
    pub(super) error: Option<rustls::Error>,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::of(&WORLD.ca.client((*provider()).clone()))
    }

    pub(super) fn version(version: &'static SupportedProtocolVersion) -> Self {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version of the provider")
            .with_root_certificates(WORLD.ca.roots())
            .with_no_client_auth();
        Self::of(&config)
    }

    pub(super) fn of(config: &ClientConfig) -> Self {
        Self::named(config, NAME)
    }

    pub(super) fn named(config: &ClientConfig, name: &str) -> Self {
        let name = name.to_owned().try_into().expect("a DNS name");
        let tls = ClientConnection::new(Arc::new(config.clone()), name).expect("usable");
        Self { tls, received: Vec::new(), peer_closed: false, error: None }
    }

    /// Queues plaintext; nothing once the session has failed.
    pub(crate) fn write(&mut self, data: &[u8]) {
        if self.error.is_some() {
            return;
        }
        self.tls.set_buffer_limit(None);
        self.tls.writer().write_all(data).expect("without a limit");
    }

    pub(crate) fn close(&mut self) {
        self.tls.send_close_notify();
    }

    /// Records that wait to be sent.
    pub(super) fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records).expect("in memory");
        }
        records
    }

    /// Moves bytes both ways between the client and the kernel.
    pub(super) fn exchange(&mut self, rig: &mut Rig) {
        let bytes = std::mem::take(&mut rig.down.outbound);
        let mut unread = bytes.as_slice();
        while !unread.is_empty() && self.error.is_none() && !self.peer_closed {
            self.tls.read_tls(&mut unread).expect("in memory");
            match self.tls.process_new_packets() {
                Ok(state) => {
                    self.peer_closed |= state.peer_has_closed();
                    let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
                    self.tls.reader().read_exact(&mut plaintext).expect("as announced");
                    self.received.extend_from_slice(&plaintext);
                }
                Err(error) => self.error = Some(error),
            }
        }
        let records = self.records();
        rig.down.inbound.extend_from_slice(&records);
    }

    /// Exchanges and settles until nothing moves.
    pub(super) fn run(&mut self, rig: &mut Rig) {
        loop {
            self.exchange(rig);
            rig.settle();
            if rig.down.outbound.is_empty() && !self.tls.wants_write() {
                return;
            }
        }
    }
}

/// A client and its connection, with the handshake done and the upstream connected.
pub(super) fn established(policy: ListenerPolicy, client: Client) -> (Rig, Client) {
    let (mut rig, mut client) = (Rig::new(policy), client);
    client.run(&mut rig);
    rig.connected();
    client.run(&mut rig);
    rig.connected();
    assert_eq!(client.error, None);
    assert!(!client.tls.is_handshaking());
    assert!(rig.up.open && rig.finished.is_none());
    (rig, client)
}
