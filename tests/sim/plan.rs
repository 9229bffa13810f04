//! What is going to happen in a run, drawn from its seed before it begins.

use std::num::NonZeroU32;
use std::time::Duration;

use tlsgate::config::model::{
    ClientCert, ConnectWhen, HandshakeLimits, ResumptionMode, Timeouts, TlsVersion,
};
use tlsgate::engine::sim::rng::Rng;

use crate::introductions::{Around, Introduction, STRANGER};
use crate::tls::{ClientTls, ServerTls};
use crate::{shedding, strays};

/// All that a run is made of, but for what the kernel does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The first is there at the start.
    pub(crate) configurations: Vec<Configuration>,
    pub(crate) clients: Vec<ClientPlan>,
    /// What the main thread says, and when; the last one is a drain.
    pub(crate) orders: Vec<(Duration, Order)>,
    /// Slots, and connections over all shards: the lower one is the limit.
    pub(crate) capacity: u32,
    pub(crate) max_connections: u32,
    pub(crate) buffer_memory: usize,
    /// Bytes of unfinished hellos: all together, and of one source.
    pub(crate) hellos: (usize, usize),
    pub(crate) handshakes: HandshakeLimits,
    /// How long sessions may be resumed.
    pub(crate) session_lifetime: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Collect,
    /// What was seen in live traffic, and what is open.
    Ask,
    /// Wakes the shard for nothing.
    Wake,
    /// So many connections come to other shards, or go from them.
    OthersCome(u32),
    OthersGo(u32),
    /// Serve this configuration.
    Reload(usize),
    /// What trust rests on has changed.
    Revalidate,
    /// An operator has all end that are there, as many a second.
    Dismiss {
        in_order: bool,
        rate: Option<NonZeroU32>,
    },
    Drain {
        patience: Duration,
    },
    Stop,
}

#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) listeners: Vec<ListenerPlan>,
}

#[derive(Clone, Debug)]
pub(crate) struct ListenerPlan {
    /// What peers connect to, and what the listener is called by.
    pub(crate) address: usize,
    pub(crate) mode: Mode,
    pub(crate) around: Around,
    pub(crate) tls: ServerTls,
    pub(crate) connect: ConnectWhen,
    pub(crate) timeouts: Timeouts,
    pub(crate) endpoints: usize,
}

/// What is spoken on the two sides of a listener. It is the same for an address in all
/// configurations, so that peers and components know what to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Terminate,
    Originate,
    Bridge,
    Passthrough,
    /// To a component that speaks plaintext.
    Detect,
    /// To one that speaks TLS.
    DetectBridge,
}

/// A peer, and the component that it is going to talk to.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) start: Duration,
    /// Where it connects to.
    pub(crate) address: usize,
    /// Last byte of its address: sources share a budget.
    pub(crate) source: u8,
    /// What it says before all that `speech` is.
    pub(crate) introduction: Option<Introduction>,
    /// Its component is told of it.
    pub(crate) is_told: bool,
    pub(crate) speech: Speech,
    /// Plaintext bytes it says.
    pub(crate) upload: usize,
    pub(crate) manner: Manner,
    pub(crate) finish: Finish,
    /// `finish` comes after so many bytes on the wire, and not after the last one.
    pub(crate) cut: Option<usize>,
    /// Byte on the wire that arrives changed.
    pub(crate) corrupt: Option<usize>,
    pub(crate) updates_keys: bool,
    /// Goes on with nonsense after close_notify.
    pub(crate) babbles: bool,
    /// Does not close its end when the gateway has.
    pub(crate) stubborn: bool,
    /// How each attempt to dial ends; the last one holds for those that follow.
    pub(crate) dials: Vec<DialPlan>,
    pub(crate) component: ComponentPlan,
}

/// How somebody reads and writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Most bytes read, and written, before anybody else has a turn.
    pub(crate) portion: usize,
    /// Longest pause between two portions.
    pub(crate) pace: Duration,
}

#[derive(Clone, Debug)]
pub(crate) enum Speech {
    Tls {
        tls: ClientTls,
        name: &'static str,
    },
    /// TLS whose hello comes in records of this many bytes.
    Fragments {
        tls: ClientTls,
        size: usize,
    },
    /// These bytes and nothing else.
    Stray(Vec<u8>),
    /// No TLS.
    Plaintext,
}

