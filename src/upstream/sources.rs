//! Which of our addresses a connection to a component comes from.
//!
//! Ports run out by source and destination: about 28,000 connections from one address of ours to
//! one of a component's. Several sources take turns, and one that has no port left towards a
//! destination is left in peace there for a while: the kernel looks at all of them before it says so.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::settings::{MAX_SOURCES, SourceSettings};
use crate::engine::{Address, Source};
use crate::time::Time;

/// The sources of one route, as a shard sees them.
#[derive(Debug)]
pub struct Sources {
    settings: SourceSettings,
    next: usize,
    used_up: Vec<UsedUp>,
}

/// Sources that a connection has tried in vain, towards the destination that it dials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried(u64);

/// The families of destinations that there is a source for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    v4: bool,
    v6: bool,
}

/// A source that had no port left.
#[derive(Debug)]
struct UsedUp {
    source: usize,
    towards: SocketAddr,
    until: Time,
}

impl Sources {
    pub fn new(settings: SourceSettings) -> Self {
        Self { settings, next: 0, used_up: Vec::new() }
    }

    /// The source to dial `to` from, for a connection whose peer is `client` (`None` for one that
    /// came by a unix socket). `None` when there is none, or when all were tried.
    pub fn choose(
        &mut self,
        to: &Address,
        client: Option<SocketAddr>,
        tried: &mut Tried,
        now: Time,
    ) -> Option<Source> {
        match (to, &self.settings) {
            (Address::Unix(_), _) | (_, SourceSettings::Any) => {
                tried.once(0).then_some(Source::Any)
            }
            (Address::Tcp(_), SourceSettings::Client { keep_port }) => {
                let client = client.filter(|_| tried.once(0))?;
                let port = if *keep_port { client.port() } else { 0 };
                Some(Source::Client(SocketAddr::new(client.ip(), port)))
            }
            (Address::Tcp(to), SourceSettings::From(list)) => {
                let source = self.in_turn(list, *to, *tried, now)?;
                tried.once(source);
                let chosen = Source::From(list[source]);
                self.next = (source + 1) % list.len();
                Some(chosen)
            }
        }
    }

    /// Which destinations can be dialled for `client`.
    pub fn reach(&self, client: Option<SocketAddr>) -> Reach {
        let has = |is_v4: bool| match &self.settings {
            SourceSettings::Any => true,
            SourceSettings::From(list) => list.iter().any(|ip| ip.is_ipv4() == is_v4),
            SourceSettings::Client { .. } => {
                // A listener of both families shows IPv4 clients as IPv6 (RFC 4291 §2.5.5.2).
                client.is_some_and(|client| client.ip().to_canonical().is_ipv4() == is_v4)
            }
        };
        Reach { v4: has(true), v6: has(false) }
    }

    /// EADDRNOTAVAIL: `source` has no port left towards `to`.
    pub fn report_used_up(&mut self, source: Source, to: &Address, now: Time) {
        let (Source::From(ip), Address::Tcp(to), SourceSettings::From(list)) =
            (source, to, &self.settings)
        else {
            return;
        };
        let Some(source) = list.iter().position(|of| *of == ip) else { return };
        self.used_up.retain(|used| used.until > now && !used.is(source, *to));
        if self.used_up.len() == MAX_USED_UP {
            self.used_up.remove(0);
        }
        self.used_up.push(UsedUp { source, towards: *to, until: now + IN_PEACE });
    }

    /// The next one that may have a port. When all seem used up, the one that has rested longest is
    /// asked, and no other.
    fn in_turn(&self, list: &[IpAddr], to: SocketAddr, tried: Tried, now: Time) -> Option<usize> {
        let rests_until = |source: usize| {
            let used = self.used_up.iter().find(|used| used.is(source, to));
            used.map(|used| used.until).filter(|until| *until > now)
        };
        let of_family = |source: &usize| list[*source].is_ipv4() == to.is_ipv4();
        let turns = (0..list.len()).map(|step| (self.next + step) % list.len()).filter(of_family);
        let fresh =
            turns.clone().find(|&source| !tried.has(source) && rests_until(source).is_none());
        fresh.or_else(|| {
            turns.min_by_key(|&source| rests_until(source)).filter(|_| tried.is_empty())
        })
    }
}

/// How many sources there are towards a destination; `None` where they are those of clients.
pub fn count(settings: &SourceSettings, to: SocketAddr) -> Option<u32> {
    match settings {
        SourceSettings::Any => Some(1),
        SourceSettings::From(list) => {
            let count = list.iter().filter(|ip| ip.is_ipv4() == to.is_ipv4()).count();
            Some(u32::try_from(count).expect("a few"))
        }
        SourceSettings::Client { .. } => None,
    }
}

impl Reach {
    #[cfg(test)]
    pub const ALL: Self = Self { v4: true, v6: true };

    pub fn has(self, to: &Address) -> bool {
        match to {
            Address::Tcp(SocketAddr::V4(_)) => self.v4,
            Address::Tcp(SocketAddr::V6(_)) => self.v6,
            Address::Unix(_) => true,
        }
    }
}

impl UsedUp {
    fn is(&self, source: usize, towards: SocketAddr) -> bool {
        self.source == source && self.towards == towards
    }
}

impl Tried {
    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, source: usize) -> bool {
        self.0 & (1 << source) != 0
    }

    /// Whether it was not tried before; it is from now on.
    fn once(&mut self, source: usize) -> bool {
        let is_new = !self.has(source);
        self.0 |= 1 << source;
        is_new
    }
}

