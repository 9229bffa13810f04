//! The weak lanes of a route's two sides, from what the configuration says about them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::CipherSuite;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::error::TlsError;
use super::lane::Lane;
use super::openssl::spec::{ClientSpec, Identity, Parameters, ServerSpec, Sessions, Spec, suites};
use super::openssl::{Client, Server, Unusable, Verifier};
use super::provider::provider;
use super::remote::RemoteConn;
use super::resumption::DomainId;
use super::tls_conn::{TlsConn, suite_name};
use super::trust::{ClientTrust, Strength};
use crate::buf::{Buf, Pool};
use crate::config::model::{
    Compat12, DownstreamTls, Legacy, ResumptionMode, TlsVersion, UpstreamTls, WeakSuite,
};
use crate::lane::{Door, Profile};

/// A weak lane of a listener.
#[derive(Debug)]
pub struct WeakServer {
    server: Held<Arc<Server>>,
    trust: ClientTrust,
    suites: Vec<CipherSuite>,
}

/// The weak lane of an upstream side.
#[derive(Debug)]
pub struct WeakClient {
    lane: Lane,
    /// By the position of the endpoint.
    clients: Vec<Held<Client>>,
    suites: Vec<CipherSuite>,
}

/// Who holds the sessions of a lane.
#[derive(Debug)]
enum Held<T> {
    Here(T),
    /// The legacy lane's child does.
    Child(Arc<Profile>),
}

/// The servers of a process's weak lanes. One that the next configuration has as well stays itself,
/// and so do its sessions.
#[derive(Clone, Debug, Default)]
pub struct WeakServers(Arc<Mutex<HashMap<[u8; 32], Weak<Server>>>>);

impl WeakServers {
    fn server(&self, spec: ServerSpec) -> Result<Arc<Server>, Unusable> {
        let digest = Spec::Server(spec.clone()).digest();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, server| server.strong_count() > 0);
        if let Some(known) = all.get(&digest).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let made = Arc::new(Server::new(spec)?);
        all.insert(digest, Arc::downgrade(&made));
        Ok(made)
    }
}

impl Lane {
    /// How weak the certificates of this lane's peers may be.
    pub fn strength(self) -> Strength {
        match self {
            Self::Modern | Self::Compat12 => Strength::Usual,
            Self::Legacy => Strength::Weak,
        }
    }
}

impl WeakServer {
    /// The lane of the listener whose TLS section is `tls`, by a specification of
    /// [`server_spec`]. The legacy lane's is told to the child behind the door.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn new(
        spec: ServerSpec,
        tls: &DownstreamTls,
        trust: ClientTrust,
        (known, door): (&WeakServers, &Door),
    ) -> Result<Self, Unusable> {
        let lane = spec.parameters.lane;
        let server = if lane == Lane::Legacy {
            // What cannot be used is found here, not by the child.
            let _usable = Server::new(spec.clone())?;
            Held::Child(door.profile(Spec::Server(spec).encode()))
        } else {
            Held::Here(known.server(spec)?)
        };
        Ok(Self { server, trust, suites: codes(&server_suites(lane, tls)) })
    }

    /// Who peers must be.
    pub fn trust(&self) -> &ClientTrust {
        &self.trust
    }

    pub fn allows_suite(&self, suite: CipherSuite) -> bool {
        self.suites.contains(&suite)
    }

    /// A session for a peer that asks for `sni`, whose certificate is judged as of `now`.
    ///
    /// # Errors
    /// As [`Server::accept`].
    pub fn accept(&self, sni: Option<&str>, now: UnixTime) -> Result<Box<dyn TlsConn>, TlsError> {
        match &self.server {
            Held::Here(server) => {
                let verifier = Verifier::Client(self.trust.clone());
                Ok(Box::new(server.accept(sni, Some(verifier), now)?))
            }
            Held::Child(profile) => Ok(Box::new(RemoteConn::accept(Arc::clone(profile)))),
        }
    }
}

impl WeakClient {
    /// The lane of the upstream side that says `tls`, by a specification of [`client_spec`] for each
    /// endpoint. The legacy lane's are told to the child behind the door.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn new(specs: Vec<ClientSpec>, tls: &UpstreamTls, door: &Door) -> Result<Self, Unusable> {
        let lane = client_lane(tls);
        let clients = specs.into_iter().map(|spec| -> Result<_, Unusable> {
            // What cannot be used is found here, not by the child.
            let client = Client::new(&spec)?;
            Ok(match lane {
                Lane::Legacy => Held::Child(door.profile(Spec::Client(spec).encode())),
                Lane::Modern | Lane::Compat12 => Held::Here(client),
            })
        });
        let clients = clients.collect::<Result<_, _>>()?;
        Ok(Self { lane, clients, suites: codes(&client_suites(tls)) })
    }

    pub fn lane(&self) -> Lane {
        self.lane
    }

    pub fn allows_suite(&self, suite: CipherSuite) -> bool {
        self.suites.contains(&suite)
    }

    /// A session with the endpoint at this position, whose certificate is judged by `verifier` as
    /// of `now`. The ClientHello goes into `records`.
    ///
    /// # Errors
    /// As [`Client::connect`].
    ///
    /// # Panics
    /// When there are fewer endpoints.
    pub fn connect(
        &self,
        endpoint: usize,
        verifier: Verifier,
        now: UnixTime,
        (pool, records): (&Pool, &mut VecDeque<Buf>),
    ) -> Result<Box<dyn TlsConn>, TlsError> {
        match &self.clients[endpoint] {
            Held::Here(client) => {
                Ok(Box::new(client.connect(Some(verifier), now, pool, records)?))
            }
            Held::Child(profile) => Ok(Box::new(RemoteConn::connect(Arc::clone(profile)))),
        }
    }
}