/// How a peer ends what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// close_notify, and reads on.
    Close,
    /// close_notify, and FIN behind it.
    CloseAndFin,
    /// close_notify, and is gone.
    CloseAndLeave,
    /// FIN without close_notify.
    Truncate,
    Reset,
    /// Without a word; the kernel may notice after a while.
    Vanish {
        notice: Option<Duration>,
    },
    /// Says nothing more, and stays.
    Stay,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum DialPlan {
    Accepted(Duration),
    Failed(i32, Duration),
    Never,
}

#[derive(Clone, Debug)]
pub(crate) struct ComponentPlan {
    /// Says what it hears; otherwise `download` bytes of its own.
    pub(crate) echo: bool,
    pub(crate) download: usize,
    /// Speaks before it has heard anything.
    pub(crate) eager: bool,
    pub(crate) manner: Manner,
    /// In TLS: which version alone it speaks.
    pub(crate) version: Option<TlsVersion>,
    /// In TLS: shows a certificate that nobody trusts.
    pub(crate) stranger: bool,
    /// In TLS: says nothing, and does not listen.
    pub(crate) mute: bool,
    /// In TLS: its FIN comes without close_notify.
    pub(crate) truncates: bool,
    pub(crate) end: ComponentEnd,
    /// `end` comes after so many bytes, both ways together, and not after the last one.
    pub(crate) cut: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComponentEnd {
    /// FIN, and reads on.
    Fin,
    /// FIN when it has heard the peer's.
    FinAfterFin,
    /// Closes both directions.
    Close,
    Reset,
    Vanish {
        notice: Option<Duration>,
    },
    /// Reads no more, and stays.
    Stay,
}

impl ClientPlan {
    /// Says only what it means to; it may still stop in the middle.
    pub(crate) fn is_honest(&self) -> bool {
        let babbles_early = self.babbles && self.cut.is_some();
        self.corrupt.is_none() && !babbles_early && !matches!(self.speech, Speech::Stray(_))
    }
}

impl Plan {
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        let modes = [(); ADDRESSES].map(|()| (mode(rng), Around::drawn(rng)));
        let configurations = configurations(rng, modes);
        let spans = [Duration::from_millis(5), Duration::from_secs(3), Duration::from_secs(3600)];
        let span = *rng.pick(&spans);
        let kinds = [kind(rng), kind(rng)];
        let clients: Vec<ClientPlan> = (0..rng.between(1, 16))
            .map(|_| {
                let (of, tls) = (rng.below(ADDRESSES), *rng.pick(&kinds));
                client(rng, (of, modes[of]), tls, span)
            })
            .collect();
        let most = u32::try_from(clients.len()).expect("ten");
        let tight = rng.chance(40);
        let limit = |rng: &mut Rng| match tight {
            true => 1 + u32::try_from(rng.below(4)).expect("a few"),
            false => most + 5,
        };
        let mut plan = Self {
            orders: orders(rng, configurations.len(), span),
            configurations,
            capacity: limit(rng),
            max_connections: limit(rng),
            clients,
            buffer_memory: *rng.pick(&[256 << 10, 1 << 20, 16 << 20]),
            hellos: *rng.pick(&[(1500, 600), (1 << 20, 64 << 10)]),
            session_lifetime: *rng.pick(&[Duration::from_secs(10), Duration::from_secs(3600)]),
            // Drawn last, as it came last.
            handshakes: shedding::limits(&mut rng.fork()),
        };
        for _ in 0..rng.below(3) {
            plan.orders.insert(0, (rng.time(span), Order::Revalidate));
        }
        if rng.chance(30) {
            let rate = *rng.pick(&[None, NonZeroU32::new(1), NonZeroU32::new(500)]);
            let order = Order::Dismiss { in_order: rng.chance(70), rate };
            plan.orders.insert(0, (rng.time(span), order));
        }
        plan
    }
}

/// What TLS peers speak; there are few kinds in a run, so that some come back and resume.
fn kind(rng: &mut Rng) -> ClientTls {
    ClientTls {
        version: *rng.pick(&[None, Some(TlsVersion::V1_2), Some(TlsVersion::V1_3)]),
        guesses_wrong: rng.chance(20),
        certificate: rng.chance(60),
    }
}

