//! A connection that is up, judged again: would it be admitted now?
//!
//! It is asked as a new one would be, by what is known of it: what it said in its ClientHello, what
//! rustls keeps of the certificates that were shown, and how those were found to be trusted. All but
//! the first few bytes is there only where certificates are.

use std::sync::Arc;
use std::time::Duration;

use super::outcome::{Cause, Client, Reason};
use super::stale::{Stale, StaleCause};
use super::{Connection, Context, Phase};
use crate::config::model::{ConnectWhen, Revalidate};
use crate::engine::{CloseMode, Side};
use crate::policy::rules::{Facts, Version};
use crate::policy::{Decision, Downstream, ListenerPolicy, Route};
use crate::telemetry::ShardTelemetry;
use crate::tls::hello::AlpnProtocols;
use crate::tls::lane::Choice;
use crate::tls::trust::{PeerIdentity, TrustPath};
use crate::tls::{ClientProfile, ServerProfile};

/// What is known of where a connection comes from and what it was admitted by, where there is
/// anything to keep.
#[derive(Debug, Default)]
pub(super) struct Grounds {
    /// What the peer has shown, where it was asked for a certificate.
    pub(super) shown: Option<Box<Client>>,
    /// Names that the peer offered by ALPN, the first [`MAX_ALPN`] bytes of them. Rules do not see
    /// the others again.
    pub(super) alpn: Box<[u8]>,
    /// How certificates were found to be trusted.
    pub(super) client: Option<Arc<TrustPath>>,
    pub(super) component: Option<Arc<TrustPath>>,
    stale: Option<Box<Stale>>,
    lane: Choice,
}

/// What a peer said in its ClientHello, in two bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    version: Option<Version>,
    /// Its SNI was the name of a host.
    names_host: bool,
}

impl Grounds {
    /// What there is to keep of a ClientHello.
    pub(super) fn alpn_of(hello: &Facts<'_>) -> Option<Box<[u8]>> {
        let alpn = hello.alpn.first_within(MAX_ALPN);
        (!alpn.is_empty()).then(|| alpn.into())
    }
}

impl Said {
    pub(super) fn of(hello: &Facts<'_>) -> Self {
        Self { version: hello.version, names_host: hello.sni.is_some() }
    }
}

impl Connection {
    /// Keeps which lane the peer takes, where that is not what most take.
    pub(super) fn take_lane(&mut self, choice: Choice) {
        if choice != Choice::default() {
            self.grounds().lane = choice;
        }
    }

    /// The lane that the peer has taken, if it has: it `shook` hands, or is about to.
    pub fn lane(&self, shook: bool) -> Option<Choice> {
        let lane = self.grounds.as_ref().map(|grounds| grounds.lane).unwrap_or_default();
        let has_one = shook || self.downstream.tls.is_some() || lane != Choice::default();
        has_one.then_some(lane)
    }

    pub(super) fn grounds(&mut self) -> &mut Grounds {
        self.grounds.get_or_insert_default()
    }

    /// What the peer has shown, where it was asked for a certificate.
    pub(super) fn client(&self) -> Option<&Client> {
        self.grounds.as_ref()?.shown.as_deref()
    }

    /// Whether the connection has got so far since the last call that it is to be judged under the
    /// policy of now.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// What is wrong with it, as far as that was found.
    pub fn stale(&self) -> Option<&Stale> {
        self.grounds.as_ref()?.stale.as_deref()
    }

    /// Judges the connection under the policy that its listener has now, if it has one. Returns what
    /// is to become of it: [`Connection::handle`] wants to be told by
    /// [`Input::Expelled`](super::Input::Expelled) when it is time.
    pub fn revalidate(
        &mut self,
        policy: Option<&ListenerPolicy>,
        telemetry: &mut ShardTelemetry,
    ) -> Revalidate {
        self.put_off = !matches!(self.phase, Phase::Relay);
        if self.ending.is_some() || self.put_off {
            // It is judged when it gets there.
            return Revalidate::Keep;
        }
        let found = self.would_be_refused(policy);
        let fate = found.as_ref().map_or(Revalidate::Keep, |stale| stale.fate);
        if found.as_ref() != self.stale() {
            telemetry.on_stale(self.policy.index, self.stale(), found.as_ref());
            self.grounds().stale = found.map(Box::new);
        }
        fate
    }

    /// Whether it is to be judged now that it has got further, under whatever policy: somebody
    /// wanted that while it shook hands, or what one side has shown ended while the other did.
    pub fn is_overdue(&self) -> bool {
        self.put_off || self.seconds_left().any(|left| left.is_none())
    }

    /// How long what it rests on is good for, at most: certificates, and lanes up to a day. What has
    /// ended was judged, and nothing more will come of it.
    pub fn good_for(&self) -> Option<Duration> {
        // That second included.
        let left = self.seconds_left().flatten().min()?;
        Some(Duration::from_secs(left.saturating_add(1)))
    }