/// What `lane` of a listener is made from. Its sessions are of `domain`, and kept for `lifetime`.
pub fn server_spec(
    lane: Lane,
    tls: &DownstreamTls,
    identities: Vec<Identity>,
    trust: &ClientTrust,
    (domain, lifetime): (&DomainId, Duration),
) -> ServerSpec {
    let (suites, suites13) = suites(server_suites(lane, tls));
    ServerSpec {
        parameters: Parameters {
            lane,
            min_version: oldest(lane, tls.min_version),
            // Whoever speaks TLS 1.3 takes the modern lane.
            max_version: tls.max_version.min(TlsVersion::V1_2),
            suites,
            suites13,
            alpn: alpn(&tls.alpn),
        },
        identities,
        client_cert: trust.mode(),
        trusted: ders(trust.trusted()),
        sessions: match tls.resumption {
            ResumptionMode::Tickets => Sessions::Tickets,
            ResumptionMode::Store => Sessions::Ids,
            ResumptionMode::Off => Sessions::Off,
        },
        lifetime: u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX),
        domain: *domain.bytes(),
    }
}

/// What the weak lane of an upstream side is made from, for an endpoint that is told this name.
pub fn client_spec(
    tls: &UpstreamTls,
    identity: Option<Identity>,
    trusted: &[CertificateDer<'_>],
    sni: Option<String>,
) -> ClientSpec {
    let lane = client_lane(tls);
    let (suites, suites13) = suites(client_suites(tls));
    let parameters = Parameters {
        lane,
        min_version: oldest(lane, tls.min_version),
        max_version: tls.max_version,
        suites,
        suites13,
        alpn: alpn(&tls.alpn),
    };
    ClientSpec { parameters, sni, identity, trusted: ders(trusted) }
}

/// What an upstream side speaks: the weakest lane that it has.
pub fn client_lane(tls: &UpstreamTls) -> Lane {
    match (&tls.legacy, &tls.compat12) {
        (Some(_), _) => Lane::Legacy,
        (None, Some(_)) => Lane::Compat12,
        (None, None) => Lane::Modern,
    }
}

fn server_suites(lane: Lane, tls: &DownstreamTls) -> Vec<&'static str> {
    let legacy = tls.legacy.as_ref().filter(|_| lane == Lane::Legacy);
    together(&tls.ciphers, tls.compat12.as_ref(), legacy)
}

fn client_suites(tls: &UpstreamTls) -> Vec<&'static str> {
    together(&tls.ciphers, tls.compat12.as_ref(), tls.legacy.as_ref())
}

/// Those of the modern lane, all where none are named, then those of the weak ones; each once.
fn together(
    ciphers: &[&'static str],
    compat12: Option<&Compat12>,
    legacy: Option<&Legacy>,
) -> Vec<&'static str> {
    let mut all = ciphers.to_vec();
    if all.is_empty() {
        all.extend(provider().cipher_suites.iter().map(|suite| suite_name(suite.suite())));
    }
    let weak = compat12.map(|lane| &lane.suites).into_iter();
    for suite in weak.chain(legacy.map(|lane| &lane.suites)).flatten() {
        if !all.contains(&suite.name) {
            all.push(suite.name);
        }
    }
    all
}

/// The suite of this name of IANA's, if any lane can speak it.
pub fn suite_named(name: &str) -> Option<CipherSuite> {
    let modern = provider();
    let mut all = modern.cipher_suites.iter().map(|suite| suite.suite());
    let weak = || WeakSuite::named(name).map(|suite| CipherSuite::from(suite.code));
    all.find(|suite| suite_name(*suite) == name).or_else(weak)
}

/// The numbers of these suites.
fn codes(names: &[&'static str]) -> Vec<CipherSuite> {
    names.iter().filter_map(|name| suite_named(name)).collect()
}

fn oldest(lane: Lane, min_version: TlsVersion) -> TlsVersion {
    match lane {
        Lane::Legacy => min_version,
        Lane::Modern | Lane::Compat12 => min_version.max(TlsVersion::V1_2),
    }
}

fn alpn(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

fn ders(certificates: &[CertificateDer<'_>]) -> Vec<Vec<u8>> {
    certificates.iter().map(|certificate| certificate.to_vec()).collect()
}