fn orders(rng: &mut Rng, configurations: usize, span: Duration) -> Vec<(Duration, Order)> {
    let mut orders = Vec::new();
    let soon = span + Duration::from_secs(2);
    if rng.chance(20) {
        let (come, go) = (rng.time(soon), rng.time(soon));
        let others = 1 + u32::try_from(rng.below(10)).expect("a few");
        orders.push((come.min(go), Order::OthersCome(others)));
        orders.push((come.max(go), Order::OthersGo(others)));
    }
    let mut reloads: Vec<Duration> = (1..configurations).map(|_| rng.time(soon)).collect();
    reloads.sort();
    orders.extend(reloads.into_iter().zip(1..).map(|(at, next)| (at, Order::Reload(next))));
    for _ in 0..rng.below(4) {
        let order = *rng.pick(&[Order::Collect, Order::Wake, Order::Ask]);
        orders.push((rng.time(soon), order));
    }
    if rng.chance(30) {
        let patience = rng.time(soon);
        orders.push((rng.time(soon), Order::Drain { patience }));
    }
    if rng.chance(15) {
        orders.push((rng.time(soon), Order::Stop));
    }
    let patience = *rng.pick(&[Duration::ZERO, Duration::from_secs(30)]);
    orders.push((soon + Duration::from_secs(40), Order::Drain { patience }));
    orders
}

/// One, or several that follow each other by reloads: listeners stay, change, come and go.
fn configurations(rng: &mut Rng, modes: [(Mode, Around); ADDRESSES]) -> Vec<Configuration> {
    let mut all: Vec<Configuration> = Vec::new();
    let count = rng.weighted(&[(4, 1), (2, 2), (2, 4)]);
    for _ in 0..count {
        let mut listeners = Vec::new();
        for (address, mode) in modes.into_iter().enumerate() {
            let known = all.last().and_then(|last| {
                last.listeners.iter().find(|listener| listener.address == address)
            });
            if !rng.chance(if known.is_some() { 90 } else { 75 }) {
                continue;
            }
            let same = known.filter(|_| rng.chance(40)).cloned();
            listeners.push(same.unwrap_or_else(|| listener(rng, address, mode)));
        }
        if listeners.is_empty() {
            listeners.push(listener(rng, 0, modes[0]));
        }
        let first = rng.below(listeners.len());
        listeners.rotate_left(first);
        all.push(Configuration { listeners });
    }
    all
}

fn mode(rng: &mut Rng) -> Mode {
    rng.weighted(&[
        (6, Mode::Terminate),
        (3, Mode::Originate),
        (4, Mode::Bridge),
        (2, Mode::Passthrough),
        (2, Mode::Detect),
        (2, Mode::DetectBridge),
    ])
}

fn listener(rng: &mut Rng, address: usize, (mode, around): (Mode, Around)) -> ListenerPlan {
    let seconds = Duration::from_secs_f64;
    let mut timeout = |choices: &[f64]| seconds(*rng.pick(choices));
    let timeouts = Timeouts {
        handshake: timeout(&[0.5, 2.0, 10.0]),
        connect: timeout(&[0.2, 1.0, 3.0]),
        half_close: timeout(&[0.3, 5.0, 60.0]),
        idle: Some(timeout(&[0.4, 3.0, 300.0])).filter(|idle| *idle < seconds(100.0)),
    };
    let client_cert = rng.weighted(&[
        (6, ClientCert::None),
        (1, ClientCert::Optional),
        (2, ClientCert::Required),
    ]);
    let (min_version, max_version) = rng.weighted(&[
        (6, (TlsVersion::V1_2, TlsVersion::V1_3)),
        (1, (TlsVersion::V1_3, TlsVersion::V1_3)),
        (1, (TlsVersion::V1_2, TlsVersion::V1_2)),
    ]);
    ListenerPlan {
        address,
        mode,
        around,
        tls: ServerTls {
            certificate: rng.below(2),
            strict_sni: rng.chance(20),
            client_cert,
            resumption: *rng.pick(&[
                ResumptionMode::Tickets,
                ResumptionMode::Store,
                ResumptionMode::Off,
            ]),
            min_version,
            max_version,
            one_group: rng.chance(30),
        },
        connect: *rng.pick(&[ConnectWhen::AfterHello, ConnectWhen::AfterHandshake]),
        timeouts,
        endpoints: rng.between(1, 3),
    }
}

