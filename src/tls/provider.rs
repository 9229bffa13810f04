//! The cryptography behind rustls: a hybrid of its two providers.
//!
//! Cipher suites and random numbers are ring's; key exchange, signing and verification are aws-lc-rs's.
//! Median µs of the server's part of a full TLS 1.3 handshake (ECDSA P-256 certificate, one ticket,
//! in memory; measured by `provider_figures` below, release build, one core of a virtual AMD EPYC with
//! VAES, SHA extensions and IFMA, Linux 6.18):
//!
//! | group | ring | aws-lc-rs | key exchange alone by aws-lc-rs |
//! |---|---|---|---|
//! | X25519 | 111 | 94 | **85** |
//! | X25519MLKEM768 | none | 113 | **104** |
//! | P-256 | **109** | 117 | 125 (noise ± 15) |
//! | P-384 | 841 | 252 | **244** |
//!
//! ring's X25519 costs twice aws-lc-rs's, its P-384 five times, which would be a lever for denial
//! of service, and it has no post-quantum group; at HMAC, random numbers and AEAD set-up, of which
//! a handshake has many, it is the faster one.
//!
//! Signing and verifying what a handshake signs, µs (`signature_figures`):
//!
//! | key | ring signs | aws-lc-rs signs | ring verifies | aws-lc-rs verifies |
//! |---|---|---|---|---|
//! | RSA-2048 | 558 | **231** | 21.6 | **18.2** |
//! | P-256 | 16.7 | **15.2** | 51.8 | **49.7** |
//! | P-384 | 400 | **81** | 722 | **191** |
//! | Ed25519 | 23.0 | **8.7** | 45.5 | **36.1** |

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, KeyProvider, WebPkiSupportedAlgorithms, aws_lc_rs, ring};
use rustls::pki_types::{PrivateKeyDer, SignatureVerificationAlgorithm};
use rustls::sign::SigningKey;
use rustls::{SignatureScheme, SupportedProtocolVersion};
use zeroize::Zeroizing;

use super::modern::watched;
use super::tls_conn::suite_name;
use crate::config::model::TlsVersion;

/// The provider that all TLS of the gateway uses; always the same one.
///
/// Groups in order of preference: X25519MLKEM768 (post-quantum hybrid), X25519, P-256, P-384. As a
/// server rustls follows the order of the client; ours counts where we are the client.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let ring = ring::default_provider();
        Arc::new(CryptoProvider {
            cipher_suites: watched(ring.cipher_suites),
            kx_groups: vec![
                aws_lc_rs::kx_group::X25519MLKEM768,
                aws_lc_rs::kx_group::X25519,
                aws_lc_rs::kx_group::SECP256R1,
                aws_lc_rs::kx_group::SECP384R1,
            ],
            signature_verification_algorithms: verification(),
            key_provider: &Keys,
            secure_random: ring.secure_random,
        })
    });
    Arc::clone(&PROVIDER)
}

/// [`provider`] with these suites only, by their IANA names, most preferred first; all of them where
/// there are none.
pub fn provider_with(suites: &[&str]) -> Arc<CryptoProvider> {
    let all = provider();
    if suites.is_empty() {
        return all;
    }
    let named = |name: &&str| {
        all.cipher_suites.iter().find(|suite| suite_name(suite.suite()) == *name).copied()
    };
    let cipher_suites = suites.iter().filter_map(named).collect();
    Arc::new(CryptoProvider { cipher_suites, ..(*all).clone() })
}

/// What rustls calls the versions that are `allowed`, newest first; none where the range is empty.
/// Where it has old ones alone, TLS 1.2: rustls wants one, and nobody takes that lane.
pub(super) fn protocol_versions(
    allowed: RangeInclusive<TlsVersion>,
) -> Vec<&'static SupportedProtocolVersion> {
    let allowed = *allowed.start()..=(*allowed.end()).max(TlsVersion::V1_2);
    [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)]
        .into_iter()
        .filter_map(|(version, supported)| allowed.contains(&version).then_some(supported))
        .collect()
}

/// Loads keys of the types that ring has, for aws-lc-rs.
#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(
        &self,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        let key = aws_lc_rs::sign::any_supported_type(&Zeroizing::new(key))?;
        match key.choose_scheme(&KINDS) {
            Some(_) => Ok(key),
            None => Err(rustls::Error::General("a key of another type".to_owned())),
        }
    }
}

/// One of each type of key.
const KINDS: [SignatureScheme; 4] = [
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ED25519,
];

