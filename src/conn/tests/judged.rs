//! TLS on both sides whose certificates are judged while connections are up, by a clock of the
//! test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::component::{dialler, server};
use super::rig::{ca, route};
use crate::config::model::{
    CrlPolicy, NameMatch, Revalidate, Sni, TlsVersion, UpstreamTls, Verify,
};
use crate::policy::Route;
use crate::tls::identity::load;
use crate::tls::provider::provider;
use crate::tls::resumption::Domain;
use crate::tls::server_config::server_config;
use crate::tls::testing::{self, Ca, Files, NAME};
use crate::tls::trust::{Loader, ServerTrustSettings};
use crate::tls::{ClientProfile, ServerProfile};

/// Seconds since 1970. It starts in 2027.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<AtomicU64>);

/// Before certificates begin, and after they have ended.
pub(crate) const TOO_EARLY: u64 = 0;
pub(crate) const TOO_LATE: u64 = 100_000_000_000;

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_800_000_000)))
    }

    pub(crate) fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = Duration::from_secs(self.0.load(Ordering::Relaxed));
        Some(UnixTime::since_unix_epoch(seconds))
    }
}

/// The component at the only endpoint must be issued by `ca_now`; one that is not any more meets this
/// fate. It is dialled whatever that says.
pub(super) fn judged(ca_now: &Ca, fate: Revalidate, clock: &Clock) -> ClientProfile {
    let files = Files::new();
    let tls = upstream_tls(&files, ca_now, fate);
    let mut config = (*dialler(ca().roots(), |_| ())).clone();
    config.time_provider = Arc::new(clock.clone());
    let trust = Loader::new(provider()).server(&ServerTrustSettings::of(&tls)).expect("a CA");
    let name = || NAME.try_into().expect("a DNS name");
    ClientProfile::new(vec![(Arc::new(config), name())]).judged_by(trust, vec![name()], &tls)
}

/// What the configuration says of such a component.
pub(super) fn upstream_tls(files: &Files, ca_now: &Ca, fate: Revalidate) -> UpstreamTls {
    UpstreamTls {
        trusted_ca: files.trusted(&ca_now.certificate.pem()),
        crls: CrlPolicy::default(),
        verify: Verify::Full,
        pins: Vec::new(),
        server_name: None,
        server_name_line: 0,
        sni: Sni::Checked,
        sni_line: 0,
        name_match: NameMatch::San,
        certificate: None,
        key_group: None,
        key_group_line: 0,
        alpn: Vec::new(),
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        ciphers: Vec::new(),
        revalidate: fate,
        resumption: false,
        compat12: None,
        legacy: None,
    }
}

/// TLS on both sides, all of it by this clock; a component that is not good any more is closed.
pub(crate) fn bridge(clock: &Clock) -> Route {
    let files = Files::new();
    let tls = testing::tls(vec![files.issued("server", &ca().issue(&PKCS_ECDSA_P256_SHA256))]);
    let identities = load(&tls, &provider()).expect("files of our own");
    let config = server_config(&tls, &identities, &Domain::Off, &provider()).expect("versions");
    let mut config = (*config).clone();
    config.time_provider = Arc::new(clock.clone());
    let tls = Some(ServerProfile::new(Arc::new(config), &identities, &tls));
    let upstream_tls = Some(judged(ca(), Revalidate::Close, clock));
    Route { tls, upstream_tls, ..route() }
}

/// What a component that is good speaks.
pub(crate) fn component() -> Arc<ServerConfig> {
    Arc::new(server(rustls::ALL_VERSIONS))
}
