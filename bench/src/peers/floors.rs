//! The floor of what TLS costs: the same handshakes and records in memory, without sockets, with the
//! libraries that the gateway has: rustls on ring, key exchange and signatures by aws-lc-rs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::{CryptoProvider, aws_lc_rs, ring as ring_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
};
use tlsgate_bench::client::{TlsVersion, Workload};

use super::target::Identities;
use super::test::{Role, Test};
use crate::measure::affinity;
use crate::measure::identity::{Identity, SERVER_NAME};
use crate::measure::load::{MESSAGE, Unit};
use crate::measure::probe::used;
use crate::measure::rounds::Measurement;
use crate::measure::sample::{Sample, float};

/// Plaintext of a full record (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;
const TAG: usize = 16;
/// Records between two looks at the clock.
const BATCH: usize = 64;

/// A sample of what `test` costs in memory, taken on `cpu` within `length`.
///
/// # Errors
/// What TLS said, or why nothing can run on that CPU.
pub(crate) fn take(
    test: Test,
    identities: &Identities,
    cpu: usize,
    length: Duration,
) -> Result<Option<Sample>, String> {
    let found = affinity::on(cpu, || match test.load().0 {
        Workload::Handshakes { resumed } | Workload::Reconnect { resumed, .. } => {
            handshakes(test, identities, resumed > 0.0, length)
        }
        Workload::BulkDown { .. } => records(RECORD, Way::Seal, length),
        Workload::BulkUp { .. } => records(RECORD, Way::Open, length),
        Workload::Messages { .. } | Workload::Idle { .. } => {
            // A round trip has one record to open and one to seal.
            let size = usize::try_from(MESSAGE).unwrap_or(RECORD);
            let opened = records(size, Way::Open, length / 2)?;
            let sealed = records(size, Way::Seal, length / 2)?;
            let cpu = (opened.cpu.as_secs_f64() / opened.units)
                + (sealed.cpu.as_secs_f64() / sealed.units);
            let cpu = Duration::from_secs_f64(cpu * opened.units);
            Ok(Found { cpu, wall: opened.wall + sealed.wall, ..opened })
        }
    })?;
    let unit = test.unit();
    let units = match unit {
        Unit::Gigabyte => found.units * float(RECORD as u64) / 1e9,
        Unit::Handshake | Unit::RoundTrip => found.units,
    };
    Ok((units > 0.0).then(|| Sample {
        units,
        cpu: found.cpu,
        wall: found.wall,
        user_share: 1.0,
        foreign_share: 0.0,
        cost: unit.quote(found.cpu, units),
    }))
}

/// The longest that one step of a server's full handshake keeps a CPU, of those within `length`.
///
/// # Errors
/// As [`take`].
pub(crate) fn longest_step(
    test: Test,
    identities: &Identities,
    cpu: usize,
    length: Duration,
) -> Result<Duration, String> {
    affinity::on(cpu, || handshakes(test, identities, false, length)).map(|found| found.longest)
}

/// What was done, in handshakes or records.
struct Found {
    units: f64,
    cpu: Duration,
    wall: Duration,
    longest: Duration,
}

/// Handshakes, of which the server's steps count.
fn handshakes(
    test: Test,
    identities: &Identities,
    resumed: bool,
    length: Duration,
) -> Result<Found, String> {
    let text = |error: rustls::Error| error.to_string();
    let (server, client) = configurations(test, identities)?;
    let name = ServerName::try_from(SERVER_NAME).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let mut found =
        Found { units: 0.0, cpu: Duration::ZERO, wall: start.elapsed(), longest: Duration::ZERO };
    let mut wire = Vec::new();
    while start.elapsed() < length {
        let mut peer = ClientConnection::new(Arc::clone(&client), name.clone()).map_err(text)?;
        let mut before = used();
        let mut this = ServerConnection::new(Arc::clone(&server)).map_err(text)?;
        let mut spent = used() - before;
        while peer.is_handshaking() || this.is_handshaking() || this.wants_write() {
            wire.clear();
            // Into memory: it takes everything.
            while peer.wants_write() {
                peer.write_tls(&mut wire).map_err(|error| error.to_string())?;
            }
            before = used();
            let mut rest = &*wire;
            while !rest.is_empty() {
                this.read_tls(&mut rest).map_err(|error| error.to_string())?;
                this.process_new_packets().map_err(text)?;
            }
            let mut answer = Vec::new();
            while this.wants_write() {
                this.write_tls(&mut answer).map_err(|error| error.to_string())?;
            }
            let step = used() - before;
            spent += step;
            found.longest = found.longest.max(step);
            let mut rest = &*answer;
            while !rest.is_empty() {
                peer.read_tls(&mut rest).map_err(|error| error.to_string())?;
                peer.process_new_packets().map_err(text)?;
            }
        }
        if (this.handshake_kind() == Some(HandshakeKind::Resumed)) == resumed {
            found.units += 1.0;
            found.cpu += spent;
        }
    }
    found.wall = start.elapsed();
    Ok(found)
}