/// How long a source is left in peace: ports come back with every connection that ends.
const IN_PEACE: Duration = Duration::from_secs(1);
/// Pairs of source and destination that are remembered; the oldest is forgotten.
const MAX_USED_UP: usize = 4 * MAX_SOURCES;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_nanos(77);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn to(port: u16) -> Address {
        Address::Tcp(([198, 51, 100, 1], port).into())
    }

    fn from(lasts: &[u8]) -> Sources {
        let list = lasts.iter().map(|&last| ip(last)).collect();
        Sources::new(SourceSettings::From(list))
    }

    /// All that a connection may try.
    fn all(sources: &mut Sources, to: &Address, now: Time) -> Vec<Source> {
        let mut tried = Tried::default();
        std::iter::from_fn(|| sources.choose(to, None, &mut tried, now)).collect()
    }

    fn first(sources: &mut Sources, to: &Address, now: Time) -> Option<Source> {
        sources.choose(to, None, &mut Tried::default(), now)
    }

    #[test]
    fn sources_take_turns_and_each_is_tried_once() {
        let mut sources = from(&[1, 2, 3]);
        let turns = [1, 2, 3, 1].map(|last| Some(Source::From(ip(last))));
        assert_eq!([(); 4].map(|()| first(&mut sources, &to(1), NOW)), turns);
        let expected = [2, 3, 1].map(|last| Source::From(ip(last)));
        assert_eq!(all(&mut sources, &to(1), NOW), expected);
        let most = (0..64).collect::<Vec<_>>();
        assert_eq!(all(&mut from(&most), &to(1), NOW).len(), MAX_SOURCES);
    }

    #[test]
    fn one_without_ports_is_left_in_peace_towards_that_destination() {
        let mut sources = from(&[1, 2]);
        sources.report_used_up(Source::From(ip(1)), &to(1), NOW);
        assert_eq!(all(&mut sources, &to(1), NOW), [Source::From(ip(2))]);
        assert_eq!(all(&mut sources, &to(2), NOW).len(), 2, "another destination");
        sources.report_used_up(Source::From(ip(2)), &to(1), NOW + IN_PEACE / 2);
        let both = NOW + IN_PEACE / 2;
        assert_eq!(all(&mut sources, &to(1), both), [Source::From(ip(1))], "rested longest");
        assert_eq!(all(&mut sources, &to(1), NOW + IN_PEACE), [Source::From(ip(1))]);
        assert_eq!(all(&mut sources, &to(1), both + IN_PEACE).len(), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut sources = from(&[1]);
        for port in 0..1_000 {
            sources.report_used_up(Source::From(ip(1)), &to(port), NOW);
        }
        assert_eq!(sources.used_up.len(), MAX_USED_UP);
        sources.report_used_up(Source::From(ip(1)), &to(1), NOW + IN_PEACE);
        assert_eq!(sources.used_up.len(), 1, "what is over is forgotten first");
    }

    #[test]
    fn only_sources_of_the_destinations_family() {
        let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        let mut sources = Sources::new(SourceSettings::From(vec![v6, ip(1)]));
        assert_eq!(all(&mut sources, &to(1), NOW), [Source::From(ip(1))]);
        assert_eq!(all(&mut from(&[1]), &Address::Tcp((v6, 1).into()), NOW), []);
    }

    #[test]
    fn what_can_be_reached_is_what_there_is_a_source_for() {
        let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        let [old, new] = [to(1), Address::Tcp((v6, 1).into())];
        let unix = Address::Unix("/socket".into());
        let v4_client = Some(SocketAddr::from(([203, 0, 113, 7], 4711)));
        let mapped = "[::ffff:203.0.113.7]:4711".parse().ok();
        let client = SourceSettings::Client { keep_port: true };
        for (settings, client, expected) in [
            (SourceSettings::Any, None, [true, true]),
            (SourceSettings::From(vec![ip(1)]), None, [true, false]),
            (SourceSettings::From(vec![ip(1), v6]), None, [true, true]),
            (client.clone(), None, [false, false]),
            (client.clone(), v4_client, [true, false]),
            (client.clone(), mapped, [true, false]),
            (client, Some((v6, 1).into()), [false, true]),
        ] {
            let reach = Sources::new(settings.clone()).reach(client);
            assert_eq!([reach.has(&old), reach.has(&new)], expected, "{settings:?} {client:?}");
            assert!(reach.has(&unix));
        }
    }

    #[test]
    fn the_clients_address_with_or_without_its_port() {
        let client: SocketAddr = ([203, 0, 113, 7], 4711).into();
        for (keep_port, port) in [(true, 4711), (false, 0)] {
            let mut sources = Sources::new(SourceSettings::Client { keep_port });
            let mut tried = Tried::default();
            let source = sources.choose(&to(1), Some(client), &mut tried, NOW);
            assert_eq!(source, Some(Source::Client((client.ip(), port).into())));
            assert_eq!(sources.choose(&to(1), Some(client), &mut tried, NOW), None);
            assert_eq!(first(&mut sources, &to(1), NOW), None, "a client without an address");
            let unix = Address::Unix("/socket".into());
            assert_eq!(all(&mut sources, &unix, NOW), [Source::Any]);
        }
        let mut any = Sources::new(SourceSettings::Any);
        assert_eq!(all(&mut any, &to(1), NOW), [Source::Any]);
    }
}
