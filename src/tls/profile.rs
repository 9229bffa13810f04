//! TLS of the two sides of a route, ready to accept and to dial with.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CipherSuite, ClientConfig, ServerConfig};

use super::error::TlsError;
use super::hello::Hello;
use super::identity::{Identities, SniResolver, keys};
use super::lane::{Choice, Lane, Lanes, NoLane, allow};
use super::modern::ModernConn;
use super::openssl::Verifier;
use super::tls_conn::TlsConn;
use super::trust::{
    ClientTrust, ClientVerification, Rejection, ServerTrust, ServerVerification, TrustPath,
};
use super::weak::{WeakClient, WeakServer};
use crate::buf::{Buf, Pool};
use crate::config::model::{
    ClientCert, Date, DownstreamTls, Legacy, RecordLayer, Revalidate, TlsVersion, UpstreamTls,
    Verify,
};

/// Certificates, versions and resumption of one listener, compiled once and shared.
#[derive(Clone, Debug)]
pub struct ServerProfile {
    config: Arc<ServerConfig>,
    resolver: Arc<SniResolver>,
    strict_sni: bool,
    versions: RangeInclusive<TlsVersion>,
    lanes: Lanes,
    verifies_peers: bool,
    trust: ClientTrust,
    revalidate: Revalidate,
    records: RecordLayer,
    compat12: Option<Arc<WeakServer>>,
    legacy: Option<Arc<WeakServer>>,
}