fn configurations(
    test: Test,
    identities: &Identities,
) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), String> {
    let text = |error: rustls::Error| error.to_string();
    let Identities { ecdsa, rsa, client } = identities;
    let shown = if test.role() == Role::Rsa { rsa } else { ecdsa };
    let version = match test.version() {
        TlsVersion::V13 => &rustls::version::TLS13,
        _ => &rustls::version::TLS12,
    };
    let kx_groups = match test {
        Test::Mlkem13 => vec![aws_lc_rs::kx_group::X25519MLKEM768],
        _ => vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1],
    };
    let CryptoProvider { signature_verification_algorithms, key_provider, .. } =
        aws_lc_rs::default_provider();
    let mut provider = CryptoProvider {
        kx_groups,
        signature_verification_algorithms,
        key_provider,
        ..ring_provider::default_provider()
    };
    provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("AES_128_GCM"));
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .map_err(text)?;
    let (chain, key) = of(shown)?;
    let builder = match test.role() {
        Role::Mutual => {
            let roots = Arc::new(roots(client)?);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(chain, key).map_err(text)?;
    server.send_tls13_tickets = 1;
    server.ticketer = ring_provider::Ticketer::new().map_err(text)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .map_err(text)?
        .with_root_certificates(roots(shown)?);
    let mut peer = match test.role() {
        Role::Mutual => {
            let (chain, key) = of(client)?;
            builder.with_client_auth_cert(chain, key).map_err(text)?
        }
        _ => builder.with_no_client_auth(),
    };
    let resumes = matches!(test.load().0, Workload::Handshakes { resumed } if resumed > 0.0);
    if !resumes {
        peer.resumption = rustls::client::Resumption::disabled();
    }
    Ok((Arc::new(server), Arc::new(peer)))
}

fn roots(identity: &Identity) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(identity.ca_pem.as_bytes());
    let certificate = certificate.map_err(|error| error.to_string())?;
    roots.add(certificate).map_err(|error| error.to_string())?;
    Ok(roots)
}

type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn of(identity: &Identity) -> Result<Shown, String> {
    let certificate = CertificateDer::from_pem_file(&identity.certificate);
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|error| error.to_string())?;
    Ok((vec![certificate.map_err(|error| error.to_string())?], key))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Seal,
    Open,
}

/// Records of `size` bytes with AES-128-GCM, in place; only what goes `way` counts.
fn records(size: usize, way: Way, length: Duration) -> Result<Found, String> {
    let broken = "AES-128-GCM does not open what it has sealed";
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| broken)?;
    let key = LessSafeKey::new(key);
    let mut buffers = vec![vec![0x5a; size + TAG]; BATCH];
    let (start, mut found) = (
        Instant::now(),
        Found { units: 0.0, cpu: Duration::ZERO, wall: Duration::ZERO, longest: Duration::ZERO },
    );
    while start.elapsed() < length {
        let before = used();
        for (number, buffer) in (0..).zip(&mut buffers) {
            let (nonce, (data, tag)) = (nonce(number), buffer.split_at_mut(size));
            let made = key.seal_in_place_separate_tag(nonce, Aad::empty(), data);
            tag.copy_from_slice(made.map_err(|_| broken)?.as_ref());
        }
        let between = used();
        for (number, buffer) in (0..).zip(&mut buffers) {
            key.open_in_place(nonce(number), Aad::empty(), buffer).map_err(|_| broken)?;
        }
        found.cpu += if way == Way::Seal { between - before } else { used() - between };
        found.units += float(BATCH as u64);
    }
    found.wall = start.elapsed();
    Ok(found)
}

fn nonce(number: u32) -> Nonce {
    let mut bytes = [0; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::scratch::Scratch;

    #[test]
    fn every_test_that_has_a_floor_can_be_done_in_memory() {
        let scratch = Scratch::new().expect("a directory");
        let identities = Identities::new(&scratch).expect("keys");
        let length = Duration::from_millis(60);
        let cpu = affinity::some_cpu();
        for test in Test::ALL.into_iter().filter(|test| test.has_plaintext_form()) {
            let sample = take(test, &identities, cpu, length);
            let sample = sample.unwrap_or_else(|error| panic!("{test:?}: {error}"));
            let sample = sample.expect("some were done");
            assert!(sample.units > 0.0 && sample.cost > 0.0, "{test:?}: {sample:?}");
        }
        let longest = longest_step(Test::Rsa13, &identities, cpu, length).expect("handshakes");
        assert!(longest > Duration::from_micros(50), "{longest:?}: a signature takes longer");
    }
}