/// What ring verifies, by aws-lc-rs. Made once: it stays for as long as the process.
fn verification() -> WebPkiSupportedAlgorithms {
    let wanted = ring::default_provider().signature_verification_algorithms;
    let ours = aws_lc_rs::default_provider().signature_verification_algorithms;
    let all = |algorithms: &[&'static dyn SignatureVerificationAlgorithm]| {
        let of_aws = |one: &&'static dyn SignatureVerificationAlgorithm| {
            let ids = (one.public_key_alg_id(), one.signature_alg_id());
            let same = ours.all.iter().copied();
            let mut same = same.filter(|it| (it.public_key_alg_id(), it.signature_alg_id()) == ids);
            same.next().unwrap_or(*one)
        };
        &*algorithms.iter().map(of_aws).collect::<Vec<_>>().leak()
    };
    let mapping: Vec<_> = wanted.mapping.iter().map(|(scheme, of)| (*scheme, all(of))).collect();
    WebPkiSupportedAlgorithms { all: all(wanted.all), mapping: mapping.leak() }
}

/// Makes one key share of each group on the calling thread.
///
/// The first use of aws-lc-rs on a thread gathers jitter entropy, which takes tens of
/// milliseconds; better before the first peer waits than while it does.
pub fn warm_up() {
    for group in &provider().kx_groups {
        // A group that cannot make a share says so in the first handshake that asks for it.
        drop(group.start());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
    use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
    use webpki::EndEntityCert;

    use super::*;
    use crate::tls::testing::{self, Ca};

    const GROUPS: [NamedGroup; 4] = [
        NamedGroup::X25519MLKEM768,
        NamedGroup::X25519,
        NamedGroup::secp256r1,
        NamedGroup::secp384r1,
    ];

    /// A client of the other implementation with this group or suite only.
    fn client_provider(group: NamedGroup, suite: Option<CipherSuite>) -> CryptoProvider {
        let mut client = aws_lc_rs::default_provider();
        client.kx_groups.retain(|offered| offered.name() == group);
        client.cipher_suites.retain(|offered| suite.is_none_or(|suite| offered.suite() == suite));
        client
    }

    #[test]
    fn groups_are_in_order_of_preference() {
        let names: Vec<NamedGroup> =
            provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(names, GROUPS);
        assert!(Arc::ptr_eq(&provider(), &provider()));
    }

    #[test]
    fn what_is_verified_is_what_ring_verifies_by_aws_lc() {
        let (wanted, ours) = (ring::default_provider(), provider());
        let (wanted, ours) =
            (wanted.signature_verification_algorithms, ours.signature_verification_algorithms);
        assert_eq!(ours.supported_schemes(), wanted.supported_schemes());
        assert_eq!(ours.all.len(), wanted.all.len());
        let of_aws = aws_lc_rs::default_provider().signature_verification_algorithms.all;
        for (one, same) in ours.all.iter().zip(wanted.all) {
            assert_eq!(one.public_key_alg_id(), same.public_key_alg_id());
            assert_eq!(one.signature_alg_id(), same.signature_alg_id());
            assert!(of_aws.iter().any(|it| std::ptr::addr_eq(*it, *one)), "{one:?}");
        }
    }

    #[test]
    fn every_group_works_in_both_versions() {
        let ca = Ca::new();
        let issued = ca.issue(&PKCS_ECDSA_P256_SHA256);
        for group in GROUPS {
            for version in rustls::ALL_VERSIONS {
                // Post-quantum groups exist in TLS 1.3 only.
                if group == NamedGroup::X25519MLKEM768
                    && version.version == ProtocolVersion::TLSv1_2
                {
                    continue;
                }
                let server_config = Arc::new(issued.server_of(provider(), &[version]));
                let client_config = Arc::new(ca.client(client_provider(group, None)));
                let (mut client, mut server) =
                    (testing::client(&client_config), testing::server(&server_config));
                testing::handshake(&mut client, &mut server).expect("they agree");
                let agreed = server.negotiated_key_exchange_group().map(|group| group.name());
                assert_eq!(agreed, Some(group));
                assert_eq!(server.protocol_version(), Some(version.version));
            }
        }
    }

    #[test]
    fn every_cipher_suite_works() {
        let ca = Ca::new();
        let ecdsa = Arc::new(ca.issue(&PKCS_ECDSA_P256_SHA256).server(provider()));
        let rsa = Arc::new(ca.issue_rsa().server(provider()));
        let suites: Vec<CipherSuite> =
            provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        assert_eq!(suites.len(), 9, "3 of TLS 1.3, 3 with ECDSA, 3 with RSA");
        for suite in suites {
            let name = format!("{suite:?}");
            let server_config = if name.contains("_RSA_") { &rsa } else { &ecdsa };
            let client_config =
                Arc::new(ca.client(client_provider(NamedGroup::X25519, Some(suite))));
            let (mut client, mut server) =
                (testing::client(&client_config), testing::server(server_config));
            testing::handshake(&mut client, &mut server).expect("they agree");
            assert_eq!(server.negotiated_cipher_suite().map(|agreed| agreed.suite()), Some(suite));
        }
    }

    /// Run with `cargo test --release -- --ignored provider_figures --nocapture`.
    #[test]
    #[ignore = "prints figures, asserts nothing"]
    fn provider_figures() {
        const ROUNDS: u32 = 2000;
        let ca = Ca::new();
        let issued = ca.issue(&PKCS_ECDSA_P256_SHA256);
        println!("median µs of the server's part of a full TLS 1.3 handshake, one ticket");
        for group in GROUPS {
            let client_config = Arc::new(ca.client(client_provider(group, None)));
            for (name, provider) in [
                ("ring", Arc::new(ring::default_provider())),
                ("aws-lc-rs", Arc::new(aws_lc_rs::default_provider())),
                ("hybrid", provider()),
            ] {
                if !provider.kx_groups.iter().any(|offered| offered.name() == group) {
                    println!("{group:?} {name}: not available");
                    continue;
                }
                let mut server_config = issued.server(provider);
                server_config.send_tls13_tickets = 1;
                let server_config = Arc::new(server_config);
                let mut times: Vec<Duration> =
                    (0..ROUNDS).map(|_| server_time(&client_config, &server_config)).collect();
                times.sort_unstable();
                println!("{group:?} {name}: {:.1}", times[times.len() / 2].as_secs_f64() * 1e6);
            }
        }
    }

    /// As [`provider_figures`].
    #[test]
    #[ignore = "prints figures, asserts nothing"]
    fn signature_figures() {
        const ROUNDS: u32 = 500;
        let ca = Ca::new();
        let keys = [
            ("RSA-2048", SignatureScheme::RSA_PSS_SHA256, ca.issue_rsa()),
            ("P-256", SignatureScheme::ECDSA_NISTP256_SHA256, ca.issue(&PKCS_ECDSA_P256_SHA256)),
            ("P-384", SignatureScheme::ECDSA_NISTP384_SHA384, ca.issue(&PKCS_ECDSA_P384_SHA384)),
            ("Ed25519", SignatureScheme::ED25519, ca.issue(&PKCS_ED25519)),
        ];
        let message = [0x5a; 130];
        println!("median µs of signing and of verifying what a handshake signs");
        for (name, scheme, issued) in &keys {
            for (library, provider) in
                [("ring", ring::default_provider()), ("aws-lc-rs", aws_lc_rs::default_provider())]
            {
                let key = provider.key_provider.load_private_key(issued.private_key());
                let signer = key.expect("a key").choose_scheme(&[*scheme]).expect("its scheme");
                let signature = signer.sign(&message).expect("signed");
                let signing = median(ROUNDS, || drop(signer.sign(&message)));
                let algorithms = provider.signature_verification_algorithms;
                let (_, algorithms) =
                    algorithms.mapping.iter().find(|(of, _)| of == scheme).expect("known");
                let certificate = issued.certificate.der();
                let certificate = EndEntityCert::try_from(certificate).expect("a certificate");
                let verifying = median(ROUNDS, || {
                    certificate
                        .verify_signature(algorithms[0], &message, &signature)
                        .expect("our own");
                });
                println!("{name} {library}: {signing:.1} {verifying:.1}");
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn median(rounds: u32, mut operation: impl FnMut()) -> f64 {
        let mut times: Vec<Duration> = (0..rounds)
            .map(|_| {
                let start = Instant::now();
                operation();
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    }

    /// Time that a server spends on one handshake, from its making to its last record.
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn server_time(
        client: &Arc<rustls::ClientConfig>,
        server: &Arc<rustls::ServerConfig>,
    ) -> Duration {
        let mut client = testing::client(client);
        let mut to_server = Vec::new();
        client.write_tls(&mut to_server).expect("in memory");
        let start = Instant::now();
        let mut server = testing::server(server);
        let mut to_client = Vec::new();
        serve(&mut server, &to_server, &mut to_client);
        let first = start.elapsed();
        let mut unread = to_client.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).expect("in memory");
            client.process_new_packets().expect("a good flight");
        }
        to_server.clear();
        client.write_tls(&mut to_server).expect("in memory");
        let start = Instant::now();
        serve(&mut server, &to_server, &mut to_client);
        let second = start.elapsed();
        assert!(!server.is_handshaking());
        first + second
    }

    fn serve(server: &mut rustls::ServerConnection, mut input: &[u8], output: &mut Vec<u8>) {
        server.read_tls(&mut input).expect("in memory");
        server.process_new_packets().expect("a good flight");
        while server.wants_write() {
            server.write_tls(output).expect("in memory");
        }
    }
}