    /// For each path and each lane that it rests on, until its last second; `None` where that has
    /// passed.
    fn seconds_left(&self) -> impl Iterator<Item = Option<u64>> {
        let is_judged = self.stale().is_some();
        let grounds = self.grounds.as_ref();
        let paths = grounds.map(|grounds| [&grounds.client, &grounds.component]);
        let paths = paths.into_iter().flatten().flatten().map(|path| path.not_after());
        let lane = self.lane(false).unwrap_or_default().lane;
        let lanes = [
            self.route.tls.as_ref().and_then(|tls| tls.lane_ends(lane)),
            self.route.upstream_tls.as_ref().and_then(ClientProfile::lane_ends),
        ];
        let tls = self.route.tls.as_ref().and_then(ServerProfile::now);
        let now = tls.or_else(|| self.route.upstream_tls.as_ref()?.now());
        let ends = paths.chain(lanes.into_iter().flatten()).filter(move |_| !is_judged);
        ends.zip(std::iter::repeat(now)).filter_map(|(end, now)| {
            let now = now?.as_secs();
            Some(u64::try_from(end).ok().and_then(|end| end.checked_sub(now)))
        })
    }

    fn would_be_refused(&mut self, policy: Option<&ListenerPolicy>) -> Option<Stale> {
        let Some(policy) = policy else {
            return Some(unconfigured(Side::Downstream));
        };
        let (peer, route) = match self.judge_peer(policy) {
            Ok(route) => (None, Some(route)),
            // Its component is judged by the route that it has.
            Err(stale) => (Some(stale), self.route_now(policy)),
        };
        let component = route.and_then(|route| self.judge_component(route).err());
        // Whatever ends it sooner counts.
        match (peer, component) {
            (Some(peer), Some(component)) if component.fate > peer.fate => Some(component),
            (peer, component) => peer.or(component),
        }
    }