fn client(
    rng: &mut Rng,
    (address, (mode, around)): (usize, (Mode, Around)),
    tls: ClientTls,
    span: Duration,
) -> ClientPlan {
    let introduction = around.introduction(rng);
    let speech = match &introduction {
        Some(one) if one.is_cut() => Speech::Stray(Vec::new()),
        _ => speech(rng, mode, tls),
    };
    let plaintext = matches!(speech, Speech::Plaintext);
    let notice = rng.chance(50).then(|| rng.time(Duration::from_secs(5)));
    ClientPlan {
        start: rng.time(span),
        address,
        source: *rng.pick(if around.incoming { &[1, 1, 1, 2, STRANGER] } else { &[1, 1, 2] }),
        introduction,
        is_told: around.outgoing.is_some(),
        speech,
        upload: volume(rng),
        manner: manner(rng),
        finish: rng.weighted(&[
            (8, Finish::Close),
            (4, Finish::CloseAndFin),
            (2, Finish::CloseAndLeave),
            // Plaintext has no other end than this one.
            (3, if plaintext { Finish::CloseAndFin } else { Finish::Truncate }),
            (2, Finish::Reset),
            (2, Finish::Vanish { notice }),
            (2, Finish::Stay),
        ]),
        cut: rng.chance(20).then(|| rng.below(3000)),
        corrupt: (rng.chance(10) && !plaintext).then(|| rng.below(2500)),
        updates_keys: rng.chance(10),
        babbles: rng.chance(5) && !plaintext,
        stubborn: rng.chance(10),
        dials: (0..rng.between(1, 3)).map(|_| dial(rng)).collect(),
        component: component(rng),
    }
}

fn speech(rng: &mut Rng, mode: Mode, tls: ClientTls) -> Speech {
    let name = if rng.chance(90) { crate::tls::NAME } else { "stranger.example" };
    let stray = strays::drawn(rng);
    let detected = matches!(mode, Mode::Detect | Mode::DetectBridge);
    if mode == Mode::Originate || detected && rng.chance(50) {
        return Speech::Plaintext;
    }
    match rng.below(100) {
        // Where it would be taken for plaintext, a component would be told nonsense.
        0..8 if !detected || stray.first() == Some(&22) => Speech::Stray(stray),
        8..15 => Speech::Fragments { tls, size: *rng.pick(&[1, 50, 200]) },
        _ => Speech::Tls { tls, name },
    }
}

fn dial(rng: &mut Rng) -> DialPlan {
    let most = *rng.pick(&[20, 20, 20, 2000]);
    let after = rng.time(Duration::from_millis(most));
    let errnos = [
        libc::ECONNREFUSED,
        libc::ETIMEDOUT,
        libc::EHOSTUNREACH,
        libc::EADDRNOTAVAIL,
        libc::ENOBUFS,
        libc::ENOENT,
    ];
    let errno = *rng.pick(&errnos);
    rng.weighted(&[
        (16, DialPlan::Accepted(after)),
        (3, DialPlan::Failed(errno, after)),
        (1, DialPlan::Never),
    ])
}

fn component(rng: &mut Rng) -> ComponentPlan {
    let notice = rng.chance(50).then(|| rng.time(Duration::from_secs(5)));
    ComponentPlan {
        echo: rng.chance(50),
        download: volume(rng),
        eager: rng.chance(50),
        manner: manner(rng),
        version: *rng.pick(&[None, Some(TlsVersion::V1_2), Some(TlsVersion::V1_3)]),
        stranger: rng.chance(8),
        mute: rng.chance(6),
        truncates: rng.chance(10),
        end: rng.weighted(&[
            (4, ComponentEnd::Fin),
            (8, ComponentEnd::FinAfterFin),
            (3, ComponentEnd::Close),
            (2, ComponentEnd::Reset),
            (1, ComponentEnd::Vanish { notice }),
            (1, ComponentEnd::Stay),
        ]),
        cut: rng.chance(15).then(|| rng.below(8000)),
    }
}

/// Mostly messages; sometimes enough to fill every buffer on the way.
fn volume(rng: &mut Rng) -> usize {
    let most = rng.weighted(&[(2, 0), (8, 300), (6, 6000), (3, 40_000), (1, 400_000)]);
    rng.between(0, most)
}

fn manner(rng: &mut Rng) -> Manner {
    Manner {
        portion: rng.weighted(&[(1, 40), (2, 1000), (6, 20_000), (3, 200_000)]),
        pace: rng.weighted(&[
            (6, Duration::from_micros(100)),
            (3, Duration::from_millis(5)),
            (1, Duration::from_millis(200)),
        ]),
    }
}

/// Addresses that there may be listeners at.
pub(crate) const ADDRESSES: usize = 3;