/// TLS of a route's upstream side, compiled once and shared.
#[derive(Clone, Debug)]
pub struct ClientProfile {
    /// By the position of the endpoint: the TLS, and the name that SNI says.
    endpoints: Arc<[(Arc<ClientConfig>, ServerName<'static>)]>,
    verify: Verify,
    /// What components are judged by after their handshake; without it, they are not.
    judge: Option<Arc<Judge>>,
    versions: RangeInclusive<TlsVersion>,
    /// Of the legacy lane, if the side has it.
    legacy: Option<Arc<Legacy>>,
    revalidate: Revalidate,
    records: RecordLayer,
    /// Whoever is connected to takes this lane, if it is there.
    weak: Option<Arc<WeakClient>>,
}

/// Who components must be.
#[derive(Debug)]
struct Judge {
    trust: ServerTrust,
    /// The name that must be on the certificate, by the position of the endpoint.
    names: Vec<ServerName<'static>>,
}

impl ServerProfile {
    /// The profile of a listener whose TLS section is `tls`, from what was made of it.
    pub fn new(config: Arc<ServerConfig>, identities: &Identities, tls: &DownstreamTls) -> Self {
        let (provider, resolver) = (Arc::clone(config.crypto_provider()), &identities.resolver);
        Self {
            lanes: Lanes::new(tls, provider, Arc::clone(resolver), keys(tls, identities)),
            config,
            resolver: Arc::clone(resolver),
            trust: identities.trust.clone(),
            strict_sni: tls.strict_sni,
            versions: tls.min_version..=tls.max_version,
            revalidate: tls.revalidate,
            records: RecordLayer::default(),
            compat12: None,
            legacy: None,
            verifies_peers: matches!(tls.client_cert, ClientCert::Optional | ClientCert::Required),
        }
    }

    /// The same with these weak lanes besides.
    #[must_use]
    pub fn with_lanes(self, compat12: Option<WeakServer>, legacy: Option<WeakServer>) -> Self {
        Self { compat12: compat12.map(Arc::new), legacy: legacy.map(Arc::new), ..self }
    }

    /// The same with records made by this, in the modern lane.
    #[must_use]
    pub fn recorded_by(self, records: RecordLayer) -> Self {
        Self { records, ..self }
    }

    fn weak(&self, lane: Lane) -> Option<&WeakServer> {
        match lane {
            Lane::Modern => None,
            Lane::Compat12 => self.compat12.as_deref(),
            Lane::Legacy => self.legacy.as_deref(),
        }
    }

    /// What a peer has shown in this lane; `None` where it was not asked. To be asked after every
    /// handshake, whether full or resumed.
    pub fn judge(&self, lane: Lane, chain: &[CertificateDer<'_>]) -> Option<ClientVerification> {
        let trust = self.trust_in(lane);
        if trust.mode() == ClientCert::None {
            return None;
        }
        // Without a clock rustls would not have let the peer in.
        let now = self.now()?;
        Some(trust.judge(chain, now))
    }

    /// What peers are asked for.
    pub fn client_cert(&self) -> ClientCert {
        self.trust.mode()
    }

    fn trust_in(&self, lane: Lane) -> &ClientTrust {
        self.weak(lane).map_or(&self.trust, WeakServer::trust)
    }

    /// Whether a peer that is connected in this lane would be accepted now; as
    /// [`ClientTrust::recheck`].
    ///
    /// # Errors
    /// Why it would not.
    pub fn recheck(
        &self,
        lane: Lane,
        chain: &[CertificateDer<'_>],
        path: &mut Option<Arc<TrustPath>>,
    ) -> Result<(), Rejection> {
        self.now().map_or(Ok(()), |now| self.trust_in(lane).recheck(chain, path, now))
    }

    /// What becomes of connections that would not be admitted any more.
    pub fn revalidate(&self) -> Revalidate {
        self.revalidate
    }

    /// Whether this suite may be used in this lane.
    pub fn allows_suite(&self, lane: Lane, suite: CipherSuite) -> bool {
        match lane {
            Lane::Modern => allows(self.config.crypto_provider(), suite),
            weak => self.weak(weak).is_some_and(|lane| lane.allows_suite(suite)),
        }
    }

    /// The time by which certificates are judged.
    pub fn now(&self) -> Option<UnixTime> {
        self.config.time_provider.current_time()
    }

    /// Whether a peer that has shown a certificate is who that says.
    pub fn verifies_peers(&self) -> bool {
        self.verifies_peers
    }

    /// The lane of a peer from `source` that says `hello` now.
    ///
    /// # Errors
    /// Why there is none.
    pub fn choose(&self, hello: &Hello<'_>, source: Option<IpAddr>) -> Result<Choice, NoLane> {
        self.lanes.choose(hello, source, seconds(self.now()))
    }

    pub fn has_legacy_lane(&self) -> bool {
        self.lanes.terms().is_some()
    }

    /// Whether this version may be spoken.
    pub fn allows_version(&self, version: TlsVersion) -> bool {
        self.versions.contains(&version)
    }

    /// Whether a connection from `source` may be in this lane now.
    ///
    /// # Errors
    /// Why not.
    pub fn allows_lane(&self, lane: Lane, source: Option<IpAddr>) -> Result<(), NoLane> {
        match (lane, self.lanes.terms()) {
            (Lane::Legacy, None) => Err(NoLane::Version),
            (Lane::Compat12, _) if self.compat12.is_none() => Err(NoLane::Version),
            (Lane::Legacy, Some(terms)) => allow(terms, source, seconds(self.now())),
            _ => Ok(()),
        }
    }

    /// The last second of this lane, Unix time, if it has one.
    pub fn lane_ends(&self, lane: Lane) -> Option<i64> {
        let terms = self.lanes.terms().filter(|_| lane == Lane::Legacy)?;
        Some(terms.until.end() - 1)
    }

    /// A session for a new connection that takes this lane and asks for `sni`, from a peer that takes
    /// records of at most `max_content` bytes, if it has said so.
    ///
    /// # Errors
    /// As [`ModernConn::new`] and [`WeakServer::accept`]; when there is no such lane.
    pub fn accept(
        &self,
        lane: Lane,
        sni: Option<&str>,
        max_content: Option<u16>,
    ) -> Result<Box<dyn TlsConn>, TlsError> {
        match (lane, self.weak(lane), self.now()) {
            (Lane::Modern, ..) => {
                let config = Arc::clone(&self.config);
                Ok(Box::new(ModernConn::new(config, self.records, max_content)?))
            }
            (_, Some(weak), Some(now)) => weak.accept(sni, now),
            _ => Err(TlsError::local(format!("no {} lane", lane.as_str()))),
        }
    }

    pub fn strict_sni(&self) -> bool {
        self.strict_sni
    }

    /// Whether a certificate names `name`.
    pub fn covers(&self, name: &str) -> bool {
        self.resolver.covers(name)
    }
}

impl ClientProfile {
    /// For each endpoint of the route, in its order, what it is dialled with and the name that SNI
    /// says. Which name has to be on the certificate is the verifier's matter.
    pub fn new(endpoints: Vec<(Arc<ClientConfig>, ServerName<'static>)>) -> Self {
        Self {
            endpoints: endpoints.into(),
            verify: Verify::Full,
            judge: None,
            versions: TlsVersion::V1_2..=TlsVersion::V1_3,
            legacy: None,
            revalidate: Revalidate::default(),
            records: RecordLayer::default(),
            weak: None,
        }
    }

    /// The same for components that are spoken to in a weak lane.
    #[must_use]
    pub fn in_lane(self, weak: Option<WeakClient>) -> Self {
        Self { weak: weak.map(Arc::new), ..self }
    }

    /// As [`ServerProfile::recorded_by`].
    #[must_use]
    pub fn recorded_by(self, records: RecordLayer) -> Self {
        Self { records, ..self }
    }

    /// What speaks TLS with components.
    pub fn lane(&self) -> Lane {
        self.weak.as_ref().map_or(Lane::Modern, |weak| weak.lane())
    }

    /// The same with components that are judged by `trust` as well after their handshake, each under
    /// its name of `names`, and what `tls` says of those that are up.
    #[must_use]
    pub fn judged_by(
        self,
        trust: ServerTrust,
        names: Vec<ServerName<'static>>,
        tls: &UpstreamTls,
    ) -> Self {
        let verify = trust.verify();
        let judge = Some(Arc::new(Judge { trust, names }));
        let versions = tls.min_version..=tls.max_version;
        let legacy = tls.legacy.clone().map(Arc::new);
        Self { verify, judge, versions, legacy, revalidate: tls.revalidate, ..self }
    }

    /// What is known of the component behind `endpoint` after a handshake, also a resumed one, in
    /// which rustls asks nobody. `None` where nothing is asked.
    ///
    /// # Errors
    /// When it has come back with a session whose certificate is not good any more.
    pub fn judge(
        &self,
        endpoint: usize,
        chain: &[CertificateDer<'_>],
    ) -> Result<Option<ServerVerification>, Rejection> {
        let Some((judge, name, now)) = self.judge_of(endpoint) else { return Ok(None) };
        judge.trust.judge(chain, name, now).map(Some)
    }

    /// Whether a component that is connected, behind `endpoint`, would be accepted now.
    ///
    /// # Errors
    /// Why it would not.
    pub fn recheck(
        &self,
        endpoint: usize,
        chain: &[CertificateDer<'_>],
        path: &mut Option<Arc<TrustPath>>,
    ) -> Result<(), Rejection> {
        let Some((judge, name, now)) = self.judge_of(endpoint) else { return Ok(()) };
        judge.trust.recheck(chain, path, name, now)
    }

    fn judge_of(&self, endpoint: usize) -> Option<(&Judge, &ServerName<'static>, UnixTime)> {
        let judge = self.judge.as_deref()?;
        // Without a clock rustls would not have let the component pass.
        Some((judge, judge.names.get(endpoint)?, self.now()?))
    }

    /// Whether the component may be spoken to for a client from `source` now.
    ///
    /// # Errors
    /// Why not: it takes the legacy lane, on whose terms that is not allowed.
    pub fn allows(&self, source: Option<IpAddr>) -> Result<(), NoLane> {
        self.legacy.as_ref().map_or(Ok(()), |terms| allow(terms, source, seconds(self.now())))
    }

    /// The last second of the lane that components are spoken to in, Unix time, if it has one.
    pub fn lane_ends(&self) -> Option<i64> {
        self.legacy.as_ref().map(|terms| terms.until.end() - 1)
    }

    /// The last day of that lane, if it has one.
    pub fn last_day(&self) -> Option<Date> {
        self.legacy.as_ref().map(|terms| terms.until)
    }

    /// What becomes of connections whose component would not be accepted any more.
    pub fn revalidate(&self) -> Revalidate {
        self.revalidate
    }

    /// Whether this version may be spoken.
    pub fn allows_version(&self, version: TlsVersion) -> bool {
        self.versions.contains(&version)
    }

    /// Whether this suite may be used.
    pub fn allows_suite(&self, suite: CipherSuite) -> bool {
        if let Some(weak) = &self.weak {
            return weak.allows_suite(suite);
        }
        let of_all = self.endpoints.first();
        of_all.is_some_and(|(config, _)| allows(config.crypto_provider(), suite))
    }

    /// The time by which certificates are judged.
    pub fn now(&self) -> Option<UnixTime> {
        self.endpoints.first()?.0.time_provider.current_time()
    }

    /// The same for verifiers that look at this much; connections of those that look at nothing are
    /// reported as unauthenticated.
    #[must_use]
    pub fn verifying(self, verify: Verify) -> Self {
        Self { verify, ..self }
    }

    /// What the verifier looks at.
    pub fn verify(&self) -> Verify {
        self.verify
    }

    /// What a check of this endpoint shakes hands with: each time in full, so that its certificate is
    /// looked at. `None` when the route has more endpoints than the profile, and in a weak lane, where
    /// to connect is all.
    pub fn for_checks(&self, endpoint: usize) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        if self.weak.is_some() {
            return None;
        }
        let (config, name) = self.endpoints.get(endpoint)?;
        let mut config = ClientConfig::clone(config);
        config.resumption = Resumption::disabled();
        Some((Arc::new(config), name.clone()))
    }

    /// A session with this endpoint, whose ClientHello goes into `records`.
    ///
    /// # Errors
    /// As [`ModernConn::connect`].
    ///
    /// # Panics
    /// When the route has more endpoints than the profile.
    pub fn connect(
        &self,
        endpoint: usize,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<Box<dyn TlsConn>, TlsError> {
        if let (Some(weak), Some((judge, name, now))) = (&self.weak, self.judge_of(endpoint)) {
            let verifier = Verifier::Server(judge.trust.clone(), name.clone());
            return weak.connect(endpoint, verifier, now, (pool, records));
        }
        let (config, name) = &self.endpoints[endpoint];
        let (config, name) = (Arc::clone(config), name.clone());
        Ok(Box::new(ModernConn::connect(config, name, self.records, (pool, records))?))
    }
}

/// Unix time; without a clock nothing is allowed any more.
fn seconds(now: Option<UnixTime>) -> i64 {
    now.and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(i64::MAX)
}

fn allows(provider: &CryptoProvider, suite: CipherSuite) -> bool {
    provider.cipher_suites.iter().any(|allowed| allowed.suite() == suite)
}

#[cfg(test)]
mod tests {
    use rcgen::PKCS_ECDSA_P256_SHA256;
    use rustls::HandshakeKind;

    use super::*;
    use crate::tls::provider::provider;
    use crate::tls::testing::{Ca, NAME, client, handshake, server};

    #[test]
    fn checks_shake_hands_in_full_where_connections_resume() {
        let ca = Ca::new();
        let component = Arc::new(ca.issue(&PKCS_ECDSA_P256_SHA256).server(provider()));
        let mut config = ca.client((*provider()).clone());
        config.resumption = Resumption::in_memory_sessions(4);
        let config = Arc::new(config);
        let name = ServerName::try_from(NAME).expect("a DNS name");
        let profile = ClientProfile::new(vec![(Arc::clone(&config), name.clone())]);
        let (of_checks, checked) = profile.for_checks(0).expect("an endpoint");
        assert_eq!(checked, name);
        assert!(profile.for_checks(1).is_none());
        for (config, second) in [(config, HandshakeKind::Resumed), (of_checks, HandshakeKind::Full)]
        {
            for expected in [HandshakeKind::Full, second] {
                let (mut client, mut server) = (client(&config), server(&component));
                handshake(&mut client, &mut server).expect("they trust each other");
                assert_eq!(client.handshake_kind(), Some(expected));
            }
        }
    }
}