    /// What the route that it was taken has become, if that is still there.
    fn route_now<'p>(&self, policy: &'p ListenerPolicy) -> Option<&'p Arc<Route>> {
        if Arc::ptr_eq(&self.route, self.policy.route()) {
            return Some(policy.route());
        }
        // Not by the names of all routes: a rule may be called as its listener is.
        policy.rules.route(&self.route.name)
    }

    /// The route that the connection would be taken.
    fn judge_peer<'p>(&mut self, policy: &'p ListenerPolicy) -> Result<&'p Arc<Route>, Stale> {
        let Some(tls) = &self.downstream.tls else { return self.judge_unterminated(policy) };
        if !matches!(policy.downstream, Downstream::Tls | Downstream::Detect) {
            return Err(unconfigured(Side::Downstream));
        }
        let facts = self.facts();
        let Decision::Follow(route) = policy.after_hello(&facts) else {
            return Err(refused(policy.route(), StaleCause::PolicyDenied));
        };
        let Some(profile) = &route.tls else { return Err(unconfigured(Side::Downstream)) };
        if !route.recognizes(facts.sni) {
            return Err(refused(route, StaleCause::UnrecognizedName));
        }
        let lane = tls.lane();
        if profile.allows_lane(lane, facts.source).is_err() {
            return Err(refused(route, StaleCause::Lane));
        }
        if !tls.version().is_some_and(|version| profile.allows_version(version)) {
            return Err(refused(route, StaleCause::Version));
        }
        if !tls.suite().is_some_and(|suite| profile.allows_suite(lane, suite)) {
            return Err(refused(route, StaleCause::CipherSuite));
        }
        let chain = tls.peer_certificates();
        let mut path = self.grounds.as_ref().and_then(|grounds| grounds.client.clone());
        let verdict = profile.recheck(lane, chain, &mut path);
        let identity = match chain.first() {
            Some(leaf) if policy.asks_for_identity() && profile.verifies_peers() => {
                PeerIdentity::of(leaf)
            }
            _ => None,
        };
        let next = policy.after_handshake(&facts, identity.as_ref());
        if let Some(path) = path {
            self.grounds().client = Some(path);
        }
        verdict.map_err(|why| Stale::certificate(Side::Downstream, &why, profile.revalidate()))?;
        match next {
            Decision::Deny => Err(refused(route, StaleCause::PolicyDenied)),
            Decision::Follow(next) if route.connect == ConnectWhen::AfterHandshake => Ok(next),
            Decision::Follow(_) => Ok(route),
        }
    }

    /// As [`Self::judge_peer`], where the peer's TLS, if it speaks any, does not end here.
    fn judge_unterminated<'p>(&self, policy: &'p ListenerPolicy) -> Result<&'p Arc<Route>, Stale> {
        let passes = self.policy.downstream == Downstream::Passthrough;
        let decision = match policy.downstream {
            Downstream::Passthrough if passes => policy.after_hello(&self.facts()),
            Downstream::Plaintext | Downstream::Detect if !passes => {
                policy.plaintext(self.source())
            }
            Downstream::Tls if !passes => {
                return Err(refused(policy.route(), StaleCause::Plaintext));
            }
            _ => return Err(unconfigured(Side::Downstream)),
        };
        match decision {
            Decision::Follow(route) => Ok(route),
            Decision::Deny => Err(refused(policy.route(), StaleCause::PolicyDenied)),
        }
    }

    /// Whether the component that it is connected to is one that `route` may lead to.
    fn judge_component(&mut self, route: &Route) -> Result<(), Stale> {
        let Some(endpoint) = self.dial.endpoint().filter(|_| self.upstream.is_ready()) else {
            return Ok(());
        };
        let name = &self.route.upstreams.endpoints[endpoint].name;
        let known = route.upstreams.endpoints.iter().position(|known| known.name == *name);
        let Some(endpoint) = known else { return Err(unconfigured(Side::Upstream)) };
        let Some(profile) = &route.upstream_tls else { return Ok(()) };
        let fate = profile.revalidate();
        let refused = |cause| Err(Stale::new(Side::Upstream, cause, fate));
        let Some(tls) = &self.upstream.tls else { return refused(StaleCause::Plaintext) };
        if !tls.version().is_some_and(|version| profile.allows_version(version)) {
            return refused(StaleCause::Version);
        }
        if !tls.suite().is_some_and(|suite| profile.allows_suite(suite)) {
            return refused(StaleCause::CipherSuite);
        }
        if profile.allows(self.source()).is_err() {
            return refused(StaleCause::Lane);
        }
        let mut path = self.grounds.as_ref().and_then(|grounds| grounds.component.clone());
        let verdict = profile.recheck(endpoint, tls.peer_certificates(), &mut path);
        if let Some(path) = path {
            self.grounds().component = Some(path);
        }
        verdict.map_err(|why| Stale::certificate(Side::Upstream, &why, fate))
    }

    /// What rules may ask of its ClientHello.
    pub fn facts(&self) -> Facts<'_> {
        let alpn = self.grounds.as_ref().map_or(&[][..], |grounds| &grounds.alpn);
        Facts {
            source: self.source(),
            sni: self.sni.as_deref().filter(|_| self.said.names_host),
            alpn: AlpnProtocols::parse(alpn).unwrap_or_default(),
            version: self.said.version,
            client: None,
        }
    }

    /// It may not go on: ends it in order, or at once.
    pub(super) fn expel(&mut self, how: Revalidate, cx: &mut Context<'_>) {
        let Some(stale) = self.stale().cloned() else { return };
        let reason = match stale.side {
            Side::Downstream => Reason::NoLongerAdmitted,
            Side::Upstream => Reason::UpstreamNoLongerTrusted,
        };
        match how {
            Revalidate::Keep => return,
            Revalidate::Drain => self.part_in_order(reason, Cause::Policy, cx),
            Revalidate::Close => self.end_at_once(reason, &stale, cx),
        }
        if let Some(ending) = &mut self.ending {
            match &stale.detail {
                Some(detail) => ending.detail(&format_args!("{}: {detail}", stale.cause.as_str())),
                None => ending.detail(&stale.cause.as_str()),
            };
        }
    }

    /// Whoever is at fault is told by alert, if that can be said without waiting.
    fn end_at_once(&mut self, reason: Reason, stale: &Stale, cx: &mut Context<'_>) {
        // The alert takes the session along, without which a side is not ready.
        let (stage, agreed) = (self.stage(), self.agreed());
        let description = stale.cause.alert();
        // Tickets that wait for company have not been sent because of us, not of the peer.
        let is_ours = stale.side == Side::Downstream && self.tickets_wait;
        let state = self.side_mut(stale.side);
        let waits = state.sending > 0 || state.queued() > 0 && !is_ours;
        let told = state.is_ready() && !waits && state.tell(description, cx.pool);
        let ending = self.end(reason, Cause::Policy, cx);
        ending.at(stage).agreed(agreed).reset_upstream().close_downstream(CloseMode::Reset);
        match stale.side {
            _ if !told => {}
            Side::Downstream => ending.alert_sent(Some(description)).flush_downstream(cx.now),
            Side::Upstream => {
                ending.upstream_alert_sent(description).flush_upstream(cx.now);
            }
        }
    }
}

fn unconfigured(side: Side) -> Stale {
    Stale::new(side, StaleCause::Unconfigured, Revalidate::Keep)
}

/// What becomes of a peer's connection is said by the TLS of its route; without TLS, nothing is.
fn refused(route: &Route, cause: StaleCause) -> Stale {
    let fate = route.tls.as_ref().map_or(Revalidate::Keep, ServerProfile::revalidate);
    Stale::new(Side::Downstream, cause, fate)
}

/// Bytes of ALPN that are kept: a dozen names.
const MAX_ALPN: usize = 128;
